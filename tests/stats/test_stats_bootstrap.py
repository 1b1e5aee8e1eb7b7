"""The crossed bootstrap: reproducible to the byte, and exactly what its definition says."""

from __future__ import annotations

import itertools
import math
import os
import random
import subprocess
import sys
from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats
from stats_tables import as_tables, random_rows

from raystilts.stats import Contrast, Plan, analyse, bootstrap, calibrated, crossed_bootstrap, percentile, two_way
from raystilts.stats.bootstrap import TestSet, arm_means, generator, multinomial_counts, resampled_chunks, run_weights, weight_blocks

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
    monkeypatch.setattr(bootstrap.resampled_chunks, "__kwdefaults__", {"chunk": 50})
    assert analysis_bytes(*rows, seed=1) == whole


def test_draws_are_the_definition() -> None:
    """A draw is the score of the resampled runs on the resampled examples, by plain loops over the same weights."""
    rng = np.random.default_rng(1)
    predicted, gold = rng.integers(0, 4, (3, 11)), rng.integers(0, 4, 11)
    true = np.minimum(predicted, gold)
    num, den = 2.0 * true, (predicted + gold).astype(float)
    ((rows, (scores,)),) = list(resampled_chunks(5, "e", 20, 11, [TestSet(num, den, np.arange(11))]))
    ((_, weights),) = list(weight_blocks(5, "e", 20, 11))
    runs = run_weights(5, "r", 20, 3)
    means = arm_means(scores, runs, np.arange(3))
    for b in range(20):
        drawn = [i for i in range(11) for _ in range(weights[b, i])]
        assert len(drawn) == 11
        by_run = [100 * sum(num[s, i] for i in drawn) / sum(den[s, i] for i in drawn) for s in range(3)]
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


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_every_resample_of_a_small_set_has_its_multinomial_probability(size: int) -> None:
    """All possible counts occur as often as size! / prod counts! / size**size says (chi-square test), and nothing else does."""
    number = 200_000
    found = Counter(map(tuple, multinomial_counts(generator(3, "small"), number, size).tolist()))
    possible = [c for c in itertools.product(range(size + 1), repeat=size) if sum(c) == size]
    expected = [number * math.factorial(size) / math.prod(map(math.factorial, c)) / size**size for c in possible]
    assert sum(found[c] for c in possible) == number
    assert size == 1 or stats.chisquare([found[c] for c in possible], expected).pvalue > 1e-3


def test_counts_of_a_large_set_are_multinomial() -> None:
    """Single counts are binomial(n, 1 / n), so are sums over parts of the set, and parts are as negatively correlated as draws are."""
    size, rows = 1530, 4000
    counts = multinomial_counts(generator(1, "large"), rows, size)
    assert (counts.sum(axis=1) == size).all()
    values = np.bincount(counts.ravel(), minlength=8)
    chance = stats.binom.pmf(np.arange(7), size, 1 / size)
    expected = counts.size * np.append(chance, 1 - chance.sum())
    assert stats.chisquare([*values[:7], values[7:].sum()], expected).pvalue > 1e-3
    for part in (100, 765):
        sums = counts[:, :part].sum(axis=1, dtype=np.int64)
        spread = size * part / size * (1 - part / size)
        assert abs(sums.mean() - part) < 4 * np.sqrt(spread / rows)
        assert sums.var(ddof=1) == pytest.approx(spread, rel=4 * np.sqrt(2 / rows))
        assert stats.kstest((sums + generator(2, "ties").random(rows) - 0.5 - part) / np.sqrt(spread), "norm").pvalue > 1e-3
    by_position = counts.sum(axis=0, dtype=np.int64)
    assert stats.chisquare(by_position).pvalue > 1e-3


SCRIPT = """
import hashlib
import numpy as np
from raystilts.stats import crossed_bootstrap
rng = np.random.default_rng(0)
digest = hashlib.sha256()
for values in ((rng.random((2, 6, 3000)) < 0.7).astype(float), rng.random((2, 6, 3000))):
    digest.update(crossed_bootstrap(list(values), [1.0, -1.0], resamples=300).tobytes())
print(digest.hexdigest())
"""


def test_results_do_not_depend_on_the_number_of_threads() -> None:
    """The same bits with one and with several threads of the matrix product, for integer and for real statistics."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    outputs = {
        subprocess.run(
            [sys.executable, "-c", SCRIPT], env=os.environ | dict.fromkeys(names, n), capture_output=True, text=True, check=True
        ).stdout
        for n in ("1", "2", "4")
    }
    assert len(outputs) == 1
    assert len(outputs.pop()) == 65


def test_a_longer_bootstrap_has_the_full_blocks_of_a_shorter_one() -> None:
    """Every block of resamples has its own stream, so that what is drawn does not depend on what was drawn before."""
    short, long = ([counts for _, counts in weight_blocks(0, "x", resamples, 1 << 13)] for resamples in (64, 100))
    assert all((a == b).all() for a, b in zip(short, long, strict=False))
    assert not (long[0] == long[1]).all()
