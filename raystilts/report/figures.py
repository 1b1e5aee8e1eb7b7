"""The figures of one (target, intermediate): gains per language, small against large encoder, gain by resource level."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from raystilts.report.svg import INK, LEVELS, LINE, MUTED, OTHER, PAPER, RC, Drawing, drawing
from raystilts.report.view import HEADLINE_GROUP, LEVEL_OTHER, Arm, Cell, Row, View, absent, language, level, pooled_by_group, refused

MARKERS = ("v", "s", "o", "D", "^", "P")
ENCODER_MARKERS = ("o", "D", "s", "^")
ROW = 0.185  # inches
GAP = 0.6  # rows, between the languages and the pooled gains
WIDTH = 6.1
SQUARE = 4.3


def forest(seen: View, cell: Cell, name: str) -> Drawing:
    """Gain per language with its calibrated interval, one panel an encoder, sorted by the largest encoder's gain."""
    arms = seen.arms(cell)
    by_language = {arm: {row["language"]: row for row in seen.gains[arm]} for arm in arms}
    order = _sorted_languages([by_language[arm] for arm in reversed(arms)])
    groups = list(dict.fromkeys(group for arm in arms for group in pooled_by_group(seen, arm)))
    places = [*range(len(order)), *(len(order) + GAP + place for place in range(len(groups)))]
    labels = [language(seen.story, code) for code in order] + [_group_name(seen, group) for group in groups]
    with mpl.rc_context(RC):
        height = ROW * (len(labels) + 1) + 1.25
        figure = Figure(figsize=(WIDTH, height))
        left = min(0.075 * max(map(len, labels)) + 0.15, WIDTH * 0.4)
        panels = figure.subplots(1, len(arms), sharex=True, squeeze=False)[0]
        figure.subplots_adjust(left=left / WIDTH, right=1 - 0.1 / WIDTH, top=1 - 0.6 / height, bottom=0.5 / height, wspace=0.06)
        rows_of = {arm: [*by_language[arm].values(), *pooled_by_group(seen, arm).values()] for arm in arms}
        limits = _limits([row for rows in rows_of.values() for row in rows])
        for panel, arm in zip(panels, arms, strict=True):
            _forest_panel(panel, seen, [by_language[arm].get(code) for code in order], order, limits)
            _pooled_rows(panel, seen, {group: pooled_by_group(seen, arm).get(group) for group in groups}, len(order) + GAP, limits)
            panel.set_title(arm[2], pad=6)
            panel.set_xlim(*limits)
            panel.set_ylim(len(labels) + 0.3, -0.8)
            panel.set_yticks(places, labels if arm == arms[0] else [])
            panel.tick_params(axis="y", length=0, pad=4)
            panel.spines["left"].set_visible(False)
        figure.text((left + WIDTH - 0.1) / 2 / WIDTH, 0.08 / height, "gain in points", ha="center", color=MUTED)
        _level_legend(figure, seen, order)
    caption = (
        f"Gain in points over the baseline ({seen.story.baseline}), with 95 % calibrated bootstrap intervals. Filled: real after Holm; "
        "open: cannot tell. Diamonds: pooled over the languages (two-way t interval). An arrow head marks an interval that goes on."
    )
    return drawing(figure, name, f"Gain per language: {cell[1]}, then {cell[0]}; the same numbers are in the table of all gains.", caption)


def _sorted_languages(arms: Sequence[dict[str, Row]]) -> list[str]:
    """By the gain on the first arm that has one; refused and missing ones last. Ties by code, so that reruns agree."""
    codes = sorted({code for arm in arms for code in arm})

    def key(code: str) -> tuple[int, float, str]:
        for place, arm in enumerate(arms):
            if code in arm and not refused(arm[code]):
                return place, -arm[code]["theta"], code
        return len(arms), 0.0, code

    return sorted(codes, key=key)


