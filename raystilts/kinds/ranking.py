"""Ranking: pairs of texts whose vectors are brought together, with the other pairs of the batch as negatives. Retrieval reads them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from raystilts import features
from raystilts.features import Item
from raystilts.stage import Recipe
from raystilts.task import Example

if TYPE_CHECKING:
    from raystilts.network import Network


def encode(examples: Sequence[Example], _labels: Sequence[str], tokenizer: Any, recipe: Recipe) -> Iterator[Item]:
    """One item an example, with one sequence per text."""
    num_texts = len(examples[0].texts) if examples else 0
    sides = [
        features.encode_texts(tokenizer, [example.texts[side] for example in examples], truncation=True, max_length=recipe.max_length)
        for side in range(num_texts)
    ]
    for i, pieces in enumerate(zip(*sides, strict=True)):
        yield Item(i, pieces)


def num_outputs(_labels: Sequence[str]) -> int:
    """None: vectors are compared as they are."""
    return 0


def collate(items: Sequence[Item], padding: int, _recipe: Recipe, _vocab_size: int) -> dict[str, Tensor]:
    """pieces [batch, length] and second [batch, length]."""
    return {
        "pieces": features.pad([item.pieces[0] for item in items], padding),
        "second": features.pad([item.pieces[1] for item in items], padding),
    }


def count(_item: Item, _recipe: Recipe) -> float:
    """Losses of an item."""
    return 1


def loss(network: Network, _head: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
    """In-batch translation ranking in both directions (Guo et al. 2018; Feng et al. 2022), summed over the batch."""
    (first,), (second,) = network.vectors(batch["pieces"]), network.vectors(batch["second"])
    scores = first @ second.T / network.recipe.temperature
    target = torch.arange(len(scores), device=scores.device)
    both = [functional.cross_entropy(side, target, reduction="sum") for side in (scores, scores.T)]
    return (both[0] + both[1]) / 2
