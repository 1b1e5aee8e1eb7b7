"""Published claims about intermediate training: what each says, where, what a study needs to test it, and what one says that is named.

    python analysis/claims.py [--study FOLDER] [--name LABEL=LEDGER ...] [--margin 1] [--out FILE]

The ledger is raystilts.stats.CLAIMS. FOLDER: a store with a report, or what `raystilts analyse` wrote; --name maps its labels to the
ledger's (big=xlm-roberta-large). Seeds needed rest on how much a run's mean over languages varies from seed to seed: the least, the middle
and the largest of six public sets of zero-shot runs (seed_variance.md, "run sd of the mean"), for other test examples nothing added.
Writes claims.md beside this script; the committed one names no study.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq
from scipy import special

from raystilts import tasks
from raystilts.stats import CLAIMS, Analysis, Claim, judge

DEVIATIONS = (0.18, 0.91, 1.34)
"""Points: XQuAD with XLM-R Base; halfway between XQuAD and WikiANN with XLM-V Base; MasakhaNER with XLM-R Base."""
MOST = 200
REPORT = Path(__file__).with_suffix(".md")


@dataclass(frozen=True)
class Study:
    """The two tables that the ledger reads."""

    pooled: pa.Table
    scores: pa.Table


def read_study(folder: Path) -> Study:
    """The tables of a store's report, or of what `raystilts analyse` wrote."""
    for place in (folder, folder / "tables", folder / "report" / "tables"):
        if (place / "pooled.parquet").is_file():
            return Study(pq.read_table(place / "pooled.parquet"), pq.read_table(place / "scores.parquet"))
    raise SystemExit(f"{folder}: has no pooled.parquet; name a store with a report, or what `raystilts analyse` wrote.")


def quantile(probability: float, df: float) -> float:
    """Of Student's t."""
    return float(special.stdtrit(df, probability))


def half_widths(claim: Claim, deviation: float, seeds: int) -> tuple[float, float]:
    """How far the study's 95 % interval reaches, and how much further its middle lies from the truth at most in 80 % of studies (points).

    Gains compare two arms, scores one arm with a published run, as the ledger judges them.

    >>> [round(x, 2) for x in half_widths(CLAIMS[0], 1.0, 5)]
    [1.46, 0.88]
    """
    if claim.kind == "score":
        df = seeds - 1
        return quantile(0.975, df) * deviation * math.sqrt(1 + 1 / seeds), quantile(0.9, df) * deviation / math.sqrt(seeds)
    df, error = 2 * (seeds - 1), deviation * math.sqrt(2 / seeds)
    return quantile(0.975, df) * error, quantile(0.8 if claim.kind == "no gain" else 0.9, df) * error


def seeds_to_support(claim: Claim, deviation: float, margin: float) -> str:
    """Fewest seeds an arm with which a study supports a claim that is exactly true in 80 of 100 cases.

    >>> seeds_to_support(CLAIMS[0], 0.2, 1.0), seeds_to_support(CLAIMS[0], 100.0, 1.0)
    ('3', '> 200')
    """
    wide = (claim.high - claim.low) / 2
    for seeds in range(2, MOST + 1):
        if sum(half_widths(claim, deviation, seeds)) <= margin + wide:
            return str(seeds)
    return "no number" if claim.kind == "score" and quantile(0.975, 1e9) * deviation >= margin + wide else f"> {MOST}"


def seeds_to_show(effect: float, deviation: float) -> str:
    """Fewest seeds an arm with which a gain of that size is told from none in 80 of 100 studies.

    >>> seeds_to_show(8.2, 0.9), seeds_to_show(0.8, 0.9)
    ('2', '21')
    """
    for seeds in range(2, MOST + 1):
        df, error = 2 * (seeds - 1), deviation * math.sqrt(2 / seeds)
        if (quantile(0.975, df) + quantile(0.8, df)) * error <= abs(effect):
            return str(seeds)
    return f"> {MOST}"


def effect(claim: Claim) -> str:
    """What is claimed, in points."""
    if claim.kind == "no gain":
        return "0 or less"
    value = f"{claim.low:.1f}" if claim.low == claim.high else f"{claim.low:.1f} to {claim.high:.1f}"
    return f"{value} (score)" if claim.kind == "score" else f"+{value}"


def scope(claim: Claim) -> str:
    """The targets and languages that a study needs.

    >>> scope(CLAIMS[-1])
    'xnli in the same 15 languages'
    """
    if not claim.targets:
        return "any targets"
    if claim.languages:
        return f"{', '.join(claim.targets)} in the same {claim.languages} languages"
    return f"all of {', '.join(claim.targets)}: {sum(len(tasks.find(target).languages) for target in claim.targets)} test sets"


