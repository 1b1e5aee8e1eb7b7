"""Are the numbers that a report's text shows those of the tables beside it?

    python analysis/check_report.py runs/quickstart/report

Looks up every row of report.md's tables of questions, gains, pooled gains, scaling, resource levels and differences of gains in
tables/*.csv, and compares each number to its last digit; every row of those tables (of the main policy) must stand in the text exactly
once. The headline's counts, the sentences on every arm and the list of intermediate trainings are put together anew from the tables and
must stand in the text as they are. Imports nothing of raystilts. Prints what was compared, and exits with 1 where something differs.
"""

from __future__ import annotations

import argparse
import csv
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

WORDS = {
    "these languages": "fixed_languages",
    "languages as a sample": "languages_as_sample",
    "a new language": "new_language",
    "share of headroom": "headroom",
    "log-odds": "log_odds",
}
NUMBER = re.compile(r"[+-]?\d[\d,]*(?:\.\d+)?")


class Shown(NamedTuple):
    """How a table of the text shows one of the files: which columns name the row, and in which columns of the file its numbers are.

    Two columns of the file: an interval. A share is shown as a percentage.
    """

    heading: str  # begins so
    file: str
    keys: Mapping[str, str]
    numbers: Mapping[str, tuple[str, ...]]


INTERVAL, RESAMPLED = ("lo", "hi"), ("boot_lo", "boot_hi")
TABLES = (
    Shown(
        "All questions",
        "questions",
        {"Question": "question"},
        {"Effect": ("theta",), "95 % interval": INTERVAL, "Adjusted p": ("p_adjusted",), "Languages": ("n_languages",)},
    ),
    Shown(
        "All gains",
        "gains",
        {"Language": "language", "Target": "target", "Intermediate": "intermediate", "Encoder": "encoder"},
        {
            "Gain": ("theta",),
            "95 % interval": RESAMPLED,
            "p": ("p",),
            "Holm p": ("p_holm",),
            "Score": ("score_plus",),
            "Baseline": ("score_minus",),
            "Runs": ("runs_plus",),
            "Baseline runs": ("runs_minus",),
            "Examples": ("n_examples",),
            "Detectable": ("mde",),
        },
    ),
    Shown(
        "Pooled gains",
        "pooled",
        {"Intermediate": "intermediate", "Encoder": "encoder", "Languages": "group", "Question": "estimand", "": "target"},
        {"Gain": ("theta",), "95 % interval": INTERVAL, "p": ("p",), "Holm p": ("p_holm",), "Number": ("n_languages",)},
    ),
    Shown(
        "Scaling: the difference of gains",
        "scaling",
        {"Intermediate": "intermediate", "Encoders": "encoder", "Languages": "group", "Scale": "scale", "": "target"},
        {
            "Difference": ("theta",),
            "95 % interval": INTERVAL,
            "Margin": ("margin",),
            "p different": ("p_two_sided_holm",),
            "p within margin": ("p_equivalent_holm",),
            "p not smaller": ("p_noninferior_holm",),
        },
    ),
    Shown(
        "Does the gain depend on the resource level",
        "resource",
        {"Intermediate": "intermediate", "Encoder": "encoder", "Comparison": "comparison", "Question": "estimand", "": "target"},
        {"Difference": ("theta",), "95 % interval": INTERVAL, "p": ("p",), "Holm p": ("p_holm",), "Languages": ("n_languages",)},
    ),
    Shown(
        "Difference of gains per language",
        "interactions",
        {"Intermediate": "intermediate", "Language": "language", "": "target"},
        {"Difference": ("theta",), "95 % interval": RESAMPLED, "Holm p": ("p_holm",)},
    ),
)


