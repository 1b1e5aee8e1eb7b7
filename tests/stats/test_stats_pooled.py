"""Pooling, scaling decisions and power: formulas, limits and what must hold for any data."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from stats_tables import as_tables, random_rows

from raystilts.stats import Contrast, Estimate, Interaction, Plan, analyse, decide, detectable_effect, pool, power, seeds_needed, with_seeds
from raystilts.stats.pooled import difference, line_weights, slope, slope_weights
from raystilts.stats.scaling import margin_on, transformed

GAINS = st.lists(st.floats(-20, 20), min_size=3, max_size=12)


def fixed_of(theta: float, v: float, df: float = 50.0) -> Estimate:
    """An estimate with half of its variance from five seeds."""
    return Estimate(theta, v, df, v / 2, v / 2, 0.0, 99.0, ((v / 2, 5),))


@given(GAINS)
@settings(max_examples=50, deadline=None)
def test_wider_claims_have_wider_intervals(gains: list[float]) -> None:
    """For any gains: these languages <= languages as a sample <= a new language, in standard error; tau and I2 stay in range."""
    count = len(gains)
    fixed, sample, new = pool(fixed_of(float(np.mean(gains)), 1.0 / count), gains, [1.0] * count)
    assert fixed.se <= sample.se * (1 + 1e-12) <= new.se * (1 + 1e-9)
    assert new.df <= count - 1
    assert 0 <= fixed.i2 <= 1
    assert fixed.tau >= 0


def test_many_precise_languages_are_a_one_sample_t_test() -> None:
    """Where runs and examples are exact, languages as a sample is the plain t test over languages, a new language the t prediction."""
    gains = [1.0, 2.5, 3.0, 0.5, 4.0]
    _, sample, new = pool(fixed_of(2.2, 1e-9), gains, [5e-9] * 5)
    assert sample.p == pytest.approx(stats.ttest_1samp(gains, 0).pvalue, rel=1e-4)
    assert new.se == pytest.approx(np.std(gains, ddof=1) * np.sqrt(1 + 1 / 5), rel=1e-4)


def test_precise_differences_and_slopes_are_textbook() -> None:
    """Where runs and examples are exact, low minus high is Welch's t test and the slope is that of least squares."""
    low, high, x = [1.0, 2.5, 3.0, 4.0], [0.5, 0.0, 1.0], [0.0, 1.0, 2.0, 4.0]
    exact = fixed_of(np.mean(low) - np.mean(high), 1e-9)
    _, sample = difference(exact, (low, [1e-9] * 4, 1e-9 / 4), (high, [1e-9] * 3, 1e-9 / 3))
    assert sample.p == pytest.approx(stats.ttest_ind(low, high, equal_var=False).pvalue, rel=1e-4)
    line = stats.linregress(x, low)
    assert slope_weights(x) @ low == pytest.approx(line.slope)
    _, sample = slope(fixed_of(line.slope, 1e-9), (low, [1e-9] * 4, 1e-9 / 4), x)
    assert (sample.se, sample.p) == pytest.approx((line.stderr, line.pvalue), rel=1e-4)


@pytest.mark.parametrize("scale", ["points", "headroom", "log_odds"])
def test_gradients_of_the_scales(scale: str) -> None:
    """Gradients are those of finite differences, and extreme scores stay finite (a perfect baseline has no headroom)."""
    plus, minus, step = 71.0, 64.0, 1e-5
    _, by_plus, by_minus = transformed(scale, plus, minus, 200)
    up, down = (transformed(scale, plus + s, minus, 200)[0] for s in (step, -step))
    assert by_plus == pytest.approx((up - down) / (2 * step), rel=1e-6)
    up, down = (transformed(scale, plus, minus + s, 200)[0] for s in (step, -step))
    assert by_minus == pytest.approx((up - down) / (2 * step), rel=1e-6)
    for extreme in ((100.0, 0.0), (0.0, 0.0), (0.0, 99.0)):
        assert np.isfinite(transformed(scale, *extreme, 200)).all()
    assert np.isfinite(transformed(scale, 100.0, 100.0, 200)[0]) == (scale != "headroom")
    assert np.isnan(margin_on("headroom", 1.0, [100.0, 50.0], [9, 9]))


