"""Per-example statistics whose sums give a score, equal to the scorers that the benchmarks use.

Every score is a function of the sum of a few numbers per example, so that any resampling of examples needs sums only.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import accumulate
from operator import eq
from string import punctuation
from typing import Literal
from unicodedata import category

Statistics = tuple[float, ...]
Tokens = tuple[str, ...]


@dataclass(frozen=True)
class Metric:
    """One score.

    statistics: names of the numbers that `function(gold, predictions, language)` returns for each example of a test set, in its order.
        Only MLQA's depend on the language, a canonical code.
    upstream: the evaluator whose scores these are.
    family: how sums become a score, as the statistics module knows it: "mean" = 100 * s0 / n over n examples;
        "micro_f1" = 100 * 2 * tp / (n_pred + n_gold), and 0 where nothing was predicted nor there to be found.
    """

    name: str
    family: Literal["mean", "micro_f1"]
    statistics: tuple[str, ...]
    function: Callable[..., list[Statistics]]
    upstream: str

    def aggregate(self, sums: Sequence[float], n: int) -> float:
        """The score in points (0-100) from the sums of the statistics over `n` examples."""
        if n <= 0:
            raise ValueError(f"{self.name} of no examples is not defined")
        if self.family == "mean":
            return 100.0 * sums[0] / n
        true_positives, num_predicted, num_gold = sums
        total = num_predicted + num_gold
        return 100.0 * 2.0 * true_positives / total if total else 0.0


def accuracy(gold: Sequence[object], predictions: Sequence[object], language: str = "en") -> list[Statistics]:
    """(1.0,) where the prediction is the gold, else (0.0,). For one label an example; for the id of the pair that was retrieved."""
    return [(float(g == p),) for g, p in zip(gold, predictions, strict=True)]


def token_accuracy(gold: Sequence[Sequence[str]], predictions: Sequence[Sequence[str]], language: str = "en") -> list[Statistics]:
    """(correct, words, words) of each sentence: 2 * correct / (words + words) is the share of correct words."""
    _same_lengths(gold, predictions)
    return [(float(sum(map(eq, g, p))), float(len(g)), float(len(g))) for g, p in zip(gold, predictions, strict=True)]


def micro_f1(gold: Sequence[Sequence[str]], predictions: Sequence[Sequence[str]], language: str = "en") -> list[Statistics]:
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


def squad_f1(gold: Sequence[Sequence[str]], predictions: Sequence[str], language: str = "en") -> list[Statistics]:
    """(F1 of the tokens,) of each question with the answer that fits best; 0 where nothing is left of both texts."""
    return _best(_overlap, _answers(gold, _english), map(_english, predictions))


def squad_em(gold: Sequence[Sequence[str]], predictions: Sequence[str], language: str = "en") -> list[Statistics]:
    """(1.0,) where the prediction is one of the answers, after normalisation, else (0.0,)."""
    return _best(eq, _answers(gold, _english), map(_english, predictions))


def squad_v2_f1(gold: Sequence[Sequence[str]], predictions: Sequence[str], language: str = "en") -> list[Statistics]:
    """The same with () for questions without an answer, to which the right prediction is "", and anything that normalises to it."""
    return _best(lambda answer, found: answer == found or _overlap(answer, found), _or_none(gold), map(_english, predictions))


def squad_v2_em(gold: Sequence[Sequence[str]], predictions: Sequence[str], language: str = "en") -> list[Statistics]:
    """Exact match, with () for questions without an answer."""
    return _best(eq, _or_none(gold), map(_english, predictions))


def mlqa_f1(gold: Sequence[Sequence[str]], predictions: Sequence[str], language: str = "en") -> list[Statistics]:
    """(F1 of the tokens,) of each question with the answer that fits best, normalised as answers in `language` are."""
    normalise = partial(_tokens, language=language)
    return _best(_overlap, _answers(gold, normalise), map(normalise, predictions))


def mlqa_em(gold: Sequence[Sequence[str]], predictions: Sequence[str], language: str = "en") -> list[Statistics]:
    """(1.0,) where the prediction is one of the answers, normalised as answers in `language` are, else (0.0,)."""
    normalise = partial(_tokens, language=language)
    return _best(eq, _answers(gold, normalise), map(normalise, predictions))


def _best(score: Callable[[Tokens, Tokens], float], gold: Iterable[Sequence[Tokens]], found: Iterable[Tokens]) -> list[Statistics]:
    return [(float(max(score(answer, tokens) for answer in answers)),) for answers, tokens in zip(gold, found, strict=True)]


def _answers(gold: Sequence[Sequence[str]], normalise: Callable[[str], Tokens]) -> list[list[Tokens]]:
    if not all(map(len, gold)):
        raise ValueError("a question has no answer: only the squad_v2 metrics allow that")
    return [[normalise(answer) for answer in answers] for answers in gold]


def _or_none(gold: Sequence[Sequence[str]]) -> list[list[Tokens]]:
    """SQuAD 2.0's answers: those of which something is left, and where there are none the empty one."""
    return [[tokens for tokens in map(_english, answers) if tokens] or [()] for answers in gold]


