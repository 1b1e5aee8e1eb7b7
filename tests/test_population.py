"""Population based training: who goes on from whom, the same command again, states that go on, and what comes out."""

from __future__ import annotations

import itertools
import math
import re
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_tune import OWN, PLAN, TEMPLATE, parsed, reads, site  # noqa: F401  reads is a fixture

from raystilts.errors import DivergedError, UserError
from raystilts.halving import SPAN, Budget, Training
from raystilts.population import APART, DECAYS, NAMES, Leg, Population, changed, drawn
from raystilts.sweep import Cluster
from raystilts.tune import perform, template_of, trainer, tune_task

BUDGET = Budget(num_trials=8, max_epochs=5)


def quality(leg: Leg | Training) -> float:
    """What a training would score if the best rate were 2e-3, whatever came before; a different number for every seed."""
    return 60 - 10 * abs(math.log(leg.recipe.learning_rate / 2e-3)) - 50 * leg.recipe.weight_decay + 0.001 * leg.seed


def finished(search: Population, measure=quality) -> list[str]:
    """Run a search to its end; the keys in order."""
    order = []
    while leg := search.start():
        perform(leg, measure, search.folder)
        assert search.end(leg.key) == "done"
        order.append(leg.key)
    return order


def made(folder: Path, template=TEMPLATE, budget: Budget = BUDGET, seeds: tuple[int, ...] = (3,)) -> Population:
    """A population around the template."""
    folder.mkdir(exist_ok=True)
    return Population(template, "tiny", budget, seeds, folder)


def test_the_worst_go_on_from_the_best_and_the_others_from_themselves(tmp_path: Path) -> None:
    """Member 0 begins with the study's own values, each member has its own seed and none of the study's; after each epoch two of eight
    take over the states of the two best, with other values; what decides batches and steps is the study's in all of them.
    """
    search = made(tmp_path)
    finished(search)
    assert search.generation(1)[0].recipe == replace(OWN, num_epochs=5)
    assert len({leg.recipe.learning_rate for leg in search.generation(1)}) == 8
    for epoch in range(1, 6):
        legs = search.generation(epoch)
        assert [leg.seed for leg in legs] == [3 + APART + member for member in range(8)]
        for leg in legs:
            assert replace(leg.recipe, **{name: getattr(OWN, name) for name in NAMES}) == replace(OWN, num_epochs=5)
    for epoch in range(2, 6):
        before = {leg.key: leg for leg in search.generation(epoch - 1)}
        ranked = sorted(before.values(), key=lambda leg: -quality(leg))
        for leg in search.generation(epoch):
            source = before[leg.parent]
            if leg.trial in {loser.trial for loser in ranked[-2:]}:
                assert source in ranked[:2]
            else:
                assert (source.trial, source.recipe) == (leg.trial, leg.recipe)
    best = search.best()
    lineage = search.lineage(best)
    assert [leg.epoch for leg in lineage] == [1, 2, 3, 4, 5]
    assert all(later.parent == earlier.key for earlier, later in itertools.pairwise(lineage))
    assert quality(best) >= max(map(quality, search.generation(1)))


@given(st.integers(0, 10**6), st.sampled_from([None, 0.1]), st.sampled_from([None, 1e-2]), st.sampled_from([0.0, 0.05]))
def test_values_stay_in_their_ranges(seed: int, dropout: float | None, head: float | None, decay: float) -> None:
    """Drawn and changed any number of times: rates within a factor of the study's, decays of the list, dropout a rate; None stays None."""
    base, rng = replace(OWN, dropout=dropout, head_learning_rate=head, weight_decay=decay), np.random.default_rng(seed)
    for name in NAMES:
        value = drawn(name, base, rng)
        for _ in range(20):
            value = changed(name, value, base, rng)
            own = getattr(base, name)
            if own is None:
                assert value is None
            elif name == "weight_decay":
                assert value in {*DECAYS, decay}
            elif name == "dropout":
                assert 0 <= value <= 0.3
            else:
                assert 0.94 * own / SPAN <= value <= 1.06 * own * SPAN


