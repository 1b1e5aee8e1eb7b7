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
import textwrap
from collections.abc import Iterable, Sequence
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
WIDTH = 140
LEAST = 3
"""Of a level, for a pooled claim."""
WORDS = {"gain": "gain", "loss": "loss", "undecided": "cannot tell", "refused": "refused"}
EXPECTED = {"xnli-dev": 6.7, "udpos": 3.5, "wikiann-dev": 3.5, "tydiqa-xquad": 8.6, "sib200": 8.4, "tatoeba": 6.3}
"""Points that the experiment's docstring expected a single language's runs to find, before they were made."""
SEEN = "It is seen."
UNSEEN = "After correction it is not seen, so *cannot tell* may hide gains of that size anywhere on this page."
NOTHING = {"comparisons": "0", "gains": "0", "losses": "0"}
"""What a rule claims where there is nothing to compare."""
OURS, MEANS, BEST = "this report: two-way t, Holm", "mean against mean, no test", "best run against best run"

TEMPLATE = """# Do English intermediate tasks help a small encoder in low-resource languages, and alike with 6 layers and with 12?
{incomplete}
A real study that fits on two processor cores: {runs} runs of multilingual-e5-small, with all of its 12 layers and cut down to 6.
`experiments/laptop.py` was written down, with its families and its margin of one point, before its first run. `report.md` is the report
that raystilts wrote. `python analysis/laptop.py` computes every number of this page from `tables/`, and checks the report's.
`predictions.tar.xz` is the store without the models: unpacked in runs/laptop, it lets `raystilts report experiments/laptop.py --data DATA
--encoders ENCODERS` write the same report, or another one.

## What the data say

**Are the gains robust in low-resource languages? {answer}** Of {num_low} combinations of target, intermediate task and encoder,
{num_refused} have too few low-resource languages for a claim about them. Of the other {num_judged}: {judged}. Every answer is about
trainings as short as these, at these rates.

- {ccg_losses} of the {num_losses} losses come after CCG, in SIB-200 and Tatoeba, between {least_lost} and {most_lost} points. Both targets
  live on the vector of a whole sentence, which this encoder brings along: Tatoeba trains nothing, and without an intermediate task it
  finds {tatoeba}. A short training on tags seems to take such vectors apart. Whether that is the task's doing or the rate's, these data do
  not show. The other losses: {other_losses}.
- Pooled over all languages, gains: {all_gains}. XNLI's training after MNLI is on some of the same pairs again, and without it the encoder
  of 6 layers guesses: more pairs teach more, which is no transfer of a task.
- XQuAD was put in to see whether a gain that everybody expects, that of SQuAD, is seen. In points: {control}. {control_verdict}

**Do they scale from 6 layers to 12? {scaling_answer}** Of {num_tested} differences between the encoders in low-resource languages,
{num_inferior} say that 12 layers lose more: {inferior}. Of the others {num_equivalent} are shown to be the same within a point, and
{num_untold} cannot be told.

**Why so little can be told.** Runs of an arm differ more than was expected. With 12 layers the five trainings on MNLI score
{mnli} % on English dev, where guessing gives a third: the rates were chosen on 6 layers, and for some of these trainings they are too
large. UD-POS after those five scores {after_mnli} over its languages (tags are scored as spans, as XTREME does, so a model that always says
NOUN has almost nothing): what fails once fails in every target after it. An interval that has to allow for that is tens of points wide.
Without the runs that collapsed, the {num_low} combinations are: {converged}.

**What other reports would have said.** Comparing the means of the same runs without a test, {means_gains} of {comparisons} comparisons in
single languages are gains and {means_losses} losses; comparing the best runs, {best_gains} and {best_losses}. With new seeds, new examples
and a correction in mind, {our_gains} and {our_losses}.

## What was run

{ran}

What the intermediate trainings scored on their own English dev data:

{trainings}

Runs that give the same answer to every example: {collapsed}. They stay in their arms, as what happens to whoever trains such a model once.
Arms that score no better than always giving the most frequent answer, in any language: {guessing}.

## Gains in low-resource languages

Pooled over a target's low-resource languages. Of {num_same} of the {num_low} combinations both phases train on the same pairs or sentences
(MNLI and the mixture before XNLI, CCG and the mixture before UD-POS): {same}. Of the other {num_other}: {other}.

- Gains: {gains}.
- Losses: {losses}.

{grid}

In points, with 95 % intervals; *gain* and *loss* are those that stand after Holm correction within a target. With the languages as a
sample, so that the claim is about languages that were not tested, too: {sample}.

Targets with fewer than three low-resource languages here, over all of their languages:

{high}

In single languages, of {num_single} comparisons: {single}. What other rules claim of the same runs:

{practices}

Rules that look at how runs differ have no say on Tatoeba, whose baseline is one run of an encoder that nobody trains.

## Gains with 12 layers against those with 6

{scaling}

The difference is the gain with 12 layers less that with 6, in points, pooled over low-resource languages. *inferior*: more than a point
smaller; *equivalent*: the same within a point.

## What these data cannot say

- The encoder with 6 layers is a truncation of the other, not a model that was pretrained small. Nothing here is about XLM-R Base and Large.
- The family's contrastive pretraining has seen inference and question answering data. Gains of these tasks may be smaller than XLM-R's.
- Trainings are of hundreds to thousands of examples. Where a target stays near guessing (such arms are named above), a gain says that the
  intermediate training taught what the target's own could not, not that it helps a model that is trained well.
- One recipe a task, chosen on English dev with the smaller encoder: another may change a gain as much as another intermediate task. So a
  loss is one of this training, and a difference between the encoders is partly one of how well the recipe fits each.
- At most a hundred test examples a language, three hundred of XNLI: single languages can only be decided where gains are large.

## What would settle it

{noise}

*Expected* and *detectable*: the true gain that a single language's runs would find with 80 % power, before correction, as it was written
down before the runs and as their differences turned out. *Seeds*: what an arm would need for a gain of one point; where that is out of
reach, there are too few test examples for any number of seeds.

1. A recipe for each encoder, by `raystilts tune` on English dev data, so that no training fails; then the same file again. That is the
   cheapest step, and the one that narrows most intervals.
2. Whole test sets: Tatoeba's and SIB-200's are larger than what was read here.
3. XLM-R Base and Large with whole training sets and such numbers of seeds (`experiments/base_to_large.py`): the study that settles it.
"""


