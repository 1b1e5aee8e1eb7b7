"""Items and batches: what a model reads, and in which order.

A training batch is a function of seed, epoch and the items' lengths alone, so that any number of workers agree on it without talking.
"""

from __future__ import annotations

import importlib.metadata
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from raystilts.stage import Recipe, fingerprint

if TYPE_CHECKING:
    from torch import Tensor

POOL_BATCHES = 32  # batches whose items are sorted by length together; composition stays random across pools
IGNORED = -100  # torch's number for "no loss here"
CACHED = 256  # values that a process keeps, the last used
CHUNK = 4096  # items that become arrays at once
MIXING = 2**31  # sets the generator that draws parts of a mixture apart from those that shuffle epochs

Numbers = Sequence[int] | np.ndarray
_NUMBERS = pa.list_(pa.int32())
_SCHEMA = pa.schema(
    [
        ("example", pa.int32()),
        ("pieces", pa.list_(_NUMBERS)),
        ("targets", _NUMBERS),
        ("places", _NUMBERS),
        ("first", pa.int32()),
        ("offsets", _NUMBERS),
    ]
)


@dataclass(frozen=True, slots=True)
class Item:
    """What a model reads at once: an example, or a window of a long one.

    example: its place among the examples. pieces: ids with special tokens, one sequence or several (a pair that is read apart, or
    the continuations to choose from). targets: numbers of labels; span: first and last piece of the answer. places: tagging: place of
    the first piece of each word of the window; span: place of the window's first context piece. first: tagging: number of the
    window's first word. offsets: span: where each context piece begins, then where each ends, in characters of the context.
    """

    example: int
    pieces: tuple[Numbers, ...]
    targets: Numbers = ()
    places: Numbers = ()
    first: int = 0
    offsets: Numbers = ()


@dataclass(frozen=True)
class Items:
    """Items in one Arrow record batch, in memory or mapped from a file."""

    batch: pa.RecordBatch

    @staticmethod
    def of(items: Iterable[Item]) -> Items:
        """Collect items."""
        chunks: list[pa.RecordBatch] = []
        waiting: list[Item] = []
        for item in items:
            waiting.append(item)
            if len(waiting) == CHUNK:
                chunks.append(_batch(waiting))
                waiting = []
        chunks.append(_batch(waiting))
        return Items(pa.Table.from_batches(chunks).combine_chunks().to_batches()[0] if len(chunks) > 1 else chunks[0])

    @staticmethod
    def joined(parts: Sequence[Items]) -> Items:
        """The items of several collections, one after the other; each keeps its own numbers of examples."""
        (batch,) = pa.Table.from_batches([part.batch for part in parts], _SCHEMA).combine_chunks().to_batches() or [_batch([])]
        return Items(batch)

    @cached_property
    def _columns(self) -> dict[str, np.ndarray]:
        found = {name: self.batch.column(name).to_numpy() for name in ("example", "first")}
        for name in ("targets", "places", "offsets"):
            column = self.batch.column(name)
            found |= {name: column.values.to_numpy(), f"{name}.at": column.offsets.to_numpy()}
        pieces = self.batch.column("pieces")
        return found | {
            "pieces": pieces.values.values.to_numpy(),
            "sequences.at": pieces.values.offsets.to_numpy(),
            "pieces.at": pieces.offsets.to_numpy(),
        }

    def __len__(self) -> int:
        return int(self.batch.num_rows)

    def __iter__(self) -> Iterator[Item]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, i: int) -> Item:
        columns = self._columns

        def numbers(name: str) -> np.ndarray:
            at = columns[f"{name}.at"]
            return columns[name][at[i] : at[i + 1]]

        first, last = columns["pieces.at"][i], columns["pieces.at"][i + 1]
        at = columns["sequences.at"][first : last + 1]
        pieces = tuple(columns["pieces"][at[n] : at[n + 1]] for n in range(last - first))
        whole = int(columns["example"][i]), int(columns["first"][i])
        return Item(whole[0], pieces, numbers("targets"), numbers("places"), whole[1], numbers("offsets"))

    @cached_property
    def lengths(self) -> np.ndarray:
        """[len(self)] pieces of each item's longest sequence."""
        if not len(self):
            return np.zeros(0, dtype=np.int64)
        return np.maximum.reduceat(np.diff(self._columns["sequences.at"]), self._columns["pieces.at"][:-1]).astype(np.int64)

    @cached_property
    def sequences(self) -> int:
        """The most sequences that an item has."""
        return int(np.diff(self._columns["pieces.at"]).max(initial=0))

    @cached_property
    def vocabulary(self) -> np.ndarray:
        """Sorted distinct piece ids."""
        pieces = self._columns["pieces"]
        return np.bincount(pieces).nonzero()[0] if len(pieces) else np.zeros(0, dtype=np.int64)

    @cached_property
    def num_pieces(self) -> int:
        """All pieces, special tokens among them."""
        return int(self._columns["pieces"].size)

    def save(self, path: Path) -> None:
        """Write a file that appears whole or not at all, also where several processes write it at once."""
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".partial")
        try:
            with os.fdopen(handle, "wb") as file, pa.ipc.new_file(file, _SCHEMA) as writer:
                writer.write_batch(self.batch)
            Path(name).replace(path)
        finally:
            Path(name).unlink(missing_ok=True)

    @staticmethod
    def load(path: Path) -> Items | None:
        """The items of a file, mapped into memory; None where there is no such file or it is not whole."""
        try:
            reader = pa.ipc.open_file(pa.memory_map(str(path)))
            return Items(reader.get_batch(0)) if reader.schema == _SCHEMA else None
        except (OSError, pa.ArrowException):
            return None


