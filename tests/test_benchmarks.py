"""The summary of the benchmarks quotes the benchmarks."""

from __future__ import annotations

import re

import pytest
from places import ROOT

FOLDER = ROOT / "analysis" / "benchmarks"
ROWS = [
    [cell.strip() for cell in line.split("|")[1:-1]]
    for line in (FOLDER / "README.md").read_text(encoding="utf-8").splitlines()
    if line.endswith(".md |")
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[0]} {row[2]}".strip())
def test_a_number_of_the_summary_stands_in_its_file(row: list[str]) -> None:
    """Each number of a row (what is measured, and beside what) stands in the file that the row names."""
    *cells, file = row[1:]
    text = (FOLDER / file).read_text(encoding="utf-8")
    numbers = [number for cell in cells for number in re.findall(r"\d[\d,.]*\d|\d", cell)]
    assert numbers
    assert [number for number in numbers if not re.search(rf"(?<![\d.]){re.escape(number)}(?![\d]|\.\d)", text)] == []


def test_every_benchmark_is_in_the_summary() -> None:
    """No result lies unmentioned beside the summary."""
    assert {row[-1] for row in ROWS} == {path.name for path in FOLDER.glob("*.md")} - {"README.md"}
