"""What all tests share: no hub, no chatter, and the folder of real data where there is one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import buckets
import mirror
import pytest
from places import SHARED, SMOKE

from raystilts import features

pytest_plugins = ("promises",)

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["OMP_NUM_THREADS"] = "1"


@pytest.fixture(scope="module", autouse=True)
def _fresh_memory() -> None:
    """Modules call their encoders and data by the same short names; what a process keeps of them must not outlive a module."""
    features._cache.clear()


@pytest.fixture(scope="session")
def s3() -> Iterator[Callable[[], str]]:
    """Makes addresses of empty stores in a bucket of S3."""
    with buckets.s3() as addresses:
        yield addresses


@pytest.fixture(scope="session")
def gs() -> Iterator[Callable[[], str]]:
    """Makes addresses of empty stores in a bucket of Google's storage."""
    with buckets.gs() as addresses:
        yield addresses


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small mirror of the data, in all original formats."""
    made = tmp_path_factory.mktemp("mirror")
    mirror.write(made)
    return made


@pytest.fixture(scope="session")
def smoke_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The quickstart's small twin, run in one process by the command line; tests that change it take a copy."""
    store = tmp_path_factory.mktemp("undisturbed") / "store"
    command = [sys.executable, "-m", "raystilts.cli", "run", SMOKE, "--in-process", "--store", str(store)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return store


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real data in original formats; tests that need it are skipped where it is absent."""
    if not (SHARED / "data").is_dir():
        pytest.skip("needs ../shared/data, which is not here")
    return SHARED / "data"
