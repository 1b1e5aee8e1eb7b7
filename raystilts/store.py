"""Finished stages on disk. A stage's directory appears whole or not at all.

<root>/stages/<key>/stage.json         what it is, how it was made, the hash of every other file
<root>/stages/<key>/model.safetensors  weights (training stages)
<root>/stages/<key>/log.jsonl          loss per step, ranks (training stages)
<root>/stages/<key>/predictions/<language>.parquet   (evaluation stages)
<root>/partial/<owner>/<key>/          being written; never read
<root>/failures/<key>.log              why a stage failed in the last run
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raystilts.errors import UserError
from raystilts.stage import Stage


@dataclass(frozen=True)
class Store:
    """A folder of finished stages."""

    root: Path

    def path(self, key: str) -> Path:
        """The folder of a finished stage; see `has`."""
        return self.root / "stages" / key

    def has(self, key: str) -> bool:
        """Whether the stage is finished."""
        return (self.path(key) / "stage.json").is_file()

    def finished(self, stages: Mapping[str, Stage]) -> set[str]:
        """Keys of those stages (parents first) that are here with all that they stand on.

        A result whose parent is gone is made again with it: a parent that is trained again need not have the same weights.
        """
        found: set[str] = set()
        for key, stage in stages.items():
            if self.has(key) and (stage.parent is None or stage.parent.key in found):
                found.add(key)
        return found

    def discard(self, key: str) -> None:
        """Remove a finished stage; it is gone at once and whole."""
        aside = self.root / "partial" / owner() / f"{key}.discarded"
        aside.parent.mkdir(parents=True, exist_ok=True)
        self.path(key).rename(aside)
        shutil.rmtree(aside)

    def record(self, key: str) -> dict[str, Any]:
        """A finished stage's stage.json."""
        path = self.path(key) / "stage.json"
        try:
            found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: cannot be read ({error}); delete the folder {path.parent} and run again.") from error
        return found

    def prepare(self) -> None:
        """Make the store's folders and see that they can be written to."""
        try:
            for part in ("stages", "partial"):
                (self.root / part).mkdir(parents=True, exist_ok=True)
            probe = self.root / "partial" / f".{owner()}"
            probe.write_bytes(b"")
            probe.unlink()
        except OSError as error:
            raise UserError(f"{self.root}: the store cannot be written ({error.strerror}); name another one with --store.") from error

    @contextlib.contextmanager
    def writing(self, key: str, run: str) -> Iterator[Path]:
        """A folder to write a stage into; it becomes the finished stage when the block ends without an exception.

        `run` names the driver whose sweep this belongs to, so that it can clear away what a killed worker left.
        """
        partial = self.root / "partial" / run / key
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        try:
            yield partial
            finish(partial)
            with contextlib.suppress(FileExistsError, OSError):
                partial.rename(self.path(key))
            if not self.has(key):
                raise OSError(f"{self.path(key)}: the finished stage could not be moved into the store")
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def fail(self, key: str, text: str) -> None:
        """Leave word of what went wrong with a stage, for the summary and `raystilts status`."""
        folder = self.root / "failures"
        folder.mkdir(exist_ok=True)
        (folder / f"{key}.log").write_text(text, encoding="utf-8")

    def failure(self, key: str) -> str:
        """What `fail` left; empty where nothing did."""
        path = self.root / "failures" / f"{key}.log"
        return path.read_text(encoding="utf-8") if path.is_file() else ""

    def forget_failures(self) -> None:
        """A new run tries everything again."""
        shutil.rmtree(self.root / "failures", ignore_errors=True)

    def clear_partial(self, run: str | None = None) -> None:
        """Remove what a run left half-written; without a name, what runs on this machine left whose process is gone."""
        for folder in (self.root / "partial").glob("*"):
            if folder.name == run or (run is None and _is_dead(folder.name)):
                shutil.rmtree(folder, ignore_errors=True)


def owner() -> str:
    """Names this process: host and process id."""
    return f"{socket.gethostname()}-{os.getpid()}"


def _is_dead(name: str) -> bool:
    host, _, pid = name.rpartition("-")
    if host != socket.gethostname() or not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def finish(folder: Path) -> None:
    """Add the hash and size of every file to stage.json and flush all of it to the disk."""
    path = folder / "stage.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    files = sorted(file for file in folder.rglob("*") if file.is_file() and file != path)
    record["files"] = {str(file.relative_to(folder)): {"sha256": sha256(file), "bytes": file.stat().st_size} for file in files}
    path.write_text(json.dumps(record, indent=1, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")
    for file in (*files, path):
        with file.open("rb") as handle:
            os.fsync(handle.fileno())


def sha256(path: Path) -> str:
    """Hash of a file's bytes."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
