"""Finished stages, in a folder or in an object store. A stage is there whole or not at all.

In a folder:
<root>/store.json                      the schema number of its stages
<root>/stages/<key>/stage.json         what it is, how it was made, the hash of every other file, and a seal over itself
<root>/stages/<key>/model.safetensors  weights (training stages)
<root>/stages/<key>/log.jsonl          loss per step, ranks (training stages)
<root>/stages/<key>/predictions/<language>.parquet   (evaluation stages)
<root>/partial/<owner>/<key>/          being written; never read
<root>/broken/<key>-<time>/            what `raystilts verify --repair` took out; never read
<root>/failures/<key>.log              why a stage failed in the last run
<root>/progress/<key>/                 how far a training is, for who takes it up after a kill; may be deleted
<root>/cache/                          tokenised data; may be deleted
<root>/tune/<task>/<encoder>/          a search for a recipe: its trainings, states and tables
<root>/logs/                           what --log-to leaves; may be deleted
<root>/journal.jsonl                   a line for every start and end of a stage: when, which, in which process
<root>/locks/<key>.lock                held by the process that works on a stage; means nothing once that process is gone

In an object store, below its address; every machine has a folder as above beside it, a copy that may be deleted:
records/<key>.json                     the stage is finished; its stage.json, with the name of the attempt; written last
stages/<key>/<attempt>/                its files; an attempt without a record was killed
broken/<key>-<time>.json               the record of a stage that `raystilts verify --repair` took out
store.json, failures/<key>.log, progress/<key>/, tune/    as above
journal/<owner>.jsonl                  the journal, an object per process
locks/<key>/                           claims
"""

from __future__ import annotations

import contextlib
import hashlib
import heapq
import json
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil

from raystilts.disk import Disk
from raystilts.errors import UserError
from raystilts.masking import masked
from raystilts.process import is_dead, owner
from raystilts.record import LARGEST, RECORD, Damage, check_schema, damage, finish, parse, sealed
from raystilts.remote import SCHEMES, THREADS, Remote
from raystilts.stage import SCHEMA, Stage

JOURNAL, MARK = "journal.jsonl", "store.json"
_known: dict[tuple[Path | str, str], dict[str, Any]] = {}  # records of an object store that this process has read; a record never changes
_checked: set[Path] = set()  # folders of finished stages that this process has compared with their records


