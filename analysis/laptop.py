"""Takes over the report of experiments/laptop.py into analysis/laptop/, and writes and checks the text about it.

    python analysis/laptop.py runs/laptop/report     # copies report.md, tables and figures, and writes README.md
    python analysis/laptop.py                        # exits with 1 where README.md or report.md shows another number than the tables

Imports nothing of raystilts. Every number in README.md is computed here from the tables that lie beside it.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, median

from check_report import check, table, told

FOLDER = Path(__file__).with_name("laptop")
Row = dict[str, str]
NONE = "none"
WORDS = {"gain": "gain", "loss": "loss", "undecided": "cannot tell", "refused": "refused"}


def points(row: Row) -> str:
    """A pooled estimate with its interval."""
    return f"{float(row['theta']):+.2f} [{float(row['lo']):+.2f}, {float(row['hi']):+.2f}]" if row["theta"] else "refused"


def arm(row: Row) -> str:
    """What a row is of."""
    return f"{row['intermediate']} → {row['target']}, {row['encoder']}"


def pooled(folder: Path, group: str, estimand: str = "fixed_languages") -> list[Row]:
    """The pooled gains over a group, of one encoder each."""
    of_two = {row["contrast"] for row in table(folder, "scaling")}
    rows = table(folder, "pooled")
    return [row for row in rows if row["group"] == group and row["estimand"] == estimand and row["contrast"] not in of_two]


def counted(rows: Sequence[Row]) -> str:
    """How many of which claim."""
    claims = [row["claim"] for row in rows]
    return ", ".join(f"{word} {claims.count(claim)}" for claim, word in WORDS.items() if claim in claims)


def ran(folder: Path) -> list[str]:
    """What was run, by the table of scores."""
    rows = table(folder, "scores")
    lines = [
        "| target | languages | seeds an arm | test examples a language | mean score without intermediate task |",
        "|---|---:|---:|---:|---|",
    ]
    for target in dict.fromkeys(row["target"] for row in rows):
        mine = [row for row in rows if row["target"] == target]
        alone = [row for row in mine if row["intermediate"] == NONE]
        means = {
            encoder: mean(float(row["score"]) for row in alone if row["encoder"] == encoder)
            for encoder in dict.fromkeys(row["encoder"] for row in alone)
        }
        examples = sorted({int(row["n_examples"]) for row in mine})
        seeds = max(len({row["seed"] for row in mine if row["intermediate"] == other}) for other in {row["intermediate"] for row in mine})
        lines.append(
            f"| {target} | {len({row['language'] for row in mine})} | {seeds} | {examples[0]} to {examples[-1]} "
            f"| {', '.join(f'{encoder}: {value:.1f}' for encoder, value in sorted(means.items()))} |"
        )
    return lines


def grid(rows: Sequence[Row]) -> list[str]:
    """Target and intermediate down, encoders across."""
    encoders = sorted({row["encoder"] for row in rows}, key=len)
    lines = [f"| target | after | languages | {' | '.join(encoders)} |", f"|---|---|---:|{'---|' * len(encoders)}"]
    for target, intermediate in dict.fromkeys((row["target"], row["intermediate"]) for row in rows):
        cells = [row for row in rows if (row["target"], row["intermediate"]) == (target, intermediate)]
        by_encoder = {row["encoder"]: f"{points(row)}: {WORDS[row['claim']]}" for row in cells}
        lines.append(f"| {target} | {intermediate} | {cells[0]['n_languages']} | {' | '.join(by_encoder.get(e, '') for e in encoders)} |")
    return lines


def scaling(rows: Sequence[Row]) -> list[str]:
    """Whether a gain is the same with both encoders."""
    lines = [f"| {row['target']} | {row['intermediate']} | {points(row)} | {row['verdict']} |" for row in rows]
    return ["| target | after | difference of gains | verdict |", "|---|---|---|---|", *lines]


def noise(gains: Sequence[Row]) -> list[str]:
    """By target: what a single language's gain can be told from, and what that would take."""
    lines = [
        "| target | languages x arms | detectable gain, median | seeds for one point, median | out of reach at any number of seeds |",
        "|---|---:|---:|---:|---:|",
    ]
    known = [row for row in gains if row["mde"]]
    for target in dict.fromkeys(row["target"] for row in known):
        rows = [row for row in known if row["target"] == target]
        needed = [float(row["seeds_needed"]) for row in rows if row["seeds_needed"]]
        least, seeds = median(float(row["mde"]) for row in rows), f"{median(needed):.0f}" if needed else "–"
        lines.append(f"| {target} | {len(rows)} | {least:.1f} | {seeds} | {len(rows) - len(needed)} |")
    return lines


def practices(folder: Path) -> list[str]:
    """What other rules would have claimed of single languages."""
    lines = [
        f"| {row['practice']} | {row['comparisons']} | {row['gains']} | {row['losses']} |" for row in table(folder, "practices_summary")
    ]
    return ["| rule | comparisons | gains claimed | losses claimed |", "|---|---:|---:|---:|", *lines]


def text(folder: Path) -> str:
    """README.md."""
    low, gains = pooled(folder, "low"), table(folder, "gains")
    return "\n".join(
        [
            "# What a small study says",
            "",
            f"Pooled over low-resource languages: {counted(low)} of {len(low)}. In single languages: {counted(gains)} of {len(gains)}.",
            "",
            *grid(low),
            "",
            *scaling(folder),
            "",
            *noise(folder),
            "",
        ]
    )


def take_over(report: Path, folder: Path) -> None:
    """Copies what a text needs of a report: its Markdown, tables (CSV), figures (SVG) and references."""
    shutil.rmtree(folder, ignore_errors=True)
    for pattern in ("report.md", "references.bib", "tables/*.csv", "figures/*.svg"):
        for path in sorted(report.glob(pattern)):
            (target := folder / path.relative_to(report)).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    (folder / "README.md").write_text(text(folder), encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """Take a report over, where one is named; check what is there; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("report", type=Path, nargs="?", help="a report's folder; without it what is there is checked")
    options = parser.parse_args(arguments)
    if options.report:
        take_over(options.report, FOLDER)
    compared, wrong = check(FOLDER)
    if (FOLDER / "README.md").read_text(encoding="utf-8") != text(FOLDER):
        wrong.append("README.md is not what the tables say")
    return told(compared, wrong)


if __name__ == "__main__":
    sys.exit(main())
