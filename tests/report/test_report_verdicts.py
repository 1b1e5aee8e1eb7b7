"""The sentences: each verdict kind, refusals without numbers, the terminal's table."""

from __future__ import annotations

import dataclasses
import re

import pyarrow as pa
import pytest

from raystilts.report import verdict_lines
from raystilts.report.answers import answers, overall
from raystilts.report.content import questions_rows
from raystilts.report.listings import questions_table
from raystilts.report.practices import HERE, NAMES, practices_rows
from raystilts.report.scaling import scaling_headline
from raystilts.report.verdicts import cell_verdicts, headline
from raystilts.report.view import points, probability, view
from raystilts.stats.practices import ABOUT as METHODS

EXPECTED = {
    "superior": "The gain grows from nano to micro: the difference is +1.90 points [+1.10, +2.70].",
    "equivalent": "The gain is the same from nano to micro within 1 point: the difference is +0.10 points [-0.50, +0.70].",
    "non-inferior": "From nano to micro the gain does not shrink by more than 1 point (difference +0.60 points [-0.60, +1.80]); whether",
    "inferior": "The gain shrinks from nano to micro: the difference is -2.10 points [-3.00, -1.20].",
    "cannot tell": "Cannot tell whether the gain holds from nano to micro: the difference is -0.30 points [-2.50, +1.90], and the margin",
    "refused": "No claim on scaling from nano to micro: one seed per arm.",
}


def _cells(made, policy="all"):
    analysis, story = made
    return cell_verdicts(view(analysis, story, policy))


def _with(table: pa.Table, **columns) -> pa.Table:
    """The table with some columns set to one value in every row."""
    for name, value in columns.items():
        place = table.column_names.index(name)
        table = table.set_column(place, name, pa.array([value] * len(table)))
    return table


@pytest.mark.parametrize("kind", list(EXPECTED))
def test_each_scaling_verdict_has_its_sentence(make_analysis, kind):
    """Every verdict kind reads as agreed, with its numbers; a refused one with its reason and no number."""
    found = {scaling.verdict: scaling for cell in _cells(make_analysis()) for scaling in cell.scaling}
    assert found[kind].sentence.startswith(EXPECTED[kind])


def test_cannot_tell_says_what_would_settle_it(make_analysis):
    """An open scaling question names the seeds that would close it; a settled one asks for nothing."""
    for cell in _cells(make_analysis()):
        for scaling in cell.scaling:
            assert bool(scaling.settle) == (scaling.verdict == "cannot tell")
            assert not scaling.settle or scaling.settle.endswith(
                "fall to about 0.34: roughly 5 seeds an arm instead of 3, or fewer and more test examples."
            )


def test_open_question_limited_by_examples_asks_for_examples(make_analysis):
    """Where the test examples make most of the variance, more seeds are not what is asked for."""
    analysis, story = make_analysis()
    gains = _with(analysis.gains, v_example=8.0)
    (scaling,) = [s for cell in _cells((dataclasses.replace(analysis, gains=gains), story)) for s in cell.scaling if s.settle]
    assert scaling.settle.endswith("most of it is due to the test examples, so more of those before more seeds.")


def test_hopelessly_noisy_runs_get_no_exact_count_of_seeds(make_analysis):
    """Where runs differ so much that seeds cannot settle it, no absurd count is printed."""
    analysis, story = make_analysis()
    pooled = _with(analysis.pooled, se=30.0)
    (scaling,) = [s for cell in _cells((dataclasses.replace(analysis, pooled=pooled), story)) for s in cell.scaling if s.settle]
    assert "more than 500 seeds an arm instead of 3" in scaling.settle


def test_a_pooled_gain_that_only_holm_undoes_says_so(make_analysis):
    """An interval without zero beside "cannot tell" is explained by the adjusted p."""
    analysis, story = make_analysis()
    pooled = _with(analysis.pooled, claim="undecided", lo=0.2, hi=2.0, p_holm=0.09, theta=1.1)
    arm = _cells((dataclasses.replace(analysis, pooled=pooled), story))[0].arms[0]
    assert arm.pooled_sentence.endswith("cannot tell: its interval leaves out zero, but after Holm correction p is 0.0900.")


def test_a_verdict_that_depends_on_the_scale_says_so(make_analysis):
    """Where the three scales disagree, the sentence names the disagreement."""
    (scaling,) = [s for cell in _cells(make_analysis()) for s in cell.scaling if s.verdict == "non-inferior"]
    assert "This depends on the scale: non-inferior in points, cannot tell on log-odds." in scaling.sentence


