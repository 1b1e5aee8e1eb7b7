"""The released predictions of MasakhaNER 2.0 (8 languages, XLM-R Base and Large): the module finds what is wrong with them by itself."""

from __future__ import annotations

import hashlib
import warnings
from pathlib import Path

import pyarrow as pa
import pytest
from seqeval.metrics import f1_score

from raystilts.stats import Analysis, Contrast, Plan, analyse

FOLDER = Path(__file__).parents[3] / "shared" / "data" / "masakhaner2"
pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="needs the published predictions in ../shared/data/masakhaner2")


def code(tags: list[str]) -> int:
    """A 64-bit hash of a tag sequence."""
    return int.from_bytes(hashlib.blake2b(" ".join(tags).encode(), digest_size=8).digest(), "little", signed=True)


def spans(tags: list[str]) -> set[tuple[str, int, int]]:
    """Entity spans by the conlleval rule that seqeval follows: a B tag, another type or O ends a span; an I tag may start one."""
    found, start, kind = set(), 0, ""
    for i, tag in enumerate([*tags, "O"]):
        prefix, _, name = tag.partition("-")
        if kind and (prefix in ("O", "B") or name != kind):
            found.add((kind, start, i))
            kind = ""
        if prefix != "O" and not kind:
            start, kind = i, name
    return found


def sentences(lines: list[str]) -> list[list[str]]:
    """Last columns of a CoNLL file."""
    result: list[list[str]] = [[]]
    for line in lines:
        if line.strip():
            result[-1].append(line.split()[-1])
        elif result[-1]:
            result.append([])
    return [sentence for sentence in result if sentence]


Tags = dict[str, list[list[str]]]


@pytest.fixture(scope="module")
def tags() -> tuple[Tags, Tags]:
    """Language -> gold, and encoder/language/seed -> predictions, as sentences of tags."""
    gold = {path.stem: sentences(path.read_text().splitlines()) for path in sorted(FOLDER.glob("gold/*.txt"))}
    predicted = {}
    for path in sorted(FOLDER.glob("predictions/*/*/*.txt")):
        flat = iter([line.strip() for line in path.read_text().splitlines() if line.strip()])
        predicted["/".join((*path.parts[-3:-1], path.stem))] = [[next(flat) for _ in sentence] for sentence in gold[path.parts[-2]]]
        assert next(flat, None) is None, f"{path.name} has more tags than the gold"
    return gold, predicted


@pytest.fixture(scope="module")
def analysis(tags: tuple[Tags, Tags]) -> Analysis:
    """Large minus Base in each language."""
    gold, predicted = tags
    runs, rows = [], []
    gold_spans = {language: [spans(sentence) for sentence in parts] for language, parts in gold.items()}
    gold_codes = {language: [code(sentence) for sentence in parts] for language, parts in gold.items()}
    for run, parts in predicted.items():
        encoder, language, seed = run.split("/")
        runs.append({"run_id": run, "encoder": encoder, "trained_on": language, "seed": int(seed.removeprefix("seed"))})
        for i, sentence in enumerate(parts):
            own, right = spans(sentence), gold_spans[language][i]
            statistics = (float(len(own & right)), float(len(own)), float(len(right)))
            rows.append((run, language, f"{language} {i}", *statistics, code(sentence), gold_codes[language][i]))
    names = ("run_id", "language", "example_id", "s0", "s1", "s2", "prediction_code", "gold_code")
    examples = pa.table(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True)))
    plan = Plan((Contrast("large-base", {"encoder": "xlmrlarge"}, {"encoder": "xlmrbase"}),), metric="micro_f1", resamples=2000)
    return analyse(pa.Table.from_pylist(runs), examples, plan)


def test_scores_are_those_of_seqeval(tags: tuple[Tags, Tags], analysis: Analysis) -> None:
    """The recomputed F1 of a few runs (a collapsed one among them) is seqeval's, to rounding."""
    gold, predicted = tags
    scores = {row["run_id"]: row["score"] for row in analysis.scores.to_pylist()}
    for run in ("xlmrbase/bbj/seed3", "xlmrlarge/bbj/seed5", "xlmrlarge/ewe/seed1", "xlmrbase/fon/seed1"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # seqeval warns where nothing was predicted, which is the point
            expected = 100 * f1_score(gold[run.split("/")[1]], predicted[run])
        assert scores[run] == pytest.approx(expected, abs=1e-10)


def test_collapsed_runs_and_the_run_stored_twice_are_found(analysis: Analysis) -> None:
    """Five Large runs collapsed and no Base run did; one Large run is stored under two seeds. Nothing but the tags told the module."""
    found = [(row["kind"], tuple(row["run_ids"])) for row in analysis.findings.to_pylist() if row["kind"] in ("collapsed", "duplicate")]
    collapsed = ["bam/seed2", "bam/seed7", "bbj/seed2", "ewe/seed1", "ewe/seed7"]
    expected = [("collapsed", (f"xlmrlarge/{run}",)) for run in collapsed]
    assert found == [*expected, ("duplicate", ("xlmrlarge/bam/seed1", "xlmrlarge/bam/seed4"))]
    counts = {row["encoder"]: (row["collapsed"], row["runs"]) for row in analysis.collapse.to_pylist()}
    assert counts == {"xlmrbase": (0, 54), "xlmrlarge": (5, 59)}


def test_both_policies_stand_side_by_side(analysis: Analysis) -> None:
    """With the collapsed runs Large loses several points, among converged runs it gains: the sign rests on five runs."""
    pooled = {row["policy"]: row for row in analysis.pooled.to_pylist() if row["estimand"] == "fixed_languages"}
    assert pooled["all"]["theta"] < -3
    assert pooled["all"]["claim"] == "undecided"
    assert 0.5 < pooled["converged"]["theta"] < 2.5
    assert pooled["converged"]["claim"] == "gain"
    runs = {(row["policy"], row["language"]): row["runs_plus"] for row in analysis.gains.to_pylist()}
    assert (runs["all", "bam"], runs["converged", "bam"]) == (10, 8)
