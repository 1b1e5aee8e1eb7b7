"""What holds of a store whatever is done to it, in which order, and wherever a process dies."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from promises import tried

from raystilts import store as module
from raystilts.process import owner
from raystilts.remote import Remote
from raystilts.store import Store, store_at

KEYS = ("a", "b", "c")
EVENTS = {"open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.truncate", "os.link", "os.listdir", "os.scandir", "shutil.rmtree"}


class DeathError(BaseException):
    """Stands for SIGKILL: nothing that the process would still do is done."""


class _Countdown:
    """Ends a process at its n-th file operation: from then on each raises, as those of a dead process do nothing."""

    left: int | None = None
    seen = 0

    def tick(self) -> None:
        """Another operation."""
        if self.left is not None:
            self.seen += 1
            self.left -= 1
            if self.left < 0:
                raise DeathError


COUNTDOWN = _Countdown()
sys.addaudithook(lambda event, _: COUNTDOWN.tick() if event in EVENTS else None)  # it cannot be removed, but does nothing elsewhere


@contextmanager
def dying_after(operations: int) -> Iterator[None]:
    """The block's process dies after so many file operations, if it has more."""
    COUNTDOWN.left, COUNTDOWN.seen = operations, 0
    try:
        yield
    except DeathError:
        pass
    finally:
        COUNTDOWN.left = None


def write(store: Store, key: str, text: str) -> None:
    """A stage of three files, one in a folder."""
    with store.writing(key, owner()) as folder:
        (folder / "predictions").mkdir()
        (folder / "predictions" / "sw.txt").write_text(text)
        (folder / "log.jsonl").write_text(text * 2)
        (folder / "stage.json").write_text(json.dumps({"key": key, "text": text}))


def seen(store: Store, key: str) -> str | None:
    """The text of a stage as a process sees it that has just started: all files agree, or there is no stage."""
    module._checked.clear()
    module._known.clear()
    if not store.has(key):
        assert key not in store.done()
        return None
    text: str = store.record(key)["text"]
    folder = store.fetch(key)  # compares every file with the record
    assert (folder / "predictions" / "sw.txt").read_text() == text
    assert (folder / "log.jsonl").read_text() == text * 2
    return text


OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["write", "write", "fail", "discard", "clear", "die", "die while discarding"]),
        st.sampled_from(KEYS),
        st.integers(0, 60),
    ),
    max_size=12,
)


@pytest.mark.promise("After any sequence of writes, failures, removals and deaths of processes, every stage of a store is whole or absent")
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(OPERATIONS)
def test_any_sequence_of_operations_leaves_whole_stages(
    tmp_path_factory: pytest.TempPathFactory, operations: list[tuple[str, str, int]]
) -> None:
    """A stage holds what its first writer since its last removal wrote; a death changes nothing or finishes what was under way."""
    store = Store(tmp_path_factory.mktemp("store"))
    store.prepare()
    expected: dict[str, set[str | None]] = {key: {None} for key in KEYS}
    for number, (what, key, operation) in enumerate(operations):
        before, text = seen(store, key), f"text {number}"
        if what == "write":
            write(store, key, text)
            expected[key] = {before or text}
        elif what == "fail":
            with pytest.raises(ZeroDivisionError), store.writing(key, owner()):
                raise ZeroDivisionError
        elif what == "discard":
            store.discard(key)
            expected[key] = {None}
        elif what == "clear":
            store.clear_partial(owner())
        elif what == "die":
            with dying_after(operation):
                write(store, key, text)
            expected[key] = {before} if before else {None, text}
        else:
            with dying_after(operation):
                store.discard(key)
            expected[key] = {before, None}
        found = {key: seen(store, key) for key in KEYS}
        assert all(text in expected[key] for key, text in found.items()), (what, key, found, expected)
        expected = {key: {text} for key, text in found.items()}


ACTIONS: dict[str, Callable[[Store], Any]] = {
    "write": lambda store: write(store, "b", "new"),
    "write again": lambda store: write(store, "a", "new"),
    "discard": lambda store: store.discard("a"),
    "clear": lambda store: store.clear_partial(owner()),
    "fail": lambda store: store.fail("b", "why"),
    "note": lambda store: store.note("start", "b"),
    "prepare": lambda store: store.prepare(),
}