def points(row: Row) -> str:
    """A pooled estimate with its interval."""
    return pooled_text(row) if row["theta"] else "refused"


def pair(row: Row) -> str:
    """The intermediate and target that a row is of."""
    return f"{row['intermediate']} → {row['target']}"


def arm(row: Row) -> str:
    """What a row is of."""
    return f"{pair(row)}, {row['encoder']}"


def pooled(folder: Path, group: str, estimand: str = "fixed_languages", policy: str = "all") -> list[Row]:
    """The pooled gains over a group, of one encoder each."""
    of_two = {row["contrast"] for row in table(folder, "scaling")}
    rows = table(folder, "pooled", policy)
    return [row for row in rows if row["group"] == group and row["estimand"] == estimand and row["contrast"] not in of_two]


def counted(rows: Sequence[Row]) -> str:
    """How many of which claim."""
    claims = [row["claim"] for row in rows]
    return ", ".join(f"{word} {claims.count(claim)}" for claim, word in WORDS.items() if claim in claims)


def means(rows: Iterable[Row]) -> dict[str, float]:
    """The mean score of each encoder, the smaller one first."""
    by_encoder: dict[str, list[float]] = {}
    for row in rows:
        by_encoder.setdefault(row["encoder"], []).append(float(row["score"]))
    return {encoder: mean(by_encoder[encoder]) for encoder in sorted(by_encoder, key=len)}


