"""Panels of a figure: a box with two scales, in which lines, marks and texts are drawn.

matplotlib draws, but its axes are left out: a full-size report has hundreds of figures, and axes with their ticks took most of a minute.
Lengths are points (1/72 inch) from the lower left corner of the figure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Polygon, Rectangle
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import IdentityTransform

from raystilts.report.svg import INK, LINE, MUTED, PAPER, RC

MARKERS = ("v", "s", "o", "D", "^", "P")
Range = tuple[float, float]
Values = Sequence[float] | npt.NDArray[Any]


def canvas(width: float, height: float) -> Figure:
    """An empty figure, in points."""
    with mpl.rc_context(RC):
        return Figure(figsize=(width / 72, height / 72), dpi=72)


@dataclass(frozen=True)
class Panel:
    """box: left, bottom, width, height in points; x, y: values at its sides (y from bottom to top)."""

    figure: Figure
    box: tuple[float, float, float, float]
    x: Range
    y: Range

    def at(self, x: Any, y: Any) -> tuple[Any, Any]:
        """Values as places in the figure."""
        left, bottom, width, height = self.box
        return (
            left + (np.asarray(x, dtype=float) - self.x[0]) / (self.x[1] - self.x[0]) * width,
            bottom + (np.asarray(y, dtype=float) - self.y[0]) / (self.y[1] - self.y[0]) * height,
        )

    def lines(self, ends: Iterable[tuple[float, float, float, float]], colour: str, width: float = 1.0, **style: Any) -> None:
        """Straight lines (x, y, x, y), cut at the panel's sides (they are upright, level or inside)."""
        found = np.array([end for end in ends if not any(np.isnan(end))], dtype=float).reshape(-1, 4)
        if not len(found):
            return
        (x, y), (u, v) = self.at(*self._inside(found[:, 0], found[:, 1])), self.at(*self._inside(found[:, 2], found[:, 3]))
        segments = np.stack([np.stack([x, y], axis=1), np.stack([u, v], axis=1)], axis=1)
        self.figure.add_artist(
            LineCollection(list(segments), colors=colour, linewidths=width, transform=IdentityTransform(), zorder=2, **style)
        )

    def _inside(self, x: Any, y: Any) -> tuple[Any, Any]:
        return np.clip(x, min(self.x), max(self.x)), np.clip(y, min(self.y), max(self.y))

    def curve(self, x: Values, y: Values, colour: str, width: float = 1.3, **style: Any) -> None:
        """One line through all points; what lies outside is drawn at the side."""
        across, up = self.at(*self._inside(np.asarray(x, dtype=float), np.asarray(y, dtype=float)))
        self.figure.add_artist(Line2D(across, up, color=colour, linewidth=width, transform=IdentityTransform(), zorder=2.5, **style))

    def band(self, x: Values, low: Values, high: Values, colour: str, alpha: float = 0.15) -> None:
        """The area between two lines."""
        across, up = self.at(*self._inside(np.array([*x, *x[::-1]], dtype=float), np.array([*low, *high[::-1]], dtype=float)))
        shape = np.stack([across, up], axis=1)
        self.figure.add_artist(Polygon(shape, facecolor=colour, alpha=alpha, linewidth=0, transform=IdentityTransform(), zorder=1.5))

    def bar(self, x: Range, y: Range, colour: str, edge: str = "none") -> None:
        """A filled rectangle."""
        (left, right), (low, high) = self.at(np.array(x), np.array(y))
        box = Rectangle(
            (left, low), right - left, high - low, facecolor=colour, edgecolor=edge, linewidth=0.6, transform=IdentityTransform()
        )
        self.figure.add_artist(box)

    def marks(
        self, x: Any, y: Any, style: tuple[str, str], size: float, *, filled: bool = True, edge: float = 1.2, alpha: float = 1
    ) -> None:
        """style: (marker, colour). Filled: real; open: cannot be told."""
        marker, colour = style
        across, up = self.at(x, y)
        face = colour if filled else PAPER
        self.figure.add_artist(
            Line2D(
                np.atleast_1d(across), np.atleast_1d(up), linestyle="none", marker=marker, markersize=size, color=colour,
                markerfacecolor=face, markeredgewidth=edge, alpha=alpha, transform=IdentityTransform(), zorder=4,
            )
        )  # fmt: skip

    def text(self, x: float, y: float, text: str, *, shift: Range = (0, 0), **style: Any) -> None:
        """A text at a value, moved by `shift` points."""
        across, up = self.at(x, y)
        write(self.figure, float(across) + shift[0], float(up) + shift[1], text, **style)

    def remark(self, x: float, y: float, text: str, *, above: bool = False) -> None:
        """What stands in place of a mark that is not shown: beside its place, or above it."""
        place: Any = {"shift": (0, 4), "align": "center", "base": "bottom"} if above else {"shift": (4, 0)}
        self.text(x, y, text, size=8, colour=MUTED, italic=True, **place)

    def x_axis(self, label: str = "", *, grid: bool = True, ticks: Sequence[tuple[float, str]] | None = None) -> None:
        """Numbers below, with a line up from each, and what they are."""
        left, bottom, width, _ = self.box
        for value, text in nice(self.x, max(2, int(width / 38))) if ticks is None else ticks:
            if grid:
                self.lines([(value, self.y[0], value, self.y[1])], LINE, 0.5)
            self.text(value, self.y[0], text, shift=(0, -4), align="center", base="top", size=8, colour=MUTED)
        write(self.figure, left + width / 2, bottom - 17, label, align="center", base="top", colour=MUTED)

    def y_axis(self, label: str = "", *, grid: bool = True, ticks: Sequence[tuple[float, str]] | None = None) -> None:
        """Numbers to the left, with a line across from each, and what they are."""
        left, bottom, _, height = self.box
        for value, text in nice(self.y, max(2, int(height / 26))) if ticks is None else ticks:
            if grid:
                self.lines([(self.x[0], value, self.x[1], value)], LINE, 0.5)
            self.text(self.x[0], value, text, shift=(-4, 0), align="right", size=8, colour=MUTED)
        if label:
            write(self.figure, left - 34, bottom + height / 2, label, align="center", colour=MUTED, turned=True)

    def zero(self, *, upright: bool = False, level: bool = False) -> None:
        """The lines of no gain."""
        if upright:
            self.lines([(0, self.y[0], 0, self.y[1])], MUTED, 0.8)
        if level:
            self.lines([(self.x[0], 0, self.x[1], 0)], MUTED, 0.8)

    def title(self, text: str) -> None:
        """Above the panel, in the middle."""
        left, bottom, width, height = self.box
        write(self.figure, left + width / 2, bottom + height + 5, text, align="center", base="bottom", size=10)


