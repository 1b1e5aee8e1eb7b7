"""The crossed bootstrap: runs and clusters of examples are resampled together, with weights that all hypotheses share."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import special

from raystilts.stats.estimate import NOTHING, Estimate, ratio_arrays, t_quantile
from raystilts.stats.plan import StatsError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
CHUNK = 1 << 20
"""Weights held at a time; results do not depend on it."""
CACHED = 1 << 15
"""Draws counted at a time: few enough to stay in the processor's cache."""
GRID = 2.0**30
"""Values are rounded to 1 / GRID, so that every sum of theirs is exact whatever the order, the threads or the chunk."""


def generator(seed: int, name: str) -> np.random.Generator:
    """The Philox stream of a named set: the same for every hypothesis, untouched by what else is drawn.

    >>> generator(0, "a").integers(100) == generator(0, "a").integers(100)
    np.True_
    """
    key = int.from_bytes(hashlib.blake2b(f"{seed}\0{name}".encode(), digest_size=16).digest(), "little")
    return np.random.Generator(np.random.Philox(key=key))


def set_name(kind: str, parts: Iterable[str]) -> str:
    """A name for a set of runs or examples that depends on nothing but its members.

    >>> set_name("runs", ["b", "a"]) == set_name("runs", ["a", "b"])
    True
    """
    return kind + ":" + hashlib.blake2b("\0".join(sorted(parts)).encode(), digest_size=16).hexdigest()


