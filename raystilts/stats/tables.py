"""Arrow tables -> dense arrays: one block of runs x clusters of examples per test set (target, language)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from raystilts.stats.batches import Examples, TestSetRows, compact, read_test_sets
from raystilts.stats.estimate import cluster_sums
from raystilts.stats.plan import StatsError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
MOST = 1e9
"""Sums of more would not be exact."""
ENOUGH = 20
"""Fewer examples than this never show that an output is constant or that two runs are one."""


@dataclass(frozen=True)
class Run:
    """A row of `runs`: `columns` holds all of it, the other fields what every study needs (absent columns have their defaults)."""

    index: int
    id: str
    target: str
    seed: int | None
    checkpoint: str  # the intermediate checkpoint that it started from, "" where none
    ok: bool
    columns: dict[str, Any]


@dataclass(frozen=True, eq=False)
class Block:
    """One test set as scored by R runs that saw the same examples with the same gold.

    runs: (R,) indices of runs. score: (R,) points. num, den: (R, G) and (R or 1, G), sums per cluster whose ratio is the score, in the
    smallest of int16, float32 and float64 that holds them exactly.
    clusters: (G,) codes, equal across languages of one target where the test sets are parallel. examples, gold: digests of what was seen.
    guess: points of always giving the most frequent gold, None where answers are not right or wrong or gold is not stored.
    constant: (R,) output is constant. predictions: digest of a run's predictions, "" where they are not stored.
    """

    target: str
    language: str
    runs: Ints
    score: Floats
    num: npt.NDArray[Any]
    den: npt.NDArray[Any]
    clusters: Ints
    num_examples: int
    examples: str
    gold: str
    guess: float | None
    constant: npt.NDArray[np.bool_]
    predictions: tuple[str, ...]
    statistics: tuple[str, ...]  # digest of a run's statistics

    def rows(self, runs: Ints) -> Ints:
        """Positions in the block of the given runs."""
        return np.searchsorted(self.runs, runs)

    def influence(self, rows: Ints) -> Floats:
        """(len(rows), G) points: what each cluster adds to a run's score, d score / d weight / n; sums to zero over clusters."""
        den = self.den if len(self.den) == 1 else self.den[rows]
        total = den.astype(np.float64).sum(axis=1, keepdims=True)
        share = self.score[rows, None] / 100
        safe = np.where(total > 0, total, 1.0)
        influence: Floats = 100 * (self.num[rows] - share * den) / safe
        return influence


@dataclass(frozen=True, eq=False)
class Data:
    """runs, and blocks by (target, language): more than one where runs disagree about examples or gold."""

    runs: tuple[Run, ...]
    blocks: dict[tuple[str, str], tuple[Block, ...]]
    columns: tuple[str, ...]
    _having: dict[str, dict[Any, set[int]]] = field(default_factory=dict)

    def having(self, column: str, value: Any) -> set[int]:
        """The runs whose column equals the value; looked up once per column, because large plans ask thousands of times."""
        if column not in self._having:
            found: dict[Any, set[int]] = {}
            for run in self.runs:
                if isinstance(own := run.columns[column], Hashable):
                    found.setdefault(own, set()).add(run.index)
            self._having[column] = found
        return self._having[column].get(value, set())

    def where(self, run: int) -> list[Block]:
        """The blocks that hold a run, one per language."""
        target = self.runs[run].target
        return [b for (t, _), blocks in self.blocks.items() if t == target for b in blocks if run in b.runs]


def read(runs: pa.Table, examples: Examples, metric_of: Callable[[str], str]) -> Data:
    """The tables as arrays. Rows of runs whose status is neither "ok" nor null are kept as runs, their examples are not read.

    examples: a table, a parquet file, a folder of them, a dataset, or batches or tables in any order, which are read one at a time.

    >>> runs = pa.table({"run_id": ["r"], "seed": [1]})
    >>> examples = pa.table({"run_id": ["r"] * 2, "language": ["sw"] * 2, "example_id": ["1", "2"], "s0": [1.0, 0.0]})
    >>> read(runs, examples, lambda target: "accuracy").blocks["", "sw"][0].score
    array([50.])
    """
    listed = _runs(runs)
    index = {run.id: run.index for run in listed}
    blocks = {}
    for rows in read_test_sets(examples, index, [run.target for run in listed], [run.ok for run in listed]):
        where = _TestSet(rows.target, rows.language, metric_of(rows.target))
        starts = np.flatnonzero(np.diff(rows.run, prepend=-1))
        stops = np.append(starts[1:], len(rows.run))
        segments = [(int(rows.run[start]), int(start), int(stop)) for start, stop in zip(starts, stops, strict=True)]
        twice = np.flatnonzero((np.diff(rows.run) == 0) & (np.diff(rows.example) == 0))
        if len(twice):
            raise StatsError(
                f"run {listed[rows.run[twice[0]]].id!r} has the example {rows.names[rows.example[twice[0]]]!r} twice in language "
                f"{rows.language!r}: example ids must be unique within a run and language"
            )
        blocks[rows.target, rows.language] = tuple(_blocks(where, rows, segments, listed))
    return Data(listed, blocks, tuple(runs.column_names))