def _limits(rows: Sequence[Row]) -> tuple[float, float]:
    """Wide enough for every estimate and most interval ends: one run with few seeds must not squeeze all the others."""
    shown = [row for row in rows if not refused(row)]
    if not shown:
        return -1.0, 1.0
    thetas = np.array([row["theta"] for row in shown])
    ends = np.array([[low, high] for low, high in map(_interval, shown) if not absent(low) and not absent(high)] or [[0.0, 0.0]])
    low = min(float(thetas.min()), float(np.quantile(ends[:, 0], 0.08)), 0.0)
    high = max(float(thetas.max()), float(np.quantile(ends[:, 1], 0.92)), 0.0)
    pad = 0.06 * max(high - low, 0.1)
    return low - pad, high + pad


def _interval(row: Row) -> tuple[Any, Any]:
    """The calibrated bootstrap where there is one, as for single languages; the two-way t interval of a pooled row."""
    low, high = row.get("boot_lo"), row.get("boot_hi")
    return (row["lo"], row["hi"]) if absent(low) or absent(high) else (low, high)


def _forest_panel(panel: Axes, seen: View, rows: Sequence[Row | None], codes: Sequence[str], limits: tuple[float, float]) -> None:
    panel.axvline(0, color=MUTED, linewidth=0.8, zorder=0)
    panel.grid(axis="x", linewidth=0.5, zorder=0)
    panel.set_axisbelow(True)
    drawn = [(place, row, level(seen.story, codes[place])) for place, row in enumerate(rows) if row and not refused(row)]
    for name in dict.fromkeys(name for _, _, name in drawn):
        chosen = [(place, row) for place, row, at in drawn if at == name]
        colour, marker = _style(seen, name)
        _bars(panel, chosen, limits, colour)
        for real in (True, False):
            at = [(row["theta"], place) for place, row in chosen if _real(row) == real]
            if at:
                _marks(panel, [x for x, _ in at], [y for _, y in at], (marker, colour), 5.2, real=real)
    for place, row in enumerate(rows):
        if row is None or refused(row):
            _remark(panel, 0, place, "refused" if row else "not run")


def _bars(panel: Axes, rows: Sequence[tuple[float, Row]], limits: tuple[float, float], colour: str, width: float = 1.3) -> None:
    bars = [(place, *_interval(row)) for place, row in rows]
    bars = [bar for bar in bars if not absent(bar[1]) and not absent(bar[2])]
    if not bars:
        return
    places, low, high = (np.array(column, dtype=float) for column in zip(*bars, strict=True))
    panel.hlines(places, np.maximum(low, limits[0]), np.minimum(high, limits[1]), colors=colour, linewidth=width, zorder=2)
    for marker, cut, edge in (("<", low < limits[0], limits[0]), (">", high > limits[1], limits[1])):
        if cut.any():
            ends = np.full(cut.sum(), edge)
            panel.plot(ends, places[cut], linestyle="none", marker=marker, markersize=4, color=colour, clip_on=False, zorder=3)


def _pooled_rows(panel: Axes, seen: View, pooled: Mapping[str, Row | None], start: float, limits: tuple[float, float]) -> None:
    panel.axhline(start - 0.8, color=LINE, linewidth=0.8)
    for place, (group, row) in enumerate(pooled.items()):
        if row is None or refused(row):
            _remark(panel, 0, start + place, "refused" if row else "not pooled")
            continue
        colour = INK if group == HEADLINE_GROUP else _style(seen, group)[0]
        _bars(panel, [(start + place, row)], limits, colour, width=1.8)
        _marks(panel, [row["theta"]], [start + place], ("D", colour), 5.6, real=_real(row))


def _real(row: Row) -> bool:
    return row["claim"] in ("gain", "loss")


def _group_name(seen: View, group: str) -> str:
    return "all languages" if group == HEADLINE_GROUP else f"pooled: {group}"


def _style(seen: View, name: str) -> tuple[str, str]:
    """(colour, marker) of a resource level: both say the same, for readers who do not see the colour."""
    if name not in seen.story.levels:
        return OTHER, "X"
    place = seen.story.levels.index(name)
    return LEVELS[place % len(LEVELS)], MARKERS[place % len(MARKERS)]


