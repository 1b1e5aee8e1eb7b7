"""How many seeds does this field need? Where the noise of a gain comes from, and what more seeds or more test examples would show.

    python analysis/seed_variance.py FOLDER [--plan plan.toml] [--masakhaner DIR] [--xlm-v DIR] [--out PREFIX]

FOLDER: a store with a report, what `raystilts analyse` wrote, or tables for it (runs.parquet, examples.parquet, plan.toml). Two folders of
public scores per seed may be added (public_scores.py): checkouts of github.com/masakhane-io/masakhane-ner, F1 of seven encoders that were
trained in each of 19 African languages, and of github.com/stefan-it/xlm-v-experiments, zero-shot from English WikiANN and SQuAD. Writes
PREFIX.md and PREFIX.svg; the committed ones are made of the released predictions on MasakhaNER 2.0 and of both checkouts:

    python analysis/masakhaner_base_to_large.py ../shared/data/masakhaner2 --tables TABLES
    python analysis/seed_variance.py TABLES --masakhaner DIR --xlm-v DIR
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
from figure import BLUE, GREY, ORANGE, RED, save
from matplotlib.figure import Figure
from public_scores import SHOWN, Score, masakhaner_scores, score_rows, xlm_v_scores

from raystilts.planfile import read_plan
from raystilts.stats import Estimate, analyse, detectable_effect, seeds_needed, with_seeds

Floats = npt.NDArray[np.float64]
Rows = list[dict[str, Any]]
SEEDS = (2, 3, 5, 8, 12, 20, 50)
MORE = {1.0: "these examples", 4.0: "4 x the examples", math.inf: "no end of examples"}
COLOURS = (BLUE, ORANGE, RED)


@dataclass(frozen=True)
class Noise:
    """Variances of one gain in one language, points squared.

    runs: of each trained arm's mean over its `units` runs. both: what runs and examples add together. example: examples alone.
    """

    runs: tuple[float, ...]
    units: tuple[int, ...]
    both: float
    example: float
    size: int

    def estimate(self, more: float = 1.0) -> Estimate:
        """The two-way estimate that `more` times the examples would give.

        >>> noise = Noise((1.0, 1.0), (5, 5), 0.5, 4.0, 100)
        >>> noise.estimate().v, noise.estimate(4).v, noise.estimate(math.inf).v
        (6.5, 3.125, 2.0)
        """
        both, example = self.both / more, self.example / more
        shares = [1 / units for units in self.units]
        parts = tuple((run + both * share / sum(shares), units) for run, units, share in zip(self.runs, self.units, shares, strict=True))
        seeds = sum(part for part, _ in parts)
        spread = sum(part**2 / (units - 1) for part, units in parts)
        df_example = self.size * more - 1 if math.isfinite(more) else 1.0
        v = seeds + example
        df = v**2 / (spread + example**2 / df_example) if spread + example else 1.0
        return Estimate(0.0, v, df, seeds, example + both, both, df_example, parts)

    def detectable(self, seeds: Sequence[int] = SEEDS, more: float = 1.0) -> Floats:
        """Gains (points) that would be found with 80 % power, for numbers of seeds in each trained arm."""
        return detectable_effect(*with_seeds(self.estimate(more), np.array(seeds)))


def noise_of(gain: Mapping[str, Any], components: Mapping[str, float]) -> Noise:
    """Noise from a row of gains and its components of variance; an arm of one run was not trained."""
    sides = [(components[f"seed_{side}"], int(gain[f"runs_{side}"])) for side in ("plus", "minus")]
    trained = [(variance, units) for variance, units in sides if units > 1]
    # Where runs differ less than examples make them differ, their own variance is cut at zero and all of theirs is shared with examples.
    both = max(gain["v_seed"] - sum(variance for variance, _ in trained), 0.0)
    return Noise(tuple(v for v, _ in trained), tuple(u for _, u in trained), both, components["example"], int(gain["n_clusters"]))


@dataclass(frozen=True)
class Group:
    """The gains of one target and encoder under one policy: their noise by language, and the spread of the true gains over languages."""

    name: str
    policy: str
    noise: tuple[Noise, ...]
    taus: tuple[float, ...]


def groups(gains: Rows, variance: Rows, pooled: Rows) -> list[Group]:
    """Groups in the order of the tables; refused gains are left out."""
    parts: dict[tuple[str, str, str], dict[str, float]] = {}
    for row in variance:
        parts.setdefault((row["policy"], row["contrast"], row["language"]), {})[row["component"]] = row["variance"]
    found: dict[tuple[str, str], list[Noise]] = {}
    contrasts: dict[str, str] = {}
    for row in gains:
        key = (row["policy"], row["contrast"], row["language"])
        if key in parts and max(row["runs_plus"], row["runs_minus"]) > 1:
            name = ", ".join(str(row[label]) for label in ("target", "encoder") if row.get(label)) or row["contrast"]
            contrasts[row["contrast"]] = name
            found.setdefault((name, row["policy"]), []).append(noise_of(row, parts[key]))
    taus: dict[tuple[str, str], list[float]] = {}
    for row in pooled:
        known = row["estimand"] == "languages_as_sample" and row["group"] == "all" and row["tau"] is not None
        if known and row["contrast"] in contrasts:
            taus.setdefault((contrasts[row["contrast"]], row["policy"]), []).append(row["tau"])
    return [Group(name, policy, tuple(noise), tuple(taus.get((name, policy), ()))) for (name, policy), noise in found.items()]


def read_groups(folder: Path, plan_file: Path | None) -> list[Group]:
    """Groups of a store's report, of what `raystilts analyse` wrote, or of tables for it."""
    for place in (folder, folder / "tables", folder / "report" / "tables"):
        if (place / "gains.parquet").is_file():
            return groups(*(pq.read_table(place / f"{name}.parquet").to_pylist() for name in ("gains", "variance", "pooled")))
    plan = replace(read_plan(plan_file or folder / "plan.toml"), resamples=100)
    found = analyse(pq.read_table(folder / "runs.parquet"), folder / "examples.parquet", plan)
    return groups(found.gains.to_pylist(), found.variance.to_pylist(), found.pooled.to_pylist())


