"""Span extraction: where in a context the answer to a question stands. Long contexts are read in overlapping windows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from raystilts import features
from raystilts.features import Item, Items
from raystilts.stage import Recipe
from raystilts.task import Example

if TYPE_CHECKING:
    from raystilts.network import Network


class Span(NamedTuple):
    """The best span of a window: its score, where it stands in the context, and the score of there being none."""

    score: float
    begin: int
    end: int
    none: float


def encode(examples: Sequence[Example], _labels: Sequence[str], tokenizer: Any, recipe: Recipe) -> Iterator[Item]:
    """Windows of question and context of at most max_length pieces; each begins `stride` context pieces after the one before.

    Questions are cut to max_query_length pieces. The target is the first answer's first and last piece, and the first token's place
    where the window does not hold the whole answer (Devlin et al. 2019, and the recipe of XTREME).
    """
    before, between, after = _template(tokenizer)
    for begin in range(0, len(examples), features.CHUNK):
        chunk = examples[begin : begin + features.CHUNK]
        questions = tokenizer([example.texts[0].strip() for example in chunk], add_special_tokens=False)["input_ids"]
        contexts = tokenizer([example.texts[1] for example in chunk], add_special_tokens=False, return_offsets_mapping=True)
        for i, example in enumerate(chunk):
            question = [*before, *questions[i][: recipe.max_query_length], *between]
            room = recipe.max_length - len(question) - len(after)
            if room < 1:
                raise ValueError(f"max_length {recipe.max_length} leaves no room for a context after a question of {len(question)} pieces")
            pieces, offsets = contexts["input_ids"][i], contexts["offset_mapping"][i]
            answer = (example.starts[0], example.starts[0] + len(str(example.label[0]))) if example.label else None
            for start in _starts(len(pieces), room, recipe.stride):
                held = offsets[start : start + room]
                target = _target(held, answer, len(question))
                window = [*question, *pieces[start : start + room], *after]
                yield Item(begin + i, (window,), target, [len(question)], 0, [*(a for a, _ in held), *(b for _, b in held)])


def _template(tokenizer: Any) -> tuple[list[int], list[int], list[int]]:
    """The special tokens before, between and after two texts."""
    encoded = tokenizer("a", "a", return_special_tokens_mask=True)
    parts: tuple[list[int], list[int], list[int]] = ([], [], [])
    place = 0
    for piece, special in zip(encoded["input_ids"], encoded["special_tokens_mask"], strict=True):
        if special:
            parts[place].append(piece)
        elif place < 2 and (place == 0 or parts[1]):
            place += 1
    return parts


def _starts(length: int, room: int, stride: int) -> Iterator[int]:
    start = 0
    yield start
    while start + room < length:
        start += min(stride, room)  # a stride beyond the window would leave pieces out
        yield start


def _target(held: Sequence[tuple[int, int]], answer: tuple[int, int] | None, shift: int) -> list[int]:
    """First and last piece of the answer, or the first token's place twice."""
    if answer is None or not held or held[0][0] > answer[0] or held[-1][1] < answer[1]:
        return [0, 0]
    first = next((n for n, (_, end) in enumerate(held) if end > answer[0]), None)
    last = next((n for n in range(len(held) - 1, -1, -1) if held[n][0] < answer[1]), None)
    return [0, 0] if first is None or last is None or last < first else [first + shift, last + shift]


def num_outputs(_labels: Sequence[str]) -> int:
    """Two: is this the first piece of the answer, is it the last?"""
    return 2


def collate(items: Sequence[Item], padding: int, _recipe: Recipe, _vocab_size: int) -> dict[str, Tensor]:
    """pieces [batch, length], labels [batch, 2]."""
    pieces = features.pad([item.pieces[0] for item in items], padding)
    return {"pieces": pieces, "labels": torch.tensor([[int(place) for place in item.targets] for item in items])}


def count(_item: Item, _recipe: Recipe) -> float:
    """Losses of an item."""
    return 1


