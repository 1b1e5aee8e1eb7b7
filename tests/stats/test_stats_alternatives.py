"""The named rivals are what they say they are: the same numbers as the libraries that people use."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from raystilts.stats import StatsError, crossed_bootstrap, two_way
from raystilts.stats.alternatives import (
    crossed_bca,
    crossed_percentile,
    fixed_test_set_aso,
    fixed_test_set_moderated_t,
    fixed_test_set_permutation,
    fixed_test_set_welch,
    given_runs_example_only,
)

PLUS, MINUS = [71.2, 70.4, 73.9, 72.2], [69.0, 70.9, 68.4]


def test_welch_and_permutation_equal_scipy() -> None:
    """Tests on run scores are scipy's: Welch with its interval, the exact permutation test by enumeration."""
    expected = stats.ttest_ind(PLUS, MINUS, equal_var=False)
    found = fixed_test_set_welch(PLUS, MINUS)
    assert found.p == pytest.approx(expected.pvalue, rel=1e-10)
    assert (found.lo, found.hi) == pytest.approx(tuple(expected.confidence_interval()), rel=1e-10)
    exact = stats.permutation_test((PLUS, MINUS), lambda x, y: abs(np.mean(x) - np.mean(y)), alternative="greater", n_resamples=10**6)
    assert fixed_test_set_permutation(PLUS, MINUS).p == pytest.approx(exact.pvalue, rel=1e-10)
    rng = np.random.default_rng(0)
    many = rng.normal(0.7, 1, 30), rng.normal(0, 1, 30)
    assert fixed_test_set_permutation(*many).p == pytest.approx(stats.ttest_ind(*many).pvalue, abs=0.01)


def test_example_only_is_the_paired_t_test() -> None:
    """With one run a side, the example-only test is the paired t test over examples."""
    rng = np.random.default_rng(1)
    a, b = rng.random((1, 80)), rng.random((1, 80))
    assert given_runs_example_only([a, b], [1.0, -1.0]).p == pytest.approx(stats.ttest_rel(a[0], b[0]).pvalue, rel=1e-10)


def test_bca_and_percentile_are_close_to_scipy_where_only_examples_vary() -> None:
    """With equal runs in every arm the crossed bootstrap resamples examples only, and both intervals are scipy's to simulation error."""
    rng = np.random.default_rng(2)
    values = rng.exponential(size=60) / 8
    arms = [np.repeat(values[None], 3, axis=0), np.zeros((3, 60))]
    for ours, method in ((crossed_percentile, "percentile"), (crossed_bca, "BCa")):
        found = ours(arms, [1.0, -1.0], resamples=8000)
        expected = stats.bootstrap(
            (100 * values,), np.mean, method=method, n_resamples=8000, rng=np.random.default_rng(0)
        ).confidence_interval
        width = expected.high - expected.low
        assert found.theta == pytest.approx(100 * values.mean())
        assert (found.lo, found.hi) == pytest.approx((expected.low, expected.high), abs=0.06 * width)


def test_moderation_goes_from_each_to_all() -> None:
    """Languages with equal variances share one, with all degrees of freedom; with wild ones most stay close to their own."""
    rng = np.random.default_rng(3)
    equal = [rng.normal(0, 1, 3) for _ in range(400)], [rng.normal(0, 1, 3) for _ in range(400)]
    false = np.mean([found.p <= 0.05 for found in fixed_test_set_moderated_t(*equal)])
    assert false == pytest.approx(0.05, abs=0.035)
    scale = np.exp(rng.normal(0, 3, 400))
    wild = [s * x for s, x in zip(scale, equal[0], strict=True)], [s * x for s, x in zip(scale, equal[1], strict=True)]
    gaps = [abs(found.p - stats.ttest_ind(a, b).pvalue) for found, a, b in zip(fixed_test_set_moderated_t(*wild), *wild, strict=True)]
    assert np.median(gaps) < 0.03


def test_aso_separates_order_from_none() -> None:
    """The violation ratio is 0 for separated scores, 1 for the reverse, and near or above one half for two samples of one population."""
    assert fixed_test_set_aso(np.arange(5) + 60.0, np.arange(5) + 50.0) == 0.0
    assert fixed_test_set_aso(np.arange(5) + 50.0, np.arange(5) + 60.0) == 1.0
    rng = np.random.default_rng(4)
    assert np.mean([fixed_test_set_aso(rng.normal(size=10), rng.normal(size=10)) < 0.5 for _ in range(60)]) < 0.25


def test_rivals_estimate_the_same_gain_and_are_reproducible() -> None:
    """All rivals have the default's point estimate; the same seed gives the same interval; one run a side is refused where runs vary."""
    rng = np.random.default_rng(5)
    arms = [(rng.random((4, 50)) < p).astype(float) for p in (0.8, 0.7)]
    found = two_way(arms, [1.0, -1.0])
    scores = [100 * arm.mean(axis=1) for arm in arms]
    rivals = [fixed_test_set_welch(*scores), fixed_test_set_permutation(*scores), given_runs_example_only(arms, [1.0, -1.0])]
    rivals += [rival(arms, [1.0, -1.0], resamples=300) for rival in (crossed_percentile, crossed_bca)]
    assert all(rival.theta == pytest.approx(found.theta) for rival in rivals)
    again = crossed_bca(arms, [1.0, -1.0], resamples=300)
    assert (again.lo, again.hi) == (rivals[-1].lo, rivals[-1].hi)
    assert (crossed_bootstrap(arms, [1.0, -1.0], resamples=300, seed=1) != crossed_bootstrap(arms, [1.0, -1.0], resamples=300)).any()
    with pytest.raises(StatsError, match="at least 2 runs"):
        fixed_test_set_welch([70.0], [60.0])
    with pytest.raises(StatsError, match="at least 2 runs"):
        two_way([arms[0][:1], arms[1]], [1.0, -1.0])
