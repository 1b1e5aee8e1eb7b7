"""From a store to the report: every number of the tables comes from the predictions."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
import pytest
from places import SMOKE, smoke
from scipy import stats as scipy_stats
from seqeval.metrics import f1_score

from raystilts import cli, results
from raystilts.errors import UserError
from raystilts.store import Store
from raystilts.study import NONE, make_plan

PLAN = make_plan(smoke())


@pytest.fixture(scope="module")
def store(smoke_store: Path) -> Store:
    """The finished smoke study with its report."""
    return Store(smoke_store)


def table(store: Store, name: str) -> list[dict[str, object]]:
    """A table of the report."""
    return pq.read_table(store.root / "report" / "tables" / f"{name}.parquet").to_pylist()


def predictions(store: Store, encoder: str, intermediate: str, target: str, language: str) -> list[dict[str, list[object]]]:
    """The prediction tables of an arm in a language, one per seed."""
    cells = [c for c in PLAN.cells if (c.encoder, c.intermediate, c.target) == (encoder, intermediate, target)]
    paths = [store.path(cell.evaluation.key) / "predictions" / f"{language}.parquet" for cell in cells]
    return [pq.read_table(path).to_pydict() for path in paths]


def test_scores_in_the_report_are_those_of_the_predictions(store: Store) -> None:
    """Every score in the scores table equals seqeval's or the share of right answers, recomputed from the prediction tables."""
    rows = table(store, "scores")
    assert len(rows) == sum(len(cell.languages) for cell in PLAN.cells)
    by_id = {results.run_id(cell): cell for cell in PLAN.cells}
    for row in rows:
        cell = by_id[row["run_id"]]
        found = pq.read_table(store.path(cell.evaluation.key) / "predictions" / f"{row['language']}.parquet").to_pydict()
        if cell.target == "list":
            expected = 100 * f1_score(found["gold"], found["prediction"], zero_division=0)
        else:
            expected = 100 * np.mean([g == p for g, p in zip(found["gold"], found["prediction"], strict=True)])
        assert row["score"] == pytest.approx(expected, abs=1e-9)


def test_the_report_lists_what_each_intermediate_training_scored(store: Store) -> None:
    """One row per intermediate task and encoder, with the English dev score of each seed as its stage's record has it."""
    dev: dict[tuple[str, str], dict[int, float]] = {}
    for cell in PLAN.cells:
        if cell.intermediate_stage and cell.seed is not None:
            score = store.record(cell.intermediate_stage.key)["result"]["dev_score"]
            dev.setdefault((cell.intermediate, cell.encoder), {})[cell.seed] = score
    assert {row["intermediate_dev_score"] for row in table(store, "scores")} == {None} | {
        one for found in dev.values() for one in found.values()
    }
    text = (store.root / "report" / "report.md").read_text(encoding="utf-8").partition("## Intermediate trainings")[2].partition("\n## ")[0]
    for (intermediate, encoder), found in dev.items():
        seeds = ", ".join(f"{seed}: {score:.1f}" for seed, score in sorted(found.items()))
        ends = f"{min(found.values()):.2f} | {np.median(list(found.values())):.2f} | {max(found.values()):.2f}"
        assert f"| {intermediate} | {encoder} | {ends} | {seeds} |" in text
    assert text.count("\n|") == len(dev) + 2


