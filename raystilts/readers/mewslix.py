"""Readers of Mewsli-X: mentions in news, entities with descriptions, and pairs of both from Wikipedia, as JSON lines.

The texts are the ones of the baseline that XTREME-R runs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

from raystilts.errors import UserError, nearest
from raystilts.readers.rows import Reading, Row
from raystilts.readers.tables import objects


def mewslix_mentions(reading: Reading) -> Iterator[Row]:
    """Queries: the mentions of the records whose context is in the asked language, each looking for its entity."""
    where = str(reading.path)
    for line, record in objects(reading.path, reading.on_error):
        try:
            context = _get(record, "context", dict)
            if _get(context, "language", str) != reading.code:
                continue
            mentions = [record["mention"]] if "mention" in record else _get(record, "mentions", list)
        except UserError as error:
            reading.on_error(where, line, str(error))
            continue
        for mention in mentions:
            try:
                entity = _get(mention, "entity_id", str)
                if not entity:
                    raise UserError("the 'entity_id' is empty: hidden labels cannot be scored; put the file with the labels there.")
                cluster = _get(context, "document_id", str)
                yield Row(line, (mention_text(context, mention),), (entity,), _get(mention, "example_id", str), cluster)
            except UserError as error:
                reading.on_error(where, line, str(error))


def mewslix_entities(reading: Reading) -> Iterator[Row]:
    """Candidates: the sentences of an entity's description, which answer its id."""
    for line, record in objects(reading.path, reading.on_error):
        try:
            name = _get(record, "entity_id", str)
            yield Row(line, (entity_text(record),), (name,), name)
        except UserError as error:
            reading.on_error(str(reading.path), line, str(error))


def mewslix_pairs(reading: Reading) -> Iterator[Row]:
    """Ranking: (a mention in its sentence, the description of its entity)."""
    for line, record in objects(reading.path, reading.on_error):
        try:
            both = _get(record, "contextual_mention", dict)
            mention = mention_text(_get(both, "context", dict), _get(both, "mention", dict))
            yield Row(line, (mention, entity_text(_get(record, "entity", dict))))
        except UserError as error:
            reading.on_error(str(reading.path), line, str(error))


def mention_text(context: Mapping[str, Any], mention: Mapping[str, Any]) -> str:
    """The sentence that holds a mention, as `Smith: The verdict came back for { Smith }, who stepped down`.

    The mention stands first, so that no cut at a maximal length takes it away; braces of the text itself become parentheses.
    """
    text, span = _get(context, "text", str), _get(mention, "mention_span", dict)
    start, end, found = _get(span, "start", int), _get(span, "end", int), _get(span, "text", str)
    if not found or text[start:end] != found:
        raise UserError(f"the mention {found[:40]!r} does not stand at characters {start} to {end} of its context.")
    for first, last in _spans(context, text):
        if first <= start and end <= last:
            left, right = (_parentheses(part) for part in (text[first:start], text[end:last]))
            return _spaced(f"{found}: {left} {{ {found} }} {right}")
    raise UserError(f"the mention {found[:40]!r} stands in no sentence of its context.")


def _parentheses(text: str) -> str:
    """Behind a line's last closing brace nothing is looked for: of many open ones, each would be followed to the end."""
    found = [line.rpartition("}") for line in text.split("\n")]
    return "\n".join(re.sub(r"\{(.*?)\}", r"(\1)", before + brace) + rest for before, brace, rest in found)


def entity_text(entity: Mapping[str, Any]) -> str:
    """The sentences of an entity's description."""
    description = _get(entity, "description", str)
    return _spaced(" ".join(description[first:last] for first, last in _spans(entity, description)))


def _spaced(text: str) -> str:
    """Line ends become blanks, and doubled blanks single ones, once: as the baseline writes its texts."""
    return " ".join(text.splitlines()).replace("  ", " ").strip()


def _spans(record: Mapping[str, Any], text: str) -> Sequence[tuple[int, int]]:
    found = [(_get(span, "start", int), _get(span, "end", int)) for span in _get(record, "sentence_spans", list)]
    for start, end in found:
        if not 0 <= start < end <= len(text):
            raise UserError(f"the sentence from {start} to {end} lies outside of the text of {len(text)} characters.")
    return found


T = TypeVar("T")


def _get(record: Any, name: str, kind: type[T]) -> T:
    """A value of a JSON object that must have this type."""
    if not isinstance(record, Mapping):
        raise UserError(f"an object with {name!r} is wanted, not {type(record).__name__}.")
    if name not in record:
        raise UserError(f"the key {name!r} is missing; {nearest(name, record)}")
    value = record[name]
    if not isinstance(value, kind):
        raise UserError(f"{name!r} must be {'an object' if kind is dict else 'a list' if kind is list else f'of type {kind.__name__}'}.")
    return value
