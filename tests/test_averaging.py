"""Means of weights: exact, over points of one training and over runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from raystilts import averaging, model
from raystilts.errors import UserError
from raystilts.model import ROWS, VALUES, WEIGHTS, Root
from raystilts.stage import Architecture, Recipe, Stage
from raystilts.tasks import cldr
from raystilts.train import Worker, train

RECIPE = Recipe(learning_rate=1e-3, num_steps=6, batch_size=20, micro_batch_size=8, max_length=32, pooling="mean", head_seed=0)
KIND = Stage("train", cldr.KIND, (("train/en", "x"),), seed=1, recipe=RECIPE, encoder="e")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Root:
    """A random encoder on disk, with dropout."""
    folder = tmp_path_factory.mktemp("root")
    texts = [example.texts[0] for example in cldr.texts("en", ("sw", "de"), "train")]
    model.initialise(folder, texts, Architecture(1, 32, 2, 64, 1500, dropout=0.1), 3)
    return Root(str(folder))


def run(stage: Stage, root: Root, folder: Path, until: int | None = None) -> dict[str, torch.Tensor]:
    """Train into a folder; the weights that it leaves."""
    folder.mkdir()
    train(stage, root, None, None, folder, Worker(), until=until)
    return load_file(folder / WEIGHTS)


def full(tensors: dict[str, torch.Tensor], root: Root) -> dict[str, torch.Tensor]:
    """A checkpoint with its whole embedding matrix."""
    matrix = model.load_root(root).get_input_embeddings().weight.detach().clone()
    matrix[tensors[ROWS]] = tensors[VALUES]
    return {name: value for name, value in tensors.items() if name not in (ROWS, VALUES)} | {"matrix": matrix}


def test_points_are_equally_spaced_and_end_with_the_last_step() -> None:
    """Ten steps: the last alone, every fifth, about every third, every one; more points than steps are refused."""
    assert averaging.points(10, 0) == ()
    assert averaging.points(10, 1) == (10,)
    assert averaging.points(10, 2) == (5, 10)
    assert averaging.points(10, 3) == (3, 6, 10)
    assert averaging.points(10, 10) == tuple(range(1, 11))
    with pytest.raises(UserError, match="average_checkpoints is 11, but the training has 10 steps"):
        averaging.points(10, 11)


def test_the_mean_over_one_point_is_the_training_itself(root: Root, tmp_path: Path) -> None:
    """average_checkpoints=1 leaves the bytes that a training without it leaves."""
    run(KIND, root, tmp_path / "plain")
    run(replace(KIND, recipe=replace(RECIPE, average_checkpoints=1)), root, tmp_path / "one")
    assert (tmp_path / "plain" / WEIGHTS).read_bytes() == (tmp_path / "one" / WEIGHTS).read_bytes()


def test_the_mean_over_points_is_that_of_the_weights_there(root: Root, tmp_path: Path) -> None:
    """Three points of six steps: the mean of what trainings stopped at 2, 4 and 6 leave, heads and embedding rows included."""
    found = full(run(replace(KIND, recipe=replace(RECIPE, average_checkpoints=3)), root, tmp_path / "mean"), root)
    stopped = [full(run(KIND, root, tmp_path / str(step), until=step), root) for step in (2, 4, 6)]
    for name, value in found.items():
        torch.testing.assert_close(value, torch.stack([of[name] for of in stopped]).mean(0), atol=1e-7, rtol=1e-6)
        same = stopped[0][name].eq(stopped[1][name]) & stopped[0][name].eq(stopped[2][name])
        assert torch.equal(value[same], stopped[0][name][same]), "what does not move is its own mean"


def test_the_mean_of_runs(root: Root, tmp_path: Path) -> None:
    """Of two runs: (a + b) / 2; a row that one of them has left alone counts as the root's. Of one: itself, to the bit."""
    first = run(KIND, root, tmp_path / "a")
    limited = replace(KIND, seed=2, recipe=replace(RECIPE, max_examples=10))
    second = run(limited, root, tmp_path / "b")
    alone = set(first[ROWS].tolist()) - set(second[ROWS].tolist())
    assert alone, "the second run must touch fewer rows for this test to say something"
    for name, folders in (("mean", ("a", "b")), ("itself", ("a",))):
        (tmp_path / name).mkdir()
        averaging.average([tmp_path / folder for folder in folders], root, tmp_path / name)
    mean, itself = (load_file(tmp_path / name / WEIGHTS) for name in ("mean", "itself"))
    assert itself.keys() == first.keys()
    assert all(torch.equal(itself[name], value) for name, value in first.items())
    one, two, found = full(first, root), full(second, root), full(mean, root)
    for name, value in found.items():
        torch.testing.assert_close(value, (one[name] + two[name]) / 2, atol=1e-7, rtol=1e-6)
    matrix = model.load_root(root).get_input_embeddings().weight.detach()
    row = next(iter(alone))
    torch.testing.assert_close(found["matrix"][row], (one["matrix"][row] + matrix[row]) / 2, atol=1e-7, rtol=1e-6)
    assert not torch.equal(found["matrix"][row], matrix[row])
    assert set(mean[ROWS].tolist()) == set(first[ROWS].tolist()) | set(second[ROWS].tolist())


def test_runs_with_one_head_seed_begin_with_one_head(root: Root, tmp_path: Path) -> None:
    """Without steps of any size two seeds leave the same head, which they do not without a head_seed."""
    still = replace(RECIPE, learning_rate=0.0, num_steps=1)
    for head_seed, equal in ((0, True), (None, False)):
        recipe = replace(still, head_seed=head_seed)
        one, two = (
            run(replace(KIND, seed=seed, recipe=recipe), root, tmp_path / f"{head_seed}-{seed}")["heads.0.weight"] for seed in (1, 2)
        )
        assert torch.equal(one, two) is equal


def test_weights_of_different_shapes_have_no_mean(root: Root, tmp_path: Path) -> None:
    """One sentence names the checkpoint that does not fit."""
    first = run(KIND, root, tmp_path / "a")
    (tmp_path / "b").mkdir()
    save_file(first | {"heads.0.bias": torch.zeros(99)}, tmp_path / "b" / WEIGHTS)
    with pytest.raises(UserError, match=r"b: its weights are not those of .*a; only runs of one training have a mean"):
        averaging.average([tmp_path / "a", tmp_path / "b"], root, tmp_path)
