"""The simulated sweep: by hand, within its bounds, and as another simulator has it."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from places import experiment, smoke

from raystilts import simulate as simulation
from raystilts.errors import UserError
from raystilts.simulate import DECLARED, LEVELS, MEASURED, UNKNOWN, Declared, Durations, Graph, Makespan, durations, make_graph, simulate
from raystilts.store import Store
from raystilts.study import make_plan

PLAN = make_plan(smoke())


@dataclass(frozen=True)
class Case:
    """Stages in order: parent, phase and duration of each. The runs are the stages that nothing starts from."""

    parents: dict[str, str | None]
    phases: dict[str, str]
    seconds: dict[str, float]

    @property
    def cells(self) -> list[str]:
        """Keys that are no parent."""
        return [key for key in self.parents if key not in self.parents.values()]

    @property
    def graph(self) -> Graph:
        """What is simulated."""
        return graph_of(self.parents, self.phases, self.cells)


def graph_of(parents: Mapping[str, str | None], phases: Mapping[str, str], cells: Iterable[str]) -> Graph:
    """A graph of stages that have a parent each, or none."""
    return make_graph({key: (parent,) if parent else () for key, parent in parents.items()}, phases, cells)


def case(text: str) -> Case:
    """`b<a 3` is a training of 3 units that starts from a; `b<a 3 e` an evaluation, `a 1 i` an initialisation."""
    parents, phases, seconds = {}, {}, {}
    for part in text.split(","):
        name, length, *phase = part.split()
        key, _, parent = name.partition("<")
        parents[key], seconds[key] = parent or None, float(length)
        phases[key] = {"e": "evaluate", "i": "initialise", "": "train"}["".join(phase)]
    return Case(parents, phases, seconds)


def run(text: str, workers: int) -> Makespan:
    """The simulation of such a case."""
    made = case(text)
    return simulate(made.graph, made.seconds, workers)


@st.composite
def forests(draw: st.DrawFn, shortest: int = 0) -> Case:
    """Stages that start from any training or initialisation before them; evaluations have no children; durations are whole numbers."""
    parents: dict[str, str | None] = {}
    phases: dict[str, str] = {}
    for number in range(draw(st.integers(1, 25))):
        above = [None, *(key for key in parents if phases[key] != "evaluate")]
        key = f"s{draw(st.integers(0, 99))}-{number}"  # so that the order of the keys is not that of the stages
        parents[key] = draw(st.sampled_from(above))
        first = ("train", "initialise", "evaluate") if parents[key] is None else ("train", "evaluate")
        phases[key] = draw(st.sampled_from(first))
    return Case(parents, phases, {key: float(draw(st.integers(shortest, 9))) for key in parents})


def test_a_stage_waits_for_all_its_parents() -> None:
    """A mean of two runs, 2 and 5 long, starts when the longer is done; done for itself alone it costs both, one after the other."""
    graph = make_graph({"a": (), "b": (), "mean": ("a", "b"), "e": ("mean",)}, {"e": "evaluate"}, ["e"])
    found = simulate(graph, {"a": 2, "b": 5, "mean": 1, "e": 1}, 2)
    assert (found.makespan, found.critical_path, found.wave_by_wave, found.unshared) == (7, 7, 7, 9)
    assert simulate(graph, {"a": 2, "b": 5, "mean": 1, "e": 1}, 1).makespan == 9


def test_a_chain_takes_as_long_as_its_stages() -> None:
    """More workers do not help a chain: 1 + 2 + 3 on four of them, idle for 18 of 24."""
    found = run("a 1, b<a 2, c<b 3", workers=4)
    assert (found.makespan, found.wave_by_wave, found.unshared, found.lower_bound, found.upper_bound) == (6, 6, 6, 6, 6)
    assert found.idle == dict.fromkeys(("makespan", "wave_by_wave", "unshared", "lower_bound"), 0.75)


def test_what_is_shared_is_done_once() -> None:
    """Two targets of one intermediate: 10 units of work and not 12; on two workers the unshared sweep is as fast, but never idle."""
    text = "middle 2, a<middle 3, x<a 1 e, b<middle 3, y<b 1 e"
    alone, two = run(text, workers=1), run(text, workers=2)
    assert (alone.work, alone.unshared_work) == (10, 12)
    assert (alone.makespan, alone.unshared, alone.lower_bound, alone.left) == (10, 12, 10, 10)
    assert (two.makespan, two.wave_by_wave, two.unshared, two.lower_bound) == (6, 6, 6, 6)
    assert two.idle == pytest.approx({"makespan": 1 / 6, "wave_by_wave": 1 / 6, "unshared": 0, "lower_bound": 1 / 6})
    assert (two.num_stages, two.num_jobs, two.num_cells, two.num_done, two.critical_path) == (5, 3, 2, 0, 6)


def test_no_barrier_stands_between_depths() -> None:
    """A short stage's long child starts at once: 6 units, where waves wait for the longest stage of each depth and take 10."""
    found = run("a 1, b 5, c<a 5, d<b 1", workers=2)
    assert (found.makespan, found.wave_by_wave) == (6, 10)


