"""How long does the analysis of a full study take, how much memory does it need, and how does its cost grow with its rows?

Run `python analysis/benchmarks/full_study.py`: about 15 minutes and 1 GB of temporary disk. It writes full_study.md beside this file.
The study is synthetic: 2 encoders x (10 intermediates and the baseline) x 12 targets x 10 seeds, targets in 7 to 50 languages, some with
parallel test sets, three metrics, 3 % of the large encoder's runs collapsed. Shares of the rows are shares of every test set.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import os
import resource
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from machine import machine
from scipy import special

from raystilts.stats import Contrast, Interaction, Plan, analyse

ENCODERS, SEEDS = ("base", "large"), 10
INTERMEDIATES = ("none", *(f"task{i}" for i in range(10)))
SHARES = (0.125, 0.25, 0.5, 1.0)
LOW, HIGH = "low", "high"


@dataclass(frozen=True)
class Target:
    """A target: its languages, "micro_f1", "accuracy" or "f1" (shares of tokens), and whether its test sets are translations."""

    name: str
    languages: int
    metric: str
    parallel: bool


TARGETS = (
    Target("entities", 50, "micro_f1", False),
    Target("tags", 50, "micro_f1", False),
    Target("retrieval", 38, "accuracy", False),
    Target("chunks", 38, "micro_f1", False),
    Target("topics", 20, "accuracy", False),
    Target("inference", 15, "accuracy", True),
    Target("paraphrase", 15, "accuracy", False),
    Target("causes", 11, "accuracy", True),
    Target("questions a", 11, "f1", True),
    Target("questions b", 9, "f1", False),
    Target("questions c", 7, "f1", True),
    Target("mining", 7, "accuracy", False),
)


def names(target: Target) -> list[str]:
    """Codes of the target's languages; every third is low-resource."""
    return [f"l{i:02d}" for i in range(target.languages)]


def plan(resamples: int) -> Plan:
    """A gain per encoder, intermediate and target, and the difference between the encoders."""
    contrasts, interactions = [], []
    for target in TARGETS:
        for task in INTERMEDIATES[1:]:
            pair = []
            for encoder in ENCODERS:
                labels = {"encoder": encoder, "intermediate": task, "target": target.name}
                pair.append(Contrast(f"{task} > {target.name}, {encoder}", labels, labels | {"intermediate": "none"}, labels=labels))
            contrasts += pair
            interactions.append(Interaction(f"{task} > {target.name}", plus=pair[1].name, minus=pair[0].name))
    everywhere = [f"l{i:02d}" for i in range(50)]
    return Plan(
        contrasts=tuple(contrasts),
        interactions=tuple(interactions),
        metric={target.name: target.metric for target in TARGETS},
        groups={LOW: tuple(everywhere[::3]), HIGH: tuple(name for name in everywhere if name not in everywhere[::3])},
        low_group=LOW,
        covariate={name: float(i % 5) + i / 50 for i, name in enumerate(everywhere)},
        resamples=resamples,
    )


def write(folder: Path, rows: int) -> int:
    """Writes runs.parquet and a file of examples per target; returns the number of rows of examples."""
    number = len(ENCODERS) * len(INTERMEDIATES) * SEEDS
    size = max(2, round(rows / (number * sum(target.languages for target in TARGETS))))
    runs, total = [], 0
    (folder / "examples").mkdir()
    for position, target in enumerate(TARGETS):
        rng = np.random.default_rng(position)
        sets = [_test_set(rng, target, name, size) for name in names(target)]
        arms = [(encoder, task) for encoder in ENCODERS for task in INTERMEDIATES]
        pending: list[pa.Table] = []
        with pq.ParquetWriter(folder / "examples" / f"{position:02d}.parquet", _examples(rng, sets[:1], target, "r", None).schema) as out:
            for encoder, task in arms:
                for seed in range(SEEDS):
                    run = f"{encoder}/{task}/{target.name}/seed {seed}"
                    runs.append(
                        {"run_id": run, "encoder": encoder, "intermediate": task, "target": target.name, "seed": seed, "status": "ok"}
                    )
                    collapsed = encoder == "large" and rng.random() < 0.03
                    ability = 0.3 * (encoder == "large") + 0.1 * (task > "task6") + rng.normal(0, 0.1)
                    pending.append(_examples(rng, sets, target, run, None if collapsed else ability))
                    if sum(map(len, pending)) > 1 << 20 or len(runs) % number == 0:
                        merged = pa.concat_tables(pending).unify_dictionaries()
                        total += len(merged)
                        out.write_table(merged, row_group_size=1 << 20)
                        pending = []
    pq.write_table(pa.Table.from_pylist(runs), folder / "runs.parquet")
    return total


@dataclass(frozen=True, eq=False)
class _TestSet:
    language: str
    ids: pa.Array
    difficulty: np.ndarray
    gold: np.ndarray
    gold_code: np.ndarray


def _test_set(rng: np.random.Generator, target: Target, language: str, size: int) -> _TestSet:
    ids = pa.array([f"{target.name}-{'' if target.parallel else language + '-'}{i}" for i in range(size)])
    return _TestSet(language, ids, rng.normal(1, 1.5, size), rng.poisson(1.2, size), rng.integers(-(2**62), 2**62, size))


