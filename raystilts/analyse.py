"""`raystilts analyse`: tables of predictions that anybody made and a plan in TOML -> the statistics' tables and a report."""

from __future__ import annotations

import math
import shutil
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from raystilts import languages, stats
from raystilts.errors import UserError, nearest
from raystilts.report import LanguageFacts, Story, verdict_lines, write_report
from raystilts.stats.scores import LOSS

LEVELS = ("low", "high")
KEYS: Mapping[str, tuple[str, ...]] = {
    "the plan": (
        *("title", "question", "metric", "margin", "alpha", "resamples", "seed", "paired_seeds", "low_group"),
        *("groups", "covariate", "families", "contrasts", "interactions", "policy"),
    ),
    "contrasts": ("name", "plus", "minus", "family", "labels"),
    "interactions": ("name", "plus", "minus", "labels"),
    "policy": ("collapsed", "duplicates"),
}
RUN_COLUMNS = ("reported_score", "dev_score", "num_parameters", "seed", "score")
NAMES = ("run_id", "language", "example_id", "cluster_id")
EXAMPLE_COLUMNS = (*NAMES, "s0", "s1", "s2", "prediction_code", "gold_code")


def analyse_tables(tables: Path, plan_file: Path, out: Path, command: str = "") -> list[str]:
    """Write all tables (.parquet and .csv) and report.html, report.md of a plan into `out`; returns lines for a terminal.

    tables: a folder with runs.parquet and examples.parquet (raystilts.stats.analyse), or with runs.parquet alone, which then has a row per
    run and language with a `score` in points. Without groups in the plan, languages of class 0 to 2 (Joshi et al. 2020) are "low", the
    others "high", and the covariate is the size of CC-100. Raises UserError.
    """
    written = _toml(plan_file)
    plan = read_plan(plan_file)
    runs, examples = _read_tables(tables)
    try:
        plan = _with_levels(plan, _languages(runs if examples is None else examples))
        _check_selections(plan, runs, plan_file)
        found = stats.analyse_scores(runs, plan) if examples is None else stats.analyse(runs, examples, plan)
    except stats.StatsError as error:
        raise UserError(f"{tables}: {error}.") from error
    story = _story(written, plan, found, command, LOSS if examples is None else "")
    report = write_report(found, story, out)
    for path in sorted((report.parent / "tables").iterdir()):
        shutil.copyfile(path, out / path.name)
    counts = [f"{kind} {number}" for kind, number in _counts(found.findings["kind"].to_pylist()).items()]
    lines = [*verdict_lines(found, story), f"findings: {', '.join(counts) or 'none'} (findings.csv)"]
    return [*lines, *([LOSS] if examples is None else []), f"report: {report}"]


def read_plan(path: Path) -> stats.Plan:
    """The plan in a TOML file; an unknown key, a wrong type or a contradiction raises UserError with one sentence."""
    written = _toml(path)
    _known(written, "the plan", path)
    policy = _typed(written, "policy", dict, {}, path)
    _known(policy, "policy", path)
    contrasts = _entries(written, "contrasts", path)
    if not contrasts:
        raise UserError(f"{path}: the plan has no contrasts; add [[contrasts]] with name, plus and minus.")
    family = _family_of(_typed(written, "families", dict, {}, path), contrasts, path)
    settings = {
        "metric": _typed(written, "metric", (str, dict), "accuracy", path),
        "margin": _typed(written, "margin", (int, float), 1.0, path),
        "alpha": _typed(written, "alpha", (int, float), 0.05, path),
        "resamples": _typed(written, "resamples", int, 10_000, path),
        "seed": _typed(written, "seed", int, 0, path),
        "paired_seeds": _typed(written, "paired_seeds", bool, False, path),
        "groups": {name: _texts(members, f"group {name!r}", path) for name, members in _typed(written, "groups", dict, {}, path).items()},
        "low_group": _typed(written, "low_group", str, None, path),
        "covariate": _typed(written, "covariate", dict, {}, path),
        "collapsed": _texts(policy.get("collapsed", list(stats.POLICIES)), "policy.collapsed", path),
        "duplicates": _typed(policy, "duplicates", str, "drop", path),
    }
    for name, of, kinds in (("metric", settings["metric"], str), ("covariate", settings["covariate"], (int, float))):
        if isinstance(of, dict) and not all(isinstance(value, kinds) for value in of.values()):
            raise UserError(f"{path}: every value of {name} must be {'a text' if kinds is str else 'a number'}.")
    if settings["low_group"] is None and LEVELS[0] in settings["groups"]:
        settings["low_group"] = LEVELS[0]
    try:
        made = tuple(_contrast(entry, family.get(entry["name"], ""), path) for entry in contrasts)
        both = {c.name: c for c in made}
        interactions = tuple(_interaction(entry, both, path) for entry in _entries(written, "interactions", path))
        return stats.Plan(contrasts=made, interactions=interactions, **settings)
    except stats.StatsError as error:
        raise UserError(f"{path}: {error}.") from error


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error}); --plan names a TOML file.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: is not valid TOML ({error}); correct the file.") from error


