"""Faults of processes, nodes, disks and file systems: the same command ends with the store of a sweep that nobody disturbed."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from nodes import Cluster, Sweep, cluster_in, facts, same, write_experiment
from places import ROOT, smoke

from raystilts import schedule
from raystilts import sweep as sweep_module
from raystilts.cli import main
from raystilts.errors import DivergedError, UserError
from raystilts.execute import Site
from raystilts.faults import MAX_TRIES, divergence, failure
from raystilts.process import owner
from raystilts.store import Store
from raystilts.study import Plan, make_plan

OFTEN = ("--checkpoint-minutes", "0.001")
PROMPT = "schedule.PAUSES = (0.0, 0.0)"  # a pause does not empty a disk
LIMITED = f"{PROMPT}; import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({{0}}, {{0}}))"  # no file may be larger
TARGET = "target kind, pico, after alignment, seed 1"
INTERMEDIATE = "intermediate currency, pico, after alignment, seed 1"
ALIGNMENT = "pretraining alignment, pico"


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of five jobs."""
    return write_experiment(tmp_path_factory.mktemp("experiment") / "small.py", 800)


@pytest.fixture(scope="module")
def calm(experiment: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of a run that nobody disturbed."""
    sweep = Sweep(experiment, tmp_path_factory.mktemp("calm") / "store", "--in-process")
    assert sweep.code() == 0, sweep.said
    return sweep.store


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A cluster of up to three nodes (separate raylets) that outlives drivers; tests start again what they have killed."""
    folder = Path(f"/tmp/rf-{os.getpid()}")  # noqa: S108  sockets want a short path
    folder.mkdir()
    with cluster_in(folder) as made:
        yield made
    shutil.rmtree(folder, ignore_errors=True)


def again(store: Path) -> dict[str, int]:
    """Key -> how often it was begun, of those that were begun more than once; none after it was done."""
    begun: dict[str, int] = {}
    done = set()
    for line in Store(store).journal():
        if line["event"] == "start":
            assert line["key"] not in done
            begun[line["key"]] = begun.get(line["key"], 0) + 1
        elif line["event"] == "done":
            done.add(line["key"])
    return {key: number for key, number in begun.items() if number > 1}


def key_of(store: Path, label: str) -> str:
    """The key of a finished stage."""
    return next(path.name for path in (store / "stages").iterdir() if Store(store).record(path.name)["label"] == label)


def without(calm: Path, store: Path, *labels: str) -> str:
    """Copy a store but for these stages and what stands on them; returns the key of the first."""
    shutil.copytree(calm, store)
    gone = [key_of(calm, label) for label in labels]
    for path in (calm / "stages").iterdir():
        if {ancestor["key"] for ancestor in Store(calm).record(path.name)["lineage"]} & set(gone):
            shutil.rmtree(store / "stages" / path.name)
    return gone[0]


@pytest.mark.slow
@pytest.mark.promise("A node that is lost costs its jobs one more try")
def test_a_node_that_is_lost_is_done_without(experiment: Path, calm: Path, cluster: Cluster, tmp_path: Path) -> None:
    """A raylet and its workers are killed while one of them trains; the driver is on another node: the run goes on and ends well."""
    cluster.start("head", "one", "other")
    sweep = Sweep(experiment, tmp_path / "store", "--address", cluster.address, *OFTEN)
    key, worker = sweep.until(sweep.stopped)
    cluster.kill(cluster.node_of(worker))
    killed = time.monotonic()
    assert sweep.code() == 0, sweep.said
    print(f"node ({key}): {time.monotonic() - killed:.1f} s to the end\n{sweep.said}")
    assert "its process was lost: The actor" in sweep.said
    assert again(sweep.store) == {key: 2}
    assert Store(sweep.store).record(key)["result"]["resumed_at"]
    same(calm, sweep.store)


@pytest.mark.slow
@pytest.mark.promise("When a driver is killed, the same command ends with the store of an undisturbed run")
def test_a_driver_that_is_killed_is_run_again(experiment: Path, calm: Path, cluster: Cluster, tmp_path: Path) -> None:
    """SIGKILL of the driver on a standing cluster: its workers end; the same command goes on from the state of the stage that ran."""
    cluster.start("head", "one")
    sweep = Sweep(experiment, tmp_path / "store", "--address", cluster.address, *OFTEN)
    key, worker = sweep.until(sweep.stopped)
    sweep.process.kill()
    sweep.process.wait()
    killed = time.monotonic()
    with contextlib.suppress(psutil.NoSuchProcess):
        try:
            psutil.Process(worker).wait(30)
        except psutil.TimeoutExpired:  # not killed, but asked to end, which it cannot while it is stopped
            psutil.Process(worker).resume()
            psutil.Process(worker).wait(60)
    print(f"driver: worker gone after {time.monotonic() - killed:.1f} s")
    sweep = Sweep(experiment, sweep.store, "--address", cluster.address, *OFTEN)
    assert sweep.code() == 0, sweep.said
    print(f"driver: {time.monotonic() - killed:.1f} s to the end\n{sweep.said}")
    assert set(again(sweep.store)) == {key}
    assert Store(sweep.store).record(key)["result"]["resumed_at"]
    same(calm, sweep.store)


@pytest.mark.slow
@pytest.mark.promise("When the head of a cluster is lost, the driver ends in a sentence and the same command goes on")
def test_a_head_that_is_lost_ends_the_driver_in_a_sentence(experiment: Path, calm: Path, cluster: Cluster, tmp_path: Path) -> None:
    """All processes of the head are killed: the driver says so and ends; when the head is back, the same command completes."""
    cluster.start("head", "one")
    sweep = Sweep(experiment, tmp_path / "store", "--address", cluster.address, *OFTEN)
    sweep.until(sweep.training)
    before = sweep.said
    cluster.kill("head")
    killed = time.monotonic()
    assert sweep.code(60) == 2, sweep.said
    print(f"head: driver ended after {time.monotonic() - killed:.1f} s\n{sweep.said}")
    (line,) = [line for line in sweep.said.removeprefix(before).splitlines() if not line.startswith("[")]
    assert line == f"raystilts: --address {cluster.address}: the Ray cluster has stopped; run the same command again when it is back."
    cluster.kill("one", "other")  # they belonged to it
    cluster.start("head", "one")
    sweep = Sweep(experiment, sweep.store, "--address", cluster.address, *OFTEN)
    assert sweep.code() == 0, sweep.said
    print(f"head: {time.monotonic() - killed:.1f} s to the end\n{sweep.said}")
    same(calm, sweep.store)


@pytest.mark.slow
@pytest.mark.promise("A worker of a distributed training that is lost is replaced")
def test_a_worker_of_ray_train_that_is_lost_is_replaced(experiment: Path, calm: Path, cluster: Cluster, tmp_path: Path) -> None:
    """Of the two workers of a training one is killed: the run goes on from the last state, to one worker's losses within 1e-4.

    That two workers go on to the same bits is tested where trainings resume.
    """
    cluster.start("head", "one", "other")
    key = without(calm, tmp_path / "store", TARGET)
    sweep = Sweep(experiment, tmp_path / "store", "--address", cluster.address, "--workers", "2", *OFTEN)
    _, (_, victim) = sweep.until(sweep.training)
    os.kill(victim, signal.SIGKILL)
    killed = time.monotonic()
    assert sweep.code() == 0, sweep.said
    print(f"train worker: {time.monotonic() - killed:.1f} s to the end\n{sweep.said}")
    assert f"stopped, to be tried again: {TARGET}: ConnectionError: a training on 2 workers was broken off: " in sweep.said
    assert Store(sweep.store).record(key)["result"]["resumed_at"]
    assert Store(sweep.store).record(key)["result"]["world_size"] == 2
    here, there = facts(sweep.store), facts(calm)
    assert here.keys() == there.keys()
    resumed, alone = ([line["loss"] for line in found[key]["losses"]] for found in (here, there))
    assert resumed == pytest.approx(alone, abs=1e-4)


@pytest.mark.slow
@pytest.mark.promise("What Ray kills because a node runs out of memory is tried again")
def test_what_ray_kills_for_memory_is_tried_again(experiment: Path, calm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine fills up while a stage trains, and Ray's memory monitor kills its worker, for which Tune has no rule: the sweep connects
    anew and ends well.
    """
    memory = psutil.virtual_memory()
    if memory.available < 10 * 2**30:
        pytest.skip("needs 10 GiB of memory that is free")
    monkeypatch.setenv("RAY_memory_usage_threshold", f"{(memory.total - memory.available + 4 * 2**30) / memory.total:.4f}")
    monkeypatch.setenv("RAY_memory_monitor_refresh_ms", "100")
    sweep = Sweep(experiment, tmp_path / "store", *OFTEN)
    key, worker = sweep.until(sweep.stopped)
    full = torch.ones(3 * 2**29)  # 6 GiB
    deadline = time.monotonic() + 60
    while psutil.pid_exists(worker) and time.monotonic() < deadline:
        time.sleep(0.1)
    del full
    assert sweep.code() == 0, sweep.said
    assert re.search(r"its process was lost: \d worker\(s\) were killed due to the node running low on memory; --recompute and", sweep.said)
    assert "Refer to" not in sweep.said
    assert key in again(sweep.store)
    assert Store(sweep.store).record(key)["result"]["resumed_at"]
    same(calm, sweep.store)


@pytest.fixture
def one_stage() -> tuple[Plan, str]:
    """A plan, and the first of its stages, which is a job."""
    plan = make_plan(smoke())
    key = next(iter(plan.stages))
    return replace(plan, stages={key: plan.stages[key]}, cells=()), key


@pytest.mark.parametrize(
    ("raised", "tries"),
    [
        (OSError(errno.ESTALE, "Stale file handle"), MAX_TRIES),
        (TimeoutError(errno.ETIMEDOUT, "Connection timed out"), MAX_TRIES),
        (RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"), MAX_TRIES),
        (RuntimeError("the loss is nan"), 1),
        (UserError("stage.json: cannot be read"), 1),
    ],
)
@pytest.mark.promise("A fault of the place is tried again up to three times, a bug is not")
def test_a_fault_is_tried_again_and_a_bug_is_not(
    raised: Exception, tries: int, one_stage: tuple[Plan, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """What the operating system reports, also through Rust, gets MAX_TRIES tries, anything else one; the reason is said and kept."""
    plan, key = one_stage
    store, begun = Store(tmp_path / "store"), []
    store.prepare()

    def failing(key: str, *_: object) -> None:
        begun.append(key)
        raise raised

    monkeypatch.setattr(schedule, "PAUSES", (0.0, 0.0))
    monkeypatch.setattr(sweep_module, "WAIT", 0.0)
    monkeypatch.setattr(sweep_module, "execute", failing)
    sweep_module.run_in_process(plan, Site(store, owner()))
    assert begun == [key] * tries
    assert str(raised) in store.failure(key)
    said = capsys.readouterr()
    assert str(raised) in said.err
    assert said.out.count("stopped, to be tried again") == tries - 1
    assert (f"(tried {tries} times)" in said.err) == (tries > 1)
    assert ("make room on the disk that holds" in said.err) == ("28" in str(raised))


@pytest.mark.parametrize(
    "raised",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."),
        MemoryError(),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:118] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"
        ),
    ],
)
def test_what_needs_too_much_memory_is_told_what_needs_less(raised: Exception, tmp_path: Path) -> None:
    """A GPU's, Python's and torch's own want of memory end in advice and are not tried again, for they would come again."""
    found = failure(raised, "a training", tmp_path)
    assert found.reason.splitlines()[-1].startswith("Out of memory: --recompute and fewer stages at a time")
    assert not found.again
    assert "Out of memory: -" not in failure(ValueError("memory"), "a training", tmp_path).reason


def test_a_fault_that_passes_is_forgotten(
    one_stage: tuple[Plan, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """A job that a fault stopped once, when its finished stage was moved into the store, is done at the second try; no failure is left."""
    plan, key = one_stage
    store, rename, moved = Store(tmp_path / "store"), os.rename, []
    store.prepare()

    def once(source: Any, to: Any, **options: Any) -> None:
        if Path(to) == store.path(key):
            moved.append(to)
            if len(moved) == 1:
                raise OSError(errno.EIO, "Input/output error", str(to))
        rename(source, to, **options)

    monkeypatch.setattr(schedule, "PAUSES", (0.0, 0.0))
    monkeypatch.setattr(os, "rename", once)
    sweep_module.run_in_process(plan, Site(store, owner()))
    assert store.has(key)
    assert len(moved) == 2
    assert store.failure(key) == ""
    assert capsys.readouterr().out.count("stopped, to be tried again") == 1
    assert not list((store.root / "partial").glob("*/*"))


@pytest.mark.slow
def test_a_disk_that_is_full_for_states_alone_stops_nothing(experiment: Path, calm: Path, tmp_path: Path) -> None:
    """Where no state can be written for want of room (three times the weights), the log says so and the training ends as ever."""
    key = without(calm, tmp_path / "store", TARGET)
    size = (calm / "stages" / key / "model.safetensors").stat().st_size
    sweep = Sweep(experiment, tmp_path / "store", "--in-process", *OFTEN, changed=LIMITED.format(size + 1000))
    code = sweep.code()
    assert "cannot" not in sweep.said, sweep.said
    assert Store(sweep.store).has(key), sweep.said
    log = (sweep.store / "stages" / key / "log.jsonl").read_text(encoding="utf-8")
    assert "state not written" in log
    assert os.strerror(errno.EFBIG) in log
    assert code == 0, sweep.said
    same(calm, sweep.store)


@pytest.mark.slow
@pytest.mark.promise("A stage for which the disk has no room fails in a sentence that says what to do")
def test_a_stage_that_finds_no_room_fails_in_a_sentence(experiment: Path, calm: Path, tmp_path: Path) -> None:
    """Weights that find no room are no stage: the run says that the disk is full and goes on with what fits; with room it completes."""
    key = without(calm, tmp_path / "store", TARGET, INTERMEDIATE)
    sizes = [(calm / "stages" / found / "model.safetensors").stat().st_size for found in (key, key_of(calm, INTERMEDIATE))]
    assert sizes[0] > sizes[1]
    sweep = Sweep(experiment, tmp_path / "store", "--in-process", *OFTEN, changed=LIMITED.format(sizes[0] - 1000))
    assert sweep.code() in (1, 2), sweep.said
    print(sweep.said)
    assert f"failed: {TARGET} ({key}) (tried {MAX_TRIES} times)" in sweep.said
    assert f"make room on the disk that holds {sweep.store}, then run the same command again." in sweep.said
    assert not (sweep.store / "stages" / key).exists()
    assert Store(sweep.store).has(key_of(calm, INTERMEDIATE))
    assert not list((sweep.store / "partial").glob("*/*"))
    sweep = Sweep(experiment, sweep.store, "--in-process")
    assert sweep.code() == 0, sweep.said
    same(calm, sweep.store)


def _of_bytes(ballast: Path) -> None:
    """Leaves room for a record, but not for weights."""
    (ballast / "one").write_bytes(b"0" * (shutil.disk_usage(ballast).free - 64 * 1024))


def _of_files(ballast: Path) -> None:
    """Leaves room for two files."""
    number = 0
    with contextlib.suppress(OSError):
        while True:
            (ballast / str(number)).touch()
            number += 1
    for last in range(1, 3):
        (ballast / str(number - last)).unlink()


def mounted(folder: Path, size: str) -> bool:
    """Whether a file system of that size could be mounted there."""
    folder.mkdir()
    return (
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True, check=False).returncode
        == 0
    )


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root mounts file systems")
@pytest.mark.parametrize(("size", "fill"), [("64m", _of_bytes), ("64m,nr_inodes=2000", _of_files)])
@pytest.mark.promise("A disk that has no more room, or no more inodes, in the middle costs tries and changes no result")
def test_a_disk_that_fills_up_is_survived(size: str, fill: Callable[[Path], None], experiment: Path, calm: Path, tmp_path: Path) -> None:
    """A store on a file system with room for nothing more: a sentence; when there is room, the same command completes."""
    key = without(calm, tmp_path / "full", TARGET)
    disk = tmp_path / "disk"
    if not mounted(disk, size):
        pytest.skip("file systems cannot be mounted here")
    try:
        shutil.copytree(tmp_path / "full", disk / "store")
        ballast = disk / "ballast"
        ballast.mkdir()
        fill(ballast)
        sweep = Sweep(
            experiment, disk / "store", "--in-process", "--out", str(tmp_path / "report"), *OFTEN, changed=PROMPT, log=tmp_path / "log"
        )
        assert sweep.code() == 1, sweep.said
        print(sweep.said)
        assert f"No space left on device: make room on the disk that holds {disk / 'store'}, then run the same command again." in sweep.said
        assert not (sweep.store / "stages" / key).exists()
        assert "Traceback" not in sweep.said
        shutil.rmtree(ballast)
        sweep = Sweep(experiment, sweep.store, "--in-process", "--out", str(tmp_path / "report"), log=tmp_path / "log")
        assert sweep.code() == 0, sweep.said
        same(calm, sweep.store)
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def _flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-100] ^= 1
    path.write_bytes(data)


def _truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.slow
@pytest.mark.parametrize("harm", [_flipped, _truncated])
@pytest.mark.promise("Weights that were damaged after they were written are named and never trained from")
def test_weights_that_were_damaged_are_not_trained_from(
    harm: Callable[[Path], None], experiment: Path, calm: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A finished parent of which a byte changed or an end is gone fails its children in a sentence that says what to delete; then all is
    made again, to the same bytes.
    """
    monkeypatch.setattr(schedule, "PAUSES", (0.0, 0.0))
    store = tmp_path / "store"
    key = without(calm, store, TARGET)
    damaged = store / "stages" / key_of(calm, ALIGNMENT)
    harm(damaged / "model.safetensors")
    command = ["run", str(experiment), "--store", str(store), "--in-process"]
    assert main(command) == 1
    said = capsys.readouterr().err
    assert f"failed: {TARGET} ({key})" in said
    assert f"{damaged}: model.safetensors" in said
    assert f"delete the folder {damaged} and run again" in said
    assert not (store / "stages" / key).exists()
    shutil.rmtree(damaged)
    assert main(command) == 0
    capsys.readouterr()
    same(calm, store)


FLAKY = Path(__file__).parent / "flaky"


@pytest.mark.slow
@pytest.mark.promise("A file system that returns errors costs tries and changes no result")
def test_a_flaky_file_system_costs_tries_and_changes_nothing(experiment: Path, calm: Path, tmp_path: Path) -> None:
    """File operations of Ray's workers below the store fail or dawdle at random: whatever failed was tried again, no fault was taken for
    a bug, and the same command, repeated while stages are missing, ends with the undisturbed store.
    """
    hits = tmp_path / "hits"
    place = {"PYTHONPATH": f"{FLAKY}{os.pathsep}{ROOT}", "FLAKY_BELOW": str(tmp_path / "store"), "FLAKY_LOG": str(hits)}
    said = ""
    for turn in range(6):
        sweep = Sweep(experiment, tmp_path / "store", *OFTEN, changed=PROMPT, FLAKY_SEED=str(turn), RAY_AUTH_MODE="token", **place)
        code = sweep.code()
        assert code in (0, 1), sweep.said
        said += sweep.said
        for line in sweep.said.splitlines():
            assert not line.startswith("failed: ") or line.endswith(f"(tried {MAX_TRIES} times)"), sweep.said
        if code == 0:
            break
    print(f"{len(hits.read_text().splitlines())} faults\n{said}")
    assert code == 0, said
    assert "stopped, to be tried again" in said
    shutil.rmtree(tmp_path / "store" / "progress", ignore_errors=True)  # what could not be removed at the time
    shutil.rmtree(tmp_path / "store" / "partial")
    same(calm, tmp_path / "store")


@pytest.mark.slow
@pytest.mark.promise("Two sweeps of one store share the work, and no stage is trained by both")
def test_two_drivers_on_two_rays_share_a_store(experiment: Path, calm: Path, tmp_path: Path) -> None:
    """Two sweeps of one store, each on a Ray of its own, both end well; no stage was begun twice, and both did some."""
    flags = ("--max-concurrent", "1")
    both = [
        Sweep(experiment, tmp_path / "store", *flags, "--out", str(tmp_path / name), RAY_AUTH_MODE="token") for name in ("one", "other")
    ]
    assert [sweep.code(300) for sweep in both] == [0, 0], both[0].said + both[1].said
    print(both[0].said, both[1].said)
    assert again(tmp_path / "store") == {}
    assert len({line["process"] for line in Store(tmp_path / "store").journal()}) == 2
    same(calm, tmp_path / "store")


@pytest.mark.promise("A divergence is known as one in whichever process it was raised")
def test_a_divergence_is_told_from_a_bug_and_a_fault() -> None:
    """Of the error itself, and of the text that Ray makes of a worker's; nothing else is one, and none is tried again."""
    said = "the loss is nan at step 3 of 9 (before: 1.2): lower the learning rate"
    ray = RuntimeError(f"Training failed due to worker errors:\n[Rank 0 Error Snippet]:\nTraceback\nraystilts.errors.DivergedError: {said}")
    for error in (DivergedError(said), ray):
        found = failure(error, "target kind, pico", Path("store"))
        assert divergence(found.reason) == said
        assert not found.again
    assert divergence(failure(RuntimeError("the loss is odd"), "x", Path("store")).reason) == ""
    assert divergence(failure(OSError(errno.EIO, "diverged"), "x", Path("store")).reason) == ""
    assert divergence("") == ""
