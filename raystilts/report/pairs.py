"""Tests whose texts are in two languages, such as all pairs of XNLI's: gain by first and second language."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any

from raystilts.languages import LANGUAGES, PAIR, SAME_LANGUAGE, TWO_LANGUAGES
from raystilts.report.draw import Panel, canvas, short, write
from raystilts.report.overview import WIDE, tile
from raystilts.report.svg import MUTED, Drawing, drawing
from raystilts.report.tables import DASH, Column, Field, Table, claim_field, count_field, interval_field, numbers, points_field, words
from raystilts.report.view import Arm, Cell, Row, View, level, pooled_by_group, refused, who

TILE_HIGH, UP = 19, 48


def pairs(seen: View, cell: Cell, name: str) -> Drawing | None:
    """The gain of each pair, first language by second, one panel an encoder; None where the target has no pairs."""
    arms = {arm: of for arm in seen.arms(cell) if (of := _by_pair(seen.gains[arm]))}
    if not arms:
        return None
    firsts, seconds = (list(dict.fromkeys(pair[side] for of in arms.values() for pair in of)) for side in (0, 1))
    left, high = 60, TILE_HIGH * len(firsts)
    wide = max(min((WIDE - left) / len(seconds), 60), 30)
    figure = canvas(left + wide * len(seconds) + 8, (high + UP) * len(arms) + 40)
    most = max((abs(row["theta"]) for of in arms.values() for row in of.values() if not refused(row)), default=1.0) or 1.0
    for place, (arm, of) in enumerate(reversed(arms.items())):
        bottom = 24 + place * (high + UP)
        panel = Panel(figure, (left, bottom, wide * len(seconds), high), (0, len(seconds)), (len(firsts), 0))
        write(figure, left, bottom + high + 30, short(who(arm), 60), size=10)
        for across, second in enumerate(seconds):
            panel.text(across + 0.5, 0, second, shift=(0, 5), align="center", base="bottom", size=8.5)
            for down, first in enumerate(firsts):
                tile(panel, across, down, of.get((first, second)), most)
        for down, first in enumerate(firsts):
            panel.text(0, down + 0.5, first, shift=(-6, 0), align="right", size=8.5)
    write(figure, 4, 9, "Bold*: real after Holm correction; else cannot tell. x: refused.", size=8, colour=MUTED)
    caption = (
        "Gain in points: the first text in the row's language, the second in the column's. "
        "On the diagonal both are in one language. Blue: gain; orange: loss."
    )
    data = [_datum(seen, arm, pair, row) for arm, of in arms.items() for pair, row in of.items()]
    return drawing(figure, name, f"Gain by pair of languages: {cell[1]}, then {cell[0]}.", caption, data, tall=True)


def _datum(seen: View, arm: Arm, pair: tuple[str, str], row: Row) -> dict[str, Any]:
    numbers_ = {} if refused(row) else {"gain": row["theta"], "lo": row["lo"], "hi": row["hi"], "p_holm": row["p_holm"]}
    return {"encoder": arm[2], "first": pair[0], "second": pair[1], "level": level(seen.story, row["language"]), **numbers_,
            "claim": row["claim"]}  # fmt: skip


def pairs_table(seen: View, target: str) -> Table:
    """A target's gains over pairs of one language and of two, pooled, and the mean gain of each language as first and as second."""
    columns = [*words("Intermediate", "Encoder", "Pairs"), *numbers("Gain", "95 % interval"), Column("Verdict"),
               *numbers("Real gains", "Real losses", "Number")]  # fmt: skip
    rows = []
    for cell in seen.cells_of(target):
        for arm in seen.arms(cell):
            rows += _arm(seen, arm, _by_pair(seen.gains[arm]))
    note = (
        "Points. Pairs of one language and of two are pooled with their uncertainty; the means of single languages over their pairs with "
        "two languages are a description, without one."
    )
    return Table("Gain by first and second language", columns, rows, note)


def _arm(seen: View, arm: Arm, of: Mapping[tuple[str, str], Row]) -> list[list[Field]]:
    if not of:
        return []
    pooled = pooled_by_group(seen, arm)
    rows = []
    for group, same in ((SAME_LANGUAGE, True), (TWO_LANGUAGES, False)):
        chosen = [row for (first, second), row in of.items() if (first == second) == same]
        if row := pooled.get(group):
            hide = refused(row)
            found = [points_field(row["theta"], hide), interval_field(row["lo"], row["hi"], hide), claim_field(row)]
            rows.append([Field(arm[1]), Field(arm[2]), Field(group), *found, *_counts(chosen)])
    for side, what in enumerate(("first", "second")):
        for code in dict.fromkeys(pair[side] for pair in of):
            chosen = [row for pair, row in of.items() if pair[side] == code and pair[0] != pair[1]]
            known = [row["theta"] for row in chosen if not refused(row)]
            title = f"{what} in {LANGUAGES[code].name} ({code})" if code in LANGUAGES else f"{what} in {code}"
            gain = points_field(mean(known) if known else None)
            rows.append([Field(arm[1]), Field(arm[2]), Field(title), gain, Field(DASH), Field(""), *_counts(chosen)])
    return rows


def _counts(rows: Sequence[Row]) -> list[Field]:
    claims = [row["claim"] for row in rows if not refused(row)]
    return [count_field(claims.count("gain")), count_field(claims.count("loss")), count_field(len(rows))]


def _by_pair(rows: Sequence[Row]) -> dict[tuple[str, str], Row]:
    """The rows whose language is a pair, by its two codes."""
    found = {}
    for row in rows:
        first, pair, second = str(row["language"]).partition(PAIR)
        if pair:
            found[first, second] = row
    return found
