"""The search for a recipe: what is tried and in which order, the same command again, English dev alone, and on Ray."""

from __future__ import annotations

import ast
import itertools
import math
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_tracking import client, mlflow_runs

from raystilts import data, features
from raystilts.errors import DivergedError, UserError
from raystilts.execute import Site
from raystilts.halving import BATCH_SIZES, ETA, SPAN, Budget, Search, rounded, rungs, space
from raystilts.stage import Architecture, Encoder, Recipe, Stage
from raystilts.store import Store
from raystilts.study import Study, make_plan
from raystilts.sweep import Cluster
from raystilts.task import Task
from raystilts.tasks import cldr
from raystilts.tracking import Tracking
from raystilts.trials import winner_literal
from raystilts.tune import perform, tunable, tune_task

OWN = Recipe(learning_rate=3e-3, head_learning_rate=1e-2, num_epochs=4, batch_size=16, max_length=16, pooling="mean", max_examples=96)
TINY = Encoder("tiny", architecture=Architecture(1, 16, 2, 32, 6000), texts=cldr.TEXTS)
STUDY = Study("tuned", "?", (TINY,), (cldr.CURRENCY,), (cldr.KIND, cldr.NAME), (1, 2), {"default": OWN}, languages=("sw", "zh"))
PLAN = make_plan(STUDY)
TEMPLATE = Stage("train", cldr.KIND, (("train/en", "x"), ("dev/en", "y")), seed=1, recipe=OWN, encoder="e")
BUDGET = Budget(num_trials=8, max_epochs=8)


def quality(stage: Stage) -> float:
    """What a training would score if the best rate were 2e-3 and epochs helped; a different number for every seed."""
    recipe = stage.recipe
    near = 60 - 10 * abs(math.log(recipe.learning_rate / 2e-3)) - 20 * recipe.warmup_ratio
    return near + 3 * math.log(recipe.num_epochs) + 0.1 * stage.seed


def site(root: Path) -> Site:
    """A store."""
    return Site(Store(root), "test")


def counted(function: Callable[[Stage], float]) -> tuple[Callable[[Stage], float], list[str]]:
    """The measure, and the keys of the stages that it was called with."""
    asked: list[str] = []

    def measure(stage: Stage) -> float:
        asked.append(stage.key)
        return function(stage)

    return measure, asked


def parsed(literal: str) -> Recipe:
    """What the literal is, without running it."""
    call = ast.parse(literal, mode="eval").body
    assert isinstance(call, ast.Call)
    assert isinstance(call.func, ast.Name)
    assert call.func.id == "Recipe"
    assert not call.args
    return Recipe(**{keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords})


rates = st.floats(1e-6, 1e-1).map(rounded)
recipes = st.builds(
    Recipe,
    learning_rate=rates,
    head_learning_rate=st.none() | rates,
    num_epochs=st.integers(1, 30),
    batch_size=st.sampled_from([8, 16, 32, 64]),
    warmup_ratio=st.integers(0, 30).map(lambda hundredths: hundredths / 100),
    weight_decay=st.sampled_from([0, 0.0, 0.1]),
    pooling=st.sampled_from(["first", "mean"]),
    dropout=st.none() | st.just(0.0),
)


@given(recipes)
def test_the_literal_is_the_recipe(recipe: Recipe) -> None:
    """What is printed makes the very recipe that was measured (0 and 0.0 are two), and names nothing that is the default."""
    literal = winner_literal(recipe)
    assert repr(parsed(literal)) == repr(recipe)
    names = {keyword.arg for keyword in ast.parse(literal, mode="eval").body.keywords}
    assert names == {name for name in vars(recipe) if repr(getattr(recipe, name)) != repr(getattr(Recipe(), name))}


