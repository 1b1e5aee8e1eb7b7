"""A method: another way to do the trainings of a run. A factor of a study, like the intermediate task."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from raystilts.errors import UserError, nearest
from raystilts.stage import Recipe
from raystilts.task import Task

PLAIN = "plain"
"""The method that changes nothing. It is part of every study: the others are compared with it."""

FURTHER_SEEDS = 1_000_000  # between the seeds of runs that are averaged: no study counts so far, so no two of its seeds share a run


@dataclass(frozen=True)
class Method:
    """What a run does otherwise than the plain one, which every study has beside it.

    recipe: fields of Recipe and their values in the trainings of the intermediate and the target task; `intermediate` and `target` go for
    one of the two and come above it. before: trainings between the pretrained encoder and the intermediate task, with the run's seed
    (an alignment). change: what is read in place of a task's training data (augmented data).

    Methods are compared at equal optimiser steps: one that changes the data, and with it how long an epoch is, needs `num_steps` in the
    recipes of its tasks, or says `num_epochs` itself.
    """

    name: str
    recipe: Mapping[str, object] = field(default_factory=dict)
    intermediate: Mapping[str, object] = field(default_factory=dict)
    target: Mapping[str, object] = field(default_factory=dict)
    before: tuple[tuple[Task, Recipe], ...] = ()
    change: Callable[[Task], Task] | None = None
    average_runs: int = 0  # the model of a seed is the mean of so many whole runs, that of the seed and further ones; see averaging


def seeds_of(method: Method, seed: int | None) -> tuple[int | None, ...]:
    """The seeds of the runs whose mean is the model of a seed: itself, and further ones that no other seed has."""
    return (seed,) if seed is None else tuple(seed + place * FURTHER_SEEDS for place in range(max(1, method.average_runs)))


def check(method: Method) -> None:
    """Raises UserError where a method names fields that a recipe does not have."""
    known = [one.name for one in fields(Recipe)]
    for name in (*method.recipe, *method.intermediate, *method.target):
        if name not in known:
            raise UserError(f"method {method.name!r}: a recipe has no field {name!r}; {nearest(name, known)}")


def applied(method: Method, task: Task, recipe: Recipe, *, is_target: bool) -> tuple[Task, Recipe]:
    """The task and the recipe of a training under a method. Raises UserError where the number of steps would follow from changed data."""
    changes: dict[str, Any] = {**method.recipe, **(method.target if is_target else method.intermediate)}
    if method.average_runs > 1 and is_target and changes.get("head_seed", recipe.head_seed) is None:
        changes["head_seed"] = 0  # heads that begin apart have no mean
    changed = replace(recipe, **changes)
    read = method.change(task) if method.change else task
    if read != task and changed.num_steps is None and "num_epochs" not in changes:
        raise UserError(
            f"method {method.name!r} changes the training data of {task.name!r}, and with it the length of an epoch: give num_steps in the "
            f"task's recipe, so that methods have equal steps, or num_epochs in the method."
        )
    return read, changed
