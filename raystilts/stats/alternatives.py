"""What other practices would have claimed on the same data: each carries in its name what its interval is about.

None of these decides a claim. `fixed_test_set_*` say nothing about other examples, `given_runs_*` nothing about other seeds; the raw
crossed bootstraps mean what the default means and are badly calibrated (docs/explanation/intervals.md has their coverage).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

from raystilts.stats.bootstrap import crossed_bootstrap, generator, percentile
from raystilts.stats.estimate import NOTHING, Estimate, arm_cell, estimate, moments, ratio_arrays, t_quantile, t_upper
from raystilts.stats.plan import StatsError

Floats = npt.NDArray[np.float64]
MOST_PERMUTATIONS = 20_000


@dataclass(frozen=True)
class Alternative:
    """A named rival of the default: estimate and interval in points, two-sided p (NaN where the method gives none)."""

    name: str
    theta: float
    lo: float
    hi: float
    p: float


def _scores(values: npt.ArrayLike, fewest: int = 2) -> Floats:
    scores = np.asarray(values, dtype=np.float64)
    if scores.ndim != 1 or len(scores) < fewest:
        raise StatsError(f"needs the scores of at least {fewest} runs on each side, got an array of shape {scores.shape}")
    return scores


def _from_t(name: str, theta: float, v: float, df: float, alpha: float) -> Alternative:
    if v <= NOTHING:
        return Alternative(name, theta, float("nan"), float("nan"), float("nan"))
    half = t_quantile(1 - alpha / 2, df) * math.sqrt(v)
    return Alternative(name, theta, theta - half, theta + half, min(1.0, 2 * t_upper(abs(theta) / math.sqrt(v), df)))


def fixed_test_set_welch(plus: npt.ArrayLike, minus: npt.ArrayLike, alpha: float = 0.05) -> Alternative:
    """Welch's (1947) t on run scores, (S,) points a side: the gain on exactly this test set. Also for tables that have only scores per run,
    which lose all that examples would say about other test sets.

    >>> round(fixed_test_set_welch([50.0, 52.0, 54.0], [48.0, 49.0, 50.0]).p, 3)
    0.104
    """
    a, b = _scores(plus), _scores(minus)
    parts = [(float(x.var(ddof=1)) / len(x), len(x) - 1) for x in (a, b)]
    v = sum(part for part, _ in parts)
    df = v**2 / sum(part**2 / size for part, size in parts) if v > 0 else 1.0
    return _from_t("fixed_test_set_welch", float(a.mean() - b.mean()), v, df, alpha)


def fixed_test_set_permutation(plus: npt.ArrayLike, minus: npt.ArrayLike, seed: int = 0) -> Alternative:
    """Permutation test of the difference of mean run scores (Fisher 1935), (S,) points a side; exact up to 20,000 arrangements.

    It has no interval, and with S runs a side its smallest p is 2 / C(2 S, S): 0.1 for three.

    >>> round(fixed_test_set_permutation([50.0, 52.0, 54.0], [48.0, 49.0, 49.5]).p, 2)
    0.1
    """
    a, b = _scores(plus, 1), _scores(minus, 1)
    both, size = np.concatenate([a, b]), len(a)
    theta = float(a.mean() - b.mean())
    if math.comb(len(both), size) <= MOST_PERMUTATIONS:
        chosen = np.array(list(itertools.combinations(range(len(both)), size)))
        extra = 0
    else:
        chosen = generator(seed, "permutation").permuted(np.tile(np.arange(len(both)), (MOST_PERMUTATIONS, 1)), axis=1)[:, :size]
        extra = 1
    sums = both[chosen].sum(axis=1)
    gaps = sums / size - (both.sum() - sums) / len(b)
    p = float((np.abs(gaps) >= abs(theta) - 1e-9).sum() + extra) / (len(gaps) + extra)
    return Alternative("fixed_test_set_permutation", theta, float("nan"), float("nan"), p)


def fixed_test_set_moderated_t(plus: Sequence[npt.ArrayLike], minus: Sequence[npt.ArrayLike], alpha: float = 0.05) -> list[Alternative]:
    """Moderated t (Smyth 2004): run scores (S,) a side in each of L languages, whose pooled variances are shrunk towards each other.

    >>> rng = np.random.default_rng(0)
    >>> found = fixed_test_set_moderated_t(rng.normal(51, 1, (9, 3)), rng.normal(50, 1, (9, 3)))
    >>> len(found), round(found[0].p, 2)
    (9, 0.02)
    """
    sides = [(_scores(a), _scores(b)) for a, b in zip(plus, minus, strict=True)]
    df = np.array([len(a) + len(b) - 2 for a, b in sides], dtype=np.float64)
    s2 = np.array([(a.var(ddof=1) * (len(a) - 1) + b.var(ddof=1) * (len(b) - 1)) / (len(a) + len(b) - 2) for a, b in sides])
    usable = s2 > 0
    prior_df, prior = float("inf"), float(s2.mean())
    if usable.sum() > 1:
        half = df[usable] / 2
        log = np.log(s2[usable]) - special.digamma(half) + np.log(half)
        spread = float(log.var(ddof=1) - special.polygamma(1, half).mean())
        if spread > 0:
            prior_df = 2 * _trigamma_inverse(spread)
            prior = math.exp(float(log.mean()) + float(special.digamma(prior_df / 2)) - math.log(prior_df / 2))
        else:
            prior = float(np.average(s2, weights=df))
    found = []
    for (a, b), own, degrees in zip(sides, s2.tolist(), df.tolist(), strict=True):
        shrunk = prior if math.isinf(prior_df) else (prior_df * prior + degrees * own) / (prior_df + degrees)
        v = shrunk * (1 / len(a) + 1 / len(b))
        total = min(prior_df + degrees, float(df.sum()))
        found.append(_from_t("fixed_test_set_moderated_t", float(a.mean() - b.mean()), v, total, alpha))
    return found


def _trigamma_inverse(value: float) -> float:
    """Solves trigamma(x) = value by Newton's method on 1 / trigamma, which is nearly linear (Smyth 2004, appendix)."""
    x = 0.5 + 1 / value
    for _ in range(50):
        tri = float(special.polygamma(1, x))
        step = tri * (1 - tri / value) / float(special.polygamma(2, x))
        x += step
        if abs(step) < 1e-10 * x:
            break
    return x