def test_gains_are_recomputed_by_hand(store: Store) -> None:
    """A gain, its standard error, degrees of freedom and p-value equal the formulas of the two-way estimator, computed in plain numpy."""
    rows = [row for row in table(store, "gains") if row["policy"] == "all" and row["target"] == "kind" and row["theta"] is not None]
    assert rows
    for row in rows[:5]:
        arms = []
        for intermediate in (row["intermediate"], NONE):
            found = predictions(store, row["encoder"], intermediate, "kind", row["language"])
            arms.append(100 * np.array([[g == p for g, p in zip(t["gold"], t["prediction"], strict=True)] for t in found], float))
        n, sizes = arms[0].shape[1], [len(arm) for arm in arms]
        theta = arms[0].mean() - arms[1].mean()
        seeds = [arm.mean(1).var(ddof=1) / len(arm) for arm in arms]
        example = (arms[0].mean(0) - arms[1].mean(0)).var(ddof=1) / n
        both = 0.0
        for arm in arms:
            residual = arm - arm.mean(0) - arm.mean(1, keepdims=True) + arm.mean()
            both += (residual**2).sum() / ((len(arm) - 1) * (n - 1)) / (len(arm) * n)
        variance = max(sum(seeds) + example - both, sum(seeds), example)
        df = variance**2 / (
            sum(s**2 / (size - 1) for s, size in zip(seeds, sizes, strict=True)) + max(variance - sum(seeds), 0) ** 2 / (n - 1)
        )
        assert row["theta"] == pytest.approx(theta, abs=1e-9)
        assert row["se"] == pytest.approx(math.sqrt(variance), abs=1e-9)
        assert row["df"] == pytest.approx(df, rel=1e-6)
        assert row["p"] == pytest.approx(2 * scipy_stats.t.sf(abs(theta) / math.sqrt(variance), df), rel=1e-6)


def test_untrained_baselines_are_runs_without_a_seed(store: Store) -> None:
    """Retrieval of the raw encoder is one deterministic run, and its contrast with the arm of two seeds is not refused for that."""
    runs = results.runs_table(PLAN, store).to_pylist()
    raw = [run for run in runs if run["target"] == "name" and run["intermediate"] == NONE]
    assert [run["seed"] for run in raw] == [None, None]
    gains = [row for row in table(store, "gains") if row["target"] == "name"]
    assert any(row["claim"] != "refused" for row in gains)
    assert all(row["runs_minus"] == 1 for row in gains)


def test_tables_are_there_twice(store: Store) -> None:
    """Every table is written as parquet and as CSV with the same columns and number of rows."""
    folder = store.root / "report" / "tables"
    names = {path.stem for path in folder.glob("*.parquet")}
    assert {"scores", "gains", "interactions", "pooled", "scaling", "findings", "variance", "power"} <= names
    for name in names:
        parquet = pq.read_table(folder / f"{name}.parquet")
        text = (folder / f"{name}.csv").read_text(encoding="utf-8")
        assert text.splitlines()[0].replace('"', "").split(",") == parquet.column_names
        if len(parquet):
            assert len(pc.read_csv(folder / f"{name}.csv", parse_options=pc.ParseOptions(newlines_in_values=True))) == len(parquet)


@pytest.mark.promise("The same store gives the same report, byte by byte")
def test_a_report_is_a_function_of_the_store(store: Store, tmp_path: Path) -> None:
    """Writing the report again gives the same bytes; page, text, tables and figures."""
    told = (store.root / "report" / "report.md").read_text(encoding="utf-8")
    command = next(line for line in told.splitlines() if "raystilts run" in line).split("`")[1]
    results.write(PLAN, store, tmp_path / "again", command, study_file=Path(SMOKE.partition(":")[0]))
    first = {path.relative_to(store.root / "report"): path.read_bytes() for path in (store.root / "report").rglob("*") if path.is_file()}
    again = {path.relative_to(tmp_path / "again"): path.read_bytes() for path in (tmp_path / "again").rglob("*") if path.is_file()}
    assert first == again


def test_codes_tell_predictions_apart() -> None:
    """Codes are equal exactly where texts or lists of texts are, and do not depend on the other values."""
    lists = pa.chunked_array([[["a", "b"], ["ab"], ["a", "b"], []]])
    found = results.codes(lists).to_pylist()
    assert found[0] == found[2]
    assert len(set(found)) == 3
    texts = results.codes(pa.chunked_array([["x", "y"], ["x"]])).to_pylist()
    assert texts[0] == texts[2] == results.codes(pa.chunked_array([["x"]])).to_pylist()[0]


