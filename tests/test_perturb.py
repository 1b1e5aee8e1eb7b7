"""Robust training on word embeddings does what its equations say, in every kind, and changes nothing where the ball is a point."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import transformers
from safetensors.torch import load_file
from scipy import stats

from raystilts import data, model, perturb, resume, tasks
from raystilts import train as training
from raystilts.errors import UserError
from raystilts.features import Item, Items
from raystilts.kinds import KINDS
from raystilts.model import Root
from raystilts.network import Network
from raystilts.perturb import Ball
from raystilts.resume import Saving
from raystilts.stage import Architecture, Recipe, Stage
from raystilts.store import Store
from raystilts.task import Task
from raystilts.tasks import cldr
from raystilts.train import Worker, train

RECIPE = Recipe(
    learning_rate=1e-3,
    num_steps=5,
    batch_size=10,
    micro_batch_size=4,
    max_length=64,
    stride=16,
    max_query_length=16,
    perturbation="adversarial",
    perturbation_radius=0.5,
)
KIND = Stage("train", cldr.KIND, (("train/en", "x"),), 1, RECIPE, encoder="e")
NAMES = {
    "classification": cldr.KIND,
    "tagging": cldr.LIST,
    "span": tasks.find("squad2"),
    "choice": tasks.find("csqa"),
    "mlm": tasks.find("mlm"),
    "ranking": tasks.find("squad-sentences"),
}


@pytest.fixture(scope="module")
def root(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Root:
    """A random encoder on disk, with dropout."""
    made = tmp_path_factory.mktemp("root")
    texts = [example.texts[0] for example in cldr.texts("en", ("sw", "de"), "train")]
    texts += [text for task in list(NAMES.values())[2:] for example in data.examples(task, "train", "en", folder) for text in example.texts]
    model.initialise(made, texts, Architecture(1, 32, 2, 64, 1500, dropout=0.1), 3)
    return Root(str(made))


@pytest.fixture(scope="module")
def items(folder: Path, root: Root) -> dict[str, list[Item]]:
    """Five items of every kind."""
    tokenizer = model.load_tokenizer(root)
    found = {}
    for name, task in NAMES.items():
        examples = data.examples(task, "train", "en", folder)[:5]
        found[name] = list(KINDS[task.kind].encode(examples, data.labels(task, folder), tokenizer, RECIPE))[:5]
    return found


def network_of(
    root: Root, task: Task, chosen: list[Item], folder: Path, *, compact: bool = True
) -> tuple[Network, dict[str, torch.Tensor]]:
    """A network in training and a batch."""
    kind = KINDS[task.kind]
    pieces = Items.of(chosen).vocabulary if compact and task.kind != "mlm" else None
    built = model.build(root, None, pieces, [kind.num_outputs(data.labels(task, folder))], 1, keep_head=False)
    tokenizer = model.load_tokenizer(root)
    network = Network(built, RECIPE, tokenizer, [kind.loss]).train()
    torch.manual_seed(0)
    return network, kind.collate(chosen, tokenizer.pad_token_id, RECIPE, len(built.index))


@pytest.mark.parametrize("name", NAMES)
def test_the_worst_is_no_better_than_the_clean_and_stays_in_its_ball(name: str, root: Root, items: Any, folder: Path) -> None:
    """In every kind, with dropout: the loss at the perturbation that is found is more than the clean one under the same masks
    after three steps; no token's delta is longer than eps; padding and special tokens do not move; no parameter gets a gradient.
    """
    task = NAMES[name]
    network, batch = network_of(root, task, items[name], folder)
    ball = perturb.ball_of(RECIPE, root)
    assert ball is not None
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    torch.manual_seed(5)
    clean = network(0, batch).item()
    torch.manual_seed(5)
    before = torch.get_rng_state()
    with perturb.perturbed(network, ball, lambda: network(0, batch), 5):
        assert torch.equal(torch.get_rng_state(), before)
        embeddings = network.encoder.get_input_embeddings()
        handle = embeddings.register_forward_hook(
            lambda module, inputs, states: seen.append((inputs[0], states - module.weight[inputs[0]]))
        )
        found = network(0, batch).item()
        handle.remove()
    assert found > clean
    assert len(seen) == (2 if name == "ranking" else 1)
    frame = network.index[network.special]
    for rows, delta in seen:
        norm = delta.norm(dim=-1)
        still = torch.isin(rows, frame)
        assert still.any()
        assert (norm[still] == 0).all()
        assert norm.max() <= ball.radius * (1 + 1e-5)
        assert norm[~still].max() > 0.9 * ball.radius  # a step of half of eps, three times: it reaches the sphere
    assert all(parameter.grad is None for parameter in network.parameters())
    torch.manual_seed(5)
    assert network(0, batch).item() == clean  # nothing stays


def test_an_ascent_that_overshoots_falls_back_to_the_best_that_it_saw(root: Root, items: Any, folder: Path) -> None:
    """Where every step makes the loss smaller, the perturbation is 0 and the loss is the clean one, to the bit."""
    network, batch = network_of(root, cldr.KIND, items["classification"], folder)
    torch.manual_seed(5)
    clean = network(0, batch).item()
    turned: list[torch.Tensor] = []

    def falling() -> torch.Tensor:
        """A loss that reports less each time than the time before."""
        found: torch.Tensor = network(0, batch)
        turned.append(found)
        return found - found.detach() + clean - (len(turned) - 1)

    torch.manual_seed(5)
    with perturb.perturbed(network, Ball(1.0, 4, 0.5), falling, 5):
        assert network(0, batch).item() == clean
    assert len(turned) == 5


def test_more_steps_never_find_less(root: Root, items: Any, folder: Path) -> None:
    """A longer ascent begins with the shorter one and keeps the best: its loss is at least as high."""
    network, batch = network_of(root, cldr.KIND, items["classification"], folder)
    found = []
    for num_steps in (1, 2, 4):
        torch.manual_seed(5)
        with perturb.perturbed(network, Ball(0.3, num_steps, 0.15), lambda: network(0, batch), 5):
            found.append(network(0, batch).item())
    assert found == sorted(found)
    assert found[-1] > found[0]


def test_random_perturbations_are_uniform_in_the_ball() -> None:
    """The share of points within r is (r / eps)^d, and directions are uniform: coordinates of unit vectors have Beta's law."""
    for hidden, radius in ((3, 2.0), (32, 0.1)):
        points = perturb.uniform(torch.Size((400, 5, hidden)), radius, torch.Generator().manual_seed(1)).reshape(-1, hidden)
        norm = points.norm(dim=-1)
        assert norm.max() <= radius * (1 + 1e-6)
        assert stats.kstest((norm / radius).numpy(), lambda r, d=hidden: r**d).pvalue > 0.01
        first = (points[:, 0] / norm).numpy()
        half = (hidden - 1) / 2
        assert stats.kstest((first + 1) / 2, stats.beta(half, half).cdf).pvalue > 0.01


