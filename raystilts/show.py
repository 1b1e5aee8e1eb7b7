"""Tables for a terminal, and the same facts as plain values for JSON: tasks and plans."""

from __future__ import annotations

import calendar
import json
import time
from pathlib import Path
from typing import Any, cast

from raystilts import data, disclosure, languages, tasks
from raystilts.errors import UserError
from raystilts.method import PLAIN
from raystilts.store import Store
from raystilts.study import ROLES, Plan, Study
from raystilts.task import ENGLISH, Source, Task


def task_rows() -> list[dict[str, Any]]:
    """One row per task: what it can be used for, kind, metrics, languages, sources, what it is trained on, citation, licence."""
    return [
        {
            "name": task.name,
            "uses": [use for use, there in (("target", task.test), ("intermediate", task.train or task.parts)) if there],
            "kind": task.kind,
            "metric": task.metric or None,
            "also": list(task.also),
            "languages": list(task.languages) if task.test else [],
            "low_resource": [code for code in task.languages if task.test and _is_low(code)],
            "trained_on": [trained.name for trained in task.trained_on] or ([task.name] if task.train or task.parts else []),
            "parts": [part.name for part in task.parts],
            "sources": {split: _source_facts(source) for split, source in _sources(task).items()},
            "citation": task.citation,
            "licence": task.licence,
        }
        for task in tasks.TASKS.values()
    ]


def _sources(task: Task) -> dict[str, Source]:
    found = {"train": task.train, "dev": task.dev, "test": task.test}
    found |= {f"{split} candidates": source and source.candidates for split, source in found.items()}
    return {split: source for split, source in found.items() if source}


def _source_facts(source: Source) -> dict[str, Any]:
    """Where a split comes from: the pinned Hub data set, the files below --data, and what a user must know of them."""
    if source.generate:
        return {"generated": True}
    hub = f"{source.dataset}@{source.revision}" if source.dataset and source.revision else None
    facts = {"hub": hub, "subset": source.subset or None, "split": source.split or None, "files": list(source.files)}
    return (
        facts
        | {"reader": source.reader, "note": source.exclude or None}
        | ({"languages": list(source.languages)} if source.languages else {})
        | ({"more": [*map(_source_facts, source.more)]} if source.more else {})
    )


def _is_low(code: str) -> bool:
    language = languages.find(code)
    return language.resource_class is not None and languages.low_resource(language)


def tasks_table(rows: list[dict[str, Any]]) -> list[str]:
    """The rows of `task_rows` as lines: two a task, and a legend."""
    head = f"{'name':16} {'use':12} {'kind':14} {'metric':14} {'trained on':16} {'languages':>9} {'low-resource':>12} source"
    lines = [head, "-" * len(head)]
    for row in rows:
        uses = "both" if len(row["uses"]) > 1 else row["uses"][0]
        trained = " > ".join(row["trained_on"]) or "-"
        counts = f"{len(row['languages']) or '-':>9} {len(row['low_resource']) if row['languages'] else '-':>12}"
        metric = row["metric"] or "-"
        lines.append(f"{row['name']:16} {uses:12} {row['kind']:14} {metric:14} {trained:16} {counts} {_from(row)}")
        lines.append(f"{'':16} {row['citation']}; licence: {row['licence']}")
    return [
        *lines,
        "languages: zero-shot test languages; low-resource: of Joshi et al.'s classes 0-2; source: hub (pinned), files (--data)",
    ]


def _from(row: dict[str, Any]) -> str:
    if row["parts"]:
        return ", ".join(row["parts"])
    sources = row["sources"].values()
    if any(source.get("generated") for source in sources):
        return "built in"
    return "hub, files" if all(source["hub"] for source in sources) else "files"


def task_facts(name: str, folder: Path | None) -> dict[str, Any]:
    """A task's facts; per split and language the number of examples and the first one, or why there are none at hand."""
    task = tasks.find(name)
    facts = next(row for row in task_rows() if row["name"] == name) | {"labels": list(task.labels)}
    splits = [split for split in _sources(task) if "candidates" not in split]
    return facts | {"splits": {split: {code: _at_hand(task, split, code, folder) for code in _read_in(task, split)} for split in splits}}


def _read_in(task: Task, split: str) -> tuple[str, ...]:
    """The languages in which a split is read."""
    return task.languages if split == "test" or (split == "dev" and task.kind == "mining") else (ENGLISH,)


def _at_hand(task: Task, split: str, language: str, folder: Path | None) -> dict[str, Any]:
    try:
        examples = data.examples(task, cast("data.Split", split), language, folder)
    except UserError as error:
        return {"missing": str(error)}
    return {"examples": len(examples), "first": {"texts": examples[0].texts, "label": examples[0].label}}


