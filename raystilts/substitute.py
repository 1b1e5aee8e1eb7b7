"""Data augmentation by synonyms (RS-DA, Huang et al. 2021, arXiv 2104.08645; Ye et al. 2020, arXiv 2005.14424).

Every word that the table knows is replaced by a uniform draw from {itself} and its synonyms, in all texts of an example. The copies take
the place of the data: the original text is one of them only by chance. What is drawn is a function of the example's id and the copy's
number alone, so neither order nor other examples matter. Copies multiply an epoch (the paper: 10 copies of PAWS-X, 3 of XNLI): compare
with other training at equal optimiser steps, `Recipe(num_steps=...)`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from raystilts.errors import UserError
from raystilts.task import Example, Kind

WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
"""A word: letters and digits, with apostrophes inside. What stands around it, such as the comma of "Good,", is kept."""

Table = Mapping[str, tuple[str, ...]]
"""Word in lower case -> what it may become: itself, then its synonyms, each once."""


def table_of(rows: Iterable[tuple[str, ...]]) -> Table:
    """A table from rows of a word and its synonyms; words without any are left out."""
    table = {}
    for first, *others in rows:
        choices = tuple(dict.fromkeys((first.lower(), *(other.lower() for other in others))))
        if len(choices) > 1:
            table[choices[0]] = choices
    return table


def copies(examples: Sequence[Example], table: Table, num_copies: int, kind: Kind, name: str) -> Iterator[Example]:
    """Each example `num_copies` times, with words drawn from the table; copies share the example's cluster, and have ids "id~1" and so on.

    Raises UserError for span tasks, whose answers would no longer stand where they stood, and for fewer than one copy. name: of what is
    read, for the message.
    """
    if kind == "span":
        raise UserError(f"{name}: words of a span task cannot be replaced, as its answers stand at given places of the context.")
    if num_copies < 1:
        raise UserError(f"{name}: copies is {num_copies}; give at least 1.")
    for example in examples:
        for number in range(1, num_copies + 1):
            texts = tuple(_drawn(example.texts, table, f"{example.id}~{number}"))
            yield dataclasses.replace(example, id=f"{example.id}~{number}", texts=texts, cluster=example.cluster or example.id)


def _drawn(texts: Sequence[str], table: Table, key: str) -> Iterator[str]:
    """The texts with their words drawn; the n-th word that has synonyms reads the n-th number of a stream that the key names."""
    found = [[(match, table[match[0].lower()]) for match in WORD.finditer(text) if match[0].lower() in table] for text in texts]
    stream = hashlib.shake_128(key.encode()).digest(8 * sum(map(len, found)))
    at = 0
    for text, words in zip(texts, found, strict=True):
        made, end = [], 0
        for match, choices in words:
            number = int.from_bytes(stream[at : at + 8], "big") % len(choices)
            made += [text[end : match.start()], _cased(choices[number], match[0]) if number else match[0]]
            end, at = match.end(), at + 8
        yield "".join([*made, text[end:]])


def _cased(word: str, like: str) -> str:
    """The word in the case of another one: GOOD, Good, or as the table has it."""
    if like.isupper() and len(like) > 1:
        return word.upper()
    return word[:1].upper() + word[1:] if like[:1].isupper() else word
