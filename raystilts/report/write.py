"""Writes a report's folder: tables, figures, report.md, report.html. The same analysis gives the same bytes."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from raystilts.report.story import TABLES, Analysis, Story


def write_report(analysis: Analysis, story: Story, out: Path) -> Path:
    """Returns the path of report.html; beside it report.md, tables/*.parquet and *.csv, figures/*.svg."""
    # matplotlib and Jinja2 take half a second to import: whoever only prints verdicts does not wait for them.
    from raystilts.report.content import content  # noqa: PLC0415
    from raystilts.report.markdown import markdown  # noqa: PLC0415
    from raystilts.report.page import page  # noqa: PLC0415

    out = Path(out)
    for name in TABLES:
        table = getattr(analysis, name)
        _write(out / "tables" / f"{name}.parquet", _parquet(table))
        _write(out / "tables" / f"{name}.csv", _csv(table))
    what = content(analysis, story)
    for section in what.sections:
        for drawing in section.drawings:
            _write(out / "figures" / f"{drawing.name}.svg", drawing.alone)
    _write(out / "report.md", markdown(what).encode())
    # The page comes last: who sees a new one finds the tables and figures that belong to it.
    _write(out / "report.html", page(what).encode())
    return out / "report.html"


def _write(path: Path, data: bytes) -> None:
    """Whole or not at all: a reader never sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _parquet(table: Any) -> bytes:
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(table, buffer)
    return buffer.getvalue()


def _csv(table: Any) -> bytes:
    """Lists become their elements joined by blanks, since CSV has no lists."""
    for place, field in enumerate(table.schema):
        if pa.types.is_list(field.type) or pa.types.is_large_list(field.type):
            column = table.column(place).combine_chunks().cast(pa.list_(pa.string()))
            table = table.set_column(place, field.name, pc.binary_join(column, " "))
        elif pa.types.is_dictionary(field.type):
            table = table.set_column(place, field.name, table.column(place).cast(field.type.value_type))
    buffer = io.BytesIO()
    pyarrow.csv.write_csv(table, buffer)
    return buffer.getvalue()
