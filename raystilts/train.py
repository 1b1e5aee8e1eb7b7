"""One fine-tuning, on the workers it is given.

The global batch is cut into micro-batches that are dealt to the workers in turn. Loss and dropout of a micro-batch depend on seed,
step and its position only, so one worker and several compute the same up to the order of floating-point sums.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import transformers
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from raystilts import data, features, model
from raystilts.features import Item
from raystilts.model import Model, Root
from raystilts.stage import Recipe, Stage
from raystilts.task import ENGLISH, Task

LOG = "log.jsonl"


@dataclass(frozen=True)
class Worker:
    """Where a share of a training runs. Collectives are used only where world_size > 1."""

    rank: int = 0
    world_size: int = 1
    device: str = "cpu"


class Network(nn.Module):
    """Encoder and head as one module, which DDP can wrap: a batch -> the sum of its losses."""

    def __init__(self, parts: Model, task: Task, recipe: Recipe, special: Sequence[int]) -> None:
        super().__init__()
        self.encoder, self.head, self.kind, self.recipe = parts.encoder, parts.head, task.kind, recipe
        self.index: Tensor
        self.special: Tensor
        self.register_buffer("index", parts.index, persistent=False)
        self.register_buffer("special", torch.tensor(sorted(special)), persistent=False)

    def states(self, pieces: Tensor, pad: int) -> Tensor:
        """[batch, length] ids -> [batch, length, hidden] last states."""
        states: Tensor = self.encoder(input_ids=self.index[pieces], attention_mask=(pieces != pad).long()).last_hidden_state
        return states

    def forward(self, pieces: Tensor, second: Tensor, labels: Tensor, pad: int) -> Tensor:
        """Sum of the losses; labels is [batch] (classification) or [batch, length] with -100 where there is none (tagging)."""
        states = self.states(pieces, pad)
        if self.kind == "ranking":
            return self.ranking_loss(self.content(states, pieces), self.content(self.states(second, pad), second))
        assert self.head is not None  # noqa: S101  for the type checker: only ranking has none
        read = states if self.kind == "tagging" else model.pool(states, pieces != pad, self.recipe.pooling)
        logits = self.head(self.dropout(read)).float()
        return functional.cross_entropy(logits.flatten(0, -2), labels.flatten(), ignore_index=features.IGNORED, reduction="sum")

    def dropout(self, states: Tensor) -> Tensor:
        """The encoder's own hidden dropout, before the head."""
        own: Any = self.encoder.config
        rate = own.hidden_dropout_prob if self.recipe.dropout is None else self.recipe.dropout
        return functional.dropout(states, rate, self.training)

    def content(self, states: Tensor, pieces: Tensor) -> Tensor:
        """Unit vectors: the mean over content tokens."""
        return functional.normalize(model.pool(states, torch.isin(pieces, self.special, invert=True), "mean").float(), dim=-1)

    def ranking_loss(self, source: Tensor, english: Tensor) -> Tensor:
        """In-batch translation ranking in both directions (Guo et al. 2018; Feng et al. 2022), summed over the batch."""
        scores = source @ english.T / self.recipe.temperature
        target = torch.arange(len(scores), device=scores.device)
        both = [functional.cross_entropy(side, target, reduction="sum") for side in (scores, scores.T)]
        return (both[0] + both[1]) / 2


def train(stage: Stage, root: Root, checkpoint: Path | None, data_dir: Path | None, folder: Path, worker: Worker) -> dict[str, Any]:
    """Train a stage and write its checkpoint and log into `folder` (rank 0 does; the others help). Returns what stage.json says of it.

    Raises RuntimeError where the loss stops being finite.
    """
    task, recipe, seed = stage.task, stage.recipe, stage.seed or 0
    assert task is not None  # noqa: S101  training stages have both; for the type checker
    assert recipe is not None  # noqa: S101
    tokenizer = model.load_tokenizer(root)
    # seeds and arms that train on the same data read and tokenise it once per process
    read = ("train", dict(stage.data)[f"train/{ENGLISH}"], task.kind, task.labels, recipe.max_examples)
    labels: tuple[str, ...] = features.cached(("labels", *read), lambda: data.labels(task, data_dir))
    examples = features.cached(read, lambda: data.subset(data.examples(task, "train", ENGLISH, data_dir), recipe.max_examples))
    encoded = (*read, root, recipe.max_length)
    items = features.cached(encoded, lambda: features.encode(task, labels, examples, tokenizer, recipe.max_length))
    pieces = features.cached(("pieces", *encoded), lambda: features.pieces_of(items))
    num_labels = None if task.kind == "ranking" else len(labels)
    parts = model.build(root, checkpoint, pieces, num_labels, seed, keep_head=False)
    log = open(folder / LOG, "w", encoding="utf-8") if worker.rank == 0 else None  # noqa: SIM115, PTH123  closed by the with below
    with log or contextlib.nullcontext(), torch.random.fork_rng(devices=[]):
        write_line(log, {"event": "start", "workers": hosts(worker), "items": len(items), "embedding_rows": len(parts.rows)})
        facts = fit(parts, task, recipe, seed, items, tokenizer, worker, log)
    if worker.rank == 0:
        parts.encoder.to("cpu")
        model.save(parts, folder, root, checkpoint)
    return facts | {
        "num_examples": len(examples),
        "labels": list(labels),
        "world_size": worker.world_size,
        "device": worker.device,
        "embedding_rows": len(parts.rows),
    }