def write(
    figure: Figure, x: float, y: float, text: str, *, align: str = "left", base: str = "center_baseline", size: float = 9,
    colour: str = INK, italic: bool = False, bold: bool = False, turned: bool = False,
) -> None:  # fmt: skip
    """A text at a place of the figure."""
    if text:
        figure.text(
            x, y, text, transform=IdentityTransform(), ha=align, va=base, fontsize=size, color=colour, rotation=90 if turned else 0,
            style="italic" if italic else "normal", weight="bold" if bold else "normal", rotation_mode="anchor" if turned else "default",
        )  # fmt: skip


def nice(limits: Range, count: int) -> list[tuple[float, str]]:
    """At most so many round values within the limits, with how they are written."""
    low, high = sorted(limits)
    values = [value for value in MaxNLocator(count, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high) if low <= value <= high]
    return [(float(value), f"{value:g}".replace("-", "\N{MINUS SIGN}")) for value in values]


def widened(values: Iterable[float], *, zero: bool = True, share: float = 0.06) -> Range:
    """From the least to the greatest value, and zero, with some room on both sides."""
    found = [value for value in values if value is not None and not np.isnan(value)] + ([0.0] if zero else [])
    low, high = (min(found), max(found)) if found else (-1.0, 1.0)
    pad = share * max(high - low, 0.1)
    return low - pad, high + pad


def legend(figure: Figure, entries: Sequence[tuple[str, str | None, str]], left: float, top: float, right: float) -> None:
    """Entries (text, marker or None for a line, colour) in a row from `left`, broken where it would pass `right`."""
    x, y = left, top
    for text, marker, colour in entries:
        wide = 12 + 4.9 * len(text) + 12
        if x > left and x + wide > right:
            x, y = left, y - 13
        style: Any = {"linestyle": "none", "marker": marker, "markersize": 5.5} if marker else {"linewidth": 1.8}
        across = [x + 4] if marker else [x - 2, x + 8]
        figure.add_artist(Line2D(across, [y] * len(across), color=colour, transform=IdentityTransform(), **style))
        write(figure, x + 12, y, text, size=8.5)
        x += wide


def short(text: str, most: int) -> str:
    """At most so many letters."""
    return text if len(text) <= most else f"{text[: most - 1]}…"
