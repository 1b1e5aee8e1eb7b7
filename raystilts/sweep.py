"""Runs a plan: Ray Tune schedules its jobs, Ray Train distributes the large fine-tunings. The only module that imports Ray.

A job is a stage and the evaluations that start from it, so that a model is evaluated where it was trained. A job starts as soon as its
parent is in the store, the one with the longest remaining chain first; there is no barrier between phases. What counts is the store,
never what Ray says: a job whose stages are all there is done, whatever happened to its process.
"""

from __future__ import annotations

import contextlib
import heapq
import json
import logging
import os
import shutil
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raystilts.execute import Fit, Site, execute, fit_here
from raystilts.model import Root
from raystilts.stage import Stage
from raystilts.store import Store
from raystilts.study import Plan

MAX_TRIES = 3  # of a job whose process died; a job that raised is not tried again: it would raise again


@dataclass(frozen=True)
class Cluster:
    """Which Ray to use and how much of it."""

    address: str | None = None
    max_concurrent: int | None = None
    verbose: bool = False


def jobs(plan: Plan, store: Store) -> dict[str, list[str]]:
    """What is to be run: the first stage of each job -> all its stages, in order. Stages in the store are left out."""
    children, found = plan.children, {}
    for key, stage in plan.stages.items():
        if store.has(key):
            continue
        if stage.phase != "evaluate":
            found[key] = [key, *(child for child in children[key] if plan.stages[child].phase == "evaluate" and not store.has(child))]
        elif stage.parent is None or stage.parent.phase == "initialise" or store.has(stage.parent.key):
            found[key] = [key]
    return found


class Schedule:
    """Which jobs are ready, running, done and failed. Plain bookkeeping over the store; knows nothing of Ray."""

    def __init__(self, plan: Plan, store: Store) -> None:
        self.plan, self.store = plan, store
        self.jobs = jobs(plan, store)
        self.after: dict[str, list[str]] = {}
        for key in self.jobs:
            if parent := self.parent(key):
                self.after.setdefault(parent, []).append(key)
        self.height: dict[str, int] = {}
        for key in reversed(self.jobs):  # children stand behind their parents in a plan
            self.height[key] = 1 + max((self.height[child] for child in self.after.get(key, [])), default=0)
        order = {key: place for place, key in enumerate(self.jobs)}
        self.rank = {key: (-self.height[key], order[key]) for key in self.jobs}
        self.ready = [(self.rank[key], key) for key in self.jobs if self.parent(key) is None]
        heapq.heapify(self.ready)
        self.running: set[str] = set()
        self.tries: Counter[str] = Counter()
        self.done: list[str] = []
        self.failed: list[str] = []

    def parent(self, key: str) -> str | None:
        """The job that has to end before this one can start."""
        above = self.plan.stages[key].parent
        return above.key if above and above.key in self.jobs else None

    def start(self) -> str | None:
        """The most urgent ready job, now running; None where none is ready."""
        if not self.ready:
            return None
        _, key = heapq.heappop(self.ready)
        self.running.add(key)
        self.tries[key] += 1
        return key

    def end(self, key: str, died: bool = False) -> str:
        """Look at what the job left: "done", "failed", or "again" where its process died and it may be tried again."""
        self.running.discard(key)
        if all(self.store.has(stage) for stage in self.jobs[key]):
            outcome = "done"
            self.done.append(key)
        elif died and self.tries[key] < MAX_TRIES and not self.store.failure(key):
            heapq.heappush(self.ready, (self.rank[key], key))
            return "again"
        else:
            outcome = "failed"
            self.failed.append(key)
        if self.store.has(key):  # a job whose evaluation failed has still left a model to go on from
            for child in self.after.get(key, []):
                heapq.heappush(self.ready, (self.rank[child], child))
        return outcome

    @property
    def over(self) -> bool:
        """Whether nothing runs and nothing can start any more."""
        return not self.ready and not self.running

    @property
    def num_left(self) -> int:
        """Jobs that neither ended nor wait for one that failed."""
        return len(self.jobs) - len(self.done) - len(self.failed) - len(self.blocked)

    @property
    def blocked(self) -> set[str]:
        """Jobs that cannot start because one before them failed."""
        found: set[str] = set()
        for key in self.jobs:
            parent = self.parent(key)
            if parent and (parent in found or (parent in self.failed and not self.store.has(parent))):
                found.add(key)
        return found


