"""Properties of whole analyses: what must not change, and what must change sign."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stats_tables import Rows, as_tables, random_rows

from raystilts.stats import Contrast, Interaction, Plan, analyse

BASE = Contrast(
    "base", {"encoder": "base", "intermediate": "mnli"}, {"encoder": "base", "intermediate": "none"}, labels={"encoder": "base"}
)
LARGE = Contrast(
    "large", {"encoder": "large", "intermediate": "mnli"}, {"encoder": "large", "intermediate": "none"}, labels={"size": "big"}
)
GAINS = [
    *("policy", "contrast", "encoder", "size", "language", "theta", "se", "df", "lo", "hi", "boot_lo", "boot_hi", "p", "p_holm", "p_bh"),
    *("n_examples", "n_clusters", "runs_plus", "runs_minus", "score_plus", "score_minus", "v_seed", "v_example", "v_both"),
    *("mde", "seeds_needed", "power_note", "claim", "reason", "p_max_t"),
]


def rows_of(table: pa.Table, **where: Any) -> Rows:
    """Rows whose columns equal `where`."""
    return [row for row in table.to_pylist() if all(row[key] == value for key, value in where.items())]


@given(
    seed=st.integers(0, 10_000),
    parallel=st.booleans(),
    metric=st.sampled_from(["accuracy", "micro_f1"]),
    missing=st.sampled_from([0.0, 0.3]),
)
@settings(max_examples=15, deadline=None)
def test_properties_of_any_study(seed: int, parallel: bool, metric: str, missing: float) -> None:
    """Swapped sides change sign and nothing else; intervals hold the estimate; variances are ordered; corrections never help."""
    rows = random_rows(np.random.default_rng(seed), parallel=parallel, metric=metric, missing=missing, encoders=("base",))
    mirrored = Contrast("mirror", BASE.minus, BASE.plus)
    found = analyse(*as_tables(*rows), Plan((BASE, mirrored), metric=metric, resamples=100, collapsed=("all",)))
    for name in ("gains", "pooled"):
        table = getattr(found, name)
        for row, back in zip(rows_of(table, contrast="base"), rows_of(table, contrast="mirror"), strict=True):
            if row["claim"] == "refused":
                assert back["claim"] == "refused"
                continue
            assert [row["theta"], row["se"], row["df"], row["p"]] == pytest.approx(
                [-back["theta"], back["se"], back["df"], back["p"]], abs=1e-9
            )
            assert [row["lo"], row["hi"]] == pytest.approx([-back["hi"], -back["lo"]], abs=1e-9)
            assert row["lo"] <= row["theta"] <= row["hi"]
            assert row["p"] <= row["p_holm"]
            if name == "gains":
                assert row["theta"] == pytest.approx(row["score_plus"] - row["score_minus"], abs=1e-9)
                assert row["se"] ** 2 >= max(row["v_seed"], row["v_example"]) - 1e-9
                assert row["boot_lo"] <= row["boot_hi"]


def test_what_else_the_tables_hold_changes_nothing() -> None:
    """Other encoders, targets and languages leave a contrast's rows as they are, bootstrap included."""
    runs, examples = random_rows(np.random.default_rng(0), metric="micro_f1")
    plan = Plan((BASE,), metric="micro_f1", resamples=200)
    own = [run for run in runs if run["encoder"] == "base"]
    names = {run["run_id"] for run in own}
    alone = analyse(*as_tables(own, [row for row in examples if row["run_id"] in names and row["language"] != "te"]), plan).gains
    more = [run | {"run_id": f"u {run['run_id']}", "target": "u", "encoder": "small"} for run in own]
    others = [row | {"run_id": f"u {row['run_id']}"} for row in examples if row["run_id"] in names]
    together = analyse(*as_tables([*runs, *more], [*examples, *others]), plan).gains
    kept = together.filter(pa.compute.not_equal(together["language"], "te")).drop_columns(["p_holm", "p_bh", "p_max_t"])
    assert kept.to_pylist() == alone.drop_columns(["p_holm", "p_bh", "p_max_t"]).to_pylist()


