"""The study's questions and their answers: yes, no or cannot tell, with the numbers, why, and what would settle it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from raystilts.report.scaling import ERRORS_TO_DETECT, ScalingVerdict, nothing_to_scale, settle
from raystilts.report.story import MINUS_PLAIN, OVER_PLAIN
from raystilts.report.verdicts import CellVerdict, undecided
from raystilts.report.view import (
    HEADLINE_ESTIMAND,
    HEADLINE_GROUP,
    Arm,
    Row,
    View,
    baseline_of,
    count,
    in_points,
    interval,
    points,
    pooled_by_group,
    probability,
    reasons,
    refused,
    span,
)

SCALING = "scaling"
METHODS, UNDER_METHODS = "methods", "under methods"
YES, NO, OPEN, REFUSED = "yes", "no", "cannot tell", "no claim"
HOLDS = {"superior": YES, "equivalent": YES, "non-inferior": YES, "inferior": NO, "cannot tell": OPEN, "refused": REFUSED}
DECIDING = {
    "equivalent": ("p_equivalent_holm", "p_equivalent", "equivalence test"),
    "non-inferior": ("p_noninferior_holm", "p_noninferior", "non-inferiority test"),
}
NO_GAIN, NO_DIFFERENCE = "test of no gain", "test of no difference"
LISTED = 4


@dataclass(frozen=True)
class Answer:
    """about: the group of languages that a gain is pooled over, behind "methods: " where it is a method's over the plain one; "scaling", or
    "under methods" where a gain under a method is compared with the plain one. sentence: the verdict and why; row: its numbers.

    test: whose p is p_holm. distrusted: whether a yes is of a cell to distrust.
    """

    about: str
    target: str
    intermediate: str
    encoder: str
    question: str
    answer: str
    sentence: str
    settle: str
    row: Row
    p_holm: float | None
    test: str
    languages: int
    seeds: str
    examples: str
    distrusted: bool = False

    @property
    def where(self) -> str:
        """In short: mnli > xnli, large."""
        return (
            f"{self.intermediate} → {self.target}, {self.encoder}" if self.target else f"{self.intermediate}, {self.encoder}".rstrip(", ")
        )

    @property
    def numbers(self) -> str:
        """Effect, interval, adjusted p and, where it is not that of the effect itself, its test; languages, seeds."""
        if refused(self.row):
            return f"no claim: {reasons([self.row])}"
        effect = f"{points(self.row['theta'])} points {interval(self.row['lo'], self.row['hi'])}"
        test = "" if self.test == NO_GAIN else f" ({self.test})"
        doubt = "; a cell to distrust" if self.distrusted else ""
        return f"{effect}, adjusted p {probability(self.p_holm)}{test}, {count(self.languages, 'language')}, {self.seeds} seeds{doubt}"


@dataclass(frozen=True)
class Overall:
    """One question of the whole study: how often yes, no, cannot tell, and the foremost answers.

    label: the answer, and in how many combinations where it is not that of all: one yes among hundreds must not read as yes.
    """

    question: str
    answer: str
    label: str
    sentence: str
    foremost: list[Answer]
    rest: int
    settle: str


def answers(seen: View, verdicts: Sequence[CellVerdict]) -> list[Answer]:
    """One for every arm over all languages and over the lowest level, and one for every interaction, in the order of the study; then one
    for every gain under a method against the plain one.
    """
    found = []
    groups = (HEADLINE_GROUP, *seen.story.levels[:1])
    for verdict in verdicts:
        for group in groups:
            found += [
                _gain(seen, arm, group, rows[group]) for arm in seen.arms(verdict.cell) if group in (rows := pooled_by_group(seen, arm))
            ]
        found += [_scales(seen, verdict, scaling) for scaling in verdict.scaling]
    shown = {verdict.cell for verdict in verdicts}
    apart = {cell: rows for cell, rows in seen.pooled_interactions.items() if cell not in shown}
    found += [
        _grows(seen, (*cell, row["encoder"]), row)
        for cell, rows in apart.items()
        for row in rows
        if (row["group"], row["estimand"]) == (HEADLINE_GROUP, HEADLINE_ESTIMAND) and str(row.get("method")).endswith(MINUS_PLAIN)
    ]
    return [_doubted(seen, one) for one in found]


def _doubted(seen: View, one: Answer) -> Answer:
    """The answer; a yes in a cell to distrust says so."""
    why = seen.story.trap_cells.get((str(one.row.get("target")), str(one.row.get("intermediate"))))
    if one.answer != YES or why is None:
        return one
    return replace(one, sentence=f"{one.sentence} To distrust: {why}", distrusted=True)


def _gain(seen: View, arm: Arm, group: str, row: Row) -> Answer:
    target, intermediate, encoder = arm
    whom = "" if group == HEADLINE_GROUP else f" in languages of level {group}"
    on = f" on {encoder}" if encoder else ""
    question = f"Does {intermediate} help {target}{on}{whom}?" if target else f"Is the difference {intermediate} a gain{on}{whom}?"
    answer, sentence = _claimed(seen, row, "")
    open_question = ""
    if answer == OPEN:
        margin = seen.story.margin
        powered = (
            f"These runs would find a true gain of {in_points(margin)} with 80 % power; only more seeds and examples find a smaller one."
        )
        aim = (ERRORS_TO_DETECT, powered)
        open_question = settle(row.get("se"), margin, aim, _members(seen, [arm], group))
    found = _answer(seen, [arm], group, (question, answer, sentence, open_question), row, (row.get("p_holm"), NO_GAIN))
    return replace(found, about=f"{METHODS}: {group}") if row.get("method") == OVER_PLAIN else found


def _claimed(seen: View, row: Row, of: str) -> tuple[str, str]:
    """The answer and its sentence. of: what there is a gain or a loss of, if not of points."""
    if refused(row):
        return REFUSED, f"No claim: {reasons([row])}"
    answer = {"gain": YES, "loss": NO}.get(row["claim"], OPEN)
    words = {YES: "Yes: a real gain", NO: "No: a real loss"}
    if answer in words:
        return answer, f"{words[answer]}{of} on average over these languages."
    why = undecided(row, seen.story.margin)
    return answer, why[0].upper() + why[1:]


def _grows(seen: View, arm: Arm, row: Row) -> Answer:
    """Whether an intermediate task's gain is larger under a method than under plain training."""
    target, named, encoder = arm
    intermediate, method = row["intermediate"], row["method"].removesuffix(f" {MINUS_PLAIN}")
    question = f"Does {intermediate} help {target} on {encoder} more under {method} than under plain training?"
    under = (target, f"{intermediate} (under {method})", encoder)
    found = _answer(
        seen, [under], HEADLINE_GROUP, (question, *_claimed(seen, row, " beyond the plain one"), ""), row, (row.get("p_holm"), NO_GAIN)
    )
    return replace(found, about=UNDER_METHODS, intermediate=named, test=NO_DIFFERENCE)


