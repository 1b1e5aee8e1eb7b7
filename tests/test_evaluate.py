"""Evaluation: every example gets its prediction, and scores are those of independent scorers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from seqeval.metrics import f1_score
from sklearn.metrics import accuracy_score

from raystilts import data, evaluate, features, model
from raystilts.errors import UserError
from raystilts.evaluate import Place
from raystilts.features import Items
from raystilts.kinds import KINDS
from raystilts.model import Root, build
from raystilts.retrieval import Texts
from raystilts.stage import Architecture, Recipe, Stage
from raystilts.task import Example, Source, Task
from raystilts.tasks import cldr
from raystilts.train import Worker, train
from raystilts.workers import merged

LANGUAGES = ("sw", "zh", "wo")
RECIPE = Recipe(learning_rate=3e-3, num_steps=30, batch_size=16, max_length=24, pooling="mean")


def test_shares_of_the_languages_make_the_whole(root: Root, tmp_path: Path) -> None:
    """Languages that are evaluated on several workers have the tables, scores and counts that they have together."""
    (tmp_path / "whole").mkdir()
    facts, tables = evaluated(cldr.LIST, root, tmp_path / "whole")
    read = tuple((f"test/{language}", language) for language in LANGUAGES)
    parent = Stage("train", cldr.LIST, (("train/en", "x"),), seed=1, recipe=RECIPE, encoder="e")
    stage, place = Stage("evaluate", cldr.LIST, read, parent=parent), Place(root, tmp_path / "whole" / "model", None, "cpu")
    out = tmp_path / "shares"
    out.mkdir()
    shares = [evaluate.evaluate(stage, place, {"labels": [cldr.TAGS]}, out, share) for share in (LANGUAGES[::2], LANGUAGES[1::2])]
    assert set(shares[0]["scores"]) == set(LANGUAGES[::2])
    assert merged(shares) == facts
    for language in LANGUAGES:
        assert (out / evaluate.PREDICTIONS / f"{language}.parquet").read_bytes() == (tables / f"{language}.parquet").read_bytes()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Root:
    """A random encoder on disk."""
    folder = tmp_path_factory.mktemp("root")
    texts = [example.texts[0] for example in cldr.texts("en", LANGUAGES, "train")]
    model.initialise(folder, texts, Architecture(2, 32, 2, 64, 2000), 3)
    return Root(str(folder))


def evaluated(task: object, root: Root, folder: Path) -> tuple[dict[str, object], Path]:
    """Train a task where it is trained, evaluate it in three languages; what evaluate returns, and the folder."""
    read = tuple((f"test/{language}", language) for language in LANGUAGES)
    parent, checkpoint, trained = None, None, {}
    if task.train:
        parent = Stage("train", task, (("train/en", "x"),), seed=1, recipe=RECIPE, encoder="e")
        checkpoint = folder / "model"
        checkpoint.mkdir()
        trained = train(parent, root, None, None, checkpoint, Worker())
    stage = Stage("evaluate", task, read, recipe=None if parent else RECIPE, parent=parent)
    out = folder / "out"
    out.mkdir()
    return evaluate.evaluate(stage, Place(root, checkpoint, None, "cpu"), trained, out), out / evaluate.PREDICTIONS


@pytest.mark.parametrize("task", [cldr.KIND, cldr.LIST, cldr.NAME], ids=lambda task: task.name)
def test_scores_equal_independent_scorers(task, root: Root, tmp_path: Path) -> None:
    """The reported score of each language is exactly what seqeval or sklearn computes from the table's gold and prediction,
    the table has every example once, in order, with its gold, and the statistics add up to the score.
    """
    facts, folder = evaluated(task, root, tmp_path)
    assert set(facts["scores"]) == set(LANGUAGES)
    for language in LANGUAGES:
        table = pq.read_table(folder / f"{language}.parquet").to_pydict()
        examples = data.examples(task, "test", language, None)
        assert table["example_id"] == [example.id for example in examples]
        gold, predicted = table["gold"], table["prediction"]
        if task.kind == "tagging":
            assert [tuple(tags) for tags in gold] == [example.label for example in examples]
            assert all(len(g) == len(p) for g, p in zip(gold, predicted, strict=True))
            assert set().union(*predicted) <= set(task.labels)
            expected = 100 * f1_score(gold, predicted, zero_division=0)
        else:
            expected = 100 * accuracy_score(gold, predicted)
        assert facts["scores"][language] == pytest.approx(expected, abs=1e-10)


def test_long_word_lists_are_read_in_windows(root: Root, tmp_path: Path) -> None:
    """With windows of a few pieces every word still gets a tag (none is an empty text)."""
    recipe = replace(RECIPE, max_length=8)
    checkpoint = tmp_path / "model"
    checkpoint.mkdir()
    model.save(model.build(root, None, None, [len(cldr.TAGS)], 1, keep_head=False), checkpoint, root, None)
    parent = Stage("train", cldr.LIST, (("train/en", "x"),), seed=1, recipe=recipe, encoder="e")
    stage = Stage("evaluate", cldr.LIST, (("test/sw", "windows"),), parent=parent)
    out = tmp_path / "out"
    out.mkdir()
    evaluate.evaluate(stage, Place(root, checkpoint, None, "cpu"), {"labels": [cldr.TAGS]}, out)
    found = pq.read_table(out / evaluate.PREDICTIONS / "sw.parquet")["prediction"].to_pylist()
    assert [len(tags) for tags in found] == [len(example.texts) for example in cldr.lists("sw", "test")]
    assert all(tag in cldr.TAGS for tags in found for tag in tags)


def test_predictions_do_not_depend_on_the_token_budget(root: Root, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batching is no part of the result: one example at a time gives the same labels."""
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    _, first = evaluated(cldr.KIND, root, tmp_path / "a")
    monkeypatch.setitem(evaluate.TOKEN_BUDGETS, "cpu", 1)
    _, second = evaluated(cldr.KIND, root, tmp_path / "b")
    for language in LANGUAGES:
        tables = [pq.read_table(folder / f"{language}.parquet")["prediction"].to_pylist() for folder in (first, second)]
        assert tables[0] == tables[1]


