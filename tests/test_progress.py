"""What a person sees while a sweep runs."""

from __future__ import annotations

import os
import pty
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from places import SMOKE, smoke
from test_sweep import Memory

from raystilts import progress
from raystilts.progress import ENOUGH, Progress, duration, kind_of, live, view
from raystilts.schedule import Schedule, jobs
from raystilts.store import Store
from raystilts.study import make_plan

PLAN = make_plan(smoke())


@pytest.mark.parametrize(("seconds", "text"), [(3, "3 s"), (89, "89 s"), (200, "3 min"), (7800, "2 h 10 min")])
def test_durations_are_readable(seconds: float, text: str) -> None:
    """Seconds, minutes and hours, whichever fits."""
    assert duration(seconds) == text


def test_the_view_counts_and_names_what_runs() -> None:
    """Running, waiting, done and failed jobs add up to all; what runs is named with its time, the first few at least."""
    schedule = Schedule(PLAN, Memory())
    shown = Progress(schedule, 2)
    assert view(shown) == [f"0 running, {len(schedule.jobs)} waiting, 0 done"]
    first, second = schedule.start(), schedule.start()
    schedule.store.keys.update(schedule.jobs[first])
    schedule.end(first)
    schedule.running[second] -= 100
    lines = view(shown)
    assert lines[0].startswith(f"1 running, {len(schedule.jobs) - 2} waiting, 1 done, ")
    assert lines[1] == f"  {PLAN.label(second)}  2 min"
    schedule.store.keys.add(f"failed {second}")
    schedule.end(second)
    assert ", 1 failed, " in view(shown)[0]
    assert " cannot start" in view(shown)[0]


def test_the_time_left_is_that_of_the_most_alike() -> None:
    """Each job that is left counts as the mean of those of its role, encoder and task; without any, of its role and encoder, and so on."""
    schedule = Schedule(PLAN, Memory())
    shown = Progress(schedule, 2)
    kinds = [kind for kind, number in shown.num_left.items() for _ in range(number)]
    role, encoder, task = kinds[0]
    shown.seconds = {(): (4, 40.0), (role,): (3, 36.0), (role, encoder): (2, 40.0), (role, encoder, task): (1, 30.0)}
    each = [30 if kind == kinds[0] else 20 if kind[:2] == kinds[0][:2] else 12 if kind[0] == role else 10 for kind in kinds]
    assert len(set(each)) >= 3
    assert shown.time_left() == sum(each) / 2


def test_a_sweep_that_goes_on_knows_how_long_jobs_took(smoke_store: Path, tmp_path: Path) -> None:
    """The time left of a resumed sweep counts from its first line on as long as the store's jobs of the same kind took; an empty store says
    nothing, and no more records are read than a mean needs.
    """
    store = Store(Path(shutil.copytree(smoke_store, tmp_path / "store")))
    whole = jobs(PLAN, ())
    alike: dict[tuple[str, ...], list[str]] = {}
    for key in whole:
        alike.setdefault(kind_of(PLAN, key), []).append(key)
    keys = next(keys for kind, keys in alike.items() if kind[0] == "target" and len(keys) > 1)
    for stage in whole[keys[0]]:
        store.discard(stage)
    read = [sum(store.record(stage)["seconds"] for stage in whole[key]) for key in keys[1 : 1 + ENOUGH]]
    shown = Progress(Schedule(PLAN, store), 2)
    assert shown.time_left() == pytest.approx(sum(read) / len(read))
    assert shown.seconds[()][0] == len(read)
    assert view(shown)[0].endswith(f", {duration(shown.time_left())} left")
    assert Progress(Schedule(PLAN, Store(tmp_path / "empty")), 2).seconds == {}


def test_gpus_are_shown_where_there_are_any(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What nvidia-smi says is a line per GPU; a tool that fails, or none, is no line."""
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho '0, 97, 70000, 81559'\necho '1, 3, 10, 81559'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert progress.gpus() == ["  GPU 0: 97 % busy, 70000 of 81559 MiB", "  GPU 1: 3 % busy, 10 of 81559 MiB"]
    tool.write_text("#!/bin/sh\nexit 9\n")
    assert progress.gpus() == []


def test_without_a_terminal_there_are_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing moves where the output is a file or a pipe."""
    with live(Progress(Schedule(PLAN, Memory()), 1)):
        print("a line")
    assert capsys.readouterr().out == "a line\n"


@pytest.mark.slow
def test_in_a_terminal_the_view_moves_and_the_lines_stay(tmp_path: Path) -> None:
    """In a real terminal the counts are redrawn while jobs run, every job's line stays, and the verdicts follow."""
    command = [sys.executable, "-m", "raystilts.cli", "run", SMOKE, "--in-process", "--store", str(tmp_path / "store")]
    ours, theirs = pty.openpty()
    done = subprocess.Popen(command, stdout=theirs, stderr=theirs, env=os.environ | {"TERM": "xterm", "COLUMNS": "120"})
    os.close(theirs)
    said = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        said += part
    os.close(ours)
    assert done.wait(timeout=60) == 0
    text = said.decode(errors="replace")
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    assert len(re.findall(r"\d+ running, \d+ waiting, \d+ done", plain)) > 5
    assert len(re.findall(r"\[\d+/24\] ", plain)) == 24
    assert "report: " in plain
    assert "\x1b[1A" in text  # the cursor went up to redraw
