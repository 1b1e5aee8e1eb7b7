"""The report's tables: rounded for reading, each number with its exact value beside it for sorting and checking."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

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
    """number: aligned to the right and sorted by value; filter: the page offers to show one value only.

    repeats: says again what another column says, to filter by it.
    """

    title: str
    number: bool = False
    filter: bool = False
    repeats: bool = False


@dataclass(frozen=True)
class Table:
    """rows: as many fields as columns. note: what a reader must know, below the table."""

    title: str
    columns: list[Column]
    rows: list[list[Field]]
    note: str = ""


def words(*titles: str, chosen: bool = False) -> list[Column]:
    """Columns of words; chosen: the page offers to show one value only."""
    return [Column(title, filter=chosen) for title in titles]


def numbers(*titles: str) -> list[Column]:
    """Columns of numbers."""
    return [Column(title, number=True) for title in titles]


def text_field(value: Any) -> Field:
    """A text, or a dash."""
    return Field(DASH if absent(value) or value == "" else str(value))


def points_field(value: Any, hide: bool = False) -> Field:
    """A signed number of points, or a dash."""
    return Field(DASH) if hide or absent(value) else Field(points(value), repr(value))


def interval_field(low: Any, high: Any, hide: bool = False) -> Field:
    """Both ends, or a dash."""
    return Field(DASH) if hide or absent(low) or absent(high) else Field(interval(low, high), f"{low!r} {high!r}")


def probability_field(value: Any, hide: bool = False) -> Field:
    """A p-value, or a dash."""
    return Field(DASH) if hide or absent(value) else Field(probability(value), repr(value))


def count_field(value: Any) -> Field:
    """A whole number, or a dash."""
    return Field(DASH) if absent(value) else Field(f"{value:,}", repr(value))


def claim_field(row: Row) -> Field:
    """Gain, loss, cannot tell or refused, with the reason."""
    claim = "refused" if refused(row) else row["claim"]
    reason = f": {row['reason']}" if claim == "refused" and row.get("reason") else ""
    return Field(CLAIMS.get(claim, claim) + reason, claim, claim)


def _refusal(row: Row) -> Field:
    return Field(f"refused: {row['reason']}" if row.get("reason") else "refused", "refused", "refused")


def gains_table(seen: View) -> Table:
    """Every gain of the study, one row a language and arm."""
    columns = [
        *words("Language"),
        *words("Level", "Target", "Intermediate", "Encoder", chosen=True),
        *numbers("Gain", "95 % interval", "p", "Holm p"),
        *words("Verdict", chosen=True),
        *numbers("Score", "Baseline", "Runs", "Baseline runs", "Examples", "Detectable"),
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
        points_field(row["theta"], hide),
        interval_field(row["boot_lo"], row["boot_hi"], hide),
        probability_field(row["p"], hide),
        probability_field(row["p_holm"], hide),
        claim_field(row),
        score_field(row["score_plus"], hide),
        score_field(row["score_minus"], hide),
        count_field(row["runs_plus"]),
        count_field(row["runs_minus"]),
        count_field(row["n_examples"]),
        score_field(row["mde"], hide),
    ]


def score_field(value: Any, hide: bool) -> Field:
    """A number with two decimals, or a dash."""
    return Field(DASH) if hide or absent(value) else Field(f"{value:.2f}", repr(value))


def pooled_table(seen: View, target: str) -> Table:
    """A target's gains over groups of languages, by each of the three questions one may ask."""
    columns = [
        *words("Intermediate", "Encoder", "Languages", "Question"),
        *numbers("Gain", "95 % interval", "p", "Holm p", "Number"),
        *words("Verdict", "Note"),
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
        points_field(row["theta"], hide),
        interval_field(row["lo"], row["hi"], hide),
        probability_field(row["p"], hide or prediction),
        probability_field(row["p_holm"], hide or prediction),
        count_field(row["n_languages"]),
        Field("prediction") if prediction and not hide else claim_field(row),
        Field(row.get("note") or ""),
    ]


def scaling_table(seen: View, target: str) -> Table:
    """A target's pooled differences of gains, on three scales."""
    columns = [
        *words("Intermediate", "Encoders", "Languages", "Scale"),
        *numbers("Difference", "95 % interval", "Margin", "p different", "p within margin", "p not smaller"),
        *words("Verdict"),
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
        points_field(row["theta"], hide),
        interval_field(row["lo"], row["hi"], hide),
        score_field(row["margin"], hide),
        probability_field(different, hide),
        probability_field(within, hide),
        probability_field(smaller, hide),
        _refusal(row) if hide else Field(row["verdict"], row["verdict"], row["verdict"].replace(" ", "-")),
    ]


def resource_table(seen: View, target: str) -> Table:
    """A target's differences between resource levels."""
    columns = [
        *words("Intermediate", "Encoder", "Comparison", "Question"),
        *numbers("Difference", "95 % interval", "p", "Holm p", "Languages"),
        *words("Verdict"),
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
        points_field(row["theta"], hide),
        interval_field(row["lo"], row["hi"], hide),
        probability_field(row["p"], hide),
        probability_field(row.get("p_holm"), hide),
        count_field(row["n_languages"]),
        _refusal(row) if hide else verdict,
    ]


def interactions_table(seen: View, target: str) -> Table:
    """A target's differences of gains per language, with their power."""
    columns = [
        *words("Intermediate", "Language", "Level"),
        *numbers("Difference", "95 % interval", "Holm p", f"Power for {in_points(seen.story.margin)}"),
        *words("Verdict"),
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
                    points_field(row["theta"], hide),
                    interval_field(row["boot_lo"], row["boot_hi"], hide),
                    probability_field(row["p_holm"], hide),
                    power,
                    claim_field(row),
                ]
            )
    note = "Single languages have little power for a difference of gains; the pooled difference above is the claim."
    return Table("Difference of gains per language (larger minus smaller encoder)", columns, rows, note)