def fixed_test_set_aso(plus: npt.ArrayLike, minus: npt.ArrayLike, alpha: float = 0.05, resamples: int = 1000, seed: int = 0) -> float:
    """Almost stochastic order (Dror, Shlomov and Reichart 2019) of run scores, (S,) points a side: upper bound of the violation ratio.

    0: plus is stochastically larger; 0.5 and more: it is not; 1: minus is. An index of run scores on this test set, not a gain in points.

    >>> fixed_test_set_aso([60.0, 61.0, 62.0, 63.0], [50.0, 51.0, 52.0, 53.0])
    0.0
    """
    a, b = _scores(plus), _scores(minus)
    value = float(_violation(a[None], b[None])[0])
    rng = generator(seed, "aso")
    drawn = _violation(rng.choice(a, (resamples, len(a))), rng.choice(b, (resamples, len(b))))
    bound = value + float(special.ndtri(1 - alpha)) * float(drawn.std(ddof=1))
    return min(max(bound, 0.0), 1.0)


def _violation(a: Floats, b: Floats) -> Floats:
    """(B,) share of the squared distance between quantile functions where that of b lies above; (B, S) scores."""
    grid = (np.arange(200) + 0.5) / 200
    quantiles = [np.sort(x, axis=1)[:, np.minimum((grid * x.shape[1]).astype(int), x.shape[1] - 1)] for x in (a, b)]
    gap = quantiles[1] - quantiles[0]
    total = (gap**2).sum(axis=1)
    result: Floats = np.where(total > 0, (np.maximum(gap, 0) ** 2).sum(axis=1) / np.where(total > 0, total, 1.0), 0.5)
    return result