@pytest.mark.parametrize("after", [1, 11, 40])
def test_an_interrupted_population_ends_as_if_it_had_not_been(tmp_path: Path, after: int) -> None:
    """Killed in any epoch, or in the last trainings, the same command leads to the same legs in the same order, none of them twice."""
    whole = finished(made(tmp_path / "whole"))
    asked: list[str] = []

    def killed(leg: Leg) -> float:
        if len(asked) == after:
            raise KeyboardInterrupt
        asked.append(leg.key)
        return quality(leg)

    with pytest.raises(KeyboardInterrupt):
        finished(made(tmp_path / "again"), killed)
    assert asked + finished(made(tmp_path / "again")) == whole
    assert finished(made(tmp_path / "again")) == []


@settings(deadline=None, max_examples=15)
@given(st.data())
def test_any_order_of_endings_makes_the_same_population(tmp_path_factory: pytest.TempPathFactory, drawn: st.DataObject) -> None:
    """However many run at a time, in whatever order they end, and also if a process is lost: the same legs, each once."""
    folder = tmp_path_factory.mktemp("any")
    search, done = made(folder / "any", budget=Budget(5, 3), seeds=(3, 4)), Counter()
    slots = drawn.draw(st.integers(1, 6))
    while not search.over:
        while len(search.running) < slots and search.start():
            pass
        key = drawn.draw(st.sampled_from(sorted(search.running)))
        if search.tries[key] == 1 and drawn.draw(st.integers(0, 5)) == 0:
            assert search.end(key, died=True) == "again"
        else:
            perform(search.running[key], quality, search.folder)
            assert search.end(key) == "done"
            done[key] += 1
    assert set(done.values()) == {1}
    assert sum(search.tries.values()) <= search.limit
    assert sorted(done) == sorted(finished(made(folder / "one", budget=Budget(5, 3), seeds=(3, 4))))


def test_members_that_diverge_go_on_from_others(tmp_path: Path) -> None:
    """A loss that is no number is a finding: the member takes over another's state; where all diverge, one sentence says so."""

    def diverging(leg: Leg) -> float:
        if leg.epoch == 2 and leg.trial % 2 == 0:
            raise DivergedError("the loss is nan at step 3 of 9: lower the learning rate")
        return quality(leg)

    search = made(tmp_path / "some")
    finished(search, diverging)
    lost = {leg.key for leg in search.generation(2) if leg.trial % 2 == 0}
    assert not lost & {leg.parent for leg in search.generation(3)}
    assert len(search.generation(5)) == 8

    def hopeless(leg: Leg) -> float:
        raise DivergedError("the loss is inf at step 1 of 9: lower the learning rate")

    with pytest.raises(UserError, match="every member of the population for 'kind' diverged"):
        tune_task(PLAN, "kind", "tiny", BUDGET, site(tmp_path / "none"), measure=hopeless, method="pbt")


