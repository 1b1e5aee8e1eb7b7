"""The report of what the project's own statistics compute: the two sides of the tables fit."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from raystilts.report import LanguageFacts, Story, verdict_lines, write_report
from raystilts.stats import Contrast, Interaction, Plan, analyse

LEVELS = {"low": ("sw", "yo", "wo"), "high": ("de", "fr", "ru", "ja")}
CODES = [code for codes in LEVELS.values() for code in codes]


def _study():
    """A gain of about 20 points from an intermediate task in the low languages, none in the others; one run has collapsed."""
    rng = np.random.default_rng(1)
    runs, examples = [], []
    for encoder in ("nano", "micro"):
        for intermediate in ("none", "mnli"):
            for seed in (1, 2, 3, 4):
                run_id = f"{encoder}-{intermediate}-{seed}"
                runs.append({"run_id": run_id, "encoder": encoder, "intermediate": intermediate, "target": "xnli", "seed": seed})
                collapsed = run_id == "micro-mnli-4"
                for code in CODES:
                    chance = 0.3 if collapsed else 0.5 + (0.2 if intermediate == "mnli" and code in LEVELS["low"] else 0.0)
                    right = (np.random.default_rng(7).uniform(size=300) * 0.9 + rng.uniform(size=300) * 0.1 < chance).astype(float)
                    code_of = np.zeros(300, np.int64) if collapsed else rng.integers(0, 3, 300)
                    ids = [f"e{number}" for number in range(300)]
                    columns = {
                        "run_id": [run_id] * 300,
                        "language": [code] * 300,
                        "example_id": ids,
                        "s0": right,
                        "prediction_code": code_of,
                    }
                    examples.append(pa.table(columns))
    contrasts = [
        Contrast(
            f"{encoder} mnli",
            {"encoder": encoder, "intermediate": "mnli"},
            {"encoder": encoder, "intermediate": "none"},
            family="xnli",
            labels={"encoder": encoder, "intermediate": "mnli", "target": "xnli"},
        )
        for encoder in ("nano", "micro")
    ]
    scales = Interaction("mnli scales", "micro mnli", "nano mnli", labels={"intermediate": "mnli", "target": "xnli"})
    plan = Plan(tuple(contrasts), (scales,), groups=LEVELS, low_group="low", resamples=200)
    story = Story(
        title="Real statistics",
        question="Does MNLI help?",
        command="raystilts run study.py",
        encoders=("nano", "micro"),
        languages={code: LanguageFacts(code.upper(), level) for level, codes in LEVELS.items() for code in codes},
        levels=tuple(LEVELS),
    )
    return analyse(pa.Table.from_pylist(runs), pa.concat_tables(examples), plan), story


def test_the_statistics_tables_make_a_report(tmp_path):
    """Planted gains, and only they, are reported as real; the collapsed run is found, and its policy shown beside the other."""
    analysis, story = _study()
    text = write_report(analysis, story, tmp_path).with_name("report.md").read_text(encoding="utf-8")
    nano = next(line for line in text.splitlines() if line.startswith("- nano: "))
    assert nano.startswith("- nano: Real gain in 3 of 7 languages, cannot tell in 4.")
    assert "| warning | collapsed |" in text or "| error | collapsed |" in text
    assert "| all languages, pooled |" in text.split("## Both collapse policies")[1]
    real = [line for line in text.split("## All gains")[1].split("## Findings")[0].splitlines() if "● gain" in line and "| nano |" in line]
    assert {line.split("(")[1].split(")")[0] for line in real} == set(LEVELS["low"])


def test_the_statistics_tables_make_verdict_lines():
    """The terminal's table can be made from the project's own statistics, and fits."""
    lines = verdict_lines(*_study())
    assert max(map(len, lines)) <= 100
    assert any(line.startswith("xnli") for line in lines)
