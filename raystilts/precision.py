"""In which precision a model multiplies matrices: float32, or bfloat16 beside weights, sums and losses in float32 (mixed precision)."""

from __future__ import annotations

import torch

from raystilts.stage import Recipe


def is_bfloat16(recipe: Recipe, device: torch.device) -> bool:
    """Whether a recipe's model computes in bfloat16 there.

    "auto" does on GPUs that have it and never on a processor, whose float32 is the same everywhere; "bfloat16" does on any device: on
    processors with AVX512-BF16 or AMX it is faster, on others slower.
    """
    if recipe.precision == "auto":
        return device.type == "cuda" and torch.cuda.is_bf16_supported()
    return recipe.precision == "bfloat16"


def autocast(recipe: Recipe, device: str | torch.device) -> torch.autocast:
    """What the passes through a recipe's model run within. bfloat16 has the range of float32, so no loss is scaled."""
    where = torch.device(device)
    return torch.autocast(where.type, torch.bfloat16, enabled=is_bfloat16(recipe, where))