def given_runs_example_only(
    arms: Sequence[npt.ArrayLike],
    weights: Sequence[float],
    metric: str = "accuracy",
    clusters: npt.ArrayLike | None = None,
    alpha: float = 0.05,
) -> Alternative:
    """Paired test over examples with the runs taken as given (Koehn 2004 in closed form): the gain of these very checkpoints.

    arms: (S, n) or (S, n, 3), S may be 1; arguments as in `two_way`. For the procedure it covers 34 to 92 %, not 95 %.

    >>> rng = np.random.default_rng(0)
    >>> round(given_runs_example_only([rng.random((1, 50)) < 0.8, rng.random((1, 50)) < 0.6], [1, -1]).theta)
    26
    """
    found = _given_runs(arms, weights, metric, clusters)
    return _from_t("given_runs_example_only", found.theta, found.v_example, found.df_example, alpha)


def _given_runs(arms: Sequence[npt.ArrayLike], weights: Sequence[float], metric: str, clusters: npt.ArrayLike | None) -> Estimate:
    cells, unit = [], 0
    for arm in arms:
        num, den = ratio_arrays(arm, metric)
        cells.append(arm_cell(num, den, unit, clusters, trained=len(num) > 1))
        unit += len(num)
    return estimate(moments(cells), np.asarray(weights, dtype=np.float64))


def crossed_percentile(
    arms: Sequence[npt.ArrayLike],
    weights: Sequence[float],
    metric: str = "accuracy",
    clusters: npt.ArrayLike | None = None,
    *,
    resamples: int = 10_000,
    seed: int = 0,
    alpha: float = 0.05,
) -> Alternative:
    """The raw percentile interval of the crossed bootstrap (MultiBERTs, Sellam et al. 2022); arguments as in `crossed_bootstrap`.

    >>> found = crossed_percentile([np.eye(4)[:3], np.ones((3, 4))], [1, -1], resamples=500)
    >>> found.theta, found.lo < -75 < found.hi
    (-75.0, True)
    """
    draws = crossed_bootstrap(arms, weights, metric, clusters, resamples=resamples, seed=seed)
    low, high = percentile(draws, alpha)
    return Alternative("crossed_percentile", _given_runs(arms, weights, metric, clusters).theta, low, high, float("nan"))


def crossed_bca(
    arms: Sequence[npt.ArrayLike],
    weights: Sequence[float],
    metric: str = "accuracy",
    clusters: npt.ArrayLike | None = None,
    *,
    resamples: int = 10_000,
    seed: int = 0,
    alpha: float = 0.05,
) -> Alternative:
    """The bias-corrected and accelerated interval (Efron 1987) of the crossed bootstrap; arguments as in `crossed_bootstrap`.

    The acceleration is the skewness of the influences of runs and clusters together (infinitesimal jackknife).

    >>> found = crossed_bca([np.eye(4)[:3], np.ones((3, 4))], [1, -1], resamples=500)
    >>> found.lo < -75 < found.hi
    True
    """
    draws = crossed_bootstrap(arms, weights, metric, clusters, resamples=resamples, seed=seed)
    theta = _given_runs(arms, weights, metric, clusters).theta
    cells = [arm_cell(*ratio_arrays(arm, metric), 0, clusters) for arm in arms]
    of_runs = [w * (cell.scores - cell.scores.mean()) / len(cell.scores) for w, cell in zip(weights, cells, strict=True)]
    of_clusters = np.sum([w * cell.influence.mean(axis=0) for w, cell in zip(weights, cells, strict=True)], axis=0)
    influence = np.concatenate([*of_runs, of_clusters])
    square = float((influence**2).sum())
    acceleration = float((influence**3).sum()) / (6 * square**1.5) if square > NOTHING else 0.0
    below = (float((draws < theta).sum()) + 0.5 * float((draws == theta).sum())) / len(draws)
    bias = float(special.ndtri(min(max(below, 0.5 / len(draws)), 1 - 0.5 / len(draws))))
    z = bias + special.ndtri([alpha / 2, 1 - alpha / 2])
    low, high = np.quantile(draws, special.ndtr(bias + z / (1 - acceleration * z)))
    return Alternative("crossed_bca", theta, float(low), float(high), float("nan"))
