"""The analysis of a study: tables and a plan in, tidy tables out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from raystilts.stats.batches import Examples
from raystilts.stats.bootstrap import generator
from raystilts.stats.design import Cells, Design, build, target_of
from raystilts.stats.estimate import NOTHING, estimate
from raystilts.stats.families import Floats, benjamini_hochberg, cautious, holm, joint_maxima, max_t_adjusted
from raystilts.stats.findings import Finding, clopper_pearson, collapsed_runs, find, matching
from raystilts.stats.plan import ALL, Contrast, Interaction, Plan
from raystilts.stats.pooled import FEWEST, heterogeneity
from raystilts.stats.rows import Line, Rows
from raystilts.stats.scaling import decide
from raystilts.stats.tables import Data, read

TEXT, REAL, WHOLE, FLAG = pa.string(), pa.float64(), pa.int64(), pa.bool_()
_LABELS = "<labels>"
_T = "theta se df lo hi"
SCHEMAS: dict[str, str] = {
    "gains": f"policy* contrast* {_LABELS} language* {_T} boot_lo boot_hi p p_holm p_bh n_examples# n_clusters# runs_plus# runs_minus# "
    "score_plus score_minus v_seed v_example v_both mde seeds_needed# power_note* claim* reason* p_max_t",
    "interactions": f"policy* contrast* {_LABELS} language* {_T} boot_lo boot_hi p p_holm n_examples# power claim* reason*",
    "pooled": f"policy* contrast* {_LABELS} group* estimand* {_T} p p_holm n_languages# tau i2 claim* reason* note*",
    "partial_conjunction": f"policy* contrast* {_LABELS} group* num_languages# at_least# at_least_losses# reason*",
    "scaling": f"policy* contrast* {_LABELS} group* scale* theta lo hi margin p_superior p_equivalent p_noninferior verdict* agrees? "
    "reason* p_two_sided_holm p_equivalent_holm p_noninferior_holm n_languages#",
    "resource": f"policy* contrast* {_LABELS} comparison* theta lo hi p n_languages# reason* estimand* se df p_holm claim*",
    "trend": f"policy* contrast* {_LABELS} estimand* at theta lo hi n_languages# reason*",
    "variance": f"policy* contrast* {_LABELS} language* component* variance share",
    "power": f"policy* contrast* {_LABELS} language* se mde seeds# detectable",
}
"""Columns in order: * text, # whole number, ? flag, else a number in points (p, df, share, i2: no unit; v_*, variance: points squared).

