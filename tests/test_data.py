"""Reading examples: local files in original formats, the Hub, and generated ones."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import datasets
import pytest

from raystilts import data, tasks
from raystilts.errors import UserError
from raystilts.languages import LANGUAGES
from raystilts.task import Example, Source, Task

SHARED = Path(__file__).parents[2] / "shared" / "data"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="needs the development data in ../shared/data")

PAIRS = Task(
    name="pairs",
    kind="classification",
    metric="accuracy",
    labels=("yes", "no"),
    languages=("en", "sw"),
    test=Source(columns=("first", "second", "label"), files=("test-{language}.tsv",)),
)
TAGS = Task(
    name="tags",
    kind="tagging",
    metric="micro_f1",
    labels=("O", "B-PER", "I-PER"),
    languages=("en", "sw"),
    test=Source(columns=("words", "tags"), files=("{iso3}.txt",), reader="conll"),
)
TRANSLATIONS = Task(
    name="translations",
    kind="retrieval",
    metric="accuracy",
    languages=("sw",),
    test=Source(columns=("own", "english"), files=("{tatoeba}-eng.{tatoeba}", "{tatoeba}-eng.eng"), reader="aligned"),
)


def with_test(task, **changes):
    """The task with another test source."""
    return replace(task, test=replace(task.test, **changes))


def read(task, folder, language="sw"):
    """The test examples of a task from a folder."""
    return data.examples(task, "test", language, folder)


def refused(task, folder, language="sw"):
    """The sentence with which a task's data is refused."""
    with pytest.raises(UserError) as error:
        read(task, folder, language)
    assert "\n" not in str(error.value)
    return str(error.value)


# --- TSV


def test_tsv_is_split_at_tabs_only(tmp_path):
    """Quotes, U+2028, U+0085, form feeds and trailing blanks are text; only LF ends a row, and the last one needs none."""
    rows = ['"a\tb"\tyes', "a\u2028b\u0085c\x0cd \t''\tno", "x\ty\tno"]
    (tmp_path / "test-sw.tsv").write_bytes("\n".join(rows).encode())
    found = read(PAIRS, tmp_path)
    assert [(*example.texts, example.label) for example in found] == [tuple(row.split("\t")) for row in rows]


def test_crlf_and_byte_order_mark_change_nothing(tmp_path):
    """A CR before LF and a BOM never become part of a text or a label."""
    (tmp_path / "test-sw.tsv").write_bytes(b"a\tb\tyes\nc\td\tno\n")
    (tmp_path / "test-en.tsv").write_bytes(b"\xef\xbb\xbfa\tb\tyes\r\nc\td\tno\r\n")
    assert read(PAIRS, tmp_path, "sw") == read(PAIRS, tmp_path, "en")


def test_tsv_with_header_reads_the_named_columns(tmp_path):
    """Columns are found by name in any order, others are ignored, and `values` renames labels."""
    (tmp_path / "test-sw.tsv").write_text("id\tgold\ts2\ts1\n7\t1\tb\ta\n")
    task = with_test(PAIRS, header=("s1", "s2", "gold"), values=(("1", "yes"),))
    assert [(example.texts, example.label) for example in read(task, tmp_path)] == [(("a", "b"), "yes")]
    assert "line 1: the header has no column 's3'; known: gold, id, s1, s2" in refused(
        with_test(PAIRS, header=("s1", "s3", "gold")), tmp_path
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a\tb\tyes\na\tb\n", "line 2: 2 columns between tabs instead of 3"),
        (b"a\tb\tyes\n\n", "line 2: 1 columns between tabs instead of 3"),
        (b"a\tb\tyes\na\tb\tye\n", "line 2: pairs has no label 'ye'; did you mean 'yes'?"),
        (b"a\tb\tyes\na\tb\t\n", "line 2: the label is empty"),
        (b"a\t \tyes\n", "line 1: a text is empty"),
        (b"a\tb\tyes\n\xff\tb\tno\n", "line 2: this is not UTF-8 (byte 0xff)"),
        (b"a\rb\tb\tyes\n", "line 1: a carriage return stands within the line"),
        (b"", "is empty: put the original file there"),
        (b"\n \n", "is empty: put the original file there"),
    ],
)
def test_malformed_tsv_is_named_with_file_and_line(tmp_path, content, message):
    """Each malformed row is refused with the file, the line and what is wrong."""
    (tmp_path / "test-sw.tsv").write_bytes(content)
    found = refused(PAIRS, tmp_path)
    assert str(tmp_path / "test-sw.tsv") in found
    assert message in found


def test_gaps_of_published_data_are_left_out_where_the_source_says_so(tmp_path):
    """QQP has rows without a text or with columns missing, which every loader leaves out; elsewhere they are refused. More columns than
    the header has are never left out in silence.
    """
    rows = ["s1\ts2\tgold", "a\tb\tyes", "c\t\tno", "d\te", "f\tg\tno"]
    (tmp_path / "test-sw.tsv").write_text("\n".join(rows) + "\n")
    gaps = with_test(PAIRS, header=("s1", "s2", "gold"), gaps=True)
    assert [example.texts for example in read(gaps, tmp_path)] == [("a", "b"), ("f", "g")]
    assert "line 4: 2 columns between tabs instead of 3" in refused(with_test(gaps, gaps=False), tmp_path)
    (tmp_path / "test-sw.tsv").write_text("\n".join([*rows, "a\tb\tyes\tmore"]) + "\n")
    assert "line 6: 4 columns between tabs instead of 3" in refused(gaps, tmp_path)


