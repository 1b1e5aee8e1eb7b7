"""One stage, from what its parent left in the store to its own finished folder. Knows nothing of Ray."""

from __future__ import annotations

import dataclasses
import functools
import importlib.metadata
import json
import platform
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import raystilts
from raystilts import architectures, model
from raystilts.errors import UserError
from raystilts.model import Root
from raystilts.stage import SCHEMA, Encoder, Stage
from raystilts.store import Store
from raystilts.study import Plan
from raystilts.task import ENGLISH, Example, Task

if TYPE_CHECKING:
    from raystilts.resume import Saving, Tell
    from raystilts.train import Worker

PACKAGES = ("babel", "datasets", "numpy", "peft", "pyarrow", "ray", "safetensors", "tokenizers", "torch", "transformers")


@dataclass(frozen=True)
class Site:
    """Where and how a plan runs: nothing of it changes a result.

    run: names the driver (host and process). cpus and gpus are per worker. checkpoint_minutes, checkpoint_steps: how often the state of
    a training is written, from which a killed one goes on. compaction, recompute: see raystilts.train.Worker.
    """

    store: Store
    run: str
    data: Path | None = None
    encoders: Path | None = None
    workers: int = 1
    cpus: int = 1
    gpus: float = 0.0
    checkpoint_minutes: float = 10.0
    checkpoint_steps: int | None = None
    compaction: bool = True
    recompute: bool = False

    @property
    def cache(self) -> Path:
        """Tokenised data that stages and processes share; may be deleted at any time."""
        return self.store.root / "cache"

    def saving(self, stage: Stage) -> Saving:
        """Where and how often the state of a stage is written."""
        from raystilts.resume import Saving  # noqa: PLC0415  loads torch

        files = self.store.record(stage.parent.key)["files"] if stage.parent else {}
        parent = files.get(model.WEIGHTS, {}).get("sha256", "")
        return Saving(self.store, stage.key, self.checkpoint_minutes, self.checkpoint_steps, parent)

    @property
    def device(self) -> str:
        """Where a stage computes within its process."""
        return "cuda" if self.gpus else "cpu"

    def worker(self, rank: int = 0, world_size: int = 1, device: str | None = None) -> Worker:
        """One of the workers of a training; alone where nothing else is said."""
        from raystilts.train import Worker  # noqa: PLC0415  loads torch

        return Worker(rank, world_size, device or self.device, self.compaction, self.recompute)

    @property
    def resources(self) -> dict[str, float]:
        """What Ray is asked for per worker."""
        return {"CPU": self.cpus} | ({"GPU": self.gpus} if self.gpus else {})


Perform = Callable[[Stage, Plan, Path], dict[str, Any]]
"""(a training or evaluation, its plan, folder to write into) -> facts for stage.json."""


def perform_here(site: Site, tell: Tell | None = None) -> Perform:
    """Train and evaluate in this process. tell: told of every line of the log."""

    def perform(stage: Stage, plan: Plan, folder: Path) -> dict[str, Any]:
        return performed(stage, plan, site, folder, site.worker(), tell)

    return perform


def performed(
    stage: Stage, plan: Plan, site: Site, folder: Path, worker: Worker, tell: Tell | None = None, languages: Sequence[str] | None = None
) -> dict[str, Any]:
    """Train, average or evaluate in this process alone; what is evaluated, in all its languages or in some."""
    if stage.phase == "train":
        return trained(stage, plan, site, folder, worker, tell)
    return averaged(stage, plan, site, folder) if stage.phase == "average" else evaluated(stage, plan, site, folder, languages)


def averaged(stage: Stage, plan: Plan, site: Site, folder: Path) -> dict[str, Any]:
    """Average the weights of a stage's parents, and score the result on English dev."""
    from raystilts import averaging, evaluate  # noqa: PLC0415

    root = root_of(stage, plan, site)
    averaging.average([site.store.fetch(run.key) for run in stage.parents], root, folder)
    known = [site.store.record(run.key)["result"] for run in stage.parents]
    facts = {"labels": known[0]["labels"], "num_examples": known[0]["num_examples"], "num_runs": len(known)}
    return facts | evaluate.dev_scores(stage, evaluate.Place(root, folder, site.data, site.device, site.cache), facts)


def trained(stage: Stage, plan: Plan, site: Site, folder: Path, worker: Worker, tell: Tell | None = None) -> dict[str, Any]:
    """Train a stage; its first worker scores it on English dev, too."""
    from raystilts import evaluate  # noqa: PLC0415
    from raystilts.train import train  # noqa: PLC0415

    root, checkpoint = root_of(stage, plan, site), checkpoint_of(stage, site)
    facts = train(stage, root, checkpoint, site.data, folder, worker, site.cache, site.saving(stage), tell)
    if worker.rank == 0:
        facts |= evaluate.dev_scores(stage, evaluate.Place(root, folder, site.data, worker.device, site.cache), facts)
    return facts


def evaluated(stage: Stage, plan: Plan, site: Site, folder: Path, languages: Sequence[str] | None = None) -> dict[str, Any]:
    """Evaluate a stage in all its languages, or in some."""
    from raystilts import evaluate  # noqa: PLC0415

    root = root_of(stage, plan, site)
    known = site.store.record(stage.parent.key)["result"] if stage.parent else {}
    place = evaluate.Place(root, checkpoint_of(stage, site), site.data, site.device, site.cache)
    return evaluate.evaluate(stage, place, known, folder, languages) | {"num_parameters": model.num_parameters(root)}


