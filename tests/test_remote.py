"""A store in an object store: what other machines see of it, and what they are kept from."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from places import SMOKE, smoke

from raystilts import remote
from raystilts import store as stores
from raystilts import train as training
from raystilts.cli import main
from raystilts.errors import UserError
from raystilts.execute import Site, execute, perform_here
from raystilts.process import owner
from raystilts.remote import Remote
from raystilts.store import Store, store_at
from raystilts.study import make_plan


@pytest.fixture(params=["s3", "gs"])
def address(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of an empty store."""
    monkeypatch.setenv("RAYSTILTS_CACHE", str(tmp_path / "machine"))
    made: str = request.getfixturevalue(request.param)()
    return made


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Go on as a process of another machine, by its name: with another copy of the store and nothing in memory."""

    def go(name: str) -> None:
        monkeypatch.setenv("RAYSTILTS_CACHE", str(tmp_path / name))
        stores._known.clear()
        stores._checked.clear()

    return go


def write(store: Store, key: str, text: str = "data") -> None:
    """A stage with two files."""
    with store.writing(key, owner()) as folder:
        (folder / "predictions").mkdir()
        (folder / "predictions" / "sw.txt").write_text(text)
        (folder / "log.jsonl").write_text("{}\n")
        (folder / "stage.json").write_text(json.dumps({"key": key}))


def test_objects_are_there_or_not(address: str, tmp_path: Path) -> None:
    """Bytes and files come back as they were; what is not there is None, False or nothing, not an error."""
    place = Remote(address)
    assert place.read("a/b") is None
    assert not place.has("a/b")
    assert place.names("a") == {}
    assert not place.get("a/b", tmp_path / "got")
    assert not (tmp_path / "got").exists()
    place.delete("a/b")
    place.delete_folder("a")
    place.write("a/b", b"1")
    place.write("a/b", b"23")
    (tmp_path / "file").write_bytes(bytes(range(256)) * 1000)
    place.put(tmp_path / "file", "a/c/d")
    assert place.read("a/b") == b"23"
    assert place.has("a/b")
    assert not place.has("a")
    assert place.names("a").keys() == {"b", "c/d"}
    assert place.get("a/c/d", tmp_path / "new" / "got")
    assert (tmp_path / "new" / "got").read_bytes() == (tmp_path / "file").read_bytes()
    place.put_folder(tmp_path / "new", "e")
    place.get_folder("e", tmp_path / "back")
    assert (tmp_path / "back" / "got").read_bytes() == (tmp_path / "file").read_bytes()
    place.delete_folder("a")
    assert place.names("").keys() == {"e/got"}


def test_another_machine_fetches_what_it_needs_once(
    address: str, elsewhere: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine that has no copy gets all files; one that has a copy, in this process or another, gets none."""
    store = store_at(address)
    write(store, "k")
    elsewhere("second")
    assert not store.path("k").exists()
    folder = store.fetch("k")
    assert (folder / "predictions" / "sw.txt").read_text() == "data"
    monkeypatch.setattr(Remote, "get_folder", None)
    assert store.fetch("k") == folder
    elsewhere("second")
    assert store.fetch("k") == folder
    elsewhere("machine")
    assert (store.fetch("k") / "log.jsonl").read_text() == "{}\n"


def test_a_stale_or_damaged_copy_is_replaced(address: str, elsewhere: Callable[[str], None]) -> None:
    """Where a machine's copy is not what the record names, after a flipped bit or after the stage was made again, it is fetched anew."""
    store = store_at(address)
    write(store, "k", "first")
    (store.path("k") / "predictions" / "sw.txt").write_text("firsu")
    assert (store.fetch("k") / "predictions" / "sw.txt").read_text() == "first"
    elsewhere("second")
    store.discard("k")
    write(store, "k", "second")
    elsewhere("machine")
    assert (store.fetch("k") / "predictions" / "sw.txt").read_text() == "second"