def test_examples_of_different_targets_are_never_one_cluster() -> None:
    """Equal example ids under two targets are different examples: each target's rows are those that it has alone."""
    runs, examples = random_rows(np.random.default_rng(0), encoders=("base",))
    other_runs = [run | {"run_id": f"u {run['run_id']}", "target": "u"} for run in runs]
    others = [row | {"run_id": f"u {row['run_id']}", "s0": 1 - row["s0"]} for row in examples]
    at_t = Contrast("t", BASE.plus | {"target": "t"}, BASE.minus | {"target": "t"})
    at_u = Contrast("u", BASE.plus | {"target": "u"}, BASE.minus | {"target": "u"})
    both = analyse(
        *as_tables([*runs, *other_runs], [*examples, *others]), Plan((at_t, at_u), metric={"t": "accuracy", "u": "f1"}, resamples=200)
    )
    alone = analyse(*as_tables(runs, examples), Plan((at_t,), resamples=200))
    assert rows_of(both.pooled, contrast="t") == rows_of(alone.pooled, contrast="t")
    assert rows_of(both.pooled, contrast="u")[0]["theta"] == pytest.approx(-rows_of(both.pooled, contrast="t")[0]["theta"])


def test_columns_and_families() -> None:
    """Tables have their columns in order, labels after the contrast and null where absent; a family is corrected as a whole."""
    rows = random_rows(np.random.default_rng(0))
    plan = Plan((BASE, LARGE), (Interaction("scales", "large", "base"),), resamples=200)
    apart = analyse(*as_tables(*rows), plan)
    assert apart.gains.column_names == GAINS
    assert {(row["encoder"], row["size"]) for row in apart.gains.to_pylist()} == {("base", None), (None, "big")}
    one = [Contrast(c.name, c.plus, c.minus, family="all of them", labels=c.labels) for c in (BASE, LARGE)]
    joint = analyse(*as_tables(*rows), Plan(tuple(one), plan.interactions, resamples=200))
    p = [row["p"] for row in rows_of(joint.gains, policy="all")]
    smallest = int(np.argmin(p))
    assert rows_of(joint.gains, policy="all")[smallest]["p_holm"] == pytest.approx(min(1.0, 6 * p[smallest]))
    assert rows_of(apart.gains, policy="all")[smallest]["p_holm"] == pytest.approx(min(1.0, 3 * p[smallest]))


def test_variance_components_add_up() -> None:
    """Shares of seeds, examples and their combination add up to the variance wherever no component was cut off at zero."""
    rng = np.random.default_rng(1)
    runs, examples = random_rows(rng, encoders=("base",), seeds=lambda: 8, num_examples=lambda language: 200)
    skill = {run["run_id"]: rng.normal(0, 0.1) for run in runs}
    ease = {row["example_id"]: rng.normal(0, 0.2) for row in examples}
    for row in examples:
        row["s0"] = float(rng.random() < 0.5 + skill[row["run_id"]] + ease[row["example_id"]] * ("mnli" in row["run_id"]))
    found = analyse(*as_tables(runs, examples), Plan((BASE,), resamples=200, collapsed=("all",)))
    for language in ("de", "sw", "te"):
        rows = rows_of(found.variance, language=language)
        assert [row["component"] for row in rows] == ["seed_plus", "seed_minus", "example", "seed_x_example"]
        assert sum(row["share"] for row in rows) == pytest.approx(1.0, abs=1e-9)
        se = rows_of(found.gains, language=language)[0]["se"]
        assert sum(row["variance"] for row in rows) == pytest.approx(se**2, rel=1e-9)
    curve = [row["detectable"] for row in rows_of(found.power, language="de")]
    assert curve == sorted(curve, reverse=True)


def test_an_empty_or_unfinished_study_has_empty_tables() -> None:
    """Where nothing is finished yet, every table has its columns and no rows, and the findings say what is missing."""
    runs, examples = as_tables(*random_rows(np.random.default_rng(0), encoders=("base",)))
    for some_examples, some_runs in ((examples.slice(0, 0), runs), (examples, runs)):
        found = analyse(some_runs, some_examples, Plan((LARGE,), resamples=200))
        assert found.gains.num_rows == found.pooled.num_rows == found.scaling.num_rows == 0
        assert "theta" in found.gains.column_names
        assert "missing" in found.findings["kind"].to_pylist()
