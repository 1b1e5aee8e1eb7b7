"""From a plan and its store to the tables that the statistics read, and on to the report. Trains nothing."""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from raystilts import disclosure, languages, stats
from raystilts.errors import UserError
from raystilts.faults import divergence
from raystilts.method import PLAIN
from raystilts.metrics import METRICS
from raystilts.report import MINUS_PLAIN, OVER_PLAIN, LanguageFacts, Story, verdict_lines, write_report
from raystilts.stage import fingerprint
from raystilts.store import Store
from raystilts.study import NONE, Arm, Cell, Plan, Study, make_plan

PREDICTIONS = "predictions"
LOOKS = (
    "Seeds were added where gains were undecided, after looks at {} seeds. Gains are claimed by rules that allow for the looking "
    "(group-sequential, over the whole family); intervals and p-values are those of a fixed number of seeds and decide nothing here. "
    "Claims over several languages or encoders need all seeds of the arms that they are about: run with --all-seeds."
)


def write(
    plan: Plan, store: Store, out: Path, command: str, further: Sequence[str] = (), *, study_file: Path | None = None, live: bool = False
) -> list[str]:
    """Write the report of what the store holds of a plan into `out`; returns the verdicts as lines for a terminal.

    further: names of stats.FURTHER, tables that are written beside. study_file: the experiment, shown in the report. live: the report will
    be made again. Raises UserError where nothing has been evaluated yet.
    """
    runs, examples, asked = runs_table(plan, store), examples_of(plan, store), analysis_plan(plan)
    found = stats.analyse(runs, examples, asked)
    if plan.study.looks:
        looked = {policy: _looked(runs, examples, replace(asked, collapsed=(policy,)), plan.study) for policy in asked.collapsed}
        whole = _complete(plan)
        complete = [contrast.name for contrast in asked.contrasts if {_arm(contrast.plus), _arm(contrast.minus)} <= whole]
        found = stats.by_looks(found, looked, asked, complete)
    told = replace(story(plan, store, command), study_file=_text_of(study_file), live=live)
    beside = {"other_scores": others} if len(others := other_scores(plan, store)) else {}
    write_report(found, told, out, beside | stats.further_tables(further, found, runs, examples, asked))
    return verdict_lines(found, told)


def _text_of(path: Path | None) -> tuple[str, str] | None:
    return (path.name, path.read_text(encoding="utf-8")) if path else None


def other_scores(plan: Plan, store: Store) -> pa.Table:
    """One row per run, language and further metric of its task (exact match, token accuracy): scores in 0-100, as they are reported."""
    done = store.done()
    rows = [
        {"run_id": run_id(cell), "language": language, "metric": metric, "score": score}
        for cell in plan.cells
        if cell.evaluation.key in done
        for metric, scores in store.record(cell.evaluation.key)["result"].get("also", {}).items()
        for language, score in scores.items()
        if language in cell.languages
    ]
    text = pa.string()
    return pa.Table.from_pylist(rows, pa.schema([("run_id", text), ("language", text), ("metric", text), ("score", pa.float64())]))


def next_look(plan: Plan, store: Store) -> list[str]:
    """Which contrasts are undecided with the seeds in the store, and how many seeds the next look needs, as sentences.

    Statistics of looks (the study's, or 3, 5, 8, 12 seeds): they keep the family-wise error although seeds are added after looking.
    """
    return stats.undecided(_looked(runs_table(plan, store), examples_of(plan, store), analysis_plan(plan), plan.study))


def _looked(runs: pa.Table, examples: StoredExamples, asked: stats.Plan, study: Study) -> pa.Table:
    return stats.seed_looks(runs, examples, asked, study.looks) if study.looks else stats.seed_looks(runs, examples, asked)


def _arm(side: Mapping[str, Any]) -> Arm:
    """The arm that a side of a contrast selects."""
    return str(side["encoder"]), str(side["intermediate"]), str(side.get("method", PLAIN)), str(side["target"])


