"""What is wrong or remarkable in the tables: it is reported, never silently handled."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from raystilts.stats.plan import Contrast, Plan, StatsError, Value
from raystilts.stats.tables import ENOUGH, Block, Data, Run

KINDS = (
    "diverged",
    "collapsed",
    "duplicate",
    "same_predictions",
    "guessing",
    "outlier",
    "missing",
    "unequal_seeds",
    "unpaired_examples",
    "gold_mismatch",
    "duplicate_texts",
    "shared_intermediate",
    "single_seed",
    "reported_score",
)
MANY = 100
"""Agreement in a single language is remarkable only over this many examples."""
FAR_POINTS, FAR_MADS = 5.0, 5.0
ABOVE = float(stats.norm.ppf(0.95))
"""Standard errors by which a score must exceed what guessing scores."""
REPORTED_TOLERANCE = 0.05
"""Points by which a reported score may differ: rounding to one decimal."""


@dataclass(frozen=True)
class Finding:
    """One row of the findings table; language is "" where it concerns whole runs."""

    kind: str
    severity: str
    run_ids: tuple[str, ...]
    language: str
    detail: str


def clopper_pearson(count: int, total: int, alpha: float = 0.05) -> tuple[float, float]:
    """Exact interval of a proportion (0 to 1), Clopper and Pearson 1934.

    >>> tuple(round(x, 3) for x in clopper_pearson(15, 136))
    (0.063, 0.175)
    """
    low = float(stats.beta.ppf(alpha / 2, count, total - count + 1)) if count else 0.0
    high = float(stats.beta.ppf(1 - alpha / 2, count + 1, total - count)) if count < total else 1.0
    return low, high


def matching(data: Data, selection: Mapping[str, Value]) -> list[Run]:
    """The runs whose columns equal the selection, whatever their status."""
    for column in selection:
        if column not in data.columns:
            raise StatsError(f"the plan selects runs by the column {column!r}, which the table runs does not have")
    found = set.intersection(*(data.having(column, value) for column, value in selection.items()))
    return [data.runs[run] for run in sorted(found)]


def collapsed_runs(data: Data) -> dict[int, list[str]]:
    """Runs with a constant output in more than half of their languages (of at least 20 examples), and those languages.

    More than half, because a healthy model may well answer the same everywhere in a language whose script it has never seen.
    """
    seen: dict[int, int] = {}
    constant: dict[int, list[str]] = {}
    for block in _blocks(data):
        for row, run in enumerate(block.runs.tolist()):
            if block.num_examples >= ENOUGH:
                seen[run] = seen.get(run, 0) + 1
            if block.constant[row]:
                constant.setdefault(run, []).append(block.language)
    return {run: languages for run, languages in sorted(constant.items()) if 2 * len(languages) > seen[run]}


def duplicate_runs(data: Data, collapsed: Iterable[int]) -> tuple[dict[tuple[int, ...], bool], list[tuple[Block, tuple[int, ...]]]]:
    """Groups of runs of one target that are identical in all their languages (True: by prediction, False: by statistics only),
    and (block, runs) that are identical by prediction in one language of many. Constant outputs and perfect scores prove nothing.
    """
    without = set(collapsed)
    content: dict[int, dict[str, list[str]]] = {}
    weight: dict[int, int] = {}
    partly: list[tuple[Block, tuple[int, ...]]] = []
    for block in _blocks(data):
        by_prediction: dict[str, list[int]] = {}
        for row, run in enumerate(block.runs.tolist()):
            if run in without:
                continue
            parts = content.setdefault(run, {"predictions": [], "statistics": []})
            parts["statistics"].append(f"{block.language} {block.statistics[row]}")
            parts["predictions"].append(f"{block.language} {block.predictions[row]}" if block.predictions[row] else "")
            if not block.constant[row]:
                if block.predictions[row]:
                    weight[run] = weight.get(run, 0) + block.num_examples
                    if block.num_examples >= MANY and block.score[row] < 100:
                        by_prediction.setdefault(block.predictions[row], []).append(run)
                elif block.score[row] < 100:
                    weight[run] = weight.get(run, 0) + block.num_examples
        partly += [(block, tuple(runs)) for runs in by_prediction.values() if len(runs) > 1]
    keys: dict[tuple[str, ...], list[int]] = {}
    for run, parts in sorted(content.items()):
        digest = data.runs[run].columns.get("predictions_sha256")
        if all(parts["predictions"]):
            key = ("predictions", *parts["predictions"])
        elif digest:
            key = ("digest", str(digest), *[part.split()[0] for part in parts["statistics"]])
        else:
            key = ("statistics", *parts["statistics"])
        if weight.get(run, 0) >= ENOUGH:
            keys.setdefault((data.runs[run].target, *key), []).append(run)
    whole = {tuple(runs): key[1] != "statistics" for key, runs in keys.items() if len(runs) > 1}
    inside = [set(runs) for runs in whole]
    return whole, [(block, runs) for block, runs in partly if not any(set(runs) <= group for group in inside)]


def _blocks(data: Data) -> list[Block]:
    return [block for blocks in data.blocks.values() for block in blocks]


def _ids(data: Data, runs: Iterable[int]) -> tuple[str, ...]:
    return tuple(data.runs[run].id for run in runs)


def seed_order(run: Run) -> tuple[bool, int, str]:
    """Sort key: the lowest seed first, by id among equals."""
    return (run.seed is None, run.seed or 0, run.id)


def find(data: Data, plan: Plan, collapsed: dict[int, list[str]]) -> tuple[list[Finding], set[int]]:
    """All findings, and the runs that are dropped as duplicates."""
    selections = _selections(data, plan.contrasts)
    found = _collapsed(data, collapsed)
    duplicates, dropped = _duplicates(data, plan, collapsed, selections)
    found += duplicates
    for name, runs in selections:
        found += _arm(data, name, [run for run in runs if run.index not in dropped], collapsed)
    for contrast in plan.contrasts:
        found += _sides(data, contrast, dropped)
    found += _test_sets(data) + _reported(data, selections)
    unique = list(dict.fromkeys(found))
    unique.sort(key=lambda f: (KINDS.index(f.kind), f.language, f.run_ids, f.detail))
    return unique, dropped


def _selections(data: Data, contrasts: Sequence[Contrast]) -> list[tuple[str, list[Run]]]:
    found: dict[tuple[tuple[str, Value], ...], tuple[str, list[Run]]] = {}
    for contrast in contrasts:
        for side in (contrast.plus, contrast.minus):
            found.setdefault(tuple(sorted(side.items())), (describe(side), matching(data, side)))
    return list(found.values())


def describe(selection: Mapping[str, Value]) -> str:
    """A selection in words.

    >>> describe({"encoder": "base", "intermediate": "mnli"})
    'encoder base, intermediate mnli'
    """
    return ", ".join(f"{column} {value}" for column, value in selection.items())


def _collapsed(data: Data, collapsed: dict[int, list[str]]) -> list[Finding]:
    found = [
        Finding("collapsed", "warning", _ids(data, [run]), "", f"constant output in {_listed(languages)}")
        for run, languages in collapsed.items()
    ]
    for block in _blocks(data):
        for row in np.flatnonzero(block.constant):
            run = int(block.runs[row])
            if run not in collapsed:
                detail = "constant output in this language but not in most: the run is not counted as collapsed"
                found.append(Finding("collapsed", "note", _ids(data, [run]), block.language, detail))
    return found


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= 8 else f"{', '.join(names[:8])} and {len(names) - 8} more"


def _duplicates(
    data: Data, plan: Plan, collapsed: dict[int, list[str]], selections: list[tuple[str, list[Run]]]
) -> tuple[list[Finding], set[int]]:
    arms: dict[int, tuple[int, ...]] = {}
    for i, (_, selected) in enumerate(selections):
        for one in selected:
            arms[one.index] = (*arms.get(one.index, ()), i)
    whole, partly = duplicate_runs(data, collapsed)
    found: list[Finding] = []
    dropped: set[int] = set()
    for group, certain in whole.items():
        by_arm: dict[tuple[int, ...], list[int]] = {}
        for run in group:
            by_arm.setdefault(arms.get(run, ()), []).append(run)
        language = _only_language(data, group[0])
        what = "identical predictions" if certain else "identical statistics on every example (predictions are not stored: none is dropped)"
        for members in by_arm.values():
            if len(members) > 1:
                runs = sorted(members, key=lambda run: seed_order(data.runs[run]))
                drop = certain and plan.duplicates == "drop"
                dropped |= set(runs[1:]) if drop else set()
                fate = f"; kept {data.runs[runs[0]].id}" if drop else ""
                found.append(Finding("duplicate", "warning", _ids(data, runs), language, f"{what} in one arm{fate}"))
        if len(by_arm) > 1:
            severity = "error" if certain else "warning"
            found.append(Finding("same_predictions", severity, _ids(data, group), language, f"{what} under {len(by_arm)} different arms"))
    for block, same in partly:
        kind = "duplicate" if len({arms.get(run, ()) for run in same}) == 1 else "same_predictions"
        detail = "identical predictions in this language but not in all: nothing is dropped"
        found.append(Finding(kind, "warning", _ids(data, same), block.language, detail))
    return found, dropped


def _only_language(data: Data, run: int) -> str:
    languages = {block.language for block in data.where(run)}
    return languages.pop() if len(languages) == 1 else ""


def _left_out(run: Run) -> Finding:
    """A run without a result. One that diverged is a result of its arm that no mean can hold: who leaves it out must say so."""
    status = run.columns.get("status")
    if status == "diverged":
        said = run.columns.get("status_detail")
        return Finding("diverged", "error", (run.id,), "", f"the training diverged and the run is left out{f': {said}' if said else ''}")
    return Finding("missing", "warning", (run.id,), "", f"the run has the status {status!r} and is left out")


def _arm(data: Data, name: str, runs: list[Run], collapsed: dict[int, list[str]]) -> list[Finding]:
    """Findings about one selection of runs."""
    held: dict[int, set[str]] = {run.index: set() for run in runs if run.ok}
    by_language: dict[str, list[tuple[int, float]]] = {}
    guessed: list[str] = []
    for block in _blocks(data):
        rows = [row for row, run in enumerate(block.runs.tolist()) if run in held]
        for row in rows:
            run = int(block.runs[row])
            held[run].add(block.language)
            by_language.setdefault(block.language, []).append((run, float(block.score[row])))
        if rows and _guesses(block, rows):
            guessed.append(f"{block.language} {block.score[rows].mean():.1f} beside {block.guess:.1f}")
    found = [_left_out(run) for run in runs if not run.ok]
    if guessed:
        everywhere = len(guessed) == len(by_language)
        where = f"in {'any of ' if everywhere else f'{len(guessed)} of '}{len(by_language)} languages"
        so = ", so a gain of it or over it is not one of models that can do the task" if everywhere else ""
        detail = f"{name} is not told from always giving the most frequent answer {where}{so}: {_listed(guessed)}"
        found.append(Finding("guessing", "error" if everywhere else "warning", _ids(data, held), "", detail))
    rowless = "the run has no rows in the table examples"
    found += [Finding("missing", "warning", _ids(data, [i]), "", rowless) for i, languages in held.items() if not languages]
    for language, members in sorted(by_language.items()):
        here = {run for run, _ in members}
        # Runs that share a language with one of these were evaluated on the same list of languages, unless one is missing.
        listed = set().union(*(held[run] for run in here))
        lacking = sorted(run for run in held if run not in here and held[run] & listed)
        detail = f"the run lacks this language, which others of {name} have"
        found += [Finding("missing", "warning", _ids(data, [run]), language, detail) for run in lacking]
        found += _seeds(name, language, [data.runs[run] for run in sorted(here) if data.runs[run].seed is not None])
        found += _outliers(data, name, language, [(run, score) for run, score in members if run not in collapsed])
    return found


def _guesses(block: Block, rows: list[int]) -> bool:
    """Whether the mean score of runs cannot be told, over these examples, from that of always giving the most frequent answer."""
    if block.guess is None or block.num_examples < ENOUGH:
        return False
    error = math.sqrt(block.guess * (100 - block.guess) / block.num_examples)
    return float(block.score[rows].mean()) < block.guess + ABOVE * error


def _seeds(name: str, language: str, trained: list[Run]) -> list[Finding]:
    """Whether the trained runs of one selection sample what a claim about the procedure is about."""
    if len(trained) == 1:
        return [
            Finding(
                "single_seed", "error", (trained[0].id,), language, f"{name} has a single run: no claim about the procedure is possible"
            )
        ]
    checkpoints = {run.checkpoint for run in trained}
    if not trained or "" in checkpoints or len(checkpoints) == len(trained):
        return []
    ids = tuple(run.id for run in trained)
    if len(checkpoints) == 1:
        detail = f"all {len(trained)} runs of {name} start from one intermediate checkpoint: seeds do not sample the intermediate phase"
        return [Finding("shared_intermediate", "error", ids, "", detail)]
    detail = f"{len(trained)} runs of {name} start from {len(checkpoints)} intermediate checkpoints: runs of one count as one unit"
    return [Finding("shared_intermediate", "warning", ids, "", detail)]


def _outliers(data: Data, name: str, language: str, members: list[tuple[int, float]]) -> list[Finding]:
    if len(members) < 3:
        return []
    scores = np.array([score for _, score in members])
    median = float(np.median(scores))
    mad = float(np.median(np.abs(scores - median)))
    return [
        Finding("outlier", "warning", _ids(data, [run]), language, f"{score:.2f} is far below the median {median:.2f} of {name}: kept")
        for run, score in members
        if median - score > FAR_POINTS and median - score > FAR_MADS * mad
    ]


def _sides(data: Data, contrast: Contrast, dropped: set[int]) -> list[Finding]:
    """Findings about the two sides of a contrast together."""
    found: list[Finding] = []
    sides = [[run.index for run in matching(data, side) if run.ok and run.index not in dropped] for side in (contrast.plus, contrast.minus)]
    for side, runs in zip((contrast.plus, contrast.minus), sides, strict=True):
        if not runs:
            found.append(Finding("missing", "warning", (), "", f"contrast {contrast.name}: no finished run of {describe(side)}"))
    targets = {data.runs[run].target for runs in sides for run in runs}
    for (target, language), blocks in data.blocks.items():
        if target not in targets:
            continue
        here = {run for block in blocks for run in block.runs.tolist()}
        plus, minus = ([run for run in runs if run in here] for runs in sides)
        if bool(plus) != bool(minus) and all(sides):
            lacking = describe(contrast.minus if plus else contrast.plus)
            found.append(Finding("missing", "warning", (), language, f"contrast {contrast.name}: no run of {lacking} in this language"))
        trained = [sum(data.runs[run].seed is not None for run in side) for side in (plus, minus)]
        if all(trained) and trained[0] != trained[1]:
            detail = f"contrast {contrast.name} compares {trained[0]} runs with {trained[1]}"
            found.append(Finding("unequal_seeds", "note", _ids(data, (*plus, *minus)), language, detail))
    return found


def _test_sets(data: Data) -> list[Finding]:
    found = []
    for (_, language), blocks in data.blocks.items():
        largest = max(blocks, key=lambda block: len(block.runs))
        for block in blocks:
            if block is largest:
                continue
            ids = _ids(data, block.runs.tolist())
            if block.examples != largest.examples:
                detail = f"{block.num_examples} examples that are not those of the other runs ({largest.num_examples} examples)"
                found.append(Finding("unpaired_examples", "error", ids, language, detail))
            else:
                found.append(Finding("gold_mismatch", "error", ids, language, "scored against another gold than the other runs"))
        if len(largest.clusters) < largest.num_examples:
            detail = f"{largest.num_examples} examples form {len(largest.clusters)} clusters, which are resampled as wholes"
            found.append(Finding("duplicate_texts", "note", (), language, detail))
    odd = "gold_sha256 differs from that of other runs of the same languages"
    return found + [Finding("gold_mismatch", "error", _ids(data, runs), "", odd) for runs in _odd_gold(data)]


def gold_digests(data: Data) -> dict[int, tuple[tuple[str, ...], str]]:
    """The gold_sha256 of every run that names one, after the target and languages that make it comparable."""
    held: dict[int, list[str]] = {}
    for block in _blocks(data):
        for run in block.runs.tolist():
            held.setdefault(run, []).append(block.language)
    digests = {run: data.runs[run].columns.get("gold_sha256") for run in sorted(held)}
    return {run: ((data.runs[run].target, *sorted(held[run])), str(digest)) for run, digest in digests.items() if digest}


def gold_conflict(digests: Mapping[int, tuple[tuple[str, ...], str]], runs: Iterable[int]) -> bool:
    """Whether two of the runs should have seen the same gold and did not."""
    seen: dict[tuple[str, ...], str] = {}
    return any(seen.setdefault(digests[run][0], digests[run][1]) != digests[run][1] for run in runs if run in digests)


def _odd_gold(data: Data) -> list[list[int]]:
    """Groups of runs whose gold_sha256 is not that of most runs with the same target and languages."""
    groups: dict[tuple[str, ...], dict[str, list[int]]] = {}
    for run, (where, digest) in gold_digests(data).items():
        groups.setdefault(where, {}).setdefault(digest, []).append(run)
    return [runs for group in groups.values() for runs in sorted(group.values(), key=lambda runs: (-len(runs), runs))[1:]]


def _reported(data: Data, selections: list[tuple[str, list[Run]]]) -> list[Finding]:
    scores: dict[int, list[float]] = {}
    for block in _blocks(data):
        for row, run in enumerate(block.runs.tolist()):
            scores.setdefault(run, []).append(float(block.score[row]))
    found = []
    for run, own in sorted(scores.items()):
        value = data.runs[run].columns.get("reported_score")
        if value is None or np.isnan(value):
            continue
        mean = float(np.mean(own))
        reported = 100 * float(value) if abs(float(value)) <= 1 < mean else float(value)
        if abs(reported - mean) <= REPORTED_TOLERANCE:
            continue
        arm = {r.index for _, runs in selections if any(r.index == run for r in runs) for r in runs} - {run}
        twins = [r for r in sorted(arm) if r in scores and abs(float(np.mean(scores[r])) - reported) <= REPORTED_TOLERANCE / 5]
        twin = f"; it is the score of {data.runs[twins[0]].id}" if len(twins) == 1 else ""
        detail = f"reported {reported:.2f}, recomputed {mean:.2f}{twin}"
        found.append(Finding("reported_score", "warning", _ids(data, [run]), _only_language(data, run), detail))
    return found
