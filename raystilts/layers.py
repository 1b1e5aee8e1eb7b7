"""Where an encoder's blocks are, whatever its architecture calls them."""

from __future__ import annotations

from typing import Any

from torch import nn

from raystilts.errors import UserError


def blocks(encoder: Any) -> tuple[str, nn.ModuleList]:
    """The list of the encoder's blocks and its name: `encoder.layer` of BERT, XLM-R and DeBERTa, `layers` of ModernBERT.

    Raises UserError where there is none.
    """
    number = encoder.config.num_hidden_layers
    for name, module in encoder.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) == number:
            return name, module
    raise UserError(f"the encoder ({encoder.config.model_type}) has no list of {number} layers; leave layer_decay at 1 and lora_rank at 0.")


def depths(encoder: Any) -> dict[str, int]:
    """Parameter -> its depth from the top: 0 above the blocks, 1 the last block, num_layers + 1 what stands before them, the embeddings.

    What stands beside the blocks and is read by all of them (DeBERTa's positions) counts as above them, as in BEiT.
    """
    name, found = blocks(encoder)
    top = len(found)
    depth, depth_of = top + 1, {}
    for parameter, _ in encoder.named_parameters():
        if parameter.startswith(f"{name}."):
            number = int(parameter.removeprefix(f"{name}.").partition(".")[0])
            depth_of[parameter], depth = top - number, 0
        else:
            depth_of[parameter] = depth
    return depth_of
