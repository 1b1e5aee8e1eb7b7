"""Public tables of scores per seed: how much do runs differ that differ in nothing but their seed?

Two checkouts are read: github.com/masakhane-io/masakhane-ner (F1 of every run of seven encoders, trained in each of 19 African languages)
and github.com/stefan-it/xlm-v-experiments (XLM-R Base and XLM-V Base, five seeds each, zero-shot from English WikiANN to WikiANN and
MasakhaNER, and from SQuAD to XQuAD). seed_variance.py prints what they say.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from raystilts.stats import detectable_effect

Floats = npt.NDArray[np.float64]
SHOWN = (3, 5, 10, 20)


@dataclass(frozen=True)
class Score:
    """A published score, points. shared: the run of this seed was scored in all languages, and not in one of its own."""

    source: str
    encoder: str
    language: str
    seed: str
    score: float
    shared: bool


def masakhaner_scores(folder: Path) -> Iterator[Score]:
    """F1 of every run in MasakhaNER2.0/baseline_models_results/LANGUAGE_ENCODER/test_resultSEED.txt."""
    for path in sorted((folder / "MasakhaNER2.0" / "baseline_models_results").glob("*/test_result*.txt")):
        language, encoder = path.parent.name.split("_", 1)
        first = re.match(r"f1 = ([\d.]+)", path.read_text(encoding="utf-8"))
        if first:
            seed = path.stem.removeprefix("test_result")
            yield Score("MasakhaNER 2.0, trained in each", encoder, language, seed, 100 * float(first[1]), shared=False)


def markdown_scores(text: str, source: str, encoder: str) -> Iterator[Score]:
    r"""Scores in the Markdown tables of the XLM-V experiments: a row per seed, a column per language; of "EM / F1" the F1.

    >>> text = "| Model | sw | yo |\n|---|---|---|\n| XLM-R 1 | 50.0 / 60.5 | 1 / 2 |\n| XLM-R A | 5 / 6 | 1 / 2 |"
    >>> [(s.language, s.seed, s.score) for s in markdown_scores(text, "x", "r")]
    [('sw', '1', 60.5), ('yo', '1', 2.0)]
    """
    languages: list[str] = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if cells[0].startswith("Model"):
            languages = cells[1:]
        seed = re.search(r"(?:crfFalse-|XLM-[RV] )(\d+)", cells[0])
        if seed:
            for language, cell in zip(languages, cells[1:], strict=True):
                if not language.startswith("Avg"):
                    yield Score(source, encoder, language, seed[1], float(cell.rpartition("/")[2]), shared=True)


def xlm_v_scores(folder: Path) -> Iterator[Score]:
    """Test scores of XLM-R Base and XLM-V Base, five seeds each, zero-shot."""
    tasks = {"wikiann": "WikiANN, zero-shot", "masakhaner": "MasakhaNER, zero-shot from WikiANN", "xquad": "XQuAD, zero-shot"}
    for task, source in tasks.items():
        for encoder, name in (("xlm_r", "xlmrbase"), ("xlm_v", "xlmvbase")):
            text = (folder / f"{task}_zero_shot_{encoder}_results.md").read_text(encoding="utf-8")
            yield from markdown_scores(text.partition("Test Results:")[2] or text, source, name)


@dataclass(frozen=True)
class Spread:
    """How much the runs of one encoder differ, standard deviations in points: `alone` in one language (pooled over languages), `largest` of
    any language, `together` of the mean over all languages. failed: runs that learned nothing.
    """

    languages: int
    runs: int
    failed: int
    level: float
    alone: float
    largest: float
    together: float


def spread_of(scores: Sequence[Score]) -> Spread:
    """Standard deviations between seeds. Scores of exactly zero are runs that learned nothing: counted, and left out.

    Runs that are scored in all languages have a mean each; where every language has runs of its own, the variances of languages add up.

    >>> found = spread_of([Score("", "", l, s, x + d, True) for l, x in (("sw", 50), ("yo", 60)) for s, d in (("1", 0), ("2", 2))])
    >>> round(found.alone, 3), round(found.together, 3)
    (1.414, 1.414)
    """
    kept: dict[str, dict[str, float]] = {}
    for one in scores:
        if one.score > 0:
            kept.setdefault(one.language, {})[one.seed] = one.score
    runs = {language: of_seed for language, of_seed in kept.items() if len(of_seed) > 1}
    variances = {language: float(np.var(list(of_seed.values()), ddof=1)) for language, of_seed in runs.items()}
    degrees = {language: len(of_seed) - 1 for language, of_seed in runs.items()}
    if all(one.shared for one in scores):
        seeds = sorted(set.intersection(*(set(of_seed) for of_seed in runs.values())))
        together = float(np.var([np.mean([of_seed[seed] for of_seed in runs.values()]) for seed in seeds], ddof=1))
    else:
        together = sum(variances.values()) / len(runs) ** 2
    return Spread(
        languages=len(runs),
        runs=len({one.seed for one in scores if one.score > 0}) if all(one.shared for one in scores) else sum(map(len, runs.values())),
        failed=sum(one.score <= 0 for one in scores),
        level=float(np.mean([np.mean(list(of_seed.values())) for of_seed in runs.values()])),
        alone=math.sqrt(sum(variances[language] * degrees[language] for language in runs) / sum(degrees.values())),
        largest=math.sqrt(max(variances.values())),
        together=math.sqrt(together),
    )


def between(deviation: float, seeds: Sequence[int]) -> Floats:
    """Detectable difference of two arms whose runs have this standard deviation, on exactly these test sets (points).

    >>> between(1.0, [5]).round(2)
    array([2.02])
    """
    number = np.array(seeds, dtype=np.float64)
    return detectable_effect(deviation * np.sqrt(2 / number), 2 * (number - 1))


def fewest(deviation: float, margin: float, most: int = 200) -> str:
    """Fewest seeds per arm that detect `margin` points, as text."""
    enough = np.flatnonzero(between(deviation, range(2, most + 1)) <= margin)
    return str(2 + int(enough[0])) if len(enough) else f"> {most}"


def score_rows(scores: Iterable[Score], margin: float) -> list[list[str]]:
    """A row per source and encoder."""
    by: dict[tuple[str, str], list[Score]] = {}
    for one in scores:
        by.setdefault((one.source, one.encoder), []).append(one)
    rows = []
    for (source, encoder), mine in sorted(by.items()):
        s = spread_of(mine)
        numbers = [
            str(s.languages),
            str(s.runs),
            str(s.failed),
            f"{s.level:.1f}",
            f"{s.alone:.2f}",
            f"{s.largest:.2f}",
            f"{s.together:.2f}",
        ]
        effects = [f"{x:.2f}" for x in between(s.alone, SHOWN)]
        rows.append([source, encoder, *numbers, *effects, fewest(s.alone, margin), fewest(s.together, margin)])
    return rows
