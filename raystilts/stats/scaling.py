"""Does a gain scale with the encoder: superiority, equivalence and non-inferiority of the pooled interaction, on three scales."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from raystilts.stats.estimate import NOTHING, Estimate
from raystilts.stats.families import holm

Floats = npt.NDArray[np.float64]
SCALES = ("points", "headroom", "log_odds")


def transformed(scale: str, plus: npt.ArrayLike, minus: npt.ArrayLike, num_examples: npt.ArrayLike) -> tuple[Floats, Floats, Floats]:
    """Gains on a scale and their gradients with respect to the two mean scores (points), elementwise: gain, d/d plus, d/d minus.

    points: plus - minus. headroom: 100 (plus - minus) / (100 - minus), NaN where the baseline is perfect. log_odds: difference of
    logits of (n score + 1/2) / (n + 1), which keeps 0 and 100 finite (Haldane 1956, Anscombe 1956).

    >>> [float(x) for x in transformed("headroom", 80.0, 60.0, 100)]
    [50.0, 2.5, -1.25]
    """
    p, m, n = (np.asarray(x, dtype=np.float64) for x in (plus, minus, num_examples))
    if scale == "points":
        return p - m, np.ones_like(p), -np.ones_like(m)
    if scale == "headroom":
        room = np.where(m < 100, 100 - m, np.nan)
        return 100 * (p - m) / room, 100 / room, -100 * (100 - p) / room**2
    shares = [(n * x / 100 + 0.5) / (n + 1) for x in (p, m)]
    rates = [n / (n + 1) / 100 / (s * (1 - s)) for s in shares]
    gain = np.log(shares[0] / (1 - shares[0])) - np.log(shares[1] / (1 - shares[1]))
    return gain, rates[0], -rates[1]


def margin_on(scale: str, margin: float, baselines: npt.ArrayLike, num_examples: npt.ArrayLike) -> float:
    """The margin (points) on a scale: what that many points are worth at the mean baseline (NaN where a baseline is perfect: headroom).

    >>> margin_on("headroom", 1.0, [60.0, 60.0], [10, 10])
    2.5
    """
    base, n = np.asarray(baselines, dtype=np.float64), np.asarray(num_examples, dtype=np.float64)
    if scale == "points":
        return margin
    if scale == "headroom":
        return 100 * margin / float((100 - base).mean()) if (base < 100).all() else float("nan")
    return margin * float(transformed("log_odds", base, base, n)[1].mean())


@dataclass(frozen=True)
class Decision:
    """Three separate decisions about one pooled interaction; the p-values that end in `_holm` are corrected over the family."""

    p_superior: float
    p_equivalent: float
    p_noninferior: float
    p_two_sided_holm: float
    p_equivalent_holm: float
    p_noninferior_holm: float
    verdict: str


def decide(estimates: Sequence[tuple[Estimate, float]], alpha: float = 0.05) -> list[Decision]:
    """Decisions for a family of (pooled interaction, margin) on one scale: interactions and groups of languages.

    Superior or inferior: the two-sided test at alpha. Equivalent: both one-sided tests within -+ margin at alpha (TOST, Schuirmann
    1987). Non-inferior: one-sided above -margin at alpha / 2. All are Holm-corrected over the family; the first that holds in the order
    superior, inferior, equivalent, non-inferior is the verdict, and "cannot tell" where none does.

    >>> small = Estimate(0.1, 0.01, 100.0, 0.01, 0.0, 0.0, 100.0)
    >>> decide([(small, 1.0)])[0].verdict
    'equivalent'
    """
    usable = [i for i, (e, margin) in enumerate(estimates) if e.v > NOTHING and np.isfinite(margin)]
    nan = float("nan")
    result = [Decision(nan, nan, nan, nan, nan, nan, "refused") for _ in estimates]
    chosen = [estimates[i] for i in usable]
    superior = [e.p_above(0.0) for e, _ in chosen]
    equivalent = [max(e.p_above(-m), e.p_below(m)) for e, m in chosen]
    noninferior = [e.p_above(-m) for e, m in chosen]
    two, same, not_worse = (holm(p) for p in ([e.p() for e, _ in chosen], equivalent, noninferior))
    for k, i in enumerate(usable):
        if two[k] <= alpha:
            verdict = "superior" if chosen[k][0].theta > 0 else "inferior"
        elif same[k] <= alpha:
            verdict = "equivalent"
        else:
            verdict = "non-inferior" if not_worse[k] <= alpha / 2 else "cannot tell"
        result[i] = Decision(superior[k], equivalent[k], noninferior[k], float(two[k]), float(same[k]), float(not_worse[k]), verdict)
    return result
