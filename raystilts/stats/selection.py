"""Honest selection: the best intermediate task, chosen on English dev inside the bootstrap, beside what an oracle would report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy import special

from raystilts.stats.analysis import REAL, TEXT, WHOLE, prepared
from raystilts.stats.batches import Examples
from raystilts.stats.bootstrap import arm_means, generator, run_weights, set_name
from raystilts.stats.design import Cells, Design, Row, Spec, build, target_of
from raystilts.stats.estimate import Estimate, estimate, t_quantile
from raystilts.stats.families import cautious, joint_maxima
from raystilts.stats.plan import Contrast, Plan, Value
from raystilts.stats.tables import Data, read

Floats = npt.NDArray[np.float64]
DEV, ORACLE = "chosen on dev", "oracle: best on test"
_NUMBERS = ("share", "theta", "naive_lo", "naive_hi", "optimism", "honest", "lo", "hi", "any_lo", "any_hi")


@dataclass(frozen=True)
class Selected:
    """What a rule chose among K candidates, and what is left of the chosen one's estimate once the choice is accounted for (points).

    share: of the resamples in which the rule chooses the same. naive: t interval as if nothing had been chosen. optimism: mean of estimate
    minus truth of whatever the rule chooses, over resamples. honest: theta - optimism, with lo and hi from the distribution of that
    error. any: simultaneous over all candidates (max-T), which holds whatever the rule was; the oracle's claims rest on it.
    """

    rule: str
    chosen: int
    share: float
    theta: float
    naive: tuple[float, float]
    optimism: float
    honest: float
    lo: float
    hi: float
    any_lo: float
    any_hi: float


def select(
    criterion: npt.ArrayLike,
    resampled_criterion: npt.ArrayLike,
    found: Sequence[Estimate],
    draws: npt.ArrayLike,
    *,
    rule: str = DEV,
    critical: float | None = None,
    alpha: float = 0.05,
) -> Selected:
    """The candidate with the highest criterion, and its gain once the selection is repeated inside the bootstrap (Efron 2014, in spirit).

    criterion: (K,), resampled_criterion: (K, B), drawn jointly with draws: (K, B) crossed-bootstrap gains. found: the K two-way estimates.
    critical: `|z|` of the simultaneous interval (default: Bonferroni). In every resample the rule chooses anew; the error of what it chose
    is scaled as in the calibrated bootstrap. Where the criterion is the gain itself (the oracle) this corrects too little when candidates
    are close to each other, because the spread of their estimates is taken for a spread of their truths.

    >>> rng = np.random.default_rng(0)
    >>> found = [Estimate(float(x), 1.0, 50.0, 0.5, 0.5, 0.0, 99.0) for x in (0.0, 2.0, 1.0)]
    >>> draws = np.array([[e.theta] for e in found]) + rng.normal(size=(3, 4000))
    >>> oracle = select([e.theta for e in found], draws, found, draws, rule=ORACLE)
    >>> oracle.chosen, round(oracle.optimism, 1)
    (1, 0.6)
    """
    values, again, gains = (np.asarray(x, dtype=np.float64) for x in (criterion, resampled_criterion, draws))
    chosen = int(values.argmax())
    picks = again.argmax(axis=0)
    theta = np.array([e.theta for e in found])
    spread = gains.std(axis=1, ddof=1)
    z = float(special.ndtri(1 - alpha / 2))
    scale = np.array([t_quantile(1 - alpha / 2, e.df) * e.se / (z * s) if s > 0 else 1.0 for e, s in zip(found, spread, strict=True)])
    error = (scale[:, None] * (gains - theta[:, None]))[picks, np.arange(gains.shape[1])]
    optimism = float(error.mean())
    low, high = np.quantile(error, [alpha / 2, 1 - alpha / 2])
    mine = found[chosen]
    bound = critical if critical is not None else float(special.ndtri(1 - alpha / 2 / len(found)))
    # The critical |z| at the chosen estimate's own degrees of freedom.
    half = t_quantile(float(special.ndtr(bound)), mine.df) * mine.se
    return Selected(
        rule=rule,
        chosen=chosen,
        share=float((picks == chosen).mean()),
        theta=mine.theta,
        naive=mine.interval(alpha),
        optimism=optimism,
        honest=mine.theta - optimism,
        lo=mine.theta - float(high),
        hi=mine.theta - float(low),
        any_lo=mine.theta - half,
        any_hi=mine.theta + half,
    )


def selection_table(runs: pa.Table, examples: Examples, plan: Plan) -> pa.Table:
    """For every baseline with two or more contrasts against it (one encoder and target): the best one by English dev, and the oracle's.

    Two rows per policy and baseline: policy, baseline, labels that all candidates share, rule, chosen (contrast), candidates, n_languages,
    share, theta, naive_lo, naive_hi, optimism, honest, lo, hi, any_lo, any_hi (Selected), claim, reason. The gain is the mean over the
    languages in which all candidates have an estimate. `runs` needs dev_score; dev examples are taken as given. claim: of [lo, hi] for
    the choice on dev, of [any_lo, any_hi] for the oracle, never of the naive interval. Arguments as in `analyse`.

    >>> import pyarrow as pa
    >>> runs = pa.table({"run_id": list("abcdef"), "arm": list("xxyyzz"), "seed": [1, 2] * 3, "dev_score": [9.0, 8.0, 5.0, 6.0, 4.0, 5.0]})
    >>> rows = [(run, "sw", str(i), float((i * (j + 3)) % 7 < 4)) for j, run in enumerate("abcdef") for i in range(40)]
    >>> examples = pa.table(dict(zip(["run_id", "language", "example_id", "s0"], map(list, zip(*rows)))))
    >>> plan = Plan([Contrast(arm, {"arm": arm}, {"arm": "z"}) for arm in "xy"], collapsed=("all",), resamples=200)
    >>> [(row["rule"], row["chosen"]) for row in selection_table(runs, examples, plan).to_pylist()][0]
    ('chosen on dev', 'x')
    """
    data = read(runs, examples, plan.metric_of)
    groups: dict[tuple[tuple[str, Value], ...], list[Contrast]] = {}
    for contrast in plan.contrasts:
        groups.setdefault(tuple(sorted(contrast.minus.items())), []).append(contrast)
    labels = list(dict.fromkeys(name for contrast in plan.contrasts for name in contrast.labels))
    rows: list[dict[str, Any]] = []
    for policy, design in prepared(data, plan).designs.items():
        for minus, contrasts in groups.items():
            if len(contrasts) > 1:
                shared = {k: v for k, v in contrasts[0].labels.items() if all(c.labels.get(k) == v for c in contrasts)}
                head = {"policy": policy, "baseline": ", ".join(f"{k} {v}" for k, v in minus), **shared, "candidates": len(contrasts)}
                rows += [head | row for row in _of_group(data, plan, design, contrasts)]
    kinds = dict.fromkeys(("policy", "baseline", *labels, "rule", "chosen"), TEXT) | dict.fromkeys(("candidates", "n_languages"), WHOLE)
    kinds |= dict.fromkeys(_NUMBERS, REAL) | dict.fromkeys(("claim", "reason"), TEXT)
    return pa.table({name: pa.array([row.get(name) for row in rows], kind) for name, kind in kinds.items()})


def _of_group(data: Data, plan: Plan, design: Design, contrasts: Sequence[Contrast]) -> list[dict[str, Any]]:
    """The two rows of one baseline; without numbers where the choice cannot be repeated."""
    faced = [_usable(data, design, contrast) for contrast in contrasts]
    languages = sorted(set.intersection(*(set(rows) for rows in faced)))
    devs = [_dev_scores(data, rows[languages[0]]) if languages else None for rows in faced]
    reason = "" if languages else "no language has an estimate of all candidates"
    lacking = [c.name for c, dev in zip(contrasts, devs, strict=True) if dev is None]
    if not reason and lacking:
        reason = f"runs of {lacking[0]} have no dev_score, so that the choice on dev cannot be repeated"
    if reason:
        return [{"rule": rule, "claim": "refused", "reason": reason, "n_languages": len(languages)} for rule in (DEV, ORACLE)]
    sides = [side for rows in faced for language in languages for side in (rows[language].plus, rows[language].minus)]
    specs = [spec for spec in sides if spec is not None]
    cells = build(data, specs, plan.resamples, plan.seed)
    weights = np.array([_weights(cells, [rows[language] for language in languages]) for rows in faced])
    found = [estimate(cells.found, w) for w in weights]
    draws = np.array([cells.resampled(w) for w in weights])
    degrees = min(sum(units - 1 for _, units in e.seed_parts) for e in found)
    seeds = cautious(weights @ (cells.found.seed - cells.found.both) @ weights.T, degrees)
    covariance = seeds + weights @ cells.found.example @ weights.T
    variance = np.array([max(e.v, 1e-12) for e in found])
    maxima = joint_maxima(covariance, variance, generator(plan.seed, f"selection {' '.join(c.name for c in contrasts)}"))
    critical = float(np.quantile(maxima, 1 - plan.alpha))
    criterion = np.array([float(d[1].mean()) for d in devs if d is not None])
    resampled = np.array([_resampled_dev(plan, *d) for d in devs if d is not None])
    results = []
    for one in (
        select(criterion, resampled, found, draws, rule=DEV, critical=critical, alpha=plan.alpha),
        select([e.theta for e in found], draws, found, draws, rule=ORACLE, critical=critical, alpha=plan.alpha),
    ):
        low, high = (one.lo, one.hi) if one.rule == DEV else (one.any_lo, one.any_hi)
        claim = "gain" if low > 0 else "loss" if high < 0 else "undecided"
        numbers: Mapping[str, Any] = {
            **{name: getattr(one, name) for name in _NUMBERS if hasattr(one, name)},
            "naive_lo": one.naive[0],
            "naive_hi": one.naive[1],
        }
        lead = {"rule": one.rule, "chosen": contrasts[one.chosen].name, "n_languages": len(languages)}
        results.append({**lead, **numbers, "claim": claim, "reason": ""})
    return results


def _usable(data: Data, design: Design, contrast: Contrast) -> dict[str, Row]:
    target = target_of(data, contrast)
    rows = [] if target is None else design.rows(contrast, target)
    return {row.language: row for row in rows if not row.reason}


def _dev_scores(data: Data, row: Row) -> tuple[Spec, Floats] | None:
    """The runs of the plus side with their dev scores; None where one has none."""
    if row.plus is None:
        return None
    scores = [data.runs[run].columns.get("dev_score") for run in row.plus.runs]
    if any(score is None for score in scores):
        return None
    return row.plus, np.array(scores, dtype=np.float64)


def _resampled_dev(plan: Plan, spec: Spec, scores: Floats) -> Floats:
    """(B,) mean dev scores under the very weights that resample these runs on test."""
    weights = run_weights(plan.seed, set_name("runs", spec.universe), plan.resamples, len(spec.universe))
    units = np.array([spec.universe.index(unit) for unit in spec.units])
    return arm_means(np.broadcast_to(scores, (plan.resamples, len(scores))), weights, units)


def _weights(cells: Cells, rows: Sequence[Row]) -> Floats:
    pairs = [(spec, sign / len(rows)) for row in rows for spec, sign in ((row.plus, 1.0), (row.minus, -1.0)) if spec is not None]
    return cells.weights(pairs)
