"""Per-example statistics whose sums give a score, equal to the scorers that the benchmarks use.

Every score is a function of the sum of a few numbers per example, so that any resampling of examples needs sums only.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from operator import eq
from typing import Any, Literal

Statistics = tuple[float, ...]


@dataclass(frozen=True)
class Metric:
    """One score.

    statistics: names of the numbers that `function(gold, predictions)` returns for each example of a test set, in its order.
    family: how sums become a score, as the statistics module knows it: "mean" = 100 * s0 / n over n examples;
        "micro_f1" = 100 * 2 * tp / (n_pred + n_gold), and 0 where nothing was predicted nor there to be found.
    """

    name: str
    family: Literal["mean", "micro_f1"]
    statistics: tuple[str, ...]
    function: Callable[[Sequence[Any], Sequence[Any]], list[Statistics]]

    def aggregate(self, sums: Sequence[float], n: int) -> float:
        """The score in points (0-100) from the sums of the statistics over `n` examples."""
        if n <= 0:
            raise ValueError(f"{self.name} of no examples is not defined")
        if self.family == "mean":
            return 100.0 * sums[0] / n
        true_positives, num_predicted, num_gold = sums
        total = num_predicted + num_gold
        return 100.0 * 2.0 * true_positives / total if total else 0.0


def accuracy(gold: Sequence[object], predictions: Sequence[object]) -> list[Statistics]:
    """(1.0,) where the prediction is the gold, else (0.0,). For one label an example; for the id of the pair that was retrieved."""
    return [(float(g == p),) for g, p in zip(gold, predictions, strict=True)]


def token_accuracy(gold: Sequence[Sequence[str]], predictions: Sequence[Sequence[str]]) -> list[Statistics]:
    """(correct, words, words) of each sentence: 2 * correct / (words + words) is the share of correct words."""
    _same_lengths(gold, predictions)
    return [(float(sum(map(eq, g, p))), float(len(g)), float(len(g))) for g, p in zip(gold, predictions, strict=True)]


def micro_f1(gold: Sequence[Sequence[str]], predictions: Sequence[Sequence[str]]) -> list[Statistics]:
    """(tp, n_pred, n_gold) of each sentence: entities that are in both, in the prediction, in the gold.

    An entity is a type with its first and last word, found as `seqeval.metrics.f1_score` finds it in the whole corpus in its default
    mode, so that the sums give its score exactly. That includes its one leak: where a sentence starts with the bare tag X, which
    seqeval does not take for a beginning, it dates the entity back to the last beginning in an earlier sentence.
    """
    _same_lengths(gold, predictions)
    sides = zip(_by_sentence(predictions), _by_sentence(gold), strict=True)
    return [(float(len(found & present)), float(len(found)), float(len(present))) for found, present in sides]


def _by_sentence(sentences: Sequence[Sequence[str]]) -> list[set[tuple[str, int, int]]]:
    """The corpus' entities, each with the sentence in which it ends."""
    starts = list(accumulate((len(tags) + 1 for tags in sentences), initial=0))
    found: list[set[tuple[str, int, int]]] = [set() for _ in sentences]
    for entity in entities([tag for tags in sentences for tag in (*tags, "O")]):
        found[bisect_right(starts, entity[2]) - 1].add(entity)
    return found


def entities(tags: Sequence[str]) -> list[tuple[str, int, int]]:
    """(type, first word, last word) of each entity, by the rules of conlleval as seqeval 1.2.2 applies them by default.

    The first character of a tag is its position (B, I, E, S, O, anything), the part after the first "-" its type. A tag without
    "-" is read the same way: UPOS "NOUN" is position "N" of type "OUN", and words of one such type in a row are one entity each
    time nothing ends it. XTREME scores UD-POS so, which is why its figures are F1 and not accuracy.
    """
    spans: list[tuple[str, int, int]] = []
    previous_position, previous_type, begin = "O", "", 0
    for index, tag in enumerate([*tags, "O"]):
        position, kind = tag[0], tag[1:].split("-", maxsplit=1)[-1] or "_"
        if _ends(previous_position, position, previous_type, kind):
            spans.append((previous_type, begin, index - 1))
        if _begins(previous_position, position, previous_type, kind):
            begin = index
        previous_position, previous_type = position, kind
    return spans


def _ends(previous: str, position: str, previous_kind: str, kind: str) -> bool:
    """Whether an entity ends before this word."""
    if previous in "ES" or (previous in "BI" and position in "BSO"):
        return True
    return previous not in "O." and previous_kind != kind


def _begins(previous: str, position: str, previous_kind: str, kind: str) -> bool:
    """Whether an entity begins with this word."""
    if position in "BS" or (previous in "ESO" and position in "EI"):
        return True
    return position not in "O." and previous_kind != kind


def _same_lengths(gold: Sequence[Sequence[str]], predictions: Sequence[Sequence[str]]) -> None:
    for g, p in zip(gold, predictions, strict=True):
        if len(g) != len(p):
            raise ValueError(f"{len(g)} gold tags but {len(p)} predicted ones: every word must have a prediction")


METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("accuracy", "mean", ("correct",), accuracy),
        Metric("micro_f1", "micro_f1", ("tp", "n_pred", "n_gold"), micro_f1),
        Metric("token_accuracy", "micro_f1", ("tp", "n_pred", "n_gold"), token_accuracy),
    )
}