def test_header_without_rows_is_refused(tmp_path):
    """A file of nothing but a header is empty."""
    (tmp_path / "test-sw.tsv").write_text("a\tb\tc\n")
    assert "has no examples" in refused(with_test(PAIRS, header=("a", "b", "c")), tmp_path)


def test_missing_file_says_what_to_put_there(tmp_path):
    """The path and, for licensed data, the reason and the format are in the sentence."""
    assert f"{tmp_path / 'test-sw.tsv'} does not exist: put the original file there, or name another folder" in refused(PAIRS, tmp_path)
    with pytest.raises(UserError, match=r"ccg.train\.tsv does not exist.*LDC2005T13"):
        data.examples(tasks.find("ccg"), "train", "en", tmp_path)


# --- CoNLL


def test_conll_sentences_end_at_empty_lines(tmp_path):
    """Any number of empty lines separates sentences; words may hold blanks; CRLF changes nothing."""
    (tmp_path / "swa.txt").write_bytes("\nJuma\tB-PER\nwa Nne\tI-PER\n\n\n\u3000\tO\n".encode().replace(b"\n", b"\r\n"))
    found = read(TAGS, tmp_path)
    assert [example.texts for example in found] == [("Juma", "wa Nne"), ("\u3000",)]
    assert [example.label for example in found] == [("B-PER", "I-PER"), ("O",)]


def test_wikiann_prefix_goes_only_where_all_words_have_it(tmp_path):
    """`sw:` before every word of the file is dropped; before some words only it is text."""
    (tmp_path / "swa.txt").write_text("sw:Juma\tB-PER\n\nsw::\tO\n")
    assert [example.texts for example in read(TAGS, tmp_path)] == [("Juma",), (":",)]
    (tmp_path / "swa.txt").write_text("sw:Juma\tB-PER\n\n:\tO\n")
    assert [example.texts for example in read(TAGS, tmp_path)] == [("sw:Juma",), (":",)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a\tO\nb O\n", "line 2: 1 columns instead of a word, a tab and its tag: 'b O'"),
        (b"a\tO\tO\n", "line 1: 3 columns"),
        (b"a\tO\n\nb\tO\nc\tB-PERS\n", "line 4: tags has no label 'B-PERS'; did you mean 'B-PER'?"),
        (b"a\tO\n\tO\n", "line 2: the word is empty"),
        (b"a\tO\n \nb\tO\n", "line 2: 1 columns"),
        (b"a\tO\nb\t\n", "line 2: the label is empty"),
    ],
)
def test_malformed_conll_is_named_with_file_and_line(tmp_path, content, message):
    """Spaces instead of tabs, garbage tags and missing columns are refused with file and line, never guessed."""
    (tmp_path / "swa.txt").write_bytes(content)
    found = refused(TAGS, tmp_path)
    assert str(tmp_path / "swa.txt") in found
    assert message in found


def test_conll_separator_is_a_fact_of_the_source(tmp_path):
    """A source whose files have spaces says so; then tabs are refused."""
    (tmp_path / "swa.txt").write_text("Juma B-PER\n")
    task = with_test(TAGS, separator=" ")
    assert read(task, tmp_path)[0].label == ("B-PER",)
    (tmp_path / "swa.txt").write_text("Juma\tB-PER\n")
    assert "instead of a word, a space and its tag" in refused(task, tmp_path)


# --- aligned files and JSON lines


def test_aligned_files_are_pairs(tmp_path):
    """Line i of both files is a pair: the language's text first, no label."""
    (tmp_path / "swh-eng.swh").write_text("moja\nmbili\n")
    (tmp_path / "swh-eng.eng").write_text("one\ntwo\n")
    assert [(example.texts, example.label) for example in read(TRANSLATIONS, tmp_path)] == [
        (("moja", "one"), None),
        (("mbili", "two"), None),
    ]


def test_unequal_or_empty_aligned_lines_are_refused(tmp_path):
    """Both counts, or the line that is empty, are named."""
    (tmp_path / "swh-eng.swh").write_text("moja\nmbili\n")
    (tmp_path / "swh-eng.eng").write_text("one\n")
    assert "swh-eng.eng: it has 1 lines, but" in refused(TRANSLATIONS, tmp_path)
    (tmp_path / "swh-eng.eng").write_text("one\n\n")
    assert "swh-eng.eng, line 2: the line is empty" in refused(TRANSLATIONS, tmp_path)


def test_jsonl_reads_the_columns(tmp_path):
    """Classification, tagging and retrieval each find their columns; numbers as labels are read as their digits."""
    (tmp_path / "f").write_bytes(json.dumps({"first": "a", "second": "b", "label": 1}).encode() + b"\r\n")
    task = with_test(PAIRS, reader="jsonl", files=("f",), values=(("1", "yes"),))
    assert [(example.texts, example.label) for example in read(task, tmp_path)] == [(("a", "b"), "yes")]
    (tmp_path / "f").write_text(json.dumps({"words": ["a", "b"], "tags": ["O", "B-PER"]}))
    assert read(with_test(TAGS, reader="jsonl", files=("f",)), tmp_path)[0].label == ("O", "B-PER")
    (tmp_path / "f").write_text(json.dumps({"own": "moja", "english": "one"}))
    assert read(with_test(TRANSLATIONS, reader="jsonl", files=("f",)), tmp_path)[0].texts == ("moja", "one")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"first": "a", "second": "b", "label": "yes"}\n{"first": "a"', "line 2: this is not JSON"),
        ("[1]", "line 1: this is not a JSON object"),
        ('{"first": "a", "label": "yes"}', "line 1: the column 'second' is missing"),
        ('{"first": "a", "second": 2, "label": "yes"}', "line 1: the columns 'first', 'second' must be texts"),
        ('{"first": "a", "second": "b", "label": null}', "line 1: the column 'label' is missing"),
    ],
)
def test_malformed_jsonl_is_named_with_file_and_line(tmp_path, content, message):
    """Truncated JSON and missing columns are refused with file and line."""
    (tmp_path / "f").write_text(content)
    assert message in refused(with_test(PAIRS, reader="jsonl", files=("f",)), tmp_path)


