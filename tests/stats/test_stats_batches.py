"""Examples in one table, in files or in pieces: the same rows give the same analysis, and what cannot be read is named."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from stats_tables import as_tables, random_rows

from raystilts.stats import Contrast, Plan, StatsError, analyse
from raystilts.stats.batches import compact, read_test_sets

PLAN = Plan(
    tuple(Contrast(t, {"intermediate": "mnli", "target": t}, {"intermediate": "none", "target": t}) for t in ("t", "u")),
    metric={"t": "micro_f1", "u": "accuracy"},
    resamples=200,
)


def study() -> tuple[pa.Table, pa.Table]:
    """Two targets, of which one has more columns than the other, with clusters, missing cells and codes of predictions."""
    rng = np.random.default_rng(0)
    runs, examples = random_rows(rng, metric="micro_f1", encoders=("base",), clusters=4, missing=0.3)
    more_runs, more = random_rows(rng, encoders=("base",))
    runs += [run | {"run_id": f"u {run['run_id']}", "target": "u"} for run in more_runs]
    examples += [row | {"run_id": f"u {row['run_id']}", "prediction_code": int(rng.integers(-(2**62), 2**62))} for row in more]
    return as_tables(runs, examples)


def folder(table: pa.Table, path: Path) -> Path:
    """The table as a folder of three files."""
    for i in range(3):
        pq.write_table(
            table.slice(i * len(table) // 3, (i + 1) * len(table) // 3 - i * len(table) // 3), path / f"{i}.parquet", row_group_size=50
        )
    return path


def single(table: pa.Table, path: Path) -> Path:
    """The table as one file."""
    pq.write_table(table, path / "examples.parquet")
    return path / "examples.parquet"


def encoded(table: pa.Table) -> pa.Table:
    """The table with its texts as dictionaries."""
    for name in ("run_id", "language", "example_id", "cluster_id"):
        table = table.set_column(table.column_names.index(name), name, table[name].dictionary_encode())
    return table


def by_target(table: pa.Table) -> list[pa.Table]:
    """One table per target, without the columns that the target does not have."""
    other = pa.compute.starts_with(table["run_id"], "u ")
    first, second = table.filter(pa.compute.invert(other)), table.filter(other)
    return [second.drop_columns(["s1", "s2", "cluster_id"]), first.drop_columns(["prediction_code"])]


FORMS: dict[str, Callable[[pa.Table, Path], Any]] = {
    "folder": folder,
    "name of a file": lambda table, path: str(single(table, path)),
    "dataset": lambda table, path: ds.dataset(folder(table, path)),
    "small batches": lambda table, path: iter(table.to_batches(max_chunksize=7)),
    "shuffled": lambda table, path: table.take(np.random.default_rng(1).permutation(len(table))),
    "dictionaries": lambda table, path: encoded(table),
    "dictionaries in pieces": lambda table, path: [encoded(table.slice(i, 11)) for i in range(0, len(table), 11)],
    "one table per target": lambda table, path: by_target(table),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("rows", [1 << 20, 40])
def test_how_examples_arrive_changes_nothing(form: str, rows: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files, datasets, batches of any size and order, and tables with differing columns give the analysis of the whole table."""
    runs, examples = study()
    whole = analyse(runs, examples, PLAN)
    monkeypatch.setattr("raystilts.stats.batches.ROWS", rows)
    found = analyse(runs, FORMS[form](examples, tmp_path), PLAN)
    for name in whole.__dataclass_fields__:
        assert getattr(found, name).equals(getattr(whole, name)), name


def test_examples_of_runs_that_failed_are_skipped() -> None:
    """A run whose status is not "ok" adds no rows, not even where its statistics are missing."""
    runs, examples = study()
    rows = runs.to_pylist()
    rows[0]["status"] = "failed"
    index = {row["run_id"]: i for i, row in enumerate(rows)}
    found = list(read_test_sets(examples, index, [row["target"] for row in rows], [row["status"] == "ok" for row in rows]))
    assert sum(len(part.run) for part in found) == sum(row != rows[0]["run_id"] for row in examples["run_id"].to_pylist())
    assert [(part.target, part.language) for part in found] == [(t, language) for t in ("t", "u") for language in ("de", "sw", "te")]


@pytest.mark.parametrize("values", [[0.0, 1.0, -3.0], [0.5, 0.25], [1 / 3], [40000.0], [1e300], [2.0**24 + 1], []])
def test_compact_values_are_the_same_numbers(values: list[float]) -> None:
    """The smaller type is used only where it holds every value exactly."""
    assert compact(np.array(values)).astype(np.float64).tolist() == values


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    """A path without parquet files, missing columns and unknown runs are refused in a sentence, in pieces as in one table."""
    runs, examples = study()
    with pytest.raises(StatsError, match=r"nowhere.*cannot be read as parquet"):
        analyse(runs, tmp_path / "nowhere", PLAN)
    (tmp_path / "text.parquet").write_text("no parquet")
    with pytest.raises(StatsError, match="cannot be read as parquet"):
        analyse(runs, tmp_path / "text.parquet", PLAN)
    pq.write_table(examples.slice(0, 0).drop_columns(["language"]), tmp_path / "empty.parquet")
    with pytest.raises(StatsError, match="no column 'language'"):
        analyse(runs, tmp_path / "empty.parquet", PLAN)
    with pytest.raises(StatsError, match="which the table runs does not list"):
        analyse(runs.slice(1), iter(examples.to_batches(max_chunksize=5)), PLAN)
    with pytest.raises(StatsError, match="has nulls"):
        analyse(runs, [examples, pa.table({name: [None] for name in examples.column_names}, examples.schema)], PLAN)


SCRIPT = """
import resource
import numpy as np
import pyarrow as pa
from raystilts.stats import batches
from raystilts.stats.tables import read
texts = pa.array([f"example number {i} of a test set" for i in range(5000)])
def pieces():
    for language in range(20):
        for run in range(20):
            columns = {"run_id": pa.array([f"r{run}"] * 5000), "language": pa.array([f"l{language}"] * 5000), "example_id": texts}
            yield pa.table(columns | {"s0": np.ones(5000)})
batches.ROWS = 1 << 17
runs = pa.table({"run_id": [f"r{i}" for i in range(20)], "seed": list(range(20))})
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
read(runs, pieces(), lambda target: "accuracy")
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


def test_memory_is_that_of_codes_not_of_texts() -> None:
    """Two million rows in batches need under 40 bytes a row, though their texts and numbers take more than 60."""
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert float(done.stdout) * 2**20 / 2e6 < 40
