"""Published claims as data, and what a study's tables say about each: supported, contradicted, cannot tell or not tested.

A claim carries its source and whether it was read there. One that was not ("unverified") is listed and never compared: it decides nothing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from raystilts.stats.analysis import REAL, TEXT, WHOLE, Analysis
from raystilts.stats.estimate import t_quantile
from raystilts.stats.plan import ALL

Verdict = Literal["supported", "contradicted", "cannot tell", "not tested"]
VERIFIED, SECOND_HAND, UNVERIFIED = "verified", "verified, second-hand", "unverified"
ROUNDING = 0.05
"""Points: published numbers have one decimal."""
NO_ARM = "the study has no such arm"


@dataclass(frozen=True)
class Claim:
    """A published statement. encoder, intermediate, targets: the labels of the arm that it is about, "" for any.

    kind: "gain": mean gain of the intermediate over `targets` is low to high (points). "score": mean score over languages and targets is
    low to high. "no gain": the contrast labelled so is not above zero. languages: how many the published mean is over, 0 for any.
    """

    name: str
    sentence: str
    source: str
    status: str
    kind: Literal["gain", "score", "no gain"]
    encoder: str = ""
    intermediate: str = ""
    targets: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 0.0
    languages: int = 0


_PAPER, _LARGE = "Phang et al. 2020, arXiv 2005.13013v2", "xlm-roberta-large"
_TASKS = ("xnli", "pawsx", "udpos", "wikiann", "xquad", "mlqa", "tydiqa", "bucc", "tatoeba")
_ROWS = {  # target: languages of the published mean, with intermediate training, without it
    "xnli": (15, 80.0, 79.2),
    "pawsx": (7, 87.9, 86.4),
    "udpos": (33, 74.9, 73.8),
    "wikiann": (40, 64.0, 65.4),
    "xquad": (11, 78.7, 76.6),
    "xquad-em": (11, 63.3, 60.8),
    "mlqa": (7, 72.4, 71.6),
    "mlqa-em": (7, 53.7, 53.2),
    "tydiqa": (9, 76.0, 65.1),
    "tydiqa-em": (9, 59.5, 45.0),
}


def _gain(name: str, intermediate: str, value: float, what: str) -> Claim:
    sentence = f"{what}: {value:+g} points on average over the target tasks"
    return Claim(name, sentence, f"{_PAPER}, abstract", VERIFIED, "gain", _LARGE, intermediate, _TASKS, value, value)


def _score(target: str, intermediate: str, value: float, languages: int) -> Claim:
    who = "XLM-R Large with the best intermediate task" if intermediate == "best" else "XLM-R Large"
    name = f"{target}, {'best intermediate' if intermediate == 'best' else 'no intermediate'}"
    return Claim(
        name, f"{who} scores {value} on {target}", _PAPER, SECOND_HAND, "score", _LARGE, intermediate, (target,), value, value, languages
    )


CLAIMS: tuple[Claim, ...] = (
    _gain("squad gain", "squad", 8.2, "SQuAD as intermediate task"),
    _gain("mnli gain", "mnli", 7.5, "MNLI as intermediate task"),
    _gain("hellaswag gain", "hellaswag", 7.0, "HellaSwag as intermediate task"),
    _gain("multi-task gain", "all", 8.7, "all nine intermediate tasks together"),
    _gain("best gain", "best", 5.4, "the best intermediate task per target"),
    Claim(
        "multilingual mlm",
        "multilingual MLM mixed into intermediate training does not beat plain English",
        f"{_PAPER}, abstract",
        VERIFIED,
        "no gain",
        _LARGE,
        "mlm added",
    ),
    Claim(
        "translated data",
        "machine-translated intermediate data does not beat plain English",
        f"{_PAPER}, abstract",
        VERIFIED,
        "no gain",
        _LARGE,
        "translated",
    ),
    *(_score(target, "best", with_it, languages) for target, (languages, with_it, _) in _ROWS.items()),
    *(_score(target, "none", without, languages) for target, (languages, _, without) in _ROWS.items()),
    Claim(
        name="xnli, base",
        sentence="XLM-R Base scores 74.2 to 76.1 on XNLI",
        source="public reports",
        status=VERIFIED,
        kind="score",
        encoder="xlm-roberta-base",
        intermediate="none",
        targets=("xnli",),
        low=74.2,
        high=76.1,
        languages=15,
    ),
)
"""The published numbers that may be compared with a study."""
_ALIASES = {
    "xlmrlarge": "xlmrobertalarge",
    "facebookaixlmrobertalarge": "xlmrobertalarge",
    "xlmrbase": "xlmrobertabase",
    "facebookaixlmrobertabase": "xlmrobertabase",
    "panx": "wikiann",
    "ner": "wikiann",
    "pos": "udpos",
    "tydiqagoldp": "tydiqa",
    "squadv11": "squad",
    "squad1": "squad",
    "": "none",
}


def canonical(label: Any, names: Mapping[str, str] | None = None) -> str:
    """A label as the ledger spells it; `names` maps a study's own labels first.

    >>> canonical("XLM-R Large"), canonical("big", {"big": "xlm-roberta-large"}), canonical("PAN-X")
    ('xlmrobertalarge', 'xlmrobertalarge', 'wikiann')
    """
    text = str((names or {}).get(str(label), label) or "")
    plain = re.sub(r"[^a-z0-9]", "", text.lower())
    return _ALIASES.get(plain, plain)


def judge(
    analysis: Analysis,
    claims: Sequence[Claim] = CLAIMS,
    names: Mapping[str, str] | None = None,
    *,
    margin: float = 1.0,
    alpha: float = 0.05,
    policy: str = "all",
) -> pa.Table:
    """What a study says about each claim: claim, sentence, source, status, published (points), verdict, theta, lo, hi, n_targets, detail.

    A claim with a value is supported where the study's whole interval lies within -+ margin (points) of it, contradicted where the interval
    leaves it out, and cannot be told otherwise. The interval of a gain is the pooled one of these languages; that of a mean over targets
    adds their errors as if fully dependent (runs of targets may share intermediate checkpoints), which is never too short. Scores: the
    prediction interval of one more run on these very test sets, since a published score is one run's (alpha two-sided). A study that has
    only some of a claim's targets or languages, or others, cannot contradict it. names: a study's label -> the ledger's. Each claim is a
    question of its own: nothing is corrected over them.

    >>> class Study:
    ...     pooled = pa.table({"policy": ["all"], "contrast": ["c"], "encoder": ["large"], "intermediate": ["mlm added"], "group": ["all"],
    ...                        "estimand": ["fixed_languages"], "theta": [0.1], "lo": [-0.3], "hi": [0.5]})
    ...     scores = pa.table({"run_id": pa.array([], "string"), "language": pa.array([], "string"), "score": pa.array([], "double")})
    >>> table = judge(Study(), names={"large": "xlm-roberta-large"})
    >>> [(row["claim"], row["verdict"]) for row in table.to_pylist() if row["verdict"] != "not tested"]
    [('multilingual mlm', 'supported')]
    """
    pooled = [
        row for row in analysis.pooled.to_pylist()
        if row["policy"] == policy and row["group"] == ALL and row["estimand"] == "fixed_languages"
    ]  # fmt: skip
    scores = analysis.scores.to_pylist()
    rows = []
    for claim in claims:
        verdict, numbers, detail = _judged(claim, pooled, scores, names, margin=margin, alpha=alpha)
        published = None if claim.kind == "no gain" else (claim.low + claim.high) / 2
        text = {"claim": claim.name, "sentence": claim.sentence, "source": claim.source, "status": claim.status}
        rows.append({**text, "published": published, "verdict": verdict, "detail": detail, **numbers})
    kinds = dict.fromkeys(("claim", "sentence", "source", "status"), TEXT) | {"published": REAL, "verdict": TEXT}
    kinds |= dict.fromkeys(("theta", "lo", "hi"), REAL) | {"n_targets": WHOLE, "detail": TEXT}
    return pa.table({name: pa.array([row.get(name) for row in rows], kind) for name, kind in kinds.items()})


def _judged(
    claim: Claim,
    pooled: Sequence[Mapping[str, Any]],
    scores: Sequence[Mapping[str, Any]],
    names: Mapping[str, str] | None,
    *,
    margin: float,
    alpha: float,
) -> tuple[Verdict, dict[str, Any], str]:
    """Verdict, the study's numbers, and why."""
    if claim.status not in (VERIFIED, SECOND_HAND):
        return "not tested", {}, "the published number is unverified: it decides nothing"
    wanted = [canonical(target) for target in claim.targets]

    def about(row: Mapping[str, Any]) -> bool:
        asked = ((claim.encoder, row.get("encoder")), (claim.intermediate, row.get("intermediate")))
        mine = all(not wish or canonical(wish) == canonical(label, names) for wish, label in asked)
        return mine and (not wanted or canonical(row.get("target"), names) in wanted)

    if claim.kind == "score":
        return _score_verdict(claim, [row for row in scores if about(row)], margin, alpha)
    return _gain_verdict(claim, [row for row in pooled if about(row)], names, margin)


