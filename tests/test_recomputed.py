"""Numbers of a report, computed again from the predictions in its store by other means: seqeval, pandas and the formulas as written."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from places import script
from scipy import stats
from seqeval.metrics.sequence_labeling import get_entities

ENCODERS, LANGUAGES = ("pico", "nano"), ("de", "ml", "sw", "te", "wo", "yo", "zu")
Arm = list[pd.DataFrame]
"""One table of example_id, num and den for each seed."""


@dataclass(frozen=True)
class Found:
    """A two-way estimate; parts: variance of the seeds of each arm and their number."""

    theta: float
    v_example: float
    v_both: float
    parts: tuple[tuple[float, int], ...]
    df_example: float

    @property
    def v(self) -> float:
        """Total variance."""
        seeds = sum(part for part, _ in self.parts)
        return max(seeds + self.v_example - self.v_both, seeds, self.v_example)

    @property
    def df(self) -> float:
        """Satterthwaite's degrees of freedom."""
        seeds = sum(part for part, _ in self.parts)
        spread = sum(part**2 / (size - 1) for part, size in self.parts)
        return self.v**2 / (spread + max(self.v - seeds, 0) ** 2 / self.df_example)

    @property
    def p(self) -> float:
        """Two-sided p-value of no gain."""
        return float(2 * stats.t.sf(abs(self.theta) / np.sqrt(self.v), self.df)) if self.v else float("nan")


def predictions(store: Path, target: str, encoder: str, chain: str, language: str) -> Arm:
    """Numerators and denominators of the runs whose label says that they were trained on `chain`: of F1 from tags, or of accuracy."""
    found = []
    for path in sorted(store.glob("stages/*/stage.json")):
        label = json.loads(path.read_text(encoding="utf-8"))["label"]
        if re.fullmatch(rf"evaluation {target}, {encoder}, after {re.escape(chain)}, seed \d", label):
            table = pd.read_parquet(path.parent / "predictions" / f"{language}.parquet").sort_values("example_id")
            pairs = list(zip(table["gold"], table["prediction"], strict=True))
            if target == "list":
                spans = [(set(get_entities(list(gold))), set(get_entities(list(said)))) for gold, said in pairs]
                num, den = [2.0 * len(gold & said) for gold, said in spans], [float(len(gold) + len(said)) for gold, said in spans]
            else:
                num, den = [float(gold == said) for gold, said in pairs], [1.0] * len(pairs)
            found.append(pd.DataFrame({"example_id": table["example_id"].to_numpy(), "num": num, "den": den}))
    return found


def pseudo_values(arm: Arm) -> tuple[np.ndarray, np.ndarray]:
    """Scores of runs (S,) and their linearised examples Y (S, n), points."""
    score = np.array([run["num"].sum() / run["den"].sum() for run in arm])
    rows = [f + len(run) * (run["num"] - f * run["den"]) / run["den"].sum() for f, run in zip(score, arm, strict=True)]
    return 100 * score, 100 * np.array(rows)


def gain(plus: Arm, minus: Arm) -> Found:
    """The two-way estimate of one language, term by term as the formulas are written; an arm of one run is one that was not trained."""
    for run in plus + minus:
        assert run["example_id"].tolist() == plus[0]["example_id"].tolist()
    (f_plus, y_plus), (f_minus, y_minus) = pseudo_values(plus), pseudo_values(minus)
    n = y_plus.shape[1]
    both = 0.0
    for y in (y for y in (y_plus, y_minus) if len(y) > 1):
        rest = y - y.mean(axis=0) - y.mean(axis=1, keepdims=True) + y.mean()
        both += (rest**2).sum() / ((len(y) - 1) * (n - 1)) / (len(y) * n)
    difference = y_plus.mean(axis=0) - y_minus.mean(axis=0)
    parts = tuple((f.var(ddof=1) / len(f), len(f)) for f in (f_plus, f_minus) if len(f) > 1)
    return Found(f_plus.mean() - f_minus.mean(), difference.var(ddof=1) / n, both, parts, n - 1)


def mean_gain(arms: list[list[Arm]]) -> Found:
    """The two-way estimate of the mean over languages: what an example or a run adds is summed over the languages that share it."""
    of_example, of_cell, scores = [], [], []
    for pair in arms:
        values = [pseudo_values(arm) for arm in pair]
        n, ids = values[0][1].shape[1], pair[0][0]["example_id"]
        difference = values[0][1].mean(axis=0) - values[1][1].mean(axis=0)
        weight = np.sqrt(n / (n - 1)) / n / len(arms)
        of_example.append(pd.Series(weight * (difference - difference.mean()), ids))
        for side, (f, y) in enumerate(values):
            rest = y - y.mean(axis=0) - y.mean(axis=1, keepdims=True) + y.mean()
            scale = weight * np.sqrt(len(f) / (len(f) - 1)) / len(f)
            of_cell += [pd.Series(scale * row, pd.MultiIndex.from_product([[(side, run)], ids])) for run, row in enumerate(rest)]
        scores.append([f for f, _ in values])
    example, both = (
        float((pd.concat(parts).groupby(level=list(range(parts[0].index.nlevels))).sum() ** 2).sum()) for parts in (of_example, of_cell)
    )
    # Languages here are linked by examples that they share, so that the smallest test set counts its degrees of freedom.
    shared = [set(part.index) for part in of_example]
    reached, left = shared[0], shared[1:]
    while linked := [ids for ids in left if ids & reached]:
        reached, left = reached.union(*linked), [ids for ids in left if not ids & reached]
    assert not left
    by_run = [np.mean([score[side] for score in scores], axis=0) for side in (0, 1)]
    parts = tuple((f.var(ddof=1) / len(f), len(f)) for f in by_run)
    return Found(float(by_run[0].mean() - by_run[1].mean()), example, both, parts, min(map(len, shared)) - 1)