def test_the_longest_remaining_chain_starts_first() -> None:
    """The chain of two starts before single stages that are planned before it, whatever they last; in plan order it would be 10."""
    found = run("x 4, y 4, a 3, b<a 3", workers=2)
    assert (found.makespan, found.lower_bound, found.upper_bound) == (7, 7, 10)


def test_a_model_is_evaluated_on_the_worker_that_trained_it() -> None:
    """Two evaluations of one model are one job with its training: 11 units; waves, which have no such jobs, take 6."""
    found = run("a 1, x<a 5 e, y<a 5 e", workers=2)
    assert (found.makespan, found.wave_by_wave, found.lower_bound, found.upper_bound) == (11, 6, 6, 11)


def test_an_evaluation_below_an_initialisation_counts_once() -> None:
    """Whichever job does it, an evaluation is done once."""
    found = run("a 2 i, x<a 3 e, b<a 4", workers=1)
    assert (found.makespan, found.work) == (9, 9)


def test_what_is_done_is_left_out_of_what_is_left() -> None:
    """With the intermediate and one model in the store, that model's evaluation and the other branch are left: 1 beside 3 + 1."""
    made = case("middle 2, a<middle 3, x<a 1 e, b<middle 3, y<b 1 e")
    found = simulate(made.graph, made.seconds, 2, done={"middle", "a"})
    assert (found.makespan, found.left, found.num_done) == (6, 4, 2)
    assert simulate(made.graph, made.seconds, 2, done=set(made.parents)).left == 0


def test_nothing_takes_no_time() -> None:
    """An empty graph, and one whose stages take no time, have no makespan and no idle share."""
    for made in (Case({}, {}, {}), case("a 0, b<a 0 e")):
        found = simulate(made.graph, made.seconds, 3)
        assert (found.makespan, found.wave_by_wave, found.unshared, found.lower_bound) == (0, 0, 0, 0)
        assert set(found.idle.values()) == {0.0}


def test_a_chain_of_thousands_is_no_recursion() -> None:
    """Depth is not limited by the interpreter's stack."""
    parents = {str(i): str(i - 1) if i else None for i in range(5000)}
    assert simulate(graph_of(parents, {}, ["4999"]), dict.fromkeys(parents, 1.0), 8).makespan == 5000


@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf, None])
def test_durations_must_be_numbers(value: float | None) -> None:
    """A negative, infinite or missing duration is named; so is a sweep without workers, and a child before its parent."""
    made = case("a 1, b<a 1")
    seconds = {"a": 1.0} | ({} if value is None else {"b": value})
    with pytest.raises(ValueError, match="duration of the stage 'b'"):
        simulate(made.graph, seconds, 1)
    with pytest.raises(ValueError, match="0 workers"):
        simulate(made.graph, made.seconds, 0)
    with pytest.raises(ValueError, match="'b' stands before its parent 'a'"):
        graph_of({"b": "a", "a": None}, {}, [])


