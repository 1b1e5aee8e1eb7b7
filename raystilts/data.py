"""Task, split and language -> examples, from a local mirror in the original format, from the Hub, or generated."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

from raystilts import languages
from raystilts.errors import UserError, nearest
from raystilts.readers import Row, filled, paths_of, place, revision_of, rows_of
from raystilts.task import ENGLISH, Example, Source, Task

Split = Literal["train", "dev", "test"]

READER_VERSION = 1
"""Part of every local identity: to be raised when a reader starts to make other examples of the same bytes."""


def examples(task: Task, split: Split, language: str, data: Path | None = None) -> list[Example]:
    """The examples of one split in one language, in the order of the source; `language` in any code of the languages table.

    With `data`, the source's files below that folder are read, else its Hub data set, except where the source generates its
    examples. Ids are made from text and gold, so they do not depend on the order of rows; a repeated example gets "#2", "#3".
    Examples that share a text share a cluster. Raises UserError that names file and line for every row that is not as it must be.
    """
    source = source_of(task, split)
    code = languages.find(language).code
    known = {*task.languages, ENGLISH} if split == "dev" else {ENGLISH} if split == "train" else set(task.languages)
    if code not in known:
        why = f" ({source.exclude})" if source.exclude else ""
        raise UserError(f"{task.name} has no {split} data in {code!r}{why}: choose from {', '.join(sorted(known))}.")
    if source.generate:
        found = list(source.generate(code))
    elif source.parallel:
        found = _parallel(task, source, code, data)
    else:
        found = _identified(_checked(rows_of(source, task.kind, code, data), task, source, code, data))
    if not found:
        raise UserError(f"{task.name}: the {split} data in {code!r} is empty.")
    if len({example.id for example in found}) < len(found):
        raise UserError(f"{task.name}: two {split} examples in {code!r} have the same id.")
    return subset(found, source.limit)


def source_of(task: Task, split: Split) -> Source:
    """The source of a split; raises UserError where the task has none."""
    source: Source | None = getattr(task, split)
    if source is None:
        other = f" of its own: it is trained on {task.trained_on!r}" if split == "train" and task.trained_on else ""
        raise UserError(f"the task {task.name!r} has no {split} data{other}.")
    return source


def labels(task: Task, data: Path | None = None) -> tuple[str, ...]:
    """The task's labels in the order of the head's outputs; where the literal lists none, the sorted labels of its training data.

    Other splits of such a task may have labels that training never saw: they stay as they are, and no prediction can be right there.
    """
    if task.labels or task.kind in ("retrieval", "ranking"):
        return task.labels
    found: set[str] = set()
    for example in examples(task, "train", ENGLISH, data):
        found.update([example.label] if isinstance(example.label, str) else example.label or ())
    return tuple(sorted(found))


def identity(source: Source, language: str, data: Path | None = None) -> str:
    """What the examples of a source depend on, short: equal identities mean equal examples. Part of a stage's key.

    "hub:<data set>@<commit>:..." for the Hub; "sha256:..." of the bytes of the local files, or of the generated examples. How rows
    are read (columns, renamed labels, `limit`, ...) is part of it; where the files lie is not.
    """
    code = languages.find(language).code
    if source.generate:
        return _digest([dataclasses.astuple(example) for example in subset(list(source.generate(code)), source.limit)])
    facts = [READER_VERSION, source.values, source.parallel, source.limit]
    if data is None:
        configuration, split = filled(source.subset, code), filled(source.split, code)
        return f"hub:{source.dataset}@{revision_of(source)}:{configuration}:{split}:{_digest([*facts, source.columns])[7:15]}"
    own = paths_of(source, code, data)
    english = paths_of(source, ENGLISH, data) if source.parallel else []
    hashes = [hashlib.sha256(path.read_bytes()).hexdigest() for path in [*own, *english]]
    return _digest([*facts, source.reader, source.header, source.separator, source.columns if source.reader == "jsonl" else (), hashes])


def _digest(value: object) -> str:
    return f"sha256:{hashlib.sha256(json.dumps(value, ensure_ascii=False).encode()).hexdigest()}"


def _checked(rows: Iterable[Row], task: Task, source: Source, code: str, data: Path | None) -> Iterator[Row]:
    """Labels renamed to the task's, and known; texts not empty. A word of white space is a word: East Asian data has such."""
    names, known = dict(source.values), set(task.labels)

    def checked(label: str, line: int) -> str:
        label = names.get(label, label)
        if not label:
            raise UserError(f"{place(source, code, data, line)}: the label is empty.")
        if known and label not in known:
            raise UserError(f"{place(source, code, data, line)}: {task.name} has no label {label!r}; {nearest(label, known)}")
        return label

    step = 1 if data and source.reader == "conll" else 0  # lines from one word of a sentence to the next
    for row in rows:
        tagged = isinstance(row.label, tuple)
        if not row.texts or not all(row.texts if tagged else map(str.strip, row.texts)):
            raise UserError(f"{place(source, code, data, row.line)}: a text is empty.")
        if isinstance(row.label, tuple):
            yield Row(row.line, row.texts, tuple(checked(tag, row.line + step * i) for i, tag in enumerate(row.label)))
        else:
            yield Row(row.line, row.texts, None if row.label is None else checked(row.label, row.line))


