"""How long a plan takes on so many workers, and how long it would take with barriers or without sharing. Runs and writes nothing.

The sweep's own `Schedule` says what starts next, over a store that only pretends: what is simulated is the policy that runs. Three
figures stand beside the makespan: the wave-by-wave sweep (all stages of a depth end before one of the next depth starts; any stage on any
worker, in plan order), the unshared sweep (each run of the study does all of its stages itself, as one trial of Ray Tune would, in
plan order), and a lower bound that no sweep of these stages can beat: the longest chain of stages, or the work / the workers.

A worker is what one job occupies (`raystilts run` has as many as fit, or --max-concurrent). Starting a job takes no time here.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

from raystilts import data
from raystilts.errors import UserError
from raystilts.progress import duration, groups, kind_of
from raystilts.schedule import Schedule
from raystilts.stage import Phase
from raystilts.store import Store
from raystilts.study import ROLES, Plan
from raystilts.task import Task

MEASURED, DECLARED, UNKNOWN = "measured", "declared", "unknown"
LEVELS = ("the same role, encoder and task", "the same role and encoder", "the same role", "all that are known")
"""Where a stage's own duration is not known, it is the mean of the first of these that holds any."""


@dataclass(frozen=True, eq=False)
class Node:
    """What the schedule reads of a stage."""

    key: str
    parents: tuple[Node, ...]
    phase: Phase


@dataclass(frozen=True, eq=False)
class Graph:
    """Stages, parents before children, and the last stage of each run. Their order decides between equals, as it does on Ray."""

    stages: Mapping[str, Node]
    cells: tuple[str, ...]

    @property
    def children(self) -> dict[str, list[str]]:
        """Key -> keys of the stages that start from it."""
        found: dict[str, list[str]] = {key: [] for key in self.stages}
        for key, node in self.stages.items():
            for parent in node.parents:
                found[parent.key].append(key)
        return found


def graph_of(plan: Plan) -> Graph:
    """A plan's stages and runs."""
    parents = {key: tuple(parent.key for parent in stage.parents) for key, stage in plan.stages.items()}
    return make_graph(parents, {key: stage.phase for key, stage in plan.stages.items()}, [cell.evaluation.key for cell in plan.cells])


def make_graph(parents: Mapping[str, Sequence[str]], phases: Mapping[str, Phase], cells: Iterable[str]) -> Graph:
    """A graph from each stage's parents; a stage without a phase is a training. ValueError where a child stands before its parent."""
    nodes: dict[str, Node] = {}
    for key, above in parents.items():
        for parent in above:
            if parent not in nodes:
                raise ValueError(f"the stage {key!r} stands before its parent {parent!r}")
        nodes[key] = Node(key, tuple(nodes[parent] for parent in above), phases.get(key, "train"))
    return Graph(nodes, tuple(cells))


@dataclass(frozen=True)
class Declared:
    """What a person says of durations, by `role:encoder`, by `role`, or for all ("").

    examples: key -> how many examples a stage takes through its model (see `examples_of`), for those whose speed is declared.
    """

    seconds: Mapping[str, float] = field(default_factory=dict)
    examples_per_second: Mapping[str, float] = field(default_factory=dict)
    examples: Mapping[str, int] = field(default_factory=dict)

    def of(self, key: str, role: str, encoder: str) -> float | None:
        """Seconds of a stage; None where nothing is said of it."""
        for name in (f"{role}:{encoder}", role, ""):
            if name in self.seconds:
                return self.seconds[name]
            if name in self.examples_per_second and key in self.examples:
                return self.examples[key] / self.examples_per_second[name]
        return None


def declare(plan: Plan, hours: Sequence[str] = (), rates: Sequence[str] = (), data_dir: Path | None = None) -> Declared:
    """What the command line says: `2` for all stages, `target=2`, `target:xlmr-large=5`; hours, or examples per second.

    Reads the data sets where rates are given: how many examples a stage has is in no plan. Raises UserError.
    """
    seconds = {name: 3600 * number for name, number in _named(plan, hours).items()}
    speeds = _named(plan, rates)
    return Declared(seconds, speeds, examples_of(plan, data_dir) if speeds else {})


