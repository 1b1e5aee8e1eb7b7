"""Readers of untrusted bytes: whatever a file holds, it is read, or refused in one sentence that names file and line."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mutations import mutated
from promises import tried

from raystilts.errors import UserError
from raystilts.readers import READERS, Reading
from raystilts.readers.mewslix import _parentheses
from raystilts.readers.squad import sentences
from raystilts.task import Kind, Source

FAST, MANY, MINUTES = 150, 1_000_000, 25


@dataclass(frozen=True)
class Case:
    """A source, and valid files for it."""

    source: Source
    kind: Kind
    files: tuple[tuple[bytes, ...], ...]  # per file of the source, valid contents
    code: str = "en"


def _lines(*records: object) -> bytes:
    return "\n".join(json.dumps(record) for record in records).encode()


CONLLU = """\
# text = Voy im
1\tVoy\t_\tVERB\t_\t_\t0\troot\t0:root\t_
2-3\tim\t_\t_\t_\t_\t_\t_\t_\t_
2\tin\t_\tADP\t_\t_\t1\tcase\t1:case|3:x\t_
3\tdem\t_\tDET\t_\t_\t2\tdet\t2:det\t_
3.1\tx\t_\tX\t_\t_\t_\t_\t3:x\t_

1\ta\u200cb c\t_\tNOUN\t_\t_\t0\troot\t_\t_
""".encode()
_QUESTION = {"id": "q1", "question": "Who?", "answers": [{"text": "Ann", "answer_start": 0}]}
_CONTEXT = {"context": "Ann won. Bob lost.", "qas": [_QUESTION], "sentence_breaks": [[0, 8], [9, 18]]}
_SECOND = {"context": "Ann won. Bob lost.", "qas": [{"id": "q2", "question": "?", "answers": [], "is_impossible": True}]}
SQUAD = json.dumps({"version": "1", "data": [{"title": "t", "paragraphs": [_CONTEXT, _SECOND]}]}, indent=1).encode()
XQUAD_R = json.dumps({"data": [{"paragraphs": [_CONTEXT]}]}).encode()
_SPAN = {"start": 0, "end": 3, "text": "Ann"}
_NEWS = {"language": "en", "document_id": "d", "text": "Ann {won}. Bob lost.", "sentence_spans": [{"start": 0, "end": 10}]}
_MENTION = {"entity_id": "Q1", "example_id": "e1", "mention_span": _SPAN}
_ENTITY = {"entity_id": "Q1", "description": "A person. Tall.", "sentence_spans": [{"start": 0, "end": 9}]}
_SPANS = {"q": "who?", "c": "Ann won", "a": {"text": ["Ann"], "answer_start": [0]}}
_CHOICE = {"id": 7, "q": {"stem": "Rain?", "choices": [{"text": "wet"}, {"text": "dry"}]}, "label": "A"}
TEXTS = ("text", "label")

CASES = {
    "tsv": Case(Source(reader="tsv", columns=TEXTS), "classification", ((b"a b\tyes\nc\tno\n", "é \u2028\tyes\r\n".encode()),)),
    "tsv with a header": Case(
        Source(reader="tsv", header=("{a} and {b}", "label"), id="n", gaps=True),
        "classification",
        ((b"n\ta\tb\tlabel\n1\tx\ty\tno\n2\tz\n",),),
    ),
    "csv": Case(
        Source(reader="csv", columns=("a", "b", "label"), cluster="b"),
        "classification",
        ((b'a,b,label\n"x, ""y""","1\n2",yes\nu,v,no\n', b"\xef\xbb\xbflabel,a,b\r\n1,2,3\r\n"),),
    ),
    "jsonl": Case(
        Source(reader="jsonl", columns=TEXTS), "classification", ((_lines({"text": "a", "label": 1}, {"text": "é", "label": "x"}),),)
    ),
    "jsonl of choices": Case(
        Source(reader="jsonl", columns=("{q[stem]}", "{q[choices][0][text]}", "{q[choices][1][text]}", "label"), id="id"),
        "choice",
        ((_lines(_CHOICE, _CHOICE),),),
    ),
    "jsonl of tags": Case(Source(reader="jsonl", columns=("w", "t")), "tagging", ((_lines({"w": ["a", "b"], "t": ["X", "Y"]}),),)),
    "jsonl of spans": Case(Source(reader="jsonl", columns=("q", "c", "a")), "span", ((_lines(_SPANS),),)),
    "aligned": Case(Source(reader="aligned"), "retrieval", ((b"a\nb\n", b"one\ntwo"), (b"c\nd\n", "é\r\nf\r\n".encode()))),
    "text": Case(Source(reader="text"), "mlm", ((b"one\n\ntwo\n",),)),
    "bucc": Case(Source(reader="bucc"), "mining", ((b"de-1\tja\nde-2\tnein\n",),)),
    "bucc with gold": Case(Source(reader="bucc"), "mining", ((b"de-1\tja\nde-2\tnein\n",), (b"de-1\ten-1\nde-1\ten-2\n",))),
    "conll": Case(Source(reader="conll"), "tagging", ((b"en:a\tO\nen:b\tB-PER\n\nen:c\tO\n",),)),
    "conll with blanks": Case(Source(reader="conll", separator=" "), "tagging", ((b"a O\nb B-PER\n\nc O\n",),)),
    "conllu": Case(Source(reader="conllu"), "tagging", ((CONLLU, CONLLU * 2),), code="de"),
    "squad": Case(Source(reader="squad"), "span", ((SQUAD,),)),
    "squad_sentences": Case(Source(reader="squad_sentences"), "ranking", ((SQUAD, SQUAD.replace(b"sentence_breaks", b"s")),)),
    "squad_questions": Case(Source(reader="squad_questions"), "retrieval", ((SQUAD,),)),
    "squad_candidates": Case(Source(reader="squad_candidates"), "retrieval", ((XQUAD_R, SQUAD),)),
    "mewslix_mentions": Case(
        Source(reader="mewslix_mentions"),
        "retrieval",
        ((_lines({"context": _NEWS, "mention": _MENTION}, {"context": _NEWS, "mentions": [_MENTION]}),),),
    ),
    "mewslix_entities": Case(Source(reader="mewslix_entities"), "retrieval", ((_lines(_ENTITY, _ENTITY),),)),
    "mewslix_pairs": Case(
        Source(reader="mewslix_pairs"),
        "ranking",
        ((_lines({"contextual_mention": {"context": _NEWS, "mention": _MENTION}, "entity": _ENTITY}),),),
    ),
}


