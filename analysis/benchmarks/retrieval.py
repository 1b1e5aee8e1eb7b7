"""How fast is the exact search, in how much memory, and is FAISS faster? Up to 1,000,000 candidates of 384 dimensions, 20 neighbours.

Run `python analysis/benchmarks/retrieval.py`: a quarter of an hour. It writes retrieval.md beside this file. FAISS is no dependency: where
it cannot be imported, its columns stay empty. Every search runs in a process of its own, whose peak of resident memory is the kernel's.
"""

from __future__ import annotations

import argparse
import importlib.util
import multiprocessing
import os
import resource
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from machine import machine

DIMENSIONS, K, THREADS = 384, 20, 2
LIMIT = 4096
"""MiB that a search may need at most, the vectors included."""

COSINES, TWINS = (0.9, 0.8, 0.75, 0.7), 100
"""What is planted for each query; for so many queries the third is the same vector as the second."""


@dataclass(frozen=True)
class Case:
    """A search; mapped: the candidates are a file of float16."""

    candidates: int
    queries: int
    mapped: bool = False


CASES = (Case(250_000, 1000), Case(250_000, 15_000), Case(1_000_000, 1000), Case(1_000_000, 1000, mapped=True), Case(1_000_000, 15_000))


@dataclass(frozen=True)
class Found:
    """What a process reports: MiB with the vectors and at most, scores and places [queries, K]."""

    seconds: float
    before: float
    peak: float
    scores: npt.NDArray[Any]
    places: npt.NDArray[np.int64]