class Progress:
    """One line per ended job: how many of how many, what it was, what it scored, how long it took, the time left."""

    def __init__(self, schedule: Schedule, slots: int) -> None:
        self.schedule, self.slots = schedule, slots
        self.seconds: dict[tuple[str, str], list[float]] = {}

    def ended(self, key: str, outcome: str) -> None:
        """Print the line of a job."""
        schedule, plan, store = self.schedule, self.schedule.plan, self.schedule.store
        if outcome == "again":
            print(f"  lost its process, starting again: {plan.label(key)}", flush=True)
            return
        finished = [store.record(stage) for stage in schedule.jobs[key] if store.has(stage)]
        took = sum(record["seconds"] for record in finished)
        self.seconds.setdefault((plan.roles[key], plan.encoders[key]), []).append(took)
        number = f"[{len(schedule.done) + len(schedule.failed)}/{len(schedule.jobs)}]"
        text = f"{number} {plan.label(key)}  {took:.1f} s{_score(finished)}" if outcome == "done" else f"{number} FAILED {plan.label(key)}"
        left = self.time_left()
        print(f"{text}  ({duration(left)} left)" if left else text, flush=True)

    def time_left(self) -> float:
        """Seconds until the end: from the mean duration so far of jobs of the same role and encoder, or of all where there is none."""
        schedule, plan = self.schedule, self.schedule.plan
        every = [seconds for found in self.seconds.values() for seconds in found]
        ended = {*schedule.done, *schedule.failed, *schedule.blocked}
        total = 0.0
        for key in schedule.jobs:
            if key not in ended:
                known = self.seconds.get((plan.roles[key], plan.encoders[key]), every)
                total += sum(known) / len(known)
        return total / max(1, min(self.slots, len(schedule.jobs) - len(ended)))


def _score(finished: list[dict[str, Any]]) -> str:
    scores = [f"{record['result']['dev_score']:.1f} on dev" for record in finished if record["result"].get("dev_score") is not None]
    tables = [found for record in finished if (found := record["result"].get("scores"))]
    scores += [f"{sum(found.values()) / len(found):.1f} over {len(found)} languages" for found in tables]
    return "".join(f"  {score}" for score in scores)


def duration(seconds: float) -> str:
    """`35 s`, `4 min`, `2 h 10 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02} min"


def run_in_process(plan: Plan, site: Site) -> None:
    """Run the jobs one after the other in this process."""
    schedule = Schedule(plan, site.store)
    progress = Progress(schedule, 1)
    try:
        while (key := schedule.start()) is not None:
            attempt(schedule.jobs[key], plan, site, fit_here(site))
            progress.ended(key, schedule.end(key))
    finally:
        site.store.clear_partial(site.run)
    summarise(schedule)


def attempt(keys: list[str], plan: Plan, site: Site, fit: Fit) -> None:
    """Do the stages of a job; where one raises, leave its traceback in the store and stop."""
    for key in keys:
        if site.store.has(key):
            continue
        try:
            execute(key, plan, site, fit)
        except Exception:
            site.store.fail(keys[0], f"{plan.label(key)} ({key})\n{traceback.format_exc()}")
            return


def summarise(schedule: Schedule) -> None:
    """Say what failed and why, and what could not start because of it."""
    for key in schedule.failed:
        lines = (schedule.store.failure(key) or "its process died without a word (out of memory?)").strip().splitlines()
        print(f"failed: {schedule.plan.label(key)} ({key})", file=sys.stderr)
        print("\n".join(f"  {line}" for line in lines[-4:]), file=sys.stderr)
    if schedule.blocked:
        print(f"not started, because a stage before them failed: {len(schedule.blocked)} jobs", file=sys.stderr)


def run_on_ray(plan: Plan, site: Site, cluster: Cluster) -> None:
    """Run the plan's missing stages on Ray. Raises KeyboardInterrupt after an orderly stop on Ctrl-C."""
    with tempfile.TemporaryDirectory(prefix="raystilts-", ignore_cleanup_errors=True) as scratch, _ray(cluster, site, scratch) as slots:
        schedule = Schedule(plan, site.store)
        try:
            interrupted = _tune(schedule, plan, site, cluster, slots, Path(scratch))
        finally:
            site.store.clear_partial(site.run)
    summarise(schedule)
    if interrupted:
        raise KeyboardInterrupt


@contextlib.contextmanager
def _ray(cluster: Cluster, site: Site, scratch: str) -> Iterator[int]:
    """A connection to Ray, started on this machine where no address is given; yields how many jobs fit at the same time."""
    quiet = {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AIR_NEW_OUTPUT": "0",
        "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",  # reports wait for this poll
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "RAY_AUTH_MODE": "token" if cluster.address is None else "",
        "TOKENIZERS_PARALLELISM": "false",
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    }
    for name, value in quiet.items():
        if value:
            os.environ.setdefault(name, value)
    import ray  # noqa: PLC0415

    level = logging.INFO if cluster.verbose else logging.ERROR
    for name in ("ray", "ray.tune", "ray.train", "ray.data"):
        logging.getLogger(name).setLevel(level)
    own: dict[str, Any] = (
        {} if cluster.address else {"_temp_dir": scratch, "include_dashboard": site.workers > 1, "dashboard_host": "127.0.0.1"}
    )
    ray.init(address=cluster.address, log_to_driver=cluster.verbose, logging_level=level, **own)
    try:
        resources = ray.cluster_resources()
        fitting = [int(resources.get(name, 0) / (amount * site.workers)) for name, amount in site.resources.items()]
        yield max(1, min([*fitting, cluster.max_concurrent or 10**6]))
    finally:
        import psutil  # noqa: PLC0415

        started = psutil.Process().children(recursive=True)
        ray.shutdown()
        # what Ray started here on our behalf ends by itself when it notices; on a busy machine that takes a while
        for process in psutil.wait_procs(started, timeout=10)[1]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(started, timeout=10)


