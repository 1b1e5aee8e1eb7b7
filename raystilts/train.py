"""One fine-tuning, on the workers it is given.

The global batch is cut into micro-batches that are dealt to the workers in turn. Loss and dropout of a micro-batch depend on seed,
step and its position only, so one worker and several compute the same up to the order of floating-point sums.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import math
import os
import socket
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import transformers
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from raystilts import adapters, averaging, data, features, mixing, model, perturb, resume
from raystilts.dropout import fast_dropout
from raystilts.errors import DivergedError, UserError
from raystilts.features import Item, Items
from raystilts.kinds import KINDS, Functions
from raystilts.model import Model, Root
from raystilts.network import Network
from raystilts.optimizer import make_optimizer
from raystilts.perturb import Ball
from raystilts.precision import autocast, is_bfloat16
from raystilts.resume import Saving, Tell, write_line
from raystilts.stage import Recipe, Stage
from raystilts.task import ENGLISH, Task

LOG = "log.jsonl"


@dataclass(frozen=True)
class Worker:
    """Where and how a share of a training runs; none of it changes a loss. Collectives are used only where world_size > 1.

    compaction: hold only the embedding rows whose pieces occur. recompute: keep no states within layers from the forward pass, but compute
    them again in the backward pass (gradient checkpointing; Chen et al. 2016): about a third more time, a fraction of the memory.
    """

    rank: int = 0
    world_size: int = 1
    device: str = "cpu"
    compaction: bool = True
    recompute: bool = False


@dataclass(frozen=True)
class Part:
    """What is trained with one head: a task, the labels of the head's outputs, and the items."""

    task: Task
    labels: tuple[str, ...]
    num_examples: int
    items: Items

    @property
    def functions(self) -> Functions:
        """How its kind is trained."""
        return KINDS[self.task.kind]


@data.english_only()
def train(
    stage: Stage,
    root: Root,
    checkpoint: Path | None,
    data_dir: Path | None,
    folder: Path,
    worker: Worker,
    cache: Path | None = None,
    saving: Saving | None = None,
    tell: Tell | None = None,
    until: int | None = None,
) -> dict[str, Any]:
    """Train a stage and write its checkpoint and log into `folder` (rank 0 does; the others help). Returns what stage.json says of it.

    cache: where tokenised data is left for other stages and processes. saving: where the state is that a killed training left, and is kept
    for the next one (None: nowhere); it changes no result. tell: told of the log's lines as they are written. until:
    the step to stop at, in the middle of the schedule. Raises DivergedError where loss or gradients stop being finite.
    """
    task, recipe, seed = stage.task, stage.recipe, stage.seed or 0
    assert task is not None  # noqa: S101  training stages have both; for the type checker
    assert recipe is not None  # noqa: S101
    tokenizer = model.load_tokenizer(root)
    parts = [read_part(stage, place, root, data_dir, cache) for place in range(len(stage.parts))]
    # masked words are predicted among all pieces
    compact = worker.compaction and all(part.task.kind != "mlm" for part in parts)
    pieces = np.unique(np.concatenate([part.items.vocabulary for part in parts])) if compact else None
    widths = [part.functions.num_outputs(part.labels) for part in parts]
    head_seed = seed if recipe.head_seed is None else recipe.head_seed
    built = model.build(root, checkpoint, pieces, widths, head_seed, keep_head=stage.keep_head)
    set_dropout(built.encoder, recipe.dropout)
    adapters.add(built.encoder, recipe, seed)
    if worker.recompute:
        recomputed(built.encoder)
    ball = perturb.ball_of(recipe, root)
    log = open(folder / LOG, "w", encoding="utf-8") if worker.rank == 0 else None  # noqa: SIM115, PTH123  closed by the with below
    with log or contextlib.nullcontext(), torch.random.fork_rng(devices=[]):
        facts = fit(built, task, parts, recipe, seed, tokenizer, worker, log, saving, tell, until, ball)
    adapters.merge(built.encoder)
    if worker.rank == 0:
        built.encoder.to("cpu")
        model.save(built, folder, root, checkpoint)
    return facts | {
        "num_examples": sum(part.num_examples for part in parts),
        "labels": [list(part.labels) for part in parts],
        "world_size": worker.world_size,
        "device": worker.device,
        "embedding_rows": len(built.rows),
    }


