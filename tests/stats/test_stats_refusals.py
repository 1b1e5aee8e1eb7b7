"""What must be refused, with its sentence and without a number that could be quoted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from stats_tables import Rows, as_tables, random_rows

from raystilts.stats import Analysis, Contrast, Interaction, Plan, StatsError, analyse

CONTRASTS = tuple(
    Contrast(encoder, {"encoder": encoder, "intermediate": "mnli"}, {"encoder": encoder, "intermediate": "none"})
    for encoder in ("base", "large")
)
NUMBERS = ("theta", "se", "df", "lo", "hi", "boot_lo", "boot_hi", "p", "p_holm", "p_bh", "mde")
LANGUAGES = ("de", "sw", "te", "yo")


def analysed(runs: Rows, examples: Rows, **more: Any) -> Analysis:
    """The analysis of two gains and their interaction."""
    options = {
        "metric": "accuracy",
        "resamples": 200,
        "collapsed": ("all",),
        "groups": {"low": ("sw", "te", "yo")},
        "low_group": "low",
    } | more
    return analyse(*as_tables(runs, examples), Plan(CONTRASTS, (Interaction("scales", "large", "base"),), **options))


def rows_of(table: pa.Table, **where: Any) -> Rows:
    """Rows whose columns equal `where`."""
    return [row for row in table.to_pylist() if all(row[key] == value for key, value in where.items())]


def single_run(runs: Rows, examples: Rows) -> None:
    """One seed of base + mnli is left."""
    gone = {r["run_id"] for r in runs if r["encoder"] == "base" and r["intermediate"] == "mnli" and r["seed"]}
    runs[:] = [r for r in runs if r["run_id"] not in gone]
    examples[:] = [e for e in examples if e["run_id"] not in gone]


def one_checkpoint(runs: Rows, examples: Rows) -> None:
    """All seeds of base + mnli start from one intermediate checkpoint."""
    for run in runs:
        if run["encoder"] == "base" and run["intermediate"] == "mnli":
            run["intermediate_run_id"] = "i0"


def unpaired(runs: Rows, examples: Rows) -> None:
    """The runs of base + mnli saw examples of their own."""
    for row in examples:
        if row["run_id"].startswith("base-mnli"):
            row["example_id"] += "x"


def other_gold(runs: Rows, examples: Rows) -> None:
    """The runs of base + mnli were scored against another gold."""
    for row in examples:
        row["gold_code"] = 1 if row["run_id"].startswith("base-mnli") else 2


def other_gold_digest(runs: Rows, examples: Rows) -> None:
    """The runs of base + mnli name another gold file."""
    for run in runs:
        run["gold_sha256"] = "a" if run["run_id"].startswith("base-mnli") else "b"


def three_gold_digests(runs: Rows, examples: Rows) -> None:
    """No run of base + mnli names the gold file of its baseline, nor do they agree, while most runs name a third."""
    for run in runs:
        run["gold_sha256"] = {"base-mnli": "a", "base-none": "b"}.get(run["run_id"][:9], "c")


def two_deterministic(runs: Rows, examples: Rows) -> None:
    """The runs of base + mnli claim that nothing was trained, yet there are three."""
    for run in runs:
        if run["run_id"].startswith("base-mnli"):
            run["seed"] = None


def nothing_finished(runs: Rows, examples: Rows) -> None:
    """The runs of base + mnli failed."""
    for run in runs:
        if run["run_id"].startswith("base-mnli"):
            run["status"] = "failed"


CASES: list[tuple[Callable[[Rows, Rows], None], str, str]] = [
    (single_run, "single run: one seed says nothing about the procedure", "single_seed"),
    (one_checkpoint, "start from one intermediate checkpoint: seeds do not sample the intermediate phase", "shared_intermediate"),
    (unpaired, "not scored on the same examples", "unpaired_examples"),
    (other_gold, "against different gold", "gold_mismatch"),
    (other_gold_digest, "gold_sha256 differs", "gold_mismatch"),
    (three_gold_digests, "gold_sha256 differs", "gold_mismatch"),
    (two_deterministic, "a deterministic arm has exactly one run", ""),
    (nothing_finished, "no finished run of encoder base, intermediate mnli", "missing"),
]


@pytest.mark.parametrize(("spoil", "sentence", "finding"), CASES, ids=[case[0].__name__ for case in CASES])
def test_refusals(spoil: Callable[[Rows, Rows], None], sentence: str, finding: str) -> None:
    """The spoilt contrast, its interaction and all that is pooled from them give the reason and no number; the other contrast stands."""
    runs, examples = random_rows(np.random.default_rng(0), languages=LANGUAGES, num_examples=lambda language: 30)
    spoil(runs, examples)
    found = analysed(runs, examples)
    for table in (found.gains, found.interactions):
        for row in rows_of(table, contrast="base") + rows_of(table, contrast="scales"):
            assert row["claim"] == "refused"
            assert sentence in row["reason"]
            assert all(row.get(name) is None for name in NUMBERS)
    for table in (found.pooled, found.resource):
        spoilt = rows_of(table, contrast="base") + rows_of(table, contrast="scales")
        assert spoilt
        assert all(row["claim"] == "refused" and sentence in row["reason"] for row in spoilt)
        assert all(row.get(name) is None for row in spoilt for name in NUMBERS)
    assert {row["verdict"] for row in found.scaling.to_pylist()} == {"refused"}
    assert all(sentence in row["reason"] for row in found.scaling.to_pylist())
    assert all(row["theta"] is None and not row["agrees"] for row in found.scaling.to_pylist())
    assert all(row["at_least"] is None for row in rows_of(found.partial_conjunction, contrast="base"))
    assert all(row["claim"] != "refused" and row["theta"] is not None for row in rows_of(found.gains, contrast="large"))
    assert not finding or finding in found.findings["kind"].to_pylist()


def test_fewer_than_three_low_resource_languages() -> None:
    """A claim about low-resource languages that rests on two is refused in every table that makes it; the others are made."""
    runs, examples = random_rows(np.random.default_rng(0), languages=LANGUAGES)
    found = analysed(runs, examples, groups={"low": ("sw", "te", "zz"), "high": ("de", "yo")}, covariate={"de": 4.0, "sw": 2.0})
    for table in (found.pooled, found.partial_conjunction, found.scaling):
        low = rows_of(table, group="low")
        assert low
        assert all("fewer than 3 low-resource languages with an estimate (there are 2)" in row["reason"] for row in low)
        assert all(row.get(name) is None for row in low for name in ("theta", "lo", "hi", "p", "at_least"))
    for row in found.resource.to_pylist():
        assert "fewer than 3" in row["reason"]
        assert row["theta"] is None
    assert all(row["theta"] is not None for row in rows_of(found.pooled, group="all"))
    sample = rows_of(found.pooled, group="high", estimand="languages_as_sample")
    assert all("fewer than 3 languages with an estimate" in row["reason"] and row["theta"] is None for row in sample)


def test_one_spoilt_language_is_left_out_and_named() -> None:
    """A language whose examples do not pair is refused; the pool goes on without it and says so."""
    runs, examples = random_rows(np.random.default_rng(0), languages=LANGUAGES)
    kept = [
        row for row in examples if not (row["run_id"].startswith("base-mnli") and row["language"] == "de" and row["example_id"] == "de3")
    ]
    found = analysed(runs, kept)
    assert rows_of(found.gains, contrast="base", language="de")[0]["claim"] == "refused"
    pooled = rows_of(found.pooled, contrast="base", group="all", estimand="fixed_languages")[0]
    assert (pooled["n_languages"], pooled["note"]) == (3, "without de (refused)")
    three = [row for row in examples if row["language"] != "de"]
    assert pooled["theta"] == rows_of(analysed(runs, three).pooled, contrast="base", group="all", estimand="fixed_languages")[0]["theta"]


def test_not_significant_is_never_called_an_effect_or_its_absence() -> None:
    """Claims are gain, loss, undecided or refused, and verdicts come from the three decisions; noise is undecided and cannot tell."""
    runs, examples = random_rows(np.random.default_rng(1), languages=LANGUAGES, num_examples=lambda language: 40)
    found = analysed(runs, examples)
    assert set(found.gains["claim"].to_pylist()) <= {"gain", "loss", "undecided"}
    verdicts = set(found.scaling["verdict"].to_pylist())
    assert verdicts <= {"superior", "inferior", "equivalent", "non-inferior", "cannot tell"}
    assert "cannot tell" in verdicts


def edit(rows: Rows, index: int, **values: Any) -> Rows:
    """Rows with one of them changed."""
    return [row | values if i == index else row for i, row in enumerate(rows)]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda r, e: (r, [*e, e[0]]), "twice"),
        (lambda r, e: ([*r, r[0]], e), "lists the run"),
        (lambda r, e: (r[1:], e), "does not list"),
        (lambda r, e: (r, edit(e, 3, s0=None)), "no finite s0"),
        (lambda r, e: (r, edit(e, 3, s0=float("nan"))), "no finite s0"),
        (lambda r, e: (r, edit(e, 3, s0=62.5)), "shares between 0 and 1"),
        (lambda r, e: (r, edit(e, 3, language=None)), "has nulls"),
        (lambda r, e: (r, edit(e, 3, cluster_id="x")), "disagree about the cluster_id"),
        (lambda r, e: ([{k: v for k, v in x.items() if k != "encoder"} for x in r], e), "column 'encoder'"),
        (lambda r, e: (edit(r, 0, target="other"), e), "selects runs of the targets"),
    ],
)
@pytest.mark.promise("Tables that contradict themselves are one sentence")
def test_bad_tables_are_errors(change: Callable[[Rows, Rows], tuple[Rows, Rows]], sentence: str) -> None:
    """Tables that contradict themselves raise one sentence that says what and where."""
    runs, examples = random_rows(np.random.default_rng(0))
    with pytest.raises(StatsError, match=sentence):
        analysed(*change(runs, examples))


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Plan((CONTRASTS[0], CONTRASTS[0])), "used twice"),
        (lambda: Plan(CONTRASTS, (Interaction("x", "large", "huge"),)), "'huge'"),
        (lambda: Plan(CONTRASTS, low_group="low"), "low_group"),
        (lambda: Plan(CONTRASTS, collapsed=("some",)), "collapsed"),
        (lambda: Plan(CONTRASTS, margin=0.0), "margin"),
        (lambda: Plan(CONTRASTS, alpha=5.0), "alpha"),
        (lambda: Plan(CONTRASTS, resamples=5), "resamples"),
        (lambda: Plan(CONTRASTS, duplicates="some"), "duplicates"),
        (lambda: Plan(CONTRASTS, metric={"x": "accuracy"}).metric_of("t"), "no metric for the target 't'"),
        (lambda: Contrast("x", {"a": 1}, {"a": 1}), "compares a selection with itself"),
        (lambda: Contrast("x", {}, {"a": 1}), "needs a selection"),
    ],
)
def test_bad_plans_are_errors(make: Callable[[], object], sentence: str) -> None:
    """A plan that cannot be meant raises one sentence."""
    with pytest.raises(StatsError, match=sentence):
        make()
