"""Readers of SQuAD's JSON: SQuAD 1.1 and 2.0, XQuAD, MLQA, TyDiQA-GoldP, XQuAD-R; as spans, or as retrieval of sentences (LAReQA)."""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from raystilts.errors import UserError
from raystilts.readers.parsing import parsed
from raystilts.readers.rows import Reading, Row, check_answer, digest16, text_of


@dataclass(frozen=True, slots=True)
class Question:
    """A question that is well formed. id is "" where the file gives it to several questions; line: where the id stands."""

    line: int
    id: str
    text: str
    answers: tuple[str, ...]
    starts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A context and its questions. number: counts from 1 over the file. breaks: (start, end) of its sentences; None: not given."""

    number: int
    context: str
    questions: tuple[Question, ...]
    breaks: tuple[tuple[int, int], ...] | None


def squad(reading: Reading) -> Iterator[Row]:
    """Spans: (question, context), the answers and their starts; no answers where the question is impossible."""
    for paragraph, cluster in _clustered(_paragraphs(reading)):
        for question in paragraph.questions:
            yield Row(question.line, (question.text, paragraph.context), question.answers, question.id, cluster, starts=question.starts)


def squad_sentences(reading: Reading) -> Iterator[Row]:
    """Ranking: (question, the sentence with its first answer + the context); questions whose answer begins in no sentence are left out."""
    for paragraph, cluster in _clustered(_paragraphs(reading)):
        breaks = sentences(paragraph.context) if paragraph.breaks is None else paragraph.breaks
        for question in paragraph.questions:
            place = _sentence_of(question, breaks)
            if place is not None:
                yield Row(question.line, (question.text, _joined(paragraph, breaks[place])), None, question.id, cluster)


def squad_questions(reading: Reading) -> Iterator[Row]:
    """Queries that look for their own id; where sentences are given, questions whose answer begins in none of them are left out."""
    for paragraph, cluster in _clustered(_paragraphs(reading)):
        for question in paragraph.questions:
            if paragraph.breaks is None or _sentence_of(question, paragraph.breaks) is not None:
                if question.id:
                    yield Row(question.line, (question.text,), (question.id,), question.id, cluster)
                else:
                    reading.on_error(str(reading.path), question.line, "the question shares its id with another one.")


def squad_candidates(reading: Reading) -> Iterator[Row]:
    """Candidates, one a sentence of XQuAD-R: the sentence + its context, and the questions whose first answer begins in it."""
    for paragraph in _paragraphs(reading):
        line = paragraph.questions[0].line if paragraph.questions else 1
        if paragraph.breaks is None:
            what = f'paragraph {paragraph.number} has no "sentence_breaks": candidates come from the files of XQuAD-R, not of XQuAD.'
            reading.on_error(str(reading.path), line, what)
            continue
        found = defaultdict(list)
        for question in paragraph.questions:
            if question.id:
                found[_sentence_of(question, paragraph.breaks)].append(question.id)
        for place, span in enumerate(paragraph.breaks):
            yield Row(line, (_joined(paragraph, span),), tuple(found[place]), f"{reading.code}_{paragraph.number}_{place}")


def _joined(paragraph: Paragraph, span: tuple[int, int]) -> str:
    return (paragraph.context[span[0] : span[1]] + paragraph.context).replace("\n", "")


def _sentence_of(question: Question, breaks: Sequence[tuple[int, int]]) -> int | None:
    """Number of the sentence in which the first answer begins."""
    places = (place for place, (start, end) in enumerate(breaks) if question.starts and start <= question.starts[0] < end)
    return next(places, None)


def _clustered(paragraphs: Iterator[Paragraph]) -> Iterator[tuple[Paragraph, str]]:
    """Each paragraph and its cluster: the smallest id of a question about that context, which parallel files share."""
    found = list(paragraphs)
    ids: dict[str, list[str]] = defaultdict(list)
    for paragraph in found:
        ids[paragraph.context] += [question.id for question in paragraph.questions if question.id]
    for paragraph in found:
        yield paragraph, min(ids[paragraph.context], default=digest16(paragraph.context))


# --- sentences, where the file gives none

_END = re.compile(r"""[.?!…][)\]'"”’»]*(?:\[[\w ?]{1,20}\])*\s+(?=["'“‘«(\[]?[^\W_a-z])|(?<=[。？！।॥؟۔])""")
_TITLES = "Mrs?|Ms|Dr|Prof|St|Gen|Col|Lt|Sgt|Capt|Rev|Sen|Gov|Rep|Jr|vs?|cf|ca|No|Vol|pp?"
LONGEST = 8  # letters of a title and what stands before it, with some to spare: texts may be long
_NO_END = re.compile(rf"(?:^|[\s(\"'“])(?:[^\W\d_]|[^\W\d_]\.[^\W\d_]|{_TITLES})\.$")


def sentences(context: str) -> tuple[tuple[int, int], ...]:
    """(start, end) of the sentences of a text, by one rule.

    A sentence ends at . ? ! … (with quotes, brackets and footnote marks after it) before white space and a letter that is not a
    small one, a digit or an opening quote, or at 。？！।॥؟۔. A full stop after a single letter or a title (Dr., St., No.) ends none.
    """
    cuts = [0]
    for match in _END.finditer(context):
        before = context[max(cuts[-1], match.start() - LONGEST) : match.start() + 1]
        if not (before.endswith(".") and _NO_END.search(before)):
            cuts.append(match.end())
    cuts.append(len(context))
    found = []
    for start, end in itertools.pairwise(cuts):
        sentence = context[start:end]
        if sentence.strip():
            found.append((start + len(sentence) - len(sentence.lstrip()), start + len(sentence.rstrip())))
    return tuple(found)


# --- the file


def _paragraphs(reading: Reading) -> Iterator[Paragraph]:
    """The paragraphs of a file with their well-formed questions; whatever is malformed is reported."""
    where, on_error = str(reading.path), reading.on_error
    failed: list[int] = []

    def report(place: str, line: int | None, what: str) -> None:
        failed.append(1)
        on_error(place, line, what)

    text = text_of(reading.path, report)
    if failed and not text.strip():
        return
    for root in parsed(text, where, 1, on_error):
        yield from _of_root(root, text, reading)


def _of_root(root: Any, text: str, reading: Reading) -> Iterator[Paragraph]:
    where, on_error = str(reading.path), reading.on_error
    lines = _lines_of_ids(text)
    times = Counter({name: len(found) for name, found in lines.items()})
    hidden = _hidden(root)
    if hidden:
        what = f"all {hidden} answers are empty, as XTREME's scripts leave them: put the file with the answers there."
        reading.on_hidden(where, 1, what)
        return
    number = 0
    for article in _list(root, "data", "the file", where, on_error):
        for paragraph in _list(article, "paragraphs", "an article", where, on_error):
            number += 1
            yield from _paragraph(paragraph, number, lines, times, reading)


def _hidden(root: Any) -> int:
    """The number of answers, where all of them are empty texts: somebody took them out, so the questions are no gold."""
    try:
        found = [
            answer["text"]
            for article in root["data"]
            for paragraph in article["paragraphs"]
            for question in paragraph["qas"]
            for answer in question["answers"]
        ]
    except (KeyError, TypeError, IndexError):
        return 0
    return 0 if any(found) else len(found)


def _list(holder: Any, name: str, what: str, where: str, on_error: Any) -> list[Any]:
    found = holder.get(name) if isinstance(holder, dict) else None
    if isinstance(found, list):
        return found
    on_error(where, None, f"{what} has no list {name!r}, as SQuAD's JSON has it.")
    return []


def _lines_of_ids(text: str) -> dict[str, list[int]]:
    """Question id -> the lines in which it stands as one, in order: JSON itself keeps no places."""
    found: dict[str, list[int]] = defaultdict(list)
    line, place = 1, 0
    for match in re.finditer(r'"id"\s*:\s*("(?:[^"\\]|\\.)*")', text):
        line += text.count("\n", place, match.start())
        place = match.start()
        found[json.loads(match[1], strict=False)].append(line)
    return found


def _paragraph(paragraph: Any, number: int, lines: dict[str, list[int]], times: Counter[str], reading: Reading) -> Iterator[Paragraph]:
    where = str(reading.path)
    context = paragraph.get("context") if isinstance(paragraph, dict) else None
    if not isinstance(context, str) or not context.strip():
        reading.on_error(where, _line_within(paragraph, lines), f"paragraph {number} has no text as its 'context'.")
        return
    questions = []
    for item in _list(paragraph, "qas", f"paragraph {number}", where, reading.on_error):
        name = item.get("id") if isinstance(item, dict) else None
        if not isinstance(name, str) or not name:
            reading.on_error(where, _line_within(paragraph, lines), f"a question of paragraph {number} has no text as its 'id'.")
            continue
        line = lines[name].pop(0) if lines.get(name) else 1
        try:
            questions.append(_question(item, name if times[name] == 1 else "", line, context))
        except UserError as error:
            reading.on_error(where, line, f"question {name!r}: {error}")
    try:
        breaks = _breaks(paragraph.get("sentence_breaks"), context)
    except UserError as error:
        reading.on_error(where, questions[0].line if questions else None, f"paragraph {number}: {error}")
    else:
        yield Paragraph(number, context, tuple(questions), breaks)


def _line_within(paragraph: Any, lines: dict[str, list[int]]) -> int | None:
    """The line of a question of the paragraph, for messages about what has no id of its own."""
    items = paragraph.get("qas") if isinstance(paragraph, dict) else None
    names = [item.get("id") for item in items if isinstance(item, dict)] if isinstance(items, list) else []
    return next((lines[name][0] for name in names if isinstance(name, str) and lines.get(name)), None)


def _question(item: dict[str, Any], name: str, line: int, context: str) -> Question:
    """A checked question; raises UserError without a place."""
    text, answers = item.get("question"), item.get("answers", [] if item.get("is_impossible") else None)
    if not isinstance(text, str) or not text.strip():
        raise UserError("there is no text as its 'question'.")
    if not isinstance(answers, list) or not all(isinstance(answer, dict) for answer in answers):
        raise UserError("there is no list of objects as its 'answers'.")
    if item.get("is_impossible") and answers:
        raise UserError("it is called impossible, but has answers.")
    for answer in answers:
        check_answer(answer.get("text"), answer.get("answer_start"), context)
    return Question(line, name, text, tuple(answer["text"] for answer in answers), tuple(answer["answer_start"] for answer in answers))


def _breaks(found: Any, context: str) -> tuple[tuple[int, int], ...] | None:
    if found is None:
        return None
    if not isinstance(found, list) or not all(isinstance(span, list) and len(span) == 2 for span in found):
        raise UserError("'sentence_breaks' must be a list of [start, end].")
    for start, end in found:
        if not (isinstance(start, int) and isinstance(end, int) and 0 <= start <= end <= len(context)):
            raise UserError(f"the sentence break {[start, end]} lies outside of the context of {len(context)} characters.")
    return tuple((start, end) for start, end in found)