def _complete(plan: Plan) -> set[Arm]:
    """The arms that have all seeds of the study; one that is not trained needs none."""
    untrained = {cell.arm for cell in plan.cells if cell.seed is None}
    return untrained | {arm for arm, number in plan.num_seeds.items() if number == len(plan.study.seeds)}


def plan_of(study: Study, data_dir: Path | None, encoders_dir: Path | None, store: Store, *, all_seeds: bool = False) -> Plan:
    """The plan of a study. Where it has looks, with the seeds that the looks so far ask for, or all of them.

    A look is taken when all that was planned up to it is in the store: arms whose gains are undecided then get the seeds of the next.
    """
    plan = make_plan(study, data_dir, encoders_dir)
    if study.looks and all_seeds:
        return make_plan(study, data_dir, encoders_dir, dict.fromkeys(plan.num_seeds, len(study.seeds)))
    while study.looks and len(store.finished(plan.stages)) == len(plan.stages):
        wanted = dict(plan.num_seeds)
        contrasts = {contrast.name: contrast for contrast in analysis_plan(plan).contrasts}
        for row in _looked(runs_table(plan, store), examples_of(plan, store), analysis_plan(plan), study).to_pylist():
            for side in (contrasts[row["contrast"]].plus, contrasts[row["contrast"]].minus):
                wanted[_arm(side)] = max(wanted[_arm(side)], row["next_seeds"] or 0)
        if wanted == plan.num_seeds:
            break
        plan = make_plan(study, data_dir, encoders_dir, wanted)
    return plan


def run_id(cell: Cell) -> str:
    """A run's name in tables and findings: encoder/intermediate/target/seed, with the method before the target where it is not plain."""
    method = (cell.method,) if cell.method != PLAIN else ()
    return "/".join((cell.encoder, cell.intermediate, *method, cell.target, "untrained" if cell.seed is None else f"seed {cell.seed}"))


def runs_table(plan: Plan, store: Store) -> pa.Table:
    """One row per run of the study, also for those that are missing from the store (status)."""
    rows, done, lost = [], store.done(), diverged(plan, store)

    @functools.lru_cache(maxsize=1024)  # runs share what they start from
    def result(key: str) -> dict[str, Any]:
        found: dict[str, Any] = store.record(key)["result"] if key in done else {}
        return found

    for cell in plan.cells:
        is_done = cell.evaluation.key in done
        before, above = cell.intermediate_stage, cell.evaluation.parent
        taught, trained, record = (result(stage.key) if stage else {} for stage in (before, above, cell.evaluation))
        rows.append(
            {
                "run_id": run_id(cell),
                "encoder": cell.encoder,
                "num_parameters": record.get("num_parameters"),
                "intermediate": cell.intermediate,
                **({"method": cell.method} if plan.study.methods else {}),
                "intermediate_run_id": before.key if before else None,
                "intermediate_dev_score": taught.get("dev_score"),
                "target": cell.target,
                "trained_on": _trained_on(cell),
                "seed": cell.seed,
                "dev_score": trained.get("dev_score"),
                "status": "ok" if is_done else "diverged" if run_id(cell) in lost else "missing",
                "status_detail": lost.get(run_id(cell)),
                "stage": cell.evaluation.key,
            }
        )
    text, whole = pa.string(), pa.int64()
    types = {"num_parameters": whole, "seed": whole, "dev_score": pa.float64(), "intermediate_dev_score": pa.float64()}
    return pa.Table.from_pylist(rows, pa.schema([(name, types.get(name, text)) for name in rows[0]]))


def diverged(plan: Plan, store: Store) -> dict[str, str]:
    """Run -> what is said of the training that diverged, its own or the one that it was to start from."""
    done = store.done()
    said = {key: divergence(store.failure(key)) for key in store.failures() & plan.stages.keys() - done}
    found = {}
    for cell in plan.cells:
        own = next((stage.key for stage in cell.evaluation.lineage if said.get(stage.key)), None)
        if own:
            found[run_id(cell)] = f"{plan.label(own)}: {said[own]}"
    return found


