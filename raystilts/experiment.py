"""Experiment files: where they are, and the Study that one returns."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from raystilts.errors import UserError
from raystilts.study import Study

MODULE = "raystilts_experiment_"
"""What the modules of experiment files are called, before the file's own name."""


def find(experiment: str) -> Path:
    """The file of `FILE.py[:FUNCTION]`, or of a shipped experiment's name, such as `quickstart:smoke`.

    A file of the current folder goes before a shipped one. Raises UserError where there is neither.
    """
    name = experiment.partition(":")[0]
    path = Path(name)
    if path.is_file():
        return path
    known = {file.stem: file for file in sorted(_shipped().glob("*.py"))}
    if name in known:
        return known[name]
    raise UserError(
        f"{path}: there is no such experiment file; name an existing one, such as experiments/quickstart.py, "
        f"or one that comes with raystilts: {', '.join(known)}."
    )


def _shipped() -> Path:
    """The folder of the experiments that come with raystilts: in an installed package, or beside the package in a checkout."""
    package = Path(__file__).parent
    inside = package / "experiments"
    return inside if inside.is_dir() else package.parent / "experiments"


def load_study(experiment: str) -> Study:
    """The Study that `FILE.py[:FUNCTION]` or `NAME[:FUNCTION]` returns. The file is executed: run only experiments that you trust."""
    path, function = find(experiment), experiment.partition(":")[2] or "study"
    spec = importlib.util.spec_from_file_location(f"{MODULE}{path.stem}", path)
    if spec is None or spec.loader is None:
        raise UserError(f"{path}: an experiment is a Python file whose name ends in .py.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{path}: cannot be executed ({type(error).__name__}: {error}); correct the file.") from error
    make = getattr(module, function, None)
    if not callable(make):
        raise UserError(f"{path}: it has no function {function}(); define one that returns a raystilts.study.Study.")
    found = make()
    if not isinstance(found, Study):
        raise UserError(f"{path}: {function}() returns {type(found).__name__}; it must return a raystilts.study.Study.")
    return found
