"""Seeds in looks: run a few, stop what is decided, add seeds only where it is not, and keep the family-wise error.

Every look spends a part of alpha, fixed beforehand by the planned seeds (Lan and DeMets 1983). At look k Holm is run over the whole
family at the level that the look spends; a union bound over looks gives the family-wise error under any dependence between looks
and hypotheses, which exact boundaries would need to know. Repeated intervals at the same levels allow stopping for "within the margin".
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from scipy import special

from raystilts.stats.analysis import TEXT, WHOLE, prepared
from raystilts.stats.batches import Examples
from raystilts.stats.design import Design, Row, build, target_of
from raystilts.stats.estimate import NOTHING, Estimate, estimate
from raystilts.stats.families import holm
from raystilts.stats.findings import matching, seed_order
from raystilts.stats.plan import Contrast, Plan, StatsError
from raystilts.stats.tables import Data, read

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


def seed_looks(
    runs: pa.Table,
    examples: Examples,
    plan: Plan,
    seeds: Sequence[int] = SEEDS,
    spending: Literal["pocock", "obrien-fleming"] = "obrien-fleming",
    *,
    within_margin: bool = True,
) -> pa.Table:
    """What is decided after the looks that the runs at hand allow, and how many seeds the next look needs.

    One row per contrast and language, under the first of plan.collapsed: policy, contrast, labels, language, family, status ("gain",
    "loss", "within margin", "open", "refused"), decided_at (seeds of the look), runs_plus, runs_minus (at hand), next_seeds (null where
    decided or after the last look), reason. Look k takes the runs with the k-th number of lowest seeds on each side, so that repeating it
    after more runs have come changes nothing; it happens once every open hypothesis of a family has them. Arguments as in `analyse`,
    seeds and spending as in `looks` (obrien-fleming: in simulation it finds nearly what the fixed design finds); within_margin: stop also
    what is within -+ plan.margin. These statuses, not the fixed-design claims of `analyse`, keep the family-wise error where seeds were
    added after looking.

    >>> runs = pa.table({"run_id": ["a1", "a2", "b1", "b2"], "seed": [1, 2, 1, 2], "encoder": ["a", "a", "b", "b"]})
    >>> rows = [(run, "sw", str(i), float(run[0] == "a" or i < 9)) for run in ("a1", "a2", "b1", "b2") for i in range(40)]
    >>> examples = pa.table(dict(zip(["run_id", "language", "example_id", "s0"], map(list, zip(*rows)))))
    >>> plan = Plan((Contrast("a-b", {"encoder": "a"}, {"encoder": "b"}),), collapsed=("all",))
    >>> [seed_looks(runs, examples, plan, seeds).to_pylist()[0]["next_seeds"] for seeds in ((2, 3), (3, 5))]
    [None, 3]
    """
    data = read(runs, examples, plan.metric_of)
    policy, design = next(iter(prepared(data, plan).designs.items()))
    families: dict[str, list[_Asked]] = {}
    for contrast in plan.contrasts:
        target = target_of(data, contrast)
        for row in [] if target is None else design.rows(contrast, target):
            families.setdefault(contrast.family, []).append(_Asked(contrast, row))
    for asked in families.values():
        _over_looks(data, plan, design, asked, looks(seeds, plan.alpha, spending), plan.margin if within_margin else None)
    labels = list(dict.fromkeys(name for contrast in plan.contrasts for name in contrast.labels))
    rows = [_looked(one, policy) for contrast in plan.contrasts for one in families.get(contrast.family, []) if one.contrast is contrast]
    kinds = dict.fromkeys(("policy", "contrast", *labels, "language", "family", "status"), TEXT)
    kinds |= dict.fromkeys(("decided_at", "runs_plus", "runs_minus", "next_seeds"), WHOLE) | {"reason": TEXT}
    return pa.table({name: pa.array([row.get(name) for row in rows], kind) for name, kind in kinds.items()})


@dataclass(eq=False)
class _Asked:
    """A hypothesis of a family and what is known of it so far."""

    contrast: Contrast
    row: Row
    status: Status = "open"
    refused: str = ""
    decided_at: int | None = None
    next_seeds: int | None = None


def _looked(one: _Asked, policy: str) -> dict[str, Any]:
    return {
        **one.contrast.labels,
        "policy": policy,
        "contrast": one.contrast.name,
        "language": one.row.language,
        "family": one.contrast.family,
        "status": "refused" if one.refused else one.status,
        "decided_at": one.decided_at,
        "runs_plus": one.row.runs_plus,
        "runs_minus": one.row.runs_minus,
        "next_seeds": one.next_seeds,
        "reason": one.refused,
    }


def _over_looks(data: Data, plan: Plan, design: Design, family: list[_Asked], planned: Sequence[Look], margin: float | None) -> None:
    """Takes a family through the looks that its runs allow."""
    for look in planned:
        waiting = [one for one in family if one.status == "open" and not one.refused]
        if not waiting:
            return
        short = [one for one in waiting if not _reached(data, one, look.seeds)]
        if short:
            # The look has not happened yet: those of the family that have their runs wait for the others.
            for one in short:
                one.next_seeds = look.seeds
            return
        found = _estimates(data, plan, design, waiting, look.seeds)
        nothing = Estimate(0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
        before = [one.status for one in family]
        after = review([found.get(id(one), nothing) for one in family], look, before, margin)
        for one, status in zip(family, after, strict=True):
            if status != one.status:
                one.status, one.decided_at = status, look.seeds


def _reached(data: Data, one: _Asked, seeds: int) -> bool:
    """Whether both sides have the runs of a look; a deterministic side always has."""
    sides = ((one.contrast.plus, one.row.runs_plus), (one.contrast.minus, one.row.runs_minus))
    return all(number >= seeds or (number == 1 and _untrained(data, selection)) for selection, number in sides)


def _untrained(data: Data, selection: Mapping[str, Any]) -> bool:
    return all(run.seed is None for run in matching(data, selection))


def _estimates(data: Data, plan: Plan, design: Design, waiting: Sequence[_Asked], seeds: int) -> dict[int, Estimate]:
    """Estimates from the runs with the lowest seeds; a hypothesis that the design refuses says so and is left out."""
    result: dict[int, Estimate] = {}
    faced: list[tuple[_Asked, Row]] = []
    for contrast in dict.fromkeys(one.contrast.name for one in waiting):
        mine = [one for one in waiting if one.contrast.name == contrast]
        active = frozenset(run for side in (mine[0].contrast.plus, mine[0].contrast.minus) for run in _lowest(data, design, side, seeds))
        target = target_of(data, mine[0].contrast)
        rows = Design(data, plan, active, frozenset()).rows(mine[0].contrast, target or "")
        by_language = {row.language: row for row in rows}
        for one in mine:
            row = by_language[one.row.language]
            one.refused = row.reason
            if not row.reason:
                faced.append((one, row))
    for of_target in dict.fromkeys(row.plus.target for _, row in faced if row.plus is not None):
        here = [(one, row.plus, row.minus) for one, row in faced if row.plus is not None and row.plus.target == of_target]
        specs = [spec for _, plus, minus in here for spec in (plus, minus) if spec is not None]
        cells = build(data, specs, 1, plan.seed)
        for one, plus, minus in here:
            if plus is not None and minus is not None:
                result[id(one)] = estimate(cells.found, cells.weights([(plus, 1.0), (minus, -1.0)]))
    return result


def _lowest(data: Data, design: Design, selection: Mapping[str, Any], seeds: int) -> list[int]:
    """The runs of one side with the lowest seeds, in each language."""
    chosen = {run.index for run in matching(data, selection)} & design.active
    found: list[int] = []
    for blocks in data.blocks.values():
        here = sorted({run for block in blocks for run in block.runs.tolist()} & chosen, key=lambda run: seed_order(data.runs[run]))
        found += here[:seeds]
    return found


def undecided(looked: pa.Table) -> list[str]:
    """The table of `seed_looks` as sentences, one per contrast that has open languages, and one for all others.

    >>> row = {"contrast": "a-b", "language": "sw", "status": "open", "runs_plus": 3, "runs_minus": 3, "next_seeds": 5}
    >>> undecided(pa.Table.from_pylist([row, row | {"language": "yo", "status": "gain", "next_seeds": None}]))
    ['a-b: 1 of 2 languages undecided (sw); the next look needs 5 seeds a side, there are 3 and 3.']
    """
    by_contrast: dict[str, list[dict[str, Any]]] = {}
    for row in looked.to_pylist():
        by_contrast.setdefault(row["contrast"], []).append(row)
    lines, decided = [], 0
    for contrast, rows in by_contrast.items():
        left = [row for row in rows if row["status"] == "open"]
        if not left:
            decided += 1
            continue
        named = ", ".join(row["language"] for row in left[:6]) + (", ..." if len(left) > 6 else "")
        needs = max((row["next_seeds"] for row in left if row["next_seeds"]), default=None)
        there = " and ".join(str(min(row[side] for row in left)) for side in ("runs_plus", "runs_minus"))
        if needs is not None:
            what = f"the next look needs {needs} seeds a side, there are {there}."
        elif any(row["next_seeds"] for others in by_contrast.values() for row in others):
            what = "it waits for the rest of its family."
        else:
            what = "the last look is over."
        lines.append(f"{contrast}: {len(left)} of {len(rows)} languages undecided ({named}); {what}")
    return [*lines, f"{decided} of {len(by_contrast)} contrasts need no more seeds."] if decided else lines
