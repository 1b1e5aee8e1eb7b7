"""Examples -> pieces -> batches.

A training batch is a function of seed, epoch and the items' lengths alone, so that any number of workers agree on it without talking.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from raystilts.stage import Recipe
from raystilts.task import Example, Task

if TYPE_CHECKING:
    from torch import Tensor

POOL_BATCHES = 32  # batches whose items are sorted by length together; composition stays random across pools
IGNORED = -100  # torch's number for "no loss here"
CACHED = 64  # sets of examples, items and pieces that a process keeps, the last used


@dataclass(frozen=True, slots=True)
class Item:
    """What a model reads at once: an example, or a window of a long word list.

    pieces: ids with special tokens. second: the other text's, for pairs that are read apart (ranking).
    words: tagging: place in `pieces` of the first piece of each word of the window; first: number of the window's first word.
    """

    example: int
    pieces: list[int]
    second: list[int]
    words: list[int]
    first: int
    label: int
    tags: list[int]


def encode(task: Task, labels: Sequence[str], examples: Sequence[Example], tokenizer: Any, max_length: int) -> list[Item]:
    """The items of all the examples, in their order; no word of a tagging example is dropped.

    A gold label outside `labels` (a category that only dev has) gets the number that losses ignore; it can never be predicted.
    """
    number = {label: i for i, label in enumerate(labels)}
    if task.kind == "tagging":
        return list(_windows(examples, number, tokenizer, max_length))
    if task.kind == "classification":
        pairs = [example.texts[1] for example in examples] if examples and len(examples[0].texts) > 1 else None
        encoded = tokenizer([example.texts[0] for example in examples], pairs, truncation=True, max_length=max_length)["input_ids"]
        return [Item(i, encoded[i], [], [], 0, number.get(str(example.label), IGNORED), []) for i, example in enumerate(examples)]
    sides = [
        tokenizer([example.texts[side] for example in examples], truncation=True, max_length=max_length)["input_ids"] for side in (0, 1)
    ]
    return [Item(i, sides[0][i], sides[1][i], [], 0, 0, []) for i in range(len(examples))]


def _windows(examples: Sequence[Example], number: dict[str, int], tokenizer: Any, max_length: int) -> Iterator[Item]:
    start, *end = tokenizer("")["input_ids"]
    room = max_length - 1 - len(end)
    encoded = tokenizer([list(example.texts) for example in examples], is_split_into_words=True, add_special_tokens=False)
    for i, example in enumerate(examples):
        of_word: list[list[int]] = [[] for _ in example.texts]
        for piece, word in zip(encoded["input_ids"][i], encoded.word_ids(i), strict=True):
            of_word[word].append(piece)
        tags = [number.get(tag, IGNORED) for tag in example.label or ()]
        first, pieces = 0, [start]
        words: list[int] = []
        for n, found in enumerate(of_word):
            kept = found[:room] or [tokenizer.unk_token_id]  # a word of nothing but ignored characters still gets a prediction
            if len(pieces) - 1 + len(kept) > room:
                yield Item(i, pieces + end, [], words, first, 0, tags[first:n])
                first, pieces, words = n, [start], []
            words.append(len(pieces))
            pieces = pieces + kept
        yield Item(i, pieces + end, [], words, first, 0, tags[first:])


def pieces_of(items: Iterable[Item]) -> set[int]:
    """All piece ids that occur."""
    found: set[int] = set()
    for item in items:
        found.update(item.pieces, item.second)
    return found


def lengths(items: Sequence[Item]) -> np.ndarray:
    """[len(items)] pieces of each item's longer side."""
    return np.array([max(len(item.pieces), len(item.second)) for item in items])


def num_steps(num_items: int, recipe: Recipe) -> int:
    """Optimiser steps of a training."""
    return recipe.num_steps or recipe.num_epochs * -(-num_items // recipe.batch_size)


def batches(sizes: np.ndarray, recipe: Recipe, seed: int) -> Iterator[np.ndarray]:
    """Item numbers of each global batch, for `num_steps` steps; a batch is sorted by length, its micro-batches are cut from it in order.

    Every epoch: a random order, cut into pools of POOL_BATCHES batches; each pool sorted by length and cut into batches; batches shuffled.
    """
    size, left, epoch = recipe.batch_size, num_steps(len(sizes), recipe), 0
    while left > 0:
        rng = np.random.default_rng([seed, epoch])
        order = rng.permutation(len(sizes))
        cut = []
        for start in range(0, len(order), size * POOL_BATCHES):
            pool = order[start : start + size * POOL_BATCHES]
            pool = pool[np.argsort(sizes[pool], kind="stable")]
            cut += [pool[i : i + size] for i in range(0, len(pool), size)]
        for place in rng.permutation(len(cut))[:left]:
            yield cut[place]
        left, epoch = left - len(cut), epoch + 1


def by_tokens(sizes: np.ndarray, budget: int) -> Iterator[np.ndarray]:
    """Item numbers in batches of at most `budget` tokens, padding counted, longest first (so that memory runs out at once or never)."""
    batch: list[int] = []
    longest = 0
    for i in np.argsort(-sizes, kind="stable"):
        longest = max(longest, int(sizes[i]))
        if batch and longest * (len(batch) + 1) > budget:
            yield np.array(batch)
            batch, longest = [], int(sizes[i])
        batch.append(int(i))
    if batch:
        yield np.array(batch)


def pad(sequences: Sequence[Sequence[int]], value: int) -> Tensor:
    """[len(sequences), longest] ids, padded on the right."""
    import torch  # noqa: PLC0415

    width = max(len(sequence) for sequence in sequences)
    return torch.tensor([[*sequence, *[value] * (width - len(sequence))] for sequence in sequences])


_cache: dict[str, Any] = {}


def cached(parts: Sequence[object], make: Callable[[], Any]) -> Any:
    """`make()`, or what it returned in this process for equal `parts` (whose text must say all that it depends on).

    Workers live through many stages, which read the same few test sets.
    """
    key = hashlib.sha256(repr(parts).encode()).hexdigest()
    found = _cache.pop(key) if key in _cache else make()
    _cache[key] = found  # at the end: the last to go
    if len(_cache) > CACHED:
        del _cache[next(iter(_cache))]
    return found
