"""What does sharing and running without barriers save in a full study, and how long does it take to find out?

Run `python analysis/benchmarks/simulation.py`: less than a minute. It writes simulation.md beside this file. The full study is a real plan:
2 encoders x (10 intermediates and the baseline) x 12 targets x 10 seeds, of data sets that are pinned on the Hub, so that nothing is read.
Its durations are declared: round sizes of the training sets, 3 epochs, and a speed for each encoder. The forest is synthetic.
"""

from __future__ import annotations

import argparse
import random
import resource
import time
from pathlib import Path

from machine import machine

from raystilts.progress import duration
from raystilts.simulate import Declared, Graph, Makespan, durations, graph_of, make_graph, simulate
from raystilts.stage import Encoder, Phase, Recipe
from raystilts.store import Store
from raystilts.study import Plan, Study, make_plan

INTERMEDIATES = ("mnli", "snli", "anli-plus", "qqp", "squad", "squad2", "hellaswag", "cosmosqa", "csqa", "siqa")
TARGETS = ("xnli", "afrixnli", "pawsx", "udpos", "wikiann", "xquad", "mlqa", "tydiqa", "xcopa", "belebele", "sib200", "tatoeba")
THOUSANDS = {
    "mnli": 390, "snli": 550, "anli-plus": 1100, "qqp": 360, "squad": 88, "squad2": 130, "hellaswag": 40, "cosmosqa": 25,
    "csqa": 10, "siqa": 33, "copa": 0.4, "pawsx": 49, "udpos": 21, "wikiann": 20, "tydiqa": 3.7, "sib200": 0.7, "xnli": 390,
    "xcopa": 0.4, "belebele": 67,
}  # fmt: skip
PER_LANGUAGE = 1500  # test examples
SPEEDS = {
    "intermediate:base": 200.0, "target:base": 200.0, "evaluation:base": 800.0,
    "intermediate:large": 70.0, "target:large": 70.0, "evaluation:large": 280.0,
}  # fmt: skip
WORKERS = (1, 8, 32, 64, 128, 512)


def full_study() -> Plan:
    """The plan; nothing is downloaded, as identities are commits."""
    encoders = tuple(Encoder(name, hub=f"xlm-roberta-{name}", revision="0" * 40) for name in ("base", "large"))
    recipes = {"default": Recipe(max_length=384, num_epochs=3)}
    return make_plan(Study("full", "What does everything give to everything?", encoders, INTERMEDIATES, TARGETS, tuple(range(10)), recipes))


def declared(plan: Plan) -> Declared:
    """Speeds, and how many examples each stage has."""
    examples = {}
    for key, stage in plan.stages.items():
        if stage.task and stage.phase == "train":
            examples[key] = round(3000 * THOUSANDS[stage.task.name])
        else:
            examples[key] = PER_LANGUAGE * sum(split == "test" for _, split, _ in stage.reads)
    return Declared(examples_per_second=SPEEDS, examples=examples)


def forest(size: int) -> tuple[Graph, dict[str, float]]:
    """Roots with 11 children each, those with 12 models each, each model with an evaluation; log-normal durations."""
    rng = random.Random(1)  # noqa: S311  no secret
    parents: dict[str, str | None] = {}
    phases: dict[str, Phase] = {}
    cells: list[str] = []

    def add(parent: str | None, phase: Phase) -> str:
        key = f"{len(parents):06d}"
        parents[key], phases[key] = parent, phase
        return key

    while len(parents) < size:
        root = add(None, "train")
        for _ in range(11):
            middle = add(root, "train")
            cells += [add(add(middle, "train"), "evaluate") for _ in range(12)]
    above = {key: (parent,) if parent else () for key, parent in parents.items()}
    return make_graph(above, phases, cells), {key: 3600 * rng.lognormvariate(0, 1) for key in parents}


