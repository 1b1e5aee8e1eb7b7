"""The figures of one (target, intermediate): gains per language, and small against large encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from raystilts.report.draw import MARKERS, Panel, Range, canvas, legend, short, widened, write
from raystilts.report.svg import INK, LEVELS, LINE, MUTED, OTHER, Drawing, drawing
from raystilts.report.view import (
    HEADLINE_GROUP,
    LEVEL_OTHER,
    Arm,
    Cell,
    Row,
    View,
    absent,
    baseline_of,
    language,
    level,
    pooled_by_group,
    refused,
    who,
)

ENCODER_MARKERS = ("o", "D", "s", "^")
ENCODER_COLOURS = (LEVELS[2], LEVELS[0], LEVELS[1], LEVELS[3])
ROW = 13.3
WIDTH, SQUARE = 439, 310


def forest(seen: View, cell: Cell, name: str) -> Drawing:
    """Gain per language with its calibrated interval, one panel an encoder, sorted by the largest encoder's gain."""
    arms = seen.arms(cell)
    by_language = {arm: {row["language"]: row for row in seen.gains[arm]} for arm in arms}
    order = _sorted_languages([by_language[arm] for arm in reversed(arms)])
    groups = list(dict.fromkeys(group for arm in arms for group in pooled_by_group(seen, arm)))
    places = [*range(len(order)), *(len(order) + 0.6 + place for place in range(len(groups)))]
    labels = [language(seen.story, code) for code in order] + [_group_name(group) for group in groups]
    low, high = limits([row for arm in arms for row in [*by_language[arm].values(), *pooled_by_group(seen, arm).values()]])
    height = ROW * (len(labels) + 1.6) + 76
    figure = canvas(WIDTH, height)
    left = min(5.4 * max(map(len, labels), default=0) + 10, WIDTH * 0.42)
    wide = (WIDTH - 8 - left) / max(len(arms), 1)
    for number, arm in enumerate(arms):
        panel = Panel(figure, (left + number * wide, 34, wide - 8, height - 82), (low, high), (len(labels) + 0.4, -0.8))
        panel.title(short(who(arm), int(wide / 6)))
        panel.x_axis()
        panel.zero(upright=True)
        _forest_rows(panel, seen, [by_language[arm].get(code) for code in order])
        _pooled_rows(panel, {group: pooled_by_group(seen, arm).get(group) for group in groups}, seen, len(order) + 0.6)
        for place, text in zip(places, labels, strict=True) if number == 0 else ():
            panel.text(low, place, short(text, int(left / 5)), shift=(-6, 0), align="right", size=8.6)
    write(figure, (left + WIDTH) / 2, 8, "gain in points", align="center", colour=MUTED)
    legend(figure, level_entries(seen, order), 8, height - 10, WIDTH)
    rows = [forest_row(seen, arm, code, row) for arm in arms for code in order if (row := by_language[arm].get(code))]
    rows += [forest_row(seen, arm, group, row) for arm in arms for group, row in pooled_by_group(seen, arm).items()]
    caption = (
        f"Gain in points over {baseline_of(seen.story)}, with 95 % calibrated bootstrap intervals. Filled: real after Holm; "
        "open: cannot tell. Diamonds: pooled over the languages (two-way t interval). An arrow head marks an interval that goes on."
    )
    return drawing(figure, name, f"Gain per language: {cell[1]}, then {cell[0]}.", caption, rows, tall=True)


def forest_row(seen: View, arm: Arm, code: str, row: Row) -> dict[str, Any]:
    """A gain, or a pooled gain, as the data of a figure."""
    low, high = interval_of(row)
    single = "language" in row
    numbers = {} if refused(row) else {"gain": row["theta"], "lo": low, "hi": high, "p_holm": row["p_holm"]}
    facts = {"language": code, "name": language(seen.story, code), "level": level(seen.story, code)}
    return {"encoder": arm[2], **(facts if single else {"language": f"pooled: {code}", "name": "", "level": code}), **numbers,
            "claim": row["claim"]}  # fmt: skip