def test_jsonl_tags_must_fit_the_words(tmp_path):
    """Lists of words and tags of different lengths are refused."""
    (tmp_path / "f").write_text(json.dumps({"words": ["a", "b"], "tags": ["O"]}))
    assert "must be lists of one length" in refused(with_test(TAGS, reader="jsonl", files=("f",)), tmp_path)


# --- ids, clusters, parallel sets, limits


def test_ids_do_not_depend_on_the_order_of_rows(tmp_path):
    """Ids are functions of text and gold; a repeated example gets #2, the same text with other gold another id."""
    rows = ["a\tb\tyes", "c\td\tno", "a\tb\tyes", "a\tb\tno"]
    (tmp_path / "test-sw.tsv").write_text("\n".join(rows))
    (tmp_path / "test-en.tsv").write_text("\n".join(reversed(rows)))
    found = read(PAIRS, tmp_path, "sw")
    assert len({example.id for example in found}) == 4
    assert found[2].id == f"{found[0].id}#2"
    assert {example.id for example in found} == {example.id for example in read(PAIRS, tmp_path, "en")}
    assert all(len(example.id.removesuffix("#2")) == 16 for example in found)


def test_shared_texts_make_clusters(tmp_path):
    """Examples that share a text, directly or over a third one, are one cluster; an example that shares none has no cluster."""
    (tmp_path / "test-sw.tsv").write_text("a\tb\tyes\na\tc\tno\nd\tc\tyes\ne\tf\tno\ng\th\tno\nh\ti\tyes\n")
    clusters = [example.cluster for example in read(PAIRS, tmp_path)]
    assert clusters[0] == clusters[1] == clusters[2] is not None
    assert clusters[3] is None
    assert clusters[4] == clusters[5] not in (None, clusters[0])
    (tmp_path / "swa.txt").write_text("a\tO\nb\tO\n\na\tO\nb\tB-PER\n\na\tO\n")
    tagged = [example.cluster for example in read(TAGS, tmp_path)]
    assert tagged[0] == tagged[1] is not None
    assert tagged[2] is None


def test_parallel_rows_share_the_english_id_and_cluster(tmp_path):
    """In a parallel source row i has the id and the cluster of the English row i, even where its own texts repeat otherwise."""
    (tmp_path / "test-en.tsv").write_text("a\tb\tyes\na\tc\tno\nd\te\tno\n")
    (tmp_path / "test-sw.tsv").write_text("A\tB\tyes\nA2\tC\tno\nB\tE\tno\n")
    task = with_test(PAIRS, parallel=True)
    english, swahili = read(task, tmp_path, "en"), read(task, tmp_path, "sw")
    assert [(e.id, e.cluster, e.label) for e in swahili] == [(e.id, e.cluster, e.label) for e in english]
    assert [example.texts[0] for example in swahili] == ["A", "A2", "B"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("A\tB\tyes\n", "the English data that it must be parallel to has 2 rows"),
        ("A\tB\tyes\nC\tD\tyes\n", "line 2: the label is 'yes', but 'no'"),
    ],
)
def test_sets_that_are_not_parallel_are_refused(tmp_path, content, message):
    """Other row counts or labels than the English ones mean other releases: refused with the place."""
    (tmp_path / "test-en.tsv").write_text("a\tb\tyes\nc\td\tno\n")
    (tmp_path / "test-sw.tsv").write_text(content)
    assert message in refused(with_test(PAIRS, parallel=True), tmp_path)


def test_limit_keeps_the_same_examples_in_file_order(tmp_path):
    """`limit` is a function of ids alone: parallel sets keep the same examples, a smaller limit a subset, in the file's order."""
    for language, case in (("en", str.lower), ("sw", str.upper)):
        (tmp_path / f"test-{language}.tsv").write_text("".join(f"{case('a')}{i}\tb{i}\tyes\n" for i in range(50)))
    task = with_test(PAIRS, parallel=True)
    order = [example.id for example in read(task, tmp_path)]
    ten, five = ([e.id for e in read(with_test(task, limit=limit), tmp_path)] for limit in (10, 5))
    assert ten == [example.id for example in read(with_test(task, limit=10), tmp_path, "en")]
    assert len(ten) == 10
    assert set(five) < set(ten)
    assert ten == sorted(ten, key=order.index)
    assert [e.id for e in read(with_test(task, limit=99), tmp_path)] == order


# --- what sources may say: ids, clusters, `only`, `more`, `without`, candidates

IDS = with_test(PAIRS, columns=("first", "second", "label"), header=("first", "second", "label"), id="n", cluster="doc")


def table(folder, language, *rows):
    """A TSV file with a header and an id and a document beside the columns of pairs."""
    (folder / f"test-{language}.tsv").write_text("\n".join(["n\tdoc\tfirst\tsecond\tlabel", *("\t".join(row) for row in rows), ""]))


