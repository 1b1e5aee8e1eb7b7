"""Tables of synonyms: the JSON of counter-fitted neighbours, and words between tabs.

A row of either is a word, then its synonyms. Words are single words without white space, and are looked up without regard to case.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from raystilts.readers.rows import Reading, Row, lines, text_of


def synonyms(reading: Reading) -> Iterator[Row]:
    """TSV: a word, a tab, and its synonyms with tabs between them."""
    return _checked(((line, *text.split("\t")) for line, text in lines(reading.path, reading.on_error)), reading)


def neighbours(reading: Reading) -> Iterator[Row]:
    """One JSON object: word -> list of words, or of [word, similarity], as the neighbours of counter-fitted vectors are published
    (Mrkšić et al. 2016; Jia et al. 2019). A word with an empty list has none.
    """
    where, on_error = str(reading.path), reading.on_error
    text = text_of(reading.path, on_error)
    try:
        table = json.loads(text, object_pairs_hook=lambda pairs: pairs)
    except json.JSONDecodeError as error:
        on_error(where, error.lineno, f"this is not JSON ({error.msg} at column {error.colno}).")
        return
    if not text.lstrip().startswith("{"):
        on_error(where, 1, "this is not a JSON object of word -> synonyms.")
        return
    found = []
    for (word, others), line in zip(table, _lines(text, [word for word, _ in table]), strict=True):
        names = [_word(entry) for entry in others] if isinstance(others, list) else [None]
        if None in names:
            on_error(where, line, f"the synonyms of {word!r} are neither a list of words nor of [word, similarity].")
        else:
            found.append((line, word, *names))
    yield from _checked(iter(found), reading)


def _word(entry: Any) -> str | None:
    if isinstance(entry, str):
        return entry
    if isinstance(entry, list) and len(entry) == 2 and isinstance(entry[0], str) and isinstance(entry[1], int | float):
        return entry[0]
    return None


def _lines(text: str, words: Sequence[str]) -> Iterator[int]:
    """The line of each word of an object, in its order: where its key stands, after that of the word before."""
    at, line = 0, 1
    keys = re.compile(r'"(?:[^"\\]|\\.)*"\s*:')
    for word in words:
        while match := keys.search(text, at):
            line += text.count("\n", at, match.end())
            at = match.end()
            if json.loads(match[0].rstrip(": \t\r\n")) == word:
                break
        yield line


def _checked(rows: Iterator[tuple[Any, ...]], reading: Reading) -> Iterator[Row]:
    """Rows whose words are words, each named once; what is not is reported."""
    first: dict[str, int] = {}
    for line, *words in rows:
        wrong = next((word for word in words if not word or re.search(r"\s", word)), None)
        if wrong is not None:
            what = f"{wrong!r} is no single word" if wrong else "a word is empty"
            reading.on_error(str(reading.path), line, f"{what}: a row is a word and its synonyms, without spaces in them.")
        elif (key := words[0].lower()) in first:
            reading.on_error(str(reading.path), line, f"{words[0]!r} stands in line {first[key]}, too: give all its synonyms in one row.")
        else:
            first[key] = line
            yield Row(line, tuple(words))
