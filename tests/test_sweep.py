"""The sweep: order, failures, and the same store in one process and on Ray."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from places import ROOT, SMOKE, smoke

from raystilts import sweep
from raystilts.cli import main
from raystilts.faults import DIED, MAX_TRIES, Failure
from raystilts.schedule import Schedule, jobs
from raystilts.store import Store
from raystilts.study import make_plan

PLAN = make_plan(smoke())


class Memory(Store):
    """A store that only remembers which stages are there."""

    def __init__(self) -> None:
        super().__init__(Path("nowhere"))
        object.__setattr__(self, "keys", set())

    def has(self, key: str) -> bool:
        """Whether the test put it there."""
        return key in self.keys

    def done(self) -> set[str]:
        """What the test put there."""
        return self.keys

    def busy(self, keys: Iterable[str]) -> set[str]:
        """Which of them another sweep works on."""
        return {key for key in keys if f"busy {key}" in self.keys}


@settings(deadline=None, max_examples=60)
@given(st.data())
@pytest.mark.promise("However jobs end, each runs once and after what it starts from")
def test_any_order_of_endings_runs_every_job_once_after_its_parent(data: st.DataObject) -> None:
    """However jobs interleave on however many slots, each runs exactly once, after what it starts from, until all is in the store."""
    store = Memory()
    schedule = Schedule(PLAN, store)
    slots, started = data.draw(st.integers(1, 8)), []
    while not schedule.over:
        while len(schedule.running) < slots and (key := schedule.start()):
            parent = PLAN.stages[key].parent
            assert parent is None or store.has(parent.key)
            started.append(key)
        key = data.draw(st.sampled_from(sorted(schedule.running)))
        store.keys.update(schedule.jobs[key])
        assert schedule.end(key) == "done"
    assert sorted(started) == sorted(schedule.jobs)
    assert set(PLAN.stages) == store.keys
    assert schedule.num_left == 0


def test_the_longest_chain_starts_first() -> None:
    """Among ready jobs the one with the longest remaining chain starts, so alignment comes before a retrieval baseline."""
    store = Memory()
    schedule = Schedule(PLAN, store)
    heights = []
    while (key := schedule.start()) is not None:
        heights.append(schedule.height[key])
        store.keys.update(schedule.jobs[key])
        schedule.end(key)
    assert heights == sorted(heights, reverse=True)


@pytest.mark.promise("A stage that fails stops only what stands on it")
def test_a_failed_job_blocks_only_its_descendants() -> None:
    """What follows a failed stage does not start, everything else does, and the counts say so."""
    store = Memory()
    schedule = Schedule(PLAN, store)
    bad = next(key for key in schedule.jobs if PLAN.roles[key] == "intermediate")
    ran = []
    while (key := schedule.start()) is not None:
        ran.append(key)
        if key != bad:
            store.keys.update(schedule.jobs[key])
        schedule.end(key)
    below = {key for key in schedule.jobs if bad in {stage.key for stage in PLAN.stages[key].lineage[:-1]}}
    assert below
    assert schedule.failed == [bad]
    assert schedule.blocked == below
    assert set(ran) == set(schedule.jobs) - below
    assert schedule.num_left == 0


def test_a_job_that_a_fault_stopped_is_tried_again_and_a_bug_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault is worth MAX_TRIES tries, each after a pause in which others may start; a bug is final at once. The reasons are kept."""
    monkeypatch.setattr("raystilts.schedule.PAUSES", (0.0,) * (MAX_TRIES - 1))
    schedule = Schedule(PLAN, Memory())
    first = schedule.start()
    for _ in range(MAX_TRIES - 1):
        assert schedule.end(first, DIED) == "again"
        assert schedule.start() == first
    assert schedule.end(first, DIED) == "failed"
    assert schedule.failures[first] == DIED
    monkeypatch.setattr("raystilts.schedule.PAUSES", (3600.0,))
    second = schedule.start()
    assert schedule.end(second, Failure("the file server is away", again=True)) == "again"
    assert schedule.start() != second
    assert not schedule.over
    third = Schedule(PLAN, Memory())
    assert third.end(third.start(), Failure("ValueError", again=False)) == "failed"


def test_only_what_is_missing_is_a_job() -> None:
    """With everything in the store but one target model, the jobs are that model with its evaluation; with an evaluation gone, that."""
    store = Memory()
    store.keys.update(PLAN.stages)
    assert jobs(PLAN, store.done()) == {}
    evaluation = next(cell.evaluation for cell in PLAN.cells if cell.target == "kind")
    store.keys.remove(evaluation.key)
    assert jobs(PLAN, store.done()) == {evaluation.key: [evaluation.key]}
    store.keys.remove(evaluation.parent.key)
    assert jobs(PLAN, store.done()) == {evaluation.parent.key: [evaluation.parent.key, evaluation.key]}


