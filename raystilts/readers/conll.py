"""Readers of tagged sentences: a word and its tag a line, and CoNLL-U as XTREME reads it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from raystilts.readers.rows import Reading, Row, lines

_PREFIX = re.compile(r"[a-z]{2,3}(?:-[a-z]+)*:")


def conll(reading: Reading) -> Iterator[Row]:
    """Word, separator, tag; an empty line between sentences. WikiANN's "xx:" is dropped where all words of the file begin with it."""
    where, separator = str(reading.path), reading.source.separator
    sentences: list[tuple[list[int], list[str], list[str]]] = []
    fresh = True
    for line, text in lines(reading.path, reading.on_error):
        if not text:
            fresh = True
            continue
        cells = text.split(separator)
        if len(cells) != 2:
            wanted = {"\t": "a tab", " ": "a space"}.get(separator, repr(separator))
            reading.on_error(where, line, f"{len(cells)} columns instead of a word, {wanted} and its tag: {text[:40]!r}.")
            continue
        if fresh:
            sentences.append(([], [], []))
            fresh = False
        numbers, words, tags = sentences[-1]
        numbers.append(line)
        words.append(cells[0])
        tags.append(cells[1])
    match = _PREFIX.match(sentences[0][1][0]) if sentences else None
    prefix = match.group() if match and all(word.startswith(match.group()) for _, words, _ in sentences for word in words) else ""
    for numbers, words, tags in sentences:
        bare = [word.removeprefix(prefix) for word in words]
        for line, word in zip(numbers, bare, strict=True):
            if not word:
                reading.on_error(where, line, "the word is empty.")
        if all(bare):
            yield Row(numbers[0], tuple(bare), tuple(tags), lines=numbers)


@dataclass
class _Sentence:
    """Words of a CoNLL-U sentence as they are read; `broken` where a line of it was reported."""

    lines: list[int] = field(default_factory=list)
    forms: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    heads: list[set[int]] = field(default_factory=list)
    ranges: list[tuple[int, int, int, str]] = field(default_factory=list)  # line, first word, last word, form
    broken: bool = False


def conllu(reading: Reading) -> Iterator[Row]:
    """CoNLL-U: FORM and UPOS, as XTREME's preparation makes words of them, so that other readers' files of UD agree with these.

    A multiword token ("2-3 im", "2 in", "3 dem") is one word: its form, with the tag of its highest member; of several highest ones,
    of the one whose tag comes first in an order that depends on the language. "Highest" is the fewest ancestors, over the enhanced
    dependencies, too. Empty nodes ("5.1") and comments are dropped. Blanks and zero-width non-joiners within a form are removed.
    Sentences whose text is withheld ("_" in all words but one or fewer) are left out.
    """
    current = _Sentence()
    for line, text in [*lines(reading.path, reading.on_error), (0, "")]:
        if not text:
            yield from _finished(current, reading)
            current = _Sentence()
        elif not text.startswith("#"):
            what = _add(current, line, text)
            if what:
                current.broken = True
                reading.on_error(str(reading.path), line, what)


def _add(sentence: _Sentence, line: int, text: str) -> str:
    """Adds a line to the sentence; returns what is wrong with it, if anything."""
    cells = text.split("\t")
    if len(cells) != 10:
        return f"{len(cells)} columns between tabs instead of the 10 of CoNLL-U."
    name, form, tag, head, enhanced = cells[0], cells[1], cells[3], cells[6], cells[8]
    if re.fullmatch(r"\d+\.\d+", name):
        return ""
    if match := re.fullmatch(r"(\d{1,9})-(\d{1,9})", name):
        sentence.ranges.append((line, int(match[1]), int(match[2]), form))
        return ""
    if not sentence.broken and name != str(len(sentence.forms) + 1):
        return f"the word's id is {name!r} instead of {len(sentence.forms) + 1}."
    if not form.strip():
        return "the word is empty."
    sentence.lines.append(line)
    sentence.forms.append(form.strip())
    sentence.tags.append(tag.strip())
    above = [head, *(part.split(":")[0] for part in enhanced.split("|"))]
    sentence.heads.append({int(part) for part in above if part.isdecimal() and len(part) < 10})
    return ""


_ORDER = {
    "": "VERB NOUN PROPN PRON ADJ NUM ADV INTJ AUX ADP DET PART CCONJ SCONJ X PUNCT",
    "es": "VERB AUX PRON ADP DET",
    "fr": "VERB AUX PRON NOUN ADJ ADV ADP DET PART SCONJ CONJ",
    "it": "VERB AUX ADV PRON ADP DET INTJ",
}


def _finished(sentence: _Sentence, reading: Reading) -> Iterator[Row]:
    """The sentence as a row, where nothing in it is broken and it has words."""
    where, num = str(reading.path), len(sentence.forms)
    last = 0
    for line, first, final, form in sorted(sentence.ranges, key=lambda item: item[1]):
        if not last < first <= final <= num or not form.strip():
            sentence.broken = True
            reading.on_error(where, line, f"the multiword token {first}-{final} does not fit the sentence's {num} words.")
        last = final
    if sentence.broken or not num:
        return
    order = _ORDER.get(reading.code, _ORDER[""]).split()
    kept = dict(zip(range(1, num + 1), sentence.forms, strict=True))
    for _, first, final, form in sentence.ranges:
        highest = _highest(range(first, final + 1), sentence, order)
        for place in range(first, final + 1):
            del kept[place]
        kept[highest] = form.strip()
    withheld = sum(form == "_" for form in kept.values())
    if withheld and withheld >= len(kept) - 1:
        return
    words = {place: form.replace("\u200c", "").replace(" ", "") for place, form in sorted(kept.items())}
    empty = [sentence.lines[place - 1] for place, word in words.items() if not word]
    for line in empty:
        reading.on_error(where, line, "the word is empty.")
    if not empty:
        numbers = [sentence.lines[place - 1] for place in words]
        yield Row(numbers[0], tuple(words.values()), tuple(sentence.tags[place - 1] for place in words), lines=numbers)


def _highest(span: Sequence[int], sentence: _Sentence, order: Sequence[str]) -> int:
    """Of the words of a multiword token the one that lends it its tag."""

    def rank(word: int) -> tuple[int, int]:
        tag = sentence.tags[word - 1]
        return len(_ancestors(word, sentence.heads)), order.index(tag) if tag in order else len(order)

    return min(span, key=rank)


def _ancestors(word: int, heads: Sequence[set[int]]) -> set[int]:
    found: set[int] = set()
    left = [word]
    while left:
        current = left.pop()
        above = heads[current - 1] - found if 0 < current <= len(heads) else set()
        found |= above
        left += above
    return found - {word}