def rows_of(text: str) -> Iterator[tuple[str, str, dict[str, str]]]:
    """(heading of the target, nearest heading, cells by column) of every row of every table of a Markdown text."""
    target = heading = ""
    columns: list[str] = []
    for line in text.splitlines():
        if line.startswith("#"):
            heading = line.lstrip("#").strip()
            target = heading if line.startswith("## ") else target
            columns = []
        elif not line.startswith("|"):
            columns = []
        else:
            cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            if not columns:
                columns = cells
            elif not set("".join(cells)) <= set("-: "):
                yield unescaped(target), unescaped(heading), {name: unescaped(cell) for name, cell in zip(columns, cells, strict=True)}


def unescaped(text: str) -> str:
    """A cell as it is read."""
    return re.sub(r"\\([^\w\s])", r"\1", text).replace("&gt;", ">").replace("&lt;", "<").replace("&amp;", "&")


def agrees(shown: str, values: Sequence[str], row: Mapping[str, str]) -> bool:
    """Whether a cell shows these numbers of a row, to its last digit. A dash: one is missing or refused, or nothing is tested."""
    if shown in {"–", ""}:
        unclaimed = "refused" in {row.get("claim"), row.get("verdict")} or row.get("estimand") == "new_language"
        return unclaimed or any(value in {"", "nan", "NaN"} for value in values)
    if shown == "< 0.0001":
        return float(values[0]) < 0.0001
    found = NUMBER.findall(shown)
    if len(found) != len(values):
        return False
    for text, value in zip(found, values, strict=True):
        digits = len(text.partition(".")[2])
        if value == "" or abs(float(text.replace(",", "")) - float(value)) > 0.5 * 10**-digits * (1 + 1e-9) + 1e-9:
            return False
    return True


def key_of(shown: Shown, target: str, cells: Mapping[str, str]) -> tuple[str, ...]:
    """What names a row of the text, as the file names it."""
    found = []
    for column, name in shown.keys.items():
        cell = target if column == "" else cells[column]
        inside = re.search(r"\(([^()]+)\)$", cell)
        found.append(inside.group(1) if name == "language" and inside else WORDS.get(cell, cell))
    return tuple(found)