def _counts(rng: np.random.Generator, rows: int, size: int, kind: npt.DTypeLike = np.int64) -> npt.NDArray[Any]:
    """(rows, size) multinomial counts. 32-bit draws, because their stream is the same however many are asked for at once."""
    counts = np.empty((rows, size), dtype=kind)
    step = max(1, CACHED // size)
    for start in range(0, rows, step):
        number = min(step, rows - start)
        drawn = rng.integers(0, size, size=(number, size), dtype=np.uint32).astype(np.int64)
        drawn += (np.arange(number) * size)[:, None]
        counts[start : start + number] = np.bincount(drawn.ravel(), minlength=number * size).reshape(number, size)
    return counts


def run_weights(seed: int, name: str, resamples: int, units: int) -> Ints:
    """(B, units) counts of resampled runs; one unit always counts once.

    >>> run_weights(0, "runs:x", 4, 3).sum(axis=1)
    array([3, 3, 3, 3])
    """
    return _counts(generator(seed, name), resamples, units)


@dataclass(frozen=True, eq=False)
class TestSet:
    """Statistics of R runs on one test set: num (R, G), den (R or 1, G); columns: (G,) positions in the resampled set."""

    __test__ = False  # not a test case, whatever its name says

    num: Floats
    den: Floats
    columns: Ints


def resampled_chunks(
    rng: np.random.Generator, resamples: int, size: int, sets: Sequence[TestSet], chunk: int = CHUNK
) -> Iterator[tuple[slice, list[Floats]]]:
    """Rows of resamples, and the (rows, R) scores in points of every test set, all under the same weights.

    size: number of clusters that are resampled. Resampled sums are matrix products of weights with statistics.

    >>> one = TestSet(np.array([[1.0, 0.0]]), np.ones((1, 2)), np.arange(2))
    >>> [rows for rows, _ in resampled_chunks(generator(0, "x"), 4, 2, [one], chunk=6)]
    [slice(0, 3, None), slice(3, 4, None)]
    """
    prepared = [_prepare(s) for s in sets]
    kind = np.result_type(*(matrix.dtype for matrix, _ in prepared))
    step = max(1, chunk // size)
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        counts = _counts(rng, rows, size, kind)
        scores = []
        for s, (matrix, num_runs) in zip(sets, prepared, strict=True):
            part = counts if len(s.columns) == size else counts[:, s.columns]
            sums = part @ matrix
            num, den = sums[:, :num_runs].astype(np.float64), sums[:, num_runs:].astype(np.float64)
            scores.append(100 * num / np.where(den > 0, den, 1.0))
        yield slice(start, start + rows), scores


def _prepare(s: TestSet) -> tuple[npt.NDArray[np.floating], int]:
    """Statistics as a (G, R + R or 1) matrix whose products with counts are exact: float32 for small integers, else float64 on a grid."""
    matrix = np.concatenate([s.num, s.den]).T
    if np.array_equal(matrix, np.rint(matrix)) and matrix.max(initial=0) * len(matrix) < 2**24:
        return np.ascontiguousarray(matrix, dtype=np.float32), len(s.num)
    return np.ascontiguousarray(np.rint(matrix * GRID) / GRID), len(s.num)


def arm_means(scores: Floats, weights: Ints, unit_of_run: Ints) -> Floats:
    """(B,) mean scores of an arm: scores (B, S) weighted by the resampled units (B, U) that its runs belong to.

    A resample that happens to hold none of the arm's runs (possible only where some runs miss the language) takes them all.

    >>> arm_means(np.array([[50.0, 60.0]]), np.array([[0, 2]]), np.array([0, 1]))
    array([60.])
    """
    w = weights[:, unit_of_run].astype(np.float64)
    total = w.sum(axis=1)
    w[total == 0] = 1.0
    result: Floats = (w * scores).sum(axis=1) / w.sum(axis=1)
    return result


def percentile(draws: Floats, alpha: float = 0.05) -> tuple[float, float]:
    """The raw percentile interval of (B,) draws: named, because it is badly calibrated (84 to 99.8 % for 95 %).

    >>> percentile(np.arange(101.0))
    (2.5, 97.5)
    """
    low, high = np.quantile(draws, [alpha / 2, 1 - alpha / 2])
    return float(low), float(high)


def calibrated(draws: Floats, found: Estimate, alpha: float = 0.05) -> tuple[float, float]:
    """The calibrated crossed bootstrap: percentile deviations from theta, scaled by t_df sqrt(V) / (z sd_boot) (STATISTICS.md).

    >>> low, high = calibrated(np.linspace(-1, 1, 1001), Estimate(0.0, 1.0, 1e9, 0.0, 1.0, 0.0, 1e9))
    >>> round(low, 2), round(high, 2)
    (-1.64, 1.64)
    """
    spread = float(np.std(draws, ddof=1))
    if spread**2 <= NOTHING or found.v <= NOTHING:
        return found.theta, found.theta
    scale = t_quantile(1 - alpha / 2, found.df) * found.se / (float(special.ndtri(1 - alpha / 2)) * spread)
    low, high = percentile(draws, alpha)
    return found.theta + scale * (low - found.theta), found.theta + scale * (high - found.theta)


def crossed_bootstrap(
    arms: Sequence[npt.ArrayLike],
    weights: Sequence[float],
    metric: str = "accuracy",
    clusters: npt.ArrayLike | None = None,
    *,
    resamples: int = 10_000,
    seed: int = 0,
    chunk: int = CHUNK,
) -> Floats:
    """(B,) draws, in points, of sum_a weights_a (mean score of arm a) on one test set; arms and clusters as in `two_way`.

    Runs of every arm and the clusters that all arms share are resampled together (Sellam et al. 2022). The result depends on seed only.

    >>> draws = crossed_bootstrap([np.eye(4)[:3], np.ones((3, 4))], [1, -1], resamples=200)
    >>> draws.shape, bool((draws <= 0).all())
    ((200,), True)
    """
    prepared = [ratio_arrays(arm, metric) for arm in arms]
    num, den = np.concatenate([n for n, _ in prepared]), np.concatenate([d for _, d in prepared])
    if len(weights) != len(prepared):
        raise StatsError(f"crossed_bootstrap got {len(prepared)} arms and {len(weights)} weights: one weight per arm")
    codes, inverse = np.unique(np.arange(num.shape[1]) if clusters is None else np.asarray(clusters), return_inverse=True)
    member = (inverse[:, None] == np.arange(len(codes))).astype(np.float64) if clusters is not None else None
    one = TestSet(num if member is None else num @ member, den if member is None else den @ member, np.arange(len(codes)))
    scores = np.empty((resamples, len(num)))
    for rows, (part,) in resampled_chunks(generator(seed, "examples"), resamples, len(codes), [one], chunk):
        scores[rows] = part
    draws, first = np.zeros(resamples), 0
    for i, ((n, _), weight) in enumerate(zip(prepared, weights, strict=True)):
        units = np.arange(len(n))
        draws += weight * arm_means(scores[:, first : first + len(n)], run_weights(seed, f"runs {i}", resamples, len(n)), units)
        first += len(n)
    return draws
