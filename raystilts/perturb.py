"""Robust training on word embeddings (Huang et al. 2021, arXiv 2104.08645): every token may be moved within a ball.

Adversarial: min over weights of max over ||delta_i||_2 <= eps of the loss, delta_i being added to token i's word embedding, before position
and type embeddings and layer norm. The inner maximum is sought by projected gradient ascent from 0: `perturbation_steps` steps of length
step_size * eps along each token's own gradient, each followed by a projection onto the token's ball. The ascent keeps the best delta that
it saw of a micro-batch as a whole, 0 among them, and sees the dropout masks of the step that follows: the loss that is trained on is never
below the clean one. It costs perturbation_steps forward and backward passes more, and one forward pass.
Random (the paper's RS-RP): delta_i is drawn uniformly from the ball, anew at every step.

Only words' pieces move: padding and the tokens that frame or mask a text (all special ones but the unknown piece, which stands for a text's
own characters) do not. eps is `perturbation_radius` times the mean norm of the root encoder's word embeddings, over its whole vocabulary:
the same for every data set, step, number of workers, and with or without vocabulary compaction.
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from raystilts import model
from raystilts.errors import UserError
from raystilts.model import Root
from raystilts.network import Network
from raystilts.stage import Recipe

NOISE = 0x72616E64
"""Sets the generator of random perturbations apart from that of dropout, which has the same seed."""


@dataclass(frozen=True)
class Ball:
    """Where a token's embedding may be moved to, and how the worst place is sought.

    radius: eps, as an absolute L2 norm. num_steps and step_size (absolute): of the ascent; num_steps 0 draws at random instead.
    """

    radius: float
    num_steps: int
    step_size: float


def ball_of(recipe: Recipe, root: Root) -> Ball | None:
    """What a recipe asks for; None where training is plain. Raises UserError for numbers that make no sense and encoders that do not
    look words up in a matrix.
    """
    if recipe.perturbation == "none":
        return None
    if recipe.perturbation_radius < 0 or recipe.perturbation_step_size <= 0 or recipe.perturbation_steps < 1:
        raise UserError(
            f"the recipe has perturbation_radius {recipe.perturbation_radius:g}, perturbation_steps {recipe.perturbation_steps} and "
            f"perturbation_step_size {recipe.perturbation_step_size:g}; a radius is at least 0, the others are more."
        )
    radius = recipe.perturbation_radius * mean_norm(root)
    adversarial = recipe.perturbation == "adversarial"
    return Ball(radius, recipe.perturbation_steps if adversarial else 0, recipe.perturbation_step_size * radius)


@functools.lru_cache(maxsize=2)
def mean_norm(root: Root) -> float:
    """The mean L2 norm of all rows of the root's matrix of word embeddings."""
    return float(_lookup(model.load_root(root)).weight.detach().float().norm(dim=-1).mean())


def _lookup(encoder: Any) -> Any:
    """The module that looks words up."""
    try:
        found = encoder.get_input_embeddings()
    except (NotImplementedError, AttributeError):
        found = None
    if not hasattr(found, "weight"):
        raise _no_lookup(encoder)
    return found


def _no_lookup(encoder: Any) -> UserError:
    name = type(encoder).__name__
    return UserError(f"{name}: this encoder does not look words up in a matrix, so its words cannot be perturbed: use plain training.")


@contextlib.contextmanager
def perturbed(network: Network, ball: Ball | None, loss: Callable[[], Tensor], seed: int) -> Iterator[None]:
    """While the block runs, the network reads perturbed embeddings (None: plain ones). The global generators are as they were before.

    loss: computes the loss that is to be made large, from the network itself and not through DDP: the ascent leaves no gradient in
    parameters, and workers need not talk. seed: of random perturbations.
    """
    if ball is None:
        yield
        return
    if ball.num_steps:
        deltas = worst(network, ball, loss)
        make = _zeros
    else:
        generator = torch.Generator().manual_seed(seed ^ NOISE)
        deltas = []

        def make(states: Tensor) -> Tensor:
            return uniform(states.shape, ball.radius, generator).to(states.device)

    with added(network, deltas, make):
        yield


def worst(network: Network, ball: Ball, loss: Callable[[], Tensor]) -> list[Tensor]:
    """Perturbations of every lookup of words that `loss` makes, each [batch, length, hidden]: the best that the ascent saw."""
    drawn = _generators(network)
    deltas: list[Tensor] = []
    best, highest = deltas, -math.inf
    for step in range(ball.num_steps + 1):
        _restore(drawn)
        with torch.enable_grad(), added(network, deltas, lambda states: _zeros(states).requires_grad_()):
            found = loss()
        if found.item() > highest:
            best, highest = [delta.detach() for delta in deltas], found.item()
        if step < ball.num_steps:
            gradients = torch.autograd.grad(found, deltas)
            deltas = [climbed(delta.detach(), gradient, ball).requires_grad_() for delta, gradient in zip(deltas, gradients, strict=True)]
    _restore(drawn)
    return best


def climbed(delta: Tensor, gradient: Tensor, ball: Ball) -> Tensor:
    """[..., hidden]: each token's delta after a step of fixed length along its gradient, projected onto its ball; 0 gradients stay."""
    moved = delta + ball.step_size * nn.functional.normalize(gradient.float(), dim=-1, eps=1e-30)
    norm = moved.norm(dim=-1, keepdim=True)
    inside: Tensor = moved * (ball.radius / norm.clamp(min=1e-30)).clamp(max=1.0)
    return inside


def uniform(shape: torch.Size, radius: float, generator: torch.Generator) -> Tensor:
    """Points [..., hidden] that are uniform in the ball of that radius: any direction, and the share (r / radius)^hidden within r."""
    direction = nn.functional.normalize(torch.randn(shape, generator=generator), dim=-1)
    return direction * radius * torch.rand((*shape[:-1], 1), generator=generator) ** (1 / shape[-1])


@contextlib.contextmanager
def added(network: Network, deltas: list[Tensor], make: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """While the block runs, the n-th lookup of words gets deltas[n]; one that has none yet gets what `make` returns for its states.

    deltas: grows by what was made. Raises UserError where the block never looks up a word.
    """
    frame = network.index[network.special]
    calls = 0

    def add(_module: nn.Module, inputs: tuple[Tensor, ...], states: Tensor) -> Tensor:
        nonlocal calls
        if calls == len(deltas):
            deltas.append(make(states))
        calls += 1
        words = torch.isin(inputs[0], frame, invert=True)
        return states + deltas[calls - 1] * words.unsqueeze(-1)

    hook = _lookup(network.encoder).register_forward_hook(add)
    try:
        yield
    finally:
        hook.remove()
    if not calls:
        raise _no_lookup(network.encoder)


def _zeros(states: Tensor) -> Tensor:
    return torch.zeros_like(states, requires_grad=False)


def _generators(network: Network) -> tuple[Tensor, Tensor | None, torch.device]:
    """The states of the generators that dropout draws from."""
    device = network.index.device
    return torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None, device


def _restore(drawn: tuple[Tensor, Tensor | None, torch.device]) -> None:
    cpu, cuda, device = drawn
    torch.set_rng_state(cpu)
    if cuda is not None:
        torch.cuda.set_rng_state(cuda, device)