def table(folder: Path, name: str, policy: str = "all") -> list[dict[str, str]]:
    """The rows of one of a report's tables, of one policy: `all` is what its text is about."""
    with (folder / "tables" / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return [row for row in csv.DictReader(file) if row.get("policy", policy) == policy]


def check(folder: Path) -> tuple[dict[str, int], list[str]]:
    """(rows compared, by file; what differs) of a report's folder."""
    compared, wrong = {}, []
    report = (folder / "report.md").read_text(encoding="utf-8")
    every = list(rows_of(report))
    differences = {row["contrast"] for row in table(folder, "scaling")}  # of the two encoders, which the text shows on three scales alone
    for shown in TABLES:
        rows = table(folder, shown.file)
        if shown.file in {"pooled", "resource"}:
            rows = [row for row in rows if row["contrast"] not in differences]
        known = {tuple(row[name] for name in shown.keys.values()): row for row in rows}
        seen: set[tuple[str, ...]] = set()
        for target, heading, cells in every:
            if not heading.startswith(shown.heading):
                continue
            key = key_of(shown, target, cells)
            if key in seen or key not in known:
                wrong.append(f"{shown.file}: {key} {'stands twice in the text' if key in seen else 'is in the text alone'}")
                continue
            seen.add(key)
            for column, names in shown.numbers.items():
                values = [known[key][name] for name in names]
                if not agrees(cells[column], values, known[key]):
                    wrong.append(f"{shown.file}: {key}: {column} is {cells[column]!r} in the text and {', '.join(values)} in the table")
        wrong += [f"{shown.file}: {key} is in the table alone" for key in known if key not in seen]
        compared[shown.file] = len(seen)
    lines = [unescaped(line) for line in report.splitlines()]
    for name, parts in (("sentences", sentences(folder)), ("trainings", trainings(folder))):
        compared[name] = len(parts)
        wrong += [f"no line {' ... '.join(part)}" for part in parts if not any(stands(part, line) for line in lines)]
    return compared, wrong


def stands(parts: Sequence[str], line: str) -> bool:
    """Whether a line begins with the first part and has the others behind it, each after the one before."""
    return re.match(".*".join(map(re.escape, parts)), line) is not None


def pooled_text(row: Mapping[str, str], unit: str = "") -> str:
    """A pooled gain with its interval, in points."""
    texts = [f"{float(row[name]):+.2f}" if row[name] else "" for name in ("theta", "lo", "hi")]
    effect, low, high = (text[1:] if text in {"+0.00", "-0.00"} else text for text in texts)
    return f"{effect}{unit} [{low}, {high}]"


def sentences(folder: Path) -> list[list[str]]:
    """Parts of the lines on the whole study and on each arm: how many languages gain and lose, and by how much on average."""
    gains, arms, found = table(folder, "gains"), table(folder, "pooled"), []
    counts = {claim: sum(row["claim"] == claim for row in gains) for claim in ("gain", "loss", "undecided")}
    decided = sum(counts.values())
    total = [f"**Real gains in {counts['gain']} of {decided} comparisons"] if counts["gain"] else ["**", f"none of {decided} comparisons"]
    total += [f"real losses in {counts['loss']}"] if counts["loss"] else []
    found.append([*total, *([f"{counts['undecided']} cannot be told"] if counts["undecided"] else [])] if decided else ["**"])
    for encoder, name in dict.fromkeys((row["encoder"], row["contrast"]) for row in gains):
        own = [row["claim"] for row in gains if row["contrast"] == name]
        groups = {row["group"]: row for row in arms if row["contrast"] == name and row["estimand"] == "fixed_languages"}
        decided = len(own) - own.count("refused")
        line = [f"- {encoder}: "]
        if decided:
            line.append(f"Real gain in {own.count('gain')} of {decided} " if "gain" in own else f"No gain shown in any of {decided} ")
            line += [
                f"{word} in {own.count(claim)}" for claim, word in (("loss", "real loss"), ("undecided", "cannot tell")) if claim in own
            ]
        if (row := groups.pop("all", None)) and row["claim"] != "refused":
            line += [f"Pooled over {row['n_languages']} language", f": {pooled_text(row, ' points')}"]
        line += [f"{group} {'refused' if row['claim'] == 'refused' else pooled_text(row)}" for group, row in groups.items()]
        found.append(line)
    return found


def trained(folder: Path) -> dict[tuple[str, ...], dict[int, float]]:
    """What intermediate trainings scored on English dev, by seed, from the runs that stand on them: (intermediate, encoder), where a study
    has methods with the method between.
    """
    found: dict[tuple[str, ...], dict[int, float]] = {}
    for row in table(folder, "scores"):
        if row.get("intermediate_dev_score") and row["seed"]:
            key = tuple(row[name] for name in ("intermediate", "method", "encoder") if name in row)
            found.setdefault(key, {})[int(float(row["seed"]))] = float(row["intermediate_dev_score"])
    return found


def trainings(folder: Path) -> list[list[str]]:
    """The rows of the list of intermediate trainings."""
    found = []
    for key, scores in trained(folder).items():
        three = [min(scores.values()), median(scores.values()), max(scores.values())]
        by_seed = ", ".join(f"{seed}: {scores[seed]:.1f}" for seed in sorted(scores))
        found.append([f"| {' | '.join(key)} | {' | '.join(f'{value:.2f}' for value in three)} | {by_seed} |"])
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Check a report; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("report", type=Path, help="a report's folder, with report.md and tables/")
    return told(*check(parser.parse_args(arguments).report))


def told(compared: Mapping[str, int], wrong: Sequence[str]) -> int:
    """Print what was compared and what differs; the exit code."""
    print(f"rows compared: {', '.join(f'{name} {number}' for name, number in compared.items())}; {len(wrong)} differ")
    print("\n".join(wrong[:50]))
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