def _scales(seen: View, verdict: CellVerdict, scaling: ScalingVerdict) -> Answer:
    target, intermediate = verdict.cell
    what = f"the gain of {intermediate} on {target}" if target else f"the difference {intermediate}"
    question = f"Does {what} hold from {scaling.encoders}?"
    row = scaling.headline
    corrected, plain, test = DECIDING.get(scaling.verdict, ("p_two_sided_holm", "p_superior", NO_DIFFERENCE))
    if scaling.verdict in DECIDING:
        test += f", margin {in_points(row['margin'])}"
    p = row.get(corrected, row.get(plain))
    answer = HOLDS[scaling.verdict]
    if answer == YES and nothing_to_scale(seen, verdict.cell):
        answer = OPEN  # two gains of nothing are alike, but that is no gain that holds
    made = (question, answer, scaling.sentence, scaling.settle)
    arms = seen.arms(verdict.cell)
    made_of = _answer(seen, arms, SCALING, made, row, (p, test))
    languages = row.get("n_languages") or len({gain["language"] for arm in arms for gain in seen.gains[arm]})
    return Answer(**{**vars(made_of), "encoder": scaling.encoders, "languages": languages})


def _members(seen: View, arms: Sequence[Arm], group: str) -> list[Row]:
    return [
        row
        for arm in arms
        for row in seen.gains[arm]
        if not refused(row) and (group in (HEADLINE_GROUP, SCALING) or _level(seen, row["language"]) == group)
    ]


