"""The figures of a whole study and of one target: heatmaps, the pooled interaction on three scales, variance, seeds, power."""

from __future__ import annotations

from statistics import median

import numpy as np

from raystilts.report.draw import Panel, canvas, legend, short, widened, write
from raystilts.report.figures import ENCODER_COLOURS, ENCODER_MARKERS, is_real
from raystilts.report.svg import CARD, INK, LEVELS, LINE, MUTED, Drawing, drawing
from raystilts.report.view import HEADLINE_GROUP, Row, View, absent, in_points, points, pooled_by_group, refused

BLUES = (CARD, "#d9e7f2", "#abcfe5", "#6bacd1", "#2f79b5")
ORANGES = (CARD, "#fde3c8", "#fcbf87", "#f2934a", "#cc6a1c")
"""Gains and losses, both darker with size; the marks tell them apart in grey."""
SCALES = {"points": "points", "headroom": "headroom", "log_odds": "log-odds"}
COMPONENTS = {
    "seed_plus": "runs with the intermediate",
    "seed_minus": "runs of the baseline",
    "example": "test examples",
    "seed_x_example": "runs x examples",
    "language": "languages",
}
WIDE = 760


def heatmap(seen: View, group: str, name: str) -> Drawing | None:
    """Mean gain over a group of languages, intermediate by target, one panel an encoder."""
    rows = {arm: row for arm in seen.gains for where, row in pooled_by_group(seen, arm).items() if where == group}
    if len(rows) < 2:
        return None
    intermediates = list(dict.fromkeys(cell[1] for cell in seen.cells))
    targets = list(dict.fromkeys(cell[0] for cell in seen.cells))
    encoders = [encoder for encoder in seen.encoders if any(arm[2] == encoder for arm in rows)]
    left = min(6 * max(map(len, intermediates)) + 12, 130)
    cell_wide, cell_high = max(min((WIDE - left) / (len(targets) * len(encoders)) - 2, 64), 32), 24
    up = min(5.2 * max(map(len, targets)), 90) + 8
    width = left + (cell_wide * len(targets) + 12) * len(encoders)
    height = cell_high * len(intermediates) + up + 50
    figure = canvas(width, height)
    most = max((abs(row["theta"]) for row in rows.values() if not refused(row)), default=1.0) or 1.0
    for number, encoder in enumerate(encoders):
        box = (left + number * (cell_wide * len(targets) + 12), 26, cell_wide * len(targets), cell_high * len(intermediates))
        panel = Panel(figure, box, (0, len(targets)), (len(intermediates), 0))
        write(figure, box[0] + box[2] / 2, height - 10, short(encoder, 30), align="center", size=10)
        for across, target in enumerate(targets):
            panel.text(across + 0.5, 0, short(target, 16), shift=(0, 6), turned=True, size=8.5)
            for down, intermediate in enumerate(intermediates):
                tile(panel, across, down, rows.get((target, intermediate, encoder)), most)
        for down, intermediate in enumerate(intermediates) if number == 0 else ():
            panel.text(0, down + 0.5, short(intermediate, 20), shift=(-6, 0), align="right", size=8.5)
    write(figure, 4, 10, "Bold*: real after Holm correction; else cannot tell. x: refused.", size=8,
          colour=MUTED)  # fmt: skip
    data = [
        {"encoder": arm[2], "intermediate": arm[1], "target": arm[0], "languages": group, "claim": row["claim"]}
        | ({} if refused(row) else {"gain": row["theta"], "lo": row["lo"], "hi": row["hi"], "p_holm": row["p_holm"]})
        for arm, row in rows.items()
    ]
    who = "all languages" if group == HEADLINE_GROUP else f"the languages of level {group}"
    caption = f"Mean gain in points over {who} (these languages), intermediate task by target task. Blue: gain; orange: loss."
    return drawing(figure, name, f"Mean gain over {who}, intermediate by target.", caption, data, tall=True)


