"""Batches and windows."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raystilts import features, model
from raystilts.features import Item, Items
from raystilts.kinds import KINDS
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
    twofold = list(features.by_tokens(lengths, budget, 2))
    assert sorted(np.concatenate(twofold).tolist()) == list(range(len(lengths)))
    assert all(2 * len(batch) * lengths[batch].max() <= budget or len(batch) == 1 for batch in twofold)


@settings(deadline=None, max_examples=50)
@given(words=st.lists(st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=12), min_size=1, max_size=40))
def test_no_word_is_dropped(tokenizer: object, words: list[str]) -> None:
    """Windows cover every word once and in order, whatever the words are, and none is longer than allowed."""
    example = Example("e", tuple(words), tuple("O" for _ in words))
    items = list(KINDS["tagging"].encode([example], cldr.TAGS, tokenizer, Recipe(max_length=16)))
    covered = [item.first + n for item in items for n in range(len(item.places))]
    assert covered == list(range(len(words)))
    assert all(len(item.pieces[0]) <= 16 for item in items)
    assert all(0 < place < len(item.pieces[0]) - 1 for item in items for place in item.places)
    assert all(len(item.targets) == len(item.places) for item in items)


def test_a_gold_label_that_training_never_saw_is_ignored_by_losses(tokenizer: object) -> None:
    """A category that only dev has does not stop an evaluation; it gets the number that losses ignore."""
    (item,) = KINDS["classification"].encode([Example("e", ("Nairobi",), "planet")], ("city",), tokenizer, Recipe())
    assert item.targets == [features.IGNORED]


item_values = st.builds(
    Item,
    example=st.integers(0, 9),
    pieces=st.lists(st.lists(st.integers(0, 300_000), max_size=5), min_size=1, max_size=3).map(tuple),
    targets=st.lists(st.integers(-100, 99), max_size=3),
    places=st.lists(st.integers(0, 99), max_size=3),
    first=st.integers(0, 99),
    offsets=st.lists(st.integers(0, 99), max_size=4),
)


@settings(deadline=None)
@given(items=st.lists(item_values, max_size=20))
def test_items_are_stored_as_they_are(tmp_path_factory: pytest.TempPathFactory, items: list[Item]) -> None:
    """What is read back from a mapped file, and from several collections joined, equals what was put in; so do lengths and pieces."""
    path = tmp_path_factory.mktemp("items") / "items.arrow"
    made = Items.of(iter(items))
    made.save(path)
    loaded = Items.load(path)
    assert loaded is not None
    for found in (made, loaded, Items.joined([made, loaded])):
        back = [Item(i.example, tuple(map(list, i.pieces)), list(i.targets), list(i.places), i.first, list(i.offsets)) for i in found]
        assert back == items * (len(found) // max(1, len(items)))
    assert loaded.lengths.tolist() == [max(map(len, item.pieces)) for item in items]
    assert loaded.vocabulary.tolist() == sorted({piece for item in items for sequence in item.pieces for piece in sequence})
    assert loaded.sequences == max((len(item.pieces) for item in items), default=0)


def test_tokens_are_made_once_for_all_stages_and_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second caller, in a new process (an empty memory), finds the file; other parts make another; a broken file is made anew."""
    made = []

    def make(name: str) -> list[Item]:
        made.append(name)
        return [Item(0, ([1, 2, 3],))]

    for parts in (("a",), ("a",), ("b",)):
        monkeypatch.setattr(features, "_cache", {})
        items = features.tokenised(tmp_path, parts, lambda name=parts[0]: make(name))
        assert items[0].pieces[0].tolist() == [1, 2, 3]
    assert made == ["a", "b"]
    for path in tmp_path.glob("*.arrow"):
        path.write_bytes(path.read_bytes()[:100])
    monkeypatch.setattr(features, "_cache", {})
    assert features.tokenised(tmp_path, ("a",), lambda: make("a"))[0].pieces[0].tolist() == [1, 2, 3]
    assert made == ["a", "b", "a"]
    assert not list(tmp_path.glob(".*"))


def _write_at_once(path: Path) -> None:
    for number in range(20):
        Items.of([Item(number, ([number] * 1000,)) for _ in range(50)]).save(path)


def test_processes_that_write_at_once_leave_a_whole_file(tmp_path: Path) -> None:
    """While two processes write one file again and again, a reader finds a whole one every time."""
    path = tmp_path / "items.arrow"
    _write_at_once(path)
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write_at_once, args=(path,)) for _ in range(2)]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):  # most of the time goes into starting them
        found = Items.load(path)
        assert found is not None
        assert len(found) == 50
        assert set(found[0].pieces[0].tolist()) == {found[49].example}
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0


@given(
    lengths=st.lists(sizes, min_size=1, max_size=4),
    temperature=st.sampled_from([1.0, 2.0, 5.0]),
    seed=st.integers(0, 9),
)
@settings(deadline=None, max_examples=30)
def test_batches_of_a_mixture_are_of_one_part(lengths: list[np.ndarray], temperature: float, seed: int) -> None:
    """Every batch holds items of one part only; a part's batches follow each other as epochs that read each item once; the order is a
    function of the seed.
    """
    recipe = Recipe(batch_size=4, num_steps=60)
    weights = [len(of) ** (1 / temperature) for of in lengths]
    found = list(features.mixed_batches(lengths, weights, recipe, seed))
    again = list(features.mixed_batches(lengths, weights, recipe, seed))
    assert [(part, batch.tolist()) for part, batch in found] == [(part, batch.tolist()) for part, batch in again]
    assert len(found) == 60
    for part, of in enumerate(lengths):
        mine = [batch for drawn, batch in found if drawn == part]
        per_epoch = -(-len(of) // 4)
        for epoch in range(len(mine) // per_epoch):
            together = np.concatenate(mine[epoch * per_epoch : (epoch + 1) * per_epoch])
            assert sorted(together.tolist()) == list(range(len(of)))


def test_parts_of_a_mixture_are_drawn_by_their_weights() -> None:
    """Over many steps the shares are the weights' (chi-square with 3 degrees of freedom, 99.9 %)."""
    weights = [1.0, 2.0, 3.0, 10.0]
    drawn = [part for part, _ in features.mixed_batches([np.ones(8, int)] * 4, weights, Recipe(num_steps=8000, batch_size=1), 3)]
    expected = np.array(weights) / 16 * 8000
    counts = np.bincount(drawn, minlength=4)
    assert ((counts - expected) ** 2 / expected).sum() < 16.27


def test_the_cache_keeps_what_was_used_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """A value is made once while it is among the last used, and again after it has dropped out."""
    monkeypatch.setattr(features, "_cache", {})
    monkeypatch.setattr(features, "CACHED", 2)
    made = []
    for name in ("a", "b", "a", "c", "a", "b"):
        assert features.cached((name,), lambda name=name: made.append(name) or name) == name
    assert made == ["a", "b", "c", "b"]
