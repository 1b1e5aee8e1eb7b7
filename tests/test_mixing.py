"""Mixtures: how often each part is drawn, and what is mixed."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scipy import stats

from raystilts import features, mixing, model, tasks
from raystilts.errors import UserError
from raystilts.model import Root
from raystilts.stage import Architecture, Recipe, Stage
from raystilts.task import Task
from raystilts.tasks import cldr
from raystilts.tasks.mixture import with_masked_words
from raystilts.tasks.text import MLM
from raystilts.train import Worker, train

PARTS = tuple(map(tasks.find, ("mnli", "csqa", "ccg")))
MIXTURE = Task("m", "mixture", "", parts=PARTS)
SIZES = [400, 100, 40]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, [400 / 540, 100 / 540, 40 / 540]),
        ({"temperature": mixing.UNIFORM}, [1 / 3] * 3),
        ({"temperature": 2.0, "cap": 100}, [10 / (20 + 40**0.5), 10 / (20 + 40**0.5), 40**0.5 / (20 + 40**0.5)]),
        ({"weights": (3.0, 1.0, 4.0)}, [3 / 8, 1 / 8, 4 / 8]),
        ({"weights": (None, None, 0.25)}, [0.6, 0.15, 0.25]),
        ({"weights": (None, 0.5, 0.25), "temperature": 2.0}, [0.25, 0.5, 0.25]),
    ],
)
def test_parts_are_drawn_with_their_probabilities(changes: dict[str, object], expected: list[float]) -> None:
    """Proportional, uniform, temperature with a cap, given weights, given shares beside sizes: the probabilities are those of the
    formulas, and the parts of 4,000 steps follow them (chi-square, 99.9 %).
    """
    found = mixing.shares(replace(MIXTURE, **changes), SIZES)
    assert found == pytest.approx(expected)
    lengths = [np.full(size, 5) for size in SIZES]
    drawn = Counter(part for part, _ in features.mixed_batches(lengths, found, Recipe(num_steps=4000, batch_size=8), 7))
    assert stats.chisquare([drawn[part] for part in range(3)], [4000 * share for share in expected]).pvalue > 0.001


def test_a_step_is_of_one_part_and_its_batches_go_on_where_they_were() -> None:
    """The batches of a part in a mixture are those that the part would have alone, in order, whatever is drawn between them."""
    recipe, lengths = Recipe(num_steps=200, batch_size=8), [np.arange(size) for size in SIZES]
    seen: dict[int, list[list[int]]] = {0: [], 1: [], 2: []}
    for part, batch in features.mixed_batches(lengths, [0.2, 0.3, 0.5], recipe, 3):
        seen[part].append(batch.tolist())
    for part, batches in seen.items():
        alone = features._endless(lengths[part], 8, [3, part])
        assert batches == [batch.tolist() for batch in islice(alone, len(batches))]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weights": (1.0, 2.0)}, "3 parts, but 2 weights"),
        ({"weights": (1.0, 0.0, 2.0)}, "positive number"),
        ({"weights": (0.7, 0.3, None)}, "leave nothing"),
        ({"temperature": 0.0}, "must be positive"),
        ({"cap": 0}, "must be positive"),
    ],
)
def test_what_makes_no_probabilities_is_refused(changes: dict[str, object], message: str) -> None:
    """Weights that do not fit the parts, are not positive, or leave nothing for the others are one sentence."""
    with pytest.raises(UserError, match=message):
        mixing.check(replace(MIXTURE, **changes))


def test_weights_are_part_of_the_identity_only_where_given() -> None:
    """Mixtures without weights keep their keys; other weights are another training."""
    read = tuple((f"{place}:train/en", "x") for place in range(3))
    keys = {Stage("train", replace(MIXTURE, weights=weights), read, 1, Recipe(), encoder="e").key for weights in ((), (1.0, 2.0, 3.0))}
    assert len(keys) == 2
    assert Stage("train", MIXTURE, read, 1, Recipe(), encoder="e").key == "d0f9f01ddfc8d8fc105c"


def test_a_head_that_a_step_does_not_use_stays_as_it_is(tmp_path: Path) -> None:
    """In a mixture a part that is hardly ever drawn keeps the head that it began with, bit by bit; the other part's head learns."""
    model.initialise(tmp_path / "root", [e.texts[0] for e in cldr.kinds("en", "train")[:200]], Architecture(1, 16, 1, 32, 300), 0)
    mixture = Task("m", "mixture", "", parts=(cldr.KIND, cldr.CURRENCY), weights=(1.0, 1e-9))
    read = tuple((f"{place}:train/en", part.name) for place, part in enumerate(mixture.parts))
    recipe = Recipe(learning_rate=1e-3, num_steps=3, batch_size=4, max_length=32, weight_decay=0.1)
    root = Root(str(tmp_path / "root"))
    train(Stage("train", mixture, read, 1, recipe, encoder="e"), root, None, None, tmp_path, Worker())
    found = load_file(tmp_path / model.WEIGHTS)
    fresh = model.build(root, None, [5], [len(cldr.KIND.labels), len(cldr.CURRENCY.labels)], 1, keep_head=False).heads
    assert torch.equal(found["heads.1.weight"], fresh[1].weight)
    assert not torch.equal(found["heads.0.weight"], fresh[0].weight)


def test_masked_words_get_their_share_of_the_steps() -> None:
    """`<task>-mlm` trains the task and masks words of text in several languages, in the given share of the steps, whatever the sizes."""
    single, several = tasks.find("mnli-mlm"), tasks.find("multi-task-mlm")
    assert [part.name for part in single.parts] == ["mnli", "mlm"]
    assert mixing.shares(single, [392_702, 10]) == pytest.approx([0.8, 0.2])
    shares = mixing.shares(several, [100, *[50] * 8, 10_000])
    assert shares == pytest.approx([0.16, *[0.08] * 8, 0.2])
    given = with_masked_words(replace(MIXTURE, weights=(3.0, 1.0, 4.0)), MLM, 0.5)
    assert mixing.shares(given, [1, 1, 1, 1]) == pytest.approx([0.1875, 0.0625, 0.25, 0.5])
