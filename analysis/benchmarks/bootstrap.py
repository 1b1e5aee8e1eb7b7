"""How fast is the crossed bootstrap? B = 10,000 resamples of 19 languages, 5 runs of each of 2 encoders, 29,076 examples, micro-F1.

Run `python analysis/benchmarks/bootstrap.py`: about 5 minutes. It writes bootstrap.md beside this file. Every repetition times all
methods one after the other in one process (processor time, one thread); ratios are taken within a repetition.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from machine import machine
from scipy import stats

from raystilts.stats import crossed_bootstrap
from raystilts.stats.bootstrap import generator, weight_blocks

Floats = npt.NDArray[np.float64]
B, RUNS = 10_000, 5
SIZES = [1000 + 59 * i for i in range(18)] + [2049]
OWN, FLOOR = "raystilts: crossed_bootstrap", "drawing the indices: Philox, uint32"
FEW = 200
"""Resamples that scipy draws; its time is multiplied by B / FEW."""


def arms(size: int) -> list[Floats]:
    """Two arms (5, size, 3) of span counts."""
    rng = np.random.default_rng(size)
    gold = np.broadcast_to(rng.poisson(1.2, size), (RUNS, size))
    true = [rng.binomial(gold, chance) for chance in (0.8, 0.75)]
    return [np.stack([t, t + rng.poisson(0.2, (RUNS, size)), gold], axis=2).astype(np.float64) for t in true]


def ours(data: list[list[Floats]]) -> None:
    """The gain of every language, runs and examples resampled."""
    for pair in data:
        crossed_bootstrap(pair, [1.0, -1.0], "micro_f1", resamples=B)


def weights_alone(data: list[list[Floats]]) -> None:
    """The multinomial counts that `ours` uses, and nothing else."""
    for pair in data:
        for _ in weight_blocks(0, "examples", B, pair[0].shape[1]):
            pass


def indices(bits: Callable[[int], Any], kind: npt.DTypeLike) -> Callable[[list[list[Floats]]], None]:
    """Drawing B times n indices of each test set with numpy, in pieces that stay in cache, and doing nothing with them."""

    def draw(data: list[list[Floats]]) -> None:
        rng = np.random.Generator(bits(0))
        for pair in data:
            size = pair[0].shape[1]
            step = max(1, (1 << 17) // size)
            for start in range(0, B, step):
                rng.integers(0, size, size=(min(step, B - start), size), dtype=kind)

    return draw


def raw_bytes(data: list[list[Floats]]) -> None:
    """A byte of Philox per weight, the least that `ours` has to draw."""
    rng = generator(0, "bytes")
    for pair in data:
        for _ in range(0, B, 100):
            rng.bit_generator.random_raw(100 * pair[0].shape[1] // 8)


def scipy_documented(data: list[list[Floats]]) -> None:
    """scipy as documented: paired samples, a vectorised statistic, no batches (all resamples at once)."""
    for pair in data:
        num = np.concatenate([2 * arm[:, :, 0] for arm in pair])
        den = np.concatenate([arm[:, :, 1] + arm[:, :, 2] for arm in pair])
        rng = np.random.default_rng(0)

        def gain(*samples: Floats, axis: int = -1, rng: np.random.Generator = rng) -> Floats:
            sums = np.array([x.sum(axis=axis) for x in samples])
            return _gain(100 * sums[: 2 * RUNS] / sums[2 * RUNS :], rng)

        stats.bootstrap((*num, *den), gain, paired=True, vectorized=True, n_resamples=FEW, method="percentile", rng=rng)


def scipy_tuned(data: list[list[Floats]]) -> None:
    """The fastest that we could make scipy: it resamples one array of indices, in batches that stay in cache."""
    for pair in data:
        num = np.concatenate([2 * arm[:, :, 0] for arm in pair])
        den = np.concatenate([arm[:, :, 1] + arm[:, :, 2] for arm in pair])
        rng = np.random.default_rng(0)

        def gain(
            index: npt.NDArray[np.int64], axis: int = -1, num: Floats = num, den: Floats = den, rng: np.random.Generator = rng
        ) -> Floats:
            ratios = [100 * n[index].sum(axis=axis) / d[index].sum(axis=axis) for n, d in zip(num, den, strict=True)]
            return _gain(np.array(ratios), rng)

        sample = (np.arange(num.shape[1]),)
        stats.bootstrap(sample, gain, vectorized=True, n_resamples=FEW, batch=20, method="percentile", rng=rng)


def _gain(scores: Floats, rng: np.random.Generator) -> Floats:
    """(10, ...) scores -> mean of five resampled runs minus that of the other five."""
    weights = rng.multinomial(RUNS, [1 / RUNS] * RUNS, size=(2, *scores.shape[1:])) / RUNS
    result: Floats = (np.moveaxis(weights[0], -1, 0) * scores[:RUNS]).sum(axis=0) - (np.moveaxis(weights[1], -1, 0) * scores[RUNS:]).sum(
        axis=0
    )
    return result


METHODS: dict[str, tuple[Callable[[list[list[Floats]]], None], float]] = {
    OWN: (ours, 1),
    "its weights alone": (weights_alone, 1),
    FLOOR: (indices(np.random.Philox, np.uint32), 1),
    "drawing the indices: PCG64, int64 (numpy's default)": (indices(np.random.PCG64, np.int64), 1),
    "drawing the indices: SFC64, uint16 (numpy's fastest)": (indices(np.random.SFC64, np.uint16), 1),
    "drawing one byte of Philox per weight": (raw_bytes, 1),
    "scipy.stats.bootstrap, as documented": (scipy_documented, B / FEW),
    "scipy.stats.bootstrap, tuned by hand": (scipy_tuned, B / FEW),
}


def measure(repetitions: int) -> dict[str, list[float]]:
    """Processor seconds of every method in every repetition."""
    data = [arms(size) for size in SIZES]
    seconds: dict[str, list[float]] = {name: [] for name in METHODS}
    for number in range(repetitions + 1):
        for name, (method, factor) in METHODS.items():
            start = time.process_time()
            method(data)
            if number:  # the first repetition warms caches
                seconds[name].append(factor * (time.process_time() - start))
    return seconds


def peak_memory() -> tuple[float, float]:
    """MiB of memory that a process has with the data and at most during the job."""
    data = [arms(size) for size in SIZES]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    ours(data)
    return before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _spread(values: list[float], digits: int) -> str:
    return f"{np.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def report(seconds: dict[str, list[float]], memory: tuple[float, float]) -> list[str]:
    """The table as lines of markdown."""
    lines = [
        "# Speed of the crossed bootstrap",
        "",
        f"Made by `python analysis/benchmarks/bootstrap.py`. {B:,} resamples of runs and examples: {len(SIZES)} languages, {RUNS} runs of "
        f"each of 2 encoders, {sum(SIZES):,} examples, micro-F1. Processor seconds of one thread in one process; median of "
        f"{len(seconds[OWN])} repetitions (least to most), ratios within repetitions. {machine()}",
        "",
        "| | seconds | its time / raystilts' | raystilts' time / its |",
        "|---|---|---|---|",
    ]
    for name, values in seconds.items():
        by = [x / own for x, own in zip(values, seconds[OWN], strict=True)]
        lines.append(f"| {name} | {_spread(values, 2)} | {_spread(by, 2)} | {_spread([1 / x for x in by], 2)} |")
    lines += [
        "",
        f"Memory: {memory[1]:.0f} MiB at most, of which {memory[0]:.0f} are the interpreter, its libraries and the data.",
        "",
        f"scipy draws {FEW} resamples in each language and its time is multiplied by {B // FEW}. It is asked for a percentile interval, "
        "because its default (BCa) adds a jackknife. It cannot resample two things at once, so its statistic draws the runs. As documented "
        "means paired samples and a vectorised statistic without `batch`; with all 10,000 resamples at once it would also hold over 100 MB "
        "for each of 20 samples. Tuned by hand, it resamples indices, in batches that stay in the processor's cache.",
        "",
        "The package draws no indices: independent Poisson counts, a byte each, are multinomial counts given their sum. Sums of counts "
        "with integer statistics are exact in float32, so neither the size of the pieces nor the number of threads changes a bit "
        "of the result (tests/stats/test_stats_bootstrap.py).",
    ]
    return lines


def main() -> None:
    """Measures in new processes, whose libraries use one thread."""
    parser = argparse.ArgumentParser(description="Speed of the crossed bootstrap.")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".md"))
    options = parser.parse_args()
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, spawn) as pool:
        memory = pool.submit(peak_memory).result()
    with ProcessPoolExecutor(1, spawn) as pool:
        seconds = pool.submit(measure, options.repetitions).result()
    lines = report(seconds, memory)
    print("\n".join(lines))
    options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
