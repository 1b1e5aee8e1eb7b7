"""Figures of the scripts here as SVG: equal figures give equal bytes."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

BLUE, ORANGE, RED, GREY = "#0072b2", "#e69f00", "#d55e00", "#77797d"
"""Okabe and Ito's colours, which the colour-blind can tell apart."""


def save(figure: Figure, path: Path) -> None:
    """Write an SVG with neither a date nor random ids, its text as text."""
    with mpl.rc_context({"svg.hashsalt": "raystilts", "svg.fonttype": "none"}):
        figure.savefig(path, metadata={"Date": None, "Creator": None})
