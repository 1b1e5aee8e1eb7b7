"""Tables about the study as a whole: its questions, published claims, findings, intermediate trainings, collapsed runs, both policies."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any

from raystilts.report.answers import Answer
from raystilts.report.story import Story
from raystilts.report.tables import (
    DASH,
    Column,
    Field,
    Table,
    claim_field,
    count_field,
    interval_field,
    numbers,
    points_field,
    probability_field,
    score_field,
    text_field,
    words,
)
from raystilts.report.view import Arm, Row, absent, language, refused


def questions_table(found: Sequence[Answer]) -> Table:
    """Every question of the study with its answer."""
    columns = [
        *words("Question"),
        *words("Answer", chosen=True),
        *numbers("Effect", "95 % interval", "Adjusted p"),
        *words("Test"),
        *numbers("Languages"),
        *words("Seeds", "Examples", "Why", "What would settle it"),
        *(Column(title, filter=True, repeats=True) for title in ("Target", "Intermediate", "Encoder", "About")),
    ]
    rows = []
    for one in found:
        hide = refused(one.row)
        rows.append(
            [
                Field(one.question),
                Field(one.answer, one.answer, one.answer.replace(" ", "-")),
                points_field(one.row.get("theta"), hide),
                interval_field(one.row.get("lo"), one.row.get("hi"), hide),
                probability_field(one.p_holm, hide),
                Field(DASH if hide else one.test),
                count_field(one.languages),
                *(Field(text) for text in (one.seeds, one.examples)),
                *(Field(text, kind="prose") for text in (one.sentence, one.settle)),
                *(Field(text) for text in (one.target, one.intermediate, one.encoder, one.about)),
            ]
        )
    note = "Points, pooled over these languages. Adjusted p: of the test named beside it, after Holm. Exact values: tables/questions.csv."
    return Table("All questions and answers", columns, rows, note)


def ledger_table(found: Sequence[Row]) -> Table:
    """Published claims against this study; what it tests first."""
    columns = [
        *words("Published claim", "Source", "Read there?"),
        *numbers("Published", "This study", "95 % interval"),
        *words("Verdict", chosen=True),
        *words("Why"),
    ]
    rows = [
        [
            Field(row["sentence"], kind="prose"),
            Field(row["source"]),
            Field(row["status"]),
            score_field(row["published"], hide=False),
            score_field(row["theta"], hide=False),
            interval_field(row["lo"], row["hi"]),
            Field(row["verdict"], row["verdict"], row["verdict"].replace(" ", "-")),
            Field(row["detail"], kind="prose"),
        ]
        for row in sorted(found, key=lambda row: row["verdict"] == "not tested")
    ]
    note = "Supported: the whole interval lies within the margin of the published value. Contradicted: it leaves the value out."
    return Table("Published claims against this study", columns, rows, note)


def guessing(findings: Any) -> list[str]:
    """Sentences on the arms that guess in all languages."""
    return [f"{row['detail']}." for row in findings.to_pylist() if (row["kind"], row["severity"]) == ("guessing", "error")]


def findings_table(story: Story, findings: Sequence[Row]) -> Table:
    """The worst first."""
    columns = words("Severity", "Kind", "Language", "What was found", "Runs")
    severities = {"error": 0, "warning": 1, "note": 2}
    rows = []
    for row in sorted(findings, key=lambda row: severities.get(row["severity"], 3)):
        runs = row["run_ids"] or []
        rows.append(
            [
                Field(row["severity"], row["severity"], row["severity"]),
                Field(row["kind"].replace("_", " ")),
                Field(language(story, row["language"]) if row["language"] else "all"),
                Field(row["detail"] or DASH, kind="prose"),
                Field(", ".join(runs) or DASH, kind="runs"),
            ]
        )
    return Table("Findings", columns, rows, "What was detected in the runs and their predictions. Nothing was dropped silently.")


def collapse_table(collapse: Any) -> Table:
    """Whatever labels the table has, then the rate with its Clopper-Pearson interval."""
    names = [name for name in collapse.column_names if name not in ("collapsed", "runs", "rate", "lo", "hi")]
    columns = [*words(*(name.replace("_", " ").capitalize() for name in names)), *numbers("Collapsed", "Runs", "Rate", "95 % interval")]
    rows = []
    for row in collapse.to_pylist():
        rate = Field(DASH) if absent(row["rate"]) else Field(f"{row['rate']:.1%}", repr(row["rate"]))
        ends = (
            Field(DASH)
            if absent(row["lo"]) or absent(row["hi"])
            else Field(f"{row['lo']:.1%} to {row['hi']:.1%}", f"{row['lo']!r} {row['hi']!r}")
        )
        rows.append([*(text_field(row[name]) for name in names), count_field(row["collapsed"]), count_field(row["runs"]), rate, ends])
    return Table("Collapsed runs", columns, rows, "A collapsed run predicts the same for every example. Intervals: Clopper-Pearson.")


def intermediates_table(scores: Any) -> Table:
    """What each intermediate training scored on English dev; no rows where that is not known."""
    names = [name for name in ("intermediate", "method", "encoder") if name in scores.column_names]
    needed = ["seed", "intermediate_dev_score"]
    of_runs = scores.group_by([*names, *needed]).aggregate([]).to_pylist() if set(needed) <= set(scores.column_names) else []
    known: dict[tuple[str, ...], dict[int, float]] = {}
    for row in of_runs:
        if not absent(row["intermediate_dev_score"]) and row["seed"] is not None:
            known.setdefault(tuple(row[name] for name in names), {})[row["seed"]] = row["intermediate_dev_score"]
    rows = [
        [
            *(Field(name) for name in of),
            *(score_field(end(by_seed.values()), hide=False) for end in (min, median, max)),
            Field(", ".join(f"{seed}: {score:.1f}" for seed, score in sorted(by_seed.items()))),
        ]
        for of, by_seed in sorted(known.items())
    ]
    columns = [*words(*(name.capitalize() for name in names)), *numbers("Lowest", "Median", "Highest"), *words("By seed")]
    note = "Scores on English dev data of the intermediate task. Runs whose intermediate training has failed stay in their arms."
    return Table("Intermediate trainings", columns, rows, note)


def policies_table(story: Story, names: Sequence[str], differing: Sequence[tuple[Arm, Row, Row]]) -> Table:
    """differing: (arm, its gain under the first policy, under the second)."""
    columns = words("Target", "Intermediate", "Encoder", "Language")
    for name in names[:2]:
        columns += [*numbers(f"{name}: gain", "95 % interval", "runs"), *words("verdict")]
    rows = []
    for arm, *pair in differing:
        single = "language" in pair[0]
        row = [
            Field(arm[0]),
            Field(arm[1]),
            Field(arm[2]),
            Field(language(story, pair[0]["language"]) if single else "all languages, pooled"),
        ]
        for one in pair:
            hide = refused(one)
            low, high = (one["boot_lo"], one["boot_hi"]) if single else (one["lo"], one["hi"])
            runs = f"{one['runs_plus']} and {one['runs_minus']}" if single else DASH
            row += [points_field(one["theta"], hide), interval_field(low, high, hide), Field(runs), claim_field(one)]
        rows.append(row)
    return Table("Both collapse policies", columns, rows, "Runs: of the arm and of its baseline.")
