"""Task, split and language -> examples, from a local mirror in the original format, from the Hub, or generated."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, cast

from raystilts import languages, pairs, shuffling, substitute
from raystilts.errors import UserError, nearest
from raystilts.readers import OnError, Row, digest16, filled, paths_of, place_of, refuse, refuse_row, revision_of, rows_of
from raystilts.task import ENGLISH, Example, Kind, Source, Task

Split = Literal["train", "dev", "test"]
CANDIDATES = "-candidates"  # behind a split: what its queries are compared with

READER_VERSION = 2
"""Part of every local identity: to be raised when a reader starts to make other examples of the same bytes."""


_locks: list[None] = []  # of the process, not of a thread: what a training starts may not look either


@contextlib.contextmanager
def english_only() -> Iterator[None]:
    """While the block, or the function that this decorates, runs: whoever reads other data than English train and dev gets a RuntimeError.

    A zero-shot score is one only if no target-language label had a say in the training or in the choice of a recipe.
    """
    _locks.append(None)
    try:
        yield
    finally:
        _locks.pop()


def refuse_locked(task: Task, split: str, language: str) -> None:
    """Raises RuntimeError where `english_only` holds and this is not English train or dev data: not a user's mistake but a program's."""
    if _locks and (split not in ("train", "dev") or languages.find(language).code != ENGLISH):
        raise RuntimeError(
            f"{task.name}: {split} data in {language!r} is locked: training and tuning may read English train and dev data only."
        )


def examples(task: Task, split: Split, language: str, data: Path | None = None) -> list[Example]:
    """The examples of one split in one language, in the order of the source; `language` in any code of the languages table.

    With `data`, the source's files below that folder are read, else its Hub data set, except where the source generates its
    examples. Ids are the source's own, or made from text and gold, so they do not depend on the order of rows; a repeated example
    gets "#2", "#3". Examples that share a text share a cluster, where the source names none. Raises UserError that names file and
    line for every row that is not as it must be.
    """
    refuse_locked(task, split, language)
    source = source_of(task, split)
    code = languages.find(language).code
    known = {*task.languages, ENGLISH} if split == "dev" else {ENGLISH} if split == "train" else set(task.languages)
    if code not in known:
        why = f" ({source.exclude})" if source.exclude else ""
        raise UserError(f"{task.name} has no {split} data in {code!r}{why}: choose from {', '.join(sorted(known))}.")
    if source.synonyms and split != "train":
        raise UserError(f"{task.name}: its {split} data names synonyms, but words are replaced in training data only.")
    found = _read(source, task, code, data)
    if not found:
        raise UserError(f"{task.name}: the {split} data in {code!r} is empty.")
    if len({example.id for example in found}) < len(found):
        raise UserError(f"{task.name}: two {split} examples in {code!r} have the same id.")
    return found


def candidates(task: Task, split: Split, language: str, data: Path | None = None) -> list[Example]:
    """What the queries of a split are compared with, in one language: each with the keys that it answers as its label.

    A task of pairs has no such source: there, each text's own translation is among the texts of all pairs.
    """
    refuse_locked(task, split, language)
    source = source_of(task, split).candidates
    if source is None:
        raise UserError(f"the {split} data of {task.name} has no candidates apart from its queries.")
    found = _read(source, task, languages.find(language).code, data)
    if len({example.id for example in found}) < len(found):
        raise UserError(f"{task.name}: two candidates in {language!r} have the same id.")
    return found


def answered(task: Task, queries: Mapping[str, Sequence[Example]], pools: Iterable[Sequence[Example]]) -> None:
    """Raises UserError where a query looks for a key that no candidate has, or (retrieval) for none. queries: by language."""
    known = {key for pool in pools for candidate in pool for key in candidate.label or ()}
    for language, asked in queries.items():
        for query in asked:
            lost = next((key for key in query.label or () if key not in known), None)
            if lost is not None or (task.kind == "retrieval" and not query.label):
                what = f"looks for {lost!r}, which no candidate is" if lost is not None else "looks for nothing"
                raise UserError(f"{task.name}: the query {query.id!r} in {language!r} {what}: get queries and candidates of one release.")


def read(task: Task, split: str, language: str, data: Path | None = None) -> list[Example]:
    """The examples of a split or, where it is called "test-candidates", what its queries are compared with."""
    named, is_pool = split_of(split)
    return (candidates if is_pool else examples)(task, named, language, data)


def split_of(name: str) -> tuple[Split, bool]:
    """What a stage calls the data that it reads -> the split, and whether it is what the split's queries are compared with.

    >>> split_of("test"), split_of("test-candidates")
    (('test', False), ('test', True))
    """
    named = name.removesuffix(CANDIDATES)
    return cast("Split", named), named != name


def source_of(task: Task, split: Split) -> Source:
    """The source of a split; raises UserError where the task has none."""
    source: Source | None = getattr(task, split)
    if source is None:
        others = ", then on ".join(repr(other.name) for other in task.trained_on)
        raise UserError(f"the task {task.name!r} has no {split} data{f' of its own: it is trained on {others}' if others else ''}.")
    return source


def labels(task: Task, data: Path | None = None) -> tuple[str, ...]:
    """The task's labels in the order of the head's outputs; where the literal lists none, the sorted labels of its training data.

    Other splits of such a task may have labels that training never saw: they stay as they are, and no prediction can be right there.
    Kinds that have no such head have no labels.
    """
    if task.labels or task.kind not in ("classification", "tagging"):
        return task.labels
    found: set[str] = set()
    for example in examples(task, "train", ENGLISH, data):
        found.update([example.label] if isinstance(example.label, str) else example.label or ())
    return tuple(sorted(found))


def identity(source: Source, language: str, data: Path | None = None) -> str:
    """What the examples of a source depend on, short: equal identities mean equal examples. Part of a stage's key.

    "hub:<data set>@<commit>:..." for the Hub; "sha256:..." of the bytes of the local files, or of the generated examples. How rows
    are read (columns, renamed labels, `limit`, ...) is part of it, and so are the sources in `more` and `without`; where the files
    lie is not, and neither are the candidates: they have an identity of their own.
    """
    code = languages.find(language).code
    if source.pairs:
        alone = dataclasses.replace(source, pairs=False, limit=None)
        return _digest([source.limit, *(identity(alone, side, data) for side in (*languages.members(code), ENGLISH))])
    others = [identity(further, code, data) for further in source.more]
    if source.without:
        others.append(f"without {identity(source.without, ENGLISH, data)}")
    if source.shuffled_labels:
        others.append(f"shuffled labels {shuffling.VERSION}")
    if source.languages:
        code, *rest = (languages.find(language).code for language in source.languages)
        others = [*(identity(in_one(source), language, data) for language in rest), *others]
    if source.synonyms:
        others.append(f"{source.copies} copies by {identity(source.synonyms, ENGLISH, data)}")
    if source.deranged:
        others.append("deranged")
    if source.generate:
        made = list(source.generate(code))
        whole = [(e.id, e.texts, e.label, e.cluster, e.starts) for e in (made if others else subset(made, source.limit))]
        return _digest([whole, source.limit, *others] if others else whole)
    how = [source.columns, source.values, source.gaps, source.only, source.id, source.cluster, source.parallel, source.limit]
    facts = [READER_VERSION, *how, others]
    if data is None:
        begins = [filled(part, code, source.codes) for part in source.begins or ()]
        configuration, split = filled(source.subset, code, source.codes), filled(source.split, code, source.codes)
        return f"hub:{source.dataset}@{revision_of(source)}:{configuration}:{split}:{_digest([*facts, begins])[7:15]}"
    own = paths_of(source, code, data)
    english = paths_of(source, ENGLISH, data) if source.parallel else []
    hashes = [hashlib.sha256(path.read_bytes()).hexdigest() for path in [*own, *english]]
    own_way = code if source.reader in ("conllu", "squad_candidates", "mewslix_mentions") else ""  # what they read depends on it
    return _digest([*facts, own_way, source.reader, source.header, source.separator, hashes])


def origins(source: Source, data: Path | None = None) -> frozenset[str]:
    """The English files or Hub tables that a source and those in its `more` are read from, however they are read.

    Two trainings that share one share data, though one may learn to answer questions and the other to find sentences.
    """
    shared = frozenset[str]().union(*(origins(further, data) for further in source.more))
    if source.languages and ENGLISH not in source.languages:
        return shared | ({f"origin {source.origin}"} if source.origin else set())
    if source.origin:
        shared |= {f"origin {source.origin}"}
    if source.generate:
        return shared | {identity(source, ENGLISH, data)}
    if data is None:
        configuration, split = filled(source.subset, ENGLISH, source.codes), filled(source.split, ENGLISH, source.codes)
        return shared | {f"{source.dataset}@{revision_of(source)}:{configuration}:{split.partition('[')[0]}"}
    return shared | {hashlib.sha256(path.read_bytes()).hexdigest() for path in paths_of(source, ENGLISH, data)}


_encode = json.JSONEncoder(ensure_ascii=False).encode


def _digest(value: object) -> str:
    return f"sha256:{hashlib.sha256(_encode(value).encode()).hexdigest()}"


def subset(found: list[Example], limit: int | None) -> list[Example]:
    """The `limit` examples with the smallest hash of their id, in their order: the same for every seed and in parallel sets."""
    if limit is None or limit >= len(found):
        return found
    kept = {example.id for example in sorted(found, key=lambda example: hashlib.sha256(example.id.encode()).digest())[:limit]}
    return [example for example in found if example.id in kept]


# --- a source, with those that it names


def _read(source: Source, task: Task, code: str, data: Path | None) -> list[Example]:
    """The source's own examples, then those of `more`; of all these without what `without` holds, as many as `limit` says."""
    if source.languages:
        refuse_labelled(source, task)
        found: list[Example] = []
        for language in source.languages:
            found = _joined(found, _read(in_one(source), task, languages.find(language).code, data))
    elif source.pairs:
        alone = dataclasses.replace(source, pairs=False, limit=None)
        sides = [_read(alone, task, side, data) for side in (*languages.members(code), ENGLISH)]
        found = pairs.joined(sides[0], sides[1], sides[2], f"{task.name} in {code!r}")
    elif source.generate:
        found = list(source.generate(code))
    elif source.parallel and code != ENGLISH:
        found = _parallel(task, source, code, data)
    else:
        found = identified(_rows(task, source, code, data), task.kind, *_place(source, code, data))
    for further in source.more:
        found = _joined(found, _read(further, task, code, data))
    if source.without:
        seen = _first_texts(source.without, task.kind, data)
        found = [example for example in found if _first(example, task.kind) not in seen]
    if source.shuffled_labels:
        found = shuffling.shuffled(found, task)
    found = subset(found, source.limit)
    if source.deranged:
        found = shuffling.deranged(found)
    if source.synonyms:
        table = substitute.table_of(_synonyms(source.synonyms, data))
        return list(substitute.copies(found, table, source.copies, task.kind, task.name))
    return found