def test_no_gain_is_said_plainly(make_analysis):
    """A study without a real gain says so first, and never calls the undecided "no effect"."""
    analysis, story = make_analysis()
    gains = _with(_with(analysis.gains, claim="undecided", p_holm=1.0), theta=0.1)
    pooled = _with(analysis.pooled, claim="undecided", theta=0.1, lo=-0.3, hi=0.5)
    cells = _cells((dataclasses.replace(analysis, gains=gains, pooled=pooled), story))
    assert headline(cells).startswith(
        "This study shows no gain in any one language: none of 300 comparisons is a real gain after Holm correction; 300 cannot be told."
    )
    sentences = " ".join(
        [arm.sentence + arm.pooled_sentence for cell in cells for arm in cell.arms] + [s.sentence for cell in cells for s in cell.scaling]
    )
    assert "No gain shown in any of 25 languages, cannot tell in 25." in sentences
    assert "not told from zero, and smaller than 1 point either way." in sentences
    assert "no proven gain to scale" in sentences
    assert "no effect" not in sentences.lower()


def test_undecided_pooled_gain_names_its_range(make_analysis):
    """A pooled gain that is wide open says what remains possible, in both directions."""
    analysis, story = make_analysis()
    pooled = _with(analysis.pooled, claim="undecided", theta=0.4, lo=-1.5, hi=2.25)
    cell = _cells((dataclasses.replace(analysis, pooled=pooled), story))[0]
    assert (
        cell.arms[0].pooled_sentence
        == "Pooled over 25 languages: +0.40 points [-1.50, +2.25], cannot tell: anything from a loss of 1.50 to a gain of 2.25 fits."
    )


def test_refused_pooled_gain_has_a_reason_and_no_number(make_analysis):
    """A refused claim prints why, and nothing that could be quoted as a result."""
    analysis, story = make_analysis()
    pooled = _with(analysis.pooled, claim="refused", reason="one run per arm says nothing about other seeds")
    cell = _cells((dataclasses.replace(analysis, pooled=pooled), story))[0]
    assert cell.arms[0].pooled_sentence == "No pooled claim: one run per arm says nothing about other seeds."
    lines = verdict_lines(dataclasses.replace(analysis, pooled=pooled), story)
    assert not any(re.search(r"[+-]\d+\.\d \[", line) for line in lines if " scales? " not in line)


def test_counts_in_the_sentences_are_those_of_the_table(make_analysis):
    """The numbers of languages in a verdict are counted from the claims, refused ones apart."""
    made = make_analysis()
    rows = [row for row in made[0].gains.to_pylist() if row["policy"] == "all" and row["contrast"] == "nano/currency/kind"]
    arm = _cells(made)[0].arms[0]
    assert (arm.gains, arm.losses, arm.refused) == tuple(
        sum(row["claim"] == claim for row in rows) for claim in ("gain", "loss", "refused")
    )
    assert arm.sentence.startswith(f"Real gain in {arm.gains} of 24 languages, cannot tell in {arm.undecided}.")
    assert arm.sentence.endswith("No claim in 1 more: one seed says nothing about the procedure.")


def test_the_headline_counts_scaling_verdicts(make_analysis):
    """One sentence tells how often each scaling verdict occurs."""
    assert scaling_headline([scaling for cell in _cells(make_analysis()) for scaling in cell.scaling]) == (
        "From nano to micro, over 6 combinations of target and intermediate: the gain grows in 1; stays within the margin in 1; "
        "does not shrink beyond the margin in 1; shrinks in 1; cannot tell in 1; no claim in 1."
    )


def test_terminal_table_fits_and_aligns(make_analysis):
    """At most 100 columns whatever the names' length, one line an arm, numbers below their headings."""
    made = make_analysis(targets=("a-very-long-target-task-name-indeed", "short"), encoders=("an-encoder-with-a-long-name", "micro"))
    lines = verdict_lines(*made)
    assert max(map(len, lines)) <= 100
    table = lines[lines.index("") + 1 :]
    assert table[0].split() == ["target", "intermediate", "encoder", "gain", "loss", "of", "pooled", "gain", "[95", "%]", "low"]
    arms = [line for line in table[2:14] if "scales?" not in line]
    column = table[0].index("of") + 2
    assert [line[column - 2 : column] for line in arms] == ["24"] * 8


