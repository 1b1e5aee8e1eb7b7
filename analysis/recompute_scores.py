"""Recompute every reported score of a store from its prediction tables, with seqeval and scikit-learn instead of raystilts' own metrics.

    python analysis/recompute_scores.py runs/quickstart

Imports nothing of raystilts. Prints one line per evaluation and exits with 1 where a reported score is not exactly (to 1e-9 points)
what the predictions give.
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path

import pyarrow.parquet as pq
from seqeval.metrics import f1_score
from sklearn.metrics import accuracy_score

TOLERANCE = 1e-9


def score(path: Path, metric: str) -> float:
    """A language's score in 0-100 from its prediction table."""
    table = pq.read_table(path).to_pydict()
    gold, predicted = table["gold"], table["prediction"]
    if metric == "accuracy":
        return 100 * float(accuracy_score(gold, predicted))
    if metric == "micro_f1":
        with warnings.catch_warnings():  # seqeval warns of every tag that is not BIO
            warnings.simplefilter("ignore")
            return 100 * float(f1_score(gold, predicted, zero_division=0))
    raise SystemExit(f"{path}: this script does not know the metric {metric!r}")


def main(store: Path) -> int:
    """Check all evaluations of a store; the exit code."""
    wrong = checked = 0
    for stage in sorted((store / "stages").iterdir()):
        record = json.loads((stage / "stage.json").read_text(encoding="utf-8"))
        if record["phase"] != "evaluate":
            continue
        reported, metric = record["result"]["scores"], record["result"]["metric"]
        found = {language: score(stage / "predictions" / f"{language}.parquet", metric) for language in reported}
        off = {
            language: (reported[language], found[language]) for language in found if abs(reported[language] - found[language]) > TOLERANCE
        }
        wrong, checked = wrong + len(off), checked + len(found)
        print(f"{record['label']}: {len(found)} languages, {'all equal' if not off else f'different: {off}'}")
    print(f"{checked} scores recomputed, {wrong} differ")
    return 1 if wrong or not checked else 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    sys.exit(main(Path(sys.argv[1])))
