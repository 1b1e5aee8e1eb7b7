"""The search for a task's recipe, on English dev alone: trainings through Ray Tune or in this process, their table, the winner.

What is tried is decided by the modules on halving or on populations. Finished trainings are kept below <store>/tune/<task>/<encoder>, so
the same command continues and repeats nothing. The seeds are none of the study's, and nothing of a search enters the study but the
recipe that its author pastes.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from raystilts import data, sweep
from raystilts.disk import write_whole
from raystilts.errors import DivergedError, UserError, nearest
from raystilts.execute import Site, checkpoint_of, root_of
from raystilts.faults import DIED, Failure
from raystilts.halving import Budget, Search, Training, training_of
from raystilts.population import Leg, Population, leg_of
from raystilts.process import release_memory
from raystilts.resume import STATE, Saving
from raystilts.stage import Recipe, Stage
from raystilts.store import Store
from raystilts.study import Plan
from raystilts.tracking import Teller
from raystilts.trials import ended, legs_summary, legs_table, summary, table_of

if TYPE_CHECKING:
    from raystilts.model import Root
    from raystilts.resume import Tell

Measure = Callable[..., float]
"""(training, tell) -> its score on English dev; tell: told of the log's lines, absent where nobody wants to know."""


@dataclass(frozen=True)
class Tuned:
    """What a search has found: all trainings, the recipe with the best mean score on English dev, and lines that say so."""

    table: pa.Table
    winner: Recipe
    lines: tuple[str, ...]


def tune_task(
    plan: Plan,
    task: str,
    encoder: str,
    budget: Budget,
    site: Site,
    cluster: sweep.Cluster | None = None,
    measure: Measure | None = None,
    method: str = "halving",
) -> Tuned:
    """Search the recipe of a task that the study trains, with one of its encoders; writes trials (or population) .csv and .parquet.

    cluster: which Ray to use; None: one training after the other in this process. What the training starts from (pretraining, a task
    before this one) is made first, by the study's own recipes, where the store lacks it. Raises UserError where nothing can be found.
    """
    template = template_of(plan, task, encoder)
    site.store.prepare()
    folder = site.store.root / "tune" / task / encoder
    site.store.obtain(folder)
    alone = replace(site, workers=1)
    seeds = [max(plan.study.seeds) + 1 + place for place in range(budget.num_seeds)]
    search: Search | Population
    if method == "halving":
        search = Search(template, encoder, budget, seeds, folder / "trainings")
    else:  # of another size, other members go on
        epochs = budget.max_epochs or Search(template, encoder, budget, seeds, folder).base.num_epochs
        search = Population(template, encoder, budget, seeds, folder / f"population-{budget.num_trials}x{epochs}", site.store.remove)
    search.folder.mkdir(parents=True, exist_ok=True)
    if measure is None:
        prepare(template, plan, alone, cluster)
        measure = trainer(template, plan, alone, search.folder)
    interrupted = run_here(search, measure, site.store) if cluster is None else run_on_ray(search, measure, alone, cluster)
    table, name = (table_of(search), "trials") if isinstance(search, Search) else (legs_table(search), "population")
    pa.csv.write_csv(table, folder / f"{name}.csv")
    pq.write_table(table, folder / f"{name}.parquet")
    for suffix in ("csv", "parquet"):
        site.store.share(folder / f"{name}.{suffix}")
    if search.broken:
        word = site.store.failure(search.broken).strip().splitlines() or [DIED.reason]
        raise UserError(f"a training of the search for {task!r} failed: {word[-1]} ({search.broken}); the same command tries it again.")
    if interrupted:
        raise KeyboardInterrupt
    winner, lines = summary(search, task) if isinstance(search, Search) else legs_summary(search, task)
    return Tuned(table, winner, (*lines, f"all trainings: {folder / f'{name}.csv'}"))


def tunable(plan: Plan) -> list[str]:
    """Names of the tasks that the study trains and that have dev data, in the order of its plan."""
    return list(dict.fromkeys(stage.task.name for stage in _trained(plan).values() if stage.task and _has_dev(stage)))


