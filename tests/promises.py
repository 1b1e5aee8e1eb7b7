"""The table of promises: each promise, the test that holds it, how many inputs were tried, what it found, and how it ended the last time.

A test is marked with `@pytest.mark.promise("what users can rely on", found="what it found and was mended")`. `pytest --promises=FILE`
writes the table; rows of tests that did not run keep what FILE says of them. Inputs are examples of Hypothesis, cases of a parametrised
test, and what a test counts itself with `tried`.
"""

from __future__ import annotations

import ast
import functools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).parent
HEAD = """\
# Promises

Each promise, the test that holds it, the inputs that the test tried when it last ran, what it found that has been mended since, and how it
ended. `make promises` runs the tests in their fast versions and writes this table, `make soak` adds the full sizes.

| Promise | Test | Inputs | Found and mended | State |
| --- | --- | ---: | --- | --- |
"""
_tried: dict[str, int] = {}
_ended: dict[str, tuple[int, str]] = {}  # test -> inputs, state


def tried(number: int = 1) -> None:
    """Count inputs that the running test has tried, where they are neither Hypothesis's examples nor cases of its own."""
    name = os.environ["PYTEST_CURRENT_TEST"].rpartition(" ")[0]  # a case's name may hold blanks
    _tried[name] = _tried.get(name, 0) + number


def promises() -> Iterator[tuple[str, str, str]]:
    """(promise, test, what it found) of every marked test, from the files' text."""
    for path in sorted(TESTS.rglob("test_*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            for mark in node.decorator_list if isinstance(node, ast.FunctionDef) else ():
                if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.promise":
                    found = next((ast.literal_eval(keyword.value) for keyword in mark.keywords), "")
                    yield ast.literal_eval(mark.args[0]), f"{path.relative_to(TESTS).as_posix()}::{node.name}", found


def rows(path: Path) -> dict[str, tuple[int, str]]:
    """Test -> (inputs, state) as a table says."""
    cells = [line.split(" | ") for line in path.read_text(encoding="utf-8").splitlines()[HEAD.count("\n") :]] if path.is_file() else []
    return {row[1].strip("`"): (int(row[2].replace(",", "")), row[4].removesuffix(" |")) for row in cells}


def table(known: dict[str, tuple[int, str]]) -> str:
    """The table of all promises with what is known of their tests."""
    lines = []
    for promise, test, found in promises():
        inputs, state = known.get(test, (0, "not run"))
        lines.append(f"| {promise} | `{test}` | {inputs:,} | {found or '-'} | {state} |\n")
    return HEAD + "".join(lines)


def pytest_addoption(parser: pytest.Parser) -> None:
    """--promises FILE."""
    parser.addoption("--promises", type=Path, help="write the table of promises there")


def pytest_configure(config: pytest.Config) -> None:
    """The marker."""
    config.addinivalue_line("markers", "promise(text, found): the test holds what users are promised; `make promises` lists them")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Count the inputs of a marked test."""
    if item.get_closest_marker("promise") is None:
        return (yield)
    function: Any = getattr(item, "obj", None)
    inner = getattr(getattr(function, "hypothesis", None), "inner_test", None)
    _tried[item.nodeid] = 0

    if inner is not None:

        @functools.wraps(inner)
        def counted(*args: Any, **kwargs: Any) -> Any:
            _tried[item.nodeid] += 1
            return inner(*args, **kwargs)

        function.hypothesis.inner_test = counted
    try:
        return (yield)
    finally:
        if inner is not None:
            function.hypothesis.inner_test = inner
        item.user_properties.append(("inputs", _tried.pop(item.nodeid) or 1))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Add a case to its test: one that fails makes it red. Under xdist, workers report to the one that writes."""
    inputs = dict(report.user_properties).get("inputs")
    if (report.when == "call" and inputs is not None) or report.outcome != "passed":
        test = report.nodeid.partition("[")[0].removeprefix("tests/")
        before, state = _ended.get(test, (0, "green"))
        if report.outcome == "failed":
            state = "red"
        elif report.outcome == "skipped" and state == "green":
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple | list) else str(report.longrepr)
            state = f"skipped: {reason.removeprefix('Skipped: ')}".replace("|", "/")
        _ended[test] = before + int(inputs or 0), state


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the table."""
    path = session.config.getoption("promises")
    if path and not hasattr(session.config, "workerinput"):
        path.write_text(table(rows(path) | _ended), encoding="utf-8")