def task_lines(facts: dict[str, Any]) -> list[str]:
    """The facts of `task_facts` as lines."""
    lines = [f"{name:12} {_plain(value)}" for name, value in facts.items() if name not in ("splits", "sources") and value]
    for split, source in facts["sources"].items():
        if source.get("generated"):
            lines.append(f"{split:12} made from the installed package babel")
            continue
        for place, one in enumerate((source, *source.get("more", ()))):
            where = " ".join(filter(None, (one["hub"], one["subset"], one["split"]))) or "not on the Hub"
            note = f"; read in {', '.join(one['languages'])}" if "languages" in one else ""
            note += f"; {one['note']}" if one["note"] else ""
            lines.append(f"{split if place == 0 else '  and':12} {where}; files: {', '.join(one['files'])} ({one['reader']}){note}")
    for split, by_language in facts["splits"].items():
        for language, known in by_language.items():
            first = json.dumps(known.get("first"), ensure_ascii=False)
            lines.append(f"{split:5} {language:4} {known.get('missing') or '{} examples; {}'.format(known['examples'], first)}")
    return lines


def _plain(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


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
            "method": plan.methods[key],
            "task": stage.task.name if stage.task else None,
            "seed": stage.seed,
            "parent": stage.parent.key if stage.parent else None,
            "done": key in done,
        }
        for key, stage in plan.stages.items()
    ]


def activity(plan: Plan, store: Store) -> list[str]:
    """What is worked on right now, whichever terminal or machine it was started from, and what the journal last said of this plan."""
    running, journal = running_now(plan, store), store.journal()
    started = {line["key"]: line["time"] for line in journal if line.get("event") == "start" and "key" in line}
    lines = [f"running now: {plan.label(key)} ({_since(started.get(key))})" for key in running] or ["nothing runs now."]
    last = next((line for line in reversed(journal) if line.get("key") in plan.stages), None)
    if last and not running:
        lines.append(f"last: {last['event']} {plan.label(last['key'])} at {last['time']}, in {last['process']}")
    return lines


def running_now(plan: Plan, store: Store) -> list[str]:
    """Keys of the plan's stages that some process works on."""
    done = store.done()
    busy = store.busy(key for key in plan.stages if key not in done)
    return [key for key in plan.stages if key in busy]


def _since(started: str | None) -> str:
    if started is None:
        return "since a moment"
    seconds = time.time() - calendar.timegm(time.strptime(started, "%Y-%m-%dT%H:%M:%SZ"))
    return f"for {max(0, seconds):.0f} s"


def arms_table(plan: Plan) -> list[str]:
    """Of a study with looks: how many seeds its arms have by now, and which have how many."""
    arms = dict.fromkeys(cell.arm for cell in plan.cells if cell.seed is not None)
    by_number: dict[int, list[str]] = {}
    for encoder, intermediate, method, target in arms:
        under = "" if method == PLAIN else f" under {method}"
        by_number.setdefault(plan.num_seeds[encoder, intermediate, method, target], []).append(
            f"{intermediate} > {target}{under}, {encoder}"
        )
    lines = [f"looks at {', '.join(map(str, plan.study.looks))} seeds; arms by their seeds so far:"]
    for number, named in sorted(by_number.items()):
        lines.append(f"  {number} seeds: {len(named)} arms ({'; '.join(named[:3])}{'; ...' if len(named) > 3 else ''})")
    return lines


def _fewer(study: Study) -> str:
    """How many of the seeds there are in runs."""
    named = ", ".join(f"{target} {number}" for target, number in study.target_seeds.items())
    return " at most; by now" if study.looks else f" ({named}) =" if named else " ="


def plan_table(plan: Plan, store: Store) -> list[str]:
    """A table: per role the stages, what is done, and what a sweep without sharing would have run."""
    study, arms = plan.study, len(plan.study.intermediates) + 1
    methods = f" x {len(study.methods) + 1} methods (with plain)" if study.methods else ""
    lines = [
        f"{study.name}: {study.question}",
        f"{len(study.encoders)} encoders x {arms} intermediates (with none){methods} x {len(study.targets)} targets"
        f" x {len(study.seeds)} seeds"
        f"{_fewer(study)} {len(plan.cells)} runs; store: {store.shown}",
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
    if study.looks:
        lines += arms_table(plan)
    return lines + [
        f"note: {line}" for line in (*disclosure.distrusted(plan).values(), *disclosure.controls(plan), *disclosure.other_languages(plan))
    ]
