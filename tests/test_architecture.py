"""The structure: who may import whom, and how light the package is."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator

import pytest
from places import ROOT

# module -> the raystilts modules that it may import, transitive ones not listed again
ALLOWED = {
    "errors": set(),
    "task": set(),
    "languages": {"errors"},
    "tasks": {"errors", "pairs", "stage", "task"},
    "readers": {"errors", "inside", "languages", "task"},
    "shuffling": {"errors", "task"},  # labels and pairs as controls
    "substitute": {"errors", "task"},
    "pairs": {"errors", "languages", "task"},
    "data": {"errors", "languages", "pairs", "readers", "shuffling", "substitute", "task"},
    "mixing": {"errors", "task"},
    "metrics": set(),
    "stage": {"task"},
    "encoders": {"stage"},
    "method": {"errors", "stage", "task"},
    "process": set(),
    "inside": set(),
    "masking": set(),
    "record": {"errors", "inside", "masking", "stage"},
    "disk": {"errors", "inside", "process"},  # a store in a folder
    "remote": {"errors", "inside", "masking", "process"},  # a store in an object store
    "store": {"disk", "errors", "masking", "process", "record", "remote", "stage"},
    "verify": {"errors", "record", "store"},
    "study": {"data", "errors", "inside", "languages", "method", "mixing", "model", "stage", "task", "tasks"},
    "disclosure": {"study", "task"},
    "architectures": {"errors"},  # what encoders differ in
    "model": {"architectures", "errors", "inside", "record", "stage", "task"},
    "translate": {"data", "errors", "languages", "task", "tasks"},
    "check": {"data", "errors", "languages", "readers", "task", "tasks"},
    "features": {"stage"},
    "network": {"architectures", "model", "stage"},
    "layers": {"errors"},
    "adapters": {"errors", "layers", "stage"},
    "averaging": {"errors", "model", "stage"},
    "optimizer": {"layers", "model", "stage"},
    "kinds": {"errors", "features", "model", "network", "stage", "task"},
    "precision": {"stage"},
    "dropout": set(),
    "search": set(),
    "retrieval": {"errors", "features", "network", "search", "task"},
    "evaluate": {"data", "features", "kinds", "metrics", "model", "network", "precision", "retrieval", "stage", "task"},
    "perturb": {"errors", "model", "network", "stage"},
    "resume": {"process", "store"},
    "train": {
        "adapters",
        "averaging",
        "data",
        "dropout",
        "errors",
        "features",
        "kinds",
        "mixing",
        "model",
        "network",
        "optimizer",
        "perturb",
        "precision",
        "resume",
        "stage",
        "task",
    },
    "export": {"data", "disk", "errors", "store", "study", "task"},
    "execute": {
        "adapters",
        "architectures",
        "averaging",
        "layers",
        "data",
        "errors",
        "evaluate",
        "model",
        "resume",
        "stage",
        "store",
        "study",
        "task",
        "train",
    },
    "faults": {"masking"},
    "schedule": {"faults", "store", "study"},
    "cost": {"data", "errors", "features", "mixing", "stage", "study", "task", "tasks"},
    "simulate": {"data", "errors", "progress", "schedule", "stage", "store", "study", "task"},
    "progress": {"schedule", "study"},
    "tracking": {"errors", "masking", "study"},
    "sweep": {
        "errors",
        "execute",
        "experiment",
        "faults",
        "process",
        "progress",
        "schedule",
        "study",
        "tracking",
        "watch",
        "workers",
    },
    "workers": {"execute", "faults", "stage", "study", "tracking", "train"},
    "watch": set(),
    "stats": set(),
    "report": {"disk", "languages", "stats"},
    "halving": {"faults", "stage"},
    "population": {"faults", "halving", "stage"},
    "trials": {"errors", "halving", "population", "progress", "stage"},
    "tune": {
        "data",
        "disk",
        "errors",
        "evaluate",
        "execute",
        "faults",
        "features",
        "halving",
        "model",
        "population",
        "process",
        "resume",
        "stage",
        "store",
        "study",
        "sweep",
        "tracking",
        "train",
        "trials",
    },
    "results": {"disclosure", "errors", "faults", "languages", "method", "metrics", "report", "stage", "stats", "store", "study"},
    "planfile": {"errors", "stats"},
    "analyse": {"errors", "languages", "planfile", "report", "stats"},
    "show": {"data", "disclosure", "errors", "languages", "method", "store", "study", "task", "tasks"},
    "experiment": {"errors", "study"},
    "cli": {
        "analyse",
        "check",
        "cost",
        "errors",
        "execute",
        "experiment",
        "export",
        "faults",
        "halving",
        "languages",
        "masking",
        "process",
        "results",
        "show",
        "simulate",
        "stats",
        "store",
        "study",
        "sweep",
        "tasks",
        "tracking",
        "translate",
        "tune",
        "verify",
    },
}
SOURCES = sorted((ROOT / "raystilts").rglob("*.py"))


def imported(tree: ast.AST) -> Iterator[str]:
    """Dotted names of all that a module imports, also within functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_dependencies_point_one_way(path) -> None:
    """A module imports only what the list above allows it, and only four import Ray."""
    parts = path.relative_to(ROOT / "raystilts").with_suffix("").parts
    module = parts[0]
    if module == "__init__":
        return
    names = set(imported(ast.parse(path.read_text(encoding="utf-8"))))
    own = {name.split(".")[1] for name in names if name.startswith("raystilts.")} - {module, "__version__"}
    assert own <= ALLOWED[module], f"{module} imports {own - ALLOWED[module]}"
    if module not in ("sweep", "workers", "tune", "tracking"):
        assert not {name for name in names if name.split(".")[0] == "ray"}


def test_the_allowed_imports_have_no_cycle() -> None:
    """The list above is a directed acyclic graph."""
    left = {module: set(needs) for module, needs in ALLOWED.items()}
    while left:
        free = [module for module, needs in left.items() if not needs & left.keys()]
        assert free, f"a cycle among {sorted(left)}"
        for module in free:
            del left[module]


@pytest.mark.promise("Nothing is unpickled and no remote code is run")
def test_nothing_loads_code_or_pickles() -> None:
    """No pickle, no remote code, no eval: what is loaded is safetensors, JSON or parquet."""
    forbidden = {"pickle", "torch.load", "yaml", "dill", "cloudpickle", "marshal", "shelve"}
    for path in SOURCES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert not forbidden & set(imported(tree)), path
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                assert ast.unparse(node.func) not in {"eval", "exec", "torch.load"}, f"{path}:{node.lineno}"
            if isinstance(node, ast.keyword) and node.arg == "trust_remote_code":
                assert ast.unparse(node.value) == "False", f"{path}:{node.lineno}"


@pytest.mark.parametrize("statement", ["import raystilts", "import raystilts.cli", "import raystilts.stats", "import raystilts.report"])
def test_imports_are_light(statement: str) -> None:
    """Importing the package, its command line, statistics or report loads neither Ray nor torch nor transformers."""
    code = f"{statement}; import sys; print(*sorted({{'ray', 'torch', 'transformers', 'datasets'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
