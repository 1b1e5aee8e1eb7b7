"""A training that is killed and goes on gives the same losses and the same bytes as one that nobody disturbed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from safetensors.torch import load_file, save_file

from raystilts import data, features, model, resume, tasks
from raystilts import train as training
from raystilts.execute import Site, execute, perform_here
from raystilts.model import Root
from raystilts.resume import STATE, Saving
from raystilts.stage import Architecture, Encoder, Recipe, Stage
from raystilts.store import Store
from raystilts.study import Study, make_plan
from raystilts.task import Task
from raystilts.tasks import cldr
from raystilts.train import Worker, train

RECIPE = Recipe(
    learning_rate=1e-3,
    head_learning_rate=3e-3,
    num_steps=12,
    batch_size=4,
    micro_batch_size=3,
    max_length=64,
    stride=16,
    max_query_length=16,
    max_answer_length=8,
    weight_decay=0.1,
)


def stage_of(task: Task, **changes: Any) -> Stage:
    """Twelve steps on a task."""
    prefixes = [f"{place}:" for place in range(len(task.parts))] or [""]
    return Stage("train", task, tuple((f"{prefix}train/en", "x") for prefix in prefixes), 1, replace(RECIPE, **changes), encoder="e")


MIXTURE = replace(
    tasks.find("multi-task"), parts=tuple(map(tasks.find, ("mnli", "squad2", "ccg", "mlm", "squad-sentences"))), temperature=5.0
)
KIND = stage_of(cldr.KIND, batch_size=20, micro_batch_size=8)
STAGES = {
    "classification": KIND,
    "tagging": stage_of(cldr.LIST),
    "span": stage_of(tasks.find("squad2")),
    "choice": stage_of(tasks.find("csqa")),
    "mlm": stage_of(tasks.find("mlm")),
    "ranking": stage_of(tasks.find("squad-sentences")),
    "mixture": stage_of(MIXTURE),
    "mixture with shares": stage_of(tasks.find("squad-mlm")),
    "adapters": stage_of(cldr.KIND, lora_rank=4),
    "mean": stage_of(cldr.KIND, average_checkpoints=5, layer_decay=0.8),
}


class Killed(BaseException):
    """Ends a training as a signal would, but leaves the test alive."""


@pytest.fixture(scope="module")
def root(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Root:
    """A random encoder on disk, with dropout."""
    made = tmp_path_factory.mktemp("root")
    texts = [example.texts[0] for example in cldr.texts("en", ("sw", "de"), "train")]
    texts += [text for part in MIXTURE.parts for example in data.examples(part, "train", "en", folder) for text in example.texts]
    model.initialise(made, texts, Architecture(1, 32, 2, 64, 1500, dropout=0.1), 3)
    return Root(str(made))


def log_of(out: Path) -> list[dict[str, Any]]:
    """The lines of a log."""
    return [json.loads(line) for line in (out / "log.jsonl").read_text(encoding="utf-8").splitlines()]


def steps_of(out: Path) -> list[dict[str, Any]]:
    """The lines of a log that are of steps."""
    return [line for line in log_of(out) if "event" not in line]


def events_of(out: Path) -> list[str]:
    """What else is in a log, in its order."""
    return [line["event"] for line in log_of(out) if "event" in line]


def same(one: Path, other: Path) -> bool:
    """Whether two trainings have the same losses, rates and weights, bit by bit."""
    return steps_of(one) == steps_of(other) and (one / model.WEIGHTS).read_bytes() == (other / model.WEIGHTS).read_bytes()


@pytest.fixture
def run(root: Root, folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., tuple[Path, dict[str, Any]]]:
    """(stage, where states are, steps before it is killed) -> (the folder that was trained into, what train returned)."""
    numbers = iter(range(100))

    def one(stage: Stage, saving: Saving | None = None, kill: int | None = None) -> tuple[Path, dict[str, Any]]:
        def dying(seed: int, step: int, n: int) -> int:
            if step == kill:
                raise Killed
            return mixed(seed, step, n)

        out = tmp_path / f"out-{next(numbers)}"
        out.mkdir()
        with monkeypatch.context() as patch:
            mixed = training.mixed
            patch.setattr(training, "mixed", dying)
            if kill is None:
                return out, train(stage, root, None, folder, out, Worker(), None, saving)
            with pytest.raises(Killed):
                train(stage, root, None, folder, out, Worker(), None, saving)
        assert not (out / model.WEIGHTS).exists()
        return out, {}

    return one


@pytest.mark.parametrize("kind", STAGES)
@pytest.mark.promise("A killed fine-tuning goes on from its last state to the same losses and bytes")
def test_a_killed_training_goes_on_as_if_nothing_had_happened(kind: str, run: Any, tmp_path: Path) -> None:
    """Killed before the first state, right after one, between two, and before the last step: the same losses and bytes, in every kind."""
    stage = STAGES[kind]
    undisturbed, facts = run(stage)
    assert "resumed_at" not in facts
    for kill in (2, 3, 8, 11):
        saving = Saving(Store(tmp_path / f"state-{kill}"), stage.key, steps=3)
        run(stage, saving, kill)
        out, found = run(stage, saving)
        assert same(out, undisturbed), kill
        assert found["final_loss"] == facts["final_loss"]
        at = found.get("resumed_at", [])
        assert len(at) == (kill >= 3)
        assert all(step % 3 == 0 and step <= kill for step in at)
        assert events_of(out) == ["start", *["resume"] * len(at)]


def test_a_training_may_be_killed_several_times(run: Any, tmp_path: Path) -> None:
    """Each time it goes on from the last state; log and facts say from which, of those that the result stands on."""
    saving = Saving(Store(tmp_path / "state"), KIND.key, steps=2)
    undisturbed, _ = run(KIND)
    for kill in (3, 3, 5, 10):
        run(KIND, saving, kill)
    out, facts = run(KIND, saving)
    assert same(out, undisturbed)
    assert facts["resumed_at"][:2] == [2, 4]
    assert len(facts["resumed_at"]) == 3
    assert [line["step"] for line in log_of(out) if line.get("event") == "resume"] == facts["resumed_at"]
    assert facts["examples_per_second"] > 0


def test_states_change_nothing_and_are_written_when_it_is_time(run: Any, tmp_path: Path) -> None:
    """With states every step, every few moments, or none the results are the same; nothing half-written stays."""
    undisturbed, _ = run(KIND)
    for saving in (Saving(Store(tmp_path / "0"), KIND.key, steps=1), Saving(Store(tmp_path / "1"), KIND.key, minutes=1e-9)):
        out, facts = run(KIND, saving)
        assert same(out, undisturbed)
        assert "resumed_at" not in facts
        assert events_of(out) == ["start"]
        assert [path.name for path in saving.folder.iterdir()] == [STATE]
    run(KIND, Saving(Store(tmp_path / "2"), KIND.key))
    assert not (tmp_path / "2").exists()


def _truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def _no_header(path: Path) -> None:
    path.write_bytes(b"\0" * 5)


def _of_something_else(path: Path) -> None:
    save_file({"weight": torch.zeros(3)}, path)


def _another_shape(path: Path) -> None:
    facts = resume.safe_open(path, "pt").metadata()
    tensors = load_file(path)
    name = next(name for name in tensors if name.startswith("exp_avg:") and tensors[name].ndim == 2)
    save_file(tensors | {name: tensors[name][:-1].contiguous()}, path, facts)


def _a_moment_less(path: Path) -> None:
    facts = resume.safe_open(path, "pt").metadata()
    tensors = load_file(path)
    tensors.pop(next(name for name in tensors if name.startswith("exp_avg_sq:")))
    save_file(tensors, path, facts)


@pytest.mark.parametrize("harm", [_truncated, _no_header, _of_something_else, _another_shape, _a_moment_less])
@pytest.mark.promise("A damaged state of a training is refused, and the training begins anew")
def test_a_state_that_is_not_whole_is_left_alone(harm: Callable[[Path], None], run: Any, tmp_path: Path) -> None:
    """Training starts from the beginning, and the log says why."""
    saving = Saving(Store(tmp_path / "state"), KIND.key, steps=3)
    undisturbed, _ = run(KIND)
    run(KIND, saving, 4)
    harm(saving.folder / STATE)
    out, facts = run(KIND, replace(saving, steps=None))
    assert same(out, undisturbed)
    assert "resumed_at" not in facts
    assert events_of(out) == ["start", "state refused"]
    assert str(saving.folder / STATE) in log_of(out)[1]["reason"]


def test_a_state_of_another_training_is_left_alone(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of another key, other weights of the parent, another number of workers, another version of torch."""
    saving = Saving(Store(tmp_path / "state"), KIND.key, steps=3)
    undisturbed, _ = run(KIND)
    run(KIND, saving, 4)
    written = (saving.folder / STATE).read_bytes()

    def refused(changed: Saving, what: str) -> None:
        changed.folder.mkdir(exist_ok=True)
        (changed.folder / STATE).write_bytes(written)
        out, _ = run(KIND, replace(changed, steps=None))
        assert same(out, undisturbed)
        assert log_of(out)[1]["reason"].endswith(f"another {what}")

    refused(replace(saving, key="0" * 20), "key")
    refused(replace(saving, parent="1"), "parent")
    facts = json.loads(resume.safe_open(saving.folder / STATE, "pt").metadata()["facts"])
    for name, value in (("world_size", 2), ("torch", "1.0"), ("device", "cuda")):
        other = facts | {"identity": facts["identity"] | {name: value}}
        save_file(load_file(saving.folder / STATE), saving.folder / STATE, {"facts": json.dumps(other)})
        written = (saving.folder / STATE).read_bytes()
        refused(saving, name)


