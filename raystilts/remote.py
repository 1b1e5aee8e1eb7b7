"""A folder in an object store (S3, GCS) through pyarrow.fs: whole objects by name, and claims that one process at a time can hold.

Both list and read what was written before (strong consistency) and show an object whole or not at all; nothing else is asked of them.
"""

from __future__ import annotations

import contextlib
import functools
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from raystilts.errors import UserError
from raystilts.inside import leaves
from raystilts.masking import masked
from raystilts.process import is_dead, owner

SCHEMES = ("s3", "gs", "gcs")
CHUNK = 8 << 20
THREADS = 16  # requests at the same time, where many small objects are wanted
P = ParamSpec("P")
T = TypeVar("T")
LEASE = 120.0  # seconds after which a claim that is not renewed is nobody's
BEAT = 20.0  # seconds between renewals


def _patiently(method: Callable[Concatenate[Remote, P], T]) -> Callable[Concatenate[Remote, P], T]:
    """Ask again where the network or the service failed; the file system itself has tried three times by then, within a second or two."""

    @functools.wraps(method)
    def asked(self: Remote, /, *given: P.args, **named: P.kwargs) -> T:
        for pause in self.pauses:
            try:
                return method(self, *given, **named)
            except FileNotFoundError:
                raise
            except OSError:
                time.sleep(pause)
        return method(self, *given, **named)

    return asked


@dataclass(frozen=True)
class Remote:
    """A folder in an object store. uri: scheme://bucket/folder, with options of pyarrow.fs such as ?region=... or ?endpoint_override=...

    pauses: seconds before a request that failed is made again.
    """

    uri: str
    pauses: tuple[float, ...] = (0.5, 2.0, 8.0)

    def _at(self, name: str) -> str:
        return f"{_opened(self.uri)[1]}/{name}".rstrip("/")

    @property
    def _files(self) -> Any:
        return _opened(self.uri)[0]

    @_patiently
    def read(self, name: str, most: int = -1) -> bytes | None:
        """An object's bytes, or the first of them; None where there is none."""
        try:
            with self._files.open_input_stream(self._at(name)) as stream:
                found: bytes = stream.read(None if most < 0 else most)
        except FileNotFoundError:
            return None
        return found

    @_patiently
    def write(self, name: str, content: bytes) -> None:
        """Make an object, or replace it."""
        with self._files.open_output_stream(self._at(name)) as stream:
            stream.write(content)

    @_patiently
    def put(self, path: Path, name: str) -> None:
        """Copy a file into an object. One that could not be read to its end may leave a shorter object: compare sizes."""
        with path.open("rb") as file, self._files.open_output_stream(self._at(name)) as stream:
            while chunk := file.read(CHUNK):
                stream.write(chunk)

    @_patiently
    def get(self, name: str, path: Path) -> bool:
        """Copy an object into a file, which appears whole; False where there is no such object."""
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f".{path.name}.{owner()}-{threading.get_ident()}")
        try:
            with self._files.open_input_stream(self._at(name)) as stream, aside.open("wb") as file:
                while chunk := stream.read(CHUNK):
                    file.write(chunk)
            aside.replace(path)
        except FileNotFoundError:
            return False
        finally:
            aside.unlink(missing_ok=True)
        return True

    def put_folder(self, folder: Path, name: str) -> None:
        """Copy a folder's files into objects."""
        files = [file for file in folder.rglob("*") if file.is_file()]
        _each(self.put, [(file, f"{name}/{file.relative_to(folder).as_posix()}") for file in files])

    def get_folder(self, name: str, folder: Path) -> None:
        """Copy all objects below a name into a folder. Raises UserError where the name of one would lead out of it."""
        names = self.names(name)
        if (outside := next(filter(leaves, names), None)) is not None:
            raise UserError(f"{masked(self._at(name))}: the object {outside!r} would be copied out of its folder; delete it.")
        _each(self.get, [(f"{name}/{found}", folder / found) for found in names])

    @_patiently
    def names(self, folder: str) -> dict[str, float]:
        """Objects below a folder, by their names in it -> when they were written, in seconds by the store's clock."""
        from pyarrow.fs import FileSelector, FileType  # noqa: PLC0415

        base = self._at(folder)
        found = self._files.get_file_info(FileSelector(base, allow_not_found=True, recursive=True))
        return {info.path[len(base) + 1 :]: info.mtime_ns / 1e9 for info in found if info.type == FileType.File}

    @_patiently
    def has(self, name: str) -> bool:
        """Whether there is such an object."""
        from pyarrow.fs import FileType  # noqa: PLC0415

        return bool(self._files.get_file_info(self._at(name)).type == FileType.File)

    @_patiently
    def delete(self, name: str) -> None:
        """Remove an object, if it is there."""
        with contextlib.suppress(FileNotFoundError):
            self._files.delete_file(self._at(name))

    def delete_folder(self, name: str) -> None:
        """Remove all objects below a name."""
        _each(self.delete, [(f"{name}/{found}",) for found in self.names(name)])

    def now(self) -> float:
        """The time by the store's clock, which claims are dated by. This machine's own may jump in the meantime."""
        return time.monotonic() + _ahead(self.uri)

    @contextlib.contextmanager
    def claim(self, name: str) -> Iterator[None]:
        """Held by one process at a time; waits for its turn.

        Who wants it writes a claim, then lists all claims, and has it if there is no other; else it takes its own back and comes again
        after a random while. Of two that write, the one that lists later sees the other's. A claim is renewed until it is given back; one
        whose process died is void after LEASE seconds, or at once where that process was on this host.
        """
        mine = f"{owner()}-{threading.get_ident()}"
        over = threading.Event()
        beat = threading.Thread(target=self._renew, args=(f"{name}/{mine}", over), daemon=True, name="claim")
        try:
            self.write(f"{name}/{mine}", b"")
            while self._claims(name) - {mine}:
                self.delete(f"{name}/{mine}")
                time.sleep(random.uniform(0.2, 1.0))  # noqa: S311  no secret
                self.write(f"{name}/{mine}", b"")
            beat.start()
            yield
        finally:
            over.set()
            if beat.ident:
                beat.join()
            self.delete(f"{name}/{mine}")

    def _renew(self, name: str, over: threading.Event) -> None:
        while not over.wait(BEAT):
            with contextlib.suppress(OSError):  # the next beat tries again
                self.write(name, b"")

    def claimed(self, folder: str, names: Iterable[str]) -> set[str]:
        """Which of these in a folder somebody holds or wants right now."""
        return {name.partition("/")[0] for name in self._claims(folder)} & set(names)

    def _claims(self, folder: str) -> set[str]:
        now = self.now()
        recent = (name for name, at in self.names(folder).items() if now - at < LEASE)
        return {name for name in recent if not is_dead(name.rpartition("/")[2].rpartition("-")[0])}