def _trained_on(cell: Cell) -> str | None:
    trained = [stage for stage in cell.evaluation.lineage if stage.phase == "train" and stage.task]
    return trained[-1].task.name if trained and trained[-1].task else None


@dataclass(frozen=True)
class StoredExamples:
    """One row per run, language and example: the statistics, and codes of prediction and gold to compare them by.

    They are read from the store a run at a time, each time that they are gone through: a study may hold more of them than memory.
    """

    plan: Plan
    store: Store

    def __iter__(self) -> Iterator[pa.Table]:
        done = self.store.done()
        for cell in self.plan.cells:
            if cell.evaluation.key in done:
                yield pa.concat_tables(_of_cell(cell, self.store), promote_options="default")


def examples_of(plan: Plan, store: Store) -> StoredExamples:
    """The examples of a plan's runs; raises UserError where nothing has been evaluated yet."""
    store.fetch_all(cell.evaluation.key for cell in plan.cells)
    if not store.done() & {cell.evaluation.key for cell in plan.cells}:
        raise UserError(f"{store.shown}: nothing of study {plan.study.name!r} has been evaluated yet; run it first.")
    return StoredExamples(plan, store)


def _of_cell(cell: Cell, store: Store) -> Iterator[pa.Table]:
    for language in cell.languages:
        table = pq.read_table(store.fetch(cell.evaluation.key) / PREDICTIONS / f"{language}.parquet")
        constant = {"run_id": run_id(cell), "language": language}
        columns: dict[str, Any] = {
            name: pa.DictionaryArray.from_arrays(pa.array([0] * len(table), pa.int32()), [text]) for name, text in constant.items()
        }
        columns |= {name: table[name] for name in table.column_names if name in {"example_id", "cluster_id"} or name[1:].isdigit()}
        yield pa.table(columns | {"prediction_code": codes(table["prediction"]), "gold_code": codes(table["gold"])})


def codes(values: pa.ChunkedArray) -> pa.Array:
    """[n] texts, or lists of texts, -> [n] 64-bit numbers that are equal where the values are, in every process."""
    flat = values.combine_chunks()
    if pa.types.is_list(flat.type):
        flat = pc.binary_join(flat, "\x1f")
    encoded = flat.dictionary_encode()
    numbers = [
        int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big", signed=True)
        for text in encoded.dictionary.to_pylist()
    ]
    return pa.array(numbers, pa.int64()).take(encoded.indices)


def analysis_plan(plan: Plan) -> stats.Plan:
    """What the study asks of the statistics: a gain per encoder, intermediate, method and target; each method against the plain one; the
    last encoder's gain minus the first's, and a method's minus the plain one's.
    """
    study, made = plan.study, _evaluations(plan)
    gains, over = _gains(plan, made), _over_plain(plan, made)
    contrasts = {name: _contrast(name, plus, minus, labels, study) for name, (plus, minus, labels) in (gains | over).items()}
    small, large = study.encoders[0].name, study.encoders[-1].name
    interactions = [
        stats.Interaction(
            name.removesuffix(f", {large}") + f": {large} - {small}",
            name,
            other,
            {**of.labels, "encoder": f"{small} to {large}"},
        )
        for name, of in contrasts.items()
        if of.labels["encoder"] == large != small and (other := name.removesuffix(f", {large}") + f", {small}") in contrasts
    ]
    interactions += [
        stats.Interaction(f"{name} - {PLAIN}", name, plain, {**labels, "method": f"{plus['method']} {MINUS_PLAIN}"})
        for name, (plus, _, labels) in gains.items()
        if plus.get("method", PLAIN) != PLAIN
        and (plain := _name(labels["encoder"], labels["intermediate"], labels["target"], PLAIN)) in contrasts
        and made[_arm(plus)] != made[_arm({**plus, "method": PLAIN})]
    ]
    level = levels(plan)
    groups = {name: tuple(code for code, of in level.items() if of == name) for name in study.level_order}
    groups |= pair_groups(dict.fromkeys(code for cell in plan.cells for code in cell.languages))
    return stats.Plan(
        contrasts=tuple(contrasts.values()),
        interactions=tuple(interactions),
        metric={cell.target: METRICS[cell.evaluation.task.metric].family for cell in plan.cells if cell.evaluation.task},
        groups={name: members for name, members in groups.items() if members},
        low_group=study.level_order[0] if groups[study.level_order[0]] else None,
        margin=study.margin,
        alpha=study.alpha,
        covariate={} if study.levels else {code: math.log10(mb) for code in level if (mb := languages.find(code).cc100_mb)},
    )


