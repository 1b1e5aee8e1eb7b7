"""How long a plan of real small stages takes on Ray, beside three other ways to run it: wall times as ratios in one run, and idle time.

    python analysis/benchmarks/sweep.py --rounds 2

The study is the quickstart's with its smaller encoder: stages of seconds. Every way starts in a fresh process with an empty store and
ends when the last stage is written; reports are not made. The ways take turns, `--rounds` times, so that what else the machine does
meets all.

sweep         raystilts run, two jobs at a time: a stage starts when its parent is done, and a model is evaluated where it was trained
sequence      raystilts run --in-process: one stage after the other, with one thread; and with two
waves         one Tuner per phase over that phase's stages, two trials at a time: what a script around Tune does
unshared      one Tuner over the cells, two trials at a time: each trains all that it stands on for itself

The Tuners reuse their actors, as the sweep does; without that both would wait several seconds per trial for a new process. Idle is the
share of (jobs at a time x wall time) in which no stage was at work: the start of Ray, of processes, and waiting for others.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from machine import machine

from raystilts.execute import Site, perform_here
from raystilts.experiment import load_study
from raystilts.process import owner
from raystilts.store import Store
from raystilts.study import Plan, make_plan
from raystilts.sweep import Cluster, attempt, connected, run_in_process, run_on_ray

JOBS = 2
WAYS = ("sweep", "sequence", "sequence, two threads", "waves", "unshared")
EXPERIMENT = Path(__file__).parents[2] / "experiments" / "quickstart.py"


def plan_of(function: str, num_seeds: int) -> Plan:
    """The quickstart's plan with one encoder; `smoke` for a trial of this script."""
    study = load_study(f"{EXPERIMENT}:{function}")
    return make_plan(replace(study, encoders=study.encoders[:1], seeds=study.seeds[:num_seeds]))


def run_trial(config: Mapping[str, Any], plan: Plan, folder: Path) -> dict[str, Any]:
    """A trial of the Tuners: some stages, in their order, into a store."""
    trial = config["trial"]
    site = Site(Store(folder / trial["store"]), owner())
    site.store.prepare()
    attempt(trial["keys"], plan, site, perform_here(site))
    return {"ended": 1}


def tuners(plan: Plan, folder: Path, waves: Sequence[Sequence[Mapping[str, Any]]]) -> None:
    """One Tuner after the other, in one Ray, over what each wave's trials are to do."""
    site = Site(Store(folder / "store"), owner())
    with tempfile.TemporaryDirectory(prefix="raystilts-", ignore_cleanup_errors=True) as scratch, connected(Cluster(), site, scratch):
        from ray import tune  # noqa: PLC0415

        for number, trials in enumerate(waves):
            tune.Tuner(
                tune.with_resources(tune.with_parameters(run_trial, plan=plan, folder=folder), {"cpu": 1}),
                param_space={"trial": tune.grid_search(list(trials))},
                tune_config=tune.TuneConfig(max_concurrent_trials=JOBS, reuse_actors=True),
                run_config=tune.RunConfig(name=str(number), storage_path=str(Path(scratch) / "tune"), verbose=0),
            ).fit()


def in_waves(plan: Plan, folder: Path) -> None:
    """Phase by phase; the stages of a phase depend on none of their own."""
    depths: dict[str, int] = {}
    for key, stage in plan.stages.items():
        depths[key] = depths[stage.parent.key] + 1 if stage.parent else 0
    phases: dict[tuple[int, str], list[dict[str, Any]]] = {}
    for key in plan.stages:
        role = ("pretraining", "intermediate", "target", "evaluation").index(plan.roles[key])
        phases.setdefault((role, "" if role else str(depths[key])), []).append({"keys": [key], "store": "store"})
    tuners(plan, folder, [phases[phase] for phase in sorted(phases)])


def unshared(plan: Plan, folder: Path) -> None:
    """Cell by cell, each with a store of its own."""
    cells = [{"keys": [stage.key for stage in cell.evaluation.lineage], "store": str(number)} for number, cell in enumerate(plan.cells)]
    tuners(plan, folder, [cells])


def here(threads: int) -> Callable[[Plan, Path], None]:
    """In this process."""
    return lambda plan, folder: run_in_process(plan, Site(_prepared(folder), owner(), cpus=threads))