def test_random_perturbations_are_those_of_their_seed(root: Root, items: Any, folder: Path) -> None:
    """Equal seeds give equal losses, others do not; the global generator is not touched."""
    network, batch = network_of(root, cldr.KIND, items["classification"], folder)
    network.eval()

    def loss(seed: int) -> float:
        before = torch.get_rng_state()
        with perturb.perturbed(network, Ball(1.0, 0, 0.0), lambda: network(0, batch), seed):
            found: float = network(0, batch).item()
        assert torch.equal(torch.get_rng_state(), before)
        return found

    assert loss(1) == loss(1) != loss(2)


@pytest.mark.parametrize("name", ["classification", "tagging"])
def test_the_ball_does_not_depend_on_compaction(name: str, root: Root, items: Any, folder: Path) -> None:
    """With the whole embedding matrix and with the rows of the batch alone the worst loss is the same, and eps is in units of the root."""
    ball = perturb.ball_of(RECIPE, root)
    assert ball is not None
    matrix = model.load_root(root).get_input_embeddings().weight
    assert ball.radius == pytest.approx(0.5 * matrix.norm(dim=1).mean().item(), rel=1e-6)
    assert ball.step_size == pytest.approx(0.5 * ball.radius)
    found = []
    for compact in (True, False):
        network, batch = network_of(root, NAMES[name], items[name], folder, compact=compact)
        torch.manual_seed(5)
        with perturb.perturbed(network, ball, lambda network=network, batch=batch: network(0, batch), 5):  # type: ignore[misc]
            found.append(network(0, batch).item())
    assert found[0] == pytest.approx(found[1], rel=1e-6)


