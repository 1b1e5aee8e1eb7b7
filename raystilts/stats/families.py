"""Corrections over a family of hypotheses that was declared before results were seen."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import special

from raystilts.stats.plan import StatsError

Floats = npt.NDArray[np.float64]


def _checked(p: npt.ArrayLike) -> Floats:
    values = np.asarray(p, dtype=np.float64)
    if values.ndim != 1 or not ((values >= 0) & (values <= 1)).all():
        raise StatsError("p-values must be a flat list of numbers between 0 and 1")
    return values


def _step_up(p: Floats, factor: float) -> Floats:
    order = np.argsort(-p, kind="stable")
    ranks = np.arange(len(p), 0, -1)
    result = np.empty_like(p)
    result[order] = np.minimum(np.minimum.accumulate(p[order] * factor * len(p) / ranks), 1.0) if len(p) else []
    return result


def holm(p: npt.ArrayLike) -> Floats:
    """Holm's (1979) adjusted p-values, (m,) -> (m,): family-wise error under any dependence.

    >>> holm([0.01, 0.04, 0.03])
    array([0.03, 0.06, 0.06])
    """
    values = _checked(p)
    order = np.argsort(values, kind="stable")
    result = np.empty_like(values)
    if len(values):
        result[order] = np.minimum(np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1)), 1.0)
    return result


def benjamini_hochberg(p: npt.ArrayLike) -> Floats:
    """Benjamini and Hochberg's (1995) adjusted p-values, (m,) -> (m,): false discovery rate, for screening.

    >>> benjamini_hochberg([0.01, 0.04, 0.03])
    array([0.03, 0.04, 0.04])
    """
    return _step_up(_checked(p), 1.0)


def benjamini_yekutieli(p: npt.ArrayLike) -> Floats:
    """Benjamini and Yekutieli's (2001) adjusted p-values, (m,) -> (m,): false discovery rate under any dependence.

    >>> benjamini_yekutieli([0.01, 0.04]).round(3)
    array([0.03, 0.06])
    """
    values = _checked(p)
    return _step_up(values, float((1 / np.arange(1, len(values) + 1)).sum()))


def max_t(theta: npt.ArrayLike, se: npt.ArrayLike, resampled: npt.ArrayLike, scale: npt.ArrayLike | None = None) -> Floats:
    """Single-step max-T adjusted p-values (Westfall and Young 1993) from joint bootstrap draws, (m,) -> (m,).

    theta, se: (m,) estimates and standard errors, points. resampled: (m, B) bootstrap estimates drawn jointly, so that the
    correction knows how the hypotheses depend on each other. scale: (m,) factors of the deviations (the calibration), default 1.

    >>> draws = np.random.default_rng(0).normal(size=(2, 999))
    >>> max_t([3.5, 0.0], [1.0, 1.0], draws)
    array([0.003, 1.   ])
    """
    centre, error, draws = (np.asarray(x, dtype=np.float64) for x in (theta, se, resampled))
    factor = np.ones(len(centre)) if scale is None else np.asarray(scale, dtype=np.float64)
    if not (error > 0).all():
        raise StatsError("max_t needs positive standard errors: leave out hypotheses in which nothing varies")
    deviation = np.abs(draws - draws.mean(axis=1, keepdims=True)) * (factor / error)[:, None]
    largest = np.sort(deviation.max(axis=0))
    above = len(largest) - np.searchsorted(largest, np.abs(centre) / error, side="left")
    return np.asarray((above + 1.0) / (len(largest) + 1.0), dtype=np.float64)


def cautious(covariance: npt.ArrayLike, degrees: float) -> Floats:
    """(m, m) covariance whose correlations are replaced by their lower 95 % bounds (Fisher's z), where few runs estimated it.

    A correlation that is only believed makes a max-T correction too small: with three runs a side it let 7 to 10 % of null studies claim.

    >>> cautious([[1.0, 0.9], [0.9, 1.0]], 4).round(2)
    array([[1.  , 0.48],
           [0.48, 1.  ]])
    """
    values = np.asarray(covariance, dtype=np.float64)
    scale = np.sqrt(np.maximum(np.diag(values), 0.0))
    safe = np.where(scale > 0, scale, 1.0)
    correlation = np.clip(values / np.outer(safe, safe), -0.999999, 0.999999)
    bound = np.maximum(np.arctanh(np.abs(correlation)) - 1.645 / np.sqrt(max(degrees - 1, 0.25)), 0.0)
    result: Floats = np.sign(correlation) * np.tanh(bound) * np.outer(scale, scale)
    np.fill_diagonal(result, scale**2)
    return result


def joint_maxima(covariance: npt.ArrayLike, variance: npt.ArrayLike, rng: np.random.Generator, draws: int = 10_000) -> Floats:
    """(draws,) largest |z| of m hypotheses that are all null, from their covariance (m, m) and variances (m,), points squared.

    Multivariate normal (Hothorn, Bretz and Westfall 2008) and not resampled: three runs resampled have lighter tails than three new ones.

    >>> one = joint_maxima(np.ones((5, 5)), np.ones(5), np.random.default_rng(0))
    >>> five = joint_maxima(np.eye(5), np.ones(5), np.random.default_rng(0))
    >>> np.quantile([one, five], 0.95, axis=1).round(1)
    array([2. , 2.6])
    """
    scale = np.sqrt(np.asarray(variance, dtype=np.float64))
    correlation = np.asarray(covariance, dtype=np.float64) / np.outer(scale, scale)
    np.fill_diagonal(correlation, 1.0)
    values, vectors = np.linalg.eigh(correlation)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    root /= np.sqrt((root**2).sum(axis=1, keepdims=True))
    result: Floats = np.abs(rng.standard_normal((draws, len(scale))) @ root.T).max(axis=1)
    return result


def max_t_adjusted(p: npt.ArrayLike, maxima: npt.ArrayLike) -> Floats:
    """Single-step max-T adjusted p-values (Westfall and Young 1993), (m,) -> (m,), from the null draws of the family's largest |z|.

    Each p-value enters as the |z| that has it, so that hypotheses with different degrees of freedom can be compared; none gets smaller.

    >>> max_t_adjusted([0.05, 1e-9], np.linspace(0, 4, 999)).round(3)
    array([0.51 , 0.001])
    """
    values, drawn = _checked(p), np.sort(np.asarray(maxima, dtype=np.float64))
    z = -special.ndtri(values / 2)
    above = len(drawn) - np.searchsorted(drawn, z, side="left")
    result: Floats = np.maximum((above + 1.0) / (len(drawn) + 1.0), values)
    return result


def partial_conjunction(p: npt.ArrayLike) -> Floats:
    """p-values of "at least k of m hypotheses are false" for k = 1..m, (m,) one-sided -> (m,), non-decreasing.

    Bonferroni combination, valid under any dependence (Benjamini and Heller 2008; Dror et al. 2017): (m - k + 1) times the k-th smallest
    (so that these are Holm's adjusted p-values in order).

    >>> partial_conjunction([0.001, 0.2, 0.004])
    array([0.003, 0.008, 0.2  ])
    """
    return np.sort(holm(p))


def at_least(p: npt.ArrayLike, alpha: float = 0.05) -> int:
    """The largest k for which "at least k hypotheses are false" is claimed at level alpha; p: (m,) one-sided.

    >>> at_least([0.001, 0.2, 0.004])
    2
    """
    return int((partial_conjunction(p) <= alpha).sum())
