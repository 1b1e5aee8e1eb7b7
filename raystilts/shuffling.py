"""Shuffled labels and pairs: the controls that tell what a training teaches from what any training on its texts does.

Labels are permuted among the examples of a training set, so texts and label frequencies stay and only what connects them is gone.
The permutation is part of the data, the same for every seed of a study.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from raystilts.errors import UserError
from raystilts.task import Example, Task

VERSION = 1  # part of every identity: to be raised when the same examples get other labels
SEED = 20200527  # of the data, not of a study


def shuffled_task(task: Task) -> Task:
    """The task `<name>-shuffled`: the same training texts with permuted labels; dev data stay, and show that nothing was learned.

    Of a mixture all parts that have labels are shuffled, each for itself. Raises UserError where there are no labels to permute.
    """
    name = f"{task.name}-shuffled"
    if task.parts:
        parts = tuple(part if part.kind == "mlm" else shuffled_task(part) for part in task.parts)
        return replace(task, name=name, parts=parts)
    if task.train is None or task.kind in ("mlm", "ranking", "retrieval", "mining"):
        raise UserError(f"{task.name}: there are no training labels to shuffle; name a task of classification, choice, tagging or span.")
    return replace(task, name=name, train=replace(task.train, shuffled_labels=True))


def shuffled(examples: Sequence[Example], task: Task) -> list[Example]:
    """The examples in their order with permuted labels.

    classification, choice: labels among examples. tagging: tags among all words of the set; sentences keep their lengths. span: answers
    of other questions do not stand in a context, so each answer is replaced by as many words at a random place of its own context, and
    questions without an answer stay so.
    """
    rng = np.random.default_rng(SEED)
    if task.kind in ("classification", "choice"):
        order = rng.permutation(len(examples))
        return [replace(example, label=examples[other].label) for example, other in zip(examples, order, strict=True)]
    if task.kind == "tagging":
        tags = [tag for example in examples for tag in example.label or ()]
        drawn = iter(rng.permutation(len(tags)))
        return [replace(example, label=tuple(tags[next(drawn)] for _ in example.texts)) for example in examples]
    if task.kind == "span":
        return [_elsewhere(example, rng) if example.label else example for example in examples]
    raise UserError(f"{task.name}: a task of kind {task.kind!r} has no labels to shuffle.")


def _elsewhere(example: Example, rng: np.random.Generator) -> Example:
    """The question with an answer of as many words as its first one, at a random place of the context."""
    context = example.texts[1]
    words = [word.span() for word in re.finditer(r"\S+", context)]
    num = min(len(str((example.label or ("",))[0]).split()), len(words))
    first = int(rng.integers(len(words) - num + 1))
    begin, end = words[first][0], words[first + num - 1][1]
    return replace(example, label=(context[begin:end],), starts=(begin,))


def deranged(pairs: Sequence[Example]) -> list[Example]:
    """The same first texts and the same second texts, but no first text stands beside one that it has in any pair.

    Which one it gets is drawn by hash, so that the control is the same for all seeds. Raises UserError where texts repeat so much that
    there is no such order.
    """
    right = {(pair.texts[0], pair.texts[1]) for pair in pairs}
    order = sorted(range(len(pairs)), key=lambda place: hashlib.sha256(f"deranged/{place}/{pairs[place].id}".encode()).digest())
    seconds = [pairs[place].texts[1] for place in order]

    def fits(place: int, second: str) -> bool:
        return (pairs[place].texts[0], second) not in right

    for place in range(len(pairs)):
        if fits(place, seconds[place]):
            continue
        others = ((place + step) % len(pairs) for step in range(1, len(pairs)))
        other = next((one for one in others if fits(place, seconds[one]) and fits(one, seconds[place])), None)
        if other is None:
            raise UserError(f"pairs: {pairs[place].texts[0]!r} cannot be paired with another text; the control needs more different pairs.")
        seconds[place], seconds[other] = seconds[other], seconds[place]
    return [replace(pair, texts=(pair.texts[0], second)) for pair, second in zip(pairs, seconds, strict=True)]
