"""Findings: what is wrong with the runs is found, reported, and handled as the plan says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from stats_tables import Rows, as_tables, random_rows

from raystilts.stats import Analysis, Contrast, Plan, analyse

CONTRAST = Contrast("mnli", {"intermediate": "mnli"}, {"intermediate": "none"})


def study(seed: int = 0, size: int = 40, **more: Any) -> tuple[Rows, Rows]:
    """One encoder, four seeds, predictions of three classes stored."""
    runs, examples = random_rows(
        np.random.default_rng(seed),
        encoders=("base",),
        seeds=lambda: 4,
        num_examples=lambda language: size,
        **{"languages": ("de", "sw"), **more},
    )
    rng = np.random.default_rng(seed)
    for row in examples:
        row["prediction_code"] = int(rng.integers(0, 3))
    return runs, examples


def analysed(runs: Rows, examples: Rows, **more: Any) -> Analysis:
    """The analysis of one contrast."""
    return analyse(*as_tables(runs, examples), Plan((CONTRAST,), **({"metric": "accuracy", "resamples": 200} | more)))


def found(analysis: Analysis, kind: str) -> list[tuple[str, tuple[str, ...], str]]:
    """(severity, runs, language) of the findings of a kind."""
    return [(f["severity"], tuple(f["run_ids"]), f["language"]) for f in analysis.findings.to_pylist() if f["kind"] == kind]


def test_a_clean_study_has_no_findings() -> None:
    """Nothing is reported where nothing is wrong."""
    assert analysed(*study(size=400)).findings.num_rows == 0


def test_constant_output_is_a_collapse_without_looking_at_labels() -> None:
    """A run that answers the same everywhere is collapsed whatever its score; "converged" drops it, "all" keeps it, the count is shown."""
    runs, examples = study()
    for row in examples:
        if row["run_id"] == "base-mnli-1":
            row["prediction_code"] = 7
    analysis = analysed(runs, examples)
    assert found(analysis, "collapsed") == [("warning", ("base-mnli-1",), "")]
    by_policy = {(g["policy"], g["language"]): g["runs_plus"] for g in analysis.gains.to_pylist()}
    assert by_policy == {("all", "de"): 4, ("all", "sw"): 4, ("converged", "de"): 3, ("converged", "sw"): 3}
    (row,) = analysis.collapse.to_pylist()
    assert (row["encoder"], row["collapsed"], row["runs"], row["rate"]) == ("base", 1, 8, 0.125)


def test_constant_output_in_one_language_of_many_is_only_noted() -> None:
    """A model may answer the same everywhere in one language that it cannot read: that run is not dropped."""
    runs, examples = study(languages=("de", "sw", "te"))
    for row in examples:
        if row["run_id"] == "base-mnli-1" and row["language"] == "te":
            row["prediction_code"] = 7
    analysis = analysed(runs, examples)
    assert found(analysis, "collapsed") == [("note", ("base-mnli-1",), "te")]
    assert set(analysis.gains["runs_plus"].to_pylist()) == {4}


def test_collapse_of_taggers_shows_in_the_number_of_spans() -> None:
    """A tagger that finds no span at all is collapsed, with or without stored predictions."""
    for stored in (True, False):
        runs, examples = study(metric="micro_f1")
        for i, row in enumerate(examples):
            if row["run_id"] == "base-none-0":
                row |= {"s0": 0.0, "s1": 0.0}
            row["prediction_code"] = i if stored else None
        assert found(analysed(runs, examples, metric="micro_f1"), "collapsed") == [("warning", ("base-none-0",), "")]


def test_an_arm_that_only_guesses_is_named() -> None:
    """An arm whose mean is within 1.64 standard errors of the most frequent answer's share is named with both numbers; one that is above,
    one without stored gold, one of 19 examples, and shares of right answers are not. In all of its languages it is an error, in some a
    warning.
    """

    def given(
        score: int, size: int = 200, languages: tuple[str, ...] = ("de", "sw"), **more: Any
    ) -> list[tuple[str, tuple[str, ...], str]]:
        runs, examples = study(size=size)
        for row in examples:
            place = int(row["example_id"][2:])
            own = score if row["run_id"].startswith("base-mnli") and row["language"] in languages else size
            row |= {"s0": float(place < own), "gold_code": int(place < size // 2), **more}
        analysis = analysed(runs, examples)
        details = [f["detail"] for f in analysis.findings.to_pylist() if f["kind"] == "guessing"]
        points = f"{100 * score / size:.1f} beside 50.0"
        what, so = (
            "intermediate mnli is not told from always giving the most frequent answer in",
            "so a gain of it or over it is not one of",
        )
        everywhere = f"{what} any of 2 languages, {so} models that can do the task: de {points}, sw {points}"
        assert details in ([], [everywhere if len(languages) == 2 else f"{what} 1 of 2 languages: {languages[0]} {points}"])
        return found(analysis, "guessing")

    runs = tuple(f"base-mnli-{seed}" for seed in range(4))
    guessing = [("error", runs, "")]
    error = 100 * np.sqrt(0.25 / 200)
    least = int(np.ceil(2 * (50 + 1.6449 * error)))
    assert given(100) == given(60) == given(least - 1) == guessing
    assert given(least) == given(150) == []
    assert given(100, languages=("sw",)) == [("warning", runs, "")]
    assert given(100, gold_code=None) == given(9, size=19) == given(100, s0=0.5) == []


def test_too_few_examples_show_no_collapse() -> None:
    """The same answer to 19 examples is not called a collapse."""
    runs, examples = study(size=19)
    for row in examples:
        if row["run_id"] == "base-mnli-1":
            row["prediction_code"] = 7
    assert found(analysed(runs, examples), "collapsed") == []


def test_all_runs_collapsed_is_refused_under_converged_only() -> None:
    """Where no run of an arm converged, the converged policy says so and the other still has its number."""
    runs, examples = study()
    for row in examples:
        if row["run_id"].startswith("base-mnli"):
            row["prediction_code"] = 7
    rows = analysed(runs, examples).gains.to_pylist()
    assert {row["policy"]: row["claim"] == "refused" for row in rows} == {"all": False, "converged": True}
    assert all("no converged run" in row["reason"] for row in rows if row["policy"] == "converged")


def test_duplicates_are_dropped_or_kept_as_the_plan_says() -> None:
    """Two seeds with identical predictions are one run stored twice: the lowest seed stays; "keep" only reports."""
    runs, examples = study()
    copied = {(r["language"], r["example_id"]): r for r in examples if r["run_id"] == "base-mnli-1"}
    for row in examples:
        if row["run_id"] == "base-mnli-3":
            row |= {key: copied[row["language"], row["example_id"]][key] for key in ("s0", "prediction_code")}
    for policy, expected in (("drop", 3), ("keep", 4)):
        analysis = analysed(runs, examples, duplicates=policy)
        assert found(analysis, "duplicate") == [("warning", ("base-mnli-1", "base-mnli-3"), "")]
        assert set(analysis.gains["runs_plus"].to_pylist()) == {expected}
    assert [severity for severity, _, _ in found(analysed(runs, examples), "unequal_seeds")] == ["note", "note"]


def test_same_predictions_under_two_arms() -> None:
    """A baseline run stored as an intermediate's is an error, and nothing is dropped: which one is right cannot be known."""
    runs, examples = study()
    copied = {(r["language"], r["example_id"]): r for r in examples if r["run_id"] == "base-none-1"}
    for row in examples:
        if row["run_id"] == "base-mnli-3":
            row |= {key: copied[row["language"], row["example_id"]][key] for key in ("s0", "prediction_code")}
    analysis = analysed(runs, examples)
    assert found(analysis, "same_predictions") == [("error", ("base-mnli-3", "base-none-1"), "")]
    assert set(analysis.gains["runs_plus"].to_pylist()) == {4}