def read_part(stage: Stage, place: int, root: Root, data_dir: Path | None, cache: Path | None) -> Part:
    """A part's items. Seeds, arms and processes that train on the same data tokenise it once."""
    task, recipe = stage.parts[place], stage.recipe
    assert recipe is not None  # noqa: S101  for the type checker
    read = ("train", stage.identity_of(place, f"train/{ENGLISH}"), task.kind, task.labels, recipe.max_examples)
    labels: tuple[str, ...] = features.cached(("labels", *read), lambda: data.labels(task, data_dir))

    def encoded() -> Iterator[Item]:
        examples = data.subset(data.examples(task, "train", ENGLISH, data_dir), recipe.max_examples)
        return KINDS[task.kind].encode(examples, labels, model.load_tokenizer(root), recipe)

    items = features.tokenised(cache, (*read, labels, stage.root, recipe.lengths), encoded)
    if not len(items):
        raise UserError(f"{task.name}: the training data holds nothing to learn from.")
    return Part(task, labels, int(items.batch.column("example").to_numpy().max()) + 1, items)


def fit(
    built: Model,
    task: Task,
    parts: Sequence[Part],
    recipe: Recipe,
    seed: int,
    tokenizer: Any,
    worker: Worker,
    log: Any,
    saving: Saving | None = None,
    tell: Tell | None = None,
    until: int | None = None,
    ball: Ball | None = None,
) -> dict[str, Any]:
    """The training loop. Changes `built` in place."""
    device = torch.device(worker.device)
    network = Network(built, recipe, tokenizer, [part.functions.loss for part in parts]).to(device).train()
    optimizer = make_optimizer(built, recipe, device)
    num_items = sum(len(part.items) for part in parts)
    total = features.num_steps(num_items, recipe)
    mean = averaging.Mean(network, recipe, total)
    before = resume.restore(saving, network, optimizer, worker.world_size, mean.means)
    resume.begin(log, before, {"workers": hosts(worker), "items": num_items, "embedding_rows": len(built.rows)}, tell)
    wrapped = shared(network, worker)
    sizes = [part.items.lengths for part in parts]
    scheduler = transformers.get_linear_schedule_with_warmup(
        optimizer, math.ceil(total * recipe.warmup_ratio), total, last_epoch=before.step - 1
    )

    def loss_of(step: int, place: int, batch: np.ndarray) -> torch.Tensor:
        """The loss of a global batch; its gradient is added to the parameters'."""
        turns = dealt(parts[place], batch, recipe, worker)
        loss = torch.zeros((), device=device)
        for turn, (n, micro, weight) in enumerate(turns):
            torch.manual_seed(own := mixed(seed, step, n))
            last = turn == len(turns) - 1
            with contextlib.nullcontext() if last or wrapped is network else wrapped.no_sync():  # type: ignore[operator]
                collated = parts[place].functions.collate(micro, tokenizer.pad_token_id, recipe, len(built.index))
                share = loss_of_micro(wrapped, network, place, network.moved(collated), ball, own) * weight
                (share * worker.world_size).backward()  # type: ignore[no-untyped-call]  # DDP averages over workers; the loss is a sum over them
            loss += share.detach()
        if worker.world_size > 1:
            dist.all_reduce(loss)
        return loss

    started, value, losses = time.monotonic() - before.seconds, math.nan, deque[float](maxlen=3)
    drawn = enumerate(features.mixed_batches(sizes, mixing.shares(task, [part.num_examples for part in parts]), recipe, seed))
    with resume.Saver(saving, network, optimizer, worker.world_size, log, before, mean.means) as saver:
        for step, (place, batch) in itertools.islice(drawn, before.step, until):
            if worker.world_size > 1 and step == before.step > 0:
                # after its first backward pass DDP groups parameters, and so orders the sums over workers, in another way
                loss_of(step, place, batch)
                optimizer.zero_grad()
            loss = loss_of(step, place, batch)
            norm = nn.utils.clip_grad_norm_(network.parameters(), recipe.max_grad_norm)
            facts = {"step": step + 1, "loss": (value := loss.item()), "learning_rate": scheduler.get_last_lr()[0]}
            write_line(log, facts | ({"task": parts[place].task.name} if len(parts) > 1 else {}), tell)
            check_finite(value, norm.item(), losses, f"step {step + 1} of {total}")
            losses.append(value)
            optimizer.step()
            mean.after(step + 1)
            scheduler.step()
            optimizer.zero_grad()
            if step + 1 < total:
                saver.after(step + 1, time.monotonic() - started)
    mean.finish()
    network.eval()
    seconds = time.monotonic() - started
    facts = {"num_steps": total, "final_loss": value, "seconds_training": seconds, "bf16": is_bfloat16(recipe, device)}
    facts["examples_per_second"] = total * recipe.batch_size / seconds
    return facts | ({"resumed_at": list(before.resumed_at)} if before.resumed_at else {})