def test_ids_and_clusters_may_be_columns(tmp_path):
    """The columns are taken as they are; shared texts make no clusters then."""
    table(tmp_path, "sw", ("7", "x", "a", "b", "yes"), ("8", "y", "a", "c", "no"))
    assert [(e.id, e.cluster) for e in read(IDS, tmp_path)] == [("7", "x"), ("8", "y")]
    assert [e.cluster for e in read(with_test(IDS, cluster=""), tmp_path)] == [read(with_test(IDS, cluster=""), tmp_path)[0].cluster] * 2


def test_an_id_names_one_example(tmp_path):
    """The same id for another example is refused; a row that is there twice gets "#2"."""
    table(tmp_path, "sw", ("7", "x", "a", "b", "yes"), ("7", "x", "a", "b", "yes"))
    assert [example.id for example in read(IDS, tmp_path)] == ["7", "7#2"]
    table(tmp_path, "sw", ("7", "x", "a", "b", "yes"), ("7", "x", "a", "b", "no"))
    assert "test-sw.tsv, line 3: the id '7' names another example, too: that of 2" in refused(IDS, tmp_path)
    assert "line 1: the header has no column 'm'; known:" in refused(with_test(IDS, id="m"), tmp_path)


def test_parallel_sets_with_ids_are_matched_by_them(tmp_path):
    """Rows may stand in any order; ids that are missing on either side and labels that differ are refused."""
    task = with_test(IDS, parallel=True)
    table(tmp_path, "en", ("7", "x", "a", "b", "yes"), ("8", "y", "c", "d", "no"))
    table(tmp_path, "sw", ("8", "q", "C", "D", "no"), ("7", "q", "A", "B", "yes"))
    assert [(e.id, e.cluster, e.texts[0]) for e in read(task, tmp_path)] == [("8", "y", "C"), ("7", "x", "A")]
    table(tmp_path, "sw", ("7", "x", "A", "B", "no"), ("8", "y", "C", "D", "no"))
    assert "line 2: the label is 'no', but 'yes' in the English row" in refused(task, tmp_path)
    table(tmp_path, "sw", ("7", "x", "A", "B", "yes"))
    assert "there is no '8', which the English data has" in refused(task, tmp_path)
    table(tmp_path, "sw", ("7", "x", "A", "B", "yes"), ("9", "y", "C", "D", "no"))
    assert "line 3: the id '9' is not in the English data" in refused(task, tmp_path)


def test_only_keeps_rows_by_their_label_and_forgets_it(tmp_path):
    """Entailed pairs of inference data are pairs for ranking: labels as the source spells them, ids of the bare texts."""
    (tmp_path / "test-sw.tsv").write_text("a\tb\tyes\nc\td\tno\ne\tf\tmaybe\n")
    task = replace(with_test(PAIRS, only=("yes", "maybe"), values=(("yes", "1"),)), kind="ranking", labels=())
    found = read(task, tmp_path)
    assert [(e.texts, e.label) for e in found] == [(("a", "b"), None), (("e", "f"), None)]
    (tmp_path / "test-sw.tsv").write_text("c\td\tno\n")
    assert "the test data in 'sw' is empty" in refused(task, tmp_path)


def test_values_may_leave_rows_out(tmp_path):
    """A label that is renamed to nothing leaves its row out; an empty label does not."""
    (tmp_path / "test-sw.tsv").write_text("a\tb\tyes\nc\td\t-\n")
    task = with_test(PAIRS, values=(("-", ""),))
    assert [example.label for example in read(task, tmp_path)] == ["yes"]
    (tmp_path / "test-sw.tsv").write_text("a\tb\t\n")
    assert "line 1: the label is empty" in refused(task, tmp_path)


def test_more_sources_follow_under_free_ids(tmp_path):
    """Examples of further sources follow, each read in its own way; what is there already gets the next number."""
    (tmp_path / "test-sw.tsv").write_text("a\tb\tyes\na\tb\tyes\n")
    (tmp_path / "more").write_text("a\tb\t1\na\tb\t1\nc\td\t1\n")
    further = Source(columns=("first", "second", "label"), files=("more",), values=(("1", "yes"),))
    found = read(with_test(PAIRS, more=(further, further)), tmp_path)
    first = found[0].id
    assert [example.id for example in found[:4]] == [first, f"{first}#2", f"{first}#3", f"{first}#4"]
    assert len({example.id for example in found}) == len(found) == 8
    assert len(read(with_test(PAIRS, more=(further,), limit=3), tmp_path)) == 3
    (tmp_path / "more").write_text("a\tb\n")
    assert "more, line 1: 2 columns" in refused(with_test(PAIRS, more=(further,)), tmp_path)


def test_without_leaves_out_what_is_tested(tmp_path):
    """Examples whose first text is a first text of the other source, in English, are left out; further sources' too."""
    (tmp_path / "test-sw.tsv").write_text("a\tb\tyes\nc\td\tno\n")
    (tmp_path / "more").write_text("e\td\tno\na\td\tno\n")
    (tmp_path / "held-en").write_text("a\tz\tanything\nb\tz\tanything\n")
    held = Source(columns=("first", "second", "label"), files=("held-{language}",))
    further = Source(columns=held.columns, files=("more",))
    assert [e.texts[0] for e in read(with_test(PAIRS, without=held, more=(further,)), tmp_path)] == ["c", "e"]
    generated = Source(generate=lambda language: [Example("1", ("c", language), "yes")])
    assert [e.texts[0] for e in read(with_test(PAIRS, without=generated), tmp_path)] == ["a"]


