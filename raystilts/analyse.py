"""`raystilts analyse`: tables of predictions that anybody made and a plan in TOML -> the statistics' tables and a report."""

from __future__ import annotations

import hashlib
import math
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from raystilts import __version__, languages, stats
from raystilts.errors import UserError, nearest
from raystilts.planfile import LOW, read_plan, read_toml
from raystilts.report import LanguageFacts, Story, verdict_lines, write_report
from raystilts.stats.scores import LOSS

LEVELS = (LOW, "high")
RUN_COLUMNS = ("reported_score", "dev_score", "intermediate_dev_score", "num_parameters", "seed", "score")
NAMES = ("run_id", "language", "example_id", "cluster_id")
STATISTICS = ("s0", "s1", "s2")

DAMAGED = (pa.ArrowException, OSError, UnicodeDecodeError)
"""What pyarrow raises where a file is not what it says; the last where a name in it is not UTF-8."""


def analyse_tables(tables: Path, plan_file: Path, out: Path, command: str = "", further: Sequence[str] = ()) -> list[str]:
    """Write all tables (.parquet and .csv) and report.html, report.md of a plan into `out`; returns lines for a terminal.

    tables: a folder with runs.parquet and examples.parquet (raystilts.stats.analyse), or with runs.parquet alone, which then has a row per
    run and language with a `score` in points. Without groups in the plan, languages of class 0 to 2 (Joshi et al. 2020) are "low", the
    others "high", and the covariate is the size of CC-100. further: names of stats.FURTHER, tables that are written beside; they need
    examples. Raises UserError.
    """
    written = read_toml(plan_file)
    plan = read_plan(plan_file)
    runs, examples = _read_tables(tables)
    try:
        plan = _with_levels(plan, _languages(tables / "runs.parquet" if examples is None else examples))
        _check_selections(plan, runs, plan_file)
        found = stats.analyse_scores(runs, plan) if examples is None else stats.analyse(runs, examples, plan)
        if further and examples is None:
            raise stats.StatsError(f"the tables {', '.join(further)} need examples.parquet: scores per run are not enough")
        beside = stats.further_tables(further, found, runs, examples, plan) if examples else {}
    except stats.StatsError as error:
        raise UserError(f"{tables}: {error}.") from error
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{out}: cannot be made a folder ({error.strerror}); --out names one that is free.") from error
    story = replace(
        _story(written, plan, found, command, LOSS if examples is None else ""),
        study_file=(plan_file.name, plan_file.read_text(encoding="utf-8")),
    )
    story = replace(story, facts={**story.facts, **_hashes(tables, examples)})
    report = write_report(found, story, out, beside)
    for path in sorted((report.parent / "tables").iterdir()):
        shutil.copyfile(path, out / path.name)
    counts = [f"{kind} {number}" for kind, number in _counts(found.findings["kind"].to_pylist()).items()]
    lines = [*verdict_lines(found, story), f"findings: {', '.join(counts) or 'none'} (findings.csv)"]
    return [*lines, *([LOSS] if examples is None else []), f"report: {report}"]


def _read_tables(folder: Path) -> tuple[pa.Table, Path | None]:
    """Runs, and the file of examples where there is one."""
    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such folder; TABLES holds runs.parquet and examples.parquet.")
    runs = _parquet(folder / "runs.parquet")
    if "run_id" not in runs.column_names:
        raise UserError(f"{folder / 'runs.parquet'}: has no column 'run_id'; it needs one, and the columns that the plan selects by.")
    for name in RUN_COLUMNS:
        if name in runs.column_names:
            kind = runs.schema.field(name).type
            if not (pa.types.is_integer(kind) or pa.types.is_null(kind) or pa.types.is_floating(kind)):
                raise UserError(f"{folder / 'runs.parquet'}: the column {name!r} holds {kind}; it must hold numbers.")
    runs = _whole_seeds(runs, folder / "runs.parquet")
    if "seed" not in runs.column_names:
        # Nobody wrote down seeds: every run is then one of its own. (A null seed would say that nothing was trained.)
        ids = runs["run_id"].to_pylist()
        number = {run: i for i, run in enumerate(sorted(set(ids), key=str))}
        runs = runs.append_column("seed", pa.array([number[run] for run in ids], pa.int64()))
    path = folder / "examples.parquet"
    if path.exists():
        return runs, _examples(path)
    if "score" not in runs.column_names:
        raise UserError(f"{folder}: has no examples.parquet, and runs.parquet has no column 'score'; give one of them.")
    return runs, None


def _whole_seeds(runs: pa.Table, path: Path) -> pa.Table:
    """Seeds as whole numbers: data frames turn them into 1.0 where one is missing."""
    if "seed" not in runs.column_names or not pa.types.is_floating(runs.schema.field("seed").type):
        return runs
    try:
        return runs.set_column(runs.column_names.index("seed"), "seed", runs["seed"].cast(pa.int64()))
    except pa.ArrowInvalid as error:
        raise UserError(f"{path}: the column 'seed' has a number that is not whole ({error}); correct it.") from error


def _examples(path: Path) -> Path:
    """The file, whose columns have been looked at: it is read in batches, since it may be larger than memory."""
    schema = _schema(path)
    for name in ("run_id", "language", "example_id", "s0"):
        if name not in schema.names:
            raise UserError(f"{path}: has no column {name!r}; it needs run_id, language, example_id, s0 (and s1, s2 for micro_f1).")
    for name in {*NAMES, *STATISTICS} & set(schema.names):
        kind = schema.field(name).type
        value = kind.value_type if pa.types.is_dictionary(kind) else kind
        number = pa.types.is_integer(value) or pa.types.is_floating(value) or pa.types.is_boolean(value)
        text = pa.types.is_string(value) or pa.types.is_large_string(value) or pa.types.is_integer(value)
        if not (pa.types.is_null(value) or (text if name in NAMES else number)):
            raise UserError(f"{path}: the column {name!r} holds {kind}; it must hold {'texts' if name in NAMES else 'numbers'}.")
    return path