def run(stage: Stage, root: Root, folder: Path, saving: Saving | None = None) -> tuple[list[float], bytes]:
    """Losses and weights of a training."""
    folder.mkdir(exist_ok=True)
    train(stage, root, None, None, folder, Worker(), None, saving)
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    return [line["loss"] for line in lines if "event" not in line], (folder / model.WEIGHTS).read_bytes()


def test_a_ball_of_radius_zero_is_plain_training(root: Root, tmp_path: Path) -> None:
    """The whole ascent, and the drawing, with eps = 0: the same losses and weights as without, to the bit; with eps > 0 others."""
    plain = run(replace(KIND, recipe=replace(RECIPE, perturbation="none")), root, tmp_path / "plain")
    for way in ("adversarial", "random"):
        recipe = replace(RECIPE, perturbation=way)
        assert run(replace(KIND, recipe=replace(recipe, perturbation_radius=0.0)), root, tmp_path / f"{way}-0") == plain
        losses, weights = run(replace(KIND, recipe=recipe), root, tmp_path / way)
        assert weights != plain[1]
        if way == "adversarial":
            assert losses[0] > plain[0][0]  # the same weights, the same masks


class Killed(BaseException):
    """Ends a training as a signal would, but leaves the test alive."""


@pytest.mark.parametrize("way", ["adversarial", "random"])
def test_a_killed_training_goes_on_as_if_nothing_had_happened(way: Any, root: Root, tmp_path: Path, monkeypatch: Any) -> None:
    """The same losses and bytes after a kill between two states."""
    stage = replace(KIND, recipe=replace(RECIPE, perturbation=way))
    undisturbed = run(stage, root, tmp_path / "undisturbed")
    saving = Saving(Store(tmp_path / "state"), stage.key, steps=2)
    with monkeypatch.context() as patch:
        mixed = training.mixed

        def dying(seed: int, step: int, n: int) -> int:
            if step == 3:
                raise Killed
            return mixed(seed, step, n)

        patch.setattr(training, "mixed", dying)
        with pytest.raises(Killed):
            run(stage, root, tmp_path / "killed", saving)
    assert (saving.folder / resume.STATE).is_file()
    assert run(stage, root, tmp_path / "resumed", saving) == undisturbed