def fit(
    parts: Model, task: Task, recipe: Recipe, seed: int, items: Sequence[Item], tokenizer: Any, worker: Worker, log: Any
) -> dict[str, Any]:
    """The training loop. Changes `parts` in place."""
    device = torch.device(worker.device)
    set_dropout(parts.encoder, recipe.dropout)
    network = Network(parts, task, recipe, tokenizer.all_special_ids).to(device).train()
    wrapped = DistributedDataParallel(network, broadcast_buffers=False) if worker.world_size > 1 else network
    total = features.num_steps(len(items), recipe)
    optimizer = make_optimizer(parts, recipe, device)
    scheduler = transformers.get_linear_schedule_with_warmup(optimizer, math.ceil(total * recipe.warmup_ratio), total)
    bf16 = device.type == "cuda" and torch.cuda.is_bf16_supported()
    # in-batch negatives are the batch: ranking is never cut
    micro_size = recipe.batch_size if task.kind == "ranking" else recipe.micro_batch_size
    started, losses = time.monotonic(), []
    for step, batch in enumerate(features.batches(features.lengths(items), recipe, seed)):
        micros = [batch[i : i + micro_size] for i in range(0, len(batch), micro_size)]
        scale = 1 / sum(count(task, items[i]) for i in batch)
        mine = list(range(worker.rank, len(micros), worker.world_size))
        # every rank takes part in the gradient exchange: one without a micro-batch of its own computes another's with weight 0
        turns = [(n, scale) for n in mine] + [(0, 0.0)] * (-(-len(micros) // worker.world_size) - len(mine))
        loss = torch.zeros((), device=device)
        for place, (n, weight) in enumerate(turns):
            torch.manual_seed(mixed(seed, step, n))
            last = place == len(turns) - 1
            with contextlib.nullcontext() if last or wrapped is network else wrapped.no_sync():  # type: ignore[operator]
                with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                    part = wrapped(**collate(task, [items[i] for i in micros[n]], tokenizer.pad_token_id, device)) * weight
                (part * worker.world_size).backward()  # DDP averages over workers; the loss is a sum over them
            loss += part.detach()
        if worker.world_size > 1:
            dist.all_reduce(loss)
        nn.utils.clip_grad_norm_(network.parameters(), recipe.max_grad_norm)
        optimizer.step()
        write_line(log, {"step": step + 1, "loss": (value := loss.item()), "learning_rate": scheduler.get_last_lr()[0]})
        scheduler.step()
        optimizer.zero_grad()
        if not math.isfinite(value):
            raise RuntimeError(f"the loss is {value} at step {step + 1} of {total}: lower the learning rate")
        losses.append(value)
    network.eval()
    seconds = time.monotonic() - started
    rate = len(losses) * recipe.batch_size / seconds
    return {"num_steps": total, "final_loss": losses[-1], "seconds_training": seconds, "bf16": bf16, "examples_per_second": rate}


def collate(task: Task, items: Sequence[Item], padding: int, device: torch.device) -> dict[str, Any]:
    """The keyword arguments of a Network for some items."""
    pieces = features.pad([item.pieces for item in items], padding)
    second, labels = pieces[:0], torch.tensor([item.label for item in items])
    if task.kind == "ranking":
        second = features.pad([item.second for item in items], padding)
    if task.kind == "tagging":
        labels = torch.full_like(pieces, features.IGNORED)
        for row, item in enumerate(items):
            labels[row, item.words] = torch.tensor(item.tags)
    return {"pieces": pieces.to(device), "second": second.to(device), "labels": labels.to(device), "pad": padding}


def count(task: Task, item: Item) -> int:
    """How many losses an item adds to the sum."""
    return len(item.words) if task.kind == "tagging" else 1


def make_optimizer(parts: Model, recipe: Recipe, device: torch.device) -> torch.optim.Optimizer:
    """AdamW; weight decay on matrices only, never on embeddings (see the module on models); the head's own rate."""
    matrix = parts.encoder.get_input_embeddings().weight  # type: ignore[operator]
    decayed: list[nn.Parameter] = []
    plain: list[nn.Parameter] = []
    for parameter in parts.encoder.parameters():
        (decayed if parameter.ndim > 1 and parameter is not matrix else plain).append(parameter)
    groups: list[dict[str, Any]] = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    if parts.head is not None:
        head_rate = recipe.learning_rate if recipe.head_learning_rate is None else recipe.head_learning_rate
        groups.append({"params": list(parts.head.parameters()), "weight_decay": 0.0, "lr": head_rate})
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, fused=device.type in {"cpu", "cuda"})


def set_dropout(encoder: nn.Module, dropout: float | None) -> None:
    """Replace the rate of every dropout of the encoder (None: leave it)."""
    if dropout is not None:
        for module in encoder.modules():
            if isinstance(module, nn.Dropout):
                module.p = dropout


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


def write_line(log: Any, facts: dict[str, Any]) -> None:
    """One line of the log, where there is one (rank 0)."""
    if log:
        log.write(json.dumps(facts, sort_keys=True) + "\n")
