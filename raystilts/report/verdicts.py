"""The tables' claims as plain sentences. "Not significant" is never printed as "no effect": it is "cannot tell"."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from raystilts.report.scaling import ScalingVerdict, scaling_verdicts
from raystilts.report.view import (
    HEADLINE_GROUP,
    Arm,
    Cell,
    Row,
    View,
    absent,
    count,
    in_points,
    interval,
    points,
    pooled_by_group,
    probability,
    reasons,
    refused,
    span,
    who,
)


@dataclass(frozen=True)
class ArmVerdict:
    """One encoder in one cell: how many languages gain, and the gain pooled over the languages."""

    arm: Arm
    encoder: str
    gains: int
    losses: int
    undecided: int
    refused: int
    languages: int
    pooled: dict[str, Row]
    sentence: str
    pooled_sentence: str
    settle: str


@dataclass(frozen=True)
class CellVerdict:
    """What one (target, intermediate) shows on every encoder, and from encoder to encoder."""

    cell: Cell
    target: str
    intermediate: str
    arms: list[ArmVerdict]
    scaling: list[ScalingVerdict]


def cell_verdicts(seen: View) -> list[CellVerdict]:
    """One verdict for every (target, intermediate), in the order of the study."""
    return [
        CellVerdict(cell, *cell, [_arm_verdict(seen, arm) for arm in seen.arms(cell)], scaling_verdicts(seen, cell)) for cell in seen.cells
    ]


def _arm_verdict(seen: View, arm: Arm) -> ArmVerdict:
    rows = seen.gains[arm]
    claims = Counter("refused" if refused(row) else row["claim"] for row in rows)
    pooled = pooled_by_group(seen, arm)
    return ArmVerdict(
        arm,
        who(arm),
        claims["gain"],
        claims["loss"],
        claims["undecided"],
        claims["refused"],
        len(rows),
        pooled,
        sentence=_languages_sentence(claims, rows),
        pooled_sentence=_pooled_sentence(pooled.get(HEADLINE_GROUP), seen.story.margin),
        settle=_settle_gains([row for row in rows if not refused(row) and row["claim"] == "undecided"], seen.story.margin),
    )


def _languages_sentence(claims: Counter[str], rows: list[Row]) -> str:
    total = len(rows)
    if claims["refused"] == total:
        return f"No claim in any of {count(total, 'language')}: {reasons(rows)}"
    decided = total - claims["refused"]
    text = (
        f"Real gain in {claims['gain']} of {count(decided, 'language')}"
        if claims["gain"]
        else f"No gain shown in any of {count(decided, 'language')}"
    )
    text += f", real loss in {claims['loss']}" if claims["loss"] else ""
    text += f", cannot tell in {claims['undecided']}" if claims["undecided"] else ""
    text += "."
    if claims["refused"]:
        text += f" No claim in {claims['refused']} more: {reasons([row for row in rows if refused(row)])}"
    return text


def _pooled_sentence(row: Row | None, margin: float) -> str:
    if row is None:
        return "Not pooled over languages."
    if refused(row):
        return f"No pooled claim: {reasons([row])}"
    without = f", {row['note']}" if row.get("note") else ""
    text = f"Pooled over {count(row['n_languages'], 'language')}{without}: {points(row['theta'])} points {interval(row['lo'], row['hi'])}, "
    return text + {"gain": "a real gain.", "loss": "a real loss."}.get(row["claim"], undecided(row, margin))


def undecided(row: Row, margin: float) -> str:
    """Why a pooled gain cannot be told, and what it may still be."""
    if absent(row["lo"]) or absent(row["hi"]):
        return "cannot tell."
    if row["lo"] > 0 or row["hi"] < 0:
        return f"cannot tell: its interval leaves out zero, but after Holm correction p is {probability(row['p_holm'])}."
    if -margin < row["lo"] and row["hi"] < margin:
        return f"not told from zero, and smaller than {in_points(margin)} either way."
    return f"cannot tell: anything from a loss of {-row['lo']:.2f} to a gain of {row['hi']:.2f} fits."


def _settle_gains(rows: list[Row], margin: float) -> str:
    """What the undecided languages would need to find a gain as large as the margin."""
    if not rows:
        return ""
    seeds = [row["seeds_needed"] for row in rows if not absent(row["seeds_needed"])]
    parts = []
    if seeds:
        parts.append(f"{span([math.ceil(median(seeds))])} seeds an arm (median) would be enough in {count(len(seeds), 'language')}")
    if len(seeds) < len(rows):
        parts.append(f"the test set is too small at any number of seeds in {count(len(rows) - len(seeds), 'language')}")
    return f"To settle the {len(rows)} undecided for a gain of {in_points(margin)}: " + "; ".join(parts) + "."


def headline(verdicts: list[CellVerdict]) -> str:
    """What the whole study shows, in at most three sentences."""
    arms = [arm for cell in verdicts for arm in cell.arms]
    total = sum(arm.languages for arm in arms)
    if not total:
        return "Nothing can be compared yet: no arm has both its runs and its baseline's."
    gains, losses, undecided = (sum(getattr(arm, name) for arm in arms) for name in ("gains", "losses", "undecided"))
    decided = gains + losses + undecided
    where = sum(arm.gains > 0 for arm in arms)
    if not decided:
        return f"No claim can be made: all {total} comparisons are refused."
    if gains:
        text = f"Real gains in {gains} of {decided} comparisons after Holm correction "
        text += f"(in {where} of {len(arms)} combinations of target, intermediate and encoder)"
    else:
        text = f"This study shows no gain in any one language: none of {decided} comparisons is a real gain after Holm correction"
    text += (f"; real losses in {losses}" if losses else "") + (f"; {undecided} cannot be told." if undecided else ".")
    if total > decided:
        text += f" {total - decided} more are refused."
    pooled = [arm.pooled[HEADLINE_GROUP] for arm in arms if HEADLINE_GROUP in arm.pooled]
    if not pooled:
        return text
    real, lost = (sum(row["claim"] == claim for row in pooled) for claim in ("gain", "loss"))
    losing = f" and a real loss in {lost}" if lost else ""
    return f"{text} Pooled over the languages, it is a real gain in {real}{losing} of {len(pooled)} combinations."


def differing_policies(views: Sequence[View]) -> list[tuple[Arm, Row, Row]]:
    """(arm, row, row) of every gain that the two first policies do not agree on; before them, the arm's gain pooled over all languages."""
    if len(views) < 2:
        return []
    one, other = views[:2]
    pairs: list[tuple[Arm, Row, Row]] = []
    for arm, rows in one.gains.items():
        there = {row["language"]: row for row in other.gains.get(arm, ())}
        differing = [
            (arm, row, there[row["language"]]) for row in rows if row["language"] in there and _differ(row, there[row["language"]])
        ]
        pooled = [pooled_by_group(seen, arm).get(HEADLINE_GROUP) for seen in (one, other)]
        if differing and pooled[0] and pooled[1]:
            pairs.append((arm, pooled[0], pooled[1]))
        pairs += differing
    return pairs


def _differ(one: Row, other: Row) -> bool:
    same = (one["claim"], one["runs_plus"], one["runs_minus"], points(one["theta"]))
    return same != (other["claim"], other["runs_plus"], other["runs_minus"], points(other["theta"]))
