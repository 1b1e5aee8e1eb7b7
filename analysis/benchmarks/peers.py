"""Training and evaluation beside the ways of others: the same encoder, head, tokens, number of examples and steps, on one processor.

    python analysis/benchmarks/peers.py --data DATA --encoders ENCODERS --layers 12 --rounds 5

Every way has a process of its own; rounds alternate between them, so that what else the machine does meets all. Writes peers.md.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import sys
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
import transformers
from machine import machine
from peer_evaluation import evaluate_here, evaluate_padded, evaluate_trainer, tune
from peer_training import train_here, train_padded, train_trainer
from peer_work import LANGUAGES, PAIRS, PRODUCTS, QUESTIONS, TAGS, TESTED_LANGUAGES, Run, Setting

from raystilts.model import Root

WAYS = ("raystilts", "Trainer, defaults", "Trainer, best", "padded to the maximum")
Rounds = Mapping[str, Sequence[Mapping[str, Any]]]
GOALS = {WAYS[2]: (1.5, 1.3), WAYS[3]: (2.5, 3.0)}  # of training, of evaluation
TOLERANCE = 1e-4  # between losses of one model on the same examples, padded in different ways


def way_of(workload: str, way: str, setting: Setting) -> Run:
    """A way, ready to be run again and again."""
    if workload == LANGUAGES:
        chosen = {WAYS[0]: evaluate_here, WAYS[2]: evaluate_trainer, WAYS[3]: evaluate_padded}
        return chosen[way](setting)
    if way == WAYS[0]:
        return train_here(workload, setting)
    return train_padded(workload, setting) if way == WAYS[3] else train_trainer(workload, setting, best=way == WAYS[2])


def serve(workload: str, way: str, setting: Setting, talk: Connection) -> None:
    """A process: makes ready, then runs the way each time that it is told to, until it is told to end."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    torch.set_num_threads(setting.threads)
    transformers.logging.set_verbosity_error()
    warnings.filterwarnings("ignore")  # of a Trainer without a GPU
    run = way_of(workload, way, setting)
    talk.send({})
    while order := talk.recv():
        talk.send(run(order == "profile"))


ABOUT = """
raystilts: a worker of its own training loop with the recipe's defaults (batches of 32 in micro-batches of 16, sorted by length within
pools), and its evaluation of all languages together, the making of the model included. The clock starts when texts are tokens and the
weights are in memory, and stops when the last step, or the last prediction, is done.

Trainer, defaults: `per_device_train_batch_size=32` (so that a step is the same number of examples), learning rate and warm-up of the
recipe, nothing written or logged; all else is transformers' default: random order, each batch padded to its longest by
DataCollatorWithPadding or DataCollatorForTokenClassification, fused AdamW over all parameters, no workers for data.

Trainer, best: the same with batches of equal lengths. `group_by_length` needs thousands of examples to group them; here the Trainer is
given raystilts' own batches in their order, which is what it would come to. In evaluation one `predict` per language, sorted by length,
32 at a time, each batch padded to its longest, with `preprocess_logits_for_metrics`, so that logits are not collected.

Padded to the maximum: what the scripts of google-research/xtreme and jiant do: everything padded to 128 pieces (questions: 384), 8
examples at a time and 4 of these a step, torch's AdamW as they call it, and in evaluation one language after the other, 32 at a time.

Proof of equal work: before training the losses of the same 32 examples agree within 1e-4 in all ways, or the script stops; the
evaluated model is one checkpoint, and at most one tag in 10,000 may differ. Losses in training differ by dropout and order. A
checkpoint of raystilts holds what differs from its root encoder; the others' hold all weights (their optimiser's states, which they
also write, are not counted).

Whole sweeps beside plain Tune with one trial per cell: sweep.md. The bootstrap beside scipy: bootstrap.md. Search: retrieval.md.
"""


