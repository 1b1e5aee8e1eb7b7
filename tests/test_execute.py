"""Records of stages, and what is looked at before anything runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from places import smoke

from raystilts.cli import parser, site_of
from raystilts.execute import PACKAGES
from raystilts.record import sha256
from raystilts.store import Store
from raystilts.study import make_plan

PLAN = make_plan(smoke())


def test_a_record_says_how_its_stage_was_made(smoke_store: Path) -> None:
    """stage.json holds recipe, lineage, versions, revision, durations, and the hash of every file as it is on disk."""
    store = Store(smoke_store)
    for key, stage in PLAN.stages.items():
        record = store.record(key)
        assert record["key"] == key
        assert [step["key"] for step in record["lineage"]] == [ancestor.key for ancestor in stage.lineage]
        assert set(record["packages"]) == set(PACKAGES)
        assert record["seconds"] >= 0
        if stage.recipe:
            assert record["lineage"][-1]["recipe"]["learning_rate"] == stage.recipe.learning_rate
        files = {str(path.relative_to(store.path(key))) for path in store.path(key).rglob("*") if path.is_file()} - {"stage.json"}
        assert set(record["files"]) == files
        assert all(facts["sha256"] == sha256(store.path(key) / name) for name, facts in record["files"].items())


@pytest.mark.promise("No value of an environment variable gets into a record")
def test_records_hold_no_environment(smoke_store: Path) -> None:
    """No value of an environment variable and no user name gets into a record."""
    texts = "".join(path.read_text(encoding="utf-8") for path in (smoke_store / "stages").glob("*/stage.json"))
    assert "PATH" not in texts
    assert str(Path.home()) not in texts


def test_every_training_logs_its_steps(smoke_store: Path) -> None:
    """log.jsonl holds the workers and then one line a step, as many as the recipe has."""
    for key, stage in PLAN.stages.items():
        if stage.phase == "train":
            first, *steps = (json.loads(line) for line in (Store(smoke_store).path(key) / "log.jsonl").read_text().splitlines())
            assert [worker["rank"] for worker in first["workers"]] == [0]
            assert [line["step"] for line in steps] == list(range(1, stage.recipe.num_steps + 1))


def test_how_a_training_runs_reaches_its_workers(tmp_path: Path) -> None:
    """The flags that change time and memory alone are in the site of the command, and from there in every worker, whatever its rank."""
    for flags, expected in (((), (True, False)), (("--no-compaction", "--recompute"), (False, True))):
        options = parser().parse_args(["run", "experiment.py", *flags])
        site = site_of(Store(tmp_path), options)
        for worker in (site.worker(), site.worker(1, 2, "cuda:1")):
            assert (worker.compaction, worker.recompute) == expected
        assert (worker.rank, worker.world_size, worker.device) == (1, 2, "cuda:1")
