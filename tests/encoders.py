"""Tiny random encoders of the architectures that studies use."""

from __future__ import annotations

from typing import Any

import torch
import transformers

_SIZES: dict[str, Any] = {
    "vocab_size": 50,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "pad_token_id": 1,
}
CONFIGS = {
    "bert": transformers.BertConfig(**_SIZES),
    "xlm-roberta": transformers.XLMRobertaConfig(**_SIZES),
    "mdeberta-v3": transformers.DebertaV2Config(
        **_SIZES,
        relative_attention=True,
        pos_att_type=["p2c", "c2p"],
        position_buckets=8,
        norm_rel_ebd="layer_norm",
        share_att_key=True,
        type_vocab_size=0,
        position_biased_input=False,
    ),
    "modernbert": transformers.ModernBertConfig(**_SIZES, bos_token_id=0, eos_token_id=2, cls_token_id=0, sep_token_id=2),
}


def tiny(name: str) -> Any:
    """A two-layer encoder without a pooler, the same each time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        encoder = transformers.AutoModel.from_config(CONFIGS[name])
    if getattr(encoder, "pooler", None) is not None:
        encoder.pooler = None
    return encoder.eval()