def _level(seen: View, code: str) -> str:
    facts = seen.story.languages.get(code)
    return facts.level if facts else ""


def _answer(seen: View, arms: Sequence[Arm], about: str, made: tuple[str, str, str, str], row: Row, tested: tuple[Any, str]) -> Answer:
    rows = _members(seen, arms, about)
    target, intermediate, encoder = arms[0] if arms else ("", "", "")
    seeds, examples = span(one["runs_plus"] for one in rows), span(one["n_examples"] for one in rows)
    languages = row.get("n_languages") or 0
    p, test = tested
    return Answer(
        about, target, intermediate, encoder, *made, row=row, p_holm=p, test=test, languages=languages, seeds=seeds, examples=examples
    )


def overall(seen: View, found: Sequence[Answer]) -> list[Overall]:
    """The study's questions: does it help, does it help the lowest level, does the gain hold on the larger encoder."""
    lowest = seen.story.levels[0] if seen.story.levels else ""
    asked = [
        (HEADLINE_GROUP, f"On average over all languages, does an intermediate task help, against {baseline_of(seen.story)}?"),
        (lowest, f"Does it help the languages of level {lowest}?"),
        (SCALING, f"Does the gain hold from {' to '.join(seen.encoders[:: max(len(seen.encoders) - 1, 1)])}?"),
    ]
    if not any(answer.target for answer in found):
        asked[0] = (HEADLINE_GROUP, "On average over all languages, is there a difference?")
        asked[1] = (lowest, f"Is there one in the languages of level {lowest}?")
    asked += [
        (f"{METHODS}: {HEADLINE_GROUP}", "On average over all languages, does a method help, against plain training?"),
        (f"{METHODS}: {lowest}", f"Does a method help the languages of level {lowest}?"),
        (UNDER_METHODS, "Does an intermediate task help more under a method than under plain training?"),
    ]
    made = [(question, [answer for answer in found if answer.about == about]) for about, question in asked]
    return [_overall(question, of) for question, of in made if of]


def _overall(question: str, found: Sequence[Answer]) -> Overall:
    counts = Counter(answer.answer for answer in found)
    answer = YES if counts[YES] else NO if counts[NO] and not counts[OPEN] else OPEN if counts[OPEN] else REFUSED
    if len(found) == 1:
        return Overall(question, answer, answer, found[0].sentence, list(found), 0, found[0].settle.removeprefix("To settle it, "))
    num_distrusted = sum(one.distrusted for one in found)
    doubt = f" ({num_distrusted} to distrust)" if num_distrusted else ""
    parts = [f"{name} in {counts[name]}{doubt if name == YES else ''}" for name in (YES, NO, OPEN, REFUSED) if counts[name]]
    rank = {YES: 0, NO: 1, OPEN: 2, REFUSED: 3}
    # Among real gains the surest first, among open questions those that look largest.
    order = sorted(
        found, key=lambda one: (rank[one.answer], one.p_holm if one.p_holm is not None else 2.0, -abs(one.row.get("theta") or 0.0))
    )
    shown = [one for one in order if one.answer != REFUSED][:LISTED]
    still = next((f"{one.where}: {one.settle.removeprefix('To settle it, ')}" for one in order if one.answer == OPEN and one.settle), "")
    sentence = f"Of {len(found)} combinations: {', '.join(parts)}."
    some = answer in (YES, NO) and counts[answer] < len(found)
    label = (f"{answer}, in {counts[answer]} of {len(found)}" if some else answer) + doubt
    return Overall(question, answer, label, sentence, shown, len(found) - len(shown), still)
