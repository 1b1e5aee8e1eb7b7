"""Each reader of raystilts.readers: what it makes of well-formed files, and how it names what is malformed."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raystilts.errors import UserError
from raystilts.readers import READERS, Reading, Row, rows_of
from raystilts.readers.rows import value
from raystilts.readers.squad import sentences
from raystilts.task import Source


def rows(folder, content, source, kind="classification", code="en", name="f"):
    """The rows of one file with this content; the first problem is raised."""
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return list(READERS[source.reader](Reading((folder / name,), source, kind, code)))


def problems(folder, content, source, kind="classification", code="en", name="f"):
    """(line, what) of all that is wrong with a file, and the rows that are well formed."""
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    found = []

    def noted(where, line, what):
        found.append((line, what))

    reading = Reading((folder / name,), source, kind, code, noted, noted)
    return found, list(READERS[source.reader](reading))


def refused(folder, content, source, kind="classification", code="en"):
    """The sentence with which a file is refused."""
    with pytest.raises(UserError) as error:
        rows(folder, content, source, kind, code)
    assert "\n" not in str(error.value)
    assert str(folder / "f") in str(error.value)
    return str(error.value)


# --- columns and templates


def test_templates_reach_into_records():
    """A column is a name, or a template whose names may be followed by keys and places; numbers within it become digits."""
    record = {"premise": "Rain.", "n": 3, "question": {"choices": [{"text": "a"}, {"text": "b"}]}, "flag": True}
    assert value("premise", record) == "Rain."
    assert value("{premise} What was {n}?", record) == "Rain. What was 3?"
    assert value("{question[choices][1][text]}", record) == "b"
    assert value("{{{premise}}}", record) == "{Rain.}"
    assert value("flag", record) is True


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ("premises", "the column 'premises' is missing; did you mean 'premise'?"),
        ("{premises} x", "the column 'premises' is missing; did you mean 'premise'?"),
        ("{question[choice]}", "the column 'choice' is missing in 'question'; did you mean 'choices'?"),
        ("{question[choices][2]}", "'question[choices]' has 2 items, but"),
        ("{premise[a]}", "'premise' has no 'a', as it is no object"),
        ("{premise[0]}", "'premise' has no '0', as it is no list"),
        ("a {question}", "the column 'question' must be a text, as a part of 'a {question}'"),
        ("{premise!r}", "is no template"),
        ("{premise.upper}", "the column 'premise.upper' is missing; did you mean 'premise'?"),
        ("{none} x", "the column 'none' is missing"),
    ],
)
def test_templates_that_do_not_fit_are_refused(column, message):
    """Each sentence names what is missing, and the nearest known name at that depth."""
    with pytest.raises(UserError) as error:
        value(column, {"premise": "Rain.", "question": {"choices": ["a", "b"]}, "none": None})
    assert message in str(error.value)


def test_templates_and_extra_columns_work_in_every_table(tmp_path):
    """TSV with a header, CSV and JSON lines give the same row for the same columns, with id and cluster."""
    columns = ("{a} and {b}", "c", "label")
    expected = Row(2, ("x and y", "z"), "1", "7", "doc")
    text = "label,b,a,c,n,d\n1,y,x,z,7,doc\n"
    facts = {"columns": columns, "id": "n", "cluster": "d"}
    assert rows(tmp_path, text, Source(reader="csv", **facts)) == [expected]
    facts["header"] = columns
    assert rows(tmp_path, text.replace(",", "\t"), Source(reader="tsv", **facts)) == [expected]
    record = json.dumps({"label": True, "a": "x", "b": "y", "c": "z", "n": 7, "d": "doc"})
    (row,) = rows(tmp_path, record, Source(reader="jsonl", **facts))
    assert (row.texts, row.label, row.id, row.cluster) == (expected.texts, "True", "7", "doc")


# --- CSV

PAIR = Source(reader="csv", columns=("a", "b", "label"))


def test_csv_is_quoted_and_lines_are_physical(tmp_path):
    """Quoted commas, quotes and line ends are text; a record's line is where it begins; CR LF within quotes is LF; a BOM is dropped."""
    content = b'\xef\xbb\xbfa,b,label\r\n"x, ""y""","1\r\n2",yes\r\nu,v,no\r\n'
    assert rows(tmp_path, content, PAIR) == [Row(2, ('x, "y"', "1\n2"), "yes"), Row(4, ("u", "v"), "no")]


