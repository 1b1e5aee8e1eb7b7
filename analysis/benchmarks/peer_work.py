"""The workloads of peers.py, the model that all peers read, and how time and memory are measured.

The peers train the same encoder (with its whole embedding matrix) and the same head on the same tokens; only how they make batches, what
they pad, what they hold and how they step is theirs.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from torch.nn import functional

from raystilts import data, model
from raystilts.features import IGNORED, Item, Items
from raystilts.kinds import KINDS
from raystilts.model import Model, Root
from raystilts.stage import Recipe
from raystilts.task import Task
from raystilts.tasks.nli import TAXINLI
from raystilts.tasks.qa import SQUAD
from raystilts.tasks.tagging import UDPOS, WIKIANN

RECIPE = Recipe(learning_rate=5e-5, num_epochs=1)
PAIRS, TAGS, QUESTIONS, LANGUAGES = "pairs (MNLI)", "tags (UD-POS)", "questions (SQuAD)", "20 languages (WikiANN)"
TRAINED: Mapping[str, tuple[Task, Recipe]] = {
    PAIRS: (TAXINLI, RECIPE),
    TAGS: (UDPOS, RECIPE),
    QUESTIONS: (
        replace(SQUAD, train=SQUAD.train and replace(SQUAD.train, files=("squad/part-1.json",))),
        replace(RECIPE, max_length=384),
    ),
}
TESTED = replace(WIKIANN, test=WIKIANN.dev)
TESTED_LANGUAGES = ("af", "ar", "az", "bn", "de", "eu", "gu", "jv", "ka", "kk", "ml", "mr", "my", "pa", "qu", "sw", "ta", "te", "tl", "ur")
TUNING = Recipe(learning_rate=2e-4, head_learning_rate=3e-3, num_steps=25)  # of the model that is evaluated
XTREME_BATCH, XTREME_ACCUMULATION, EVALUATION_BATCH = 8, 4, 32  # as in the scripts of google-research/xtreme
SAMPLE = 32  # items on which losses before and after training are compared


@dataclass(frozen=True)
class Setting:
    """How much is done, on what. items: of a training; sentences: of each language."""

    data: Path
    root: Root
    threads: int
    items: Mapping[str, int]
    sentences: int
    checkpoint: Path


Run = Callable[[bool], dict[str, Any]]
"""(whether to say where the time went) -> what was measured."""

PRODUCTS = ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm", "aten::_scaled_dot_product_flash_attention_for_cpu")
"""What multiplies matrices; the last in evaluation alone, its softmax included."""


def items_of(task: Task, recipe: Recipe, split: Any, language: str, count: int, setting: Setting) -> tuple[list[Any], Items]:
    """The first `count` examples of a split and their items; of training data as many items."""
    examples = data.examples(task, split, language, setting.data)[:count]
    made = KINDS[task.kind].encode(examples, data.labels(task, setting.data), model.load_tokenizer(setting.root), recipe)
    kept = made if split == "test" else (item for item, _ in zip(made, range(count), strict=False))
    return examples, Items.of(kept)


@contextmanager
def measured(found: dict[str, Any], profile: bool) -> Iterator[None]:
    """Adds wall and processor seconds, and the most MiB of resident memory (the kernel's mark, set back before); or, with `profile`, the
    shares of the operations' own time.
    """
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    wall, processor = time.perf_counter(), time.process_time()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) if profile else nullcontext() as profiler:
        yield
    if profiler:
        own = {event.key: event.self_cpu_time_total for event in profiler.key_averages()}
        found["shares"] = {name: microseconds / sum(own.values()) for name, microseconds in own.items()}
    found |= {"wall": time.perf_counter() - wall, "processor": time.process_time() - processor}
    status = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    found["peak"] = next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024


def outputs_of(task: Task, setting: Setting) -> int:
    """The width of a task's head."""
    return KINDS[task.kind].num_outputs(data.labels(task, setting.data))


class Peer(nn.Module):
    """The same encoder, whole, and the same head, as transformers' models for these tasks have them: what a Trainer wants."""

    def __init__(self, built: Model, kind: str) -> None:
        super().__init__()
        self.encoder, self.head, self.kind = built.encoder, built.heads[0], kind

    def forward(self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        """Mean loss and logits."""
        states = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        read = states[:, 0] if self.kind == "classification" else states
        logits: Tensor = self.head(functional.dropout(read, self.encoder.config.hidden_dropout_prob, self.training))
        if labels is None:
            return {"logits": logits}
        if self.kind == "span":
            logits = logits.masked_fill((attention_mask == 0).unsqueeze(-1), torch.finfo(torch.float32).min)
            return {"loss": functional.cross_entropy(logits, labels), "logits": logits}
        return {"loss": functional.cross_entropy(logits.flatten(0, -2), labels.flatten(), ignore_index=IGNORED), "logits": logits}


def peer_of(task: Task, setting: Setting, checkpoint: Path | None = None) -> Peer:
    """With new weights of the head, the same as raystilts', or a checkpoint's; nothing else is left in memory."""
    built = model.build(setting.root, checkpoint, None, [outputs_of(task, setting)], 1, keep_head=checkpoint is not None)
    model.load_root.cache_clear()
    return Peer(built, task.kind)


def feature(item: Item, kind: str) -> dict[str, Any]:
    """An item as a Trainer's data sets have it: ids, mask and labels."""
    pieces = [int(piece) for piece in item.pieces[0]]
    labels: Any = [int(number) for number in item.targets]
    if kind == "classification":
        labels = labels[0]
    elif kind == "tagging":
        of_place = dict(zip((int(place) for place in item.places), labels, strict=True))
        labels = [of_place.get(place, IGNORED) for place in range(len(pieces))]
    return {"input_ids": pieces, "attention_mask": [1] * len(pieces), "labels": labels}


def padded(batch: Sequence[dict[str, Any]], tokenizer: Any, kind: str, length: int | None) -> dict[str, Tensor]:
    """A batch by transformers' collators: to its longest, or to `length`."""
    how = {"padding": "max_length", "max_length": length} if length else {"padding": True}
    chosen = transformers.DataCollatorForTokenClassification if kind == "tagging" else transformers.DataCollatorWithPadding
    collated: dict[str, Tensor] = chosen(tokenizer, **how)([dict(one) for one in batch])
    return collated
