"""Notices that the head of a Ray cluster is gone. Ray would end the process by itself, after a minute and in its own words."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator

INTERVAL = 1.0  # seconds between looks
PATIENCE = 10.0  # seconds without an answer: longer than a network is briefly away


@contextlib.contextmanager
def watched(address: str, lost: Callable[[], None]) -> Iterator[None]:
    """Call `lost`, from a thread, when nothing has listened at HOST:PORT for a while; stop to look when the block ends.

    A thread, because the process may be waiting for an answer of that very head.
    """
    over = threading.Event()
    host, _, port = address.rpartition(":")

    def look() -> None:
        heard = time.monotonic()
        while not over.wait(INTERVAL):
            with contextlib.suppress(OSError):
                socket.create_connection((host.strip("[]"), int(port)), timeout=PATIENCE).close()
                heard = time.monotonic()
            if time.monotonic() - heard >= PATIENCE:
                lost()
                return

    thread = threading.Thread(target=look, name="watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