def unit(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Rows of length 1, in place."""
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def vectors(case: Case, file: Path) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[np.int64]]:
    """Queries, candidates and the places of what is planted, [queries, len(COSINES)]; the same in every process."""
    rng = np.random.default_rng(0)
    queries = unit(rng.standard_normal((case.queries, DIMENSIONS), dtype=np.float32))
    shape = (case.candidates, DIMENSIONS)
    candidates = np.memmap(file, dtype=np.float16, mode="w+", shape=shape) if case.mapped else np.empty(shape, dtype=np.float32)
    for start in range(0, case.candidates, 10_000):
        candidates[start : start + 10_000] = unit(rng.standard_normal((10_000, DIMENSIONS), dtype=np.float32))
    planted = rng.permutation(case.candidates)[: case.queries * len(COSINES)].reshape(case.queries, -1)
    planted[:TWINS, 1:3].sort(axis=1)  # of equals the lower number is found first
    for j, cosine in enumerate(COSINES):
        noise = rng.standard_normal(queries.shape, dtype=np.float32)
        across = unit(noise - (noise * queries).sum(axis=1, keepdims=True) * queries)
        candidates[planted[:, j]] = cosine * queries + np.sqrt(1 - cosine**2) * across
    candidates[planted[:TWINS, 2]] = candidates[planted[:TWINS, 1]]
    if case.mapped:
        candidates = np.memmap(file, dtype=np.float16, mode="r", shape=shape)
    return queries, candidates, planted


def _resident() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def ours(case: Case, file: Path) -> tuple[Found, bool]:
    """raystilts.search.nearest, and whether it found what is planted, in order."""
    import torch  # noqa: PLC0415  not in FAISS's process, whose memory is measured

    from raystilts.search import nearest  # noqa: PLC0415

    torch.set_num_threads(THREADS)
    queries, candidates, planted = vectors(case, file)
    before, start = _resident(), time.perf_counter()
    scores, places = (x.numpy() for x in nearest(torch.from_numpy(queries), candidates, K))
    seconds = time.perf_counter() - start
    return Found(seconds, before, _resident(), scores, places), bool((places[:, : len(COSINES)] == planted).all())


def faiss_flat(case: Case, file: Path) -> Found:
    """IndexFlatIP: adding the candidates, which copies them, and the search."""
    import faiss  # noqa: PLC0415

    faiss.omp_set_num_threads(THREADS)
    queries, candidates, _ = vectors(case, file)
    before, start = _resident(), time.perf_counter()
    index = faiss.IndexFlatIP(DIMENSIONS)
    index.add(candidates)
    scores, places = index.search(queries, K)
    return Found(time.perf_counter() - start, before, _resident(), scores, places)


def differing(own: Found, other: Found) -> tuple[int, float]:
    """Queries whose sets of neighbours differ, and by how much the least scores of those sets differ at most."""
    rows = (np.sort(own.places, axis=1) != np.sort(other.places, axis=1)).any(axis=1)
    return int(rows.sum()), float(np.abs(own.scores[rows, -1] - other.scores[rows, -1]).max(initial=0))


def measure(case: Case, repetitions: int, scratch: Path) -> tuple[list[Found], list[Found]]:
    """Both searches, one after the other, each in a new process; stops where what is planted was not found."""
    compared = importlib.util.find_spec("faiss") is not None and not case.mapped
    found: tuple[list[Found], list[Found]] = ([], [])
    for _ in range(repetitions):
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            one, right = pool.submit(ours, case, scratch / "vectors").result()
        if not right:
            raise SystemExit(f"FAIL: {case}: a planted neighbour was not found in its place")
        found[0].append(one)
        if compared:
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                found[1].append(pool.submit(faiss_flat, case, scratch / "vectors").result())
    return found


def _spread(values: list[float]) -> str:
    return f"{np.median(values):.1f} ({min(values):.1f} to {max(values):.1f})" if values else ""


def row(case: Case, found: list[Found], others: list[Found]) -> str:
    """A line of the table."""
    seconds = [x.seconds for x in found]
    peak, before = max(x.peak for x in found), max(x.before for x in found)
    cells = [f"{case.candidates:,}{', float16 file' if case.mapped else ''}", f"{case.queries:,}", _spread(seconds)]
    cells += [f"{case.queries / np.median(seconds):.0f}", f"{peak:.0f} ({before:.0f})", "PASS" if peak <= LIMIT else "FAIL"]
    if others:
        count, gap = differing(found[0], others[0])
        ratios = [x / y.seconds for x, y in zip(seconds, others, strict=True)]
        cells += [_spread([x.seconds for x in others]), f"{max(x.peak for x in others):.0f}", _spread(ratios)]
        cells += [f"{count}{f' (by {gap:.0e})' if count else ''}"]
    return "| " + " | ".join(cells + [""] * (10 - len(cells))) + " |"


def report(rows: list[str], repetitions: int) -> list[str]:
    """The table as lines of markdown."""
    named = {"torch": "torch", "faiss": "faiss-cpu"}
    versions = ", ".join(f"{name} {metadata.version(name)}" for module, name in named.items() if importlib.util.find_spec(module))
    return [
        "# Speed and memory of the exact search",
        "",
        f"Made by `python analysis/benchmarks/retrieval.py`. {K} nearest of random unit vectors of {DIMENSIONS} dimensions in float32; "
        f"each query has {len(COSINES)} planted neighbours, {TWINS} queries have two equal ones, and all were found in order. Wall time on "
        f"{THREADS} threads; every search in a new process, FAISS's IndexFlatIP right after ours; median of {repetitions} (least to most), "
        f"ratios within repetitions. {machine()} {versions}.",
        "",
        "| candidates | queries | seconds | queries a second | MiB at most (before the search) | at most 4 GiB "
        "| FAISS: seconds | FAISS: MiB at most | our time / FAISS's | queries whose sets differ (least scores) |",
        "|---|---|---|---|---|---|---|---|---|---|",
        *rows,
        "",
        "MiB are resident memory: the interpreter, its libraries and the vectors are there before the search; pages of the mapped file "
        "count as soon as they are read. FAISS's seconds include adding the candidates to the index, which copies them. It keeps no order "
        "among equals, so only sets are compared. Its scores are rounded to float32: where sets differ, two candidates at the end of the "
        "list are as near as that.",
        "",
        "Ours multiplies in float64, at half the speed of float32, because then every sum is exact: neither the size of the pieces nor the "
        "number of threads, the processor or the device changes a bit of the result (raystilts/search.py, tests/test_search.py).",
    ]


def main() -> None:
    """Measures all cases, prints and writes the table."""
    parser = argparse.ArgumentParser(description="Speed and memory of the exact search.")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".md"))
    options = parser.parse_args()
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(THREADS))
    with tempfile.TemporaryDirectory() as scratch:
        rows = [row(case, *measure(case, options.repetitions, Path(scratch))) for case in CASES]
    lines = report(rows, options.repetitions)
    print("\n".join(lines))
    options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
