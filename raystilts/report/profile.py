"""The share of languages whose gain is above a threshold (a performance profile, Agarwal et al. 2021)."""

from __future__ import annotations

from typing import Any

import numpy as np

from raystilts.report.draw import Panel, canvas, legend
from raystilts.report.figures import ENCODER_COLOURS, SQUARE, ends, interval_of, limits
from raystilts.report.svg import Drawing, drawing
from raystilts.report.view import HEADLINE_GROUP, Arm, Cell, View, pooled_by_group, refused, who


def profile(seen: View, cell: Cell, name: str) -> Drawing | None:
    """Share of languages whose gain is above a threshold, for all thresholds, and the prediction interval for a new language."""
    arms = [arm for arm in seen.arms(cell) if not all(map(refused, seen.gains[arm]))]
    if not arms:
        return None
    low, high = limits([row for arm in arms for row in seen.gains[arm]])
    figure = canvas(SQUARE, 236)
    panel = Panel(figure, (46, 38, SQUARE - 56, 164), (low, high), (-0.14 * len(arms), 1.04))
    panel.x_axis("threshold: gain in points")
    panel.y_axis("share of languages above", ticks=[(share / 4, f"{share * 25}%") for share in range(5)])
    panel.zero(upright=True)
    rows: list[dict[str, Any]] = []
    for number, arm in enumerate(arms):
        colour = ENCODER_COLOURS[number % 4]
        shares = profile_rows(seen, arm)
        at = np.linspace(low, high, 121)
        panel.band(at, _share(seen, arm, at, 0), _share(seen, arm, at, 1), colour, alpha=0.13)
        thetas = [low, *(row["threshold"] for row in shares), high]
        above = [1.0, *(row["share_above"] for row in shares), 0.0]
        panel.curve(
            np.repeat(thetas, 2)[1:-1], np.repeat(above, 2)[: 2 * len(thetas) - 2], colour, 1.6, dashes=(1, 0) if number else (4, 1.5)
        )
        new = pooled_by_group(seen, arm, "new_language").get(HEADLINE_GROUP)
        if new and not refused(new):
            place = -0.1 - 0.13 * number
            panel.lines([(new["lo"], place, new["hi"], place)], colour, 2)
            panel.marks([new["theta"]], [place], ("|", colour), 8)
            shares = [
                *shares,
                {"encoder": arm[2], "language": "a new language", "threshold": new["theta"], "lo": new["lo"], "hi": new["hi"]},
            ]
        rows += shares
    legend(figure, [(who(arm), None, ENCODER_COLOURS[number % 4]) for number, arm in enumerate(arms)], 48, 226, SQUARE)
    caption = (
        "Share of the languages whose gain is above a threshold. Shaded: from those whose whole 95 % interval lies above it to those whose "
        "interval reaches above it. Bars below: 95 % prediction interval for the gain in a new language."
    )
    return drawing(figure, name, f"Share of languages with a gain above a threshold: {cell[1]}, then {cell[0]}.", caption, rows)


def profile_rows(seen: View, arm: Arm) -> list[dict[str, Any]]:
    """The steps of an arm's profile: at each language's gain, the share of languages above it."""
    found = sorted((row for row in seen.gains[arm] if not refused(row)), key=lambda row: (row["theta"], row["language"]))
    return [
        {"encoder": arm[2], "language": row["language"], "threshold": row["theta"], "share_above": 1 - (place + 1) / len(found),
         "lo": interval_of(row)[0], "hi": interval_of(row)[1]}
        for place, row in enumerate(found)
    ]  # fmt: skip


def _share(seen: View, arm: Arm, at: Any, end: int) -> Any:
    """Of the arm's languages, those whose interval's lower (0) or upper (1) end lies above each threshold."""
    found = np.array([ends(row)[end] for row in seen.gains[arm] if not refused(row)])
    return (found[None, :] > at[:, None]).mean(axis=1)