def ran(folder: Path) -> list[str]:
    """What was run, by the table of scores."""
    rows = table(folder, "scores")
    lines = [
        "| target | languages | seeds an arm | test examples a language | mean score without intermediate task |",
        "|---|---:|---:|---:|---|",
    ]
    for target in dict.fromkeys(row["target"] for row in rows):
        mine = [row for row in rows if row["target"] == target]
        alone = means(row for row in mine if row["intermediate"] == NONE)
        examples = " to ".join(map(str, sorted({min(sizes := {int(row["n_examples"]) for row in mine}), max(sizes)})))
        seeds = max(len({row["seed"] for row in mine if row["intermediate"] == other}) for other in {row["intermediate"] for row in mine})
        lines.append(
            f"| {target} | {len({row['language'] for row in mine})} | {seeds} | {examples} "
            f"| {', '.join(f'{encoder}: {value:.1f}' for encoder, value in alone.items())} |"
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
        "| target | languages x arms | expected | detectable, median | seeds for one point, median | out of reach at any number of seeds |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    known = [row for row in gains if row["mde"]]
    for target in dict.fromkeys(row["target"] for row in known):
        rows = [row for row in known if row["target"] == target]
        needed = [float(row["seeds_needed"]) for row in rows if row["seeds_needed"]]
        least, seeds = median(float(row["mde"]) for row in rows), f"{median(needed):.0f}" if needed else "–"
        lines.append(f"| {target} | {len(rows)} | {EXPECTED[target]} | {least:.1f} | {seeds} | {len(rows) - len(needed)} |")
    return lines


def practices(folder: Path) -> list[str]:
    """What other rules would have claimed of single languages."""
    lines = [
        f"| {row['practice']} | {row['comparisons']} | {row['gains']} | {row['losses']} |" for row in table(folder, "practices_summary")
    ]
    return ["| rule | comparisons | gains claimed | losses claimed |", "|---|---:|---:|---:|", *lines]


def after_mnli(folder: Path) -> list[str]:
    """UD-POS of the encoder of 12 layers after each of its trainings on MNLI: the mean over languages, by seed."""
    arm_of = ("e5-small-12", "taxinli", "udpos")
    rows = [row for row in table(folder, "scores") if (row["encoder"], row["intermediate"], row["target"]) == arm_of]
    seeds = sorted({int(row["seed"]) for row in rows})
    return [f"{mean(float(row['score']) for row in rows if int(row['seed']) == seed):.1f}" for seed in seeds]


def in_short(folder: Path, low: Sequence[Row], scales: Sequence[Row]) -> dict[str, str]:
    """The numbers of the first section: `low` are the pooled gains over low-resource languages, `scales` their differences."""
    judged = [row for row in low if row["claim"] != "refused"]
    losses = [row for row in low if row["claim"] == "loss"]
    of_ccg = [row for row in losses if row["intermediate"] == "ccg" and row["target"] in ("sib200", "tatoeba")]
    lost = sorted(-float(row["theta"]) for row in of_ccg) or [0.0]
    everywhere = pooled(folder, "all")
    control = [row for row in everywhere if (row["intermediate"], row["target"]) == ("squad", "tydiqa-xquad")]
    mnli = trained(folder).get(("taxinli", "e5-small-12"), {})
    rules = {row["practice"]: row for row in table(folder, "practices_summary")}
    ours, by_means, by_best = (rules.get(rule, NOTHING) for rule in (OURS, MEANS, BEST))
    verdicts = [row["verdict"] for row in scales]
    alone = means(row for row in table(folder, "scores") if (row["target"], row["intermediate"]) == ("tatoeba", NONE))
    gains = sum(row["claim"] == "gain" for row in low)
    return {
        "answer": f"{gains} are shown." if gains else "No gain is shown.",
        "num_judged": str(len(judged)),
        "num_refused": str(len(low) - len(judged)),
        "judged": counted(judged),
        "num_losses": str(len(losses)),
        "ccg_losses": str(len(of_ccg)),
        "least_lost": f"{lost[0]:.1f}",
        "most_lost": f"{lost[-1]:.1f}",
        "tatoeba": ", ".join(f"{value:.1f} % of its sentences with {encoder}" for encoder, value in alone.items()),
        "other_losses": "; ".join(arm(row) for row in losses if row not in of_ccg) or "none",
        "all_gains": named(everywhere, "gain"),
        "control": "; ".join(f"{points(row)} with {row['encoder']}" for row in control),
        "control_verdict": SEEN if any(row["claim"] == "gain" for row in control) else UNSEEN,
        "scaling_answer": "There is no gain to ask that of." if not gains else "Each gain by itself:",
        "num_tested": str(len(scales) - verdicts.count("refused")),
        "num_inferior": str(verdicts.count("inferior")),
        "inferior": "; ".join(f"{pair(row)} {points(row)}" for row in scales if row["verdict"] == "inferior") or "none",
        "num_equivalent": str(verdicts.count("equivalent")),
        "num_untold": str(verdicts.count("cannot tell")),
        "mnli": ", ".join(f"{mnli[seed]:.0f}" for seed in sorted(mnli)),
        "after_mnli": ", ".join(after_mnli(folder)),
        "converged": counted(pooled(folder, "low", policy="converged")),
        "comparisons": by_means["comparisons"],
        "means_gains": by_means["gains"],
        "means_losses": by_means["losses"],
        "best_gains": by_best["gains"],
        "best_losses": by_best["losses"],
        "our_gains": ours["gains"],
        "our_losses": ours["losses"],
    }


def wrapped(page: str) -> str:
    """The page with its sentences in lines of one width; tables and headings stay."""
    joined = re.sub(r"(?<=\S)\n *(?=[^\s#|])(?!- |\d\. )", " ", page)
    lines = []
    for line in joined.splitlines():
        indent = " " * len(re.match(r"(- |\d\. )?", line)[0])
        lines.append(line if line[:1] in "#|" else textwrap.fill(line, WIDTH, subsequent_indent=indent, break_on_hyphens=False))
    return "".join(f"{line}\n" for line in lines)


def text(folder: Path) -> str:
    """README.md."""
    low, scales = pooled(folder, "low"), [row for row in table(folder, "scaling") if row["group"] == "low" and row["scale"] == "points"]
    of_one = {row["contrast"] for row in low}
    gains = [row for row in table(folder, "gains") if row["contrast"] in of_one]
    same = [row for row in low if (row["intermediate"], row["target"]) in SAME_DATA]
    other = [row for row in low if row not in same]
    most = {target: max(int(row["n_languages"]) for row in low if row["target"] == target) for target in {row["target"] for row in low}}
    few = [row for row in pooled(folder, "all") if most.get(row["target"], 0) < LEAST]
    return wrapped(
        TEMPLATE.format(
            **in_short(folder, low, scales),
            incomplete=incomplete(folder),
            runs=len({row["run_id"] for row in table(folder, "scores")}),
            ran="\n".join(ran(folder)),
            trainings="\n".join(trainings(folder)),
            collapsed=collapsed(folder),
            guessing=guessing(folder),
            num_low=len(low),
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
            scaling="\n".join(scaling(scales)),
            noise="\n".join(noise(gains)),
        )
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
