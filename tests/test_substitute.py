"""Synonyms: tables are read or refused, words are drawn as the method's equations say, and what depends on it is identified."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from scipy import stats

from raystilts import data, substitute
from raystilts.errors import UserError
from raystilts.execute import Site, check_inputs
from raystilts.stage import Architecture, Encoder, Recipe
from raystilts.store import Store
from raystilts.study import Study, make_plan
from raystilts.task import Example, Kind, Source, Task
from raystilts.tasks import cldr

TABLE = substitute.table_of([("good", "fine", "Nice", "good", "fine"), ("Cat", "feline"), ("alone",)])
NEIGHBOURS = Source(files=("neighbours.json",), reader="neighbours")
PAIRS = Task(
    "pairs",
    "classification",
    "accuracy",
    labels=("no", "yes"),
    train=Source(files=("train.tsv",), columns=("a", "b", "label"), synonyms=NEIGHBOURS, copies=3),
    test=Source(files=("train.tsv",), columns=("a", "b", "label")),
)


def drawn(*texts: str, copies: int = 1, kind: Kind = "classification", name: str = "x") -> list[Example]:
    """Copies of one example."""
    return list(substitute.copies([Example(name, texts, "no")], TABLE, copies, kind, "t"))


def test_a_table_maps_words_to_themselves_and_their_synonyms():
    """In lower case, each choice once; a word without synonyms is not there."""
    assert TABLE == {"good": ("good", "fine", "nice"), "cat": ("cat", "feline")}


def test_substitutions_have_the_frequencies_of_the_table():
    """Each word is a uniform draw from itself and its synonyms (chi-square), independent of the word before it."""
    found = [copy.texts[0].split() for number in range(3000) for copy in drawn("good cat", name=str(number))]
    first, second = Counter(words[0] for words in found), Counter(words[1] for words in found)
    assert first.keys() == {"good", "fine", "nice"}
    assert second.keys() == {"cat", "feline"}
    assert stats.chisquare(list(first.values())).pvalue > 0.01
    assert stats.chisquare(list(second.values())).pvalue > 0.01
    together = [[sum(words == [a, b] for words in found) for b in second] for a in first]
    assert stats.chi2_contingency(together).pvalue > 0.01


def test_draws_depend_on_id_and_copy_alone():
    """The same in any order and company; copies of an example, and equal texts with other ids, differ."""
    examples = [Example(str(number), ("good cat " * 20,)) for number in range(4)]
    forward = list(substitute.copies(examples, TABLE, 3, "classification", "t"))
    backward = list(substitute.copies(examples[:0:-1], TABLE, 5, "classification", "t"))
    again = {example.id: example.texts for example in backward}
    assert all(again[example.id] == example.texts for example in forward if example.id[0] != "0")
    assert len({example.texts for example in forward}) == 12


def test_copies_replace_the_example_and_share_its_cluster():
    """Ids are the example's with the copy's number; label and cluster are kept, and an example without a cluster is one."""
    assert [(copy.id, copy.cluster, copy.label) for copy in drawn("good", copies=2)] == [("x~1", "x", "no"), ("x~2", "x", "no")]
    (copy,) = substitute.copies([Example("x", ("good",), "no", "passage")], TABLE, 1, "classification", "t")
    assert copy.cluster == "passage"


def test_other_words_punctuation_and_case_stay():
    """Only whole words of the table change, wherever they stand; a synonym takes the case of the word that it replaces."""
    text = 'A Good, "GOOD" (good)  goodness; cat\'s Cat-like CATs\tno_good été.'
    choices = {"Good": {"Good", "Fine", "Nice"}, "GOOD": {"GOOD", "FINE", "NICE"}, "good": {"good", "fine", "nice"}}
    seen: dict[str, set[str]] = {name: set() for name in choices}
    for (found,) in (copy.texts for copy in drawn(text, copies=60)):
        words = substitute.WORD.findall(found)
        assert substitute.WORD.sub("*", found) == substitute.WORD.sub("*", text)
        for name, place in (("Good", 1), ("GOOD", 2), ("good", 3)):
            seen[name].add(words[place])
        assert words[4:6] == ["goodness", "cat's"]
        assert words[6] in {"Cat", "Feline"}
        assert words[7:] == ["like", "CATs", "no", words[10], "été"]
    assert seen == choices


def test_both_sentences_and_all_choices_are_drawn():
    """Every text of an example, each word on its own."""
    found = [copy.texts for copy in drawn("good", "good", "good", copies=60, kind="choice")]
    assert len(set(found)) > 15


def test_words_of_a_tagging_task_are_replaced_one_to_one():
    """As many words and tags as before, with punctuation that belongs to a word kept."""
    for copy in substitute.copies([Example("x", ("A", "good,", "Cat"), ("O", "O", "B"))], TABLE, 30, "tagging", "t"):
        assert len(copy.texts) == 3
        assert copy.texts[0] == "A"
        assert copy.texts[1] in {"good,", "fine,", "nice,"}
        assert copy.texts[2] in {"Cat", "Feline"}
        assert copy.label == ("O", "O", "B")


def test_span_tasks_and_no_copies_are_refused():
    """Answers would not stand where they stood; the sentence names the task."""
    with pytest.raises(UserError, match="t: words of a span task cannot be replaced"):
        drawn("good", kind="span")
    with pytest.raises(UserError, match="t: copies is 0; give at least 1"):
        drawn("good", copies=0)


# --- tables on disk, and what depends on them


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with twenty pairs and a table."""
    rows = [f"a good day {number}\tno cat {number}\t{('no', 'yes')[number % 2]}\n" for number in range(20)]
    (tmp_path / "train.tsv").write_text("".join(rows), encoding="utf-8")
    (tmp_path / "neighbours.json").write_text(json.dumps({"good": ["fine", "nice"], "cat": ["feline"], "day": []}), encoding="utf-8")
    return tmp_path