@pytest.mark.parametrize(
    ("content", "line", "message"),
    [
        ('a,b,label\nx,"y\n\nz,1\n', 2, "a quote is opened here and never closed"),
        ('a,b,label\n"x\ny"z,1,2\n', 2, "this is not CSV"),
        ('a,b,label\n"x\ny\0",1,2\n', 2, "a NUL character stands within the record"),
        ('a,b,label\n"x\ny",1\n', 2, "2 columns between commas instead of 3"),
        ("a,b,label\nx,y,z\n\n", 3, "0 columns between commas instead of 3"),
        ("a,c,label\nx,y,z\n", 1, "the header has no column 'b'; known: a, c, label"),
    ],
)
def test_malformed_csv_is_named_by_the_line_where_the_record_begins(tmp_path, content, line, message):
    """Quotes, NUL and missing columns are refused with the line of the record's first character."""
    assert f"f, line {line}: {message}" in refused(tmp_path, content, PAIR)


def test_csv_goes_on_after_a_malformed_record(tmp_path):
    """What follows a malformed record is still read, and all problems are reported."""
    found, good = problems(tmp_path, 'a,b,label\n"x"y,1,2\nu,v,no\n1\n2,3,yes\n', PAIR)
    assert [line for line, _ in found] == [2, 4]
    assert [row.line for row in good] == [3, 5]


