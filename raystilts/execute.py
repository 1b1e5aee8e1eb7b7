"""One stage, from what its parent left in the store to its own finished folder. Knows nothing of Ray."""

from __future__ import annotations

import dataclasses
import functools
import importlib.metadata
import json
import platform
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import raystilts
from raystilts import model
from raystilts.errors import UserError
from raystilts.model import Root
from raystilts.stage import SCHEMA, Encoder, Stage
from raystilts.store import Store
from raystilts.study import Plan
from raystilts.task import ENGLISH

PACKAGES = ("babel", "datasets", "numpy", "pyarrow", "ray", "safetensors", "tokenizers", "torch", "transformers")


@dataclass(frozen=True)
class Site:
    """Where and how a plan runs: nothing of it changes a result.

    run: names the driver (host and process). cpus and gpus are per worker.
    """

    store: Store
    run: str
    data: Path | None = None
    encoders: Path | None = None
    workers: int = 1
    cpus: int = 1
    gpus: float = 0.0

    @property
    def device(self) -> str:
        """Where a stage computes within its process."""
        return "cuda" if self.gpus else "cpu"

    @property
    def resources(self) -> dict[str, float]:
        """What Ray is asked for per worker."""
        return {"CPU": self.cpus} | ({"GPU": self.gpus} if self.gpus else {})


Fit = Callable[[Stage, Root, Path | None, Path], dict[str, Any]]
"""(stage, root, parent's checkpoint, folder to write into) -> facts for stage.json."""


def fit_here(site: Site) -> Fit:
    """Train in this process."""
    from raystilts.train import Worker, train  # noqa: PLC0415  loads torch

    return lambda stage, root, checkpoint, folder: train(stage, root, checkpoint, site.data, folder, Worker(device=site.device))


def execute(key: str, plan: Plan, site: Site, fit: Fit) -> None:
    """Do a stage whose parent is in the store; afterwards it is in the store."""
    import torch  # noqa: PLC0415

    torch.set_num_threads(site.cpus)
    stage, started = plan.stages[key], time.time()
    with site.store.writing(key, site.run) as folder:
        facts = _perform(stage, plan, site, fit, folder)
        record = {
            "schema": SCHEMA,
            "key": key,
            "label": plan.label(key),
            "phase": stage.phase,
            "lineage": [_description(ancestor) for ancestor in stage.lineage],
            "result": facts,
            "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
            "seconds": round(time.time() - started, 3),
            "code": {"raystilts": raystilts.__version__, "git": git_revision(), "python": platform.python_version()},
            "packages": versions(),
        }
        (folder / "stage.json").write_text(json.dumps(record, ensure_ascii=False), encoding="utf-8")


def check_inputs(plan: Plan, site: Site) -> None:
    """Read all that the missing stages will read, so that a bad row or encoder is found before anything is trained.

    Raises UserError with file and line, or with what cannot be loaded.
    """
    from raystilts import data  # noqa: PLC0415

    missing = [stage for key, stage in plan.stages.items() if not site.store.has(key)]
    for name, task in {(name, stage.task): None for stage in missing if stage.task for name, _ in stage.data}:
        split, _, language = name.partition("/")
        data.examples(task, cast("data.Split", split), language, site.data)
    for encoder in plan.study.encoders:
        if encoder.architecture is None:
            root = root_of_encoder(encoder, site)
            try:
                model.load_tokenizer(root)
                model.load_root(root)
            except (OSError, ValueError, KeyError) as error:
                reason = str(error).strip().splitlines()[0]
                raise UserError(
                    f"encoder {encoder.name!r}: {root.source} cannot be loaded ({reason}); give a complete encoder folder."
                ) from error


def _perform(stage: Stage, plan: Plan, site: Site, fit: Fit, folder: Path) -> dict[str, Any]:
    from raystilts import data, evaluate  # noqa: PLC0415

    if stage.phase == "initialise":
        assert stage.task is not None  # noqa: S101  for the type checker
        texts = [example.texts[0] for example in data.examples(stage.task, "train", ENGLISH, site.data)]
        model.initialise(folder, texts, stage.architecture, stage.seed or 0)
        return model.describe(Root(str(folder)))
    root = root_of(stage, plan, site)
    above = stage.parent
    checkpoint = site.store.path(above.key) if above and above.phase == "train" else None
    if stage.phase == "train":
        facts = fit(stage, root, checkpoint, folder)
        return facts | {"dev_score": evaluate.dev_score(stage, root, folder, facts["labels"], site.data, site.device)}
    labels = site.store.record(above.key)["result"].get("labels", []) if above else []
    return evaluate.evaluate(stage, root, checkpoint, labels, site.data, folder, site.device) | {
        "num_parameters": model.num_parameters(root)
    }


def root_of(stage: Stage, plan: Plan, site: Site) -> Root:
    """Where the weights at the root of a stage's lineage lie."""
    first = stage.lineage[0]
    if first.phase == "initialise":
        return Root(str(site.store.path(first.key)))
    encoder = next(e for e in plan.study.encoders if e.name == plan.encoders[first.key])
    return root_of_encoder(encoder, site)


def root_of_encoder(encoder: Encoder, site: Site) -> Root:
    """Where a pretrained encoder lies."""
    folder = model.encoder_folder(encoder, site.encoders)
    return Root(str(folder)) if folder else Root(encoder.hub, encoder.revision)


def _description(stage: Stage) -> dict[str, Any]:
    return {
        "key": stage.key,
        "phase": stage.phase,
        "task": stage.task.name if stage.task else None,
        "kind": stage.task.kind if stage.task else None,
        "data": dict(stage.data),
        "encoder": stage.encoder,
        "architecture": dataclasses.asdict(stage.architecture) if stage.architecture else None,
        "recipe": dataclasses.asdict(stage.recipe) if stage.recipe else None,
        "seed": stage.seed,
    }


@functools.cache
def versions() -> dict[str, str]:
    """Versions of the packages that results can depend on."""
    return {name: importlib.metadata.version(name) for name in PACKAGES}


@functools.cache
def git_revision() -> str | None:
    """The commit of the checkout that this code runs from, with + where files differ from it; None outside a checkout."""
    here = Path(__file__).parent
    command = ["git", "-C", str(here), "describe", "--always", "--dirty=+", "--abbrev=40", "--exclude=*"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip()