def test_an_unfinished_study_says_what_is_missing(store: Store, tmp_path: Path) -> None:
    """Missing runs are rows with the status missing and are named in the report, whose first lines call it incomplete."""
    cell = next(cell for cell in PLAN.cells if cell.target == "kind" and cell.intermediate == NONE)
    partly = Store(tmp_path / "store")
    (partly.root / "stages").mkdir(parents=True)
    for key in PLAN.stages:
        if key != cell.evaluation.key:
            shutil.copytree(store.path(key), partly.root / "stages" / key)
    lines = results.write(PLAN, partly, tmp_path / "report", "raystilts run")
    assert "INCOMPLETE" in lines[0]
    statuses = {run["run_id"]: run["status"] for run in results.runs_table(PLAN, partly).to_pylist()}
    assert statuses[results.run_id(cell)] == "missing"
    assert results.run_id(cell) in (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert any(finding["kind"] == "missing" for finding in pq.read_table(tmp_path / "report" / "tables" / "findings.parquet").to_pylist())


@pytest.mark.promise("A damaged file of predictions is named before a report is made of it")
def test_a_damaged_prediction_file_is_one_sentence(store: Store, tmp_path: Path) -> None:
    """A prediction table that is no parquet is named, with what to delete."""
    cell = PLAN.cells[0]
    broken = Store(tmp_path / "store")
    folder = broken.path(cell.evaluation.key)
    (folder / "predictions").mkdir(parents=True)
    shutil.copy(store.path(cell.evaluation.key) / "stage.json", folder)
    for language in cell.languages:
        (folder / "predictions" / f"{language}.parquet").write_bytes(b"no parquet")
    with pytest.raises(UserError, match=r"has 10 bytes and not .* delete the folder"):
        list(results.examples_of(PLAN, broken))


def test_status_of_a_finished_study_says_what_the_next_look_needs(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    """With two seeds nothing can have been looked at: status names the contrasts that are open and the seeds of the first look."""
    experiment = Path(__file__).parent.parent / "experiments" / "quickstart.py"
    assert cli.main(["status", f"{experiment}:smoke", "--store", str(store.root)]) == 0
    told = capsys.readouterr().out
    assert "all stages are done." in told
    assert "currency > kind, pico: 7 of 7 languages undecided" in told
    assert "the next look needs 3 seeds" in told


def test_status_counts_what_is_done(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    """status --json lists every stage of a finished study as done."""
    experiment = Path(__file__).parent.parent / "experiments" / "quickstart.py"
    assert cli.main(["status", f"{experiment}:smoke", "--store", str(store.root), "--json"]) == 0
    status = json.loads(capsys.readouterr().out)
    assert all(row["done"] for row in status["stages"])
    assert len(status["stages"]) == len(PLAN.stages)
    assert status["failures"] == {}


def test_a_watched_report_is_made_again_as_stages_land(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """--watch waits for a first evaluation, marks what is missing, and ends with the page of the whole study, the same as without it."""
    partly = Store(tmp_path / "store")
    (partly.root / "stages").mkdir(parents=True)
    rest = list(PLAN.stages)
    pages = []

    def land(seconds: float) -> None:
        page = partly.root / "report" / "report.html"
        pages.append(page.read_text(encoding="utf-8") if page.exists() else "")
        number = {0: 1, 1: len(rest) // 2}.get(len(pages) - 1, len(rest))
        for key in [rest.pop(0) for _ in range(min(number, len(rest)))]:
            shutil.copytree(store.path(key), partly.root / "stages" / key)

    monkeypatch.setattr(cli.time, "sleep", land)
    assert cli.main(["report", SMOKE, "--store", str(partly.root), "--watch", "1"]) == 0
    said = capsys.readouterr().out
    assert f"0 of {len(PLAN.stages)} stages are done." in said
    assert f"{len(PLAN.stages)} of {len(PLAN.stages)} stages are done." in said
    assert pages[0] == pages[1] == ""
    assert "reload it to see more" in pages[2]
    assert "not been run" in pages[2]
    final = (partly.root / "report" / "report.html").read_text(encoding="utf-8")
    assert "not been run" not in final
    assert final.replace(str(partly.root), str(store.root)) == (store.root / "report" / "report.html").read_text(encoding="utf-8")


def test_the_report_holds_what_made_it(store: Store) -> None:
    """Whoever has only the page can read the command, the study file, the versions, and what to cite."""
    page = (store.root / "report" / "report.html").read_text(encoding="utf-8")
    for part in ("raystilts run", "def smoke() -&gt; Study:", "BibTeX", "holm1979", "torch"):
        assert part in page, part
    assert "@article{holm1979" in (store.root / "report" / "references.bib").read_text(encoding="utf-8")
