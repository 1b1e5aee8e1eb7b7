"""Masked language modelling (Devlin et al. 2019): of the chosen tokens 80 % are masked, 10 % replaced at random, 10 % left."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from raystilts import features, model
from raystilts.errors import UserError
from raystilts.features import Item
from raystilts.stage import Recipe
from raystilts.task import Example

if TYPE_CHECKING:
    from raystilts.network import Network

MASKED, REPLACED = 0.8, 0.1


def encode(examples: Sequence[Example], _labels: Sequence[str], tokenizer: Any, recipe: Recipe) -> Iterator[Item]:
    """Each text in windows of at most max_length pieces; nothing is left out. `places` holds the two ends of what may be masked."""
    if tokenizer.mask_token_id is None:
        raise UserError(
            f"{tokenizer.name_or_path}: its tokenizer has no mask token, so words cannot be masked for it; use another encoder."
        )
    start, *end = tokenizer("")["input_ids"]
    room = recipe.max_length - 1 - len(end)
    for i, pieces in enumerate(features.encode_texts(tokenizer, [example.texts[0] for example in examples], add_special_tokens=False)):
        for at in range(0, len(pieces), room):
            window = [start, *pieces[at : at + room], *end]
            yield Item(i, (window,), (), [1, len(window) - len(end)])


def num_outputs(_labels: Sequence[str]) -> int:
    """The whole vocabulary, through the embedding matrix."""
    return model.VOCABULARY


def collate(items: Sequence[Item], padding: int, recipe: Recipe, vocab_size: int) -> dict[str, Tensor]:
    """pieces, masked and labels, each [batch, length], drawn by torch's global generator; labels are IGNORED where nothing was chosen.

    The network, which knows the mask's id, puts it where `masked` says.
    """
    labels = features.pad([item.pieces[0] for item in items], padding)
    inside = torch.zeros_like(labels, dtype=torch.bool)
    for row, item in enumerate(items):
        inside[row, int(item.places[0]) : int(item.places[1])] = True
    chosen = inside & (torch.rand(labels.shape) < recipe.mask_probability)
    kind = torch.rand(labels.shape)
    pieces = labels.clone()
    replaced = chosen & (kind >= MASKED) & (kind < MASKED + REPLACED)
    pieces[replaced] = torch.randint(vocab_size, (int(replaced.sum()),))
    masked = chosen & (kind < MASKED)
    return {"pieces": pieces, "masked": masked, "labels": torch.where(chosen, labels, torch.tensor(features.IGNORED))}


def count(item: Item, recipe: Recipe) -> float:
    """Losses that are expected of an item: which tokens are chosen is drawn later, and workers must agree on the scale before."""
    return recipe.mask_probability * float(np.diff(np.asarray(item.places))[0])


def loss(network: Network, head: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
    """Sum of the cross-entropies of the chosen tokens."""
    pieces = batch["pieces"].masked_fill(batch["masked"], network.mask)
    chosen = batch["labels"] != features.IGNORED
    # logits of the chosen tokens only: the vocabulary is large
    logits = head(network.states(pieces)[chosen], network.encoder.get_input_embeddings().weight).float()  # type: ignore[operator]
    return functional.cross_entropy(logits, network.index[batch["labels"][chosen]], reduction="sum")
