"""What is said of a search for a recipe: a line per training, the table of all, the winner."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pyarrow as pa

from raystilts.errors import UserError
from raystilts.halving import DIVERGED, Record, Search
from raystilts.population import NAMES, Population
from raystilts.progress import duration
from raystilts.stage import Recipe


def winner_literal(recipe: Recipe) -> str:
    """The recipe as Python: the fields that differ from a recipe's defaults."""
    # compared as texts: 0 and 0.0 make two recipes
    found = {field.name: (repr(getattr(recipe, field.name)), repr(field.default)) for field in dataclasses.fields(Recipe)}
    return f"Recipe({', '.join(f'{name}={text}' for name, (text, default) in found.items() if text != default)})"


def ended(search: Any, training: Any, outcome: str) -> None:
    """Print the line of a training, of halving or of a population."""
    what = training.title
    record = search.records.get(training.key)
    if record is None:
        text = f"lost its process, starting again: {what}" if outcome == "again" else f"FAILED {what}"
    elif record["dev_score"] is None:
        text = f"{what}: diverged"
    else:
        text = f"{what}: {record['dev_score']:.1f} on English dev"
    print(f"[{len(search.records)}] {text}" + (f"  {record['seconds']:.1f} s" if record else ""), flush=True)


_TYPES = {"float": pa.float64(), "int": pa.int64(), "bool": pa.bool_()}


def table_of(search: Search) -> pa.Table:
    """One row a training: trial, encoder, seed, rung (null: of another budget), all fields of the recipe, dev_score, seconds, status."""
    types = {"trial": pa.int64(), "encoder": pa.string(), "seed": pa.int64(), "rung": pa.int64()}
    types |= {field.name: _TYPES.get(str(field.type).split(" ")[0], pa.string()) for field in dataclasses.fields(Recipe)}
    types |= {"dev_score": pa.float64(), "seconds": pa.float64(), "status": pa.string(), "error": pa.string(), "key": pa.string()}
    rows = []
    for record in search.records.values():
        recipe = search.recipe_of(record)
        rung = search.rungs.index(recipe.num_epochs) if recipe.num_epochs in search.rungs else None
        known = {field.name: getattr(recipe, field.name) for field in dataclasses.fields(Recipe)}
        rows.append(record | known | {"rung": rung, "status": status(search, record, rung)})
    rows.sort(key=lambda row: (row["trial"], row["num_epochs"], row["seed"]))
    columns = {
        name: [str(value) if of == pa.string() and (value := row[name]) is not None else row[name] for row in rows]
        for name, of in types.items()
    }
    return pa.table(columns, pa.schema(list(types.items())))


def status(search: Search, record: Record, rung: int | None) -> str:
    """What became of a trial after a training: diverged, promoted to more epochs, finished (trained for all of them) or stopped."""
    if record["dev_score"] is None:
        return "diverged"
    if rung is None:
        return "of another budget"
    if rung == len(search.rungs) - 1:
        return "finished"
    return "promoted" if search.begun(record["trial"], rung + 1) else "stopped"


def summary(search: Search, task: str) -> tuple[Recipe, list[str]]:
    """The winner, and what to say of it."""
    best = search.best()
    if best is None:
        raise UserError(f"every training of the search for {task!r} diverged; lower the learning rate of the study's recipe.")
    winner, score = search.trainings(*best)[0].recipe, search.score(*best)
    scores = [search.score(trial, len(search.rungs) - 1) for trial, recipe in search.trials.items() if recipe == search.base]
    own = "not tried" if scores in ([], [None]) else "diverged" if scores == [DIVERGED] else f"{scores[0]:.1f} on English dev"
    seconds = sum(record["seconds"] for record in search.records.values())
    lines = [
        f"{task} with {search.encoder}: {len(search.trials)} trials, {len(search.records)} trainings "
        f"({len(search.records) - search.num_known} of them new), {duration(seconds)} of training; rungs of {search.rungs} epochs",
        f"  the study's rates, batches and warm-up with {search.rungs[-1]} epochs: {own}",
        f"  best: {score:.1f} on English dev (trial {best[0]}; seeds {search.seeds}, which the study has not; chosen by this score, "
        "which therefore flatters it)",
        "paste into the study's recipes:",
        f"    {task!r}: {winner_literal(winner)},",
    ]
    return winner, lines


def legs_table(search: Population) -> pa.Table:
    """One row a member and epoch, whose state it went on from, and with which values; then the whole trainings, without a member."""
    types = {"member": pa.int64(), "epoch": pa.int64(), "parent": pa.int64(), "encoder": pa.string(), "seed": pa.int64()}
    types |= dict.fromkeys(NAMES, pa.float64())
    types |= {"dev_score": pa.float64(), "seconds": pa.float64(), "error": pa.string(), "key": pa.string()}
    rows = []
    for record in search.records.values():
        member = record["trial"] if record["epoch"] else None
        parent = search.records[record["parent"]]["trial"] if record["parent"] else None
        rows.append(record | record["recipe"] | {"member": member, "parent": parent})
    rows.sort(key=lambda row: (row["epoch"] or math.inf, row["trial"], row["seed"], row["key"]))
    return pa.table({name: [row[name] for row in rows] for name in types}, pa.schema(list(types.items())))


def legs_summary(search: Population, task: str) -> tuple[Recipe, list[str]]:
    """The better of the winner's last values and the study's own, both trained afresh, and what to say of a population."""
    best = search.best()
    if best is None:
        raise UserError(f"every member of the population for {task!r} diverged; lower the learning rate of the study's recipe.")
    means = {}
    for what, recipe in (("theirs", best.recipe), ("own", search.base)):
        means[what] = math.fsum(search.score(leg) for leg in search.afresh(recipe)) / len(search.seeds)
    theirs, own = ("diverged" if mean == DIVERGED else f"{mean:.1f}" for mean in means.values())
    winner = best.recipe if means["theirs"] > means["own"] else search.base
    seconds = sum(record["seconds"] for record in search.records.values())
    searched = [name for name in NAMES if getattr(search.base, name) is not None]
    legs = search.lineage(best)
    lines = [
        f"{task} with {search.encoder}: a population of {search.budget.num_trials} members, {search.num_epochs} epochs, "
        f"{len(search.records)} trainings ({len(search.records) - search.num_known} of them new), {duration(seconds)} of training",
        f"the schedule of the best member, {best.trial}:",
        "  epoch  member  " + "  ".join(f"{name:>18}" for name in searched) + "  English dev",
    ]
    for leg in legs:
        values = "  ".join(f"{getattr(leg.recipe, name):>18g}" for name in searched)
        lines.append(f"  {leg.epoch:>5}  {leg.trial:>6}  {values}  {search.score(leg):>11.1f}")
    lines += [
        "The schedule itself is not used in a study: it depends on what the others did, and no recipe can repeat it.",
        f"  the schedule, at its end: {search.score(best):.1f} on English dev (the best of {search.budget.num_trials}, which flatters it)",
        f"  its last values, as a plain recipe trained afresh: {theirs} on English dev (seeds {search.seeds}, which the study has not)",
        f"  the study's own recipe with {search.num_epochs} epochs: {own} on English dev (the same seeds)",
        f"paste into the study's recipes{', if it is not what stands there' if winner == search.base else ''}:",
        f"    {task!r}: {winner_literal(winner)},",
    ]
    return winner, lines
