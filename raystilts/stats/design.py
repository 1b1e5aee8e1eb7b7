"""Which runs face which in which language, and whether anything may be claimed: cells, refusals, bootstrap draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from raystilts.stats.bootstrap import TestSet, arm_means, resampled_chunks, run_weights, set_name
from raystilts.stats.estimate import Cell, Moments, moments
from raystilts.stats.findings import describe, gold_conflict, gold_digests, matching
from raystilts.stats.plan import Contrast, Plan, StatsError, Value
from raystilts.stats.tables import Block, Data

Floats = npt.NDArray[np.float64]
Scope = tuple[tuple[str, Value], ...]


@dataclass(frozen=True)
class Spec:
    """A cell before its arrays are made: runs of one block, their units, and the set of units that is resampled with them."""

    target: str
    language: str
    variant: int
    runs: tuple[int, ...]
    units: tuple[str, ...]
    universe: tuple[str, ...]
    trained: bool


@dataclass(frozen=True)
class Row:
    """A contrast in one language: two specs, or why there can be no estimate."""

    language: str
    plus: Spec | None
    minus: Spec | None
    runs_plus: int
    runs_minus: int
    score_plus: float
    score_minus: float
    num_examples: int
    num_clusters: int
    reason: str


@dataclass(frozen=True, eq=False)
class Cells:
    """All cells of a target: `at` gives a spec's number, `draws` (C, B) its resampled means in points."""

    at: dict[Spec, int]
    found: Moments
    draws: Floats

    def weights(self, pairs: Sequence[tuple[Spec, float]]) -> Floats:
        """(C,) weights; those of equal cells add up, so that an arm that several contrasts share is counted once."""
        w = np.zeros(len(self.at))
        for spec, weight in pairs:
            w[self.at[spec]] += weight
        return w

    def resampled(self, weights: Floats) -> Floats:
        """(B,) bootstrap draws of a hypothesis."""
        used = np.flatnonzero(weights)
        result: Floats = weights[used] @ self.draws[used]
        return result


def target_of(data: Data, contrast: Contrast) -> str | None:
    """The one target that a contrast's runs have; None where it selects none yet."""
    targets = sorted({run.target for side in (contrast.plus, contrast.minus) for run in matching(data, side)})
    if len(targets) > 1:
        raise StatsError(f"contrast {contrast.name!r} selects runs of the targets {', '.join(targets)}: add one target to plus and minus")
    return targets[0] if targets else None


