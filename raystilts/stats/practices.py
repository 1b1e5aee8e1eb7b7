"""The same data under other rules: what each named practice would have claimed, contrast by contrast and language by language."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from raystilts.stats import alternatives as rivals
from raystilts.stats.analysis import FLAG, REAL, TEXT, families_of, prepared
from raystilts.stats.batches import Examples
from raystilts.stats.design import Row, target_of
from raystilts.stats.estimate import two_way
from raystilts.stats.families import holm
from raystilts.stats.findings import seed_order
from raystilts.stats.plan import Contrast, Plan, StatsError
from raystilts.stats.tables import Data, read

Floats = npt.NDArray[np.float64]
ABOUT: Mapping[str, str] = {
    "two_way": "the procedure: new seeds, new examples",
    "fixed_test_set_welch": "exactly this test set, new seeds",
    "fixed_test_set_permutation": "exactly this test set, new seeds",
    "fixed_test_set_moderated_t": "exactly this test set, new seeds",
    "fixed_test_set_aso": "exactly this test set, new seeds (an index, no gain)",
    "given_runs_example_only": "exactly these runs, new examples",
    "given_first_runs_example_only": "exactly one run a side, new examples",
    "crossed_percentile": "the procedure, badly calibrated",
    "crossed_bca": "the procedure, badly calibrated",
    "best_runs_difference": "nothing: the best of several draws",
}
"""Methods of `alternatives_table` and what each is about. Only two_way, corrected by Holm, decides claims (in `analyse`)."""


def alternatives_table(
    runs: pa.Table, examples: Examples, plan: Plan, methods: Sequence[str] = tuple(ABOUT), resamples: int = 2000
) -> pa.Table:
    """What each method would have said: policy, contrast, labels, language, method, about, theta, lo, hi (points), p, p_holm, index and
    would_claim.

    would_claim: whether its user would have called the difference real at plan.alpha, without correction as such methods are mostly
    used; p_holm is there for those who correct. index: ASO's violation ratio (plus is better below 0.5). Rows that the design refuses
    are left out: no rule can make a claim of examples that do not pair. Arguments as in `analyse`; resamples: of the crossed bootstraps.

    >>> import pyarrow as pa
    >>> runs = pa.table({"run_id": ["a1", "a2", "b1", "b2"], "seed": [1, 2, 1, 2], "encoder": ["a", "a", "b", "b"]})
    >>> right = {"a1": [1, 1, 1, 0], "a2": [1, 1, 1, 1], "b1": [1, 0, 0, 0], "b2": [0, 1, 0, 1]}
    >>> rows = [(run, "sw", str(i), float(x)) for run, values in right.items() for i, x in enumerate(values)]
    >>> examples = pa.table(dict(zip(["run_id", "language", "example_id", "s0"], map(list, zip(*rows)))))
    >>> plan = Plan((Contrast("a-b", {"encoder": "a"}, {"encoder": "b"}),), collapsed=("all",))
    >>> found = alternatives_table(runs, examples, plan, ["two_way", "best_runs_difference"]).to_pylist()
    >>> [(row["method"], row["theta"], row["would_claim"]) for row in found]
    [('two_way', 50.0, False), ('best_runs_difference', 50.0, True)]
    """
    unknown = [method for method in methods if method not in ABOUT]
    if unknown:
        raise StatsError(f"there is no method {unknown[0]!r}: choose from {', '.join(ABOUT)}")
    data = read(runs, examples, plan.metric_of)
    labels = list(dict.fromkeys(name for contrast in plan.contrasts for name in contrast.labels))
    rows: list[dict[str, Any]] = []
    for policy, design in prepared(data, plan).designs.items():
        for contrast in plan.contrasts:
            target = target_of(data, contrast)
            faced = [] if target is None else [row for row in design.rows(contrast, target) if not row.reason]
            rows += _of_contrast(data, contrast, faced, policy=policy, methods=methods, resamples=resamples, plan=plan)
    _correct(rows, plan)
    texts = ("policy", "contrast", *(name for name in labels if name not in ABOUT), "language", "method", "about")
    kinds = dict.fromkeys(texts, TEXT) | dict.fromkeys(("theta", "lo", "hi", "p", "p_holm", "index"), REAL) | {"would_claim": FLAG}
    return pa.table({name: pa.array([_number(row.get(name)) for row in rows], kind) for name, kind in kinds.items()})


def _number(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value


def _arms(data: Data, row: Row) -> list[Floats]:
    """(S, G, 3) of both sides, summed by cluster; their micro-F1 form is the score of a mean as well: 2 s0 / (s1 + s2)."""
    arms = []
    for spec in (row.plus, row.minus):
        if spec is None:
            raise StatsError(f"language {row.language!r} is refused: {row.reason}")
        block = data.blocks[spec.target, spec.language][spec.variant]
        at = block.rows(np.array(spec.runs))
        num = np.asarray(block.num[at], dtype=np.float64)
        den = np.broadcast_to(block.den if len(block.den) == 1 else block.den[at], num.shape).astype(np.float64)
        arms.append(np.stack([num / 2, den, np.zeros_like(den)], axis=2))
    return arms


def _scores(arm: Floats) -> Floats:
    result: Floats = 200 * arm[:, :, 0].sum(axis=1) / np.maximum(arm[:, :, 1].sum(axis=1), 1e-300)
    return result


def _first(data: Data, row: Row) -> list[int]:
    """Positions of the runs with the lowest seed, of both sides."""
    sides = [spec.runs for spec in (row.plus, row.minus) if spec is not None]
    return [runs.index(min(runs, key=lambda run: seed_order(data.runs[run]))) for runs in sides]


def _rival(method: str, pair: Sequence[Floats], single: Sequence[Floats], plan: Plan, resamples: int) -> rivals.Alternative | None:
    """The rivals that give an estimate with an interval or p; None for others. Those over runs need trained arms."""
    signs = [1.0, -1.0]
    if method in ("given_runs_example_only", "given_first_runs_example_only"):
        chosen = pair if method == "given_runs_example_only" else single
        found = rivals.given_runs_example_only(chosen, signs, "micro_f1", alpha=plan.alpha)
        return rivals.Alternative(method, found.theta, found.lo, found.hi, found.p)
    if min(len(arm) for arm in pair) < 2:
        return None
    if method == "two_way":
        default = two_way(pair, signs, "micro_f1")
        return rivals.Alternative(method, default.theta, *default.interval(plan.alpha), default.p())
    if method in ("crossed_percentile", "crossed_bca"):
        crossed = rivals.crossed_percentile if method == "crossed_percentile" else rivals.crossed_bca
        return crossed(pair, signs, "micro_f1", resamples=resamples, seed=plan.seed, alpha=plan.alpha)
    plus, minus = (_scores(arm) for arm in pair)
    if method == "fixed_test_set_welch":
        return rivals.fixed_test_set_welch(plus, minus, plan.alpha)
    return rivals.fixed_test_set_permutation(plus, minus, plan.seed) if method == "fixed_test_set_permutation" else None


def _of_contrast(
    data: Data, contrast: Contrast, faced: Sequence[Row], *, policy: str, methods: Sequence[str], resamples: int, plan: Plan
) -> list[dict[str, Any]]:
    """The rows of one contrast under one policy."""
    arms = {row.language: _arms(data, row) for row in faced}
    repeated = [language for language, pair in arms.items() if min(len(arm) for arm in pair) > 1]
    moderated: dict[str, rivals.Alternative] = {}
    if "fixed_test_set_moderated_t" in methods and repeated:
        scores = [[_scores(arms[language][side]) for language in repeated] for side in (0, 1)]
        moderated = dict(zip(repeated, rivals.fixed_test_set_moderated_t(scores[0], scores[1], plan.alpha), strict=True))
    rows = []
    for row in faced:
        pair = arms[row.language]
        plus, minus = (_scores(arm) for arm in pair)
        single = [arm[i : i + 1] for arm, i in zip(pair, _first(data, row), strict=True)]
        head = {"policy": policy, "contrast": contrast.name, **contrast.labels, "language": row.language}
        for method in methods:
            lead = {**head, "method": method, "about": ABOUT[method]}
            found = moderated.get(row.language) if method == "fixed_test_set_moderated_t" else _rival(method, pair, single, plan, resamples)
            if found is not None:
                claim = found.p <= plan.alpha if not math.isnan(found.p) else found.lo > 0 or found.hi < 0
                columns = {"theta": found.theta, "lo": found.lo, "hi": found.hi, "p": found.p, "would_claim": bool(claim)}
                rows.append({**lead, **columns})
            elif method == "best_runs_difference":
                best = float(plus.max() - minus.max())
                rows.append({**lead, "theta": best, "would_claim": best != 0})
            elif method == "fixed_test_set_aso" and row.language in repeated:
                index, mirrored = (
                    rivals.fixed_test_set_aso(*sides, plan.alpha, seed=plan.seed) for sides in ((plus, minus), (minus, plus))
                )
                mean = float(plus.mean() - minus.mean())
                rows.append({**lead, "theta": mean, "index": index, "would_claim": min(index, mirrored) < 0.5})
    return rows


def _correct(rows: list[dict[str, Any]], plan: Plan) -> None:
    """Adds p_holm within policy, family and method."""
    family = families_of(plan)
    members: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        if row.get("p") is not None and not math.isnan(row["p"]):
            members.setdefault((row["policy"], family[row["contrast"]], row["method"]), []).append(row)
    for group in members.values():
        for row, corrected in zip(group, holm([row["p"] for row in group]), strict=True):
            row["p_holm"] = float(corrected)
