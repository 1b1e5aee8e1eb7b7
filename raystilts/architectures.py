"""What encoders differ in beyond their weights: segments, dropout, positions, special tokens. Any AutoModel encoder may be trained.

Each function reads what the encoder's own config, modules and tokenizer say; none knows an architecture by its name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from raystilts.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

DROPOUTS = ("hidden_dropout_prob", "dropout", "classifier_dropout")
"""Where configs keep the rate before a head: BERT's and XLM-R's, DistilBERT's, ModernBERT's."""
HEADS: tuple[dict[str, str], ...] = (
    {"dense": "lm_head.dense", "layer_norm": "lm_head.layer_norm", "bias": "lm_head.bias"},  # XLM-R
    {
        "dense": "cls.predictions.transform.dense",
        "layer_norm": "cls.predictions.transform.LayerNorm",
        "bias": "cls.predictions.bias",
    },  # BERT
    {"dense": "lm_predictions.lm_head.dense", "layer_norm": "lm_predictions.lm_head.LayerNorm", "bias": "lm_predictions.lm_head.bias"},
)
"""Where files of pretrained language models keep a head of dense layer, GELU, layer norm and tied output: XLM-R, BERT, DeBERTa-v3."""


def check_tokenizer(tokenizer: Any, where: str) -> None:
    """Raises UserError where a tokenizer lacks what batches need: the Rust version, a padding token, special tokens around a text."""
    if not tokenizer.is_fast:
        raise UserError(f"{where}: its tokenizer has no fast (Rust) version, which is needed to align words with pieces.")
    if tokenizer.pad_token_id is None:
        raise UserError(f"{where}: its tokenizer has no padding token; name one as pad_token in its tokenizer_config.json.")
    if not tokenizer("")["input_ids"]:
        raise UserError(f"{where}: its tokenizer puts no special token before a text, whose state a head could read; use another encoder.")


def segment_separator(config: Any, tokenizer: Any) -> int | None:
    """The token after which an encoder like BERT wants its second segment; None where pairs have one segment (XLM-R, ModernBERT)."""
    if (getattr(config, "type_vocab_size", 0) or 0) < 2 or tokenizer.sep_token_id is None:
        return None
    types = tokenizer("a", "a", return_token_type_ids=True)["token_type_ids"]
    return int(tokenizer.sep_token_id) if 1 in types else None


def segments(pieces: Tensor, separator: int, padding: int) -> Tensor:
    """[batch, length] ids -> 0 up to the first separator, 1 after it; 0 for padding: BERT's token_type_ids of a text or a pair."""
    ends = (pieces == separator).long()
    return (((ends.cumsum(-1) - ends) > 0) & (pieces != padding)).long()


def hidden_dropout(config: Any) -> float:
    """The rate that the encoder's own heads would have; 0 where its config names none."""
    return next((float(rate) for name in DROPOUTS if isinstance(rate := getattr(config, name, None), int | float)), 0.0)


def longest(encoder: Any) -> int | None:
    """The most tokens that the encoder can read; None where its positions are relative and set no limit."""
    table = getattr(getattr(encoder, "embeddings", None), "position_embeddings", None)
    if table is None:
        return None
    # encoders like XLM-R count positions from the number after the padding's
    return int(table.num_embeddings) - (0 if table.padding_idx is None else table.padding_idx + 1)


def padding_row(config: Any) -> int:
    """The last row of the embedding matrix that must keep its number: the padding's, from which some count positions; -1: none must."""
    return -1 if config.pad_token_id is None else int(config.pad_token_id)
