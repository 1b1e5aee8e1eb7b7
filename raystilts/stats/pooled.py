"""From languages to a claim: pooled estimates, "at least k languages", low- against high-resource languages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from raystilts.stats.estimate import NOTHING, Estimate, t_quantile, t_upper

FEWEST = 3
"""Languages that a claim about a kind of languages needs at least."""
FIXED, SAMPLE, NEW = "fixed_languages", "languages_as_sample", "new_language"


@dataclass(frozen=True)
class Pooled:
    """One estimand: theta, se (points), df, interval, two-sided p; tau (points) and i2 (0 to 1) say how much languages differ."""

    estimand: str
    theta: float
    se: float
    df: float
    lo: float
    hi: float
    p: float
    num_languages: int
    tau: float
    i2: float


def _t(
    estimand: str, theta: float, v: float, df: float, *, alpha: float, count: int, tau: float = float("nan"), i2: float = float("nan")
) -> Pooled:
    se = float(np.sqrt(v))
    half = t_quantile(1 - alpha / 2, df) * se
    p = min(1.0, 2 * t_upper(abs(theta) / se, df)) if v > NOTHING else float("nan")
    return Pooled(estimand, theta, se, df, theta - half, theta + half, p, count, tau, i2)


def heterogeneity(theta: npt.ArrayLike, variance: npt.ArrayLike, v_mean: float) -> tuple[float, float, float]:
    """The variance tau squared between languages, I2 and the covariance that languages share, from
    (L,) gains, their variances and the variance of their mean.

    Method of moments: the sample variance of the gains estimates tau^2 + mean variance - mean covariance (Hedges and Olkin 1985, with
    the covariance of languages that share runs or examples taken out).

    >>> heterogeneity([1.0, 3.0], [0.5, 0.5], 0.25)
    (1.5, 0.75, 0.0)
    """
    effects, v = np.asarray(theta, dtype=np.float64), np.asarray(variance, dtype=np.float64)
    count = len(effects)
    if count < 2:
        return 0.0, 0.0, 0.0
    shared = max((count**2 * v_mean - float(v.sum())) / (count * (count - 1)), 0.0)
    within = max(float(v.mean()) - shared, 0.0)
    tau2 = max(float(effects.var(ddof=1)) - within, 0.0)
    return tau2, (tau2 / (tau2 + within) if tau2 > 0 else 0.0), shared


def pool(fixed: Estimate, theta: npt.ArrayLike, variance: npt.ArrayLike, alpha: float = 0.05) -> list[Pooled]:
    """The three estimands of a mean over L languages (equal weights), points.

    fixed: two-way estimate of the mean over these very languages, so that shared runs and examples are counted once.
    theta, variance: (L,) gains and their two-way variances. Languages as a sample: variance s2_theta / L + shared covariance, never below
    the fixed one, Satterthwaite over L - 1 df and those of `fixed` (Hartung and Knapp 2001). New language: prediction interval
    with tau^2 added and at most L - 1 df (Higgins et al. 2009). Sample and new language need 3 languages: else they are left out.

    >>> fixed = Estimate(2.0, 0.25, 50.0, 0.1, 0.15, 0.0, 99.0)
    >>> [round(x.se, 2) for x in pool(fixed, [1.0, 2.0, 3.0], [0.75, 0.75, 0.75])]
    [0.5, 0.58, 0.76]
    """
    effects = np.asarray(theta, dtype=np.float64)
    count = len(effects)
    tau2, i2, shared = heterogeneity(effects, variance, fixed.v)
    tau = float(np.sqrt(tau2))
    result = [_t(FIXED, fixed.theta, fixed.v, fixed.df, alpha=alpha, count=count, tau=tau, i2=i2)]
    if count < FEWEST:
        return result
    between = float(effects.var(ddof=1)) / count
    v = max(fixed.v, between + shared)
    df = _satterthwaite(v, [(between, count - 1)], fixed)
    result.append(_t(SAMPLE, fixed.theta, v, df, alpha=alpha, count=count, tau=tau, i2=i2))
    result.append(_t(NEW, fixed.theta, v + tau2, min(df, count - 1), alpha=alpha, count=count, tau=tau, i2=i2))
    return result


def _satterthwaite(v: float, parts: Sequence[tuple[float, float]], fixed: Estimate) -> float:
    """Degrees of freedom of v: as uncertain as `fixed` and as what varies between languages, `parts` (variance, df), together."""
    uncertainty = sum(part**2 / df for part, df in parts) + fixed.v**2 / fixed.df
    return v**2 / uncertainty if uncertainty > 0 else float("inf")


def difference(
    fixed: Estimate, low: tuple[npt.ArrayLike, npt.ArrayLike, float], high: tuple[npt.ArrayLike, npt.ArrayLike, float], alpha: float = 0.05
) -> list[Pooled]:
    """Mean gain of low-resource minus that of high-resource languages, points: for these languages, and with languages as samples.

    fixed: two-way estimate of the difference. low, high: (gains, their variances, variance of their mean) of each group. With languages as
    samples each group adds tau^2 / L (Welch over languages).

    >>> fixed = Estimate(2.0, 0.25, 50.0, 0.1, 0.15, 0.0, 99.0)
    >>> low, high = ([1.0, 2.0, 3.0], [0.3] * 3, 0.1), ([0.0, 0.0, 0.1], [0.3] * 3, 0.1)
    >>> [round(x.se, 2) for x in difference(fixed, low, high)]
    [0.5, 0.7]
    """
    parts, added, count = [], 0.0, 0
    for theta, variance, v_mean in (low, high):
        effects = np.asarray(theta, dtype=np.float64)
        count += len(effects)
        if len(effects) > 1:
            tau2, _, _ = heterogeneity(effects, variance, v_mean)
            added += tau2 / len(effects)
            parts.append((float(effects.var(ddof=1)) / len(effects), len(effects) - 1))
    result = [_t(FIXED, fixed.theta, fixed.v, fixed.df, alpha=alpha, count=count)]
    if len(parts) == 2:
        v = fixed.v + added
        df = _satterthwaite(v, parts, fixed)
        result.append(_t(SAMPLE, fixed.theta, v, df, alpha=alpha, count=count))
    return result


def slope_weights(covariate: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """(L,) weights whose product with the gains is their least-squares slope on the covariate.

    >>> slope_weights([0.0, 1.0, 2.0])
    array([-0.5,  0. ,  0.5])
    """
    x = np.asarray(covariate, dtype=np.float64)
    centred = x - x.mean()
    result: npt.NDArray[np.float64] = centred / (centred @ centred)
    return result


def slope(
    fixed: Estimate, gains: tuple[npt.ArrayLike, npt.ArrayLike, float], covariate: npt.ArrayLike, alpha: float = 0.05
) -> list[Pooled]:
    """Slope of the gains on the covariate (L,), points per unit: for these languages, and with languages as a sample.

    fixed: two-way estimate with `slope_weights`. gains: (gains (L,), their variances (L,), variance of their mean). With languages as a
    sample, what the line leaves unexplained beyond the gains' own variance is added (meta-regression by moments; L - 2 df).

    >>> fixed = Estimate(1.0, 0.25, 50.0, 0.1, 0.15, 0.0, 99.0)
    >>> [round(x.se, 2) for x in slope(fixed, ([1.0, 2.5, 3.0], [0.1] * 3, 0.1 / 3), [0.0, 1.0, 2.0])]
    [0.5, 0.53]
    """
    x, effects = np.asarray(covariate, dtype=np.float64), np.asarray(gains[0], dtype=np.float64)
    centred = x - x.mean()
    spread, count = float(centred @ centred), len(effects)
    residual = effects - effects.mean() - fixed.theta * centred
    result = [_t(FIXED, fixed.theta, fixed.v, fixed.df, alpha=alpha, count=count)]
    if count >= FEWEST:
        s2 = float(residual @ residual) / (count - 2)
        own = max(float(np.asarray(gains[1], dtype=np.float64).mean()) - heterogeneity(*gains)[2], 0.0)
        v = fixed.v + max(s2 - own, 0.0) / spread
        df = _satterthwaite(v, [(min(s2 / spread, v), count - 2)], fixed)
        result.append(_t(SAMPLE, fixed.theta, v, df, alpha=alpha, count=count))
    return result


def line_weights(covariate: npt.ArrayLike, at: float) -> npt.NDArray[np.float64]:
    """(L,) weights whose product with the gains is their least-squares line at one value of the covariate.

    >>> line_weights([0.0, 1.0, 2.0], 2.0).round(3)
    array([-0.167,  0.333,  0.833])
    """
    x = np.asarray(covariate, dtype=np.float64)
    result: npt.NDArray[np.float64] = 1 / len(x) + (at - x.mean()) * slope_weights(x)
    return result


def line(
    fixed: Estimate, gains: tuple[npt.ArrayLike, npt.ArrayLike, float], covariate: npt.ArrayLike, at: float, alpha: float = 0.05
) -> list[Pooled]:
    """The line of the gains on the covariate (L,) at one value of it: for these languages, and with languages as a sample.

    fixed: two-way estimate with `line_weights`. The rest as for `slope`, of which this is the companion.

    >>> fixed = Estimate(3.0, 0.25, 50.0, 0.1, 0.15, 0.0, 99.0)
    >>> [round(x.se, 2) for x in line(fixed, ([1.0, 2.5, 3.0], [0.1] * 3, 0.1 / 3), [0.0, 1.0, 2.0], 2.0)]
    [0.5, 0.55]
    """
    x, effects = np.asarray(covariate, dtype=np.float64), np.asarray(gains[0], dtype=np.float64)
    centred, count = x - x.mean(), len(effects)
    residual = effects - effects.mean() - float(slope_weights(x) @ effects) * centred
    leverage = 1 / count + (at - float(x.mean())) ** 2 / float(centred @ centred)
    result = [_t(FIXED, fixed.theta, fixed.v, fixed.df, alpha=alpha, count=count)]
    if count >= FEWEST:
        s2 = float(residual @ residual) / (count - 2)
        own = max(float(np.asarray(gains[1], dtype=np.float64).mean()) - heterogeneity(*gains)[2], 0.0)
        v = fixed.v + max(s2 - own, 0.0) * leverage
        df = _satterthwaite(v, [(min(s2 * leverage, v), count - 2)], fixed)
        result.append(_t(SAMPLE, fixed.theta, v, df, alpha=alpha, count=count))
    return result
