"""Mixtures: which part of a mixture each step trains on.

As in jiant (nyu-mll/jiant, the toolkit of Phang et al. 2020; read there: `JiantRunner.run_train_step` and `task_sampler.py`) one task is
drawn for each optimiser step, and all that the step accumulates is of that task: a step is the gradient of one task's mean loss, never
a sum over tasks. There, each task may have its own batch size and number of accumulated batches; here all parts have the recipe's.
A part has a head of its own. Here a head that a step does not use stays exactly as it is; there, with the versions of torch of its time,
gradients were set to zero instead of none, so Adam's momentum went on moving it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from raystilts.errors import UserError
from raystilts.task import Task

UNIFORM = math.inf
"""The temperature at which every part is drawn equally often, whatever its size."""


def shares(task: Task, sizes: Sequence[int]) -> list[float]:
    """The probability with which each part of a mixture is drawn; sizes: training examples of each part. [1.0] for any other task.

    By size: min(n, cap)^(1 / temperature), normalised (Raffel et al. 2020; jiant's TemperatureMultiTaskSampler). Temperature 1 is in
    proportion to size, UNIFORM the same for all. `weights`, where all are numbers, are given instead and need not sum to 1; where some are
    None, a number is that part's share, and the others divide the rest by size.
    """
    if task.kind != "mixture":
        return [1.0]
    check(task)
    by_size = [float(min(size, task.cap or size)) ** (1 / task.temperature) for size in sizes]
    if not task.weights:
        return _normalised(by_size)
    given = [weight for weight in task.weights if weight is not None]
    if len(given) == len(sizes):
        return _normalised(given)
    rest = (1 - math.fsum(given)) / math.fsum(size for size, weight in zip(by_size, task.weights, strict=True) if weight is None)
    return [rest * size if weight is None else weight for size, weight in zip(by_size, task.weights, strict=True)]


def _normalised(weights: Sequence[float]) -> list[float]:
    total = math.fsum(weights)
    return [weight / total for weight in weights]


def check(task: Task) -> None:
    """Raises UserError where a mixture's weights, temperature or cap make no probabilities."""
    given = [weight for weight in task.weights if weight is not None]
    if task.weights and len(task.weights) != len(task.parts):
        raise UserError(f"mixture {task.name!r}: it has {len(task.parts)} parts, but {len(task.weights)} weights; give one for each.")
    if any(not 0 < weight < math.inf for weight in given):
        raise UserError(f"mixture {task.name!r}: its weights are {task.weights}; each must be a positive number, or None.")
    if len(given) < len(task.weights) and math.fsum(given) >= 1:
        raise UserError(f"mixture {task.name!r}: the shares {tuple(given)} leave nothing for its other parts; their sum must be below 1.")
    if not task.temperature > 0 or (task.cap is not None and task.cap < 1):
        raise UserError(f"mixture {task.name!r}: temperature {task.temperature} and cap {task.cap} must be positive.")