FIELD = st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\r\0"), min_size=1, max_size=12)
DIFFERENT_FILES = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@DIFFERENT_FILES
@given(table=st.lists(st.tuples(FIELD, FIELD, FIELD), min_size=1, max_size=5))
def test_csv_round_trip(tmp_path, table):
    """What Python's csv module writes is read as it was, for any text."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\r\n").writerows([("a", "b", "label"), *table])
    assert [(*row.texts, row.label) for row in rows(tmp_path, out.getvalue(), PAIR)] == table


CELL = st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\r\0\n\t"), min_size=1, max_size=12)


@DIFFERENT_FILES
@given(table=st.lists(st.tuples(CELL, CELL, CELL), min_size=1, max_size=5))
def test_tsv_and_jsonl_round_trip(tmp_path, table):
    """Tab-separated rows and JSON lines are read as they were written, for any text."""
    columns = ("a", "b", "label")
    content = "".join("\t".join(row) + "\n" for row in table)
    if content.strip() and not content.startswith("\ufeff"):
        assert [(*row.texts, row.label) for row in rows(tmp_path, content, Source(columns=columns))] == table
    content = "".join(json.dumps(dict(zip(columns, row, strict=True)), ensure_ascii=False) + "\n" for row in table)
    assert [(*row.texts, row.label) for row in rows(tmp_path, content, Source(reader="jsonl", columns=columns))] == table


@DIFFERENT_FILES
@given(sentences_=st.lists(st.lists(st.tuples(CELL, CELL), min_size=1, max_size=4), min_size=1, max_size=3))
def test_conll_round_trip(tmp_path, sentences_):
    """Words and tags are read as they were written, with the line of every word."""
    content = "\n".join("".join(f"{word}\t{tag}\n" for word, tag in sentence) for sentence in sentences_)
    if any(":" in word for sentence in sentences_ for word, _ in sentence) or content.startswith("\ufeff") or not content.strip():
        return  # WikiANN's prefix has its own test
    found = rows(tmp_path, content, Source(reader="conll"), "tagging")
    assert [list(zip(row.texts, row.label, strict=True)) for row in found] == sentences_
    assert [content.split("\n")[line - 1].split("\t")[0] for row in found for line in row.lines] == [
        word for row in found for word in row.texts
    ]


@pytest.mark.parametrize("reader", ["tsv", "csv", "jsonl", "conll", "conllu", "text", "bucc"])
def test_encodings_are_named_with_the_line(tmp_path, reader):
    """A line that is not UTF-8 is named in every text format, and so is a file that is UTF-16."""
    source = Source(reader=reader, columns=("a", "b"))
    found, _ = problems(tmp_path, b"a\tb\n\xe4\tx\n", source)
    assert (2, "this is not UTF-8 (byte 0xe4); convert the file.") in found
    assert any("NUL" in what for _, what in problems(tmp_path, "a\tb\n".encode("utf-16-le"), source)[0])
    assert problems(tmp_path, b" \n", source) == ([(None, "the file is empty: put the original file there.")], [])


def test_all_malformed_lines_are_reported(tmp_path):
    """A reader that is told to go on reports each malformed row and returns the others."""
    found, good = problems(tmp_path, b"a\tb\nc\n\xff\td\ne\rf\tg\nh\ti\n", Source(columns=("a", "label")))
    assert sorted(line for line, _ in found) == [2, 3, 4]
    assert [row.line for row in good] == [1, 5]


# --- bare text and BUCC


def test_text_skips_empty_lines(tmp_path):
    """A text a line; nothing else has a meaning."""
    assert rows(tmp_path, "a\tb\n\n \nc\n", Source(reader="text"), "mlm") == [Row(1, ("a\tb",)), Row(4, ("c",))]


def test_bucc_has_candidates_and_queries(tmp_path):
    """Alone a file of texts holds candidates; with the gold pairs it holds queries, which look for one id, several, or none."""
    (tmp_path / "en").write_text("en-1\tOne\nen-2\tTwo\n")
    (tmp_path / "de").write_text("de-1\tEins\nde-2\tZwei\nde-3\tDrei\n")
    (tmp_path / "gold").write_text("de-2\ten-2\nde-2\ten-1\n")
    candidates = rows_of(Source(files=("en",), reader="bucc"), "mining", "de", tmp_path)
    assert candidates == [Row(1, ("One",), ("en-1",), "en-1"), Row(2, ("Two",), ("en-2",), "en-2")]
    queries = rows_of(Source(files=("de", "gold"), reader="bucc"), "mining", "de", tmp_path)
    assert [(row.id, row.texts, row.label) for row in queries] == [
        ("de-1", ("Eins",), ()),
        ("de-2", ("Zwei",), ("en-2", "en-1")),
        ("de-3", ("Drei",), ()),
    ]


@pytest.mark.parametrize(
    ("texts", "gold", "message"),
    [
        ("de-1 Eins\n", "", "texts, line 1: 1 columns between tabs instead of an id, a tab and a text"),
        ("de-1\tEins\nde-1\tZwei\n", "", "texts, line 2: the id 'de-1' stands in line 1, too"),
        ("de-1\tEins\n", "de-2\ten-1\n", "gold, line 1: there is no id 'de-2' in"),
        ("de-1\tEins\n", "de-1\n", "gold, line 1: 1 columns between tabs instead of an id, a tab and an English id"),
    ],
)
def test_malformed_bucc_is_named_with_file_and_line(tmp_path, texts, gold, message):
    """Missing columns, repeated and unknown ids are refused with the file that they stand in."""
    (tmp_path / "texts").write_text(texts)
    (tmp_path / "gold").write_text(gold or "\n")
    source = Source(files=("texts", "gold") if gold else ("texts",), reader="bucc")
    with pytest.raises(UserError) as error:
        rows_of(source, "mining", "de", tmp_path)
    assert message in str(error.value)


# --- CoNLL-U


def word(name, form, tag, head="0", deps="_"):
    """A line of CoNLL-U."""
    return "\t".join([name, form, "_", tag, "_", "_", head, "_", deps, "_"]) + "\n"


CONLLU = Source(reader="conllu")


def test_conllu_reads_words_as_xtreme_does(tmp_path):
    """Comments and empty nodes go; a multiword token has the tag of its highest member; blanks and non-joiners within a form go."""
    content = (
        "# sent_id = 1\n"
        + word("1", "Wir", "PRON", "2")
        + word("2", "ruhen", "VERB")
        + word("3-4", "im", "_", "_")
        + word("3", "in", "ADP", "5")
        + word("4", "dem", "DET", "5")
        + word("5", "kühlen\u200c Haus", "NOUN", "2")
        + word("5.1", "leer", "VERB", "_")
        + "\n\n"
        + word("1-2", "dámelo", "_", "_")
        + word("1", "da", "VERB")
        + word("2", "me", "PRON", "1")
    )
    first, second = rows(tmp_path, content, CONLLU, "tagging", "de")
    assert (first.texts, first.label) == (("Wir", "ruhen", "im", "kühlenHaus"), ("PRON", "VERB", "ADP", "NOUN"))
    assert (first.line, first.lines) == (2, [2, 3, 5, 7])
    assert (second.texts, second.label) == (("dámelo",), ("VERB",))


def test_conllu_ties_depend_on_the_language_and_on_enhanced_heads(tmp_path):
    """Of equally high members the first tag of the language's order counts; enhanced dependencies make a word lower."""
    tie = word("1-2", "aux", "_", "_") + word("1", "à", "ADP", "3") + word("2", "je", "PRON", "3") + word("3", "x", "NOUN")
    assert rows(tmp_path, tie, CONLLU, "tagging", "fr")[0].label[0] == "PRON"
    tie = tie.replace("PRON", "DET")
    assert rows(tmp_path, tie, CONLLU, "tagging", "de")[0].label[0] == "ADP"
    lower = tie.replace(word("1", "à", "ADP", "3"), word("1", "à", "ADP", "3", "3:case|4:x")) + word("4", "y", "NOUN", "3")
    assert rows(tmp_path, lower, CONLLU, "tagging", "de")[0].label[0] == "DET"