def _gain_verdict(
    claim: Claim, rows: Sequence[Mapping[str, Any]], names: Mapping[str, str] | None, margin: float
) -> tuple[Verdict, dict[str, Any], str]:
    """A published gain, or that there is none, against the pooled gains, averaged over targets."""
    known = [row for row in rows if row["theta"] is not None]
    if not known:
        return ("cannot tell", {}, f"refused: {rows[0]['reason']}") if rows else ("not tested", {}, NO_ARM)
    theta = float(np.mean([row["theta"] for row in known]))
    low, high = (theta + float(np.mean([row[end] - row["theta"] for row in known])) for end in ("lo", "hi"))
    present = {canonical(row.get("target"), names) for row in known}
    numbers = {"theta": theta, "lo": low, "hi": high, "n_targets": len(present)}
    if claim.kind == "no gain":
        if low > 0:
            return "contradicted", numbers, "the interval lies above zero"
        near = high < margin
        return ("supported" if near else "cannot tell"), numbers, f"the interval {'excludes' if near else 'allows'} {margin:g} points"
    lacking = [target for target in claim.targets if canonical(target) not in present]
    if lacking:
        return "cannot tell", numbers, f"the published mean is over {len(claim.targets)} targets; the study lacks {', '.join(lacking)}"
    return _compared(claim, numbers, margin)