def holm(p: dict[tuple[str, str], float]) -> dict[tuple[str, str], float]:
    """Holm's adjusted p-values, one at a time."""
    adjusted, largest = {}, 0.0
    for rank, key in enumerate(sorted(p, key=lambda key: p[key])):
        largest = max(largest, min(1.0, (len(p) - rank) * p[key]))
        adjusted[key] = largest
    return adjusted


class Tables(HTMLParser):
    """The tables of a page, held as JSON: by section and title, rows of [what is read, exact values...] by title of the column."""

    def __init__(self) -> None:
        super().__init__()
        self.section, self.inside = "", False
        self.rows: dict[tuple[str, str], list[dict[str, list[str | float]]]] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """A section begins, or a table."""
        self.section = dict(attrs)["id"] or "" if tag == "section" else self.section
        self.inside = tag == "script" and ("type", "application/json") in attrs

    def handle_endtag(self, tag: str) -> None:
        """What follows is no table."""
        self.inside = False

    def handle_data(self, data: str) -> None:
        """A table; a cell of words is the number of one of its column's words."""
        if self.inside:
            table = json.loads(data)
            heads = [(column["title"], column.get("words")) for column in table["columns"]]
            rows = [
                {title: words[cell] if words else cell for (title, words), cell in zip(heads, row, strict=True)} for row in table["rows"]
            ]
            self.rows[self.section, table["title"]] = rows


@pytest.mark.promise("Numbers of a report follow from the predictions in the store")
def test_ten_numbers_of_a_report_follow_from_the_predictions(smoke_store: Path) -> None:
    """Scores, gain, standard error, degrees of freedom, interval, p, Holm's p and detectable effect of a language, and the pooled gain with
    its interval, are those in the tables on disk; those that the page prints stand in report.html, exactly, and rounded in report.md.
    """
    arms = {
        (encoder, language): [
            predictions(smoke_store, "list", encoder, f"alignment{chain} > list", language) for chain in (" > currency", "")
        ]
        for encoder in ENCODERS
        for language in LANGUAGES
    }
    assert {len(arm) for pair in arms.values() for arm in pair} == {2}
    gains = {where: gain(*pair) for where, pair in arms.items()}
    one = gains["nano", "te"]
    plus, minus = (pseudo_values(arm)[0].mean() for arm in arms["nano", "te"])
    se, size = float(np.sqrt(one.v)), len(arms["nano", "te"][0][0])
    half = float(stats.t.ppf(0.975, one.df)) * se
    expected = {"score_plus": plus, "score_minus": minus, "theta": plus - minus, "n_examples": size, "se": se, "df": one.df}
    expected |= {"lo": one.theta - half, "hi": one.theta + half, "p": one.p}
    expected |= {"p_holm": holm({where: found.p for where, found in gains.items()})["nano", "te"]}
    expected |= {"mde": float(stats.t.ppf(0.975, one.df) + stats.t.ppf(0.8, one.df)) * se}
    written = only_row(smoke_store, "gains", encoder="nano", target="list", language="te")
    assert {name: written[name] for name in expected} == pytest.approx(expected, rel=1e-9)

    pooled = mean_gain([arms["nano", language] for language in LANGUAGES])
    half = float(stats.t.ppf(0.975, pooled.df) * np.sqrt(pooled.v))
    together = {"theta": pooled.theta, "lo": pooled.theta - half, "hi": pooled.theta + half, "p": pooled.p}
    written = only_row(smoke_store, "pooled", encoder="nano", target="list", group="all", estimand="fixed_languages")
    assert {name: written[name] for name in together} == pytest.approx(together, rel=1e-9)

    page = Tables()
    page.feed((smoke_store / "report" / "report.html").read_text(encoding="utf-8"))
    columns = {"Gain": "theta", "p": "p", "Holm p": "p_holm", "Score": "score_plus", "Baseline": "score_minus"}
    columns |= {"Examples": "n_examples", "Detectable": "mde"}
    (row,) = rows_that_read(page.rows["gains", "All gains"], Language="Telugu (te)", Target="list", Intermediate="currency", Encoder="nano")
    assert [row[title][1] for title in columns] == pytest.approx([expected[name] for name in columns.values()], rel=1e-9)
    (row,) = rows_that_read(
        page.rows["target-list", "Pooled gains"], Intermediate="currency", Encoder="nano", Languages="all", Question="these languages"
    )
    exact = [value for title in ("Gain", "95 % interval", "p") for value in row[title][1:]]
    assert exact == pytest.approx(list(together.values()), rel=1e-9)
    lines = (smoke_store / "report" / "report.md").read_text(encoding="utf-8").splitlines()
    (line,) = [line for line in lines if line.startswith("| Telugu (te) | partly aligned | list | currency | nano |")]
    rounded = [f"{plus - minus:+.2f}", f"{one.p:.4f}", f"{expected['p_holm']:.4f}", f"{plus:.2f}", f"{minus:.2f}", str(size)]
    assert [text for text in rounded if f" {text} |" not in line] == []
    assert any(f"| {pooled.theta:+.2f} | \\[{together['lo']:+.2f}, {together['hi']:+.2f}\\] | {pooled.p:.4f} |" in line for line in lines)


