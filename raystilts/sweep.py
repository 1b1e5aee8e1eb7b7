"""Runs a plan: Ray Tune schedules its jobs, Ray Train distributes the large fine-tunings.

What counts is the store, never what Ray says: a job whose stages are all there is done, whatever happened to its process.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from raystilts.errors import UserError
from raystilts.execute import Perform, Site, execute, perform_here
from raystilts.experiment import MODULE
from raystilts.faults import DIED, MAX_TRIES, Failure, divergence, failure, lost
from raystilts.process import release_memory
from raystilts.progress import Progress, live
from raystilts.schedule import Schedule
from raystilts.study import Plan
from raystilts.tracking import Teller, Tracking, callback, parameters, scores
from raystilts.watch import watched
from raystilts.workers import perform_on_workers

WAIT = 1.0  # seconds between looks at what another sweep does


@dataclass(frozen=True)
class Cluster:
    """Which Ray to use and how much of it, and where its trials are logged."""

    address: str | None = None
    max_concurrent: int | None = None
    verbose: bool = False
    tracking: Tracking | None = None


def run_in_process(plan: Plan, site: Site) -> None:
    """Run the jobs one after the other in this process."""
    schedule = Schedule(plan, site.store)
    progress = Progress(schedule, 1)
    try:
        with live(progress):
            while not schedule.over:
                key = schedule.start()
                if key is None:  # another sweep works on all that is ready
                    time.sleep(WAIT)
                    continue
                ended(schedule, progress, key, attempt(schedule.jobs[key], plan, site, perform_here(site)))
    finally:
        site.store.clear_partial(site.run)
    summarise(schedule)


def attempt(keys: list[str], plan: Plan, site: Site, perform: Perform) -> Failure | None:
    """Do the stages of a job; stop at one that raises. Returns why; None where all went well."""
    for key in keys:
        try:
            with site.store.lock(key):
                if not site.store.has(key):
                    site.store.note("start", key)
                    execute(key, plan, site, perform)
                    site.store.note("done", key)
            release_memory()
        except Exception as error:
            with contextlib.suppress(OSError):  # the disk that failed the stage may be the journal's
                site.store.note("failed", key)
            return failure(error, f"{plan.label(key)} ({key})", site.store.root)
    return None


def ended(schedule: Schedule, progress: Progress, key: str, failed: Failure | None) -> None:
    """Note the end of a try, and leave word in the store where it was the last."""
    outcome = schedule.end(key, failed)
    if outcome == "failed" and failed:
        with contextlib.suppress(OSError):  # `summarise` says it all the same
            schedule.store.fail(key, failed.reason)
    progress.ended(key, outcome)


def summarise(schedule: Schedule) -> None:
    """Say what failed and why, and what could not start because of it."""
    for key in schedule.failed:
        found = schedule.failures.get(key, DIED)
        tries = f" (tried {schedule.tries[key]} times)" if found.again else ""
        what = "diverged" if divergence(found.reason) else "failed"
        print(f"{what}: {schedule.plan.label(key)} ({key}){tries}", file=sys.stderr)
        print("\n".join(f"  {line}" for line in found.reason.strip().splitlines()[-4:]), file=sys.stderr)
    if schedule.blocked:
        print(f"not started, because a stage before them failed: {len(schedule.blocked)} jobs", file=sys.stderr)


def run_on_ray(plan: Plan, site: Site, cluster: Cluster) -> None:
    """Run the plan's missing stages on Ray. Raises KeyboardInterrupt after an orderly stop on Ctrl-C."""
    schedule = Schedule(plan, site.store)
    try:
        on_ray(cluster, site, lambda slots, scratch: _tune(schedule, plan, site, cluster, slots, scratch))
    finally:
        site.store.clear_partial(site.run)
    summarise(schedule)
    if schedule.num_left > 0:  # Tune stops in good order on Ctrl-C and returns as if it were done
        raise KeyboardInterrupt


def on_ray(cluster: Cluster, site: Site, trials: Callable[[int, str], bool]) -> None:
    """Call `trials` (jobs at the same time, a folder for files that nobody needs later) with a connection to Ray, and again with a new one
    until it says that Tune has not given up.
    """
    with tempfile.TemporaryDirectory(prefix="raystilts-", ignore_cleanup_errors=True) as scratch:
        whole = False
        while not whole:
            with connected(cluster, site, scratch) as slots:
                whole = trials(slots, scratch)


def joined(cluster: Cluster) -> tuple[str | None, str]:
    """The cluster to join, None where Ray is started here, and where that was said. RAY_ADDRESS counts as it does for Ray itself: it is
    how a driver that `ray job submit` has sent knows its cluster.
    """
    named = os.environ.get("RAY_ADDRESS")
    if named and cluster.address in (None, "auto"):
        return (None if named == "local" else named), f"RAY_ADDRESS={named}"
    return (None if cluster.address == "local" else cluster.address), f"--address {cluster.address}"


