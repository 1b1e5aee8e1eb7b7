"""`raystilts analyse` on tables and plans of strangers: a report, or one sentence."""

from __future__ import annotations

import io
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mutations import mutated
from promises import tried

from raystilts import analyse as module
from raystilts.analyse import analyse_tables
from raystilts.errors import UserError
from raystilts.planfile import read_plan

sys.path.insert(0, str(Path(__file__).parent / "stats"))
from stats_tables import as_tables, random_rows

PLAN = """
title = "t"
question = "q"
metric = "micro_f1"
margin = 1.0
alpha = 0.05
resamples = 100
seed = 3
paired_seeds = false
low_group = "low"
[groups]
low = ["sw", "te"]
[covariate]
sw = 1.5
[families]
f = ["large-base"]
[[contrasts]]
name = "large-base"
plus = { encoder = "large", intermediate = "none" }
minus = { encoder = "base", intermediate = "none" }
labels = { encoder = "large" }
[[contrasts]]
name = "mnli"
plus = { encoder = "base", intermediate = "mnli" }
minus = { encoder = "base", intermediate = "none" }
[[interactions]]
name = "i"
plus = "large-base"
minus = "mnli"
[policy]
collapsed = ["all", "converged"]
duplicates = "drop"
"""
VALUES: tuple[Any, ...] = (
    *(None, "", " ", "a", "none", "large", "base", "sw", "\0", "\u202e", "é", 0, 1, -1, 2**62, -(2**63), 0.5, 1.5, 1e308, -1e308, True),
    *(float("nan"), float("inf"), float("-inf"), 5e-324, b"\xff", [1], ["a"], {"a": 1}),
)


@pytest.fixture(scope="module")
def tables() -> tuple[pa.Table, pa.Table]:
    """A small study."""
    runs, examples = random_rows(np.random.default_rng(0), metric="micro_f1", languages=("sw", "te", "de"), num_examples=lambda _: 22)
    return as_tables(runs, examples)


def outcome(work: Callable[[], Any]) -> str:
    """The sentence of a UserError, or nothing; anything else is raised."""
    said = ""
    try:
        work()
    except UserError as error:
        said = str(error)
    assert "\n" not in said, said
    return said


def spoilt(random: Random, table: pa.Table) -> pa.Table:
    """A table after one to three changes: of columns, types, rows or single values."""
    for _ in range(random.randint(1, 3)):
        names = table.column_names
        place = random.randrange(max(1, len(names)))
        change = random.randrange(7)
        if not names or change == 0:
            table = table.append_column(random.choice(("seed", "status", "target", "score", "s0", "x")), _column(random, len(table)))
        elif change == 1:
            table = table.remove_column(place)
        elif change == 2:
            table = table.set_column(place, names[place], _column(random, len(table)))
        elif change == 3:
            table = table.slice(random.randint(0, len(table)), random.randint(0, len(table)))
        elif change == 4:
            table = pa.concat_tables([table, table.slice(random.randint(0, len(table)), 3)])
        elif change == 5:
            table = table.rename_columns([random.choice((*names, "s0")) if at == place else name for at, name in enumerate(names)])
        else:
            values = table.column(place).to_pylist()
            if values:
                values[random.randrange(len(values))] = random.choice(VALUES)
            try:
                table = table.set_column(place, names[place], pa.array(values))
            except (pa.ArrowException, OverflowError):
                continue
    return table


def _column(random: Random, length: int) -> pa.Array:
    values = [random.choice(VALUES)] * length
    if random.random() < 0.5:
        values = random.choice(([random.randint(-3, 9) for _ in range(length)], [str(at) for at in range(length)], [None] * length))
    return pa.array(values)


def write(folder: Path, runs: bytes, examples: bytes, plan: bytes) -> None:
    """What the command is given."""
    (folder / "tables").mkdir(exist_ok=True)
    (folder / "tables" / "runs.parquet").write_bytes(runs)
    (folder / "tables" / "examples.parquet").write_bytes(examples)
    (folder / "plan.toml").write_bytes(plan)


def parquet(table: pa.Table) -> bytes:
    """Its file."""
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()


def analysed(folder: Path) -> str:
    """What the command says."""
    return outcome(lambda: analyse_tables(folder / "tables", folder / "plan.toml", folder / "out"))


