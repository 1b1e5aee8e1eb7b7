"""Seeds in looks: does adding seeds until a family is decided keep the family-wise error, and how many runs does it save?

    python analysis/sequential.py [--replications 1000]

Two kinds of families are simulated (accuracy, two-way logistic model: runs have an effect that their languages share and one of their own,
examples a difficulty that runs share). "languages": one contrast in 8 languages of 150 examples; its runs stop when the last language is
decided. "intermediates": the gains of 6 intermediate tasks, pooled over 4 languages of 500 examples, against one shared baseline; each
task's runs stop when it is decided. Looks at 3, 5, 8 and 12 seeds. The table is written beside this script: sequential.md.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from raystilts.stats import Cell, Estimate, estimate, holm, looks, moments, next_seeds, review
from raystilts.stats.sequential import SEEDS, Look, Status

Floats = npt.NDArray[np.float64]
REPORT = Path(__file__).with_suffix(".md")
ALPHA, MARGIN = 0.05, 2.0
DESIGNS = ("fixed 12", "looks, pocock", "looks, obrien-fleming", "looks, pocock, margin", "peeking at 5 %", "fixed 3")
RUN_SD, OWN_SD, EXAMPLE_SD, LEVEL = 0.03, 0.03, 1.0, 0.8
"""Log-odds: about 0.6 points between runs of a language, as in real MasakhaNER runs; 3 in 4 examples are right."""


@dataclass(frozen=True)
class Family:
    """A kind of family: number of arms beside the baseline, languages, and what a hypothesis is about."""

    kind: str
    arms: int
    languages: int
    examples: int

    @property
    def hypotheses(self) -> int:
        """Its size."""
        return self.languages if self.kind == "languages" else self.arms


FAMILIES = (Family("languages", 1, 8, 150), Family("intermediates", 6, 4, 500))
EFFECTS: dict[str, Callable[[int], Floats]] = {
    "none": np.zeros,
    "a third of them large": lambda size: np.where(np.arange(size) < round(size / 3), 1.0, 0.0),
    "all medium": lambda size: np.full(size, 0.5),
    "all large": lambda size: np.full(size, 1.0),
}
"""True gains as shares of the large one (log-odds, GAIN)."""
GAIN = {"languages": 0.75, "intermediates": 0.18}


def draw(rng: np.random.Generator, family: Family, effects: Floats) -> npt.NDArray[np.int8]:
    """(1 + arms, languages, 12, examples) of right and wrong answers; arm 0 is the baseline."""
    arms, number = family.arms + 1, SEEDS[-1]
    shift = np.zeros((arms, family.languages))
    if family.kind == "languages":
        shift[1] = GAIN[family.kind] * effects
    else:
        shift[1:] = GAIN[family.kind] * effects[:, None]
    logits = LEVEL + rng.normal(0, EXAMPLE_SD, (1, family.languages, 1, family.examples)) + shift[:, :, None, None]
    logits = logits + rng.normal(0, RUN_SD, (arms, 1, number, 1)) + rng.normal(0, OWN_SD, (arms, family.languages, number, 1))
    return (rng.random(logits.shape) < 1 / (1 + np.exp(-logits))).astype(np.int8)


def estimates(data: npt.NDArray[np.int8], family: Family, used: Sequence[int]) -> list[Estimate]:
    """The two-way estimates of a family with `used` runs in each arm (the baseline's first)."""
    cells = []
    for arm, size in enumerate(used):
        for language in range(family.languages):
            right = data[arm, language, :size].astype(np.float64)
            score = right.mean(axis=1)
            influence = 100 * (right - score[:, None]) / family.examples
            clusters = np.arange(family.examples) + language * family.examples
            cells.append(Cell(100 * score, influence, clusters, np.arange(size) + 100 * arm))
    found = moments(cells)
    result = []
    for i in range(family.hypotheses):
        w = np.zeros(len(cells))
        if family.kind == "languages":
            w[family.languages + i], w[i] = 1.0, -1.0
        else:
            w[: family.languages] = -1 / family.languages
            w[(i + 1) * family.languages : (i + 2) * family.languages] = 1 / family.languages
        result.append(estimate(found, w))
    return result


def play(of: Callable[[Sequence[int]], list[Estimate]], family: Family, design: str) -> tuple[list[Status], int]:
    """Final statuses and the runs that were made in all arms; `of` gives the estimates for the number of runs in each arm."""
    if design.startswith("fixed"):
        size = int(design.split()[1])
        found = of([size] * (family.arms + 1))
        corrected = holm([e.p() for e in found])
        pairs = zip(found, corrected, strict=True)
        claims: list[Status] = [("gain" if e.theta > 0 else "loss") if p <= ALPHA else "open" for e, p in pairs]
        return claims, size * (family.arms + 1)
    plan = looks(SEEDS, ALPHA, "obrien-fleming" if "fleming" in design else "pocock")
    if design.startswith("peeking"):
        plan = tuple(Look(look.seeds, ALPHA, ALPHA) for look in plan)
    status: list[Status] = ["open"] * family.hypotheses
    used = [plan[0].seeds] * (family.arms + 1)
    for look in plan:
        status = review(of(used), look, status, MARGIN if design.endswith("margin") else None)
        later = next_seeds(status, plan, look)
        if later is None:
            break
        # An arm goes on while a hypothesis about it is open; the baseline is in all of them.
        still = [family.kind == "languages" or status[i] == "open" for i in range(family.arms)]
        used = [later, *(later if on else size for on, size in zip(still, used[1:], strict=True))]
    return status, sum(used)


def remembered(data: npt.NDArray[np.int8], family: Family) -> Callable[[Sequence[int]], list[Estimate]]:
    """`estimates` of one study, each computed once: the designs share most of them."""
    known: dict[tuple[int, ...], list[Estimate]] = {}

    def of(used: Sequence[int]) -> list[Estimate]:
        if tuple(used) not in known:
            known[tuple(used)] = estimates(data, family, used)
        return known[tuple(used)]

    return of


def simulate(family: Family, effect: str, replications: int, seed: int) -> list[dict[str, str]]:
    """One row per design."""
    shares = EFFECTS[effect](family.hypotheses)
    false, power, runs = ({design: np.zeros(replications) for design in DESIGNS} for _ in range(3))
    rng = np.random.default_rng([seed, FAMILIES.index(family), list(EFFECTS).index(effect)])
    for replication in range(replications):
        data = draw(rng, family, shares)
        of = remembered(data, family)
        for design in DESIGNS:
            status, number = play(of, family, design)
            # A loss where there is a gain is a false claim as well.
            wrong = [(s == "gain" and e <= 0) or s == "loss" for s, e in zip(status, shares, strict=True)]
            right = [s == "gain" for s, e in zip(status, shares, strict=True) if e > 0]
            false[design][replication] = any(wrong)
            power[design][replication] = np.mean(right) if right else np.nan
            runs[design][replication] = number
    full = runs["fixed 12"].mean()
    return [
        {
            "family": f"{family.kind} ({family.hypotheses})",
            "true gains": effect,
            "design": design,
            "any false claim, %": f"{100 * false[design].mean():.1f}",
            "gains found, %": "–" if np.isnan(power[design]).all() else f"{100 * power[design].mean():.0f}",
            "runs": f"{runs[design].mean():.1f}",
            "runs saved, %": f"{100 * (1 - runs[design].mean() / full):.0f}",
        }
        for design in DESIGNS
    ]


def main() -> None:
    """Simulate and write the table."""
    parser = argparse.ArgumentParser(description="Family-wise error and saving of sequential seeds.")
    parser.add_argument("--replications", type=int, default=1000)
    options = parser.parse_args()
    start = time.perf_counter()
    rows = [row for family in FAMILIES for effect in EFFECTS for row in simulate(family, effect, options.replications, 0)]
    error = 2 * 100 * np.sqrt(0.05 * 0.95 / options.replications)
    lines = [
        "# Seeds in looks",
        "",
        f"Made by `python analysis/sequential.py --replications {options.replications}`; not edited by hand.",
        "",
        f"Looks at {', '.join(map(str, SEEDS))} seeds; alpha {ALPHA}, Holm within a family at the alpha that a look spends.",
        f"{options.replications} studies a cell: two standard errors of 5 % are {error:.1f} points, so a valid design stays below",
        f"{5 + error:.1f} %. Runs: in all arms, with the baseline's. `margin` also stops what is within {MARGIN:g} points of zero.",
        "`peeking` tests every look at the full 5 %, as if it were the only one: it is no valid design.",
        "",
        *[f"| {' | '.join(cells)} |" for cells in (list(rows[0]), ["---"] * len(rows[0]), *(list(row.values()) for row in rows))],
        "",
    ]
    REPORT.write_text("\n".join(lines), encoding="utf-8")
    print(f"{REPORT.name} is written ({time.perf_counter() - start:.0f} s).")


if __name__ == "__main__":
    main()