def tile(panel: Panel, across: int, down: int, row: Row | None, most: float) -> None:
    """One tile of a heatmap: coloured by the gain's share of `most`, with its points."""
    if row is None:
        return
    box = ((across + 0.03, across + 0.97), (down + 0.96, down + 0.04))
    if refused(row):
        panel.bar(*box, "none", edge=LINE)
        panel.text(across + 0.5, down + 0.5, "x", align="center", size=8, colour=MUTED)
        return
    shade = min(int(5 * abs(row["theta"]) / most), 4)
    panel.bar(*box, (BLUES if row["theta"] > 0 else ORANGES)[shade])
    text = points(row["theta"], 1).replace("-", "\N{MINUS SIGN}") + ("*" if is_real(row) else "")
    # Coloured tiles keep their colours in the dark, and so does their ink: it is none of the page's colours.
    ink = "#ffffff" if shade == 4 else "#111111" if shade else INK
    panel.text(across + 0.5, down + 0.5, text, align="center", size=8, bold=is_real(row), colour=ink)


def scales(seen: View, target: str, name: str) -> Drawing | None:
    """A target's pooled interactions with their intervals and margins, one panel a scale."""
    found = {cell: seen.scaling.get(cell, []) for cell in seen.cells_of(target)}
    rows = [(cell, row) for cell, of in found.items() for row in of if row["group"] == HEADLINE_GROUP]
    contrasts = list(dict.fromkeys((cell, row["contrast"]) for cell, row in rows))
    here = [scale for scale in SCALES if any(row["scale"] == scale and not refused(row) for _, row in rows)]
    if not here:
        return None
    height = 15 * len(contrasts) + 76
    several = len({cell for cell, _ in contrasts}) < len(contrasts)
    labels = [contrast if several else cell[1] for cell, contrast in contrasts]
    left = min(5.4 * max(map(len, labels)) + 12, 180)
    figure = canvas(WIDE * 0.8, height)
    wide = (WIDE * 0.8 - left) / len(here)
    for number, scale in enumerate(here):
        of = [(contrasts.index((cell, row["contrast"])), row) for cell, row in rows if row["scale"] == scale]
        shown = [(place, row) for place, row in of if not refused(row)]
        ends = [row[key] for _, row in shown for key in ("lo", "hi", "theta")] + [s * row["margin"] for _, row in shown for s in (-1, 1)]
        panel = Panel(figure, (left + number * wide, 36, wide - 14, height - 62), widened(ends), (len(contrasts) - 0.4, -0.6))
        panel.title(SCALES[scale])
        panel.x_axis()
        for place, row in shown:
            panel.bar((-row["margin"], row["margin"]), (place - 0.42, place + 0.42), LINE)
        panel.zero(upright=True)
        panel.lines([(row["lo"], place, row["hi"], place) for place, row in shown], INK, 1.4)
        for place, row in of:
            if refused(row):
                panel.remark(0, place, "refused")
            else:
                panel.marks([row["theta"]], [place], ("D", INK), 5, filled=row["verdict"] != "cannot tell")
        for place, label in enumerate(labels) if number == 0 else ():
            panel.text(panel.x[0], place, short(label, int(left / 5)), shift=(-6, 0), align="right", size=8.6)
    write(figure, left + (WIDE * 0.8 - left) / 2, 8, "gain on the larger encoder minus gain on the smaller", align="center", colour=MUTED)
    data = [
        {"intermediate": cell[1], "target": cell[0], "scale": row["scale"], "languages": row["group"], "verdict": row["verdict"]}
        | ({} if refused(row) else {key: row[key] for key in ("theta", "lo", "hi", "margin")})
        for cell, row in rows
    ]
    caption = (
        "Pooled difference of gains on three scales, with 95 % intervals. Grey: the margin. Filled: a test decides; open: cannot tell."
    )
    return drawing(figure, name, f"Does the gain scale? Pooled difference of gains, {target}.", caption, data, tall=True)