def _schema(path: Path) -> pa.Schema:
    if not path.is_file():
        raise UserError(f"{path}: there is no such file; TABLES holds runs.parquet and examples.parquet.")
    try:
        schema = pq.read_schema(path)
        twice = next((name for name, count in Counter(schema.names).items() if count > 1), None)
    except DAMAGED as error:
        raise _unreadable(path, error) from error
    if twice is not None:
        raise UserError(f"{path}: has two columns of the name {twice!r}; remove or rename one.")
    return schema


def _parquet(path: Path) -> pa.Table:
    _schema(path)
    try:
        table = pq.read_table(path)
        table.validate(full=True)
        return table
    except DAMAGED as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> UserError:
    return UserError(f"{path}: cannot be read as parquet ({str(error).strip().splitlines()[0]}); write it again.")


def _languages(path: Path) -> list[str]:
    if "language" not in _schema(path).names:
        return []
    found: set[str] = set()
    try:
        for batch in pq.ParquetFile(path).iter_batches(columns=["language"]):
            found |= {str(value) for value in batch.column(0).unique().to_pylist() if value is not None}
    except DAMAGED as error:
        raise _unreadable(path, error) from error
    return sorted(found)


def _level(code: str) -> tuple[languages.Language | None, str]:
    """The language of a code, and its resource level; "" where unknown."""
    try:
        language = languages.find(code)
    except UserError:
        return None, ""
    if language.resource_class is None:
        return language, ""
    return language, LEVELS[0] if languages.low_resource(language) else LEVELS[1]


def _with_levels(plan: stats.Plan, codes: list[str]) -> stats.Plan:
    """Groups and covariate of the plan, or those that are known of the languages where the plan names none."""
    for name, members in plan.groups.items():
        if not set(members) & set(codes):
            raise stats.StatsError(f"none of the languages of group {name!r} is in the tables, which have {', '.join(codes) or 'none'}")
    if plan.groups or plan.covariate:
        return plan
    level = {code: _level(code) for code in codes}
    groups = {name: tuple(code for code, (_, of) in level.items() if of == name) for name in LEVELS}
    covariate = {code: math.log10(of.cc100_mb) for code, (of, _) in level.items() if of and of.cc100_mb}
    groups = {name: members for name, members in groups.items() if members}
    return replace(plan, groups=groups, low_group=LEVELS[0] if LEVELS[0] in groups else None, covariate=covariate)


def _check_selections(plan: stats.Plan, runs: pa.Table, path: Path) -> None:
    """A column or value that no run has is a slip of the pen, not a study without runs."""
    for contrast in plan.contrasts:
        for side in (contrast.plus, contrast.minus):
            for column, value in side.items():
                if column not in runs.column_names:
                    hint = nearest(column, runs.column_names)
                    raise UserError(f"{path}: contrast {contrast.name!r}: runs.parquet has no column {column!r}; {hint}")
                present = runs[column].to_pylist()
                if value not in present:
                    hint = nearest(str(value), {str(other) for other in present if other is not None})
                    raise UserError(f"{path}: contrast {contrast.name!r}: no run has {column} = {value!r}; {hint}")


def _hashes(tables: Path, examples: Path | None) -> dict[str, str]:
    """Version and SHA-256 of what was analysed."""
    found = {"raystilts": __version__}
    for path in (tables / "runs.parquet", *([examples] if examples else [])):
        with path.open("rb") as file:
            found[f"sha256 of {path.name}"] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def _counts(values: Iterable[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for value in values:
        found[value] = found.get(value, 0) + 1
    return found


def _story(written: Mapping[str, Any], plan: stats.Plan, found: stats.Analysis, command: str, loss: str) -> Story:
    """What the report says beside the numbers."""
    rows = found.scores.to_pylist()
    size: dict[str, float] = {}
    for row in rows:
        if row.get("encoder") is not None:
            size[str(row["encoder"])] = float(row.get("num_parameters") or 0)
    facts = {}
    group_of = {code: name for name, members in plan.groups.items() for code in members}
    for code in sorted({row["language"] for row in rows}):
        language, _ = _level(code)
        order = plan.covariate.get(code, 0.0)
        facts[code] = LanguageFacts(language.name if language else code, group_of.get(code, "level unknown"), float(order))
    # What gains are over is a baseline only where the contrasts are of intermediate tasks; here they may be of anything.
    sides = [(contrast.plus.get("intermediate"), contrast.minus.get("intermediate")) for contrast in plan.contrasts]
    others = {str(minus or "") if plus != minus else "" for plus, minus in sides}
    default = not written.get("groups") and set(plan.groups) <= set(LEVELS)
    return Story(
        title=str(written.get("title", "Analysis of given predictions")),
        question=str(written.get("question", "Which of these differences are real?")),
        command=command,
        baseline=next(iter(others)) if len(others) == 1 else "",
        encoders=tuple(sorted(size, key=lambda name: (size[name], name))),
        languages=facts,
        levels=tuple(plan.groups),
        level_note="low: class 0 to 2 of Joshi et al. (2020); high: class 3 to 5." if default and plan.groups else "Groups of the plan.",
        notes=(loss,) if loss else (),
        facts={"bootstrap resamples": str(plan.resamples), "bootstrap seed": str(plan.seed)},
        margin=plan.margin,
        alpha=plan.alpha,
    )