def _known(entry: Mapping[str, Any], where: str, path: Path) -> None:
    for key in entry:
        if key not in KEYS[where]:
            raise UserError(f"{path}: {where} has the unknown key {key!r}; {nearest(key, KEYS[where])}")


def _typed(entry: Mapping[str, Any], key: str, kinds: type | tuple[type, ...], default: Any, path: Path) -> Any:
    value = entry.get(key, default)
    expected = kinds if isinstance(kinds, tuple) else (kinds,)
    if key in entry and (not isinstance(value, expected) or (isinstance(value, bool) and bool not in expected)):
        words = {str: "a text", dict: "a table", int: "a whole number", float: "a number", bool: "true or false", list: "a list"}
        raise UserError(f"{path}: {key} is {value!r}; it must be {' or '.join(words[kind] for kind in expected)}.")
    return value


def _texts(value: Any, what: str, path: Path) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise UserError(f"{path}: {what} is {value!r}; it must be a list of texts.")
    return tuple(value)


def _entries(written: Mapping[str, Any], kind: str, path: Path) -> list[dict[str, Any]]:
    """The tables [[contrasts]] or [[interactions]]."""
    entries = written.get(kind, [])
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise UserError(f"{path}: {kind} must be written as [[{kind}]] with name, plus and minus.")
    for entry in entries:
        _known(entry, kind, path)
        for key in ("name", "plus", "minus"):
            if key not in entry:
                raise UserError(f"{path}: one of the {kind} ({entry.get('name', 'unnamed')}) has no {key}; it needs name, plus and minus.")
        _typed(entry, "name", str, "", path)
    return entries


def _family_of(families: Mapping[str, Any], contrasts: Iterable[Mapping[str, Any]], path: Path) -> dict[str, str]:
    """Contrast -> family, of the table `families` (family -> contrasts)."""
    names, found = [entry["name"] for entry in contrasts], {}
    for family, members in families.items():
        for name in _texts(members, f"family {family!r}", path):
            if name not in names:
                raise UserError(f"{path}: family {family!r} names the unknown contrast {name!r}; {nearest(name, names)}")
            found[name] = family
    return found


def _contrast(entry: Mapping[str, Any], family: str, path: Path) -> stats.Contrast:
    name = entry["name"]
    sides = [_typed(entry, side, dict, {}, path) for side in ("plus", "minus")]
    for side in sides:
        for column, value in side.items():
            if not isinstance(value, (str, int, float, bool)):
                raise UserError(f"{path}: contrast {name!r} selects {column} by {value!r}; give one text or number.")
    plus, minus = sides
    labels = _typed(entry, "labels", dict, {}, path) or {
        column: str(plus[column])
        for column in ("encoder", "intermediate", "method", "target")
        if column in plus and (plus[column] == minus.get(column) or column in ("intermediate", "method"))
    }
    own = _typed(entry, "family", str, family, path)
    return stats.Contrast(name, plus, minus, own, {key: str(value) for key, value in labels.items()})