def test_choices_have_one_text_per_label(tmp_path):
    """A beginning and as many continuations as labels; the beginning alone makes clusters."""
    columns = ("first", "x", "y", "label")
    task = with_test(replace(PAIRS, kind="choice", labels=("0", "1")), columns=columns)
    (tmp_path / "test-sw.tsv").write_text("a\tb\tc\t0\nd\tb\tc\t1\n")
    assert [(e.texts, e.label, e.cluster) for e in read(task, tmp_path)] == [(("a", "b", "c"), "0", None), (("d", "b", "c"), "1", None)]
    assert "line 1: 3 texts instead of a beginning and 3 continuations" in refused(replace(task, labels=("0", "1", "2")), tmp_path)
    (tmp_path / "test-sw.tsv").write_text("a\tb\tc\t2\n")
    assert "line 1: pairs has no label '2'; known: 0, 1" in refused(task, tmp_path)


def test_bare_texts_have_no_label(tmp_path):
    """Text for masked language modelling is one text an example."""
    (tmp_path / "en.txt").write_text("One line.\n\nAnother one.\n")
    task = Task("text", "mlm", "", train=Source(files=("{language}.txt",), reader="text"))
    assert [(e.texts, e.label) for e in data.examples(task, "train", "en", tmp_path)] == [(("One line.",), None), (("Another one.",), None)]
    assert data.labels(task) == ()


MINED = Task(
    name="mined",
    kind="mining",
    metric="pair_f1",
    languages=("de", "zh"),
    dev=Source(
        files=("{language}.text", "{language}.gold"), reader="bucc", candidates=Source(files=("{language}.english",), reader="bucc")
    ),
)


def test_mining_has_dev_data_and_candidates_in_its_languages(tmp_path):
    """Queries and candidates are read apart, in any of the task's languages."""
    (tmp_path / "de.text").write_text("de-1\tEins\nde-2\tZwei\n")
    (tmp_path / "de.gold").write_text("de-1\ten-1\n")
    (tmp_path / "de.english").write_text("en-1\tOne\nen-2\tTwo\n")
    assert [(e.id, e.label) for e in data.examples(MINED, "dev", "de", tmp_path)] == [("de-1", ("en-1",)), ("de-2", ())]
    assert [(e.id, e.label) for e in data.candidates(MINED, "dev", "deu_Latn", tmp_path)] == [("en-1", ("en-1",)), ("en-2", ("en-2",))]
    with pytest.raises(UserError, match="the test data of pairs has no candidates apart from its queries"):
        data.candidates(PAIRS, "test", "sw", tmp_path)


def test_file_names_may_have_codes_of_their_own(tmp_path):
    """`{code}` is what the source says of a language, else the canonical code."""
    for name in ("swa.tsv", "en.tsv"):
        (tmp_path / name).write_text("a\tb\tyes\n")
    task = with_test(PAIRS, files=("{code}.tsv",), codes=(("sw", "swa"),))
    assert read(task, tmp_path, "sw") == read(task, tmp_path, "en")


# --- languages, splits, labels


def test_language_may_be_given_in_any_code(tmp_path):
    """`swh_Latn` reads the files of `sw`."""
    (tmp_path / "test-sw.tsv").write_text("a\tb\tyes\n")
    assert read(PAIRS, tmp_path, "swh_Latn") == read(PAIRS, tmp_path, "sw")


def test_splits_and_languages_that_do_not_exist_are_refused(tmp_path):
    """A language or split that a task lacks is refused with what there is instead."""
    assert "pairs has no test data in 'de': choose from en, sw" in refused(PAIRS, tmp_path, "de")
    with pytest.raises(UserError, match="the task 'pairs' has no dev data"):
        data.examples(PAIRS, "dev", "en", tmp_path)
    with pytest.raises(UserError, match="no train data of its own: it is trained on 'mnli'"):
        data.examples(tasks.find("xnli"), "train", "en", tmp_path)
    with pytest.raises(UserError, match="no train data in 'sw': choose from en"):
        data.examples(replace(PAIRS, train=PAIRS.test), "train", "sw", tmp_path)


def test_labels_come_from_training_data_where_the_literal_has_none(tmp_path):
    """`labels=()` means the sorted labels of the training data; other splits may have more."""
    (tmp_path / "train.tsv").write_text("a\tN\nb\tS\\NP\n\nc\tN\n")
    (tmp_path / "eng.txt").write_text("a\tnew\n")
    source = Source(files=("train.tsv",), reader="conll")
    task = replace(TAGS, labels=(), train=source)
    assert data.labels(task, tmp_path) == ("N", "S\\NP")
    assert read(task, tmp_path, "en")[0].label == ("new",)
    assert data.labels(TAGS, tmp_path) == TAGS.labels
    assert data.labels(TRANSLATIONS, tmp_path) == ()


def test_columns_of_the_languages_table_fill_patterns(tmp_path):
    """A pattern may name a column that the language lacks: refused, not filled with nothing."""
    task = replace(with_test(PAIRS, files=("{flores}.tsv",)), languages=("pcm",))
    assert "no 'flores' for 'pcm'" in refused(task, tmp_path, "pcm")


# --- identity


def test_identity_is_that_of_the_bytes_not_of_the_place(tmp_path):
    """Same bytes elsewhere: same identity. Another byte, label name, limit or, where parallel, English file: another one."""
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        for language in ("en", "sw"):
            (tmp_path / folder / f"test-{language}.tsv").write_text("a\tb\tyes\n")
    source = PAIRS.test
    first = data.identity(source, "sw", tmp_path / "one")
    assert first.startswith("sha256:")
    assert first == data.identity(source, "swh", tmp_path / "two")
    others = [
        replace(source, limit=1),
        replace(source, parallel=True),
        replace(source, values=(("yes", "no"),)),
        replace(source, reader="jsonl"),
    ]
    assert len({first, *(data.identity(other, "sw", tmp_path / "one") for other in others)}) == 5
    parallel = replace(source, parallel=True)
    before = data.identity(parallel, "sw", tmp_path / "two")
    (tmp_path / "two" / "test-en.tsv").write_text("a\tB\tyes\n")
    assert data.identity(parallel, "sw", tmp_path / "two") != before
    assert data.identity(source, "sw", tmp_path / "two") == first


