"""In studies of full size whose truth is known: how often is something claimed that is not there, and how much of what is there is found?

    python analysis/synthetic_claims.py [--scale full] [--studies 40] [--first 0]

Each study is one of synthetic_study.py with a generator seed of its own, analysed as `raystilts analyse` does (groups and covariate from
the package's list of languages), with few resamples, since no claim rests on the bootstrap. A claim is false where the truth is zero or
has the other sign. A family is what the plan corrects together: all languages, intermediate tasks and encoders of a target; pooled gains,
interactions, resource levels and scaling verdicts are families of their own. Writes synthetic_study.md beside this script.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import log10
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from synthetic_study import EFFECTS, ENCODERS, SCALES, contrast_name, is_low, write_study

from raystilts import languages
from raystilts.planfile import read_plan
from raystilts.stats import Plan, analyse, clopper_pearson

REPORT = Path(__file__).with_name("synthetic_study.md")
TABLES = ("gains", "interactions", "pooled", "resource", "scaling", "partial_conjunction", "findings")
NOTHING = 1e-9


@dataclass(frozen=True)
class Judged:
    """One row of a table beside the truth (points; for "at least k" the number of languages). said: the claim, or the number."""

    kind: str
    policy: str
    target: str
    contrast: str
    where: str
    truth: float
    said: str
    wrong: bool

    @property
    def found(self) -> bool:
        """Whether an effect that is there is claimed, with its sign."""
        return (self.truth > NOTHING and self.said == "gain") or (self.truth < -NOTHING and self.said == "loss")

    @property
    def family(self) -> tuple[str, str, str]:
        """What was corrected together."""
        return self.kind, self.policy, self.target


def false_claim(said: str, truth: float, margin: float) -> bool:
    """Whether a claim is contradicted by the truth, points.

    >>> [false_claim("gain", x, 1.0) for x in (0.0, 2.0, -2.0)], false_claim("equivalent", 0.5, 1.0), false_claim("undecided", 0.0, 1.0)
    ([True, False, True], False, False)
    """
    against = {
        "gain": truth <= NOTHING,
        "superior": truth <= NOTHING,
        "loss": truth >= -NOTHING,
        "inferior": truth >= -NOTHING,
        "equivalent": abs(truth) >= margin,
        "non-inferior": truth <= -margin,
    }
    return against.get(said, False)


def slope(gains: Mapping[str, float]) -> float:
    """Least-squares slope of gains on the logarithm of the megabytes of CC-100.

    >>> round(slope({"de": 1.0, "sw": 2.0, "yo": 3.0}), 2)
    -0.47
    """
    x = np.array([log10(languages.find(code).cc100_mb or 1.0) for code in gains])
    y = np.array(list(gains.values()))
    centred = x - x.mean()
    return float(centred @ y / (centred @ centred))


def true_gains(truth: Mapping[str, Any], contrast: str) -> dict[str, float]:
    """The true gain, or difference of gains, of a contrast or interaction in every language of its target."""
    inner, _, side = contrast.partition(": ")
    intermediate, _, rest = inner.partition(" > ")
    target = rest.partition(",")[0]
    by_language = {}
    for code in truth["languages"][target]:
        parts = [contrast] if not side else [contrast_name(encoder, intermediate, target) for encoder in ("large", "base")]
        values = [truth["gains"].get(part, {}).get(code, 0.0) for part in parts]
        by_language[code] = values[0] - (values[1] if side else 0.0)
    return by_language


def in_group(gains: Mapping[str, float], group: str) -> list[float]:
    """Gains of the languages of a group: all, low or high."""
    return [gain for code, gain in gains.items() if group == "all" or is_low(code) == (group == "low")]


def judged(tables: Mapping[str, pa.Table], truth: Mapping[str, Any], margin: float = 1.0) -> Iterator[Judged]:
    """Every row of the tables that claims or could have claimed something, beside the truth."""
    for kind in ("gains", "interactions"):
        for row in tables[kind].to_pylist():
            value = true_gains(truth, row["contrast"])[row["language"]]
            yield _judged(kind, row, row["language"], value, row["claim"], margin)
    for row in tables["pooled"].to_pylist():
        value = float(np.mean(in_group(true_gains(truth, row["contrast"]), row["group"]) or [0.0]))
        yield _judged(f"pooled, {row['estimand']}", row, row["group"], value, row["claim"], margin)
    for row in tables["resource"].to_pylist():
        gains = true_gains(truth, row["contrast"])
        low, high = (float(np.mean(in_group(gains, level) or [0.0])) for level in ("low", "high"))
        value = slope(gains) if row["comparison"].startswith("slope") else low - high
        yield _judged(f"resource level, {row['estimand']}", row, row["comparison"], value, row["claim"], margin)
    for row in tables["scaling"].to_pylist():
        gains = true_gains(truth, row["contrast"])
        contrasts = [row["contrast"].partition(": ")[0] + f", {encoder}" for encoder in ENCODERS]
        # Gains that are equal in points differ on other scales: there only a pair without any gain is known to be zero.
        if row["scale"] == "points" or not any(truth["gains"].get(name) for name in contrasts):
            value = float(np.mean(in_group(gains, row["group"]) or [0.0]))
            said = {"superior": "gain", "inferior": "loss"}.get(row["verdict"], row["verdict"])
            yield _judged(f"scaling, {row['scale']}", row, row["group"], value, said, row["margin"] or margin)
    for row in tables["partial_conjunction"].to_pylist():
        values = in_group(true_gains(truth, row["contrast"]), row["group"])
        for column, sign in (("at_least", 1), ("at_least_losses", -1)):
            number = sum(sign * value > NOTHING for value in values)
            said = row[column] or 0
            label = f"{column} {row['group']}"
            kind = f"at least k languages, {'interactions' if ': ' in row['contrast'] else 'gains'}"
            yield Judged(kind, row["policy"], row["target"], row["contrast"], label, number, str(said), said > number)


def _judged(kind: str, row: Mapping[str, Any], where: str, truth: float, said: str, margin: float) -> Judged:
    return Judged(kind, row["policy"], row["target"], row["contrast"], where, truth, said, false_claim(said, truth, margin))


def with_levels(plan: Plan, codes: Iterable[str]) -> Plan:
    """Groups and covariate as `raystilts analyse` makes them of the package's list of languages."""
    known = sorted(set(codes))
    groups = {level: tuple(code for code in known if is_low(code) == (level == "low")) for level in ("low", "high")}
    covariate = {code: log10(mb) for code in known if (mb := languages.find(code).cc100_mb)}
    return replace(plan, groups=groups, low_group="low", covariate=covariate)


