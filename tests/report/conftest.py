"""A synthetic analysis with planted claims: the report's tests need no statistics, only tables of the right shape."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from raystilts.report import LanguageFacts, Story

NAMES = {
    "af": "Afrikaans",
    "sw": "Swahili",
    "yo": "Yoruba",
    "te": "Telugu",
    "my": "Burmese",
    "qu": "Quechua",
    "gu": "Gujarati",
    "wo": "Wolof",
    "jv": "Javanese",
    "de": "German",
    "fr": "French",
    "ru": "Russian",
    "tr": "Turkish",
    "fi": "Finnish",
    "zh": "Chinese",
    "ja": "Japanese",
    "ko": "Korean",
    "vi": "Vietnamese",
    "th": "Thai",
    "ka": "Georgian",
    "eu": "Basque",
    "et": "Estonian",
    "hi": "Hindi",
    "ur": "Urdu",
    "ta": "Tamil",
}
LEVELS = ("low", "middle", "high")
SCALING = {
    "superior": (1.9, 0.8),
    "equivalent": (0.1, 0.6),
    "non-inferior": (0.6, 1.2),
    "inferior": (-2.1, 0.9),
    "cannot tell": (-0.3, 2.2),
    "refused": (0.77, 0.55),
}
"""Verdict -> (difference, half-width)."""
FINDINGS = pa.schema(
    {"kind": pa.string(), "severity": pa.string(), "run_ids": pa.list_(pa.string()), "language": pa.string(), "detail": pa.string()}
)
Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Tables:
    """Any object with the analysis' tables will do for a report; so the tests give it the simplest."""

    scores: pa.Table
    gains: pa.Table
    interactions: pa.Table
    pooled: pa.Table
    partial_conjunction: pa.Table
    scaling: pa.Table
    resource: pa.Table
    trend: pa.Table
    variance: pa.Table
    power: pa.Table
    findings: pa.Table
    collapse: pa.Table