def _trained(plan: Plan) -> dict[str, Stage]:
    return {key: stage for key, stage in plan.stages.items() if stage.phase == "train" and plan.roles[key] != "pretraining"}


def _has_dev(stage: Stage) -> bool:
    return any(part.dev and part.kind != "mlm" for part in stage.parts)


def template_of(plan: Plan, task: str, encoder: str) -> Stage:
    """The study's training of a task with the least before it (the baseline's, of the first seed). Raises UserError where there is none."""
    names = [known.name for known in plan.study.encoders]
    if encoder not in names:
        raise UserError(f"study {plan.study.name!r} has no encoder {encoder!r}; {nearest(encoder, names)}.")
    found = [stage for key, stage in _trained(plan).items() if stage.task and stage.task.name == task and plan.encoders[key] == encoder]
    if not found:
        raise UserError(f"study {plan.study.name!r} trains no task {task!r} with {encoder!r}; {nearest(task, tunable(plan))}.")
    if not _has_dev(found[0]):
        raise UserError(f"the task {task!r} has no dev data to choose a recipe on; {nearest(task, tunable(plan))}.")
    return min(found, key=lambda stage: len(stage.lineage))


def prepare(template: Stage, plan: Plan, site: Site, cluster: sweep.Cluster | None) -> None:
    """Make what the trainings start from, and read what they will read: a bad row is found before anything is trained."""
    with data.english_only():
        for task, split, language in template.reads:
            data.examples(task, split, language, site.data)  # type: ignore[arg-type]  # train or dev
    before = replace(plan, stages={stage.key: plan.stages[stage.key] for stage in template.lineage[:-1]}, cells=())
    if not all(map(site.store.has, before.stages)):
        sweep.run_in_process(before, site) if cluster is None else sweep.run_on_ray(before, site, cluster)
    if not all(map(site.store.has, before.stages)):
        raise UserError(f"what {template.slug!r} starts from could not be made; see above.")


def trainer(template: Stage, plan: Plan, site: Site, folder: Path) -> Measure:
    """Trains a candidate as the study trains, in one process, and forgets the model; `folder` keeps the states of a population."""
    place = folder.relative_to(site.store.root)  # which is not the same on every machine

    def measure(training: Training | Leg, tell: Tell | None = None) -> float:
        import torch  # noqa: PLC0415

        from raystilts.evaluate import Place, dev_scores  # noqa: PLC0415
        from raystilts.train import train  # noqa: PLC0415

        torch.set_num_threads(site.cpus)
        folder, stage = site.store.root / place, training.stage
        root, checkpoint = root_of(template, plan, site), checkpoint_of(template, site)
        with data.english_only(), tempfile.TemporaryDirectory(prefix="raystilts-tune-") as scratch:
            model, saving, begin, until = Path(scratch) / "model", None, 0, None
            model.mkdir()
            if isinstance(training, Leg) and training.epoch:
                begin, until = bounds(training, root, site)
                saving = Saving(Store(Path(scratch)), training.family, math.inf, until)
                saving.folder.mkdir(parents=True)
                if begin:
                    site.store.obtain(folder / f"{training.parent}.safetensors")
                    take(folder / f"{training.parent}.safetensors", saving.folder / STATE)
            facts = train(stage, root, checkpoint, site.data, model, site.worker(), site.cache, saving, tell, until)
            if facts.get("resumed_at", [0])[-1] != begin:
                raise UserError(f"{folder}: {training.title} cannot go on from the state there; delete the folder and search anew.")
            score = dev_scores(stage, Place(root, model, site.data, site.device, site.cache), facts)["dev_score"]
            if saving and until and until < facts["num_steps"]:
                take(saving.folder / STATE, folder / f"{training.key}.safetensors")
                site.store.share(folder / f"{training.key}.safetensors")
        return float(score)

    return measure


def take(source: Path, target: Path) -> None:
    """Copy a state; the copy appears whole or not at all."""
    if not source.is_file():
        raise UserError(f"{source}: the state of a population is gone; delete the folder {source.parent} and search anew.")
    aside = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.copyfile(source, aside)
    aside.replace(target)


