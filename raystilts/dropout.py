"""Dropout on processors, where drawing the masks takes a tenth to a fifth of a training with torch's own functions.

A unit is dropped where 16 random bits are below its share of their 65,536 values: p = 0.1 is 0.100006, and what is kept is scaled by
just that share, so that means stay as they are. Bits are those of SFC64 (as in numpy), whose seed is drawn from torch's generator at each
call: what sets or restores torch's state, as a checkpoint of layers does, sets the masks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

VALUES = 2**16
WORDS = 2**64 - 1
OTHERS = {"inplace", "is_causal", "enable_gqa"}
"""What torch's functions also do, of which none is replaced that does it."""
HIDDEN = -1e30  # finite, so that a row whose keys are all hidden has shares


def kept(like: Tensor, p: float) -> Tensor:
    """Which elements of a tensor stay: booleans of its shape, each false with probability p (to 16 bits)."""
    seed = int(torch.randint(2**62, ()))
    words = np.random.Generator(np.random.SFC64(seed)).integers(0, WORDS, size=-(-like.numel() // 4), dtype=np.uint64, endpoint=True)
    return torch.from_numpy(words.view(np.int16))[: like.numel()].view(like.shape) >= round(p * VALUES) - VALUES // 2


def scale_of(p: float) -> float:
    """What is kept is multiplied by this: 1 / (1 - p), of the p that 16 bits can have; 0 where nothing is kept."""
    left = VALUES - round(p * VALUES)
    return VALUES / left if left else 0.0


def dropout(values: Tensor, p: float = 0.5, training: bool = True) -> Tensor:
    """`torch.nn.functional.dropout`, not in place."""
    return torch.where(kept(values, p), values, 0.0).mul_(scale_of(p)) if training and p else values


def attention(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, dropout_p: float = 0.0, scale: float | None = None
) -> Tensor:
    """`torch.nn.functional.scaled_dot_product_attention` with dropout. [..., queries, width], [..., keys, width] twice; mask:
    [..., queries, keys], False where a key is hidden, or what is added.
    """
    scores = (query * (1 / math.sqrt(query.shape[-1]) if scale is None else scale)) @ key.transpose(-2, -1)
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        scores.masked_fill_(~attn_mask, HIDDEN)
    elif attn_mask is not None:
        scores += attn_mask
    shares = scores.softmax(-1, dtype=torch.float32)
    # of the products, which are fewer than the shares, what is kept is scaled
    return (torch.where(kept(shares, dropout_p), shares, 0.0).to(value.dtype) @ value).mul_(scale_of(dropout_p))


def fast_dropout(device: torch.device) -> AbstractContextManager[object]:
    """What the forward passes of a training run within, and layers that are computed again: on a processor `FastDropout`, else nothing."""
    return FastDropout() if device.type == "cpu" else nullcontext()


class FastDropout(TorchFunctionMode):
    """Within it, torch's dropout, and its attention where that drops out, are those of this module; in place, in decoders and where
    heads share keys they stay torch's own.
    """

    def __torch_function__(
        self, function: Callable[..., Any], _types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        named = kwargs or {}
        ours: Callable[..., Tensor] | None = dropout if function is functional.dropout else None
        if function is functional.scaled_dot_product_attention and named.get("dropout_p"):
            ours = attention
        if ours is None or any(named.get(name) for name in OTHERS):
            return function(*args, **named)
        return ours(*args, **{name: value for name, value in named.items() if name not in OTHERS})