def pair_groups(codes: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """The pairs among the languages of a plan, those of one language and those of two."""
    pairs = [code for code in codes if languages.PAIR in code]
    same = tuple(code for code in pairs if len(set(languages.members(code))) == 1)
    return {languages.SAME_LANGUAGE: same, languages.TWO_LANGUAGES: tuple(code for code in pairs if code not in same)}


Evaluations = Mapping[Arm, set[str]]
"""Keys of the evaluations of each arm."""


def _evaluations(plan: Plan) -> Evaluations:
    found: dict[Arm, set[str]] = {}
    for cell in plan.cells:
        found.setdefault(cell.arm, set()).add(cell.evaluation.key)
    return found


Sides = tuple[dict[str, str], dict[str, str], dict[str, str]]
"""What selects the runs of the two sides of a contrast, and the contrast's labels."""


def _gains(plan: Plan, made: Evaluations) -> dict[str, Sides]:
    """Every intermediate against none, under every method."""
    study, found = plan.study, {}
    for encoder, method, intermediate, target in product(study.encoders, _methods(plan), _intermediates(plan), _targets(plan)):
        labels = {"encoder": encoder.name, "intermediate": intermediate}
        labels |= {"method": method if method == PLAIN else f"under {method}"} if study.methods else {}
        plus = {"encoder": encoder.name, "intermediate": intermediate, "target": target}
        plus |= {"method": method} if study.methods else {}
        if _arm(plus) in made:
            found[_name(encoder.name, intermediate, target, method)] = plus, plus | {"intermediate": NONE}, labels | {"target": target}
    return found


def _over_plain(plan: Plan, made: Evaluations) -> dict[str, Sides]:
    """Every method against the plain one, with every intermediate and with none, where they are not the same stages."""
    found = {}
    methods = [method for method in _methods(plan) if method != PLAIN]
    for encoder, method, intermediate, target in product(plan.study.encoders, methods, (NONE, *_intermediates(plan)), _targets(plan)):
        plus = {"encoder": encoder.name, "intermediate": intermediate, "method": method, "target": target}
        minus = plus | {"method": PLAIN}
        if _arm(plus) not in made or made[_arm(plus)] == made[_arm(minus)]:
            continue
        what = f"{method} alone" if intermediate == NONE else f"{method} with {intermediate}"
        labels = {"encoder": encoder.name, "intermediate": what, "method": OVER_PLAIN, "target": target}
        found[f"{method} - {PLAIN}: {intermediate} > {target}, {encoder.name}"] = plus, minus, labels
    return found


def _contrast(name: str, plus: dict[str, str], minus: dict[str, str], labels: dict[str, str], study: Study) -> stats.Contrast:
    return stats.Contrast(name, plus, minus, " ".join(labels[factor] for factor in study.families if factor in labels), labels)


def _methods(plan: Plan) -> list[str]:
    return list(dict.fromkeys(cell.method for cell in plan.cells))


def _intermediates(plan: Plan) -> list[str]:
    return list(dict.fromkeys(cell.intermediate for cell in plan.cells if cell.intermediate != NONE))


def _targets(plan: Plan) -> list[str]:
    return list(dict.fromkeys(cell.target for cell in plan.cells))


def _name(encoder: str, intermediate: str, target: str, method: str) -> str:
    under = "" if method == PLAIN else f" under {method}"
    return f"{intermediate} > {target}{under}, {encoder}"


def levels(plan: Plan) -> dict[str, str]:
    """Resource level of each language of the plan; a language of unknown level is left out."""
    study, found = plan.study, {}
    for code in dict.fromkeys(code for cell in plan.cells for code in cell.languages):
        if study.levels:  # a pair has the lower level of both, which stands first
            members = [study.levels[member] for member in languages.members(code) if member in study.levels]
            lower = min(members, key=study.level_order.index) if len(members) == len(languages.members(code)) else None
            level = study.levels.get(code, lower)
        elif (language := languages.find(code)).resource_class is None:
            level = None
        else:
            level = "low" if languages.low_resource(language) else "high"
        if level:
            found[code] = level
    return found


def story(plan: Plan, store: Store, command: str) -> Story:
    """What the report says beside the numbers."""
    study, level = plan.study, levels(plan)
    everywhere = dict.fromkeys(code for cell in plan.cells for code in cell.languages)
    known = {code: languages.find(code) for code in everywhere}
    done = store.done()
    lost = diverged(plan, store)
    names = [run_id(cell) for cell in plan.cells if cell.evaluation.key not in done]
    missing = [f"{name} (diverged: {lost[name]})" if name in lost else name for name in names]
    return Story(
        title=study.name,
        question=study.question,
        command=command,
        baseline=NONE,
        encoders=tuple(encoder.name for encoder in study.encoders),
        languages={
            code: LanguageFacts(facts.name, level.get(code, "level unknown"), _order(study, code, level)) for code, facts in known.items()
        },
        levels=study.level_order,
        level_note=study.level_note,
        notes=(
            "Each encoder is one pretrained model: what is said here is said given it, not of pretraining again.",
            *disclosure.notes(plan),
            *([LOOKS.format(", ".join(map(str, study.looks)))] if study.looks else []),
        ),
        missing=tuple(missing),
        facts=facts(plan, store),
        margin=study.margin,
        alpha=study.alpha,
        trap_cells=disclosure.distrusted(plan),
        complete=not missing,
        citations=tuple(dict.fromkeys(stage.task.citation for stage in plan.stages.values() if stage.task and stage.task.citation)),
    )


def _order(study: Study, code: str, level: dict[str, str]) -> float:
    """Place on the resource axis: the level's, or log10 of the megabytes of text in CC-100."""
    if study.levels:
        return float(study.level_order.index(level[code])) if code in level else -1.0
    return math.log10(languages.find(code).cc100_mb or 1.0)


def facts(plan: Plan, store: Store) -> dict[str, str]:
    """Versions and hashes. Where stages were made by different versions, all are named."""
    done = store.done()
    records = [store.record(key) for key in plan.stages if key in done]
    found: dict[str, dict[str, None]] = {}
    for record in records:
        made = {"raystilts": record["code"]["raystilts"], "git revision": record["code"]["git"] or "not in a checkout"}
        for name, version in {**made, "python": record["code"]["python"], **record["packages"]}.items():
            found.setdefault(name, {})[version] = None
    texts = {name: ", ".join(sorted(versions)) for name, versions in found.items()}
    seeds = ", ".join(str(seed) for seed in plan.study.seeds)
    hours = sum(record["seconds"] for record in records) / 3600
    return {
        "raystilts": texts.pop("raystilts", ""),
        "git revision": texts.pop("git revision", ""),
        "plan": fingerprint(sorted(plan.stages)),
        "seeds": seeds,
        "stages": f"{len(records)} of {len(plan.stages)} done, {hours:.2f} hours of work in all",
        "store": store.shown,
        **texts,
    }