def bounds(leg: Leg, root: Root, site: Site) -> tuple[int, int]:
    """The steps between which a leg trains."""
    from raystilts.features import num_steps  # noqa: PLC0415
    from raystilts.train import read_part  # noqa: PLC0415

    num_items = sum(len(read_part(leg.stage, place, root, site.data, site.cache).items) for place in range(len(leg.stage.parts)))
    steps, epoch = num_steps(num_items, replace(leg.recipe, num_epochs=1)), leg.epoch or 1
    return steps * (epoch - 1), steps * epoch


def perform(training: Training | Leg, measure: Measure, folder: Path) -> Path:
    """Do a training; returns its record, which appears whole or not at all."""
    started, score, error = time.monotonic(), None, ""
    try:
        score = measure(training)
    except DivergedError as raised:
        error = str(raised)
    path = folder / f"{training.key}.json"
    write_whole(path, json.dumps(training.record(score, time.monotonic() - started, error)).encode())
    return path


def run_here(search: Search | Population, measure: Measure, store: Store) -> bool:
    """One training after the other in this process; what one raises is raised."""
    while training := search.start():
        store.share(perform(training, measure, search.folder))
        ended(search, training, search.end(training.key))
    return False


def run_on_ray(search: Search | Population, measure: Measure, site: Site, cluster: sweep.Cluster) -> bool:
    """Let Ray Tune run the trainings, as many at a time as fit; returns whether it was interrupted."""
    if search.over:  # Ray need not start
        return False

    def start() -> tuple[Training | Leg, dict[str, Any]] | None:
        training = search.start()
        if training is None:
            return None
        config = training.record(None, 0.0)
        return training, config | ({"run": parameters(training)} if tracked else {})

    def end(training: Training | Leg, failed: Failure | None) -> None:
        site.store.obtain(search.folder / f"{training.key}.json")
        ended(search, training, search.end(training.key, died=failed is not None))

    tracked = cluster.tracking is not None
    read = partial(training_of if isinstance(search, Search) else leg_of, search.template)
    told = {"store": site.store, "place": search.folder.relative_to(site.store.root), "tracked": tracked}

    def trials(slots: int, scratch: str) -> bool:
        from ray import tune  # noqa: PLC0415

        trainable = tune.with_parameters(run_trial, read=read, measure=measure, **told)
        over, most = (lambda: not search.running), search.limit
        return sweep.run_trials(trainable, site.resources, start, end, over, most, slots, scratch, cluster)

    sweep.on_ray(cluster, site, trials)
    return not search.over  # Tune stops in good order on Ctrl-C and returns as if it were done


def parameters(training: Training | Leg) -> dict[str, Any]:
    """What is said of a training where it is logged: its name, and what it tries."""
    task = training.stage.task.name if training.stage.task else ""
    named = {
        "name": f"tune {task}, {training.title}",
        "key": training.key,
        "task": task,
        "encoder": training.encoder,
        "seed": training.seed,
    }
    return named | {name: value for name, value in asdict(training.recipe).items() if value is not None}


def run_trial(
    config: Mapping[str, Any],
    read: Callable[[Mapping[str, Any]], Training | Leg],
    measure: Measure,
    store: Store,
    place: Path,
    *,
    tracked: bool = False,
) -> dict[str, Any]:
    """What Ray calls a trial: one training, in a process that lives through many. A fault is left in the store, as in a sweep."""
    from ray import tune  # noqa: PLC0415

    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    training, tell, folder = read(config), Teller(tune.report) if tracked else None, store.root / place
    folder.mkdir(parents=True, exist_ok=True)
    try:
        store.share(perform(training, partial(measure, tell=tell) if tell else measure, folder))
    except Exception:
        store.fail(training.key, traceback.format_exc())
    release_memory()
    if tell:
        path = folder / f"{training.key}.json"
        score = json.loads(path.read_text(encoding="utf-8"))["dev_score"] if path.is_file() else None
        tell.close([] if score is None else [{"dev_score": score}], failed=score is None)
    return {"ended": 1}
