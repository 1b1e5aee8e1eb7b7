"""The two-way estimator against closed formulas, plain loops and another library."""

from __future__ import annotations

import warnings
from typing import Any

import brute_force
import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import stats
from scipy.sparse.csgraph import connected_components
from stats_tables import as_tables, random_rows

from raystilts.stats import Contrast, Interaction, Plan, analyse, two_way
from raystilts.stats.estimate import _components

CONTRASTS = tuple(
    Contrast(encoder, {"encoder": encoder, "intermediate": "mnli"}, {"encoder": encoder, "intermediate": "none"})
    for encoder in ("base", "large")
)
INTERACTION = Interaction("scales", "large", "base")
DESIGNS: dict[str, dict[str, Any]] = {
    "unbalanced": {"languages": ("de", "sw"), "num_examples": {"de": 15, "sw": 9}.__getitem__},
    "micro_f1": {"metric": "micro_f1"},
    "parallel": {"parallel": True, "metric": "micro_f1"},
    "clustered": {"clusters": 5},
    "parallel and clustered": {"parallel": True, "clusters": 5, "metric": "micro_f1"},
    "runs miss languages": {"missing": 0.3, "parallel": True, "metric": "micro_f1"},
    "parallel with gaps": {"parallel": True, "num_examples": {"de": 15, "sw": 9, "te": 12}.__getitem__},
}


def plan(metric: str, **more: Any) -> Plan:
    """Two gains and their interaction, three pooled groups."""
    groups = {"low": ("sw", "te"), "high": ("de",)}
    return Plan(CONTRASTS, (INTERACTION,), metric=metric, groups=groups, resamples=200, collapsed=("all",), **more)


def closed_form(arms: list[np.ndarray], weights: list[float]) -> tuple[float, float, float]:
    """Theta, V and df by the formulas of docs/explanation/intervals.md for one language; arms (S, n, 3) of micro-F1, points."""
    n = arms[0].shape[1]
    theta = v_seed = v_both = 0.0
    parts, d = [], np.zeros(n)
    for arm, c in zip(arms, weights, strict=True):
        num, den = 2 * arm[:, :, 0], arm[:, :, 1] + arm[:, :, 2]
        f = num.sum(1) / den.sum(1)
        y = 100 * (f[:, None] + n * (num - f[:, None] * den) / den.sum(1)[:, None])
        size = len(arm)
        theta += c * 100 * f.mean()
        parts.append((c**2 * np.var(100 * f, ddof=1) / size, size))
        d += c * y.mean(0)
        residual = y - y.mean(0) - y.mean(1)[:, None] + y.mean()
        v_both += c**2 * (residual**2).sum() / ((size - 1) * (n - 1)) / (size * n)
    v_seed = sum(part for part, _ in parts)
    v_example = np.var(d, ddof=1) / n
    v = max(v_seed + v_example - v_both, v_seed, v_example)
    df = v**2 / (sum(part**2 / (size - 1) for part, size in parts) + max(v - v_seed, 0) ** 2 / (n - 1))
    return theta, v, df


@pytest.mark.parametrize("seed", range(5))
def test_one_language_equals_the_closed_formulas(seed: int) -> None:
    """Gains and interactions of one language are exactly the formulas of docs/explanation/intervals.md, with unequal numbers of runs."""
    rng = np.random.default_rng(seed)
    gold = rng.integers(0, 4, 30)
    arms = []
    for size in (3, 5, 2, 4):
        predicted = rng.integers(0, 4, (size, 30))
        arms.append(np.stack([rng.integers(0, np.minimum(predicted, gold) + 1), predicted, np.broadcast_to(gold, predicted.shape)], axis=2))
    for used, weights in ((arms[:2], [1.0, -1.0]), (arms, [1.0, -1.0, -1.0, 1.0])):
        found = two_way(used, weights, "micro_f1")
        assert (found.theta, found.v, found.df) == pytest.approx(closed_form(used, weights), rel=1e-10)


