"""docs/explanation/intervals.md's estimator in plain loops over rows: no arrays, no Gram matrices, nothing taken from the module."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any

Hypothesis = list[tuple[float, list[str], str]]
"""(weight, runs, language)"""


def scores(examples: list[dict[str, Any]], metric: str) -> dict[tuple[str, str], tuple[float, dict[str, float]]]:
    """(run, language) -> score in points, and what each cluster adds to it."""
    grouped: dict[tuple[str, str], list[tuple[str, float, float]]] = defaultdict(list)
    for row in examples:
        num, den = (2 * row["s0"], row["s1"] + row["s2"]) if metric == "micro_f1" else (row["s0"], 1.0)
        grouped[row["run_id"], row["language"]].append((row.get("cluster_id") or row["example_id"], num, den))
    result = {}
    for key, rows in grouped.items():
        total = sum(den for _, _, den in rows)
        share = sum(num for _, num, _ in rows) / total
        influence: dict[str, float] = defaultdict(float)
        for cluster, num, den in rows:
            influence[cluster] += 100 * (num - share * den) / total
        result[key] = (100 * share, dict(influence))
    return result


def estimate(found: dict[tuple[str, str], tuple[float, dict[str, float]]], hypothesis: Hypothesis) -> dict[str, float]:
    """Theta, the three variances, V and df of a weighted sum of arm means; runs are the units."""
    theta = 0.0
    of_run: dict[str, float] = defaultdict(float)
    of_cluster: dict[str, float] = defaultdict(float)
    of_both: dict[tuple[str, str], float] = defaultdict(float)
    for weight, runs, language in hypothesis:
        size = len(runs)
        mean = sum(found[run, language][0] for run in runs) / size
        theta += weight * mean
        clusters = list(found[runs[0], language][1])
        count = len(clusters)
        by_run, by_cluster = math.sqrt(size / (size - 1)), math.sqrt(count / (count - 1))
        for run in runs:
            of_run[run] += weight * by_run * (found[run, language][0] - mean) / size
        for cluster in clusters:
            centre = sum(found[run, language][1][cluster] for run in runs) / size
            of_cluster[cluster] += weight * by_cluster * centre
            for run in runs:
                of_both[run, cluster] += weight * by_run * by_cluster * (found[run, language][1][cluster] - centre) / size
    v_seed, v_example, v_both = (sum(x * x for x in parts.values()) for parts in (of_run, of_cluster, of_both))
    v = max(v_seed + v_example - v_both, v_seed, v_example)
    seed_sets = _sets([(set(runs), len(runs)) for _, runs, _ in hypothesis])
    example_sets = _sets([(set(found[runs[0], language][1]), len(found[runs[0], language][1])) for _, runs, language in hypothesis])
    spread = sum(sum(of_run[run] ** 2 for run in members) ** 2 / (size - 1) for members, size in seed_sets)
    example_spread = sum(sum(of_cluster[c] ** 2 for c in members) ** 2 / (size - 1) for members, size in example_sets)
    df = v * v / (spread + max(v - v_seed, 0.0) ** 2 / (v_example**2 / example_spread))
    return {"theta": theta, "v_seed": v_seed, "v_example": v_example, "v_both": v_both, "v": v, "df": df}


def _sets(parts: list[tuple[set[str], int]]) -> list[tuple[set[str], int]]:
    """Unions of overlapping sets, with the smallest size of their parts."""
    result: list[tuple[set[str], int]] = []
    for members, size in parts:
        joined = [part for part in result if part[0] & members]
        result = [part for part in result if not part[0] & members]
        result.append((members.union(*(part[0] for part in joined)), min([size, *(part[1] for part in joined)])))
    return result