@pytest.fixture
def unreported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stops before the report, which takes longer than all before it."""

    def stop(*_: Any) -> Path:
        raise UserError("stopped before the report")

    monkeypatch.setattr(module, "write_report", stop)


def fuzz(tables: tuple[pa.Table, pa.Table], folder: Path, seeds: range) -> None:
    """Spoilt tables, files and plans in turn."""
    files = tuple(map(parquet, tables))
    for seed in seeds:
        random = Random(seed)  # noqa: S311
        runs, examples, plan = *files, PLAN.encode()
        which = seed % 4
        try:
            if which == 0:
                runs = parquet(spoilt(random, tables[0]))
            elif which == 1:
                examples = parquet(spoilt(random, tables[1]))
        except pa.ArrowException:
            continue  # such a table cannot be written
        if which == 2:
            runs, examples = random.choice(((mutated(random, [runs]), examples), (runs, mutated(random, [examples]))))
        elif which == 3:
            plan = mutated(random, [plan])
        write(folder, runs, examples, plan)
        try:
            analysed(folder)
        except Exception as error:
            raise AssertionError(f"seed {seed}") from error
        tried()


@pytest.mark.promise(
    "Whatever tables and plan `raystilts analyse` is given, it ends in a report or in one sentence",
    found="two columns of one name, a batch of runs that are all left out, damaged pages, huge numbers, texts that are not UTF-8",
)
@pytest.mark.usefixtures("unreported")
def test_spoilt_tables_and_plans_are_one_sentence(tables: tuple[pa.Table, pa.Table], tmp_path: Path) -> None:
    """Columns of other types, absent, twice, with extreme values; damaged files; damaged plans."""
    fuzz(tables, tmp_path, range(240))


@pytest.mark.soak
@pytest.mark.promise("The same for ten thousand tables and plans")
@pytest.mark.usefixtures("unreported")
def test_many_spoilt_tables_and_plans_are_one_sentence(tables: tuple[pa.Table, pa.Table], tmp_path: Path) -> None:
    """The same, more often."""
    fuzz(tables, tmp_path, range(1000, 11_000))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda table: table.append_column("s0", table["s0"]), "two columns of the name 's0'"),
        (lambda table: table.set_column(3, "s0", pa.array([2**62] * len(table))), "number that is too large"),
        (lambda table: table.set_column(4, "s1", pa.array([1e300] * len(table))), "counts of at most 1e"),
        (lambda table: table.set_column(1, "language", pa.array([b"\xe9"] * len(table)).view(pa.string())), "(cannot be read|not UTF-8)"),
    ],
)
def test_finds_of_the_fuzzing_stay_mended(
    tables: tuple[pa.Table, pa.Table], tmp_path: Path, change: Callable[[pa.Table], pa.Table], sentence: str
) -> None:
    """Tables that once ended in a traceback."""
    write(tmp_path, parquet(tables[0]), parquet(change(tables[1])), PLAN.encode())
    with pytest.raises(UserError, match=sentence):
        analyse_tables(tmp_path / "tables", tmp_path / "plan.toml", tmp_path / "out")


def test_runs_that_are_all_left_out_have_a_report(tables: tuple[pa.Table, pa.Table], tmp_path: Path) -> None:
    """Where no run is ok there is nothing to claim, and the report says which runs there were."""
    runs = tables[0].set_column(tables[0].column_names.index("status"), "status", pa.array(["diverged"] * len(tables[0])))
    write(tmp_path, parquet(runs), parquet(tables[1]), PLAN.replace("[groups]\nlow", "[groups]\nlow").encode())
    analyse_tables(tmp_path / "tables", tmp_path / "plan.toml", tmp_path / "out")
    assert "diverged" in (tmp_path / "out" / "findings.csv").read_text(encoding="utf-8")


@pytest.mark.promise("A plan file of any bytes or values is a plan or one sentence")
@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_plan_is_a_plan_or_one_sentence(tmp_path: Path, data: st.DataObject) -> None:
    """Each value of a valid plan is replaced by one of another type; or there are bytes that nobody thought of."""
    path = tmp_path / "plan.toml"
    values = st.sampled_from(
        ["1", "-1", "1.5", "nan", "inf", "true", '""', '"all"', '"low"', "[]", "[1]", '["all"]', "{}", "{ a = 1 }", "1979-05-27"]
    )
    if data.draw(st.booleans()):
        lines = PLAN.strip().splitlines()
        place = data.draw(st.sampled_from([at for at, line in enumerate(lines) if " = " in line]))
        lines[place] = f"{lines[place].partition(' = ')[0]} = {data.draw(values)}"
        tomllib.loads("\n".join(lines))
        path.write_text("\n".join(lines))
    else:
        path.write_bytes(data.draw(st.binary(max_size=60)))
    outcome(lambda: read_plan(path))
