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
    """In-batch translation ranking in both directions (Guo et al. 2018; Feng et al. 2022), or the margin to the hardest negative of the
    batch (arXiv 2506.15415); summed over the batch.
    """
    recipe, layers = network.recipe, (network.recipe.ranking_layer,)
    (first,), (second,) = network.vectors(batch["pieces"], layers), network.vectors(batch["second"], layers)
    if recipe.ranking_loss == "hardest":
        return hardest(first @ second.T, negatives(batch["pieces"], batch["second"], network.pad), recipe.ranking_margin).sum()
    scores = first @ second.T / recipe.temperature
    target = torch.arange(len(scores), device=scores.device)
    both = [functional.cross_entropy(side, target, reduction="sum") for side in (scores, scores.T)]
    return (both[0] + both[1]) / 2


def hardest(cosines: Tensor, allowed: Tensor, margin: float) -> Tensor:
    """[batch] relu(margin + the largest cosine of a first text with another's second text - the one with its own).

    cosines, allowed: [batch, batch] of first and second texts; what is not allowed is no negative. A text without a negative has no loss.
    """
    others = cosines.masked_fill(~allowed, -torch.inf).amax(1)
    return functional.relu(margin + others - cosines.diagonal())


def negatives(first: Tensor, second: Tensor, padding: int) -> Tensor:
    """[batch, batch] whether the second text of pair j is a wrong answer to the first text of pair i.

    It is none where the two pairs share a text, on whichever side: a word that stands twice in a batch would be pushed away from itself.
    """
    width = max(first.shape[1], second.shape[1])
    one, two = (functional.pad(side, (0, width - side.shape[1]), value=padding) for side in (first, second))

    def same(a: Tensor, b: Tensor) -> Tensor:
        return (a.unsqueeze(1) == b.unsqueeze(0)).all(-1)

    return ~(same(one, one) | same(two, two) | same(one, two))
