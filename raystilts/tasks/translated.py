"""Tasks whose English training data is joined by machine translations of it, as `raystilts translate` writes them."""

from __future__ import annotations

from dataclasses import replace

from raystilts.errors import UserError
from raystilts.task import Source, Task

TRANSLATABLE = ("classification", "choice", "ranking")
WHY_NOT = {
    "span": "a translated context does not say where the answer then stands, and answers that are found again by chance are another task",
    "tagging": "a translated sentence has other words in another order, so its tags are lost",
    "mlm": "text without labels is better read in the language itself (raystilts.tasks.text.masked_words)",
    "mixture": "a mixture is translated part by part",
}


def num_texts(task: Task) -> int:
    """Texts of an example: a pair's, or of a choice what all begin with and the continuations."""
    return 1 + len(task.labels) if task.kind == "choice" else 2


def header(texts: int, labelled: bool) -> tuple[str, ...]:
    """The columns of a file of translations after `id`."""
    return (*(f"text{number}" for number in range(1, texts + 1)), *(("label",) if labelled else ()))


def check(task: Task) -> None:
    """Raises UserError with the reason where a task's examples cannot be translated."""
    if task.kind not in TRANSLATABLE or task.train is None:
        why = WHY_NOT.get(task.kind, "it has no training data")
        raise UserError(f"{task.name} cannot be translated: {why}. Kinds that can: {', '.join(TRANSLATABLE)}.")


def translated(task: Task, *languages: str, texts: int | None = None) -> Task:
    """The task `<task>-translated`: its English training data, then translations/<task>-<language>.tsv below --data, made by
    `raystilts translate <task> --language <language>`. texts: of an example, where other than a pair or a choice (1: single texts).

    Labels are those that stood in the English row when it was translated. Dev data stay English. Raises UserError for kinds whose labels
    are places in a text, and where the training source has a limit, which would cut English and translations together.
    """
    check(task)
    assert task.train is not None  # noqa: S101  checked; for the type checker
    if task.train.limit is not None:
        raise UserError(f"{task.name}: its training source has a limit; cut the translated task with a recipe's max_examples instead.")
    files = Source(
        files=(f"translations/{task.name}-{{language}}.tsv",),
        header=header(texts or num_texts(task), task.kind != "ranking"),
        id="id",
        languages=languages,
        translated=True,
        exclude=f"`raystilts translate {task.name}` makes it",
    )
    return replace(task, name=f"{task.name}-translated", train=replace(task.train, more=(*task.train.more, files)))