@given(recipes, st.lists(recipes, max_size=3))
def test_the_space_holds_the_study_s_recipe_and_what_is_known(recipe: Recipe, known: list[Recipe]) -> None:
    """The rates span the same factor either way of the study's own, log-uniformly; batches and warm-up the usual ones; all that is known
    lies inside.
    """
    found = space(recipe)
    assert set(found) == {"learning_rate", "batch_size", "warmup_ratio"} | ({"head_learning_rate"} if recipe.head_learning_rate else set())
    for name in set(found) & {"learning_rate", "head_learning_rate"}:
        rate = getattr(recipe, name)
        assert found[name].log
        assert (found[name].low, found[name].high) == pytest.approx((rate / SPAN, rate * SPAN), rel=0.06)
    assert {*BATCH_SIZES, recipe.batch_size} == set(found["batch_size"].choices)
    assert (found["warmup_ratio"].low, found["warmup_ratio"].high) == (0.0, max(0.2, recipe.warmup_ratio))
    known = [other for other in known if (other.head_learning_rate is None) == (recipe.head_learning_rate is None)]
    wide = space(recipe, known)
    for other in known:
        assert wide["learning_rate"].low <= other.learning_rate <= wide["learning_rate"].high
        assert other.batch_size in wide["batch_size"].choices


@pytest.mark.parametrize(("epochs", "expected"), [(1, [1]), (2, [1, 2]), (3, [1, 3]), (4, [1, 2, 4]), (10, [2, 5, 10])])
def test_rungs_end_with_all_epochs(epochs: int, expected: list[int]) -> None:
    """A quarter, a half and all of the epochs, each once."""
    assert rungs(epochs) == expected


def finished(search: Search, measure: Callable[[Stage], float] = quality) -> list[str]:
    """Run a search to its end; the keys in order."""
    order = []
    while training := search.start():
        perform(training, measure, search.folder)
        assert search.end(training.stage.key) == "done"
        order.append(training.stage.key)
    return order


def test_halving_trains_the_better_ones_for_longer(tmp_path: Path) -> None:
    """Of 8 trials all train on the lowest rung, at least half of them on the next and a quarter on the top, the best and
    the study's own recipe among them, which is the first; what is trained was rounded before.
    """
    search = Search(TEMPLATE, "tiny", BUDGET, [3], tmp_path)
    assert search.start().recipe == replace(OWN, num_epochs=2)
    search = Search(TEMPLATE, "tiny", BUDGET, [3], tmp_path)
    finished(search)
    reached = Counter(record["recipe"]["num_epochs"] for record in search.records.values())
    assert set(reached) == {2, 4, 8}
    assert reached[2] == BUDGET.num_trials
    assert BUDGET.num_trials // ETA <= reached[4] < BUDGET.num_trials
    assert BUDGET.num_trials // ETA**2 <= reached[8] < reached[4]
    best = max(search.trials, key=lambda trial: search.score(trial, 0))
    assert search.score(best, 2) is not None
    assert search.score(0, 2) is not None  # what the winner is compared with
    for recipe in search.trials.values():
        assert (rounded(recipe.learning_rate), rounded(recipe.head_learning_rate)) == (recipe.learning_rate, recipe.head_learning_rate)
        assert round(recipe.warmup_ratio, 2) == recipe.warmup_ratio


def test_the_sampler_learns(tmp_path: Path) -> None:
    """The recipes that Optuna proposes late are nearer to the best rate than those that it proposes early."""
    search = Search(TEMPLATE, "tiny", Budget(num_trials=40, max_epochs=8), [3], tmp_path)
    finished(search)
    off = [abs(math.log(search.trials[number].learning_rate / 2e-3)) for number in range(40)]
    assert sum(off[-15:]) < 0.6 * sum(off[:15])


def test_the_winner_has_the_best_score_of_its_rung(tmp_path: Path) -> None:
    """The winner's score is the largest of all trials on its rung, and of all rungs; the table says what became of each."""
    tuned = tune_task(PLAN, "kind", "tiny", BUDGET, site(tmp_path), measure=quality)
    rows = tuned.table.to_pylist()
    assert pq.read_table(tmp_path / "tune" / "kind" / "tiny" / "trials.parquet").equals(tuned.table)
    assert pyarrow.csv.read_csv(tmp_path / "tune" / "kind" / "tiny" / "trials.csv").num_rows == len(rows)
    (won,) = [row for row in rows if all(row[name] == value for name, value in vars(tuned.winner).items())]
    assert won["dev_score"] == max(row["dev_score"] for row in rows)
    assert won["dev_score"] == quality(replace(TEMPLATE, recipe=tuned.winner, seed=3))
    assert {row["seed"] for row in rows} == {3}  # none of the study's
    assert {row["status"] for row in rows} == {"stopped", "promoted", "finished"}
    longer = {row["trial"] for row in rows if row["rung"] == 1}
    assert all((row["status"] == "promoted") == (row["trial"] in longer) for row in rows if row["rung"] == 0)
    (line,) = [line for line in tuned.lines if "Recipe(" in line]
    assert parsed(line.strip().removeprefix("'kind': ").removesuffix(",")) == tuned.winner