def check(case: Case, folder: Path, contents: Sequence[bytes]) -> int:
    """Read the files twice: up to the first problem, and on behind each. Returns how many problems there are."""
    paths = [folder / f"f{number}" for number in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    read = READERS[case.source.reader]
    try:
        rows = list(read(Reading(paths, case.source, case.kind, case.code)))
    except UserError as error:
        sentence = str(error)
        assert any(str(path) in sentence for path in paths), sentence
        assert sentence.isprintable(), repr(sentence)
        rows = []
    noted: list[tuple[str, int | None]] = []

    def note(where: str, line: int | None, what: str) -> None:
        assert where in map(str, paths)
        assert line is None or 1 <= line <= 1 + max(content.count(b"\n") for content in contents), (line, what)
        noted.append((where, line))

    rows += read(Reading(paths, case.source, case.kind, case.code, note, note))
    for row in rows:
        labels = row.label if isinstance(row.label, tuple) else (row.label or "",)
        for text in (*row.texts, *labels, row.id, row.cluster):
            text.encode()  # whatever comes after the readers hashes and writes it
    return len(noted)


def fuzz(case: Case, folder: Path, seed: int, number: int, seconds: float) -> int:
    """So many mutated files, unless the time is over; returns how many were tried."""
    random, end, count = Random(seed), time.monotonic() + seconds, 0  # noqa: S311
    while count < number and time.monotonic() < end:
        contents = [mutated(random, seeds) for seeds in case.files]
        try:
            check(case, folder, contents)
        except Exception as error:
            raise AssertionError(f"{contents!r}"[:2000]) from error
        count += 1
    return count


@pytest.mark.parametrize("name", CASES)
def test_valid_files_are_read(name: str, tmp_path: Path) -> None:
    """What is mutated below is valid before: no problem is reported."""
    case = CASES[name]
    assert check(case, tmp_path, [contents[0] for contents in case.files]) == 0


@pytest.mark.promise(
    "Whatever bytes a data file is changed to, its reader raises nothing but one sentence with file and line",
    found="JSON within JSON without end, numbers of 5,000 digits, halves of surrogate pairs, line ends and control characters in names",
)
@pytest.mark.parametrize("name", CASES)
def test_mutated_files_are_read_or_refused(name: str, tmp_path: Path) -> None:
    """Any change of a valid file gives rows of valid texts, or one printable sentence that names the file."""
    tried(fuzz(CASES[name], tmp_path, 1, FAST, 60))


@pytest.mark.soak
@pytest.mark.promise("The same for a million mutated data files")
def test_a_million_mutated_files_are_read_or_refused(tmp_path: Path) -> None:
    """The same as above, many times."""
    for number, case in enumerate(CASES.values()):
        tried(fuzz(case, tmp_path, 1000 + number, MANY // len(CASES) + 1, 60 * MINUTES / len(CASES)))


@pytest.mark.promise("Arbitrary bytes as a data file raise nothing but one sentence with file and line")
@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(sorted(CASES)), st.data())
def test_arbitrary_files_are_read_or_refused(tmp_path: Path, name: str, data: st.DataObject) -> None:
    """Bytes that nobody thought of, and JSON of any shape, are read or refused, too."""
    case = CASES[name]
    values = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda of: st.lists(of) | st.dictionaries(st.text(), of)
    )
    contents = st.binary() | st.text().map(str.encode) | values.map(json.dumps).map(str.encode)
    check(case, tmp_path, [data.draw(contents) for _ in case.files])


DEEP, DIGITS = "[" * 100_000, "9" * 5000
JSON_FINDS = [
    (DEEP, "line 1: this is JSON that is nested too deeply"),
    (DIGITS, "line 1: this is JSON with a number that has too many digits"),
    ('{"text": "\\ud800", "label": "x"}', r"line 1: the escape \\ud800 is half a character"),
    ('{"a\\n\\u001b[2J": "", "label": "x"}', r"known: a\\n\\x1b\[2J, label"),
]


@pytest.mark.parametrize(("content", "sentence"), JSON_FINDS)
def test_finds_in_json_lines_stay_mended(content: str, sentence: str, tmp_path: Path) -> None:
    """What once ended in a traceback, or in a sentence of two lines."""
    (tmp_path / "f").write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=sentence):
        list(READERS["jsonl"](Reading([tmp_path / "f"], CASES["jsonl"].source, "classification", "en")))


