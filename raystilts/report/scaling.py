"""Does a gain hold from the smaller encoder to the larger? The statistics' verdicts as sentences, and what would settle the open ones."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from raystilts.report.view import (
    HEADLINE_ESTIMAND,
    HEADLINE_GROUP,
    Cell,
    Row,
    View,
    absent,
    count,
    in_points,
    interval,
    points,
    pooled_by_group,
    reasons,
    refused,
)

# z.95 + z.90: an equivalence test of a true difference of zero has 80 % power where this many standard errors fit in the margin.
ERRORS_IN_MARGIN = 2.927
# z.975 + z.80: a true gain as large as the margin is found with 80 % power.
ERRORS_TO_DETECT = 2.802
TOO_MANY_SEEDS = 500


@dataclass(frozen=True)
class ScalingVerdict:
    """Does the gain hold from the smaller encoder to the larger? `rows` are all its groups and scales."""

    contrast: str
    encoders: str
    verdict: str
    headline: Row
    rows: list[Row]
    sentence: str
    settle: str


def scaling_verdicts(seen: View, cell: Cell) -> list[ScalingVerdict]:
    """One verdict for every interaction of a cell."""
    found = []
    for contrast in dict.fromkeys(row["contrast"] for row in seen.scaling.get(cell, ())):
        rows = [row for row in seen.scaling[cell] if row["contrast"] == contrast]
        headline = next((row for row in rows if row["group"] == HEADLINE_GROUP and row["scale"] == "points"), rows[0])
        encoders = str(headline.get("encoder") or f"{seen.encoders[0]} to {seen.encoders[-1]}")
        verdict = "refused" if refused(headline) else headline["verdict"]
        sentence = _scaling_sentence(verdict, headline, encoders)
        if verdict != "refused":
            sentence += _scale_disagreement(headline, rows) + nothing_to_scale(seen, cell)
        settle = _settle(headline, seen, cell) if verdict == "cannot tell" else ""
        found.append(ScalingVerdict(contrast, encoders, verdict, headline, rows, sentence, settle))
    return found


def _scaling_sentence(verdict: str, row: Row, encoders: str) -> str:
    if verdict == "refused":
        return f"No claim on scaling from {encoders}: {reasons([row])}"
    margin = in_points(row["margin"])
    numbers = f"{points(row['theta'])} points {interval(row['lo'], row['hi'])}"
    return {
        "superior": f"The gain grows from {encoders}: the difference is {numbers}.",
        "equivalent": f"The gain is the same from {encoders} within {margin}: the difference is {numbers}.",
        "non-inferior": f"From {encoders} the gain does not shrink by more than {margin} (difference {numbers}); "
        "whether it grows cannot be told.",
        "inferior": f"The gain shrinks from {encoders}: the difference is {numbers}.",
        "cannot tell": f"Cannot tell whether the gain holds from {encoders}: the difference is {numbers}, and the margin is {margin}.",
    }[verdict]


def _scale_disagreement(headline: Row, rows: list[Row]) -> str:
    if headline.get("agrees") is not False:
        return ""
    others = [
        f"{row['verdict']} on {'the scale of headroom' if row['scale'] == 'headroom' else 'log-odds'}"
        for row in rows
        if row["group"] == headline["group"] and row["scale"] != "points" and row["verdict"] != headline["verdict"]
    ]
    return f" This depends on the scale: {headline['verdict']} in points, {', '.join(others)}." if others else ""


def nothing_to_scale(seen: View, cell: Cell) -> str:
    """A sentence where neither encoder shows a pooled gain: then none can hold or grow."""
    claims = {pooled_by_group(seen, arm).get(HEADLINE_GROUP, {}).get("claim") for arm in seen.arms(cell)}
    proven = "gain" in claims or not claims & {"loss", "undecided"}
    return "" if proven else " Neither encoder shows a pooled gain, so there is no proven gain to scale."


def _settle(headline: Row, seen: View, cell: Cell) -> str:
    """Roughly what it takes to show equivalence with 80 % power."""
    found = [row for row in seen.pooled_interactions.get(cell, ()) if row["contrast"] == headline["contrast"]]
    pooled = next((row for row in found if row["group"] == headline["group"] and row["estimand"] == HEADLINE_ESTIMAND), None)
    gains = [row for arm in seen.arms(cell) for row in seen.gains[arm] if not refused(row)]
    near = "The estimate lies close to the margin: it takes both more seeds and more test examples to move it."
    return settle(pooled["se"] if pooled else None, headline["margin"], (ERRORS_IN_MARGIN, near), gains)


def settle(se: float | None, margin: float, aim: tuple[float, str], gains: Sequence[Row]) -> str:
    """What brings so many standard errors into the margin, if the standard error shrinks with the root of the seeds; `gains` make it.

    aim: that many, and what to say where they fit already.
    """
    if se is None or absent(se) or not se:
        return ""
    enough = margin / aim[0]
    factor = (se / enough) ** 2
    if factor <= 1:
        return aim[1]
    text = f"To settle it, its standard error of {se:.2f} points would have to fall to about {enough:.2f}: "
    least, most = _examples_share(gains, se)
    if least >= 0.5:
        return f"{text}most of it is due to the test examples, so more of those before more seeds."
    now = math.floor(median([row["runs_plus"] for row in gains])) if gains else 1
    seeds = math.ceil(now * factor)
    if seeds > TOO_MANY_SEEDS:
        return f"{text}more than {TOO_MANY_SEEDS} seeds an arm instead of {now}, since the runs of an arm differ so much."
    return f"{text}roughly {seeds} seeds an arm instead of {now}{', or fewer and more test examples' if most >= 0.5 else ''}."


def _examples_share(gains: Sequence[Row], se: float) -> tuple[float, float]:
    """Bounds of the test examples' share of the pooled variance: all languages' examples independent, or all the same."""
    known = [row for row in gains if not absent(row["v_example"])]
    languages = len({row["language"] for row in known})
    if not languages:
        return 0.0, 1.0
    # The gains on both encoders add up.
    total = sum(row["v_example"] for row in known) / se**2
    return total / languages**2, total / languages


def scaling_headline(scalings: Sequence[ScalingVerdict]) -> str:
    """How many of the study's gains hold on the larger encoder, in one sentence."""
    if not scalings:
        return ""
    words = {
        "superior": "the gain grows in",
        "equivalent": "stays within the margin in",
        "non-inferior": "does not shrink beyond the margin in",
        "inferior": "shrinks in",
        "cannot tell": "cannot tell in",
        "refused": "no claim in",
    }
    counts = Counter(scaling.verdict for scaling in scalings)
    parts = [f"{word} {counts[verdict]}" for verdict, word in words.items() if counts[verdict]]
    pairs = list(dict.fromkeys(scaling.encoders for scaling in scalings))
    return f"From {' and '.join(pairs)}, over {count(len(scalings), 'combination')} of target and intermediate: {'; '.join(parts)}."
