"""The verdict table that a terminal prints after a run."""

from __future__ import annotations

import textwrap

from raystilts.report.cleaning import cleaned
from raystilts.report.listings import guessing
from raystilts.report.scaling import scaling_headline
from raystilts.report.story import Analysis, Story
from raystilts.report.verdicts import CellVerdict, cell_verdicts, headline
from raystilts.report.view import HEADLINE_GROUP, Row, count, points, policies, refused, view

WIDTH = 100
WIDTHS = (14, 14, 10, 4, 4, 3, 22, 22)
"""At most; with the blanks between them they fill the terminal's 100 columns."""
WIDE = 40  # of the intermediate task, where its method stands behind it
COUNTS = range(3, 6)


def verdict_lines(analysis: Analysis, story: Story) -> list[str]:
    """The verdict table for a terminal: aligned plain text of at most 100 columns, or 126 in a study with methods."""
    analysis, story = cleaned(analysis, story)
    names = policies(analysis)
    verdicts = cell_verdicts(view(analysis, story, names[0])) if names else []
    answer = textwrap.wrap(f"{headline(verdicts)} {scaling_headline([scaling for cell in verdicts for scaling in cell.scaling])}", WIDTH)
    if story.missing or not story.complete:
        what = f"{len(story.missing)} cells have not been run, and " if story.missing else ""
        answer = [*textwrap.wrap(f"INCOMPLETE: {what}every verdict below is preliminary.", WIDTH), *answer]
    if not verdicts:
        return answer
    lowest = story.levels[0] if story.levels else ""
    head = ["target", "intermediate", "encoder", "gain", "loss", "of", "pooled gain [95 %]", lowest]
    rows = [head, *(row for verdict in verdicts for row in _rows(verdict, lowest))]
    limits = (WIDTHS[0], WIDE, *WIDTHS[2:]) if any(row[1].endswith(")") for row in rows) else WIDTHS
    widths = [min(limit, max(len(row[place]) for row in rows)) for place, limit in enumerate(limits)]
    lines = [_line(row, widths) for row in rows]
    lines.insert(1, "-" * max(map(len, lines)))
    legend = f"gain, loss: languages where it is real (Holm, {story.alpha:g}); * real over the pooled languages; in points"
    num_guessing = len(guessing(analysis.findings))
    named = f"{count(num_guessing, 'arm')} no better than always giving the most frequent answer, in any language; the report names them."
    doubts = [*story.trap_cells.values(), *([named] if num_guessing else [])]
    return [
        *answer,
        "",
        *lines,
        *(line for text in [legend, *(f"distrust: {doubt}" for doubt in doubts)] for line in textwrap.wrap(text, WIDTH)),
    ]


def _rows(verdict: CellVerdict, lowest: str) -> list[list[str]]:
    rows = []
    for arm in verdict.arms:
        counts = [str(arm.gains), str(arm.losses), str(arm.gains + arm.losses + arm.undecided)]
        rows.append(["", "", arm.arm[2], *counts, _short(arm.pooled.get(HEADLINE_GROUP)), _short(arm.pooled.get(lowest))])
    rows += [["", "", "scales?", "", "", "", "" if s.verdict == "refused" else _short(s.headline), s.verdict] for s in verdict.scaling]
    if rows:
        rows[0][:2] = verdict.cell
    return rows


def _short(row: Row | None) -> str:
    if row is None:
        return "-"
    if refused(row):
        return "refused"
    star = "*" if row.get("claim") in ("gain", "loss") else ""
    # One decimal: the numbers must fit whole, and the report has the rest.
    return f"{points(row['theta'], 1)}{star} [{points(row['lo'], 1)}, {points(row['hi'], 1)}]"


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"


def _line(row: list[str], widths: list[int]) -> str:
    cells = [_cut(text, width) for text, width in zip(row, widths, strict=True)]
    return " ".join(
        text.rjust(width) if place in COUNTS else text.ljust(width) for place, (text, width) in enumerate(zip(cells, widths, strict=True))
    ).rstrip()