@dataclass(frozen=True)
class Store:
    """Finished stages. address: a folder, or the address of an object store (text)."""

    address: Path | str

    @property
    def shared(self) -> Disk | Remote:
        """What all machines see of it."""
        return Disk(self.address) if isinstance(self.address, Path) else Remote(self.address)

    @property
    def shown(self) -> str:
        """The address for people, without credentials."""
        return masked(str(self.address))

    @property
    def root(self) -> Path:
        """The folder; of an object store, this machine's copy of what was needed here: below RAYSTILTS_CACHE, or ~/.cache/raystilts."""
        if isinstance(self.address, Path):
            return self.address
        cache = Path(os.environ.get("RAYSTILTS_CACHE") or Path.home() / ".cache" / "raystilts")
        return cache / "stores" / hashlib.sha256(self.address.encode()).hexdigest()[:16]

    def absolute(self) -> Store:
        """The same store for a process that runs in another folder."""
        return Store(self.address.resolve()) if isinstance(self.address, Path) else self

    def path(self, key: str) -> Path:
        """The folder of a finished stage on this machine; see `fetch`."""
        return self.root / "stages" / key

    def partial(self, run: str, key: str) -> Path:
        """The folder on this machine in which a run writes a stage; never read."""
        return self.root / "partial" / run / key

    def _record_name(self, key: str) -> str:
        """What is there as soon as a stage is finished."""
        return f"stages/{key}/{RECORD}" if isinstance(self.address, Path) else f"records/{key}.json"

    def has(self, key: str) -> bool:
        """Whether the stage is finished."""
        return (self.address, key) in _known or self.shared.has(self._record_name(key))

    def done(self) -> set[str]:
        """Keys of all finished stages."""
        if isinstance(self.address, Path):
            return {path.parent.name for path in self.root.glob(f"stages/*/{RECORD}")}
        return {name.removesuffix(".json") for name in self.shared.names("records")}

    def finished(self, stages: Mapping[str, Stage]) -> set[str]:
        """Keys of those stages (parents first) that are here with all that they stand on.

        A result one of whose parents is gone is made again with it: a parent that is trained again need not have the same weights.
        """
        here, found = self.done(), set[str]()
        for key, stage in stages.items():
            if key in here and all(parent.key in found for parent in stage.parents):
                found.add(key)
        return found

    def discard(self, key: str) -> None:
        """Remove a finished stage; it is gone at once and whole."""
        if isinstance(self.shared, Remote):
            self.shared.delete(self._record_name(key))
            self.shared.delete_folder(f"stages/{key}")
            _known.pop((self.address, key), None)
        self._forget(key)

    def _forget(self, key: str) -> None:
        """Remove a stage's folder on this machine, if it is there."""
        aside = self.partial(owner(), f"{key}.discarded")
        shutil.rmtree(aside, ignore_errors=True)
        aside.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            self.path(key).rename(aside)
        aside.unlink() if aside.is_symlink() else shutil.rmtree(aside, ignore_errors=True)
        _checked.discard(self.path(key))

    def set_aside(self, key: str) -> str:
        """Take a broken stage out: it is gone at once and whole, so that it is made anew, and kept for whoever wants to look at it.

        Returns where it is; in an object store its files stay where they are, and the record that named them is moved.
        """
        name = f"broken/{key}-{time.time_ns()}"
        if isinstance(self.shared, Remote):
            name = f"{name}.json"
            self.shared.write(name, self.shared.read(self._record_name(key)) or b"")
            self.shared.delete(self._record_name(key))
            _known.pop((self.address, key), None)
            self._forget(key)
        else:
            (self.root / name).parent.mkdir(exist_ok=True)
            self.path(key).rename(self.root / name)
            _checked.discard(self.path(key))
        return f"{self.shown}/{name}"

    def record(self, key: str) -> dict[str, Any]:
        """A finished stage's stage.json. Raises UserError where it is not what was written, or of another schema."""
        if (self.address, key) in _known:
            return _known[self.address, key]
        name = self._record_name(key)
        try:
            found = self._parsed(key)
        except (OSError, ValueError) as error:
            raise UserError(f"{self.shown}/{name}: cannot be read ({error}); delete {self._whole(key)} and run again.") from error
        check_schema(found.get("schema", SCHEMA), f"{self.address}/{name}")
        if isinstance(self.address, str):
            _known[self.address, key] = found
        return found

    def _parsed(self, key: str) -> dict[str, Any]:
        return parse(self.shared.read(self._record_name(key), LARGEST + 1) or b"", key)

    def check_schema(self) -> None:
        """Raises UserError where this is a store of another schema; where it does not say, its records do."""
        try:
            content = self.shared.read(MARK, LARGEST)
            found = json.loads(content)["schema"] if content else SCHEMA
        except (OSError, ValueError, KeyError, TypeError) as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise UserError(f"{self.shown}: its {MARK} cannot be read ({reason}); see to it, or name another place by --store.") from error
        check_schema(found, self.shown)

    def all_keys(self) -> set[str]:
        """Keys of all stages, also of those whose record is gone."""
        if isinstance(self.address, Path):
            return set(os.listdir(self.root / "stages")) if (self.root / "stages").is_dir() else set()  # noqa: PTH208  names alone
        return self.done()

    def damage(self, key: str) -> list[Damage]:
        """What is wrong with a stage, where all machines see it; nothing where it is as it was written."""
        if not self.has(key):
            return [Damage(RECORD, "is missing")]
        try:
            record = self._parsed(key)
            check_schema(record.get("schema", SCHEMA), RECORD)
        except (ValueError, OSError, UserError) as error:
            return [Damage(RECORD, f"cannot be used: {error}", lost=isinstance(error, ValueError))]
        if "files" not in record:
            return [Damage(RECORD, "names no files")]
        return (
            self._damage_afar(self.shared, key, record) if isinstance(self.shared, Remote) else [*damage(self.path(key), record, self.root)]
        )

    def _damage_afar(self, remote: Remote, key: str, record: Mapping[str, Any]) -> list[Damage]:
        """The same in an object store: a copy that this machine has says nothing of it."""
        aside = self.partial(owner(), f"{key}.verified")
        shutil.rmtree(aside, ignore_errors=True)
        try:
            remote.get_folder(f"stages/{key}/{record['attempt']}", aside)
            twin = (aside / RECORD).read_bytes() if (aside / RECORD).is_file() else b""
            other = [] if twin == remote.read(self._record_name(key)) else [Damage(RECORD, "is another beside its files")]
            return other + list(damage(aside, record, self.root))
        finally:
            shutil.rmtree(aside, ignore_errors=True)

    def fetch(self, key: str) -> Path:
        """The folder of a finished stage on this machine, with all files that its record names, as they were written.

        Raises UserError where a file is not what it was.
        """
        path = self.path(key)
        if path in _checked:
            return path
        record = self.record(key)
        found = next(damage(path, record, self.root), None)
        if found and isinstance(self.shared, Remote):
            self._forget(key)
            aside = self.partial(owner(), f"{key}.fetched")
            shutil.rmtree(aside, ignore_errors=True)
            self.shared.get_folder(f"stages/{key}/{record['attempt']}", aside)
            self._move(aside, key)  # unless another process of this machine was faster
            found = next(damage(path, record, self.root), None)
        if found:
            again = f"delete {self._whole(key)} and run again: it is made anew, with all that stands on it"
            raise UserError(
                f"{self.shown}/stages/{key}: {found.file} {found.what}; {again if found.lost else 'see to it, then run again'}."
            )
        _checked.add(path)
        return path

    def _whole(self, key: str) -> str:
        """What to delete, so that a stage is not finished any more."""
        return f"the folder {self.path(key)}" if isinstance(self.address, Path) else f"{self.shown}/{self._record_name(key)}"

    def _move(self, folder: Path, key: str) -> None:
        """Make a folder a stage's on this machine, if there is none."""
        self.path(key).parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(OSError):
            folder.rename(self.path(key))
        shutil.rmtree(folder, ignore_errors=True)

    def fetch_all(self, keys: Iterable[str]) -> None:
        """Bring many stages to this machine, several at a time: those that are finished; `fetch` says what is wrong with one."""

        def fetch(key: str) -> None:
            with contextlib.suppress(UserError):
                self.fetch(key)

        if isinstance(self.shared, Remote):
            here = self.done()
            with ThreadPoolExecutor(THREADS) as pool:
                list(pool.map(fetch, (key for key in keys if key in here)))

    def prepare(self) -> None:
        """Make the store's folders and see that it can be written to."""
        probe = f"probe-{owner()}"
        try:
            for part in ("stages", "partial"):
                (self.root / part).mkdir(parents=True, exist_ok=True)
            shared = replace(self.shared, pauses=()) if isinstance(self.shared, Remote) else self.shared  # a typing error is told at once
            shared.write(probe, b"")
            shared.delete(probe)
            if not shared.has(MARK):
                shared.write(MARK, json.dumps({"schema": SCHEMA}).encode())
        except OSError as error:
            reason = str(error).strip().splitlines()[0]
            raise UserError(f"{self.shown}: the store cannot be written ({reason}); see to it, or name another with --store.") from error

    @contextlib.contextmanager
    def writing(self, key: str, run: str) -> Iterator[Path]:
        """A folder to write a stage into; it becomes the finished stage when the block ends without an exception.

        `run` names the driver whose sweep this belongs to, so that it can clear away what a killed worker left.
        """
        partial = self.partial(run, key)
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        try:
            yield partial
            finish(partial)
            if isinstance(self.shared, Remote):
                self._publish(self.shared, key, partial)
                self._forget(key)
            self._move(partial, key)
            if not self.has(key):
                raise OSError(f"{self.path(key)}: the finished stage could not be moved into the store")
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def _publish(self, remote: Remote, key: str, folder: Path) -> None:
        """Copy a stage's files into the object store, its record last: the first writer wins, and no writer touches another's files."""
        attempt = f"{owner()}-{time.time_ns()}"
        record = sealed(json.loads((folder / RECORD).read_text(encoding="utf-8")) | {"attempt": attempt})
        (folder / RECORD).write_bytes(record)
        remote.put_folder(folder, f"stages/{key}/{attempt}")
        if remote.has(self._record_name(key)):
            remote.delete_folder(f"stages/{key}/{attempt}")
        else:
            remote.write(self._record_name(key), record)

    def lock(self, key: str) -> contextlib.AbstractContextManager[None]:
        """Held while a stage is worked on, so that no other process, of this sweep or another, does the same; waits for its turn.

        It is let go of when the process ends, however it ends: by the operating system, or where it lived on another machine than who
        looks at an object store, when its claim is not renewed.
        """
        return self.shared.claim(f"locks/{key}")

    def busy(self, keys: Iterable[str]) -> set[str]:
        """Which of these stages a process works on right now."""
        return self.shared.claimed("locks", keys)

    def note(self, event: str, key: str) -> None:
        """Add a line to the journal: lines are short, and appended whole also where several processes do it."""
        line = {"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "event": event, "key": key, "process": owner()}
        name = JOURNAL if isinstance(self.address, Path) else f"journal/{owner()}-{psutil.Process().create_time():.0f}.jsonl"
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        if isinstance(self.shared, Remote):
            self.shared.put(path, name)

    def journal(self) -> list[dict[str, str]]:
        """The lines of the journal, the oldest first; one that a full disk or a crash cut off is left out."""
        names = [JOURNAL] if isinstance(self.address, Path) else [f"journal/{name}" for name in sorted(self.shared.names("journal"))]
        found: list[list[dict[str, Any]]] = [[] for _ in names]
        for lines, name in zip(found, names, strict=True):
            for line in (self.shared.read(name) or b"").splitlines():
                with contextlib.suppress(ValueError):
                    lines.append(json.loads(line))
        return list(heapq.merge(*found, key=lambda line: line["time"]))  # each in the order of its writing, also where a clock was set back

    def fail(self, key: str, text: str) -> None:
        """Leave word of what went wrong with a stage, for the summary and `raystilts status`."""
        self.shared.write(f"failures/{key}.log", text.encode())

    def failure(self, key: str) -> str:
        """What `fail` left; empty where nothing did."""
        return (self.shared.read(f"failures/{key}.log") or b"").decode()

    def failures(self) -> set[str]:
        """Keys of the stages that `fail` left a word about."""
        return {name.removesuffix(".log") for name in self.shared.names("failures")}

    def forget_failures(self) -> None:
        """A new run tries everything again."""
        self.shared.delete_folder("failures")

    def remove(self, path: Path) -> None:
        """Remove a file below `root`, here and from where it was shared, if it is there."""
        path.unlink(missing_ok=True)
        if isinstance(self.shared, Remote):
            self.shared.delete(path.relative_to(self.root).as_posix())

    def hand_over(self, key: str, run: str, folder: Path) -> None:
        """Move what was written on this machine, for a stage that another one writes, to where `take_over` finds it."""
        assert isinstance(self.shared, Remote)  # noqa: S101  machines that share a folder need not
        self.shared.put_folder(folder, f"partial/{run}/{key}")
        shutil.rmtree(folder)

    def take_over(self, key: str, run: str, folder: Path) -> None:
        """Move what another machine has handed over into a folder here."""
        assert isinstance(self.shared, Remote)  # noqa: S101
        self.shared.get_folder(f"partial/{run}/{key}", folder)
        self.shared.delete_folder(f"partial/{run}/{key}")

    def progress(self, key: str) -> Path:
        """The folder on this machine with the state of a stage that is not finished; may be deleted at any time."""
        return self.root / "progress" / key

    def share(self, path: Path) -> None:
        """Put a file below `root` where other machines find it."""
        if isinstance(self.shared, Remote):
            self.shared.put(path, path.relative_to(self.root).as_posix())

    def obtain(self, path: Path) -> None:
        """Make a file or folder below `root` the newest that any machine has shared; it is gone where none has."""
        if isinstance(self.shared, Remote):
            name = path.relative_to(self.root).as_posix()
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
            if not self.shared.get(name, path):
                self.shared.get_folder(name, path)

    def drop_progress(self, key: str) -> None:
        """Remove the state of a finished stage, and on this machine that of others whose process was killed before it came to this."""
        self.shared.delete_folder(f"progress/{key}")
        for folder in (self.root / "progress").glob("*"):
            if folder.name == key or (self.path(folder.name) / RECORD).is_file():
                shutil.rmtree(folder, ignore_errors=True)

    def clear_partial(self, run: str | None = None) -> None:
        """Remove what a run left half-written; without a name, what runs on this machine left whose process is gone.

        What a worker still writes that has outlived its driver is left to it: another machine's may be about to finish.
        """
        for folder in (self.root / "partial").glob("*"):
            if folder.name == run or (run is None and is_dead(folder.name)):
                parts = [part.name for part in folder.iterdir()]
                for name in set(parts) - self.busy(parts):
                    shutil.rmtree(folder / name, ignore_errors=True)
                with contextlib.suppress(OSError):  # not empty, then
                    folder.rmdir()


def store_at(address: str) -> Store:
    """The store at a folder's path or at scheme://bucket/folder. Raises UserError where it can be neither."""
    scheme, found, _ = address.partition("://")
    if not found:
        return Store(Path(address))
    if scheme not in SCHEMES:
        raise UserError(f"--store {address}: a store is a folder, or {' or '.join(f'{known}://BUCKET/FOLDER' for known in SCHEMES[:2])}.")
    return Store(address.rstrip("/"))