def _logits(network: Network, head: nn.Module, pieces: Tensor) -> Tensor:
    """[batch, length, 2]; padding can never be chosen, so that it does not matter how much of it there is."""
    logits: Tensor = head(network.dropout(network.states(pieces))).float()
    return logits.masked_fill((pieces == network.pad).unsqueeze(-1), torch.finfo(torch.float32).min)


def loss(network: Network, head: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
    """Sum over items of the mean of both cross-entropies."""
    logits = _logits(network, head, batch["pieces"])
    return functional.cross_entropy(logits, batch["labels"], reduction="sum") / 2  # [batch, length, 2]: classes stand second


def outputs(network: Network, head: nn.Module, batch: Mapping[str, Tensor], items: Sequence[Item]) -> list[Any]:
    """The best Span of each item among all valid ones: first piece not after the last, at most max_answer_length pieces."""
    logits = _logits(network, head, batch["pieces"]).cpu().numpy()
    return [_best(logits[row], item, network.recipe.max_answer_length) for row, item in enumerate(items)]


def _best(logits: np.ndarray, item: Item, longest: int) -> Span:
    """[length, 2] -> the span with the largest sum of both logits; of equals the shortest, then the first."""
    num = len(item.offsets) // 2
    none = float(logits[0, 0] + logits[0, 1])
    best = Span(-np.inf, 0, 0, none)
    first, last = logits[item.places[0] : item.places[0] + num].T
    for extra in range(min(longest, num)):
        scores = first[: num - extra] + last[extra:]
        place = int(scores.argmax())
        if scores[place] > best.score:
            best = Span(float(scores[place]), int(item.offsets[place]), int(item.offsets[num + place + extra]), none)
    return best


def predictions(examples: Sequence[Example], items: Items, found: Sequence[Span], _labels: object, threshold: float | None) -> list[Any]:
    """The text of the best span over each example's windows.

    With a threshold: "" (no answer) where the score of none exceeds the best span's by more than it. A context without any piece has
    no span and gets "".
    """
    return [
        "" if threshold is not None and span.none - span.score > threshold else example.texts[1][span.begin : span.end].strip()
        for example, span in zip(examples, _merged(len(examples), items, found), strict=True)
    ]


def _merged(num_examples: int, items: Items, found: Sequence[Span]) -> list[Span]:
    """Per example the best span of its windows; none's score is the lowest of them, as a window without the answer says "none"."""
    merged = [Span(-np.inf, 0, 0, np.inf)] * num_examples
    for item, span in zip(items, found, strict=True):
        best = merged[item.example]
        chosen = span if span.score > best.score else best
        merged[item.example] = chosen._replace(none=min(best.none, span.none))
    return merged


def calibrate(examples: Sequence[Example], items: Items, found: Sequence[Span], score: Any) -> float | None:
    """The threshold of no answer with the best score on a dev set; None where all its questions have answers.

    score: (gold, predictions) -> one number per example (F1), of SQuAD v2's evaluation. As its script does, questions are
    ordered by how much none beats the best span, and the best cut between two of them is taken; the smallest of equals.
    """
    if all(example.label for example in examples):
        return None
    spans = _merged(len(examples), items, found)
    gold = [example.label for example in examples]
    answered = np.array(score(gold, predictions(examples, items, found, (), None)))
    refused = np.array(score(gold, [""] * len(examples)))
    margins = np.array([span.none - span.score for span in spans])
    order = np.argsort(margins, kind="stable")
    # cut k: the k questions with the smallest margins are answered, the others refused
    totals = np.concatenate([[0.0], np.cumsum((answered - refused)[order])])
    edges = margins[order]
    possible = np.concatenate([[True], edges[1:] > edges[:-1], [True]])  # equal margins fall on one side together
    k = int(np.where(possible, totals, -np.inf).argmax())
    if k == 0:
        return float(edges[0]) - 1.0
    return float(edges[-1]) + 1.0 if k == len(edges) else float(edges[k - 1] + edges[k]) / 2
