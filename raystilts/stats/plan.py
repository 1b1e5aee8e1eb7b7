"""What is asked of the tables: contrasts, interactions, families, margins, policies. Declared before results are seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

Value = str | int | float | bool | None
POLICIES = ("all", "converged")
ALL = "all"
"""The group that is always there: every language of the contrast."""


class StatsError(ValueError):
    """One sentence: what is wrong with the tables or the plan, where, and what to do."""


@dataclass(frozen=True)
class Contrast:
    """Mean score of the runs that match `plus` minus that of those that match `minus`, language by language, in points.

    plus, minus: column of `runs` -> value that it must equal. Both sides must select runs of one target.
    family: contrasts of one family are corrected together over their languages (default: each contrast is its own family).
    labels: copied as columns to the tables (encoder, intermediate, target).

    >>> Contrast("mnli", {"intermediate": "mnli"}, {"intermediate": "none"}).family
    'mnli'
    """

    name: str
    plus: Mapping[str, Value]
    minus: Mapping[str, Value]
    family: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.plus or not self.minus:
            raise StatsError(f"contrast {self.name!r} needs a selection of runs on both sides: give plus and minus a column each")
        if dict(self.plus) == dict(self.minus):
            raise StatsError(f"contrast {self.name!r} compares a selection with itself: plus and minus must differ")
        if not self.family:
            object.__setattr__(self, "family", self.name)


@dataclass(frozen=True)
class Interaction:
    """Difference of two contrasts, in points: gain on the larger encoder (`plus`) minus gain on the smaller (`minus`).

    Interactions of contrasts that share families are corrected together, over their languages and groups.

    >>> Interaction("mnli scales", plus="mnli large", minus="mnli base").plus
    'mnli large'
    """

    name: str
    plus: str
    minus: str
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """All that `analyse` needs to know beside the tables.

    metric: "micro_f1" (s0, s1, s2 = true positives, predicted, gold) or the name of a mean (s0 = the value, 0 to 1), or one by target.
    groups: name -> languages, for pooled claims; "all" is always there. low_group: the group that holds the low-resource languages.
    margin: smallest effect of interest and equivalence margin, points. alpha: two-sided level. resamples, seed: of the crossed bootstrap.
    collapsed: "all" keeps collapsed runs, "converged" drops them; each policy has its own rows.
    duplicates: "drop" keeps the lowest seed of runs of one arm whose predictions are identical and not constant.
    covariate: language -> number, for the slope of the gains (log10 of MB of pretraining text).
    paired_seeds: the same seed means the same data order in both arms, so that runs are paired by seed.

    >>> Plan([Contrast("a", {"x": 1}, {"x": 2})], metric="accuracy").collapsed
    ('all', 'converged')
    """

    contrasts: tuple[Contrast, ...]
    interactions: tuple[Interaction, ...] = ()
    metric: str | Mapping[str, str] = "accuracy"
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    low_group: str | None = None
    margin: float = 1.0
    alpha: float = 0.05
    resamples: int = 10_000
    seed: int = 0
    collapsed: tuple[str, ...] = POLICIES
    duplicates: str = "drop"
    covariate: Mapping[str, float] = field(default_factory=dict)
    paired_seeds: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "contrasts", tuple(self.contrasts))
        object.__setattr__(self, "interactions", tuple(self.interactions))
        object.__setattr__(self, "collapsed", tuple(self.collapsed))
        object.__setattr__(self, "groups", {name: tuple(languages) for name, languages in self.groups.items() if name != ALL})
        names = [c.name for c in self.contrasts] + [i.name for i in self.interactions]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise StatsError(f"the name {twice[0]!r} is used twice in the plan: contrasts and interactions need names of their own")
        known = {c.name for c in self.contrasts}
        for interaction in self.interactions:
            for side in (interaction.plus, interaction.minus):
                if side not in known:
                    raise StatsError(f"interaction {interaction.name!r} names the contrast {side!r}, which the plan does not have")
        if self.low_group is not None and self.low_group not in self.groups:
            raise StatsError(f"low_group is {self.low_group!r}, which is not one of the plan's groups ({', '.join(self.groups) or 'none'})")
        if not set(self.collapsed) <= set(POLICIES) or not self.collapsed:
            raise StatsError(f"collapsed is {self.collapsed!r}: choose from {POLICIES}")
        if self.duplicates not in ("drop", "keep"):
            raise StatsError(f"duplicates is {self.duplicates!r}: choose 'drop' or 'keep'")
        if not 0 < self.alpha < 1:
            raise StatsError(f"alpha is {self.alpha}: it must lie between 0 and 1")
        if not self.margin > 0:
            raise StatsError(f"margin is {self.margin}: it must be a positive number of points")
        if self.resamples < 100:
            raise StatsError(f"resamples is {self.resamples}: fewer than 100 resamples give no interval")
        if self.seed < 0:
            raise StatsError(f"seed is {self.seed}: it must not be negative")

    def metric_of(self, target: str) -> str:
        """The metric of a target; raises where the plan names none."""
        if isinstance(self.metric, str):
            return self.metric
        if target not in self.metric:
            raise StatsError(f"the plan names no metric for the target {target!r} (it has: {', '.join(self.metric) or 'none'})")
        return self.metric[target]
