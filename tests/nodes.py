"""Sweeps, and the nodes of a Ray cluster, as processes that tests may kill; and what must be the same afterwards."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import psutil
from places import ROOT

from raystilts.store import Store

T = TypeVar("T")
# Ray reads this when it is imported; it must be the same in all nodes and drivers
ENVIRONMENT = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(ROOT)}
EXPERIMENT = '''
import importlib.util
from dataclasses import replace
spec = importlib.util.spec_from_file_location("quickstart", {path!r})
quickstart = importlib.util.module_from_spec(spec)
spec.loader.exec_module(quickstart)

def study():
    """Five jobs: texts, alignment, currency, and the target without and with currency; trainings of a few seconds."""
    made = quickstart.smoke()
    recipes = {{name: replace(recipe, num_steps={steps}) for name, recipe in made.recipes.items()}}
    languages = made.languages[:3]
    return replace(made, encoders=made.encoders[:1], targets=made.targets[:1], seeds=(1,), recipes=recipes, languages=languages)
'''
# the command line with what a test changes about its process
CHANGED = "import sys; from raystilts import schedule; from raystilts.cli import main; {}; sys.exit(main(sys.argv[1:]))"


def write_experiment(path: Path, steps: int) -> Path:
    """A small study; its trainings have so many steps."""
    path.write_text(EXPERIMENT.format(path=str(ROOT / "experiments" / "quickstart.py"), steps=steps), encoding="utf-8")
    return path


class Sweep:
    """A `raystilts run` that has been started; what it prints goes to a file."""

    def __init__(self, experiment: Path, store: Path, *flags: str, changed: str = "", log: Path | None = None, **environment: str) -> None:
        start = ["-c", CHANGED.format(changed)] if changed else ["-m", "raystilts.cli"]
        command = [sys.executable, *start, "run", str(experiment), "--store", str(store), *flags]
        self.store, self.log = store, log or store.parent / f"{store.name}.{time.monotonic_ns()}.log"
        with self.log.open("w") as out:
            self.process = subprocess.Popen(
                command, cwd=store.parent, stdout=out, stderr=out, env=os.environ | ENVIRONMENT | environment, start_new_session=True
            )

    @property
    def said(self) -> str:
        """What it has printed."""
        return self.log.read_text(encoding="utf-8")

    def until(self, found: Callable[[], T | None], patience: float = 150) -> T:
        """What `found` returns as soon as that is something; fails where the sweep ends before."""
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            if (value := found()) is not None:
                return value
            assert self.process.poll() is None, self.said
            time.sleep(0.02)
        raise AssertionError(f"nothing happened in {patience} s: {self.said}")

    def code(self, patience: float = 150) -> int:
        """Its exit code."""
        try:
            return self.process.wait(patience)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it has not ended in {patience} s: {self.said}") from None

    def training(self) -> tuple[str, list[int]] | None:
        """One of `trainings`, if there is one now."""
        return next(self.trainings(), None)

    def stopped(self) -> tuple[str, int] | None:
        """Key and process of a training that has left a state, stopped (SIGSTOP) in its middle, so that it does not end by itself."""
        for key, (process, *_) in self.trainings():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGSTOP)
                if key in [found for found, _ in self.trainings()]:
                    return key, process
                os.kill(process, signal.SIGCONT)
        return None

    def trainings(self) -> Iterator[tuple[str, list[int]]]:
        """Key and processes (in the order of their ranks) of each training that goes on now and has left a state."""
        for state in (self.store / "progress").glob("*/state.safetensors"):
            for log in (self.store / "partial").glob(f"*/{state.parent.name}/log.jsonl"):
                with contextlib.suppress(OSError, ValueError):  # it may end while we look
                    first = json.loads(log.read_text(encoding="utf-8").splitlines()[0])
                    yield state.parent.name, [worker["process"] for worker in first["workers"]]


def free_port() -> int:
    """A port that nothing listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Node:
    """A node of a Ray cluster: its raylet and its workers with one CPU, or the head's processes with none, so that nothing trains there."""

    def __init__(self, folder: Path, port: int, *, head: bool) -> None:
        self.folder, self.port, self.head = folder, port, head
        flags = [
            "--port",
            str(port),
            "--temp-dir",
            str(folder / "ray"),
            "--include-dashboard",
            "true",
            "--dashboard-port",
            str(free_port()),
        ]
        flags += ["--ray-client-server-port", str(free_port()), "--head"]
        if not head:
            flags = ["--address", f"127.0.0.1:{port}"]
        flags += [
            "--node-ip-address",
            "127.0.0.1",
            "--num-cpus",
            "0" if head else "1",
            "--min-worker-port",
            "0",
            "--max-worker-port",
            "0",
            "--block",
        ]
        log = folder / f"node.{time.monotonic_ns()}.log"
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", *flags]
        with log.open("w") as out:
            self.process = psutil.Popen(command, cwd=folder, stdout=out, stderr=out, env=os.environ | ENVIRONMENT, start_new_session=True)
        deadline = time.monotonic() + 90
        while "block forever" not in log.read_text(encoding="utf-8"):
            assert self.process.poll() is None, log.read_text(encoding="utf-8")
            assert time.monotonic() < deadline, log.read_text(encoding="utf-8")
            time.sleep(0.1)

    def processes(self) -> list[psutil.Process]:
        """Its living processes."""
        return [self.process, *self.process.children(recursive=True)] if self.process.poll() is None else []

    def kill(self) -> None:
        """SIGKILL to all of its processes at once."""
        found = self.processes()
        for process in found:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(found, timeout=30)
        self.process.wait(30)