def _rank(rank: int, port: int, stages: dict[str, Stage], root: Root, folder: Path) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=2)
    for name, stage in stages.items():
        train(stage, root, None, None, folder / f"{name}-two", Worker(rank, 2))
    dist.barrier()  # who leaves while the other still talks may be aborted on the way out
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_workers_follow_one(root: Root, tmp_path: Path) -> None:
    """Two gloo workers have one worker's losses within 1e-5 and its weights within 1e-4, in both ways."""
    stages = {way: replace(KIND, recipe=replace(RECIPE, perturbation=way)) for way in ("adversarial", "random")}
    for name in stages:
        (tmp_path / f"{name}-two").mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    mp.spawn(_rank, (port, stages, root, tmp_path), nprocs=2)
    for name, stage in stages.items():
        alone, _ = run(stage, root, tmp_path / name)
        lines = (tmp_path / f"{name}-two" / "log.jsonl").read_text(encoding="utf-8").splitlines()
        assert [json.loads(line)["loss"] for line in lines[1:]] == pytest.approx(alone, abs=1e-5)
        one, two = (load_file(tmp_path / place / model.WEIGHTS) for place in (name, f"{name}-two"))
        for key, value in one.items():
            if value.is_floating_point():
                torch.testing.assert_close(two[key], value, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("wrong", [{"perturbation_radius": -1.0}, {"perturbation_steps": 0}, {"perturbation_step_size": 0.0}])
def test_numbers_without_a_meaning_are_refused(wrong: dict[str, Any], root: Root) -> None:
    """A negative radius, no step, or a step of no length."""
    with pytest.raises(UserError, match="a radius is at least 0, the others are more"):
        perturb.ball_of(replace(RECIPE, **wrong), root)


def test_encoders_without_a_lookup_are_refused(root: Root, items: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that has no embedding matrix, or that never calls its embeddings, is named instead of being trained unperturbed."""

    class Characters(torch.nn.Module):
        def get_input_embeddings(self) -> torch.nn.Module:
            """As transformers' CANINE answers."""
            raise NotImplementedError

    network, _ = network_of(root, cldr.KIND, items["classification"], folder)
    zero = torch.zeros((), requires_grad=True)
    with (
        pytest.raises(UserError, match="does not look words up in a matrix"),
        perturb.perturbed(network, Ball(1.0, 1, 0.5), lambda: zero * 1.0, 5),
    ):
        pass
    with monkeypatch.context() as patch:
        patch.setattr(model, "load_root", lambda _: Characters())
        with pytest.raises(UserError, match="does not look words up in a matrix"):
            perturb.ball_of(RECIPE, Root("characters"))


@pytest.mark.parametrize("family", ["bert", "xlm-roberta", "deberta-v2", "modernbert", "canine"])
def test_every_family_of_encoders_is_perturbed_or_refused(family: str) -> None:
    """mBERT, XLM-R, mDeBERTa-v3 and mmBERT read perturbed words and unperturbed frames; CANINE, without a matrix of words, is refused."""
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16, "vocab_size": 20}
    marks = {"pad_token_id": 1, "cls_token_id": 0, "sep_token_id": 2, "bos_token_id": 0, "eos_token_id": 2}
    hashed = {"num_hash_buckets": 16, "num_hash_functions": 2} if family == "canine" else {}
    config = transformers.AutoConfig.for_model(family, **sizes, **marks, **hashed)
    encoder = transformers.AutoModel.from_config(config).eval()
    network: Any = SimpleNamespace(encoder=encoder, index=torch.arange(20), special=torch.tensor([0, 1, 2]))
    pieces = torch.tensor([[0, 5, 6, 7, 2], [0, 8, 2, 1, 1]])

    def states() -> torch.Tensor:
        found: torch.Tensor = encoder(input_ids=pieces, attention_mask=(pieces != 1).long()).last_hidden_state
        return found

    if family == "canine":
        with pytest.raises(UserError, match="does not look words up in a matrix"), perturb.added(network, [], torch.ones_like):
            states()
        return
    deltas: list[torch.Tensor] = []
    clean = states()
    with perturb.added(network, deltas, lambda found: torch.linspace(-5, 5, 16).expand_as(found)):
        assert (states() - clean).abs().max() > 0.01
        lookup = encoder.get_input_embeddings()
        moved = (lookup(pieces) - lookup.weight[pieces]).abs().amax(-1) > 1
    assert torch.equal(moved, torch.tensor([[0, 1, 1, 1, 0], [0, 1, 0, 0, 0]]).bool())
    assert torch.equal(states(), clean)


@pytest.fixture(autouse=True)
def _generator() -> Iterator[None]:
    """Tests leave the global generator as it was."""
    with torch.random.fork_rng(devices=[]):
        yield
