"""Identity: what a stage is, and the key that follows from it.

A key holds what changes the result (recipe, data, encoder, seed, parent) and nothing about where or how it runs (paths,
workers, devices, names), so what several cells of a study or several studies share has one key and is done once.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Literal, get_args, get_origin, get_type_hints

from raystilts.task import Task

SCHEMA = 2
"""Bumped by hand whenever the code changes what a stage with an unchanged description computes."""

KEY_LENGTH = 20  # hexadecimal digits, 80 bits: a collision among a million stages has probability below 1e-12

ADDED = {"added": True}
"""Metadata of a field that came after the first keys were made: it enters them only where it is not its default."""

Phase = Literal["initialise", "train", "average", "evaluate"]
Pooling = Literal["first", "mean"]
RankingLoss = Literal["softmax", "hardest"]
Precision = Literal["auto", "float32", "bfloat16"]


@cache
def _words() -> dict[str, tuple[str, ...]]:
    """Of a recipe's fields those that take one of several words: the words."""
    kinds = get_type_hints(Recipe)
    return {name: get_args(kind) for name, kind in kinds.items() if get_origin(kind) is Literal}


@dataclass(frozen=True)
class Recipe:
    """How a model is trained; names as in Hugging Face. Every field is part of a stage's identity.

    The global batch is cut into micro-batches of `micro_batch_size` examples, whose dropout masks are functions of seed, step and
    position: they come out the same whether one worker computes them all or several share them.
    """

    learning_rate: float = 2e-5
    head_learning_rate: float | None = None  # None: the same; small encoders need a larger one
    head_seed: int | None = field(default=None, metadata=ADDED)  # of a new head's weights; None: the stage's own
    layer_decay: float = field(default=1.0, metadata=ADDED)  # each layer's rate is that of the one above it times this; see optimizer
    lora_rank: int = field(default=0, metadata=ADDED)  # 0: all weights are trained; else low-rank adapters and heads alone; see adapters
    lora_alpha: float = field(default=32.0, metadata=ADDED)  # the update is scaled by alpha / rank
    lora_dropout: float = field(default=0.05, metadata=ADDED)
    lora_modules: str = field(default="", metadata=ADDED)  # linear layers, by their last names; "": the attention's query and value
    lora_depth: float = field(default=1.0, metadata=ADDED)  # only the layers up to this relative depth have adapters
    average_checkpoints: int = field(default=0, metadata=ADDED)  # the result is the mean of the weights at so many points; see averaging
    ranking_layer: float = field(default=1.0, metadata=ADDED)  # ranking: relative depth of the layer whose vectors are compared
    ranking_loss: RankingLoss = field(default="softmax", metadata=ADDED)  # softmax over the batch, or a margin to its hardest negative
    ranking_margin: float = field(default=0.4, metadata=ADDED)  # ranking, hardest: in cosine
    num_epochs: int = 3
    num_steps: int | None = None  # overrides num_epochs
    batch_size: int = 32  # examples a step, over all workers
    micro_batch_size: int = 16
    max_length: int = 128  # tokens; longer pairs are truncated, longer word lists and contexts are split into windows
    stride: int = 128  # span: tokens from the start of a window of a context to the start of the next
    max_query_length: int = 64  # span: tokens of a question
    max_answer_length: int = 30  # span: tokens of an answer
    warmup_ratio: float = 0.1  # share of the steps with a linearly rising rate, before it falls linearly to 0
    weight_decay: float = 0.0  # of matrices; never of embeddings, biases and layer norms
    max_grad_norm: float = 1.0
    dropout: float | None = None  # None: the encoder's own
    pooling: Pooling = "first"  # what a classification head reads: the first token's state or the mean of all
    temperature: float = 0.05  # ranking: cosines are divided by it
    precision: Precision = field(default="auto", metadata=ADDED)  # of products; auto: bfloat16 on a GPU that has it; see precision
    perturbation: Literal["none", "adversarial", "random"] = field(default="none", metadata=ADDED)  # of word embeddings, in training
    perturbation_radius: float = field(default=0.1, metadata=ADDED)  # eps, in mean norms of the root's word embeddings
    perturbation_steps: int = field(default=3, metadata=ADDED)  # adversarial: steps of the gradient ascent
    perturbation_step_size: float = field(default=0.5, metadata=ADDED)  # adversarial: length of a step, in units of eps
    mask_probability: float = 0.15  # mlm: share of the tokens that are to be predicted
    max_examples: int | None = None  # train on that many examples, the ones with the smallest hash of their id

    @property
    def lengths(self) -> tuple[int, ...]:
        """What of a recipe decides how texts become tokens."""
        return self.max_length, self.stride, self.max_query_length

    @property
    def misspelt(self) -> str:
        """Of a field that takes one of several words and has another: its name, that word and its choices; else empty."""
        wrong = ((name, words) for name, words in _words().items() if getattr(self, name) not in words)
        return next((f"{name} {getattr(self, name)!r}; choose from {', '.join(words)}" for name, words in wrong), "")


@dataclass(frozen=True)
class Architecture:
    """A randomly initialised encoder of XLM-R's architecture, with a unigram tokenizer trained on the texts of `texts`."""

    num_layers: int
    hidden_size: int
    num_heads: int
    intermediate_size: int
    vocab_size: int
    max_length: int = 128
    dropout: float = 0.1


