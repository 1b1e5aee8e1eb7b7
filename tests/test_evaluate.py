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
from raystilts.model import Root
from raystilts.stage import Architecture, Recipe, Stage
from raystilts.tasks import cldr
from raystilts.train import Worker, train

LANGUAGES = ("sw", "zh", "wo")
RECIPE = Recipe(learning_rate=3e-3, num_steps=30, batch_size=16, max_length=24, pooling="mean")


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
    parent, checkpoint, labels = None, None, ()
    if task.train:
        parent = Stage("train", task, (("train/en", "x"),), seed=1, recipe=RECIPE, encoder="e")
        checkpoint = folder / "model"
        checkpoint.mkdir()
        labels = train(parent, root, None, None, checkpoint, Worker())["labels"]
    stage = Stage("evaluate", task, read, recipe=None if parent else RECIPE, parent=parent)
    out = folder / "out"
    out.mkdir()
    return evaluate.evaluate(stage, root, checkpoint, labels, None, out, "cpu"), out / evaluate.PREDICTIONS


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
    task = replace(cldr.LIST)
    parts = model.build(root, None, None, len(cldr.TAGS), 1, keep_head=False)
    parent = Stage("train", task, (("train/en", "x"),), seed=1, recipe=replace(RECIPE, max_length=8, num_steps=1), encoder="e")
    checkpoint = tmp_path / "model"
    checkpoint.mkdir()
    model.save(parts, checkpoint, root, None)
    examples = {"sw": cldr.lists("sw", "test")[:20]}
    found = evaluate.predict(task, parent.recipe, root, checkpoint, cldr.TAGS, examples, "windows", "cpu")["sw"]
    assert [len(tags) for tags in found] == [len(example.texts) for example in examples["sw"]]
    assert all(tag in cldr.TAGS for tags in found for tag in tags)


def test_predictions_do_not_depend_on_the_token_budget(root: Root, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batching is no part of the result: one example at a time gives the same labels."""
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    _, first = evaluated(cldr.KIND, root, tmp_path / "a")
    monkeypatch.setattr(evaluate, "TOKEN_BUDGET", 1)
    _, second = evaluated(cldr.KIND, root, tmp_path / "b")
    for language in LANGUAGES:
        tables = [pq.read_table(folder / f"{language}.parquet")["prediction"].to_pylist() for folder in (first, second)]
        assert tables[0] == tables[1]


def test_retrieval_is_the_nearest_neighbour(root: Root) -> None:
    """Retrieval equals a plain loop: mean of the content tokens' states at the task's layer, largest cosine."""
    examples = {"sw": cldr.translations("sw", "test")[:40]}
    task = replace(cldr.NAME, layer=0.5)
    found = evaluate.predict(task, RECIPE, root, None, (), examples, "retrieval", "cpu")["sw"]
    encoder, tokenizer = model.load_root(root), model.load_tokenizer(root)

    def vector(text: str) -> np.ndarray:
        inputs = tokenizer(text, return_tensors="pt")
        with torch.inference_mode():
            states = encoder(**inputs, output_hidden_states=True).hidden_states[1]  # half of two layers
        mean = states[0, 1:-1].mean(0).numpy()
        return mean / np.linalg.norm(mean)

    english = np.stack([vector(example.texts[1]) for example in examples["sw"]])
    expected = [examples["sw"][int((english @ vector(example.texts[0])).argmax())].id for example in examples["sw"]]
    assert found == expected


def test_dev_is_english_only(root: Root, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a stage trains and is scored on dev, nothing but English is read."""
    asked = []
    examples = data.examples
    monkeypatch.setattr(
        data, "examples", lambda task, split, language, folder: asked.append((split, language)) or examples(task, split, language, folder)
    )
    monkeypatch.setattr(features, "_cache", {})
    stage = Stage("train", cldr.KIND, (("train/en", "x"),), seed=1, recipe=RECIPE, encoder="e")
    facts = train(stage, root, None, None, tmp_path, Worker())
    assert evaluate.dev_score(stage, root, tmp_path, facts["labels"], None, "cpu") is not None
    assert set(asked) == {("train", "en"), ("dev", "en")}
