"""Gain by the resources of a language: against the amount of pretraining text, or by the levels that a study sets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from raystilts.report.draw import Panel, canvas, legend, short, widened, write
from raystilts.report.figures import ENCODER_MARKERS, SQUARE, encoder_entries, forest_row, is_real, level_entries, limits, style
from raystilts.report.svg import INK, MUTED, Drawing, drawing
from raystilts.report.view import HEADLINE_ESTIMAND, Arm, Cell, Row, View, absent, level, pooled_by_group, refused, who


def resource(seen: View, cell: Cell, name: str) -> Drawing | None:
    """Gain against the amount of pretraining text with the fitted line's band; by level where the study sets its levels itself."""
    arms = seen.arms(cell)
    if any(seen.trend.get(arm) for arm in arms):
        return _trend(seen, cell, name)
    levels = [at for at in seen.story.levels if any(level(seen.story, row["language"]) == at for arm in arms for row in seen.gains[arm])]
    if not levels or not arms:
        return None
    figure = canvas(SQUARE, 236)
    panel = Panel(figure, (46, 26, SQUARE - 56, 180), (-0.5, len(levels) - 0.5), limits(_with_pooled(seen, arms)))
    panel.y_axis("gain, points")
    panel.x_axis(grid=False, ticks=[(place, short(at, int(46 / len(levels)))) for place, at in enumerate(levels)])
    panel.zero(level=True)
    for number, arm in enumerate(arms):
        _resource_arm(panel, seen, arm, levels=levels, shift=(number - (len(arms) - 1) / 2) * 0.8 / len(arms), number=number)
    legend(figure, encoder_entries(arms), 46, 226, SQUARE)
    rows = [forest_row(seen, arm, row["language"], row) for arm in arms for row in seen.gains[arm]]
    rows += [forest_row(seen, arm, at, row) for arm in arms for at, row in pooled_by_group(seen, arm).items()]
    caption = "Small marks: languages. Large marks: pooled over the level, with 95 % intervals. Filled: real; open: cannot tell."
    return drawing(figure, name, f"Gain by resource level: {cell[1]}, then {cell[0]}.", caption, rows)


def _with_pooled(seen: View, arms: Sequence[Arm]) -> list[Row]:
    return [row for arm in arms for row in [*seen.gains[arm], *pooled_by_group(seen, arm).values()]]


def _resource_arm(panel: Panel, seen: View, arm: Arm, *, levels: Sequence[str], shift: float, number: int) -> None:
    pooled, marker = pooled_by_group(seen, arm), ENCODER_MARKERS[number % 4]
    for place, at in enumerate(levels):
        colour = style(seen, at)[1]
        inside = [row for row in seen.gains[arm] if level(seen.story, row["language"]) == at and not refused(row)]
        inside.sort(key=lambda row: (order(seen, row["language"]), row["language"]))
        x = place + shift + np.linspace(-0.13, 0.13, len(inside)) if len(inside) > 1 else np.full(len(inside), place + shift)
        panel.marks(x, [row["theta"] for row in inside], (marker, colour), 3.2, alpha=0.5, edge=0)
        row = pooled.get(at)
        if row is None or refused(row):
            panel.remark(place + shift, 0, "refused" if row else "not pooled", above=True)
            continue
        if not absent(row["lo"]) and not absent(row["hi"]):
            panel.lines([(place + shift, row["lo"], place + shift, row["hi"])], colour, 2)
        panel.marks([place + shift], [row["theta"]], (marker, colour), 7.5, filled=is_real(row), edge=1.4)


def order(seen: View, code: str) -> float:
    """A language's place on the resource axis."""
    facts = seen.story.languages.get(code)
    return facts.order if facts else 0.0


def _trend(seen: View, cell: Cell, name: str) -> Drawing:
    """One panel an encoder: gain against log10 of CC-100's megabytes; languages without text in CC-100 are not drawn."""
    arms = [arm for arm in seen.arms(cell) if seen.trend.get(arm)]
    lines = {arm: [row for row in seen.trend[arm] if row["estimand"] == HEADLINE_ESTIMAND] for arm in arms}
    points = {arm: [row for row in seen.gains[arm] if not refused(row) and order(seen, row["language"]) > 0] for arm in arms}
    low, high = limits([row for rows in points.values() for row in rows])
    across = widened([row["at"] for rows in lines.values() for row in rows], zero=False)
    figure = canvas(SQUARE, 236)
    wide = (SQUARE - 46) / len(arms)
    rows: list[dict[str, Any]] = []
    for number, arm in enumerate(arms):
        panel = Panel(figure, (46 + number * wide, 38, wide - 10, 156), across, (low, high))
        panel.title(short(who(arm), int(wide / 6)))
        panel.y_axis("gain, points" if number == 0 else "", ticks=None if number == 0 else ())
        panel.x_axis(ticks=[(power, f"{10**power:g}" if power < 3 else f"{10 ** (power - 3):,.0f}k") for power in range(-1, 7)
                            if across[0] <= power <= across[1]])  # fmt: skip
        panel.zero(level=True)
        band = lines[arm]
        panel.band([row["at"] for row in band], [row["lo"] for row in band], [row["hi"] for row in band], INK)
        panel.curve([row["at"] for row in band], [row["theta"] for row in band], INK)
        for at in dict.fromkeys(level(seen.story, row["language"]) for row in points[arm]):
            marker, colour = style(seen, at)
            for real in (True, False):
                chosen = [row for row in points[arm] if level(seen.story, row["language"]) == at and is_real(row) == real]
                panel.marks([order(seen, row["language"]) for row in chosen], [row["theta"] for row in chosen], (marker, colour), 4.6,
                            filled=real)  # fmt: skip
        rows += [forest_row(seen, arm, row["language"], row) | {"log10_mb": order(seen, row["language"])} for row in points[arm]]
        rows += [
            {"encoder": arm[2], "language": "fitted line", "gain": row["theta"], "lo": row["lo"], "hi": row["hi"], "log10_mb": row["at"]}
            for row in band
        ]
    write(figure, (46 + SQUARE) / 2, 8, "text in CC-100, MB (log scale)", align="center", colour=MUTED)
    legend(figure, level_entries(seen, [row["language"] for rows in points.values() for row in rows]), 10, 226, SQUARE)
    caption = (
        "Gain against the size of a language in CC-100, XLM-R's pretraining text, with the least-squares line and its pointwise 95 % band "
        "for these languages. Filled: real; open: cannot tell. Languages that CC-100 lacks are not drawn."
    )
    return drawing(figure, name, f"Gain against pretraining text: {cell[1]}, then {cell[0]}.", caption, rows)