@pytest.mark.parametrize("content", [DEEP, DIGITS, SQUAD.decode().replace("Who", "\\ud83d"), SQUAD.decode().replace("Ann won", "\\udfff")])
def test_finds_in_squad_stay_mended(content: str, tmp_path: Path) -> None:
    """The same for a whole file of JSON."""
    (tmp_path / "f").write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=r"f, line \d+: (this is JSON|the escape .* is half a character)"):
        list(READERS["squad"](Reading([tmp_path / "f"], CASES["squad"].source, "span", "en")))


def test_long_numbers_in_conllu_stay_mended(tmp_path: Path) -> None:
    """A head or a range of thousands of digits is no word's."""
    for old, new in (
        (b"2-3\t", DIGITS.encode() + b"-3\t"),
        (b"\t1\tcase", b"\t" + DIGITS.encode() + b"\tcase"),
        (b"1:case", DIGITS.encode()),
    ):
        assert old in CONLLU
        check(CASES["conllu"], tmp_path, [CONLLU.replace(old, new)])


def test_readers_take_no_quadratic_time(tmp_path: Path) -> None:
    """Texts made to be slow: titles without an end, braces without a partner."""
    start = time.monotonic()
    assert len(sentences("Dr. " * 50_000)) == 1
    _parentheses("{" * 200_000)
    assert time.monotonic() - start < 5
    assert _parentheses("{a} {b\nc} {d{e} f") == "(a) {b\nc} (d{e) f"
