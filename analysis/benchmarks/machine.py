"""What a benchmark ran on, in one sentence."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import numpy as np
import pyarrow as pa
import scipy


def machine() -> str:
    """Processor, memory and versions.

    >>> machine().startswith("Measured on")
    True
    """
    info = Path("/proc/cpuinfo")
    listed = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    name = next((line.split(":")[1].strip() for line in listed if line.startswith("model name")), platform.machine())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    versions = f"numpy {np.__version__}, scipy {scipy.__version__}, pyarrow {pa.__version__}"
    return (
        f"Measured on {os.cpu_count()} cores of {name} with {memory:.0f} GiB of memory, which other work shared; {platform.system()}, "
        f"Python {platform.python_version()}, {versions}."
    )
