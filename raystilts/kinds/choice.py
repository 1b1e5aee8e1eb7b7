"""Multiple choice: each continuation is scored after what all begin with; the best one is chosen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from raystilts import features
from raystilts.features import Item
from raystilts.kinds.classification import count, predictions
from raystilts.stage import Recipe
from raystilts.task import Example

if TYPE_CHECKING:
    from raystilts.network import Network

__all__ = ["collate", "count", "encode", "loss", "num_outputs", "outputs", "predictions"]


def encode(examples: Sequence[Example], labels: Sequence[str], tokenizer: Any, recipe: Recipe) -> Iterator[Item]:
    """One item an example, with one sequence per continuation: the beginning and it, as a pair; the longer text is cut first."""
    number = {label: i for i, label in enumerate(labels)}
    firsts = [example.texts[0] for example in examples for _ in example.texts[1:]]
    seconds = [text for example in examples for text in example.texts[1:]]
    encoded = features.encode_texts(tokenizer, firsts, seconds, truncation=True, max_length=recipe.max_length)
    for i, example in enumerate(examples):
        yield Item(i, tuple(next(encoded) for _ in example.texts[1:]), [number[str(example.label)]])


def num_outputs(_labels: Sequence[str]) -> int:
    """One: a continuation's score. A head does not depend on how many continuations there are."""
    return 1


def collate(items: Sequence[Item], padding: int, _recipe: Recipe, _vocab_size: int) -> dict[str, Tensor]:
    """pieces [batch * choices, length], an item's sequences one after the other; labels [batch]."""
    pieces = features.pad([sequence for item in items for sequence in item.pieces], padding)
    return {"pieces": pieces, "labels": torch.tensor([int(item.targets[0]) for item in items])}


def _scores(network: Network, head: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
    """[batch, choices] scores."""
    return head(network.pooled(batch["pieces"])).float().view(len(batch["labels"]), -1)  # type: ignore[no-any-return]


def loss(network: Network, head: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
    """Sum of the cross-entropies over the continuations."""
    return functional.cross_entropy(_scores(network, head, batch), batch["labels"], reduction="sum")


def outputs(network: Network, head: nn.Module, batch: Mapping[str, Tensor], _items: Sequence[Item]) -> list[Any]:
    """The number of the best continuation of each item."""
    found: list[Any] = _scores(network, head, batch).argmax(-1).tolist()
    return found
