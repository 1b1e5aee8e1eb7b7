"""Tells faults of the place (a disk, a file system, a process or connection that was lost) from bugs.

A fault may be gone the next time, so what it stopped is tried again; a bug would be raised again.
"""

from __future__ import annotations

import errno
import os
import re
import traceback
from dataclasses import dataclass
from pathlib import Path

from raystilts.masking import masked

MAX_TRIES = 3  # of what a fault stopped; a bug is not tried again: it would be raised again
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_RUST = re.compile(r"\(os error (\d+)\)")  # safetensors and tokenizers raise errors of their own with this in the text


@dataclass(frozen=True)
class Failure:
    """Why a job stopped, and whether another try may go better."""

    reason: str
    again: bool


DIVERGED = "diverged: "  # so begins the last line of why a training stopped whose loss or gradients were no numbers
_DIVERGED = re.compile(r"\bDivergedError: (.+)")  # also where it was raised in another process, of which only the text is known
_MEMORY = re.compile(r"\b(OutOfMemoryError|MemoryError|can't allocate memory)\b")
_KILLED = re.compile(r"\d+ worker\(s\) were killed due to the node running low on memory")
LESS_MEMORY = "--recompute and fewer stages at a time (--max-concurrent) need less and change no result."
DIED = Failure("its process died without a word (out of memory?)", again=True)


def sentence(text: str) -> str:
    """Why a process was lost, of what Ray says: the first sentence of its last line, because the lines before it are numbers and the
    sentences after it advice. Where a node ran out of memory, that line is advice, too.
    """
    killed = _KILLED.search(text)
    return f"{killed[0]}; {LESS_MEMORY}" if killed else text.strip().splitlines()[-1].split(". ")[0]


def lost(text: str, *, again: bool = True) -> Failure:
    """What to keep of a process that was lost, of which Ray says this; DIED where it says nothing."""
    return Failure(f"its process was lost: {masked(sentence(text))}", again) if text else DIED


def divergence(reason: str) -> str:
    """What a training said that diverged, of why it failed; empty where it failed of something else."""
    last = reason.strip().rpartition("\n")[2]
    return last.removeprefix(DIVERGED) if last.startswith(DIVERGED) else ""


def system_error(error: BaseException | None) -> int | None:
    """The operating system's number of the error that this one is or was raised from (0: it has none); None for a bug."""
    while error is not None:
        if isinstance(error, OSError):
            return error.errno or 0
        if found := _RUST.search(str(error)):
            return int(found[1])
        error = error.__cause__
    return None


def failure(error: BaseException, what: str, root: Path) -> Failure:
    """What to keep of an exception that ended `what` in the store at `root`: its traceback and, on a full disk, what to do."""
    number = system_error(error)
    lines = [what, *traceback.format_exception(error)]
    if number in FULL:
        lines.append(f"{os.strerror(number)}: make room on the disk that holds {root}, then run the same command again.")
    if _MEMORY.search(lines[-1]):
        lines.append(f"Out of memory: {LESS_MEMORY}")
    if found := _DIVERGED.search("\n".join(lines)):
        lines.append(f"{DIVERGED}{found[1]}")
    return Failure(masked("\n".join(line.rstrip("\n") for line in lines)), again=number is not None)