@settings(deadline=None, max_examples=300)
@given(forests(), st.integers(1, 6))
def test_every_sweep_is_within_its_bounds(made: Case, workers: int) -> None:
    """No sweep beats the lower bound, the job sweep keeps Graham's, sharing never adds work, idle shares are in [0, 1)."""
    found = simulate(made.graph, made.seconds, workers)
    slack = 1e-9
    assert found.lower_bound == pytest.approx(max(found.critical_path, found.work / workers))
    assert found.lower_bound <= found.makespan + slack
    assert found.lower_bound <= found.wave_by_wave + slack
    assert found.makespan <= found.upper_bound + slack
    jobs = job_chains(made)
    assert found.upper_bound == pytest.approx(found.work / workers + (1 - 1 / workers) * max(jobs.values()))
    assert found.makespan <= (2 - 1 / workers) * max(*jobs.values(), found.work / workers) + slack  # of the best for these jobs
    assert found.unshared_work >= found.work
    assert found.unshared * workers >= found.unshared_work - slack
    assert all(0 <= share < 1 for share in found.idle.values())
    assert found.left == found.makespan
    assert simulate(made.graph, made.seconds, 1).makespan == found.work


def job_chains(made: Case) -> dict[str, float]:
    """Length of each training's chain where every evaluation is part of its parent's job, by following parents upwards."""
    found = {}
    for key in made.parents:
        total, at = 0.0, made.parents[key] if made.phases[key] == "evaluate" and made.parents[key] else key
        while at is not None:
            below = [child for child, parent in made.parents.items() if parent == at and made.phases[child] == "evaluate"]
            total += made.seconds[at] + sum(made.seconds[child] for child in below)
            at = made.parents[at]
        found[key] = total
    return found


@settings(deadline=None, max_examples=300)
@given(forests(shortest=1), st.integers(1, 6))
def test_another_simulator_agrees(made: Case, workers: int) -> None:
    """Moment by moment, without heaps and without the sweep's schedule: the same makespans."""
    found = simulate(made.graph, made.seconds, workers)
    assert found.makespan == step_by_step(made, workers)
    assert found.unshared == trials(made, workers)


def step_by_step(made: Case, workers: int) -> int:
    """The job sweep, one unit of time after the other."""
    evaluations = [key for key in made.parents if made.phases[key] == "evaluate" and made.parents[key] is not None]
    above = {key: parent for key, parent in made.parents.items() if key not in evaluations}
    length = {key: int(made.seconds[key] + sum(made.seconds[e] for e in evaluations if made.parents[e] == key)) for key in above}

    def height(key: str) -> int:
        return 1 + max((height(child) for child in above if above[child] == key), default=0)

    waiting, running, ended, now = list(above), {}, set(), 0
    while waiting or running:
        ended |= {key for key, end in running.items() if end == now}
        running = {key: end for key, end in running.items() if end > now}
        ready = [key for key in waiting if above[key] is None or above[key] in ended]
        for key in sorted(ready, key=lambda key: -height(key))[: workers - len(running)]:  # sorted keeps the order of equals
            running[key] = now + length[key]
            waiting.remove(key)
        now += 1
    return now - 1


def trials(made: Case, workers: int) -> int:
    """The unshared sweep, one unit of time after the other."""
    waiting = []
    for key in made.cells:
        at, total = key, 0.0
        while at is not None:
            total, at = total + made.seconds[at], made.parents[at]
        waiting.append(int(total))
    running, now = [], 0
    while waiting or running:
        running = [end for end in running if end > now]
        while waiting and len(running) < workers:
            running.append(now + waiting.pop(0))
        now += 1
    return now - 1


@settings(deadline=None)
@given(forests(), st.integers(1, 6), st.randoms(use_true_random=False))
def test_the_order_of_the_input_does_not_matter(made: Case, workers: int, random) -> None:
    """Durations, phases and what is done may come in any order. The stages' own order decides only between equals, as on Ray: any other
    one that has parents first leaves work, bounds and the unshared work as they are.
    """
    keys = list(made.parents)
    random.shuffle(keys)
    done = [key for key in made.parents if made.parents[key] is None and made.phases[key] != "evaluate"]
    found = simulate(made.graph, made.seconds, workers, done)
    mixed = graph_of(made.parents, {key: made.phases[key] for key in keys}, made.cells)
    assert simulate(mixed, {key: made.seconds[key] for key in keys}, workers, set(done)) == found
    order: list[str] = []
    while len(order) < len(keys):
        order.append(next(key for key in keys if key not in order and made.parents[key] in (None, *order)))
    other = Case({key: made.parents[key] for key in order}, made.phases, made.seconds)
    again = simulate(other.graph, made.seconds, workers)
    for name in ("work", "unshared_work", "critical_path", "lower_bound", "upper_bound"):
        assert getattr(again, name) == pytest.approx(getattr(found, name))
    assert again.makespan <= found.upper_bound + 1e-9