def test_copies_replace_the_data(place: Path):
    """Three copies of twenty examples, in both sentences; the test data, which names no table, stays."""
    found = data.examples(PAIRS, "train", "en", place)
    assert len(found) == len({example.id for example in found}) == 60
    assert len({example.cluster for example in found}) == 20
    assert {example.texts[0].split()[1] for example in found} == {"good", "fine", "nice"}
    assert {example.texts[1].split()[1] for example in found} == {"cat", "feline"}
    plain = data.examples(replace(PAIRS, train=PAIRS.test), "train", "en", place)
    by_id = {example.id: example for example in plain}
    assert all(by_id[example.id.rpartition("~")[0]].label == example.label for example in found)
    assert data.examples(PAIRS, "test", "en", place)[0].texts == plain[0].texts


def test_a_limit_counts_examples_and_not_copies(place: Path):
    """`limit` 5 with three copies: fifteen, of the same five examples that are kept without copies."""
    assert PAIRS.train
    assert PAIRS.test
    found = data.examples(replace(PAIRS, train=replace(PAIRS.train, limit=5)), "train", "en", place)
    kept = data.examples(replace(PAIRS, train=replace(PAIRS.test, limit=5)), "train", "en", place)
    assert [example.id for example in found] == [f"{example.id}~{number}" for example in kept for number in (1, 2, 3)]


def test_identity_is_of_the_table_and_the_number_of_copies(place: Path):
    """Another table or number of copies is another identity; a source without a table has the one that it always had."""
    source = PAIRS.train
    assert source
    before = data.identity(source, "en", place)
    assert before == data.identity(source, "en", place)
    assert before != data.identity(replace(source, copies=2), "en", place)
    assert data.identity(replace(source, synonyms=None), "en", place) == data.identity(
        replace(source, synonyms=None, copies=1), "en", place
    )
    assert data.origins(source, place) == data.origins(replace(source, synonyms=None), place)
    (place / "neighbours.json").write_text('{"good": ["fine"]}', encoding="utf-8")
    assert data.identity(source, "en", place) != before