def execute(key: str, plan: Plan, site: Site, perform: Perform) -> None:
    """Do a stage whose parents are in the store; afterwards it is in the store."""
    import torch  # noqa: PLC0415

    torch.set_num_threads(site.cpus)
    stage, started, began = plan.stages[key], time.time(), time.monotonic()  # the clock may be set in the meantime
    with site.store.writing(key, site.run) as folder:
        facts = _initialise(stage, site, folder) if stage.phase == "initialise" else perform(stage, plan, folder)
        record = {
            "schema": SCHEMA,
            "key": key,
            "label": plan.label(key),
            "phase": stage.phase,
            "lineage": [_description(ancestor) for ancestor in stage.lineage],
            "result": facts,
            "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
            "seconds": round(time.monotonic() - began, 3),
            "code": {"raystilts": raystilts.__version__, "git": git_revision(), "python": platform.python_version()},
            "packages": versions(),
        }
        (folder / "stage.json").write_text(json.dumps(record, ensure_ascii=False), encoding="utf-8")
    site.store.drop_progress(key)


def check_inputs(plan: Plan, site: Site) -> None:
    """Read all that the missing stages will read, so that a bad row or encoder is found before anything is trained.

    Raises UserError with file and line, or with what cannot be loaded.
    """
    from raystilts import data  # noqa: PLC0415

    read: dict[tuple[Task, str, str], list[Example]] = {}
    searched: dict[tuple[Task, str], tuple[dict[str, list[Example]], dict[str, list[Example]]]] = {}
    done = site.store.done()
    for stage in [stage for key, stage in plan.stages.items() if stage.task and key not in done]:
        for (task, split, language), (_, identity) in zip(stage.reads, stage.data, strict=True):
            named, is_pool = data.split_of(split)
            if (task, split, identity) not in read:
                found = data.read(task, split, language, site.data)
                read[task, split, identity] = found if task.headless else []
            if task.headless:
                searched.setdefault((task, named), ({}, {}))[is_pool][language] = read[task, split, identity]
    for (task, _), (queries, pools) in searched.items():
        if task.kind == "retrieval" and pools:
            data.answered(task, queries, pools.values())
        elif pools:
            for language, asked in queries.items():  # sentences are mined among their own language's candidates
                data.answered(task, {language: asked}, [pools[language]])
    for encoder in plan.study.encoders:
        if encoder.architecture is None:
            _check_encoder(encoder, plan, site)


def _check_encoder(encoder: Encoder, plan: Plan, site: Site) -> None:
    """Raises UserError where an encoder cannot be loaded, or a recipe asks of it what it cannot do: longer inputs, adapters, layers."""
    from raystilts import adapters, layers  # noqa: PLC0415  load torch

    root = root_of_encoder(encoder, site)
    try:
        model.load_tokenizer(root)
        loaded = model.load_root(root)
        longest = architectures.longest(loaded)
    except UserError:
        raise
    except Exception as error:  # of files that are none, transformers, tokenizers and safetensors raise whatever they stumble over
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"encoder {encoder.name!r}: {root.source} cannot be loaded ({reason}); give a complete encoder folder.") from error
    for key, stage in plan.stages.items():
        if stage.recipe is None or plan.encoders[key] != encoder.name:
            continue
        if longest is not None and stage.recipe.max_length > longest:
            wanted = stage.recipe.max_length
            raise UserError(f"{plan.label(key)}: its recipe has max_length {wanted}, but the encoder reads {longest} tokens at most.")
        if stage.recipe.lora_rank:
            adapters.targets(loaded, stage.recipe)
        if stage.recipe.layer_decay != 1.0:
            layers.blocks(loaded)


def _initialise(stage: Stage, site: Site, folder: Path) -> dict[str, Any]:
    from raystilts import data  # noqa: PLC0415

    assert stage.task is not None  # noqa: S101  for the type checker
    texts = [example.texts[0] for example in data.examples(stage.task, "train", ENGLISH, site.data)]
    model.initialise(folder, texts, stage.architecture, stage.seed or 0)
    return model.describe(Root(str(folder)))


def root_of(stage: Stage, plan: Plan, site: Site) -> Root:
    """Where the weights at the root of a stage's lineage lie."""
    first = stage.lineage[0]
    if first.phase == "initialise":
        return Root(str(site.store.fetch(first.key)))
    encoder = next(e for e in plan.study.encoders if e.name == plan.encoders[first.key])
    return root_of_encoder(encoder, site)


def checkpoint_of(stage: Stage, site: Site) -> Path | None:
    """The folder of the weights that a stage starts from; None where it starts from its root."""
    return site.store.fetch(stage.parent.key) if stage.parent and stage.parent.phase != "initialise" else None


def root_of_encoder(encoder: Encoder, site: Site) -> Root:
    """Where a pretrained encoder lies."""
    folder = model.encoder_folder(encoder, site.encoders)
    drawn = encoder.pretraining_seed if encoder.random_weights else None
    return Root(str(folder), None, drawn) if folder else Root(encoder.hub, encoder.revision, drawn)


def _description(stage: Stage) -> dict[str, Any]:
    return {
        "key": stage.key,
        "phase": stage.phase,
        "task": stage.task.name if stage.task else None,
        "kind": stage.task.kind if stage.task else None,
        "parts": [part.name for part in stage.parts],
        "keep_head": stage.keep_head,
        "averaged": [run.key for run in stage.averaged],
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
