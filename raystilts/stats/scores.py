"""When nothing finer than scores per run exists: the same tables, about exactly these test sets."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from raystilts.stats.analysis import TEXT, WHOLE, Analysis, analyse
from raystilts.stats.plan import Plan, StatsError

ESTIMAND = "fixed_test_set"
LOSS = (
    "Only scores per run were given: every interval is about exactly these test sets (estimand fixed_test_set, Welch's t over runs), says "
    "nothing about other examples and is too narrow for them; collapsed, duplicate and unpaired predictions cannot be seen."
)
"""What an analysis of scores loses, in one sentence."""
_PSEUDO = 2


def analyse_scores(scores: pa.Table, plan: Plan) -> Analysis:
    """The tables of `analyse` from a score per run and language, for exactly these test sets (LOSS says what that leaves out).

    scores: run_id, language, score (points, 0 to 100) and the columns of `runs` (equal in all rows of a run). With no variance between
    examples the two-way formula (docs/explanation/intervals.md) is Welch's (1947) t over runs, with runs that languages share counted
    once. Tables with estimates have a column `given` = "fixed_test_set", those by language also `estimand`; example counts are null,
    and scaling has no log-odds, which need example counts.

    >>> table = pa.table({"run_id": list("abcdef"), "arm": [1, 1, 1, 0, 0, 0], "seed": [1, 2, 3] * 2, "language": ["sw"] * 6,
    ...                   "score": [50.0, 52.0, 54.0, 48.0, 49.0, 50.0]})
    >>> from raystilts.stats import Contrast
    >>> plan = Plan((Contrast("a", {"arm": 1}, {"arm": 0}),), resamples=100, collapsed=("all",))
    >>> row = analyse_scores(table, plan).gains.to_pylist()[0]
    >>> row["estimand"], row["theta"], round(row["p"], 3)
    ('fixed_test_set', 3.0, 0.104)
    """
    rows = _checked(scores)
    runs = _runs(scores, rows)
    # Examples that all score the same have no variance, which leaves that between runs.
    names = [row["run_id"] for row in rows for _ in range(_PSEUDO)]
    examples = pa.table(
        {
            "run_id": pa.array(names, TEXT),
            "language": pa.array([row["language"] for row in rows for _ in range(_PSEUDO)], TEXT),
            "example_id": pa.array([str(i) for _ in rows for i in range(_PSEUDO)], TEXT),
            "s0": [row["score"] / 100 for row in rows for _ in range(_PSEUDO)],
        }
    )
    found = analyse(runs, examples, replace(plan, metric="score", collapsed=("all",)))
    tables = {name: getattr(found, name) for name in Analysis.__dataclass_fields__}
    for name in ("gains", "interactions"):
        tables[name] = _without_counts(_with(tables[name], "estimand"))
    tables["scores"] = _without_counts(tables["scores"])
    tables["scaling"] = _two_scales(tables["scaling"])
    for name in ("gains", "interactions", "pooled", "partial_conjunction", "scaling", "resource", "trend", "variance", "power"):
        tables[name] = _with(tables[name], "given")
    return Analysis(**tables)


def _checked(scores: pa.Table) -> list[dict[str, Any]]:
    for column in ("run_id", "language", "score"):
        if column not in scores.column_names:
            raise StatsError(f"the table of scores has no column {column!r}: it needs run_id, language, score and what contrasts select by")
        if scores[column].null_count:
            raise StatsError(f"the column {column!r} of the table of scores has nulls: leave out the rows of runs that have no score")
    kind = scores.schema.field("score").type
    if not (pa.types.is_floating(kind) or pa.types.is_integer(kind)):
        raise StatsError(f"the column 'score' of the table of scores must hold numbers, not {kind}")
    rows: list[dict[str, Any]] = scores.to_pylist()
    for row in rows:
        row["run_id"], row["language"] = str(row["run_id"]), str(row["language"])
        if not 0 <= row["score"] <= 100:
            raise StatsError(f"run {row['run_id']!r} has the score {row['score']} in {row['language']!r}: scores are points from 0 to 100")
    if rows and max(row["score"] for row in rows) <= 1:
        raise StatsError("no score is above 1: scores are points from 0 to 100, multiply shares by 100")
    return rows


def _runs(scores: pa.Table, rows: list[dict[str, Any]]) -> pa.Table:
    """One row per run: the columns that are not about a language."""
    first: dict[str, int] = {}
    for i, row in enumerate(rows):
        other = rows[first.setdefault(row["run_id"], i)]
        for column, value in row.items():
            if column not in ("language", "score", "reported_score") and value != other[column]:
                raise StatsError(f"the rows of run {row['run_id']!r} disagree about {column!r}: a run has one value in all languages")
    kept = [name for name in scores.column_names if name not in ("language", "score", "reported_score", "run_id")]
    taken = scores.select(kept).take(list(first.values()))
    return taken.append_column("run_id", pa.array(list(first), TEXT))


def _with(table: pa.Table, column: str) -> pa.Table:
    return table.append_column(column, pa.array([ESTIMAND] * table.num_rows, TEXT))


def _without_counts(table: pa.Table) -> pa.Table:
    for name in ("n_examples", "n_clusters"):
        if name in table.column_names:
            table = table.set_column(table.column_names.index(name), name, pa.nulls(table.num_rows, WHOLE))
    return table


def _two_scales(table: pa.Table) -> pa.Table:
    """Without log-odds; `agrees` is about the scales that are left."""
    table = table.filter(pc.not_equal(table["scale"], "log_odds"))
    rows = table.to_pylist()
    verdicts: dict[tuple[str, str, str], set[str]] = {}
    for row in rows:
        verdicts.setdefault((row["policy"], row["contrast"], row["group"]), set()).add(row["verdict"])
    agrees = [len(verdicts[row["policy"], row["contrast"], row["group"]]) == 1 and row["verdict"] != "refused" for row in rows]
    return table.set_column(table.column_names.index("agrees"), "agrees", pa.array(agrees, pa.bool_()))