@pytest.mark.parametrize(
    ("theta", "v", "verdict"),
    [
        (3.0, 0.25, "superior"),
        (-3.0, 0.25, "inferior"),
        (0.1, 0.04, "equivalent"),
        (0.8, 0.5, "non-inferior"),
        (0.0, 4.0, "cannot tell"),
        (0.0, 0.0, "refused"),
    ],
)
def test_decisions(theta: float, v: float, verdict: str) -> None:
    """Each verdict where it belongs: a wide interval around zero cannot tell, a narrow one is equivalent."""
    assert decide([(fixed_of(theta, v), 1.0)])[0].verdict == verdict


def test_decisions_are_corrected_over_groups() -> None:
    """A verdict that one test allows is withheld when it is the best of ten."""
    border = fixed_of(2.2, 1.0)
    assert decide([(border, 1.0)])[0].verdict == "superior"
    assert "superior" not in {d.verdict for d in decide([(border, 1.0), *[(fixed_of(0.0, 1.0), 1.0)] * 9])}


def test_pooled_interactions_agree_over_tables() -> None:
    """The points row of scaling is the fixed-language pooled interaction; `agrees` says whether the three scales share a verdict."""
    contrasts = [
        Contrast(encoder, {"encoder": encoder, "intermediate": "mnli"}, {"encoder": encoder, "intermediate": "none"})
        for encoder in ("base", "large")
    ]
    found = analyse(
        *as_tables(*random_rows(np.random.default_rng(0))), Plan(contrasts, (Interaction("scales", "large", "base"),), resamples=200)
    )
    pooled = {
        (r["policy"], r["group"]): r for r in found.pooled.to_pylist() if r["contrast"] == "scales" and r["estimand"] == "fixed_languages"
    }
    for row in found.scaling.to_pylist():
        if row["scale"] == "points":
            expected = pooled[row["policy"], row["group"]]
            assert (row["theta"], row["lo"], row["hi"]) == pytest.approx((expected["theta"], expected["lo"], expected["hi"]), rel=1e-12)
        verdicts = {r["verdict"] for r in found.scaling.to_pylist() if (r["policy"], r["group"]) == (row["policy"], row["group"])}
        assert row["agrees"] == (len(verdicts) == 1)


def test_power_is_that_of_a_simulated_t_test() -> None:
    """Power agrees with simulation, is alpha without effect, and the minimum detectable effect has 80 %."""
    rng = np.random.default_rng(0)
    t = (rng.normal(size=40_000) + 2.5) / np.sqrt(rng.chisquare(6, 40_000) / 6)
    assert power(2.5, 1.0, 6.0) == pytest.approx(np.mean(np.abs(t) > stats.t.ppf(0.975, 6)), abs=0.01)
    assert power(0.0, 1.0, 6.0) == pytest.approx(0.05, abs=1e-6)
    for df in (3.0, 10.0, 200.0):
        assert power(float(detectable_effect(0.7, df)), 0.7, df) == pytest.approx(0.8, abs=0.02)
    assert power(1000.0, 1.0, 2.5) == pytest.approx(1.0)
    assert np.isnan(power(1.0, 0.0, 5.0))


