"""Adding seeds in looks keeps the family-wise error and saves runs."""

from __future__ import annotations

import numpy as np
import pytest

from raystilts.stats import Estimate, StatsError, two_way
from raystilts.stats.sequential import SEEDS, looks, next_seeds, review


def runs_of(rng: np.random.Generator, effects: np.ndarray) -> list[list[np.ndarray]]:
    """For each language two arms of 12 runs x 40 examples; run effects are shared by languages, effects are in units of 100 points."""
    run = 0.02 * rng.normal(size=(2, 12, 1))
    return [
        [run[0] + effect + difficulty + 0.2 * rng.normal(size=(12, 40)), run[1] + difficulty + 0.2 * rng.normal(size=(12, 40))]
        for effect, difficulty in ((effect, rng.normal(size=40)) for effect in effects)
    ]


def study(rng: np.random.Generator, effects: np.ndarray, spending: str) -> tuple[list[str], list[int]]:
    """Final status of every language, and the seeds that it used."""
    data, plan = runs_of(rng, effects), looks(SEEDS, 0.05, spending)
    status, used = None, [0] * len(effects)
    for look in plan:
        for i in range(len(effects)):
            if status is None or status[i] == "open":
                used[i] = look.seeds
        status = review([two_way([arm[: used[i]] for arm in data[i]], [1.0, -1.0]) for i in range(len(effects))], look, status)
        if next_seeds(status, plan, look) is None:
            break
    return list(status or []), used


@pytest.mark.parametrize("spending", ["pocock", "obrien-fleming"])
def test_the_family_wise_error_is_kept_over_all_looks(spending: str) -> None:
    """With every language null and runs shared between them, at most 5 % (+ 2 standard errors) of studies claim anything at any look;
    testing at the full level at every look would not be covered by that.
    """
    number = 120
    rng = np.random.default_rng(0)
    false = sum(any(x in ("gain", "loss") for x in study(rng, np.zeros(6), spending)[0]) for _ in range(number))
    assert false <= number * (0.05 + 2 * np.sqrt(0.05 * 0.95 / number))


def test_large_effects_stop_early_and_small_ones_are_found_late() -> None:
    """Large gains are claimed with a fraction of the runs of the fixed design, and claims stay when later looks come."""
    rng = np.random.default_rng(1)
    effects = np.array([0.3, 0.3, 0.3, 0.05, 0.05, 0.0])
    outcomes = [study(rng, effects, "pocock") for _ in range(25)]
    assert all(status[:3] == ["gain"] * 3 for status, _ in outcomes)
    used = np.array([seeds for _, seeds in outcomes])
    assert used[:, :3].mean() < 6
    assert used.mean() < 0.85 * SEEDS[-1]
    assert np.mean([status[5] == "open" for status, _ in outcomes]) > 0.85


def test_spending_adds_up_and_is_increasing() -> None:
    """All looks together spend alpha, each something; O'Brien-Fleming keeps nearly all for the end."""
    for spending in ("pocock", "obrien-fleming"):
        plan = looks((3, 5, 8, 12), 0.05, spending)
        assert sum(look.level for look in plan) == pytest.approx(0.05)
        assert all(look.level > 0 for look in plan)
        assert plan[-1].spent == pytest.approx(0.05)
    assert looks(spending="obrien-fleming")[0].level < 0.001
    for bad in ((), (1, 3), (5, 3), (3, 3)):
        with pytest.raises(StatsError, match="increasing"):
            looks(bad)


def test_decided_stays_decided_and_margins_stop() -> None:
    """A claim is not taken back by a later look; a narrow interval around zero is within the margin; nothing varying stays open."""
    plan = looks()
    first = review([Estimate(5.0, 0.5, 50.0, 0.2, 0.3, 0.0, 99.0), Estimate(0.0, 1e-3, 50.0, 5e-4, 5e-4, 0.0, 99.0)], plan[0], margin=1.0)
    assert first == ["gain", "within margin"]
    still = Estimate(0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
    assert review([Estimate(0.0, 9.0, 50.0, 4.0, 5.0, 0.0, 99.0), still], plan[1], first) == first
    assert review([still], plan[0], margin=1.0) == ["open"]
    assert next_seeds(first, plan, plan[1]) is None
    assert next_seeds(["open"], plan, plan[-1]) is None
    with pytest.raises(StatsError, match="keeps its hypotheses"):
        review([still], plan[0], first)
