"""Recompute every reported score of a store from its prediction tables, with seqeval, scikit-learn and the plain loops below.

    python analysis/recompute_scores.py runs/quickstart

Imports nothing of raystilts. Prints one line per evaluation and exits with 1 where a reported score is not exactly (to 1e-10 points)
what the predictions give. The loops say in other words what the benchmarks' own scripts do; the tests hold raystilts against them.
"""

from __future__ import annotations

import json
import sys
import unicodedata
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import pyarrow.parquet as pq
from seqeval.metrics import f1_score
from sklearn.metrics import accuracy_score

TOLERANCE = 1e-10
ASCII_PUNCTUATION = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
ARTICLES = {
    "de": "ein eine einen einem eines einer der die das den dem des",
    "en": "a an the",
    "es": "un una unos unas el la los las",
    "vi": "của là cái chiếc những",
}
MLQA_LANGUAGES = ("ar", "de", "en", "es", "hi", "vi", "zh")


def without_articles(text: str, articles: Sequence[str]) -> str:
    """A space in place of each run of letters, digits and underscores that is an article."""
    kept, run = "", ""
    for character in text + "\n":
        if character.isalnum() or character == "_":
            run += character
        else:
            kept += (" " if run in articles else run) + character
            run = ""
    return kept


def squad_words(text: str) -> list[str]:
    """The words of an answer that SQuAD's scripts compare, in English as in any other language."""
    kept = ""
    for character in text.lower():
        if character not in ASCII_PUNCTUATION:
            kept += character
    return without_articles(kept, ARTICLES["en"].split()).split()


def mlqa_words(text: str, language: str) -> list[str]:
    """The words of an answer that MLQA's script compares; in Chinese each character of the common block is one."""
    if language not in MLQA_LANGUAGES:
        raise SystemExit(f"MLQA has no rules for {language!r}")
    kept = ""
    for character in text.lower():
        if not unicodedata.category(character).startswith("P") and character not in ASCII_PUNCTUATION:
            kept += character
    if language == "ar":  # the article and whatever else is spelt so
        return " ".join(kept.split("\u0627\u0644")).split()
    if language == "zh":
        spaced = ""
        for character in kept:
            spaced += f" {character} " if 0x4E00 <= ord(character) <= 0x9FA5 else character
        return spaced.split()
    return without_articles(kept, ARTICLES.get(language, "").split()).split()


def shared_words(answer: Sequence[str], found: Sequence[str]) -> float:
    """F1 of two lists of words in any order; 0 where none is shared."""
    left, shared = list(answer), 0
    for word in found:
        if word in left:
            left.remove(word)
            shared += 1
    return 2 * shared / (len(answer) + len(found)) if shared else 0.0


def of_answers(gold: Sequence[Sequence[str]], found: Sequence[str], words: Callable[[str], list[str]], *, exact: bool) -> float:
    """Mean over questions of the best of its answers."""
    scores = []
    for answers, text in zip(gold, found, strict=True):
        best = 0.0
        if not answers:
            raise SystemExit("a question without an answer")
        for answer in answers:
            value = float(words(answer) == words(text)) if exact else shared_words(words(answer), words(text))
            best = max(best, value)
        scores.append(best)
    return fmean(scores)


def of_answers_or_none(gold: Sequence[Sequence[str]], found: Sequence[str], *, exact: bool) -> float:
    """The same by the rules of SQuAD 2.0: where no answer has a word, the right prediction has none either."""
    scores = []
    for answers, text in zip(gold, found, strict=True):
        predicted = squad_words(text)
        worded = [squad_words(answer) for answer in answers if squad_words(answer)]
        if not worded:
            scores.append(0.0 if predicted else 1.0)
        elif exact:
            scores.append(1.0 if predicted in worded else 0.0)
        else:
            scores.append(max(shared_words(answer, predicted) for answer in worded))
    return fmean(scores)


