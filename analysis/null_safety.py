"""Null safety: how often does a study in which nothing is true claim something?

    python analysis/null_safety.py [--studies 200]

200 studies of 20 languages, two encoders, one intermediate task against none, 3 runs an arm, analysed whole by
`raystilts.stats.analyse`. Runs have an effect that all their languages share and one of their own; examples have a difficulty that
all runs share. Counted are studies with any claim: a gain or loss in any language, a pooled one, a difference between resource levels, any
scaling verdict that is false. The share must be at most 5 % + 2 standard errors. The table is written beside this script: null_safety.md.

Two kinds of null: "no effect" (no arm differs from another in any language) and "zero on average" (arms differ in each language by chance,
so that claims about these very languages are true and only those about languages as a sample are counted).
For equivalence the null is an interaction of exactly the margin, for non-inferiority one of minus the margin: two more kinds of studies.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from raystilts.stats import Contrast, Interaction, Plan, StatsError, analyse

REPORT = Path(__file__).with_suffix(".md")
LANGUAGES = tuple(f"l{i:02}" for i in range(20))
LOW, HIGH = LANGUAGES[:6], LANGUAGES[6:]
CONTRASTS = tuple(
    Contrast(encoder, {"encoder": encoder, "intermediate": "mnli"}, {"encoder": encoder, "intermediate": "none"})
    for encoder in ("base", "large")
)
ALPHA, SEEDS = 0.05, 3


@dataclass(frozen=True)
class Null:
    """A kind of study without effects.

    tau: standard deviation over languages (log-odds) of what an arm is better by. run_sd: of the runs' shared effects.
    interaction: what intermediate training is worth more on the larger encoder (log-odds). counted: the claims that would be false.
    """

    name: str
    counted: tuple[str, ...]
    tau: float = 0.0
    run_sd: float = 0.10
    interaction: float = 0.0
    metric: str = "accuracy"


LANGUAGE_BY_LANGUAGE = ("gains (Holm)", "gains (max-T)", "interactions", "at least k languages")
THESE = ("pooled, these languages", "resource level, these languages", "scaling: superior or inferior")
SAMPLE = ("pooled, languages as a sample", "pooled, a new language", "resource level, languages as a sample")
ALL_CLAIMS = (*LANGUAGE_BY_LANGUAGE, *THESE, *SAMPLE)
NULLS = (
    Null("no effect", ALL_CLAIMS),
    Null("no effect, high seed noise", ALL_CLAIMS, run_sd=0.40),
    Null("no effect, F1", ALL_CLAIMS, metric="micro_f1"),
    Null("zero on average", SAMPLE, tau=0.20),
    Null("interaction at the margin", ("scaling: equivalent",), interaction=0.25, run_sd=0.03),
    Null("interaction at minus the margin", ("scaling: non-inferior", "scaling: equivalent"), interaction=-0.25, run_sd=0.03),
)


def study(rng: np.random.Generator, null: Null, num_languages: int = 20, num_examples: int = 100) -> tuple[pa.Table, pa.Table]:
    """runs and examples of one study."""
    arms = [(encoder, inter) for encoder in ("base", "large") for inter in ("none", "mnli")]
    runs = [{"run_id": f"{e}-{i}-{s}", "encoder": e, "intermediate": i, "seed": s} for e, i in arms for s in range(SEEDS)]
    shape = (len(runs), num_languages, num_examples)
    logit = rng.normal(0.8, 1, (1, *shape[1:])) + rng.normal(0, null.run_sd, (shape[0], 1, 1)) + rng.normal(0, 0.1, (*shape[:2], 1))
    logit = logit + np.repeat(rng.normal(0, null.tau, (len(arms), num_languages, 1)), SEEDS, axis=0)
    logit[-SEEDS:] += null.interaction
    chance = 1 / (1 + np.exp(-logit))
    run, language, example = (x.ravel() for x in np.indices(shape))
    columns: dict[str, Any] = {
        "run_id": pa.DictionaryArray.from_arrays(pa.array(run, pa.int32()), [row["run_id"] for row in runs]),
        "language": pa.DictionaryArray.from_arrays(pa.array(language, pa.int32()), list(LANGUAGES[:num_languages])),
        "example_id": np.char.add(np.char.add(language.astype(str), "-"), example.astype(str)),
    }
    if null.metric == "micro_f1":
        gold = np.broadcast_to(rng.poisson(1.2, (1, *shape[1:])), shape)
        true = rng.binomial(gold, chance)
        spans = {"s0": true, "s1": true + rng.poisson(0.2, shape), "s2": gold}
        columns |= {name: value.ravel().astype(float) for name, value in spans.items()}
    else:
        columns["s0"] = (rng.random(shape) < chance).ravel().astype(float)
    return pa.Table.from_pylist(runs), pa.table(columns)


def plan_of(null: Null, languages: tuple[str, ...], margin: float = 1.0) -> Plan:
    """Two gains, their interaction, two resource levels and a covariate that means nothing."""
    low = languages[: max(3, len(languages) * 3 // 10)]
    return Plan(
        CONTRASTS,
        (Interaction("scales", "large", "base"),),
        metric=null.metric,
        groups={"low": low, "high": tuple(code for code in languages if code not in low)},
        low_group="low",
        covariate={code: float(i) for i, code in enumerate(languages)},
        margin=margin,
        alpha=ALPHA,
        resamples=100,
        collapsed=("all",),
    )


def claims(runs: pa.Table, examples: pa.Table, plan: Plan) -> dict[str, bool]:
    """Which kinds of claims a study makes anywhere in one family: about the gain on the base encoder, or about the interaction."""
    found = analyse(runs, examples, plan)
    gains, interactions, pooled, resource, scaling, counts = (
        getattr(found, name).to_pylist() for name in ("gains", "interactions", "pooled", "resource", "scaling", "partial_conjunction")
    )
    own = [row for row in gains if row["contrast"] == "base"]
    if len(own) != len(plan.groups["low"]) + len(plan.groups["high"]) or any(row["claim"] == "refused" for row in own):
        raise StatsError("a simulated language was refused")

    def made(rows: list[dict[str, Any]], **where: str) -> bool:
        return any(row["claim"] in ("gain", "loss") for row in rows if all(row[key] == value for key, value in where.items()))

    verdicts = {row["verdict"] for row in scaling if row["scale"] == "points" and row["group"] == "all"}
    every = {row["verdict"] for row in scaling}
    return {
        "gains (Holm)": made(own),
        "gains (max-T)": any(row["p_max_t"] <= plan.alpha for row in own),
        "interactions": made(interactions),
        "pooled, these languages": made(pooled, contrast="base", estimand="fixed_languages"),
        "pooled, languages as a sample": made(pooled, contrast="base", estimand="languages_as_sample"),
        "pooled, a new language": made(pooled, contrast="base", estimand="new_language"),
        "at least k languages": any(row["at_least"] for row in counts if row["contrast"] == "base" and row["group"] == "all"),
        "resource level, these languages": made(resource, contrast="base", estimand="fixed_languages"),
        "resource level, languages as a sample": made(resource, contrast="base", estimand="languages_as_sample"),
        "scaling: superior or inferior": bool(every & {"superior", "inferior"}),
        "scaling: equivalent": "equivalent" in verdicts,
        "scaling: non-inferior": "non-inferior" in verdicts,
    }


def margin_of(null: Null) -> float:
    """The true pooled interaction in points, by simulation with many examples: the margin at which it must not be called equivalent."""
    if not null.interaction:
        return 1.0
    rng = np.random.default_rng(0)
    level = rng.normal(0.8, 1, 400_000) + rng.normal(0, np.hypot(null.run_sd, 0.1), 400_000)
    gap = 1 / (1 + np.exp(-level - null.interaction)) - 1 / (1 + np.exp(-level))
    return abs(100 * float(gap.mean()))


def main() -> None:
    """Simulate and write the table."""
    parser = argparse.ArgumentParser(description="Share of null studies with any claim.")
    parser.add_argument("--studies", type=int, default=200)
    options = parser.parse_args()
    start = time.perf_counter()
    allowed = 100 * (ALPHA + 2 * np.sqrt(ALPHA * (1 - ALPHA) / options.studies))
    rows = []
    for null in NULLS:
        plan = plan_of(null, LANGUAGES, margin_of(null))
        rng = np.random.default_rng([0, NULLS.index(null)])
        made = [claims(*study(rng, null), plan) for _ in range(options.studies)]
        for kind in null.counted:
            share = 100 * np.mean([found[kind] for found in made])
            rows.append((null.name, kind, f"{share:.1f}", "yes" if share <= allowed else "NO"))
    lines = [
        "# Null safety",
        "",
        f"Made by `python analysis/null_safety.py --studies {options.studies}`; not edited by hand.",
        "",
        f"{options.studies} studies a row: {len(LANGUAGES)} languages x 100 examples, {SEEDS} runs an arm, two encoders; alpha {ALPHA}.",
        f"Each row: the share of studies that make any such claim; allowed: 5 % + 2 standard errors = {allowed:.1f} %.",
        "",
        *[f"| {' | '.join(cells)} |" for cells in (("studies", "claim", "%", "safe"), ("---",) * 4, *rows)],
        "",
    ]
    REPORT.write_text("\n".join(lines), encoding="utf-8")
    print(f"{REPORT.name} is written ({time.perf_counter() - start:.0f} s).")


if __name__ == "__main__":
    main()