def pairs(claims: Iterable[Claim]) -> list[tuple[str, float, str]]:
    """Targets with a published score of both arms: target, gain in points, status.

    >>> pairs(CLAIMS)[0]
    ('xnli', 0.8, 'verified, second-hand')
    """
    by = {
        (claim.targets[0], claim.intermediate): claim for claim in claims if claim.kind == "score" and claim.encoder == "xlm-roberta-large"
    }
    return [
        (target, round(claim.low - by[target, "none"].low, 1), claim.status)
        for (target, intermediate), claim in by.items()
        if intermediate == "best" and (target, "none") in by
    ]


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A Markdown table."""
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]


def verdict(row: Mapping[str, Any]) -> tuple[str, str, str]:
    """What a study says of a claim: verdict, its own number, why."""
    number = "–" if row["theta"] is None else f"{row['theta']:+.2f}"
    if row["lo"] is not None:
        number += f" [{row['lo']:+.2f}, {row['hi']:+.2f}]"
    return row["verdict"], number, row["detail"]


def report(study: Study | None, names: Mapping[str, str], margin: float) -> str:
    """The whole text."""
    judged: dict[str, tuple[str, ...]] = {}
    if study is not None:
        judged = {row["claim"]: verdict(row) for row in judge(cast(Analysis, study), names=names, margin=margin).to_pylist()}
    head = ["claim", "source", "status", "effect", "needs", *(f"seeds, run sd {sd:g}" for sd in DEVIATIONS)]
    rows = []
    for claim in CLAIMS:
        seeds = [seeds_to_support(claim, deviation, margin) for deviation in DEVIATIONS]
        rows.append([claim.sentence, claim.source, claim.status, effect(claim), scope(claim), *seeds, *judged.get(claim.name, ())])
    found = pairs(CLAIMS)
    deviations = f"{DEVIATIONS[0]:g}, {DEVIATIONS[1]:g} or {DEVIATIONS[2]:g}"
    chance = [1.96 * math.sqrt(2) * sd for sd in DEVIATIONS]
    larger = [sum(abs(gain) > limit for _, gain, _ in found) for limit in chance]
    lines = [
        "# Published claims about intermediate training",
        "",
        "Made by `python analysis/claims.py`, whose first lines say from what; not edited by hand. Points.",
        "",
        "Seeds: the fewest an arm with which a study would support the claim in 80 of 100 cases if it were exactly true, that is, put",
        f"its whole 95 % interval within {margin:g} of it. They depend on how much a run's mean over languages varies, examples being the",
        f"same: standard deviation {deviations}, the least, the middle and the largest of public zero-shot runs (`seed_variance.md`).",
        "Errors of several targets are added as if fully dependent, as the ledger does. A published score is one run's: where runs vary",
        "too much, no number of seeds tells whether it can be had again.",
        "",
        *table([*head, *(("verdict", "this study", "why") if judged else ())], rows),
        "",
        "## The gains behind the best row",
        "",
        "Score with the best intermediate task minus score without, by target; how many seeds an arm would tell such a gain from none in",
        "80 of 100 studies.",
        "",
        *table(
            ("target", "gain", "status", *(f"seeds, run sd {sd:g}" for sd in DEVIATIONS)),
            ([target, f"{gain:+.1f}", status, *(seeds_to_show(gain, sd) for sd in DEVIATIONS)] for target, gain, status in found),
        ),
        "",
        "Were each of these numbers the score of one run, chance alone would make two equal arms differ by up to",
        f"{chance[0]:.1f}, {chance[1]:.1f} or {chance[2]:.1f} points (95 %): {larger[0]}, {larger[1]} and {larger[2]} of the {len(found)} "
        "are larger.",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    """Write the ledger."""
    parser = argparse.ArgumentParser(description="The ledger of published claims.")
    parser.add_argument("--study", type=Path, metavar="FOLDER", help="a store with a report, or what `raystilts analyse` wrote")
    parser.add_argument("--name", action="append", default=[], metavar="LABEL=LEDGER", help="what the ledger calls a label of the study")
    parser.add_argument("--margin", type=float, default=1.0)
    parser.add_argument("--out", type=Path, default=REPORT)
    options = parser.parse_args()
    if wrong := [name for name in options.name if "=" not in name]:
        parser.error(f"--name {wrong[0]}: write LABEL=LEDGER, such as big=xlm-roberta-large")
    names = dict(name.split("=", 1) for name in options.name)
    study = read_study(options.study) if options.study else None
    options.out.write_text(report(study, names, options.margin), encoding="utf-8")
    print(f"{options.out} is written.")


if __name__ == "__main__":
    main()