def _named(plan: Plan, texts: Sequence[str]) -> dict[str, float]:
    encoders = sorted(set(plan.encoders.values()))
    names = {"", *ROLES, *(f"{role}:{encoder}" for role in ROLES for encoder in encoders)}
    found = {}
    for text in texts:
        name, _, number = text.rpartition("=")
        if name not in names:
            raise UserError(f"{text!r}: give NUMBER, ROLE=NUMBER or ROLE:ENCODER=NUMBER; roles are {ROLES}, encoders {tuple(encoders)}.")
        try:
            value = float(number)
        except ValueError:
            value = math.nan
        if not 0 < value < math.inf:
            raise UserError(f"{text!r}: {number!r} is not a positive number.")
        found[name] = value
    return found


def examples_of(plan: Plan, data_dir: Path | None = None) -> dict[str, int]:
    """Key -> examples that a stage takes through its model, each as often as it does. Reads all data; long contexts count once."""
    sizes: dict[tuple[Task, str, str], int] = {}
    found = {}
    for key, stage in plan.stages.items():
        read, recipe = 0, stage.recipe
        for (task, split, language), (_, identity) in zip(stage.reads, stage.data, strict=True):
            if split != {"train": "train", "average": "dev"}.get(stage.phase, split):
                continue  # scoring the dev data after a training is a small part of it
            if (task, split, identity) not in sizes:
                sizes[task, split, identity] = len(data.read(task, split, language, data_dir))
            size = sizes[task, split, identity]
            read += min(size, recipe.max_examples or size) if recipe and stage.phase == "train" else size
        if recipe and stage.phase == "train":
            read = recipe.num_steps * recipe.batch_size if recipe.num_steps is not None else recipe.num_epochs * read
        found[key] = read
    return found


@dataclass(frozen=True)
class Durations:
    """Seconds of each stage, and where they come from: MEASURED, DECLARED, a level of LEVELS, or UNKNOWN (then each is 1)."""

    seconds: Mapping[str, float]
    origins: Mapping[str, str]

    @property
    def in_seconds(self) -> bool:
        """Whether they are times; else only ratios mean anything."""
        return UNKNOWN not in self.origins.values()

    @property
    def counts(self) -> dict[str, int]:
        """How many stages have their duration from where; the surest first."""
        found = Counter(self.origins.values())
        return {origin: found[origin] for origin in (MEASURED, DECLARED, *LEVELS, UNKNOWN) if origin in found}


def durations(plan: Plan, store: Store, declared: Declared | None = None) -> Durations:
    """How long each stage of a plan takes: as declared, else as measured by a run of this store, else the mean of its like.

    What is declared comes first: whoever declares durations means machines other than those that filled the store.
    """
    known: dict[str, float] = {}
    origins: dict[str, str] = {}
    done = store.done()
    for key in plan.stages:
        said = declared.of(key, plan.roles[key], plan.encoders[key]) if declared else None
        if said is not None:
            known[key], origins[key] = said, DECLARED
        elif key in done:
            known[key], origins[key] = float(store.record(key)["seconds"]), MEASURED
    if not known:
        return Durations(dict.fromkeys(plan.stages, 1.0), dict.fromkeys(plan.stages, UNKNOWN))
    alike: dict[tuple[str, ...], list[float]] = {}
    for key, seconds in known.items():
        for group in groups(kind_of(plan, key)):
            alike.setdefault(group, []).append(seconds)
    means = {group: math.fsum(found) / len(found) for group, found in alike.items()}
    for key in plan.stages:
        if key not in origins:
            level, group = next((level, group) for level, group in zip(LEVELS, groups(kind_of(plan, key)), strict=True) if group in means)
            known[key], origins[key] = means[group], level
    return Durations({key: known[key] for key in plan.stages}, {key: origins[key] for key in plan.stages})


