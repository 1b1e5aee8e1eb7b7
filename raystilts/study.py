"""A study, and the plan of stages that follows from it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Literal

from raystilts import data, languages, mixing, tasks
from raystilts.errors import UserError
from raystilts.inside import leaves
from raystilts.method import PLAIN, Method, applied, seeds_of
from raystilts.method import check as check_method
from raystilts.stage import Encoder, Recipe, Stage, average_of
from raystilts.task import ENGLISH, Source, Task

NONE = "none"
"""The baseline: no intermediate task."""

OWN_DATA = "own-data"
"""A control among the intermediates: the target's own training data (of several trainings the last one's), with the recipe of this name,
whose num_steps are those of the intermediate task that it controls for; the target's training then begins anew, with a new head."""

LEAST_ROOM = 16  # tokens for special ones and a piece of context, beside a question

Role = Literal["pretraining", "intermediate", "target", "evaluation"]
FACTORS = ("encoder", "intermediate", "method", "target")
ROLES: tuple[Role, ...] = ("pretraining", "intermediate", "target", "evaluation")


@dataclass(frozen=True)
class Study:
    """Encoders x (no intermediate + intermediate tasks) x (plain + methods) x target tasks x seeds. A task is a `Task` or its name;
    OWN_DATA is the control that trains on each target's own data (targets without training data have no such arm).

    recipes: by task name; "default" for the others. levels: resource level of each language, in this study's own words; empty
    means Joshi's classes, low (0-2) and high (3-5). margin: equivalence margin of the scaling decisions, in points.
    families: the factors within which the hypotheses over languages are corrected together. looks: numbers of seeds, such as
    (3, 5, 8, 12), after which the statistics decide which arms need more: these get the next seeds, the others stop.
    target_seeds: by target, how many of the seeds it gets at most (the first ones), where it is too dear to get all.
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
    looks: tuple[int, ...] = ()  # empty: all seeds of all arms at once
    methods: tuple[Method, ...] = ()  # beside the plain one, which is always there
    target_seeds: Mapping[str, int] = field(default_factory=dict)


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
    same_data: bool  # both phases train on some of the same data: a gain is then no evidence for the intermediate task
    method: str = PLAIN

    @property
    def arm(self) -> Arm:
        """What it shares with the runs that differ from it in their seed alone."""
        return self.encoder, self.intermediate, self.method, self.target

    @property
    def is_control(self) -> bool:
        """Whether the intermediate training is one that cannot teach a task: more of the target's own data, or shuffled labels."""
        middle = self.intermediate_stage
        return self.intermediate == OWN_DATA or any(part.train and part.train.shuffled_labels for part in (middle.parts if middle else ()))


Arm = tuple[str, str, str, str]
"""(encoder, intermediate, method, target): the runs that differ in their seed alone."""


@dataclass(frozen=True)
class Plan:
    """The distinct stages of a study, parents before children, and the cells that need them."""

    study: Study
    stages: Mapping[str, Stage]  # by key
    roles: Mapping[str, Role]
    encoders: Mapping[str, str]  # stage key -> name of its encoder, for people
    methods: Mapping[str, str]  # stage key -> name of the first method that has it, for people
    cells: tuple[Cell, ...]
    unshared: Mapping[Role, int]  # stages that a sweep would run in which every cell does all of its own
    num_seeds: Mapping[Arm, int]  # how many of the study's seeds each arm has

    @property
    def children(self) -> dict[str, list[str]]:
        """Key -> keys of the stages that start from it, in plan order."""
        found: dict[str, list[str]] = {key: [] for key in self.stages}
        for key, stage in self.stages.items():
            for parent in stage.parents:
                found[parent.key].append(key)
        return found

    def label(self, key: str) -> str:
        """What a person calls the stage: `target kind, micro, seed 2`."""
        stage = self.stages[key]
        parts = [f"{self.roles[key]} {stage.task.name if stage.task else 'initialise'}", self.encoders[key]]
        line = stage.parent.lineage if stage.averaged and stage.parent else stage.lineage
        before = [s.task.name for s in line[:-1] if s.task and s.phase == "train"]
        parts += [f"average of {len(stage.parents)} runs"] if stage.averaged else []
        parts += [f"after {' > '.join(before)}"] if before and self.roles[key] != "pretraining" else []
        trained = next((s.seed for s in reversed(stage.lineage) if s.phase == "train" and s.seed is not None), None)
        parts += [self.methods[key]] if self.methods[key] != PLAIN else []
        return ", ".join(parts + ([f"seed {trained}"] if trained is not None and self.roles[key] != "pretraining" else []))


