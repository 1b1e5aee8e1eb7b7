"""`raystilts analyse`: predictions that anybody made, a plan in TOML, tables and a report; every mistake is one sentence."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raystilts.analyse import analyse_tables
from raystilts.cli import main
from raystilts.errors import UserError
from raystilts.planfile import read_plan
from raystilts.stats import Contrast, Plan, analyse

sys.path.insert(0, str(Path(__file__).parent / "stats"))
from stats_tables import as_tables, random_rows

PLAN = """
metric = "micro_f1"
resamples = 200
[[contrasts]]
name = "large-base"
plus = { encoder = "large", intermediate = "none" }
minus = { encoder = "base", intermediate = "none" }
[policy]
collapsed = ["all", "converged"]
duplicates = "drop"
"""
GAINS = {
    *("policy", "contrast", "language", "theta", "se", "df", "lo", "hi", "boot_lo", "boot_hi", "p", "p_holm", "p_bh"),
    *("n_examples", "runs_plus", "runs_minus"),
}


def write(folder: Path, runs: pa.Table, examples: pa.Table | None, plan: str = PLAN) -> Path:
    """TABLES and the plan in a folder; returns the plan's file."""
    (folder / "tables").mkdir(exist_ok=True)
    pq.write_table(runs, folder / "tables" / "runs.parquet")
    if examples is not None:
        pq.write_table(examples, folder / "tables" / "examples.parquet")
    (folder / "plan.toml").write_text(plan)
    return folder / "plan.toml"


@pytest.fixture(scope="module")
def tables() -> tuple[pa.Table, pa.Table]:
    """Two encoders, two arms, languages under ISO 639-3 codes; no column but those that are needed."""
    runs, examples = random_rows(np.random.default_rng(0), metric="micro_f1", languages=("deu", "swa", "tel", "yor", "fra"))
    kept = ("run_id", "encoder", "intermediate")
    return as_tables([{name: run[name] for name in kept} for run in runs], examples)