def test_the_same_command_again_trains_nothing_and_a_larger_budget_goes_on(tmp_path: Path) -> None:
    """A second call finds everything; with more trials, seeds or epochs only what is new is trained."""
    measure, asked = counted(quality)
    first = tune_task(PLAN, "kind", "tiny", BUDGET, site(tmp_path), measure=measure)
    before = list(asked)
    again = tune_task(PLAN, "kind", "tiny", BUDGET, site(tmp_path), measure=measure)
    assert asked == before
    assert (again.winner, again.table) == (first.winner, first.table)
    for larger in (replace(BUDGET, num_trials=12), replace(BUDGET, num_trials=12, num_seeds=2), Budget(12, 16, 2)):
        known = len(asked)
        tune_task(PLAN, "kind", "tiny", larger, site(tmp_path), measure=measure)
        assert len(asked) > known
    assert len(asked) == len(set(asked))


@pytest.mark.parametrize("after", [1, 7])
def test_an_interrupted_search_ends_as_if_it_had_not_been(tmp_path: Path, after: int) -> None:
    """Killed in the middle, the same command leads to the same trainings in the same order, none of them twice."""
    whole = finished(Search(TEMPLATE, "tiny", BUDGET, [3], tmp_path))
    measure, asked = counted(quality)

    def killed(stage: Stage) -> float:
        if len(asked) == after:
            raise KeyboardInterrupt
        return measure(stage)

    (tmp_path / "again").mkdir()
    with pytest.raises(KeyboardInterrupt):
        finished(Search(TEMPLATE, "tiny", BUDGET, [3], tmp_path / "again"), killed)
    finished(Search(TEMPLATE, "tiny", BUDGET, [3], tmp_path / "again"), measure)
    assert asked == whole


@settings(deadline=None, max_examples=15)
@given(st.data())
def test_any_order_of_endings_comes_to_an_end(tmp_path_factory: pytest.TempPathFactory, drawn: st.DataObject) -> None:
    """However many trainings run at a time and however they end (also by a lost process): none is done twice, a trial reaches the top."""
    search = Search(TEMPLATE, "tiny", replace(BUDGET, num_trials=6), [3, 4], tmp_path_factory.mktemp("any"))
    slots, done = drawn.draw(st.integers(1, 5)), Counter()
    for _ in itertools.count():
        while len(search.running) < slots and search.start():
            pass
        if not search.running:
            break
        training = search.running[drawn.draw(st.sampled_from(sorted(search.running)))]
        key = training.stage.key
        if search.tries[key] == 1 and drawn.draw(st.integers(0, 5)) == 0:
            assert search.end(key, died=True) == "again"
        else:
            perform(training, quality, search.folder)
            assert search.end(key) == "done"
            done[key] += 1
    assert search.over
    assert set(done.values()) == {1}
    assert len(search.trials) == 6
    assert any(search.score(trial, 2) is not None for trial in search.trials)


