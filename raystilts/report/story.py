"""What a report knows beside the numbers: the question, the names, the levels, who made it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

OVER_PLAIN, MINUS_PLAIN = "against plain", "minus plain"
"""The label `method` of a gain over the plain method; and, behind a method's name, of its gains minus the plain one's."""


@dataclass(frozen=True, slots=True)
class LanguageFacts:
    """name: English name; level: one of the story's levels; order: position on the resource axis (more is richer)."""

    name: str
    level: str
    order: float = 0.0


@dataclass(frozen=True)
class Story:
    """Everything in a report that is not in the analysis' tables.

    baseline: the intermediate that gains are over; "" where contrasts are of something else. encoders: small to large.
    levels: low to high resource; the pooled groups of the same names are the levels' pooled gains.
    missing: cells that have not been run. trap_cells: (target, intermediate) of cells to distrust -> a sentence why.
    margin: the equivalence margin in points. facts: versions, hashes, the store, printed as they are, the first three at the top;
    "bootstrap resamples" and "bootstrap seed" also go into the methods. study_file: name and text of the file that asks the question.
    citations: works that the study's tasks cite. live: the page is made again while the sweep goes on.
    """

    title: str
    question: str
    command: str
    baseline: str = "none"
    encoders: tuple[str, ...] = ()
    languages: Mapping[str, LanguageFacts] = field(default_factory=dict)
    levels: tuple[str, ...] = ()
    level_note: str = ""
    notes: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    margin: float = 1.0
    alpha: float = 0.05
    trap_cells: Mapping[tuple[str, str], str] = field(default_factory=dict)
    complete: bool = True
    study_file: tuple[str, str] | None = None
    citations: tuple[str, ...] = ()
    live: bool = False


class Analysis(Protocol):
    """The tables that a report reads: what `raystilts.stats.analyse` returns, or any object with these pyarrow tables."""

    @property
    def scores(self) -> Any:
        """Score of every run in every language."""

    @property
    def gains(self) -> Any:
        """Gain of every contrast in every language, under each collapse policy."""

    @property
    def interactions(self) -> Any:
        """Gain on the larger encoder minus gain on the smaller, per language."""

    @property
    def pooled(self) -> Any:
        """Contrasts and interactions over groups of languages."""

    @property
    def partial_conjunction(self) -> Any:
        """In how many languages at least a contrast is a gain."""

    @property
    def scaling(self) -> Any:
        """The three decisions on every pooled interaction, on three scales."""

    @property
    def resource(self) -> Any:
        """Differences of pooled gains between resource levels."""

    @property
    def trend(self) -> Any:
        """The line of the gains on the covariate (log10 of CC-100's megabytes), with its band."""

    @property
    def variance(self) -> Any:
        """Where each gain's uncertainty comes from."""

    @property
    def power(self) -> Any:
        """Detectable gain against the number of seeds."""

    @property
    def findings(self) -> Any:
        """What is wrong or odd about runs and predictions."""

    @property
    def collapse(self) -> Any:
        """How many runs of each arm collapsed."""


TABLES = (
    "scores",
    "gains",
    "interactions",
    "pooled",
    "partial_conjunction",
    "scaling",
    "resource",
    "trend",
    "variance",
    "power",
    "findings",
    "collapse",
)