def raystilts(*arguments: str, cwd: Path) -> subprocess.Popen[str]:
    """The command line in a process group of its own, as a terminal starts it."""
    command = [sys.executable, "-m", "raystilts.cli", *arguments]
    return subprocess.Popen(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)


def contents(store: Path) -> dict[str, dict[str, str]]:
    """Key -> file -> hash of all finished stages, without logs (which name processes)."""
    found = Store(store)
    return {
        path.name: {name: facts["sha256"] for name, facts in found.record(path.name)["files"].items() if name != "log.jsonl"}
        for path in (store / "stages").iterdir()
    }


def test_a_second_run_does_nothing_and_a_deleted_stage_is_rebuilt(smoke_store: Path, tmp_path: Path) -> None:
    """Running again trains nothing; after deleting one model only it and what depends on it are made again, bit by bit the same."""
    store = tmp_path / "store"
    shutil.copytree(smoke_store, store)
    process = raystilts("run", SMOKE, "--store", "store", cwd=tmp_path)
    output, _ = process.communicate(timeout=170)
    assert "nothing to run" in output
    gone = next(key for key in PLAN.stages if PLAN.roles[key] == "intermediate")
    below = {key for key, stage in PLAN.stages.items() if gone in {s.key for s in stage.lineage}}
    assert len(below) > 3
    kept = {key: (store / "stages" / key).stat().st_mtime_ns for key in PLAN.stages if key not in below}
    before = {key: (store / "stages" / key).stat().st_mtime_ns for key in below}
    shutil.rmtree(store / "stages" / gone)
    process = raystilts("run", SMOKE, "--in-process", "--store", "store", cwd=tmp_path)
    output, _ = process.communicate(timeout=170)
    assert process.returncode == 0, output
    assert f"{len(below) - 1} finished stages stand on one that is gone" in output
    assert all((store / "stages" / key).stat().st_mtime_ns > before[key] for key in below)
    assert contents(store) == contents(smoke_store)
    assert kept == {key: (store / "stages" / key).stat().st_mtime_ns for key in kept}


@pytest.mark.promise(
    "A run that diverged is named by the summary, by `status` and as a finding of the report; it is never dropped silently"
)
def test_a_failing_stage_is_reported_and_the_rest_is_done(smoke_store: Path, tmp_path: Path) -> None:
    """A stage that diverges fails only what depends on it: exit code 1; the summary, status and the report name it and what it lost."""
    experiment = tmp_path / "failing.py"
    experiment.write_text(
        "import importlib.util\n"
        f"spec = importlib.util.spec_from_file_location('q', {str(ROOT / 'experiments' / 'quickstart.py')!r})\n"
        "q = importlib.util.module_from_spec(spec); spec.loader.exec_module(q)\n"
        "from dataclasses import replace\n"
        "def study():\n"
        "    s = q.smoke()\n"
        "    bad = replace(s.recipes['default'], learning_rate=1e30, max_grad_norm=1e30)\n"
        "    return replace(s, recipes=dict(s.recipes) | {'currency': bad}, encoders=s.encoders[:1], seeds=(1,))\n",
        encoding="utf-8",
    )
    shutil.copytree(smoke_store, tmp_path / "store")
    process = raystilts("run", "failing.py", "--in-process", "--store", "store", cwd=tmp_path)
    output, _ = process.communicate(timeout=170)
    assert process.returncode == 1, output
    assert "FAILED intermediate currency, pico" in output
    assert "diverged: intermediate currency, pico" in output
    assert "diverged: the loss is" in output
    assert "not started, because a stage before them failed" in output
    status = raystilts("status", "failing.py", "--store", "store", cwd=tmp_path)
    assert "diverged: intermediate currency, pico" in status.communicate(timeout=60)[0]
    told = (tmp_path / "store" / "report" / "report.md").read_text(encoding="utf-8")
    assert re.search(r"\| error \| diverged \| all \| the training diverged and the run is left out: .*the loss is", told)
    assert re.search(r"pico/currency/kind/seed 1 \(diverged: intermediate currency, pico, .*the loss is", told)


@pytest.mark.slow
@pytest.mark.promise("In one process and on Ray, in any order, stages are bit-identical")
def test_ray_makes_the_same_store(smoke_store: Path, tmp_path: Path) -> None:
    """On Ray every stage has the same bytes as in one process; nothing of Ray is left, neither processes nor folders."""
    process = raystilts("run", SMOKE, "--store", "store", cwd=tmp_path)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    assert contents(tmp_path / "store") == contents(smoke_store)
    assert not of_group(process.pid)
    assert not list((tmp_path / "store" / "partial").iterdir())