@pytest.mark.parametrize("name", DESIGNS)
@pytest.mark.parametrize("seed", range(3))
def test_tables_equal_plain_loops(name: str, seed: int) -> None:
    """Gains, interactions, pooled and low-minus-high contrasts equal a from-scratch implementation to 1e-10 on random unbalanced tables."""
    rng = np.random.default_rng(seed)
    design = {"seeds": lambda: int(rng.integers(2, 6)), **DESIGNS[name]}
    runs, examples = random_rows(rng, **design)
    metric = design.get("metric", "accuracy")
    scored = brute_force.scores(examples, metric)
    held: dict[tuple[str, str, str], list[str]] = {}
    for run in runs:
        for language in ("de", "sw", "te"):
            if (run["run_id"], language) in scored:
                held.setdefault((run["encoder"], run["intermediate"], language), []).append(run["run_id"])

    def hypothesis(contrast: str, languages: list[str], shares: list[float]) -> brute_force.Hypothesis:
        signs = {"base": {"base": 1.0}, "large": {"large": 1.0}, "scales": {"large": 1.0, "base": -1.0}}[contrast]
        return [
            (share * sign * side, held[encoder, inter, language], language)
            for language, share in zip(languages, shares, strict=True)
            for encoder, sign in signs.items()
            for inter, side in (("mnli", 1.0), ("none", -1.0))
        ]

    found = analyse(*as_tables(runs, examples), plan(metric))
    languages = [language for language in ("de", "sw", "te") if ("base", "none", language) in held]
    checked = 0
    for row in found.gains.to_pylist() + found.interactions.to_pylist():
        expected = brute_force.estimate(scored, hypothesis(row["contrast"], [row["language"]], [1.0]))
        assert [row["theta"], row["se"] ** 2, row["df"]] == pytest.approx([expected[k] for k in ("theta", "v", "df")], rel=1e-10, abs=1e-10)
        for part in ("v_seed", "v_example", "v_both"):
            assert row.get(part, expected[part]) == pytest.approx(expected[part], rel=1e-10, abs=1e-10)
        checked += 1
    members = {"all": languages, "low": [x for x in languages if x != "de"], "high": ["de"]}
    for row in found.pooled.to_pylist():
        if row["estimand"] == "fixed_languages":
            group = members[row["group"]]
            expected = brute_force.estimate(scored, hypothesis(row["contrast"], group, [1 / len(group)] * len(group)))
            assert [row["theta"], row["se"] ** 2, row["df"]] == pytest.approx(
                [expected[k] for k in ("theta", "v", "df")], rel=1e-10, abs=1e-10
            )
            half = stats.t.ppf(0.975, expected["df"]) * np.sqrt(expected["v"])
            assert [row["lo"], row["hi"]] == pytest.approx([expected["theta"] - half, expected["theta"] + half], rel=1e-9)
            assert row["p"] == pytest.approx(2 * stats.t.sf(abs(expected["theta"]) / np.sqrt(expected["v"]), expected["df"]), rel=1e-8)
            checked += 1
    assert checked == 3 * len(languages) + 9


def test_a_contrast_of_languages_equals_plain_loops() -> None:
    """Low minus high, over runs that all languages share, is the plain-loop estimate with weights over languages."""
    rng = np.random.default_rng(7)
    languages = ("de", "fr", "sw", "te", "yo")
    runs, examples = random_rows(rng, languages=languages, parallel=True)
    asked = Plan(CONTRASTS, metric="accuracy", groups={"low": ("sw", "te", "yo"), "high": ("de", "fr")}, low_group="low", resamples=200)
    row = next(r for r in analyse(*as_tables(runs, examples), asked).resource.to_pylist() if r["estimand"] == "fixed_languages")
    scored = brute_force.scores(examples, "accuracy")
    arms = {inter: [r["run_id"] for r in runs if r["encoder"] == "base" and r["intermediate"] == inter] for inter in ("none", "mnli")}
    weights = dict.fromkeys(("sw", "te", "yo"), 1 / 3) | dict.fromkeys(("de", "fr"), -1 / 2)
    hypothesis = [(w * side, arms[inter], lang) for lang, w in weights.items() for inter, side in (("mnli", 1.0), ("none", -1.0))]
    expected = brute_force.estimate(scored, hypothesis)
    assert [row["theta"], row["se"] ** 2, row["df"]] == pytest.approx([expected[k] for k in ("theta", "v", "df")], rel=1e-10)