def _sorted_languages(arms: Sequence[dict[str, Row]]) -> list[str]:
    """By the gain on the first arm that has one; refused and missing ones last. Ties by code, so that reruns agree."""
    codes = sorted({code for arm in arms for code in arm})

    def key(code: str) -> tuple[int, float, str]:
        for place, arm in enumerate(arms):
            if code in arm and not refused(arm[code]):
                return place, -arm[code]["theta"], code
        return len(arms), 0.0, code

    return sorted(codes, key=key)


def limits(rows: Sequence[Row]) -> Range:
    """Wide enough for every estimate and most interval ends: one run with few seeds must not squeeze all the others."""
    shown = [row for row in rows if not refused(row)]
    if not shown:
        return -1.0, 1.0
    thetas = np.array([row["theta"] for row in shown])
    bars = np.array([[low, high] for low, high in map(interval_of, shown) if not absent(low) and not absent(high)] or [[0.0, 0.0]])
    low = min(float(thetas.min()), float(np.quantile(bars[:, 0], 0.08)), 0.0)
    high = max(float(thetas.max()), float(np.quantile(bars[:, 1], 0.92)), 0.0)
    pad = 0.06 * max(high - low, 0.1)
    return low - pad, high + pad


def interval_of(row: Row) -> tuple[Any, Any]:
    """The calibrated bootstrap where there is one, as for single languages; the two-way t interval of a pooled row."""
    low, high = row.get("boot_lo"), row.get("boot_hi")
    return (row["lo"], row["hi"]) if absent(low) or absent(high) else (low, high)


def _forest_rows(panel: Panel, seen: View, rows: Sequence[Row | None]) -> None:
    by_level: dict[str, list[tuple[float, Row]]] = {}
    for place, row in enumerate(rows):
        if row is None or refused(row):
            panel.remark(0, place, "refused" if row else "not run")
        else:
            by_level.setdefault(level(seen.story, row["language"]), []).append((place, row))
    for name, chosen in by_level.items():
        marker, colour = style(seen, name)
        _intervals(panel, chosen, colour)
        for real in (True, False):
            at = [(row["theta"], place) for place, row in chosen if is_real(row) == real]
            if at:
                panel.marks([x for x, _ in at], [y for _, y in at], (marker, colour), 5.2, filled=real)


def _intervals(panel: Panel, rows: Sequence[tuple[float, Row]], colour: str, width: float = 1.3) -> None:
    bars = [(place, *interval_of(row)) for place, row in rows]
    bars = [bar for bar in bars if not absent(bar[1]) and not absent(bar[2])]
    panel.lines([(low, place, high, place) for place, low, high in bars], colour, width)
    for marker, edge, cut in (
        ("<", panel.x[0], [place for place, low, _ in bars if low < panel.x[0]]),
        (">", panel.x[1], [place for place, _, high in bars if high > panel.x[1]]),
    ):
        if cut:
            panel.marks([edge] * len(cut), cut, (marker, colour), 4, edge=0.5)


def _pooled_rows(panel: Panel, pooled: Mapping[str, Row | None], seen: View, start: float) -> None:
    panel.lines([(panel.x[0], start - 0.8, panel.x[1], start - 0.8)], LINE, 0.8)
    for place, (group, row) in enumerate(pooled.items()):
        if row is None or refused(row):
            panel.remark(0, start + place, "refused" if row else "not pooled")
            continue
        colour = INK if group == HEADLINE_GROUP else style(seen, group)[1]
        _intervals(panel, [(start + place, row)], colour, width=1.8)
        panel.marks([row["theta"]], [start + place], ("D", colour), 5.6, filled=is_real(row))


def is_real(row: Row) -> bool:
    """A gain or a loss that stands after correction."""
    return row["claim"] in ("gain", "loss")


def _group_name(group: str) -> str:
    return "all languages" if group == HEADLINE_GROUP else f"pooled: {group}"


def style(seen: View, name: str) -> tuple[str, str]:
    """(marker, colour) of a resource level: both say the same, for readers who do not see the colour."""
    if name not in seen.story.levels:
        return "X", OTHER
    place = seen.story.levels.index(name)
    return MARKERS[place % len(MARKERS)], LEVELS[place % len(LEVELS)]


