"""The report's tables: rounded for reading, each number with its exact value beside it for sorting and checking."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from raystilts.report.story import Story
from raystilts.report.view import (
    Arm,
    Cell,
    Row,
    View,
    absent,
    group_order,
    in_points,
    interval,
    language,
    level,
    points,
    probability,
    refused,
)

DASH = "–"
CLAIMS = {"gain": "● gain", "loss": "▼ loss", "undecided": "○ cannot tell", "refused": "✕ refused"}
ESTIMANDS = {"fixed_languages": "these languages", "languages_as_sample": "languages as a sample", "new_language": "a new language"}
SCALES = {"points": "points", "headroom": "share of headroom", "log_odds": "log-odds"}


@dataclass(frozen=True)
class Field:
    """text: what is read; value: what it stands for, exactly (a number's repr); kind: a class for the eye."""

    text: str
    value: str = ""
    kind: str = ""


@dataclass(frozen=True)
class Column:
    """number: aligned to the right and sorted by value; filter: the page offers to show one value only."""

    title: str
    number: bool = False
    filter: bool = False


@dataclass(frozen=True)
class Table:
    """rows: as many fields as columns. note: what a reader must know, below the table."""

    title: str
    columns: list[Column]
    rows: list[list[Field]]
    note: str = ""


def _words(*titles: str, chosen: bool = False) -> list[Column]:
    return [Column(title, filter=chosen) for title in titles]


def _numbers(*titles: str) -> list[Column]:
    return [Column(title, number=True) for title in titles]


def _text(value: Any) -> Field:
    return Field(DASH if absent(value) or value == "" else str(value))


def _points(value: Any, hide: bool = False) -> Field:
    return Field(DASH) if hide or absent(value) else Field(points(value), repr(value))


def _interval(low: Any, high: Any, hide: bool = False) -> Field:
    return Field(DASH) if hide or absent(low) or absent(high) else Field(interval(low, high), f"{low!r} {high!r}")


def _probability(value: Any, hide: bool = False) -> Field:
    return Field(DASH) if hide or absent(value) else Field(probability(value), repr(value))


def _count(value: Any) -> Field:
    return Field(DASH) if absent(value) else Field(f"{value:,}", repr(value))


def _claim(row: Row) -> Field:
    claim = "refused" if refused(row) else row["claim"]
    reason = f": {row['reason']}" if claim == "refused" and row.get("reason") else ""
    return Field(CLAIMS.get(claim, claim) + reason, claim, claim)


def _refusal(row: Row) -> Field:
    return Field(f"refused: {row['reason']}" if row.get("reason") else "refused", "refused", "refused")


def gains_table(seen: View) -> Table:
    """Every gain of the study, one row a language and arm."""
    columns = [
        *_words("Language"),
        *_words("Level", "Target", "Intermediate", "Encoder", chosen=True),
        *_numbers("Gain", "95 % interval", "p", "Holm p"),
        *_words("Verdict", chosen=True),
        *_numbers("Score", "Baseline", "Runs", "Baseline runs", "Examples", "Detectable"),
    ]
    rows = [_gain(seen, arm, row) for cell in seen.cells for arm in seen.arms(cell) for row in seen.gains[arm]]
    note = (
        "Points. The interval is the calibrated crossed bootstrap's and is not adjusted; the verdict goes by Holm p. "
        "Detectable: the smallest gain found with 80 % power by this many runs and examples. Exact values: tables/gains.csv."
    )
    return Table("All gains", columns, rows, note)


def _gain(seen: View, arm: Arm, row: Row) -> list[Field]:
    hide = refused(row)
    return [
        Field(language(seen.story, row["language"])),
        Field(level(seen.story, row["language"])),
        *(Field(name) for name in arm),
        _points(row["theta"], hide),
        _interval(row["boot_lo"], row["boot_hi"], hide),
        _probability(row["p"], hide),
        _probability(row["p_holm"], hide),
        _claim(row),
        _score(row["score_plus"], hide),
        _score(row["score_minus"], hide),
        _count(row["runs_plus"]),
        _count(row["runs_minus"]),
        _count(row["n_examples"]),
        _score(row["mde"], hide),
    ]


def _score(value: Any, hide: bool) -> Field:
    return Field(DASH) if hide or absent(value) else Field(f"{value:.2f}", repr(value))


def pooled_table(seen: View, target: str) -> Table:
    """A target's gains over groups of languages, by each of the three questions one may ask."""
    columns = [
        *_words("Intermediate", "Encoder", "Languages", "Question"),
        *_numbers("Gain", "95 % interval", "p", "Holm p", "Number"),
        *_words("Verdict", "Note"),
    ]
    rows = []
    for cell in seen.cells_of(target):
        for arm in seen.arms(cell):
            found = seen.pooled.get(arm, [])
            for group in group_order(seen.story, (row["group"] for row in found)):
                rows += [_pooled(arm, row) for row in found if row["group"] == group]
    return Table(
        "Pooled gains",
        columns,
        rows,
        "Points. “A new language” is a prediction interval: where the gain in one more such language would fall.",
    )


def _pooled(arm: Arm, row: Row) -> list[Field]:
    hide = refused(row)
    # What one more language would gain is a prediction, not a hypothesis.
    prediction = row["estimand"] == "new_language"
    return [
        Field(arm[1]),
        Field(arm[2]),
        Field(row["group"]),
        Field(ESTIMANDS[row["estimand"]] if row["estimand"] in ESTIMANDS else row["estimand"]),
        _points(row["theta"], hide),
        _interval(row["lo"], row["hi"], hide),
        _probability(row["p"], hide or prediction),
        _probability(row["p_holm"], hide or prediction),
        _count(row["n_languages"]),
        Field("prediction") if prediction and not hide else _claim(row),
        Field(row.get("note") or ""),
    ]


def scaling_table(seen: View, target: str) -> Table:
    """A target's pooled differences of gains, on three scales."""
    columns = [
        *_words("Intermediate", "Encoders", "Languages", "Scale"),
        *_numbers("Difference", "95 % interval", "Margin", "p different", "p within margin", "p not smaller"),
        *_words("Verdict"),
    ]
    rows = [_scaling(seen, cell, row) for cell in seen.cells_of(target) for row in seen.scaling.get(cell, [])]
    note = "Gain on the larger encoder minus gain on the smaller, pooled over these languages. The p values are those that decide."
    return Table("Scaling: the difference of gains on three scales", columns, rows, note)


def _scaling(seen: View, cell: Cell, row: Row) -> list[Field]:
    hide = refused(row)
    # Corrected over the groups of languages, where the analysis did so.
    different, within, smaller = (
        row[corrected] if corrected in row else row[plain]
        for corrected, plain in (
            ("p_two_sided_holm", "p_superior"),
            ("p_equivalent_holm", "p_equivalent"),
            ("p_noninferior_holm", "p_noninferior"),
        )
    )
    return [
        Field(cell[1]),
        Field(row.get("encoder") or f"{seen.encoders[0]} to {seen.encoders[-1]}"),
        Field(row["group"]),
        Field(SCALES[row["scale"]] if row["scale"] in SCALES else row["scale"]),
        _points(row["theta"], hide),
        _interval(row["lo"], row["hi"], hide),
        _score(row["margin"], hide),
        _probability(different, hide),
        _probability(within, hide),
        _probability(smaller, hide),
        _refusal(row) if hide else Field(row["verdict"], row["verdict"], row["verdict"].replace(" ", "-")),
    ]


def resource_table(seen: View, target: str) -> Table:
    """A target's differences between resource levels."""
    columns = [
        *_words("Intermediate", "Encoder", "Comparison", "Question"),
        *_numbers("Difference", "95 % interval", "p", "Holm p", "Languages"),
        *_words("Verdict"),
    ]
    rows = [_resource(arm, row) for cell in seen.cells_of(target) for arm in seen.arms(cell) for row in seen.resource.get(arm, [])]
    note = "Differences of pooled gains between levels, within this target; gain or loss: of the first level over the second."
    return Table("Does the gain depend on the resource level?", columns, rows, note)


def _resource(arm: Arm, row: Row) -> list[Field]:
    hide = refused(row) or bool(row.get("reason"))
    claim = row.get("claim")
    verdict = Field(CLAIMS.get(str(claim), str(claim)), str(claim), str(claim)) if claim else Field("")
    return [
        Field(arm[1]),
        Field(arm[2]),
        Field(row["comparison"]),
        Field(ESTIMANDS.get(str(row.get("estimand")), "these languages")),
        _points(row["theta"], hide),
        _interval(row["lo"], row["hi"], hide),
        _probability(row["p"], hide),
        _probability(row.get("p_holm"), hide),
        _count(row["n_languages"]),
        _refusal(row) if hide else verdict,
    ]


def interactions_table(seen: View, target: str) -> Table:
    """A target's differences of gains per language, with their power."""
    columns = [
        *_words("Intermediate", "Language", "Level"),
        *_numbers("Difference", "95 % interval", "Holm p", f"Power for {in_points(seen.story.margin)}"),
        *_words("Verdict"),
    ]
    rows = []
    for cell in seen.cells_of(target):
        for row in seen.interactions.get(cell, []):
            hide = refused(row)
            power = Field(DASH) if hide or absent(row["power"]) else Field(f"{row['power']:.0%}", repr(row["power"]))
            rows.append(
                [
                    Field(cell[1]),
                    Field(language(seen.story, row["language"])),
                    Field(level(seen.story, row["language"])),
                    _points(row["theta"], hide),
                    _interval(row["boot_lo"], row["boot_hi"], hide),
                    _probability(row["p_holm"], hide),
                    power,
                    _claim(row),
                ]
            )
    note = "Single languages have little power for a difference of gains; the pooled difference above is the claim."
    return Table("Difference of gains per language (larger minus smaller encoder)", columns, rows, note)


def findings_table(story: Story, findings: Sequence[Row]) -> Table:
    """The worst first."""
    columns = _words("Severity", "Kind", "Language", "What was found", "Runs")
    severities = {"error": 0, "warning": 1, "note": 2}
    rows = []
    for row in sorted(findings, key=lambda row: severities.get(row["severity"], 3)):
        runs = row["run_ids"] or []
        rows.append(
            [
                Field(row["severity"], row["severity"], row["severity"]),
                Field(row["kind"].replace("_", " ")),
                Field(language(story, row["language"]) if row["language"] else "all"),
                _text(row["detail"]),
                Field(", ".join(runs) or DASH, kind="runs"),
            ]
        )
    return Table("Findings", columns, rows, "What was detected in the runs and their predictions. Nothing was dropped silently.")


def collapse_table(collapse: Any) -> Table:
    """Whatever labels the table has, then the rate with its Clopper-Pearson interval."""
    names = [name for name in collapse.column_names if name not in ("collapsed", "runs", "rate", "lo", "hi")]
    columns = [*_words(*(name.replace("_", " ").capitalize() for name in names)), *_numbers("Collapsed", "Runs", "Rate", "95 % interval")]
    rows = []
    for row in collapse.to_pylist():
        rate = Field(DASH) if absent(row["rate"]) else Field(f"{row['rate']:.1%}", repr(row["rate"]))
        ends = (
            Field(DASH)
            if absent(row["lo"]) or absent(row["hi"])
            else Field(f"{row['lo']:.1%} to {row['hi']:.1%}", f"{row['lo']!r} {row['hi']!r}")
        )
        rows.append([*(_text(row[name]) for name in names), _count(row["collapsed"]), _count(row["runs"]), rate, ends])
    return Table("Collapsed runs", columns, rows, "A collapsed run predicts the same for every example. Intervals: Clopper-Pearson.")


def policies_table(story: Story, names: Sequence[str], differing: Sequence[tuple[Arm, Row, Row]]) -> Table:
    """differing: (arm, its gain under the first policy, under the second)."""
    columns = _words("Target", "Intermediate", "Encoder", "Language")
    for name in names[:2]:
        columns += [*_numbers(f"{name}: gain", "95 % interval", "runs"), *_words("verdict")]
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
            row += [_points(one["theta"], hide), _interval(low, high, hide), Field(runs), _claim(one)]
        rows.append(row)
    return Table("Both collapse policies", columns, rows, "Runs: of the arm and of its baseline.")
