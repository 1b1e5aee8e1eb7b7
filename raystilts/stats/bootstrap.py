"""The crossed bootstrap: runs and clusters of examples are resampled together, with weights that all hypotheses share."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import special

from raystilts.stats.estimate import NOTHING, Estimate, cluster_sums, ratio_arrays, t_quantile
from raystilts.stats.plan import StatsError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Counts = npt.NDArray[np.uint8]
BLOCK, FEWEST_ROWS = 1 << 18, 16
"""Weights of one stream: few enough to stay in the processor's cache, and never fewer rows than a matrix product needs."""
ESCAPE = 255
"""The code of a byte that stands for no count."""
GRID = 30
"""Values are rounded to 2**-GRID, so that every sum of theirs is exact whatever the order, the threads or the chunk."""


def generator(seed: int, name: str, block: int = 0) -> np.random.Generator:
    """The Philox stream of a named set: the same for every hypothesis, untouched by what else is drawn; blocks never overlap.

    >>> generator(0, "a").integers(100) == generator(0, "a").integers(100)
    np.True_
    """
    key = int.from_bytes(hashlib.blake2b(f"{seed}\0{name}".encode(), digest_size=16).digest(), "little")
    return np.random.Generator(np.random.Philox(key=key, counter=[0, 0, block, 0]))


def set_name(kind: str, parts: Iterable[str]) -> str:
    """A name for a set of runs or examples that depends on nothing but its members.

    >>> set_name("runs", ["b", "a"]) == set_name("runs", ["a", "b"])
    True
    """
    return kind + ":" + hashlib.blake2b("\0".join(sorted(parts)).encode(), digest_size=16).hexdigest()


def multinomial_counts(rng: np.random.Generator, rows: int, size: int) -> Counts:
    """(rows, size) counts; each row is multinomial(size, uniform): how often each unit is drawn in `size` draws with replacement.

    Exact, though cheaper than drawing indices: independent Poisson counts are multinomial given their sum, whatever their rate. Rows whose
    sum exceeds `size` are drawn again, which depends on the sum alone; the others are filled up with draws of indices.

    >>> multinomial_counts(generator(0, "x"), 4, 3).sum(axis=1)
    array([3, 3, 3, 3], dtype=uint64)
    """
    counts = _poisson_counts(rng, rows, size)
    sums = counts.sum(axis=1, dtype=np.uint32).astype(np.int64)
    while len(over := np.flatnonzero(sums > size)):
        counts[over] = _poisson_counts(rng, len(over), size)
        sums[over] = counts[over].sum(axis=1, dtype=np.uint32)
    first = np.repeat(np.arange(rows) * size, size - sums)
    np.add.at(counts.reshape(-1), first + rng.integers(0, size, size=len(first), dtype=np.uint32), np.uint8(1))
    return counts