def make(
    *,
    languages: int = 25,
    targets: tuple[str, ...] = ("kind", "tagging", "retrieval"),
    intermediates: tuple[str, ...] = ("currency", "official"),
    encoders: tuple[str, str] = ("nano", "micro"),
    names: dict[str, str] = NAMES,
    policies: tuple[str, ...] = ("all", "converged"),
) -> tuple[Tables, Story]:
    """An analysis and its story. Cell i has the scaling verdict i % 6 of SCALING; the last language of every arm is refused."""
    codes = list(names)[:languages]
    tables: dict[str, Rows] = {name: [] for name in Tables.__dataclass_fields__}
    cells = [(target, intermediate) for target in targets for intermediate in intermediates]
    for policy in policies:
        rng = np.random.default_rng(3)  # the same for each policy: they differ only where they should
        for number, (target, intermediate) in enumerate(cells):
            thetas = {encoder: rng.normal(0.5, 1.5) + rng.normal(0, 1.5, len(codes)) for encoder in encoders}
            for encoder in encoders:
                labels = {"policy": policy, "contrast": f"{encoder}/{intermediate}/{target}"}
                labels |= {"encoder": encoder, "intermediate": intermediate, "target": target}
                _gains(tables, rng, labels, dict(zip(codes, map(float, thetas[encoder]), strict=True)))
                tables["pooled"] += _pooled(labels, list(thetas[encoder]))
                joint = {"group": "all", "num_languages": len(codes), "at_least": int(sum(thetas[encoder] > 2.5))}
                tables["partial_conjunction"].append(labels | joint)
                _runs(tables, labels, list(thetas[encoder]), codes)
                line = {"n_languages": len(codes), "reason": ""}
                tables["trend"] += [
                    labels | {"estimand": "fixed_languages", "at": at, "theta": at / 9, "lo": at / 9 - 1, "hi": at / 9 + 1} | line
                    for at in (0.0, 2.0, 4.0)
                ]
                row = {"theta": 0.4, "lo": -0.5, "hi": 1.3, "p": 0.3, "n_languages": len(codes), "reason": ""}
                tables["resource"] += [labels | {"comparison": name} | row for name in ("low - high", "slope per log10 MB")]
            labels = {
                "policy": policy,
                "contrast": f"scale/{intermediate}/{target}",
                "encoder": None,
                "intermediate": intermediate,
                "target": target,
            }
            differences = thetas[encoders[-1]] - thetas[encoders[0]]
            tables["interactions"] += _interactions(labels, dict(zip(codes, map(float, differences), strict=True)))
            tables["pooled"] += _pooled(labels, list(differences))
            tables["scaling"] += _scaling(labels, list(SCALING)[number % len(SCALING)])
    texts = "12 test texts occur twice; they are one cluster."
    tables["findings"] += [
        {
            "kind": "collapsed",
            "severity": "warning",
            "run_ids": ["run-a", "run-b"],
            "language": None,
            "detail": "2 runs predict one class only.",
        },
        {"kind": "duplicate_texts", "severity": "note", "run_ids": [], "language": codes[0], "detail": texts},
    ]
    tables["collapse"].append({"encoder": encoders[-1], "collapsed": 2, "runs": 40, "rate": 0.05, "lo": 0.006, "hi": 0.169})
    story = Story(
        title="Quickstart: names of the world",
        question="Does English intermediate training help names in other languages, and does the gain hold from nano to micro?",
        command="raystilts run experiments/quickstart.py",
        encoders=encoders,
        languages={code: LanguageFacts(names[code], LEVELS[place % 3], float(place)) for place, code in enumerate(codes)},
        levels=LEVELS,
        level_note="share of the names that the encoder was aligned on: none (low), a quarter (middle), all (high).",
        facts={
            "raystilts": "0.1.0",
            "torch": "2.13.0",
            "store": "runs/quickstart",
            "study hash": "3f9a12c07b",
            "bootstrap resamples": "10,000",
        },
    )
    made = {name: pa.Table.from_pylist(rows, schema=FINDINGS if name == "findings" else None) for name, rows in tables.items()}
    return Tables(**made), story


def _ends(theta: float, half: float) -> dict[str, float]:
    return {"theta": theta, "se": half / 2, "df": 5.0, "lo": theta - half, "hi": theta + half}


def _runs(tables: dict[str, Rows], labels: dict[str, Any], thetas: list[float], codes: list[str]) -> None:
    """The scores of three runs of an arm and of its baseline, and what its mean gain's uncertainty is made of."""
    if labels["policy"] != "all":
        return
    sides = {labels["intermediate"]: thetas, "none": [0.0] * len(codes)}
    for (task, gains), seed in product(sides.items(), (1, 2, 3)):
        head = {"encoder": labels["encoder"], "intermediate": task, "target": labels["target"]}
        run = "/".join((*head.values(), str(seed)))
        if task != "none" or run not in {row["run_id"] for row in tables["scores"][-10_000:]}:
            tables["scores"] += [
                head | {"run_id": run, "seed": seed, "language": code, "score": 50 + theta + (seed - 2) / 4, "n_examples": 400}
                for code, theta in zip(codes, gains, strict=True)
            ]
    shares = {"seed_plus": 0.4, "seed_minus": 0.3, "example": 0.2, "language": 0.1}
    tables["variance"] += [labels | {"language": "all", "component": part, "variance": v, "share": v} for part, v in shares.items()]


