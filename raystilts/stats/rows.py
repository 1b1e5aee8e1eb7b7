"""The rows of one target: gains, interactions, pooled claims, resource levels and scaling decisions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from raystilts.stats import pooled as pooling
from raystilts.stats import power as powers
from raystilts.stats import scaling
from raystilts.stats.bootstrap import calibrated
from raystilts.stats.design import Cells, Row, Spec
from raystilts.stats.estimate import NOTHING, Estimate, estimate
from raystilts.stats.plan import ALL, Contrast, Interaction, Plan

SLOPE = "slope per log10 MB"
TREND_POINTS = 7
NO_VARIATION = "nothing varies between runs or examples: no standard error can be estimated"


@dataclass(frozen=True)
class Line:
    """A contrast or interaction in one language, ready for pooling: its cells with weights, or the reason why not."""

    language: str
    pairs: tuple[tuple[Spec, float], ...]
    found: Estimate | None
    sides: tuple[Row, ...]
    reason: str


def _few(kind: str, count: int) -> str:
    there = "there is 1" if count == 1 else f"there are {count}"
    return f"fewer than {pooling.FEWEST} {kind} with an estimate ({there}): no claim about a kind of languages can rest on so few"


def _t_columns(found: pooling.Pooled) -> dict[str, float]:
    return {"theta": found.theta, "se": found.se, "df": found.df, "lo": found.lo, "hi": found.hi, "p": found.p}


@dataclass(frozen=True, eq=False)
class Rows:
    """Adds the rows of one target to `tables`; `head` holds the leading columns of a row (policy, contrast, labels)."""

    plan: Plan
    cells: Cells
    tables: dict[str, list[dict[str, Any]]]

    def contrast(self, contrast: Contrast, policy: str, rows: Sequence[Row]) -> list[Line]:
        """Rows of gains and their pooled claims; the lines, for interactions."""
        head = {"policy": policy, "contrast": contrast.name, **contrast.labels}
        lines = [self._line(row) for row in rows]
        for line in lines:
            self._gain(line, head)
        self._pool(lines, head)
        return lines

    def _line(self, row: Row) -> Line:
        if row.plus is None or row.minus is None:
            return Line(row.language, (), None, (row,), row.reason)
        pairs = ((row.plus, 1.0), (row.minus, -1.0))
        return Line(row.language, pairs, estimate(self.cells.found, self.cells.weights(pairs)), (row,), "")

    def _numbers(self, line: Line) -> dict[str, Any]:
        """The columns that gains and interactions share; numbers only where something varies."""
        found = line.found
        if found is None:
            return {"reason": line.reason}
        if found.v <= NOTHING:
            return {"reason": NO_VARIATION}
        low, high = found.interval(self.plan.alpha)
        boot_low, boot_high = calibrated(self.cells.resampled(self.cells.weights(line.pairs)), found, self.plan.alpha)
        t = {"theta": found.theta, "se": found.se, "df": found.df, "lo": low, "hi": high, "boot_lo": boot_low, "boot_hi": boot_high}
        return {**t, "p": found.p(), "reason": ""}

    def _gain(self, line: Line, head: dict[str, Any]) -> None:
        """Rows of gains, variance and power."""
        (row,) = line.sides
        head = {**head, "language": line.language}
        numbers = self._numbers(line)
        counts = {
            "n_examples": row.num_examples,
            "n_clusters": row.num_clusters,
            "runs_plus": row.runs_plus,
            "runs_minus": row.runs_minus,
            "score_plus": row.score_plus,
            "score_minus": row.score_minus,
        }
        found = line.found
        if found is None or found.v <= NOTHING:
            self.tables["gains"].append({**head, **numbers, **counts, "power_note": ""})
            return
        mde = float(powers.detectable_effect(found.se, found.df, self.plan.alpha))
        seeds, note = powers.seeds_needed(found, self.plan.margin, self.plan.alpha)
        variances = {"v_seed": found.v_seed, "v_example": found.v_example, "v_both": found.v_both}
        self.tables["gains"].append({**head, **numbers, **counts, **variances, "mde": mde, "seeds_needed": seeds, "power_note": note})
        for component, variance in self._components(line, found).items():
            self.tables["variance"].append({**head, "component": component, "variance": variance, "share": variance / found.v})
        if found.seed_parts:
            errors, degrees = powers.with_seeds(found, powers.SEEDS)
            for number, effect in zip(powers.SEEDS, powers.detectable_effect(errors, degrees, self.plan.alpha), strict=True):
                self.tables["power"].append({**head, "se": found.se, "mde": mde, "seeds": number, "detectable": float(effect)})

    def _components(self, line: Line, found: Estimate) -> dict[str, float]:
        """What runs of either side, examples and their combination add to the variance of a gain; seeds without the combination."""
        result = {}
        for (spec, _), name in zip(line.pairs, ("seed_plus", "seed_minus"), strict=True):
            c = self.cells.at[spec]
            result[name] = max(float(self.cells.found.seed[c, c] - self.cells.found.both[c, c]), 0.0)
        return {**result, "example": max(found.v_example - found.v_both, 0.0), "seed_x_example": found.v_both}

    def interaction(self, interaction: Interaction, policy: str, lines: Mapping[str, list[Line]]) -> None:
        """Rows of interactions, their pooled claims and scaling decisions."""
        head = {"policy": policy, "contrast": interaction.name, **interaction.labels}
        smaller = {line.language: line for line in lines[interaction.minus]}
        larger = {line.language: line for line in lines[interaction.plus]}
        joined = []
        for language in sorted(set(larger) | set(smaller)):
            line = self._join(language, larger.get(language), smaller.get(language))
            joined.append(line)
            numbers = self._numbers(line)
            found = line.found
            power = None if found is None or found.v <= NOTHING else powers.power(self.plan.margin, found.se, found.df, self.plan.alpha)
            size = line.sides[0].num_examples if line.sides else None
            self.tables["interactions"].append({**head, "language": language, **numbers, "n_examples": size, "power": power})
        self._pool(joined, head)
        self._scale(joined, head)

    def _join(self, language: str, larger: Line | None, smaller: Line | None) -> Line:
        if larger is None or smaller is None:
            return Line(language, (), None, (), f"only the {'smaller' if larger is None else 'larger'} encoder has runs in {language}")
        sides = larger.sides + smaller.sides
        reason = larger.reason or smaller.reason
        if not reason and larger.pairs[0][0].variant != smaller.pairs[0][0].variant:
            reason = f"the two encoders were not scored on the same examples and gold in {language}: score all runs on one test set"
        if reason:
            return Line(language, (), None, sides, reason)
        pairs = larger.pairs + tuple((spec, -weight) for spec, weight in smaller.pairs)
        return Line(language, pairs, estimate(self.cells.found, self.cells.weights(pairs)), sides, "")

    def _groups(self, lines: Sequence[Line]) -> dict[str, list[Line]]:
        """The groups that have a language among the lines; the low-resource group is always there, so that it can be refused."""
        groups = {ALL: list(lines)}
        for name, languages in self.plan.groups.items():
            members = [line for line in lines if line.language in languages]
            if members or (name == self.plan.low_group and lines):
                groups[name] = members
        return groups

    def _refusal(self, group: str, members: Sequence[Line]) -> str:
        """Why nothing may be claimed about a group, with the first of its languages' own reasons; "" where something may."""
        count = sum(line.found is not None for line in members)
        enough = pooling.FEWEST if group == self.plan.low_group else 1
        if count >= enough:
            return ""
        own = next((f"; {line.language}: {line.reason}" for line in members if line.found is None), "")
        return (_few("low-resource languages", count) if enough > 1 else f"no language of the group {group!r} has an estimate") + own

    def _mean(self, lines: Sequence[Line], languages: Sequence[float] | None = None) -> Estimate:
        """Two-way estimate of a weighted sum over languages (default: their mean)."""
        share = [1 / len(lines)] * len(lines) if languages is None else languages
        pairs = [(spec, weight * w) for line, w in zip(lines, share, strict=True) for spec, weight in line.pairs]
        return estimate(self.cells.found, self.cells.weights(pairs))

    def _pool(self, lines: Sequence[Line], head: dict[str, Any]) -> None:
        """Rows of pooled, partial_conjunction and resource."""
        for group, members in self._groups(lines).items():
            usable = [line for line in members if line.found is not None]
            refused = self._refusal(group, members)
            lead = {**head, "group": group, "n_languages": len(usable)}
            without = [line.language for line in members if line.found is None]
            lead["note"] = f"without {', '.join(without)} (refused)" if without else ""
            results = [] if refused else self._pooled(usable)
            for estimand in (pooling.FIXED, pooling.SAMPLE, pooling.NEW):
                found = next((r for r in results if r.estimand == estimand), None)
                if found is None or math.isnan(found.p):
                    reason = refused or (_few("languages", len(usable)) if found is None else NO_VARIATION)
                    self.tables["pooled"].append({**lead, "estimand": estimand, "reason": reason})
                else:
                    spread = {"tau": found.tau, "i2": found.i2} if len(usable) > 1 else {}
                    self.tables["pooled"].append({**lead, "estimand": estimand, **_t_columns(found), **spread, "reason": ""})
            self.tables["partial_conjunction"].append({**head, "group": group, "num_languages": len(usable), "reason": refused})
        self._resource(lines, head)

    def _summary(self, lines: Sequence[Line]) -> tuple[list[float], list[float], float]:
        """Gains, their variances and the variance of their mean."""
        estimates = [line.found for line in lines if line.found is not None]
        return [e.theta for e in estimates], [e.v for e in estimates], self._mean(lines).v

    def _pooled(self, lines: Sequence[Line]) -> list[pooling.Pooled]:
        theta, variance, _ = self._summary(lines)
        return pooling.pool(self._mean(lines), theta, variance, self.plan.alpha)

    def _resource(self, lines: Sequence[Line], head: dict[str, Any]) -> None:
        """Low- against other resource levels, and the slope on the covariate."""
        usable = [line for line in lines if line.found is not None]
        if self.plan.low_group is not None and lines:
            lowest = set(self.plan.groups[self.plan.low_group])
            low = [line for line in usable if line.language in lowest]
            # Groups that overlap with the low-resource one are no comparison for it.
            others = {name: set(group) for name, group in self.plan.groups.items() if not lowest & set(group)}
            for name, languages in (others or {"others": {line.language for line in lines} - lowest}).items():
                both = [[line for line in lines if line.language in group] for group in (lowest, languages)]
                if not both[1]:
                    continue
                high = [line for line in both[1] if line.found is not None]
                lead = {**head, "comparison": f"{self.plan.low_group} - {name}", "n_languages": len(low) + len(high)}
                reason = self._refusal(self.plan.low_group, both[0]) or self._refusal(name, both[1])
                self._add_resource(lead, reason, [] if reason else self._difference(low, high))
        if self.plan.covariate and lines:
            known = [line for line in usable if line.language in self.plan.covariate]
            x = [float(self.plan.covariate[line.language]) for line in known]
            reason = _few("languages with a covariate", len(known)) if len(known) < pooling.FEWEST else ""
            if not reason and min(x) == max(x):
                reason = "the covariate is the same in all languages"
            lead = {**head, "comparison": SLOPE, "n_languages": len(known)}
            self._add_resource(lead, reason, [] if reason else self._slope(known, x))
            if not reason and all(len(line.pairs) == 2 for line in known):
                self._trend(known, x, head)

    def _difference(self, low: Sequence[Line], high: Sequence[Line]) -> list[pooling.Pooled]:
        fixed = self._mean([*low, *high], [1 / len(low)] * len(low) + [-1 / len(high)] * len(high))
        return pooling.difference(fixed, self._summary(low), self._summary(high), self.plan.alpha)

    def _slope(self, lines: Sequence[Line], covariate: Sequence[float]) -> list[pooling.Pooled]:
        fixed = self._mean(lines, pooling.slope_weights(covariate).tolist())
        return pooling.slope(fixed, self._summary(lines), covariate, self.plan.alpha)

    def _trend(self, lines: Sequence[Line], covariate: Sequence[float], head: dict[str, Any]) -> None:
        """Rows of trend: the fitted line at a few values of the covariate, for the band of a figure."""
        for at in np.linspace(min(covariate), max(covariate), TREND_POINTS).tolist():
            fixed = self._mean(lines, pooling.line_weights(covariate, at).tolist())
            for found in pooling.line(fixed, self._summary(lines), covariate, at, self.plan.alpha):
                numbers = {"theta": found.theta, "lo": found.lo, "hi": found.hi, "n_languages": found.num_languages, "reason": ""}
                self.tables["trend"].append({**head, "estimand": found.estimand, "at": at, **numbers})

    def _add_resource(self, lead: dict[str, Any], reason: str, results: Iterable[pooling.Pooled]) -> None:
        if reason:
            self.tables["resource"].append({**lead, "estimand": pooling.FIXED, "reason": reason})
        for found in results:
            columns = {"reason": NO_VARIATION} if math.isnan(found.p) else {**_t_columns(found), "reason": ""}
            self.tables["resource"].append({**lead, "estimand": found.estimand, **columns})

    def _scale(self, lines: Sequence[Line], head: dict[str, Any]) -> None:
        """Rows of scaling, still undecided: `asked` holds the pooled interaction and its margin on the row's scale."""
        for group, members in self._groups(lines).items():
            usable = [line for line in members if line.found is not None]
            reason = self._refusal(group, members)
            for scale in scaling.SCALES:
                row: dict[str, Any] = {**head, "group": group, "scale": scale, "n_languages": len(usable), "reason": reason}
                if not reason:
                    row["asked"] = found, margin = self._on_scale(usable, scale)
                    if not np.isfinite(margin):
                        row["reason"] = "a baseline is perfect: no headroom is left"
                    elif found.v <= NOTHING:
                        row["reason"] = NO_VARIATION
                    else:
                        low, high = found.interval(self.plan.alpha)
                        row |= {"theta": found.theta, "lo": low, "hi": high, "margin": margin}
                self.tables["scaling"].append(row)

    def _on_scale(self, lines: Sequence[Line], scale: str) -> tuple[Estimate, float]:
        """The pooled interaction on a scale (delta method) and the margin on it; NaN margin where a baseline is perfect on headroom."""
        pairs: list[tuple[Spec, float]] = []
        theta = 0.0
        baselines, sizes = [], []
        for line in lines:
            for (spec_plus, _), (spec_minus, _), sign in ((line.pairs[0], line.pairs[1], 1.0), (line.pairs[2], line.pairs[3], -1.0)):
                plus, minus = (float(self.cells.found.theta[self.cells.at[spec]]) for spec in (spec_plus, spec_minus))
                size = line.sides[0].num_examples
                baselines.append(minus)
                sizes.append(size)
                gain, by_plus, by_minus = (float(x) for x in scaling.transformed(scale, plus, minus, size))
                theta += sign * gain / len(lines)
                pairs += [(spec_plus, sign * by_plus / len(lines)), (spec_minus, sign * by_minus / len(lines))]
        margin = scaling.margin_on(scale, self.plan.margin, baselines, sizes)
        if not np.isfinite(theta):
            return Estimate(theta, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0), float("nan")
        return estimate(self.cells.found, self.cells.weights(pairs), theta), margin