def test_what_is_printed_is_a_recipe_and_never_the_schedule(tmp_path: Path) -> None:
    """The literal is the better of two plain trainings on seeds that chose nothing: the winner's last values, or the study's own recipe
    where these are worse; the table has a row for every epoch of every member, and the lines the three scores.
    """
    tuned = tune_task(PLAN, "kind", "tiny", BUDGET, site(tmp_path), measure=quality, method="pbt")
    rows = tuned.table.to_pylist()
    folder = tmp_path / "tune" / "kind" / "tiny"
    assert pq.read_table(folder / "population.parquet").equals(tuned.table)
    assert pyarrow.csv.read_csv(folder / "population.csv").num_rows == len(rows) == 8 * 5 + 2
    last = [row for row in rows if row["epoch"] == 5]
    best = max(last, key=lambda row: row["dev_score"])
    assert (tuned.winner.learning_rate, tuned.winner.weight_decay) == (best["learning_rate"], best["weight_decay"])
    assert tuned.winner.num_epochs == 5
    text = "\n".join(tuned.lines)
    assert "The schedule itself is not used in a study" in text
    plain = replace(TEMPLATE, seed=3)
    for score in (best["dev_score"], *(quality(Training(0, "", replace(plain, recipe=recipe))) for recipe in (tuned.winner, OWN))):
        assert f"{score:.1f} on English dev" in text
    (line,) = [line for line in tuned.lines if "Recipe(" in line]
    assert parsed(line.strip().removeprefix("'kind': ").removesuffix(",")) == tuned.winner
    assert len(re.findall(r"^ +\d  +\d ", text, flags=re.MULTILINE)) == 5  # the schedule

    def lucky(leg: Leg | Training) -> float:
        return quality(leg) if leg.epoch else 10.0 if leg.recipe == replace(OWN, num_epochs=5) else 9.0

    kept = tune_task(PLAN, "kind", "tiny", BUDGET, site(tmp_path / "lucky"), measure=lucky, method="pbt")
    assert kept.winner == replace(OWN, num_epochs=5)
    assert "9.0 on English dev" in "\n".join(kept.lines)


def test_a_member_that_is_left_alone_is_a_plain_training(tmp_path: Path, reads: list[tuple[str, str]]) -> None:  # noqa: F811
    """Trained for real, epoch by epoch through its states, a member has the losses, bit by bit, and the score of the same recipe in one
    go; only English train and dev are read; the same command trains nothing; no state is left, and one that is missing is named.
    """
    tuned = tune_task(PLAN, "kind", "tiny", Budget(1, 3), site(tmp_path), method="pbt")
    assert set(reads) == {("train", "en"), ("dev", "en")}
    folder = tmp_path / "tune" / "kind" / "tiny" / "population-1x3"
    assert {path.suffix for path in folder.iterdir()} == {".json"}
    reads.clear()
    assert tune_task(PLAN, "kind", "tiny", Budget(1, 3), site(tmp_path), method="pbt").table.equals(tuned.table)
    assert not reads or set(reads) == {("train", "en"), ("dev", "en")}

    template = template_of(PLAN, "kind", "tiny")
    search = made(tmp_path / "again", template, Budget(1, 3))
    measure = trainer(template, PLAN, site(tmp_path), search.folder)
    lines: list[dict[str, float]] = []

    def told(leg: Leg) -> float:
        lines.clear()
        return measure(leg, lines.append)

    for _ in range(3):
        leg = search.start()
        perform(leg, told, search.folder)
        search.end(leg.key)
    by_epochs, score = [line for line in lines if "loss" in line], search.score(leg)
    assert [line["step"] for line in by_epochs] == list(range(1, 3 * 6 + 1))  # the state has the log of what came before
    assert told(Leg(0, "tiny", leg.stage)) == score
    assert [line for line in lines if "loss" in line] == by_epochs
    with pytest.raises(UserError, match="is gone; delete the folder"):
        measure(leg)


@pytest.mark.slow
def test_ray_makes_the_same_population(tmp_path: Path) -> None:
    """On Ray, several at a time, every score is that of one process, taken-over states and all."""
    budget = Budget(num_trials=3, max_epochs=2)
    here = tune_task(PLAN, "kind", "tiny", budget, site(tmp_path / "here"), method="pbt")
    assert any(row["parent"] not in (None, row["member"]) for row in here.table.to_pylist())
    shutil.copytree(tmp_path / "here" / "stages", tmp_path / "there" / "stages")
    there = tune_task(PLAN, "kind", "tiny", budget, site(tmp_path / "there"), Cluster(), method="pbt")
    same = [name for name in here.table.column_names if name != "seconds"]
    assert there.table.select(same).equals(here.table.select(same))
    assert there.winner == here.winner