def _tune(schedule: Schedule, plan: Plan, site: Site, cluster: Cluster, slots: int, scratch: Path) -> bool:
    """Let Tune run the schedule's jobs; returns whether it was interrupted."""
    from ray import tune  # noqa: PLC0415
    from ray.tune.search import Searcher  # noqa: PLC0415

    progress = Progress(schedule, slots)

    class PlanSearcher(Searcher):  # type: ignore[misc]  # Ray is not typed
        """Suggests the jobs of a plan as they become ready."""

        def __init__(self) -> None:
            super().__init__(metric=None, mode=None)
            self.of_trial: dict[str, str] = {}

        def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
            key = schedule.start()
            if key is None:
                return Searcher.FINISHED if schedule.over else None
            self.of_trial[trial_id] = key
            return {"key": key}

        def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
            pass

        def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
            key = self.of_trial.pop(trial_id, None)
            if key is not None:
                progress.ended(key, schedule.end(key, died=error))

        def save(self, checkpoint_path: str) -> None:
            """Nothing to save: the store is the state."""

        def restore(self, checkpoint_path: str) -> None:
            """Nothing to restore: the same command continues from the store."""

    trainable = tune.with_parameters(run_job, plan=plan, site=site, work=schedule.jobs, scratch=str(scratch))
    bundle = {"node:__internal_head__": 0.001} if site.workers > 1 else site.resources
    tuner = tune.Tuner(
        tune.with_resources(trainable, tune.PlacementGroupFactory([bundle])),
        tune_config=tune.TuneConfig(
            search_alg=PlanSearcher(), num_samples=len(schedule.jobs) * MAX_TRIES, max_concurrent_trials=slots, reuse_actors=True
        ),
        run_config=tune.RunConfig(name="sweep", storage_path=str(scratch / "tune"), verbose=1 if cluster.verbose else 0),
    )
    tuner.fit()
    return schedule.num_left > 0  # Tune stops in good order on Ctrl-C and returns as if it were done


def run_job(config: Mapping[str, Any], plan: Plan, site: Site, work: Mapping[str, list[str]], scratch: str) -> dict[str, Any]:
    """A trial: one job, in a process that lives through many."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    fit = fit_with_trainer(site, scratch) if site.workers > 1 else fit_here(site)
    attempt(work[config["key"]], plan, site, fit)
    return {"ended": 1}


def fit_with_trainer(site: Site, scratch: str) -> Fit:
    """Train on several processes through Ray Train. Ranking stays in one: its in-batch negatives are the whole batch."""

    def fit(stage: Stage, root: Root, checkpoint: Path | None, folder: Path) -> dict[str, Any]:
        if stage.task is not None and stage.task.kind == "ranking":
            return fit_here(site)(stage, root, checkpoint, folder)
        from ray.train import RunConfig, ScalingConfig  # noqa: PLC0415
        from ray.train.torch import TorchConfig, TorchTrainer  # noqa: PLC0415

        facts = folder / "facts.json"
        trainer = TorchTrainer(
            _train_worker,
            train_loop_config={"stage": stage, "root": root, "checkpoint": checkpoint, "data": site.data, "folder": folder, "facts": facts},
            scaling_config=ScalingConfig(num_workers=site.workers, use_gpu=bool(site.gpus), resources_per_worker=site.resources),
            torch_config=TorchConfig(backend="nccl" if site.gpus else "gloo"),
            run_config=RunConfig(name=stage.key, storage_path=str(Path(scratch) / "train")),
        )
        trainer.fit()
        found: dict[str, Any] = json.loads(facts.read_text(encoding="utf-8"))
        facts.unlink()
        shutil.rmtree(Path(scratch) / "train" / stage.key, ignore_errors=True)
        return found

    return fit


def _train_worker(config: dict[str, Any]) -> None:
    """What each worker of a TorchTrainer does."""
    import ray.train  # noqa: PLC0415
    import ray.train.torch  # noqa: PLC0415
    import torch  # noqa: PLC0415

    from raystilts.train import Worker, train  # noqa: PLC0415

    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    context = ray.train.get_context()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    worker = Worker(context.get_world_rank(), context.get_world_size(), str(ray.train.torch.get_device()))
    facts = train(config["stage"], config["root"], config["checkpoint"], config["data"], config["folder"], worker)
    if worker.rank == 0:
        config["facts"].write_text(json.dumps(facts), encoding="utf-8")
