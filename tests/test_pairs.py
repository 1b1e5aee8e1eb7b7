"""Generalised zero-shot: texts of an example in two languages, from the data to the report."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from raystilts import data, model, results
from raystilts.errors import UserError
from raystilts.execute import Site, execute, perform_here
from raystilts.method import Method
from raystilts.pairs import ordered
from raystilts.report.view import points
from raystilts.stage import Architecture, Encoder, Recipe
from raystilts.store import Store
from raystilts.study import Study, make_plan
from raystilts.task import Source, Task
from raystilts.tasks.nli import PAWSX_PAIRS, XNLI, XNLI_PAIRS

CODES = ("de", "en", "sw")
LABELS = ("entailment", "neutral", "contradiction")


def written(folder: Path, name: str, num: int = 12) -> None:
    """A parallel set in three languages; two hypotheses share a premise."""
    (folder / "xnli").mkdir(exist_ok=True)
    for code in CODES:
        rows = [f"{code} premise {number // 2}\t{code} hypothesis {number}\t{LABELS[number % 3]}\n" for number in range(num)]
        (folder / "xnli" / f"{name}-{code}.tsv").write_text("".join(rows), encoding="utf-8")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a test and a dev set."""
    folder = tmp_path_factory.mktemp("pairs")
    written(folder, "test")
    written(folder, "dev")
    return folder


def test_all_ordered_pairs():
    """15 x 15 pairs of XNLI, 7 x 7 of PAWS-X, each language with itself among them."""
    assert ordered(("de", "en")) == ("de--de", "de--en", "en--de", "en--en")
    assert len(set(XNLI_PAIRS.languages)) == 225
    assert len(set(PAWSX_PAIRS.languages)) == 49


def test_a_pair_has_its_premise_in_one_language_and_its_hypothesis_in_the_other(place: Path):
    """Ids, labels and clusters are those of the English examples, in every pair; a language with itself is the standard test set."""
    english = data.examples(XNLI, "test", "en", place)
    for code in ("de--sw", "sw--de", "en--en"):
        found = data.examples(XNLI_PAIRS, "test", code, place)
        first, second = code.split("--")
        assert [example.texts for example in found] == [(f"{first} premise {i // 2}", f"{second} hypothesis {i}") for i in range(12)]
        assert [(e.id, e.label, e.cluster) for e in found] == [(e.id, e.label, e.cluster) for e in english]
    assert data.examples(XNLI_PAIRS, "test", "sw--sw", place) == data.examples(XNLI, "test", "sw", place)
    with pytest.raises(UserError, match="no test data in 'de--yo'"):
        data.examples(XNLI_PAIRS, "test", "de--yo", place)


def test_a_limit_keeps_the_same_examples_in_every_pair(place: Path):
    """Parallel examples, cut once, after they were joined."""
    assert XNLI_PAIRS.test
    task = replace(XNLI_PAIRS, test=replace(XNLI_PAIRS.test, limit=5))
    assert len({tuple(example.id for example in data.examples(task, "test", code, place)) for code in ("de--sw", "sw--en", "en--en")}) == 1


def test_identity_is_of_both_files(place: Path, tmp_path: Path):
    """The order of the languages counts, and so does a change of either's file, but no other's."""
    source = XNLI_PAIRS.test
    assert source
    written(tmp_path, "test")
    pairs = ("de--en", "en--de", "sw--en", "de--de")
    before = {code: data.identity(source, code, tmp_path) for code in pairs}
    assert len(set(before.values())) == len(pairs)
    assert before == {code: data.identity(source, code, place) for code in pairs}
    path = tmp_path / "xnli" / "test-sw.tsv"
    path.write_text(path.read_text(encoding="utf-8").replace("premise", "Premise"), encoding="utf-8")
    after = {code: data.identity(source, code, tmp_path) for code in pairs}
    assert [code for code in pairs if before[code] != after[code]] == ["sw--en"]


def test_rows_with_another_label_than_english_are_left_out(tmp_path: Path):
    """As in PAWS-X, where untranslated rows have another label; the ids of the rest are the English ones. Unequal files are refused."""
    source = Source(files=("{language}.tsv",), columns=("a", "b", "label"), pairs=True)
    task = Task("t", "classification", "accuracy", languages=ordered(CODES), labels=("0", "1"), test=source)
    for code, labels in (("de", "0110"), ("en", "0101"), ("sw", "1101")):
        rows = [f"{code} a{number}\t{code} b{number}\t{label}\n" for number, label in enumerate(labels)]
        (tmp_path / f"{code}.tsv").write_text("".join(rows), encoding="utf-8")
    kept = {code: [example.texts for example in data.examples(task, "test", code, tmp_path)] for code in ("de--sw", "de--en", "sw--sw")}
    assert kept["de--sw"] == [("de a1", "sw b1")]
    assert kept["de--en"] == [("de a0", "en b0"), ("de a1", "en b1")]
    assert kept["sw--sw"] == [(f"sw a{number}", f"sw b{number}") for number in (1, 2, 3)]
    (tmp_path / "sw.tsv").write_text("a\tb\t0\n", encoding="utf-8")
    with pytest.raises(UserError, match="t in 'de--sw': the two languages and English have 4, 1 and 4 rows"):
        data.examples(task, "test", "de--sw", tmp_path)


