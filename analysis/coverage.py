"""Coverage study: how often do nominal 95 % intervals of a gain hold the true gain, where the truth is known by construction?

Run `python analysis/coverage.py`: under 30 minutes on two cores. It writes analysis/coverage.md.

Two arms of S runs are scored on the same n examples under a two-way logistic model: an example has a difficulty, which the arms share
in part, and a run has an effect, whose size is set so that the scores of runs on infinitely many examples have a standard deviation of
0.6 points (typical: as on MasakhaNER) or 2.5 points (high). F1 counts spans, accuracy answers. The true gain is the expected score of a
run of one arm on all examples that there could be, minus that of the other, by quadrature. Intervals come from the functions that users
call, and the bootstraps share their draws.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import optimize, special

from raystilts.stats import calibrated, percentile, two_way
from raystilts.stats.alternatives import fixed_test_set_welch
from raystilts.stats.bootstrap import TestSet, arm_means, generator, resampled_chunks, run_weights
from raystilts.stats.estimate import ratio_arrays

Floats = npt.NDArray[np.float64]
DEFAULTS = ("two-way t", "crossed, calibrated")
RIVALS = ("example-only bootstrap", "run-score bootstrap", "Welch on run scores", "crossed percentile")
ALLOWED = (93.5, 98.5)
RUN_SD = {"typical": 0.6, "high": 2.5}
"""Standard deviation between runs of the score on infinitely many examples, points."""
LEVEL, SHIFT = 1.2, 0.15
"""Log-odds of the second arm at an average example, and what the first arm adds."""
SHARED_SD, OWN_SD = 1.5, 0.5
"""Log-odds: difficulty of an example in both arms, and in one arm only."""
GOLD, CONFUSED, SPURIOUS = 1.2, 0.5, 0.1
"""Gold spans per example (Poisson), share of missed spans that are predicted wrongly, spurious spans per example (Poisson)."""
BATCH = 20
"""Replications that share the weights of the bootstrap."""


@dataclass(frozen=True)
class Setting:
    """A cell of the study: "F1" or "accuracy", the noise between runs, runs per arm, examples."""

    metric: str
    noise: str
    runs: int
    examples: int


SETTINGS = tuple(Setting(*values) for values in product(("F1", "accuracy"), RUN_SD, (3, 5, 10), (100, 500, 2000)))


def expected_scores(metric: str, arm: int, run_effects: Floats) -> Floats:
    """Scores in points that runs with these effects (log-odds) have on infinitely many examples."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    difficulty = np.hypot(SHARED_SD, OWN_SD) * nodes
    share: Floats = special.expit(LEVEL + SHIFT * (arm == 0) + run_effects[:, None] + difficulty) @ (weights / weights.sum())
    if metric == "accuracy":
        return 100 * share
    predicted = GOLD * share + CONFUSED * GOLD * (1 - share) + SPURIOUS
    result: Floats = 100 * 2 * GOLD * share / (predicted + GOLD)
    return result


def run_spread(metric: str, noise: str) -> float:
    """The standard deviation of run effects (log-odds) for which run scores have that of the noise level (points), the arms' mean."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    weights = weights / weights.sum()

    def excess(spread: float) -> float:
        scores = [expected_scores(metric, arm, spread * nodes) for arm in (0, 1)]
        return float(np.mean([np.sqrt(weights @ (x - weights @ x) ** 2) for x in scores])) - RUN_SD[noise]

    return float(optimize.brentq(excess, 1e-4, 2.0))


def true_gain(metric: str, noise: str) -> float:
    """Expected score of a run of the first arm minus that of the second, points."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    scores = [expected_scores(metric, arm, run_spread(metric, noise) * nodes) @ weights / weights.sum() for arm in (0, 1)]
    return float(scores[0] - scores[1])


def simulate(rng: np.random.Generator, setting: Setting, number: int) -> npt.NDArray[np.float64]:
    """Statistics of `number` experiments: (number, 2 arms, S, n, 3) counts of spans for F1, (number, 2, S, n, 1) for accuracy."""
    shape = (number, 2, setting.runs, setting.examples)
    logit = LEVEL + SHIFT * np.array([1.0, 0.0])[:, None, None] + rng.normal(0, run_spread(setting.metric, setting.noise), (*shape[:3], 1))
    logit = logit + rng.normal(0, SHARED_SD, (number, 1, 1, setting.examples)) + rng.normal(0, OWN_SD, (number, 2, 1, setting.examples))
    if setting.metric == "accuracy":
        return (rng.random(shape) < special.expit(logit)).astype(np.float64)[..., None]
    gold = np.broadcast_to(rng.poisson(GOLD, (number, 1, 1, setting.examples)), shape)
    true = rng.binomial(gold, special.expit(logit))
    predicted = true + rng.binomial(gold - true, CONFUSED) + rng.poisson(SPURIOUS, shape)
    return np.stack([true, predicted, gold], axis=-1).astype(np.float64)


def bounds(arms: Floats, metric: str, scores: Floats, weights: Sequence[npt.NDArray[np.int64]]) -> dict[str, tuple[float, float]]:
    """Intervals in points of every method for one experiment.

    arms: (2, S, n, 1 or 3). scores: (B, 2 S) on resampled examples. weights: (B, S) of the runs of each arm.
    """
    size = arms.shape[1]
    found = two_way(list(arms), [1.0, -1.0], metric)
    ratios = [ratio_arrays(arm, metric) for arm in arms]
    own = [100 * num.sum(axis=1) / den.sum(axis=1) for num, den in ratios]
    crossed, given_examples = (
        arm_means(x[0], weights[0], np.arange(size)) - arm_means(x[1], weights[1], np.arange(size))
        for x in ((scores[:, :size], scores[:, size:]), (own[0][None], own[1][None]))
    )
    welch = fixed_test_set_welch(own[0], own[1])
    return {
        "two-way t": found.interval(),
        "crossed, calibrated": calibrated(crossed, found),
        "example-only bootstrap": percentile(scores[:, 0] - scores[:, size]),
        "run-score bootstrap": percentile(given_examples),
        "Welch on run scores": (welch.lo, welch.hi),
        "crossed percentile": percentile(crossed),
    }


