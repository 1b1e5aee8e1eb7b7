"""AdamW over what is trained, each parameter with its own rate and decay."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from raystilts import layers
from raystilts.model import Model
from raystilts.stage import Recipe


def make_optimizer(parts: Model, recipe: Recipe, device: torch.device) -> torch.optim.Optimizer:
    """AdamW; weight decay on matrices only, never on embeddings (see the module on models); the heads' own rate.

    With `layer_decay`, a layer's rate is `learning_rate * layer_decay ** depth`, depth counted from the top as in BEiT (Bao et al. 2022;
    ELECTRA's scheme, Clark et al. 2020): 1 for the last block, num_layers + 1 for the embeddings. Heads keep their rate.
    """
    matrix = parts.encoder.get_input_embeddings().weight  # type: ignore[operator]
    depth_of = layers.depths(parts.encoder) if recipe.layer_decay != 1.0 else {}
    found: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in parts.encoder.named_parameters():
        if parameter.requires_grad:
            rate = recipe.learning_rate * recipe.layer_decay ** depth_of.get(name, 0)
            found.setdefault((rate, parameter.ndim > 1 and parameter is not matrix), []).append(parameter)
    groups: list[dict[str, Any]] = [
        {"params": parameters, "weight_decay": recipe.weight_decay if decayed else 0.0, "lr": rate}
        for (rate, decayed), parameters in sorted(found.items(), key=lambda entry: (-entry[0][0], not entry[0][1]))
    ]
    if heads := list(parts.heads.parameters()):
        head_rate = recipe.learning_rate if recipe.head_learning_rate is None else recipe.head_learning_rate
        groups.append({"params": heads, "weight_decay": 0.0, "lr": head_rate})
    for group in groups:
        group["initial_lr"] = group["lr"]  # what a scheduler that goes on wants to be told
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, fused=device.type in {"cpu", "cuda"})
