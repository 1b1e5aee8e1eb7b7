"""Rows of `examples`, a batch at a time -> coded columns of each test set, so that no more text is held than a batch has."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from raystilts.stats.plan import StatsError

Ints = npt.NDArray[np.int64]
Column = tuple[npt.NDArray[Any], npt.NDArray[np.bool_] | None]
"""Values, and which of them are there (None: all)."""
Examples: TypeAlias = pa.Table | ds.Dataset | str | os.PathLike[str] | Iterable[pa.RecordBatch | pa.Table]
"""The table examples: in memory, as a parquet file or a folder of them, or in pieces; the order of rows never matters."""
ROWS = 1 << 20
"""Rows coded at a time."""
NEEDED = ("run_id", "language", "example_id", "s0")
STATISTICS, CODES = ("s0", "s1", "s2"), ("prediction_code", "gold_code")


@dataclass(frozen=True, eq=False)
class TestSetRows:
    """All rows of one test set (target, language) by run and example: run, example, cluster (N,) codes; columns: name -> values.

    Codes of examples and clusters are ranks of their names (clusters that are no examples come last): the order of rows does not matter.
    """

    __test__ = False  # not a test case, whatever its name says

    target: str
    language: str
    run: Ints
    example: Ints
    cluster: Ints
    columns: dict[str, Column]
    names: Sequence[str]  # of examples, by code

    def get(self, name: str, start: int, stop: int) -> npt.NDArray[Any] | None:
        """The values of a slice; None where the column is absent or has a null in the slice."""
        found = self.columns.get(name)
        if found is None or (found[1] is not None and not found[1][start:stop].all()):
            return None
        return found[0][start:stop]


@dataclass(frozen=True, eq=False)
class _Part:
    """Rows of one test set out of one batch, coded in order of appearance; cluster: -1 where an example is its own."""

    run: npt.NDArray[np.signedinteger]
    example: npt.NDArray[np.int32]
    cluster: npt.NDArray[np.int32] | None
    columns: dict[str, Column]


def read_test_sets(examples: Examples, index: dict[str, int], target_of: Sequence[str], ok: Sequence[bool]) -> Iterator[TestSetRows]:
    """Test sets by target and language. index: run_id -> number; target_of, ok: by number; rows of runs that are not ok are skipped.

    >>> table = pa.table({"run_id": ["r", "r"], "language": ["sw", "sw"], "example_id": ["2", "1"], "s0": [1.0, 0.0]})
    >>> [(rows.language, rows.get("s0", 0, 2).tolist()) for rows in read_test_sets(table, {"r": 0}, ["xnli"], [True])]
    [('sw', [0, 1])]
    """
    targets = sorted(set(target_of))
    number_of = np.array([targets.index(target) for target in target_of], dtype=np.int64)
    usable = np.array(ok, dtype=bool)
    languages: dict[str, int] = {}
    names: dict[str, int] = {}
    clusters: dict[str, int] = {}
    parts: dict[tuple[str, str], list[_Part]] = {}
    for table in _pieces(examples):
        run = _runs(table, index)
        language = _codes(table["language"], "language", languages)
        part = _Part(run, _codes(table["example_id"], "example_id", names), _clusters(table, clusters), _columns(table))
        spoken = list(languages)
        for where, chosen in _split(number_of[run] * len(languages) + language, usable[run]):
            key = targets[where // len(languages)], spoken[where % len(languages)]
            parts.setdefault(key, []).append(_taken(part, chosen))
    rank = _rank(names)
    shared = {name: i for i, name in enumerate(sorted(names))}
    cluster_rank = np.array([*(shared.get(name, len(shared) + i) for name, i in zip(clusters, _rank(clusters).tolist(), strict=True)), -1])
    in_order = list(shared)
    for target, spoken_here in sorted(parts):
        yield _joined(target, spoken_here, parts.pop((target, spoken_here)), rank, cluster_rank, in_order)


def _pieces(examples: Examples) -> Iterator[pa.Table]:
    """The rows in tables of about ROWS rows, whose columns have been looked at."""
    pending: list[pa.Table] = []
    for batch in _batches(examples):
        table = pa.Table.from_batches([batch]) if isinstance(batch, pa.RecordBatch) else batch
        for column in NEEDED:
            if column not in table.column_names:
                raise StatsError(f"the table examples has no column {column!r}: it needs run_id, language, example_id, s0, ...")
        if pending and (pending[0].schema != table.schema or sum(map(len, pending)) + len(table) > ROWS):
            yield pa.concat_tables(pending)
            pending = []
        if len(table) > ROWS:
            yield from (table.slice(start, ROWS) for start in range(0, len(table), ROWS))
        elif len(table):
            pending.append(table)
    if pending:
        yield pa.concat_tables(pending)


def _batches(examples: Examples) -> Iterator[pa.RecordBatch | pa.Table]:
    if isinstance(examples, pa.Table):
        yield examples
        return
    if isinstance(examples, str | os.PathLike):
        try:
            examples = ds.dataset(os.fspath(examples), format="parquet")
        except (OSError, pa.ArrowInvalid) as error:
            raise StatsError(f"{os.fspath(examples)}: cannot be read as parquet ({str(error).splitlines()[0]})") from error
    if isinstance(examples, ds.Dataset):
        yield examples.schema.empty_table()  # so that missing columns are named also where there are no rows
        known = (*NEEDED, "cluster_id", *STATISTICS, *CODES)
        # Little is read ahead: decoding is cheaper than what follows, and batches wait in memory.
        columns = [name for name in examples.schema.names if name in known]
        try:
            yield from examples.to_batches(columns=columns, batch_size=ROWS // 4, batch_readahead=2, fragment_readahead=1)
        except (OSError, pa.ArrowException) as error:
            raise StatsError(f"the table examples cannot be read ({str(error).splitlines()[0]}); write it again") from error
    else:
        yield from examples


def _encode(column: pa.ChunkedArray, name: str) -> tuple[Ints, list[str]]:
    """(N,) codes and the values that they stand for."""
    if column.null_count:
        raise StatsError(f"the column {name!r} of the table examples has nulls")
    if not len(column):
        return np.zeros(0, np.int64), []
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    column = column.unify_dictionaries()
    codes = np.concatenate([chunk.indices.to_numpy(zero_copy_only=False) for chunk in column.chunks]).astype(np.int64)
    try:
        return codes, [str(value) for value in column.chunk(0).dictionary.to_pylist()]
    except UnicodeDecodeError as error:
        raise StatsError(f"the column {name!r} of the table examples holds texts that are not UTF-8 ({error})") from error


def _codes(column: pa.ChunkedArray, name: str, known: dict[str, int]) -> npt.NDArray[np.int32]:
    """(N,) codes in order of first appearance; new values are added to `known`."""
    codes, values = _encode(column, name)
    return np.array([known.setdefault(value, len(known)) for value in values], dtype=np.int32)[codes]


def _runs(table: pa.Table, index: dict[str, int]) -> Ints:
    codes, values = _encode(table["run_id"], "run_id")
    used = np.bincount(codes, minlength=len(values)) > 0
    unknown = sorted(value for value, is_used in zip(values, used, strict=True) if is_used and value not in index)
    if unknown:
        raise StatsError(f"the table examples has rows of the run {unknown[0]!r}, which the table runs does not list")
    return np.array([index.get(value, -1) for value in values], dtype=np.int64)[codes]


def _clusters(table: pa.Table, known: dict[str, int]) -> npt.NDArray[np.int32] | None:
    if "cluster_id" not in table.column_names or table["cluster_id"].null_count == len(table):
        return None
    column = table["cluster_id"]
    result = np.full(len(table), -1, dtype=np.int32)
    result[column.is_valid().to_numpy()] = _codes(column.drop_null(), "cluster_id", known)
    return result


def _columns(table: pa.Table) -> dict[str, Column]:
    """Statistics as numbers, NaN and infinities counting as absent, and codes as 64-bit whole numbers."""
    found: dict[str, Column] = {}
    for name in (*STATISTICS, *CODES):
        if name not in table.column_names or pa.types.is_null(table[name].type):
            continue
        column = table[name]
        valid = column.is_valid().to_numpy() if column.null_count else np.ones(len(column), dtype=bool)
        if name in CODES:
            if not pa.types.is_integer(column.type):
                raise StatsError(f"the column {name!r} of the table examples must hold whole numbers (a 64-bit hash), not {column.type}")
            values = pc.fill_null(column, 0).to_numpy().astype(np.int64)
        else:
            try:
                values = pc.fill_null(column.cast(pa.float64()), 0.0).to_numpy()
            except pa.ArrowInvalid as error:
                raise StatsError(f"the column {name!r} of the table examples holds a number that is too large ({error})") from error
            finite = np.isfinite(values)
            if not finite.all():
                values, valid = np.where(finite, values, 0.0), valid & finite
            values = compact(values)
        found[name] = values, None if valid.all() else valid
    return found


def compact(values: npt.NDArray[np.float64]) -> npt.NDArray[Any]:
    """The same finite numbers as int16, float32 or float64, the smallest that holds all of them exactly.

    >>> [compact(np.array(values)).dtype.name for values in ([1.0, 3.0], [0.5], [0.1])]
    ['int16', 'float32', 'float64']
    """
    largest = np.abs(values).max(initial=0.0)
    for kind, bound in ((np.int16, 2.0**15 - 1), (np.float32, 1e38)):
        if largest <= bound and np.array_equal(smaller := values.astype(kind), values):
            return smaller
    return values


def _split(where: Ints, usable: npt.NDArray[np.bool_]) -> Iterator[tuple[int, Ints | slice]]:
    """The rows of each test set of a batch."""
    if usable.all() and len(where) and (where == where[0]).all():
        yield int(where[0]), slice(None)
        return
    rows = np.flatnonzero(usable)
    if not len(rows):
        return
    order = rows[np.argsort(where[rows], kind="stable")]
    starts = np.flatnonzero(np.diff(where[order], prepend=-1))
    for start, stop in zip(starts.tolist(), [*starts[1:].tolist(), len(order)], strict=True):
        yield int(where[order[start]]), order[start:stop]


def _taken(part: _Part, rows: Ints | slice) -> _Part:
    columns = {name: (values[rows], None if valid is None else valid[rows]) for name, (values, valid) in part.columns.items()}
    return _Part(part.run[rows].astype(np.int32), part.example[rows], None if part.cluster is None else part.cluster[rows], columns)


def _rank(names: dict[str, int]) -> Ints:
    """(N,) place of each name in sorted order, by code."""
    rank = np.empty(len(names), dtype=np.int64)
    rank[np.array([names[name] for name in sorted(names)], dtype=np.int64)] = np.arange(len(names))
    return rank


def _joined(target: str, language: str, parts: list[_Part], rank: Ints, cluster_rank: Ints, names: Sequence[str]) -> TestSetRows:
    """The rows of one test set, sorted by run and example."""
    run = np.concatenate([part.run for part in parts]).astype(np.int64)
    example = rank[np.concatenate([part.example for part in parts])]
    key = run * len(names) + example
    order = slice(None) if np.all(np.diff(key) > 0) else np.argsort(key, kind="stable")
    cluster = example
    if any(part.cluster is not None for part in parts):
        own = np.concatenate([np.full(len(part.run), -1, np.int32) if part.cluster is None else part.cluster for part in parts])
        cluster = np.where(own < 0, example, cluster_rank[own])
    columns = {}
    for name in sorted({name for part in parts for name in part.columns}):
        values = np.concatenate([part.columns[name][0] if name in part.columns else np.zeros(len(part.run), np.int16) for part in parts])
        valid = None
        if any(name not in part.columns or part.columns[name][1] is not None for part in parts):
            valid = np.concatenate([_valid(part, name) for part in parts])[order]
        columns[name] = values[order], valid
    return TestSetRows(target, language, run[order], example[order], cluster[order], columns, names)


def _valid(part: _Part, name: str) -> npt.NDArray[np.bool_]:
    if name not in part.columns:
        return np.zeros(len(part.run), dtype=bool)
    valid = part.columns[name][1]
    return np.ones(len(part.run), dtype=bool) if valid is None else valid