def test_conllu_leaves_out_withheld_sentences(tmp_path):
    """A sentence whose words are "_" but for one or none is left out; one with two real words is kept."""
    content = word("1", "_", "X") + word("2", "a", "X") + "\n" + word("1", "_", "X") + word("2", "a", "X") + word("3", "b", "X")
    assert [row.texts for row in rows(tmp_path, content, CONLLU, "tagging")] == [("_", "a", "b")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("1\ta\tX\n", "line 1: 3 columns between tabs instead of the 10 of CoNLL-U"),
        (word("1", "a", "X") + word("3", "b", "X"), "line 2: the word's id is '3' instead of 2"),
        (word("1", " ", "X"), "line 1: the word is empty"),
        (word("1-3", "ab", "_") + word("1", "a", "X") + word("2", "b", "X"), "line 1: the multiword token 1-3 does not fit"),
        (word("1", "a", "X") + " \n" + word("2", "b", "X"), "line 2: 1 columns between tabs"),
    ],
)
def test_malformed_conllu_is_named_with_file_and_line(tmp_path, content, message):
    """Missing columns, ids out of order and ranges that do not fit are refused with the line."""
    assert message in refused(tmp_path, content, CONLLU, "tagging")


# --- SQuAD


def squad(*paragraphs, indent=None):
    """SQuAD's JSON of (context, questions as (id, question, answers as (text, start), further keys), further keys)."""
    made = []
    for context, questions, more in paragraphs:
        qas = [
            {"id": name, "question": text, "answers": [{"text": found, "answer_start": start} for found, start in answers], **further}
            for name, text, answers, further in questions
        ]
        made.append({"context": context, "qas": qas, **more})
    return json.dumps({"version": "1.1", "data": [{"title": "t", "paragraphs": made}]}, indent=indent, ensure_ascii=False)


CONTEXT = "One is 1. Two is 2."
TWO = (("b", "Two?", [("2", 17), ("Two", 10)], {}), ("a", "One?", [("1", 7)], {}))
SPANS = Source(reader="squad")