@dataclass(frozen=True)
class Encoder:
    """A pretrained encoder: a folder below `--encoders`, a pinned Hub model, or an architecture to initialise.

    `pretraining` (task, recipe) steps are done once, with the seed `pretraining_seed`, before the study's own stages: like any published
    encoder it is one draw, and what a study then says is said given this draw.
    """

    name: str
    folder: str = ""
    hub: str = ""
    revision: str = ""
    architecture: Architecture | None = None
    texts: Task | None = None  # with `architecture`: what its tokenizer is trained on
    pretraining: tuple[tuple[Task, Recipe], ...] = ()
    pretraining_seed: int = 0
    random_weights: bool = False  # a control: the folder's or Hub model's config and tokenizer, weights drawn by `pretraining_seed`


@dataclass(frozen=True)
class Stage:
    """One unit of work: initialise an encoder, fine-tune on a task, average runs, or evaluate a model on a task's languages.

    encoder: identity of the encoder at the root (hash of its files, or Hub id and revision); empty below an `initialise` stage.
    data: (split/language, identity) of everything that is read; "2:train/en" is of a mixture's third part, and "test-candidates/sw"
        is what the test's queries search. keep_head: the parent's head is trained on (SIQA, then COPA), where it is else a new one.
    averaged: average: the runs whose weights are averaged with the parent's.
    """

    phase: Phase
    task: Task | None
    data: tuple[tuple[str, str], ...]
    seed: int | None = None
    recipe: Recipe | None = None
    architecture: Architecture | None = None
    encoder: str = ""
    parent: Stage | None = None
    keep_head: bool = False
    averaged: tuple[Stage, ...] = ()

    @cached_property
    def key(self) -> str:
        """Hexadecimal digest of everything that changes the result."""
        return fingerprint(
            {
                "schema": SCHEMA,
                "phase": self.phase,
                "task": _facts(self.task) if self.task else {},
                "data": sorted(self.data),
                "seed": self.seed,
                "recipe": self.recipe,
                "architecture": self.architecture,
                "encoder": self.encoder,
                "parent": self.parent.key if self.parent else None,
                **({"keep_head": True} if self.keep_head else {}),
                **({"averaged": [run.key for run in self.averaged]} if self.averaged else {}),
            }
        )

    @property
    def parents(self) -> tuple[Stage, ...]:
        """All that has to be there before the stage can start."""
        return (*((self.parent,) if self.parent else ()), *self.averaged)

    @property
    def parts(self) -> tuple[Task, ...]:
        """What the stage trains on: its task, or the parts of its mixture."""
        return () if self.task is None else self.task.parts if self.task.kind == "mixture" else (self.task,)

    def identity_of(self, part: int, name: str) -> str:
        """Identity of the data of a part of the stage: `name` is split/language."""
        prefix = f"{part}:" if self.task and self.task.kind == "mixture" else ""
        return dict(self.data)[prefix + name]

    @property
    def reads(self) -> Iterator[tuple[Task, str, str]]:
        """(task, split, language) of everything that is read."""
        for name, _ in self.data:
            part, _, place = name.rpartition(":")
            split, _, language = place.partition("/")
            yield self.parts[int(part or 0)], split, language

    @property
    def root(self) -> str:
        """Identity of the encoder that the lineage begins with, and so of its tokenizer."""
        first = self.lineage[0]
        return first.encoder or first.key

    @property
    def lineage(self) -> tuple[Stage, ...]:
        """The stage's ancestors, the oldest first, and itself; of an average those of its first run."""
        return (*(self.parent.lineage if self.parent else ()), self)

    @property
    def slug(self) -> str:
        """A short name for people: `train kind s2`. Not an identity."""
        parts = [self.phase, self.task.name if self.task else "", "" if self.seed is None else f"s{self.seed}"]
        return " ".join(part for part in parts if part)


def average_of(runs: tuple[Stage, ...]) -> Stage:
    """The stage whose weights are the mean of those of some runs of one training, which differ in their seeds alone."""
    first, *others = runs
    return dataclasses.replace(first, phase="average", seed=None, encoder="", parent=first, keep_head=False, averaged=tuple(others))


def _facts(task: Task) -> dict[str, object]:
    """What of a task changes results, beside its data."""
    facts: dict[str, object] = {"kind": task.kind, "labels": task.labels, "metric": task.metric}
    if task.also:
        facts["also"] = task.also
    if task.headless:
        facts["layer"] = task.layer
    if task.kind == "mixture":
        facts |= {"parts": [_facts(part) for part in task.parts], "temperature": task.temperature, "cap": task.cap}
    if task.weights:
        facts["weights"] = task.weights
    return facts


def fingerprint(value: object) -> str:
    """Hash of a value with a stable form (None, bool, int, float, str, tuples, lists, string-keyed dicts, dataclasses of those).

    Raises TypeError on everything else: an identity must not depend on a memory address or on the order of a set.
    """
    text = json.dumps(_stable(value), sort_keys=True, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:KEY_LENGTH]


def _stable(value: object) -> object:
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return {"float": value.hex()}  # 1.0 and 1 are different recipes; hex is exact
    if isinstance(value, tuple | list):
        return [_stable(item) for item in value]
    if isinstance(value, dict):
        if not all(isinstance(name, str) for name in value):
            raise TypeError(f"no stable form for a dict with keys that are not strings: {value!r}")
        return {name: _stable(item) for name, item in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [
            field for field in dataclasses.fields(value) if not (field.metadata == ADDED and getattr(value, field.name) == field.default)
        ]
        return {type(value).__name__: {field.name: _stable(getattr(value, field.name)) for field in fields}}
    raise TypeError(f"no stable form for {type(value).__name__}: {value!r}")
