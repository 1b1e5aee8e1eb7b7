"""A stage on several workers: fine-tunings through Ray Train, the rest in tasks that hold what a worker holds.

The trial that waits for them holds next to nothing, no GPU above all, and may be on a node that has none: nothing computes in it.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from raystilts.execute import Perform, Site, performed, trained
from raystilts.faults import sentence, system_error
from raystilts.stage import Stage
from raystilts.study import Plan
from raystilts.tracking import Teller
from raystilts.train import LOG

FACTS = "facts.json"  # what a training says of itself, on its way from a worker to its trial


def perform_on_workers(site: Site, scratch: str, tell: Teller | None = None) -> Perform:
    """Train and evaluate on several processes. Ranking trains in one: its in-batch negatives are the whole batch.

    tell: told of the log of a training when it is over.
    """

    def perform(stage: Stage, plan: Plan, folder: Path) -> dict[str, Any]:
        if stage.phase == "train" and stage.task is not None and stage.task.kind != "ranking":
            facts = _through_train(stage, plan, site, folder, scratch)
        else:
            facts = _in_tasks(stage, plan, site, folder)
        if tell and stage.phase == "train":
            for line in (folder / LOG).read_text(encoding="utf-8").splitlines():
                tell(json.loads(line))
        return facts

    return perform


def _through_train(stage: Stage, plan: Plan, site: Site, folder: Path, scratch: str) -> dict[str, Any]:
    from ray.train import RunConfig, ScalingConfig, TrainingFailedError  # noqa: PLC0415
    from ray.train.torch import TorchConfig, TorchTrainer  # noqa: PLC0415

    trainer = TorchTrainer(
        _train_worker,
        train_loop_config={"stage": stage, "plan": plan, "site": site, "at": _here(folder)},
        scaling_config=ScalingConfig(num_workers=site.workers, use_gpu=bool(site.gpus), resources_per_worker=site.resources),
        torch_config=TorchConfig(backend="nccl" if site.gpus else "gloo"),
        run_config=RunConfig(name=stage.key, storage_path=str(Path(scratch) / "train")),
    )
    try:
        trainer.fit()
    except TrainingFailedError as error:
        # what Ray raises itself, of a worker or of the whole, is about processes and nodes; whatever else a worker raised may be a bug
        raised = [found for found in getattr(error, "worker_failures", {}).values() if not type(found).__module__.startswith("ray.")]
        if any(system_error(found) is None for found in raised):
            raise
        raise ConnectionError(f"a training on {site.workers} workers was broken off: {sentence(str(error))}") from error
    if not (folder / FACTS).is_file():
        site.store.take_over(stage.key, site.run, folder)
    found: dict[str, Any] = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    (folder / FACTS).unlink()
    shutil.rmtree(Path(scratch) / "train" / stage.key, ignore_errors=True)
    return found


def _train_worker(config: dict[str, Any]) -> None:
    """What each worker of a TorchTrainer does."""
    import ray.train  # noqa: PLC0415
    import ray.train.torch  # noqa: PLC0415
    import torch  # noqa: PLC0415

    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    context = ray.train.get_context()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    stage, site = config["stage"], config["site"]
    worker = site.worker(context.get_world_rank(), context.get_world_size(), str(ray.train.torch.get_device()))
    folder = site.store.partial(site.run, stage.key)
    if worker.rank == 0:  # who writes
        folder.mkdir(parents=True, exist_ok=True)
    try:
        facts = trained(stage, config["plan"], site, folder, worker)
    except RuntimeError as error:
        if isinstance(error, torch.distributed.DistError) or "gloo" in str(error):  # another worker is gone
            raise ConnectionError(f"the exchange with the other workers broke off: {error}") from error
        raise
    if worker.rank == 0:
        (folder / FACTS).write_text(json.dumps(facts), encoding="utf-8")
        if _is_elsewhere(site, config["at"], folder):
            site.store.hand_over(stage.key, site.run, folder)


def _in_tasks(stage: Stage, plan: Plan, site: Site, folder: Path) -> dict[str, Any]:
    """In one task, or where that is an evaluation of languages that have nothing to do with each other in one per worker."""
    import ray  # noqa: PLC0415
    from ray.exceptions import RayError, RayTaskError  # noqa: PLC0415
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy  # noqa: PLC0415

    divided = stage.phase == "evaluate" and stage.task is not None and not stage.task.headless
    languages = [language for _, split, language in stage.reads if split == "test"] if divided else []
    shares: list[Sequence[str] | None] = [languages[number :: site.workers] for number in range(min(site.workers, len(languages)))]
    outside = PlacementGroupSchedulingStrategy(placement_group=None)  # a trial's own group has no room
    task = ray.remote(num_cpus=site.cpus, num_gpus=site.gpus, max_retries=0, scheduling_strategy=outside)(_task)
    shipped = ray.put(plan)
    waiting = [task.remote(stage, shipped, site, _here(folder), number, share) for number, share in enumerate(shares or [None])]
    try:
        found = ray.get(waiting)
    except RayTaskError:
        raise  # what the task raised
    except RayError as error:
        raise ConnectionError(f"a process at work on it was lost: {sentence(str(error))}") from error
    finally:
        for one in waiting:
            ray.cancel(one, force=True)
    for number, (_, was_handed_over) in enumerate(found):
        if was_handed_over:
            site.store.take_over(f"{stage.key}.{number}", site.run, folder)
    return merged([facts for facts, _ in found])


def _task(
    stage: Stage, plan: Plan, site: Site, at: tuple[str, Path], number: int, languages: Sequence[str] | None
) -> tuple[dict[str, Any], bool]:
    """What a task does: its facts, and whether its files were handed over, because the trial does not see this machine's."""
    import torch  # noqa: PLC0415

    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    torch.set_num_threads(site.cpus)
    folder, elsewhere = at[1], _is_elsewhere(site, at, site.store.partial(site.run, stage.key))
    if elsewhere:
        folder = site.store.partial(site.run, f"{stage.key}.{number}")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    facts = performed(stage, plan, site, folder, site.worker(), languages=languages)
    if elsewhere:
        site.store.hand_over(f"{stage.key}.{number}", site.run, folder)
    return facts, elsewhere


def merged(shares: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The facts of an evaluation from those of its shares of the languages."""
    first, *others = shares
    for facts in others:
        for name in ("scores", "num_examples"):
            first[name] |= facts[name]
        for metric, of_languages in facts.get("also", {}).items():
            first["also"][metric] |= of_languages
    return first


def _here(folder: Path) -> tuple[str, Path]:
    return socket.gethostname(), folder


def _is_elsewhere(site: Site, at: tuple[str, Path], folder: Path) -> bool:
    """Whether a folder is not the one that the trial sees: on another machine, with a store that is no folder for all to see."""
    return site.store.root != site.store.address and _here(folder) != at
