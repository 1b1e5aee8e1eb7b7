"""Tables for a terminal, and the same facts as plain values for JSON: tasks and plans."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

from raystilts import data, languages, tasks
from raystilts.errors import UserError
from raystilts.store import Store
from raystilts.study import ROLES, Plan
from raystilts.task import ENGLISH, Task


def task_rows() -> list[dict[str, Any]]:
    """One row per task: kind, metric, languages, which of them are low-resource, what it is trained on, citation, licence."""
    return [
        {
            "name": task.name,
            "kind": task.kind,
            "metric": task.metric,
            "languages": list(task.languages),
            "low_resource": [code for code in task.languages if _is_low(code)],
            "trained_on": task.trained_on or (task.name if task.train else None),
            "citation": task.citation,
            "licence": task.licence,
        }
        for task in tasks.TASKS.values()
    ]


def _is_low(code: str) -> bool:
    language = languages.find(code)
    return language.resource_class is not None and languages.low_resource(language)


def tasks_table(rows: list[dict[str, Any]]) -> list[str]:
    """The rows of `task_rows` as lines."""
    lines = [f"{'name':12} {'kind':15} {'metric':15} {'trained on':12} {'languages':>9} {'low-resource':>12}"]
    for row in rows:
        counts = f"{len(row['languages']):9} {len(row['low_resource']):12}"
        lines.append(f"{row['name']:12} {row['kind']:15} {row['metric']:15} {row['trained_on'] or '-':12} {counts}")
    return lines


def task_facts(name: str, folder: Path | None) -> dict[str, Any]:
    """A task's facts; per split and language the number of examples and the first one, or why there are none at hand."""
    task = tasks.find(name)
    facts = {
        field: getattr(task, field) for field in ("name", "kind", "metric", "labels", "languages", "trained_on", "citation", "licence")
    }
    sources = {"train": task.train, "dev": task.dev, "test": task.test}
    return facts | {
        "splits": {
            split: {code: _at_hand(task, split, code, folder) for code in (task.languages if split == "test" else (ENGLISH,))}
            for split, source in sources.items()
            if source
        }
    }


def _at_hand(task: Task, split: str, language: str, folder: Path | None) -> dict[str, Any]:
    try:
        examples = data.examples(task, cast("data.Split", split), language, folder)
    except UserError as error:
        return {"missing": str(error)}
    return {"examples": len(examples), "first": {"texts": examples[0].texts, "label": examples[0].label}}


def task_lines(facts: dict[str, Any]) -> list[str]:
    """The facts of `task_facts` as lines."""
    plain = {name: value for name, value in facts.items() if name != "splits"}
    lines = [f"{name:12} {', '.join(value) if isinstance(value, tuple) else value or '-'}" for name, value in plain.items()]
    for split, by_language in facts["splits"].items():
        for language, known in by_language.items():
            first = json.dumps(known.get("first"), ensure_ascii=False)
            lines.append(f"{split:5} {language:4} {known.get('missing') or '{} examples; {}'.format(known['examples'], first)}")
    return lines


def plan_rows(plan: Plan, store: Store) -> list[dict[str, object]]:
    """The plan's stages, parents first."""
    done = store.finished(plan.stages)
    return [
        {
            "key": key,
            "role": plan.roles[key],
            "label": plan.label(key),
            "phase": stage.phase,
            "encoder": plan.encoders[key],
            "task": stage.task.name if stage.task else None,
            "seed": stage.seed,
            "parent": stage.parent.key if stage.parent else None,
            "done": key in done,
        }
        for key, stage in plan.stages.items()
    ]


def plan_table(plan: Plan, store: Store) -> list[str]:
    """A table: per role the stages, what is done, and what a sweep without sharing would have run."""
    study, arms = plan.study, len(plan.study.intermediates) + 1
    lines = [
        f"{study.name}: {study.question}",
        f"{len(study.encoders)} encoders x {arms} intermediates (with none) x {len(study.targets)} targets x {len(study.seeds)} seeds"
        f" = {len(plan.cells)} runs; store: {store.root}",
        f"{'':14}{'stages':>8}{'done':>8}{'to run':>8}{'unshared':>10}",
    ]
    finished = store.finished(plan.stages)
    total = [0, 0, 0, 0]
    for role in ROLES:
        keys = [key for key in plan.stages if plan.roles[key] == role]
        done = sum(key in finished for key in keys)
        row = [len(keys), done, len(keys) - done, plan.unshared[role]]
        total = [a + b for a, b in zip(total, row, strict=True)]
        lines.append(f"{role:14}{row[0]:8}{row[1]:8}{row[2]:8}{row[3]:10}")
    lines.append(f"{'all':14}{total[0]:8}{total[1]:8}{total[2]:8}{total[3]:10}")
    twice = dict.fromkeys((cell.intermediate, cell.target) for cell in plan.cells if cell.same_data)
    return lines + [f"note: {intermediate} > {target} trains on the same data twice." for intermediate, target in twice]
