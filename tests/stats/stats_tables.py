"""Small studies as tables, for the tests of the statistics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

Rows = list[dict[str, Any]]


def as_tables(runs: Rows, examples: Rows) -> tuple[pa.Table, pa.Table]:
    """Rows as tables; a column that only some rows have is null elsewhere."""
    tables = []
    for rows in (runs, examples):
        names = list(dict.fromkeys(name for row in rows for name in row))
        tables.append(pa.table({name: [row.get(name) for row in rows] for name in names}))
    return tables[0], tables[1]


def random_rows(
    rng: np.random.Generator,
    *,
    metric: str = "accuracy",
    encoders: Sequence[str] = ("base", "large"),
    seeds: Callable[[], int] = lambda: 3,
    languages: Sequence[str] = ("de", "sw", "te"),
    num_examples: Callable[[str], int] = lambda language: 12,
    parallel: bool = False,
    clusters: int | None = None,
    missing: float = 0.0,
) -> tuple[Rows, Rows]:
    """Arms encoder x (none, mnli), `seeds()` runs each; a share `missing` of (run, language) pairs is left out, never below 2 runs."""
    runs: Rows = []
    examples: Rows = []
    gold = {language: rng.integers(0, 4, num_examples(language)) for language in languages}
    ids = {lang: [f"{'' if parallel else lang}{i}" for i in range(len(gold[lang]))] for lang in languages}
    groups = {lang: rng.integers(0, clusters or 1, len(gold[lang])) for lang in languages}
    for encoder in encoders:
        for intermediate in ("none", "mnli"):
            number = seeds()
            dropped = {lang: rng.random(number) < missing for lang in languages}
            for seed in range(number):
                run = f"{encoder}-{intermediate}-{seed}"
                runs.append({"run_id": run, "encoder": encoder, "intermediate": intermediate, "target": "t", "seed": seed, "status": "ok"})
                for language in languages:
                    if dropped[language][seed] and (~dropped[language]).sum() >= 2:
                        continue
                    for i, num_gold in enumerate(gold[language].tolist()):
                        row = {"run_id": run, "language": language, "example_id": ids[language][i]}
                        if clusters:
                            row["cluster_id"] = f"c{'' if parallel else language}{groups[language][i]}" if i % 5 else None
                        if metric == "micro_f1":
                            predicted = int(rng.integers(0, 4))
                            found = int(rng.integers(0, min(predicted, num_gold) + 1))
                            row |= {"s0": float(found), "s1": float(predicted), "s2": float(num_gold)}
                        else:
                            row |= {"s0": float(rng.random() < 0.5 + 0.2 * (intermediate == "mnli"))}
                        examples.append(row)
    return runs, examples
