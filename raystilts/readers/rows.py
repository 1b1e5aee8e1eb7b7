"""What all readers share: rows, lines of text files, columns and templates over them, and how a malformed row is reported."""

from __future__ import annotations

import hashlib
import re
import string
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from raystilts.errors import UserError, nearest
from raystilts.task import Kind, Source

OnError = Callable[[str, int | None, str], None]
"""Told of what is malformed: where (a file, a data set), which line or row (None: all of it), what. It raises, or the reader goes on
with the next row."""


def refuse(where: str, line: int | None, what: str, unit: str = "line") -> None:
    """Raises UserError."""
    raise UserError(f"{where}: {what}" if line is None else f"{where}, {unit} {line}: {what}")


def refuse_row(where: str, line: int | None, what: str) -> None:
    """Raises UserError; for data sets that have rows instead of lines."""
    refuse(where, line, what, "row")


@dataclass(frozen=True, slots=True)
class Row:
    """What one row of a source says, before labels are checked.

    line: counts from 1: a sentence's first line, a table's row, where the record begins. id and cluster: "" where the source names
    none. lines: tagging: the line of each word, where words have lines.
    """

    line: int
    texts: tuple[str, ...]
    label: str | tuple[str, ...] | None = None
    id: str = ""
    cluster: str = ""
    starts: tuple[int, ...] = ()
    lines: Sequence[int] = ()


@dataclass(frozen=True)
class Reading:
    """What a reader is asked for: files of a source, for a kind of task, in the language `code`.

    on_hidden is told of gold that somebody has taken out of a file: nothing is malformed, but nothing can be scored.
    """

    paths: Sequence[Path]
    source: Source
    kind: Kind
    code: str
    on_error: OnError = refuse
    on_hidden: OnError = refuse

    @property
    def path(self) -> Path:
        """The only file; raises UserError where the source names several."""
        if len(self.paths) != 1:
            raise UserError(f"{self.paths[0]}: the reader {self.source.reader!r} reads one file, but the source names {len(self.paths)}.")
        return self.paths[0]


def digest16(text: str) -> str:
    """A short name of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


# --- lines


def text_of(path: Path, on_error: OnError) -> str:
    """A UTF-8 file without its byte order mark; lines that are not UTF-8 are reported, and read with U+FFFD."""
    raw = path.read_bytes()
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        for number, line in enumerate(raw.split(b"\n"), 1):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                on_error(str(path), number, f"this is not UTF-8 (byte {line[error.start]:#04x}); convert the file.")
        text = raw.decode("utf-8-sig", errors="replace")
    if not text.strip():
        on_error(str(path), None, "the file is empty: put the original file there.")
    return text


def lines(path: Path, on_error: OnError, nul: bool = False) -> list[tuple[int, str]]:
    """(number, line) of a UTF-8 file. Only LF ends a line (U+2028 and its like are text), and a CR before it belongs to the line's end.

    A CR anywhere else would end up in a text or a label, and a NUL says that the file is UTF-16: both are reported, like lines that
    are not UTF-8, and such lines are left out. `nul`: the reader deals with NUL itself.
    """
    broken: set[int] = set()

    def report(where: str, line: int | None, what: str) -> None:
        broken.add(line or 0)
        on_error(where, line, what)

    text = text_of(path, report)
    if 0 in broken:
        return []
    found = text.split("\n")
    if not found[-1]:
        found.pop()
    if "\r" in text:
        found = [line.removesuffix("\r") for line in found]
        for number, line in enumerate(found, 1):
            if "\r" in line:
                report(str(path), number, "a carriage return stands within the line; end lines with LF or CR LF.")
    if not nul and "\0" in text:
        for number, line in enumerate(found, 1):
            if "\0" in line:
                report(str(path), number, "a NUL character stands within the line; is the file UTF-16? Convert it to UTF-8.")
    return [(number, line) for number, line in enumerate(found, 1) if number not in broken] if broken else list(enumerate(found, 1))


# --- columns


@cache
def template(column: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """(text, path of the value that follows it) for each part of a column; a path is a name and keys of what it holds."""
    if "{" not in column:
        return (("", (column,)),)
    parts = []
    for text, field, spec, conversion in string.Formatter().parse(column):
        if field is not None and (spec or conversion or not (match := re.fullmatch(r"([^\[\]]+)((?:\[[^\[\]]+\])*)", field))):
            raise UserError(f"the column {column!r} is no template: only {{name}} and {{name[key]}} have a meaning.")
        path = () if field is None or match is None else (match[1], *re.findall(r"\[([^\[\]]+)\]", match[2]))
        parts.append((text, path))
    return tuple(parts)


def names_of(columns: Sequence[str]) -> list[str]:
    """The names of the record's own columns that these columns and templates need, each once."""
    return list(dict.fromkeys(path[0] for column in columns if column for _, path in template(column) if path))