def _level_legend(figure: Figure, seen: View, codes: Sequence[str]) -> None:
    present = {level(seen.story, code) for code in codes}
    handles = []
    for name in (*seen.story.levels, LEVEL_OTHER):
        if name in present:
            colour, marker = _style(seen, name)
            handles.append(Line2D([], [], linestyle="none", marker=marker, color=colour, markersize=5.5, label=name))
    figure.legend(handles=handles, loc="upper center", ncols=4, fontsize=8.5, handletextpad=0.2, columnspacing=1.2, borderaxespad=0.2)


def _marks(panel: Axes, x: Any, y: Any, style: tuple[str, str], size: float, *, real: bool = True, edge: float = 1.2) -> None:
    """style: (marker, colour). Filled where the gain or loss is real, open where it cannot be told."""
    marker, colour = style
    face = colour if real else PAPER
    panel.plot(x, y, linestyle="none", marker=marker, markersize=size, color=colour, markerfacecolor=face, markeredgewidth=edge, zorder=4)


def _remark(panel: Axes, x: float, y: float, text: str, *, above: bool = False) -> None:
    """What stands in place of a mark that is not shown: beside its place, or above it."""
    offset, align, base = ((0, 4), "center", "bottom") if above else ((4, 0), "left", "center")
    panel.annotate(text, (x, y), xytext=offset, textcoords="offset points", fontsize=8, color=MUTED, style="italic", ha=align, va=base)