def _check_answers(address: str, said: str) -> None:
    """Raises UserError where no cluster can be joined: Ray itself goes on trying for minutes. Before Ray is imported, because a process
    that has imported it can no longer choose how it authenticates.
    """
    host, _, port = address.rpartition(":")
    if address == "auto":  # the cluster of which this machine is a node
        if not any(process.info["name"] == "raylet" for process in psutil.process_iter(["name"])):
            raise _no_cluster(said, "this machine is no node of one")
    elif "/" in address or not host or not port.isdigit():
        raise UserError(
            f"{said}: a sweep joins a Ray cluster on one of its nodes, by auto or HOST:PORT; send it there by `ray job submit`."
        )
    else:
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
        except OSError as error:
            raise _no_cluster(said, str(error)) from error


def _no_cluster(said: str, why: str) -> UserError:
    return UserError(f"{said}: no Ray cluster answers there ({why}); start one with `ray start --head`, or leave it out.")


@contextlib.contextmanager
def connected(cluster: Cluster, site: Site, scratch: str) -> Iterator[int]:
    """A connection to Ray, started on this machine where no address is given; yields how many jobs fit at the same time."""
    address, said = joined(cluster)
    if address:
        _check_answers(address, said)
    quiet = {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AIR_NEW_OUTPUT": "0",
        "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",  # reports wait for this poll
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "RAY_AUTH_MODE": "" if address else "token",
        "TOKENIZERS_PARALLELISM": "false",
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    }
    for name, value in quiet.items():
        if value:
            os.environ.setdefault(name, value)
    import ray  # noqa: PLC0415

    send_functions()
    level = logging.INFO if cluster.verbose else logging.CRITICAL  # of a lost process or node, Ray prints a hundred lines, and we one
    for name in ("ray", "ray.tune", "ray.train", "ray.data"):
        logging.getLogger(name).setLevel(level)
    own: dict[str, Any] = {} if address else {"_temp_dir": scratch, "include_dashboard": site.workers > 1, "dashboard_host": "127.0.0.1"}
    before = set(psutil.Process().children(recursive=True))  # not all of this process's children are Ray's
    try:
        ray.init(address=address or "local", log_to_driver=cluster.verbose, logging_level=level, **own)
    except (OSError, ray.exceptions.AuthenticationError) as error:  # ConnectionError is an OSError
        why, _, _ = str(error).partition("\n")
        needs = "where it asks for a token, RAY_AUTH_MODE=token and RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH must be the cluster's"
        raise _no_cluster(said, f"{why}; {needs}") from error
    try:
        resources = ray.cluster_resources()
        fitting = [int(resources.get(name, 0) / (amount * site.workers)) for name, amount in site.resources.items()]
        with watched(ray.get_runtime_context().gcs_address, lambda: _give_up(said if address else "", scratch)):
            yield max(1, min([*fitting, cluster.max_concurrent or 10**6]))
    finally:
        started = [] if address else [process for process in psutil.Process().children(recursive=True) if process not in before]
        ray.shutdown()
        # what Ray started here on our behalf ends by itself when it notices; on a busy machine that takes a while
        for process in psutil.wait_procs(started, timeout=10)[1]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(started, timeout=10)


def send_functions() -> None:
    """Let functions of experiment files (a method's `change`) travel to workers whole: no worker could import them by name."""
    from ray import cloudpickle  # noqa: PLC0415

    for name, module in list(sys.modules.items()):
        if name.startswith(MODULE):
            cloudpickle.register_pickle_by_value(module)


def _give_up(said: str, scratch: str) -> None:
    """End this process: without a head, calls of Ray neither return nor raise. What half-finished stages left is cleared by the next run,
    because workers on other nodes may still write it.
    """
    where = f"{said}: the Ray cluster" if said else "Ray on this machine"
    if sys.stdout.isatty():
        print("\033[?25h", end="", flush=True)  # the live view has hidden the cursor
    print(f"raystilts: {where} has stopped; run the same command again when it is back.", file=sys.stderr, flush=True)
    shutil.rmtree(scratch, ignore_errors=True)
    os._exit(2)