def value(column: str, record: Mapping[str, Any]) -> Any:
    """What stands in a column, or the text that a template makes; raises UserError without a place, which the reader adds."""
    parts = template(column)
    if len(parts) == 1 and not parts[0][0]:
        return _at(parts[0][1], record, column)
    made = []
    for text, path in parts:
        found = _at(path, record, column) if path else ""
        if not isinstance(found, str | int):
            raise UserError(f"the column {_shown(path)!r} must be a text, as a part of {column!r}.")
        made += [text, str(found)]
    return "".join(made)


def _at(path: Sequence[str], record: Any, column: str) -> Any:
    for depth, key in enumerate(path):
        within = f" in {_shown(path[:depth])!r}" if depth else ""
        if isinstance(record, Mapping):
            if record.get(key) is None:
                raise UserError(f"the column {key!r} is missing{within}; {nearest(key, record)}")
            record = record[key]
        elif isinstance(record, list | tuple) and key.isdecimal():
            if int(key) >= len(record):
                raise UserError(f"{_shown(path[:depth])!r} has {len(record)} items, but {column!r} needs one more than {key}.")
            record = record[int(key)]
        else:
            raise UserError(f"{_shown(path[:depth])!r} has no {key!r}, as it is no {'list' if key.isdecimal() else 'object'}.")
    return record


def _shown(path: Sequence[str]) -> str:
    return path[0] + "".join(f"[{key}]" for key in path[1:])


def is_labelled(source: Source, kind: Kind) -> bool:
    """Whether the last column is a label: pairs, queries and bare texts have none, unless rows are chosen by it."""
    return bool(source.only) or kind in ("classification", "choice", "tagging", "span")


def row_of(record: Mapping[str, Any], columns: Sequence[str], reading: Reading, line: int) -> Row:
    """A record with named columns, of JSON lines, of CSV or of the Hub, as a row; raises UserError."""
    source, kind = reading.source, reading.kind
    found = [value(column, record) for column in columns]
    name, cluster = (_plain(column, value(column, record)) if column else "" for column in (source.id, source.cluster))
    texts, label = (found[:-1], found[-1]) if is_labelled(source, kind) else (found, None)
    if kind == "tagging":
        if len(texts) != 1 or not isinstance(texts[0], list) or not isinstance(label, list) or len(texts[0]) != len(label):
            raise UserError(f"{columns[0]!r} and {columns[-1]!r} must be lists of one length.")
        return Row(line, tuple(map(str, texts[0])), tuple(map(str, label)), name, cluster)
    if not all(isinstance(text, str) for text in texts):
        raise UserError(f"the columns {', '.join(map(repr, columns[: len(texts)]))} must be texts.")
    if kind == "span":
        if len(texts) != 2:
            raise UserError("the columns of a span task are the question, the context and the answers.")
        answers, starts = answers_of(label, texts[1])
        return Row(line, tuple(texts), answers, name, cluster, starts)
    return Row(line, tuple(texts), None if label is None else _plain(columns[-1], label), name, cluster)


def _plain(column: str, found: Any) -> str:
    if not isinstance(found, str | int):
        raise UserError(f"the column {column!r} must be a text or a whole number.")
    return str(found)


def answers_of(found: Any, context: str) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """The answers' texts and where each begins; raises UserError where an answer does not stand there in the context."""
    texts = found.get("text") if isinstance(found, Mapping) else None
    starts = found.get("answer_start") if isinstance(found, Mapping) else None
    if not isinstance(texts, list) or not isinstance(starts, list) or len(texts) != len(starts):
        raise UserError('the answers must be {"text": [...], "answer_start": [...]} with lists of one length.')
    for text, start in zip(texts, starts, strict=True):
        check_answer(text, start, context)
    return tuple(texts), tuple(starts)


def check_answer(text: Any, start: Any, context: str) -> None:
    """Raises UserError unless the text stands at that place of the context, to the character: nothing is moved or trimmed."""
    if not isinstance(text, str) or not isinstance(start, int):
        raise UserError("an answer must have a text and a whole number where it begins.")
    if not text:
        raise UserError("an answer is empty: hidden answers cannot be scored; put the file with the answers there.")
    if start < 0 or context[start : start + len(text)] != text:
        place = context.find(text)
        hint = f"it stands at {place}" if place >= 0 else "it stands nowhere in it"
        raise UserError(f"the answer {text[:40]!r} does not stand at character {start} of the context; {hint}.")


def each(pairs: Iterator[tuple[int, Mapping[str, Any]]], columns: Sequence[str], reading: Reading, where: str) -> Iterator[Row]:
    """The rows of numbered records; what is malformed is reported."""
    for line, record in pairs:
        try:
            yield row_of(record, columns, reading, line)
        except UserError as error:
            reading.on_error(where, line, str(error))