def _score_verdict(claim: Claim, rows: Iterable[Mapping[str, Any]], margin: float, alpha: float) -> tuple[Verdict, dict[str, Any], str]:
    """A published score against the runs' own, each the mean over its languages."""
    by_run: dict[str, list[float]] = {}
    spoken: dict[str, set[str]] = {}
    for row in rows:
        by_run.setdefault(row["run_id"], []).append(row["score"])
        spoken.setdefault(row["run_id"], set()).add(row["language"])
    if not by_run:
        return "not tested", {}, NO_ARM
    values = np.array([np.mean(scores) for scores in by_run.values()])
    numbers: dict[str, Any] = {"theta": float(values.mean()), "n_targets": 1}
    if len({frozenset(languages) for languages in spoken.values()}) > 1:
        return "cannot tell", numbers, "the runs were scored in different languages"
    if len(values) < 2:
        return "cannot tell", numbers, "a single run: nothing is known of how much runs differ"
    half = t_quantile(1 - alpha / 2, len(values) - 1) * float(values.std(ddof=1)) * math.sqrt(1 + 1 / len(values))
    numbers |= {"lo": numbers["theta"] - half, "hi": numbers["theta"] + half}
    count = len(next(iter(spoken.values())))
    if claim.languages and count != claim.languages:
        return "cannot tell", numbers, f"the published mean is over {claim.languages} languages, the study's over {count}"
    return _compared(claim, numbers, margin)


def _compared(claim: Claim, numbers: dict[str, Any], margin: float) -> tuple[Verdict, dict[str, Any], str]:
    """The study's interval against the published value or range."""
    low, high = claim.low - ROUNDING, claim.high + ROUNDING
    if numbers["hi"] < low or numbers["lo"] > high:
        return "contradicted", numbers, "the interval leaves the published value out"
    if claim.low - margin < numbers["lo"] and numbers["hi"] < claim.high + margin:
        return "supported", numbers, f"the whole interval lies within {margin:g} points of the published value"
    return "cannot tell", numbers, "the interval holds the published value and others that differ by more than the margin"