def _identified(rows: Iterable[Row]) -> list[Example]:
    rows = list(rows)
    clusters = _clusters([(" ".join(row.texts),) if isinstance(row.label, tuple) else row.texts for row in rows])
    seen: Counter[str] = Counter()
    found = []
    for row, cluster in zip(rows, clusters, strict=True):
        name = _hash16(json.dumps([row.texts, row.label], ensure_ascii=False))
        seen[name] += 1
        suffix = f"#{seen[name]}" if seen[name] > 1 else ""
        found.append(Example(name + suffix, row.texts, row.label, cluster))
    return found


def _hash16(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _clusters(texts: Sequence[tuple[str, ...]]) -> list[str | None]:
    """For each example the hash of a text that links it to others, else None. Sharing any text links, directly or over others."""
    times = Counter(text for group in texts for text in set(group))
    parent: dict[str, str] = {}

    def root(text: str) -> str:
        while parent.setdefault(text, text) != text:
            parent[text] = text = parent[parent[text]]
        return text

    for group in texts:
        first, *others = [root(text) for text in group]
        for other in others:
            parent[other] = root(first)
    shared = {root(text) for text, count in times.items() if count > 1}
    return [_hash16(root(group[0])) if root(group[0]) in shared else None for group in texts]


def _parallel(task: Task, source: Source, code: str, data: Path | None) -> list[Example]:
    """Row i is one example in every language: id and cluster are those of the English row."""
    english = _identified(_checked(rows_of(source, task.kind, ENGLISH, data), task, source, ENGLISH, data))
    if code == ENGLISH:
        return english
    rows = list(_checked(rows_of(source, task.kind, code, data), task, source, code, data))
    if len(rows) != len(english):
        raise UserError(
            f"{place(source, code, data, len(rows))} is the last row, but the English data that it must be parallel to has {len(english)} "
            f"rows: get both from the same release."
        )
    for row, other in zip(rows, english, strict=True):
        if row.label != other.label:
            raise UserError(
                f"{place(source, code, data, row.line)}: the label is {row.label!r}, but {other.label!r} in the English row that it must "
                f"be parallel to: get both from the same release."
            )
    return [Example(other.id, row.texts, row.label, other.cluster) for row, other in zip(rows, english, strict=True)]


def subset(found: list[Example], limit: int | None) -> list[Example]:
    """The `limit` examples with the smallest hash of their id, in their order: the same for every seed and in parallel sets."""
    if limit is None or limit >= len(found):
        return found
    kept = {example.id for example in sorted(found, key=lambda example: hashlib.sha256(example.id.encode()).digest())[:limit]}
    return [example for example in found if example.id in kept]