def _synonyms(source: Source, data: Path | None) -> list[tuple[str, ...]]:
    """The rows of a table of synonyms: a word, then its synonyms."""
    rows: Sequence[Example | Row] = source.generate(ENGLISH) if source.generate else rows_of(source, "mlm", ENGLISH, data)
    return [row.texts for row in rows]


def in_one(source: Source) -> Source:
    """What is read in each of a source's `languages`, without what holds of all of them together."""
    return dataclasses.replace(
        source, languages=(), more=(), without=None, limit=None, shuffled_labels=False, synonyms=None, deranged=False
    )


def refuse_labelled(source: Source, task: Task) -> None:
    """Raises UserError where a source would read labelled data in other languages than English that is no translation of English data."""
    foreign = [language for language in source.languages if languages.find(language).code != ENGLISH]
    if foreign and task.kind != "mlm" and not source.translated:
        raise UserError(
            f"{task.name}: its source reads labelled data in {foreign[0]!r}; only text for masked words and machine translations of "
            f"English training data (`translated=True`) may be read in other languages than English."
        )


def _place(source: Source, code: str, data: Path | None) -> tuple[str, OnError]:
    """How messages name the source, and who raises them."""
    if data is None:
        return place_of(source, code), refuse_row
    return str(paths_of(source, code, data)[0]), refuse


