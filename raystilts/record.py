"""A stage's record, stage.json: what it is, the hashes of its other files, and a seal, the hash of the record itself."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raystilts.errors import UserError
from raystilts.inside import leads_outside, leaves
from raystilts.masking import masked
from raystilts.stage import SCHEMA

RECORD = "stage.json"
LARGEST = 64 << 20  # bytes; a record of a stage in 500 languages has less than 1 MiB
BLANK = "0" * 64
UNSEALED = frozenset(  # all that a record held before there were seals: with more it is one whose seal has lost its name
    ("schema", "key", "label", "phase", "lineage", "result", "started", "seconds", "code", "packages", "files", "attempt")
)


@dataclass(frozen=True)
class Damage:
    """What is wrong with a file of a stage. lost: the stage has to be made anew; else whoever owns the store can put it right."""

    file: str
    what: str
    lost: bool = True


def sealed(record: Mapping[str, Any]) -> bytes:
    """The bytes of a record. Its seal is their SHA-256 with 64 zeros in its own place."""
    text = json.dumps({**record, "seal": BLANK}, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
    return text.replace(_line(BLANK), _line(hashlib.sha256(text.encode()).hexdigest())).encode()


def _line(seal: str) -> str:
    """Of the record's own seal: one further inside would stand further to the right."""
    return f'\n "seal": "{seal}"'


def parse(content: bytes, key: str) -> dict[str, Any]:
    """A record from its bytes; raises ValueError with what is wrong with it. One without a seal is from before there were any."""
    if len(content) > LARGEST:
        raise ValueError(f"it is larger than {LARGEST >> 20} MiB, which no record is")
    try:
        record = json.loads(content)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(record, dict):
        raise ValueError("it is no JSON object")
    seal = record.get("seal")
    if seal is None and (strange := record.keys() - UNSEALED):
        raise ValueError(f"it has been altered: {min(strange)!r} is none of a record's fields")
    if seal is not None and hashlib.sha256(content.replace(_line(str(seal)).encode(), _line(BLANK).encode())).hexdigest() != seal:
        raise ValueError("it has been altered: its seal is another")
    if record.get("key", key) != key:
        raise ValueError(f"it is the record of {record['key']}")
    files = record.get("files", {})
    if not isinstance(files, dict) or not all(isinstance(of, dict) and of.keys() >= {"sha256", "bytes"} for of in files.values()):
        raise ValueError("its list of files is none")
    return record


def check_schema(found: object, where: str) -> None:
    """Raises UserError where stages were made under another schema number than this raystilts has: they mean something else."""
    if found != SCHEMA:
        age = "a newer" if isinstance(found, int) and found > SCHEMA else "an older"
        what = "update raystilts" if age == "a newer" else "use the raystilts that made it"
        raise UserError(
            f"{masked(where)}: made by {age} raystilts (schema {found}; this one has {SCHEMA}); {what}, or name another place by --store."
        )


def finish(folder: Path) -> None:
    """Add the hash and size of every file to stage.json, seal it, and flush all of it to the disk."""
    path = folder / RECORD
    record = json.loads(path.read_text(encoding="utf-8"))
    files = sorted(file for file in folder.rglob("*") if file.is_file() and file != path)
    record["files"] = {file.relative_to(folder).as_posix(): {"sha256": sha256(file), "bytes": file.stat().st_size} for file in files}
    path.write_bytes(sealed(record))
    for file in (*files, path):
        with file.open("rb") as handle:
            os.fsync(handle.fileno())


def sha256(path: Path) -> str:
    """Hash of a file's bytes."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def damage(folder: Path, record: Mapping[str, Any], root: Path) -> Iterator[Damage]:
    """What is wrong with a stage of a store at `root`; nothing where all files are as their record says, and there are no others."""
    for name, facts in record["files"].items():
        try:
            if wrong := _wrong(folder, name, facts, root):
                yield Damage(name, wrong)
        except OSError as error:
            yield Damage(name, f"cannot be read ({error.strerror or error})", lost=False)
    for file in sorted(folder.rglob("*")):
        name = file.relative_to(folder).as_posix()
        if not file.is_dir() and name not in record["files"] and name != RECORD and not file.name.startswith("."):
            yield Damage(name, "is not named in its record, as something else put it there", lost=False)


def _wrong(folder: Path, name: str, facts: Mapping[str, Any], root: Path) -> str:
    file = folder / name
    if leaves(name) or leads_outside(file, root):
        return "lies outside of the store"
    if not file.is_file():
        return "is missing"
    if (size := file.stat().st_size) != facts["bytes"]:
        return f"has {size} bytes and not {facts['bytes']}"
    return "" if sha256(file) == facts["sha256"] else "is not what was written"