def row(name: str, found: Makespan, took: float) -> str:
    """A line of the table."""
    sweeps = [
        f"{hours(getattr(found, sweep))} ({100 * found.idle[sweep]:.1f} %)"
        for sweep in ("makespan", "wave_by_wave", "unshared", "lower_bound")
    ]
    ratios = [f"{value / found.makespan:.2f}" for value in (found.wave_by_wave, found.unshared)]
    cells = [name, f"{found.workers:,}", *sweeps, f"{found.makespan / found.lower_bound:.3f}", *ratios, f"{took:.2f}"]
    return f"| {' | '.join(cells)} |"


def hours(seconds: float) -> str:
    """Readable, also where it is years."""
    return duration(seconds) if seconds < 360_000 else f"{seconds / 3600:,.0f} h"


def timed(graph: Graph, seconds: dict[str, float], workers: int) -> tuple[Makespan, float]:
    """A simulation, and how long it took."""
    started = time.perf_counter()
    found = simulate(graph, seconds, workers)
    return found, time.perf_counter() - started


def main() -> None:
    """Simulates both and writes the table."""
    parser = argparse.ArgumentParser(description="Simulated makespans of a full study and of a large forest.")
    parser.add_argument("--size", type=int, default=100_000, help="stages of the forest, at least")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".md"))
    options = parser.parse_args()
    started = time.perf_counter()
    plan = full_study()
    planned = time.perf_counter() - started
    known = durations(plan, Store(Path("nowhere")), declared(plan))
    if list(known.counts) != ["declared"]:
        raise SystemExit(f"durations are {known.counts}, and should all be declared")
    graph, seconds = graph_of(plan), dict(known.seconds)
    started = time.perf_counter()
    trees, lengths = forest(options.size)
    grown = time.perf_counter() - started
    study = [timed(graph, seconds, workers) for workers in WORKERS]
    large = [timed(trees, lengths, workers) for workers in WORKERS]
    first, whole = study[0][0], large[0][0]
    slowest = max(took for _, took in large)
    lines = [
        "# Simulated sweeps: sharing, barriers, bounds",
        "",
        f"Made by `python analysis/benchmarks/simulation.py`. One process, one thread. {machine()}",
        "",
        f"Full study: 2 encoders x {len(INTERMEDIATES) + 1} arms x {len(TARGETS)} targets x 10 seeds = {first.num_cells:,} runs, "
        f"{first.num_stages:,} stages in {first.num_jobs:,} jobs (a real plan, made in {planned:.1f} s); work {hours(first.work)}, "
        f"unshared {hours(first.unshared_work)}; longest chain {hours(first.critical_path)}. Durations are declared and not measured: "
        f"{SPEEDS['target:base']:.0f} examples/s for the base encoder and {SPEEDS['target:large']:.0f} for the large one, four times as "
        "many in evaluations, 3 epochs, round sizes of the training sets.",
        "",
        f"Forest: {whole.num_stages:,} stages in {whole.num_jobs:,} jobs for {whole.num_cells:,} runs, roots with 11 children with 12 "
        f"models each (made in {grown:.1f} s); log-normal durations with a median of 1 hour; work {hours(whole.work)}, unshared "
        f"{hours(whole.unshared_work)}; longest chain {hours(whole.critical_path)}.",
        "",
        "| graph | workers | raystilts run (idle) | wave by wave (idle) | nothing shared (idle) | lower bound (idle) | run / bound "
        "| waves / run | unshared / run | simulated in, s |",
        "|---|---|---|---|---|---|---|---|---|---|",
        *(row("full study", *found) for found in study),
        *(row("forest", *found) for found in large),
        "",
        f"The slowest simulation of {whole.num_stages:,} stages takes {slowest:.1f} s (wanted: less than 30 s: "
        f"{'PASS' if slowest < 30 else 'FAIL'}). Most memory of the whole benchmark: "
        f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB.",
        "",
        "Each simulation is of three sweeps, twice of the first (from an empty store, and from what is done). A job of `raystilts run` "
        "is a stage and the evaluations of its model, and the longest remaining chain of jobs, counted in jobs and not in hours, starts "
        "first. Waves and unshared runs start in plan order. The lower bound is the longest chain of stages, or the work / the workers. "
        "Starting jobs, failures, and jobs that slow each other down are not simulated.",
    ]
    print("\n".join(lines))
    options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
