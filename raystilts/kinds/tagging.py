"""Tagging: the first piece of a word carries its tag. Long word lists are read in windows; no word is dropped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from raystilts import features
from raystilts.features import Item, Items
from raystilts.stage import Recipe
from raystilts.task import Example

if TYPE_CHECKING:
    from raystilts.network import Network


def encode(examples: Sequence[Example], labels: Sequence[str], tokenizer: Any, recipe: Recipe) -> Iterator[Item]:
    """Windows of at most max_length pieces, cut between words. A tag outside `labels` gets the number that losses ignore."""
    number = {label: i for i, label in enumerate(labels)}
    start, *end = tokenizer("")["input_ids"]
    room = recipe.max_length - 1 - len(end)
    for begin in range(0, len(examples), features.CHUNK):
        chunk = examples[begin : begin + features.CHUNK]
        encoded = tokenizer([list(example.texts) for example in chunk], is_split_into_words=True, add_special_tokens=False)
        for i, example in enumerate(chunk):
            of_word: list[list[int]] = [[] for _ in example.texts]
            for piece, word in zip(encoded["input_ids"][i], encoded.word_ids(i), strict=True):
                of_word[word].append(piece)
            tags = [number.get(tag, features.IGNORED) for tag in example.label or ()]
            # a word of nothing but ignored characters still gets a prediction
            words = [found[:room] or [tokenizer.unk_token_id] for found in of_word]
            yield from _windows(begin + i, words, tags, start, end, room)


def _windows(example: int, of_word: list[list[int]], tags: list[int], start: int, end: list[int], room: int) -> Iterator[Item]:
    first, pieces = 0, [start]
    places: list[int] = []
    for n, word in enumerate(of_word):
        if len(pieces) - 1 + len(word) > room:
            yield Item(example, (pieces + end,), tags[first:n], places, first)
            first, pieces, places = n, [start], []
        places.append(len(pieces))
        pieces = pieces + word
    yield Item(example, (pieces + end,), tags[first:], places, first)


def num_outputs(labels: Sequence[str]) -> int:
    """One per tag."""
    return len(labels)


def collate(items: Sequence[Item], padding: int, _recipe: Recipe, _vocab_size: int) -> dict[str, Tensor]:
    """pieces [batch, length]; labels [batch, length], IGNORED where no word begins."""
    pieces = features.pad([item.pieces[0] for item in items], padding)
    labels = np.full(pieces.shape, features.IGNORED)
    for row, item in enumerate(items):
        labels[row, item.places] = item.targets
    return {"pieces": pieces, "labels": torch.from_numpy(labels)}


def count(item: Item, _recipe: Recipe) -> float:
    """Losses of an item: its words."""
    return len(item.places)


def loss(network: Network, head: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
    """Sum of the cross-entropies of the words."""
    logits = head(network.dropout(network.states(batch["pieces"]))).float()
    return functional.cross_entropy(logits.flatten(0, -2), batch["labels"].flatten(), ignore_index=features.IGNORED, reduction="sum")


def outputs(network: Network, head: nn.Module, batch: Mapping[str, Tensor], items: Sequence[Item]) -> list[Any]:
    """The numbers of the best tags of each item's words."""
    best = head(network.states(batch["pieces"])).float().argmax(-1).cpu().numpy()
    return [best[row, item.places] for row, item in enumerate(items)]


def predictions(examples: Sequence[Example], items: Items, found: Sequence[Any], labels: Sequence[str], _threshold: object) -> list[Any]:
    """A tuple of tags for each example."""
    tags: list[list[str]] = [[""] * len(example.texts) for example in examples]
    for item, numbers in zip(items, found, strict=True):
        tags[item.example][item.first : item.first + len(numbers)] = [labels[number] for number in numbers]
    return [tuple(of_example) for of_example in tags]
