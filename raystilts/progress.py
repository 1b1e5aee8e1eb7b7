"""What a person sees of a sweep: a line per job that ended and, in a terminal, what runs, waits and is left below them."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

from raystilts.schedule import Schedule, jobs
from raystilts.study import Plan

SHOWN = 8  # running jobs that the live view names
REFRESHED = 2  # times a second
ENOUGH = 3  # earlier jobs of a kind, to say how long others take: a store far away may hold thousands


class Progress:
    """One line per ended job: how many of how many, what it was, what it scored, how long it took, the time left."""

    def __init__(self, schedule: Schedule, slots: int) -> None:
        self.schedule, self.slots = schedule, slots
        self.seconds: dict[tuple[str, ...], tuple[int, float]] = {}  # by role, encoder and task, and by less: how many jobs, and the sum
        self.started = time.monotonic()
        self.num_left: Counter[tuple[str, ...]] = Counter(kind_of(schedule.plan, key) for key in schedule.jobs)
        self.num_settled = 0
        to_run = {stage for stages in schedule.jobs.values() for stage in stages}
        read = Counter[tuple[str, ...]]()
        for key, stages in jobs(schedule.plan, ()).items():  # a sweep that goes on knows how long jobs took before
            kind = kind_of(schedule.plan, key)
            if self.num_left[kind] and read[kind] < ENOUGH and to_run.isdisjoint(stages):
                read[kind] += 1
                self._took(kind, sum(schedule.store.record(stage)["seconds"] for stage in stages))

    def _took(self, kind: tuple[str, ...], seconds: float) -> None:
        for group in groups(kind):
            number, total = self.seconds.get(group, (0, 0.0))
            self.seconds[group] = number + 1, total + seconds

    def ended(self, key: str, outcome: str) -> None:
        """Print the line of a job."""
        schedule, plan, store = self.schedule, self.schedule.plan, self.schedule.store
        for settled in schedule.settled[self.num_settled :]:
            self.num_left[kind_of(plan, settled)] -= 1
            self.num_settled += 1
        if outcome == "again":
            why = schedule.failures[key].reason.strip().splitlines()[-1]
            print(f"  stopped, to be tried again: {plan.label(key)}: {why}", flush=True)
            return
        finished = [store.record(stage) for stage in schedule.jobs[key] if store.has(stage)]
        took = sum(record["seconds"] for record in finished)
        self._took(kind_of(plan, key), took)
        place = f"[{len(schedule.done) + len(schedule.failed)}/{len(schedule.jobs)}]"
        text = f"{place} {plan.label(key)}  {took:.1f} s{_score(finished)}" if outcome == "done" else f"{place} FAILED {plan.label(key)}"
        left = self.time_left()
        print(f"{text}  ({duration(left)} left)" if left else text, flush=True)

    def time_left(self) -> float:
        """Seconds until the end: from the mean duration of jobs of the same role, encoder and task, or else of the next alike."""
        known, left = dict(self.seconds), dict(self.num_left)  # a terminal's view looks from a thread of its own
        total = 0.0
        for of, waiting in left.items():
            number, took = next(known[group] for group in groups(of) if group in known)
            total += waiting * took / number
        return total / max(1, min(self.slots, sum(left.values())))


def kind_of(plan: Plan, key: str) -> tuple[str, ...]:
    """Role, encoder and task of a stage: those of one kind take about as long as each other."""
    task = plan.stages[key].task
    role = "average" if plan.stages[key].averaged else plan.roles[key]  # a mean takes seconds, whatever it is of
    return role, plan.encoders[key], task.name if task else ""


def groups(kind: tuple[str, ...]) -> list[tuple[str, ...]]:
    """What stages of a kind belong to, the most alike first: the same role, encoder and task; role and encoder; role; all."""
    return [kind[:size] for size in (3, 2, 1, 0)]


def _score(finished: list[dict[str, Any]]) -> str:
    scores = [f"{record['result']['dev_score']:.1f} on dev" for record in finished if record["result"].get("dev_score") is not None]
    tables = [found for record in finished if (found := record["result"].get("scores"))]
    scores += [f"{sum(found.values()) / len(found):.1f} over {len(found)} languages" for found in tables]
    return "".join(f"  {score}" for score in scores)


def duration(seconds: float) -> str:
    """`35 s`, `4 min`, `2 h 10 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02} min"


@contextlib.contextmanager
def live(progress: Progress) -> Iterator[None]:
    """In a terminal: keep the view below the lines up to date while the block runs. Elsewhere: the lines alone."""
    if not sys.stdout.isatty():
        yield
        return
    from rich.live import Live  # noqa: PLC0415  only terminals need it

    with Live(get_renderable=lambda: "\n".join(view(progress)), refresh_per_second=REFRESHED, transient=True):
        yield


def view(progress: Progress) -> list[str]:
    """How many jobs run, wait, are done and failed, the rate, the time left, what runs and for how long, and what GPUs do."""
    schedule = progress.schedule
    ended = len(schedule.done) + len(schedule.failed)
    running = dict(schedule.running)  # the sweep changes it while we look
    waiting = len(schedule.jobs) - ended - len(running) - len(schedule.blocked)
    minutes = (time.monotonic() - progress.started) / 60
    rate = f", {ended / minutes:.1f} a minute" if ended and minutes > 0 else ""
    left = f", {duration(progress.time_left())} left" if progress.seconds else ""
    failed = f", {len(schedule.failed)} failed" if schedule.failed else ""
    blocked = f", {len(schedule.blocked)} cannot start" if schedule.blocked else ""
    lines = [f"{len(running)} running, {waiting} waiting, {len(schedule.done)} done{failed}{blocked}{rate}{left}"]
    now = time.monotonic()
    for key, since in list(running.items())[:SHOWN]:
        lines.append(f"  {schedule.plan.label(key)}  {duration(now - since)}")
    return lines + ([f"  and {len(running) - SHOWN} more"] if len(running) > SHOWN else []) + gpus()


def gpus() -> list[str]:
    """A line per GPU of this machine: how busy it is and how full; none where there is no nvidia-smi."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    asked = [tool, "--query-gpu=index,utilization.gpu,memory.used,memory.total", "--format=csv,noheader,nounits"]
    try:
        found = subprocess.run(asked, capture_output=True, text=True, timeout=2, check=True).stdout  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return []
    rows = [[cell.strip() for cell in row.split(",")] for row in found.splitlines() if row.count(",") == 3]
    return [f"  GPU {number}: {busy} % busy, {used} of {total} MiB" for number, busy, used, total in rows]