def middle(values: Iterable[float]) -> float:
    """The median."""
    return float(median(values))


def spread(group: Group) -> list[str]:
    """A row on where the noise of a group's gains comes from, medians over gains."""
    deviations = [math.sqrt(run * units) for noise in group.noise for run, units in zip(noise.runs, noise.units, strict=True)]
    shares = []
    for noise in group.noise:
        parts = np.array([sum(noise.runs), noise.example, noise.both])
        shares.append(100 * parts / parts.sum())
    units = sorted({unit for noise in group.noise for unit in noise.units})
    return [
        group.name,
        group.policy,
        str(len(group.noise)),
        f"{units[0]}" if len(units) == 1 else f"{units[0]} to {units[-1]}",
        f"{middle(noise.size for noise in group.noise):,.0f}",
        f"{math.sqrt(float(np.mean(np.square(deviations)))):.2f}",
        f"{middle(deviations):.2f}",
        f"{max(deviations):.2f}",
        f"{middle(math.sqrt(noise.example) for noise in group.noise):.2f}",
        *(f"{middle(share[i] for share in shares):.0f}" for i in range(3)),
        f"{middle(group.taus):.2f}" if group.taus else "–",
    ]


def curves(group: Group) -> dict[float, Floats]:
    """Examples (as a multiple) -> detectable gain by SEEDS, medians over the group's gains."""
    return {more: np.median([noise.detectable(SEEDS, more) for noise in group.noise], axis=0) for more in MORE}


def needed(group: Group, margin: float) -> Iterator[list[str]]:
    """Rows on the seeds that find a gain of `margin` points, with these examples, with more of them."""
    for more, what in MORE.items():
        found = [seeds_needed(noise.estimate(more), margin)[0] for noise in group.noise]
        enough = [number for number in found if number is not None]
        share = f"{len(enough)} of {len(found)}"
        yield [
            group.name,
            group.policy,
            what,
            *(f"{x:.2f}" for x in curves(group)[more]),
            share,
            f"{middle(enough):.0f}" if enough else "–",
        ]


