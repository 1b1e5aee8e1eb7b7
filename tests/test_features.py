"""Batches and windows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raystilts import features, model
from raystilts.stage import Architecture, Recipe
from raystilts.task import Example
from raystilts.tasks import cldr

sizes = st.lists(st.integers(1, 60), min_size=1, max_size=300).map(np.array)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> object:
    """A tokenizer trained on a few names."""
    folder: Path = tmp_path_factory.mktemp("encoder")
    texts = [example.texts[0] for example in cldr.texts("en", ("sw", "zh"), "train")]
    model.initialise(folder, texts, Architecture(1, 16, 1, 32, 900), 0)
    return model.load_tokenizer(model.Root(str(folder)))


@given(sizes, st.integers(1, 40), st.integers(1, 3), st.integers(0, 5))
def test_an_epoch_reads_every_item_once(lengths: np.ndarray, batch_size: int, epochs: int, seed: int) -> None:
    """Each epoch's batches hold every item exactly once; the number of steps is what num_steps says."""
    recipe = Recipe(batch_size=batch_size, num_epochs=epochs)
    found = list(features.batches(lengths, recipe, seed))
    assert len(found) == features.num_steps(len(lengths), recipe)
    per_epoch = len(found) // epochs
    for epoch in range(epochs):
        together = np.concatenate(found[epoch * per_epoch : (epoch + 1) * per_epoch])
        assert sorted(together.tolist()) == list(range(len(lengths)))


@given(sizes, st.integers(1, 50))
def test_num_steps_is_kept_to(lengths: np.ndarray, steps: int) -> None:
    """A recipe with num_steps has exactly that many batches, over as many epochs as it takes."""
    assert len(list(features.batches(lengths, Recipe(num_steps=steps, batch_size=8), 0))) == steps


def test_batches_depend_on_the_seed_alone() -> None:
    """The same seed gives the same batches, another seed others."""
    lengths = np.arange(1, 200)
    first, again, other = ([batch.tolist() for batch in features.batches(lengths, Recipe(batch_size=8), seed)] for seed in (1, 1, 2))
    assert first == again
    assert first != other


@given(sizes, st.integers(60, 500))
def test_token_budgets_hold(lengths: np.ndarray, budget: int) -> None:
    """Evaluation batches hold every item once and stay within the budget, padding counted."""
    found = list(features.by_tokens(lengths, budget))
    assert sorted(np.concatenate(found).tolist()) == list(range(len(lengths)))
    assert all(len(batch) * lengths[batch].max() <= budget for batch in found)


@settings(deadline=None, max_examples=50)
@given(words=st.lists(st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=12), min_size=1, max_size=40))
def test_no_word_is_dropped(tokenizer: object, words: list[str]) -> None:
    """Windows cover every word once and in order, whatever the words are, and none is longer than allowed."""
    example = Example("e", tuple(words), tuple("O" for _ in words))
    items = features.encode(cldr.LIST, cldr.TAGS, [example], tokenizer, 16)
    covered = [item.first + n for item in items for n in range(len(item.words))]
    assert covered == list(range(len(words)))
    assert all(len(item.pieces) <= 16 for item in items)
    assert all(0 < place < len(item.pieces) - 1 for item in items for place in item.words)
    assert all(len(item.tags) == len(item.words) for item in items)


def test_a_gold_label_that_training_never_saw_is_ignored_by_losses(tokenizer: object) -> None:
    """A category that only dev has does not stop an evaluation; it gets the number that losses ignore."""
    items = features.encode(cldr.KIND, ("city",), [Example("e", ("Nairobi",), "planet")], tokenizer, 16)
    assert items[0].label == features.IGNORED


def test_the_cache_keeps_what_was_used_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """A value is made once while it is among the last used, and again after it has dropped out."""
    monkeypatch.setattr(features, "_cache", {})
    monkeypatch.setattr(features, "CACHED", 2)
    made = []
    for name in ("a", "b", "a", "c", "a", "b"):
        assert features.cached((name,), lambda name=name: made.append(name) or name) == name
    assert made == ["a", "b", "c", "b"]
