"""What a task is: all its facts in one frozen value."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal["classification", "tagging", "retrieval", "ranking"]
"""retrieval is evaluated without training (nearest neighbour); ranking is its training twin (in-batch translation ranking)."""

ENGLISH = "en"


@dataclass(frozen=True, slots=True)
class Example:
    """One example of any kind.

    id: stable and unique within (task, split, language); equal across languages where the test sets are parallel.
    texts: classification: one text, or a pair; tagging: the words; retrieval and ranking: (the language's text, its English one).
    label: classification: the label's name; tagging: one tag a word; retrieval and ranking: None, the pair itself is the gold.
    cluster: what makes examples dependent (document, passage, repeated text); None where an example stands for itself.
    """

    id: str
    texts: tuple[str, ...]
    label: str | tuple[str, ...] | None = None
    cluster: str | None = None


@dataclass(frozen=True)
class Source:
    """Where the examples of one split come from: a pinned Hub data set, or the same in its original format below `--data`.

    `{language}` in `subset`, `split` and `files` is replaced by the canonical code, and the name of any other column of the
    languages table by that column: `{iso3}`, `{flores}`, `{name}`. `generate` makes the examples of a language from an installed
    package instead of reading any.
    """

    dataset: str = ""  # Hub id, such as facebook/xnli
    revision: str = ""  # commit of the data set: part of a stage's identity
    subset: str = ""  # Hub configuration
    split: str = ""
    columns: tuple[str, ...] = ()  # of the Hub's table and of JSON lines: the texts, then the label (tagging: words, tags)
    files: tuple[str, ...] = ()  # below --data; several only for the reader "aligned": (the language's file, the English one)
    reader: Literal["tsv", "conll", "aligned", "jsonl"] = "tsv"
    header: tuple[str, ...] = ()  # tsv: the columns to read, where the first row names them (else exactly: texts, label)
    separator: str = "\t"  # conll: what stands between a word and its tag
    values: tuple[tuple[str, str], ...] = ()  # spelling of a label in the source -> its name in the task, where they differ
    parallel: bool = False  # row i is the same example in every language: its id is made from the English row
    limit: int | None = None  # keep that many examples, the ones with the smallest hash of their id
    exclude: str = ""  # why some languages are missing, or what a user must put where (licensed data)
    generate: Callable[[str], Sequence[Example]] | None = None


@dataclass(frozen=True)
class Task:
    """A task as a literal. An intermediate task needs `train`; a target task `test` and either `train` or `trained_on`."""

    name: str
    kind: Kind
    metric: str  # a name in raystilts.metrics
    languages: tuple[str, ...] = (ENGLISH,)  # zero-shot test languages, canonical codes
    labels: tuple[str, ...] = ()
    train: Source | None = None  # English
    trained_on: str = ""  # the task whose training data this one uses (XNLI: mnli)
    dev: Source | None = None  # selection happens on its English part only
    test: Source | None = None
    layer: float = 1.0  # retrieval: relative depth of the layer whose states are pooled (1.0 = last)
    citation: str = ""
    licence: str = ""