@dataclass(frozen=True)
class Makespan:
    """What a simulation found; times in the unit of the durations."""

    workers: int
    num_stages: int
    num_jobs: int
    num_cells: int
    work: float  # of all stages, each done once
    unshared_work: float
    critical_path: float  # the longest chain of stages
    makespan: float
    wave_by_wave: float
    unshared: float
    lower_bound: float
    upper_bound: float  # Graham's: no order of these jobs takes longer
    num_done: int
    left: float  # makespan of what is not done yet

    @property
    def idle(self) -> dict[str, float]:
        """The share of its time that a worker has nothing to do, until the end of each sweep."""
        sweeps = {name: getattr(self, name) for name in ("makespan", "wave_by_wave", "unshared", "lower_bound")}
        return {
            name: max(0.0, 1 - (self.unshared_work if name == "unshared" else self.work) / (self.workers * length)) if length else 0.0
            for name, length in sweeps.items()
        }


def simulate(graph: Graph, seconds: Mapping[str, float], workers: int, done: Collection[str] = frozenset()) -> Makespan:
    """The whole graph on so many workers, from an empty store; `left` is from a store that holds what is `done`.

    Raises ValueError where a duration is missing, negative or not finite, or where there is no worker.
    """
    if workers < 1:
        raise ValueError(f"{workers} workers do nothing")
    for key in graph.stages:
        if not 0 <= seconds.get(key, math.nan) < math.inf:
            raise ValueError(f"the duration of the stage {key!r} is {seconds.get(key)}; it must be a number of at least 0")
    schedule, rest = _schedule(graph, frozenset()), _schedule(graph, done)
    lengths = _lengths(schedule, seconds)
    parents = {key: [parent.key for parent in node.parents] for key, node in graph.stages.items()}
    chain = max(_chains({key: schedule.parents(key) for key in schedule.jobs}, lengths).values(), default=0.0)
    critical_path = max(_chains(parents, seconds).values(), default=0.0)
    alone = _alone(parents, seconds)
    work = math.fsum(seconds[key] for key in graph.stages)
    return Makespan(
        workers=workers,
        num_stages=len(graph.stages),
        num_jobs=len(schedule.jobs),
        num_cells=len(graph.cells),
        num_done=len(graph.stages.keys() & set(done)),
        work=work,
        unshared_work=math.fsum(alone[key] for key in graph.cells),
        critical_path=critical_path,
        makespan=_sweep(schedule, lengths, workers),
        wave_by_wave=math.fsum(_in_order([seconds[key] for key in wave], workers) for wave in _waves(graph)),
        unshared=_in_order([alone[key] for key in graph.cells], workers),
        lower_bound=max(critical_path, work / workers),
        upper_bound=work / workers + (1 - 1 / workers) * chain,
        left=_sweep(rest, _lengths(rest, seconds), workers),
    )


@dataclass(frozen=True)
class _Pretended(Store):
    """A store that is told what it holds."""

    keys: set[str]

    def has(self, key: str) -> bool:
        return key in self.keys

    def done(self) -> set[str]:
        return self.keys

    def busy(self, keys: Iterable[str]) -> set[str]:
        return set()

    def failure(self, key: str) -> str:
        return ""


def _schedule(graph: Graph, done: Collection[str]) -> Schedule:
    # of a plan, a schedule reads only `stages` (their keys, parents and phases) and `children`
    return Schedule(cast("Plan", graph), _Pretended(Path(), set(done)))


