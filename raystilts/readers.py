"""Files in their original formats, and data sets of the Hub, as rows of texts and labels.

Nothing is guessed: a row that does not have the form that its source says raises UserError with file, line and what is wrong.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raystilts import languages
from raystilts.errors import UserError, nearest
from raystilts.task import Kind, Source


@dataclass(frozen=True, slots=True)
class Row:
    """What one row of a source says, before labels are checked. `line` counts from 1: a sentence's first line, or a table's row."""

    line: int
    texts: tuple[str, ...]
    label: str | tuple[str, ...] | None


def rows_of(source: Source, kind: Kind, code: str, data: Path | None) -> list[Row]:
    """The rows of a source in the language `code`: of its files below `data`, or of its Hub data set where `data` is None."""
    if data is None:
        return list(_hub_rows(source, kind, code))
    paths = paths_of(source, code, data)
    if source.reader == "aligned":
        return _aligned(paths)
    (path,) = paths
    reader = {"tsv": _tsv, "conll": _conll, "jsonl": _jsonl}[source.reader]
    rows = list(reader(path, source, kind))
    if not rows:
        raise UserError(f"{path} has no examples: put the original file there.")
    return rows


def place(source: Source, code: str, data: Path | None, line: int) -> str:
    """Where a row stands, as messages say it."""
    if data is None:
        return f"{source.dataset} ({filled(source.subset, code)}, {filled(source.split, code)}), row {line}"
    return f"{paths_of(source, code, data)[0]}, line {line}"


def filled(pattern: str, code: str) -> str:
    """`pattern` with the language's code and other columns of the languages table filled in."""
    language = languages.find(code)
    columns = {name: value for name, value in dataclasses.asdict(language).items() if value not in (None, "")}
    try:
        return pattern.format(language=language.code, **columns)
    except KeyError as error:
        raise UserError(f"the languages table has no {error.args[0]!r} for {language.code!r}, which {pattern!r} needs.") from None


def paths_of(source: Source, code: str, data: Path) -> list[Path]:
    """The files of a source in the language `code`; raises UserError where one is missing."""
    if not source.files:
        raise UserError(f"{source.dataset} is not read from local files: run without --data.")
    paths = [data / filled(name, code) for name in source.files]
    for path in paths:
        if not path.is_file():
            what = f" ({source.exclude})" if source.exclude else ""
            raise UserError(f"{path} does not exist: put the original file there{what}, or name another folder with --data.")
    return paths


def _lines(path: Path) -> list[str]:
    """The lines of a UTF-8 file. Only LF ends a line (U+2028 and its like are text), and a CR before it belongs to the line's end.

    A byte order mark is dropped. A CR anywhere else would end up in a text or a label, so it is refused.
    """
    raw = path.read_bytes()
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        broken = raw[: error.start].count(b"\n") + 1
        raise UserError(f"{path}, line {broken}: this is not UTF-8 (byte {raw[error.start]:#04x}); convert the file.") from None
    if not text.strip():
        raise UserError(f"{path} is empty: put the original file there.")
    lines = text.split("\n")
    if not lines[-1]:
        lines.pop()
    lines = [line.removesuffix("\r") for line in lines]
    for number, line in enumerate(lines, 1):
        if "\r" in line:
            raise UserError(f"{path}, line {number}: a carriage return stands within the line; end lines with LF or CR LF.")
    return lines


def _num_texts(source: Source, kind: Kind) -> int:
    """Texts of one row: all columns but the label's, which retrieval has not."""
    return len(source.header or source.columns) - (0 if kind in ("retrieval", "ranking") else 1)


def _tsv(path: Path, source: Source, kind: Kind) -> Iterator[Row]:
    """Columns between tabs; quotes are text like any other."""
    rows = [line.split("\t") for line in _lines(path)]
    width, start = len(source.header or source.columns), 1
    if not width:
        raise UserError(f'{path}: the task\'s source names no columns; give it columns=("text", "label") or what the rows hold.')
    places = list(range(width))
    if source.header:
        width, start = len(rows[0]), 2
        for name in source.header:
            if name not in rows[0]:
                raise UserError(f"{path}, line 1: the header has no column {name!r}; {nearest(name, rows[0])}")
        places = [rows[0].index(name) for name in source.header]
    num_texts = _num_texts(source, kind)
    for line, cells in enumerate(rows[start - 1 :], start):
        if len(cells) != width:
            raise UserError(f"{path}, line {line}: {len(cells)} columns between tabs instead of {width}.")
        chosen = [cells[place] for place in places]
        yield Row(line, tuple(chosen[:num_texts]), chosen[num_texts] if num_texts < len(chosen) else None)


_PREFIX = re.compile(r"[a-z]{2,3}(?:-[a-z]+)*:")