@dataclass(eq=False)
class Design:
    """The rows of contrasts under one policy. `active`: the runs that the policy keeps."""

    data: Data
    plan: Plan
    active: frozenset[int]
    lost: frozenset[int]  # runs that only this policy leaves out, to say so in refusals
    _universes: dict[tuple[Scope, Scope], dict[str, tuple[str, ...]]] = field(default_factory=dict)
    _gold: dict[int, tuple[tuple[str, ...], str]] | None = None

    def rows(self, contrast: Contrast, target: str) -> list[Row]:
        """One row per language in which either side has runs."""
        scope = tuple(sorted(set(contrast.plus.items()) & set(contrast.minus.items()))) if self.plan.paired_seeds else ()
        sides = [self._side(side, target) for side in (contrast.plus, contrast.minus)]
        languages = sorted({language for side in sides for language in side})
        # Languages whose runs this policy left out still have a row, which says so.
        gone = {run.index for side in (contrast.plus, contrast.minus) for run in matching(self.data, side)} & self.lost
        for (of_target, language), blocks in self.data.blocks.items():
            if of_target == target and any(not gone.isdisjoint(block.runs.tolist()) for block in blocks):
                languages = sorted({*languages, language})
        return [self._row(contrast, target, language, sides, scope) for language in languages]

    def _side(self, selection: Mapping[str, Value], target: str) -> dict[str, list[tuple[int, int]]]:
        """The (variant, run) pairs of the active runs of one side, by language."""
        chosen = {run.index for run in matching(self.data, selection)} & self.active
        found: dict[str, list[tuple[int, int]]] = {}
        for (of_target, language), blocks in self.data.blocks.items():
            if of_target == target:
                here = [(v, run) for v, block in enumerate(blocks) for run in block.runs.tolist() if run in chosen]
                if here:
                    found[language] = sorted(here, key=lambda pair: pair[1])
        return found

    def _unit(self, run: int, scope: Scope) -> str:
        """What was drawn at random together with a run."""
        r = self.data.runs[run]
        if self.plan.paired_seeds and r.seed is not None:
            return f"seed {r.seed} of {scope!r}"
        return f"checkpoint {r.checkpoint}" if r.checkpoint else f"run {r.id}"

    def _units_of(self, selection: Mapping[str, Value], side: dict[str, list[tuple[int, int]]], scope: Scope) -> dict[str, tuple[str, ...]]:
        """All units that are connected to a unit through languages that they share: these are resampled as one set."""
        key = (tuple(sorted(selection.items(), key=str)), scope)
        if key not in self._universes:
            groups: list[set[str]] = []
            for members in side.values():
                units = {self._unit(run, scope) for _, run in members}
                joined = [group for group in groups if group & units]
                groups = [group for group in groups if not group & units] + [units.union(*joined)]
            self._universes[key] = {unit: tuple(sorted(group)) for group in groups for unit in group}
        return self._universes[key]

    def _row(self, contrast: Contrast, target: str, language: str, sides: list[dict[str, list[tuple[int, int]]]], scope: Scope) -> Row:
        members = [side.get(language, []) for side in sides]
        blocks = self.data.blocks[target, language]
        reason = self._pairing(contrast, language, members, blocks)
        counts = [len(m) for m in members]
        means = [float(np.mean([_score(blocks[v], run) for v, run in m])) if m else float("nan") for m in members]
        for name, selection, m in zip(("plus", "minus"), (contrast.plus, contrast.minus), members, strict=True):
            reason = reason or self._runs(f"{name} ({describe(selection)})", [run for _, run in m], scope)
        reason = reason or self._matched(members)
        variant = members[0][0][0] if members[0] else members[1][0][0] if members[1] else 0
        block = blocks[variant]
        if not reason and len(block.clusters) < 2:
            reason = "the test set holds a single independent example: nothing can be said about others"
        specs: list[Spec | None] = [None, None]
        if not reason:
            universes = [
                self._units_of(selection, side, scope) for selection, side in zip((contrast.plus, contrast.minus), sides, strict=True)
            ]
            for i, (m, universe) in enumerate(zip(members, universes, strict=True)):
                runs = tuple(run for _, run in m)
                units = tuple(self._unit(run, scope) for run in runs)
                trained = self.data.runs[runs[0]].seed is not None
                specs[i] = Spec(target, language, variant, runs, units, universe[units[0]], trained)
        return Row(
            language=language,
            plus=specs[0],
            minus=specs[1],
            runs_plus=counts[0],
            runs_minus=counts[1],
            score_plus=means[0],
            score_minus=means[1],
            num_examples=block.num_examples,
            num_clusters=len(block.clusters),
            reason=reason,
        )

    def _pairing(self, contrast: Contrast, language: str, members: list[list[tuple[int, int]]], blocks: tuple[Block, ...]) -> str:
        for m, selection in zip(members, (contrast.plus, contrast.minus), strict=True):
            if not m:
                left_out = {run.index for run in matching(self.data, selection)} & self.lost
                kind = "converged" if any(left_out & set(block.runs.tolist()) for block in blocks) else "finished"
                return f"no {kind} run of {describe(selection)} in {language}"
        variants = {v for m in members for v, _ in m}
        if len({blocks[v].examples for v in variants}) > 1:
            sizes = " and ".join(str(blocks[v].num_examples) for v in sorted(variants))
            return f"the runs were not scored on the same examples in {language} ({sizes} examples): score all runs on one test set"
        if len(variants) > 1:
            return f"the runs were scored against different gold in {language}: score all runs against one gold"
        if self._gold is None:
            self._gold = gold_digests(self.data)
        if gold_conflict(self._gold, [run for m in members for _, run in m]):
            return "gold_sha256 differs between the runs: score all runs against one gold"
        return ""

    def _runs(self, side: str, runs: list[int], scope: Scope) -> str:
        """Why one side's runs allow no claim, or ""."""
        listed = [self.data.runs[run] for run in runs]
        untrained = [run for run in listed if run.seed is None]
        if untrained and len(listed) > 1:
            return f"{side} has {len(listed)} runs, {len(untrained)} of them without a seed: a deterministic arm has exactly one run"
        if not untrained and len(listed) == 1:
            return f"{side} has a single run: one seed says nothing about the procedure, add seeds"
        checkpoints = {run.checkpoint for run in listed if run.checkpoint}
        if not untrained and len(checkpoints) == 1 and all(run.checkpoint for run in listed):
            return (
                f"all {len(listed)} runs of {side} start from one intermediate checkpoint: seeds do not sample the intermediate phase, "
                "so that the procedure's gain cannot be estimated, only that given this checkpoint"
            )
        if self.plan.paired_seeds and checkpoints and len(checkpoints) < len(listed):
            return f"runs of {side} share intermediate checkpoints, so that seeds cannot be paired: analyse without paired_seeds"
        return ""

    def _matched(self, members: list[list[tuple[int, int]]]) -> str:
        if not self.plan.paired_seeds:
            return ""
        seeds = [sorted(self.data.runs[run].seed or 0 for _, run in m if self.data.runs[run].seed is not None) for m in members]
        if all(seeds) and (seeds[0] != seeds[1] or len(set(seeds[0])) < len(seeds[0])):
            return f"paired_seeds needs the same seeds on both sides, not {seeds[0]} and {seeds[1]}"
        return ""