def one_study(scale: str, seed: int, seeds: int, resamples: int) -> tuple[list[Judged], bool]:
    """A study's rows beside the truth, and whether exactly the planted run was found to have collapsed."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_study(folder, SCALES[scale], seeds, seed)
        truth = json.loads((folder / "truth.json").read_text(encoding="utf-8"))
        plan = replace(read_plan(folder / "plan.toml"), resamples=resamples)
        plan = with_levels(plan, (code for codes in truth["languages"].values() for code in codes))
        found = analyse(pq.read_table(folder / "tables" / "runs.parquet"), folder / "tables" / "examples.parquet", plan)
        tables = {name: getattr(found, name) for name in TABLES}
    return list(judged(tables, truth)), collapsed(tables["findings"]) == truth["collapsed"]


def collapsed(findings: pa.Table) -> list[str]:
    """The runs that a table of findings says have collapsed."""
    rows = [row for row in findings.to_pylist() if row["kind"] == "collapsed" and row["severity"] == "warning"]
    return sorted(run for row in rows for run in row["run_ids"])


def false_rates(studies: Sequence[Sequence[Judged]]) -> list[tuple[str, ...]]:
    """Per kind of claim and policy: families, those with a false claim, their share with its exact interval, false rows, studies."""
    rows: list[tuple[str, ...]] = []
    for kind, policy in dict.fromkeys((row.kind, row.policy) for study in studies for row in study):
        mine = [[row for row in study if (row.kind, row.policy) == (kind, policy)] for study in studies]
        families = sum(len({row.family for row in study}) for study in mine)
        bad = sum(len({row.family for row in study if row.wrong}) for study in mine)
        low, high = clopper_pearson(bad, families)
        share = f"{100 * bad / families:.2f} [{100 * low:.2f}, {100 * high:.2f}]"
        wrong = sum(row.wrong for study in mine for row in study)
        any_wrong = sum(any(row.wrong for row in study) for study in mine)
        rows.append((kind, policy, f"{families:,}", str(bad), share, str(wrong), f"{any_wrong} of {len(studies)}"))
    return rows


def found_rates(studies: Sequence[Sequence[Judged]]) -> list[tuple[str, ...]]:
    """Per planted effect, target and encoder: how many of its languages and pooled claims are found, all runs."""
    rows: list[tuple[str, ...]] = []
    for effect in EFFECTS:
        for target in effect.targets:
            group = effect.level or "all"
            for encoder in effect.encoders:
                name = contrast_name(encoder, effect.intermediate, target)
                mine = [row for study in studies for row in study if (row.policy, row.contrast) == ("all", name)]
                if mine:
                    rows.append((effect.name, f"{effect.intermediate} > {target}, {encoder}", f"{effect.gain:+g}", *_found(mine, group)))
            if len(effect.encoders) == 1:
                name = f"{effect.intermediate} > {target}: large - base"
                mine = [row for study in studies for row in study if (row.policy, row.contrast) == ("all", name)]
                if mine:
                    rows.append((effect.name, name, f"{effect.gain:+g}", *_found(mine, group)))
    return rows


def _found(rows: Sequence[Judged], group: str) -> Iterator[str]:
    """Languages, pooled over these languages, pooled over languages as a sample: found of those that are there and not refused."""
    chosen = (
        [row for row in rows if row.kind in ("gains", "interactions") and abs(row.truth) > NOTHING],
        [row for row in rows if row.kind == "pooled, fixed_languages" and row.where == group],
        [row for row in rows if row.kind == "pooled, languages_as_sample" and row.where == group],
    )
    for mine in chosen:
        asked = [row for row in mine if row.said != "refused"]
        yield f"{sum(row.found for row in asked)} of {len(asked)}" if asked else "refused: too few languages"


def report(studies: Sequence[Sequence[Judged]], collapses: Sequence[bool], scale: str, first: int, resamples: int) -> str:
    """The whole text."""
    size, last = SCALES[scale], first + len(studies) - 1
    command = f"python analysis/synthetic_claims.py --scale {scale} --studies {len(studies)} --first {first} --resamples {resamples}"
    lines = [
        "# What is claimed of synthetic studies whose truth is known",
        "",
        f"Made by `{command}`; not edited by hand.",
        "",
        f"{len(studies)} studies (generator seeds {first} to {last}) of `analysis/synthetic_study.py`: 2 encoders x (none +",
        f"{len(size.intermediates)} intermediate tasks) x {len(size.targets)} targets x 5 seeds, {size.examples} examples a language; one",
        "family per target, Holm at 5 %. Planted are the effects below and one collapsed run; everything else is exactly zero.",
        f"The collapsed run, and no other, was found in {sum(collapses)} of {len(collapses)}.",
        "",
        "## Claims of what is not there",
        "",
        "A family is a target. False: the truth is zero or has the other sign. Share: families with any false claim, %, with its exact",
        "95 % interval; allowed are 5 %.",
        "",
        *table(("claim", "runs", "families", "with a false claim", "share, %", "false rows", "studies with any"), false_rates(studies)),
        "",
        "## Planted effects that were found (all runs)",
        "",
        "Languages: found of those in which the effect is, over all studies, after correction over the target's family.",
        "",
        *table(
            ("effect", "contrast", "points", "languages", "pooled, these languages", "pooled, languages as a sample"), found_rates(studies)
        ),
        "",
    ]
    return "\n".join(lines)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A Markdown table."""
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]


def main() -> None:
    """Simulate, analyse, write the report."""
    parser = argparse.ArgumentParser(description="False and true claims of synthetic studies with planted effects.")
    parser.add_argument("--scale", choices=tuple(SCALES), default="full")
    parser.add_argument("--studies", type=int, default=40)
    parser.add_argument("--first", type=int, default=0, help="generator seed of the first study")
    parser.add_argument("--resamples", type=int, default=100)
    parser.add_argument("--out", type=Path, default=REPORT)
    options = parser.parse_args()
    start = time.perf_counter()
    studies, collapses = [], []
    for seed in range(options.first, options.first + options.studies):
        rows, found = one_study(options.scale, seed, 5, options.resamples)
        studies.append(rows)
        collapses.append(found)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        wrong = sorted({row.family for row in rows if row.wrong})
        print(f"{time.perf_counter() - start:6.0f} s  study {seed}: {len(wrong)} false families, peak memory {memory:.0f} MiB", flush=True)
        # Written after every study: a run that is cut short leaves what its shorter command would have written.
        options.out.write_text(report(studies, collapses, options.scale, options.first, options.resamples), encoding="utf-8")


if __name__ == "__main__":
    main()
