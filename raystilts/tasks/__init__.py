"""The tasks by name. Each module holds literals; a new task is one literal in one of them."""

from __future__ import annotations

from collections.abc import Mapping

from raystilts.errors import UserError, nearest
from raystilts.task import Task
from raystilts.tasks import choice, cldr, mixture, nli, qa, retrieval, tagging, text

MODULES = (nli, tagging, qa, choice, retrieval, text, mixture, cldr)
TASKS: Mapping[str, Task] = {task.name: task for module in MODULES for task in module.TASKS}


def find(name: str) -> Task:
    """The task of that name; raises UserError with the nearest one otherwise."""
    if name not in TASKS:
        raise UserError(f"there is no task {name!r}; {nearest(name, TASKS)}")
    return TASKS[name]