def test_squad_reads_spans(tmp_path):
    """Answers and starts, none where a question is impossible, ids of the file, and the smallest id of the paragraph as cluster."""
    content = squad((CONTEXT, (*TWO, ("c", "Three?", [], {"is_impossible": True, "plausible_answers": [{"text": "x"}]})), {}))
    found = rows(tmp_path, content, SPANS, "span")
    assert [(row.id, row.texts, row.label, row.starts) for row in found] == [
        ("b", ("Two?", CONTEXT), ("2", "Two"), (17, 10)),
        ("a", ("One?", CONTEXT), ("1",), (7,)),
        ("c", ("Three?", CONTEXT), (), ()),
    ]
    assert {row.cluster for row in found} == {"a"}


def test_squad_names_the_line_of_a_question(tmp_path):
    """The line is the one in which the question's id stands, in files of one line and of many; a BOM changes nothing."""
    content = squad((CONTEXT, TWO, {}), indent=1)
    found = rows(tmp_path, "\ufeff" + content, SPANS, "span")
    assert [content.split("\n")[row.line - 1].strip() for row in found] == ['"id": "b",', '"id": "a",']
    assert {row.line for row in rows(tmp_path, squad((CONTEXT, TWO, {})), SPANS, "span")} == {1}


def test_squad_ids_that_name_several_questions_name_none(tmp_path):
    """TyDiQA's English training file counts questions per document: such ids are not the questions' own."""
    content = squad((CONTEXT, TWO, {}), (CONTEXT + " ", (("a", "One?", [("1", 7)], {}),), {}))
    assert [(row.id, row.cluster) for row in rows(tmp_path, content, SPANS, "span")][:2] == [("b", "b"), ("", "b")]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("17", "16"), "question 'b': the answer '2' does not stand at character 16 of the context; it stands at 17"),
        (('"2"', '"22"'), "question 'b': the answer '22' does not stand at character 17 of the context; it stands nowhere in it"),
        (('"2"', '""'), "question 'b': an answer is empty: hidden answers cannot be scored"),
        (('"Two?"', "2"), "question 'b': there is no text as its 'question'"),
        (('"answers": [{"text": "2"', '"answer": [{"text": "2"'), "question 'b': there is no list of objects as its 'answers'"),
        (('"id": "b"', '"id": 7'), "a question of paragraph 1 has no text as its 'id'"),
        (('"context": "One', '"text": "One'), "paragraph 1 has no text as its 'context'"),
        (('"qas"', '"questions"'), "paragraph 1 has no list 'qas'"),
        (('"data"', '"Data"'), "the file has no list 'data'"),
        (("]}]}", "]}]"), "this is not JSON ("),
    ],
)
def test_malformed_squad_is_named_with_file_and_question(tmp_path, change, message):
    """Answers that do not stand where they should, missing keys and truncated JSON are refused."""
    content = squad((CONTEXT, TWO, {})).replace(*change)
    assert message in refused(tmp_path, content, SPANS, "span")


def test_truncated_squad_is_named_with_line_and_column(tmp_path):
    """Where JSON breaks off, line and column of the break are said."""
    content = squad((CONTEXT, TWO, {}), indent=1)
    lines = content[: content.index('"One?"')].count("\n") + 1
    assert f"line {lines}: this is not JSON (" in refused(tmp_path, content[: content.index('"One?"') + 3], SPANS, "span")


def test_all_malformed_questions_are_reported(tmp_path):
    """One question that is malformed does not hide the others."""
    content = squad((CONTEXT, (("b", "Two?", [("2", 1)], {}), ("a", "One?", [("1", 7)], {}), ("c", "", [("1", 7)], {})), {}), indent=1)
    found, good = problems(tmp_path, content, SPANS, "span")
    assert [what.partition(":")[0] for _, what in found] == ["question 'b'", "question 'c'"]
    assert all(content.split("\n")[line - 1].strip().startswith('"id"') for line, _ in found)
    assert [row.id for row in good] == ["a"]


def test_hidden_answers_are_said_once(tmp_path):
    """A file whose answers were all taken out, as XTREME does with test sets, is one problem."""
    content = squad((CONTEXT, (("b", "Two?", [("", 0)], {}), ("a", "One?", [("", 0)], {})), {}))
    assert problems(tmp_path, content, SPANS, "span") == (
        [(1, "all 2 answers are empty, as XTREME's scripts leave them: put the file with the answers there.")],
        [],
    )


