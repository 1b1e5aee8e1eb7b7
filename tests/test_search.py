"""Nearest neighbours against brute force in integers; mining and its threshold against plain loops."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from raystilts import search
from raystilts.search import mine, nearest, threshold

SEEDS = st.integers(0, 2**32 - 1)


def unit(rows) -> np.ndarray:
    """[n, d] float32 rows of length 1; rows of zeros stay."""
    rows = np.asarray(rows, dtype=np.float64)
    return (rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-9)).astype(np.float32)


def vectors(rng: np.random.Generator, *counts: int) -> list[np.ndarray]:
    """Lists of unit vectors of one dimension; many are equal to others, some are zeros."""
    pool = rng.integers(-1, 2, size=(6, rng.integers(1, 5))).astype(float)
    pool[3:] += rng.normal(size=pool[3:].shape)
    return [unit(pool[rng.integers(0, len(pool), size=count)]) for count in counts]


def brute(queries: np.ndarray, candidates: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """All products in integers of the grid, then a stable sort: scores and places, [q, min(k, c)]."""
    left, right = (np.rint(np.asarray(x, dtype=np.float64) * 2**26).astype(np.int64) for x in (queries, candidates))
    scores = left @ right.T
    places = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(scores, places, 1) / 2**52, places


def check(found: tuple[torch.Tensor, torch.Tensor], expected: tuple[np.ndarray, np.ndarray]) -> None:
    """Both equal in every bit."""
    assert found[0].dtype == torch.float64
    assert np.array_equal(found[0].numpy(), expected[0])
    assert np.array_equal(found[1].numpy(), expected[1])


@settings(max_examples=300, deadline=None)
@given(SEEDS, st.integers(0, 9), st.integers(0, 40), st.integers(1, 50), st.integers(1, 5), st.integers(1, 12), st.booleans())
def test_nearest_equals_brute_force(seed, num_queries, num_candidates, k, query_chunk, candidate_chunk, as_array):
    """Scores and places are brute force's, with ties, more neighbours than candidates, no queries, and chunks of any size."""
    queries, candidates = vectors(np.random.default_rng(seed), num_queries, num_candidates)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "QUERIES", query_chunk)
        patch.setattr(search, "CANDIDATES", candidate_chunk)
        found = nearest(torch.from_numpy(queries), candidates if as_array else torch.from_numpy(candidates), k)
    check(found, brute(queries, candidates, k))


@settings(max_examples=50, deadline=None)
@given(SEEDS, st.sampled_from([torch.float16, torch.bfloat16, torch.float32, torch.float64]), st.integers(1, 40))
def test_any_floating_type_is_what_it_stands_for(seed, kind, k):
    """Vectors in other types have the scores of their values, and are not changed."""
    queries, candidates = (torch.from_numpy(x).to(kind) for x in vectors(np.random.default_rng(seed), 5, 30))
    before = queries.clone(), candidates.clone()
    check(nearest(queries, candidates, k), brute(queries.double().numpy(), candidates.double().numpy(), k))
    assert torch.equal(before[0], queries)
    assert torch.equal(before[1], candidates)


def test_a_read_only_memory_map_in_float16_can_be_searched(tmp_path, monkeypatch):
    """Candidates on disk, chunk by chunk, without a warning."""
    monkeypatch.setattr(search, "CANDIDATES", 64)
    queries, candidates = vectors(np.random.default_rng(0), 20, 1000)
    candidates.astype(np.float16).tofile(tmp_path / "vectors")
    mapped = np.memmap(tmp_path / "vectors", dtype=np.float16, mode="r", shape=candidates.shape)
    check(nearest(torch.from_numpy(queries), mapped, 20), brute(queries, mapped, 20))