def test_corrected_p_values_follow_from_the_predictions(smoke_store: Path) -> None:
    """Holm's p-values of a whole family of retrieval, whose baseline was never trained, are those on disk; cells in which nothing varies
    are refused and not counted.
    """
    p, names = {}, {}
    for encoder in ENCODERS:
        for language in LANGUAGES:
            arms = [predictions(smoke_store, "name", encoder, f"alignment{chain}", language) for chain in (" > currency", "")]
            assert [len(arm) for arm in arms] == [2, 1]
            found = gain(*arms)
            written = names[encoder, language] = only_row(smoke_store, "gains", encoder=encoder, target="name", language=language)
            if found.v > 1e-18:
                p[encoder, language] = found.p
                assert [written[name] for name in ("theta", "se", "p")] == pytest.approx([found.theta, np.sqrt(found.v), found.p], rel=1e-9)
    corrected = holm(p)
    assert min(corrected.values()) < 1
    assert 2 < len(p) < len(names)
    assert {where: row["p_holm"] for where, row in names.items() if row["p_holm"] == row["p_holm"]} == pytest.approx(corrected, rel=1e-9)


def only_row(store: Path, table: str, **where: str) -> dict[str, float]:
    """The row of all runs in a table on disk, which must say the same as parquet and as CSV."""
    rows, tables = [], store / "report" / "tables"
    for made in (pd.read_parquet(tables / f"{table}.parquet"), pd.read_csv(tables / f"{table}.csv")):
        chosen = made[np.logical_and.reduce([made[name] == value for name, value in {"policy": "all", **where}.items()])]
        assert len(chosen) == 1
        rows.append({name: float(value) for name, value in chosen.iloc[0].items() if isinstance(value, float | int | np.integer)})
    assert rows[0] == pytest.approx({name: rows[1][name] for name in rows[0]}, rel=1e-12, nan_ok=True)
    found: dict[str, float] = rows[0]
    return found


def rows_that_read(rows: list[dict[str, list[str | float]]], **words: str) -> list[dict[str, list[str | float]]]:
    """Those of the rows that read these words in these columns."""
    return [row for row in rows if all(row[title][0] == word for title, word in words.items())]


def test_the_text_of_a_report_shows_its_tables(smoke_store: Path, tmp_path: Path) -> None:
    """Every number of the text's tables, headline and sentences is that of the tables beside it; another digit, a row too few or one too
    many is found.
    """
    checker = script("analysis/check_report.py")
    report = tmp_path / "report"
    shutil.copytree(smoke_store / "report", report)
    compared, wrong = checker.check(report)
    assert not wrong
    assert compared.keys() == {"questions", "gains", "pooled", "scaling", "resource", "interactions", "sentences", "trainings"}
    assert min(compared.values()) > 0
    text = (report / "report.md").read_text(encoding="utf-8")
    start = text.index("### Pooled gains")
    row = re.compile(r"\n\|[^\n]*these languages[^\n]*").search(text, start)[0]
    digit = re.search(r"\d\.(\d)", row)
    other = f"{row[: digit.start(1)]}{(int(digit[1]) + 5) % 10}{row[digit.end(1) :]}"
    for changed, said in ((other, " in the table"), ("", "is in the table alone"), (row + row, "stands twice in the text")):
        (report / "report.md").write_text(text[:start] + text[start:].replace(row, changed, 1), encoding="utf-8")
        found = checker.check(report)[1]
        assert len(found) == 1
        assert said in found[0]
    for sentence, number in (
        (r"\n\*\*.*comparisons", r"of (\d)"),
        (r"\n- .*Pooled over .*", r"points \S*(\d)"),
        (r"\n- .*By level.*", r"aligned \S*(\d)"),
        (r"\n\| currency \| .* 1: .*", r" 1: (\d)"),
    ):
        line = re.search(sentence, text)[0]
        digit = re.search(number, line)
        other = f"{line[: digit.start(1)]}{(int(digit[1]) + 5) % 10}{line[digit.end(1) :]}"
        (report / "report.md").write_text(text.replace(line, other), encoding="utf-8")
        assert any(said.startswith("no line ") for said in checker.check(report)[1])
    assert checker.main([str(report)]) == 1
