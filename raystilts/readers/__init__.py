"""Files in their original formats, and data sets of the Hub, as rows of texts and labels.

Nothing is guessed: a row that does not have the form that its source says is reported with file, line and what is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from raystilts.readers import conll, mewslix, squad, synonyms, tables
from raystilts.readers.files import filled, paths_of
from raystilts.readers.hub import hub_rows, place_of, revision_of
from raystilts.readers.rows import OnError, Reading, Row, digest16, refuse, refuse_row
from raystilts.task import Kind, Source

__all__ = [
    "READERS", "OnError", "Reading", "Row", "digest16", "filled", "paths_of", "place_of", "refuse", "refuse_row", "revision_of",
    "rows_of",
]  # fmt: skip

READERS: Mapping[str, Callable[[Reading], Iterator[Row]]] = {
    "tsv": tables.tsv,
    "csv": tables.csv_,
    "jsonl": tables.jsonl,
    "aligned": tables.aligned,
    "text": tables.text,
    "bucc": tables.bucc,
    "conll": conll.conll,
    "conllu": conll.conllu,
    "squad": squad.squad,
    "squad_sentences": squad.squad_sentences,
    "squad_questions": squad.squad_questions,
    "squad_candidates": squad.squad_candidates,
    "mewslix_mentions": mewslix.mewslix_mentions,
    "mewslix_entities": mewslix.mewslix_entities,
    "mewslix_pairs": mewslix.mewslix_pairs,
    "synonyms": synonyms.synonyms,
    "neighbours": synonyms.neighbours,
}


def rows_of(source: Source, kind: Kind, code: str, data: Path | None) -> list[Row]:
    """The rows of a source in the language `code`: of its files below `data`, or of its Hub data set where `data` is None.

    Raises UserError at the first malformed row, and where there is none at all.
    """
    if data is None:
        return list(hub_rows(source, kind, code))
    paths = paths_of(source, code, data)
    rows = list(READERS[source.reader](Reading(paths, source, kind, code)))
    if not rows:
        refuse(str(paths[0]), None, f"it has no examples in {code!r}: put the original file there.")
    return rows
