"""Predictions in the format of XTREME's evaluator: <out>/<its name of the task>/test-<language>.<suffix>, one model at a time.

The formats are those that evaluate.py of google-research/xtreme reads: a label, a tag or the number of a sentence a line, JSON by id.
XTREME-R's evaluator has no files for LAReQA, and both want the whole test sets in their original order, which is that of the tables.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from raystilts import data
from raystilts.disk import write_whole
from raystilts.errors import UserError, nearest
from raystilts.store import Store
from raystilts.study import Cell, Plan
from raystilts.task import Example, Kind, Source, Task

Rows = Sequence[Mapping[str, Any]]
"""The rows of a prediction table."""

Read = Callable[[], Sequence[Example]]
"""Reads the examples that the rows are of; called only where the table does not say enough."""


@dataclass(frozen=True)
class Format:
    """How XTREME calls a task, the suffix of its files, what kind of task it is, and (rows, read) -> the file's text."""

    name: str
    suffix: str
    kind: Kind
    text: Callable[[Rows, Read], str]


def _labels(rows: Rows, _read: Read) -> str:
    return "".join(f"{row['prediction']}\n" for row in rows)


def _tags(rows: Rows, _read: Read) -> str:
    """An empty line between sentences."""
    return "\n".join("".join(f"{tag}\n" for tag in row["prediction"]) for row in rows)


def _by_id(rows: Rows, _read: Read) -> str:
    """Answers, or ids that were found, by the id of the question or mention; in ASCII, which the evaluator reads in any locale."""
    for row in rows:
        if _MADE_ID.fullmatch(row["example_id"]):
            raise UserError(
                f"the example {row['example_id']!r} has an id that raystilts made, as its file repeats one or has none, and XTREME's "
                f"evaluator finds answers by the file's own ids; evaluate on a file whose ids are distinct."
            )
    return json.dumps({row["example_id"]: row["prediction"] for row in rows}) + "\n"


_MADE_ID = re.compile(r"[0-9a-f]{16}|.*#\d+", re.DOTALL)  # as raystilts.data makes them; no original has such


def _choices(rows: Rows, _read: Read) -> str:
    return "".join(json.dumps({"label": int(row["prediction"])}) + "\n" for row in rows)


def _pairs(rows: Rows, _read: Read) -> str:
    return "".join(f"{row['example_id']}\t{found}\n" for row in rows for found in row["prediction"])


def _sentences(rows: Rows, read: Read) -> str:
    """The number (from 0) of the found sentence for each English one, in the order into which XTREME's preprocessing sorts these.

    That is the order of their characters' code points without white space at both ends; equal sentences keep their order.
    """
    place = {row["example_id"]: number for number, row in enumerate(rows)}
    examples = read()
    if [example.id for example in examples] != list(place):
        raise UserError(
            f"the {len(examples)} examples at hand are not the {len(rows)} that were evaluated, or not in their order; XTREME sorts them "
            f"by their texts, so name the same data again with --data, or run the study on these."
        )
    english = [example.texts[0].strip() for example in examples]
    return "".join(f"{place[rows[number]['prediction']]}\n" for number in sorted(range(len(rows)), key=english.__getitem__))


FORMATS: Mapping[str, Format] = {
    "xnli": Format("xnli", "tsv", "classification", _labels),
    "pawsx": Format("pawsx", "tsv", "classification", _labels),
    "udpos": Format("udpos", "tsv", "tagging", _tags),
    "wikiann": Format("panx", "tsv", "tagging", _tags),
    "xquad": Format("xquad", "json", "span", _by_id),
    "mlqa": Format("mlqa", "json", "span", _by_id),
    "tydiqa": Format("tydiqa", "json", "span", _by_id),
    "xcopa": Format("xcopa", "jsonl", "choice", _choices),
    "tatoeba": Format("tatoeba", "tsv", "retrieval", _sentences),
    "bucc": Format("bucc2018", "tsv", "mining", _pairs),
    "mewslix": Format("mewslix", "json", "retrieval", _by_id),
}
"""By raystilts' names of the tasks."""