def _gains(tables: dict[str, Rows], rng: np.random.Generator, labels: dict[str, Any], thetas: dict[str, float]) -> None:
    for place, (code, centre) in enumerate(thetas.items()):
        se, refused = float(rng.uniform(0.3, 0.9)), place == len(thetas) - 1
        theta = centre + (0.3 if labels["policy"] == "converged" and place == 0 else 0.0)
        p = float(np.exp(-((theta / se) ** 2) / 2))
        holm = min(1.0, p * len(thetas))
        claim = "refused" if refused else ("gain" if theta > 0 else "loss") if holm < 0.05 else "undecided"
        enough = place % 3 > 0
        row = {
            **_ends(theta, 2 * se),
            "boot_lo": theta - 2.05 * se,
            "boot_hi": theta + 2.15 * se,
            "p": p,
            "p_holm": holm,
            "p_bh": p,
            "n_examples": 400 + place,
            "n_clusters": 400,
            "runs_plus": 1 if refused else 3,
            "runs_minus": 3,
            "score_plus": 50.0 + theta,
            "score_minus": 50.0,
            "v_seed": se**2 * 0.6,
            "v_example": se**2 * 0.4,
            "v_both": 0.0,
            "mde": 3.1 * se,
            "seeds_needed": 9 if enough else None,
            "power_note": "" if enough else "unreachable: the test set is too small",
            "claim": claim,
            "reason": "one seed says nothing about the procedure" if refused else "",
        }
        tables["gains"].append(labels | {"language": code} | row)
        for component, share in (("seed_plus", 0.4), ("seed_minus", 0.3), ("example", 0.3)):
            tables["variance"].append(labels | {"language": code, "component": component, "variance": share * se**2, "share": share})
        tables["power"].append(labels | {"language": code, "se": se, "mde": 3.1 * se, "seeds": 5, "detectable": 2.4 * se})


def _pooled(labels: dict[str, Any], thetas: list[float]) -> Rows:
    rows = []
    for group in ("all", *LEVELS):
        chosen = [float(theta) for place, theta in enumerate(thetas) if group in ("all", LEVELS[place % 3])]
        theta, few = float(np.mean(chosen)), len(chosen) < 3
        for estimand, se in (("fixed_languages", 0.4), ("languages_as_sample", 0.6), ("new_language", 1.6)):
            claim = "refused" if few else ("gain" if theta > 0 else "loss") if abs(theta) > 2 * se else "undecided"
            row = {"p": 0.02, "p_holm": 0.04, "n_languages": len(chosen), "tau": 1.1, "i2": 0.5, "claim": claim}
            reason = f"only {len(chosen)} languages; a pooled claim needs 3" if few else ""
            rows.append(labels | {"group": group, "estimand": estimand, **_ends(theta, 2 * se)} | row | {"reason": reason})
    return rows


def _interactions(labels: dict[str, Any], thetas: dict[str, float]) -> Rows:
    row = {"p": 0.2, "p_holm": 1.0, "n_examples": 400, "power": 0.3, "claim": "undecided", "reason": ""}
    return [labels | {"language": code, **_ends(t, 2.0), "boot_lo": t - 2, "boot_hi": t + 2} | row for code, t in thetas.items()]


def _scaling(labels: dict[str, Any], verdict: str) -> Rows:
    """The verdict on all three scales, but for non-inferior, which log-odds do not share."""
    rows = []
    for scale in ("points", "headroom", "log_odds"):
        found = "cannot tell" if verdict == "non-inferior" and scale == "log_odds" else verdict
        row = {
            "margin": 1.0,
            "p_superior": 0.01,
            "p_equivalent": 0.2,
            "p_noninferior": 0.01,
            "verdict": found,
            "agrees": verdict != "non-inferior",
        }
        reason = "one seed per arm" if verdict == "refused" else ""
        rows.append(labels | {"group": "all", "scale": scale, **_ends(*SCALING[verdict])} | row | {"reason": reason})
    return rows


@pytest.fixture(scope="session")
def make_analysis() -> Callable[..., tuple[Tables, Story]]:
    """The function that makes synthetic analyses."""
    return make


@pytest.fixture(scope="session")
def small() -> tuple[Tables, Story]:
    """Seven languages, one target, two intermediates: enough of everything for the golden report."""
    return make(languages=7, targets=("kind",))
