"""Processes: their names, by which what they leave behind is told apart, and the memory that they hold."""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket


def owner() -> str:
    """Names this process: host and process id."""
    return f"{socket.gethostname()}-{os.getpid()}"


def is_dead(name: str) -> bool:
    """Whether a process, by the name that `owner` gave it, was on this host and is gone."""
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


def release_memory() -> None:
    """Give back to the system what is free. glibc keeps it for the thread that had it: processes that live through many jobs, each in a
    thread of its own, grew by half a gigabyte a job. Other C libraries have no such function, and nothing is done.
    """
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)
