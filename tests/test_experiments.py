"""Every experiment plans, in full and in small: names, data and recipes fit, and its docstring says what it costs."""

from __future__ import annotations

from pathlib import Path

import pytest
from places import experiment

from raystilts import cost, disclosure
from raystilts.errors import UserError
from raystilts.readers import filled
from raystilts.study import NONE, OWN_DATA, Plan, Study, make_plan
from raystilts.task import Source, Task
from raystilts.tasks import find

EXPERIMENTS = {
    "phang2020": ["60"],
    "xtreme_r": ["250", "xlmr-large=80"],
    "base_to_large": ["250", "xlmr-large=80"],
    "controls": ["250", "xlmr-base=250"],
    "robust_xlt": ["250", "xlmr-base=250"],
    "lexical_injection": ["250"],
}
"""Experiment -> the throughput that its docstring states."""


LOCAL = ("phang2020", "robust_xlt", "lexical_injection")  # not all of their data or encoders are on the Hub at a known commit


def touched(study: Study, folder: Path) -> Path:
    """A folder in which every file that the study names is there with something in it: planning reads no more than bytes."""
    targets = [find(task) if isinstance(task, str) else task for task in study.targets]
    read = [find(task) if isinstance(task, str) else task for task in study.intermediates if task != OWN_DATA]
    read += [*targets, *(trained for target in targets for trained in target.trained_on)]
    read += [task for method in study.methods for task, _ in method.before]
    read += [method.change(task) for method in study.methods if method.change for task in read if task.train]
    for task in read:
        for part in task.parts or (task,):
            for source in filter(None, (part.train, part.dev, part.test)):
                _touch(source, part, folder)
    for encoder in study.encoders:
        if encoder.folder:
            (folder / encoder.folder).mkdir()
            (folder / encoder.folder / "config.json").write_text(encoder.name, encoding="utf-8")
            (folder / encoder.folder / "model.safetensors").touch()
    return folder


def _touch(source: Source, task: Task, folder: Path) -> None:
    for further in filter(None, (*source.more, source.without, source.candidates, source.synonyms)):
        _touch(further, task, folder)
    for name in source.files:
        for code in {"en", *source.languages, *task.languages}:
            try:
                path = folder / filled(name, code, source.codes)
            except UserError:  # no language of this source
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(str(path.relative_to(folder)), encoding="utf-8")


def full_plan(name: str, folder: Path) -> Plan:
    """The plan of an experiment's full study, from the Hub's pinned commits where they suffice."""
    study: Study = experiment(name).study()
    where = touched(study, folder) if name in LOCAL else None
    arms = dict.fromkeys(make_plan(study, where, where).num_seeds, len(study.seeds))
    return make_plan(study, where, where, arms)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_full_study_plans_and_says_what_it_costs(name: str, tmp_path: Path) -> None:
    """Every cell is there for every seed; the docstring holds the very table that `plan --throughput` prints."""
    plan = full_plan(name, tmp_path)
    study = plan.study
    targets = {cell.target for cell in plan.cells}
    assert len(targets) == len(study.targets)
    assert {cell.seed for cell in plan.cells} - {None} == set(study.seeds)
    table = cost.lines(cost.cost_of(plan, cost.throughputs(plan, EXPERIMENTS[name])))
    told = (experiment(name).__doc__ or "").splitlines()
    assert [line for line in table[:6] if f"    {line}" not in told] == []


def test_the_paper_is_whole(tmp_path: Path) -> None:
    """Nine tasks, their mixture, three with masked words, one with translations; nine targets; BUCC and Tatoeba after an intermediate are
    read from its own encoder, nothing is trained for them.
    """
    plan = full_plan("phang2020", tmp_path)
    intermediates = list(dict.fromkeys(cell.intermediate for cell in plan.cells))
    assert intermediates[10:] == ["multi-task", "mnli-mlm", "squad-mlm", "multi-task-mlm", "mnli-translated"]
    for cell in plan.cells:
        if cell.target in ("bucc", "tatoeba"):
            assert cell.evaluation.parent is cell.intermediate_stage
            assert (cell.seed is None) == (cell.intermediate == NONE)
        else:
            assert cell.evaluation.parent is not None
            assert cell.evaluation.parent.parent is cell.intermediate_stage
    told = disclosure.other_languages(plan)
    assert [line.partition(" reads ")[0] for line in told] == ["mnli-mlm", "squad-mlm", "multi-task-mlm", "mnli-translated"]
    assert "yo" in told[0]


def test_controls_take_equal_steps(tmp_path: Path) -> None:
    """MNLI, MNLI with shuffled labels and own data are trained for the same number of steps, on both encoders."""
    plan = full_plan("controls", tmp_path)
    steps = {(cell.encoder, cell.intermediate, cell.intermediate_stage.recipe.num_steps)
             for cell in plan.cells if cell.intermediate_stage and cell.intermediate_stage.recipe}  # fmt: skip
    names = ("mnli", "mnli-shuffled", OWN_DATA)
    assert steps == {(encoder.name, name, 12_272) for encoder in plan.study.encoders for name in names}
    assert not any(cell.same_data for cell in plan.cells if not cell.is_control)


def test_xtreme_r_from_files_has_all_ten(tmp_path: Path) -> None:
    """With all data in files the study has XTREME-R's ten tasks in all languages."""
    study = experiment("xtreme_r").from_files()
    plan = make_plan(study, touched(study, tmp_path), None)
    languages = {cell.target: len(cell.languages) for cell in plan.cells}
    assert languages == {"xnli": 15, "xcopa": 11, "udpos": 38, "wikiann": 48, "xquad": 12, "mlqa": 7, "tydiqa": 9, "tatoeba": 41,
                         "lareqa": 11, "mewslix": 11}  # fmt: skip


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_smoke_plans(name: str, shared_data: Path, tmp_path: Path) -> None:
    """The small twin plans on the development data with encoder folders of any content: few stages, few steps."""
    study: Study = experiment(name).smoke()
    for encoder in study.encoders:
        (tmp_path / encoder.folder).mkdir(exist_ok=True)
        (tmp_path / encoder.folder / "config.json").write_text(encoder.folder)
        (tmp_path / encoder.folder / "model.safetensors").write_text(encoder.folder)
    plan = make_plan(study, shared_data, tmp_path)
    trained = [stage.recipe.num_steps for stage in plan.stages.values() if stage.phase == "train" and stage.recipe]
    assert all(steps is not None and steps <= 60 for steps in trained)
    assert len(plan.stages) <= 60
    assert study.name == f"{experiment(name).study().name}-smoke"
