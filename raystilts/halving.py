"""Which recipes are tried, and for how many epochs: Optuna proposes, successive halving decides. Knows nothing of Ray or of training.

A trial is a candidate recipe; its trainings have as many epochs as the rungs say. Each training is whole, with its own warm-up and decay,
and begins anew: nothing is cut off in the middle of its schedule, so every training measures a recipe that a study can use, and epochs
are searched with the rest. A trial that comes to the top costs less than twice its longest training. The rule is ASHA's (Li et al. 2020):
a trial that is among the best 1/ETA of its rung trains on the next one; while there is none, a new trial starts on the lowest.

What is decided is a function of the records of finished trainings alone.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raystilts.faults import MAX_TRIES
from raystilts.stage import Recipe, Stage

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

ETA = 2  # one of ETA trials of a rung goes on to the next, with about ETA times the epochs
NUM_RUNGS = 3
SPAN = 7  # learning rates from a SPAN-th of the study's own to SPAN times it
BATCH_SIZES = (16, 32, 64)
WARMUP = 0.2
NUM_RANDOM = 5  # trials before Optuna's sampler has something to go by
DIVERGED = -math.inf

Record = dict[str, Any]
"""Of a training: key, trial, encoder, seed, recipe (values of `space` and num_epochs), dev_score (None: it diverged), seconds, error."""


@dataclass(frozen=True)
class Budget:
    """How much is tried. max_epochs: of the longest trainings (None: as many as the study's own recipe has)."""

    num_trials: int = 16
    max_epochs: int | None = None
    num_seeds: int = 1


@dataclass(frozen=True)
class Training:
    """One training of the search."""

    trial: int
    encoder: str
    stage: Stage

    @property
    def recipe(self) -> Recipe:
        """The recipe that it measures."""
        assert self.stage.recipe is not None  # noqa: S101  training stages have one; for the type checker
        return self.stage.recipe

    @property
    def key(self) -> str:
        """Its stage's."""
        return self.stage.key

    @property
    def seed(self) -> int | None:
        """Its stage's."""
        return self.stage.seed

    @property
    def title(self) -> str:
        """What a person calls it: `tiny, trial 3, 4 epochs, seed 9`."""
        return f"{self.encoder}, trial {self.trial}, {self.recipe.num_epochs} epochs, seed {self.stage.seed}"

    def record(self, dev_score: float | None, seconds: float, error: str = "") -> Record:
        """What is kept of it."""
        recipe = {name: getattr(self.recipe, name) for name in [*space(self.recipe), "num_epochs"]}
        which = {"key": self.stage.key, "trial": self.trial, "encoder": self.encoder, "seed": self.stage.seed, "recipe": recipe}
        return which | {"dev_score": dev_score, "seconds": round(seconds, 3), "error": error}


def rungs(max_epochs: int) -> list[int]:
    """Epochs of the rungs, the last with all: `[2, 5, 10]`, `[1, 3]`."""
    return sorted({max(1, max_epochs // ETA**k) for k in range(NUM_RUNGS)})


def rounded(value: float) -> float:
    """To two significant digits: what is printed is what was trained."""
    return float(f"{value:.1e}")


def space(recipe: Recipe, known: Iterable[Recipe] = ()) -> dict[str, BaseDistribution]:
    """What is searched around a study's recipe, wide enough for what is known; the head's rate where the recipe names one."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution  # noqa: PLC0415

    every = [recipe, *known]
    found: dict[str, BaseDistribution] = {}
    for name in ("learning_rate", "head_learning_rate"):
        if (rate := getattr(recipe, name)) is not None:
            rates = [rounded(rate / SPAN), rounded(rate * SPAN), *(getattr(other, name) for other in every)]
            found[name] = FloatDistribution(min(rates), max(rates), log=True)
    found["batch_size"] = CategoricalDistribution(sorted({*BATCH_SIZES, *(other.batch_size for other in every)}))
    return found | {"warmup_ratio": FloatDistribution(0.0, max([WARMUP, *(other.warmup_ratio for other in every)]))}


def stage_of(template: Stage, record: Mapping[str, Any]) -> Stage:
    """The training that a record is of, if it was made from this template."""
    assert template.recipe is not None  # noqa: S101  training stages have one; for the type checker
    return replace(template, recipe=replace(template.recipe, num_steps=None, **record["recipe"]), seed=record["seed"])


def training_of(template: Stage, record: Mapping[str, Any]) -> Training:
    """What a record is of, if it was made from this template."""
    return Training(record["trial"], record["encoder"], stage_of(template, record))


def settle(search: Any, key: str, died: bool) -> str:
    """Note how something ended, of this search or of a population: by the record that it left, or did not."""
    search.running.pop(key)
    path = search.folder / f"{key}.json"
    if path.is_file():
        search.add(json.loads(path.read_text(encoding="utf-8")))
        return "done"
    if died and search.tries[key] < MAX_TRIES:
        return "again"
    search.broken = key
    return "failed"


class Search:
    """Which trainings of a search are done, running, and next; `template` is the study's own training. Plain bookkeeping over records."""

    def __init__(self, template: Stage, encoder: str, budget: Budget, seeds: Sequence[int], folder: Path) -> None:
        assert template.recipe is not None  # noqa: S101  training stages have one; for the type checker
        self.template, self.encoder, self.budget, self.seeds, self.folder = template, encoder, budget, seeds, folder
        self.base = replace(template.recipe, num_steps=None)
        self.rungs = rungs(budget.max_epochs or self.base.num_epochs)
        self.records: dict[str, Record] = {}
        self.trials: dict[int, Recipe] = {}  # their number of epochs is the study's and means nothing
        for path in sorted(folder.glob("*.json")):
            record = json.loads(path.read_text(encoding="utf-8"))
            # a training of another encoder, of other data or around another recipe has another key
            if record["encoder"] == encoder and stage_of(template, record).key == record["key"]:
                self.add(record)
        self.made: dict[tuple[int, int], list[Training]] = {}  # with their keys
        self.running: dict[str, Training] = {}
        self.tries: Counter[str] = Counter()
        self.num_known = len(self.records)
        self.broken: str | None = None  # the key of a training that failed otherwise than by diverging

    @property
    def limit(self) -> int:
        """No more trainings than that are ever started."""
        return self.budget.num_trials * len(self.rungs) * len(self.seeds) * MAX_TRIES

    def recipe_of(self, record: Record) -> Recipe:
        """What a record measured."""
        return replace(self.base, **record["recipe"])

    def add(self, record: Record) -> None:
        """A finished training."""
        self.records[record["key"]] = record
        self.trials[record["trial"]] = replace(self.recipe_of(record), num_epochs=self.base.num_epochs)

    def trainings(self, trial: int, rung: int) -> list[Training]:
        """A trial's trainings on a rung, one a seed."""
        if (trial, rung) not in self.made:
            recipe = replace(self.trials[trial], num_epochs=self.rungs[rung])
            self.made[trial, rung] = [Training(trial, self.encoder, replace(self.template, recipe=recipe, seed=s)) for s in self.seeds]
        return self.made[trial, rung]

    def score(self, trial: int, rung: int) -> float | None:
        """The mean over seeds; DIVERGED where one did, None where one is missing."""
        found = [self.records.get(training.stage.key) for training in self.trainings(trial, rung)]
        scores = [record["dev_score"] for record in found if record]
        if None in scores:
            return DIVERGED
        return math.fsum(scores) / len(scores) if len(scores) == len(found) else None

    def begun(self, trial: int, rung: int) -> bool:
        """Whether a trial has come to a rung; every trial has come to the lowest."""
        known = self.records.keys() | self.running.keys()
        return rung == 0 or any(training.stage.key in known for training in self.trainings(trial, rung))

    def start(self) -> Training | None:
        """The next training, now running; None where nothing is to be done, or not yet."""
        if self.broken:
            return None
        found = self._missing() or self._promoted(0) or self._proposed() or (None if self.running else self._promoted(1))
        if found is not None:
            self.running[found.stage.key] = found
            self.tries[found.stage.key] += 1
        return found

    def end(self, key: str, died: bool = False) -> str:
        """Look at what a training left: "done", "failed", or "again" where its process died and it may be tried again."""
        return settle(self, key, died)

    @property
    def over(self) -> bool:
        """Whether nothing runs and nothing is left to start."""
        if not self.running and (training := self.start()):
            del self.running[training.stage.key]
            self.tries[training.stage.key] -= 1
            return False
        return not self.running

    def best(self) -> tuple[int, int] | None:
        """Trial and rung with the best score of all, the shorter training where two are equal; None where nothing has a score."""
        scores = {
            (trial, rung): score
            for trial in self.trials
            for rung in range(len(self.rungs))
            if (score := self.score(trial, rung)) is not None and score != DIVERGED
        }
        return max(scores, key=lambda place: (scores[place], -place[1], -place[0]), default=None)

    def _missing(self) -> Training | None:
        """What is left of what was begun, the highest rung first."""
        for rung in reversed(range(len(self.rungs))):
            for trial in sorted(self.trials):
                if self.begun(trial, rung) and self.score(trial, rung) is None:
                    for training in self.trainings(trial, rung):
                        if training.stage.key not in self.records and training.stage.key not in self.running:
                            return training
        return None

    def _promoted(self, least: int) -> Training | None:
        """A trial that is among the best 1/ETA of its rung, or the best `least` of them, and has not come to the next.

        The study's own recipe always goes on: it is what the winner is compared with.
        """
        for rung in reversed(range(len(self.rungs) - 1)):
            scores = {trial: score for trial in self.trials if (score := self.score(trial, rung)) is not None}
            best = sorted(scores, key=lambda trial: (-scores[trial], trial))
            own = [trial for trial in best if self.trials[trial] == self.base]
            for trial in best[: max(least, len(best) // ETA)] + own:
                if scores[trial] != DIVERGED and not self.begun(trial, rung + 1):
                    return self.trainings(trial, rung + 1)[0]
        return None

    def _proposed(self) -> Training | None:
        """A new trial on the lowest rung: the study's own recipe, then what Optuna makes of the scores so far."""
        if len(self.trials) >= self.budget.num_trials:
            return None
        recipe = self._ask() if self.base in self.trials.values() else self.base
        if recipe is None:
            return None
        number = min(set(range(len(self.trials) + 1)) - self.trials.keys())
        self.trials[number] = recipe
        return self.trainings(number, 0)[0]

    def _ask(self) -> Recipe | None:
        """What Optuna's sampler (TPE) proposes: a function of the records and of what is running."""
        import optuna  # noqa: PLC0415
        from optuna.trial import TrialState, create_trial  # noqa: PLC0415

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        searched = space(self.base, self.trials.values())
        for attempt in range(20):  # where little is searched, what is drawn may be known
            sampler = optuna.samplers.TPESampler(n_startup_trials=NUM_RANDOM, seed=1000 * len(self.trials) + attempt)
            study = optuna.create_study(direction="maximize", sampler=sampler)
            for trial, recipe in sorted(self.trials.items()):
                scores = {rung: score for rung in range(len(self.rungs)) if (score := self.score(trial, rung)) is not None}
                reached = {rung: score for rung, score in scores.items() if score != DIVERGED}
                # to the sampler, who was stopped comes after all who were not, by how far they came; who diverged is last
                top = reached.get(len(self.rungs) - 1)
                state = TrialState.COMPLETE if top is not None else TrialState.PRUNED if scores else TrialState.RUNNING
                params = {name: getattr(recipe, name) for name in searched}
                study.add_trial(create_trial(state=state, value=top, params=params, distributions=searched, intermediate_values=reached))
            drawn: dict[str, Any] = study.ask(searched).params
            rates = {name: rounded(value) for name, value in drawn.items() if name.endswith("learning_rate")}
            proposed = replace(self.base, **drawn | rates | {"warmup_ratio": round(drawn["warmup_ratio"], 2)})
            if proposed not in self.trials.values():
                return proposed
        return None
