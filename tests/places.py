"""Where things are, the experiments as modules, and what many tests need: a random encoder, a study that has run."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

from raystilts.execute import Site, check_inputs
from raystilts.model import Root, initialise
from raystilts.process import owner
from raystilts.stage import Architecture
from raystilts.store import Store
from raystilts.study import Plan, Study, make_plan
from raystilts.sweep import run_in_process
from raystilts.tasks import cldr

ROOT = Path(__file__).parent.parent
SHARED = ROOT.parent / "shared"
SMOKE = f"{ROOT / 'experiments' / 'quickstart.py'}:smoke"


def experiment(name: str) -> ModuleType:
    """An experiment's module."""
    return script(f"experiments/{name}.py")


def script(path: str) -> ModuleType:
    """The module that a file of the project is."""
    name = Path(path).stem
    spec = importlib.util.spec_from_file_location(name, ROOT / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def smoke() -> Study:
    """The quickstart's small twin."""
    made: Study = experiment("quickstart").smoke()
    return made


def random_encoder(folder: Path, languages: tuple[str, ...] = ("sw", "de"), *, num_layers: int = 1, dropout: float = 0.1) -> Root:
    """A random encoder in a folder, whose tokenizer knows CLDR's names in English and these languages."""
    texts = [example.texts[0] for example in cldr.texts("en", languages, "train")]
    initialise(folder, texts, Architecture(num_layers, 32, 2, 64, 1500, dropout=dropout), 3)
    return Root(str(folder))


def finished(study: Study, data: Path, folder: Path) -> tuple[Plan, Store]:
    """A study that was checked and run in this process, into folder/store; its encoders lie in the folder."""
    plan, store = make_plan(study, data, folder), Store(folder / "store")
    site = Site(store, owner(), data, folder)
    store.prepare()
    check_inputs(plan, site)
    run_in_process(plan, site)
    assert store.finished(plan.stages) == set(plan.stages)
    return plan, store
