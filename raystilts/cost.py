"""What a plan costs on devices of a stated speed: optimiser steps, sequences and GPU-hours by role. Runs nothing.

A sequence is what goes through the encoder at once: an example, each continuation of a choice, each text of a pair that is read apart. Long
contexts count once, though they are read in several windows. Training takes a sequence forward and backward, evaluating only forward:
a third of the work. Each step of an adversarial ascent takes it forward and backward once more. How many examples there are is read below
--data where the files are, else it is the number that stands in SIZES, as published with the data sets; what neither says is named, and
counts as nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from raystilts import data, features, mixing
from raystilts.errors import UserError
from raystilts.stage import Recipe, Stage
from raystilts.study import ROLES, Plan
from raystilts.task import Source, Task
from raystilts.tasks.sizes import size_of

FORWARD = 1 / 3  # of the work of training on a sequence: a backward pass is about twice a forward one


@dataclass(frozen=True)
class Row:
    """Of a role: stages, optimiser steps, sequences that are trained on and that are evaluated, GPU-hours (None: a speed is missing)."""

    role: str
    stages: int
    steps: int
    trained: int
    evaluated: int
    hours: float | None


@dataclass(frozen=True)
class Cost:
    """Rows by role, the last one of all. throughput: sequences a second that a device trains on, by encoder. unknown: what has no size."""

    rows: tuple[Row, ...]
    throughput: Mapping[str, float]
    unknown: tuple[str, ...]


@dataclass
class _Sizes:
    """Numbers of examples, each looked up once."""

    data_dir: Path | None
    known: dict[tuple[Source, str, bool], int | None] = field(default_factory=dict)
    unknown: dict[str, None] = field(default_factory=dict)

    def of(self, task: Task, split: str, language: str) -> int:
        """Examples of a split, or of what its queries search; 0 where nobody says."""
        named, is_pool = data.split_of(split)
        source = data.source_of(task, named)
        read = source.candidates or source if is_pool else source
        key = (read, language, is_pool)
        if key not in self.known:
            self.known[key] = self._counted(task, split, language, source, read)
        size = self.known[key]
        if size is None:
            self.unknown[f"{task.name} {split}" if split == "train" else f"{task.name} {split} in {language}"] = None
        return size or 0

    def _counted(self, task: Task, split: str, language: str, source: Source, read: Source) -> int | None:
        if self.data_dir is not None or source.generate:
            try:
                return len(data.read(task, split, language, self.data_dir))
            except UserError:  # a file of another size than it says, or none: what is published stands in
                pass
        return size_of(read, language)


def throughputs(plan: Plan, texts: Sequence[str]) -> dict[str, float]:
    """Sequences a second by encoder: `120` is of the first encoder, `xlmr-large=35` of another. Raises UserError."""
    names, found = [encoder.name for encoder in plan.study.encoders], {}
    for text in texts:
        name, _, number = text.rpartition("=")
        name = name or names[0]
        if name not in names:
            raise UserError(f"--throughput {text}: the study has no encoder {name!r}; it has {', '.join(names)}.")
        try:
            found[name] = float(number)
        except ValueError:
            found[name] = 0.0
        if not 0 < found[name] < float("inf"):
            raise UserError(f"--throughput {text}: {number!r} is not a positive number of sequences a second.")
    return found


def cost_of(plan: Plan, throughput: Mapping[str, float], data_dir: Path | None = None) -> Cost:
    """The cost of all stages of a plan, whether or not they are done."""
    sizes = _Sizes(data_dir)
    rows = []
    for role in ROLES:
        keys = [key for key in plan.stages if plan.roles[key] == role]
        steps = trained = evaluated = 0
        seconds: float | None = 0.0
        for key in keys:
            of_stage = stage_work(plan.stages[key], sizes)
            steps, trained, evaluated = steps + of_stage[0], trained + of_stage[1], evaluated + of_stage[2]
            speed = throughput.get(plan.encoders[key])
            work = of_stage[1] * num_passes(plan.stages[key].recipe) + FORWARD * of_stage[2]
            seconds = None if seconds is None or (work and speed is None) else seconds + (work / speed if speed else 0.0)
        rows.append(Row(role, len(keys), steps, trained, evaluated, None if seconds is None else seconds / 3600))
    hours = [row.hours for row in rows]
    total = None if None in hours else sum(hour or 0.0 for hour in hours)
    sums = [sum(column) for column in zip(*((row.stages, row.steps, row.trained, row.evaluated) for row in rows), strict=True)]
    whole = Row("all", sums[0], sums[1], sums[2], sums[3], total)
    return Cost((*rows, whole), throughput, tuple(sizes.unknown))


def stage_work(stage: Stage, sizes: _Sizes) -> tuple[int, int, int]:
    """(optimiser steps, sequences that are trained on, sequences that are evaluated) of a stage; scoring English dev is among the last."""
    if stage.phase == "initialise" or stage.task is None:
        return 0, 0, 0
    recipe = stage.recipe
    read = [(task, split, language, sizes.of(task, split, language)) for task, split, language in stage.reads]
    evaluated = sum(size * num_sequences(task, split) for task, split, _, size in read if split != "train" and task.kind != "mlm")
    if stage.phase != "train" or recipe is None:
        return 0, 0, evaluated
    trained = [(task, min(size, recipe.max_examples or size)) for task, split, _, size in read if split == "train"]
    steps = features.num_steps(sum(size for _, size in trained), recipe)
    shares = mixing.shares(stage.task, [max(1, size) for _, size in trained])
    per_step = recipe.batch_size * sum(share * num_sequences(task, "train") for share, (task, _) in zip(shares, trained, strict=True))
    return steps, round(steps * per_step), evaluated


def num_passes(recipe: Recipe | None) -> int:
    """How often a training takes each sequence forward and backward."""
    return 1 + recipe.perturbation_steps if recipe and recipe.perturbation == "adversarial" else 1


def num_sequences(task: Task, split: str) -> int:
    """Sequences of an example: continuations of a choice; both texts of a pair that is read apart; else one."""
    if task.kind == "choice":
        return len(task.labels)
    apart = task.kind == "ranking" or (task.kind == "retrieval" and not (task.test and task.test.candidates))
    return 2 if apart and not split.endswith(data.CANDIDATES) else 1


def lines(cost: Cost) -> list[str]:
    """The cost as a table."""
    found = [f"{'':14}{'stages':>8}{'steps':>12}{'trained on':>14}{'evaluated':>14}{'GPU-hours':>12}"]
    for row in cost.rows:
        hours = "unknown" if row.hours is None else f"{row.hours:,.1f}"
        found.append(f"{row.role:14}{row.stages:8,}{row.steps:12,}{row.trained:14,}{row.evaluated:14,}{hours:>12}")
    stated = ", ".join(f"{name} {speed:g}" for name, speed in cost.throughput.items())
    found.append(f"sequences a second on one device, as stated: {stated}; evaluating counts a third of training.")
    if cost.unknown:
        shown = "; ".join(cost.unknown[:6])
        more = f" and {len(cost.unknown) - 6} more" if len(cost.unknown) > 6 else ""
        found.append(f"sizes that nobody says, counted as 0: {shown}{more}.")
    return found


def facts(cost: Cost) -> dict[str, Any]:
    """The cost as plain values."""
    rows = [{name: getattr(row, name) for name in ("role", "stages", "steps", "trained", "evaluated", "hours")} for row in cost.rows]
    return {"roles": rows, "sequences_per_second": dict(cost.throughput), "unknown": list(cost.unknown)}
