"""Population based training (Jaderberg et al. 2017), on English dev: members train side by side, one epoch after the other.

After each epoch the worst quarter goes on from the states of the best, with hyperparameters that are changed a little: those that can
change on the way (rates, weight decay, dropout), never what decides batches or the number of steps. What comes out is a schedule, and a
schedule is no recipe that a study can repeat. So the winner's last values are trained afresh, as a plain recipe, beside the study's own.

All members wait for the last of an epoch, unlike in Ray's scheduler, whose decisions depend on who comes first and whose state is Tune's:
here what is done next is a function of the records of what is done, so a search can be repeated, and goes on after a kill.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from raystilts.faults import MAX_TRIES
from raystilts.halving import DIVERGED, SPAN, Budget, Record, rounded, settle, stage_of
from raystilts.stage import Recipe, Stage, fingerprint

QUANTILE = 4  # the best and the worst of so many
FACTORS = (0.8, 1.25)
REDRAWN = 0.25  # probability that a value is drawn anew instead of multiplied
DECAYS = (0.0, 0.01, 0.1)
DROPOUT = 0.3  # the largest
NAMES = ("learning_rate", "head_learning_rate", "weight_decay", "dropout")
APART = 1000  # members' seeds from those of the last trainings, on which nothing was chosen


@dataclass(frozen=True)
class Leg:
    """One epoch of a member (`trial`), from the state that the training `parent` left; without an epoch: a whole training afresh."""

    trial: int
    encoder: str
    stage: Stage
    epoch: int | None = None
    parent: str = ""

    @cached_property
    def key(self) -> str:
        """Digest of all that has led here."""
        return self.stage.key if self.epoch is None else fingerprint({"stage": self.stage.key, "epoch": self.epoch, "from": self.parent})

    @property
    def recipe(self) -> Recipe:
        """What is trained with, in this epoch."""
        assert self.stage.recipe is not None  # noqa: S101  training stages have one; for the type checker
        return self.stage.recipe

    @property
    def seed(self) -> int | None:
        """Its stage's."""
        return self.stage.seed

    @property
    def family(self) -> str:
        """The same for all whose states can be exchanged."""
        nothing = replace(self.recipe, learning_rate=0.0, head_learning_rate=None, weight_decay=0.0, dropout=None)
        return replace(self.stage, recipe=nothing, seed=None).key

    @property
    def title(self) -> str:
        """What a person calls it."""
        of = f"{self.recipe.num_epochs} epochs afresh" if self.epoch is None else f"member {self.trial}, epoch {self.epoch}"
        return f"{self.encoder}, {of}, learning rate {self.recipe.learning_rate:g}, seed {self.stage.seed}"

    def record(self, dev_score: float | None, seconds: float, error: str = "") -> Record:
        """What is kept of it."""
        which = {"key": self.key, "trial": self.trial, "encoder": self.encoder, "seed": self.stage.seed, "epoch": self.epoch}
        recipe = {name: getattr(self.recipe, name) for name in (*NAMES, "num_epochs")}
        more = {"parent": self.parent, "recipe": recipe, "dev_score": dev_score, "seconds": round(seconds, 3), "error": error}
        return which | more


def leg_of(template: Stage, record: Mapping[str, Any]) -> Leg:
    """What a record is of, if it was made from this template."""
    return Leg(record["trial"], record["encoder"], stage_of(template, record), record["epoch"], record["parent"])


def drawn(name: str, base: Recipe, rng: np.random.Generator) -> float | None:
    """A value to begin with; only what the recipe names is searched."""
    own: float | None = getattr(base, name)
    if own is None:
        return None
    if name == "weight_decay":
        return float(rng.choice(sorted({*DECAYS, own})))
    return round(rng.uniform(0, max(DROPOUT, own)), 2) if name == "dropout" else rounded(own * SPAN ** rng.uniform(-1, 1))


def changed(name: str, value: float | None, base: Recipe, rng: np.random.Generator) -> float | None:
    """A value near another, or drawn anew."""
    own: float | None = getattr(base, name)
    if value is None or own is None:
        return value
    if rng.random() < REDRAWN:
        return drawn(name, base, rng)
    up = int(rng.integers(2))
    if name == "weight_decay":
        known = sorted({*DECAYS, own})
        return known[min(max(known.index(value) + (1 if up else -1), 0), len(known) - 1)]
    if name == "dropout":
        return round(min(value * FACTORS[up], max(DROPOUT, own)), 2)
    return rounded(min(max(value * FACTORS[up], own / SPAN), own * SPAN))