def _rows(task: Task, source: Source, code: str, data: Path | None) -> list[Row]:
    rows = rows_of(source, task.kind, code, data)
    return list(checked(rows, task, source, *_place(source, code, data)))


def _joined(found: list[Example], further: list[Example]) -> list[Example]:
    """Both, one after the other; an id that is taken gets the next free number."""
    taken = {example.id for example in found}
    joined = list(found)
    for example in further:
        name, number = example.id, 2
        if name in taken:
            base = re.sub(r"#\d+$", "", name)
            while name in taken:
                name, number = f"{base}#{number}", number + 1
            example = dataclasses.replace(example, id=name)  # noqa: PLW2901  the same example under a free name
        taken.add(name)
        joined.append(example)
    return joined


def _first(example: Example | Row, kind: Kind) -> str:
    """What two examples must share to be the same to `without`: the first text, or the sentence that is tagged."""
    return " ".join(example.texts) if kind == "tagging" else example.texts[0]


def _first_texts(source: Source, kind: Kind, data: Path | None) -> set[str]:
    rows: Iterable[Example | Row] = source.generate(ENGLISH) if source.generate else only(rows_of(source, kind, ENGLISH, data), source)
    return {_first(row, kind) for row in rows}.union(*(_first_texts(further, kind, data) for further in source.more))