def _poisson_counts(rng: np.random.Generator, rows: int, size: int) -> Counts:
    """(rows, size) independent Poisson counts, a byte of randomness each; the few bytes that stand for no count are drawn in full."""
    table, rest = _poisson_table(size)
    number = rows * size
    words = rng.bit_generator.random_raw((number + 7) // 8).astype("<u8", copy=False)
    counts = np.frombuffer(bytearray(words).translate(table), dtype=np.uint8)[:number]
    open_ = np.flatnonzero(counts == ESCAPE)
    counts[open_] = np.searchsorted(rest, rng.random(len(open_)), side="right")
    return counts.reshape(rows, size)


@cache
def _poisson_table(size: int) -> tuple[bytes, Floats]:
    """What each byte stands for, and the distribution function of the counts that escaped bytes stand for.

    The rate leaves two standard deviations of the sum as room below `size`. Counts of 40 and more have a probability below 1e-47.
    """
    rate = max(1 - 2 / np.sqrt(size), 0.25)
    k = np.arange(40)
    scaled = 256 * np.exp(k * np.log(rate) - rate - special.gammaln(k + 1))
    whole = np.floor(scaled).astype(np.int64)
    table = np.repeat(k, whole).tolist()
    rest = np.cumsum(scaled - whole)
    return bytes([*table, *[ESCAPE] * (256 - len(table))]), rest[:-1] / rest[-1]


def weight_blocks(seed: int, name: str, resamples: int, size: int) -> Iterator[tuple[int, Counts]]:
    """First row and (rows, size) counts of each block of B resamples of `size` units; every block has its own stream.

    >>> [(first, counts.shape) for first, counts in weight_blocks(0, "x", 100, 1 << 13)]
    [(0, (32, 8192)), (32, (32, 8192)), (64, (32, 8192)), (96, (4, 8192))]
    """
    step = max(FEWEST_ROWS, BLOCK // size)
    for block, first in enumerate(range(0, resamples, step)):
        yield first, multinomial_counts(generator(seed, name, block), min(step, resamples - first), size)


def run_weights(seed: int, name: str, resamples: int, units: int) -> Ints:
    """(B, units) counts of resampled runs; one unit always counts once.

    >>> run_weights(0, "runs:x", 4, 3).sum(axis=1)
    array([3, 3, 3, 3])
    """
    return np.concatenate([counts for _, counts in weight_blocks(seed, name, resamples, units)]).astype(np.int64)


@dataclass(frozen=True, eq=False)
class TestSet:
    """Statistics of R runs on one test set: num (R, G), den (R or 1, G); columns: (G,) positions in the resampled set."""

    __test__ = False  # not a test case, whatever its name says

    num: npt.NDArray[Any]
    den: npt.NDArray[Any]
    columns: Ints


def resampled_chunks(
    seed: int, name: str, resamples: int, size: int, sets: Sequence[TestSet], *, chunk: int | None = None
) -> Iterator[tuple[slice, list[Floats]]]:
    """Rows of resamples, and the (rows, R) scores in points of every test set, all under the weights of the set `name`.

    size: number of clusters that are resampled. chunk: weights multiplied at a time (default: a block); results do not depend
    on it. Resampled sums are matrix products of weights with statistics.

    >>> one = TestSet(np.array([[1.0, 0.0]]), np.ones((1, 2)), np.arange(2))
    >>> [rows for rows, _ in resampled_chunks(0, "x", 4, 2, [one], chunk=6)]
    [slice(0, 3, None), slice(3, 4, None)]
    """
    prepared = [_prepare(s, size) for s in sets]
    kinds = {matrix.dtype for matrix, _ in prepared}
    for first, block in weight_blocks(seed, name, resamples, size):
        step = len(block) if chunk is None else max(1, chunk // size)
        for start in range(0, len(block), step):
            counts = block[start : start + step]
            cast = {kind: counts.astype(kind) for kind in kinds}
            yield (
                slice(first + start, first + start + len(counts)),
                [_scores(cast[matrix.dtype], s.columns, matrix, num_runs) for s, (matrix, num_runs) in zip(sets, prepared, strict=True)],
            )


def _scores(counts: npt.NDArray[Any], columns: Ints, matrix: npt.NDArray[Any], num_runs: int) -> Floats:
    """(rows, R) scores in points from (rows, size) counts."""
    sums = (counts if len(columns) == counts.shape[1] else counts[:, columns]) @ matrix
    num, den = sums[:, :num_runs].astype(np.float64), sums[:, num_runs:].astype(np.float64)
    result: Floats = 100 * num / np.where(den > 0, den, 1.0)
    return result


def _prepare(s: TestSet, size: int) -> tuple[npt.NDArray[Any], int]:
    """Statistics as a (G, R + R or 1) matrix whose products with counts are exact: float32 for small integers, else float64 on a grid.

    A resampled sum is at most `size` times the largest value; float32 holds every integer up to 2**24, float64 up to 2**53.
    """
    parts = [s.num, s.den]
    most = size * max(float(part.max(initial=0)) for part in parts)
    if most < 2**24 and all(np.issubdtype(part.dtype, np.integer) or np.array_equal(part, np.rint(part)) for part in parts):
        return np.concatenate(parts).T.astype(np.float32, order="C"), len(s.num)
    scale = 2.0 ** min(GRID, 52 - int(np.ceil(np.log2(max(most, 1.0)))))
    return np.ascontiguousarray(np.rint(np.concatenate(parts).T * scale) / scale, dtype=np.float64), len(s.num)


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
    """The calibrated crossed bootstrap: percentile deviations from theta, scaled by t_df sqrt(V) / (z sd_boot).

    Source: docs/explanation/intervals.md.

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
    chunk: int | None = None,
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
    if clusters is not None:
        num, den = cluster_sums(num, np.asarray(clusters)), cluster_sums(den, np.asarray(clusters))
    size = num.shape[1]
    one = TestSet(num, den, np.arange(size))
    scores = np.empty((resamples, len(num)))
    for rows, (part,) in resampled_chunks(seed, "examples", resamples, size, [one], chunk=chunk):
        scores[rows] = part
    draws, first = np.zeros(resamples), 0
    for i, ((n, _), weight) in enumerate(zip(prepared, weights, strict=True)):
        units = np.arange(len(n))
        draws += weight * arm_means(scores[:, first : first + len(n)], run_weights(seed, f"runs {i}", resamples, len(n)), units)
        first += len(n)
    return draws
