"""Training: reproducible, the same on one worker and on two, and equal to a plain loop."""

from __future__ import annotations

import json
import math
import os
import random
import socket
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import transformers
from places import random_encoder
from safetensors.torch import load_file
from torch.nn import functional

from raystilts import data, features, model
from raystilts.errors import DivergedError
from raystilts.features import Items
from raystilts.kinds import KINDS
from raystilts.model import Root
from raystilts.resume import STATE, Saving
from raystilts.stage import Recipe, Stage
from raystilts.store import Store
from raystilts.task import Example, Source, Task
from raystilts.tasks import cldr
from raystilts.train import Worker, train

KIND = Stage(
    "train",
    cldr.KIND,
    (("train/en", "x"),),
    seed=1,
    recipe=Recipe(
        learning_rate=1e-3, num_steps=20, batch_size=20, micro_batch_size=8, max_length=32, pooling="mean", head_learning_rate=3e-3
    ),
    encoder="e",
)
LIST = replace(KIND, task=cldr.LIST, recipe=replace(KIND.recipe, num_steps=8, pooling="first"))
LORA = replace(KIND, recipe=replace(KIND.recipe, num_steps=8, lora_rank=4, lora_dropout=0.1))
ALIGN = replace(KIND, task=cldr.alignment({"sw": 1.0, "de": 1.0}), recipe=replace(KIND.recipe, num_steps=30, batch_size=32))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Root:
    """A random encoder on disk, with dropout."""
    return random_encoder(tmp_path_factory.mktemp("root"))


def run(stage: Stage, root: Root, folder: Path, worker: Worker | None = None) -> tuple[list[float], dict[str, object]]:
    """Train into a folder; the losses and what train returns."""
    folder.mkdir(exist_ok=True)
    facts = train(stage, root, None, None, folder, worker or Worker())
    return [json.loads(line)["loss"] for line in (folder / "log.jsonl").read_text().splitlines()[1:]], facts


def test_it_learns(root: Root, tmp_path: Path) -> None:
    """Classification, tagging and ranking losses fall below those of their first steps."""
    for name, stage, steps in (("kind", KIND, 150), ("list", LIST, 40), ("align", ALIGN, 40)):
        losses, _ = run(replace(stage, recipe=replace(stage.recipe, num_steps=steps, learning_rate=3e-3)), root, tmp_path / name)
        assert sum(losses[-10:]) < 0.9 * sum(losses[:10]), name


@pytest.mark.promise("The same stage twice has the same losses and weights, bit by bit")
def test_the_same_stage_twice_gives_the_same_bytes(root: Root, tmp_path: Path) -> None:
    """Losses and weights are functions of the stage; the caller's generators neither matter nor change."""
    torch.manual_seed(1)
    first, _ = run(KIND, root, tmp_path / "a")
    torch.manual_seed(2)
    before = torch.get_rng_state()
    again, _ = run(KIND, root, tmp_path / "b")
    assert torch.equal(before, torch.get_rng_state())
    assert first == again
    assert (tmp_path / "a" / model.WEIGHTS).read_bytes() == (tmp_path / "b" / model.WEIGHTS).read_bytes()
    other, _ = run(replace(KIND, seed=2), root, tmp_path / "c")
    assert other != first


def _rank(rank: int, port: int, stage: Stage, root: Root, folder: Path) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=2)
    train(stage, root, None, None, folder, Worker(rank, 2))
    dist.barrier()  # who leaves while the other still talks may be aborted on the way out
    dist.destroy_process_group()


@pytest.mark.parametrize("stage", [KIND, LIST, LORA], ids=["kind", "list", "lora"])
@pytest.mark.promise("Two workers have one worker's losses within 1e-5 and its weights within 1e-4")
def test_two_workers_follow_one(root: Root, tmp_path: Path, stage: Stage) -> None:
    """Two gloo workers on the same global batches have one worker's losses within 1e-5 and its weights within 1e-4, dropout included;
    with 20 examples in micro-batches of 8 the workers have unequal shares, and the last batch of an epoch leaves one with nothing.
    """
    alone, _ = run(stage, root, tmp_path / "one")
    (tmp_path / "two").mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    mp.spawn(_rank, (port, stage, root, tmp_path / "two"), nprocs=2)
    lines = [json.loads(line) for line in (tmp_path / "two" / "log.jsonl").read_text().splitlines()]
    assert [worker["rank"] for worker in lines[0]["workers"]] == [0, 1]
    assert [line["loss"] for line in lines[1:]] == pytest.approx(alone, abs=1e-5)
    one, two = (load_file(tmp_path / name / model.WEIGHTS) for name in ("one", "two"))
    for name, value in one.items():
        if value.is_floating_point():
            torch.testing.assert_close(two[name], value, atol=1e-4, rtol=1e-4)


