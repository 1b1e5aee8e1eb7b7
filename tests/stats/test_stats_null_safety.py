"""Studies in which nothing is true claim nothing; analysis/null_safety.py is the large version, whose table is committed."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

ANALYSIS = Path(__file__).parents[2] / "analysis"


def load(name: str) -> ModuleType:
    """A script of analysis/ as a module; scripts there import each other."""
    if str(ANALYSIS) not in sys.path:
        sys.path.append(str(ANALYSIS))
    spec = importlib.util.spec_from_file_location(f"analysis_{name}", ANALYSIS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("kind", [1, 5])
def test_null_studies_of_twenty_languages(kind: int) -> None:
    """Of 20 studies, at most 5 % (+ 2 standard errors) make any false claim of a kind: languages, pools, resource levels, scaling."""
    script = load("null_safety")
    null, number = script.NULLS[kind], 20
    plan = script.plan_of(null, script.LANGUAGES, script.margin_of(null))
    rng = np.random.default_rng(kind)
    made = [script.claims(*script.study(rng, null, num_examples=40), plan) for _ in range(number)]
    allowed = number * (0.05 + 2 * np.sqrt(0.05 * 0.95 / number))
    assert {name: count for name in null.counted if (count := sum(found[name] for found in made)) > allowed} == {}


def test_the_committed_tables_say_what_they_must() -> None:
    """Every row of the null table is safe; every valid sequential design keeps 5 % + 2 standard errors, and saves runs on large gains."""
    lines = (ANALYSIS / "null_safety.md").read_text(encoding="utf-8").splitlines()
    rows = [line.strip("| ").split(" | ") for line in lines if line.startswith("| ") and "---" not in line][1:]
    assert len(rows) > 30
    assert {row[-1] for row in rows} == {"yes"}
    text = (ANALYSIS / "sequential.md").read_text(encoding="utf-8")
    allowed = float(re.search(r"stays below\s+([\d.]+) %", text)[1])  # type: ignore[index]
    table = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ") and "---" not in line][1:]
    valid = [row for row in table if row[2].startswith(("fixed", "looks"))]
    assert all(float(row[3]) <= allowed for row in valid)
    saved = [float(row[6]) for row in valid if row[1] == "all large" and row[2].startswith("looks")]
    assert min(saved) > 25
