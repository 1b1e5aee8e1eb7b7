"""Which jobs of a plan are to be done, and in which order.

A job is a stage and the evaluations that start from it, so that a model is evaluated where it was trained. A job is ready as soon as its
parents are in the store, the one with the longest remaining chain first; there is no barrier between phases. What counts is the store: a
job whose stages are all there is done, whatever happened to its process.
"""

from __future__ import annotations

import heapq
import time
from collections import Counter
from collections.abc import Collection

from raystilts.faults import MAX_TRIES, Failure
from raystilts.store import Store
from raystilts.study import Plan

# Seconds before the second and the third try. Most faults are over in a moment; a file server that starts again, or a quota that somebody
# raises, takes longer. Other jobs go on meanwhile, and the job goes on from its last state, so waiting costs little.
PAUSES = (2.0, 30.0)


def jobs(plan: Plan, done: Collection[str]) -> dict[str, list[str]]:
    """What is to be run: the first stage of each job -> all its stages, in order. Stages that are done are left out."""
    children, found = plan.children, {}
    for key, stage in plan.stages.items():
        if key in done:
            continue
        if stage.phase != "evaluate":
            found[key] = [key, *(child for child in children[key] if plan.stages[child].phase == "evaluate" and child not in done)]
        elif all(parent.key in done for parent in stage.parents):
            found[key] = [key]
    return found


class Schedule:
    """Which jobs are ready, running, done and failed. Plain bookkeeping over the store; knows nothing of Ray."""

    def __init__(self, plan: Plan, store: Store) -> None:
        self.plan, self.store = plan, store
        self.jobs = jobs(plan, store.done())
        self.after: dict[str, list[str]] = {}
        for key in self.jobs:
            for parent in self.parents(key):
                self.after.setdefault(parent, []).append(key)
        self.height: dict[str, int] = {}
        for key in reversed(self.jobs):  # children stand behind their parents in a plan
            self.height[key] = 1 + max((self.height[child] for child in self.after.get(key, [])), default=0)
        order = {key: place for place, key in enumerate(self.jobs)}
        self.rank = {key: (-self.height[key], order[key]) for key in self.jobs}
        self.ready = [(self.rank[key], key) for key in self.jobs if not self.parents(key)]
        heapq.heapify(self.ready)
        self.waiting = {key: set(parents) for key in self.jobs if (parents := self.parents(key))}
        self.running: dict[str, float] = {}  # since when, by the monotonic clock
        self.tries: Counter[str] = Counter()
        self.done: list[str] = []
        self.failed: list[str] = []
        self.settled: list[str] = []  # all that is done, failed or blocked
        self.blocked: set[str] = set()  # jobs that cannot start because one before them failed
        self.failures: dict[str, Failure] = {}  # why the last try of a job ended
        self.not_before: dict[str, float] = {}  # by the monotonic clock

    def parents(self, key: str) -> list[str]:
        """The jobs that have to end before this one can start."""
        return [above.key for above in self.plan.stages[key].parents if above.key in self.jobs]

    def start(self) -> str | None:
        """The most urgent ready job, now running; None where none is ready.

        Another sweep may work in the same store: a job that it has done is done, and one that it works on is left to it for now.
        """
        elsewhere, found = [], None
        while self.ready and found is None:
            rank, key = heapq.heappop(self.ready)
            if self.tries[key] == 0 and all(self.store.has(stage) for stage in self.jobs[key]):
                self.end(key)
            elif self.not_before.get(key, 0.0) > time.monotonic() or self.store.busy(self.jobs[key]):
                elsewhere.append((rank, key))
            else:
                found = key
        for entry in elsewhere:
            heapq.heappush(self.ready, entry)
        if found is not None:
            self.running[found] = time.monotonic()
            self.tries[found] += 1
        return found

    def end(self, key: str, failed: Failure | None = None) -> str:
        """Look at what the job left: "done", "failed", or "again" where a fault stopped it and it may be tried again."""
        self.running.pop(key, None)
        if failed:
            self.failures[key] = failed
        if all(self.store.has(stage) for stage in self.jobs[key]):
            outcome = "done"
            self.done.append(key)
        elif failed and failed.again and self.tries[key] < MAX_TRIES:
            self.not_before[key] = time.monotonic() + PAUSES[self.tries[key] - 1]
            heapq.heappush(self.ready, (self.rank[key], key))
            return "again"
        else:
            outcome = "failed"
            self.failed.append(key)
        self.settled.append(key)
        if self.store.has(key):  # a job whose evaluation failed has still left a model to go on from
            for child in self.after.get(key, []):
                self.waiting[child].discard(key)
                if not self.waiting[child]:
                    heapq.heappush(self.ready, (self.rank[child], child))
        else:
            self._block(key)
        return outcome

    @property
    def over(self) -> bool:
        """Whether nothing runs and nothing can start any more."""
        return not self.ready and not self.running

    @property
    def num_left(self) -> int:
        """Jobs that neither ended nor wait for one that failed."""
        return len(self.jobs) - len(self.done) - len(self.failed) - len(self.blocked)

    def _block(self, key: str) -> None:
        """What stands on a job that failed without leaving a model cannot start."""
        waiting = [*self.after.get(key, [])]
        while waiting:
            child = waiting.pop()
            if child not in self.blocked:
                self.blocked.add(child)
                self.settled.append(child)
                waiting += self.after.get(child, [])
