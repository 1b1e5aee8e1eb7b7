"""Where things are, and the experiments as modules."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

from raystilts.study import Study

ROOT = Path(__file__).parent.parent
SHARED = ROOT.parent / "shared"
SMOKE = f"{ROOT / 'experiments' / 'quickstart.py'}:smoke"


def experiment(name: str) -> ModuleType:
    """An experiment's module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "experiments" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def smoke() -> Study:
    """The quickstart's small twin."""
    made: Study = experiment("quickstart").smoke()
    return made
