"""The table of rival practices: the same data, other rules, each with what it is about."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from stats_tables import as_tables, random_rows

from raystilts.stats import Contrast, Plan, StatsError, alternatives_table, analyse, two_way
from raystilts.stats.practices import ABOUT

BASE = Contrast("base", {"encoder": "base", "intermediate": "mnli"}, {"encoder": "base", "intermediate": "none"}, labels={"size": "b"})
PLAN = Plan((BASE,), resamples=200, collapsed=("all",))


@pytest.mark.parametrize("metric", ["accuracy", "micro_f1"])
@pytest.mark.parametrize("clusters", [None, 8])
def test_all_rivals_are_about_the_same_gain(metric: str, clusters: int | None) -> None:
    """Every method but those of single runs has the default's estimate, and two_way has its interval and p, clusters included."""
    plan = Plan((BASE,), metric=metric, resamples=200, collapsed=("all",))
    tables = as_tables(*random_rows(np.random.default_rng(0), metric=metric, clusters=clusters, encoders=("base",)))
    gains = {row["language"]: row for row in analyse(*tables, plan).gains.to_pylist()}
    rows = alternatives_table(*tables, plan, resamples=200).to_pylist()
    assert {row["method"] for row in rows} == set(ABOUT)
    for row in rows:
        own = gains[row["language"]]
        assert row["about"] == ABOUT[row["method"]]
        if row["method"] not in ("given_first_runs_example_only", "best_runs_difference"):
            assert row["theta"] == pytest.approx(own["theta"], abs=1e-9)
        if row["method"] == "two_way":
            names = ("theta", "lo", "hi", "p", "p_holm")
            assert [row[name] for name in names] == pytest.approx([own[name] for name in names], abs=1e-9)


def test_single_runs_are_those_with_the_lowest_seed() -> None:
    """One run a side is the paired t test of the lowest seeds; the best runs are the best ones, claimed whatever they show."""
    runs, examples = random_rows(np.random.default_rng(1), encoders=("base",), languages=("sw",), num_examples=lambda language: 40)
    rows = {row["method"]: row for row in alternatives_table(*as_tables(runs, examples), PLAN, resamples=100).to_pylist()}
    of = {run["run_id"]: [row["s0"] for row in examples if row["run_id"] == run["run_id"]] for run in runs}
    expected = stats.ttest_rel(of["base-mnli-0"], of["base-none-0"])
    assert rows["given_first_runs_example_only"]["p"] == pytest.approx(expected.pvalue, rel=1e-9)
    best = 100 * (max(np.mean(of[f"base-mnli-{s}"]) for s in range(3)) - max(np.mean(of[f"base-none-{s}"]) for s in range(3)))
    assert rows["best_runs_difference"]["theta"] == pytest.approx(best)
    assert rows["best_runs_difference"]["would_claim"]


def test_rivals_claim_more_than_the_default_where_nothing_is_true() -> None:
    """On null studies with noisy runs the example-only rule claims far more often than the two-way one: that is what the table is for."""
    rng = np.random.default_rng(2)
    claims = {"two_way": 0, "given_runs_example_only": 0}
    for _ in range(40):
        run = rng.normal(0, 0.1, (2, 3, 1))
        arms = [(rng.random((3, 200)) < 0.6 + run[i]).astype(float) for i in (0, 1)]
        rows = [
            {"run_id": f"base-{name}-{s}", "language": "sw", "example_id": str(i), "s0": float(arms[a][s, i])}
            for a, name in enumerate(("mnli", "none"))
            for s in range(3)
            for i in range(200)
        ]
        named = [(name, s) for name in ("mnli", "none") for s in range(3)]
        runs = [{"run_id": f"base-{name}-{s}", "encoder": "base", "intermediate": name, "seed": s} for name, s in named]
        for row in alternatives_table(*as_tables(runs, rows), PLAN, list(claims), resamples=100).to_pylist():
            claims[row["method"]] += row["would_claim"]
        assert two_way(arms, [1.0, -1.0]).v > 0
    assert claims["two_way"] <= 6
    assert claims["given_runs_example_only"] > 2 * claims["two_way"]


def test_refused_rows_are_left_out_and_untrained_arms_have_no_seeds() -> None:
    """Unpaired examples have no row under any rule; a deterministic baseline has those that are about examples; names are checked."""
    runs, examples = random_rows(np.random.default_rng(0), encoders=("base",))
    spoilt = [row | {"example_id": row["example_id"] + "x" * (row["language"] == "sw" and "mnli" in row["run_id"])} for row in examples]
    assert set(alternatives_table(*as_tables(runs, spoilt), PLAN, ["two_way"])["language"].to_pylist()) == {"de", "te"}
    one = [run for run in runs if run["intermediate"] != "none" or run["seed"] == 0]
    fixed = [run | {"seed": None} if run["intermediate"] == "none" else run for run in one]
    kept = {run["run_id"] for run in fixed}
    found = alternatives_table(*as_tables(fixed, [row for row in examples if row["run_id"] in kept]), PLAN, resamples=100)
    assert set(found["method"].to_pylist()) == {"given_runs_example_only", "given_first_runs_example_only", "best_runs_difference"}
    with pytest.raises(StatsError, match="no method 'anova'"):
        alternatives_table(*as_tables(runs, examples), PLAN, ["anova"])
