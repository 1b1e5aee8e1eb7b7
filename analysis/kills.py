"""Kill a sweep again and again: does the store end up as if nothing had happened, and was nothing done twice?

    python analysis/kills.py experiments/quickstart.py:smoke --kills 20

Runs the experiment once undisturbed, then in a second store, where at random moments the driver, one of Ray's workers or the raylet is
ended with SIGKILL; the same command is started again each time. At the end it compares all weights and predictions byte by byte,
and reads the journal: no stage may have begun after it was done. Ends only processes that it started itself. The exit code is 1 where
something differs.
"""

from __future__ import annotations

import argparse
import collections
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from raystilts.store import Store

VICTIMS = ("driver", "worker", "raylet")


def start(experiment: str, store: Path, extra: list[str]) -> subprocess.Popen[bytes]:
    """The sweep, in a process of its own."""
    command = [sys.executable, "-m", "raystilts.cli", "run", experiment, "--store", str(store), "--out", str(store / "report"), *extra]
    with (store.parent / f"{store.name}.log").open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)  # noqa: S603  ourselves


def find(driver: psutil.Process, what: str) -> psutil.Process | None:
    """A process of the sweep: the driver, a worker at work, or the raylet."""
    if what == "driver":
        return driver
    wanted = []
    for process in driver.children(recursive=True):
        try:
            name = " ".join(process.cmdline())
        except psutil.Error:
            continue
        if (what == "raylet" and "/raylet/raylet" in name) or (what == "worker" and name.startswith("ray::") and "IDLE" not in name):
            wanted.append(process)
    return random.choice(wanted) if wanted else None  # noqa: S311  no secret


def finish(process: subprocess.Popen[bytes], family: list[psutil.Process], patience: float) -> int | None:
    """Wait for the sweep; after `patience` seconds, or when it has ended, end what is left of its processes. None: it did not end."""
    try:
        code: int | None = process.wait(timeout=patience)
    except subprocess.TimeoutExpired:
        code = None
        process.kill()
        process.wait()
    for member in family:
        try:
            member.kill()
        except psutil.Error:
            continue
    psutil.wait_procs(family, timeout=10)
    return code


def disturb(experiment: str, store: Path, kills: int, extra: list[str]) -> collections.Counter[str]:
    """Start, kill, start again where that ended the sweep, `kills` times; then let it end. Returns how often what was killed."""
    killed: collections.Counter[str] = collections.Counter()
    process = start(experiment, store, extra)
    while sum(killed.values()) < kills:
        deadline, what = time.monotonic() + random.uniform(3, 15), random.choice(VICTIMS)  # noqa: S311  no secret
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.1)
        if process.poll() == 0:
            print(f"the sweep ended after {sum(killed.values())} kills: nothing is left to disturb", flush=True)
            break
        if process.poll() is None:
            driver = psutil.Process(process.pid)
            family, victim = driver.children(recursive=True), find(driver, what)
            if victim is None:
                continue
            victim.kill()
            killed[what] += 1
            print(f"kill {sum(killed.values())} of {kills}: {what} ({victim.pid})", flush=True)
            if what == "worker":  # the sweep is to go on by itself
                continue
            finish(process, family, 30 if what == "raylet" else 0)
        process = start(experiment, store, extra)
    code = process.wait(timeout=3600)
    if code:
        code = start(experiment, store, extra).wait(timeout=3600)
    if code:
        raise SystemExit(f"the last run ended with {code}: see {store.parent / f'{store.name}.log'}")
    return killed


def differences(one: Path, other: Path) -> list[str]:
    """Weights and predictions that are not the same bytes in both stores."""
    found = []
    names = {path.relative_to(one) for path in (one / "stages").rglob("*") if path.suffix in {".safetensors", ".parquet"}}
    names |= {path.relative_to(other) for path in (other / "stages").rglob("*") if path.suffix in {".safetensors", ".parquet"}}
    for name in sorted(names):
        both = (one / name, other / name)
        if not all(path.is_file() for path in both) or both[0].read_bytes() != both[1].read_bytes():
            found.append(str(name))
    return found


def repeated(store: Path) -> list[str]:
    """Stages that began again after they were done."""
    done: set[str] = set()
    found = []
    for line in Store(store).journal():
        if line["event"] == "start" and line["key"] in done:
            found.append(line["key"])
        if line["event"] == "done":
            done.add(line["key"])
    return found


def main() -> int:
    """Run, disturb, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", action="store_true", help="keep the stores")
    options, extra = parser.parse_known_args()
    random.seed(options.seed)
    folder = Path(tempfile.mkdtemp(prefix="kills-"))
    calm, wild = folder / "undisturbed", folder / "disturbed"
    code = start(options.experiment, calm, extra).wait(timeout=3600)
    if code:
        raise SystemExit(f"the undisturbed run ended with {code}: see {folder / 'undisturbed.log'}")
    killed = disturb(options.experiment, wild, options.kills, extra)
    different, again = differences(calm, wild), repeated(wild)
    events = collections.Counter(line["event"] for line in Store(wild).journal())
    print(f"killed: {', '.join(f'{what} {number}' for what, number in sorted(killed.items()))}")
    num = len(list((calm / "stages").iterdir()))
    print(f"stages: {num}; begun {events['start']} times, done {events['done']}, failed {events['failed']}")
    print(f"files that differ from the undisturbed store: {len(different)}; stages that began again after they were done: {len(again)}")
    if not (different or again) and not options.keep:
        shutil.rmtree(folder)
    return 1 if different or again else 0


if __name__ == "__main__":
    sys.exit(main())
