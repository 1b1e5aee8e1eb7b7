"""Readers of rows: TSV, CSV, JSON lines, aligned files, bare lines, and BUCC's."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any

from raystilts.errors import UserError, nearest
from raystilts.readers.parsing import parsed
from raystilts.readers.rows import OnError, Reading, Row, each, is_labelled, lines, names_of, row_of, template

Record = dict[str, Any]


def tsv(reading: Reading) -> Iterator[Row]:
    """Columns between tabs; quotes are text like any other. `header` says that the first row names the columns."""
    path, source = reading.path, reading.source
    columns = source.header or source.columns
    if not columns:
        raise UserError(f'{path}: the task\'s source names no columns; give it columns=("text", "label") or what the rows hold.')
    rows = lines(path, reading.on_error)
    names = list(columns)
    if source.header and rows:
        names, rows = rows[0][1].split("\t"), rows[1:]
    if not _has(names, columns, reading):
        return
    make = _maker(names, columns, reading)
    for line, text in rows:
        cells = text.split("\t")
        if len(cells) < len(names) and source.gaps:
            continue
        if len(cells) != len(names):
            reading.on_error(str(path), line, f"{len(cells)} columns between tabs instead of {len(names)}.")
            continue
        try:
            yield make(line, cells)
        except UserError as error:
            reading.on_error(str(path), line, str(error))


def _has(names: Sequence[str], columns: Sequence[str], reading: Reading) -> bool:
    """Whether all wanted columns are among the header's; reports the first that is not."""
    for name in names_of((*columns, reading.source.id, reading.source.cluster)):
        if name not in names:
            reading.on_error(str(reading.path), 1, f"the header has no column {name!r}; {nearest(name, names)}")
            return False
    return True


def _maker(names: Sequence[str], columns: Sequence[str], reading: Reading) -> Callable[[int, Sequence[str]], Row]:
    """A function (line, cells) -> Row: where the columns are plain, a fast one, as some files have 400,000 rows."""
    source = reading.source
    wanted = [*columns, *filter(None, (source.id, source.cluster))]
    if any(template(column) != (("", (column,)),) for column in wanted) or reading.kind in ("tagging", "span"):
        return lambda line, cells: row_of(dict(zip(names, cells, strict=True)), columns, reading, line)
    places = [names.index(column) for column in wanted]
    choose = itemgetter(*places) if len(places) > 1 else lambda cells: (cells[places[0]],)
    num, labelled = len(columns), is_labelled(source, reading.kind)

    def make(line: int, cells: Sequence[str]) -> Row:
        found = choose(cells)
        texts, label = (found[: num - 1], found[num - 1]) if labelled else (found[:num], None)
        return Row(line, texts, label, found[num] if source.id else "", found[-1] if source.cluster else "")

    return make


def csv_(reading: Reading) -> Iterator[Row]:
    """RFC 4180: commas, quotes around what holds commas, quotes or line ends; the first row names the columns.

    A record's line is the one in which it begins. A CR LF within quotes is read as LF.
    """
    where, on_error = str(reading.path), reading.on_error
    columns = reading.source.header or reading.source.columns
    numbered = lines(reading.path, on_error, nul=True)
    if not numbered:
        return
    records = csv.reader((f"{text}\n" for _, text in numbered), strict=True)
    names: list[str] = []
    while records.line_num < len(numbered):
        line = numbered[records.line_num][0]
        try:
            cells = next(records)
        except csv.Error as error:
            what = "a quote is opened here and never closed" if "end of data" in str(error) else f"this is not CSV ({error})"
            on_error(where, line, f"{what}; quotes within a quoted text must be doubled.")
            continue
        if any("\0" in cell for cell in cells):
            on_error(where, line, "a NUL character stands within the record; is the file UTF-16? Convert it to UTF-8.")
        elif not names:
            names = cells
            if not _has(names, columns, reading):
                return
        elif len(cells) != len(names):
            on_error(where, line, f"{len(cells)} columns between commas instead of {len(names)}.")
        else:
            yield from each(iter([(line, dict(zip(names, cells, strict=True)))]), columns, reading, where)


def jsonl(reading: Reading) -> Iterator[Row]:
    """One JSON object a line, with the source's columns."""
    records = objects(reading.path, reading.on_error)
    return each(records, reading.source.header or reading.source.columns, reading, str(reading.path))


def objects(path: Path, on_error: OnError) -> Iterator[tuple[int, Record]]:
    """(line, object) of JSON lines."""
    where = str(path)
    for line, text in lines(path, on_error):
        for record in parsed(text, where, line, on_error):
            if isinstance(record, dict):
                yield line, record
            else:
                on_error(where, line, "this is not a JSON object.")


def aligned(reading: Reading) -> Iterator[Row]:
    """Line i of each file is the same sentence in another language."""
    columns = [dict(lines(path, reading.on_error)) for path in reading.paths]
    lengths = [max(column, default=0) for column in columns]
    for path, length in zip(reading.paths, lengths, strict=True):
        if length != lengths[0]:
            reading.on_error(
                str(path),
                None,
                f"it has {length} lines, but {reading.paths[0]} has {lengths[0]}: the files must be parallel, line by line.",
            )
    for number in range(1, min(lengths) + 1):
        texts = tuple(column.get(number, "") for column in columns)
        for path, column, text in zip(reading.paths, columns, texts, strict=True):
            if number in column and not text.strip():
                reading.on_error(str(path), number, "the line is empty.")
        if all(text.strip() for text in texts):
            yield Row(number, texts)


def text(reading: Reading) -> Iterator[Row]:
    """One text a line; empty lines are skipped."""
    return (Row(line, (found,)) for line, found in lines(reading.path, reading.on_error) if found.strip())


def bucc(reading: Reading) -> Iterator[Row]:
    """Lines of id TAB text. Alone they are candidates; with a file of "id TAB English id" they are queries that look for those ids."""
    texts, *golds = reading.paths
    found: dict[str, tuple[int, str]] = {}
    for line, (name, sentence) in _pairs(texts, reading, "an id, a tab and a text"):
        if name in found:
            reading.on_error(str(texts), line, f"the id {name!r} stands in line {found[name][0]}, too.")
        else:
            found[name] = (line, sentence)
    wanted: dict[str, list[str]] = {}
    for path in golds:
        for line, (own, english) in _pairs(path, reading, "an id, a tab and an English id"):
            if own not in found:
                reading.on_error(str(path), line, f"there is no id {own!r} in {texts}.")
            else:
                wanted.setdefault(own, []).append(english)
    for name, (line, sentence) in found.items():
        yield Row(line, (sentence,), tuple(wanted.get(name, ())) if golds else (name,), name)


def _pairs(path: Path, reading: Reading, what: str) -> Iterator[tuple[int, tuple[str, str]]]:
    for line, found in lines(path, reading.on_error):
        cells = found.split("\t")
        if len(cells) == 2 and all(cells):
            yield line, (cells[0], cells[1])
        else:
            reading.on_error(str(path), line, f"{len(cells)} columns between tabs instead of {what}.")