def test_terminal_says_first_that_a_sweep_is_incomplete(make_analysis):
    """Verdicts of an unfinished sweep are announced as preliminary before any of them."""
    analysis, story = make_analysis()
    lines = verdict_lines(analysis, dataclasses.replace(story, missing=("a", "b"), complete=False))
    assert lines[0] == "INCOMPLETE: 2 cells have not been run, and every verdict below is preliminary."


def test_an_empty_analysis_has_a_sentence(make_analysis):
    """Before any pair of arms is complete the terminal says that nothing can be compared."""
    analysis, story = make_analysis(languages=3)
    empty = dataclasses.replace(
        analysis, **{field.name: getattr(analysis, field.name).slice(0, 0) for field in dataclasses.fields(analysis)}
    )
    assert verdict_lines(empty, story) == ["Nothing can be compared yet: no arm has both its runs and its baseline's."]


@pytest.mark.parametrize(
    ("value", "text"), [(0.004, "0.00"), (-0.004, "0.00"), (1.005, "+1.00"), (-2.5, "-2.50"), (None, "–"), (float("nan"), "–")]
)
def test_points_are_signed_and_zero_is_not(value, text):
    """A rounded zero has no sign, and what is absent is a dash."""
    assert points(value) == text


@pytest.mark.parametrize(("value", "text"), [(0.00009, "< 0.0001"), (0.0001, "0.0001"), (1.0, "1.0000"), (None, "–")])
def test_probabilities_never_print_as_zero(value, text):
    """A tiny p is below a bound, never 0."""
    assert probability(value) == text


def _answers(made):
    seen = view(*made, "all")
    return answers(seen, cell_verdicts(seen))


def test_every_question_has_an_answer_with_its_numbers(make_analysis):
    """Yes where a pooled gain is claimed, no where a loss is, else cannot tell with what would settle it; the numbers are the rows'."""
    made = make_analysis()
    found = [answer for answer in _answers(made) if answer.about == "all"]
    rows = {
        (row["target"], row["intermediate"], row["encoder"]): row
        for row in made[0].pooled.to_pylist()
        if (row["policy"], row["group"], row["estimand"]) == ("all", "all", "fixed_languages") and row["encoder"]
    }
    assert len(found) == len(rows) == 12
    for answer in found:
        row = rows[answer.target, answer.intermediate, answer.encoder]
        assert answer.answer == {"gain": "yes", "loss": "no", "undecided": "cannot tell"}[row["claim"]]
        assert answer.numbers.startswith(f"{points(row['theta'])} points [")
        assert answer.numbers.endswith("adjusted p 0.0400, 25 languages, 3 seeds")
        assert bool(answer.settle) == (answer.answer == "cannot tell")


def test_a_p_of_another_test_than_of_the_gain_says_whose_it_is(make_analysis):
    """Beside the p that decides on scaling stands its test, in words, in the table and on disk; a gain's own p needs no name."""
    made = make_analysis()
    named = {"equivalent": "equivalence test, margin 1 point", "non-inferior": "non-inferiority test, margin 1 point"}
    found = _answers(made)
    for answer in found:
        if answer.about != "scaling":
            assert (answer.test, "(" in answer.numbers) == ("test of no gain", False)
        elif answer.row["verdict"] != "refused":
            test = named.get(answer.row["verdict"], "test of no difference")
            assert f"adjusted p {probability(answer.p_holm)} ({test}), 25 languages" in answer.numbers
    assert {answer.test for answer in found} >= {*named.values(), "test of no gain", "test of no difference"}
    shown = [row[5].text for row in questions_table(found).rows]
    assert shown == ["–" if answer.row.get("verdict", answer.row.get("claim")) == "refused" else answer.test for answer in found]
    assert [row["test"] for row in questions_rows(found)] == [answer.test for answer in found]


def test_one_yes_among_many_combinations_does_not_read_as_yes(make_analysis):
    """A question of the whole study is labelled with how many combinations its yes or no is of, where it is not that of all."""
    analysis, story = make_analysis()
    seen = view(analysis, story, "all")
    for one in overall(seen, answers(seen, cell_verdicts(seen))):
        every, many = re.search(rf"Of (\d+) combinations: .*{one.answer} in (\d+)", one.sentence).groups()
        assert one.label == f"{one.answer}, in {many} of {every}"
    everywhere = dataclasses.replace(analysis, pooled=_with(analysis.pooled, claim="gain"))
    seen = view(everywhere, story, "all")
    assert overall(seen, answers(seen, cell_verdicts(seen)))[0].label == "yes"