def make_plan(
    study: Study, data_dir: Path | None = None, encoders_dir: Path | None = None, num_seeds: Mapping[Arm, int] | None = None
) -> Plan:
    """The plan of a study. Reads what identity needs (hashes of local data and encoders), trains nothing.

    num_seeds: how many of the study's seeds an arm gets; others get those of the first look, or of their target.
    Raises UserError where the study cannot be planned: unknown names, no languages, missing files.
    """
    intermediates: list[Task | str] = [NONE, *(task if task == OWN_DATA else _task(task) for task in study.intermediates)]
    targets = [_task(task) for task in study.targets]
    _check(study, intermediates, targets)
    planner = _Planner(study, data_dir, encoders_dir, num_seeds or {})
    for encoder in study.encoders:
        planner.add_encoder(encoder, intermediates, targets)
    unshared = {role: planner.asked[role] for role in ROLES}
    return Plan(study, planner.stages, planner.roles, planner.names, planner.methods, tuple(planner.cells), unshared, planner.num_seeds)


def _task(task: Task | str) -> Task:
    return tasks.find(task) if isinstance(task, str) else task


def _check(study: Study, intermediates: list[Task | str], targets: list[Task]) -> None:
    where = f"study {study.name!r}"
    if leaves(study.name):
        raise UserError(f"{where}: its store is the folder runs/NAME, so the name may not be empty, have `..` or begin with /.")
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
    looks = study.looks
    if looks and (looks[0] < 2 or list(looks) != sorted(set(looks)) or looks[-1] != len(study.seeds)):
        raise UserError(f"{where}: looks is {looks}; give increasing numbers of seeds, from 2 on to all {len(study.seeds)} of the study.")
    for name, number in study.target_seeds.items():
        if looks or name not in [target.name for target in targets] or number < 1:
            raise UserError(
                f"{where}: target_seeds gives {name!r} {number} seeds; name targets and at least 1, "
                f"and none in a study with looks, where the looks decide."
            )
    if not study.families or set(study.families) - set(FACTORS):
        raise UserError(f"{where}: families is {study.families}; choose from {FACTORS}.")
    for method in study.methods:
        check_method(method)
    _check_names(where, study, intermediates, targets)


def _check_names(where: str, study: Study, intermediates: list[Task | str], targets: list[Task]) -> None:
    groups = {
        "encoder": [encoder.name for encoder in study.encoders],
        "intermediate": [task if isinstance(task, str) else task.name for task in intermediates],
        "target": [task.name for task in targets],
        "method": [PLAIN, *(method.name for method in study.methods)],
        "seed": [str(seed) for seed in study.seeds],
    }
    for kind, names in groups.items():
        if (outside := next(filter(leaves, names), None)) is not None:
            raise UserError(
                f"{where}: {kind} {outside!r} cannot be the name of a folder, which it is used for; leave out `..` and a leading /."
            )
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:
            raise UserError(f"{where}: {kind} {twice[0]!r} is named twice; each may stand once.")
    own = study.recipes.get(OWN_DATA)
    if OWN_DATA in intermediates and (own is None or own.num_steps is None):
        raise UserError(f"{where}: the control {OWN_DATA!r} needs recipes[{OWN_DATA!r}] with num_steps, those of what it controls for.")
    for task in intermediates:
        if isinstance(task, Task) and not (task.train or task.parts):
            raise UserError(f"{where}: {task.name!r} has no training data and cannot be an intermediate task.")
        if isinstance(task, Task):
            _check_training(task)
    for task in targets:
        if task.test is None:
            raise UserError(f"{where}: {task.name!r} has no test data and cannot be a target task.")
        trained = task.trained_on[-1] if task.trained_on else task
        if task.labels and trained.labels and set(task.labels) != set(trained.labels):
            raise UserError(
                f"{where}: {task.name!r} has the labels {task.labels}, but is trained on {trained.name!r} with {trained.labels}; "
                f"rename them with `values` of its sources."
            )


