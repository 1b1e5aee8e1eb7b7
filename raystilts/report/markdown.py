"""The report as Markdown: for version control, reviews and other people's pages."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from raystilts.report.answers import Overall
from raystilts.report.content import Content, Section
from raystilts.report.svg import Drawing
from raystilts.report.tables import Table
from raystilts.report.verdicts import CellVerdict
from raystilts.report.view import Row, interval, points, refused


def markdown(what: Content) -> str:
    """GitHub-flavoured Markdown; figures are links into figures/."""
    story = what.story
    lines = [f"# {escape(story.title)}", "", escape(story.question), ""]
    lines += _warnings(what)
    lines += [f"**{escape(what.headline)}** {escape(what.scaling)}".rstrip(), ""]
    for one in what.overall:
        lines += _overall(one)
    lines += [f"- {escape(name)}: {_code(value) if name == 'Command' else escape(value)}" for name, value in what.made] + [""]
    if story.level_note:
        lines += [f"Resource levels: {escape(story.level_note)}", ""]
    lines += ["## All questions", "", *(_table(what.questions) if what.questions.rows else [])]
    lines += ["## Verdicts", ""]
    for verdict in what.verdicts:
        lines += _verdict(verdict, story.levels)
    lines += ["## Overview", "", *(line for drawing in what.heatmaps for line in _figure(drawing))] if what.heatmaps else []
    for section in what.sections:
        lines += _section(section)
    lines += ["## All gains", "", *_table(what.gains)]
    lines += ["## Findings", "", *(_table(what.findings) if what.findings.rows else ["Nothing was found.", ""])]
    if what.intermediates.rows:
        lines += ["## Intermediate trainings", "", *_table(what.intermediates)]
    if what.collapse.rows:
        lines += ["## Collapsed runs", "", *_table(what.collapse)]
    lines += ["## Both collapse policies", "", escape(what.policy_note), ""]
    if what.policies:
        lines += _table(what.policies)
    if what.practices.rows:
        lines += [f"## {what.practices.title}", "", *_table(what.practices)]
    if what.ledger.rows:
        lines += [f"## {what.ledger.title}", "", *_table(what.ledger)]
    lines += ["## Methods", "", *(line for text in what.methods for line in (escape(text), ""))]
    lines += [*(f"- {escape(note)}" for note in story.notes), ""] if story.notes else []
    lines += ["## Facts", "", *(f"- {escape(key)}: {_code(value)}" for key, value in story.facts.items()), ""]
    lines += [f"Citations: references.bib{f'; the study: {_code(story.study_file[0])}' if story.study_file else ''}.", ""]
    return "\n".join(lines).rstrip() + "\n"


def _overall(one: Overall) -> list[str]:
    lines = [f"- {escape(one.question)} **{escape(one.label)}**. {escape(one.sentence)}"]
    lines += [f"  - {escape(answer.answer)}: {escape(f'{answer.where}: {answer.numbers}')}" for answer in one.foremost]
    lines += [f"  - What would settle it: {escape(one.settle)}"] if one.settle else []
    return [*lines, ""]


def _figure(drawing: Drawing) -> list[str]:
    return [f"![{escape(drawing.title)}](figures/{drawing.name}.svg)", "", escape(drawing.caption), ""]


def _warnings(what: Content) -> list[str]:
    story = what.story
    lines = []
    if story.missing or not story.complete:
        lines += [f"> **Incomplete: {len(story.missing)} cells are missing, and every verdict below is preliminary.**", ">"]
        lines += [f"> - {escape(cell)}" for cell in story.missing] + [""]
    if what.distrusted:
        lines += ["> **Cells to distrust**", ">", *(f"> - {escape(cell)}" for cell in what.distrusted), ""]
    return lines


def _verdict(verdict: CellVerdict, levels: Sequence[str]) -> list[str]:
    lines = [f"### {escape(verdict.intermediate)} → {escape(verdict.target)}", ""]
    for arm in verdict.arms:
        parts = [arm.sentence, arm.pooled_sentence]
        found = [(name, arm.pooled[name]) for name in levels if name in arm.pooled]
        if found:
            parts.append(f"By level: {'; '.join(f'{name} {_pooled(row)}' for name, row in found)}.")
        lines.append(f"- {escape(arm.encoder)}: {escape(' '.join([*parts, arm.settle]).strip())}")
    lines += [f"- scaling: **{escape(s.verdict)}**. {escape(f'{s.sentence} {s.settle}'.strip())}" for s in verdict.scaling]
    return [*lines, ""]


def _pooled(row: Row) -> str:
    return "refused" if refused(row) else f"{points(row['theta'])} {interval(row['lo'], row['hi'])}"


def _section(section: Section) -> list[str]:
    lines = [f"## {escape(section.target)}", ""]
    for drawing in [*(one for block in section.blocks for one in block.drawings), *section.drawings]:
        lines += _figure(drawing)
    for table in [*section.tables, *section.more]:
        lines += [f"### {escape(table.title)}", "", *_table(table)]
    return lines


def _table(table: Table) -> list[str]:
    rule = [" ---: " if column.number else " --- " for column in table.columns]
    lines = [_row(column.title for column in table.columns), f"|{'|'.join(rule)}|"]
    lines += [_row(field.text for field in row) for row in table.rows]
    return [*lines, "", *([escape(table.note), ""] if table.note else [])]


def _row(texts: Iterable[str]) -> str:
    return f"| {' | '.join(escape(text) for text in texts)} |"


def escape(text: str) -> str:
    """Markup in a name shows as it is: neither HTML nor Markdown, and no line break ends a table's row."""
    text = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = re.sub(r"([\\`*\[\]|~])", r"\\\1", text)
    # At the beginning of a line or list item these make headings, lists, rules and underlines; at its end a "#" closes a heading.
    text = re.sub(
        r"^[#=]|^[+-](?=[+\s-]|$)|^(\d{1,9})(?=[.)](?:\s|$))|#$", lambda found: f"{found[1]}\\" if found[1] else f"\\{found[0]}", text
    )
    # An underscore inside a word is no emphasis, and names are full of them.
    return re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\\_", text)


def _code(text: str) -> str:
    fence = "`" * (max((len(run) for run in re.findall(r"`+", text)), default=0) + 1)
    pad = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{pad}{' '.join(text.split())}{pad}{fence}"
