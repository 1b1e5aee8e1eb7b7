"""What processes that share a folder on a disk tell each other in it: small files by name, and claims that one at a time can hold."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from raystilts.errors import UserError
from raystilts.inside import leads_outside
from raystilts.process import owner


def write_whole(path: Path, content: bytes) -> None:
    """Make a file, or replace it: whole or not at all, so that a reader never sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{owner()}")
    try:
        aside.write_bytes(content)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


@dataclass(frozen=True)
class Disk:
    """A folder that all processes see. Has the methods of `raystilts.remote.Remote` that a store needs of either."""

    root: Path

    def read(self, name: str, most: int = -1) -> bytes | None:
        """A file's bytes, or the first of them; None where there is none. Raises UserError where a link leads out of the folder."""
        path = self.root / name
        if leads_outside(path, self.root):
            raise UserError(f"{path}: a symbolic link leads out of the store; put a copy there instead.")
        try:
            with path.open("rb") as file:
                return file.read(most)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def write(self, name: str, content: bytes) -> None:
        """Make a file, or replace it."""
        write_whole(self.root / name, content)

    def has(self, name: str) -> bool:
        """Whether there is such a file."""
        return (self.root / name).is_file()

    def names(self, folder: str) -> list[str]:
        """Files in a folder."""
        if not (self.root / folder).is_dir():
            return []
        return sorted(entry.name for entry in os.scandir(self.root / folder) if not entry.name.startswith("."))

    def delete(self, name: str) -> None:
        """Remove a file, if it is there."""
        (self.root / name).unlink(missing_ok=True)

    def delete_folder(self, name: str) -> None:
        """Remove all files below a name."""
        shutil.rmtree(self.root / name, ignore_errors=True)

    @contextlib.contextmanager
    def claim(self, name: str) -> Iterator[None]:
        """Held by one process at a time; waits for its turn. The operating system lets go of it when the process ends, however it ends."""
        path = self.root / f"{name}.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path):
            yield

    def claimed(self, folder: str, names: Iterable[str]) -> set[str]:
        """Which of these in a folder somebody holds right now."""
        return {name for name in names if _is_held(self.root / folder / f"{name}.lock")}


def _is_held(path: Path) -> bool:
    if not path.exists():
        return False
    try:
        with FileLock(path, timeout=0):
            return False
    except Timeout:
        return True
    except PermissionError:  # another user's: who may not take it can still see that it is taken
        return _is_taken(path)


def _is_taken(path: Path) -> bool:
    import fcntl  # noqa: PLC0415  where files have owners there is such a module

    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