def test_logits_do_not_depend_on_the_token_budget(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether one example at a time goes through the model or all together, logits are the same within 1e-5, in every language."""
    kind = KINDS["classification"]
    monkeypatch.setitem(
        evaluate.KINDS, "classification", replace(kind, outputs=lambda network, head, batch, _items: head(network.pooled(batch["pieces"])))
    )
    monkeypatch.setattr(model, "build", lambda *rest, **named: build(*rest[:4], 1, keep_head=False))
    texts = {}
    for language in LANGUAGES:
        examples = cldr.kinds(language, "test")[:20]
        texts[language] = Texts(language, examples, Items.of(kind.encode(examples, cldr.KINDS, model.load_tokenizer(root), RECIPE)))
    found = []
    for budget in (1, 64, 8192):
        monkeypatch.setitem(evaluate.TOKEN_BUDGETS, "cpu", budget)
        found.append(evaluate._outputs(cldr.KIND, RECIPE, Place(root, None, None, "cpu"), cldr.KINDS, texts))
    for other in found[1:]:
        for language in LANGUAGES:
            torch.testing.assert_close(torch.stack(found[0][language]), torch.stack(other[language]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("task", [cldr.KIND, cldr.LIST, cldr.NAME], ids=lambda task: task.name)
def test_bfloat16_predicts_nearly_the_same(task: Task, root: Root, tmp_path: Path) -> None:
    """The same weights read in bfloat16 differ in few predictions from float32's; what is read is in float32 where nothing is said."""
    facts, _ = evaluated(task, root, tmp_path)
    read = tuple((f"test/{language}", language) for language in LANGUAGES)
    checkpoint, trained = (tmp_path / "model", {"labels": [task.labels]}) if task.train else (None, {})
    scores = {}
    for precision in ("auto", "bfloat16"):
        recipe, out = replace(RECIPE, precision=precision), tmp_path / precision
        out.mkdir()
        stage = Stage("evaluate", task, read, recipe=recipe)
        scores[precision] = evaluate.evaluate(stage, Place(root, checkpoint, None, "cpu"), trained, out)["scores"]
    assert scores["auto"] == facts["scores"]
    assert scores["bfloat16"] == pytest.approx(scores["auto"], abs=5)


def test_retrieval_is_the_nearest_neighbour(root: Root, tmp_path: Path) -> None:
    """Retrieval equals a plain loop: mean of the content tokens' states at the task's layer, largest cosine."""
    examples = cldr.translations("sw", "test")[:40]
    task = replace(cldr.NAME, layer=0.5, test=Source(generate=lambda _language: examples))
    stage = Stage("evaluate", task, (("test/sw", "forty"),), recipe=RECIPE, encoder="e")
    evaluate.evaluate(stage, Place(root, None, None, "cpu"), {}, tmp_path)
    found = pq.read_table(tmp_path / evaluate.PREDICTIONS / "sw.parquet")["prediction"].to_pylist()
    english = np.stack([vector(root, example.texts[1]) for example in examples])
    expected = [examples[int((english @ vector(root, example.texts[0])).argmax())].id for example in examples]
    assert found == expected


def vector(root: Root, text: str) -> np.ndarray:
    """The mean of a text's content tokens after half of the layers, of length 1, by transformers alone."""
    encoder, tokenizer = model.load_root(root), model.load_tokenizer(root)
    with torch.inference_mode():
        states = encoder(**tokenizer(text, return_tensors="pt"), output_hidden_states=True).hidden_states[1]
    mean = states[0, 1:-1].mean(0).numpy()
    return mean / np.linalg.norm(mean)


def test_queries_search_the_candidates_of_all_languages(root: Root, tmp_path: Path) -> None:
    """A ranking holds the 20 nearest of all languages' candidates, best first, and gold is every candidate that answers the query;
    the score is the mean average precision, by a plain loop.
    """
    names = {language: cldr.translations(language, "test")[:30] for language in ("sw", "zh")}
    queries = {language: [Example(e.id, (e.texts[1],), (e.id,)) for e in found] for language, found in names.items()}
    pools = {language: [Example(f"{language}/{e.id}", (e.texts[0],), (e.id,)) for e in found] for language, found in names.items()}
    task = replace(
        cldr.NAME,
        metric="map_at_20",
        layer=0.5,
        test=Source(generate=queries.__getitem__, candidates=Source(generate=pools.__getitem__)),
        languages=("sw", "zh"),
    )
    read = [(f"{split}/{language}", f"{split} {language}") for split in ("test", "test-candidates") for language in names]
    stage = Stage("evaluate", task, tuple(read), recipe=RECIPE, encoder="e")
    facts = evaluate.evaluate(stage, Place(root, None, None, "cpu"), {}, tmp_path)
    ids = [example.id for pool in pools.values() for example in pool]
    matrix = np.stack([vector(root, example.texts[0]) for pool in pools.values() for example in pool])
    for language, asked in queries.items():
        table = pq.read_table(tmp_path / evaluate.PREDICTIONS / f"{language}.parquet").to_pylist()
        total = 0.0
        for example, row in zip(asked, table, strict=True):
            cosines = dict(zip(ids, (matrix @ vector(root, example.texts[0])).tolist(), strict=True))
            assert len(set(row["prediction"])) == 20
            # candidates whose cosines differ in the last digits only may change places
            assert [cosines[name] for name in row["prediction"]] == pytest.approx(sorted(cosines.values())[:-21:-1], abs=1e-5)
            gold = [name for name in ids if name.partition("/")[2] == example.id]
            assert row["gold"] == gold
            hits = [name in gold for name in row["prediction"]]
            total += sum(sum(hits[: k + 1]) / (k + 1) for k in range(20) if hits[k]) / len(gold)
        assert facts["scores"][language] == pytest.approx(100 * total / len(asked), abs=1e-10)


def test_mining_takes_its_threshold_from_the_sample(root: Root, tmp_path: Path) -> None:
    """Sentences without a translation are among the queries; the threshold is one number a language, found on dev alone; the score is
    the F1 over pairs of the predictions.
    """
    names = cldr.translations("sw", "train")[:90]

    def source(found: list[Example]) -> Source:
        queries = [Example(f"sw-{e.id}", (e.texts[0],), (f"en-{e.id}",) if place % 3 else ()) for place, e in enumerate(found)]
        pool = [Example(f"en-{e.id}", (e.texts[1],), (f"en-{e.id}",)) for place, e in enumerate(found) if place % 3]
        return Source(generate=lambda _language: queries, candidates=Source(generate=lambda _language: pool))

    task = replace(cldr.NAME, kind="mining", metric="pair_f1", languages=("sw",), dev=source(names[:40]), test=source(names[40:]))
    read = [(f"{split}/sw", f"mining {split}") for split in ("test", "test-candidates", "dev", "dev-candidates")]
    facts = evaluate.evaluate(
        Stage("evaluate", task, tuple(read), recipe=RECIPE, encoder="e"), Place(root, None, None, "cpu"), {}, tmp_path
    )
    rows = pq.read_table(tmp_path / evaluate.PREDICTIONS / "sw.parquet").to_pylist()
    gold = {(row["example_id"], key) for row in rows for key in row["gold"]}
    predicted = {(row["example_id"], key) for row in rows for key in row["prediction"]}
    right = len(gold & predicted)
    expected = 200 * right / (len(gold) + len(predicted))
    assert facts["scores"]["sw"] == pytest.approx(expected, abs=1e-10)
    assert set(facts["thresholds"]) == {"sw"}
    assert all(len(row["prediction"]) <= 1 for row in rows)


def test_the_layer_can_be_chosen_on_english(root: Root, tmp_path: Path) -> None:
    """Without a layer the one that finds most English pairs is read, and is on record; no other language decides it."""
    pairs = [Example(str(n), (e.texts[1], e.texts[1].lower())) for n, e in enumerate(cldr.translations("sw", "dev")[:30])]
    task = replace(cldr.NAME, layer=None, dev=Source(generate=lambda _language: pairs), languages=("sw",))
    stage = Stage("evaluate", task, (("test/sw", "chosen"), ("dev/en", "pairs")), recipe=RECIPE, encoder="e")
    facts = evaluate.evaluate(stage, Place(root, None, None, "cpu"), {}, tmp_path)
    assert facts["layer"] in {0.5, 1.0}


def test_dev_is_english_only(root: Root, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a stage trains and is scored on dev, nothing but English is read."""
    asked = []
    examples = data.examples
    monkeypatch.setattr(
        data, "examples", lambda task, split, language, folder: asked.append((split, language)) or examples(task, split, language, folder)
    )
    monkeypatch.setattr(features, "_cache", {})
    stage = Stage("train", cldr.KIND, (("train/en", "x"), ("dev/en", "y")), seed=1, recipe=RECIPE, encoder="e")
    facts = train(stage, root, None, None, tmp_path, Worker())
    assert evaluate.dev_scores(stage, Place(root, tmp_path, None, "cpu"), facts)["dev_score"] is not None
    assert set(asked) == {("train", "en"), ("dev", "en")}


@pytest.mark.promise(
    "Test sets of one example or one class, and models that are all wrong or undecided, have their scores; empty ones a sentence"
)
def test_extreme_test_sets(root: Root, tmp_path: Path) -> None:
    """One example; one class, which the model never or always predicts; outputs that are all equal: the first label is taken."""
    texts = {"sw": "a\tyes\n", "zh": "a\tno\nb\tno\n", "wo": "a\tyes\nb\tyes\nc\tno\n"}
    for language, text in texts.items():
        (tmp_path / f"{language}.tsv").write_text(text, encoding="utf-8")
    task = Task(
        "x",
        "classification",
        "accuracy",
        labels=("no", "yes"),
        languages=LANGUAGES,
        test=Source(files=("{language}.tsv",), columns=("t", "l")),
    )
    built = model.build(root, None, None, [2], 1, keep_head=False)
    for parameter in built.heads.parameters():
        parameter.data.zero_()
    (tmp_path / "model").mkdir()
    model.save(built, tmp_path / "model", root, None)
    read = tuple((f"test/{language}", f"extreme {language}") for language in LANGUAGES)
    stage = Stage("evaluate", task, read, parent=Stage("train", task, (("train/en", "x"),), seed=1, recipe=RECIPE, encoder="e"))
    (tmp_path / "out").mkdir()
    facts = evaluate.evaluate(stage, Place(root, tmp_path / "model", tmp_path, "cpu"), {"labels": [task.labels]}, tmp_path / "out")
    assert facts["scores"] == {"sw": 0.0, "zh": 100.0, "wo": pytest.approx(100 / 3)}
    assert facts["num_examples"] == {"sw": 1, "zh": 2, "wo": 3}
    nothing = replace(task, test=replace(task.test, values=(("yes", ""),)))
    with pytest.raises(UserError, match=r"x: the test data in 'sw' is empty"):
        data.examples(nothing, "test", "sw", tmp_path)
