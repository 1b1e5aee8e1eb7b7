"""Methods as a factor of a study: which stages they change, what is compared, what the report says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from places import smoke

from raystilts import results
from raystilts.errors import UserError
from raystilts.execute import Site, execute, perform_here
from raystilts.method import PLAIN, Method
from raystilts.stage import Recipe
from raystilts.store import Store
from raystilts.study import Plan, Study, make_plan
from raystilts.tasks import cldr

HOT = Method("hot", {"learning_rate": 1e-2})
LATE = Method("late", target={"pooling": "first"})
ALIGNED = Method("aligned", before=((cldr.alignment({"de": 1.0}), Recipe(num_steps=2, batch_size=8, max_length=32)),))


def small(*methods: Method) -> Study:
    """One encoder, one intermediate task, a target that is trained and one that is not."""
    made = smoke()
    return replace(made, encoders=made.encoders[:1], targets=(cldr.KIND, cldr.NAME), languages=("de", "sw", "ml"), methods=methods)


def keys(plan: Plan, method: str, role: str) -> set[str]:
    """Keys of the stages of a role in the lineages of a method's runs."""
    found = {stage.key for cell in plan.cells if cell.method == method for stage in cell.evaluation.lineage}
    return {key for key in found if plan.roles[key] == role}


def test_a_method_leaves_the_plain_runs_as_they_are() -> None:
    """A study with methods has the stages of the one without, under the same keys, and more."""
    without, plan = make_plan(small()), make_plan(small(HOT, LATE, ALIGNED))
    assert without.stages.keys() == {key for cell in plan.cells if cell.method == PLAIN for key in [s.key for s in cell.evaluation.lineage]}
    assert {cell.method for cell in plan.cells} == {PLAIN, "hot", "late", "aligned"}


def test_a_method_changes_the_trainings_that_it_is_about() -> None:
    """`recipe` changes intermediate and target, `target` the target alone; `before` comes between encoder and intermediate, by seed."""
    plan = make_plan(small(HOT, LATE, ALIGNED))
    assert not keys(plan, "hot", "intermediate") & keys(plan, PLAIN, "intermediate")
    assert keys(plan, "late", "intermediate") == keys(plan, PLAIN, "intermediate")
    assert not keys(plan, "late", "target") & keys(plan, PLAIN, "target")
    rates = {stage.recipe.learning_rate for key, stage in plan.stages.items() if plan.methods[key] == "hot" and stage.recipe and stage.seed}
    assert rates == {1e-2}
    lineages = [cell.evaluation.lineage for cell in plan.cells if cell.method == "aligned" and cell.intermediate != "none"]
    assert {tuple(stage.task.name for stage in lineage if stage.task)[1:4] for lineage in lineages} == {
        ("alignment", "alignment", "currency")
    }
    assert {lineage[2].seed for lineage in lineages} == {1, 2}


def test_what_is_the_same_under_a_method_is_not_compared_with_itself() -> None:
    """A contrast against plain is there exactly where the method changes a stage; names are unique and say the method."""
    asked = results.analysis_plan(make_plan(small(HOT, ALIGNED)))
    names = {contrast.name for contrast in asked.contrasts}
    assert names == {
        *(f"currency > {target}{under}, pico" for target in ("kind", "name") for under in ("", " under hot", " under aligned")),
        # nothing is trained for none > name
        *(f"hot - plain: {pair}, pico" for pair in ("none > kind", "currency > kind", "currency > name")),
        *(f"aligned - plain: {pair}, pico" for pair in ("none > kind", "currency > kind", "none > name", "currency > name")),
    }  # fmt: skip
    assert {one.name for one in asked.interactions} == {
        f"currency > {target} under {method}, pico - plain" for method in ("hot", "aligned") for target in ("kind", "name")
    }


def test_interactions_of_encoders_stay_within_a_method() -> None:
    """The larger encoder's gain is compared with the smaller's under the same method."""
    made = replace(small(HOT), encoders=smoke().encoders)
    asked = results.analysis_plan(make_plan(made))
    found = {one.name: (one.plus, one.minus) for one in asked.interactions}
    assert found["currency > kind under hot: nano - pico"] == ("currency > kind under hot, nano", "currency > kind under hot, pico")
    assert found["hot - plain: none > kind: nano - pico"] == ("hot - plain: none > kind, nano", "hot - plain: none > kind, pico")


@pytest.mark.parametrize(
    ("methods", "words"),
    [
        ((Method("m", {"learning_rates": 1.0}),), "'learning_rates'"),
        ((Method("m"), Method("m")), "method 'm' is named twice"),
        ((Method(PLAIN),), "method 'plain' is named twice"),
        ((Method("m", change=lambda task: replace(task, train=replace(task.train, limit=5))),), "give num_steps"),
    ],
)
def test_a_method_that_cannot_be_is_one_sentence(methods: tuple[Method, ...], words: str) -> None:
    """Unknown fields, names that are taken, and unequal steps are told before anything is planned."""
    made = small(*methods)
    recipes = {name: replace(recipe, num_steps=None) for name, recipe in made.recipes.items()}
    with pytest.raises(UserError, match=words):
        make_plan(replace(made, recipes=recipes))


@pytest.mark.slow
def test_a_study_with_methods_runs_to_its_report(tmp_path: Path) -> None:
    """Every gain is there under every method and against plain; the report asks whether methods help and whether gains grow under them."""
    plan, store = make_plan(small(HOT)), Store(tmp_path / "store")
    site = Site(store, "test")
    for key in plan.stages:
        execute(key, plan, site, perform_here(site))
    lines = results.write(plan, store, tmp_path / "out", "a test")
    gains = pq.read_table(tmp_path / "out" / "tables" / "gains.parquet").to_pylist()
    assert {(row["intermediate"], row["method"]) for row in gains} == {
        *(("currency", method) for method in ("plain", "under hot")),
        *((f"hot {what}", "against plain") for what in ("alone", "with currency")),
    }
    questions = pq.read_table(tmp_path / "out" / "tables" / "questions.parquet").to_pylist()
    assert {row["about"] for row in questions} == {"all", "unaligned", "methods: all", "methods: unaligned", "under methods"}
    (grows,) = [row for row in questions if row["about"] == "under methods" and row["target"] == "kind"]
    assert grows["question"] == "Does currency help kind on pico more under hot than under plain training?"
    assert "does a method help, against plain training?" in (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert any("hot with currency (against plain)" in line for line in lines)
    runs = pq.read_table(tmp_path / "out" / "tables" / "scores.parquet").to_pylist()
    wanted = {"intermediate": "hot with currency", "target": "name", "language": "sw", "policy": "all"}
    theta = next(row["theta"] for row in gains if wanted.items() <= row.items())
    plus, minus = (
        [row["score"] for row in runs if row["run_id"].startswith(f"pico/currency/{method}name/") and row["language"] == "sw"]
        for method in ("hot/", "")
    )
    assert len(plus) == len(minus) == 2
    assert theta == pytest.approx(sum(plus) / 2 - sum(minus) / 2)