@pytest.mark.slow
@pytest.mark.promise("After Ctrl-C nothing is half done, and the same command goes on")
def test_interrupting_leaves_nothing_half_done(smoke_store: Path, tmp_path: Path) -> None:
    """Ctrl-C in the middle: exit code 130, no process, no half-written stage; the same command continues to the same store."""
    process = raystilts("run", SMOKE, "--store", "store", cwd=tmp_path)
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline and len(list((tmp_path / "store").glob("stages/*"))) < 4:
        time.sleep(0.2)
    os.killpg(process.pid, signal.SIGINT)  # a terminal sends it to the whole group
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 130, output
    assert "run the same command again" in output
    assert not of_group(process.pid)
    assert not list((tmp_path / "store" / "partial").iterdir())
    done = contents(tmp_path / "store")
    assert 4 <= len(done) < len(PLAN.stages)
    assert all("stage.json" not in files for files in done.values())
    process = raystilts("run", SMOKE, "--store", "store", "--in-process", cwd=tmp_path)
    output, _ = process.communicate(timeout=170)
    assert process.returncode == 0, output
    assert contents(tmp_path / "store") == contents(smoke_store)


@pytest.mark.slow
@pytest.mark.promise("Two workers per stage follow one up to the order of sums")
def test_two_workers_per_stage_train_through_ray_train(smoke_store: Path, tmp_path: Path) -> None:
    """With --workers 2 the log of a training names both ranks, and its losses are one worker's within 1e-4. An evaluation is divided over
    the workers by languages, and its tables are one worker's.
    """
    shutil.copytree(smoke_store, tmp_path / "store")
    single = next(key for key in PLAN.stages if PLAN.label(key) == "evaluation kind, nano, after alignment > kind, seed 1")
    shutil.rmtree(tmp_path / "store" / "stages" / single)
    key = next(key for key in PLAN.stages if PLAN.label(key) == "target list, nano, after alignment, seed 1")
    alone = losses(tmp_path / "store" / "stages" / key / "log.jsonl")[1]
    shutil.rmtree(tmp_path / "store" / "stages" / key)
    process = raystilts("run", SMOKE, "--store", "store", "--workers", "2", cwd=tmp_path)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    ranks, shared = losses(tmp_path / "store" / "stages" / key / "log.jsonl")
    assert ranks == [0, 1]
    assert shared == pytest.approx(alone, abs=1e-4)
    here, there = (Store(root).record(single) for root in (tmp_path / "store", smoke_store))
    assert here["files"] == there["files"]
    assert here["result"] == there["result"]
    assert list(here["result"]["scores"]) == list(there["result"]["scores"])
    assert not of_group(process.pid)


def losses(path: Path) -> tuple[list[int], list[float]]:
    """Ranks and losses in a log."""
    first, *rest = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [worker["rank"] for worker in first["workers"]], [line["loss"] for line in rest]


def of_group(group: int) -> list[str]:
    """Living processes of a session that this test started, by its id."""
    found = subprocess.run(["ps", "-eo", "sid=,stat=,args="], capture_output=True, text=True, check=True).stdout.splitlines()
    return [line for line in found if line.split()[0] == str(group) and "Z" not in line.split()[1]]


def journal(store: Path) -> dict[str, list[str]]:
    """Key -> what the journal says of it, in order."""
    found: dict[str, list[str]] = {}
    for line in Store(store).journal():
        found.setdefault(line["key"], []).append(line["event"])
    return found


