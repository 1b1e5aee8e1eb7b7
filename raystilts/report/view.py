"""The analysis' tables as rows, indexed by the cells of the study, and how numbers are printed."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from raystilts.report.story import Analysis, Story

Row = dict[str, Any]
Cell = tuple[str, str]
"""(target, intermediate): one question of the study, asked of every encoder."""
Arm = tuple[str, str, str]
"""(target, intermediate, encoder)"""

LEVEL_OTHER = "other"
HEADLINE_GROUP = "all"
HEADLINE_ESTIMAND = "fixed_languages"
FIXED_LABELS = ("encoder", "intermediate", "target")


@dataclass(frozen=True)
class View:
    """One collapse policy of an analysis. Rows keep the order of the tables, which is the order of the study's plan.

    scores: by target, of all runs under every policy.
    """

    story: Story
    policy: str
    encoders: tuple[str, ...]
    cells: tuple[Cell, ...]
    gains: Mapping[Arm, list[Row]]
    pooled: Mapping[Arm, list[Row]]
    resource: Mapping[Arm, list[Row]]
    trend: Mapping[Arm, list[Row]]
    variance: Mapping[Arm, list[Row]]
    power: Mapping[Arm, list[Row]]
    scores: Mapping[str, list[Row]]
    interactions: Mapping[Cell, list[Row]]
    scaling: Mapping[Cell, list[Row]]
    pooled_interactions: Mapping[Cell, list[Row]]

    @property
    def targets(self) -> tuple[str, ...]:
        """In the order of the study."""
        return tuple(dict.fromkeys(target for target, _ in self.cells))

    def cells_of(self, target: str) -> list[Cell]:
        """A target's cells, one an intermediate."""
        return [cell for cell in self.cells if cell[0] == target]

    def arms(self, cell: Cell) -> list[Arm]:
        """The cell's arms that have gains, small encoder first."""
        return [(*cell, encoder) for encoder in self.encoders if (*cell, encoder) in self.gains]


def policies(analysis: Analysis) -> tuple[str, ...]:
    """The collapse policies that the analysis holds, the headline's ("all": no run is dropped) first."""
    seen = dict.fromkeys(analysis.gains.column("policy").to_pylist())
    return tuple(sorted(seen, key=lambda policy: policy != "all"))


def view(analysis: Analysis, story: Story, policy: str) -> View:
    """The tables' rows under one policy, by cell and arm."""
    gains = _rows(analysis.gains, policy)
    interaction_rows = _rows(analysis.interactions, policy)
    scaling = _rows(analysis.scaling, policy)
    pooled = _rows(analysis.pooled, policy)
    # Contrasts and interactions are pooled in one table; only their names tell them apart.
    names = {row["contrast"] for row in interaction_rows} | {row["contrast"] for row in scaling}
    extra = _extra_labels(analysis.gains)
    found = dict.fromkeys(_encoder(row) for row in gains)
    return View(
        story=story,
        policy=policy,
        encoders=tuple(dict.fromkeys([*(e for e in story.encoders if e in found), *found])),
        cells=tuple(dict.fromkeys(_cell(row, extra) for row in gains)),
        gains=_by_arm(gains, extra),
        pooled=_by_arm((row for row in pooled if row["contrast"] not in names), extra),
        resource=_by_arm((row for row in _rows(analysis.resource, policy) if row["contrast"] not in names), extra),
        trend=_by_arm(_rows(analysis.trend, policy), extra),
        variance=_by_arm(_rows(analysis.variance, policy), extra),
        power=_by_arm(_rows(analysis.power, policy), extra),
        scores=_by_target(analysis.scores.to_pylist()),
        interactions=_by_cell(interaction_rows, extra),
        scaling=_by_cell(scaling, extra),
        pooled_interactions=_by_cell((row for row in pooled if row["contrast"] in names), extra),
    )


def _rows(table: Any, policy: str) -> list[Row]:
    rows: list[Row] = table.to_pylist()
    return [row for row in rows if row.get("policy", policy) == policy]


def _extra_labels(gains: Any) -> list[str]:
    """Label columns of a contrast beyond the three usual ones that vary, such as the method: they split a cell in two."""
    names = gains.column_names
    labels = names[names.index("contrast") + 1 : names.index("language")]
    return [name for name in labels if name not in (*FIXED_LABELS, "family") and len(set(gains.column(name).to_pylist())) > 1]