def _parallel(task: Task, source: Source, code: str, data: Path | None) -> list[Example]:
    """The examples have the ids and clusters of the English ones: of the same id where the source names ids, else of the same row."""
    where, on_error = _place(source, code, data)
    english = identified(_rows(task, source, ENGLISH, data), task.kind, *_place(source, ENGLISH, data))
    rows = _rows(task, source, code, data)
    if all(row.id for row in rows):
        partners = {example.id: example for example in english}
        own = identified(rows, task.kind, where, on_error)
        for row, example in zip(rows, own, strict=True):
            if example.id not in partners:
                on_error(where, row.line, f"the id {example.id!r} is not in the English data that it must be parallel to.")
        if missing := partners.keys() - {example.id for example in own}:
            on_error(where, None, f"there is no {min(missing)!r}, which the English data has that it must be parallel to.")
        pairs = [(row, partners[example.id]) for row, example in zip(rows, own, strict=True)]
    else:
        if len(rows) != len(english):
            what = f"this is the last row, but the English data that it must be parallel to has {len(english)} rows"
            on_error(where, rows[-1].line, f"{what}: get both from the same release.")
        pairs = list(zip(rows, english, strict=True))
    for row, other in pairs:
        if disagree(row.label, other.label):
            what = f"the label is {row.label!r}, but {other.label!r} in the English row that it must be parallel to"
            on_error(where, row.line, f"{what}: get both from the same release.")
    return [Example(other.id, row.texts, row.label, other.cluster, row.starts) for row, other in pairs]


def disagree(own: str | tuple[str, ...] | None, english: str | tuple[str, ...] | None) -> bool:
    """Whether labels of parallel examples contradict each other: answers and tags are words' own, but whether there is one is not."""
    return bool(own) != bool(english) if isinstance(own, tuple) and isinstance(english, tuple) else own != english


# --- rows -> examples; also called by the check of whole folders, which goes on where these report something


def only(rows: Iterable[Row], source: Source) -> Iterator[Row]:
    """The rows with the labels that the source is restricted to, without their labels; all rows where it is not."""
    for row in rows:
        if not source.only:
            yield row
        elif row.label in source.only:
            yield Row(row.line, row.texts, None, row.id, row.cluster, row.starts, row.lines)