Rows of variance with the language "all" are about the mean gain with languages as a sample: `language` is what languages add to it.
p_max_t: max-T over the family; it decides no claim. at_least: in how many languages of the group, corrected over the whole family.
trend: the line of the gains on the covariate, where it is `at`, with pointwise intervals, of contrasts only.
"""


@dataclass(frozen=True, eq=False)
class Analysis:
    """The tables of an analysis (pyarrow). Scores, estimates and intervals are in points (0 to 100); see SCHEMAS for the columns.

    lo, hi: two-way t interval. boot_lo, boot_hi: calibrated crossed bootstrap. A refused row has a reason and no number to quote.
    """

    scores: pa.Table
    gains: pa.Table
    interactions: pa.Table
    pooled: pa.Table
    partial_conjunction: pa.Table
    scaling: pa.Table
    resource: pa.Table
    trend: pa.Table
    variance: pa.Table
    power: pa.Table
    findings: pa.Table
    collapse: pa.Table


def analyse(runs: pa.Table, examples: Examples, plan: Plan) -> Analysis:
    """All tables of a study under every policy of the plan; equal inputs and plan.seed give equal bytes.

    runs: run_id, target, seed (null: nothing was trained), the columns that contrasts select by, and optionally intermediate_run_id,
    status, reported_score, predictions_sha256, gold_sha256. examples: run_id, language, example_id, s0[, s1, s2], optionally
    cluster_id, prediction_code, gold_code: a table, or, where it is large, a parquet file, a folder of them, a dataset or an iterable of
    batches, which is read once, a batch at a time. Formulas: docs/explanation/intervals.md; one code path for gains, interactions
    and pooled claims.

    >>> import pyarrow as pa
    >>> runs = pa.table({"run_id": ["a1", "a2", "b1", "b2"], "seed": [1, 2, 1, 2], "encoder": ["a", "a", "b", "b"]})
    >>> right = {"a1": [1, 1, 1, 0], "a2": [1, 1, 1, 1], "b1": [1, 0, 0, 0], "b2": [0, 1, 0, 1]}
    >>> rows = [(run, "sw", str(i), float(x)) for run, values in right.items() for i, x in enumerate(values)]
    >>> examples = pa.table(dict(zip(["run_id", "language", "example_id", "s0"], map(list, zip(*rows)))))
    >>> plan = Plan((Contrast("a-b", {"encoder": "a"}, {"encoder": "b"}),), metric="accuracy", collapsed=("all",), resamples=200)
    >>> gains = analyse(runs, examples, plan).gains.to_pylist()[0]
    >>> gains["theta"], gains["claim"]
    (50.0, 'undecided')
    """
    data = read(runs, examples, plan.metric_of)
    ready = prepared(data, plan)
    named: list[Contrast | Interaction] = [*plan.contrasts, *plan.interactions]
    labels = list(dict.fromkeys(name for item in named for name in item.labels))
    tables: dict[str, list[dict[str, Any]]] = {name: [] for name in SCHEMAS}
    family = families_of(plan)
    maxima: dict[tuple[str, tuple[str, ...]], Floats] = {}
    for target in dict.fromkeys(target_of(data, contrast) for contrast in plan.contrasts):
        if target is not None:
            _target(data, plan, target, ready.designs, tables=tables, maxima=maxima)
    for row in tables["gains"]:
        if row.get("p") is not None:
            row["p_max_t"] = float(max_t_adjusted([row["p"]], maxima[row["policy"], family[row["contrast"]]])[0])
    for kind in ("gains", "interactions", "pooled", "resource"):
        _correct(tables[kind], family, plan.alpha)
    _decide(tables["scaling"], family, plan.alpha)
    _count(tables["partial_conjunction"], [*tables["gains"], *tables["interactions"]], plan)
    return Analysis(
        scores=_scores(data, plan),
        findings=_findings(ready.findings),
        collapse=_collapse(data, ready.collapsed, ready.kept, plan),
        **{name: _table(SCHEMAS[name], rows, labels) for name, rows in tables.items()},
    )


@dataclass(frozen=True)
class Prepared:
    """What is known of the tables before anything is estimated: collapsed runs, findings, runs that are kept, a design per policy."""

    collapsed: dict[int, list[str]]
    findings: list[Finding]
    kept: frozenset[int]
    designs: dict[str, Design]


def prepared(data: Data, plan: Plan) -> Prepared:
    """Findings, and which runs each policy keeps."""
    collapsed = collapsed_runs(data)
    findings, dropped = find(data, plan, collapsed)
    kept = frozenset(run.index for run in data.runs if run.ok and run.index not in dropped)
    lost = frozenset(collapsed) & kept
    designs = {
        policy: Design(data, plan, kept - lost if policy == "converged" else kept, lost if policy == "converged" else frozenset())
        for policy in plan.collapsed
    }
    return Prepared(collapsed, findings, kept, designs)


def _target(
    data: Data,
    plan: Plan,
    target: str,
    designs: Mapping[str, Design],
    *,
    tables: dict[str, list[dict[str, Any]]],
    maxima: dict[tuple[str, tuple[str, ...]], Floats],
) -> None:
    """Adds the rows of one target under every policy; `maxima` holds the joint null distribution of every family so far."""
    contrasts = [contrast for contrast in plan.contrasts if target_of(data, contrast) == target]
    faced = {(policy, c.name): design.rows(c, target) for policy, design in designs.items() for c in contrasts}
    specs = [spec for found in faced.values() for row in found for spec in (row.plus, row.minus) if spec is not None]
    rows = Rows(plan, build(data, specs, plan.resamples, plan.seed), tables)
    for policy in designs:
        lines = {c.name: rows.contrast(c, policy, faced[policy, c.name]) for c in contrasts}
        for c in contrasts:
            tables["variance"] += _over_languages(rows.cells, lines[c.name], {"policy": policy, "contrast": c.name, **c.labels})
        hypotheses = [(("contrast", c.family), line) for c in contrasts for line in lines[c.name]]
        _joint(rows.cells, hypotheses, maxima, policy=policy, target=target, seed=plan.seed)
        for interaction in plan.interactions:
            if interaction.plus in lines and interaction.minus in lines:
                rows.interaction(interaction, policy, lines)


def _over_languages(cells: Cells, lines: Sequence[Line], head: dict[str, Any]) -> list[dict[str, Any]]:
    """What runs, examples and languages add to the variance of the mean gain over languages as a sample (points squared)."""
    used = [line for line in lines if line.found is not None]
    if len(used) < FEWEST:
        return []
    share = 1 / len(used)
    w = cells.weights([(spec, weight * share) for line in used for spec, weight in line.pairs])
    fixed = estimate(cells.found, w)
    if fixed.v <= NOTHING:
        return []
    alone = cells.found.seed - cells.found.both
    parts = {
        name: max(float(side @ alone @ side), 0.0)
        for name, i in (("seed_plus", 0), ("seed_minus", 1))
        for side in [cells.weights([(line.pairs[i][0], share) for line in used])]
    }
    estimates = [line.found for line in used if line.found is not None]
    tau2, _, _ = heterogeneity([e.theta for e in estimates], [e.v for e in estimates], fixed.v)
    parts |= {"example": max(fixed.v_example - fixed.v_both, 0.0), "seed_x_example": fixed.v_both, "language": tau2 / len(used)}
    total = sum(parts.values())
    return [{**head, "language": ALL, "component": name, "variance": v, "share": v / total} for name, v in parts.items()]


def _joint(
    cells: Cells,
    lines: Sequence[tuple[tuple[str, ...], Line]],
    maxima: dict[tuple[str, tuple[str, ...]], Floats],
    *,
    policy: str,
    target: str,
    seed: int,
) -> None:
    """Adds a target's hypotheses to the null distribution of each family's largest statistic; targets count as independent, which can only
    make it larger (Gaussian correlation inequality, Royen 2014).
    """
    by_family: dict[tuple[str, ...], list[Line]] = {}
    for family, line in lines:
        if line.found is not None and line.found.v > NOTHING:
            by_family.setdefault(family, []).append(line)
    for family, members in by_family.items():
        w = np.array([cells.weights(line.pairs) for line in members])
        at = np.flatnonzero(w.any(axis=0))
        w, here = w[:, at], np.ix_(at, at)
        found = [line.found for line in members if line.found is not None]
        degrees = min(sum(units - 1 for _, units in e.seed_parts) for e in found)
        runs = cautious(w @ (cells.found.seed[here] - cells.found.both[here]) @ w.T, degrees)
        covariance = runs + w @ cells.found.example[here] @ w.T
        v = np.array([e.v for e in found])
        drawn = joint_maxima(covariance, v, generator(seed, f"max-t {policy} {target} {family}"))
        key = (policy, family)
        maxima[key] = np.maximum(maxima[key], drawn) if key in maxima else drawn


def families_of(plan: Plan) -> dict[str, tuple[str, ...]]:
    """The family of every contrast and interaction; interactions of contrasts that share families share theirs."""
    contrasts = {c.name: c.family for c in plan.contrasts}
    family: dict[str, tuple[str, ...]] = {name: ("contrast", own) for name, own in contrasts.items()}
    for i in plan.interactions:
        family[i.name] = ("interaction", contrasts[i.plus], contrasts[i.minus])
    return family


def _decide(rows: list[dict[str, Any]], family: Mapping[str, tuple[str, ...]], alpha: float) -> None:
    """Adds the scaling decisions, corrected within policy, family and scale, and whether the three scales agree."""
    members: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        row["verdict"] = "refused"
        if not row["reason"]:
            members.setdefault((row["policy"], family[row["contrast"]], row["scale"]), []).append(row)
    for group in members.values():
        for row, decision in zip(group, decide([row["asked"] for row in group], alpha), strict=True):
            row.update(vars(decision))
    verdicts: dict[tuple[str, str, str], set[str]] = {}
    for row in rows:
        verdicts.setdefault((row["policy"], row["contrast"], row["group"]), set()).add(row["verdict"])
    for row in rows:
        found = verdicts[row["policy"], row["contrast"], row["group"]]
        row["agrees"] = len(found) == 1 and found != {"refused"}


def _count(rows: list[dict[str, Any]], claimed: list[dict[str, Any]], plan: Plan) -> None:
    """Adds in how many languages of a group at least there is a gain, and a loss.

    Holm's claims are those of the closed test of their family, so that counting them holds for all arms and groups at once (Goeman and
    Solari 2011). A partial conjunction of each arm on its own would say "at least one language gains" of one null arm in twenty.
    """
    said: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for row in claimed:
        said.setdefault((row["policy"], row["contrast"]), []).append((row["language"], row["claim"]))
    for row in rows:
        if not row["reason"]:
            here = said[row["policy"], row["contrast"]]
            claims = [claim for language, claim in here if row["group"] == ALL or language in plan.groups[row["group"]]]
            row["at_least"], row["at_least_losses"] = claims.count("gain"), claims.count("loss")


def _correct(rows: list[dict[str, Any]], family: Mapping[str, tuple[str, ...]], alpha: float) -> None:
    """Adds p_holm, p_bh and claim within policy, family and estimand; a row without a p-value is refused."""
    members: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        if row.get("p") is None:
            row["claim"] = "refused"
        else:
            members.setdefault((row["policy"], family[row["contrast"]], row.get("estimand")), []).append(row)
    for group in members.values():
        p = [row["p"] for row in group]
        for row, by_holm, by_bh in zip(group, holm(p), benjamini_hochberg(p), strict=True):
            row["p_holm"], row["p_bh"] = float(by_holm), float(by_bh)
            row["claim"] = ("gain" if row["theta"] > 0 else "loss") if by_holm <= alpha else "undecided"


def _number(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value


def _table(schema: str, rows: list[dict[str, Any]], labels: Sequence[str]) -> pa.Table:
    """Rows as a table with the schema's columns; those of the labels take the place of <labels>."""
    types = {"*": TEXT, "#": WHOLE, "?": FLAG}
    columns: dict[str, pa.Array] = {}
    taken = {word.rstrip("*#?") for word in schema.split()}
    for word in schema.split():
        names = [name for name in labels if name not in taken] if word == _LABELS else [word.rstrip("*#?")]
        kind = TEXT if word == _LABELS else types.get(word[-1], REAL)
        for name in names:
            columns[name] = pa.array([_number(row.get(name)) for row in rows], type=kind)
    return pa.table(columns)