def test_identity_covers_all_that_a_source_says(tmp_path):
    """Every field that changes examples changes the identity, so do the files of `more` and `without`; candidates have their own."""
    for name in ("test-sw.tsv", "test-en.tsv", "other"):
        (tmp_path / name).write_text("a\tb\tyes\n")
    source, other = PAIRS.test, Source(columns=("first", "second", "label"), files=("other",))
    changed = {"only": ("yes",), "id": "n", "cluster": "n", "more": (other,), "without": other, "columns": ("x", "y"), "separator": " "}
    found = {name: data.identity(replace(source, **{name: value}), "sw", tmp_path) for name, value in changed.items()}
    assert len({data.identity(source, "sw", tmp_path), *found.values()}) == 1 + len(changed)
    assert data.identity(replace(source, candidates=other), "sw", tmp_path) == data.identity(source, "sw", tmp_path)
    (tmp_path / "other").write_text("a\tb\tno\n")
    for name in ("more", "without"):
        assert data.identity(replace(source, **{name: changed[name]}), "sw", tmp_path) != found[name]
    made = Source(generate=lambda language: [Example("1", (language,), "yes")])
    assert data.identity(replace(made, more=(other,)), "sw", tmp_path) != data.identity(made, "sw", tmp_path)
    hub = {"dataset": "a/b", "revision": COMMIT}
    changed = {"only": ("yes",), "id": "n", "begins": ("n", "{name}-"), "more": (replace(made),), "columns": ("x", "y")}
    assert (
        len({data.identity(Source(**hub, **{name: value}), "sw") for name, value in changed.items()} | {data.identity(Source(**hub), "sw")})
        == 6
    )


def test_candidates_of_all_languages_have_one_identity(tmp_path):
    """A pool that is the same file in every language is the same; one that depends on the language is not."""
    (tmp_path / "pool").write_text("{}")
    for reader, num in (("mewslix_entities", 1), ("squad_candidates", 2)):
        source = Source(files=("pool",), reader=reader)
        assert len({data.identity(source, code, tmp_path) for code in ("en", "sw")}) == num


def test_identity_of_the_hub_names_the_commit():
    """`hub:<data set>@<commit>:<subset>:<split>:...`, without loading anything."""
    found = data.identity(tasks.find("xnli").test, "sw")
    assert found.startswith("hub:facebook/xnli@b8dd5d7af51114dbda02c0e3f6133f332186418e:sw:test:")
    assert found != data.identity(tasks.find("xnli").test, "ar")


def test_generated_examples_are_identified_by_their_content(tmp_path):
    """The identity of a generated source changes with its examples only, and `--data` does not apply to it."""

    def source(*texts):
        return Source(generate=lambda language: [Example(text, (text + language,), "yes") for text in texts])

    assert data.identity(source("a"), "sw") == data.identity(source("a"), "sw", tmp_path) != data.identity(source("b"), "sw")
    assert data.identity(source("a"), "en") != data.identity(source("a"), "sw")
    assert [example.id for example in read(replace(PAIRS, test=source("a", "b")), tmp_path)] == ["a", "b"]
    assert "have the same id" in refused(replace(PAIRS, test=source("a", "a")), tmp_path)
    assert "the test data in 'sw' is empty" in refused(replace(PAIRS, test=source()), tmp_path)


# --- the Hub