def checked(rows: Iterable[Row], task: Task, source: Source, where: str, on_error: OnError) -> Iterator[Row]:
    """Labels renamed to the task's (to "": the row is left out), and known; texts not empty.

    A word of white space is a word: East Asian data has such.
    """
    names, known = dict(source.values), set(task.labels)
    width = 1 + len(task.labels) if task.kind == "choice" else 0
    tagged = task.kind == "tagging"
    good = known.difference(names)  # labels that need no further look
    for row in only(rows, source):
        if not row.texts or not all(row.texts if tagged else map(str.strip, row.texts)):
            if not source.gaps:
                on_error(where, row.line, "a text is empty.")
            continue
        if width and len(row.texts) != width:
            on_error(where, row.line, f"{len(row.texts)} texts instead of a beginning and {width - 1} continuations, one per label.")
            continue
        if not tagged and not isinstance(row.label, str):  # keys and answers are no labels of the task
            yield row
            continue
        found = row.label if isinstance(row.label, tuple) else (row.label or "",)
        if not good.issuperset(found):
            if not tagged and names.get(found[0]) == "" != found[0]:
                continue
            found = tuple(names.get(label, label) for label in found)
            wrong = [
                (place, _unknown(label, known, task)) for place, label in enumerate(found) if not label or (known and label not in known)
            ]
            for place, what in wrong:
                on_error(where, row.lines[place] if row.lines else row.line, what)
            if wrong:
                continue
        yield Row(row.line, row.texts, found if tagged else found[0], row.id, row.cluster, row.starts, row.lines)


def _unknown(label: str, known: Collection[str], task: Task) -> str:
    return f"{task.name} has no label {label!r}; {nearest(label, known)}" if label else "the label is empty."


def identified(rows: Iterable[Row], kind: Kind, where: str, on_error: OnError) -> list[Example]:
    """Rows as examples with ids and clusters. An id of the source's that names different examples is reported."""
    rows = list(rows)
    if kind == "span":
        rows = _by_context(rows)
    clusters = _clusters([() if row.cluster else linking(row, kind) for row in rows])
    first: dict[str, Row] = {}
    times: Counter[str] = Counter()
    found = []
    for row, cluster in zip(rows, clusters, strict=True):
        name = row.id or digest16(_encode([row.texts, row.label]))
        other = first.setdefault(name, row)
        if row.id and (other.texts, other.label) != (row.texts, row.label):
            on_error(where, row.line, f"the id {name!r} names another example, too: that of {other.line}.")
        times[name] += 1
        unique = f"{name}#{times[name]}" if times[name] > 1 else name
        found.append(Example(unique, row.texts, row.label, row.cluster or cluster, row.starts))
    return found


def _by_context(rows: Sequence[Row]) -> list[Row]:
    """Rows of a table of questions with the clusters that SQuAD's own files give: the smallest id of a question about the context."""
    ids: dict[str, str] = {}
    for row in rows:
        if row.id:
            ids[row.texts[1]] = min(ids.get(row.texts[1], row.id), row.id)
    return [row if row.cluster else dataclasses.replace(row, cluster=ids.get(row.texts[1], "")) for row in rows]


def linking(row: Row | Example, kind: Kind) -> tuple[str, ...]:
    """The texts that make examples dependent where they share one: a sentence, what all choices begin with, a question and its context."""
    if kind == "tagging":
        return (" ".join(row.texts),)
    return row.texts[:1] if kind == "choice" else row.texts


def _clusters(texts: Sequence[tuple[str, ...]]) -> list[str | None]:
    """For each example the hash of a text that links it to others, else None. Sharing any text links, directly or over others."""
    times = Counter(text for group in texts for text in set(group))
    parent: dict[str, str] = {}

    def root(text: str) -> str:
        while parent.setdefault(text, text) != text:
            parent[text] = text = parent[parent[text]]
        return text

    for group in texts:
        for other in group[1:]:
            parent[root(other)] = root(group[0])
    shared = {root(text) for text, count in times.items() if count > 1}
    return [digest16(root(group[0])) if group and root(group[0]) in shared else None for group in texts]