@pytest.mark.promise("Wherever a process dies in a store's file operations, readers see whole stages or none, and the next process goes on")
@pytest.mark.parametrize("name", ACTIONS)
def test_a_death_at_every_file_operation_leaves_whole_stages(tmp_path: Path, name: str) -> None:
    """Each operation of each action is once the last; afterwards stages are whole, the journal is read, and the same action succeeds."""
    operations = 0
    while True:
        store = Store(tmp_path / str(operations))
        store.prepare()
        write(store, "a", "old")
        with dying_after(operations):
            ACTIONS[name](store)
        ended = COUNTDOWN.seen <= operations
        assert seen(store, "a") in (("old", None) if name == "discard" else ("old",))
        assert seen(store, "b") in (None, "new")
        assert all(line["event"] == "start" for line in store.journal())
        assert store.failure("b") in ("", "why")
        ACTIONS[name](store)
        store.clear_partial(owner())
        assert not list((store.root / "partial").iterdir())
        tried()
        if ended:
            break
        operations += 1
    assert operations > 1


@pytest.mark.promise(
    "Wherever a process dies in its requests to an object store, readers see whole stages or none, and the next process goes on"
)
def test_a_death_at_every_request_leaves_whole_stages(s3: Callable[[], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As above for a stage in S3: after each request of a write, and of a removal, nothing comes."""
    monkeypatch.setenv("RAYSTILTS_CACHE", str(tmp_path))
    for name in ("put", "put_folder", "write", "has", "delete", "delete_folder"):
        monkeypatch.setattr(Remote, name, _counted(getattr(Remote, name)))
    for action in ("write", "discard"):
        for operations in range(20):
            store = store_at(s3())
            write(store, "a", "old")
            _REQUESTS.left = operations
            try:
                ACTIONS[action](store)
                ended = True
            except DeathError:
                ended = False
            finally:
                _REQUESTS.left = None
            assert seen(store, "a") in ("old", None)
            assert seen(store, "b") in (None, "new")
            ACTIONS[action](store)
            assert seen(store, "a") == ("old" if action == "write" else None)
            tried()
            if ended:
                break
        assert ended
        assert operations > 1


_REQUESTS = _Countdown()


def _counted(method: Callable[..., Any]) -> Callable[..., Any]:
    def counted(self: Remote, *args: Any, **kwargs: Any) -> Any:
        _REQUESTS.tick()
        return method(self, *args, **kwargs)

    return counted


WRITER = """
import json, sys, time
from pathlib import Path
from raystilts.process import owner
from raystilts.store import Store
store, end = Store(Path(sys.argv[1])), time.time() + float(sys.argv[2])
number = 0
while time.time() < end:
    with store.writing(f"k{number % 50}", owner()) as folder:
        (folder / "predictions").mkdir()
        (folder / "predictions" / "sw.txt").write_text(sys.argv[3])
        (folder / "log.jsonl").write_text(sys.argv[3] * 2)
        (folder / "stage.json").write_text(json.dumps({"text": sys.argv[3]}))
    number += 1
print(number)
"""


def concurrently(root: Path, seconds: float, writers: int, readers: int) -> int:
    """Processes that write the same stages while threads read them all the time; how often a stage was written or read."""
    store, count, errors = Store(root), [0], []
    store.prepare()

    def read(end: float) -> None:
        while time.time() < end:
            for key in store.done():
                record, damage = store.record(key), store.damage(key)
                text = (store.path(key) / "predictions" / "sw.txt").read_text()
                if damage or text != record["text"]:
                    errors.append((key, damage))
                count[0] += 1

    commands = [[sys.executable, "-c", WRITER, str(root), str(seconds), f"writer {number} " * 100] for number in range(writers)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for command in commands]
    threads = [threading.Thread(target=read, args=(time.time() + seconds + 2,)) for _ in range(readers)]
    for thread in threads:
        thread.start()
    written = [int(process.communicate(timeout=seconds + 60)[0]) for process in processes]
    for thread in threads:
        thread.join()
    assert not errors
    assert min(written) > 0
    assert store.done() == {f"k{number}" for number in range(min(50, max(written)))}
    assert not list((root / "partial").glob("*/*"))
    return count[0] + sum(written)


@pytest.mark.promise("Processes that write the same stages at the same time never show a reader a mixture or a part")
def test_concurrent_writers_and_readers(tmp_path: Path) -> None:
    """The first writer of a stage wins, whole; its readers find what the record says."""
    tried(concurrently(tmp_path / "store", 1.5, 2, 2))


@pytest.mark.soak
@pytest.mark.promise("The same for many processes and readers")
def test_many_concurrent_writers_and_readers(tmp_path: Path) -> None:
    """The same for longer, with more of both."""
    tried(concurrently(tmp_path / "store", 60, 8, 32))