def _cell(row: Row, extra: Sequence[str]) -> Cell:
    intermediate = str(row.get("intermediate") or row["contrast"])
    details = [str(row[name]) for name in extra if row.get(name)]
    return str(row.get("target") or ""), " ".join([intermediate, *(f"({detail})" for detail in details)])


def _encoder(row: Row) -> str:
    return str(row.get("encoder") or "")


def _by_arm(rows: Iterable[Row], extra: Sequence[str]) -> dict[Arm, list[Row]]:
    arms: dict[Arm, list[Row]] = {}
    for row in rows:
        arms.setdefault((*_cell(row, extra), _encoder(row)), []).append(row)
    return arms


def _by_target(rows: Iterable[Row]) -> dict[str, list[Row]]:
    targets: dict[str, list[Row]] = {}
    for row in rows:
        targets.setdefault(str(row.get("target") or ""), []).append(row)
    return targets


def _by_cell(rows: Iterable[Row], extra: Sequence[str]) -> dict[Cell, list[Row]]:
    cells: dict[Cell, list[Row]] = {}
    for row in rows:
        cells.setdefault(_cell(row, extra), []).append(row)
    return cells


def refused(row: Row) -> bool:
    """True where the statistics decline to claim anything: such a row shows its reason and no number."""
    return row.get("claim", row.get("verdict")) == "refused" or absent(row.get("theta"))


def absent(value: Any) -> bool:
    """Null or not a number."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def group_order(story: Story, groups: Iterable[str]) -> list[str]:
    """All languages first, then the levels from low to high, then the rest by their names."""
    known = {group: place for place, group in enumerate((HEADLINE_GROUP, *story.levels))}
    return sorted(dict.fromkeys(groups), key=lambda group: (known.get(group, len(known)), group))


def pooled_by_group(seen: View, arm: Arm, estimand: str = HEADLINE_ESTIMAND) -> dict[str, Row]:
    """An arm's pooled rows of one estimand, all languages first, then the levels from low to high."""
    rows = {row["group"]: row for row in seen.pooled.get(arm, ()) if row["estimand"] == estimand}
    return {group: rows[group] for group in group_order(seen.story, rows)}


def baseline_of(story: Story) -> str:
    """What gains are gains over, in words."""
    return {"none": "no intermediate task", "": "the other side of each contrast"}.get(story.baseline, f"the baseline {story.baseline}")


def language(story: Story, code: str) -> str:
    """The name with its code: Swahili (sw)."""
    facts = story.languages.get(code)
    return f"{facts.name} ({code})" if facts and facts.name != code else code


def level(story: Story, code: str) -> str:
    """A language's resource level, or "other"."""
    facts = story.languages.get(code)
    return facts.level if facts and facts.level in story.levels else LEVEL_OTHER


def points(value: Any, digits: int = 2) -> str:
    """A signed number of points; a dash where there is none."""
    if absent(value):
        return "–"
    text = f"{value:+.{digits}f}"
    return text[1:] if float(text) == 0 else text


def interval(low: Any, high: Any) -> str:
    """Both ends, signed."""
    return "–" if absent(low) or absent(high) else f"[{points(low)}, {points(high)}]"


def probability(value: Any) -> str:
    """Four decimals; never zero."""
    if absent(value):
        return "–"
    return "< 0.0001" if value < 0.0001 else f"{value:.4f}"


def plain(value: Any) -> str:
    """A number as short as it can be said: 1, 0.5."""
    return f"{value:g}"


def in_points(value: float) -> str:
    """With its unit: 1 point, 0.5 points."""
    return f"{plain(value)} {'point' if value == 1 else 'points'}"


def span(values: Iterable[Any]) -> str:
    """Counts in one phrase: 5, or 3 to 5."""
    known = sorted({value for value in values if not absent(value)})
    if not known:
        return "–"
    return f"{known[0]:,}" if len(known) == 1 else f"{known[0]:,} to {known[-1]:,}"


def who(arm: Arm) -> str:
    """The encoder, or, where contrasts are of something else, the contrast."""
    return arm[2] or arm[1]


def slug(text: str) -> str:
    """A file name and HTML id of any name."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "x"


def reasons(rows: Iterable[Row]) -> str:
    """Why the refused ones among the rows are refused, each reason once."""
    found = dict.fromkeys(str(row.get("reason") or "no reason given").rstrip(".") for row in rows if refused(row))
    return "; ".join(found) + "."


def count(number: int, noun: str) -> str:
    """1 language, 25 languages."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
