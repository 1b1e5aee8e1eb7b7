"""The ways to train of peers.py: raystilts, transformers.Trainer by default and at its best, and all padded to the maximum."""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from peer_work import (
    SAMPLE,
    TRAINED,
    XTREME_ACCUMULATION,
    XTREME_BATCH,
    Peer,
    Run,
    Setting,
    feature,
    items_of,
    measured,
    outputs_of,
    padded,
    peer_of,
)
from torch import nn
from torch.utils.data import DataLoader

from raystilts import data, features, model
from raystilts.model import Model
from raystilts.network import Network
from raystilts.train import Part, Worker, fit


def train_here(name: str, setting: Setting) -> Run:
    """raystilts' own loop, with its defaults."""
    (task, recipe), tokenizer = TRAINED[name], model.load_tokenizer(setting.root)
    _, items = items_of(task, recipe, "train", "en", setting.items[name], setting)
    part = Part(task, data.labels(task, setting.data), len(items), items)
    sample = [items[i] for i in range(min(SAMPLE, len(items)))]

    def sample_loss(built: Model) -> float:
        network = Network(built, recipe, tokenizer, [part.functions.loss]).eval()
        with torch.inference_mode():
            batch = part.functions.collate(sample, tokenizer.pad_token_id, recipe, len(built.index))
            return float(network(0, batch)) / sum(part.functions.count(item, recipe) for item in sample)

    def run(profile: bool) -> dict[str, Any]:
        built = model.build(setting.root, None, items.vocabulary, [outputs_of(task, setting)], 1, keep_head=False)
        found: dict[str, Any] = {"before": sample_loss(built)}
        log = io.StringIO()
        with measured(found, profile):
            fit(built, task, [part], recipe, 1, tokenizer, Worker(), log)
        losses = [json.loads(line)["loss"] for line in log.getvalue().splitlines()[1:]]
        with tempfile.TemporaryDirectory() as folder:
            model.save(built, Path(folder), setting.root, None)
            size = (Path(folder) / model.WEIGHTS).stat().st_size
        return found | {"loss": float(np.mean(losses)), "after": sample_loss(built), "bytes": size}

    return run


class Ordered(transformers.Trainer):  # type: ignore[misc]
    """A Trainer that is given an order of the items: that which group_by_length makes of a data set of full size."""

    order: Sequence[int] = ()

    def _get_train_sampler(self, _dataset: object = None) -> Any:
        return list(self.order)


def train_trainer(name: str, setting: Setting, *, best: bool) -> Run:
    """transformers.Trainer, by default (random order, each batch padded to its longest) or at its best (batches of equal lengths)."""
    (task, recipe), tokenizer = TRAINED[name], model.load_tokenizer(setting.root)
    _, items = items_of(task, recipe, "train", "en", setting.items[name], setting)
    rows = [feature(item, task.kind) for item in items]
    order = [int(i) for batch in features.batches(items.lengths, recipe, 1) for i in batch]
    steps = features.num_steps(len(items), recipe)

    def run(profile: bool) -> dict[str, Any]:
        peer = peer_of(task, setting)
        found: dict[str, Any] = {"before": sample_loss(peer, rows, tokenizer, None)}
        with tempfile.TemporaryDirectory() as folder:
            options = transformers.TrainingArguments(
                folder, per_device_train_batch_size=recipe.batch_size, num_train_epochs=1, learning_rate=recipe.learning_rate,
                warmup_steps=int(np.ceil(recipe.warmup_ratio * steps)), save_strategy="no", logging_strategy="no", report_to="none",
                use_cpu=True, seed=1, disable_tqdm=True, dataloader_pin_memory=False,
            )  # fmt: skip
            trainer = (Ordered if best else transformers.Trainer)(
                peer, options, data_collator=lambda batch: padded(batch, tokenizer, task.kind, None), train_dataset=rows
            )
            trainer.order = order
            trainer.remove_callback(transformers.PrinterCallback)
            with measured(found, profile):
                result = trainer.train()
        return found | {"loss": result.training_loss, "after": sample_loss(peer, rows, tokenizer, None), "bytes": weights_of(peer)}

    return run


def train_padded(name: str, setting: Setting) -> Run:
    """The loop of google-research/xtreme's and jiant's scripts: all padded to the maximum, 8 at a time, 4 of these a step."""
    (task, recipe), tokenizer = TRAINED[name], model.load_tokenizer(setting.root)
    _, items = items_of(task, recipe, "train", "en", setting.items[name], setting)
    rows = [feature(item, task.kind) for item in items]
    steps = features.num_steps(len(items), recipe)

    def run(profile: bool) -> dict[str, Any]:
        peer = peer_of(task, setting)
        found: dict[str, Any] = {"before": sample_loss(peer, rows, tokenizer, recipe.max_length)}
        optimizer = torch.optim.AdamW(peer.parameters(), lr=recipe.learning_rate, weight_decay=0.0)
        warmup = int(np.ceil(recipe.warmup_ratio * steps))
        schedule = transformers.get_linear_schedule_with_warmup(optimizer, warmup, steps)
        loader = DataLoader(
            rows, XTREME_BATCH, shuffle=True, collate_fn=lambda batch: padded(batch, tokenizer, task.kind, recipe.max_length)
        )  # type: ignore[arg-type, var-annotated]
        losses = []
        peer.train()
        with measured(found, profile):
            for number, batch in enumerate(loader):
                loss = peer(**batch)["loss"] / XTREME_ACCUMULATION
                loss.backward()
                losses.append(loss.item() * XTREME_ACCUMULATION)
                if (number + 1) % XTREME_ACCUMULATION == 0:
                    nn.utils.clip_grad_norm_(peer.parameters(), recipe.max_grad_norm)
                    optimizer.step()
                    schedule.step()
                    optimizer.zero_grad()
        after = sample_loss(peer, rows, tokenizer, recipe.max_length)
        return found | {"loss": float(np.mean(losses)), "after": after, "bytes": weights_of(peer)}

    return run


def sample_loss(peer: Peer, rows: Sequence[dict[str, Any]], tokenizer: Any, length: int | None) -> float:
    """Mean loss of the sample, without dropout."""
    with torch.inference_mode():
        return float(peer.eval()(**padded(rows[:SAMPLE], tokenizer, peer.kind, length))["loss"])


def weights_of(peer: Peer) -> int:
    """Bytes of the weights that a peer writes."""
    return sum(tensor.nbytes for tensor in peer.state_dict().values())