@pytest.mark.parametrize("name", ["smoke", "study"])
def test_a_plan_is_simulated(name: str) -> None:
    """Of a real plan with stages of one unit: the work is its stages, the unshared work is what the plan itself counts."""
    plan = make_plan(getattr(experiment("quickstart"), name)())
    known = durations(plan, Store(Path("nowhere")))
    found = simulate(simulation.graph_of(plan), known.seconds, 4)
    assert (found.work, found.unshared_work) == (len(plan.stages), sum(plan.unshared.values()))
    assert found.critical_path == max(len(stage.lineage) for stage in plan.stages.values())
    assert found.num_cells == len(plan.cells)
    assert found.lower_bound <= found.makespan < found.unshared


def stored(folder: Path, seconds: dict[str, float]) -> Store:
    """A store with nothing in it but how long stages took."""
    for key, took in seconds.items():
        (folder / "stages" / key).mkdir(parents=True)
        (folder / "stages" / key / "stage.json").write_text(json.dumps({"seconds": took}), encoding="utf-8")
    return Store(folder)


def alike(key: str) -> list[str]:
    """Other stages of the same role, encoder and task."""
    facts = lambda k: (PLAN.roles[k], PLAN.encoders[k], PLAN.stages[k].task)  # noqa: E731
    return [other for other in PLAN.stages if other != key and facts(other) == facts(key)]


def test_durations_are_measured_or_the_mean_of_their_like(tmp_path: Path) -> None:
    """Its own time; the mean over its role, encoder and task; over its role and encoder; over its role; over all. Each is counted."""
    first = next(key for key in PLAN.stages if PLAN.roles[key] == "target" and alike(key))
    second = alike(first)[0]
    known = durations(PLAN, stored(tmp_path, {first: 2.0, second: 4.0}))
    expected = {first: 2.0, second: 4.0}
    assert known.seconds == {key: expected.get(key, 3.0) for key in PLAN.stages}
    assert list(known.seconds) == list(PLAN.stages)
    encoder = PLAN.encoders[first]
    for key, origin in known.origins.items():
        target, same = PLAN.roles[key] == "target", PLAN.encoders[key] == encoder
        level = 0 if key in alike(first) else 1 if target and same else 2 if target else 3
        assert origin == (MEASURED if key in expected else LEVELS[level])
    assert known.counts == Counter(known.origins.values())
    assert next(iter(known.counts)) == MEASURED
    assert known.in_seconds


def test_nearer_means_win(tmp_path: Path) -> None:
    """With a time for every role, and two tasks of one of them, an unknown stage has its own task's time and not its role's."""
    by_task = {}
    for key, stage in PLAN.stages.items():
        by_task.setdefault((PLAN.roles[key], PLAN.encoders[key], stage.task.name), key)
    measured = {key: float(2**place) for place, key in enumerate(by_task.values())}
    known = durations(PLAN, stored(tmp_path, measured))
    assert set(known.origins.values()) == {MEASURED, LEVELS[0]}
    for key, stage in PLAN.stages.items():
        assert known.seconds[key] == measured[by_task[PLAN.roles[key], PLAN.encoders[key], stage.task.name]]


def test_what_is_declared_comes_before_what_was_measured(tmp_path: Path) -> None:
    """An encoder's own declaration before its role's, that before one for all, all of them before the store."""
    measured = stored(tmp_path, dict.fromkeys(PLAN.stages, 7.0))
    known = durations(PLAN, measured, simulation.declare(PLAN, hours=["target=2", "target:nano=1", "evaluation=0.5"]))
    assert {name for name in PLAN.encoders.values() if name != "nano"}
    for key, role in PLAN.roles.items():
        hours = {"evaluation": 0.5, "target": 1 if PLAN.encoders[key] == "nano" else 2}.get(role)
        assert (known.seconds[key], known.origins[key]) == ((7.0, MEASURED) if hours is None else (3600 * hours, DECLARED))
    assert set(durations(PLAN, measured, simulation.declare(PLAN, hours=["3"])).seconds.values()) == {3 * 3600}