def test_a_yes_in_a_cell_to_distrust_says_so(make_analysis):
    """Wherever the gain of a cell to distrust is quoted, its doubt stands in the same sentence; other answers of the cell, and other cells,
    stay as they are.
    """
    analysis, story = make_analysis()
    analysis = dataclasses.replace(analysis, pooled=_with(analysis.pooled, claim="gain"))
    plain = _answers((analysis, story))
    cell, why = (plain[0].target, plain[0].intermediate), "both phases train on the same data."
    story = dataclasses.replace(story, trap_cells={cell: why})
    doubted = 0
    for before, after in zip(plain, _answers((analysis, story)), strict=True):
        if before.answer == "yes" and (before.target, before.intermediate) == cell:
            doubted += before.about == "all"
            assert after.sentence == f"{before.sentence} To distrust: {why}"
            assert after.numbers == f"{before.numbers}; a cell to distrust"
        else:
            assert after == before
    seen = view(analysis, story, "all")
    first = overall(seen, answers(seen, cell_verdicts(seen)))[0]
    assert doubted == 2
    assert first.label == "yes (2 to distrust)"
    assert first.sentence == f"Of {len(seen.gains)} combinations: yes in {len(seen.gains)} (2 to distrust)."


def test_a_gain_that_nobody_has_shown_does_not_hold(make_analysis):
    """Saying yes, a gain holds, takes an encoder with a pooled gain: two gains of nothing are alike, and that is no claim."""
    analysis, story = make_analysis()
    none = _with(analysis.pooled, claim="undecided")
    for made, expected in (((analysis, story), {"yes"}), ((dataclasses.replace(analysis, pooled=none), story), {"cannot tell"})):
        held = {a.answer for a in _answers(made) if a.about == "scaling" and a.row["verdict"] in ("superior", "equivalent", "non-inferior")}
        assert held & {"yes"} == expected & {"yes"}
        assert held >= expected


def test_a_level_of_too_few_languages_gets_no_claim(make_analysis):
    """A refused pooled gain answers "no claim" with its reason and no number."""
    found = [answer for answer in _answers(make_analysis(languages=5)) if answer.about == "low"]
    assert {answer.answer for answer in found} == {"no claim"}
    assert all(answer.numbers == "no claim: only 2 languages; a pooled claim needs 3." for answer in found)


def test_what_other_practices_would_have_claimed(make_analysis):
    """Welch and the best runs are taken from the scores where these are the contrast's; each practice is counted against this report."""
    analysis, story = make_analysis()
    rows = {row["practice"]: row for row in practices_rows(view(analysis, story, "all"))}
    ours, welch, means = rows[HERE], rows["Welch t on run scores, no correction"], rows["mean against mean, no test"]
    claimed = [row["claim"] for row in analysis.gains.to_pylist() if row["policy"] == "all"]
    assert (ours["gains"], ours["losses"], ours["not_shared"]) == (claimed.count("gain"), claimed.count("loss"), 0)
    assert means["gains"] + means["losses"] == means["comparisons"] == len(claimed) - claimed.count("refused")
    assert means["not_shared"] == claimed.count("undecided")
    # The scores of an arm differ by a quarter of a point from seed to seed: Welch sees gains of half a point.
    assert welch["gains"] > ours["gains"]
    assert rows["best run against best run"]["comparisons"] == ours["comparisons"]
    elsewhere = _with(analysis.scores, intermediate="none")
    names = {row["practice"] for row in practices_rows(view(dataclasses.replace(analysis, scores=elsewhere), story, "all"))}
    assert "best run against best run" not in names


def test_practices_that_resample_stand_beside_those_of_the_tables_alone(make_analysis):
    """With the rows of stats.alternatives_table the table has further practices, named in words; what the tables alone tell stays."""
    analysis, story = make_analysis()
    seen = view(analysis, story, "all")
    alone = practices_rows(seen)
    gains = [row for row in analysis.gains.to_pylist() if row["policy"] == "all" and row["claim"] != "refused"]
    tried = [
        {"contrast": row["contrast"], "language": row["language"], "method": method, "theta": 1.0, "would_claim": True}
        for row in gains
        for method in METHODS
    ]
    both = practices_rows(seen, tried)
    assert [row for row in both if row in alone] == alone
    assert [row["practice"] for row in both] == [HERE, *NAMES.values()]
    added = [row for row in both if row not in alone]
    assert [row["gains"] for row in added] == [len(gains)] * (len(NAMES) + 1 - len(alone))
