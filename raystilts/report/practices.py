"""What other practices would have claimed of the same data, beside what this report claims."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

from raystilts.report.tables import Column, Field, Table, points_field
from raystilts.report.view import Row, View, absent, refused
from raystilts.stats.alternatives import fixed_test_set_welch

HERE = "this report: two-way t, Holm"
NAMES: Mapping[str, tuple[str, str]] = {
    "uncorrected": ("two-way t, no correction", "each language by itself"),
    "p_bh": ("two-way t, Benjamini-Hochberg", "screening: a share of the claims may be false"),
    "welch": ("Welch t on run scores, no correction", "exactly this test set, new seeds"),
    "best_runs": ("best run against best run", "nothing: the best of several draws"),
    "means": ("mean against mean, no test", "exactly these runs and examples"),
}
"""Practice -> its name, and what it is about; from the tables alone."""
Claims = dict[tuple[str, str], tuple[float, bool]]
"""(contrast, language) -> the effect that a practice would print, and whether it would call it real."""


def practices_rows(seen: View, found: Iterable[Row] | None = None) -> list[Row]:
    """One row a practice: how many gains and losses it claims in single languages, how many of those this report does not, their mean.

    found: the rows of stats.alternatives_table under the view's policy, where it was made; else what the tables alone can tell.
    """
    rows = [row for rows in seen.gains.values() for row in rows if not refused(row)]
    if not rows:
        return []
    ours = {(row["contrast"], row["language"]): row["claim"] for row in rows}
    claims: dict[tuple[str, str], Claims] = {
        (HERE, "new seeds, new examples"): {_key(row): (row["theta"], row["claim"] in ("gain", "loss")) for row in rows}
    }
    made = _from_alternatives(found) if found is not None else _from_tables(seen, rows)
    return [_counted(name, about, of, ours) for (name, about), of in {**claims, **made}.items()]


def _key(row: Row) -> tuple[str, str]:
    return row["contrast"], row["language"]


def _counted(name: str, about: str, claims: Claims, ours: Mapping[tuple[str, str], str]) -> Row:
    real = {key: theta for key, (theta, claim) in claims.items() if claim and key in ours}
    beyond = [key for key, theta in real.items() if ours[key] != ("gain" if theta > 0 else "loss")]
    gains = [theta for theta in real.values() if theta > 0]
    return {
        "practice": name,
        "about": about,
        "comparisons": sum(key in ours for key in claims),
        "gains": len(gains),
        "losses": len(real) - len(gains),
        "not_shared": len(beyond),
        "mean_claimed_gain": fmean(gains) if gains else None,
    }


def _from_alternatives(found: Iterable[Row]) -> dict[tuple[str, str], Claims]:
    made: dict[tuple[str, str], Claims] = {}
    for row in found:
        if not absent(row.get("theta")):
            name = (str(row["method"]).replace("_", " "), str(row["about"]))
            made.setdefault(name, {})[_key(row)] = (row["theta"], bool(row["would_claim"]))
    return made


def _from_tables(seen: View, rows: Sequence[Row]) -> dict[tuple[str, str], Claims]:
    alpha = seen.story.alpha
    made = {
        NAMES["uncorrected"]: {_key(row): (row["theta"], row["p"] <= alpha) for row in rows},
        NAMES["p_bh"]: {_key(row): (row["theta"], row["p_bh"] <= alpha) for row in rows},
    }
    welch: Claims = {}
    best: Claims = {}
    scores = _scores(seen)
    for row in rows:
        head = (str(row.get("target") or ""), str(row.get("encoder") or ""), row["language"])
        plus, minus = (scores.get((*head, task), []) for task in (str(row.get("intermediate") or ""), seen.story.baseline))
        # The scores are the two sides of this very contrast, or it is not one of an intermediate against the baseline.
        if plus and minus and _mean_is(plus, row["score_plus"]) and _mean_is(minus, row["score_minus"]):
            difference = max(plus) - max(minus)
            best[_key(row)] = (difference, difference != 0)
            if min(len(plus), len(minus)) > 1:
                found = fixed_test_set_welch(plus, minus, alpha)
                welch[_key(row)] = (found.theta, found.p <= alpha)
    made |= {NAMES[name]: of for name, of in (("welch", welch), ("best_runs", best)) if of}
    return made | {NAMES["means"]: {_key(row): (row["theta"], row["theta"] != 0) for row in rows}}


def _mean_is(scores: Sequence[float], mean: Any) -> bool:
    return not absent(mean) and abs(fmean(scores) - mean) < 1e-6


def _scores(seen: View) -> dict[tuple[str, str, str, str], list[float]]:
    found: dict[tuple[str, str, str, str], list[float]] = {}
    for target, rows in seen.scores.items():
        for row in rows:
            key = (target, str(row.get("encoder") or ""), row["language"], str(row.get("intermediate") or ""))
            found.setdefault(key, []).append(row["score"])
    return found


def practices_table(rows: Sequence[Row]) -> Table:
    """The rows for reading."""
    columns = [
        Column("Practice"), Column("What it is about"),
        *(Column(title, number=True) for title in ("Comparisons", "Gains claimed", "Losses claimed", "Not claimed here", "Mean gain")),
    ]  # fmt: skip
    numbers = ("comparisons", "gains", "losses", "not_shared")
    made = [
        [Field(row["practice"]), Field(row["about"]), *(Field(f"{row[name]:,}", repr(row[name])) for name in numbers),
         points_field(row["mean_claimed_gain"])]
        for row in rows
    ]  # fmt: skip
    note = (
        "Single languages, all runs. “Not claimed here”: claims of the practice that do not stand up to new seeds, new examples and Holm."
    )
    return Table("What other practices would have claimed", columns, made, note)