@pytest.mark.parametrize(
    ("reader", "text"),
    [
        ("neighbours", '{"good": ["fine", "nice"],\n "day": [],\n "cat": ["feline"]}'),
        ("neighbours", '{"good": [["fine", 0.93], ["nice", 1]], "cat": [["feline", 0.8]]}'),
        ("synonyms", "good\tfine\tnice\ncat\tfeline\n"),
    ],
)
def test_the_formats_say_the_same(place: Path, reader: Any, text: str):
    """Lists of words, lists of words with similarities, and words between tabs give the same copies."""
    assert PAIRS.train
    expected = [example.texts for example in data.examples(PAIRS, "train", "en", place)]
    (place / "other").write_text(text, encoding="utf-8")
    task = replace(PAIRS, train=replace(PAIRS.train, synonyms=Source(files=("other",), reader=reader)))
    assert [example.texts for example in data.examples(task, "train", "en", place)] == expected


@pytest.mark.parametrize(
    ("reader", "text", "what"),
    [
        ("neighbours", '{"good": ["fine"],\n "cat": "feline"}', "line 2: the synonyms of 'cat' are neither a list of words nor"),
        ("neighbours", '{"good": ["fine"],\n"cat":\n [["feline", "0.8"]]}', "line 2: the synonyms of 'cat' are neither"),
        ("neighbours", '{"good": ["fine"],\n\n "Good": ["nice"]}', "line 3: 'Good' stands in line 1, too"),
        ("neighbours", '{"a": ["x:", ":", "\\":"],\n "good": ["very fine"]}', "line 2: 'very fine' is no single word"),
        ("neighbours", '{"good": ["fine"],\n', "line 2: this is not JSON"),
        ("neighbours", '[["good", "fine"]]', "line 1: this is not a JSON object"),
        ("synonyms", "good\tfine\ncat\t\n", "line 2: a word is empty"),
        ("synonyms", "good\tvery fine\n", "line 1: 'very fine' is no single word"),
        ("synonyms", "good\tfine\n\ncat\tfeline\n", "line 2: a word is empty"),
        ("synonyms", "", "the file is empty"),
    ],
)
def test_bad_tables_are_found_before_anything_is_trained(place: Path, tmp_path_factory: Any, reader: Any, text: str, what: str):
    """The check of all inputs before a sweep names the table's file and line."""
    assert PAIRS.train
    (place / "bad").write_text(text, encoding="utf-8")
    task = replace(PAIRS, train=replace(PAIRS.train, synonyms=Source(files=("bad",), reader=reader)))
    encoder = Encoder("tiny", architecture=Architecture(1, 16, 1, 16, 60), texts=cldr.TEXTS)
    plan = make_plan(Study("s", "?", (encoder,), (), (task,), (1,), {"default": Recipe(num_steps=1)}), place)
    with pytest.raises(UserError) as error:
        check_inputs(plan, Site(Store(tmp_path_factory.mktemp("store")), "run", data=place))
    assert what in str(error.value)
    assert str(place / "bad") in str(error.value)


def test_words_of_other_splits_are_not_replaced(place: Path):
    """A test source that names synonyms is refused: the score would not be that of the test set."""
    with pytest.raises(UserError, match="words are replaced in training data only"):
        data.examples(replace(PAIRS, test=PAIRS.train), "test", "en", place)


def test_without_a_folder_the_table_has_no_place(place: Path):
    """A table is a local file: where data come from the Hub, the sentence says to use --data."""
    with pytest.raises(UserError, match="use --data"):
        data.identity(NEIGHBOURS, "en", None)


def test_the_embedded_world_has_a_table():
    """CLDR's names can be substituted without any file: a task of generated examples and a generated table."""
    source = cldr.KIND.train
    assert source
    task = replace(cldr.KIND, train=replace(source, synonyms=Source(generate=cldr.synonyms), copies=2))
    plain, found = data.examples(cldr.KIND, "train", "en"), data.examples(task, "train", "en")
    assert len(found) == 2 * len(plain)
    changed = sum(example.texts != found[2 * place + copy].texts for place, example in enumerate(plain) for copy in (0, 1))
    assert changed > 20
    assert task.train
    assert data.identity(task.train, "en") != data.identity(source, "en")