def mean_average_precision(gold: Sequence[Sequence[str]], found: Sequence[Sequence[str]], depth: int = 20) -> float:
    """Mean over queries of the precisions at the ranks of the relevant ids among the first `depth`."""
    scores = []
    for relevant, ranked in zip(gold, found, strict=True):
        if not relevant:
            raise SystemExit("a query without a relevant candidate")
        precisions: list[float] = []
        for place, candidate in enumerate(ranked[:depth]):
            if candidate in relevant and candidate not in ranked[:place]:
                precisions.append((len(precisions) + 1) / (place + 1))
        scores.append(sum(precisions) / min(len(set(relevant)), depth))
    return fmean(scores)


def of_pairs(gold: Sequence[Sequence[str]], found: Sequence[Sequence[str]]) -> float:
    """F1 of the set of all (sentence, translation)."""
    true = {(row, translation) for row, translations in enumerate(gold) for translation in translations}
    mined = {(row, translation) for row, translations in enumerate(found) for translation in translations}
    both = len(true & mined)
    if not both:
        return 0.0
    precision, recall = both / len(mined), both / len(true)
    return 2 * precision * recall / (precision + recall)


def of_entities(gold: Sequence[Sequence[str]], found: Sequence[Sequence[str]]) -> float:
    """Seqeval's F1, without its warnings of every tag that is not BIO."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float(f1_score([list(tags) for tags in gold], [list(tags) for tags in found], zero_division=0))


def of_words(gold: Sequence[Sequence[str]], found: Sequence[Sequence[str]]) -> float:
    """The share of words with the right tag."""
    true, predicted = [tag for tags in gold for tag in tags], [tag for tags in found for tag in tags]
    return float(accuracy_score(true, predicted))


SCORERS: dict[str, Callable[[Any, Any, str], float]] = {
    "accuracy": lambda gold, found, _: float(accuracy_score(gold, found)),
    "micro_f1": lambda gold, found, _: of_entities(gold, found),
    "token_accuracy": lambda gold, found, _: of_words(gold, found),
    "squad_f1": lambda gold, found, _: of_answers(gold, found, squad_words, exact=False),
    "squad_em": lambda gold, found, _: of_answers(gold, found, squad_words, exact=True),
    "squad_v2_f1": lambda gold, found, _: of_answers_or_none(gold, found, exact=False),
    "squad_v2_em": lambda gold, found, _: of_answers_or_none(gold, found, exact=True),
    "mlqa_f1": lambda gold, found, language: of_answers(gold, found, lambda text: mlqa_words(text, language), exact=False),
    "mlqa_em": lambda gold, found, language: of_answers(gold, found, lambda text: mlqa_words(text, language), exact=True),
    "map_at_20": lambda gold, found, _: mean_average_precision(gold, found),
    "pair_f1": lambda gold, found, _: of_pairs(gold, found),
}


def score(path: Path, metric: str) -> float:
    """A language's score in 0-100 from its prediction table."""
    if metric not in SCORERS:
        raise SystemExit(f"{path}: this script does not know the metric {metric!r}")
    table = pq.read_table(path, columns=["gold", "prediction"]).to_pydict()
    return 100 * SCORERS[metric](table["gold"], table["prediction"], path.stem)


def main(store: Path) -> int:
    """Check all evaluations of a store; the exit code."""
    checked, wrong = {"": 0, "also": 0}, {"": 0, "also": 0}
    for stage in sorted((store / "stages").iterdir()):
        record = json.loads((stage / "stage.json").read_text(encoding="utf-8"))
        if record["phase"] != "evaluate":
            continue
        result = record["result"]
        off: dict[tuple[str, str], tuple[float, float]] = {}
        for metric, reported in {result["metric"]: result["scores"], **result.get("also", {})}.items():
            part = "" if metric == result["metric"] else "also"
            for language, value in reported.items():
                found = score(stage / "predictions" / f"{language}.parquet", metric)
                checked[part] += 1
                if not abs(value - found) <= TOLERANCE:  # so that NaN is different, too
                    off[metric, language] = (value, found)
                    wrong[part] += 1
        print(f"{record['label']}: {len(result['scores'])} languages, {'all equal' if not off else f'different: {off}'}")
    print(f"{checked['']} scores recomputed, {wrong['']} differ")
    if checked["also"]:
        print(f"{checked['also']} scores by the tasks' other metrics recomputed, {wrong['also']} differ")
    return 1 if any(wrong.values()) or not checked[""] else 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    sys.exit(main(Path(sys.argv[1])))