class Population:
    """Which epochs of which members are done, running, and next, and the whole trainings at the end."""

    def __init__(
        self,
        template: Stage,
        encoder: str,
        budget: Budget,
        seeds: Sequence[int],
        folder: Path,
        remove: Callable[[Path], None] = lambda path: path.unlink(missing_ok=True),
    ) -> None:
        assert template.recipe is not None  # noqa: S101  training stages have one; for the type checker
        self.template, self.encoder, self.budget, self.seeds, self.folder = template, encoder, budget, seeds, folder
        self.remove = remove
        self.num_epochs = budget.max_epochs or template.recipe.num_epochs
        self.base = replace(template.recipe, num_steps=None, num_epochs=self.num_epochs)
        self.records: dict[str, Record] = {}
        for path in sorted(folder.glob("*.json")):
            record = json.loads(path.read_text(encoding="utf-8"))
            if record["encoder"] == encoder and leg_of(template, record).key == record["key"]:
                self.add(record)
        self.made: dict[int, list[Leg]] = {}
        self.running: dict[str, Leg] = {}
        self.tries: Counter[str] = Counter()
        self.num_known = len(self.records)
        self.broken: str | None = None

    @property
    def limit(self) -> int:
        """No more trainings than that are ever started."""
        return (self.budget.num_trials * self.num_epochs + 2 * len(self.seeds)) * MAX_TRIES

    def add(self, record: Record) -> None:
        """Something is finished."""
        self.records[record["key"]] = record

    def score(self, leg: Leg) -> float:
        """On English dev."""
        found: float | None = self.records[leg.key]["dev_score"]
        return DIVERGED if found is None else found

    def generation(self, epoch: int) -> list[Leg]:
        """All members' legs of an epoch, when those of the epoch before are finished; none where all have diverged."""
        if epoch not in self.made:
            self.made[epoch] = self._first() if epoch == 1 else self._following(self.generation(epoch - 1), epoch)
        return self.made[epoch]

    def _first(self) -> list[Leg]:
        """The study's own values, and others drawn around them; a seed for each."""
        found = []
        for member in range(self.budget.num_trials):
            seed = self.seeds[0] + APART + member
            rng = np.random.default_rng([seed, 0])
            values: dict[str, Any] = {name: drawn(name, self.base, rng) for name in NAMES} if member else {}
            stage = replace(self.template, recipe=replace(self.base, **values), seed=seed)
            found.append(Leg(member, self.encoder, stage, 1))
        return found

    def _following(self, before: list[Leg], epoch: int) -> list[Leg]:
        best = sorted(before, key=lambda leg: (-self.score(leg), leg.trial))
        num = min(len(best) // 2, max(1, len(best) // QUANTILE))
        top = [leg for leg in best[: max(1, num)] if self.score(leg) != DIVERGED]
        bottom = {leg.trial for place, leg in enumerate(best) if place >= len(best) - num or self.score(leg) == DIVERGED}
        if not top:
            return []
        found = []
        for leg in before:
            source, recipe = leg, leg.recipe
            if leg.trial in bottom:
                rng = np.random.default_rng([leg.stage.seed or 0, epoch])
                source = top[rng.integers(len(top))]
                values: dict[str, Any] = {name: changed(name, getattr(source.recipe, name), self.base, rng) for name in NAMES}
                recipe = replace(self.base, **values)
            found.append(replace(leg, stage=replace(leg.stage, recipe=recipe), epoch=epoch, parent=source.key))
        return found

    def best(self) -> Leg | None:
        """The best at the end; None where all have diverged."""
        last = [leg for leg in self.generation(self.num_epochs) if self.score(leg) != DIVERGED]
        return min(last, key=lambda leg: (-self.score(leg), leg.trial), default=None)

    def afresh(self, recipe: Recipe) -> list[Leg]:
        """Whole trainings with a recipe."""
        return [Leg(-1, self.encoder, replace(self.template, recipe=recipe, seed=seed)) for seed in self.seeds]

    def _next(self) -> Leg | None:
        for epoch in range(1, self.num_epochs + 1):
            legs = self.generation(epoch)
            if left := [leg for leg in legs if leg.key not in self.records]:
                return next((leg for leg in left if leg.key not in self.running), None)
        best = self.best()
        legs = [] if best is None else self.afresh(best.recipe) + self.afresh(self.base)
        return next((leg for leg in legs if leg.key not in self.records and leg.key not in self.running), None)

    def start(self) -> Leg | None:
        """What is next, now running; None where nothing is to be done, or not yet."""
        found = None if self.broken else self._next()
        if found is not None:
            self.running[found.key] = found
            self.tries[found.key] += 1
        return found

    def end(self, key: str, died: bool = False) -> str:
        """As of halving; states that nobody can go on from any more are removed."""
        leg = self.running[key]
        outcome = settle(self, key, died)
        if leg.epoch and all(other.key in self.records for other in self.generation(leg.epoch)):
            for other in self.generation(leg.epoch - 1) if leg.epoch > 1 else ():
                self.remove(self.state(other.key))
        return outcome

    @property
    def over(self) -> bool:
        """Whether nothing runs and nothing is left to start."""
        return not self.running and (self.broken is not None or self._next() is None)

    def state(self, key: str) -> Path:
        """Where the state lies that a leg leaves."""
        return self.folder / f"{key}.safetensors"

    def lineage(self, leg: Leg) -> list[Leg]:
        """How a leg came to be, the first epoch first."""
        known = {leg.key: leg for epoch in range(1, self.num_epochs + 1) for leg in self.generation(epoch)}
        found = [leg]
        while found[0].parent:
            found.insert(0, known[found[0].parent])
        return found
