"""Studies whose truth is known: the planted effects, and only they, are reported as real by `raystilts analyse`."""

from __future__ import annotations

import doctest
import importlib
import json
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import numpy as np
import pyarrow.parquet as pq
import pytest
from places import ROOT
from scipy import stats

from raystilts.analyse import analyse_tables

STUDIES = 2


def script(name: str) -> ModuleType:
    """A script of analysis/ as a module; scripts there import each other."""
    sys.path.insert(0, str(ROOT / "analysis"))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(ROOT / "analysis"))


@pytest.mark.parametrize("name", ["synthetic_study", "synthetic_claims"])
def test_examples_run(name: str) -> None:
    """Every example in the scripts' docstrings gives what it says."""
    found = doctest.testmod(script(name))
    assert found.failed == 0
    assert found.attempted > 0


def test_the_same_seed_gives_the_same_study(tmp_path: Path) -> None:
    """Equal seeds give equal bytes, others do not; `raystilts analyse` reads the plan and knows the low-resource languages."""
    study = script("synthetic_study")
    scale = study.Scale(("xcopa", "bucc"), ("qqp", "hellaswag"), examples=30, resamples=100)
    made = []
    for name, seed in (("one", 5), ("two", 5), ("three", 6)):
        rows = study.write_study(tmp_path / name, scale, seeds=3, seed=seed)
        assert rows == 2 * 3 * 3 * (11 + 4) * 30
        made.append({path.name: path.read_bytes() for path in (tmp_path / name).rglob("*") if path.is_file()})
    assert made[0] == made[1]
    assert made[0]["examples.parquet"] != made[2]["examples.parquet"]
    assert made[0]["plan.toml"] == made[2]["plan.toml"]
    analyse_tables(tmp_path / "one" / "tables", tmp_path / "one" / "plan.toml", tmp_path / "out")
    pooled = pq.read_table(tmp_path / "out" / "pooled.parquet").to_pylist()
    low = {row["n_languages"] for row in pooled if row["group"] == "low" and row["target"] == "xcopa"}
    assert low == {3}


def test_planted_gains_are_what_they_say() -> None:
    """With many examples and seeds, means of null arms equal their baseline's, and those of planted arms differ by the planted points."""
    study = script("synthetic_study")
    grid = study.Grid("tydiqa", ("none", "squad", "mlm"), seeds=40)
    code, found = next(study.simulate(grid, 4000, seed=1))
    assert code == "ar"
    scores = 100 * found["s0"].reshape(2, 3, 40, 4000).mean(axis=(2, 3))
    assert scores[:, 1] - scores[:, 0] == pytest.approx([12, 12], abs=1.5)
    assert scores[:, 2] - scores[:, 0] == pytest.approx([0, 0], abs=1.5)
    grid = study.Grid("bucc", ("none", "qqp"), seeds=40)
    _, found = next(study.simulate(grid, 4000, seed=1))
    s0, s1, s2 = (found[name].reshape(2, 2, 40, 4000).sum(axis=3) for name in ("s0", "s1", "s2"))
    f1 = 100 * (2 * s0 / (s1 + s2)).mean(axis=2)
    assert f1[:, 1] - f1[:, 0] == pytest.approx([-12, -12], abs=1.5)


def test_false_claims_are_those_against_the_truth() -> None:
    """A claim of the wrong sign or of nothing is false; gains pooled over a group are the mean of its languages' true gains."""
    claims = script("synthetic_claims")
    truth = {"languages": {"xcopa": ["sw", "qu", "it"]}, "gains": {"ccg > xcopa, large": {"sw": 3.0, "qu": 3.0}}}
    gains = claims.true_gains(truth, "ccg > xcopa, large")
    assert gains == {"sw": 3.0, "qu": 3.0, "it": 0.0}
    assert claims.true_gains(truth, "ccg > xcopa: large - base") == gains
    assert claims.true_gains(truth, "ccg > xcopa, base") == dict.fromkeys(gains, 0.0)
    assert [np.mean(claims.in_group(gains, group)) for group in ("all", "low", "high")] == [2.0, 3.0, 0.0]
    assert claims.slope(gains) < 0
    assert claims.false_claim("loss", 3.0, 1.0)
    assert not claims.false_claim("gain", 3.0, 1.0)
    assert claims.false_claim("non-inferior", -1.0, 1.0)


def test_the_committed_study_is_safe_and_finds_what_is_there() -> None:
    """In the committed studies at most 5 % of families are false, for every kind of claim; every large pooled effect is found."""
    lines = (ROOT / "analysis" / "synthetic_study.md").read_text(encoding="utf-8").splitlines()
    rows = [line.strip("| ").split(" | ") for line in lines if line.startswith("| ") and "---" not in line]
    false = [row for row in rows if len(row) == 7 and row[1] in ("all", "converged")]
    assert len(false) == 24
    assert all(int(row[2].replace(",", "")) >= 500 for row in false)
    assert max(int(row[3]) / int(row[2].replace(",", "")) for row in false) <= 0.05
    pooled = [row[4].split(" of ") for row in rows if len(row) == 6 and row[2] in ("+14", "+12", "-12")]
    assert len(pooled) == 10
    assert all(found == total for found, total in pooled)


@pytest.mark.slow
def test_planted_effects_and_only_they_are_reported(tmp_path: Path) -> None:
    """In the tables of `raystilts analyse`, the collapsed run, every planted pooled effect and nine in ten large ones of single languages
    are found; of each kind of claim no more families say anything false than Holm at 5 % allows (99.9 % quantile).
    """
    study, claims = script("synthetic_study"), script("synthetic_claims")
    scale = study.SCALES["small"]
    false: Counter[tuple[str, str]] = Counter()
    total: Counter[tuple[str, str]] = Counter()
    for seed in range(STUDIES):
        folder = tmp_path / str(seed)
        study.write_study(folder, scale, seed=seed)
        truth = json.loads((folder / "truth.json").read_text())
        analyse_tables(folder / "tables", folder / "plan.toml", folder / "out")
        tables = {name: pq.read_table(folder / "out" / f"{name}.parquet") for name in claims.TABLES}
        rows = list(claims.judged(tables, truth))
        assert claims.collapsed(tables["findings"]) == truth["collapsed"] == ["large/qqp/wikiann/seed 3"]
        for key in dict.fromkeys((row.kind, row.policy) for row in rows):
            mine = [row for row in rows if (row.kind, row.policy) == key]
            total[key] += len({row.family for row in mine})
            false[key] += len({row.family for row in mine if row.wrong})
        pooled = [row for row in rows if row.kind == "pooled, fixed_languages" and row.said != "refused"]
        strong = [row for row in pooled if abs(row.truth) >= (4.5 if row.where == "all" else 12)]
        assert len({row.contrast for row in strong}) == 12
        assert all(row.found for row in strong), [row for row in strong if not row.found]
        alone = [row for row in rows if row.kind == "gains" and abs(row.truth) >= 12]
        assert np.mean([row.found for row in alone]) > 0.9
    assert len(total) == 24
    assert total["gains", "all"] == STUDIES * len(scale.targets)
    allowed = {key: stats.binom.ppf(0.999, number, 0.05) for key, number in total.items()}
    assert {key: number for key, number in false.items() if number > allowed[key]} == {}