def test_balanced_gaussian_case_equals_a_mixed_model() -> None:
    """With balanced Gaussian data the standard errors of a mean and of a gain are those of REML with crossed random effects."""
    rng = np.random.default_rng(3)
    size, n = 6, 10
    example = rng.normal(size=n)
    arms = [
        a + rng.normal(size=(size, 1)) + example + 0.8 * rng.normal(size=(1, n)) + 0.5 * rng.normal(size=(size, n)) for a in (0.0, 1.0)
    ]  # random run, example, example x arm and residual effects
    rows = [(arm, f"{arm} {s}", str(i), f"{arm} {i}", arms[arm][s, i]) for arm in range(2) for s in range(size) for i in range(n)]
    frame = pd.DataFrame(rows, columns=["arm", "run", "example", "cell", "y"]).assign(all=1)
    for data, parts, formula in (
        (frame[frame.arm == 1], ("run", "example"), "y ~ 1"),
        (frame, ("run", "example", "cell"), "y ~ arm"),
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = sm.MixedLM.from_formula(formula, data, groups="all", vc_formula={part: f"0 + C({part})" for part in parts})
            fitted = model.fit(reml=True, method=["lbfgs", "powell"])
        found = two_way([arms[1]], [1.0]) if formula == "y ~ 1" else two_way(arms[::-1], [1.0, -1.0])
        assert found.v_seed + found.v_example > found.v_both, "the case must lie inside the parameter space"
        assert found.se / 100 == pytest.approx(fitted.bse_fe.iloc[-1], rel=1e-4)


def test_repeating_an_example_in_a_cluster_changes_nothing_but_the_count() -> None:
    """A test set whose every text occurs twice, clustered, has the same estimate as each text once: duplicates are not evidence."""
    rng = np.random.default_rng(5)
    arms = [rng.random((4, 25)) for _ in range(2)]
    once = two_way(arms, [1.0, -1.0])
    twice = two_way([np.repeat(arm, 2, axis=1) for arm in arms], [1.0, -1.0], clusters=np.repeat(np.arange(25), 2))
    assert (twice.theta, twice.v, twice.df) == pytest.approx((once.theta, once.v, once.df), rel=1e-12)


def test_pooling_languages_of_shared_runs_does_not_shrink_the_seed_variance() -> None:
    """A run that is good everywhere moves all languages: pooled over ten copies of a language, the seed variance stays as in one."""
    rng = np.random.default_rng(11)
    languages = tuple(f"l{i}" for i in range(10))
    runs, one = random_rows(rng, languages=("l0",), encoders=("base",), seeds=lambda: 4, num_examples=lambda language: 30)
    examples = [row | {"language": language, "example_id": f"{language} {row['example_id']}"} for row in one for language in languages]
    found = analyse(*as_tables(runs, examples), Plan(CONTRASTS[:1], metric="accuracy", resamples=200, collapsed=("all",)))
    v_seed = found.gains["v_seed"][0].as_py()
    pooled = next(row for row in found.pooled.to_pylist() if row["estimand"] == "fixed_languages")
    assert pooled["se"] ** 2 >= v_seed * (1 - 1e-12)


def test_paired_seeds_use_differences_of_runs() -> None:
    """With paired seeds the seed variance is that of the differences of equal seeds, and unequal seeds are refused."""
    rng = np.random.default_rng(2)
    runs, examples = random_rows(rng, languages=("sw",), encoders=("base",), seeds=lambda: 4, num_examples=lambda language: 40)
    asked = Plan(CONTRASTS[:1], metric="accuracy", paired_seeds=True, resamples=200, collapsed=("all",))
    row = analyse(*as_tables(runs, examples), asked).gains.to_pylist()[0]
    scored = brute_force.scores(examples, "accuracy")
    differences = [scored[f"base-mnli-{s}", "sw"][0] - scored[f"base-none-{s}", "sw"][0] for s in range(4)]
    assert row["v_seed"] == pytest.approx(np.var(differences, ddof=1) / 4, rel=1e-10)
    fewer = [r for r in runs if r["run_id"] != "base-none-3"]
    refused = analyse(*as_tables(fewer, [e for e in examples if e["run_id"] != "base-none-3"]), asked).gains.to_pylist()[0]
    assert refused["claim"] == "refused"
    assert "same seeds" in refused["reason"]


def test_runs_of_one_checkpoint_count_as_one_unit() -> None:
    """Four runs from two intermediate checkpoints have two units: their variance is that of two means, with one degree of freedom."""
    rng = np.random.default_rng(4)
    runs, examples = random_rows(rng, languages=("sw",), encoders=("base",), seeds=lambda: 4, num_examples=lambda language: 40)
    for run in runs:
        if run["intermediate"] == "mnli":
            run["intermediate_run_id"] = f"i{run['seed'] % 2}"
    found = analyse(*as_tables(runs, examples), Plan(CONTRASTS[:1], metric="accuracy", resamples=200, collapsed=("all",)))
    scored = brute_force.scores(examples, "accuracy")
    f = {run["run_id"]: scored[run["run_id"], "sw"][0] for run in runs}
    means = [(f["base-mnli-0"] + f["base-mnli-2"]) / 2, (f["base-mnli-1"] + f["base-mnli-3"]) / 2]
    expected = np.var(means, ddof=1) / 2 + np.var([f[f"base-none-{s}"] for s in range(4)], ddof=1) / 4
    assert found.gains["v_seed"][0].as_py() == pytest.approx(expected, rel=1e-10)
    assert [row["severity"] for row in found.findings.to_pylist() if row["kind"] == "shared_intermediate"] == ["warning"]


def test_a_deterministic_arm_has_no_seed_variance() -> None:
    """Where nothing was trained there is one run without a seed, and only examples vary: the paired t test over examples."""
    rng = np.random.default_rng(6)
    values = {"none": rng.random(30) < 0.4, "mnli": rng.random(30) < 0.7}
    runs = [{"run_id": name, "encoder": "base", "intermediate": name, "target": "t", "seed": None} for name in values]
    examples = [
        {"run_id": name, "language": "sw", "example_id": str(i), "s0": float(x)} for name, xs in values.items() for i, x in enumerate(xs)
    ]
    runs_table, examples_table = as_tables(runs, examples)
    row = analyse(runs_table, examples_table, Plan(CONTRASTS[:1], metric="accuracy", resamples=200)).gains.to_pylist()[0]
    expected = stats.ttest_rel(values["mnli"].astype(float), values["none"].astype(float))
    assert row["p"] == pytest.approx(expected.pvalue, rel=1e-10)
    assert (row["v_seed"], row["df"]) == (0.0, pytest.approx(29.0))
    assert row["power_note"] == "no seeds to add: nothing was trained"


def test_linked_cells_are_found() -> None:
    """Cells that are linked directly or through others are one component: scipy's on random graphs, on a chain and on cells alone."""
    rng = np.random.default_rng(0)
    graphs = [np.triu(rng.random((n, n)) < share, 1) for n in (1, 2, 7, 30) for share in (0.0, 0.05, 0.2, 1.0) for _ in range(5)]
    graphs.append(np.eye(12, k=1) > 0)
    for graph in graphs:
        _, label = connected_components(graph, directed=False)
        first = np.array([np.flatnonzero(label == one)[0] for one in label])
        for diagonal in (False, True):
            assert (_components(graph | graph.T | (diagonal * np.eye(len(graph)) > 0)) == first).all()