def test_seeds_needed_is_the_first_number_that_suffices() -> None:
    """One seed fewer does not detect the effect; the current number gives the current error; more seeds never make the error larger."""
    found = Estimate(0.0, 1.1, 6.0, 0.8, 0.4, 0.1, 499.0, ((0.5, 3), (0.3, 3)))
    needed, note = seeds_needed(found, 2.2)
    assert note == ""
    assert needed is not None
    errors, degrees = with_seeds(found, [needed - 1, needed])
    before, after = detectable_effect(errors, degrees)
    assert after <= 2.2 < before
    assert with_seeds(found, 3)[0] == pytest.approx(np.sqrt(found.v))
    assert (np.diff(with_seeds(found, np.arange(2, 60))[0]) < 0).all()
    assert seeds_needed(found, 0.5)[0] is None
    assert "too small" in seeds_needed(found, 0.5)[1]


def test_interactions_of_one_family_are_corrected_together() -> None:
    """Interactions whose contrasts share families share theirs: verdicts and p-values are corrected over all of them and their groups."""
    runs, examples = random_rows(np.random.default_rng(0))
    sides = {
        name: Contrast(name, {"encoder": encoder, "intermediate": plus}, {"encoder": encoder, "intermediate": minus}, family=encoder)
        for name, encoder, plus, minus in (
            ("b1", "base", "mnli", "none"), ("b2", "base", "none", "mnli"), ("l1", "large", "mnli", "none"), ("l2", "large", "none", "mnli")
        )
    }  # fmt: skip
    interactions = (Interaction("i1", "l1", "b1"), Interaction("i2", "l2", "b2"))
    tables = as_tables(runs, examples)
    both = analyse(*tables, Plan(tuple(sides.values()), interactions, resamples=200, collapsed=("all",)))
    one = analyse(*tables, Plan((sides["l1"], sides["b1"]), interactions[:1], resamples=200, collapsed=("all",)))
    first = next(row for row in one.scaling.to_pylist() if row["scale"] == "points")
    joint = next(row for row in both.scaling.to_pylist() if row["scale"] == "points")
    assert joint["p_superior"] == pytest.approx(first["p_superior"], rel=1e-12)
    assert joint["p_two_sided_holm"] == pytest.approx(min(1.0, 2 * first["p_two_sided_holm"]))
    least = min(both.interactions["p"].to_pylist())
    assert min(both.interactions["p_holm"].to_pylist()) == pytest.approx(min(1.0, 6 * least))


def test_the_fitted_line_is_the_pooled_gain_in_the_middle_and_the_slope_between() -> None:
    """At the covariate's mean the line is the mean gain; from end to end it rises by the slope; languages as a sample widen its band."""
    gain = Contrast("gain", {"intermediate": "mnli"}, {"intermediate": "none"})
    runs, examples = random_rows(np.random.default_rng(0))
    present = sorted({row["language"] for row in examples})
    covariate = {code: float(place**2) for place, code in enumerate(present)}
    found = analyse(*as_tables(runs, examples), Plan((gain,), resamples=200, covariate=covariate, collapsed=("all",)))
    rows = {
        name: [row for row in found.trend.to_pylist() if row["estimand"] == name] for name in ("fixed_languages", "languages_as_sample")
    }
    slopes = {row["estimand"]: row["theta"] for row in found.resource.to_pylist() if row["comparison"].startswith("slope")}
    for name, line in rows.items():
        assert [row["at"] for row in line] == pytest.approx(np.linspace(0, (len(present) - 1) ** 2, 7))
        assert (line[-1]["theta"] - line[0]["theta"]) / (line[-1]["at"] - line[0]["at"]) == pytest.approx(slopes[name])
    for fixed, sample in zip(*rows.values(), strict=True):
        assert sample["hi"] - sample["lo"] >= (fixed["hi"] - fixed["lo"]) * (1 - 1e-9)
    middle = float(np.mean(list(covariate.values())))
    weights = line_weights(list(covariate.values()), middle)
    assert weights == pytest.approx(np.full(len(present), 1 / len(present)))
    pooled = next(row for row in found.pooled.to_pylist() if row["estimand"] == "fixed_languages" and row["group"] == "all")
    at_ends = [row["theta"] for row in rows["fixed_languages"]]
    assert min(at_ends) <= pooled["theta"] <= max(at_ends)