def loss_of_micro(
    wrapped: nn.Module, network: Network, place: int, batch: dict[str, torch.Tensor], ball: Ball | None, seed: int
) -> torch.Tensor:
    """The sum of the losses of a micro-batch, with perturbed embeddings where there is a ball. wrapped: the network or its DDP."""

    def computed(through: nn.Module) -> torch.Tensor:
        with autocast(network.recipe, network.index.device), fast_dropout(network.index.device):
            found: torch.Tensor = through(place, batch)
        return found

    with perturb.perturbed(network, ball, partial(computed, network), seed):
        return computed(wrapped)


def shared(network: Network, worker: Worker) -> nn.Module:
    """The network as all workers train it."""
    if worker.world_size == 1:
        return network
    # with several heads, a batch leaves all but one of them without a gradient
    return DistributedDataParallel(network, broadcast_buffers=False, find_unused_parameters=len(network.losses) > 1)


def check_finite(loss: float, norm: float, before: Iterable[float], where: str) -> None:
    """Raises DivergedError where the loss or the norm of the gradients is no finite number: weights are not changed by such a step, and the
    last state that was saved is one of numbers. In mixed precision, too: bfloat16 has the range of float32, so nothing is scaled.
    """
    if not (math.isfinite(loss) and math.isfinite(norm)):
        what = f"the loss is {loss}" if not math.isfinite(loss) else f"the loss is {loss:.4g}, but the norm of its gradients {norm},"
        raise DivergedError(
            f"{what} at {where} (before: {', '.join(f'{value:.4g}' for value in before) or 'none'}): lower the learning rate"
        )


def dealt(part: Part, batch: np.ndarray, recipe: Recipe, worker: Worker) -> list[tuple[int, list[Item], float]]:
    """The micro-batches of a global batch that a worker computes: position, items, and the weight of their losses."""
    items = [part.items[i] for i in batch]
    # in-batch negatives are the batch: ranking is never cut
    size = len(items) if part.task.kind == "ranking" else recipe.micro_batch_size
    micros = [items[i : i + size] for i in range(0, len(items), size)]
    scale = 1 / sum(part.functions.count(item, recipe) for item in items)
    mine = [(n, micros[n], scale) for n in range(worker.rank, len(micros), worker.world_size)]
    # every rank takes part in the gradient exchange: one without a micro-batch of its own computes another's with weight 0
    return mine + [(0, micros[0], 0.0)] * (-(-len(micros) // worker.world_size) - len(mine))


def set_dropout(encoder: nn.Module, dropout: float | None) -> None:
    """Replace the rate of every dropout of the encoder (None: leave it)."""
    if dropout is not None:
        for module in encoder.modules():
            if isinstance(module, nn.Dropout):
                module.p = dropout


def recomputed(encoder: Any) -> None:
    """Make an encoder compute its layers again in the backward pass, with the dropout that they had. UserError where it cannot."""
    if not encoder.supports_gradient_checkpointing:
        raise UserError(f"encoders of type {encoder.config.model_type!r} cannot be recomputed: run again without --recompute.")

    def contexts() -> tuple[Any, Any]:
        return contextlib.nullcontext(), fast_dropout(encoder.device)

    encoder.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False, "context_fn": contexts})


def mixed(*numbers: int) -> int:
    """A seed from several numbers."""
    return int.from_bytes(hashlib.sha256(repr(numbers).encode()).digest()[:7], "big")


def hosts(worker: Worker) -> list[dict[str, Any]]:
    """Rank, host, process and device of every worker, for the log."""
    mine = {"rank": worker.rank, "host": socket.gethostname(), "process": os.getpid(), "device": worker.device}
    found: list[Any] = [mine] * worker.world_size
    if worker.world_size > 1:
        dist.all_gather_object(found, mine)
    return found