COMMIT = "0" * 40


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A function that makes a parquet data set with a configuration per language, laid out as on the Hub, and returns its place.

    `datasets` itself loads it, offline.
    """
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()

    def make(**configurations):
        root = tmp_path / "hub"
        lines = ["---", "configs:"]
        for name, table in configurations.items():
            (root / name).mkdir(parents=True)
            table.to_parquet(root / name / "test-00000-of-00001.parquet")
            lines += [f"- config_name: {name}", "  data_files:", "  - split: test", f"    path: {name}/test-*"]
        (root / "README.md").write_text("\n".join([*lines, "---", ""]))
        return {"dataset": str(root), "revision": COMMIT, "subset": "{language}", "split": "test"}

    yield make
    datasets.enable_progress_bars()


def test_hub_class_numbers_become_names(hub):
    """Numbers of ClassLabel columns, single or in lists, are read as their names; further columns are ignored."""
    features = datasets.Features(
        {"n": datasets.Value("int64"), "label": datasets.ClassLabel(names=["no", "yes"])}
        | {name: datasets.Value("string") for name in ("first", "second")}
    )
    rows = {"n": [1, 2], "label": [1, 0], "first": ["a", "c"], "second": ["b", "d"]}
    place = hub(sw=datasets.Dataset.from_dict(rows, features), en=datasets.Dataset.from_dict(rows, features))
    found = data.examples(with_test(PAIRS, **place, parallel=True), "test", "sw")
    assert [(example.texts, example.label) for example in found] == [(("a", "b"), "yes"), (("c", "d"), "no")]


def test_hub_tags_and_pairs(hub):
    """Tagging reads lists of words and of class numbers, retrieval two text columns; ids equal those of local files."""
    features = datasets.Features(
        {"words": datasets.List(datasets.Value("string")), "tags": datasets.List(datasets.ClassLabel(names=["O", "B-PER", "I-PER"]))}
        | {"own": datasets.Value("string"), "english": datasets.Value("string")}
    )
    rows = {"words": [["Juma", "yu"]], "tags": [[1, 0]], "own": ["moja"], "english": ["one"]}
    place = hub(sw=datasets.Dataset.from_dict(rows, features))
    assert data.examples(with_test(TAGS, **place), "test", "sw")[0].label == ("B-PER", "O")
    assert data.examples(with_test(TRANSLATIONS, **place), "test", "sw")[0].texts == ("moja", "one")


SPAN = Task(
    name="span",
    kind="span",
    metric="squad_f1",
    languages=("sw", "en"),
    test=Source(columns=("question", "context", "answers"), files=("{language}.json",), reader="squad", id="id"),
)


def test_hub_spans_equal_local_ones(hub, tmp_path):
    """Lists of answers and starts, ids and clusters are those of the original file; answers that do not stand there are refused."""
    context = "One is 1. Two is 2."
    rows = {
        "id": ["b", "a"],
        "context": [context] * 2,
        "question": ["Two?", "Three?"],
        "answers": [{"text": ["2", "Two"], "answer_start": [17, 10]}, {"text": [], "answer_start": []}],
    }
    wrong = {**rows, "answers": [{"text": ["2"], "answer_start": [1]}] * 2}
    place = hub(sw=datasets.Dataset.from_dict(rows), en=datasets.Dataset.from_dict(wrong))
    qas = [
        {"id": "b", "question": "Two?", "answers": [{"text": "2", "answer_start": 17}, {"text": "Two", "answer_start": 10}]},
        {"id": "a", "question": "Three?", "answers": [], "is_impossible": True},
    ]
    (tmp_path / "sw.json").write_text(json.dumps({"data": [{"paragraphs": [{"context": context, "qas": qas}]}]}))
    found = data.examples(with_test(SPAN, **place), "test", "sw")
    assert found == read(SPAN, tmp_path)
    assert [(e.id, e.label, e.starts, e.cluster) for e in found] == [("b", ("2", "Two"), (17, 10), "a"), ("a", (), (), "a")]
    assert "row 1: the answer '2' does not stand at character 1" in refused(with_test(SPAN, **place), None, "en")


def test_hub_choices_rows_of_a_language_and_hidden_labels(hub):
    """Templates reach into lists; `begins` keeps the rows of a language; a hidden label may be renamed to nothing."""
    features = datasets.Features(
        {"id": datasets.Value("string"), "stem": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])}
        | {"ends": datasets.List(datasets.Value("string"))}
    )
    ends = [["x", "y"]] * 3
    rows = {"id": ["Swahili-1", "english-1", "swahili-2"], "stem": ["a", "b", "c"], "ends": ends, "label": [1, 0, -1]}
    columns = ("{stem}:", "{ends[0]}", "{ends[1]}", "label")
    task = replace(PAIRS, kind="choice", languages=("sw",))
    task = with_test(task, **hub(sw=datasets.Dataset.from_dict(rows, features)), columns=columns, id="id", begins=("id", "{name}-"))
    task = with_test(task, values=(("-1", ""),))
    assert [(e.id, e.texts, e.label) for e in read(task, None)] == [("Swahili-1", ("a:", "x", "y"), "yes")]
    assert "row 3: the label -1 has no name" in refused(with_test(task, values=()), None)


def test_hub_and_local_ids_are_equal(hub, tmp_path):
    """The same rows have the same ids, whether from the Hub or from a file."""
    place = hub(sw=datasets.Dataset.from_dict({"first": ["a"], "second": ["b"], "label": ["yes"]}))
    (tmp_path / "test-sw.tsv").write_text("a\tb\tyes\n")
    assert data.examples(with_test(PAIRS, **place), "test", "sw") == read(PAIRS, tmp_path)


def test_hub_data_that_does_not_fit_is_refused(hub):
    """A missing column, an unknown label, a hidden label (-1) and a missing configuration are each one sentence."""
    hidden = datasets.Features(
        {name: datasets.Value("string") for name in ("first", "second")} | {"label": datasets.ClassLabel(names=["no", "yes"])}
    )
    rows = {"first": ["a"], "second": ["b"]}
    place = hub(
        sw=datasets.Dataset.from_dict({**rows, "label": ["ye"]}),
        en=datasets.Dataset.from_dict({**rows, "label": [-1]}, hidden),
        de=datasets.Dataset.from_dict({**rows, "labels": ["yes"]}),
    )
    task = replace(with_test(PAIRS, **place), languages=("sw", "en", "de", "fr"))
    assert "row 1: pairs has no label 'ye'; did you mean 'yes'?" in refused(task, None, "sw")
    assert "row 1: the label -1 has no name" in refused(task, None, "en")
    assert "has no column 'label'; did you mean 'labels'?" in refused(task, None, "de")
    assert "could not be loaded from the Hub (BuilderConfig 'fr' not found" in refused(task, None, "fr")


def test_hub_is_asked_for_the_pinned_commit_and_runs_no_code(monkeypatch):
    """`load_dataset` gets exactly data set, subset, split and commit; a cache that holds another commit is refused."""
    asked = []

    def load_dataset(*args, **kwargs):
        asked.append((args, kwargs))
        table = datasets.Dataset.from_dict({"first": ["a"], "second": ["b"], "label": ["yes"]})
        table.info.download_checksums = {f"hf://datasets/owner/pairs@{held}/sw/test.parquet": {}}
        return table

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    task = with_test(PAIRS, dataset="owner/pairs", revision=COMMIT, subset="{language}", split="test")
    held = COMMIT
    assert len(data.examples(task, "test", "sw")) == 1
    assert asked == [(("owner/pairs", "sw"), {"split": "test", "revision": COMMIT})]
    held = "1" * 40
    assert f"the local cache holds hf://datasets/owner/pairs@{held}/sw/test.parquet, but commit {COMMIT} is wanted" in refused(task, None)


def test_hub_without_connection_is_one_sentence(monkeypatch, tmp_path):
    """Offline and not in the cache: refused with what to do, no traceback."""
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    found = refused(with_test(PAIRS, dataset="raystilts/does-not-exist", revision=COMMIT, split="test"), None)
    assert "raystilts/does-not-exist" in found
    assert "use --data" in found


def test_sources_without_a_pinned_commit_are_refused():
    """Where no commit could be checked, the Hub is not asked: the sentence says why and names --data."""
    for task in (tasks.find("ccg"), replace(PAIRS, train=replace(PAIRS.test, dataset="a/b", exclude="nobody could check it"))):
        source = data.source_of(task, "train")
        with pytest.raises(UserError, match=r"no commit is pinned \(.*use --data"):
            data.examples(task, "train", "en")
        with pytest.raises(UserError, match="no commit is pinned"):
            data.identity(source, "en")


# --- the development data


@needs_shared
@pytest.mark.parametrize(
    ("task", "split", "languages", "count"),
    [
        ("xnli", "dev", 15, 2490),
        ("taxinli", "train", 1, 10071),
        ("wikiann", "train", 1, 20000),
        ("wikiann", "dev", 22, None),
        ("udpos", "test", 16, None),
        ("ccg", "train", 1, 11303),
        ("ccg", "dev", 1, 1864),
        ("pawsx", "dev", 7, 2000),
        ("sib200", "train", 1, 701),
        ("sib200", "dev", 36, 99),
        ("sib200", "test", 36, 204),
        ("tatoeba", "test", 41, None),
        ("masakhaner", "test", 8, None),
        ("xquad", "test", 12, 1190),
        ("tydiqa", "train", 1, 3696),
        ("copa", "train", 1, 400),
        ("xcopa", "test", 11, 500),
        ("csqa", "train", 1, 9741),
        ("csqa", "dev", 1, 1221),
        ("cosmosqa", "dev", 1, 2985),
    ],
)
def test_development_data_has_the_published_counts(task, split, languages, count):
    """As many languages are there as the README says, and the first of them are read whole, with its counts."""
    task = tasks.find(task)
    source = data.source_of(task, split)
    present = [
        code
        for code in (("en",) if split == "train" else task.languages)
        if (
            SHARED / source.files[0].format(language=code, **{c: getattr(LANGUAGES[code], c) for c in ("iso3", "tatoeba", "flores")})
        ).exists()
    ]
    assert len(present) == languages
    for code in present[:6]:  # the check of the whole folder has a test of its own
        found = data.examples(task, split, code, SHARED)
        assert count is None or len(found) == count
        assert len({example.id for example in found}) == len(found)


@needs_shared
def test_premises_of_xnli_are_clusters_in_all_languages():
    """Three hypotheses share a premise: 830 clusters of three, the same in every language as ids are."""
    english, swahili = (data.examples(tasks.find("xnli"), "dev", code, SHARED) for code in ("en", "sw"))
    assert [(e.id, e.cluster) for e in english] == [(e.id, e.cluster) for e in swahili]
    assert len({example.cluster for example in english} - {None}) == 830


@needs_shared
def test_questions_of_xquad_have_one_id_in_all_languages():
    """1,190 questions about 240 passages: ids and clusters are the same in every language, and so is the number of answers."""
    found = [data.examples(tasks.find("xquad"), "test", code, SHARED) for code in ("en", "th", "ro")]
    assert len({tuple(sorted((e.id, e.cluster, len(e.label)) for e in examples)) for examples in found}) == 1
    assert len({example.cluster for example in found[0]}) == 240


@needs_shared
def test_questions_that_are_tested_can_be_left_out_of_training():
    """Of SQuAD's part 1, 73 questions are in XQuAD's English, of part-2-dev 37; parts 1 and 2 share 155 questions."""
    sources = {name: Source(files=(f"squad/{name}.json",), reader="squad") for name in ("part-1", "part-2", "part-2-dev")}
    xquad = data.source_of(tasks.find("xquad"), "test")

    def count(name, **changes):
        task = Task("squad-part", "span", "squad_f1", train=replace(sources[name], **changes))
        return len(data.examples(task, "train", "en", SHARED))

    assert [count(name) for name in sources] == [4639, 3547, 444]
    assert [count(name) - count(name, without=xquad) for name in sources] == [73, 0, 37]
    assert count("part-1", more=(replace(sources["part-2"], without=sources["part-1"]),)) == 4639 + 3547 - 155


@needs_shared
def test_masakhaner_dates_are_outside():
    """Dates, which English training data does not mark, are outside in the gold, and nothing else is renamed."""
    found = data.examples(tasks.find("masakhaner"), "test", "yo", SHARED)
    tags = [tag for example in found for tag in example.label or ()]
    assert (len(found), len(tags), tags.count("B-PER"), tags.count("O")) == (1964, 45609, 766, 41858 + 312 + 613)


def test_a_limit_is_part_of_the_identity_of_generated_examples():
    """A smaller limit on generated examples is other data; one that keeps them all is the same data."""
    source = Source(generate=lambda language: [Example(str(i), (language,), "a") for i in range(5)])
    whole, cut, loose = (data.identity(replace(source, limit=limit), "sw") for limit in (None, 3, 9))
    assert whole == loose != cut