def test_real_files(shared_data: Path):
    """XNLI's and PAWS-X's dev sets: all pairs of some languages, as many examples as upstream's rows, less those of other labels."""
    task = replace(XNLI_PAIRS, test=XNLI_PAIRS.dev and replace(XNLI_PAIRS.dev, pairs=True))
    found = {code: data.examples(task, "test", code, shared_data) for code in ("sw--ur", "ur--sw", "th--en")}
    assert {len(examples) for examples in found.values()} == {2490}
    assert Counter(example.label for example in found["sw--ur"]) == dict.fromkeys(LABELS, 830)
    assert [e.texts[0] for e in found["sw--ur"]] == [
        e.texts[0] for e in data.examples(replace(XNLI, test=XNLI.dev), "test", "sw", shared_data)
    ]
    pawsx = replace(PAWSX_PAIRS, test=PAWSX_PAIRS.dev and replace(PAWSX_PAIRS.dev, pairs=True))
    assert len(data.examples(pawsx, "test", "en--en", shared_data)) == 2000
    german = data.examples(pawsx, "test", "de--ko", shared_data)
    assert 1940 < len(german) < 1968  # 32 rows of German and 23 of Korean have another label, some of them the same
    assert not [example for example in german if example.label == "1" and "NS" in example.texts]


def test_a_study_names_languages_or_pairs(place: Path, tmp_path: Path):
    """A study's languages choose the pairs of two of them; a pair may be named itself. Levels are the lower of both."""
    model.initialise(tmp_path / "tiny", ["premise hypothesis de en sw 0 1 2"] * 9, Architecture(1, 16, 1, 32, 60), 0)
    task = replace(XNLI_PAIRS, train=XNLI.dev, trained_on=())

    def languages(*asked: str) -> tuple[str, ...]:
        study = Study("s", "?", (Encoder("tiny", folder="tiny"),), (), (task,), (1,), {"default": Recipe(num_steps=1)}, languages=asked)
        plan = make_plan(study, place, tmp_path)
        assert results.levels(plan) == {code: "low" if "sw" in code else "high" for code in plan.cells[0].languages}
        own = make_plan(replace(study, levels={"sw": "far", "de": "near", "en": "near"}, level_order=("far", "near")), place, tmp_path)
        assert results.levels(own) == {code: "far" if "sw" in code else "near" for code in own.cells[0].languages}
        return plan.cells[0].languages

    assert languages("sw", "en") == ("en--en", "en--sw", "sw--en", "sw--sw")
    assert languages("de--sw") == ("de--sw",)


@pytest.mark.slow
def test_pairs_reach_the_report(place: Path, tmp_path: Path):
    """A study on pairs runs to a report with a heatmap and a table of them; pairs of one language and of two are pooled apart."""
    model.initialise(
        tmp_path / "tiny", [f"{c} premise hypothesis {n}" for c in CODES for n in range(12)], Architecture(1, 16, 1, 32, 60), 0
    )
    task = replace(XNLI_PAIRS, train=XNLI.dev, trained_on=(), languages=ordered(CODES))
    recipe = Recipe(num_steps=60, batch_size=4, learning_rate=1e-2, pooling="mean")
    method = Method("short", {"num_steps": 1})
    study = Study("s", "?", (Encoder("tiny", folder="tiny"),), (), (task,), (1, 2, 3), {"default": recipe}, methods=(method,))
    plan, store = make_plan(study, place, tmp_path), Store(tmp_path / "store")
    site = Site(store, "test", data=place, encoders=tmp_path)
    for key in plan.stages:
        execute(key, plan, site, perform_here(site))
    out = tmp_path / "out"
    results.write(plan, store, out, "a test")
    gains = pq.read_table(out / "tables" / "gains.parquet").to_pylist()
    assert {row["language"] for row in gains} == set(ordered(CODES))
    pooled = pq.read_table(out / "tables" / "pooled.parquet").to_pylist()
    sizes = {row["group"]: row["n_languages"] for row in pooled if (row["estimand"], row["policy"]) == ("fixed_languages", "all")}
    assert sizes == {"all": 9, "low": 5, "high": 4, "same language": 3, "two languages": 6}
    (figure,) = out.glob("figures/*-pairs.svg")
    assert ">sw<" in figure.read_text(encoding="utf-8")
    text = (out / "report.md").read_text(encoding="utf-8")
    assert "Gain by first and second language" in text
    rows = [line for line in text.splitlines() if "first in Swahili (sw)" in line or "second in German (de)" in line]
    assert len(rows) == 2
    found = [row["theta"] for row in gains if row["policy"] == "all" and row["language"] in ("sw--de", "sw--en")]
    assert sum(found) < -5
    assert f"| {points(sum(found) / 2)} |" in rows[0]