def _examples(rng: np.random.Generator, sets: list[_TestSet], target: Target, run: str, ability: float | None) -> pa.Table:
    """The rows of one run; ability (log-odds) None: it collapsed."""
    difficulty = np.concatenate([s.difficulty for s in sets])
    gold, code = np.concatenate([s.gold for s in sets]), np.concatenate([s.gold_code for s in sets])
    chance = np.zeros(len(difficulty)) if ability is None else special.expit(difficulty + ability)
    columns = {}
    if target.metric == "micro_f1":
        true = rng.binomial(gold, chance)
        extra = rng.poisson(0.2, len(gold)) if ability is not None else 0 * gold
        right = (true == gold) & (extra == 0)
        columns = {"s0": true.astype(np.float64), "s1": (true + extra).astype(np.float64), "s2": gold.astype(np.float64)}
    else:
        right = rng.random(len(gold)) < chance
        partly = rng.integers(0, 7, len(gold)) / 7 if target.metric == "f1" and ability is not None else 0.0
        columns = {"s0": np.where(right, 1.0, partly)}
    wrong = rng.integers(-(2**62), 2**62, len(gold)) if ability is not None else np.int64(7)
    languages = [pa.DictionaryArray.from_arrays(pa.array(np.full(len(s.ids), 0, np.int32)), [s.language]) for s in sets]
    return pa.table(
        {
            "run_id": pa.DictionaryArray.from_arrays(pa.array(np.zeros(len(gold), np.int32)), [run]),
            "language": pa.chunked_array(languages).unify_dictionaries().combine_chunks(),
            "example_id": pa.concat_arrays([s.ids for s in sets]),
            **columns,
            "prediction_code": np.where(right, code, wrong) if ability is not None else np.full(len(gold), 7),
            "gold_code": code,
        }
    )


def measure(folder: Path, resamples: int) -> dict[str, float]:
    """Seconds (wall clock, processor), most memory in MiB and what was found, of one analysis in this process."""
    start, used = time.perf_counter(), time.process_time()
    runs = pq.read_table(folder / "runs.parquet")
    found = analyse(runs, folder / "examples", plan(resamples))
    return {
        "seconds": time.perf_counter() - start,
        "processor": time.process_time() - used,
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "gains": len(found.gains),
        "interactions": len(found.interactions),
    }


def report(lines_of: list[dict[str, float]], resamples: int) -> list[str]:
    """The table as lines of markdown."""
    first, last = lines_of[0], lines_of[-1]
    slope = (last["processor"] - first["processor"]) / (last["rows"] - first["rows"]) if len(lines_of) > 1 else math.nan
    lines = [
        "# Time and memory of a full study's analysis",
        "",
        f"Made by `python analysis/benchmarks/full_study.py`. {len(ENCODERS)} encoders x {len(INTERMEDIATES)} arms x {len(TARGETS)} "
        f"targets x {SEEDS} seeds, {max(t.languages for t in TARGETS)} languages at most, {resamples:,} resamples, both policies; "
        f"examples are read from parquet files in batches. One thread for matrix products. {machine()}",
        "",
        "| rows | files, MB | seconds | processor seconds | memory at most, MiB | rows of gains | rows of interactions |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {x['rows']:,.0f} | {x['disk']:.0f} | {x['seconds']:.0f} | {x['processor']:.0f} | {x['memory']:.0f} | {x['gains']:.0f} "
        f"| {x['interactions']:.0f} |"
        for x in lines_of
    ]
    straight = [first["processor"] + slope * (x["rows"] - first["rows"]) for x in lines_of]
    away = max(abs(x["processor"] / y - 1) for x, y in zip(lines_of, straight, strict=True))
    fixed = first["processor"] - slope * first["rows"]
    lines += [
        "",
        f"Processor seconds are {fixed:.0f} + {1e6 * slope:.1f} per million rows (the line through the smallest and the largest size); "
        f"no size is more than {100 * away:.0f} % away from that line. What does not grow with rows is the work per row of the results: "
        "intervals, power, corrections, and the draws of the bootstrap per arm and language.",
    ]
    return lines


def main() -> None:
    """Writes each size, measures it in a process of its own and deletes it."""
    parser = argparse.ArgumentParser(description="Time and memory of a full study's analysis.")
    parser.add_argument("--rows", type=int, default=50_000_000)
    parser.add_argument("--shares", type=float, nargs="+", default=SHARES)
    parser.add_argument("--resamples", type=int, default=10_000)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".md"))
    options = parser.parse_args()
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    found = []
    for share in sorted(options.shares):
        with tempfile.TemporaryDirectory() as folder:
            rows = write(Path(folder), round(options.rows * share))
            disk = sum(path.stat().st_size for path in Path(folder).rglob("*.parquet")) / 1e6
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                figures = pool.submit(measure, Path(folder), options.resamples).result()
        found.append({"rows": float(rows), "disk": disk, **figures})
        print(found[-1], flush=True)
    lines = report(found, options.resamples)
    print("\n".join(lines))
    options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
