"""Exact nearest neighbours of unit vectors, and the mining of translations that is built on them.

Scores are exact sums: every component is rounded to a multiple of 2^-26 and products are added in float64. Products are then multiples of
2^-52, and no partial sum exceeds the product of the two lengths, so each is a float64 without rounding. Hence a score depends on nothing
but its two vectors: not on the sizes of chunks, the order of additions, threads, the device, or TF32 and autocast, which leave float64
alone. Equal vectors have equal scores; so the lower number can win ties, everywhere. The rounding moves a score of 384 dimensions by less
than 3e-7 and as a rule by 6e-9; a product in float32 is no closer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Floats = npt.NDArray[np.float64]
Vectors = Tensor | npt.NDArray[Any]

QUERIES, CANDIDATES = 512, 4096
"""Vectors that are compared at once, for 17 MB of scores (the fastest of ten sizes on two cores). They change no result."""

GRID, LONGEST = 2.0**26, 1.01
"""Multiples of 1 / GRID are exact in sums up to 2; vectors in float16 or bfloat16 are longer than 1 by less than a hundredth."""


def nearest(queries: Tensor, candidates: Vectors, k: int) -> tuple[Tensor, Tensor]:
    """The k candidates with the largest inner product with each query, best first; of equals the one with the lower number.

    queries: [q, d] unit vectors; the work is done on their device. candidates: [c, d] unit vectors on any device, or an array, also a
    memory map, of any floating type: a chunk at a time is moved and converted. Vectors of zeros are allowed, ValueError on longer ones
    and on NaN. k: at least 1. Returns scores (float64) and places (int64), [q, min(k, c)] each, on the device of the queries.
    """
    best = _unknown(len(queries), min(k, len(candidates)), queries.device)
    for rows, columns, scores in _blocks(queries, candidates):
        _merge(best, rows, scores, columns.start)
    return best


def _unknown(num: int, k: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """[num, k] scores and places of neighbours that are still to be found: worse than any."""
    scores = torch.full((num, k), -torch.inf, dtype=torch.float64, device=device)
    return scores, torch.zeros((num, k), dtype=torch.int64, device=device)


def _blocks(queries: Tensor, candidates: Vectors) -> Iterator[tuple[slice, slice, Tensor]]:
    """Rows, columns and scores of the blocks of the matrix queries x candidates; in each row and column the lower numbers first."""
    for start in range(0, len(candidates), CANDIDATES):
        columns = slice(start, start + CANDIDATES)
        chunk = _on_grid(candidates[columns], queries.device)
        for first in range(0, len(queries), QUERIES):
            rows = slice(first, first + QUERIES)
            yield rows, columns, _on_grid(queries[rows], queries.device) @ chunk.T


def _merge(best: tuple[Tensor, Tensor], rows: slice, scores: Tensor, start: int) -> None:
    """Replaces the best of these rows by the best of them and of candidates start, start + 1, .. with these scores: [rows, candidates]."""
    k = best[0].shape[1]
    columns = _top(scores, min(k, scores.shape[1]))
    # what was found before has lower numbers and stands before, so that it wins ties here, too
    both = torch.cat([best[0][rows], scores.gather(1, columns)], 1)
    places = torch.cat([best[1][rows], columns + start], 1)
    kept = _top(both, k)
    best[0][rows], best[1][rows] = both.gather(1, kept), places.gather(1, kept)


def _on_grid(vectors: Vectors, device: torch.device) -> Tensor:
    """A float64 copy on the device, every component rounded to the grid (to even); ValueError on what is longer than a unit vector."""
    found = vectors.detach() if isinstance(vectors, Tensor) else torch.from_numpy(np.array(vectors))
    rounded = (found.to(device, torch.float64) * GRID).round_().div_(GRID)
    longest = float(torch.linalg.vector_norm(rounded, dim=1).max())
    if not longest <= LONGEST:  # also NaN
        raise ValueError(f"inner products are exact for unit vectors, but one has length {longest:g}")
    return rounded


def _top(scores: Tensor, k: int) -> Tensor:
    """[n, k] columns of the k largest of each row, best first, of equals the first; scores: [n, m >= k]."""
    values, columns = scores.topk(min(k + 1, scores.shape[1]), dim=1)
    columns = columns[:, :k]
    # where more columns equal the k-th than fit, topk takes any of them
    crowded = (values[:, k - 1] == values[:, k]).nonzero()[:, 0] if values.shape[1] > k else values.new_empty(0, dtype=torch.int64)
    if len(crowded):
        rows, last = scores[crowded], values[crowded, k - 1 : k]
        above, equal = rows > last, rows == last
        room = k - above.sum(1, keepdim=True)
        chosen = above | (equal & (equal.cumsum(1) <= room))
        columns[crowded] = chosen.nonzero()[:, 1].view(-1, k)
    columns = columns.sort(dim=1).values
    order = scores.gather(1, columns).sort(dim=1, descending=True, stable=True).indices
    return columns.gather(1, order)


def mine(sources: Tensor, targets: Tensor, k: int = 4) -> list[tuple[int, int, float]]:
    """Pairs (source, target, score) that may be translations, best first, no source or target twice.

    A pair's score is its cosine over the mean of two means: the cosines of the source with its k nearest targets, and of the target with
    its k nearest sources (the ratio margin of Artetxe and Schwenk, 2019, https://aclanthology.org/P19-1309, with their retrieval "max").
    Every source proposes the best of its k nearest, every target too; then the best pair is taken, and the next whose two sides are free.
    Of equal scores, the sources' proposals come first, and lower numbers. As in XTREME's code for BUCC, scores of 0 or less are left out.

    sources: [n, d], targets: [m, d] unit vectors, of distinct texts: each copy of a text would count among the k nearest.
    """
    if not len(sources) or not len(targets):
        return []
    of_sources = _unknown(len(sources), min(k, len(targets)), sources.device)
    of_targets = _unknown(len(targets), min(k, len(sources)), sources.device)
    for block_rows, block_columns, block in _blocks(sources, targets):
        _merge(of_sources, block_rows, block, block_columns.start)
        _merge(of_targets, block_columns, block.T, block_rows.start)
    forward, backward = ([x.cpu().numpy() for x in found] for found in (of_sources, of_targets))
    means = forward[0].mean(axis=1), backward[0].mean(axis=1)
    target_of, forward_scores = _propose(forward[0], forward[1], means[0], means[1])
    source_of, backward_scores = _propose(backward[0], backward[1], means[1], means[0])
    rows = np.concatenate([np.arange(len(target_of)), source_of])
    columns = np.concatenate([target_of, np.arange(len(source_of))])
    return _one_to_one(rows, columns, np.concatenate([forward_scores, backward_scores]))


def _propose(cosines: Floats, places: npt.NDArray[np.int64], own: Floats, others: Floats) -> tuple[npt.NDArray[np.int64], Floats]:
    """Of each row's neighbours the one with the best margin, of equals the nearest, and the margin; own [n], others [m]: mean cosines."""
    with np.errstate(divide="ignore", invalid="ignore"):
        margins = cosines / ((own[:, None] + others[places]) / 2)
    margins[np.isnan(margins)] = -np.inf  # 0 / 0, of vectors of zeros
    best = margins.argmax(axis=1)[:, None]
    return np.take_along_axis(places, best, 1)[:, 0], np.take_along_axis(margins, best, 1)[:, 0]


def _one_to_one(rows: npt.NDArray[np.int64], columns: npt.NDArray[np.int64], scores: Floats) -> list[tuple[int, int, float]]:
    """Pairs (row, column, score > 0), best first, each of which holds no row and no column of those before it."""
    order = np.argsort(-scores, kind="stable")
    order = order[scores[order] > 0]
    pairs, rows_taken, columns_taken = [], set(), set()
    for row, column, score in zip(rows[order].tolist(), columns[order].tolist(), scores[order].tolist(), strict=True):
        if row not in rows_taken and column not in columns_taken:
            rows_taken.add(row)
            columns_taken.add(column)
            pairs.append((row, column, score))
    return pairs


def threshold(scores: Sequence[float] | Floats, correct: Sequence[bool] | npt.NDArray[np.bool_], num_gold: int) -> float:
    """The score from which on (>=) mined pairs are taken so that F1 is largest on this sample; of equal F1 the highest.

    scores: of the mined pairs; correct: whether each is a gold pair; num_gold: all gold pairs, also those that were not mined. As in
    XTREME's code for BUCC, it lies midway between the last score that is taken and the next one, and it is 0 where nothing is correct.
    That code cuts between equal scores, too, which no threshold can, and fails where all pairs are to be taken; here, the threshold is then
    the lowest score.
    """
    values, right = np.asarray(scores, dtype=np.float64), np.asarray(correct, dtype=np.bool_)
    if not right.any():
        return 0.0
    order = np.argsort(-values, kind="stable")
    values, right = values[order], right[order]
    following = np.append(values[1:], -np.inf)
    f1 = 2 * right.cumsum() / (np.arange(1, len(values) + 1) + num_gold)
    cut = int(np.where(values > following, f1, -1.0).argmax())
    if cut == len(values) - 1:
        return float(values[cut])
    middle = (values[cut] + following[cut]) / 2
    return float(middle if middle > following[cut] else values[cut])  # between neighbouring floats there is no middle