@pytest.mark.promise("A disk that is full for states stops no training")
def test_a_full_disk_does_not_stop_the_training(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A state that cannot be written is a line in the log; the last good one stays, and nothing half-written beside it."""
    saving = Saving(Store(tmp_path / "state"), KIND.key, steps=3)
    undisturbed, _ = run(KIND)
    run(KIND, saving, 4)
    good = (saving.folder / STATE).read_bytes()

    def full(_tensors: object, path: Path, _facts: object) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(resume, "save_file", full)
        out, facts = run(KIND, saving)
    assert same(out, undisturbed)
    assert facts["resumed_at"] == [3]
    failures = [line for line in log_of(out) if line.get("event") == "state not written"]
    assert failures
    assert all("No space left on device" in line["reason"] for line in failures)
    assert [path.name for path in saving.folder.iterdir()] == [STATE]
    assert (saving.folder / STATE).read_bytes() == good


def test_training_goes_on_while_a_state_is_written(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The state is that of its step although the weights go on changing; while one is written, no other is begun."""
    saving = Saving(Store(tmp_path / "state"), KIND.key, steps=2)
    undisturbed, _ = run(KIND)
    begun, on, save = [], threading.Event(), resume.save_file

    def slow(tensors: Any, path: Path, facts: Any) -> None:
        begun.append(json.loads(facts["facts"])["step"])
        assert on.wait(30)
        save(tensors, path, facts)

    class Impatient(resume.Saver):
        def after(self, step: int, seconds: float) -> None:
            """Lets the writer go on at step 10."""
            super().after(step, seconds)
            if step == 10:
                on.set()

    with monkeypatch.context() as patch:
        patch.setattr(resume, "save_file", slow)
        patch.setattr(resume, "Saver", Impatient)
        run(KIND, saving, 11)
    assert begun == [2]
    out, facts = run(KIND, saving)
    assert facts["resumed_at"] == [2]
    assert same(out, undisturbed)


def _rank(
    rank: int, world_size: int, port: int, stages: dict[str, Stage], root: Root, data_dir: Path, place: Path, kill: int | None
) -> None:
    """A worker. With `kill` it first trains undisturbed, and the last rank ends without a word at that step of another training."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=world_size)
    mixed, worker = training.mixed, Worker(rank, world_size)
    for name, stage in stages.items():
        saving = Saving(Store(place / f"{name}-state"), stage.key, steps=3)
        if kill is None:
            train(stage, root, None, data_dir, place / f"{name}-resumed", worker, None, saving)
            continue
        train(stage, root, None, data_dir, place / f"{name}-undisturbed", worker)

        def dying(seed: int, step: int, n: int, name: str = name, saving: Saving = saving) -> int:
            if step == kill:
                if name != list(stages)[-1]:
                    raise Killed
                while not (saving.folder / STATE).is_file():
                    time.sleep(0.01)
                dist.barrier()
                if rank == world_size - 1:
                    os.kill(os.getpid(), signal.SIGKILL)
            return mixed(seed, step, n)

        training.mixed = dying
        try:
            train(stage, root, None, data_dir, place / f"{name}-killed", worker, None, saving)
        except Killed:
            training.mixed = mixed
    dist.barrier()  # who leaves while the other still talks may be aborted on the way out
    dist.destroy_process_group()


@pytest.mark.parametrize("world_size", [2, pytest.param(3, marks=pytest.mark.soak)])
@pytest.mark.promise("A killed fine-tuning on several workers goes on to the same losses and bytes")
def test_several_workers_go_on_as_if_nothing_had_happened(root: Root, folder: Path, tmp_path: Path, world_size: int) -> None:
    """Of gloo workers one is killed (SIGKILL) and the others fail; new ones go on to the same losses and bytes. With three the order of a
    sum matters; a mixture leaves heads without gradients.
    """
    stages = {"mixture": STAGES["mixture"], "classification": KIND}
    for name in stages:
        for what in ("undisturbed", "killed", "resumed"):
            (tmp_path / f"{name}-{what}").mkdir()

    def spawn(kill: int | None) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        mp.spawn(_rank, (world_size, port, stages, root, folder, tmp_path, kill), nprocs=world_size)

    with pytest.raises((mp.ProcessExitedException, mp.ProcessRaisedException)):
        spawn(7)
    spawn(None)
    for name in stages:
        out = tmp_path / f"{name}-resumed"
        assert events_of(out) == ["start", "resume"]
        assert [worker["rank"] for line in log_of(out) if line.get("event") == "resume" for worker in line["workers"]] == [
            *range(world_size)
        ]
        assert same(out, tmp_path / f"{name}-undisturbed")


def test_a_finished_stage_leaves_no_state(root: Root, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stage that was killed goes on when it is executed again, says so in its record, and its state is gone; so is one that a process
    left which was killed right after it had finished. How often states are written is no part of a key.
    """
    study = Study("s", "?", (Encoder("tiny", folder=root.source.lstrip("/")),), ("currency",), (cldr.KIND,), (1,), {"default": RECIPE})
    plan = make_plan(study, None, Path("/"))
    store = Store(tmp_path / "store")
    store.prepare()
    site = Site(store, "run", encoders=Path("/"), checkpoint_steps=3)
    first, second = [key for key, stage in plan.stages.items() if stage.phase == "train"][:2]
    mixed = training.mixed

    def dying(seed: int, step: int, n: int) -> int:
        if step == 5:
            raise Killed
        return mixed(seed, step, n)

    with monkeypatch.context() as patch:
        patch.setattr(training, "mixed", dying)
        with pytest.raises(Killed):
            execute(first, plan, site, perform_here(site))
    assert (store.progress(first) / STATE).is_file()
    assert not store.has(first)
    execute(first, plan, site, perform_here(site))
    assert store.record(first)["result"]["resumed_at"] == [3]
    assert not list((store.root / "progress").iterdir())
    store.progress(first).mkdir()
    store.progress("unfinished").mkdir()
    execute(second, plan, site, perform_here(site))
    assert [path.name for path in (store.root / "progress").iterdir()] == ["unfinished"]
    features._cache.clear()
    other = replace(site, store=Store(tmp_path / "other"), checkpoint_steps=None)
    other.store.prepare()
    execute(first, plan, other, perform_here(other))
    assert store.record(first)["files"][model.WEIGHTS] == other.store.record(first)["files"][model.WEIGHTS]
    assert "resumed_at" not in other.store.record(first)["result"]


SWEEP = """
import sys
from dataclasses import replace
from pathlib import Path
sys.path.insert(0, {tests!r})
from places import smoke
from raystilts.execute import Site
from raystilts.process import owner
from raystilts.store import Store
from raystilts.study import make_plan
from raystilts.sweep import Cluster, run_in_process, run_on_ray

if __name__ == "__main__":
    small = smoke()
    recipes = {{name: replace(recipe, num_steps=300) for name, recipe in small.recipes.items()}}
    study = replace(small, encoders=small.encoders[:1], targets=small.targets[:1], seeds=(1,), recipes=recipes)
    plan, store = make_plan(study), Store(Path(sys.argv[2]))
    store.prepare()
    if sys.argv[1] == "ray":
        run_on_ray(plan, Site(store, owner(), checkpoint_steps=20), Cluster(max_concurrent=1))
    else:
        run_in_process(plan, Site(store, owner()))
"""


@pytest.mark.slow
def test_a_process_that_ray_loses_is_replaced_by_one_that_goes_on(tmp_path: Path) -> None:
    """SIGKILL of the process that trains: Tune starts the stage again, which goes on from its last state to the same bytes."""
    (tmp_path / "sweep.py").write_text(SWEEP.format(tests=str(Path(__file__).parent)), encoding="utf-8")

    def sweep(how: str) -> subprocess.Popen[str]:
        command = [sys.executable, "sweep.py", how, str(tmp_path / how)]
        return subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)

    undisturbed, disturbed = sweep("alone"), sweep("ray")
    deadline, found = time.monotonic() + 200, None
    while found is None and time.monotonic() < deadline and disturbed.poll() is None:
        time.sleep(0.01)
        found = next((tmp_path / "ray" / "progress").glob(f"*/{STATE}"), None)
    assert found is not None, disturbed.communicate()[0]
    key = found.parent.name
    (log,) = (tmp_path / "ray" / "partial").glob(f"*/{key}/log.jsonl")
    with log.open(encoding="utf-8") as lines:  # what was logged until the state was written is there
        os.kill(json.loads(next(lines))["workers"][0]["process"], signal.SIGKILL)
    for process in (disturbed, undisturbed):
        said, _ = process.communicate(timeout=250)
        assert process.returncode == 0, said
    here, there = Store(tmp_path / "ray"), Store(tmp_path / "alone")
    keys = sorted(path.name for path in (there.root / "stages").iterdir())
    assert sorted(path.name for path in (here.root / "stages").iterdir()) == keys
    for one in keys:
        files, others = (store.record(one)["files"] for store in (here, there))
        assert {name: facts for name, facts in files.items() if name != "log.jsonl"} == {
            name: facts for name, facts in others.items() if name != "log.jsonl"
        }
    assert here.record(key)["result"]["resumed_at"]
    assert steps_of(here.path(key)) == steps_of(there.path(key))
    assert not list((here.root / "progress").iterdir())


def test_a_state_holds_only_what_is_trained(run: Any, tmp_path: Path) -> None:
    """With adapters, the state of the encoder's frozen weights is not written: neither they nor moments of them."""
    stage = STAGES["adapters"]
    saving = Saving(Store(tmp_path / "state"), stage.key, steps=3)
    run(stage, saving, 8)
    names = {name.partition(":")[2] for name in load_file(saving.folder / STATE)} - {""}
    assert any(".lora_A." in name for name in names)
    assert all(".lora_" in name or name.startswith("heads.") for name in names)
