"""The kinds of tasks: how examples become items, items a loss, and the network's outputs predictions.

One module a kind, all with the same functions, which `Functions` names. Retrieval and mining are read by raystilts.retrieval instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from raystilts.features import Item
from raystilts.kinds import choice, classification, mlm, ranking, span, tagging
from raystilts.network import Loss
from raystilts.stage import Recipe
from raystilts.task import Example, Kind


@dataclass(frozen=True)
class Functions:
    """What can be done with a kind of task. The last three are absent where nothing is predicted.

    encode: (examples, labels, tokenizer, recipe) -> items. num_outputs: labels -> the width of the head; 0 for none.
    collate: (items, padding id, recipe, size of the vocabulary) -> batch. count: how many losses an item adds to the sum.
    outputs: (network, head, batch, items) -> what is kept of each item.
    predictions: (examples, items, outputs, labels, threshold) -> one prediction per example.
    calibrate: (examples, items, outputs, score) -> the threshold that is best on a dev set.
    """

    encode: Callable[[Sequence[Example], Sequence[str], Any, Recipe], Iterator[Item]]
    num_outputs: Callable[[Sequence[str]], int]
    collate: Callable[[Sequence[Item], int, Recipe, int], dict[str, Tensor]]
    count: Callable[[Item, Recipe], float]
    loss: Loss
    outputs: Callable[..., list[Any]] | None = None
    predictions: Callable[..., list[Any]] | None = None
    calibrate: Callable[..., float | None] | None = None


def _of(module: Any) -> Functions:
    names = ("encode", "num_outputs", "collate", "count", "loss", "outputs", "predictions", "calibrate")
    return Functions(**{name: getattr(module, name) for name in names if hasattr(module, name)})


KINDS: Mapping[Kind, Functions] = {
    "classification": _of(classification),
    "choice": _of(choice),
    "tagging": _of(tagging),
    "span": _of(span),
    "ranking": _of(ranking),
    "mlm": _of(mlm),
}
