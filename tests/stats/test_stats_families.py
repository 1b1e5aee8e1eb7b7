"""Corrections against statsmodels, and what they must hold for any p-values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from raystilts.stats import (
    StatsError,
    at_least,
    benjamini_hochberg,
    benjamini_yekutieli,
    clopper_pearson,
    holm,
    max_t,
    partial_conjunction,
)

P_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=30)


@given(P_VALUES)
@settings(max_examples=12, deadline=None)  # multipletests collects garbage at every call
def test_corrections_equal_statsmodels(p: list[float]) -> None:
    """Holm, BH and BY are those of statsmodels, ties and zeros included."""
    for ours, theirs in ((holm, "holm"), (benjamini_hochberg, "fdr_bh"), (benjamini_yekutieli, "fdr_by")):
        assert ours(p) == pytest.approx(multipletests(p, method=theirs)[1], abs=1e-12)


@given(P_VALUES)
@settings(max_examples=50, deadline=None)
def test_corrections_never_help_and_keep_the_order(p: list[float]) -> None:
    """No correction lowers a p-value or swaps two; partial conjunction never claims more than one per nominal rejection."""
    order = np.argsort(p, kind="stable")
    for corrected in (holm(p), benjamini_hochberg(p), benjamini_yekutieli(p)):
        assert (corrected >= np.array(p) - 1e-15).all()
        assert (np.diff(corrected[order]) >= -1e-15).all()
    assert (np.diff(partial_conjunction(p)) >= 0).all()
    assert at_least(p) <= (np.array(p) <= 0.05).sum()


def test_empty_families_and_bad_p_values() -> None:
    """An empty family has no adjusted p-values; a NaN or a number above 1 is an error, not a claim."""
    assert len(holm([])) == len(benjamini_hochberg([])) == len(partial_conjunction([])) == 0
    for bad in ([float("nan")], [1.2]):
        with pytest.raises(StatsError, match="between 0 and 1"):
            holm(bad)


def test_max_t_uses_dependence() -> None:
    """Of 20 copies of one hypothesis max-T makes one test; of independent ones it is close to Bonferroni; the floor is 1 / (B + 1)."""
    rng = np.random.default_rng(0)
    one = rng.normal(size=(1, 4000))
    alone = max_t([2.0], [1.0], one)[0]
    assert max_t([2.0] * 20, [1.0] * 20, np.repeat(one, 20, axis=0))[0] == alone
    assert max_t([2.0] * 20, [1.0] * 20, rng.normal(size=(20, 4000)))[0] == pytest.approx(1 - (1 - 0.0455) ** 20, abs=0.05)
    assert max_t([50.0], [1.0], one)[0] == 1 / 4001


def test_clopper_pearson_at_the_ends() -> None:
    """No collapse in n runs has the interval [0, 1 - (alpha / 2)^(1 / n)], all collapsed the mirror image."""
    assert clopper_pearson(0, 129) == (0.0, pytest.approx(1 - 0.025 ** (1 / 129)))
    assert clopper_pearson(7, 7) == (pytest.approx(0.025 ** (1 / 7)), 1.0)
