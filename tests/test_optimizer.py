"""Rates and weight decay of every parameter, by its place in the encoder."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers
from encoders import CONFIGS, tiny
from torch import nn

from raystilts import layers
from raystilts.errors import UserError
from raystilts.model import Model
from raystilts.optimizer import make_optimizer
from raystilts.stage import Recipe


def rates(name: str, recipe: Recipe) -> dict[str, tuple[float, float]]:
    """Parameter -> (rate, weight decay) in the optimiser of a tiny encoder with one head."""
    encoder = tiny(name)
    parts = Model(encoder, nn.ModuleList([nn.Linear(16, 2)]), torch.arange(50), torch.arange(50), torch.arange(0))
    optimizer: Any = make_optimizer(parts, recipe, torch.device("cpu"))
    names = {id(p): n for n, p in [*encoder.named_parameters(), *((f"heads.{n}", p) for n, p in parts.heads.named_parameters())]}
    found = {names[id(p)]: (group["lr"], group["weight_decay"]) for group in optimizer.param_groups for p in group["params"]}
    assert found.keys() == set(names.values())
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(names)
    assert all(group["initial_lr"] == group["lr"] for group in optimizer.param_groups)
    return found


@pytest.mark.parametrize("name", CONFIGS)
def test_each_layer_has_the_rate_of_the_one_above_it_times_the_decay(name: str) -> None:
    """Of two layers: the last one 0.8, the first 0.8^2, embeddings 0.8^3; what stands above them 1; the head its own rate."""
    found = rates(name, Recipe(learning_rate=1e-3, layer_decay=0.8, head_learning_rate=5e-3, weight_decay=0.1))
    blocks, _ = layers.blocks(tiny(name))
    for parameter, (rate, _) in found.items():
        if parameter.startswith("heads."):
            expected = 5e-3
        elif parameter.startswith(f"{blocks}."):
            expected = 1e-3 * 0.8 ** (2 - int(parameter.removeprefix(f"{blocks}.")[0]))
        else:
            expected = 1e-3 * 0.8**3 if parameter.startswith("embeddings.") else 1e-3
        assert rate == expected, parameter


@pytest.mark.parametrize("name", CONFIGS)
def test_without_a_decay_all_layers_have_one_rate(name: str) -> None:
    """The encoder's rate, the head's where it is given; weight decay of the encoder's matrices but for the embeddings."""
    found = rates(name, Recipe(learning_rate=1e-3, weight_decay=0.1))
    assert {rate for rate, _ in found.values()} == {1e-3}
    encoder = tiny(name)
    decayed = {n for n, p in encoder.named_parameters() if p.ndim > 1 and p is not encoder.get_input_embeddings().weight}
    assert {parameter for parameter, (_, decay) in found.items() if decay} == decayed


def test_an_encoder_without_a_list_of_layers_is_refused() -> None:
    """One sentence says which recipe fields it cannot have."""
    encoder = transformers.AutoModel.from_config(CONFIGS["bert"])
    encoder.config.num_hidden_layers = 7
    with pytest.raises(UserError, match="no list of 7 layers; leave layer_decay at 1"):
        layers.depths(encoder)