def _score(block: Block, run: int) -> float:
    return float(block.score[np.searchsorted(block.runs, run)])


def build(data: Data, specs: Sequence[Spec], resamples: int, seed: int) -> Cells:
    """Moments and bootstrap draws of all cells of a target. Examples are resampled once per set of test sets that share clusters."""
    distinct = list(dict.fromkeys(specs))
    units = {name: i for i, name in enumerate(sorted({unit for spec in distinct for unit in spec.units}))}
    cells = []
    for spec in distinct:
        block = data.blocks[spec.target, spec.language][spec.variant]
        rows = block.rows(np.array(spec.runs))
        unit = np.array([units[name] for name in spec.units], dtype=np.int64)
        cells.append(Cell(block.score[rows], block.influence(rows), block.clusters, unit, spec.trained))
    found = moments(cells)
    del cells
    draws = np.empty((len(distinct), resamples))
    universes = dict.fromkeys(spec.universe for spec in distinct)
    weights = {universe: run_weights(seed, set_name("runs", universe), resamples, len(universe)) for universe in universes}
    for keys in _shared_sets(data, distinct):
        members = {key: [(i, spec) for i, spec in enumerate(distinct) if (spec.target, spec.language, spec.variant) == key] for key in keys}
        _draw(data, members, weights, draws, seed)
    return Cells({spec: i for i, spec in enumerate(distinct)}, found, draws)


def _shared_sets(data: Data, specs: Sequence[Spec]) -> list[list[tuple[str, str, int]]]:
    """Blocks in groups that share clusters of examples, directly or through others."""
    groups: list[tuple[set[int], list[tuple[str, str, int]]]] = []
    for key in sorted({(spec.target, spec.language, spec.variant) for spec in specs}):
        codes, keys = set(data.blocks[key[:2]][key[2]].clusters.tolist()), [key]
        rest = []
        for group in groups:
            if group[0].isdisjoint(codes):
                rest.append(group)
            else:
                codes, keys = codes | group[0], group[1] + keys
        groups = [*rest, (codes, keys)]
    return [sorted(keys) for _, keys in groups]


def _draw(
    data: Data,
    members: Mapping[tuple[str, str, int], list[tuple[int, Spec]]],
    weights: Mapping[tuple[str, ...], npt.NDArray[np.int64]],
    draws: Floats,
    seed: int,
) -> None:
    """Fills the draws of the cells (number, spec) of one group of test sets."""
    blocks = [data.blocks[key[:2]][key[2]] for key in members]
    codes = np.unique(np.concatenate([block.clusters for block in blocks]))
    sets, wanted = [], []
    for block, cells in zip(blocks, members.values(), strict=True):
        runs = np.array(sorted({run for _, spec in cells for run in spec.runs}))
        rows = block.rows(runs)
        den = block.den if len(block.den) == 1 else block.den[rows]
        sets.append(TestSet(block.num[rows], den, np.searchsorted(codes, block.clusters)))
        units = [np.array([spec.universe.index(unit) for unit in spec.units]) for _, spec in cells]
        wanted.append(
            [(i, np.searchsorted(runs, spec.runs), weights[spec.universe], unit) for (i, spec), unit in zip(cells, units, strict=True)]
        )
    name = set_name("examples", ["\1".join(map(str, key)) for key in members])
    for drawn, scores in resampled_chunks(seed, name, draws.shape[1], len(codes), sets):
        for score, cells_wanted in zip(scores, wanted, strict=True):
            for i, columns, weight, unit in cells_wanted:
                draws[i, drawn] = arm_means(score[:, columns], weight[drawn], unit)