def level_entries(seen: View, codes: Sequence[str]) -> list[tuple[str, str | None, str]]:
    """The legend of the levels that occur."""
    present = {level(seen.story, code) for code in codes}
    return [(name, *style(seen, name)) for name in (*seen.story.levels, LEVEL_OTHER) if name in present]


def encoder_entries(arms: Sequence[Arm]) -> list[tuple[str, str | None, str]]:
    """The legend of the encoders, by marker."""
    return [(who(arm), ENCODER_MARKERS[number % 4], INK) for number, arm in enumerate(arms)]


def scaling(seen: View, cell: Cell, name: str) -> Drawing | None:
    """Gain on the smallest against gain on the largest encoder; None unless two encoders have gains in the same languages."""
    arms = seen.arms(cell)
    if len(arms) < 2:
        return None
    small, large = ({row["language"]: row for row in seen.gains[arm] if not refused(row)} for arm in (arms[0], arms[-1]))
    codes = [code for code in small if code in large]
    if not codes:
        return None
    figure = canvas(SQUARE, SQUARE + 20)
    low, high = widened([rows[code]["theta"] for code in codes for rows in (small, large)], share=0.15)
    panel = Panel(figure, (46, 38, SQUARE - 56, SQUARE - 56), (low, high), (low, high))
    panel.x_axis(f"gain on {short(arms[0][2], 30)}, points", grid=False)
    panel.y_axis(f"gain on {short(arms[-1][2], 30)}, points", grid=False)
    panel.zero(upright=True, level=True)
    panel.curve([low, high], [low, high], MUTED, 0.9, dashes=(4, 3))
    for at in dict.fromkeys(level(seen.story, code) for code in codes):
        marker, colour = style(seen, at)
        chosen = [code for code in codes if level(seen.story, code) == at]
        both = [(small[code], large[code]) for code in chosen]
        panel.lines([(x["theta"], bottom, x["theta"], top) for x, y in both for bottom, top in [ends(y)]], colour, 0.7, alpha=0.35)
        panel.lines([(left, y["theta"], right, y["theta"]) for x, y in both for left, right in [ends(x)]], colour, 0.7, alpha=0.35)
        panel.marks([x["theta"] for x, _ in both], [y["theta"] for _, y in both], (marker, colour), 5.5)
    _codes(panel, [(code, small[code]["theta"], large[code]["theta"]) for code in codes], high - low)
    legend(figure, level_entries(seen, codes), 10, SQUARE + 10, SQUARE)
    rows = [
        {"language": code, "name": language(seen.story, code), "level": level(seen.story, code)}
        | _numbers("small", small[code])
        | _numbers("large", large[code])
        for code in codes
    ]
    caption = (
        f"Above the dashed line the gain is larger on {arms[-1][2]}. Bars: 95 % intervals, cut at the frame. "
        "Codes that would overlap are left out."
    )
    return drawing(figure, name, f"Gain on {arms[0][2]} against gain on {arms[-1][2]}: {cell[1]}, then {cell[0]}.", caption, rows)


def _numbers(which: str, row: Row) -> dict[str, Any]:
    low, high = interval_of(row)
    return {f"{which}_gain": row["theta"], f"{which}_lo": low, f"{which}_hi": high}


def ends(row: Row) -> tuple[float, float]:
    """The interval, or twice the estimate where there is none."""
    low, high = interval_of(row)
    return (row["theta"], row["theta"]) if absent(low) or absent(high) else (low, high)


def _codes(panel: Panel, found: Sequence[tuple[str, float, float]], width: float) -> None:
    """Labels to the upper right, those farthest from the diagonal first; one that would cover a mark or a label is left out."""
    marks = [(x, y) for _, x, y in found]
    placed: list[tuple[float, float]] = []
    for code, x, y in sorted(found, key=lambda item: (-abs(item[2] - item[1]), item[0])):
        middle = (x + 0.035 * width, y + 0.02 * width)
        others = [mark for mark in marks if mark != (x, y)]
        free = all(abs(middle[0] - left) > 0.035 * width or abs(middle[1] - low) > 0.028 * width for left, low in others)
        if free and all(abs(x - left) > 0.07 * width or abs(y - low) > 0.035 * width for left, low in placed):
            panel.text(x, y, code, shift=(5, 5), size=8)
            placed.append((x, y))