def cells_of(plan: Plan, encoder: str | None, intermediate: str, seed: int | None) -> list[Cell]:
    """The runs of one model: an encoder (None: the study's last), an intermediate task, a seed (None: the study's first).

    What is not trained has no seed and belongs to the model of every seed.
    """
    encoder = plan.study.encoders[-1].name if encoder is None else encoder
    seed = plan.study.seeds[0] if seed is None else seed
    for what, name, known in (
        ("encoder", encoder, {cell.encoder for cell in plan.cells}),
        ("intermediate task", intermediate, {cell.intermediate for cell in plan.cells}),
        ("seed", str(seed), {str(number) for number in plan.study.seeds}),
    ):
        if name not in known:
            raise UserError(f"study {plan.study.name!r} has no {what} {name!r}; {nearest(name, known)}")
    chosen = [cell for cell in plan.cells if (cell.encoder, cell.intermediate) == (encoder, intermediate)]
    return [cell for cell in chosen if cell.seed in (None, seed)]


def xtreme(cells: Sequence[Cell], store: Store, data_dir: Path | None, out: Path) -> list[str]:
    """Write the predictions of one model's runs; returns a line for each of their tasks, also where it is left out and why.

    A file appears whole or not at all. Raises UserError, before anything is written, where none of the tasks can be exported, where
    one that is evaluated does not fit the format or the data at hand, and where `out` holds files that would mix with these.
    """
    lines: list[str] = []
    texts: dict[Path, str] = {}
    for cell in cells:
        why = _left_out(cell, store)
        if why:
            lines.append(f"{cell.target}: left out, {why}")
            continue
        form = FORMATS[cell.target]
        folder = out / form.name
        for language in cell.languages:
            texts[folder / f"test-{language}.{form.suffix}"] = _text(form, cell, language, store, data_dir)
        trained = "untrained" if cell.seed is None else f"seed {cell.seed}"
        lines.append(f"{cell.target}: {len(cell.languages)} languages in {folder} ({cell.encoder}, {cell.intermediate}, {trained})")
    if not texts:
        raise UserError(f"nothing to export: {'; '.join(lines)}.")
    _check_folders(texts)
    for path, text in texts.items():
        _write(path, text)
    return lines


def _left_out(cell: Cell, store: Store) -> str:
    """Why a run's task is not exported; empty where it is."""
    task, form = _task(cell), FORMATS.get(cell.target)
    if form is None:
        return "XTREME's evaluator does not know it"
    if task.kind != form.kind:
        return f"it is of the kind {task.kind}, but XTREME's task of that name is of the kind {form.kind}"
    if task.test is None or not _whole(task.test):
        return "this study's test set is a part of it, or more than it"
    return "" if store.has(cell.evaluation.key) else "it is not evaluated yet"


def _task(cell: Cell) -> Task:
    task = cell.evaluation.task
    assert task is not None  # noqa: S101  evaluations have one; for the type checker
    return task


def _whole(source: Source) -> bool:
    """Whether a source holds all rows of its own files, and no others."""
    return source.limit is None and not (source.only or source.without or source.more or "" in dict(source.values).values())


def _text(form: Format, cell: Cell, language: str, store: Store, data_dir: Path | None) -> str:
    """What a language's file holds."""
    path = store.fetch(cell.evaluation.key) / "predictions" / f"{language}.parquet"
    rows = pq.read_table(path, columns=["example_id", "prediction"]).to_pylist()
    try:
        return form.text(rows, lambda: data.examples(_task(cell), "test", language, data_dir))
    except UserError as error:
        raise UserError(f"{cell.target} in {language!r} cannot be exported: {error}") from error


def _check_folders(paths: Iterable[Path]) -> None:
    """The evaluator takes all files of a folder for one model's."""
    paths = set(paths)
    for folder in sorted({path.parent for path in paths}):
        if others := sorted(set(folder.glob("test-*")) - paths):
            raise UserError(
                f"{others[0]} is of another export and would be scored with this one; delete it, or name another folder with --out."
            )


def _write(path: Path, text: str) -> None:
    try:
        write_whole(path, text.encode())
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); name another folder with --out.") from error
