"""Mixtures: several tasks trained at once, one batch of one task after another, with a head for each."""

from __future__ import annotations

from raystilts.task import Task
from raystilts.tasks.choice import COSMOSQA, CSQA, HELLASWAG
from raystilts.tasks.nli import ANLI_PLUS, MNLI, QQP
from raystilts.tasks.qa import SQUAD, SQUAD2
from raystilts.tasks.tagging import CCG

MULTI_TASK = Task(
    name="multi-task",
    kind="mixture",
    metric="",
    parts=(ANLI_PLUS, MNLI, QQP, SQUAD, SQUAD2, HELLASWAG, CCG, COSMOSQA, CSQA),
    citation="Phang et al. 2020, arXiv 2005.13013",
    licence="its parts'",
)

TASKS = (MULTI_TASK,)