def rows_of(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV file."""
    with path.open(encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def test_the_command_writes_what_the_module_finds(
    tables: tuple[pa.Table, pa.Table], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Tables (.csv and .parquet) equal those of `analyse` for the same plan, the report lies beside them, the terminal says where."""
    plan = write(tmp_path, *tables)
    assert main(["analyse", str(tmp_path / "tables"), "--plan", str(plan), "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "report:" in said
    assert "findings:" in said
    for name in ("gains", "interactions", "pooled", "variance", "power", "findings", "scores", "scaling", "resource", "collapse"):
        assert (tmp_path / "out" / f"{name}.csv").is_file()
        assert (tmp_path / "out" / f"{name}.parquet").is_file()
    assert (tmp_path / "out" / "report.html").stat().st_size > 1000
    told = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert "the other side of each contrast" in told
    assert "sha256 of examples.parquet" in told
    gains = rows_of(tmp_path / "out" / "gains.csv")
    assert set(gains[0]) >= GAINS
    seeds = pa.array(range(tables[0].num_rows), pa.int64())
    direct = analyse(tables[0].append_column("seed", seeds), tables[1], read_plan(plan)).gains.to_pylist()
    assert [float(row["theta"]) for row in gains] == pytest.approx([row["theta"] for row in direct])
    assert [float(row["boot_lo"]) for row in gains] == pytest.approx([row["boot_lo"] for row in direct])
    pooled = rows_of(tmp_path / "out" / "pooled.csv")
    assert {row["estimand"] for row in pooled} == {"fixed_languages", "languages_as_sample", "new_language"}
    assert {row["group"] for row in pooled} == {"all", "low", "high"}
    assert {row["group"]: row["n_languages"] for row in pooled} == {"all": "5", "low": "3", "high": "2"}


def test_further_tables_are_written_where_they_are_asked_for(
    tables: tuple[pa.Table, pa.Table], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """--further writes what other practices would have claimed, the honest choice and the ledger, in both formats; without examples it is
    refused in one sentence.
    """
    plan = write(tmp_path, *tables)
    command = ["analyse", str(tmp_path / "tables"), "--plan", str(plan), "--further", "practices", "selection", "ledger", "--out"]
    assert main([*command, str(tmp_path / "out")]) == 0
    practices = rows_of(tmp_path / "out" / "practices.csv")
    assert {row["method"] for row in practices} >= {"two_way", "best_runs_difference", "crossed_bca"}
    assert {row["verdict"] for row in rows_of(tmp_path / "out" / "ledger.csv")} <= {
        "not tested",
        "cannot tell",
        "supported",
        "contradicted",
    }
    assert (tmp_path / "out" / "selection.parquet").is_file()
    (tmp_path / "tables" / "examples.parquet").unlink()
    runs = tables[0].append_column("language", pa.array(["deu"] * len(tables[0]))).append_column("score", pa.array([50.0] * len(tables[0])))
    pq.write_table(runs, tmp_path / "tables" / "runs.parquet")
    capsys.readouterr()
    assert main([*command, str(tmp_path / "none")]) == 2
    assert "need examples.parquet" in capsys.readouterr().err


def test_scores_alone_are_analysed_for_exactly_these_test_sets(tables: tuple[pa.Table, pa.Table], tmp_path: Path) -> None:
    """A table of scores gives Welch's t under the name fixed_test_set, says what is lost, and quotes no number of examples."""
    from scipy import stats as scipy_stats  # noqa: PLC0415

    plan = write(tmp_path, *tables)
    analyse_tables(tmp_path / "tables", plan, tmp_path / "full")
    scores = pq.read_table(tmp_path / "full" / "scores.parquet").drop_columns(["n_examples"])
    (tmp_path / "tables" / "examples.parquet").unlink()
    pq.write_table(scores, tmp_path / "tables" / "runs.parquet")
    lines = analyse_tables(tmp_path / "tables", plan, tmp_path / "out")
    assert any("exactly these test sets" in line for line in lines)
    assert "exactly these test sets" in (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    rows = scores.to_pylist()
    for row in rows_of(tmp_path / "out" / "gains.csv"):
        sides = [
            [r["score"] for r in rows if r["language"] == row["language"] and r["encoder"] == encoder and r["intermediate"] == "none"]
            for encoder in ("large", "base")
        ]
        expected = scipy_stats.ttest_ind(*sides, equal_var=False)
        assert row["estimand"] == row["given"] == "fixed_test_set"
        assert float(row["p"]) == pytest.approx(expected.pvalue)
        assert [float(row["lo"]), float(row["hi"])] == pytest.approx(list(expected.confidence_interval()))
        assert row["n_examples"] == ""
    assert {row["scale"] for row in rows_of(tmp_path / "out" / "scaling.csv")} <= {"points", "headroom"}


def test_everything_that_a_plan_can_say(tmp_path: Path) -> None:
    """All keys arrive in the Plan; labels are taken from the selections where none are given, families from either place."""
    path = tmp_path / "plan.toml"
    path.write_text(
        """
title = "T"
question = "Q?"
metric = { xnli = "accuracy", ner = "micro_f1" }
margin = 2
alpha = 0.1
resamples = 500
seed = 7
paired_seeds = true
groups = { low = ["sw", "te", "yo"], high = ["de"] }
covariate = { sw = 2.5, de = 4 }
families = { both = ["large", "base"] }
[[contrasts]]
name = "large"
plus = { encoder = "l", intermediate = "mnli", target = "xnli" }
minus = { encoder = "l", intermediate = "none", target = "xnli" }
[[contrasts]]
name = "base"
plus = { encoder = "b", intermediate = "mnli", target = "xnli" }
minus = { encoder = "b", intermediate = "none", target = "xnli" }
labels = { encoder = "small" }
[[contrasts]]
name = "third"
plus = { seed = 1 }
minus = { seed = 2 }
family = "own"
[[interactions]]
name = "scales"
plus = "large"
minus = "base"
[policy]
collapsed = ["converged"]
duplicates = "keep"
"""
    )
    plan = read_plan(path)
    assert isinstance(plan, Plan)
    assert (plan.margin, plan.alpha, plan.resamples, plan.seed, plan.paired_seeds) == (2, 0.1, 500, 7, True)
    assert (plan.groups, plan.low_group) == ({"low": ("sw", "te", "yo"), "high": ("de",)}, "low")
    assert (plan.collapsed, plan.duplicates, plan.covariate) == (("converged",), "keep", {"sw": 2.5, "de": 4})
    assert [contrast.family for contrast in plan.contrasts] == ["both", "both", "own"]
    assert plan.contrasts[0].labels == {"encoder": "l", "intermediate": "mnli", "target": "xnli"}
    assert plan.contrasts[2] == Contrast("third", {"seed": 1}, {"seed": 2}, "own")
    assert plan.interactions[0].labels == {"encoder": "small to l"}
    assert plan.metric_of("ner") == "micro_f1"


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("metric =", "metrik =", "unknown key 'metrik'; did you mean 'metric'"),
        ("plus =", "plis =", "unknown key 'plis'; did you mean 'plus'"),
        ("collapsed =", "collapse =", "unknown key 'collapse'; did you mean 'collapsed'"),
        ('"micro_f1"', "3", "metric is 3; it must be a text or a table"),
        ("resamples = 200", 'resamples = "many"', "resamples is 'many'; it must be a whole number"),
        ("resamples = 200", "resamples = 10", "fewer than 100 resamples"),
        ("resamples = 200", "resamples =", "not valid TOML"),
        ('["all", "converged"]', '["al"]', "collapsed is ('al',)"),
        ('["all", "converged"]', '"all"', "policy.collapsed is 'all'; it must be a list"),
        ('"drop"', '"dorp"', "duplicates is 'dorp'"),
        ('encoder = "large", intermediate', 'encoder = "largo", intermediate', "no run has encoder = 'largo'; did you mean 'large'"),
        ('{ encoder = "large"', '{ encodr = "large"', "has no column 'encodr'; did you mean 'encoder'"),
        ('{ encoder = "large"', '{ encoder = ["large"]', "give one text or number"),
        ("resamples = 200", 'groups = { low = ["xx"] }', "none of the languages of group 'low'"),
        ("resamples = 200", 'low_group = "low"', "low_group is 'low'"),
        ("resamples = 200", 'families = { a = ["large-bass"] }', "unknown contrast 'large-bass'; did you mean 'large-base'"),
        ("[policy]", '[[interactions]]\nname = "i"\nplus = "large-base"\nminus = "x"\n[policy]', "names the contrast 'x'"),
        ("[policy]", '[[interactions]]\nname = "i"\nplus = "large-base"\n[policy]', "has no minus"),
        ("[[contrasts]]", "[contrasts]", "must be written as [[contrasts]]"),
    ],
)
@pytest.mark.promise("A mistake in a plan file is one sentence, and nothing is written")
def test_mistakes_in_a_plan_are_one_sentence(
    tables: tuple[pa.Table, pa.Table], tmp_path: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, sentence: str
) -> None:
    """Each gives one line that names the file, what is wrong and the nearest that is right, and exit code 2; nothing is written."""
    assert old in PLAN
    plan = write(tmp_path, *tables, PLAN.replace(old, new, 1))
    assert main(["analyse", str(tmp_path / "tables"), "--plan", str(plan), "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def spoilt(column: str, values: Callable[[int], Any]) -> Callable[[pa.Table], pa.Table]:
    """A change of one column."""
    return lambda table: table.set_column(table.column_names.index(column), column, pa.array(values(table.num_rows)))


@pytest.mark.parametrize(
    ("which", "change", "sentence"),
    [
        ("runs", lambda table: table.drop_columns(["run_id"]), "has no column 'run_id'"),
        ("examples", lambda table: table.drop_columns(["s0"]), "has no column 's0'"),
        ("examples", lambda table: table.drop_columns(["s1"]), "no finite s1"),
        ("examples", lambda table: table.drop_columns(["language"]), "has no column 'language'"),
        ("examples", spoilt("s0", lambda n: ["1"] * n), "the column 's0' holds string; it must hold numbers"),
        ("examples", spoilt("language", lambda n: [1.5] * n), "the column 'language' holds double; it must hold texts"),
        ("runs", lambda table: table.append_column("seed", pa.array(["a"] * table.num_rows)), "the column 'seed' holds string"),
        ("runs", lambda table: table.append_column("seed", pa.array([0.5] * table.num_rows)), "not whole"),
        ("runs", lambda table: table.slice(1), "does not list"),
    ],
)
def test_tables_that_cannot_be_meant_are_one_sentence(
    tables: tuple[pa.Table, pa.Table], tmp_path: Path, which: str, change: Callable[[pa.Table], pa.Table], sentence: str
) -> None:
    """Missing columns and wrong types name the file, the column and what it must hold."""
    runs, examples = tables
    plan = write(tmp_path, change(runs) if which == "runs" else runs, change(examples) if which == "examples" else examples)
    with pytest.raises(UserError, match=sentence):
        analyse_tables(tmp_path / "tables", plan, tmp_path / "out")


def test_files_that_cannot_be_read_are_one_sentence(tables: tuple[pa.Table, pa.Table], tmp_path: Path) -> None:
    """No folder, no runs, no parquet, neither examples nor scores, a file where the output should go."""
    plan = write(tmp_path, *tables)
    folder, out = tmp_path / "tables", tmp_path / "out"
    with pytest.raises(UserError, match="no such folder"):
        analyse_tables(tmp_path / "nowhere", plan, out)
    with pytest.raises(UserError, match="cannot be read"):
        analyse_tables(folder, tmp_path / "none.toml", out)
    out.write_text("")
    with pytest.raises(UserError, match="cannot be made a folder"):
        analyse_tables(folder, plan, out)
    out.unlink()
    (folder / "examples.parquet").write_bytes(b"no parquet")
    with pytest.raises(UserError, match="cannot be read as parquet"):
        analyse_tables(folder, plan, out)
    (folder / "examples.parquet").unlink()
    with pytest.raises(UserError, match="no column 'score'; give one of them"):
        analyse_tables(folder, plan, out)
    (folder / "runs.parquet").unlink()
    with pytest.raises(UserError, match="no such file"):
        analyse_tables(folder, plan, out)


def test_seeds_that_a_data_frame_made_floats_are_seeds(tables: tuple[pa.Table, pa.Table], tmp_path: Path) -> None:
    """1.0 is seed 1: the tables are those of whole numbers."""
    found = []
    for name, kind in (("a", pa.int64()), ("b", pa.float64())):
        (tmp_path / name).mkdir()
        plan = write(tmp_path / name, tables[0].append_column("seed", pa.array(range(tables[0].num_rows), kind)), tables[1])
        analyse_tables(tmp_path / name / "tables", plan, tmp_path / name / "out")
        found.append((tmp_path / name / "out" / "gains.csv").read_bytes())
    assert found[0] == found[1]
