"""A study, and the plan of stages that follows from it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Literal

from raystilts import data, languages, tasks
from raystilts.errors import UserError
from raystilts.stage import Encoder, Recipe, Stage
from raystilts.task import ENGLISH, Source, Task

NONE = "none"
"""The baseline: no intermediate task."""

Role = Literal["pretraining", "intermediate", "target", "evaluation"]
FACTORS = ("encoder", "intermediate", "target")
ROLES: tuple[Role, ...] = ("pretraining", "intermediate", "target", "evaluation")


@dataclass(frozen=True)
class Study:
    """Encoders x (no intermediate + intermediate tasks) x target tasks x seeds. A task is a `Task` or the name of one.

    recipes: by task name; "default" for the others. levels: resource level of each language, in this study's own words; empty
    means Joshi's classes, low (0-2) and high (3-5). margin: equivalence margin of the scaling decisions, in points.
    families: the factors within which the hypotheses over languages are corrected together.
    """

    name: str
    question: str
    encoders: tuple[Encoder, ...]  # the smaller first: scaling compares the last with the first
    intermediates: tuple[Task | str, ...]
    targets: tuple[Task | str, ...]
    seeds: tuple[int, ...]
    recipes: Mapping[str, Recipe] = field(default_factory=dict)
    languages: tuple[str, ...] | None = None  # None: all that the targets have
    levels: Mapping[str, str] = field(default_factory=dict)
    level_order: tuple[str, ...] = ("low", "high")  # the first is the level that the study's question is about
    level_note: str = "Resource level is Joshi et al.'s (2020) class: low is 0-2, high is 3-5."
    margin: float = 1.0
    alpha: float = 0.05
    families: tuple[str, ...] = ("target",)


@dataclass(frozen=True)
class Cell:
    """One run of a study: the stages that lead to one evaluation. seed is None where nothing was trained."""

    encoder: str
    intermediate: str
    target: str
    seed: int | None
    languages: tuple[str, ...]
    evaluation: Stage
    intermediate_stage: Stage | None
    same_data: bool  # both phases train on the same data: a gain is then no evidence for the intermediate task


@dataclass(frozen=True)
class Plan:
    """The distinct stages of a study, parents before children, and the cells that need them."""

    study: Study
    stages: Mapping[str, Stage]  # by key
    roles: Mapping[str, Role]
    encoders: Mapping[str, str]  # stage key -> name of its encoder, for people
    cells: tuple[Cell, ...]
    unshared: Mapping[Role, int]  # stages that a sweep would run in which every cell does all of its own

    @property
    def children(self) -> dict[str, list[str]]:
        """Key -> keys of the stages that start from it, in plan order."""
        found: dict[str, list[str]] = {key: [] for key in self.stages}
        for key, stage in self.stages.items():
            if stage.parent:
                found[stage.parent.key].append(key)
        return found

    def label(self, key: str) -> str:
        """What a person calls the stage: `target kind, micro, seed 2`."""
        stage = self.stages[key]
        parts = [f"{self.roles[key]} {stage.task.name if stage.task else 'initialise'}", self.encoders[key]]
        before = [s.task.name for s in stage.lineage[:-1] if s.task and s.phase == "train"]
        parts += [f"after {' > '.join(before)}"] if before and self.roles[key] != "pretraining" else []
        trained = next((s.seed for s in reversed(stage.lineage) if s.phase == "train" and s.seed is not None), None)
        return ", ".join(parts + ([f"seed {trained}"] if trained is not None and self.roles[key] != "pretraining" else []))


def make_plan(study: Study, data_dir: Path | None = None, encoders_dir: Path | None = None) -> Plan:
    """The plan of a study. Reads what identity needs (hashes of local data and encoders), trains nothing.

    Raises UserError where the study cannot be planned: unknown names, no languages, missing files.
    """
    intermediates: list[Task | str] = [NONE, *(_task(task) for task in study.intermediates)]
    targets = [_task(task) for task in study.targets]
    _check(study, intermediates, targets)
    planner = _Planner(study, data_dir, encoders_dir)
    for encoder in study.encoders:
        planner.add_encoder(encoder, intermediates, targets)
    return Plan(study, planner.stages, planner.roles, planner.names, tuple(planner.cells), {r: planner.asked[r] for r in ROLES})


def _task(task: Task | str) -> Task:
    return tasks.find(task) if isinstance(task, str) else task


def _check(study: Study, intermediates: list[Task | str], targets: list[Task]) -> None:
    where = f"study {study.name!r}"
    for field_name in ("encoders", "targets", "seeds"):
        if not getattr(study, field_name):
            raise UserError(f"{where}: {field_name} is empty; name at least one.")
    if study.languages is not None and not study.languages:
        raise UserError(f"{where}: the language list is empty; name at least one language or leave it None for all.")
    for code in (*(study.languages or ()), *study.levels):
        languages.find(code)
    strange = [level for level in study.levels.values() if level not in study.level_order]
    if strange:
        raise UserError(f"{where}: the level {strange[0]!r} is not in level_order {study.level_order}; name it there.")
    if not study.families or set(study.families) - set(FACTORS):
        raise UserError(f"{where}: families is {study.families}; choose from {FACTORS}.")
    _check_names(where, study, intermediates, targets)


def _check_names(where: str, study: Study, intermediates: list[Task | str], targets: list[Task]) -> None:
    groups = {
        "encoder": [encoder.name for encoder in study.encoders],
        "intermediate": [task if isinstance(task, str) else task.name for task in intermediates],
        "target": [task.name for task in targets],
        "seed": [str(seed) for seed in study.seeds],
    }
    for kind, names in groups.items():
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:
            raise UserError(f"{where}: {kind} {twice[0]!r} is named twice; each may stand once.")
    for task in intermediates:
        if isinstance(task, Task) and task.train is None:
            raise UserError(f"{where}: {task.name!r} has no training data and cannot be an intermediate task.")
    for task in targets:
        if task.test is None:
            raise UserError(f"{where}: {task.name!r} has no test data and cannot be a target task.")


class _Planner:
    """Collects stages while the cells of a study are walked; a plan is built once and frozen."""

    def __init__(self, study: Study, data_dir: Path | None, encoders_dir: Path | None) -> None:
        self.study, self.data_dir, self.encoders_dir = study, data_dir, encoders_dir
        self.stages: dict[str, Stage] = {}
        self.roles: dict[str, Role] = {}
        self.names: dict[str, str] = {}
        self.cells: list[Cell] = []
        self.asked: Counter[Role] = Counter()
        self.identities: dict[tuple[Source, str], str] = {}

    def identity(self, source: Source, language: str) -> str:
        if (source, language) not in self.identities:
            self.identities[source, language] = data.identity(source, language, self.data_dir)
        return self.identities[source, language]

    def keep(self, stage: Stage, role: Role, encoder: Encoder) -> Stage:
        self.asked[role] += 1
        if stage.key not in self.stages:
            self.stages[stage.key], self.roles[stage.key], self.names[stage.key] = stage, role, encoder.name
        return self.stages[stage.key]

    def add_encoder(self, encoder: Encoder, intermediates: list[Task | str], targets: list[Task]) -> None:
        for intermediate, target in product(intermediates, targets):
            untrained = not (_trains(target) or isinstance(intermediate, Task))
            for seed in (None,) if untrained else self.study.seeds:
                self.add_cell(encoder, intermediate, target, seed)

    def add_cell(self, encoder: Encoder, intermediate: Task | str, target: Task, seed: int | None) -> None:
        model, root = self.pretrained(encoder)
        middle = None
        if isinstance(intermediate, Task):
            model = middle = self.keep(self.training(intermediate, seed, model, root), "intermediate", encoder)
        same_data = False
        if _trains(target):
            trained = self.training(_training_task(target), seed, model, root)
            same_data = middle is not None and set(middle.data) == set(trained.data)
            model = self.keep(trained, "target", encoder)
        languages = self.languages(target)
        assert target.test is not None  # noqa: S101  checked by _check; for the type checker
        read = tuple((f"test/{language}", self.identity(target.test, language)) for language in languages)
        evaluation = Stage("evaluate", target, read, encoder="" if model else root, recipe=self.scoring(target), parent=model)
        evaluation = self.keep(evaluation, "evaluation", encoder)
        name = intermediate if isinstance(intermediate, str) else intermediate.name
        self.cells.append(Cell(encoder.name, name, target.name, seed, languages, evaluation, middle, same_data))

    def scoring(self, target: Task) -> Recipe | None:
        """How a target that is not trained is read: only the length counts."""
        return None if _trains(target) else Recipe(max_length=self.recipe(target).max_length)

    def pretrained(self, encoder: Encoder) -> tuple[Stage | None, str]:
        root, stage = "", None
        if encoder.architecture:
            texts = encoder.texts
            if texts is None or texts.train is None:
                raise UserError(f"encoder {encoder.name!r}: an architecture needs `texts`, a task whose texts train its tokenizer.")
            read = (("train/en", self.identity(texts.train, ENGLISH)),)
            stage = Stage("initialise", texts, read, encoder.pretraining_seed, architecture=encoder.architecture)
            stage = self.keep(stage, "pretraining", encoder)
        else:
            from raystilts.model import encoder_identity  # noqa: PLC0415  loads no torch, but belongs to the models

            root = encoder_identity(encoder, self.encoders_dir)
        for task, recipe in encoder.pretraining:
            stage = self.keep(self.training(task, encoder.pretraining_seed, stage, root, recipe), "pretraining", encoder)
        return stage, root

    def training(self, task: Task, seed: int | None, parent: Stage | None, root: str, recipe: Recipe | None = None) -> Stage:
        if task.train is None:
            raise UserError(f"task {task.name!r} has no training data; set `train` or `trained_on`.")
        read = [("train/en", self.identity(task.train, ENGLISH))]
        if task.dev:
            read.append(("dev/en", self.identity(task.dev, ENGLISH)))
        chosen = recipe or self.recipe(task)
        return Stage("train", task, tuple(read), seed, chosen, encoder="" if parent else root, parent=parent)

    def recipe(self, task: Task) -> Recipe:
        recipes = self.study.recipes
        return recipes.get(task.name) or recipes.get("default") or Recipe()

    def languages(self, target: Task) -> tuple[str, ...]:
        asked = self.study.languages
        found = tuple(code for code in target.languages if asked is None or code in asked)
        if not found:
            raise UserError(f"study {self.study.name!r}: none of its languages is a language of {target.name!r}; {target.languages}.")
        return found


def _trains(target: Task) -> bool:
    return target.train is not None or bool(target.trained_on)


def _training_task(target: Task) -> Task:
    return tasks.find(target.trained_on) if target.trained_on else replace(target, test=None, languages=(ENGLISH,))