def test_bits_depend_on_nothing_but_the_vectors(monkeypatch):
    """Chunks, threads, autocast, inference mode, the company of other queries and layout in memory leave every bit as it is."""
    rng = np.random.default_rng(0)
    queries, candidates = (torch.from_numpy(unit(rng.normal(size=(count, 384)))) for count in (150, 2000))
    expected = brute(queries.numpy(), candidates.numpy(), 20)
    threads = torch.get_num_threads()
    try:
        for number, chunks in ((1, (512, 4096)), (2, (512, 4096)), (1, (7, 33)), (2, (150, 1999))):
            torch.set_num_threads(number)
            monkeypatch.setattr(search, "QUERIES", chunks[0])
            monkeypatch.setattr(search, "CANDIDATES", chunks[1])
            check(nearest(queries, candidates, 20), expected)
    finally:
        torch.set_num_threads(threads)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        check(nearest(queries, candidates, 20), expected)
    check(nearest(queries[17:18], candidates.T.contiguous().T, 20), tuple(x[17:18] for x in expected))
    check(nearest(queries.clone().requires_grad_(), candidates, 20), expected)


def test_rounding_to_the_grid_is_harmless():
    """Scores are within 5e-8 of products in float64, where 3e-7 is the worst that could be."""
    rng = np.random.default_rng(1)
    queries, candidates = (unit(rng.normal(size=(count, 384))) for count in (50, 500))
    scores, places = nearest(torch.from_numpy(queries), candidates, 500)
    precise = np.take_along_axis(queries.astype(np.float64) @ candidates.T.astype(np.float64), places.numpy(), 1)
    assert np.abs(scores.numpy() - precise).max() < 5e-8


def test_all_candidates_may_be_equal():
    """An encoder that says the same of everything finds the first candidates."""
    same = torch.from_numpy(unit(np.ones((700, 8))))
    scores, places = nearest(same[:600], same, 3)
    assert places.tolist() == [[0, 1, 2]] * 600
    assert scores.unique().numel() == 1


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1.2])
def test_what_is_no_unit_vector_is_refused(bad):
    """Too long, infinite or not a number: on either side."""
    good, wrong = torch.eye(3), torch.eye(3)
    wrong[1, 2] = bad
    for sides in ((good, wrong), (wrong, good)):
        with pytest.raises(ValueError, match="unit vectors"):
            nearest(*sides, 1)


def margin(cosine: float, own: float, other: float) -> float:
    """Cosine over the mean of two mean cosines, as floats divide; nothing is worse than 0 / 0."""
    mean = (own + other) / 2
    if mean:
        return cosine / mean
    return math.copysign(math.inf, cosine) * math.copysign(1.0, mean) if cosine else -math.inf


def neighbours(vector: list[int], others: list[list[int]], k: int) -> list[tuple[float, int]]:
    """(cosine, number) of the k nearest."""
    cosines = [sum(a * b for a, b in zip(vector, other, strict=True)) / 2**52 for other in others]
    return sorted(((c, i) for i, c in enumerate(cosines)), key=lambda x: (-x[0], x[1]))[:k]


def mean_of(found: list[tuple[float, int]]) -> float:
    """Mean cosine, added from the left."""
    total = 0.0
    for cosine, _ in found:
        total += cosine
    return total / len(found)


def mined_in_loops(sources: np.ndarray, targets: np.ndarray, k: int) -> list[tuple[int, int, float]]:
    """Artetxe and Schwenk's mining, one sentence after the other."""
    left, right = ([[round(float(c) * 2**26) for c in row] for row in side] for side in (sources, targets))
    of_source = [neighbours(x, right, k) for x in left]
    of_target = [neighbours(y, left, k) for y in right]
    proposals = []
    for x, found in enumerate(of_source):
        scored = [(margin(cosine, mean_of(found), mean_of(of_target[y])), y) for cosine, y in found]
        best = max(score for score, _ in scored)
        proposals.append((best, x, next(y for score, y in scored if score == best)))
    for y, found in enumerate(of_target):
        scored = [(margin(cosine, mean_of(found), mean_of(of_source[x])), x) for cosine, x in found]
        best = max(score for score, _ in scored)
        proposals.append((best, next(x for score, x in scored if score == best), y))
    pairs: list[tuple[int, int, float]] = []
    for score, x, y in sorted(proposals, key=lambda p: -p[0]):
        if score > 0 and all(x != a and y != b for a, b, _ in pairs):
            pairs.append((x, y, score))
    return pairs