def test_two_sweeps_of_one_store_share_the_work(smoke_store: Path, tmp_path: Path) -> None:
    """Two drivers that start together on the same store and study both end well; no stage is begun twice, both did some, and the store
    equals that of a single one.
    """
    store = tmp_path / "store"
    command = [sys.executable, "-m", "raystilts.cli", "run", SMOKE, "--in-process", "--store", str(store)]
    both = [
        subprocess.Popen([*command, "--out", str(tmp_path / name)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for name in ("a", "b")
    ]
    said = [driver.communicate(timeout=300)[0] for driver in both]
    assert [driver.returncode for driver in both] == [0, 0], said
    events = journal(store)
    assert set(events) == set(PLAN.stages)
    assert all(found == ["start", "done"] for found in events.values())
    assert len({line["process"] for line in Store(store).journal()}) == 2
    for key in PLAN.stages:
        for path in (smoke_store / "stages" / key).rglob("*"):
            if path.suffix in {".safetensors", ".parquet"}:
                assert path.read_bytes() == (store / "stages" / key / path.relative_to(smoke_store / "stages" / key)).read_bytes()


def test_a_job_that_another_sweep_works_on_is_left_to_it() -> None:
    """The next ready job is taken instead; when the other has finished, its children are ready here; when it has died, its job is ours."""
    store = Memory()
    schedule = Schedule(PLAN, store)
    first = min(schedule.ready)[1]
    store.keys.add(f"busy {first}")
    other = schedule.start()
    assert other not in (None, first)
    store.keys.update(schedule.jobs[other])
    schedule.end(other)
    while (key := schedule.start()) is not None:
        store.keys.update(schedule.jobs[key])
        schedule.end(key)
    assert not schedule.over
    store.keys.remove(f"busy {first}")
    store.keys.update(schedule.jobs[first])
    after = schedule.start()
    assert after is not None
    assert first in schedule.done
    assert PLAN.stages[after].parent.key == first


def test_status_sees_a_sweep_from_another_process(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`status` names what another process works on, and for how long; when that process is gone it says what the journal last knew."""
    store = Store(tmp_path / "store")
    store.prepare()
    key = next(iter(PLAN.stages))
    code = (
        f"import sys, time; from pathlib import Path; from raystilts.store import Store; s = Store(Path({str(store.root)!r}));"
        f"lock = s.lock({key!r}); lock.__enter__(); s.note('start', {key!r}); print('held', flush=True); time.sleep(600)"
    )
    other = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        assert main(["status", SMOKE, "--store", str(store.root)]) == 0
        assert f"running now: {PLAN.label(key)} (for " in capsys.readouterr().out
        assert main(["status", SMOKE, "--store", str(store.root), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["running"] == [key]
    finally:
        other.kill()
        other.wait()
        if other.stdout is not None:
            other.stdout.close()
    assert main(["status", SMOKE, "--store", str(store.root)]) == 0
    shown = capsys.readouterr().out
    assert "nothing runs now." in shown
    assert f"last: start {PLAN.label(key)} at " in shown


@pytest.mark.parametrize(
    "said", ["--address HOST:PORT", "RAY_ADDRESS=HOST:PORT", "--address auto", "--address ray://HOST:PORT", "--address there"]
)
def test_a_cluster_that_does_not_answer_is_one_sentence(
    said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong --address or RAY_ADDRESS is refused at once, with code 2, and nothing is started: also where no node is here for `auto`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        said = said.replace("HOST:PORT", f"127.0.0.1:{free.getsockname()[1]}")
    monkeypatch.setattr("psutil.process_iter", lambda _: iter(()))  # this machine may be a node of somebody's
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if said.startswith("RAY_ADDRESS="):
        monkeypatch.setenv("RAY_ADDRESS", said.partition("=")[2])
    began = time.monotonic()
    assert main(["run", SMOKE, "--store", str(tmp_path / "store"), *(said.split() if said.startswith("-") else ())]) == 2
    assert time.monotonic() - began < 60
    error = capsys.readouterr().err
    assert error.startswith(f"raystilts: {said}: ")
    assert ("no Ray cluster answers there" in error) != ("by auto or HOST:PORT" in error)
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("flag", "named", "joined"),
    [
        (None, None, None),
        (None, "a:1", "a:1"),
        ("auto", "a:1", "a:1"),
        ("auto", None, "auto"),
        ("b:2", "a:1", "b:2"),
        ("local", "a:1", None),
        (None, "local", None),
    ],
)
def test_ray_address_counts_where_no_address_is_given(
    flag: str | None, named: str | None, joined: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A driver that `ray job submit` has sent joins its cluster; a named --address wins; `local` is a Ray of one's own."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if named:
        monkeypatch.setenv("RAY_ADDRESS", named)
    assert sweep.joined(sweep.Cluster(flag))[0] == joined


def test_functions_of_an_experiment_travel_to_workers(tmp_path: Path) -> None:
    """A study whose method changes data by a function of its own file is whole in a process that has never seen the file. Both are
    processes of their own: Ray must not be imported here before it is told how to authenticate.
    """
    path = tmp_path / "own.py"
    path.write_text(
        "from dataclasses import replace\n"
        "from raystilts.experiment import load_study\n"
        "from raystilts.method import Method\n"
        "def half(task):\n"
        "    return replace(task, name='half of it')\n"
        "def study():\n"
        f"    return replace(load_study({SMOKE!r}), methods=(Method('half', change=half),))\n",
        encoding="utf-8",
    )
    sends = "from raystilts import sweep; from raystilts.experiment import load_study; from ray import cloudpickle"
    sends += f"; made = load_study({str(path)!r}); sweep.send_functions(); sys.stdout.buffer.write(cloudpickle.dumps(made))"
    reads = "import pickle; method, = pickle.load(sys.stdin.buffer).methods; from raystilts.tasks import cldr"
    reads += "; print(method.change(cldr.KIND).name)"
    sent = subprocess.run([sys.executable, "-c", f"import sys; {sends}"], capture_output=True, check=True).stdout
    path.unlink()
    read = subprocess.run([sys.executable, "-c", f"import sys; {reads}"], input=sent, capture_output=True, check=False)
    assert read.stdout.decode() == "half of it\n", read.stderr.decode()
