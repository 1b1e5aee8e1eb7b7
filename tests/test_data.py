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
    assert "swh-eng.eng has 1 lines, but" in refused(TRANSLATIONS, tmp_path)
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
    for name in ("wikiann", "ccg"):
        source = data.source_of(tasks.find(name), "train")
        with pytest.raises(UserError, match=r"no commit is pinned.*use --data"):
            data.examples(tasks.find(name), "train", "en")
        with pytest.raises(UserError, match="no commit is pinned"):
            data.identity(source, "en")


# --- the development data


@needs_shared
@pytest.mark.parametrize(
    ("task", "split", "languages", "count"),
    [
        ("xnli", "dev", 15, 2490),
        ("mnli", "train", 1, 10071),
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
    ],
)
def test_development_data_has_the_published_counts(task, split, languages, count):
    """Every file of ../shared/data that a task reads is read whole, in as many languages as are there, with the README's counts."""
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
    for code in present:
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
