"""Takes over the report of experiments/laptop.py into analysis/laptop/, and writes and checks the text about it.

    python analysis/laptop.py runs/laptop     # copies report.md, tables, figures and predictions, and writes README.md
    python analysis/laptop.py                 # exits with 1 where README.md or report.md shows another number than the tables

Imports nothing of raystilts. Every number in README.md is computed here from the tables that lie beside it.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, median

from check_report import check, pooled_text, table, told, trained

FOLDER, PREDICTIONS = Path(__file__).with_name("laptop"), "predictions.tar.xz"
Row = dict[str, str]
LARGE = "practices.csv"
"""Every practice in every language: megabytes, and the page shows its summary."""
NONE = "none"
SAME_DATA = {("taxinli", "xnli-dev"), ("mixture", "xnli-dev"), ("ccg", "udpos"), ("mixture", "udpos")}
"""Pairs whose two phases train on the same pairs or sentences."""
LEAST = 3
"""Of a level, for a pooled claim."""
WORDS = {"gain": "gain", "loss": "loss", "undecided": "cannot tell", "refused": "refused"}


TEMPLATE = """# Do English intermediate tasks help a small encoder in low-resource languages, and alike with 6 layers and with 12?
{incomplete}
A real study that fits on two processor cores: {runs} runs of multilingual-e5-small, with all of its 12 layers and cut down to 6.
`experiments/laptop.py` was written down, with its families and its margin of one point, before its first run. `report.md` is the report
that raystilts wrote. `python analysis/laptop.py` computes every number of this page from `tables/`, and checks the report's.
`predictions.tar.xz` is the store without the models: unpacked in runs/laptop, it lets `raystilts report experiments/laptop.py --data DATA
--encoders ENCODERS` write the same report, or another one.

{ran}

What the intermediate trainings scored on their own English dev data, each of five seeds:

{trainings}

Runs that give the same answer to every example: {collapsed}. They stay in their arms, as what happens to whoever trains such a model once.
Arms that score no better than always giving the most frequent answer, in any language: {guessing}.

## Are the gains robust in low-resource languages?

Pooled over a target's low-resource languages, of {num_low} combinations of target, intermediate task and encoder: {low}. Of {num_same} of
them both phases train on the same pairs or sentences (MNLI and the mixture before XNLI, CCG and the mixture before UD-POS): {same}. Of the
other {num_other}: {other}.

- Gains: {gains}.
- Losses: {losses}.

{grid}

In points, with 95 % intervals; *gain* and *loss* are those that stand after Holm correction within a target. With the languages as a
sample, so that the claim is about languages that were not tested, too: {sample}.

Targets with fewer than three low-resource languages here, over all of their languages:

{high}

In single languages, of {num_single} comparisons: {single}. What other rules claim of the same runs:

{practices}

## Do they scale from 6 layers to 12?

Over low-resource languages, of {num_scales} comparisons: {verdicts}.

{scaling}

The difference is the gain with 12 layers less that with 6, in points. *equivalent*: the same within a point.

## What these data cannot say