def test_it_equals_a_plain_loop(root: Root, tmp_path: Path) -> None:
    """Without dropout and with one micro-batch, the losses are those of a straightforward loop over transformers' full model."""
    recipe = replace(KIND.recipe, dropout=0.0, micro_batch_size=20, num_steps=6, weight_decay=0.1, head_learning_rate=None)
    found, _ = run(replace(KIND, recipe=recipe), root, tmp_path / "ours")
    encoder = transformers.AutoModel.from_pretrained(root.source, add_pooling_layer=False).train()
    for module in encoder.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    tokenizer = transformers.AutoTokenizer.from_pretrained(root.source)
    head = torch.nn.Linear(32, len(cldr.KINDS))
    with torch.no_grad():
        head.weight.normal_(0.0, encoder.config.initializer_range, generator=torch.Generator().manual_seed(1))
        head.bias.zero_()
    examples = data.examples(cldr.KIND, "train", "en", None)
    matrices = [p for n, p in encoder.named_parameters() if p.ndim > 1 and "word_embeddings" not in n]
    others = [p for n, p in encoder.named_parameters() if p.ndim == 1 or "word_embeddings" in n]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": [*others, *head.parameters()], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=recipe.learning_rate)
    schedule = transformers.get_linear_schedule_with_warmup(optimizer, 1, 6)
    sizes = Items.of(KINDS["classification"].encode(examples, cldr.KINDS, tokenizer, recipe)).lengths
    expected = []
    for batch in features.batches(sizes, recipe, 1):
        inputs = tokenizer([examples[i].texts[0] for i in batch], padding=True, truncation=True, max_length=32, return_tensors="pt")
        states = encoder(**inputs).last_hidden_state
        weight = inputs["attention_mask"].unsqueeze(-1).float()
        logits = head((states * weight).sum(1) / weight.sum(1))
        loss = functional.cross_entropy(logits, torch.tensor([cldr.KINDS.index(examples[i].label) for i in batch]))
        loss.backward()
        torch.nn.utils.clip_grad_norm_([*encoder.parameters(), *head.parameters()], 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        expected.append(loss.item())
    assert found == pytest.approx(expected, abs=1e-5)


@pytest.mark.promise("A loss that is no finite number stops a training, which leaves its last good state and no model")
def test_a_loss_that_is_not_finite_stops_the_training(root: Root, tmp_path: Path) -> None:
    """A diverged training says at which step; the last state that was written has numbers only; tried again, it says the same."""
    stage = replace(KIND, recipe=replace(KIND.recipe, learning_rate=1e30, max_grad_norm=1e30))
    saving = Saving(Store(tmp_path / "store"), "k", steps=1)
    said = []
    for name in ("nan", "again"):
        (tmp_path / name).mkdir()
        with pytest.raises(
            DivergedError, match=r"the loss is (nan|inf) at step \d+ of 20 \(before: .*\): lower the learning rate"
        ) as error:
            train(stage, root, None, None, tmp_path / name, Worker(), saving=saving)
        said.append(str(error.value).partition(" (")[0])
        assert not (tmp_path / name / model.WEIGHTS).exists()
    assert said[0] == said[1]
    state = load_file(saving.folder / STATE)
    assert all(bool(value.isfinite().all()) for value in state.values())


@pytest.mark.promise("An overflow of the gradients stops a training before it changes a weight")
def test_gradients_that_overflow_stop_the_training(root: Root, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In mixed precision, too, a loss may be finite when its gradients are not: no step is made of them."""
    build = model.build

    def built(*facts: object, **more: object) -> object:
        made = build(*facts, **more)
        next(made.heads.parameters()).register_hook(lambda gradient: gradient * 1e38 * 1e38)
        return made

    monkeypatch.setattr(model, "build", built)
    with pytest.raises(DivergedError, match=r"the loss is \d.*, but the norm of its gradients (nan|inf), at step 1 of 20 \(before: none\)"):
        run(KIND, root, tmp_path / "inf")


def test_mixed_precision_has_the_range_of_single_precision() -> None:
    """Losses need no scaling: the largest number of bfloat16, which GPUs train in, is within 1 % of float32's."""
    assert torch.finfo(torch.bfloat16).max == pytest.approx(torch.finfo(torch.float32).max, rel=0.01)


@pytest.mark.parametrize("stage", [KIND, LIST, LORA, replace(ALIGN, recipe=replace(ALIGN.recipe, num_steps=8))])
def test_bfloat16_follows_float32(root: Root, tmp_path: Path, stage: Stage) -> None:
    """A recipe that asks for bfloat16 gets it on a processor, too: its losses are near float32's and not the same, its weights are float32.
    Where nothing is asked for, a processor computes in float32.
    """
    losses, facts = {}, {}
    for precision in ("auto", "float32", "bfloat16"):
        of_precision = replace(stage, recipe=replace(stage.recipe, precision=precision))
        losses[precision], facts[precision] = run(of_precision, root, tmp_path / precision)
    assert losses["auto"] == losses["float32"] != losses["bfloat16"]
    assert losses["bfloat16"] == pytest.approx(losses["float32"], rel=0.05)
    assert [facts[precision]["bf16"] for precision in losses] == [False, False, True]
    weights = load_file(tmp_path / "bfloat16" / model.WEIGHTS).values()
    assert {tensor.dtype for tensor in weights if tensor.is_floating_point()} == {torch.float32}


def test_a_subset_is_the_same_for_everybody() -> None:
    """max_examples keeps the ids with the smallest hash, in their order, whatever order they come in; asking for more keeps all."""
    examples = [Example(str(i), (str(i),)) for i in range(50)]
    kept = [example.id for example in data.subset(examples, 10)]
    assert len(kept) == 10
    assert kept == sorted(kept, key=int)
    assert set(kept) == {example.id for example in data.subset(examples[::-1], 10)}
    assert data.subset(examples, 100) == examples


def test_labels_come_from_the_training_data_where_the_task_names_none(root: Root, tmp_path: Path) -> None:
    """A tagging task without declared labels trains on the sorted labels of its data, and says which."""
    (tmp_path / "train.tsv").write_text("a\tN\nb\tV\n\nc\tN\n\n", encoding="utf-8")
    task = Task("open", "tagging", "micro_f1", train=Source(files=("train.tsv",), reader="conll"))
    stage = Stage("train", task, (("train/en", "x"),), seed=1, recipe=Recipe(num_steps=2, batch_size=2), encoder="e")
    (tmp_path / "out").mkdir()
    facts = train(stage, root, None, tmp_path, tmp_path / "out", Worker())
    assert facts["labels"] == [["N", "V"]]


@pytest.mark.promise(
    "On one machine and number of threads a training is bit-identical on another day; other numbers of threads agree to 1e-4"
)
def test_days_and_threads(root: Root, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the clock nor what Python's and NumPy's generators did before is in the result; threads change the order of sums alone."""
    alone, _ = run(KIND, root, tmp_path / "today")
    now = time.time()
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: now + 1e8)
        random.seed(7)
        np.random.seed(7)  # noqa: NPY002  the generator that everybody shares
        later, _ = run(KIND, root, tmp_path / "later")
    assert later == alone
    assert (tmp_path / "today" / model.WEIGHTS).read_bytes() == (tmp_path / "later" / model.WEIGHTS).read_bytes()
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(threads + 1)
        other, _ = run(KIND, root, tmp_path / "threads")
    finally:
        torch.set_num_threads(threads)
    assert other == pytest.approx(alone, abs=1e-4)
    one, two = (load_file(tmp_path / name / model.WEIGHTS) for name in ("today", "threads"))
    for name, value in one.items():
        if value.is_floating_point():
            torch.testing.assert_close(two[name], value, atol=1e-4, rtol=1e-4)


def test_training_data_of_one_example_and_one_class_trains(root: Root, tmp_path: Path) -> None:
    """Nothing divides by the number of examples less one, or by the spread of the labels."""
    (tmp_path / "train.tsv").write_text("a b\tyes\n", encoding="utf-8")
    for labels in (("yes",), ("no", "yes")):
        task = Task("one", "classification", "accuracy", labels=labels, train=Source(files=("train.tsv",), columns=("text", "label")))
        stage = Stage("train", task, (("train/en", "x"),), seed=1, recipe=Recipe(num_steps=2, batch_size=2), encoder="e")
        out = tmp_path / str(len(labels))
        out.mkdir()
        facts = train(stage, root, None, tmp_path, out, Worker())
        assert math.isfinite(facts["final_loss"])