def measure(workload: str, setting: Setting, rounds: int) -> Rounds:
    """All ways in turn, `rounds` times, after one that does not count."""
    ways = [way for way in WAYS if workload != LANGUAGES or way != WAYS[1]]
    context = multiprocessing.get_context("spawn")
    talks: dict[str, Connection] = {}
    processes = []
    for way in ways:
        talks[way], theirs = context.Pipe()
        processes.append(context.Process(target=serve, args=(workload, way, setting, theirs), daemon=True))
        processes[-1].start()
        talks[way].recv()
    found: dict[str, list[dict[str, Any]]] = {way: [] for way in ways}
    for number in range(rounds + 1):
        for way in ways:
            talks[way].send("run")
            done = talks[way].recv()
            shown = {name: round(value, 4) for name, value in done.items() if isinstance(value, float)}
            print(workload, number, way, shown, os.getloadavg()[0], file=sys.stderr, flush=True)
            found[way] += [done] if number else []
    talks[WAYS[0]].send("profile")
    found[WAYS[0]][-1] |= {"shares": talks[WAYS[0]].recv()["shares"]}
    for way, process in zip(ways, processes, strict=True):
        talks[way].send("")
        process.join()
    return found


def same_work(workload: str, found: Rounds) -> None:
    """Stops where a way did other work: another loss of the untrained model, or other predictions of the trained one."""
    ours = found[WAYS[0]][0]
    for way, rounds in found.items():
        for one in rounds:
            if workload == LANGUAGES:
                differing = sum(a != b for a, b in zip(ours["tags"], one["tags"], strict=True))
                if len(set(ours["tags"])) < 3:
                    raise SystemExit("the model that is evaluated has learned nothing: equal predictions of it prove nothing")
                if differing > len(ours["tags"]) * TOLERANCE:
                    raise SystemExit(f"{way}: {differing} of {len(ours['tags'])} tags differ")
            elif abs(ours["before"] - one["before"]) > TOLERANCE:
                raise SystemExit(f"{workload}, {way}: a loss of {one['before']} before training, not {ours['before']}")


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Median, least and most."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def ratios(found: Rounds, way: str, clock: str) -> list[float]:
    """A way's time over ours in the same round."""
    return [other[clock] / ours[clock] for ours, other in zip(found[WAYS[0]], found[way], strict=True)]


