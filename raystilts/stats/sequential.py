"""Seeds in looks: run a few, stop what is decided, add seeds only where it is not, and keep the family-wise error.

Every look spends a part of alpha, fixed beforehand by the planned seeds (Lan and DeMets 1983). At look k Holm is run over the whole
family at the level that the look spends; a union bound over looks gives the family-wise error under any dependence between looks
and hypotheses, which exact boundaries would need to know. Repeated intervals at the same levels allow stopping for "within the margin".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import special

from raystilts.stats.estimate import NOTHING, Estimate
from raystilts.stats.families import holm
from raystilts.stats.plan import StatsError

Status = Literal["gain", "loss", "within margin", "open"]
SEEDS = (3, 5, 8, 12)


@dataclass(frozen=True)
class Look:
    """One look: runs per arm so far, the part of alpha that it spends, and what is spent up to it."""

    seeds: int
    level: float
    spent: float


def looks(seeds: Sequence[int] = SEEDS, alpha: float = 0.05, spending: Literal["pocock", "obrien-fleming"] = "pocock") -> tuple[Look, ...]:
    """The looks of a design: alpha spent as a function of the share of the planned seeds, t = seeds / last seeds.

    pocock: alpha log(1 + (e - 1) t), which lets large effects stop early. obrien-fleming: 2 - 2 Phi(z(1 - alpha / 2) / sqrt(t)), which
    saves nearly all of alpha for the last look (Lan and DeMets 1983).

    >>> [round(look.level, 4) for look in looks()]
    [0.0179, 0.0091, 0.0112, 0.0118]
    """
    planned = list(seeds)
    if not planned or planned[0] < 2 or sorted(set(planned)) != planned:
        raise StatsError(f"the looks must be increasing numbers of seeds of at least 2, not {planned}")
    shares = np.array(planned) / planned[-1]
    if spending == "pocock":
        spent = alpha * np.log(1 + (math.e - 1) * shares)
    else:
        spent = 2 * special.ndtr(-special.ndtri(1 - alpha / 2) / np.sqrt(shares))
    levels = np.diff(spent, prepend=0.0)
    return tuple(Look(n, float(level), float(total)) for n, level, total in zip(planned, levels, spent, strict=True))


def review(estimates: Sequence[Estimate], look: Look, before: Sequence[Status] | None = None, margin: float | None = None) -> list[Status]:
    """What a family of m hypotheses knows after a look; `before`: (m,) statuses after the last one (all open at first).

    A hypothesis is claimed when Holm rejects it at look.level, earlier claims counting as rejected. It is "within margin" (points) when its
    interval at 1 - look.level, corrected for m, lies inside -+ margin. What is decided stays decided.

    >>> big, small = Estimate(5.0, 1.0, 1e9, 0.5, 0.5, 0.0, 99.0), Estimate(0.1, 1.0, 1e9, 0.5, 0.5, 0.0, 99.0)
    >>> review([big, small], looks()[0])
    ['gain', 'open']
    """
    status: list[Status] = ["open"] * len(estimates) if before is None else list(before)
    if len(status) != len(estimates):
        raise StatsError(f"review got {len(estimates)} estimates and {len(status)} statuses: a family keeps its hypotheses between looks")
    p = []
    for found, known in zip(estimates, status, strict=True):
        tested = known == "open" and found.v > NOTHING
        p.append(0.0 if known in ("gain", "loss") else found.p() if tested else 1.0)
    for i, (found, corrected) in enumerate(zip(estimates, holm(p), strict=True)):
        if status[i] != "open" or found.v <= NOTHING:
            continue
        if corrected <= look.level:
            status[i] = "gain" if found.theta > 0 else "loss"
        elif margin is not None:
            low, high = found.interval(look.level / len(estimates))
            status[i] = "within margin" if -margin < low and high < margin else "open"
    return status


def next_seeds(status: Sequence[Status], plan: Sequence[Look], look: Look) -> int | None:
    """Runs per arm that the open hypotheses need for their next look; None where all is decided or the last look is over.

    >>> next_seeds(["gain", "open"], looks(), looks()[0])
    5
    """
    later = [other.seeds for other in plan if other.seeds > look.seeds]
    return later[0] if later and "open" in status else None
