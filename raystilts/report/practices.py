"""What other practices would have claimed of the same data, beside what this report claims."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

from raystilts.report.tables import Column, Field, Table, points_field
from raystilts.report.view import Row, View, absent, refused
from raystilts.stats import practices as rivals
from raystilts.stats.alternatives import fixed_test_set_welch

HERE = "this report: two-way t, Holm"
NAMES: Mapping[str, str] = {
    "two_way": "two-way t, no correction",
    "p_bh": "two-way t, Benjamini-Hochberg",
    "crossed_percentile": "crossed bootstrap, percentile",
    "crossed_bca": "crossed bootstrap, BCa",
    "fixed_test_set_welch": "Welch t on run scores, no correction",
    "fixed_test_set_moderated_t": "moderated t on run scores, no correction",
    "fixed_test_set_permutation": "permutation of run scores, no correction",
    "fixed_test_set_aso": "almost stochastic order of run scores",
    "given_runs_example_only": "paired t over examples, all runs",
    "given_first_runs_example_only": "paired t over examples, one run a side",
    "best_runs_difference": "best run against best run",
    "means": "mean against mean, no test",
}
"""Practice -> its name, in the order of the table."""
ABOUT: Mapping[str, str] = {
    **rivals.ABOUT,
    "p_bh": "screening: a share of the claims may be false",
    "means": "exactly these runs and examples",
}
"""Practice -> what its claims are about."""
Claims = dict[tuple[str, str], tuple[float, bool]]
"""(contrast, language) -> the effect that a practice would print, and whether it would call it real."""


def practices_rows(seen: View, found: Iterable[Row] = ()) -> list[Row]:
    """One row a practice: how many gains and losses it claims in single languages, how many of those this report does not, their mean.

    found: the rows of stats.alternatives_table under the view's policy, where it was made; without them what the tables alone can tell.
    """
    rows = [row for rows in seen.gains.values() for row in rows if not refused(row)]
    if not rows:
        return []
    ours = {(row["contrast"], row["language"]): row["claim"] for row in rows}
    here = {_key(row): (row["theta"], row["claim"] in ("gain", "loss")) for row in rows}
    made = _from_alternatives(found) | _from_tables(seen, rows)
    others = [_counted(name, ABOUT[practice], made[practice], ours) for practice, name in NAMES.items() if practice in made]
    return [_counted(HERE, "new seeds, new examples", here, ours), *others]


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


def _from_alternatives(found: Iterable[Row]) -> dict[str, Claims]:
    made: dict[str, Claims] = {}
    for row in found:
        if not absent(row.get("theta")):
            made.setdefault(row["method"], {})[_key(row)] = (row["theta"], bool(row["would_claim"]))
    return made


def _from_tables(seen: View, rows: Sequence[Row]) -> dict[str, Claims]:
    alpha = seen.story.alpha
    made = {
        "two_way": {_key(row): (row["theta"], row["p"] <= alpha) for row in rows},
        "p_bh": {_key(row): (row["theta"], row["p_bh"] <= alpha) for row in rows},
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
    made |= {practice: of for practice, of in (("fixed_test_set_welch", welch), ("best_runs_difference", best)) if of}
    return made | {"means": {_key(row): (row["theta"], row["theta"] != 0) for row in rows}}


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