def _check_training(task: Task) -> None:
    """Raises UserError where an intermediate task's mixture or languages are not what they must be."""
    if task.parts:
        mixing.check(task)
    for part in task.parts or (task,):
        if part.train:
            data.refuse_labelled(part.train, part)


class _Planner:
    """Collects stages while the cells of a study are walked; a plan is built once and frozen."""

    def __init__(self, study: Study, data_dir: Path | None, encoders_dir: Path | None, num_seeds: Mapping[Arm, int]) -> None:
        self.study, self.data_dir, self.encoders_dir = study, data_dir, encoders_dir
        self.num_seeds = dict(num_seeds)
        self.stages: dict[str, Stage] = {}
        self.roles: dict[str, Role] = {}
        self.names: dict[str, str] = {}
        self.methods: dict[str, str] = {}
        self.cells: list[Cell] = []
        self.asked: Counter[Role] = Counter()
        self.identities: dict[tuple[Source, str], str] = {}
        self.read: dict[Task, frozenset[str]] = {}

    def identity(self, source: Source, language: str) -> str:
        if (source, language) not in self.identities:
            self.identities[source, language] = data.identity(source, language, self.data_dir)
        return self.identities[source, language]

    def origins(self, task: Task) -> frozenset[str]:
        """What a training reads, for telling whether two trainings read the same."""
        if task not in self.read:
            sources = [part.train for part in task.parts or (task,) if part.train]
            self.read[task] = frozenset[str]().union(*(data.origins(source, self.data_dir) for source in sources))
        return self.read[task]

    def keep(self, stage: Stage, role: Role, encoder: Encoder, method: str = PLAIN) -> Stage:
        self.asked[role] += 1
        if stage.key not in self.stages:
            self.stages[stage.key], self.roles[stage.key] = stage, role
            self.names[stage.key], self.methods[stage.key] = encoder.name, method
        return self.stages[stage.key]

    def add_encoder(self, encoder: Encoder, intermediates: list[Task | str], targets: list[Task]) -> None:
        for intermediate, method, target in product(intermediates, (Method(PLAIN), *self.study.methods), targets):
            if intermediate == OWN_DATA and not _training_tasks(target):
                continue
            untrained = intermediate == NONE and not _training_tasks(target) and not method.before
            arm = (encoder.name, intermediate if isinstance(intermediate, str) else intermediate.name, method.name, target.name)
            most = self.study.target_seeds.get(target.name, len(self.study.seeds))
            number = self.num_seeds.setdefault(arm, min(self.study.looks[0] if self.study.looks else most, len(self.study.seeds)))
            for seed in (None,) if untrained else self.study.seeds[:number]:
                self.add_cell(encoder, intermediate, method, target, seed)

    def add_cell(self, encoder: Encoder, intermediate: Task | str, method: Method, target: Task, seed: int | None) -> None:
        runs = [self.run(encoder, intermediate, method, target, one) for one in seeds_of(method, seed)]
        model, middle, same_data, root = runs[0]
        if model and len(runs) > 1:
            mean = average_of(tuple(run for run, *_ in runs if run))
            model = self.keep(mean, self.roles[model.key], encoder, method.name)
        languages = self.languages(target)
        read = self.test_data(target, languages)
        evaluation = Stage("evaluate", target, read, encoder="" if model else root, recipe=self.scoring(target), parent=model)
        evaluation = self.keep(evaluation, "evaluation", encoder, method.name)
        name = intermediate if isinstance(intermediate, str) else intermediate.name
        self.cells.append(Cell(encoder.name, name, target.name, seed, languages, evaluation, middle, same_data, method.name))

    def run(
        self, encoder: Encoder, intermediate: Task | str, method: Method, target: Task, seed: int | None
    ) -> tuple[Stage | None, Stage | None, bool, str]:
        """The trainings of a run: the last of them, that of the intermediate task, whether two of them train on the same data; and the
        identity of an encoder that is at their root.
        """
        model, root = self.pretrained(encoder)
        for task, recipe in method.before:
            model = self.keep(self.training(task, seed, model, root, recipe), "intermediate", encoder, method.name)
        middle, before = None, _training_tasks(target)[-1] if intermediate == OWN_DATA else intermediate
        if isinstance(before, Task):
            recipe = self.study.recipes[OWN_DATA] if intermediate == OWN_DATA else self.recipe(before)
            changed = applied(method, before, recipe, is_target=False)
            model = middle = self.keep(self.training(changed[0], seed, model, root, changed[1]), "intermediate", encoder, method.name)
        same_data = False
        for place, task in enumerate(_training_tasks(target)):
            # what is trained in several steps for one target goes on with its head, where the kinds are one
            goes_on = place > 0 and model is not None and model.task is not None and model.task.kind == task.kind
            changed = applied(method, task, self.recipe(task), is_target=True)
            trained = self.training(changed[0], seed, model, root, changed[1], keep_head=goes_on)
            same_data = same_data or (isinstance(before, Task) and bool(self.origins(before) & self.origins(task)))
            model = self.keep(trained, "target", encoder, method.name)
        return model, middle, same_data, root

    def test_data(self, target: Task, languages: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
        """Names and identities of what an evaluation reads."""
        assert target.test is not None  # noqa: S101  checked by _check; for the type checker
        read = self.searched("test", target.test, languages)
        if target.kind == "mining" and target.dev:
            read += self.searched("dev", target.dev, languages)
        if target.kind == "retrieval" and target.layer is None:
            if target.dev is None:
                raise UserError(f"task {target.name!r} has no dev data to choose its layer on; set `dev` or `layer`.")
            read += self.searched("dev", target.dev, (ENGLISH,))
        return tuple(read)

    def searched(self, split: str, source: Source, languages: tuple[str, ...]) -> list[tuple[str, str]]:
        """Names and identities of a split in some languages, and of what its queries search."""
        read = [(f"{split}/{language}", self.identity(source, language)) for language in languages]
        if source.candidates:
            read += [(f"{split}{data.CANDIDATES}/{language}", self.identity(source.candidates, language)) for language in languages]
        return read

    def scoring(self, target: Task) -> Recipe | None:
        """How a target that is not trained is read: only the length and the precision count."""
        if _training_tasks(target):
            return None
        recipe = self.known_words(target, self.recipe(target))
        return Recipe(max_length=recipe.max_length, precision=recipe.precision)

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

    def training(self, task: Task, seed: int | None, parent: Stage | None, root: str, recipe: Recipe, *, keep_head: bool = False) -> Stage:
        read = []
        for place, part in enumerate(task.parts or (task,)):
            if part.train is None:
                raise UserError(f"task {part.name!r} has no training data; set `train` or `trained_on`.")
            prefix = f"{place}:" if task.parts else ""
            read.append((f"{prefix}train/{ENGLISH}", self.identity(part.train, ENGLISH)))
            if part.dev:
                read.append((f"{prefix}dev/{ENGLISH}", self.identity(part.dev, ENGLISH)))
        self.known_words(task, recipe)
        if recipe.max_length < recipe.max_query_length + LEAST_ROOM and any(part.kind == "span" for part in task.parts or (task,)):
            raise UserError(
                f"study {self.study.name!r}: the recipe of {task.name!r} has max_length {recipe.max_length} and max_query_length "
                f"{recipe.max_query_length}, which leaves no room for a context; the first must be larger by at least {LEAST_ROOM}."
            )
        return Stage("train", task, tuple(read), seed, recipe, encoder="" if parent else root, parent=parent, keep_head=keep_head)

    def known_words(self, task: Task, recipe: Recipe) -> Recipe:
        """The recipe; raises UserError where a word in it means nothing."""
        if recipe.misspelt:
            raise UserError(f"study {self.study.name!r}: the recipe of {task.name!r} has {recipe.misspelt}.")
        return recipe

    def recipe(self, task: Task) -> Recipe:
        recipes = self.study.recipes
        return recipes.get(task.name) or recipes.get("default") or Recipe()

    def languages(self, target: Task) -> tuple[str, ...]:
        asked = self.study.languages
        # a study's language is any pair's with another one of the study
        found = tuple(code for code in target.languages if asked is None or code in asked or set(languages.members(code)) <= set(asked))
        if not found:
            raise UserError(f"study {self.study.name!r}: none of its languages is a language of {target.name!r}; {target.languages}.")
        return found


def _training_tasks(target: Task) -> tuple[Task, ...]:
    """What a target is trained on, one after the other: nothing, its own training data, or other tasks."""
    own = (replace(target, test=None, languages=(ENGLISH,)),) if target.train else ()
    return target.trained_on or own
