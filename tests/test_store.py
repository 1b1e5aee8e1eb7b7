"""The store: a stage is there whole or not at all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from raystilts.errors import UserError
from raystilts.process import owner
from raystilts.record import sha256
from raystilts.store import Store, store_at


@pytest.fixture(params=["folder", "s3", "gs"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """An empty store, in a folder and in object stores: what holds of one holds of the others."""
    monkeypatch.setenv("RAYSTILTS_CACHE", str(tmp_path / "machine"))
    made = store_at(str(tmp_path / "store") if request.param == "folder" else request.getfixturevalue(request.param)())
    made.prepare()
    return made


def write(store: Store, key: str, text: str = "data") -> None:
    """A stage with one file."""
    with store.writing(key, owner()) as folder:
        (folder / "predictions").mkdir()
        (folder / "predictions" / "sw.txt").write_text(text)
        (folder / "stage.json").write_text(json.dumps({"key": key}))


def test_a_finished_stage_lists_the_hash_of_every_file(store: Store) -> None:
    """After writing, the stage is there, its record names each file with its hash and size, and nothing is left over."""
    write(store, "k")
    path = store.fetch("k") / "predictions" / "sw.txt"
    assert store.has("k")
    assert store.done() == {"k"}
    assert store.record("k")["files"] == {"predictions/sw.txt": {"sha256": sha256(path), "bytes": 4}}
    assert not list((store.root / "partial" / owner()).glob("*"))


def test_an_exception_leaves_nothing(store: Store) -> None:
    """A stage whose writing fails is not there, not even in part."""
    with pytest.raises(FileNotFoundError), store.writing("k", owner()) as folder:
        (folder / "absent" / "stage.json").write_text("{}")
    assert not store.has("k")
    assert not store.path("k").exists()
    assert not list((store.root / "partial").glob("*/k"))


@pytest.mark.promise("Of two processes that finish the same stage the first one's stays, whole")
def test_the_first_writer_wins(store: Store) -> None:
    """Where two processes finish the same stage, the first one's stays whole and the second one's is thrown away."""
    with store.writing("k", "driver-1") as folder:
        (folder / "stage.json").write_text('{"by": 1}')
        write(store, "k", "the other's")
    assert (store.fetch("k") / "predictions" / "sw.txt").read_text() == "the other's"
    assert "by" not in store.record("k")


@pytest.mark.promise("A process that is killed while it writes leaves no stage, and the next run clears what it left")
def test_a_process_killed_while_writing_leaves_no_stage(store: Store) -> None:
    """SIGKILL in the middle: no stage; the remains are cleared by the next run because their owner is gone."""
    code = (
        "import os, signal, sys; from pathlib import Path; from raystilts.store import store_at; from raystilts.process import owner\n"
        "s = store_at(sys.argv[1])\n"
        "with s.writing('k', owner()) as folder:\n"
        "    (folder / 'model.safetensors').write_bytes(b'half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(store.address)], check=False)
    assert done.returncode < 0
    assert not store.has("k")
    assert len(list((store.root / "partial").glob("*/k"))) == 1
    store.clear_partial()
    assert not list((store.root / "partial").iterdir())


def test_what_a_living_process_writes_is_not_cleared(store: Store) -> None:
    """Clearing the remains of dead runs does not touch those of a living one."""
    with store.writing("k", owner()) as folder:
        store.clear_partial()
        assert folder.is_dir()
        (folder / "stage.json").write_text("{}")
    assert store.has("k")


@pytest.mark.skipif(os.name != "posix", reason="needs a folder that refuses files")
def test_an_unwritable_store_is_one_sentence(tmp_path: Path) -> None:
    """A store that cannot be written to is a UserError that names it."""
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(UserError, match="the store cannot be written"):
        Store(tmp_path / "file" / "store").prepare()


@pytest.mark.promise("A record that cannot be read is named, with what to delete")
def test_an_unreadable_record_is_one_sentence(store: Store) -> None:
    """A damaged record is a UserError that says what to delete."""
    write(store, "k")
    store.shared.write(store._record_name("k"), b"{")
    with pytest.raises(UserError, match=r"cannot be read .*; delete .*k"):
        store.record("k")


def test_failures_are_kept_until_the_next_run(store: Store) -> None:
    """What a stage failed of can be read until a new run forgets it."""
    store.fail("k", "ValueError: too bad")
    assert "too bad" in store.failure("k")
    assert store.failures() == {"k"}
    assert store.failure("l") == ""
    store.forget_failures()
    assert store.failure("k") == ""


def test_a_discarded_stage_is_gone(store: Store) -> None:
    """It can be written again, and is then what was written last."""
    write(store, "k", "first")
    store.fetch("k")
    store.discard("k")
    assert not store.has("k")
    assert store.done() == set()
    write(store, "k", "second")
    assert (store.fetch("k") / "predictions" / "sw.txt").read_text() == "second"


def test_the_journal_has_a_line_for_every_note(store: Store) -> None:
    """In their order, with the process that wrote them."""
    for event in ("start", "done"):
        store.note(event, "k")
    assert [(line["event"], line["key"], line["process"]) for line in store.journal()] == [(e, "k", owner()) for e in ("start", "done")]


def test_a_stage_that_is_locked_is_busy(store: Store) -> None:
    """As long as it is, and no other is."""
    with store.lock("k"):
        assert store.busy(["k", "l"]) == {"k"}
    assert store.busy(["k", "l"]) == set()


def test_one_process_at_a_time_holds_a_lock(store: Store) -> None:
    """Of several that want the same one, each gets it in its turn; none while another has it."""
    inside, most, turns = [], [], []

    def work() -> None:
        for _ in range(3):
            with store.lock("k"):
                inside.append(1)
                most.append(len(inside))
                time.sleep(0.01)
                inside.pop()
                turns.append(1)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(turns) == 9
    assert set(most) == {1}


@pytest.mark.promise("A process that is killed keeps no other from the stage that it worked on")
def test_a_lock_of_a_dead_process_is_nobodys(store: Store) -> None:
    """A process that is killed while it works on a stage does not keep others from it."""
    code = (
        "import os, signal, sys; from raystilts.store import store_at\n"
        "with store_at(sys.argv[1]).lock('k'):\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", code, str(store.address)], check=False).returncode < 0
    assert store.busy(["k"]) == set()
    with store.lock("k"):
        assert store.busy(["k"]) == {"k"}
