"""Classification of a text or a pair of texts."""

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


def encode(examples: Sequence[Example], labels: Sequence[str], tokenizer: Any, recipe: Recipe) -> Iterator[Item]:
    """One item an example; the longer text of a pair is cut first.

    A gold label outside `labels` (one that only dev has) gets the number that losses ignore; it can never be predicted.
    """
    number = {label: i for i, label in enumerate(labels)}
    second = [example.texts[1] for example in examples] if examples and len(examples[0].texts) > 1 else None
    first = [example.texts[0] for example in examples]
    encoded = features.encode_texts(tokenizer, first, second, truncation=True, max_length=recipe.max_length)
    for i, (example, pieces) in enumerate(zip(examples, encoded, strict=True)):
        yield Item(i, (pieces,), [number.get(str(example.label), features.IGNORED)])


def num_outputs(labels: Sequence[str]) -> int:
    """One per label."""
    return len(labels)


def collate(items: Sequence[Item], padding: int, _recipe: Recipe, _vocab_size: int) -> dict[str, Tensor]:
    """pieces [batch, length], labels [batch]."""
    pieces = features.pad([item.pieces[0] for item in items], padding)
    return {"pieces": pieces, "labels": torch.tensor([int(item.targets[0]) for item in items])}


def count(_item: Item, _recipe: Recipe) -> float:
    """Losses of an item."""
    return 1


def loss(network: Network, head: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
    """Sum of the cross-entropies."""
    logits = head(network.pooled(batch["pieces"])).float()
    return functional.cross_entropy(logits, batch["labels"], ignore_index=features.IGNORED, reduction="sum")


def outputs(network: Network, head: nn.Module, batch: Mapping[str, Tensor], _items: Sequence[Item]) -> list[Any]:
    """The number of the best label for each item."""
    found: list[Any] = head(network.pooled(batch["pieces"])).float().argmax(-1).tolist()
    return found


def predictions(examples: Sequence[Example], _items: object, found: Sequence[Any], labels: Sequence[str], _threshold: object) -> list[Any]:
    """A label's name for each example."""
    assert len(found) == len(examples)  # noqa: S101  one item an example
    return [labels[number] for number in found]
