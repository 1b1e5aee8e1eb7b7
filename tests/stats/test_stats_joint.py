"""What is said of several languages together: max-T p-values, and what languages add to the variance of a pooled gain."""

from __future__ import annotations

import numpy as np
import pytest
from stats_tables import as_tables, random_rows

from raystilts.stats import Contrast, Plan, analyse, heterogeneity
from raystilts.stats.families import cautious, joint_maxima, max_t_adjusted

BASE = Contrast("base", {"encoder": "base", "intermediate": "mnli"}, {"encoder": "base", "intermediate": "none"})
LANGUAGES = ("de", "sw", "te", "yo", "fi")


def test_max_t_of_independent_hypotheses_is_sidaks_and_of_equal_ones_the_raw_p() -> None:
    """Independent: 1 - (1 - p)^m; one hypothesis many times over: p. Never below p."""
    p = np.array([0.001, 0.01, 0.2, 0.9])
    for covariance, expected in ((np.eye(4), 1 - (1 - p) ** 4), (np.ones((4, 4)), p)):
        adjusted = max_t_adjusted(p, joint_maxima(covariance, np.ones(4), np.random.default_rng(0), draws=100_000))
        assert adjusted == pytest.approx(expected, abs=0.005)
        assert (adjusted >= p).all()


def test_few_runs_do_not_prove_a_correlation() -> None:
    """A correlation from few runs is shrunk, from many kept, never enlarged or turned round; variances stay."""
    covariance = np.array([[4.0, -1.8], [-1.8, 1.0]])
    few, many = cautious(covariance, 4), cautious(covariance, 10_000)
    assert np.diag(few) == pytest.approx([4.0, 1.0])
    assert -1.1 < few[0, 1] < 0
    assert many[0, 1] == pytest.approx(-1.8, abs=0.03)


def test_p_max_t_lies_between_the_raw_p_and_bonferroni() -> None:
    """p <= p_max_t <= m p (to simulation error) for every language, refused rows have none, and the same seed gives the same."""
    runs, examples = random_rows(np.random.default_rng(3), languages=LANGUAGES, num_examples=lambda language: 60)
    plan = Plan((BASE,), resamples=100, collapsed=("all",))
    found = analyse(*as_tables(runs, examples), plan).gains
    for row in found.to_pylist():
        assert row["p"] <= row["p_max_t"] <= min(1.0, len(LANGUAGES) * row["p"] * 1.3 + 0.002)
    assert analyse(*as_tables(runs, examples), plan).gains.equals(found)
    single = [run for run in runs if run["intermediate"] == "none" or run["seed"] == 0]
    kept = {run["run_id"] for run in single}
    refused = analyse(*as_tables(single, [row for row in examples if row["run_id"] in kept]), plan).gains
    assert refused["p_max_t"].null_count == len(LANGUAGES)


def test_variance_has_a_component_for_languages() -> None:
    """The rows for "all" hold runs, examples and languages; languages add tau squared over their number; shares sum to one."""
    runs, examples = random_rows(np.random.default_rng(0), languages=LANGUAGES, num_examples=lambda language: 60)
    rng = np.random.default_rng(1)
    for row in examples:
        if row["language"] in ("sw", "te") and "mnli" in row["run_id"]:
            row["s0"] = float(rng.random() < 0.1)
    found = analyse(*as_tables(runs, examples), Plan((BASE,), resamples=100, collapsed=("all",)))
    rows = {row["component"]: row for row in found.variance.to_pylist() if row["language"] == "all"}
    assert set(rows) == {"seed_plus", "seed_minus", "example", "seed_x_example", "language"}
    assert sum(row["share"] for row in rows.values()) == pytest.approx(1.0)
    pooled = next(row for row in found.pooled.to_pylist() if row["estimand"] == "fixed_languages")
    gains = found.gains.to_pylist()
    tau2 = heterogeneity([row["theta"] for row in gains], [row["se"] ** 2 for row in gains], pooled["se"] ** 2)[0]
    assert rows["language"]["variance"] == pytest.approx(tau2 / len(LANGUAGES))
    assert rows["language"]["share"] > 0.5
    two = [row for row in examples if row["language"] in ("de", "sw")]
    few = analyse(*as_tables(runs, two), Plan((BASE,), resamples=100, collapsed=("all",)))
    assert "all" not in few.variance["language"].to_pylist()