def variance(seen: View, target: str, name: str) -> Drawing | None:
    """Where the uncertainty of a target's mean gains comes from: shares of the variance, with languages as a sample."""
    arms = [arm for cell in seen.cells_of(target) for arm in seen.arms(cell)]
    parts = {arm: {row["component"]: row for row in seen.variance.get(arm, ()) if row["language"] == HEADLINE_GROUP} for arm in arms}
    shown = [arm for arm in arms if parts[arm]]
    if not shown:
        return None
    labels = [", ".join(filter(None, arm[1:])) for arm in shown]
    left, width = min(5.2 * max(map(len, labels)) + 12, 190), 480
    height = 14 * len(shown) + 84
    figure = canvas(width, height)
    panel = Panel(figure, (left, 36, width - left - 14, height - 84), (0, 1), (len(shown) - 0.5, -0.5))
    panel.x_axis("share of the variance", ticks=[(share / 4, f"{share * 25}%") for share in range(5)])
    used = [name for name in COMPONENTS if any(name in parts[arm] for arm in shown)]
    shades = dict(zip(COMPONENTS, (LEVELS[2], LEVELS[5], LEVELS[4], MUTED, LEVELS[3]), strict=True))
    data = []
    for place, arm in enumerate(shown):
        panel.text(0, place, short(labels[place], int(left / 5)), shift=(-6, 0), align="right", size=8.6)
        start = 0.0
        for part in used:
            row = parts[arm].get(part)
            if row and not absent(row["share"]):
                if row["share"] > 0.002:
                    panel.bar((start, start + row["share"]), (place + 0.4, place - 0.4), shades[part])
                start += row["share"]
                data.append(
                    {"intermediate": arm[1], "encoder": arm[2], "component": part, "variance": row["variance"], "share": row["share"]}
                )
    legend(figure, [(COMPONENTS[part], "s", shades[part]) for part in used], 8, height - 10, width)
    caption = (
        "What makes the mean gain over languages uncertain, were the languages a sample: runs, test examples or the languages themselves. "
        "Where runs have most of it, seeds help; where examples have it, only a larger test set does."
    )
    return drawing(figure, name, f"Where the uncertainty comes from: {target}.", caption, data, tall=True)


def seeds(seen: View, target: str, name: str) -> Drawing | None:
    """Every run's mean score over the languages, arm by arm: what seeds do."""
    runs: dict[tuple[str, str], dict[str, list[float]]] = {}
    for row in seen.scores.get(target, ()):
        if row.get("encoder") is not None and not absent(row["score"]):
            arm = (str(row["encoder"]), str(row.get("intermediate") or ""))
            runs.setdefault(arm, {}).setdefault(row["run_id"], []).append(row["score"])
    encoders = [encoder for encoder in seen.encoders if any(arm[0] == encoder for arm in runs)]
    order = [seen.story.baseline, *(cell[1] for cell in seen.cells_of(target))]
    tasks = sorted(
        {arm[1] for arm in runs if arm[0] in encoders}, key=lambda task: (order.index(task) if task in order else len(order), task)
    )
    if not encoders or not tasks:
        return None
    left, width = min(5.4 * max(map(len, tasks)) + 12, 140), 480
    height = 14 * len(tasks) + 66
    figure = canvas(width, height)
    wide = (width - left) / len(encoders)
    data = []
    for number, encoder in enumerate(encoders):
        means = {task: [(run, float(np.mean(of))) for run, of in sorted(runs.get((encoder, task), {}).items())] for task in tasks}
        every = [mean for of in means.values() for _, mean in of]
        panel = Panel(
            figure, (left + number * wide, 36, wide - 14, height - 64), widened(every, zero=False), (len(tasks) - 0.4, -0.6)
        )  # fmt: skip
        panel.title(short(encoder, int(wide / 6)))
        panel.x_axis()
        for place, task in enumerate(tasks):
            scores = [mean for _, mean in means[task]]
            panel.lines([(panel.x[0], place, panel.x[1], place)], LINE, 0.5)
            panel.marks(scores, [place] * len(scores), ("o", ENCODER_COLOURS[number % 4]), 4.6, filled=False)
            if len(scores) > 1:
                panel.marks([float(np.mean(scores))], [place], ("|", INK), 9, edge=1.8)
            if number == 0:
                panel.text(panel.x[0], place, short(task, int(left / 5)), shift=(-6, 0), align="right", size=8.6)
            data += [{"encoder": encoder, "intermediate": task, "run_id": run, "mean_score": mean} for run, mean in means[task]]
    write(figure, left + (width - left) / 2, 8, "score, mean over the languages", align="center", colour=MUTED)
    caption = "One mark a run (seed), of all runs, collapsed ones too; upright line: the arm's mean. The first row is the baseline."
    return drawing(figure, name, f"Every run's score: {target}.", caption, data, tall=True)


