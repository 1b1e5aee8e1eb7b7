"""From XLM-R Base to Large on MasakhaNER 2.0: what the released predictions show, and what usual practice would have made of them.

    python analysis/masakhaner_base_to_large.py ../shared/data/masakhaner2 [--tables DIR]

Reads gold (CoNLL) and the released predictions (one tag a line) of 8 languages, recomputes F1 as seqeval does, and writes
masakhaner_base_to_large.md and .svg beside this script; --tables also writes runs.parquet, examples.parquet and plan.toml for `raystilts
analyse DIR --plan DIR/plan.toml`.
Each model was trained on the language that it is tested in, so this is no transfer: it is the data set on which the two sizes are public
with all their seeds. Collapsed runs and the run that is stored twice are found by the module, not given to it.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from figure import BLUE, GREY, ORANGE, save
from matplotlib.figure import Figure

from raystilts import languages
from raystilts.metrics import micro_f1
from raystilts.results import codes
from raystilts.stats import Analysis, Contrast, Plan, alternatives_table, analyse

PLAN = Plan((Contrast("large-base", {"encoder": "xlmrlarge"}, {"encoder": "xlmrbase"}),), metric="micro_f1", margin=1.0)
REPORT = Path(__file__).with_suffix(".md")
TOML = """title = "From XLM-R Base to Large on MasakhaNER 2.0"
question = "Does Large beat Base in low-resource African languages?"
metric = "micro_f1"
margin = 1.0
[[contrasts]]
name = "large-base"
plus = { encoder = "xlmrlarge" }
minus = { encoder = "xlmrbase" }
"""
"""PLAN for `raystilts analyse`."""


def tables(folder: Path) -> tuple[pa.Table, pa.Table]:
    """Tables runs and examples of the folder's gold/LANGUAGE.txt and predictions/ENCODER/LANGUAGE/SEED.txt."""
    gold = {path.stem: sentences(path) for path in sorted(folder.glob("gold/*.txt"))}
    runs: list[dict[str, Any]] = []
    parts: list[pa.Table] = []
    for path in sorted(folder.glob("predictions/*/*/*.txt")):
        encoder, language, name = path.parts[-3], path.parts[-2], path.stem
        run = f"{encoder}/{language}/{name}"
        tags = iter(line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
        predicted = [[next(tags) for _ in sentence] for sentence in gold[language]]
        if next(tags, None) is not None:
            raise ValueError(f"{path} has more tags than the gold of {language}")
        statistics = micro_f1(gold[language], predicted)
        size = len(predicted)
        columns: dict[str, Any] = {"run_id": [run] * size, "language": [language] * size}
        columns["example_id"] = [f"{language} {i}" for i in range(size)]
        columns |= {f"s{k}": [row[k] for row in statistics] for k in range(3)}
        columns |= {"prediction_code": codes(pa.chunked_array([predicted])), "gold_code": codes(pa.chunked_array([gold[language]]))}
        parts.append(pa.table(columns))
        runs.append({"run_id": run, "encoder": encoder, "trained_on": language, "seed": int(name.removeprefix("seed"))})
    if not runs:
        raise ValueError(f"{folder} holds no predictions/ENCODER/LANGUAGE/SEED.txt")
    return pa.Table.from_pylist(runs), pa.concat_tables(parts)


def sentences(path: Path) -> list[list[str]]:
    """Last columns of a CoNLL file, sentence by sentence."""
    found: list[list[str]] = [[]]
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.strip():
            found[-1].append(line.split()[-1])
        elif found[-1]:
            found.append([])
    return [sentence for sentence in found if sentence]


def report(runs: pa.Table, examples: pa.Table) -> tuple[str, Figure]:
    """The whole report as Markdown, and its figure: the same bytes for the same data."""
    found = analyse(runs, examples, PLAN)
    rivals = alternatives_table(runs, examples, PLAN, resamples=2000).to_pylist()
    pooled = {(row["policy"], row["estimand"]): row for row in found.pooled.to_pylist()}
    every, converged = (pooled[policy, "fixed_languages"] for policy in ("all", "converged"))
    lines = [
        "# From XLM-R Base to Large on MasakhaNER 2.0",
        "",
        "Made by `python analysis/masakhaner_base_to_large.py`; not edited by hand. F1 recomputed from the released tags as seqeval does;",
        f"points; {runs.num_rows} runs, {examples.num_rows:,} predicted sentences; 95 % intervals; margin 1 point.",
        "",
        "## Does Large beat Base in low-resource African languages?",
        "",
        f"- All runs: Large minus Base over these 8 languages is {with_interval(every)}: {every['claim']}.",
        f"- Converged runs only: {with_interval(converged)}: {converged['claim']}.",
        f"- {collapse_sentence(found)} The sign of the comparison rests on them, so both are reported.",
        *answer(found, rivals),
        "",
        f"![Large minus Base in each language]({REPORT.stem}.svg)",
        "",
        "Dots and blue lines: gain and its calibrated 95 % interval, for other seeds and other sentences; filled: real after Holm.",
        "Orange: the same runs, resampling sentences alone, as most papers do.",
        "",
        "## Pooled over the languages",
        "",
        *table(
            ("runs", "about", "Large - Base", "p", "tau", "claim"),
            (
                (row["policy"], row["estimand"], with_interval(row), probability(row["p"]), number(row["tau"]), row["claim"])
                for row in found.pooled.to_pylist()
            ),
        ),
        "",
        "## Language by language",
        "",
    ]
    for policy in PLAN.collapsed:
        lines += [f"### {'All runs' if policy == 'all' else 'Converged runs only'}", "", *by_language(found, policy), ""]
    lines += ["## What is wrong with the predictions", "", *findings(found), "", "## What more seeds would show", "", *power(found), ""]
    return "\n".join([*lines, *naive(rivals), ""]), draw(found, rivals)


def answer(found: Analysis, rivals: Sequence[Mapping[str, Any]]) -> list[str]:
    """What can honestly be said, what would settle the rest, and what usual practice would have said, each counted from the tables."""
    gains = {policy: [row for row in found.gains.to_pylist() if row["policy"] == policy] for policy in PLAN.collapsed}
    real = {policy: [name(row["language"]) for row in rows if row["claim"] == "gain"] for policy, rows in gains.items()}
    open_ = [row for row in gains["converged"] if row["claim"] == "undecided"]
    seeds = [row["seeds_needed"] for row in open_ if row["seeds_needed"]]
    claimed = {
        method: [row for row in rivals if (row["policy"], row["method"]) == ("all", method) and row["would_claim"]]
        for method in ("best_runs_difference", "given_runs_example_only", "given_first_runs_example_only")
    }
    losses = {method: sum(row["theta"] < 0 for row in rows) for method, rows in claimed.items()}
    total = len(gains["all"])
    more = f" A gain of 1 point would be found there with {min(seeds)} to {max(seeds)} seeds an arm." if seeds else ""
    shown = [f"in {len(real[policy])} ({', '.join(real[policy])})" for policy in ("converged", "all")]
    lost = {method: f" ({losses[method]} of them a loss)" if losses[method] else "" for method in claimed}
    best, sentences, first = (f"{len(rows)}{lost[method]}" for method, rows in claimed.items())
    return [
        "- The honest answer: whoever trains Large once cannot count on a gain, since a run may collapse. Given that it does not, Large is",
        f"  better on average; language by language this is shown, of {total}, {shown[0]}; with all runs {shown[1]}.",
        f"- Cannot be told among converged runs: {len(open_)}.{more}",
        f"- What usual practice would have said of all runs: a difference in {best} of the {total} languages when it compares the best",
        f"  runs; in {sentences} when it resamples sentences alone; in {first} when it does so with the first seed of each size.",
    ]


def draw(found: Analysis, rivals: Sequence[Mapping[str, Any]]) -> Figure:
    """Large minus Base by language, all runs and converged ones side by side."""
    figure = Figure(figsize=(8.0, 3.2), layout="constrained")
    for ax, policy in zip(figure.subplots(1, 2, sharey=True), PLAN.collapsed, strict=True):
        rows = [row for row in found.gains.to_pylist() if row["policy"] == policy and row["theta"] is not None]
        alone = {row["language"]: row for row in rivals if (row["policy"], row["method"]) == (policy, "given_runs_example_only")}
        for place, row in enumerate(rows):
            ax.plot([row["boot_lo"], row["boot_hi"]], [place, place], color=BLUE, linewidth=1.5)
            ax.plot(row["theta"], place, "o", color=BLUE, markersize=5, fillstyle="none" if row["claim"] == "undecided" else "full")
            rival = alone[row["language"]]
            ax.plot([rival["lo"], rival["hi"]], [place + 0.25, place + 0.25], color=ORANGE, linewidth=1.5)
        ax.axvline(0, color=GREY, linewidth=0.8)
        ax.set_yticks(range(len(rows)), [f"{name(row['language'])}" for row in rows], fontsize=8)
        ax.tick_params(axis="x", labelsize=8)
        ax.set_title("all runs" if policy == "all" else "converged runs only", fontsize=9)
        ax.set_xlabel("Large minus Base, points of F1", fontsize=8)
    figure.axes[0].invert_yaxis()
    return figure


def collapse_sentence(found: Analysis) -> str:
    """How many runs collapsed, with exact intervals."""
    parts = [
        f"{row['collapsed']} of {row['runs']} runs of {row['encoder']} [{100 * row['lo']:.1f}, {100 * row['hi']:.1f} %]"
        for row in found.collapse.to_pylist()
    ]
    return f"Collapsed (the same output everywhere): {'; '.join(parts)}."


def by_language(found: Analysis, policy: str) -> list[str]:
    """Gains of one policy."""
    rows = [row for row in found.gains.to_pylist() if row["policy"] == policy]
    head = ("language", "runs", "Base", "Large", "Large - Base (t)", "bootstrap", "p (Holm)", "p (max-T)", "detectable", "seeds needed")
    return table(
        (*head, "claim"),
        (
            (
                *(name(row["language"]), f"{row['runs_minus']} + {row['runs_plus']}"),
                *(number(row["score_minus"]), number(row["score_plus"])),
                *(with_interval(row), span(row["boot_lo"], row["boot_hi"]), probability(row["p_holm"]), probability(row["p_max_t"])),
                *(number(row["mde"]), str(row["seeds_needed"] or row["power_note"].split(":")[0]), row["claim"]),
            )
            for row in rows
        ),
    )


def findings(found: Analysis) -> list[str]:
    """All findings, as a table."""
    rows = found.findings.to_pylist()
    cells = ((row["kind"], row["severity"], shortened(row["run_ids"]), row["language"], row["detail"]) for row in rows)
    return table(("kind", "severity", "runs", "language", "what"), cells)


def shortened(runs: Sequence[str]) -> str:
    """All run ids, or the number of them where there are many."""
    return ", ".join(runs) if len(runs) <= 3 else f"{len(runs)} runs"


def power(found: Analysis) -> list[str]:
    """Detectable gain against seeds, both policies."""
    rows = found.power.to_pylist()
    seeds = sorted({row["seeds"] for row in rows})
    curve: dict[tuple[str, str], dict[int, float]] = {}
    for row in rows:
        curve.setdefault((row["policy"], row["language"]), {})[row["seeds"]] = row["detectable"]
    cells = ((policy, name(code), *(number(of[n]) for n in seeds)) for (policy, code), of in curve.items())
    text = "Points that would be found with 80 % power, by seeds in each arm (two-sided 5 %, one language, before correction):"
    return [text, "", *table(("runs", "language", *(f"{n} seeds" for n in seeds)), cells)]


def naive(rivals: Sequence[Mapping[str, Any]]) -> list[str]:
    """What other practices would have claimed, uncorrected, as they are mostly used."""
    lines = [
        "## What other practices would have claimed",
        "",
        "The same predictions, other rules; the name says what an interval is about. Each cell: estimate, interval, and a star where",
        "the rule would have called it real, as mostly used: without correcting for 8 languages. `two_way` is this module's, also",
        "uncorrected here; only its Holm-corrected claims above are claims. `given_first_runs_example_only` compares the runs with the",
        "lowest seed, `best_runs_difference` the best ones.",
        "",
    ]
    for policy in PLAN.collapsed:
        mine = [row for row in rivals if row["policy"] == policy]
        methods = list(dict.fromkeys(row["method"] for row in mine))
        codes_ = list(dict.fromkeys(row["language"] for row in mine))
        cell = {(row["method"], row["language"]): row for row in mine}
        lines += [f"### {'All runs' if policy == 'all' else 'Converged runs only'}", ""]
        lines += table(
            ("method", *(name(code) for code in codes_), "called real"),
            (
                (
                    f"`{method}`",
                    *(rival(cell.get((method, code))) for code in codes_),
                    f"{sum(bool(cell[method, code]['would_claim']) for code in codes_ if (method, code) in cell)} of {len(codes_)}",
                )
                for method in methods
            ),
        )
        lines.append("")
    return lines[:-1]


def rival(row: Mapping[str, Any] | None) -> str:
    """One cell of the table of rivals."""
    if row is None or row["theta"] is None:
        return "–"
    star = "*" if row["would_claim"] else ""
    p = f" p {row['p']:.3f}" if row["lo"] is None and row["p"] is not None else ""
    return f"{row['theta']:+.2f}{star}" + (f" {span(row['lo'], row['hi'])}" if row["lo"] is not None else p)


def name(code: str) -> str:
    """Bambara (bam)."""
    return f"{languages.find(code).name} ({code})"


def with_interval(row: Mapping[str, Any]) -> str:
    """An estimate with its interval, or why there is none."""
    return row["reason"] if row["theta"] is None else f"{row['theta']:+.2f} {span(row['lo'], row['hi'])}"


def span(low: float | None, high: float | None) -> str:
    """Both ends of an interval."""
    return "–" if low is None or high is None else f"[{low:+.2f}, {high:+.2f}]"


def number(value: float | None, digits: int = 2) -> str:
    """A number, or a dash."""
    return "–" if value is None else f"{value:.{digits}f}"


def probability(value: float | None) -> str:
    """Four decimals, never zero."""
    return "< 0.0001" if value is not None and value < 0.0001 else number(value, 4)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A Markdown table."""
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]


def main() -> None:
    """Write the report, and the tables where asked."""
    parser = argparse.ArgumentParser(description="XLM-R Base against Large on MasakhaNER 2.0, from the released predictions.")
    parser.add_argument("data", type=Path, help="folder with gold/ and predictions/")
    parser.add_argument("--tables", type=Path, metavar="DIR", help="also write runs.parquet and examples.parquet there")
    options = parser.parse_args()
    runs, examples = tables(options.data)
    if options.tables:
        options.tables.mkdir(parents=True, exist_ok=True)
        pq.write_table(runs, options.tables / "runs.parquet")
        pq.write_table(examples, options.tables / "examples.parquet")
        (options.tables / "plan.toml").write_text(TOML, encoding="utf-8")
    text, figure = report(runs, examples)
    REPORT.write_text(text, encoding="utf-8")
    save(figure, REPORT.with_suffix(".svg"))
    print(f"{REPORT.name} and its figure are written.")


if __name__ == "__main__":
    main()