def test_a_diverged_training_is_a_finding_and_anything_else_a_failure(tmp_path: Path) -> None:
    """A recipe whose loss is no number stays on record, is not tried again and does not go on; another exception stops the search."""

    def diverging(stage: Stage) -> float:
        if stage.recipe.learning_rate > 3e-3:
            raise DivergedError("the loss is nan at step 3 of 9: lower the learning rate")
        return quality(stage)

    measure, asked = counted(diverging)
    tuned = tune_task(PLAN, "kind", "tiny", BUDGET, site(tmp_path), measure=measure)
    lost = [row for row in tuned.table.to_pylist() if row["status"] == "diverged"]
    assert lost
    assert all(row["rung"] == 0 and row["dev_score"] is None and "the loss is nan" in row["error"] for row in lost)
    tune_task(PLAN, "kind", "tiny", BUDGET, site(tmp_path), measure=measure)
    assert len(asked) == len(set(asked))

    def faulty(stage: Stage) -> float:
        raise RuntimeError("CUDA out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        tune_task(PLAN, "kind", "tiny", BUDGET, site(tmp_path / "faulty"), measure=faulty)
    assert not list((tmp_path / "faulty").glob("tune/kind/tiny/trainings/*"))

    def hopeless(stage: Stage) -> float:
        raise DivergedError("the loss is inf at step 1 of 9: lower the learning rate")

    with pytest.raises(UserError, match=r"every training .* diverged"):
        tune_task(PLAN, "kind", "tiny", BUDGET, site(tmp_path / "hopeless"), measure=hopeless)


def test_trials_of_other_data_or_another_recipe_do_not_count(tmp_path: Path) -> None:
    """Records are found by content: with another length or other data the search begins anew, with another rate it goes on from them and
    tries the study's new recipe, too.
    """
    finished(Search(TEMPLATE, "tiny", BUDGET, [3], tmp_path))
    other = replace(TEMPLATE, data=(("train/en", "other"), ("dev/en", "y")))
    longer = replace(TEMPLATE, recipe=replace(OWN, max_length=20))
    assert not Search(other, "tiny", BUDGET, [3], tmp_path).records
    assert not Search(longer, "tiny", BUDGET, [3], tmp_path).records
    assert not Search(TEMPLATE, "large", BUDGET, [3], tmp_path).records
    pasted = replace(TEMPLATE, recipe=replace(OWN, learning_rate=1e-4, batch_size=24, num_epochs=8))
    search = Search(pasted, "tiny", replace(BUDGET, num_trials=10), [3], tmp_path)
    assert len(search.trials) == BUDGET.num_trials
    finished(search)
    assert search.trials[8] == pasted.recipe
    assert len(search.trials) == 10


def test_what_cannot_be_tuned_is_refused(tmp_path: Path) -> None:
    """Unknown tasks and encoders, tasks that are not trained, and tasks without dev data: one sentence, nothing trained."""
    assert tunable(PLAN) == ["kind", "currency"]
    for task, encoder, what in (
        ("knid", "tiny", "did you mean 'kind'"),
        ("kind", "big", "no encoder 'big'"),
        ("name", "tiny", "trains no task"),
    ):
        with pytest.raises(UserError, match=what):
            tune_task(PLAN, task, encoder, BUDGET, site(tmp_path), measure=quality)
    blind = make_plan(replace(STUDY, targets=(replace(cldr.KIND, dev=None),), intermediates=()))
    with pytest.raises(UserError, match="no dev data"):
        tune_task(blind, "kind", "tiny", BUDGET, site(tmp_path), measure=quality)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, str]]]:
    """What is asked of the data, with nothing kept in memory from before."""
    asked: list[tuple[str, str]] = []
    examples = data.examples

    def noted(task: Task, split: data.Split, language: str, folder: Path | None = None) -> list[data.Example]:
        asked.append((split, language))
        return examples(task, split, language, folder)

    monkeypatch.setattr(data, "examples", noted)
    monkeypatch.setattr(features, "_cache", {})
    return asked


@pytest.mark.promise("Training and tuning read English train and dev data only")
def test_a_search_trains_and_reads_english_only(tmp_path: Path, reads: list[tuple[str, str]]) -> None:
    """A real search in this process: the tiny encoder is made first, the winner was trained, only English train and dev were read."""
    tuned = tune_task(PLAN, "kind", "tiny", Budget(num_trials=3, max_epochs=2), site(tmp_path))
    rows = tuned.table.to_pylist()
    assert 4 <= len(rows) <= 5  # three trials, of which the study's and the best are trained for longer
    assert {row["num_epochs"] for row in rows} == {1, 2}
    assert all(0 < row["dev_score"] <= 100 for row in rows)
    assert set(reads) == {("train", "en"), ("dev", "en")}
    reads.clear()
    again = tune_task(PLAN, "kind", "tiny", Budget(num_trials=3, max_epochs=2), site(tmp_path))
    assert again.table.equals(tuned.table)


