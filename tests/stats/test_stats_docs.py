"""Examples in docstrings run, and every public function has one."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
import sys

import pytest

import raystilts.stats

MODULES = [f"raystilts.stats.{module.name}" for module in pkgutil.iter_modules(raystilts.stats.__path__)]


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name: str) -> None:
    """Every example in the module's docstrings gives what it says."""
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_public_functions_have_examples() -> None:
    """Every function that users import has a docstring with an example."""
    public = [getattr(raystilts.stats, name) for name in raystilts.stats.__all__]
    public += [value for name, value in vars(importlib.import_module("raystilts.stats.alternatives")).items() if not name.startswith("_")]
    functions = [value for value in public if inspect.isfunction(value) and value.__module__.startswith("raystilts.stats")]
    assert len(functions) > 25
    assert [function.__name__ for function in functions if ">>>" not in (function.__doc__ or "")] == []


def test_stands_alone() -> None:
    """The statistics import nothing else of the project, so that people who never run a sweep can use them."""
    for name in MODULES:
        source = inspect.getsource(importlib.import_module(name))
        lines = [line for line in source.splitlines() if line.startswith(("import ", "from "))]
        allowed = ("raystilts.stats", "numpy", "scipy", "pyarrow", "__future__")
        outside = [line for line in lines if not line.split()[1].startswith(allowed)]
        assert all(line.split()[1].split(".")[0] in sys.stdlib_module_names for line in outside)