def test_missing_runs_and_languages() -> None:
    """A failed run, a run without rows and a run that lacks a language are each reported."""
    runs, examples = study()
    runs[0]["status"] = "failed"
    kept = [e for e in examples if e["run_id"] != runs[1]["run_id"] and (e["run_id"], e["language"]) != (runs[4]["run_id"], "sw")]
    missing = found(analysed(runs, kept), "missing")
    assert missing == [
        ("warning", (runs[0]["run_id"],), ""),
        ("warning", (runs[1]["run_id"],), ""),
        ("warning", (runs[4]["run_id"],), "sw"),
    ]


def test_outliers_are_reported_and_kept() -> None:
    """A score far below its arm's median is reported, and stays in the estimate."""
    runs, examples = study(size=100)
    for row in examples:
        row["s0"] = float(int(row["example_id"][2:]) % 100 < (80 if row["run_id"] != "base-mnli-2" else 40))
    rng = np.random.default_rng(0)
    for row in examples:
        row["s0"] = row["s0"] if rng.random() < 0.98 else 1 - row["s0"]
    analysis = analysed(runs, examples)
    assert found(analysis, "outlier") == [("warning", ("base-mnli-2",), language) for language in ("de", "sw")]
    assert set(analysis.gains["runs_plus"].to_pylist()) == {4}


