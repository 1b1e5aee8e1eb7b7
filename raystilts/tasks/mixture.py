"""Mixtures: several tasks trained at once, one batch of one task after another, with a head for each (see raystilts.mixing)."""

from __future__ import annotations

from dataclasses import replace

from raystilts.task import Task
from raystilts.tasks.choice import COSMOSQA, CSQA, HELLASWAG
from raystilts.tasks.nli import ANLI_PLUS, MNLI, QQP
from raystilts.tasks.qa import SQUAD, SQUAD2
from raystilts.tasks.tagging import CCG
from raystilts.tasks.text import MLM

MULTI_TASK = Task(
    name="multi-task",
    kind="mixture",
    metric="",
    parts=(ANLI_PLUS, MNLI, QQP, SQUAD, SQUAD2, HELLASWAG, CCG, COSMOSQA, CSQA),
    citation="Phang et al. 2020, arXiv 2005.13013",
    licence="its parts'",
)


def with_masked_words(task: Task, text: Task, share: float) -> Task:
    """The mixture `<task>-mlm`: of the steps, a `share` masks words of `text`, and the rest trains the task, or the parts of a mixture.

    The masked words are predicted by the encoder's own language model head, tied to its embeddings (raystilts.model.masked_head). A
    mixture's own temperature, cap and weights go on dividing the rest.
    """
    parts = task.parts or (task,)
    given = [weight for weight in task.weights if weight is not None]
    rest = (1 - share) / sum(given) if given and len(given) == len(parts) else 1 - share
    weights = [None if weight is None else rest * weight for weight in task.weights or (None,) * len(parts)]
    return replace(
        task if task.parts else Task(name="", kind="mixture", metric="", citation=task.citation, licence=task.licence),
        name=f"{task.name}-mlm",
        parts=(*parts, text),
        weights=(*weights, share),
        citation=f"{task.citation}; mixed with masked words: Phang et al. 2020, arXiv 2005.13013",
        licence=f"{task.licence}; {text.licence}",
    )


SHARE = 0.2  # of the steps; the paper names no share

TASKS = (MULTI_TASK, *(with_masked_words(task, MLM, SHARE) for task in (MNLI, SQUAD, MULTI_TASK)))