@pytest.mark.promise("An object of a store that was damaged is named before it is used")
def test_a_damaged_object_is_named(address: str, elsewhere: Callable[[str], None]) -> None:
    """What comes from the store is compared with the record; the sentence says what to delete."""
    store = store_at(address)
    write(store, "k")
    name = next(name for name in store.shared.names("stages") if name.endswith("sw.txt"))
    store.shared.write(f"stages/{name}", b"dat")
    elsewhere("second")
    with pytest.raises(UserError, match=r"sw.txt has 3 bytes and not 4; delete .*records/k.json and run again"):
        store.fetch("k")
    store.shared.delete("records/k.json")
    elsewhere("second")
    assert not store.has("k")


@pytest.mark.promise("In an object store, too, a stage is there whole or not at all")
def test_without_a_record_there_is_no_stage(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer that ends between files and record leaves nothing that anybody takes for a stage, and is in nobody's way."""
    store, put = store_at(address), Remote.write

    def dying(self: Remote, name: str, content: bytes) -> None:
        if name.startswith("records/"):
            raise KeyboardInterrupt
        put(self, name, content)

    with monkeypatch.context() as patch:
        patch.setattr(Remote, "write", dying)
        with pytest.raises(KeyboardInterrupt):
            write(store, "k", "first")
    assert not store.has("k")
    assert store.done() == set()
    assert not store.path("k").exists()
    write(store, "k", "second")
    assert (store.fetch("k") / "predictions" / "sw.txt").read_text() == "second"


class Flaky:
    """A file system half of whose requests fail."""

    def __init__(self, files: Any) -> None:
        self.files, self.rng, self.num_failed = files, random.Random(1), 0  # noqa: S311  no secret

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def asked(*given: Any) -> Any:
            if self.rng.random() < 0.5:
                self.num_failed += 1
                raise OSError("When reading information for key: AWS Error NETWORK_CONNECTION")
            return getattr(self.files, name)(*given)

        return asked


@pytest.mark.promise("Requests to an object store that fail are made again")
def test_requests_that_fail_are_made_again(address: str, monkeypatch: pytest.MonkeyPatch, elsewhere: Callable[[str], None]) -> None:
    """A network that fails half of the time costs time alone; one that is gone is an OSError in the end, which is a fault of the place."""
    files, folder = remote._opened(address)
    flaky = Flaky(files)
    monkeypatch.setattr(remote, "_opened", lambda uri: (flaky, folder))
    monkeypatch.setattr(Remote, "__init__", lambda self, uri: self.__dict__.update(uri=uri, pauses=(0.0,) * 20))
    store = store_at(address)
    for key in ("k", "l"):
        with store.lock(key):
            write(store, key)
    elsewhere("second")
    assert store.done() == {"k", "l"}
    assert (store.fetch("l") / "predictions" / "sw.txt").read_text() == "data"
    assert flaky.num_failed > 10
    flaky.files = None
    flaky.rng.random = lambda: 0.0
    with pytest.raises(OSError, match="NETWORK_CONNECTION"):
        store.has("m")


@pytest.mark.promise("A claim of a machine that is gone ends")
def test_a_claim_that_is_not_renewed_ends(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process of another machine that is silent for the time of the lease has lost its claim; one that renews it has not."""
    place = Remote(address)
    place.write(f"locks/l/{owner()}-3", b"")  # the older one is void first
    place.write("locks/k/elsewhere-1-2", b"")
    assert place.claimed("locks", ["k", "l", "m"]) == {"k", "l"}
    monkeypatch.setattr(remote, "LEASE", 3.0)
    monkeypatch.setattr(remote, "BEAT", 0.2)
    with place.claim("locks/m"):
        with place.claim("locks/k"):  # waits until the other is void
            assert place.claimed("locks", ["k", "l", "m"]) == {"k", "m"}
        assert place.names("locks/k").keys() == {"elsewhere-1-2"}
    assert place.claimed("locks", ["k", "l", "m"]) == set()


def test_what_cannot_be_a_store_is_one_sentence(
    s3: Callable[[], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another protocol, an address without a bucket, a bucket that is not there: code 2 and what to write or see to."""
    monkeypatch.setenv("RAYSTILTS_CACHE", str(tmp_path / "machine"))
    for address, said in (
        ("ftp://host/folder", "a store is a folder, or s3://BUCKET/FOLDER or gs://BUCKET/FOLDER"),
        ("s3://", "no store can be there"),
        (s3().replace("bucket", "absent", 1), "the store cannot be written"),
    ):
        assert main(["run", SMOKE, "--in-process", "--store", address]) == 2
        err = capsys.readouterr().err
        assert said in err
        assert err.count("\n") == 1


def same(one: Store, other: Path, but: str = "") -> None:
    """Whether a store holds the stages of a folder with the same predictions and weights, bit by bit, but for one and what stands on it."""
    known = Store(other)
    assert one.done() == known.done()
    for key in known.done():
        if but in (key, *(stage["key"] for stage in known.record(key)["lineage"])):
            continue
        assert {name: facts for name, facts in one.record(key)["files"].items() if name != "log.jsonl"} == {
            name: facts for name, facts in known.record(key)["files"].items() if name != "log.jsonl"
        }
        one.fetch(key)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["s3", pytest.param("gs", marks=pytest.mark.soak)])
def test_a_study_runs_to_its_report(kind: str, request: pytest.FixtureRequest, smoke_store: Path, tmp_path: Path) -> None:
    """In an object store a killed sweep goes on on another machine, trains nothing twice, and ends with the stages of a folder's; a third
    machine writes the report.
    """
    address = request.getfixturevalue(kind)()
    command = [sys.executable, "-m", "raystilts.cli", "run", SMOKE, "--in-process", "--store", address]

    def on(machine: str, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*command[:3], *arguments] if arguments else command,
            cwd=tmp_path,
            env={**os.environ, "RAYSTILTS_CACHE": str(tmp_path / machine)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    with on("first") as first:
        assert first.stdout is not None
        for line in first.stdout:
            if line.startswith("[5/"):
                first.kill()
                break
    done = store_at(address).done()
    assert 5 <= len(done) < len(Store(smoke_store).done())
    with on("second") as second:
        out, _ = second.communicate(timeout=300)
    assert second.returncode == 0, out
    shutil.rmtree(tmp_path / "second")
    shutil.rmtree(tmp_path / "runs")
    with on("third", "report", SMOKE, "--store", address, "--out", str(tmp_path / "report")) as third:
        out, _ = third.communicate(timeout=300)
    assert third.returncode == 0, out
    same(store_at(address), smoke_store)
    starts = [line["key"] for line in store_at(address).journal() if line["event"] == "start"]
    assert not done & {key for key in starts if starts.count(key) > 1}
    assert len(starts) <= len(set(starts)) + 1
    name = "report/tables/gains.csv"
    assert (tmp_path / name).read_bytes() == (smoke_store / name).read_bytes()


@pytest.mark.promise("A killed training goes on on another machine")
def test_a_training_goes_on_on_another_machine(address: str, elsewhere: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """The state of a training that was killed is found from a machine that has nothing; the end is that of an undisturbed one."""
    study = replace(smoke(), seeds=(1,))
    plan, mixed = make_plan(replace(study, encoders=study.encoders[:1])), training.mixed
    keys = list(plan.stages)[:3]
    assert [plan.stages[key].phase for key in keys] == ["initialise", "train", "train"]

    def dying(seed: int, step: int, n: int) -> int:
        if step == 5:
            raise KeyboardInterrupt
        return mixed(seed, step, n)

    def run(store: Store) -> dict[str, Any]:
        store.prepare()
        site = Site(store, owner(), checkpoint_steps=3)
        for key in keys:
            if not store.has(key):
                execute(key, plan, site, perform_here(site))
        return store.record(keys[-1])

    with monkeypatch.context() as patch:
        patch.setattr(training, "mixed", dying)
        with pytest.raises(KeyboardInterrupt):
            run(store_at(address))
    elsewhere("second")
    found = run(store_at(address))
    assert found["result"]["resumed_at"] == [3]
    assert Remote(address).names("progress") == {}
    elsewhere("third")
    undisturbed = run(Store(Path(os.environ["RAYSTILTS_CACHE"])))
    assert found["files"]["model.safetensors"] == undisturbed["files"]["model.safetensors"]


NODES = """
import os, sys
os.environ |= {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
from ray.cluster_utils import Cluster
from raystilts.cli import main
from raystilts.store import store_at

if __name__ == "__main__":
    address, study, first, second, driver, few, one = sys.argv[1:]
    here = {"num_cpus": 1, "include_dashboard": True, "dashboard_host": "127.0.0.1", "dashboard_port": 0}
    cluster = Cluster(initialize_head=True, head_node_args=here | {"env_vars": {"RAYSTILTS_CACHE": first}})
    try:
        cluster.add_node(num_cpus=1, env_vars={"RAYSTILTS_CACHE": second})
        os.environ["RAYSTILTS_CACHE"] = driver
        for keys, workers in ((few, "1"), (one, "2")):
            for key in keys.split(","):
                store_at(address).discard(key)
            code = main(["run", study, "--store", address, "--address", cluster.address, "--workers", workers])
            if code:
                sys.exit(code)
        for method in ("halving", "pbt"):
            place = ["--store", address, "--address", cluster.address]
            code = main(["tune", study, "--task", "kind", "--trials", "2", "--max-epochs", "2", "--search", method, *place])
            if code:
                sys.exit(code)
    finally:
        cluster.shutdown()
"""


@pytest.mark.slow
def test_nodes_need_not_share_a_disk(s3: Callable[[], str], smoke_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two nodes and a driver, each with a folder of its own, make the stages of one machine; a training on both of them, too; and
    recipes are searched there.
    """
    monkeypatch.setenv("RAYSTILTS_CACHE", str(tmp_path / "test"))
    (tmp_path / "nodes.py").write_text(NODES, encoding="utf-8")
    known, store, plan = Store(smoke_store), store_at(s3()), make_plan(smoke())
    for key in known.done():
        with store.writing(key, owner()) as folder:
            shutil.copytree(known.path(key), folder, dirs_exist_ok=True)
    labels = {plan.label(key): key for key in plan.stages}
    one = labels["target list, nano, after alignment, seed 1"]
    few = [key for key in plan.stages if plan.roles[key] == "target" and plan.encoders[key] == "nano" and key != one][:6]
    folders = [str(tmp_path / name) for name in ("first", "second", "driver")]
    process = subprocess.Popen(
        [sys.executable, "nodes.py", str(store.address), SMOKE, *folders, ",".join(few), one],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    out, _ = process.communicate(timeout=400)
    assert process.returncode == 0, out
    elsewhere = store_at(str(store.address))
    stores._known.clear()
    stores._checked.clear()
    same(elsewhere, smoke_store, but=one)
    held = [{path.name for path in Path(folder).glob("stores/*/stages/*")} for folder in folders[:2]]
    assert all(set(few) & keys for keys in held)
    found = elsewhere.shared.names("tune/kind/pico")
    assert {"trials.csv", "population.csv"} <= found.keys()
    assert not [name for name in found if name.endswith(".safetensors")]
    rows = (elsewhere.shared.read("tune/kind/pico/population.csv") or b"").decode().splitlines()[1:]
    assert len([name for name in found if name.startswith("population-2x2/")]) == len(rows) > 2 * 2
    with (elsewhere.fetch(one) / "log.jsonl").open(encoding="utf-8") as lines:
        assert [worker["rank"] for worker in json.loads(next(lines))["workers"]] == [0, 1]
