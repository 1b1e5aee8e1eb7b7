"""Published claims against a study: supported, contradicted, cannot tell, not tested; unverified ones decide nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import pytest

from raystilts.stats import CLAIMS, judge
from raystilts.stats.ledger import SECOND_HAND, UNVERIFIED, VERIFIED, Claim

GAIN = Claim("g", "MNLI helps", "a paper", VERIFIED, "gain", "xlm-roberta-large", "mnli", ("xnli", "wikiann"), 7.5, 7.5)
SCORE = Claim("s", "scores 79.2", "a paper", SECOND_HAND, "score", "xlm-roberta-large", "none", ("xnli",), 79.2, 79.2, 2)


@dataclass
class Study:
    """What the ledger reads of an analysis."""

    pooled: pa.Table
    scores: pa.Table


def study(gains: dict[str, tuple[float, float]], scores: list[float] | None = None, **labels: str) -> Study:
    """Pooled gains (theta, half width) by target, and the scores of runs without intermediate in two languages."""
    named = {"encoder": "xlm-r-large", "intermediate": "MNLI"} | labels
    fixed = {"policy": "all", "contrast": "c", "group": "all", "estimand": "fixed_languages", "reason": ""}
    pooled = [{**fixed, **named, "target": t, "theta": x, "lo": x - half, "hi": x + half} for t, (x, half) in gains.items()]
    runs: list[dict[str, Any]] = [
        {"run_id": f"r{i}", "encoder": "XLM-R large", "intermediate": "none", "target": "xnli", "language": language, "score": score}
        for i, score in enumerate(scores or [])
        for language in ("en", "sw")
    ]
    empty = pa.schema([("run_id", pa.string()), ("language", pa.string()), ("score", pa.float64())])
    return Study(pa.Table.from_pylist(pooled), pa.Table.from_pylist(runs) if runs else empty.empty_table())


def verdict(claim: Claim, found: Study, **more: Any) -> dict[str, Any]:
    """The ledger's row of one claim."""
    (row,) = judge(found, [claim], **more).to_pylist()
    return row


@pytest.mark.parametrize(
    ("gains", "expected", "detail"),
    [
        ({"xnli": (7.4, 0.5), "panx": (7.8, 0.3)}, "supported", "within 1 points"),
        ({"xnli": (1.4, 0.5), "panx": (0.8, 0.3)}, "contradicted", "leaves the published value out"),
        ({"xnli": (7.4, 5.5), "panx": (5.8, 4.3)}, "cannot tell", "others that differ"),
        ({"xnli": (1.4, 0.5)}, "cannot tell", "lacks wikiann"),
        ({"xcopa": (1.4, 0.5)}, "not tested", "no such arm"),
    ],
)
def test_a_gain_is_judged_by_its_interval(gains: dict[str, tuple[float, float]], expected: str, detail: str) -> None:
    """Over all targets of the claim, with errors added as if dependent; a study of some of them cannot contradict it."""
    row = verdict(GAIN, study(gains))
    assert row["verdict"] == expected
    assert detail in row["detail"]
    if expected != "not tested":
        halves = [half for _, half in gains.values()]
        assert row["hi"] - row["lo"] == pytest.approx(2 * sum(halves) / len(halves))


def test_an_unverified_number_decides_nothing() -> None:
    """Whatever the study shows, an unverified claim is not tested and stands beside no number, under any spelling of its status."""
    found = study({"xnli": (1.4, 0.5), "panx": (0.8, 0.3)})
    for status in (UNVERIFIED, "", "Verified?", "second-hand"):
        row = verdict(replace(GAIN, status=status), found)
        assert (row["verdict"], row["theta"], row["lo"], row["hi"]) == ("not tested", None, None, None)
        assert "unverified" in row["detail"]


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([79.0, 79.1, 79.2, 79.3], "supported"),
        ([70.0, 70.2, 70.4], "contradicted"),
        ([75.0, 79.0, 82.0], "cannot tell"),
        ([79.2], "cannot tell"),
        ([], "not tested"),
    ],
)
def test_a_score_is_one_more_run(scores: list[float], expected: str) -> None:
    """A published score is compared with where one more run would lie; a single run says nothing about that."""
    assert verdict(SCORE, study({"xnli": (0.0, 1.0)}, scores))["verdict"] == expected


def test_other_languages_and_other_arms_are_not_the_claims() -> None:
    """Another number of languages or another encoder cannot contradict; a study's own names can be mapped to the ledger's."""
    low = study({"xnli": (0.0, 1.0)}, [60.0, 60.1, 60.2])
    assert verdict(replace(SCORE, languages=15), low)["verdict"] == "cannot tell"
    assert verdict(replace(SCORE, encoder="xlm-roberta-base"), low)["verdict"] == "not tested"
    named = study({"xnli": (7.4, 0.5), "panx": (7.8, 0.3)}, encoder="large")
    assert verdict(GAIN, named)["verdict"] == "not tested"
    assert verdict(GAIN, named, names={"large": "xlm-roberta-large"})["verdict"] == "supported"
    refused = study({"xnli": (float("nan"), 0.0)})
    refused.pooled = pa.Table.from_pylist([row | {"theta": None, "reason": "one seed"} for row in refused.pooled.to_pylist()])
    assert verdict(GAIN, refused)["detail"] == "refused: one seed"


def test_no_gain_is_supported_only_by_a_narrow_interval() -> None:
    """A claim of no gain is contradicted above zero, supported where a gain of the margin is excluded, else it cannot be told."""
    claim = Claim("n", "does not beat", "a paper", VERIFIED, "no gain", intermediate="translated")
    for theta, half, expected in ((2.0, 1.0, "contradicted"), (0.2, 0.5, "supported"), (0.0, 3.0, "cannot tell")):
        assert verdict(claim, study({"xnli": (theta, half)}, intermediate="translated"))["verdict"] == expected


def test_the_claims_are_data() -> None:
    """Every claim has a name of its own, a source, a status that was checked and, where it is a number, that number in its sentence."""
    assert len({claim.name for claim in CLAIMS}) == len(CLAIMS) >= 20
    for claim in CLAIMS:
        assert claim.source
        assert claim.status in (VERIFIED, SECOND_HAND)
        assert claim.kind == "no gain" or f"{claim.low:g}" in claim.sentence
    assert judge(study({"xnli": (0.0, 1.0)})).num_rows == len(CLAIMS)