def draw(found: Sequence[Group], margin: float) -> Figure:
    """Detectable gain against seeds, a panel per group: these examples, more of them, no end of them."""
    across = min(4, len(found))
    down = math.ceil(len(found) / across)
    figure = Figure(figsize=(max(3.2 * across, 4.2), 2.7 * down + 0.5), layout="constrained")
    axes = np.atleast_1d(figure.subplots(down, across, sharex=True, squeeze=False)).ravel()
    for group, ax in zip(found, axes, strict=False):
        for (more, line), colour in zip(curves(group).items(), COLOURS, strict=True):
            ax.plot(SEEDS, line, color=colour, marker="o", markersize=3, label=MORE[more])
        ax.axhline(margin, color=GREY, linestyle=":", linewidth=1)
        ax.set_title(f"{group.name} ({group.policy})", fontsize=8)
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.set_xticks(SEEDS, [str(seed) for seed in SEEDS])
        ticks = [0.2, 0.5, 1, 2, 5, 10, 20, 50, 100]
        ax.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
        ax.minorticks_off()
        lines = [value for line in curves(group).values() for value in line if value > 0]
        if lines:
            ax.set_ylim(min(lines) / 1.3, max(lines) * 1.3)
        ax.set_xlabel("seeds in each arm")
        ax.set_ylabel("detectable gain, points")
    for ax in axes[len(found) :]:
        ax.remove()
    axes[0].legend(fontsize=7, frameon=False)
    return figure


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A Markdown table."""
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]


def report(found: Sequence[Group], scores: Sequence[Score], margin: float, figure: str) -> str:
    """The whole text."""
    lines = [
        "# How many seeds does this field need?",
        "",
        "Made by `python analysis/seed_variance.py`, whose first lines say from what; not edited by hand. Points; two-sided 5 %, 80 %",
        f"power, one comparison, before any correction for several; smallest effect of interest: {margin:g}.",
        "",
        "## Where the noise of a gain comes from",
        "",
        "Medians over gains. run sd: standard deviation between seeds of one arm, without what finite test sets add: root mean square,",
        "median and largest over arms. example se: what these examples alone leave open. Shares of a gain's variance: runs, examples,",
        "both together. tau: how much true gains differ between languages.",
        "",
        *table(
            (
                "gains of",
                "runs",
                "gains",
                "seeds",
                "examples",
                "run sd",
                "median",
                "largest",
                "example se",
                "runs %",
                "examples %",
                "both %",
                "tau",
            ),
            map(spread, found),
        ),
        "",
        "## What would be found",
        "",
        f"Median detectable gain by seeds in each arm; in how many gains some number of seeds finds {margin:g}, that number (median).",
        "With two or three seeds more examples do not help: what is then not known is how much seeds differ.",
        "",
        f"![Detectable gain against seeds]({figure})",
        "",
        *table(
            ("gains of", "runs", "with", *(f"{seed} seeds" for seed in SEEDS), f"{margin:g} within reach", "seeds"),
            (row for group in found for row in needed(group, margin)),
        ),
        "",
    ]
    if scores:
        lines += [
            "## Public scores per seed",
            "",
            "On exactly these test sets: what other examples would add is not in a score. run sd: between seeds, in one language (pooled",
            "over languages, with the largest) and of the mean over all languages. Detectable: between two arms alike, in one language.",
            "Runs that scored exactly zero learned nothing: they are counted and left out. seeds: how many an arm needs for a",
            f"difference of {margin:g} in one language, and in the mean over the languages.",
            "",
            *table(
                (
                    *("scores", "encoder", "languages", "runs", "zero", "score", "run sd", "largest", "run sd of the mean"),
                    *(f"{seed} seeds" for seed in SHOWN),
                    *("seeds, one language", "seeds, the mean"),
                ),
                score_rows(scores, margin),
            ),
            "",
        ]
    return "\n".join(lines)


def main() -> None:
    """Write the text and the figure."""
    parser = argparse.ArgumentParser(description="How many seeds a field needs.")
    parser.add_argument("folder", type=Path, help="a store with a report, a folder that `raystilts analyse` wrote, or tables for it")
    parser.add_argument("--plan", type=Path, help="of the tables (default: plan.toml in the folder)")
    parser.add_argument("--masakhaner", type=Path, metavar="DIR", help="checkout of masakhane-io/masakhane-ner")
    parser.add_argument("--xlm-v", type=Path, metavar="DIR", help="checkout of stefan-it/xlm-v-experiments")
    parser.add_argument("--margin", type=float, default=1.0, help="smallest effect of interest, points")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(""))
    options = parser.parse_args()
    found = read_groups(options.folder, options.plan)
    if not found:
        raise SystemExit(f"{options.folder}: no gain has an estimate, so that nothing can be said about its noise.")
    scores = [
        *(masakhaner_scores(options.masakhaner) if options.masakhaner else ()),
        *(xlm_v_scores(options.xlm_v) if options.xlm_v else ()),
    ]
    figure = options.out.with_name(f"{options.out.name}.svg")
    save(draw(found, options.margin), figure)
    options.out.with_name(f"{options.out.name}.md").write_text(report(found, scores, options.margin, figure.name), encoding="utf-8")
    print(f"{options.out}.md and .svg are written.")


if __name__ == "__main__":
    main()
