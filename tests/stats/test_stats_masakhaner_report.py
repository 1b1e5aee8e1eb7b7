"""The committed report on MasakhaNER 2.0 is what its script writes."""

from __future__ import annotations

import pytest
from places import SHARED
from test_stats_null_safety import ANALYSIS, load

FOLDER = SHARED / "data" / "masakhaner2"


@pytest.mark.slow
@pytest.mark.skipif(not FOLDER.is_dir(), reason="needs the published predictions in ../shared/data/masakhaner2")
def test_a_rerun_gives_the_committed_text() -> None:
    """The same predictions give the same report, to the last character."""
    script = load("masakhaner_base_to_large")
    assert script.report(*script.tables(FOLDER)) == (ANALYSIS / "masakhaner_base_to_large.md").read_text(encoding="utf-8")


def test_the_report_says_what_was_found() -> None:
    """Both policies, five collapsed runs, the run that is stored twice, power and the rival practices stand in the committed text."""
    text = (ANALYSIS / "masakhaner_base_to_large.md").read_text(encoding="utf-8")
    assert "5 of 59 runs of xlmrlarge" in text
    assert "0 of 54 runs of xlmrbase" in text
    assert "xlmrlarge/bam/seed1, xlmrlarge/bam/seed4" in text
    for part in (
        "### All runs",
        "### Converged runs only",
        "80 % power",
        "`fixed_test_set_welch`",
        "`given_runs_example_only`",
        "`crossed_bca`",
    ):
        assert part in text
