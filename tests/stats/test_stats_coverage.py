"""The coverage study in small: its truth is right, its simulation has the noise that it names, and the default covers."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from raystilts.stats import calibrated, crossed_bootstrap, percentile, two_way
from raystilts.stats.bootstrap import TestSet, resampled_chunks, run_weights
from raystilts.stats.estimate import ratio_arrays

PATH = Path(__file__).parents[2] / "analysis" / "coverage.py"


@pytest.fixture(scope="module")
def study() -> ModuleType:
    """The script as a module."""
    found = importlib.util.spec_from_file_location("coverage_study", PATH)
    assert found is not None
    module = importlib.util.module_from_spec(found)
    sys.modules[found.name] = module  # dataclasses look their module up
    found.loader.exec_module(module)
    return module


@pytest.mark.parametrize("metric", ["F1", "accuracy"])
@pytest.mark.parametrize("noise", ["typical", "high"])
def test_truth_and_noise_are_those_of_the_simulation(study: ModuleType, metric: str, noise: str) -> None:
    """On a very large test set the simulated runs have the scores, the gain and the spread that quadrature says."""
    arms = study.simulate(np.random.default_rng(0), study.Setting(metric, noise, 200, 4000), 1)[0]
    found = two_way(list(arms), [1.0, -1.0], "micro_f1" if metric == "F1" else "accuracy")
    truth = study.true_gain(metric, noise)
    assert abs(found.theta - truth) < 4 * found.se
    assert 0.5 < truth < 4
    between = (found.v_seed - found.v_both) * 200 / 2
    assert np.sqrt(between) == pytest.approx(study.RUN_SD[noise], rel=0.25)


def test_intervals_are_those_of_the_package(study: ModuleType) -> None:
    """The study's crossed intervals are what crossed_bootstrap gives on the same data with the same weights."""
    setting = study.Setting("F1", "high", 4, 60)
    (arms,) = study.simulate(np.random.default_rng(1), setting, 1)
    num, den = ratio_arrays(arms.reshape(-1, 60, 3), "micro_f1")
    drawn = list(resampled_chunks(5, "examples", 400, 60, [TestSet(num, den, np.arange(60))]))
    scores = np.concatenate([part for _, (part,) in drawn])
    found = study.bounds(arms, "micro_f1", scores, [run_weights(5, f"runs {i}", 400, 4) for i in (0, 1)])
    draws = crossed_bootstrap(list(arms), [1.0, -1.0], "micro_f1", resamples=400, seed=5)
    own = two_way(list(arms), [1.0, -1.0], "micro_f1")
    assert found["crossed percentile"] == pytest.approx(percentile(draws))
    assert found["crossed, calibrated"] == pytest.approx(calibrated(draws, own))
    assert found["two-way t"] == own.interval()
    assert set(found) == {*study.DEFAULTS, *study.RIVALS}


@pytest.mark.parametrize(("metric", "noise", "runs"), [("F1", "typical", 5), ("accuracy", "high", 3)])
def test_the_default_covers_and_the_usual_practice_does_not(study: ModuleType, metric: str, noise: str, runs: int) -> None:
    """In small: the default is between 93.5 and 98.5 % up to simulation error, resampling run scores or examples alone is not."""
    found = study.coverage(study.Setting(metric, noise, runs, 500), 400, 300, 0)
    error = 300 * np.sqrt(0.05 * 0.95 / 400)
    for method in study.DEFAULTS:
        assert study.ALLOWED[0] - error <= found[method][0] <= study.ALLOWED[1] + error
    assert min(found["example-only bootstrap"][0], found["run-score bootstrap"][0]) < 90


def test_the_study_is_reproducible(study: ModuleType) -> None:
    """Equal seeds give equal tables, and the committed table has every cell and method, the default within its bounds."""
    settings = [study.Setting("F1", "typical", 3, 100)]
    first, again = ({s: study.coverage(s, 25, 100, 3) for s in settings} for _ in range(2))
    assert first == again
    lines = study.report(first, 25, 100, 3)
    committed = PATH.with_suffix(".md").read_text(encoding="utf-8")
    rows = [line.strip("| ").split(" | ") for line in committed.splitlines() if line[:3].strip("| ").isdigit()]
    assert len(rows) == len(study.SETTINGS) == 36
    default = [float(value) for row in rows for value in row[2:4]]
    assert study.ALLOWED[0] <= min(default) <= max(default) <= study.ALLOWED[1]
    assert sum(line.startswith("| 3 | 100 |") for line in lines) == 1