def _scores(data: Data, plan: Plan) -> pa.Table:
    """The score of every run in every language."""
    usual = ("encoder", "num_parameters", "intermediate", "method", "target", "trained_on", "seed", "dev_score", "intermediate_dev_score")
    chosen = [column for contrast in plan.contrasts for side in (contrast.plus, contrast.minus) for column in side]
    names = [name for name in dict.fromkeys((*usual, *chosen)) if name in data.columns and name not in ("run_id", "language")]
    rows = [
        {**data.runs[run].columns, "run_id": data.runs[run].id, "language": block.language, "score": float(score), "n_examples": size}
        for blocks in data.blocks.values()
        for block in blocks
        for size in (block.num_examples,)
        for run, score in zip(block.runs.tolist(), block.score, strict=True)
    ]
    rows.sort(key=lambda row: (str(row.get("target")), row["run_id"], row["language"]))
    columns: dict[str, pa.Array] = {"run_id": pa.array([row["run_id"] for row in rows], TEXT)}
    for name in names:
        columns[name] = pa.array([row.get(name) for row in rows])
    for name, kind in (("language", TEXT), ("score", REAL), ("n_examples", WHOLE)):
        columns[name] = pa.array([row[name] for row in rows], kind)
    return pa.table(columns)


def _findings(found: Sequence[Finding]) -> pa.Table:
    kinds = {"kind": TEXT, "severity": TEXT, "run_ids": pa.list_(TEXT), "language": TEXT, "detail": TEXT}
    return pa.table({name: pa.array([getattr(f, name) for f in found], kind) for name, kind in kinds.items()})


def _collapse(data: Data, collapsed: Mapping[int, Any], kept: frozenset[int], plan: Plan) -> pa.Table:
    """How many runs collapsed, per encoder where the runs have one, with the exact interval (shares of 0 to 1)."""
    chosen = {run.index for c in plan.contrasts for side in (c.plus, c.minus) for run in matching(data, side)} & kept
    groups: dict[str, list[int]] = {}
    for run in sorted(chosen):
        groups.setdefault(str(data.runs[run].columns.get("encoder") or ALL), []).append(run)
    rows = []
    for encoder, runs in sorted(groups.items()):
        count = sum(run in collapsed for run in runs)
        low, high = clopper_pearson(count, len(runs), plan.alpha)
        rows.append({"encoder": encoder, "collapsed": count, "runs": len(runs), "rate": count / len(runs), "lo": low, "hi": high})
    return _table("encoder* collapsed# runs# rate lo hi", rows, ())
