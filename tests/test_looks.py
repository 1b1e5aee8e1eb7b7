"""A study with looks: arms get more seeds only while their gains are undecided, and the report claims what that allows."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raystilts import results
from raystilts.cli import main
from raystilts.errors import UserError
from raystilts.record import finish
from raystilts.stage import Encoder
from raystilts.store import Store
from raystilts.study import NONE, Plan, Study, make_plan
from raystilts.task import Source, Task

LANGUAGES = ("sw", "ur", "yo", "th")
RIGHT = {NONE: 0.5, "good": 0.85, "useless": 0.5}  # share of right predictions after each intermediate task


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """Data and an encoder that are never read: the store is filled by hand."""
    encoder = tmp_path / "enc"
    encoder.mkdir()
    (encoder / "config.json").write_text("{}")
    (encoder / "model.safetensors").write_bytes(b"weights")
    for name in ("train", "good", "useless", *(f"test-{code}" for code in LANGUAGES)):
        (tmp_path / f"{name}.tsv").write_text(f"{name}\tyes\nb\tno\n", encoding="utf-8")
    return tmp_path


def topic(name: str, **changes: object) -> Task:
    """A task in four languages."""
    return Task(name, "classification", "accuracy", languages=LANGUAGES, labels=("no", "yes"), **changes)


def study(**changes: object) -> Study:
    """One target, two intermediates, looks at 3 and 5 seeds."""
    source = Source(files=("train.tsv",), columns=("text", "label"))
    target = topic("topic", train=source, test=replace(source, files=("test-{language}.tsv",)))
    intermediates = tuple(topic(name, train=replace(source, files=(f"{name}.tsv",))) for name in ("good", "useless"))
    made = Study("s", "?", (Encoder("e", folder="enc"),), intermediates, (target,), (1, 2, 3, 4, 5), looks=(3, 5), margin=0.1)
    return replace(made, **changes)


def fill(plan: Plan, store: Store) -> None:
    """Leave in the store what a sweep would: predictions that are right as often as RIGHT says, by seed and language."""
    chosen = {cell.evaluation.key: cell for cell in plan.cells}
    for key, stage in plan.stages.items():
        folder = store.path(key)
        if folder.exists():
            continue
        (folder / "predictions").mkdir(parents=True)
        record = {"phase": stage.phase, "result": {"labels": [["no", "yes"]]}, "seconds": 1, "packages": {}}
        record["code"] = {"raystilts": "0", "git": None, "python": "3"}
        if stage.phase == "evaluate":
            cell = chosen[key]
            record["result"] = {"scores": {}, "num_parameters": 1}
            for number, language in enumerate(LANGUAGES):
                rng = np.random.default_rng([cell.seed or 0, list(RIGHT).index(cell.intermediate), number])
                right = rng.random(200) < RIGHT[cell.intermediate]
                table = {
                    "example_id": [str(place) for place in range(200)],
                    "cluster_id": pa.nulls(200, pa.string()),
                    "gold": ["yes"] * 200,
                    "prediction": ["yes" if is_right else "no" for is_right in right],
                    "s0": right.astype(float),
                }
                pq.write_table(pa.table(table), folder / "predictions" / f"{language}.parquet")
        (folder / "stage.json").write_text(json.dumps(record), encoding="utf-8")
        finish(folder)


def seeds_of(plan: Plan) -> dict[str, int]:
    """Intermediate -> number of seeds."""
    return {intermediate: number for (_, intermediate, _, _), number in plan.num_seeds.items()}


def test_only_undecided_arms_get_more_seeds(world: Path) -> None:
    """After the first look the arm with a large gain stops, the other and the baseline go on to the last; then nothing is asked for, and
    what is in the store beyond that changes nothing.
    """
    store = Store(world / "store")
    first = results.plan_of(study(), world, world, store)
    assert seeds_of(first) == {NONE: 3, "good": 3, "useless": 3}
    fill(first, store)
    second = results.plan_of(study(), world, world, store)
    assert seeds_of(second) == {NONE: 5, "good": 3, "useless": 5}
    assert set(first.stages) < set(second.stages)
    fill(second, store)
    assert seeds_of(results.plan_of(study(), world, world, store)) == seeds_of(second)
    every = results.plan_of(study(), world, world, store, all_seeds=True)
    assert seeds_of(every) == {NONE: 5, "good": 5, "useless": 5}
    fill(every, store)
    assert seeds_of(results.plan_of(study(), world, world, store)) == seeds_of(second)


def test_the_report_claims_what_looking_allows(world: Path) -> None:
    """Gains are those of the looks; a pooled claim about an arm that was stopped is refused without a number, until it has all seeds."""
    store = Store(world / "store")
    for _ in range(2):
        plan = results.plan_of(study(), world, world, store)
        fill(plan, store)
    lines = results.write(plan, store, world / "report", "raystilts run")
    assert any("refused" in line for line in lines)
    gains = pq.read_table(world / "report" / "tables" / "gains.parquet").to_pylist()
    claims = {intermediate: {row["claim"] for row in gains if row["intermediate"] == intermediate} for intermediate in ("good", "useless")}
    assert claims == {"good": {"gain"}, "useless": {"undecided"}}
    pooled = pq.read_table(world / "report" / "tables" / "pooled.parquet").to_pylist()
    for row in pooled:
        if row["intermediate"] == "good" and row["group"] == "all":
            assert row["claim"] == "refused"
            assert row["theta"] is None
            assert "needs all planned seeds" in row["reason"]
    assert any(row["claim"] == "undecided" for row in pooled if row["intermediate"] == "useless" and row["group"] == "all")
    assert "Seeds were added where gains were undecided" in (world / "report" / "report.md").read_text(encoding="utf-8")
    every = results.plan_of(study(), world, world, store, all_seeds=True)
    fill(every, store)
    results.write(every, store, world / "whole", "raystilts run")
    pooled = pq.read_table(world / "whole" / "tables" / "pooled.parquet").to_pylist()
    assert {row["claim"] for row in pooled if row["intermediate"] == "good" and row["estimand"] == "fixed_languages"} >= {"gain"}


def test_a_stage_that_is_missing_stops_the_looking(world: Path) -> None:
    """No look is taken while anything of the plan so far is missing."""
    store = Store(world / "store")
    plan = results.plan_of(study(), world, world, store)
    fill(plan, store)
    last = plan.cells[-1].evaluation.key
    (store.path(last) / "stage.json").unlink()
    assert seeds_of(results.plan_of(study(), world, world, store)) == {NONE: 3, "good": 3, "useless": 3}


@pytest.mark.parametrize("looks", [(1, 5), (3, 4), (5, 3), (3, 3, 5)])
def test_looks_that_cannot_be_are_refused(world: Path, looks: tuple[int, ...]) -> None:
    """Looks rise from two seeds to all of the study's."""
    with pytest.raises(UserError, match="give increasing numbers of seeds, from 2 on to all 5"):
        make_plan(study(looks=looks), world, world)


@pytest.mark.slow
def test_run_takes_the_looks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`raystilts run` adds seeds by itself until nothing asks for more; a second run trains nothing and says the same."""
    tests = Path(__file__).parent
    (tmp_path / "looks.py").write_text(
        f"import sys\nsys.path.insert(0, {str(tests)!r})\nfrom dataclasses import replace\nfrom places import smoke\n\n"
        "def study():\n    made = smoke()\n"
        "    return replace(made, name='looks', seeds=(1, 2, 3), looks=(2, 3), encoders=made.encoders[:1], margin=30.0)\n",
        encoding="utf-8",
    )
    command = ["run", str(tmp_path / "looks.py"), "--in-process", "--store", str(tmp_path / "store")]
    assert main(command) == 0
    first = capsys.readouterr().out
    assert "a look was taken" in first
    assert main(command) == 0
    second = capsys.readouterr().out
    assert "nothing to run" in second
    assert first.splitlines()[-8:] == second.splitlines()[-8:]
