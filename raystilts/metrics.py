"""Per-example statistics whose sums give a score, equal to the scorers that the benchmarks use.

Every score is a function of the sum of a few numbers per example, so that any resampling of examples needs sums only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Statistics = tuple[float, ...]


@dataclass(frozen=True)
class Metric:
    """One score.

    statistics: names of the numbers that `function(gold, prediction)` returns for one example.
    family: how sums become a score, as the statistics module knows it: "mean" = 100 * s0 / n over n examples;
        "micro_f1" = 100 * 2 * tp / (n_pred + n_gold), and 0 where nothing was predicted nor there to be found.
    """

    name: str
    family: Literal["mean", "micro_f1"]
    statistics: tuple[str, ...]
    function: Callable[[Any, Any], Statistics]

    def aggregate(self, sums: Sequence[float], n: int) -> float:
        """The score in points (0-100) from the sums of the statistics over `n` examples."""
        if n <= 0:
            raise ValueError(f"{self.name} of no examples is not defined")
        if self.family == "mean":
            return 100.0 * sums[0] / n
        true_positives, num_predicted, num_gold = sums
        total = num_predicted + num_gold
        return 100.0 * 2.0 * true_positives / total if total else 0.0


def accuracy(gold: object, prediction: object) -> Statistics:
    """(1.0,) where the prediction is the gold, else (0.0,). Of labels, or in retrieval of ids."""
    return (float(gold == prediction),)


def token_accuracy(gold: Sequence[str], prediction: Sequence[str]) -> Statistics:
    """(correct, words, words) of one sentence: 2 * correct / (words + words) is the share of correct words."""
    _same_length(gold, prediction)
    return (float(sum(g == p for g, p in zip(gold, prediction, strict=True))), float(len(gold)), float(len(gold)))


def micro_f1(gold: Sequence[str], prediction: Sequence[str]) -> Statistics:
    """(tp, n_pred, n_gold) of one sentence: entities that are in both, in the prediction, in the gold.

    An entity is a type with its first and last word, found as `seqeval.metrics.f1_score` finds it in its default mode. Sums over
    sentences equal that function's counts over a corpus, but for one leak of seqeval: where a sentence begins with a tag of one letter
    (UPOS "X"), it takes over the begin of the last entity of the sentence before. Here sentences are independent of their order.
    """
    _same_length(gold, prediction)
    found, present = set(entities(prediction)), set(entities(gold))
    return (float(len(found & present)), float(len(found)), float(len(present)))


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


def _same_length(gold: Sequence[str], prediction: Sequence[str]) -> None:
    if len(gold) != len(prediction):
        raise ValueError(f"{len(gold)} gold tags but {len(prediction)} predicted ones: every word must have a prediction")


METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("accuracy", "mean", ("correct",), accuracy),
        Metric("micro_f1", "micro_f1", ("tp", "n_pred", "n_gold"), micro_f1),
        Metric("token_accuracy", "micro_f1", ("tp", "n_pred", "n_gold"), token_accuracy),
    )
}