def _overlap(answer: Tokens, found: Tokens) -> float:
    """F1 of two bags of tokens; 0 where both are empty. In the order of the official script, so that not even the last bit differs."""
    common = (Counter(answer) & Counter(found)).total()
    if not common:
        return 0.0
    precision, recall = common / len(found), common / len(answer)
    return 2 * precision * recall / (precision + recall)


# What the official scripts take out of an answer in each language, and what they put there. Word boundaries are re's, for which a combining
# mark is no part of a word. Arabic loses its article inside of words, too; a Chinese character is a token, whatever stands beside it.
RULES: Mapping[str, tuple[re.Pattern[str], str]] = {
    "ar": (re.compile("ال"), " "),
    "de": (re.compile(r"\b(ein|eine|einen|einem|eines|einer|der|die|das|den|dem|des)\b"), " "),
    "en": (re.compile(r"\b(a|an|the)\b"), " "),
    "es": (re.compile(r"\b(un|una|unos|unas|el|la|los|las)\b"), " "),
    "hi": (re.compile("(?!)"), ""),  # nothing
    "vi": (re.compile(r"\b(của|là|cái|chiếc|những)\b"), " "),
    "zh": (re.compile("[\u4e00-\u9fa5]"), r" \g<0> "),
}
ASCII_PUNCTUATION = str.maketrans("", "", punctuation)
REMEMBERED = 2**16  # answers: more than a test set has, so that its second metric finds them normalised


@lru_cache(REMEMBERED)
def _english(answer: str) -> Tokens:
    """The tokens of an answer as SQuAD's scripts normalise them in any language: lower case, no ASCII punctuation, no English articles."""
    pattern, put = RULES["en"]
    return tuple(pattern.sub(put, answer.lower().translate(ASCII_PUNCTUATION)).split())


@lru_cache(REMEMBERED)
def _tokens(answer: str, language: str) -> Tokens:
    """The tokens of an answer as MLQA's script normalises it: lower case, no punctuation of any script, no articles of the language."""
    if language not in RULES:
        raise ValueError(f"MLQA's metrics do not know the language {language!r}, only {', '.join(RULES)}")
    pattern, put = RULES[language]
    bare = "".join(character for character in answer.lower().translate(ASCII_PUNCTUATION) if category(character)[0] != "P")
    return tuple(pattern.sub(put, bare).split())


def map_at_20(gold: Sequence[Sequence[str]], predictions: Sequence[Sequence[str]], language: str = "en") -> list[Statistics]:
    """(average precision at 20,) of each query: relevant ids, and ids that were found, best first. An id counts once on either side.

    It is the mean over all relevant ids, or over 20 where there are more. With one relevant id it is the reciprocal rank.
    """
    return [(_average_precision(set(g), p[:20]),) for g, p in zip(gold, predictions, strict=True)]


def _average_precision(relevant: set[str], ranked: Sequence[str]) -> float:
    if not relevant:
        raise ValueError("a query has no relevant candidate: its average precision is not defined")
    hits, total, left = 0, 0.0, set(relevant)
    for rank, found in enumerate(ranked, 1):
        if found in left:
            left.remove(found)
            hits += 1
            total += hits / rank
    return total / min(len(relevant), 20)


def pair_f1(gold: Sequence[Sequence[str]], predictions: Sequence[Sequence[str]], language: str = "en") -> list[Statistics]:
    """(tp, n_pred, n_gold) of each sentence: translations that are in both, in the prediction, in the gold; a repeated one counts once."""
    sides = ((set(g), set(p)) for g, p in zip(gold, predictions, strict=True))
    return [(float(len(present & found)), float(len(found)), float(len(present))) for present, found in sides]


COUNTS = ("tp", "n_pred", "n_gold")
METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("accuracy", "mean", ("correct",), accuracy, "sklearn.metrics.accuracy_score"),
        Metric("micro_f1", "micro_f1", COUNTS, micro_f1, "seqeval.metrics.f1_score"),
        Metric("token_accuracy", "micro_f1", COUNTS, token_accuracy, "sklearn.metrics.accuracy_score of all words"),
        Metric("squad_f1", "mean", ("f1",), squad_f1, "f1 of SQuAD's evaluate-v1.1.py, also XTREME's for XQuAD and TyDiQA-GoldP"),
        Metric("squad_em", "mean", ("exact",), squad_em, "exact_match of SQuAD's evaluate-v1.1.py"),
        Metric("squad_v2_f1", "mean", ("f1",), squad_v2_f1, "f1 of SQuAD's evaluate-v2.0.py"),
        Metric("squad_v2_em", "mean", ("exact",), squad_v2_em, "exact of SQuAD's evaluate-v2.0.py"),
        Metric("mlqa_f1", "mean", ("f1",), mlqa_f1, "f1 of mlqa_evaluation_v1.py with the language of the answers"),
        Metric("mlqa_em", "mean", ("exact",), mlqa_em, "exact_match of mlqa_evaluation_v1.py with the language of the answers"),
        Metric("map_at_20", "mean", ("average_precision",), map_at_20, "XTREME-R's mAP@20 for LAReQA and MRR for Mewsli-X"),
        Metric("pair_f1", "micro_f1", COUNTS, pair_f1, "XTREME's F1 for BUCC 2018"),
    )
}