def _runs(table: pa.Table) -> tuple[Run, ...]:
    if "run_id" not in table.column_names:
        raise StatsError("the table runs has no column 'run_id'")
    rows = sorted(table.to_pylist(), key=lambda row: str(row["run_id"]))
    listed = []
    for i, row in enumerate(rows):
        if i and row["run_id"] == rows[i - 1]["run_id"]:
            raise StatsError(f"the table runs lists the run {row['run_id']!r} twice")
        seed = row.get("seed")
        listed.append(
            Run(
                index=i,
                id=str(row["run_id"]),
                target=str(row.get("target") or ""),
                seed=None if seed is None else int(seed),
                checkpoint=str(row.get("intermediate_run_id") or ""),
                ok=row.get("status") in (None, "", "ok"),
                columns=row,
            )
        )
    return tuple(listed)


def _digest(*parts: bytes) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.hexdigest()


@dataclass(frozen=True)
class _TestSet:
    target: str
    language: str
    metric: str

    def __str__(self) -> str:
        return f"metric {self.metric!r} of target {self.target!r}, language {self.language!r}"


def _blocks(where: _TestSet, columns: TestSetRows, segments: list[tuple[int, int, int]], runs: tuple[Run, ...]) -> list[Block]:
    """Groups the runs of a test set by the examples and the gold that they saw."""
    variants: dict[tuple[str, str], list[tuple[int, int, int]]] = {}
    needed = ("s0", "s1", "s2") if where.metric == "micro_f1" else ("s0",)
    if where.metric.startswith("micro") and where.metric != "micro_f1":
        raise StatsError(
            f"the metric {where.metric!r} of the target {where.target!r} is not known: the only micro-averaged one is 'micro_f1'"
        )
    for run, start, stop in segments:
        for name in needed:
            if columns.get(name, start, stop) is None:
                raise StatsError(
                    f"run {runs[run].id!r} has no finite {name} for every example of language {where.language!r}: "
                    f"the metric {where.metric!r} needs {', '.join(needed)}"
                )
        kinds = ("gold_code", "s2") if where.metric == "micro_f1" else ("gold_code",)
        parts = [gold.tobytes() for gold in (columns.get(kind, start, stop) for kind in kinds) if gold is not None]
        seen = _digest(columns.example[start:stop].tobytes())
        variants.setdefault((seen, _digest(*parts)), []).append((run, start, stop))
    return [_block(where, columns, members, key) for key, members in variants.items()]


def _block(where: _TestSet, columns: TestSetRows, members: list[tuple[int, int, int]], variant: tuple[str, str]) -> Block:
    examples, gold = variant

    def stack(name: str) -> Floats:
        slices = [columns.get(name, start, stop) for _, start, stop in members]
        return np.array(slices, dtype=np.float64)

    _, first, last = members[0]
    cluster = columns.cluster[first:last]
    for _, start, stop in members:
        if not np.array_equal(columns.cluster[start:stop], cluster):
            raise StatsError(f"{where}: runs disagree about the cluster_id of the same examples")
    value, guess = stack("s0"), None
    if where.metric == "micro_f1":
        predicted, num_gold = stack("s1"), stack("s2")
        if max(np.abs(counts).max(initial=0) for counts in (value, predicted, num_gold)) > MOST:
            raise StatsError(f"{where}: s0, s1 and s2 must be counts of at most {MOST:.0e} for an example")
        num, den = 2 * value, predicted + num_gold
        if (value < 0).any() or (value > np.minimum(predicted, num_gold)).any():
            raise StatsError(f"{where}: s0 (true positives) must lie between 0 and both s1 (predicted) and s2 (gold)")
        silent = (predicted == predicted[:, :1]).all(axis=1)
        raw = np.stack([value, predicted], axis=1)
    else:
        if (value < 0).any() or (value > 1 + 1e-9).any():
            raise StatsError(f"{where}: values of s0 must be shares between 0 and 1, not points")
        num, den = value, np.ones((1, value.shape[1]))
        silent = np.zeros(len(value), dtype=bool)
        raw = value[:, None]
        golds = columns.get("gold_code", first, last)
        if golds is not None and np.isin(value, (0.0, 1.0)).all():
            guess = 100 * int(np.unique(golds, return_counts=True)[1].max()) / len(golds)
    total = den.sum(axis=1)
    score = 100 * num.sum(axis=1) / np.where(total > 0, total, 1.0)
    constant = np.zeros(len(members), dtype=bool)
    predictions = []
    for i, (_, start, stop) in enumerate(members):
        code = columns.get("prediction_code", start, stop)
        predictions.append("" if code is None else _digest(examples.encode(), code.tobytes()))
        # Sequences of one repeated tag have a code per length, so that the number of predicted spans says more than the code.
        mute = bool(silent[i]) or (where.metric == "micro_f1" and code is None and score[i] == 0)
        constant[i] = stop - start >= ENOUGH and score[i] < 100 and (mute or (code is not None and bool((code == code[0]).all())))
    codes = np.unique(cluster)
    num, den = cluster_sums(num, cluster), cluster_sums(den, cluster)
    return Block(
        target=where.target,
        language=where.language,
        runs=np.array([run for run, _, _ in members], dtype=np.int64),
        score=score,
        num=compact(num),
        den=compact(den),
        clusters=codes,
        num_examples=len(cluster),
        examples=examples,
        gold=gold,
        guess=guess,
        constant=constant,
        predictions=tuple(predictions),
        statistics=tuple(_digest(examples.encode(), row.tobytes()) for row in raw),
    )
