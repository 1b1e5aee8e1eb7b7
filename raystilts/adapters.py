"""Low-rank adapters (LoRA, Hu et al. 2022, arXiv 2106.09685), by peft: what a recipe with a `lora_rank` trains instead of the encoder.

Only adapters and heads learn; the embeddings are frozen with all the rest. At the end each update B A alpha / rank is added to its
matrix, so that a checkpoint is like any other.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from raystilts import layers
from raystilts.errors import UserError
from raystilts.stage import Recipe

# the last names of the attention's query and value: BERT and XLM-R, DeBERTa, DistilBERT, most others; ModernBERT has all three in one
QUERY_AND_VALUE = (("query", "value"), ("query_proj", "value_proj"), ("q_lin", "v_lin"), ("q_proj", "v_proj"), ("Wqkv",))


def targets(encoder: Any, recipe: Recipe) -> list[str]:
    """Full names of the linear layers that get adapters. Raises UserError where there are none."""
    if recipe.average_checkpoints:
        raise UserError("lora_rank and average_checkpoints exclude each other: the mean of two adapters is no mean of weights; unset one.")
    name, found = layers.blocks(encoder)
    number = round(recipe.lora_depth * len(found))
    inside = [
        f"{name}.{place}.{inner}"
        for place, block in enumerate(found[:number])
        for inner, module in block.named_modules()
        if isinstance(module, nn.Linear)
    ]
    kinds = sorted({full.rpartition(".")[2] for full in inside})
    asked = (tuple(recipe.lora_modules.split()),) if recipe.lora_modules else QUERY_AND_VALUE
    chosen = next((names for names in asked if set(names) <= set(kinds)), None)
    if chosen is None:
        what = f"named {' and '.join(asked[0])}" if recipe.lora_modules else "known as the attention's query and value"
        raise UserError(
            f"adapters: within the first {number} of {len(found)} layers the encoder ({encoder.config.model_type}) has no linear layer "
            f"{what}; set lora_modules to some of: {' '.join(kinds) or 'none, lora_depth is too small'}."
        )
    return [full for full in inside if full.rpartition(".")[2] in chosen]


def add(encoder: Any, recipe: Recipe, seed: int) -> None:
    """Freeze the encoder and put adapters into it, whose first weights are a function of the seed. Without a `lora_rank` do nothing."""
    if not recipe.lora_rank:
        return
    import peft  # noqa: PLC0415  heavy, and few need it

    names = targets(encoder, recipe)
    config = peft.LoraConfig(r=recipe.lora_rank, lora_alpha=recipe.lora_alpha, lora_dropout=recipe.lora_dropout, target_modules=names)
    encoder.requires_grad_(False)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # peft draws from no other generator; those of other devices stay as they are
        peft.inject_adapter_in_model(config, encoder)


def merge(encoder: Any) -> None:
    """Add what adapters have learned to the encoder's own matrices and take them away. Without adapters do nothing."""
    if not hasattr(encoder, "peft_config"):
        return
    from peft.tuners.tuners_utils import BaseTunerLayer  # noqa: PLC0415

    for name, module in list(encoder.named_modules()):
        if isinstance(module, BaseTunerLayer):
            module.merge()
            encoder.set_submodule(name, module.get_base_layer())
    del encoder.peft_config
