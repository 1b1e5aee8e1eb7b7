"""Writes a report's folder: tables, figures, report.md, report.html. The same analysis gives the same bytes."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from raystilts.disk import write_whole
from raystilts.report.cleaning import cleaned, cleaned_table
from raystilts.report.story import TABLES, Analysis, Story

QUESTIONS = pa.schema(
    [(name, pa.string()) for name in ("question", "about", "target", "intermediate", "encoder", "answer", "sentence", "settle")]
    + [(name, pa.float64()) for name in ("theta", "lo", "hi", "p_adjusted")]
    + [("test", pa.string()), ("n_languages", pa.int64()), ("seeds", pa.string()), ("examples", pa.string())]
)
PRACTICES = pa.schema(
    [("practice", pa.string()), ("about", pa.string())]
    + [(name, pa.int64()) for name in ("comparisons", "gains", "losses", "not_shared")]
    + [("mean_claimed_gain", pa.float64())]
)


def write_report(analysis: Analysis, story: Story, out: Path, beside: Mapping[str, pa.Table] | None = None) -> Path:
    """Returns the path of report.html; beside it report.md, references.bib, tables/*.parquet and *.csv, figures/*.svg, *.pdf and *.csv,
    latex/*.tex.

    beside: further tables by name; of these the page shows "practices" (stats.alternatives_table) in short.
    """
    # matplotlib and Jinja2 take half a second to import: whoever only prints verdicts does not wait for them.
    from raystilts.report.content import content, questions_rows  # noqa: PLC0415
    from raystilts.report.latex import latex  # noqa: PLC0415
    from raystilts.report.markdown import markdown  # noqa: PLC0415
    from raystilts.report.page import page  # noqa: PLC0415
    from raystilts.stats.ledger import judge  # noqa: PLC0415

    analysis, story = cleaned(analysis, story)
    out, beside = Path(out), {name: cleaned_table(table) for name, table in (beside or {}).items()}
    tables: Any = analysis  # the ledger reads two of its tables
    beside.setdefault("ledger", judge(tables, margin=story.margin, alpha=story.alpha))
    tried = beside["practices"].to_pylist() if "practices" in beside else []
    what = content(analysis, story, beside["ledger"].to_pylist(), tried)
    beside |= {"questions": _rows(questions_rows(what.answers), QUESTIONS), "practices_summary": _rows(what.practice_rows, PRACTICES)}
    for name, table in {**{name: getattr(analysis, name) for name in TABLES}, **beside}.items():
        write_whole(out / "tables" / f"{name}.parquet", _parquet(table))
        write_whole(out / "tables" / f"{name}.csv", _csv(table))
    for drawing in what.drawings:
        for ending in ("svg", "pdf", "csv"):
            write_whole(out / "figures" / f"{drawing.name}.{ending}", getattr(drawing, ending))
    for name, shown in what.tables.items():
        write_whole(out / "latex" / f"{name}.tex", latex(shown, name).encode())
    write_whole(out / "references.bib", what.bibtex.encode())
    write_whole(out / "report.md", markdown(what).encode())
    # The page comes last: who sees a new one finds the tables and figures that belong to it.
    write_whole(out / "report.html", page(what).encode())
    return out / "report.html"


def _rows(rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    return pa.Table.from_pylist([dict(row) for row in rows], schema)


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
