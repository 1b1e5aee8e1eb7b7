"""The experiment on robust training: what it plans, and that its small twin runs on real data."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from places import experiment, finished

from raystilts import data, model, results
from raystilts.stage import Architecture, Encoder
from raystilts.study import make_plan
from raystilts.tasks.nli import PAWSX, XNLI


def test_the_study_plans_its_trainings_once_for_both_kinds_of_test(tmp_path: Path) -> None:
    """Two encoders x four methods x two trainings x five seeds, each read by the standard and the generalised test; all at the plain
    training's steps, and with the paper's numbers.
    """
    for folder, task, labels in (("xnli", XNLI, XNLI.labels), ("pawsx", PAWSX, PAWSX.labels)):
        (tmp_path / folder).mkdir()
        for name in (f"{split}-{code}" for split in ("train", "dev", "test") for code in task.languages):
            (tmp_path / folder / f"{name}.tsv").write_text("".join(f"{name} a\t{name} b\t{label}\n" for label in labels), encoding="utf-8")
    (tmp_path / "mnli").mkdir()
    row = {"sentence1": "a good day", "sentence2": "b", "gold_label": "neutral"}
    (tmp_path / "mnli" / "multinli_1.0_train.jsonl").write_text(json.dumps(row), encoding="utf-8")
    (tmp_path / "synonyms").mkdir()
    (tmp_path / "synonyms" / "counterfitted_neighbors.json").write_text('{"good": ["fine"]}', encoding="utf-8")
    for name in ("bert-base-multilingual-cased", "xlm-roberta-base"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps({"name": name}), encoding="utf-8")
        (tmp_path / name / "model.safetensors").touch()
    plan = make_plan(experiment("robust_xlt").study(), tmp_path, tmp_path)
    trained = [stage for stage in plan.stages.values() if stage.phase == "train"]
    assert len(trained) == 2 * 4 * 2 * 5
    assert len(plan.stages) == 3 * len(trained)
    assert {(stage.task.name, stage.recipe.num_steps) for stage in trained if stage.task and stage.recipe} == {
        ("mnli", 12_272),
        ("pawsx", 4_632),
    }
    assert {len(cell.languages) for cell in plan.cells} == {15, 225, 7, 49}
    copies = {
        (stage.task.name, stage.task.train.copies) for stage in trained if stage.task and stage.task.train and stage.task.train.synonyms
    }
    assert copies == {("mnli", 3), ("pawsx", 10)}
    assert {(stage.recipe.max_length, stage.recipe.batch_size, stage.recipe.learning_rate) for stage in trained if stage.recipe} == {
        (128, 32, 2e-5)
    }


@pytest.mark.slow
def test_the_small_twin_runs_on_real_data(shared_data: Path, tmp_path: Path) -> None:
    """With a tiny random encoder and two steps: every stage runs on the real files, and the report has pairs and methods."""
    texts = [text for example in data.examples(XNLI, "dev", "en", shared_data)[:300] for text in example.texts]
    model.initialise(tmp_path / "tiny", texts, Architecture(1, 16, 1, 32, 400), 0)
    made = experiment("robust_xlt").smoke()
    recipes = {name: replace(recipe, num_steps=2) for name, recipe in made.recipes.items()}
    study = replace(made, encoders=(Encoder("tiny", folder="tiny"),), recipes=recipes, seeds=(1,), languages=("en", "sw", "ja"))
    plan, store = finished(study, shared_data, tmp_path)
    results.write(plan, store, tmp_path / "report", "raystilts run")
    text = (tmp_path / "report" / "report.md").read_text(encoding="utf-8")
    assert text.count("### Gain by first and second language") == 2
    assert {row["method"] for row in results.runs_table(plan, store).to_pylist()} == {"plain", "adversarial", "random", "synonyms"}
