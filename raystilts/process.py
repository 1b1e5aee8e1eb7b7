"""Names of processes, by which what they leave behind is told apart."""

from __future__ import annotations

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