def _tune(schedule: Schedule, plan: Plan, site: Site, cluster: Cluster, slots: int, scratch: str) -> bool:
    """Let Tune run the schedule's jobs; returns what `run_trials` does."""
    from ray import tune  # noqa: PLC0415

    progress = Progress(schedule, slots)

    def start() -> tuple[str, dict[str, Any]] | None:
        key = schedule.start()
        return None if key is None else (key, {"key": key} | ({"run": parameters(plan, key)} if cluster.tracking else {}))

    def end(key: str, failed: Failure | None) -> None:
        ended(schedule, progress, key, failed)

    tracked = cluster.tracking is not None
    trainable = tune.with_parameters(run_job, plan=plan, site=site, work=schedule.jobs, scratch=scratch, tracked=tracked)
    bundle = {"node:__internal_head__": 0.001} if site.workers > 1 else site.resources
    most = len(schedule.jobs) * MAX_TRIES
    with live(progress) if not cluster.verbose else contextlib.nullcontext():
        return run_trials(trainable, bundle, start, end, lambda: schedule.over, most, slots, scratch, cluster)


def run_trials(
    trainable: Any,
    resources: Mapping[str, float],
    start: Callable[[], tuple[Any, dict[str, Any]] | None],
    ended: Callable[[Any, Failure | None], None],
    over: Callable[[], bool],
    most: int,
    slots: int,
    scratch: str,
    cluster: Cluster,
) -> bool:
    """Let Ray Tune run trials as they become ready, at most `most` of them and `slots` at a time.

    start: what is ready and its trial's configuration; None where nothing is ready now, and `over` says whether ever. ended: told of what
    has ended, and why it stopped early: what the trainable has returned of it, or that its process was lost.

    Returns False where Tune gave up, because Ray has killed a process of a node that ran out of memory, for which Tune has no rule. All
    that ran then counts as lost; whoever connects to Ray anew ends it, and can go on.
    """
    from ray import tune  # noqa: PLC0415
    from ray.exceptions import RayTaskError  # noqa: PLC0415
    from ray.tune.search import Searcher  # noqa: PLC0415

    class ReadyFirst(Searcher):  # type: ignore[misc]  # Ray is not typed
        """Suggests what is ready."""

        def __init__(self) -> None:
            super().__init__(metric=None, mode=None)
            self.of_trial: dict[str, Any] = {}

        def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
            found = start()
            if found is None:
                return Searcher.FINISHED if over() else None
            self.of_trial[trial_id], config = found
            return config

        def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
            pass

        def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
            if trial_id in self.of_trial and not error:  # of an error only the callback below is told which
                ended(self.of_trial.pop(trial_id), Failure(result["reason"], result["again"]) if result and result.get("reason") else None)

        def save(self, checkpoint_path: str) -> None:
            """Nothing to save: what is on disk is the state."""

        def restore(self, checkpoint_path: str) -> None:
            """Nothing to restore: the same command continues from what is on disk."""

    searcher = ReadyFirst()

    class Lost(tune.Callback):  # type: ignore[misc]
        """Says why a trial ended without an answer."""

        def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            text = Path(trial.error_file).read_text(encoding="utf-8") if trial.error_file else ""
            if trial.trial_id in searcher.of_trial:
                ended(searcher.of_trial.pop(trial.trial_id), lost(text, again=not isinstance(trial.get_error(), RayTaskError)))

    folder = Path(tempfile.mkdtemp(prefix="tune-", dir=scratch))
    tuner = tune.Tuner(
        tune.with_resources(trainable, tune.PlacementGroupFactory([dict(resources)])),
        tune_config=tune.TuneConfig(search_alg=searcher, num_samples=most, max_concurrent_trials=slots, reuse_actors=True),
        run_config=tune.RunConfig(
            name=folder.name,
            storage_path=str(folder),
            verbose=1 if cluster.verbose else 0,
            callbacks=[Lost(), *([callback(cluster.tracking)] if cluster.tracking else ())],
        ),
    )
    return _fit(tuner, searcher.of_trial, ended)


def _fit(tuner: Any, running: Mapping[str, Any], ended: Callable[[Any, Failure | None], None]) -> bool:
    """Run all trials; where Tune gives up, `ended` is told of all that were running. Returns whether it did not give up."""
    from ray.exceptions import OutOfMemoryError  # noqa: PLC0415

    try:
        tuner.fit()
    except RuntimeError as error:
        if not isinstance(error.__cause__, OutOfMemoryError):
            raise
        for job in running.values():
            ended(job, lost(str(error.__cause__)))
        return False
    return True


def run_job(
    config: Mapping[str, Any], plan: Plan, site: Site, work: Mapping[str, list[str]], scratch: str, *, tracked: bool = False
) -> dict[str, Any]:
    """A trial: one job, in a process that lives through many."""
    from ray import tune  # noqa: PLC0415

    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    keys, tell = work[config["key"]], Teller(tune.report) if tracked else None
    failed = attempt(keys, plan, site, perform_on_workers(site, scratch, tell) if site.workers > 1 else perform_here(site, tell))
    if tell:
        tell.close((scores(site.store.record(key)) for key in keys if site.store.has(key)), failed=failed is not None)
    return {"reason": failed.reason, "again": failed.again} if failed else {"reason": "", "again": False}
