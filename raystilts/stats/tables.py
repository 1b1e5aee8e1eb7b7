"""Arrow tables -> dense arrays: one block of runs x clusters of examples per test set (target, language)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from raystilts.stats.plan import StatsError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
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

    runs: (R,) indices of runs. score: (R,) points. num, den: (R, G) and (R or 1, G), sums per cluster whose ratio is the score.
    clusters: (G,) codes, equal across languages of one target where the test sets are parallel. examples, gold: digests of what was seen.
    constant: (R,) output is constant. predictions: digest of a run's predictions, "" where they are not stored.
    """

    target: str
    language: str
    runs: Ints
    score: Floats
    num: Floats
    den: Floats
    clusters: Ints
    num_examples: int
    examples: str
    gold: str
    constant: npt.NDArray[np.bool_]
    predictions: tuple[str, ...]
    statistics: tuple[str, ...]  # digest of a run's statistics

    def rows(self, runs: Ints) -> Ints:
        """Positions in the block of the given runs."""
        return np.searchsorted(self.runs, runs)

    def influence(self, rows: Ints) -> Floats:
        """(len(rows), G) points: what each cluster adds to a run's score, d score / d weight / n; sums to zero over clusters."""
        den = self.den if len(self.den) == 1 else self.den[rows]
        total = den.sum(axis=1, keepdims=True)
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

    def where(self, run: int) -> list[Block]:
        """The blocks that hold a run, one per language."""
        target = self.runs[run].target
        return [b for (t, _), blocks in self.blocks.items() if t == target for b in blocks if run in b.runs]


def read(runs: pa.Table, examples: pa.Table, metric_of: Callable[[str], str]) -> Data:
    """The tables as arrays. Rows of runs whose status is neither "ok" nor null are kept as runs, their examples are not read.

    >>> runs = pa.table({"run_id": ["r"], "seed": [1]})
    >>> examples = pa.table({"run_id": ["r"] * 2, "language": ["sw"] * 2, "example_id": ["1", "2"], "s0": [1.0, 0.0]})
    >>> read(runs, examples, lambda target: "accuracy").blocks["", "sw"][0].score
    array([50.])
    """
    listed = _runs(runs)
    index = {run.id: run.index for run in listed}
    for column in ("run_id", "language", "example_id", "s0"):
        if column not in examples.column_names:
            raise StatsError(f"the table examples has no column {column!r}: it needs run_id, language, example_id, s0, ...")
    run_codes, run_names = _encode(examples["run_id"], "run_id")
    unknown = [name for name in run_names if name not in index]
    if unknown:
        raise StatsError(f"the table examples has rows of the run {unknown[0]!r}, which the table runs does not list")
    run = np.array([index[name] for name in run_names], dtype=np.int64)[run_codes]
    language, languages = _encode(examples["language"], "language")
    example, example_names = _encode(examples["example_id"], "example_id")
    cluster = _clusters(examples, example, example_names)
    targets = sorted({r.target for r in listed})
    test_set = np.array([targets.index(r.target) for r in listed], dtype=np.int64)[run] * len(languages) + language
    key = (test_set * len(listed) + run) * len(example_names) + example
    order = np.arange(len(key)) if np.all(np.diff(key) > 0) else np.argsort(key, kind="stable")
    key = key[order]
    twice = np.flatnonzero(np.diff(key) == 0)
    if len(twice):
        row = order[twice[0]]
        raise StatsError(
            f"run {listed[run[row]].id!r} has the example {example_names[example[row]]!r} twice in language {languages[language[row]]!r}: "
            "example ids must be unique within a run and language"
        )
    columns = _Columns(examples, order, example[order], cluster[order])
    segment = key // len(example_names)
    starts = np.flatnonzero(np.diff(segment, prepend=-1))
    stops = np.append(starts[1:], len(segment))[: len(starts)]
    by_set: dict[int, list[tuple[int, int, int]]] = {}
    for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
        where, of_run = divmod(int(segment[start]), len(listed))
        if listed[of_run].ok:
            by_set.setdefault(where, []).append((of_run, start, stop))
    blocks = {}
    for where, segments in sorted(by_set.items()):
        target, name = targets[where // len(languages)], languages[where % len(languages)]
        blocks[target, name] = tuple(_blocks(_TestSet(target, name, metric_of(target)), columns, segments, listed))
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


def _encode(column: pa.ChunkedArray, name: str) -> tuple[Ints, list[str]]:
    """Integer codes and the values they stand for, sorted, so that codes do not depend on the order of rows."""
    if column.null_count:
        raise StatsError(f"the column {name!r} of the table examples has nulls")
    if not len(column):
        return np.zeros(0, np.int64), []
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    column = column.unify_dictionaries()
    codes = np.concatenate([chunk.indices.to_numpy(zero_copy_only=False) for chunk in column.chunks]).astype(np.int64)
    values = [str(value) for value in column.chunk(0).dictionary.to_pylist()]
    order = sorted(range(len(values)), key=values.__getitem__)
    rank = np.empty(len(values), dtype=np.int64)
    rank[order] = np.arange(len(values))
    return rank[codes], [values[i] for i in order]


def _clusters(examples: pa.Table, example: Ints, names: list[str]) -> Ints:
    """Codes of clusters; an example without one is its own cluster, named as the example."""
    if "cluster_id" not in examples.column_names or examples["cluster_id"].null_count == examples.num_rows:
        return example
    column = examples["cluster_id"]
    present = column.is_valid().to_numpy()
    codes, clusters = _encode(column.drop_null(), "cluster_id")
    known = {name: i for i, name in enumerate(names)}
    shared = np.array([known.get(name, len(names) + i) for i, name in enumerate(clusters)], dtype=np.int64)
    result = example.copy()
    result[present] = shared[codes]
    return result


class _Columns:
    """The sorted columns of `examples`, read by slices."""

    def __init__(self, table: pa.Table, order: Ints, example: Ints, cluster: Ints) -> None:
        self.example, self.cluster = example, cluster
        self._table, self._order = table, order
        self._cache: dict[str, tuple[npt.NDArray[Any], npt.NDArray[np.bool_]] | None] = {}

    def get(self, name: str, start: int, stop: int) -> npt.NDArray[Any] | None:
        """The values of a slice; None where the column is absent or has a null in the slice."""
        if name not in self._cache:
            self._cache[name] = self._read(name)
        found = self._cache[name]
        if found is None or not found[1][start:stop].all():
            return None
        return found[0][start:stop]

    def _read(self, name: str) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]] | None:
        if name not in self._table.column_names:
            return None
        column = self._table[name]
        if pa.types.is_null(column.type):
            return None
        if name.endswith("_code") and not pa.types.is_integer(column.type):
            raise StatsError(f"the column {name!r} of the table examples must hold whole numbers (a 64-bit hash), not {column.type}")
        valid = column.is_valid().to_numpy() if column.null_count else np.ones(len(column), dtype=bool)
        if name.endswith("_code"):
            values = pc.fill_null(column, 0).to_numpy()
        else:
            values = pc.fill_null(column.cast(pa.float64()), 0.0).to_numpy()
            valid = valid & np.isfinite(values)
        return values[self._order], valid[self._order]


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


