"""Choosing the best intermediate task: the oracle overclaims, the choice on dev inside the bootstrap does not."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from raystilts.stats import Contrast, Estimate, Plan, analyse, select, selection_table
from raystilts.stats.selection import DEV, ORACLE

CANDIDATES, LANGUAGES, EXAMPLES, SEEDS = 8, 3, 60, 3
PLAN = Plan(
    tuple(Contrast(f"i{k}", {"arm": f"i{k}"}, {"arm": "none"}, labels={"target": "t", "intermediate": f"i{k}"}) for k in range(CANDIDATES)),
    resamples=300,
    collapsed=("all",),
)


def study(rng: np.random.Generator, gains: np.ndarray, link: float = 1.0) -> tuple[pa.Table, pa.Table]:
    """Arms whose runs differ (0.3 log-odds); dev follows the gains and, by `link`, the run's own luck on test."""
    arms, effect = ["none", *(f"i{k}" for k in range(CANDIDATES))], np.array([0.0, *gains])
    luck = rng.normal(0, 0.3, (len(arms), SEEDS))
    difficulty = rng.normal(0.5, 1, (LANGUAGES, EXAMPLES))
    logit = difficulty + (effect[:, None] + luck)[:, :, None, None] + rng.normal(0, 0.1, (len(arms), SEEDS, LANGUAGES, 1))
    right = (rng.random(logit.shape) < 1 / (1 + np.exp(-logit))).astype(float)
    dev = 50 + 20 * (effect[:, None] + link * luck + rng.normal(0, 0.1, luck.shape))
    names = [f"{arm}-{seed}" for arm in arms for seed in range(SEEDS)]
    runs = [
        {"run_id": f"{arm}-{seed}", "arm": arm, "seed": seed, "dev_score": dev[a, seed]}
        for a, arm in enumerate(arms)
        for seed in range(SEEDS)
    ]
    arm, seed, language, example = (x.ravel() for x in np.indices(right.shape))
    columns = {
        "run_id": [names[i] for i in arm * SEEDS + seed],
        "language": [f"l{i}" for i in language],
        "example_id": [f"{i}-{j}" for i, j in zip(language, example, strict=True)],
        "s0": right.ravel(),
    }
    return pa.Table.from_pylist(runs), pa.table(columns)


def test_the_oracle_overclaims_and_the_honest_choice_does_not() -> None:
    """With eight useless tasks the best on test looks points better than nothing; accounting for the choice takes most of that away, the
    intervals hold the truth (0), and the choice on dev is corrected for the luck that its runs have on test as well.
    """
    rows = [
        row for seed in range(25) for row in selection_table(*study(np.random.default_rng(seed), np.zeros(CANDIDATES)), PLAN).to_pylist()
    ]
    of = {rule: [row for row in rows if row["rule"] == rule] for rule in (DEV, ORACLE)}
    naive = {rule: np.mean([row["theta"] for row in found]) for rule, found in of.items()}
    honest = {rule: np.mean([row["honest"] for row in found]) for rule, found in of.items()}
    assert naive[ORACLE] > 3
    assert naive[ORACLE] >= naive[DEV]
    assert all(abs(honest[rule]) < naive[rule] / 2 for rule in of)
    assert np.mean([row["lo"] <= 0 <= row["hi"] for row in of[DEV]]) >= 0.9
    assert np.mean([row["any_lo"] <= 0 <= row["any_hi"] for row in of[ORACLE]]) >= 0.9
    assert sum(row["claim"] != "undecided" for row in rows) <= 2


def test_a_task_that_is_really_better_is_chosen_and_claimed() -> None:
    """One task of eight gains a lot: both rules choose it in nearly all resamples, its gain is claimed and hardly corrected."""
    gains = np.array([0.0, 0.0, 2.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    for row in selection_table(*study(np.random.default_rng(0), gains), PLAN).to_pylist():
        assert (row["chosen"], row["claim"], row["candidates"], row["n_languages"]) == ("i2", "gain", CANDIDATES, LANGUAGES)
        assert row["share"] > 0.95
        assert row["honest"] == pytest.approx(row["theta"], abs=1.5)
        assert row["any_lo"] <= row["naive_lo"]
        assert row["target"] == "t"


def test_the_chosen_one_has_its_pooled_gain() -> None:
    """The plain estimate and the naive interval are those of the pooled table, so that the two can be compared."""
    tables = study(np.random.default_rng(1), np.zeros(CANDIDATES))
    pooled = {row["contrast"]: row for row in analyse(*tables, PLAN).pooled.to_pylist() if row["estimand"] == "fixed_languages"}
    for row in selection_table(*tables, PLAN).to_pylist():
        own = pooled[row["chosen"]]
        assert [row["theta"], row["naive_lo"], row["naive_hi"]] == pytest.approx([own["theta"], own["lo"], own["hi"]])
    assert selection_table(*tables, PLAN).equals(selection_table(*tables, PLAN))


def test_dev_and_test_are_resampled_with_the_same_runs() -> None:
    """Where a run's dev score is its score on every example, choosing by either is the same choice in every resample."""
    rng = np.random.default_rng(2)
    level = {f"{arm}-{seed}": float(rng.random()) for arm in ("none", "i0", "i1") for seed in range(SEEDS)}
    runs = [{"run_id": run, "arm": run[:-2], "seed": int(run[-1]), "dev_score": 100 * value} for run, value in level.items()]
    rows = [{"run_id": run, "language": "sw", "example_id": str(i), "s0": value} for run, value in level.items() for i in range(5)]
    plan = Plan(PLAN.contrasts[:2], resamples=300, collapsed=("all",))
    dev, oracle = selection_table(pa.Table.from_pylist(runs), pa.Table.from_pylist(rows), plan).to_pylist()
    assert [dev[name] for name in ("chosen", "share", "honest")] == [oracle[name] for name in ("chosen", "share", "honest")]
    assert 0 < dev["share"] < 1


def test_without_dev_scores_nothing_is_chosen() -> None:
    """A missing dev score is a refusal with its sentence and no number; a baseline with one contrast has no row."""
    runs, examples = study(np.random.default_rng(0), np.zeros(CANDIDATES))
    found = selection_table(runs.drop_columns(["dev_score"]), examples, PLAN).to_pylist()
    assert {row["claim"] for row in found} == {"refused"}
    assert all("no dev_score" in row["reason"] and row["theta"] is None and row["chosen"] is None for row in found)
    assert selection_table(runs, examples, Plan(PLAN.contrasts[:1], collapsed=("all",))).num_rows == 0


def test_optimism_is_zero_where_there_is_no_choice() -> None:
    """A candidate that is far ahead of all others is chosen always, and its estimate stands."""
    rng = np.random.default_rng(0)
    found = [Estimate(theta, 1.0, 30.0, 0.5, 0.5, 0.0, 99.0) for theta in (0.0, 30.0)]
    draws = np.array([[e.theta] for e in found]) + rng.normal(size=(2, 5000))
    chosen = select([0.0, 30.0], draws, found, draws, rule=ORACLE)
    assert (chosen.chosen, chosen.share) == (1, 1.0)
    assert chosen.honest == pytest.approx(30.0, abs=0.05)
    assert (chosen.lo, chosen.hi) == pytest.approx(found[1].interval(), abs=0.15)
