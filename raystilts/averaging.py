"""Means of weights: over points of one training, and over runs that differ in their seeds (Schmidt et al. 2023, arXiv 2305.16834).

Nothing is selected: neither on target languages, which would not be zero-shot, nor on English, which says little of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from raystilts.errors import UserError
from raystilts.model import ROWS, VALUES, WEIGHTS, Root, load_root
from raystilts.stage import Recipe


def points(total: int, number: int) -> tuple[int, ...]:
    """Numbers of the steps after which weights are averaged: so many at equal distances, the last step among them."""
    if number > total:
        raise UserError(f"average_checkpoints is {number}, but the training has {total} steps; set it to {total} or less.")
    return tuple(total * place // number for place in range(1, number + 1))


def _next(mean: Tensor, value: Tensor, number: int) -> Tensor:
    """The mean of `number` values from that of all but the last of them. Of equal values it is that value, to the bit."""
    return mean + (value - mean) / number


class Mean:
    """The mean of what is trained over the points that a training has passed, one copy in memory; nothing where none is asked for."""

    def __init__(self, network: nn.Module, recipe: Recipe, total: int) -> None:
        self.network = network
        self.points = points(total, recipe.average_checkpoints)
        self.means: dict[str, Tensor] = {}  # by parameter; part of the state that a killed training goes on from

    @torch.no_grad()
    def after(self, step: int) -> None:
        """Take the weights in, if this is one of the points."""
        if step in self.points:
            number = self.points.index(step) + 1
            for name, parameter in self.network.named_parameters():
                if parameter.requires_grad:
                    self.means[name] = _next(self.means[name], parameter, number) if name in self.means else parameter.clone()

    @torch.no_grad()
    def finish(self) -> None:
        """Replace the weights by their mean; before the first point they stay."""
        for name, parameter in self.network.named_parameters():
            if name in self.means:
                parameter.copy_(self.means[name])


def average(checkpoints: Sequence[Path], root: Root, folder: Path) -> None:
    """Write the mean of some checkpoints of one root: body, heads, and the embedding rows that any of them has changed; where one has
    not, its row is the root's.

    Raises UserError where they do not hold the same weights.
    """
    matrix = load_root(root).get_input_embeddings().weight.detach()
    touched = torch.zeros(len(matrix), dtype=torch.bool)
    for checkpoint in checkpoints:
        with safe_open(checkpoint / WEIGHTS, "pt") as file:
            touched[file.get_tensor(ROWS)] = True
    rows = touched.nonzero().squeeze(1)
    mean: dict[str, Tensor] = {}
    for number, checkpoint in enumerate(checkpoints, start=1):
        tensors = load_file(checkpoint / WEIGHTS)
        own = matrix[rows].clone()
        own[torch.searchsorted(rows, tensors.pop(ROWS))] = tensors[VALUES]
        tensors[VALUES] = own
        shapes, expected = ({name: value.shape for name, value in of.items()} for of in (tensors, mean or tensors))
        if shapes != expected:
            raise UserError(f"{checkpoint}: its weights are not those of {checkpoints[0]}; only runs of one training have a mean.")
        mean = {name: _next(mean[name], value, number) if mean else value for name, value in tensors.items()}
    changed = ~matrix[rows].eq(mean[VALUES]).all(1)
    save_file(mean | {ROWS: rows[changed], VALUES: mean[VALUES][changed].contiguous()}, folder / WEIGHTS)