- The encoder with 6 layers is a truncation of the other, not a model that was pretrained small. Nothing here is about XLM-R Base and Large.
- The family's contrastive pretraining has seen inference and question answering data. Gains of these tasks may be smaller than XLM-R's.
- Trainings are of hundreds to thousands of examples. Where a target stays near guessing (the report's findings name such arms), a gain says
  that the intermediate training taught what the target's own could not, not that it helps a model that is trained well.
- One recipe a task, chosen on English dev with the smaller encoder: another may change a gain as much as another intermediate task.
- At most a hundred test examples a language, three hundred of XNLI: single languages can only be decided where gains are large.

## What would settle it

{noise}

*Detectable*: the true gain that a single language's runs would find with 80 % power, before correction. *Seeds*: what an arm would need for
a gain of one point; where that is out of reach, there are too few test examples for any number of seeds. The same file with XLM-R Base and
Large, whole training and test sets and such numbers of seeds is the study that settles it.
"""


def points(row: Row) -> str:
    """A pooled estimate with its interval."""
    return pooled_text(row) if row["theta"] else "refused"


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
        examples = " to ".join(map(str, sorted({min(sizes := {int(row["n_examples"]) for row in mine}), max(sizes)})))
        seeds = max(len({row["seed"] for row in mine if row["intermediate"] == other}) for other in {row["intermediate"] for row in mine})
        lines.append(
            f"| {target} | {len({row['language'] for row in mine})} | {seeds} | {examples} "
            f"| {', '.join(f'{encoder}: {value:.1f}' for encoder, value in sorted(means.items()))} |"
        )
    return lines


def named(rows: Sequence[Row], claim: str) -> str:
    """The pooled gains of a claim, one after the other."""
    return "; ".join(f"{arm(row)} {points(row)}" for row in rows if row["claim"] == claim) or "none"


def grid(rows: Sequence[Row]) -> list[str]:
    """Target and intermediate down, encoders across."""
    encoders = sorted({row["encoder"] for row in rows}, key=len)
    lines = [f"| target | after | languages | {' | '.join(encoders)} |", f"|---|---|---:|{'---|' * len(encoders)}"]
    for target, intermediate in dict.fromkeys((row["target"], row["intermediate"]) for row in rows):
        cells = [row for row in rows if (row["target"], row["intermediate"]) == (target, intermediate)]
        by_encoder = {row["encoder"]: f"{points(row)}: {WORDS[row['claim']]}" if row["theta"] else "refused" for row in cells}
        lines.append(f"| {target} | {intermediate} | {cells[0]['n_languages']} | {' | '.join(by_encoder.get(e, '') for e in encoders)} |")
    return lines


def trainings(folder: Path) -> list[str]:
    """What each intermediate training scored on English dev."""
    lines = ["| intermediate | encoder | English dev, by seed |", "|---|---|---|"]
    for (intermediate, encoder), scores in sorted(trained(folder).items(), key=lambda item: (item[0][0], len(item[0][1]))):
        lines.append(f"| {intermediate} | {encoder} | {', '.join(f'{scores[seed]:.1f}' for seed in sorted(scores))} |")
    return lines


def incomplete(folder: Path) -> str:
    """What the report says of runs that are missing; empty where none is."""
    found = re.search(r"\*\*Incomplete: .*\*\*", (folder / "report.md").read_text(encoding="utf-8"))
    return f"\n{found[0]}\n" if found else ""


def guessing(folder: Path) -> str:
    """Arms that guess in all languages."""
    found = [row for row in table(folder, "findings") if (row["kind"], row["severity"]) == ("guessing", "error")]
    return "; ".join(row["detail"].partition(" is not told")[0] for row in found) or "none"


def collapsed(folder: Path) -> str:
    """How many runs of each encoder collapsed."""
    rows = sorted(table(folder, "collapse"), key=lambda row: len(row["encoder"]))
    return ", ".join(f"{row['collapsed']} of {row['runs']} with {row['encoder']}" for row in rows) or "none"


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
    low, scales = pooled(folder, "low"), [row for row in table(folder, "scaling") if row["group"] == "low" and row["scale"] == "points"]
    of_one = {row["contrast"] for row in low}
    gains = [row for row in table(folder, "gains") if row["contrast"] in of_one]
    same = [row for row in low if (row["intermediate"], row["target"]) in SAME_DATA]
    other = [row for row in low if row not in same]
    most = {target: max(int(row["n_languages"]) for row in low if row["target"] == target) for target in {row["target"] for row in low}}
    few = [row for row in pooled(folder, "all") if most.get(row["target"], 0) < LEAST]
    verdicts = [row["verdict"] for row in scales]
    return TEMPLATE.format(
        incomplete=incomplete(folder),
        runs=len({row["run_id"] for row in table(folder, "scores")}),
        ran="\n".join(ran(folder)),
        trainings="\n".join(trainings(folder)),
        collapsed=collapsed(folder),
        guessing=guessing(folder),
        num_low=len(low),
        low=counted(low),
        num_same=len(same),
        same=counted(same),
        num_other=len(other),
        other=counted(other),
        gains=named(other, "gain"),
        losses=named(other, "loss"),
        grid="\n".join(grid(low)),
        high="\n".join(grid(few)),
        sample=counted(pooled(folder, "low", "languages_as_sample")),
        num_single=len(gains),
        single=counted(gains),
        practices="\n".join(practices(folder)),
        num_scales=len(scales),
        verdicts=", ".join(f"{word} {verdicts.count(word)}" for word in dict.fromkeys(verdicts)),
        scaling="\n".join(scaling(scales)),
        noise="\n".join(noise(gains)),
    )


def pack(store: Path, archive: Path) -> None:
    """All records and predictions of a store, without models: enough to write the report again.

    A language's predictions stand side by side: they share ids and answers, so that xz writes these once.
    """
    paths = [store / "store.json", *store.glob("stages/*/stage.json"), *store.glob("stages/*/predictions/*.parquet")]
    with tarfile.open(archive, "w:xz", preset=9) as tar:
        for path in sorted(paths, key=lambda path: (path.name, path)):
            entry = tarfile.TarInfo(path.relative_to(store).as_posix())  # neither times nor owners: the same store, the same archive
            entry.size = path.stat().st_size
            with path.open("rb") as file:
                tar.addfile(entry, file)


def take_over(store: Path, folder: Path) -> None:
    """Copies what a text needs of a store and the report in it: Markdown, tables (CSV), figures (SVG), references and predictions."""
    report = store / "report"
    shutil.rmtree(folder, ignore_errors=True)
    for pattern in ("report.md", "references.bib", "tables/*.csv", "figures/*.svg"):
        for path in sorted(set(report.glob(pattern)) - {report / "tables" / LARGE}):
            (target := folder / path.relative_to(report)).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    pack(store, folder / PREDICTIONS)
    (folder / "README.md").write_text(text(folder), encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """Take a store's report over, where one is named; check what is there; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("store", type=Path, nargs="?", help="a store with its report; without it what is there is checked")
    options = parser.parse_args(arguments)
    if options.store:
        take_over(options.store, FOLDER)
    compared, wrong = check(FOLDER)
    if (FOLDER / "README.md").read_text(encoding="utf-8") != text(FOLDER):
        wrong.append("README.md is not what the tables say")
    return told(compared, wrong)


if __name__ == "__main__":
    sys.exit(main())