def _each(function: Callable[..., object], arguments: Iterable[tuple[Any, ...]]) -> None:
    """Call a function with each of these arguments, several at a time; the first exception is raised."""
    with ThreadPoolExecutor(THREADS) as pool:
        for _ in pool.map(lambda given: function(*given), arguments):
            pass


@functools.cache
def _opened(uri: str) -> tuple[Any, str]:
    """The file system and the folder's path in it. Raises UserError where the address cannot be one."""
    from pyarrow import ArrowException  # noqa: PLC0415
    from pyarrow.fs import FileSystem  # noqa: PLC0415

    try:
        files, path = FileSystem.from_uri(uri)
        if not path.strip("/"):
            raise ValueError("it names no bucket")
    except (ArrowException, OSError, ValueError) as error:
        raise UserError(
            f"{masked(uri)}: no store can be there ({masked(str(error))}); write s3://BUCKET/FOLDER or gs://BUCKET/FOLDER."
        ) from error
    return files, path.rstrip("/")


@functools.cache
def _ahead(uri: str) -> float:
    """How far the store's clock is ahead of this machine's monotonic one, in seconds."""
    remote, name = Remote(uri), f"{owner()}-{threading.get_ident()}"
    before = time.monotonic()
    remote.write(f"clock/{name}", b"")
    after = time.monotonic()
    at = remote.names("clock")[name]
    remote.delete(f"clock/{name}")
    return at - (before + after) / 2
