"""Logging: what the services have is what the store has, and no service can stop a sweep."""

from __future__ import annotations

import importlib.util
import json
import shutil
import struct
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from places import SMOKE, smoke

from raystilts import tracking
from raystilts.cli import main
from raystilts.store import Store
from raystilts.study import make_plan
from raystilts.tracking import Runs, Teller, Tracking, is_told, loggers, parameters

PLAN = make_plan(smoke())
KEY = next(key for key in PLAN.stages if PLAN.label(key) == "target kind, nano, after alignment > currency, seed 2")


@dataclass
class Trial:
    """What a trial of Tune's is to a callback."""

    trial_id: str = "t1"
    config: dict[str, Any] = field(default_factory=lambda: {"run": parameters(PLAN, KEY)})


@pytest.fixture
def callbacks_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray's callbacks without a sweep, and MLflow that accepts files. What is set is undone, also what MLflow sets itself."""
    monkeypatch.setenv("RAY_AUTH_MODE", "token")  # a process that has imported Ray can no longer choose, and this one may start it later
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    monkeypatch.delenv("MLFLOW_TRACKING_URI")


def client(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """MLflow's own reader of a file store."""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    from mlflow.tracking import MlflowClient  # noqa: PLC0415  takes seconds

    return MlflowClient(folder.as_uri())


def mlflow_runs(reader: Any, project: str) -> dict[str, Any]:
    """Key of the stage -> its run."""
    runs = reader.search_runs([reader.get_experiment_by_name(project).experiment_id], max_results=1000)
    found = {run.data.params["key"]: run for run in runs}
    assert len(found) == len(runs)
    return found


def tensorboard_scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Tag -> (step, value) of all event files of a folder: records of length, checksum, event, checksum."""
    from tensorboardX.proto.event_pb2 import Event  # noqa: PLC0415

    found: dict[str, list[tuple[int, float]]] = {}
    for path in sorted(folder.glob("events.out.tfevents.*")):
        content, place = path.read_bytes(), 0
        while place < len(content):
            (length,) = struct.unpack_from("<Q", content, place)
            event = Event.FromString(content[place + 12 : place + 12 + length])
            place += 16 + length
            for value in event.summary.value:
                if value.HasField("simple_value"):
                    found.setdefault(value.tag.removeprefix("ray/tune/"), []).append((event.step, value.simple_value))
    return found


def losses(store: Store, key: str) -> list[tuple[int, float]]:
    """(step, loss) of a training's log."""
    lines = [json.loads(line) for line in (store.path(key) / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    return [(line["step"], line["loss"]) for line in lines if "loss" in line]


@pytest.mark.slow
def test_a_logged_sweep_is_in_mlflow_and_tensorboard_as_in_the_store(
    smoke_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One run a job, by readable names, with parameters, the whole history of losses and all scores of the store, in a local file store
    of MLflow read by its own client and in TensorBoard's event files; the store is that of a sweep which is not logged.
    """
    store = Store(tmp_path / "store")
    shutil.copytree(smoke_store, store.root)
    gone = next(key for key in PLAN.stages if PLAN.roles[key] == "intermediate")
    below = [key for key, stage in PLAN.stages.items() if gone in {above.key for above in stage.lineage}]
    jobs = {key for key in below if PLAN.stages[key].phase == "train"} | {
        key for key in below if PLAN.stages[key].phase == "evaluate" and PLAN.stages[key].parent.key not in below
    }
    for key in below:
        shutil.rmtree(store.path(key))
    command = [sys.executable, "-m", "raystilts.cli", "run", SMOKE, "--store", "store", "--log-to", "tensorboard", "mlflow"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ends here" not in done.stderr
    for key in PLAN.stages:
        files, before = store.record(key)["files"], Store(smoke_store).record(key)["files"]
        assert files.keys() == before.keys()
        assert all(files[name] == before[name] for name in files if name != "log.jsonl")

    reader = client(store.root / "logs" / "mlflow", monkeypatch)
    runs = mlflow_runs(reader, PLAN.study.name)
    assert runs.keys() == jobs
    assert len(list((store.root / "logs" / "tensorboard").iterdir())) == len(jobs)
    for key, run in runs.items():
        (folder,) = (store.root / "logs" / "tensorboard").glob(f"* {key[:8]}")
        shown = tensorboard_scalars(folder)
        assert run.info.run_name == PLAN.label(key) == folder.name.removesuffix(f" {key[:8]}")
        assert run.info.status == "FINISHED"
        assert run.data.params == {name: str(value) for name, value in parameters(PLAN, key).items()}
        assert run.data.params["learning_rate"] == str(PLAN.stages[key].recipe.learning_rate)
        history = [(entry.step, entry.value) for entry in reader.get_metric_history(run.info.run_id, "loss")]
        assert history == losses(store, key)
        assert shown["loss"] == [(step, pytest.approx(loss)) for step, loss in history]
        assert run.data.metrics["dev_score"] == store.record(key)["result"]["dev_score"]
        evaluations = [child for child in PLAN.children[key] if PLAN.stages[child].phase == "evaluate"]
        assert evaluations
        for child in evaluations:
            result = store.record(child)["result"]
            for language, score in result["scores"].items():
                name = f"{PLAN.stages[child].task.name}/{result['metric']}/{language}"
                assert run.data.metrics[name] == score
                assert shown[name] == [(history[-1][0], pytest.approx(score))]


@pytest.mark.parametrize("num_steps", [5, 100, 1234])
def test_a_trial_tells_every_step_of_a_short_training_and_thins_a_long_one(num_steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Points come in order, none twice, all up to step 100, and always the last with what was scored after it; no report per step."""
    clock = iter(range(10**6))
    monkeypatch.setattr(tracking.time, "monotonic", lambda: next(clock) / 10)
    reports: list[dict[str, Any]] = []
    tell = Teller(reports.append)
    tell({"event": "start", "items": 7})
    for step in range(1, num_steps + 1):
        tell({"step": step, "loss": 1 / step, "learning_rate": 0.1, "task": "kind"})
    tell.close([{"dev_score": 50.0}, {"kind/accuracy/sw": 40.0}])
    points = [point for report in reports for point in report["points"]]
    assert points[-2:] == [(num_steps, {"dev_score": 50.0}), (num_steps, {"kind/accuracy/sw": 40.0})]
    steps = [step for step, _ in points[:-2]]
    assert steps == [step for step in range(1, num_steps + 1) if is_told(step) or step == num_steps]
    assert steps[:100] == list(range(1, num_steps + 1))[:100]
    assert all(numbers == {"loss": 1 / step, "learning_rate": 0.1} for step, numbers in points[:-2])
    assert len(reports) <= num_steps / 5 + 2
    assert reports[-1]["failed"] is False


@pytest.mark.usefixtures("callbacks_alone")
@pytest.mark.promise("A logging service that dies or hangs stops nothing")
def test_a_service_that_dies_or_hangs_stops_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow's store goes while a run is written: one line says so, and the other service gets everything; one that hangs is left."""
    monkeypatch.setattr(tracking, "PATIENCE", 0.5)
    held = threading.Event()

    class Hanging:
        """Answers when it is too late."""

        def log_trial_start(self, run: Any) -> None:
            held.wait(60)

    found = Tracking(("mlflow", "tensorboard"), tmp_path, "study")
    callbacks = loggers(found)
    runs = Runs(found, callbacks | {"hanging": Hanging()})
    trial = Trial()
    runs.start(trial)
    runs.told(trial, {"points": [(1, {"loss": 2.0})]})
    while runs.writers[0].num_done < 2:
        assert runs.writers[0].thread.is_alive()
    shutil.rmtree(tmp_path / "mlflow")
    runs.told(trial, {"points": [(2, {"loss": 1.5}), (3, {"loss": 1.25})], "failed": False})
    runs.end(trial)
    runs.close()
    held.set()
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2
    assert said[0].startswith("logging to mlflow ends here, the sweep goes on: ")
    assert said[1] == "logging to hanging ends here, the sweep goes on: it has not answered for 0 s"
    (folder,) = (tmp_path / "tensorboard").iterdir()
    assert tensorboard_scalars(folder)["loss"] == [(1, 2.0), (2, 1.5), (3, 1.25)]


@pytest.mark.usefixtures("callbacks_alone")
def test_a_failed_job_is_a_failed_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that left no result, and one whose process died, are shown as failed."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "elsewhere").as_uri())
    found = Tracking(("mlflow",), tmp_path, "study")
    runs = Runs(found, loggers(found))
    ends = {"done": (False, False), "raised": (True, False), "died": (False, True)}
    for name, (failed, died) in ends.items():
        trial = Trial(name, {"run": {"name": name, "key": name}})
        runs.start(trial)
        runs.told(trial, {"points": [], "failed": failed})
        runs.end(trial, died=died)
    runs.close()
    reader = client(tmp_path / "elsewhere", monkeypatch)  # MLFLOW_TRACKING_URI was followed
    status = {name: run.info.status for name, run in mlflow_runs(reader, "study").items()}
    assert status == {"done": "FINISHED", "raised": "FAILED", "died": "FAILED"}


def test_what_cannot_be_logged_to_is_said_before_anything_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A package that is not installed, and logging without Ray: one sentence, exit code 2, no store."""
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "wandb" else find(name, *more))
    store = tmp_path / "store"
    for verb in (["run"], ["tune", "--task", "kind"]):
        assert main([*verb, SMOKE, "--store", str(store), "--log-to", "mlflow", "wandb"]) == 2
        assert "--log-to wandb: the package wandb is not installed; pip install 'raystilts[wandb]'." in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main(["run", SMOKE, "--store", str(store), "--in-process", "--log-to", "mlflow"])
    assert "not allowed with argument" in capsys.readouterr().err
    assert not (store / "stages").exists() or not list((store / "stages").iterdir())


@pytest.mark.usefixtures("callbacks_alone")
def test_weights_and_biases_is_told_where_and_how(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray's callback for it has the study's name as project, and the mode that WANDB_MODE names."""
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    found = loggers(Tracking(("wandb",), tmp_path, "study"))["wandb"]
    assert (found.project, found.kwargs["mode"]) == ("study", "offline")
    assert found.group
