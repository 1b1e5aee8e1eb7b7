"""The crossed bootstrap: reproducible to the byte, and exactly what its definition says."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from stats_tables import as_tables, random_rows

from raystilts.stats import Contrast, Plan, analyse, bootstrap, calibrated, crossed_bootstrap, percentile, two_way
from raystilts.stats.bootstrap import TestSet, arm_means, generator, resampled_chunks, run_weights

CONTRAST = Contrast("mnli", {"intermediate": "mnli"}, {"intermediate": "none"})


def ipc(table: pa.Table) -> bytes:
    """A table as bytes."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table.combine_chunks())
    return bytes(sink.getvalue().to_pybytes())


def analysis_bytes(runs: list[dict[str, Any]], examples: list[dict[str, Any]], seed: int) -> dict[str, bytes]:
    """Every table of an analysis as bytes."""
    plan = Plan((CONTRAST,), metric="micro_f1", seed=seed, resamples=300, groups={"low": ("sw", "te", "de")}, low_group="low")
    found = analyse(*as_tables(runs, examples), plan)
    return {name: ipc(getattr(found, name)) for name in found.__dataclass_fields__}


def test_equal_seeds_give_equal_bytes_whatever_the_order_of_rows() -> None:
    """The same seed gives the same bytes, also for shuffled rows; another seed moves the bootstrap and nothing else; no global
    generator is touched.
    """
    rows = random_rows(np.random.default_rng(0), metric="micro_f1", encoders=("base",), clusters=4)
    state = random.getstate()
    legacy = np.random.get_state()[1].copy()  # noqa: NPY002  the generator that must stay untouched
    first = analysis_bytes(*rows, seed=1)
    shuffled = [list(np.random.default_rng(1).permutation(part)) for part in rows]
    assert analysis_bytes(*shuffled, seed=1) == first
    other = analysis_bytes(*rows, seed=2)
    assert {name for name in first if other[name] != first[name]} == {"gains"}
    assert random.getstate() == state
    assert (np.random.get_state()[1] == legacy).all()  # noqa: NPY002


@pytest.mark.parametrize("values", ["counts", "fractions"])
def test_results_do_not_depend_on_the_chunk_size(values: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One row at a time, odd chunks and everything at once give the same bits, for integer and for real statistics."""
    rng = np.random.default_rng(0)
    arms = [rng.random((3, 37)) if values == "fractions" else (rng.random((3, 37)) < 0.5).astype(float) for _ in range(2)]
    draws = [crossed_bootstrap(arms, [1.0, -1.0], resamples=500, chunk=chunk) for chunk in (1, 37 * 7, 1 << 21)]
    assert (draws[0] == draws[1]).all()
    assert (draws[0] == draws[2]).all()
    rows = random_rows(np.random.default_rng(0), metric="micro_f1", encoders=("base",))
    whole = analysis_bytes(*rows, seed=1)
    monkeypatch.setattr(bootstrap, "CHUNK", 50)
    monkeypatch.setattr(bootstrap.resampled_chunks, "__defaults__", (50,))
    assert analysis_bytes(*rows, seed=1) == whole


def test_draws_are_the_definition() -> None:
    """A draw is the score of the resampled runs on the resampled examples, by plain loops over the same weights."""
    rng = np.random.default_rng(1)
    predicted, gold = rng.integers(0, 4, (3, 11)), rng.integers(0, 4, 11)
    true = np.minimum(predicted, gold)
    num, den = 2.0 * true, (predicted + gold).astype(float)
    ((rows, (scores,)),) = list(resampled_chunks(generator(5, "e"), 20, 11, [TestSet(num, den, np.arange(11))]))
    drawn = generator(5, "e").integers(0, 11, size=(20, 11), dtype=np.uint32)
    runs = run_weights(5, "r", 20, 3)
    means = arm_means(scores, runs, np.arange(3))
    for b in range(20):
        by_run = [100 * sum(num[s, i] for i in drawn[b]) / sum(den[s, i] for i in drawn[b]) for s in range(3)]
        assert means[b] == pytest.approx(sum(w * f for w, f in zip(runs[b], by_run, strict=True)) / 3, rel=1e-12)
    assert rows == slice(0, 20)


def test_spread_agrees_with_the_closed_form_and_calibration_has_its_width() -> None:
    """The spread of the draws is that of runs plus examples plus their combination (each counted once more than the unbiased estimate
    does), and the calibrated interval has the scale of the t interval.
    """
    rng = np.random.default_rng(2)
    ability = rng.normal(size=(12, 1)) * 0.5
    arms = [(rng.random((12, 400)) < 1 / (1 + np.exp(-(ability + rng.normal(size=400))))).astype(float) for _ in range(2)]
    found = two_way(arms, [1.0, -1.0])
    draws = crossed_bootstrap(arms, [1.0, -1.0], resamples=4000)
    assert draws.mean() == pytest.approx(found.theta, abs=4 * draws.std() / np.sqrt(4000) + 0.05)
    biased = found.v_seed * 11 / 12 + found.v_example * 399 / 400
    assert draws.var(ddof=1) == pytest.approx(biased, rel=0.1)
    low, high = calibrated(draws, found)
    t_low, t_high = found.interval()
    assert high - low == pytest.approx(t_high - t_low, rel=0.06)
    raw = percentile(draws)
    assert raw[1] - raw[0] < high - low


def test_an_arm_shared_by_contrasts_is_resampled_once() -> None:
    """The gain over a shared baseline and its mirror image have mirrored draws: hypotheses share their weights."""
    runs, examples = random_rows(np.random.default_rng(0), encoders=("base",))
    mirrored = Contrast("mirror", CONTRAST.minus, CONTRAST.plus)
    plan = Plan((CONTRAST, mirrored), metric="accuracy", resamples=500, collapsed=("all",))
    rows = analyse(*as_tables(runs, examples), plan).gains.to_pylist()
    for plus, minus in zip(rows[: len(rows) // 2], rows[len(rows) // 2 :], strict=True):
        assert (plus["boot_lo"], plus["boot_hi"]) == pytest.approx((-minus["boot_hi"], -minus["boot_lo"]), rel=1e-9)
