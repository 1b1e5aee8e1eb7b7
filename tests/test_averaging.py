"""Means of weights: exact, over points of one training and over runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow.compute as pc
import pytest
import torch
from places import random_encoder, smoke
from safetensors.torch import load_file, save_file

from raystilts import averaging, model
from raystilts.errors import UserError
from raystilts.execute import Site, execute, perform_here
from raystilts.method import Method
from raystilts.model import ROWS, VALUES, WEIGHTS, Root
from raystilts.results import runs_table
from raystilts.schedule import Schedule
from raystilts.stage import Recipe, Stage
from raystilts.store import Store
from raystilts.study import make_plan
from raystilts.tasks import cldr
from raystilts.train import Worker, train

RECIPE = Recipe(learning_rate=1e-3, num_steps=6, batch_size=20, micro_batch_size=8, max_length=32, pooling="mean", head_seed=0)
KIND = Stage("train", cldr.KIND, (("train/en", "x"),), seed=1, recipe=RECIPE, encoder="e")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Root:
    """A random encoder on disk, with dropout."""
    return random_encoder(tmp_path_factory.mktemp("root"))


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


AVERAGED = replace(
    smoke(),
    name="averaged",
    encoders=smoke().encoders[:1],
    targets=(cldr.KIND, cldr.NAME),
    methods=(Method("averaged", average_runs=2),),
    seeds=(1, 2),
    languages=("de", "sw"),
)


def test_a_study_averages_runs_of_seeds_of_their_own() -> None:
    """Each seed's model is the mean of the run of that seed and of one more that no other seed has; the heads begin as one; intermediate
    models are the plain method's; parents stand before their children, and an evaluation is below the mean.
    """
    plan = make_plan(AVERAGED)
    means = {cell.seed: cell.evaluation.parent for cell in plan.cells if cell.arm[1:] == ("currency", "averaged", "kind")}
    assert [tuple(run.seed for run in mean.parents) for mean in means.values()] == [(1, 1_000_001), (2, 1_000_002)]
    assert {run.recipe.head_seed for mean in means.values() for run in mean.parents} == {0}
    plain = next(cell for cell in plan.cells if cell.arm[1:] == ("currency", "plain", "kind") and cell.seed == 1)
    assert means[1].parent.parent is plain.intermediate_stage
    assert plain.evaluation.parent.recipe.head_seed is None
    places = {key: place for place, key in enumerate(plan.stages)}
    assert all(places[parent.key] < places[key] for key, stage in plan.stages.items() for parent in stage.parents)
    assert all(means[1].key in plan.children[run.key] for run in means[1].parents)
    assert plan.label(means[1].key) == "target kind, pico, average of 2 runs, after alignment > currency, averaged, seed 1"
    assert means[1].root == plain.evaluation.root
    untrained = [cell for cell in plan.cells if cell.target == "name" and cell.intermediate == "none"]
    assert all(cell.seed is None and cell.evaluation.parent.phase == "train" for cell in untrained)


def test_a_mean_waits_for_all_its_runs() -> None:
    """In whichever order they end, it starts once, after the last of them; where one has failed it cannot start."""

    class Pretended(Store):
        keys: set[str]

        def has(self, key: str) -> bool:
            return key in self.keys

        def done(self) -> set[str]:
            return self.keys

        def busy(self, keys: object) -> set[str]:
            return set()

    plan = make_plan(AVERAGED)
    mean = next(stage for stage in plan.stages.values() if stage.phase == "average")
    for fails in (False, True):
        store = Pretended(Path("nowhere"))
        object.__setattr__(store, "keys", set())
        schedule, started, order = Schedule(plan, store), [], []
        while (key := schedule.start()) is not None or order:
            if key is not None:
                started.append(key)
                order.append(key)
                continue
            last = order.pop()  # the last that has begun ends first
            if not (fails and last == mean.parents[1].key):
                store.keys.update(schedule.jobs[last])
            schedule.end(last)
        assert len(started) == len(set(started))
        assert (mean.key in started) is not fails
        assert (mean.key in schedule.blocked) is fails
        assert fails or len(started) == len(schedule.jobs)
    store.keys.update(plan.stages)
    assert mean.key in store.finished(plan.stages)
    store.keys.remove(mean.parents[1].key)
    below = {mean.key, *plan.children[mean.key]}
    assert not below & store.finished(plan.stages), "a mean is made again with any of its runs"


def test_a_study_with_means_runs_in_one_process(tmp_path: Path) -> None:
    """Every stage is done; a mean's record names its runs, has a dev score like any training, and its weights are their mean."""
    plan = make_plan(replace(AVERAGED, targets=(cldr.KIND,), intermediates=(), seeds=(1,)))
    site = Site(Store(tmp_path), "test")
    site.store.prepare()
    for key in plan.stages:
        execute(key, plan, site, perform_here(site))
    mean = next(stage for stage in plan.stages.values() if stage.phase == "average")
    record = site.store.record(mean.key)
    assert record["lineage"][-1]["averaged"] == [run.key for run in mean.averaged]
    assert record["result"]["num_runs"] == 2
    assert 0 <= record["result"]["dev_score"] <= 100
    one, two, found = (load_file(site.store.fetch(stage.key) / WEIGHTS)["heads.0.weight"] for stage in (*mean.parents, mean))
    torch.testing.assert_close(found, (one + two) / 2, atol=1e-7, rtol=1e-6)
    assert not torch.equal(one, two)
    (evaluation,) = plan.children[mean.key]
    assert site.store.record(evaluation)["result"]["scores"].keys() == {"de", "sw"}
    assert runs_table(plan, site.store).filter(pc.equal(pc.field("method"), "averaged")).to_pylist()[0]["dev_score"] is not None