def test_reported_scores_are_checked() -> None:
    """A reported score that is not the recomputed one is found, and the run whose score it is; shares of 1 and rounding are understood."""
    runs, examples = study(languages=("sw",))
    scores = {row["run_id"]: row["score"] for row in analysed(runs, examples).scores.to_pylist()}
    for run in runs:
        run["reported_score"] = round(scores[run["run_id"]], 1)
    runs[1]["reported_score"] = scores[runs[1]["run_id"]] / 100
    assert found(analysed(runs, examples), "reported_score") == []
    other = next(r for r in runs if r["intermediate"] == "none" and scores[r["run_id"]] != scores[runs[0]["run_id"]])
    runs[0]["reported_score"] = scores[other["run_id"]]
    details = [f["detail"] for f in analysed(runs, examples).findings.to_pylist() if f["kind"] == "reported_score"]
    assert len(details) == 1
    assert other["run_id"] in details[0]


def test_clusters_are_noted() -> None:
    """Repeated test texts are noted with the number of clusters that they leave."""
    runs, examples = study(languages=("sw",))
    for row in examples:
        row["cluster_id"] = "same" if row["example_id"] in ("sw1", "sw2") else None
    analysis = analysed(runs, examples)
    assert found(analysis, "duplicate_texts") == [("note", (), "sw")]
    assert analysis.gains["n_clusters"].to_pylist() == [39, 39]


@pytest.mark.parametrize("metric", ["accuracy", "micro_f1"])
@pytest.mark.promise("Perfect, empty, equal and single results give refusals, not infinities")
def test_degenerate_values(metric: str) -> None:
    """Perfect, empty and equal runs and a single example give refusals, not warnings or infinities."""
    for size, right in ((30, 1.0), (30, 0.0), (1, 1.0)):
        runs, examples = study(size=size)
        for row in examples:
            gold = 0.0 if right == 0 else 1.0
            row.update({"s0": right, "s1": gold, "s2": gold} if metric == "micro_f1" else {"s0": right})
        groups = {"low": ("de", "sw")}
        options = {"metric": metric, "collapsed": ("all",), "groups": groups, "low_group": "low", "covariate": {"de": 1.0, "sw": 2.0}}
        analysis = analysed(runs, examples, **options)
        rows = analysis.gains.to_pylist()
        assert {row["claim"] for row in rows} == {"refused"}
        assert all(row["score_plus"] == 100 * right and row["theta"] is None for row in rows)
        assert all(row["theta"] is None for row in analysis.pooled.to_pylist() + analysis.resource.to_pylist())


@pytest.mark.promise("A run that diverged is a finding of its own, and its arm is not silently one of fewer seeds")
def test_diverged_runs_are_named() -> None:
    """Their status says so; the detail is what the training said; the other runs' claims stand on the seeds that are left."""
    runs, examples = study()
    lost = runs[0]["run_id"]
    runs = [row | ({"status": "diverged", "status_detail": "the loss is nan at step 3"} if row["run_id"] == lost else {}) for row in runs]
    analysis = analysed(runs, [row for row in examples if row["run_id"] != lost])
    (row,) = [row for row in analysis.findings.to_pylist() if row["kind"] == "diverged"]
    assert (row["severity"], row["run_ids"]) == ("error", [lost])
    assert "left out: the loss is nan at step 3" in row["detail"]
    assert found(analysis, "unequal_seeds")