def _conll(path: Path, source: Source, _kind: Kind) -> Iterator[Row]:
    """Word, separator, tag; an empty line between sentences. WikiANN's "xx:" is dropped where all words of the file begin with it."""
    sentences: list[tuple[int, list[str], list[str]]] = []
    fresh = True
    for line, text in enumerate(_lines(path), 1):
        if not text:
            fresh = True
            continue
        cells = text.split(source.separator)
        if len(cells) != 2:
            wanted = {"\t": "a tab", " ": "a space"}.get(source.separator, repr(source.separator))
            raise UserError(f"{path}, line {line}: {len(cells)} columns instead of a word, {wanted} and its tag: {text[:40]!r}.")
        if fresh:
            sentences.append((line, [], []))
            fresh = False
        sentences[-1][1].append(cells[0])
        sentences[-1][2].append(cells[1])
    match = _PREFIX.match(sentences[0][1][0]) if sentences else None
    prefix = match.group() if match and all(word.startswith(match.group()) for _, words, _ in sentences for word in words) else ""
    for line, words, tags in sentences:
        for offset, word in enumerate(words):
            if word == prefix:
                raise UserError(f"{path}, line {line + offset}: the word is empty.")
        yield Row(line, tuple(word.removeprefix(prefix) for word in words), tuple(tags))


def _jsonl(path: Path, source: Source, kind: Kind) -> Iterator[Row]:
    """One JSON object a line, with the source's columns."""
    for line, text in enumerate(_lines(path), 1):
        try:
            record = json.loads(text)
        except json.JSONDecodeError as error:
            raise UserError(f"{path}, line {line}: this is not JSON ({error.msg} at column {error.colno}).") from None
        if not isinstance(record, dict):
            raise UserError(f"{path}, line {line}: this is not a JSON object.")
        yield _row(record, source, kind, line, f"{path}, line {line}")


def _aligned(paths: Sequence[Path]) -> list[Row]:
    """Line i of each file is the same sentence in another language."""
    columns = [_lines(path) for path in paths]
    for path, lines in zip(paths, columns, strict=True):
        if len(lines) != len(columns[0]):
            raise UserError(
                f"{path} has {len(lines)} lines, but {paths[0]} has {len(columns[0])}: the files must be parallel, line by line."
            )
        for number, line in enumerate(lines, 1):
            if not line.strip():
                raise UserError(f"{path}, line {number}: the line is empty.")
    return [Row(number, texts, None) for number, texts in enumerate(zip(*columns, strict=True), 1)]


def _row(record: dict[str, Any], source: Source, kind: Kind, line: int, place: str) -> Row:
    """A record with named columns, of JSON lines or of the Hub, as a row."""
    missing = [name for name in source.columns if record.get(name) is None]
    if missing:
        raise UserError(f"{place}: the column {missing[0]!r} is missing; {nearest(missing[0], record)}")
    *texts, label = [record[name] for name in source.columns]
    if kind == "tagging":
        (words,) = texts
        if not isinstance(words, list) or not isinstance(label, list) or len(words) != len(label):
            raise UserError(f"{place}: {source.columns[0]!r} and {source.columns[1]!r} must be lists of one length.")
        return Row(line, tuple(map(str, words)), tuple(map(str, label)))
    if kind in ("retrieval", "ranking"):
        texts, label = [*texts, label], None
    if not all(isinstance(text, str) for text in texts):
        raise UserError(f"{place}: the columns {', '.join(map(repr, source.columns[: len(texts)]))} must be texts.")
    return Row(line, tuple(texts), None if label is None else str(label))


def revision_of(source: Source) -> str:
    """The pinned commit of the Hub data set; raises UserError where none could be checked and pinned."""
    if not source.dataset or not source.revision:
        name, why = source.dataset or source.files[0], f" ({source.exclude})" if source.exclude else ""
        raise UserError(f"{name} cannot be read from the Hub, as no commit is pinned{why}: use --data with a local mirror.")
    return source.revision


def _hub_rows(source: Source, kind: Kind, code: str) -> Iterator[Row]:
    """Rows of a parquet data set of the Hub, or of its local cache; class numbers become their names."""
    revision, subset, split = revision_of(source), filled(source.subset, code), filled(source.split, code)
    import datasets  # noqa: PLC0415  seconds to load, and needed for the Hub only

    try:
        table = datasets.load_dataset(source.dataset, subset or None, split=split, revision=revision)
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(
            f"{source.dataset} ({subset}, {split}, {revision}) could not be loaded from the Hub ({reason}): check the connection and "
            f"HF_HUB_OFFLINE, or use --data with a local mirror."
        ) from error
    # Offline, `datasets` falls back to whatever version is in its cache.
    origins = [url for url in table.info.download_checksums or () if url.startswith(f"hf://datasets/{source.dataset}@")]
    if any(f"@{revision}/" not in url for url in origins):
        raise UserError(f"the local cache holds {origins[0]}, but commit {revision} is wanted: run once with a connection, or use --data.")
    missing = [name for name in source.columns if name not in table.column_names]
    if missing:
        raise UserError(f"{source.dataset} ({subset}, {split}) has no column {missing[0]!r}; {nearest(missing[0], table.column_names)}")
    feature = table.features[source.columns[-1]]
    names = getattr(getattr(feature, "feature", feature), "names", None)
    for line, record in enumerate(table.select_columns(list(source.columns)), 1):
        if names:
            record[source.columns[-1]] = _named(record[source.columns[-1]], names, f"{source.dataset} ({subset}, {split}), row {line}")
        yield _row(record, source, kind, line, f"{source.dataset} ({subset}, {split}), row {line}")


def _named(value: Any, names: Sequence[str], place: str) -> Any:
    if isinstance(value, list):
        return [_named(item, names, place) for item in value]
    if value is None or not 0 <= value < len(names):
        raise UserError(f"{place}: the label {value} has no name; hidden test labels cannot be scored.")
    return names[value]
