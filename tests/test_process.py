"""What processes hold."""

from __future__ import annotations

import gc
import platform

import psutil
import pytest

from raystilts.process import release_memory


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc keeps what is freed, and has a function that gives it back")
def test_freed_memory_is_given_back() -> None:
    """Of 400 MiB that were freed below a block that is still in use, the system gets at least 300 back."""
    block = 100 * 2**10  # smaller than what glibc maps by itself
    blocks = [bytearray(block) for _ in range(400 * 2**20 // block)]
    last = bytearray(block)
    del blocks
    gc.collect()
    before = psutil.Process().memory_info().rss
    release_memory()
    assert before - psutil.Process().memory_info().rss > 300 * 2**20
    assert len(last) == block