def _blocks(where: _TestSet, columns: _Columns, segments: list[tuple[int, int, int]], runs: tuple[Run, ...]) -> list[Block]:
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
    return [_block(where, columns, members, key) for key, members in sorted(variants.items())]


def _block(where: _TestSet, columns: _Columns, members: list[tuple[int, int, int]], variant: tuple[str, str]) -> Block:
    examples, gold = variant

    def stack(name: str) -> Floats:
        slices = [columns.get(name, start, stop) for _, start, stop in members]
        return np.array(slices, dtype=np.float64)

    _, first, last = members[0]
    cluster = columns.cluster[first:last]
    for _, start, stop in members:
        if not np.array_equal(columns.cluster[start:stop], cluster):
            raise StatsError(f"{where}: runs disagree about the cluster_id of the same examples")
    value = stack("s0")
    if where.metric == "micro_f1":
        predicted, num_gold = stack("s1"), stack("s2")
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
    codes, inverse = np.unique(cluster, return_inverse=True)
    if len(codes) < len(cluster):
        order = np.argsort(inverse, kind="stable")
        at = np.searchsorted(inverse[order], np.arange(len(codes)))
        num, den = np.add.reduceat(num[:, order], at, axis=1), np.add.reduceat(den[:, order], at, axis=1)
    else:
        order = np.argsort(cluster, kind="stable")
        num, den = num[:, order], den[:, order]
    return Block(
        target=where.target,
        language=where.language,
        runs=np.array([run for run, _, _ in members], dtype=np.int64),
        score=score,
        num=num,
        den=den,
        clusters=codes,
        num_examples=len(cluster),
        examples=examples,
        gold=gold,
        constant=constant,
        predictions=tuple(predictions),
        statistics=tuple(_digest(examples.encode(), row.tobytes()) for row in raw),
    )
