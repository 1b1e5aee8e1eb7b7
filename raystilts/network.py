"""Encoder and heads as one module: what training and evaluation compute with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from raystilts import architectures, model
from raystilts.model import Model
from raystilts.stage import Recipe

Loss = Callable[["Network", nn.Module, Mapping[str, Tensor]], Tensor]
"""(network, head, batch) -> the sum of the losses of a batch."""


class Network(nn.Module):
    """A module that DDP can wrap: (part, batch) -> the sum of the losses of the batch, by the part's head."""

    def __init__(self, parts: Model, recipe: Recipe, tokenizer: Any, losses: Sequence[Loss] = ()) -> None:
        super().__init__()
        self.encoder, self.heads, self.recipe, self.losses = parts.encoder, parts.heads, recipe, losses
        self.separator = architectures.segment_separator(parts.encoder.config, tokenizer)
        self.pad, self.mask = tokenizer.pad_token_id, tokenizer.mask_token_id
        self.index: Tensor
        self.special: Tensor
        self.register_buffer("index", parts.index, persistent=False)
        # an unknown piece stands for a text's own character: a text of nothing else would have no vector without it
        frame = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
        self.register_buffer("special", torch.tensor(sorted(frame)), persistent=False)

    def forward(self, part: int, batch: Mapping[str, Tensor]) -> Tensor:
        """The sum of the losses of a batch of one part."""
        return self.losses[part](self, self.heads[part], batch)

    def moved(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A batch where the network is; to a GPU from pinned memory, so that the processor goes on to the next one."""
        device = self.index.device
        if device.type == "cuda":
            return {name: value.pin_memory().to(device, non_blocking=True) for name, value in batch.items()}
        return {name: value.to(device) for name, value in batch.items()}

    def states(self, pieces: Tensor) -> Tensor:
        """[batch, length] ids -> [batch, length, hidden] last states."""
        last: Tensor = self.encoder(**self.inputs(pieces)).last_hidden_state
        return last

    def inputs(self, pieces: Tensor) -> dict[str, Tensor]:
        """[batch, length] ids -> what the encoder reads, each [batch, length]."""
        found = {"input_ids": self.index[pieces], "attention_mask": (pieces != self.pad).long()}
        return found if self.separator is None else found | {"token_type_ids": architectures.segments(pieces, self.separator, self.pad)}

    def pooled(self, pieces: Tensor) -> Tensor:
        """[batch, length] ids -> [batch, hidden]: what a classifying head reads, after dropout."""
        return self.dropout(model.pool(self.states(pieces), pieces != self.pad, self.recipe.pooling))

    def vectors(self, pieces: Tensor, layers: Sequence[float] = (1.0,)) -> list[Tensor]:
        """[batch, length] ids -> per layer [batch, hidden] unit vectors: the mean over content tokens.

        A layer is named by its relative depth: 0.0 are the embeddings, 1.0 is the last, 0.5 the 6th of 12.
        """
        states: Sequence[Tensor] = self.encoder(**self.inputs(pieces), output_hidden_states=True).hidden_states
        content = torch.isin(pieces, self.special, invert=True)
        chosen = [states[round(layer * (len(states) - 1))] for layer in layers]
        return [functional.normalize(model.pool(layer, content, "mean").float(), dim=-1) for layer in chosen]

    def dropout(self, states: Tensor) -> Tensor:
        """The encoder's own hidden dropout, before a head; nothing in evaluation."""
        own: Any = self.encoder.config
        rate = architectures.hidden_dropout(own) if self.recipe.dropout is None else self.recipe.dropout
        return functional.dropout(states, rate, self.training)
