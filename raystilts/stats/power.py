"""What a design can see: power, minimum detectable effects and the seeds that the smallest effect of interest needs."""

from __future__ import annotations

import warnings

import numpy as np
import numpy.typing as npt
from scipy import special, stats

from raystilts.stats.estimate import NOTHING, Estimate, t_quantile

Floats = npt.NDArray[np.float64]
SEEDS = (3, 5, 8, 12, 20, 50)
MOST_SEEDS = 1000


def power(effect: float, se: float, df: float, alpha: float = 0.05) -> float:
    """Power of the two-sided t test against a true effect; effect and se in points (noncentral t).

    >>> round(power(2.8, 1.0, 1e6), 2)
    0.8
    """
    if se <= 0:
        return float("nan")
    critical, shift = t_quantile(1 - alpha / 2, df), abs(effect) / se
    if shift - critical > 30:
        return 1.0
    if df > 1e6:
        return float(special.ndtr(shift - critical) + special.ndtr(-shift - critical))
    with warnings.catch_warnings(), np.errstate(all="ignore"):  # scipy's noncentral t warns in far tails, where the answer is 0 or 1
        warnings.simplefilter("ignore")
        found = float(stats.nct.sf(critical, df, shift) + stats.nct.cdf(-critical, df, shift))
    return min(max(found, 0.0), 1.0) if np.isfinite(found) else float(special.ndtr(shift - critical))


def detectable_effect(se: npt.ArrayLike, df: npt.ArrayLike, alpha: float = 0.05, target: float = 0.8) -> Floats:
    """Minimum detectable effect in points: (t(1 - alpha/2) + t(target)) se, elementwise (Bloom 1995).

    >>> detectable_effect([1.0], [1e8]).round(2)
    array([2.8])
    """
    degrees = np.minimum(np.asarray(df, dtype=np.float64), 1e9)
    found = (special.stdtrit(degrees, 1 - alpha / 2) + special.stdtrit(degrees, target)) * np.asarray(se, dtype=np.float64)
    return np.asarray(found, dtype=np.float64)


def with_seeds(found: Estimate, seeds: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Standard error (points) and df that the same contrast would have with `seeds` runs in every trained arm, elementwise.

    The seed part shrinks with 1 / seeds; max(v_example - v_both, 0) is the floor that only a larger test set lowers.

    >>> se, df = with_seeds(Estimate(0.0, 5.0, 9.0, 4.0, 2.0, 1.0, 99.0, ((4.0, 3),)), [3, 12])
    >>> se.round(3)
    array([2.236, 1.414])
    """
    number = np.asarray(seeds, dtype=np.float64)
    floor = max(found.v_example - found.v_both, 0.0)
    # Where the cell part exceeds the seed part, the estimator falls back on v_example, whose noisy part also shrinks with seeds.
    grow = max(found.v_both / found.v_seed, 1.0) if found.v_seed > 0 else 1.0
    parts = [(grow * part * units / number, number - 1) for part, units in found.seed_parts]
    v_seed = sum((part for part, _ in parts), np.zeros_like(number))
    v = v_seed + floor
    uncertainty = sum((part**2 / degrees for part, degrees in parts), np.zeros_like(number)) + floor**2 / found.df_example
    df = np.where(uncertainty > 0, v**2 / np.where(uncertainty > 0, uncertainty, 1.0), 1e9)
    return np.sqrt(v), df


def seeds_needed(found: Estimate, effect: float, alpha: float = 0.05, target: float = 0.8) -> tuple[int | None, str]:
    """Fewest runs per trained arm for which `effect` (points) is detectable with power `target`, and a note; None where none suffice.

    >>> seeds_needed(Estimate(0.0, 5.0, 9.0, 4.0, 2.0, 1.0, 99.0, ((4.0, 3),)), 1.0)
    (None, 'unreachable: the test set is too small (2.83 points are the least that any number of seeds can detect)')
    """
    if not found.seed_parts:
        return None, "no seeds to add: nothing was trained"
    if found.v <= NOTHING:
        return None, "nothing varies: the standard error cannot be estimated"
    floor = max(found.v_example - found.v_both, 0.0)
    least = float(detectable_effect(np.sqrt(floor), found.df_example, alpha, target))
    if least > effect:
        return None, f"unreachable: the test set is too small ({least:.2f} points are the least that any number of seeds can detect)"
    grid = np.arange(2, MOST_SEEDS + 1)
    enough = np.flatnonzero(detectable_effect(*with_seeds(found, grid), alpha, target) <= effect)
    return (int(grid[enough[0]]), "") if len(enough) else (None, f"more than {MOST_SEEDS} seeds")