@DIFFERENT_FILES
@given(context=CELL.filter(str.strip), data=st.data())
def test_squad_round_trip(tmp_path, context, data):
    """Any answer of any text, in one line or many, is read as it was written."""
    start = data.draw(st.integers(0, len(context) - 1))
    answer = context[start : data.draw(st.integers(start + 1, len(context)))]
    content = squad((context, (('"q\\', "What?", [(answer, start)], {}),), {}), indent=data.draw(st.sampled_from([None, 2])))
    (row,) = rows(tmp_path, content, SPANS, "span")
    assert (row.id, row.texts, row.label, row.starts) == ('"q\\', ("What?", context), (answer,), (start,))


BREAKS = {"sentence_breaks": [[0, 9], [10, 19]]}


def test_squad_sentences_are_pairs(tmp_path):
    """The question, and the first answer's sentence before the context; given breaks count, else inferred ones; no answer, no pair."""
    content = squad((CONTEXT, (*TWO, ("c", "Three?", [], {"is_impossible": True})), {}))
    pairs = [(row.texts, row.label) for row in rows(tmp_path, content, Source(reader="squad_sentences"), "ranking")]
    assert pairs == [(("Two?", "Two is 2." + CONTEXT), None), (("One?", "One is 1." + CONTEXT), None)]
    content = squad((CONTEXT, TWO, {"sentence_breaks": [[0, 9]]}))
    assert [row.id for row in rows(tmp_path, content, Source(reader="squad_sentences"), "ranking")] == ["a"]


def test_squad_questions_and_candidates_are_lareqa(tmp_path):
    """Queries look for their own id; a sentence answers the questions whose first answer begins in it, and has XTREME's id."""
    content = squad((CONTEXT, TWO, BREAKS), ("A\nb c", (("d", "B?", [("b", 2)], {}),), {"sentence_breaks": [[0, 1], [2, 5]]}))
    queries = rows(tmp_path, content, Source(reader="squad_questions"), "retrieval")
    assert [(row.id, row.texts, row.label, row.cluster) for row in queries] == [
        ("b", ("Two?",), ("b",), "a"),
        ("a", ("One?",), ("a",), "a"),
        ("d", ("B?",), ("d",), "d"),
    ]
    candidates = rows(tmp_path, content, Source(reader="squad_candidates"), "retrieval", "sw")
    assert [(row.id, row.texts, row.label) for row in candidates] == [
        ("sw_1_0", ("One is 1." + CONTEXT,), ("a",)),
        ("sw_1_1", ("Two is 2." + CONTEXT,), ("b",)),
        ("sw_2_0", ("AAb c",), ()),
        ("sw_2_1", ("b cAb c",), ("d",)),
    ]


def test_squad_candidates_need_sentence_breaks(tmp_path):
    """Files without them, or with breaks outside of the context, are refused."""
    source = Source(reader="squad_candidates")
    assert 'paragraph 1 has no "sentence_breaks"' in refused(tmp_path, squad((CONTEXT, TWO, {})), source, "retrieval")
    broken = squad((CONTEXT, TWO, {"sentence_breaks": [[0, 99]]}))
    assert "the sentence break [0, 99] lies outside" in refused(tmp_path, broken, source, "retrieval")


def test_sentences_end_where_sentences_end():
    """Full stops of initials and titles end none; quotes, brackets and footnote marks belong to the sentence before."""
    text = 'Dr. A. Smith met St. John (twice). "Really?" he said. It was 3.5 cm.[2] यह है। Go!  '
    cut = [text[start:end] for start, end in sentences(text)]
    assert cut == ["Dr. A. Smith met St. John (twice).", '"Really?" he said.', "It was 3.5 cm.[2]", "यह है।", "Go!"]


@given(st.text(st.sampled_from("Ab .?!\n\"]'।"), max_size=30))
@settings(max_examples=100, deadline=None)
def test_sentences_cover_all_but_white_space(text):
    """Sentences are in order, do not overlap, and leave out white space only."""
    spans = sentences(text)
    assert "".join(text[start:end] for start, end in spans).split() == text.split() or not spans or spans == tuple(sorted(spans))
    covered = {place for start, end in spans for place in range(start, end)}
    assert sum(end - start for start, end in spans) == len(covered)
    assert all(text[place].isspace() for place in set(range(len(text))) - covered)