def _batch(items: Sequence[Item]) -> pa.RecordBatch:
    def array(name: str, kind: pa.DataType) -> pa.Array:
        return pa.array([getattr(item, name) for item in items], kind)

    return pa.RecordBatch.from_arrays([array(field.name, field.type) for field in _SCHEMA], schema=_SCHEMA)


def tokenised(folder: Path | None, parts: Sequence[object], make: Any) -> Items:
    """The items that `make()` yields, or those that this or another process has left in `folder` for equal `parts`.

    `parts` must say all that the items depend on: data, tokenizer, lengths. A second stage tokenises nothing.
    """
    key = fingerprint([importlib.metadata.version("tokenizers"), *(repr(part) for part in parts)])

    def read_or_make() -> Items:
        found = folder and Items.load(folder / f"{key}.arrow")
        if found:
            return found
        made = Items.of(make())
        if folder:
            made.save(folder / f"{key}.arrow")
        return made

    return cached(("tokenised", str(folder), key), read_or_make)  # type: ignore[no-any-return]


def num_steps(num_items: int, recipe: Recipe) -> int:
    """Optimiser steps of a training."""
    return recipe.num_steps or recipe.num_epochs * -(-num_items // recipe.batch_size)


def batches(sizes: np.ndarray, recipe: Recipe, seed: int) -> Iterator[np.ndarray]:
    """Item numbers of each global batch, for `num_steps` steps; a batch is sorted by length, its micro-batches are cut from it in order."""
    for _, batch in mixed_batches([sizes], [1.0], recipe, seed):
        yield batch


def mixed_batches(sizes: Sequence[np.ndarray], weights: Sequence[float], recipe: Recipe, seed: int) -> Iterator[tuple[int, np.ndarray]]:
    """(part, item numbers) of each global batch of a mixture, for `num_steps` steps of all items: every batch is of one part.

    A part is drawn with a probability proportional to its weight; its own batches follow each other as if it were alone.
    """
    streams = [_endless(lengths, recipe.batch_size, [seed, *([part] if len(sizes) > 1 else [])]) for part, lengths in enumerate(sizes)]
    steps = num_steps(sum(map(len, sizes)), recipe)
    shares = np.array(weights) / sum(weights)
    drawn = np.random.default_rng([seed, MIXING]).choice(len(sizes), size=steps, p=shares)
    return ((int(part), next(streams[part])) for part in drawn)


def _endless(sizes: np.ndarray, size: int, seed: Sequence[int]) -> Iterator[np.ndarray]:
    """Batches, epoch after epoch. An epoch: a random order, cut into pools of POOL_BATCHES batches; each pool sorted by length and cut
    into batches; batches shuffled.
    """
    epoch = 0
    while True:
        rng = np.random.default_rng([*seed, epoch])
        order = rng.permutation(len(sizes))
        cut = []
        for start in range(0, len(order), size * POOL_BATCHES):
            pool = order[start : start + size * POOL_BATCHES]
            pool = pool[np.argsort(sizes[pool], kind="stable")]
            cut += [pool[i : i + size] for i in range(0, len(pool), size)]
        yield from (cut[place] for place in rng.permutation(len(cut)))
        epoch += 1


def by_tokens(sizes: np.ndarray, budget: int, sequences: int = 1) -> Iterator[np.ndarray]:
    """Item numbers in batches of at most `budget` tokens, padding counted, longest first (so that memory runs out at once or never).

    sequences: how many sequences of that length each item has.
    """
    order = np.argsort(-sizes, kind="stable")
    start = 0
    while start < len(order):
        longest = max(1, int(sizes[order[start]])) * sequences
        yield order[start : (start := start + max(1, budget // longest))]


def pad(sequences: Sequence[Numbers], value: int) -> Tensor:
    """[len(sequences), longest] ids, padded on the right."""
    import torch  # noqa: PLC0415

    width = max((len(sequence) for sequence in sequences), default=0)
    found = np.full((len(sequences), width), value, dtype=np.int64)
    for row, sequence in enumerate(sequences):
        found[row, : len(sequence)] = sequence
    return torch.from_numpy(found)


def encode_texts(tokenizer: Any, texts: Sequence[str], second: Sequence[str] | None = None, **options: Any) -> Iterator[list[int]]:
    """Ids of texts, or of pairs, in chunks that the Rust tokenizer works through at once."""
    for start in range(0, len(texts), CHUNK):
        pairs = second[start : start + CHUNK] if second is not None else None
        yield from tokenizer(list(texts[start : start + CHUNK]), pairs and list(pairs), return_attention_mask=False, **options)["input_ids"]


_cache: dict[str, Any] = {}


def cached(parts: Sequence[object], make: Any) -> Any:
    """`make()`, or what it returned in this process for equal `parts` (whose text must say all that it depends on).

    Workers live through many stages, which read the same few test sets.
    """
    key = repr(parts)
    found = _cache.pop(key) if key in _cache else make()
    _cache[key] = found  # at the end: the last to go
    if len(_cache) > CACHED:
        del _cache[next(iter(_cache))]
    return found
