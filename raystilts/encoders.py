"""Pretrained encoders of the Hub, pinned to a commit, as literals for studies."""

from __future__ import annotations

from raystilts.stage import Encoder

XLMR_BASE = Encoder("xlmr-base", hub="FacebookAI/xlm-roberta-base", revision="e73636d4f797dec63c3081bb6ed5c7b0bb3f2089")
XLMR_LARGE = Encoder("xlmr-large", hub="FacebookAI/xlm-roberta-large", revision="c23d21b0620b635a76227c604d44e43a9f0ee389")