def _sweep(schedule: Schedule, lengths: Mapping[str, float], workers: int) -> float:
    """When the last job ends. What ends at the same time has ended before anything else starts."""
    holds = cast("_Pretended", schedule.store).keys
    running: list[tuple[float, int, str]] = []
    now, number = 0.0, 0
    while True:
        while len(running) < workers and (key := schedule.start()) is not None:
            heapq.heappush(running, (now + lengths[key], number, key))
            number += 1
        if not running:
            return now
        now = running[0][0]
        while running and running[0][0] == now:
            _, _, key = heapq.heappop(running)
            holds.update(schedule.jobs[key])
            schedule.end(key)


def _lengths(schedule: Schedule, seconds: Mapping[str, float]) -> dict[str, float]:
    """How long each job takes."""
    return {key: math.fsum(seconds[stage] for stage in stages) for key, stages in schedule.jobs.items()}


def _chains(parents: Mapping[str, Sequence[str]], lengths: Mapping[str, float]) -> dict[str, float]:
    """When each has ended at the earliest: the longest chain of what stands before it, and itself."""
    found: dict[str, float] = {}
    for key, above in parents.items():
        found[key] = lengths[key] + max((found[parent] for parent in above), default=0.0)
    return found


def _alone(parents: Mapping[str, Sequence[str]], lengths: Mapping[str, float]) -> dict[str, float]:
    """How long each takes with all that stands before it, done one after the other and for nobody else."""
    found: dict[str, float] = {}
    for key, above in parents.items():
        found[key] = lengths[key] + sum(found[parent] for parent in above)
    return found


def _waves(graph: Graph) -> list[list[str]]:
    """Keys of the stages by their depth."""
    depth: dict[str, int] = {}
    found: list[list[str]] = []
    for key, node in graph.stages.items():
        depth[key] = max((depth[parent.key] + 1 for parent in node.parents), default=0)
        if depth[key] == len(found):
            found.append([])
        found[depth[key]].append(key)
    return found


def _in_order(lengths: Sequence[float], workers: int) -> float:
    """When the last of independent pieces of work ends that are started in this order, each by the worker that is free first."""
    free = [0.0] * min(workers, max(1, len(lengths)))
    for length in lengths:
        heapq.heapreplace(free, free[0] + length)
    return max(free)


SWEEPS = {
    "makespan": "raystilts run",
    "wave_by_wave": "wave by wave",
    "unshared": "nothing shared",
    "lower_bound": "lower bound",
}


def lines(found: Makespan, known: Durations) -> list[str]:
    """The simulation for a terminal."""
    text = _time if known.in_seconds else "{:,.1f}".format
    head = f"{'':16}{'makespan':>16}{'of the bound':>14}{'idle':>9}{'work':>18}"
    told = [
        f"simulated on {found.workers:,} workers: {found.num_stages:,} stages in {found.num_jobs:,} jobs for {found.num_cells:,} runs",
        f"durations: {'; '.join(_told(origin, count) for origin, count in known.counts.items())}",
        head,
    ]
    for name, label in SWEEPS.items():
        length, work = getattr(found, name), found.unshared_work if name == "unshared" else found.work
        ratio = f"{length / found.lower_bound:.2f} x" if found.lower_bound else "-"
        told.append(f"{label:16}{text(length):>16}{ratio:>14}{100 * found.idle[name]:>7.1f} %{text(work):>18}")
    if found.num_done:
        told.append(f"{found.num_done:,} stages are done; raystilts run needs {text(found.left)} for the others.")
    return told


def _time(seconds: float) -> str:
    return duration(seconds) if seconds < 360_000 else f"{seconds / 3600:,.0f} h"  # nobody counts the minutes of 100 hours


def _told(origin: str, count: int) -> str:
    if origin == UNKNOWN:
        return "none is known; each stage counts as 1, so that only ratios mean anything"
    return f"{count:,} {origin}" if origin in (MEASURED, DECLARED) else f"{count:,} estimated as the mean of {origin}"


def facts(found: Makespan, known: Durations) -> dict[str, Any]:
    """The simulation for JSON."""
    return asdict(found) | {"idle": found.idle, "unit": "seconds" if known.in_seconds else "stages", "durations": known.counts}
