"""Tracking: what a sweep trains and scores, in TensorBoard, MLflow or Weights & Biases, through Ray's own callbacks.

A trial hands what there is to tell to Tune (`Teller`), in the driver each of Ray's callbacks writes it in a thread of its own (`Writer`),
one run a trial. Nothing here changes or stops a sweep: a service that raises, or hangs at the end, is given up with one line.
"""

from __future__ import annotations

import importlib.util
import os
import queue
import re
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from raystilts.errors import UserError
from raystilts.masking import masked
from raystilts.study import Plan

PACKAGES = {"tensorboard": "tensorboardX", "mlflow": "mlflow", "wandb": "wandb"}
EVERY = 1.0  # seconds between a trial's reports: each costs a round trip to the driver
PATIENCE = 60.0  # seconds that a service may take for one call when the sweep is over


@dataclass(frozen=True)
class Tracking:
    """Which services a sweep is written to, the folder of what they leave here, and what they call the sweep."""

    services: tuple[str, ...]
    folder: Path
    project: str

    def __post_init__(self) -> None:
        for service in self.services:
            if importlib.util.find_spec(PACKAGES[service]) is None:
                raise UserError(
                    f"--log-to {service}: the package {PACKAGES[service]} is not installed; pip install 'raystilts[{service}]'."
                )


@dataclass(frozen=True)
class Run:
    """What Ray's callbacks ask a trial for: its name, what it was given, and a folder to write into."""

    trial_id: str
    name: str
    config: Mapping[str, Any]
    local_path: str
    experiment_dir_name: str

    def __str__(self) -> str:
        return self.name

    def __hash__(self) -> int:
        return hash(self.trial_id)

    @property
    def evaluated_params(self) -> Mapping[str, Any]:
        """What TensorBoard shows as hyperparameters."""
        return self.config

    def init_local_path(self) -> None:
        """The folder is there afterwards."""
        Path(self.local_path).mkdir(parents=True, exist_ok=True)


def parameters(plan: Plan, key: str) -> dict[str, Any]:
    """What is said of a stage's run: its name and key, what it is of, and the fields of its recipe that are set."""
    stage = plan.stages[key]
    before = " > ".join(above.task.name for above in stage.lineage[:-1] if above.task and above.phase == "train")
    found: dict[str, Any] = {
        "name": plan.label(key),
        "key": key,
        "phase": stage.phase,
        "role": plan.roles[key],
        "encoder": plan.encoders[key],
    }
    found |= {"task": stage.task.name if stage.task else None, "after": before or None, "seed": stage.seed}
    found |= asdict(stage.recipe) if stage.recipe else {}
    return {name: value for name, value in found.items() if value is not None}


