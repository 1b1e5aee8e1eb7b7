"""What a plan must say of itself beside its numbers: data that both phases share, controls, other languages than English in training."""

from __future__ import annotations

from collections.abc import Iterator

from raystilts.study import OWN_DATA, Plan
from raystilts.task import ENGLISH, Source

ENGLISH_ONLY = "Models are trained and chosen on English only; the last weights of each training are evaluated, and none is left out."
BEYOND = "Models are chosen on English only; the last weights of each training are evaluated, and none is left out. Training read more:"


def distrusted(plan: Plan) -> dict[tuple[str, str], str]:
    """(target, intermediate) -> a sentence where their trainings share data, controls apart: there that is the point."""
    cells = dict.fromkeys((cell.target, cell.intermediate) for cell in plan.cells if cell.same_data and not cell.is_control)
    return {
        (target, intermediate): f"{intermediate} > {target}: both phases train on the same data, so a gain says nothing of the task."
        for target, intermediate in cells
    }


def controls(plan: Plan) -> list[str]:
    """A sentence for each control among the intermediates and encoders, and for the targets that have no such arm."""
    lines = []
    for name in dict.fromkeys(cell.intermediate for cell in plan.cells if cell.is_control):
        if name != OWN_DATA:
            lines.append(f"{name} is a control: its labels are shuffled, so a gain over none is of its texts and steps, not of its task.")
            continue
        lines.append(f"{name} is a control: as many steps on the target's own data, so a gain over none is of more steps, not of a task.")
        without = dict.fromkeys(cell.target for cell in plan.cells).keys() - {
            cell.target for cell in plan.cells if cell.intermediate == name
        }
        lines += [f"{target} has no arm after {name}: nothing is trained for it." for target in sorted(without)]
    random = [encoder.name for encoder in plan.study.encoders if encoder.random_weights]
    return lines + [f"{name} is a control: the same architecture and tokenizer with random weights, never pretrained." for name in random]


def other_languages(plan: Plan) -> list[str]:
    """A sentence for each training that reads text in other languages than English."""
    lines = []
    for task in dict.fromkeys(stage.task for stage in plan.stages.values() if stage.phase == "train" and stage.task):
        for part in task.parts or (task,):
            foreign = sorted({language for source in _with_more(part.train) for language in source.languages} - {ENGLISH})
            what = "unlabelled text" if part.kind == "mlm" else "machine translations of English training data"
            if foreign:
                lines.append(f"{task.name} reads {what} in {', '.join(foreign)}.")
    return list(dict.fromkeys(lines))


def _with_more(source: Source | None) -> Iterator[Source]:
    if source:
        yield source
        for further in source.more:
            yield from _with_more(further)


def notes(plan: Plan) -> list[str]:
    """What a report says of how models were trained and chosen."""
    beyond = other_languages(plan)
    return [" ".join([BEYOND, *beyond]) if beyond else ENGLISH_ONLY, *controls(plan)]