def test_examples_per_second_become_durations() -> None:
    """Steps times batch, or epochs times examples (at most as many as the recipe takes); an evaluation reads its test data once."""
    declared = simulation.declare(PLAN, rates=["100"])
    known = durations(PLAN, Store(Path("nowhere")), declared)
    for key, stage in PLAN.stages.items():
        assert known.seconds[key] == declared.examples[key] / 100
        recipe = stage.recipe
        if stage.phase == "train" and recipe.num_steps is not None:
            assert declared.examples[key] == recipe.num_steps * recipe.batch_size
    trained = next(stage for stage in PLAN.stages.values() if stage.phase == "train" and not stage.task.parts)
    by_epochs = {epochs: replace(trained, recipe=replace(trained.recipe, num_steps=None, num_epochs=epochs)) for epochs in (1, 3)}
    few = replace(trained, recipe=replace(trained.recipe, num_steps=None, num_epochs=2, max_examples=5))
    found = simulation.examples_of(replace(PLAN, stages={"1": by_epochs[1], "3": by_epochs[3], "few": few}))
    assert found["3"] == 3 * found["1"] > 0
    assert found["few"] == 10


def test_rates_need_the_number_of_examples() -> None:
    """A rate says nothing of a stage whose examples nobody counted; a declared duration needs no count."""
    declared = Declared(seconds={"": 5.0}, examples_per_second={"target": 10.0}, examples={"a": 100})
    assert declared.of("a", "target", "e") == 10
    assert declared.of("b", "target", "e") == 5
    assert Declared(examples_per_second={"": 1.0}).of("a", "target", "e") is None


@pytest.mark.parametrize(
    "text", ["target:pic=1", "training=1", "target=0", "target=-1", "target=nan", "target=inf", "target", "", "target=", "target:=1"]
)
def test_a_bad_declaration_is_one_sentence(text: str) -> None:
    """An unknown role or encoder, or a number that is none, is a UserError that quotes it."""
    with pytest.raises(UserError, match=f"^'{text}'"):
        simulation.declare(PLAN, hours=[text])


def test_lines_say_hours_and_where_durations_come_from() -> None:
    """A table of four sweeps in hours and minutes, what is left, and how many durations are measured or estimated."""
    made = case("middle 2, a<middle 3, x<a 1 e, b<middle 3, y<b 1 e")
    hours = {key: 3600 * length for key, length in made.seconds.items()}
    known = Durations(hours, dict.fromkeys(("middle", "a", "x"), MEASURED) | dict.fromkeys(("b", "y"), LEVELS[0]))
    assert simulation.lines(simulate(made.graph, hours, 2, done={"middle", "a"}), known) == [
        "simulated on 2 workers: 5 stages in 3 jobs for 2 runs",
        "durations: 3 measured; 2 estimated as the mean of the same role, encoder and task",
        "                        makespan  of the bound     idle              work",
        "raystilts run         6 h 00 min        1.00 x   16.7 %       10 h 00 min",
        "wave by wave          6 h 00 min        1.00 x   16.7 %       10 h 00 min",
        "nothing shared        6 h 00 min        1.00 x    0.0 %       12 h 00 min",
        "lower bound           6 h 00 min        1.00 x   16.7 %       10 h 00 min",
        "2 stages are done; raystilts run needs 4 h 00 min for the others.",
    ]
    long = {key: 360_000 * length for key, length in made.seconds.items()}
    assert "1,000 h" in simulation.lines(simulate(made.graph, long, 2), known)[3]


def test_without_durations_only_ratios_are_claimed() -> None:
    """Where nothing is known the lines speak of no hours and say why."""
    known = durations(PLAN, Store(Path("nowhere")))
    text = "\n".join(simulation.lines(simulate(simulation.graph_of(PLAN), known.seconds, 2), known))
    assert "each stage counts as 1, so that only ratios mean anything" in text
    assert " h " not in text
    assert " min" not in text
    assert known.counts == {UNKNOWN: len(PLAN.stages)}
    assert not known.in_seconds


def test_facts_are_json() -> None:
    """All that the lines say stands in the JSON, too."""
    known = durations(PLAN, Store(Path("nowhere")))
    found = simulate(simulation.graph_of(PLAN), known.seconds, 2)
    facts = json.loads(json.dumps(simulation.facts(found, known)))
    assert facts["makespan"] == found.makespan
    assert facts["idle"] == found.idle
    assert (facts["unit"], facts["durations"]) == ("stages", {UNKNOWN: len(PLAN.stages)})