def coverage(setting: Setting, replications: int, resamples: int, seed: int) -> dict[str, tuple[float, float]]:
    """Coverage in per cent and mean width in points of every method."""
    rng = generator(seed, f"simulation {setting}")
    truth, metric = true_gain(setting.metric, setting.noise), "micro_f1" if setting.metric == "F1" else "accuracy"
    hits: dict[str, list[bool]] = {name: [] for name in (*DEFAULTS, *RIVALS)}
    widths: dict[str, list[float]] = {name: [] for name in hits}
    for first in range(0, replications, BATCH):
        arms = simulate(rng, setting, min(BATCH, replications - first))
        name = f"{setting} {first}"
        sets = []
        for experiment in arms:
            num, den = ratio_arrays(experiment.reshape(-1, *experiment.shape[2:]), metric)
            sets.append(TestSet(num, den, np.arange(setting.examples)))
        scores = np.empty((len(arms), resamples, 2 * setting.runs))
        for rows, parts in resampled_chunks(seed, f"examples {name}", resamples, setting.examples, sets):
            scores[:, rows] = parts
        weights = [run_weights(seed, f"runs {name} {arm}", resamples, setting.runs) for arm in (0, 1)]
        for experiment, drawn in zip(arms, scores, strict=True):
            for method, (low, high) in bounds(experiment, metric, drawn, weights).items():
                hits[method].append(low <= truth <= high)
                widths[method].append(high - low)
    return {method: (100 * float(np.mean(hits[method])), float(np.nanmean(widths[method]))) for method in hits}


def report(found: dict[Setting, dict[str, tuple[float, float]]], replications: int, resamples: int, seed: int) -> list[str]:
    """The tables as lines of markdown."""
    methods = (*DEFAULTS, *RIVALS)
    error = 100 * np.sqrt(0.05 * 0.95 / replications)
    level = [float(expected_scores(metric, 1, np.zeros(1))[0]) for metric in ("F1", "accuracy")]
    lines = [
        "# Coverage of nominal 95 % intervals for a gain",
        "",
        f"Made by `python analysis/coverage.py --replications {replications} --resamples {resamples} --seed {seed}`, whose first lines say "
        f"what is simulated. {replications} experiments a cell (standard error of a coverage of 95 %: {error:.2f} points), {resamples} "
        f"resamples in each bootstrap (the package's default is 10,000), whose weights {BATCH} experiments share. S: runs per arm; n: "
        "examples. An interval that a method cannot give, because all its run scores are equal, counts as a miss.",
        "",
        f"True gain: {true_gain('F1', 'typical'):.2f} points of F1, {true_gain('accuracy', 'typical'):.2f} of accuracy (typical noise); "
        f"the second arm's runs score {level[0]:.1f} and {level[1]:.1f}.",
        "",
        "| method | least | most | mean width, points |",
        "|---|---|---|---|",
    ]
    for method in methods:
        values, widths = zip(*(found[setting][method] for setting in found), strict=True)
        name = f"**{method}** (default)" if method in DEFAULTS else method
        lines.append(f"| {name} | {min(values):.1f} | {max(values):.1f} | {np.mean(widths):.2f} |")
    outside = [
        f"{method} {found[s][method][0]:.1f} at {s.metric}, {s.noise} noise, S {s.runs}, n {s.examples}"
        for s in found
        for method in DEFAULTS
        if not ALLOWED[0] <= found[s][method][0] <= ALLOWED[1]
    ]
    verdict = "; ".join(outside) if outside else "none"
    lines += ["", f"Cells in which a default lies outside {ALLOWED[0]} to {ALLOWED[1]} %: {verdict}."]
    for metric, noise in product(("F1", "accuracy"), RUN_SD):
        title = f"## {metric}, {noise} noise between runs (standard deviation {RUN_SD[noise]} points)"
        lines += ["", title, "", f"| S | n | {' | '.join(methods)} |", "|" + "---|" * (len(methods) + 2)]
        for s in (s for s in found if (s.metric, s.noise) == (metric, noise)):
            lines.append(f"| {s.runs} | {s.examples} | {' | '.join(f'{found[s][method][0]:.1f}' for method in methods)} |")
    return lines


def main() -> None:
    """Simulates all cells, the longest first, in one process per core."""
    parser = argparse.ArgumentParser(description="Coverage of nominal 95 % intervals for a gain.")
    parser.add_argument("--replications", type=int, default=4000)
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".md"))
    options = parser.parse_args()
    start = time.perf_counter()
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")  # read by the processes started below
    order = sorted(SETTINGS, key=lambda s: -s.runs * s.examples)
    found = {}
    with ProcessPoolExecutor(os.cpu_count(), multiprocessing.get_context("spawn")) as pool:
        jobs = {s: pool.submit(coverage, s, options.replications, options.resamples, options.seed) for s in order}
        for setting, job in jobs.items():
            found[setting] = job.result()
            told = ", ".join(f"{name} {found[setting][name][0]:.1f}" for name in (*DEFAULTS, *RIVALS))
            print(
                f"{time.perf_counter() - start:6.0f} s  {setting.metric} {setting.noise} S {setting.runs} n {setting.examples}: {told}",
                flush=True,
            )
    lines = report({s: found[s] for s in SETTINGS}, options.replications, options.resamples, options.seed)
    options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
