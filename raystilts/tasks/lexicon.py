"""Targeted lexical injection (arXiv 2506.15415): an early layer is aligned on pairs of words, by low-rank adapters.

A pair is a word and its English one. The training is an intermediate task of kind `ranking`; `INJECTION` is its recipe. What it adds to
the paper: vectors are means over content tokens alone; `random_pairs` is the control that has the same words in random pairs, beside
which any number must be read (a rising cosine may be collapse); a word that stands twice in a batch is no negative of itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from raystilts.errors import UserError
from raystilts.stage import Recipe
from raystilts.task import Source, Task

CITATION = "Targeted Lexical Injection, arXiv 2506.15415"

INJECTION = Recipe(
    learning_rate=2e-4,
    num_epochs=5,
    batch_size=8,
    max_length=32,
    warmup_ratio=0.13,  # 50 steps of the 390 that the paper's 623 pairs make
    lora_rank=16,
    lora_alpha=32.0,
    lora_dropout=0.05,
    lora_depth=2 / 12,
    ranking_layer=2 / 12,  # the paper reads hidden_states[2]; the loss reaches nothing above it
    ranking_loss="hardest",
    ranking_margin=0.4,
)
"""The paper's training; `at_layer` moves it to another layer."""


def at_layer(depth: float, recipe: Recipe = INJECTION) -> Recipe:
    """The recipe with another layer's vectors compared, at that relative depth, and adapters in all layers up to it."""
    return replace(recipe, ranking_layer=depth, lora_depth=depth)


def word_pairs(name: str, files: Sequence[str], licence: str = "") -> Task:
    """Pairs of words from files below `--data`: a line holds a word, a tab, and its English one; the files follow each other."""
    if not files:
        raise UserError(f"{name}: name at least one file of word pairs.")
    first, *further = (Source(files=(file,), reader="tsv", columns=("word", "english")) for file in files)
    source = replace(first, more=tuple(further))
    return Task(name=name, kind="ranking", metric="accuracy", train=source, citation=CITATION, licence=licence)


def random_pairs(task: Task, name: str) -> Task:
    """The control of an injection: the same words on both sides, in pairs that are wrong; without dev data, which would be, too."""
    if task.kind != "ranking" or task.train is None:
        raise UserError(f"{task.name}: only a task that trains on pairs has random pairs.")
    return replace(task, name=name, train=replace(task.train, deranged=True), dev=None)
