"""The table of promises is that of the tests."""

from __future__ import annotations

from collections import Counter

from places import ROOT
from promises import promises, rows, table

TABLE = ROOT / "analysis" / "promises.md"


def test_the_committed_table_is_that_of_the_tests() -> None:
    """Same promises, tests and finds; inputs and states are those of the last run. Write it again with `make promises`."""
    assert TABLE.read_text(encoding="utf-8") == table(rows(TABLE))


def test_no_promise_was_broken_when_the_table_was_written() -> None:
    """No test is red, and none is left out without a reason; one that is only run elsewhere (slow, soak) says that it was not run."""
    states = {test: state for test, (_, state) in rows(TABLE).items()}
    assert {test for _, test, _ in promises()} == set(states)
    assert {state for state in states.values() if not state.startswith("skipped: ")} == {"green"}


def test_every_promise_is_made_once() -> None:
    """Two tests of one promise would hide that one of them is gone; a bar would end a cell of the table."""
    made = Counter(promise for promise, _, _ in promises())
    assert not [promise for promise, times in made.items() if times > 1]
    assert not [promise for promise in made if "|" in promise]