def power(seen: View, target: str, name: str) -> Drawing | None:
    """Seeds against the smallest gain that would be found in one language with 80 % power: median and middle half of the languages."""
    found: dict[str, dict[int, list[float]]] = {}
    for cell in seen.cells_of(target):
        for arm in seen.arms(cell):
            for row in seen.power.get(arm, ()):
                if not absent(row["detectable"]):
                    found.setdefault(arm[2], {}).setdefault(int(row["seeds"]), []).append(row["detectable"])
    if not found:
        return None
    width, height = 330, 236
    figure = canvas(width, height)
    across = sorted({number for of in found.values() for number in of})
    places = {number: float(np.log2(number)) for number in across}
    top = max(float(np.quantile(of, 0.75)) for by in found.values() for of in by.values())
    panel = Panel(figure, (46, 38, width - 60, 160), widened(places.values(), zero=False), (0, max(top, seen.story.margin) * 1.06))
    panel.x_axis("seeds an arm", ticks=[(places[number], str(number)) for number in across])
    panel.y_axis("detectable gain, points")
    panel.lines([(panel.x[0], seen.story.margin, panel.x[1], seen.story.margin)], MUTED, 1, linestyles="dashed")
    panel.text(panel.x[1], seen.story.margin, f"margin: {in_points(seen.story.margin)}", shift=(0, 3), align="right", base="bottom", size=8,
               colour=MUTED)  # fmt: skip
    data = []
    for number, encoder in enumerate(encoder for encoder in seen.encoders if encoder in found):
        colour = ENCODER_COLOURS[number % 4]
        by = {many: found[encoder][many] for many in across if many in found[encoder]}
        x = [places[many] for many in by]
        quartiles = [[float(np.quantile(of, share)) for of in by.values()] for share in (0.25, 0.5, 0.75)]
        panel.band(x, quartiles[0], quartiles[2], colour)
        panel.curve(x, quartiles[1], colour, marker=ENCODER_MARKERS[number % 4], markersize=4.5)
        data += [
            {
                "encoder": encoder,
                "seeds": many,
                "detectable_median": median(of),
                "quartile_1": low,
                "quartile_3": high,
                "hypotheses": len(of),
            }
            for (many, of), low, high in zip(by.items(), quartiles[0], quartiles[2], strict=True)
        ]
    legend(figure, [(encoder or "all contrasts", ENCODER_MARKERS[number % 4], ENCODER_COLOURS[number % 4])
                    for number, encoder in enumerate(e for e in seen.encoders if e in found)], 48, height - 10, width)  # fmt: skip
    caption = (
        "The smallest gain in one language that so many seeds would find with 80 % power at the same test sets, before correction: median "
        "and middle half over languages and intermediates. Where a line stays above the margin, only larger test sets help."
    )
    return drawing(figure, name, f"How many seeds find how small a gain: {target}.", caption, data)
