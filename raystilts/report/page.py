"""The report as one self-contained HTML page: no network, figures and tables inside, unpacked by a small script when they are looked at."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
from collections.abc import Sequence
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from raystilts.report.content import Content
from raystilts.report.svg import PAGE_COLOURS, Drawing
from raystilts.report.tables import Table
from raystilts.report.view import baseline_of, interval, points, refused

MOST_PDF = 2_000_000
"""Bytes of PDF that a page holds at most; beyond, its figures become PDF by printing, and the files lie beside the page."""


def page(what: Content) -> str:
    """The page's text. Everything that comes from the study is escaped: by Jinja2, or by `embedded` and `packed` inside scripts."""
    environment = Environment(
        loader=PackageLoader("raystilts.report", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["minus"] = minus
    script, style = (resources.files("raystilts.report").joinpath(f"page.{end}").read_text(encoding="utf-8") for end in ("js", "css"))
    script = script.replace("PAGE_COLOURS", json.dumps(dict(PAGE_COLOURS)))
    with_pdf = sum(len(drawing.pdf) for drawing in what.drawings) <= MOST_PDF
    return environment.get_template("page.html.jinja").render(
        what=what,
        story=what.story,
        # The policy forbids every request, every style and every script but ours, should markup ever slip in.
        script=Markup(script),  # noqa: S704 - our own file
        script_hash=_hash(script),
        style=Markup(style),  # noqa: S704 - our own file
        style_hash=_hash(style),
        embedded=lambda table: Markup(embedded(table)),  # noqa: S704 - no bracket is left in it
        with_pdf=with_pdf,
        packed=lambda drawing: Markup(packed(drawing, pdf=with_pdf)),  # noqa: S704 - base64
        many=sum(len(section.blocks) for section in what.sections) > 8,
        baseline=baseline_of(what.story),
        refused=refused,
        points=points,
        interval=interval,
    )


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def embedded(table: Table) -> str:
    """A table as JSON for a script element: columns and rows. A cell of a column of numbers is [what is read, exact values...] (an interval
    has two, a dash none); a cell of a column of words is an index into the column's `words`, [text, kind].
    """
    columns: list[dict[str, Any]] = []
    rows: list[list[Any]] = [[] for _ in table.rows]
    for place, column in enumerate(table.columns):
        if table.rows and not any(row[place].text for row in table.rows):
            continue  # such as the targets of contrasts that have none
        head: dict[str, Any] = {"title": column.title, "number": column.number, "filter": column.filter}
        fields = [row[place] for row in table.rows]
        if column.number:
            cells: Sequence[Any] = [[minus(field.text), *map(float, field.value.split())] for field in fields]
        else:
            words = {(field.text, field.kind): None for field in fields}
            number = {word: index for index, word in enumerate(words)}
            head["words"] = [[minus(text) if kind == "prose" else text, kind] if kind else [text] for text, kind in words]
            cells = [number[field.text, field.kind] for field in fields]
        columns.append(head)
        for row, cell in zip(rows, cells, strict=True):
            row.append(cell)
    text = json.dumps({"title": table.title, "columns": columns, "rows": rows}, ensure_ascii=False, separators=(",", ":"))
    return text.replace("&", r"\u0026").replace("<", r"\u003c").replace(">", r"\u003e")


def packed(drawing: Drawing, *, pdf: bool) -> str:
    """A figure's files, compressed: most of a full-size page would be the coordinates of figures that nobody has opened yet."""
    files = {"svg": drawing.svg.decode(), "csv": drawing.csv.decode()}
    if pdf:
        files["pdf"] = base64.b64encode(drawing.pdf).decode()
    return base64.b64encode(gzip.compress(json.dumps(files, ensure_ascii=False).encode(), mtime=0)).decode()


def minus(text: str) -> str:
    """A hyphen before a number becomes a minus sign."""
    return re.sub(r"(?<![\w.])-(?=\d)", "\N{MINUS SIGN}", str(text))