def scaling(seen: View, cell: Cell, name: str) -> Drawing | None:
    """Gain on the smallest against gain on the largest encoder; None unless two encoders have gains in the same languages."""
    arms = seen.arms(cell)
    if len(arms) < 2:
        return None
    small, large = ({row["language"]: row for row in seen.gains[arm] if not refused(row)} for arm in (arms[0], arms[-1]))
    codes = [code for code in small if code in large]
    if not codes:
        return None
    with mpl.rc_context(RC):
        figure = Figure(figsize=(SQUARE, SQUARE + 0.25))
        panel = figure.subplots()
        figure.subplots_adjust(left=0.6 / SQUARE, right=1 - 0.12 / SQUARE, top=1 - 0.42 / (SQUARE + 0.25), bottom=0.5 / (SQUARE + 0.25))
        low, high = _limits([rows[code] for code in codes for rows in (small, large)])
        panel.axhline(0, color=LINE, linewidth=0.8, zorder=0)
        panel.axvline(0, color=LINE, linewidth=0.8, zorder=0)
        panel.plot([low, high], [low, high], color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
        for at in dict.fromkeys(level(seen.story, code) for code in codes):
            colour, marker = _style(seen, at)
            chosen = [code for code in codes if level(seen.story, code) == at]
            x, y = [small[code]["theta"] for code in chosen], [large[code]["theta"] for code in chosen]
            panel.vlines(x, *_ends(large, chosen, low, high), colors=colour, linewidth=0.7, alpha=0.35, zorder=1)
            panel.hlines(y, *_ends(small, chosen, low, high), colors=colour, linewidth=0.7, alpha=0.35, zorder=1)
            _marks(panel, x, y, (marker, colour), 5.5)
        _codes(panel, [(code, small[code]["theta"], large[code]["theta"]) for code in codes], high - low)
        panel.set(xlim=(low, high), ylim=(low, high), xlabel=f"gain on {arms[0][2]}, points", ylabel=f"gain on {arms[-1][2]}, points")
        _level_legend(figure, seen, codes)
    caption = f"Above the dashed line the gain is larger on {arms[-1][2]}. Bars: 95 % intervals. Codes that would overlap are left out."
    return drawing(figure, name, f"Gain on {arms[0][2]} against gain on {arms[-1][2]}: {cell[1]}, then {cell[0]}.", caption)


def _ends(rows: dict[str, Row], codes: Sequence[str], low: float, high: float) -> tuple[Any, Any]:
    ends = [[row["theta"] if absent(end) else end for end in _interval(row)] for row in (rows[code] for code in codes)]
    clipped = np.clip(np.array(ends, dtype=float), low, high)
    return clipped[:, 0], clipped[:, 1]


def _codes(panel: Axes, found: Sequence[tuple[str, float, float]], width: float) -> None:
    """Labels to the upper right, those farthest from the diagonal first; one that would cover a mark or a label is left out."""
    marks = [(x, y) for _, x, y in found]
    placed: list[tuple[float, float]] = []
    for code, x, y in sorted(found, key=lambda item: (-abs(item[2] - item[1]), item[0])):
        middle = (x + 0.035 * width, y + 0.02 * width)
        others = [mark for mark in marks if mark != (x, y)]
        free = all(abs(middle[0] - left) > 0.035 * width or abs(middle[1] - low) > 0.028 * width for left, low in others)
        if free and all(abs(x - left) > 0.07 * width or abs(y - low) > 0.035 * width for left, low in placed):
            panel.annotate(code, (x, y), xytext=(5, 3), textcoords="offset points", fontsize=8, color=INK)
            placed.append((x, y))


def resource(seen: View, cell: Cell, name: str) -> Drawing | None:
    """Gain by resource level: the languages faintly, the pooled gain of each level with its interval; None without levels."""
    arms = seen.arms(cell)
    levels = [at for at in seen.story.levels if any(level(seen.story, row["language"]) == at for arm in arms for row in seen.gains[arm])]
    if not levels or not arms:
        return None
    with mpl.rc_context(RC):
        figure = Figure(figsize=(SQUARE, 3.3))
        panel = figure.subplots()
        figure.subplots_adjust(left=0.6 / SQUARE, right=1 - 0.12 / SQUARE, top=1 - 0.42 / 3.3, bottom=0.34 / 3.3)
        panel.axhline(0, color=MUTED, linewidth=0.8, zorder=0)
        panel.grid(axis="y", linewidth=0.5, zorder=0)
        rows = [row for arm in arms for row in [*seen.gains[arm], *pooled_by_group(seen, arm).values()]]
        thetas = [row["theta"] for row in rows if not refused(row)]
        handles = []
        for number, arm in enumerate(arms):
            marker = ENCODER_MARKERS[number % len(ENCODER_MARKERS)]
            shift = (number - (len(arms) - 1) / 2) * 0.8 / len(arms)
            _resource_arm(panel, seen, arm, levels=levels, shift=shift, marker=marker)
            handles.append(Line2D([], [], color=INK, marker=marker, markersize=6, linewidth=1.6, label=arm[2]))
        panel.set_xticks(range(len(levels)), levels)
        panel.tick_params(axis="x", length=0, labelcolor=INK)
        panel.set_xlim(-0.5, len(levels) - 0.5)
        panel.set_ylabel("gain, points")
        if not thetas:
            panel.set_yticks([])
        figure.legend(handles=handles, loc="upper center", ncols=len(arms), fontsize=8.5)
    caption = "Small marks: languages. Large marks: pooled over the level, with 95 % intervals. Filled: real; open: cannot tell."
    return drawing(figure, name, f"Gain by resource level: {cell[1]}, then {cell[0]}.", caption)


def _resource_arm(panel: Axes, seen: View, arm: Arm, *, levels: Sequence[str], shift: float, marker: str) -> None:
    pooled = pooled_by_group(seen, arm)
    for place, at in enumerate(levels):
        colour = _style(seen, at)[0]
        inside = [row for row in seen.gains[arm] if level(seen.story, row["language"]) == at and not refused(row)]
        inside.sort(key=lambda row: _order(seen, row))
        x = place + shift + np.linspace(-0.13, 0.13, len(inside)) if len(inside) > 1 else np.full(len(inside), place + shift)
        y = [row["theta"] for row in inside]
        panel.plot(x, y, linestyle="none", marker=marker, markersize=3.2, color=colour, alpha=0.45, markeredgewidth=0, zorder=2)
        row = pooled.get(at)
        if row is None or refused(row):
            _remark(panel, place + shift, 0, "refused" if row else "not pooled", above=True)
            continue
        if not absent(row["lo"]) and not absent(row["hi"]):
            panel.vlines([place + shift], [row["lo"]], [row["hi"]], colors=colour, linewidth=2, zorder=3)
        _marks(panel, [place + shift], [row["theta"]], (marker, colour), 7.5, real=_real(row), edge=1.4)


def _order(seen: View, row: Row) -> tuple[float, str]:
    facts = seen.story.languages.get(row["language"])
    return (facts.order if facts else 0.0, row["language"])