def on_ray(plan: Plan, folder: Path) -> None:
    """As `raystilts run` does."""
    run_on_ray(plan, Site(_prepared(folder), owner()), Cluster(max_concurrent=JOBS))


def _prepared(folder: Path) -> Store:
    store = Store(folder / "store")
    store.prepare()
    return store


RUN: dict[str, Callable[[Plan, Path], None]] = {
    "sweep": on_ray,
    "sequence": here(1),
    "sequence, two threads": here(2),
    "waves": in_waves,
    "unshared": unshared,
}


def measure(way: str, function: str, num_seeds: int, folder: Path) -> dict[str, float]:
    """Run the plan in one way in a fresh process: wall time, the time that its stages took themselves, and how many were run."""
    began = time.monotonic()
    command = [sys.executable, __file__, "--way", way, "--function", function, "--seeds", str(num_seeds), "--folder", str(folder)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # noqa: S603  this script
    wall = time.monotonic() - began
    records = [json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*/stages/*/stage.json")]
    if (missing := set(plan_of(function, num_seeds).stages) - {record["key"] for record in records}) or not records:
        raise SystemExit(f"{way}: {len(missing)} stages were not made")
    return {"wall": wall, "work": sum(record["seconds"] for record in records), "stages": len(records)}


def table(found: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
    """The rounds as a table: medians, ratios to the sweep's wall time in the same round, and what each round had."""
    lines = [
        "| way | stages run | wall s | of the sweep's time | work s | idle | beyond its work, s a stage |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for way, rounds in found.items():
        jobs = 1 if way.startswith("sequence") else JOBS
        ratios = [one["wall"] / base["wall"] for one, base in zip(rounds, found["sweep"], strict=True)]
        idle = statistics.median(1 - one["work"] / (jobs * one["wall"]) for one in rounds)
        beyond = statistics.median((jobs * one["wall"] - one["work"]) / one["stages"] for one in rounds)
        wall, work = (statistics.median(one[name] for one in rounds) for name in ("wall", "work"))
        span = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        lines.append(f"| {way} | {rounds[0]['stages']:.0f} | {wall:.0f} | {span} | {work:.0f} | {idle:.0%} | {beyond:.2f} |")
    return "\n".join(lines)


def main() -> None:
    """Run all ways in turns, or one of them."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=2, help="how often each way is run (default: 2)")
    parser.add_argument("--seeds", type=int, default=3, help="of the study's seeds that many (default: 3)")
    parser.add_argument("--function", default="study", choices=["study", "smoke"], help="of experiments/quickstart.py (default: study)")
    parser.add_argument("--ways", nargs="+", default=[*WAYS], choices=WAYS, help="leave out the others (never the sweep)")
    parser.add_argument("--out", type=Path, help="write the text there, too")
    parser.add_argument("--way", choices=WAYS, help="run this way alone, in this process, into --folder")
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    if options.way:
        RUN[options.way](plan_of(options.function, options.seeds), options.folder)
        return
    found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS if way in ("sweep", *options.ways)}
    for _ in range(options.rounds):
        for way, rounds in found.items():
            with tempfile.TemporaryDirectory() as folder:
                rounds.append(measure(way, options.function, options.seeds, Path(folder)))
                print(way, {name: round(value, 1) for name, value in rounds[-1].items()}, file=sys.stderr, flush=True)
        if options.out:  # after each round: who stops the script keeps what it has measured
            options.out.write_text(text_of(found, options), encoding="utf-8")
    print(text_of(found, options))


def text_of(found: Mapping[str, Sequence[Mapping[str, float]]], options: argparse.Namespace) -> str:
    """The page."""
    rounds, only = len(found["sweep"]), "" if len(found) == len(WAYS) else f" --ways {' '.join(found)}"
    command = f"python analysis/benchmarks/sweep.py --rounds {rounds} --seeds {options.seeds}{only}"
    about = "".join(__doc__.partition("The study")[1:])
    return f"# A sweep beside other ways to run its stages\n\n`{command}`\n\n{machine()}\n\n{table(found)}\n\n{about}"


if __name__ == "__main__":
    main()