def scores(record: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a finished stage: on English dev, or TASK/METRIC/LANGUAGE and the mean over languages."""
    result, task = record["result"], record["lineage"][-1]["task"]
    if record["phase"] != "evaluate":
        return {name: result[name] for name in ("dev_score", "examples_per_second") if result.get(name) is not None}
    found: dict[str, float] = {}
    for metric, of_language in ({result["metric"]: result["scores"]} | result.get("also", {})).items():
        found |= {f"{task}/{metric}/{language}": score for language, score in of_language.items()}
        found[f"{task}/{metric}/mean"] = sum(of_language.values()) / len(of_language)
    return found


def is_told(step: int) -> bool:
    """Whether a step is shown: all up to 100, then every tenth, from 1,000 on every hundredth, and so on. MLflow takes 5 ms for each."""
    return step % int(10 ** max(0, len(str(step)) - 2)) == 0


class Teller:
    """A trial's side: collects points, (step, numbers by name), and reports them at most every EVERY seconds."""

    def __init__(self, report: Callable[[dict[str, Any]], None]) -> None:
        self.report, self.last = report, time.monotonic()
        self.points: list[tuple[int, dict[str, float]]] = []
        self.step = 0
        self.held: dict[str, float] = {}

    def __call__(self, line: Mapping[str, Any]) -> None:
        """A line of the log of a training."""
        if "loss" not in line:
            return
        self.step, self.held = line["step"], {"loss": line["loss"], "learning_rate": line["learning_rate"]}
        if is_told(self.step):
            self._tell()
        if self.points and time.monotonic() - self.last >= EVERY:
            self.report({"points": self.points})
            self.points, self.last = [], time.monotonic()

    def close(self, numbers: Iterable[dict[str, float]], *, failed: bool = False) -> None:
        """The last step, and what was scored after it."""
        self._tell()
        self.points += [(self.step, of_stage) for of_stage in numbers]
        self.report({"points": self.points, "failed": failed})

    def _tell(self) -> None:
        if self.held:
            self.points.append((self.step, self.held))
            self.held = {}


class Writer:
    """The driver's side of a service: calls its callback in a thread; after an exception says so and calls it no more."""

    def __init__(self, service: str, callback: Any) -> None:
        self.service, self.callback, self.num_done = service, callback, 0
        self.calls: queue.SimpleQueue[tuple[str, tuple[Any, ...]] | None] = queue.SimpleQueue()
        self.thread = threading.Thread(target=self._work, name=f"log to {service}", daemon=True)
        self.thread.start()

    def call(self, method: str, *arguments: Any) -> None:
        """Have it done, some time."""
        if self.thread.is_alive():
            self.calls.put((method, arguments))

    def close(self) -> None:
        """Wait for all calls to be done, as long as they go on."""
        self.calls.put(None)
        before = -1
        while self.thread.is_alive() and before < (before := self.num_done):
            self.thread.join(PATIENCE)
        if self.thread.is_alive():
            self._give_up(f"it has not answered for {PATIENCE:.0f} s")

    def _work(self) -> None:
        while (call := self.calls.get()) is not None:
            try:
                getattr(self.callback, call[0])(*call[1])
            except Exception as error:  # whatever it is, the sweep does not need it
                self._give_up(f"{type(error).__name__}: {error}".strip().splitlines()[0])
                return
            self.num_done += 1

    def _give_up(self, reason: str) -> None:
        print(f"logging to {self.service} ends here, the sweep goes on: {reason}", file=sys.stderr, flush=True)


def loggers(tracking: Tracking) -> dict[str, Any]:
    """Ray's callbacks, ready to be called. Raises UserError where a service cannot be reached."""
    found: dict[str, Any] = {}
    for service in tracking.services:
        try:
            if service == "tensorboard":
                from ray.tune.logger import TBXLoggerCallback  # noqa: PLC0415

                found[service] = TBXLoggerCallback()
            elif service == "mlflow":
                found[service] = _mlflow(tracking)
            else:
                found[service] = _wandb(tracking)
            found[service].setup()
        except Exception as error:
            reason = masked(f"{type(error).__name__}: {error}").strip().splitlines()[0]
            raise UserError(f"--log-to {service}: cannot be written to ({reason}); see to it, or leave it out.") from error
    return found


def _mlflow(tracking: Tracking) -> Any:
    """A local file store unless MLFLOW_TRACKING_URI says otherwise; MLflow 3 has to be told that this is meant."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")  # not four minutes for a server that is gone
    if (place := os.environ.get("MLFLOW_TRACKING_URI")) is None:
        place = (tracking.folder / "mlflow").as_uri()
    if place.startswith("file:") or "://" not in place:
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
    from ray.air.integrations.mlflow import MLflowLoggerCallback  # noqa: PLC0415

    return MLflowLoggerCallback(tracking_uri=place, experiment_name=tracking.project)


def _wandb(tracking: Tracking) -> Any:
    """Online or offline as WANDB_MODE says; Ray's workers need not have our environment."""
    from ray.air.integrations.wandb import WandbLoggerCallback  # noqa: PLC0415

    return WandbLoggerCallback(tracking.project, time.strftime("%Y-%m-%d %H:%M:%S"), mode=os.environ.get("WANDB_MODE"))


class Runs:
    """The runs of a sweep in all of its services, one a trial; a trial's configuration says what it `run`s: name, key, parameters."""

    def __init__(self, tracking: Tracking, callbacks: Mapping[str, Any]) -> None:
        self.tracking = tracking
        self.writers = [Writer(service, callback) for service, callback in callbacks.items()]
        self.failed: set[str] = set()

    def start(self, trial: Any) -> None:
        """A trial starts."""
        for writer in self.writers:
            run = self._run(writer.service, trial)
            if writer.service == "wandb":  # its process works there
                run.init_local_path()
            writer.call("log_trial_start", run)

    def told(self, trial: Any, result: Mapping[str, Any]) -> None:
        """What a trial's `Teller` has reported."""
        if result.get("failed"):
            self.failed.add(trial.trial_id)
        for writer in self.writers:
            for step, numbers in result.get("points", ()):
                writer.call("log_trial_result", step, self._run(writer.service, trial), {"training_iteration": step, **numbers})

    def end(self, trial: Any, *, died: bool = False) -> None:
        """A trial has ended."""
        for writer in self.writers:
            writer.call("log_trial_end", self._run(writer.service, trial), died or trial.trial_id in self.failed)

    def close(self) -> None:
        """All is written afterwards, but for what hangs."""
        for writer in self.writers:
            writer.call("on_experiment_end", ())
        for writer in self.writers:
            writer.close()

    def _run(self, service: str, trial: Any) -> Run:
        """The same for all that is told of a trial. Its folder is the service's, in the store: the trial's own goes with the sweep."""
        about = trial.config["run"]
        name = re.sub(r"[^\w .,>=-]", "_", about["name"])
        folder = self.tracking.folder / service / f"{name} {about['key'][:8]}"
        return Run(trial.trial_id, name, about, str(folder), self.tracking.project)


def callback(tracking: Tracking) -> Any:
    """What Tune is given, to tell the services of its trials."""
    from ray.tune import Callback  # noqa: PLC0415

    class Relay(Callback):  # type: ignore[misc]  # Ray is not typed
        """Tune's events, handed on."""

        def __init__(self) -> None:
            self.callbacks = loggers(tracking)

        def setup(self, **info: Any) -> None:
            self.runs = Runs(tracking, self.callbacks)  # has threads, and before this Tune makes copies

        def on_trial_start(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
            self.runs.start(trial)

        def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: Mapping[str, Any], **info: Any) -> None:
            self.runs.told(trial, result)

        def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
            self.runs.end(trial)

        def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
            self.runs.end(trial, died=True)

        def on_experiment_end(self, trials: Any, **info: Any) -> None:
            self.runs.close()

    return Relay()