class Cluster:
    """A head and more nodes."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.nodes: dict[str, Node] = {}

    @property
    def address(self) -> str:
        """What --address wants."""
        return f"127.0.0.1:{self.port}"

    def start(self, *names: str) -> None:
        """Start those that do not run; "head" is the head."""
        for name in names:
            if name not in self.nodes or not self.nodes[name].processes():
                self.nodes[name] = Node(self.folder, self.port, head=name == "head")

    def node_of(self, pid: int) -> str:
        """The node that a process is of."""
        return next(name for name, node in self.nodes.items() if pid in {process.pid for process in node.processes()})

    def kill(self, *names: str) -> None:
        """Kill nodes."""
        for name in names:
            if name in self.nodes:
                self.nodes.pop(name).kill()


@contextlib.contextmanager
def cluster_in(folder: Path) -> Iterator[Cluster]:
    """A cluster of which nothing is left at the end."""
    made = Cluster(folder)
    try:
        yield made
    finally:
        made.kill(*sorted(made.nodes, reverse=True))


TIMES = {"seconds", "started", "seconds_training", "examples_per_second", "resumed_at"}


def facts(store: Path) -> dict[str, dict[str, Any]]:
    """Key -> all that must be the same in two stores: the bytes of files, the losses of logs, and records without times."""
    found: dict[str, dict[str, Any]] = {}
    for folder in (store / "stages").iterdir():
        record = dict(Store(store).record(folder.name))
        record.pop("seal")  # of the times, too
        record["files"].pop("log.jsonl", None)  # names processes
        record = {name: value for name, value in record.items() if name not in TIMES}
        record["result"] = {name: value for name, value in record["result"].items() if name not in TIMES}
        log = folder / "log.jsonl"
        lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()] if log.is_file() else []
        files = {
            str(path.relative_to(folder)): path.read_bytes()
            for path in folder.rglob("*")
            if path.is_file() and path.name not in {"stage.json", "log.jsonl"}
        }
        found[folder.name] = {"record": record, "losses": [line for line in lines if "event" not in line], "files": files}
    return found


def same(one: Path, other: Path) -> None:
    """Fails where two stores differ, naming the stage and what is different in it."""
    here, there = facts(one), facts(other)
    assert here.keys() == there.keys()
    for key, found in here.items():
        for name, value in found["record"].items():
            assert value == there[key]["record"][name], (key, name)
        assert found["losses"] == there[key]["losses"], key
        assert found["files"].keys() == there[key]["files"].keys()
        assert [name for name, data in found["files"].items() if data != there[key]["files"][name]] == [], key
    assert not list((other / "partial").glob("*/*"))
    assert not list((other / "progress").glob("*/*"))
