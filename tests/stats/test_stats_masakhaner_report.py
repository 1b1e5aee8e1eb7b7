"""The committed report on MasakhaNER 2.0 is what its script writes."""

from __future__ import annotations

from pathlib import Path

import pytest
from places import SHARED
from test_stats_null_safety import ANALYSIS, load

from raystilts.planfile import read_plan

FOLDER = SHARED / "data" / "masakhaner2"


@pytest.mark.slow
@pytest.mark.skipif(not FOLDER.is_dir(), reason="needs the published predictions in ../shared/data/masakhaner2")
def test_a_rerun_gives_the_committed_text_and_figure(tmp_path: Path) -> None:
    """The same predictions give the same report, to the last character, and the same figure."""
    script = load("masakhaner_base_to_large")
    text, figure = script.report(*script.tables(FOLDER))
    assert text == (ANALYSIS / "masakhaner_base_to_large.md").read_text(encoding="utf-8")
    script.save(figure, tmp_path / "figure.svg")
    assert (tmp_path / "figure.svg").read_bytes() == (ANALYSIS / "masakhaner_base_to_large.svg").read_bytes()


def test_the_plan_for_the_command_line_is_the_script_s_own(tmp_path: Path) -> None:
    """plan.toml, which --tables writes, asks what the script asks."""
    script = load("masakhaner_base_to_large")
    (tmp_path / "plan.toml").write_text(script.TOML, encoding="utf-8")
    assert read_plan(tmp_path / "plan.toml") == script.PLAN


def test_the_report_says_what_was_found() -> None:
    """Both policies, five collapsed runs, the run that is stored twice, power and the rival practices stand in the committed text."""
    text = (ANALYSIS / "masakhaner_base_to_large.md").read_text(encoding="utf-8")
    assert "5 of 59 runs of xlmrlarge" in text
    assert "0 of 54 runs of xlmrbase" in text
    assert "xlmrlarge/bam/seed1, xlmrlarge/bam/seed4" in text
    for part in (
        "The honest answer",
        "What usual practice would have said",
        "### All runs",
        "### Converged runs only",
        "80 % power",
        "`fixed_test_set_welch`",
        "`given_runs_example_only`",
        "`crossed_bca`",
    ):
        assert part in text