@settings(max_examples=200, deadline=None)
@given(SEEDS, st.integers(1, 12), st.integers(1, 12), st.integers(1, 5), st.integers(1, 9), st.integers(1, 9))
def test_mining_equals_plain_loops(seed, num_sources, num_targets, k, source_chunk, target_chunk):
    """The same pairs, order and scores in every bit, with ties, vectors of zeros, more neighbours than sentences, chunks of any size."""
    sources, targets = vectors(np.random.default_rng(seed), num_sources, num_targets)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "QUERIES", source_chunk)
        patch.setattr(search, "CANDIDATES", target_chunk)
        found = mine(torch.from_numpy(sources), torch.from_numpy(targets), k)
    assert found == mined_in_loops(sources, targets, k)


def test_mining_finds_planted_translations():
    """Noisy copies in another order among others are found, and a threshold tells them from the rest."""
    rng = np.random.default_rng(0)
    meanings = rng.normal(size=(300, 32))
    order = rng.permutation(200)
    sources = torch.from_numpy(unit(meanings[:250]))
    targets = torch.from_numpy(unit(np.concatenate([meanings[order] + 0.3 * rng.normal(size=(200, 32)), rng.normal(size=(80, 32))])))
    gold = {(int(source), target) for target, source in enumerate(order)}
    pairs = mine(sources, targets)
    least = threshold([score for *_, score in pairs], [(a, b) in gold for a, b, _ in pairs], len(gold))
    assert {(a, b) for a, b, score in pairs if score >= least} == gold
    assert least > 1.05
    turned = mine(targets, sources)
    assert sorted((a, b, score) for b, a, score in turned) == sorted(pairs)


def test_nothing_is_mined_from_nothing():
    """Either side may be empty."""
    some, none = torch.eye(3), torch.empty(0, 3)
    assert mine(none, some) == mine(some, none) == mine(none, none) == []


TIED = st.sampled_from([1.5, float(np.nextafter(1.5, 2)), float(np.nextafter(1.5, 1)), 1.2, 0.7])


@settings(max_examples=500, deadline=None)
@given(st.lists(st.tuples(TIED | st.floats(0.01, 3), st.booleans()), max_size=14), st.integers(0, 5))
def test_no_cut_is_better_than_the_threshold(mined, missed):
    """F1 of what the threshold takes is the best of all thresholds', and no higher threshold has it."""
    num_gold = sum(right for _, right in mined) + missed

    def f1(least: float) -> Fraction:
        taken = [right for score, right in mined if score >= least]
        return Fraction(2 * sum(taken), len(taken) + num_gold) if taken else Fraction(0)

    found = threshold([score for score, _ in mined], [right for _, right in mined], num_gold)
    if not any(right for _, right in mined):
        assert found == 0
        return
    best = max(f1(score) for score, _ in mined)
    assert f1(found) == best
    highest = max(score for score, _ in mined if f1(score) == best)
    assert sum(score >= found for score, _ in mined) == sum(score >= highest for score, _ in mined)


def test_the_threshold_lies_midway():
    """Between the last pair that is taken and the next; at the lowest score where all are taken; first of equally good cuts."""
    assert threshold([3.0, 2.0, 1.0], [True, False, False], 1) == 2.5
    assert threshold([1.0, 3.0, 2.0], [False, True, False], 1) == 2.5
    assert threshold(np.array([3.0, 2.0]), np.array([True, True]), 2) == 2.0
    assert threshold([4.0, 3.0, 2.0, 1.0], [True, False, False, True], 2) == 3.5
    assert threshold([2.0, 2.0, 1.0], [True, False, False], 1) == 1.5
