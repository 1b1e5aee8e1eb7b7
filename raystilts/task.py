"""What a task is: all its facts in one frozen value."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

Kind = Literal["classification", "choice", "tagging", "span", "retrieval", "mining", "ranking", "mlm", "mixture"]
"""What is learned and predicted.

classification: the label of a text or a pair. choice: which of several continuations is right. tagging: a tag for every word.
span: where in a context the answer to a question stands. retrieval: the nearest candidate. mining: which sentences of two texts are
translations, with a threshold. ranking: the training twin of retrieval (in-batch negatives). mlm: words that are masked.
mixture: the training of several tasks, batch by batch. Retrieval and mining are evaluated only; ranking, mlm and mixture train only.
"""

ENGLISH = "en"


@dataclass(frozen=True, slots=True)
class Example:
    """One example of any kind.

    - id: stable and unique within (task, split, language); equal across languages where the test sets are parallel.
    - texts: classification: one text, or a pair; choice: what all begin with, then the continuations, one per label of the task;
      tagging: the words; span: (question, context); ranking and retrieval of pairs: (what is asked for, what is to be found);
      retrieval and mining with candidates: (the query's or the candidate's text,); mlm: (text,).
    - label: classification and choice: the label's name; tagging: one tag a word; span: the texts of the answers, () where the context
      holds none; a query: the keys that it looks for; a candidate: the keys that it answers; None for pairs and mlm.
    - starts: span: where in the context each answer begins, in characters.
    - cluster: what makes examples dependent (document, passage, repeated text); None where an example stands for itself.
    """

    id: str
    texts: tuple[str, ...]
    label: str | tuple[str, ...] | None = None
    cluster: str | None = None
    starts: tuple[int, ...] = ()


Reader = Literal[
    "tsv", "csv", "conll", "conllu", "jsonl", "aligned", "text", "squad", "squad_sentences", "squad_questions", "squad_candidates",
    "bucc", "mewslix_mentions", "mewslix_entities", "mewslix_pairs", "synonyms", "neighbours",
]  # fmt: skip


@dataclass(frozen=True)
class Source:
    """Where the examples of one split come from: a pinned Hub data set, or the same in its original format below `--data`.

    `{language}` in `subset`, `split` and `files` is replaced by the canonical code, the name of any other column of the languages
    table by that column (`{iso3}`, `{flores}`, `{name}`), and `{code}` by what `codes` says. `generate` makes the examples of a
    language from an installed package instead of reading any.

    A column is the name of one, or a template over them: "{premise} What was the {question}?", "{question[choices][0][text]}".
    """

    dataset: str = ""  # Hub id, such as facebook/xnli
    revision: str = ""  # commit of the data set: part of a stage's identity
    subset: str = ""  # Hub configuration
    split: str = ""
    columns: tuple[str, ...] = ()  # of the Hub's table and of JSON lines: the texts, then the label (tagging: words, tags)
    files: tuple[str, ...] = ()  # below --data; several only where the reader wants several (aligned, bucc)
    reader: Reader = "tsv"
    header: tuple[str, ...] = ()  # local files that name their columns: which to read, where other than `columns` (tsv: else texts, label)
    separator: str = "\t"  # conll: what stands between a word and its tag
    values: tuple[tuple[str, str], ...] = ()  # spelling of a label in the source -> its name in the task; "": the row is left out
    begins: tuple[str, str] | None = None  # (column, pattern): keep the Hub's rows in which that column begins so, in any case
    codes: tuple[tuple[str, str], ...] = ()  # canonical code -> what `{code}` is replaced by, where other than the code itself
    gaps: bool = False  # the published data has rows without a column or a text, which everybody leaves out (QQP)
    origin: str = ""  # what these examples are a version or a part of, where other sources hold the same (SQuAD 1.1, SQuAD 2.0)
    only: tuple[str, ...] = ()  # keep the rows with these labels (as the source spells them) and forget the labels
    id: str = ""  # a column that names the example; else its id is made from its texts and label
    cluster: str = ""  # a column that names what makes examples dependent; else a shared text does
    parallel: bool = False  # row i is the same example in every language: its id is made from the English row
    limit: int | None = None  # keep that many examples, the ones with the smallest hash of their id
    languages: tuple[str, ...] = ()  # training: read in these instead of English; only text without labels (mlm), or `translated`
    translated: bool = False  # what `languages` names are machine translations of English training data, with its labels
    shuffled_labels: bool = False  # a control: labels are permuted among the examples (see raystilts.shuffling)
    more: tuple[Source, ...] = ()  # further sources whose examples follow
    deranged: bool = False  # pairs: each first text stands beside another pair's second one, drawn at random: a control
    without: Source | None = None  # leave out the examples whose first text occurs as a first text there, in English
    candidates: Source | None = None  # retrieval and mining: what is searched; over all languages where `{language}` occurs in it
    exclude: str = ""  # why some languages are missing, or what a user must put where (licensed data)
    synonyms: Source | None = None  # train: the examples are replaced by copies in which words are drawn from this table (substitute.py)
    copies: int = 1  # how many, where there are synonyms; they multiply an epoch: compare at equal num_steps
    pairs: bool = False  # the languages are pairs such as de--en: the first text in the one, the others in the other (pairs.py)
    generate: Callable[[str], Sequence[Example]] | None = None


@dataclass(frozen=True)
class Task:
    """A task as a literal. An intermediate task needs `train` (a mixture: `parts`), a target task `test`."""

    name: str
    kind: Kind
    metric: str  # a name in raystilts.metrics: what is selected on and reported; "" where nothing is predicted
    also: tuple[str, ...] = ()  # metrics that are computed beside it
    languages: tuple[str, ...] = (ENGLISH,)  # zero-shot test languages, canonical codes
    labels: tuple[str, ...] = ()
    train: Source | None = None  # English
    trained_on: tuple[Task, ...] = ()  # the tasks whose training this one uses, one after the other (XNLI: MNLI; XCOPA: SIQA, COPA)
    dev: Source | None = None  # selection happens on its English part only; mining: each language's, for the threshold
    test: Source | None = None
    layer: float | None = 1.0  # retrieval, mining: relative depth of the layer that is read (1.0 = last); None: the best on English dev
    parts: tuple[Task, ...] = ()  # mixture: the tasks
    temperature: float = 1.0  # mixture: a part of n examples is drawn with probability ~ min(n, cap)^(1 / temperature)
    cap: int | None = None
    weights: tuple[float | None, ...] = ()  # mixture: given instead, by part; None: by size, of what those with a number leave of 1
    citation: str = ""
    licence: str = ""

    @property
    def headless(self) -> bool:
        """Whether the encoder's own vectors are searched, without a head: retrieval and mining. Languages then share what is searched."""
        return self.kind in ("retrieval", "mining")


def cut(task: Task, limit: int) -> Task:
    """The task with at most `limit` dev and test examples per language: the ones with the smallest hash of their id."""
    return replace(task, dev=task.dev and replace(task.dev, limit=limit), test=task.test and replace(task.test, limit=limit))