def rows_of(workload: str, found: Rounds, count: int) -> list[str]:
    """The lines of a workload."""
    lines = []
    for way, rounds in found.items():
        wall, peak = statistics.median(one["wall"] for one in rounds), max(one["peak"] for one in rounds)
        cells = [workload, way, f"{wall:.1f}", f"{count / wall:.1f}"]
        cells += [spread(ratios(found, way, "wall")), spread(ratios(found, way, "processor")), f"{peak:,.0f}"]
        if workload == LANGUAGES:
            ours, tags = found[WAYS[0]][0]["tags"], rounds[0]["tags"]
            cells += ["", f"F1 {rounds[0]['score']:.2f}, {sum(a != b for a, b in zip(ours, tags, strict=True))} of {len(ours)} tags differ"]
        else:
            before, loss, after = (statistics.median(one[name] for one in rounds) for name in ("before", "loss", "after"))
            cells += [f"{rounds[0]['bytes'] / 1e6:,.0f}", f"{before:.4f}, {loss:.3f}, {after:.3f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def goals_of(workload: str, found: Rounds) -> list[str]:
    """Whether the goals of the workload are reached: by wall time and by processor time, of which the smaller ratio counts."""
    lines = []
    for way, goals in GOALS.items():
        goal, ratio = goals[workload == LANGUAGES], min(statistics.median(ratios(found, way, clock)) for clock in ("wall", "processor"))
        lines.append(f"| {workload} | {way} | {goal} x | {ratio:.2f} x | {'reached' if ratio >= goal else 'not reached'} |")
    if workload != LANGUAGES:
        ratio = found[WAYS[2]][0]["bytes"] / found[WAYS[0]][0]["bytes"]
        lines.append(f"| {workload} | bytes of a checkpoint | 4 x | {ratio:.1f} x | {'reached' if ratio >= 4 else 'not reached'} |")
    return lines


def profile_of(workload: str, found: Rounds) -> str:
    """Where raystilts' time went, and the ratio that is left where all but matrix products cost nothing."""
    shares = found[WAYS[0]][-1]["shares"]
    products = sum(shares.get(name, 0.0) for name in PRODUCTS)
    others = sorted(((share, name) for name, share in shares.items() if name not in PRODUCTS), reverse=True)[:6]
    limit = statistics.median(ratios(found, WAYS[2], "processor")) / products
    named = ", ".join(f"{name.removeprefix('aten::')} {share:.0%}" for share, name in others)
    return f"| {workload} | {products:.0%} | {limit:.2f} x | {named} |"


def text_of(options: argparse.Namespace, found: Mapping[str, Rounds], counts: Mapping[str, int], loads: Sequence[float]) -> str:
    """The page, without what is written by hand."""
    own = f"--layers {options.layers} --rounds {options.rounds} --threads {options.threads}"
    lines = [
        "# Training and evaluation beside the ways of others",
        "",
        f"Made by `python analysis/benchmarks/peers.py --data DATA --encoders ENCODERS {own}`. {machine()} "
        f"{options.threads} threads a way; load of the machine from {min(loads):.1f} to {max(loads):.1f}, "
        f"of which up to {options.threads}.0 are this script's own. The encoder is multilingual-e5-small with {options.layers} layers, "
        "in float32.",
        "",
        "| workload | way | wall s | examples/s | its wall time / raystilts' | its processor time / raystilts' | MiB at most "
        "| MB of a checkpoint | loss before, mean in training, after; or score |",
        "|---|---|---:|---:|---|---|---:|---:|---|",
        *(line for workload, rounds in found.items() for line in rows_of(workload, rounds, counts[workload])),
        "",
        "Medians (least to most) over rounds; ratios within rounds. Goals are held against the smaller of both clocks' ratios: on a busy "
        "machine wall time says little, and processor time counts threads that wait.",
        "",
        "| workload | beside | goal | found | |",
        "|---|---|---:|---:|---|",
        *(line for workload, rounds in found.items() for line in goals_of(workload, rounds)),
        "",
        "Where raystilts' time goes (torch.profiler, the operations' own time), and how many times faster than the best Trainer it were if "
        "only its matrix products took time:",
        "",
        "| workload | matrix products | limit | others |",
        "|---|---:|---:|---|",
        *(profile_of(workload, rounds) for workload, rounds in found.items()),
    ]
    return "\n".join(lines) + "\n" + ABOUT


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--encoders", type=Path, required=True, help="holds e5-small-3, -6 and -12 (see experiments/laptop.py)")
    parser.add_argument("--layers", type=int, default=12, choices=[3, 6, 12])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--items", type=int, default=96, help="trained on; of questions half as many (default: 96)")
    parser.add_argument("--sentences", type=int, default=30, help="tested in each language (default: 30)")
    parser.add_argument("--workloads", nargs="+", default=[PAIRS, TAGS, QUESTIONS, LANGUAGES])
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".md"))
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    items = {PAIRS: options.items, TAGS: options.items, QUESTIONS: options.items // 2}
    counts = items | {LANGUAGES: options.sentences * len(TESTED_LANGUAGES)}
    found: dict[str, Rounds] = {}
    loads = [os.getloadavg()[0]]
    with tempfile.TemporaryDirectory() as folder:
        root = Root(str(options.encoders / f"e5-small-{options.layers}"))
        setting = Setting(options.data, root, options.threads, items, options.sentences, Path(folder))
        for workload in options.workloads:
            if workload == LANGUAGES:
                with multiprocessing.get_context("spawn").Pool(1) as pool:
                    pool.apply(tune, (setting,))
            found[workload] = measure(workload, setting, options.rounds)
            loads.append(os.getloadavg()[0])
            same_work(workload, found[workload])
            # after each workload: who stops the script keeps what it has measured
            options.out.write_text(text_of(options, found, counts, loads), encoding="utf-8")
    print(options.out.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