def _interaction(entry: Mapping[str, Any], contrasts: Mapping[str, stats.Contrast], path: Path) -> stats.Interaction:
    plus, minus = (_typed(entry, side, str, "", path) for side in ("plus", "minus"))
    for name in (plus, minus):
        if name not in contrasts:
            raise UserError(f"{path}: interaction {entry['name']!r} names the contrast {name!r}; {nearest(name, contrasts)}")
    labels = _typed(entry, "labels", dict, {}, path)
    if not labels:
        large, small = contrasts[plus].labels, contrasts[minus].labels
        labels = {key: value for key, value in large.items() if small.get(key) == value}
        if "encoder" in large and "encoder" in small and "encoder" not in labels:
            labels["encoder"] = f"{small['encoder']} to {large['encoder']}"
    return stats.Interaction(entry["name"], plus, minus, {key: str(value) for key, value in labels.items()})


def _read_tables(folder: Path) -> tuple[pa.Table, pa.Table | None]:
    """runs, and examples where there are any."""
    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such folder; TABLES holds runs.parquet and examples.parquet.")
    runs = _parquet(folder / "runs.parquet")
    if "run_id" not in runs.column_names:
        raise UserError(f"{folder / 'runs.parquet'}: has no column 'run_id'; it needs one, and the columns that the plan selects by.")
    for name in RUN_COLUMNS:
        if name in runs.column_names:
            kind = runs.schema.field(name).type
            if not (pa.types.is_integer(kind) or pa.types.is_null(kind) or (name != "seed" and pa.types.is_floating(kind))):
                what = "whole numbers" if name == "seed" else "numbers"
                raise UserError(f"{folder / 'runs.parquet'}: the column {name!r} holds {kind}; it must hold {what}.")
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


def _examples(path: Path) -> pa.Table:
    table = _parquet(path, EXAMPLE_COLUMNS)
    for name in ("run_id", "language", "example_id", "s0"):
        if name not in table.column_names:
            raise UserError(f"{path}: has no column {name!r}; it needs run_id, language, example_id, s0 (and s1, s2 for micro_f1).")
    for name in table.column_names:
        kind = table.schema.field(name).type
        value = kind.value_type if pa.types.is_dictionary(kind) else kind
        if pa.types.is_null(kind):
            continue
        number = pa.types.is_integer(value) or pa.types.is_floating(value) or pa.types.is_boolean(value)
        if name in ("s0", "s1", "s2") and not number:
            raise UserError(f"{path}: the column {name!r} holds {kind}; it must hold numbers.")
        text = pa.types.is_string(value) or pa.types.is_large_string(value) or pa.types.is_integer(value)
        if name in NAMES and not text:
            raise UserError(f"{path}: the column {name!r} holds {kind}; it must hold texts.")
    return table


def _parquet(path: Path, columns: tuple[str, ...] = ()) -> pa.Table:
    if not path.is_file():
        raise UserError(f"{path}: there is no such file; TABLES holds runs.parquet and examples.parquet.")
    try:
        if not columns:
            return pq.read_table(path)
        present = [name for name in pq.read_schema(path).names if name in columns]
        return pq.read_table(path, columns=present, read_dictionary=[name for name in present if name in NAMES])
    except (pa.ArrowException, OSError) as error:
        first = str(error).strip().splitlines()[0]
        raise UserError(f"{path}: cannot be read as parquet ({first}); write it again.") from error


def _languages(table: pa.Table) -> list[str]:
    if "language" not in table.column_names:
        return []
    return sorted(str(value) for value in table["language"].unique().to_pylist() if value is not None)


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
                present = runs[column].unique().to_pylist()
                if value not in present:
                    hint = nearest(str(value), {str(other) for other in present if other is not None})
                    raise UserError(f"{path}: contrast {contrast.name!r}: no run has {column} = {value!r}; {hint}")


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
    default = not written.get("groups") and set(plan.groups) <= set(LEVELS)
    return Story(
        title=str(written.get("title", "Analysis of given predictions")),
        question=str(written.get("question", "Which of these differences are real?")),
        command=command,
        encoders=tuple(sorted(size, key=lambda name: (size[name], name))),
        languages=facts,
        levels=tuple(plan.groups),
        level_note="low: class 0 to 2 of Joshi et al. (2020); high: class 3 to 5." if default and plan.groups else "Groups of the plan.",
        notes=(loss,) if loss else (),
        facts={"bootstrap resamples": str(plan.resamples), "bootstrap seed": str(plan.seed)},
        margin=plan.margin,
        alpha=plan.alpha,
    )