def test_a_training_that_looks_at_test_data_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A training that tries to read target-language labels, or English test, gets an error, and the search with it."""
    from raystilts import train  # noqa: PLC0415  loads torch

    honest = train.fit
    for split, language in (("test", "sw"), ("dev", "sw"), ("test", "en")):

        def cheating(*arguments: object, split: str = split, language: str = language, **more: object) -> object:
            data.examples(replace(cldr.KIND, languages=("sw", "en")), split, language)
            return honest(*arguments, **more)

        monkeypatch.setattr(train, "fit", cheating)
        with pytest.raises(RuntimeError, match=f"{split} data in '{language}' is locked"):
            tune_task(PLAN, "kind", "tiny", Budget(1, 1), site(tmp_path))
    assert not list((tmp_path / "tune" / "kind" / "tiny" / "trainings").iterdir())


@pytest.mark.promise("Whatever else a training asks for is refused")
def test_the_lock_holds_whoever_asks_and_opens_again() -> None:
    """Inside, English train and dev can be read and nothing else, also through another code, candidates, a nested lock or a thread;
    afterwards, also after an error, everything can.
    """

    def refused(split: data.Split, language: str) -> None:
        with pytest.raises(RuntimeError, match="is locked"):
            data.examples(cldr.KIND, split, language)
        with pytest.raises(RuntimeError, match="is locked"):
            data.candidates(cldr.NAME, split, language)

    @data.english_only()
    def inner() -> None:
        refused("test", "sw")

    caught: list[BaseException] = []

    def other() -> None:
        try:
            data.examples(cldr.KIND, "test", "sw")
        except RuntimeError as error:
            caught.append(error)

    with data.english_only():
        assert data.examples(cldr.KIND, "train", "en")
        assert data.examples(cldr.KIND, "dev", "en")
        inner()
        for split, language in (("test", "sw"), ("test", "en"), ("dev", "sw"), ("train", "zh"), ("test", "swa")):
            refused(split, language)
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert len(caught) == 1

    @data.english_only()
    def failing() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        failing()
    assert data.examples(cldr.KIND, "test", "sw")


@pytest.mark.slow
def test_ray_runs_the_same_trainings(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """On Ray with one training at a time the search is the one of this process, score by score, and MLflow has it, too; the same command
    again starts no Ray, and a fault in a training ends it with the reason.
    """
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlflow").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    budget = Budget(num_trials=3, max_epochs=2)
    here = tune_task(PLAN, "kind", "tiny", budget, site(tmp_path / "here"))
    shutil.copytree(tmp_path / "here" / "stages", tmp_path / "there" / "stages")
    there = tune_task(
        PLAN, "kind", "tiny", budget, site(tmp_path / "there"), Cluster(max_concurrent=1, tracking=Tracking(("mlflow",), tmp_path, "tuned"))
    )
    same = [name for name in here.table.column_names if name != "seconds"]
    assert there.table.select(same).equals(here.table.select(same))
    assert there.winner == here.winner
    assert "on English dev" in capsys.readouterr().out
    logged = mlflow_runs(client(tmp_path / "mlflow", monkeypatch), "tuned")
    assert {key: run.data.metrics["dev_score"] for key, run in logged.items()} == {
        row["key"]: row["dev_score"] for row in there.table.to_pylist()
    }
    assert all(run.data.metrics["loss"] > 0 for run in logged.values())
    again = tune_task(PLAN, "kind", "tiny", budget, site(tmp_path / "there"), Cluster(address="nowhere"))
    assert again.table.equals(there.table)

    def faulty(stage: Stage) -> float:
        raise ValueError("a bug")

    with pytest.raises(UserError, match="a bug"):
        tune_task(PLAN, "kind", "tiny", budget, site(tmp_path / "faulty"), Cluster(), measure=faulty)