# --- Mewsli-X


def mention(text="Old. Smith {was} here.", start=5, end=10, found="Smith", name="m1", entity="Q1"):
    """A record of news with one mention."""
    spans = [{"start": 0, "end": 4}, {"start": 5, "end": len(text)}]
    context = {"document_title": "t", "document_id": "d1", "language": "de", "text": text, "sentence_spans": spans}
    return {
        "context": context,
        "mentions": [{"example_id": name, "mention_span": {"start": start, "end": end, "text": found}, "entity_id": entity}],
    }


ENTITY = {
    "entity_id": "Q1",
    "title": "Smith",
    "description": "He  is.\nBorn.",
    "sentence_spans": [{"start": 0, "end": 7}, {"start": 8, "end": 13}],
}


def test_mewslix_texts_are_the_baseline_s(tmp_path):
    """The mention stands first and in braces within its sentence; descriptions are their sentences; other languages are left out."""
    source = Source(reader="mewslix_mentions")
    (row,) = rows(tmp_path, json.dumps(mention()), source, "retrieval", "de")
    assert row == Row(1, ("Smith: { Smith } (was) here.",), ("Q1",), "m1", "d1")
    assert rows(tmp_path, json.dumps(mention()), source, "retrieval", "sw") == []
    (row,) = rows(tmp_path, json.dumps(ENTITY), Source(reader="mewslix_entities"), "retrieval")
    assert row == Row(1, ("He is. Born.",), ("Q1",), "Q1")
    record = mention()
    pair = {"contextual_mention": {"context": record["context"], "mention": record["mentions"][0]}, "entity": ENTITY}
    (row,) = rows(tmp_path, json.dumps(pair), Source(reader="mewslix_pairs"), "ranking")
    assert row == Row(1, ("Smith: { Smith } (was) here.", "He is. Born."))


@pytest.mark.parametrize(
    ("reader", "record", "message"),
    [
        ("mewslix_mentions", mention(found="Smitt"), "line 2: the mention 'Smitt' does not stand at characters 5 to 10"),
        ("mewslix_mentions", mention(start=3, end=10, found=". Smith"), "line 2: the mention '. Smith' stands in no sentence"),
        ("mewslix_mentions", mention(entity=""), "line 2: the 'entity_id' is empty: hidden labels cannot be scored"),
        ("mewslix_mentions", {"contexts": {}}, "line 2: the key 'context' is missing; did you mean 'contexts'?"),
        ("mewslix_entities", {**ENTITY, "description": "He."}, "line 2: the sentence from 0 to 7 lies outside of the text of 3 characters"),
        ("mewslix_entities", {**ENTITY, "entity_id": 1}, "line 2: 'entity_id' must be of type str"),
        ("mewslix_pairs", {"entity": ENTITY}, "line 2: the key 'contextual_mention' is missing"),
    ],
)
def test_malformed_mewslix_is_named_with_file_and_line(tmp_path, reader, record, message):
    """Spans that do not fit, missing keys and hidden labels are refused with the line."""
    good = {"mewslix_mentions": mention(), "mewslix_entities": ENTITY}.get(reader)
    content = (
        json.dumps(good)
        if good
        else json.dumps({"contextual_mention": {**mention(), "mention": mention()["mentions"][0]}, "entity": ENTITY})
    )
    assert message in refused(tmp_path, f"{content}\n{json.dumps(record)}", Source(reader=reader), "retrieval", "de")


def test_a_reader_of_one_file_refuses_several(tmp_path):
    """A literal that names two files for a reader of one is told so."""
    for name in ("f", "g"):
        (tmp_path / name).write_text("a\tb\n")
    with pytest.raises(UserError, match="the reader 'tsv' reads one file, but the source names 2"):
        rows_of(Source(files=("f", "g"), columns=("a", "label")), "classification", "en", Path(tmp_path))
