"""Plans: what is shared is planned once, parents first, the same keys everywhere."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from places import ROOT, experiment, smoke

from raystilts import show
from raystilts.errors import UserError
from raystilts.stage import Encoder, Recipe
from raystilts.store import Store
from raystilts.study import NONE, Plan, Study, make_plan
from raystilts.task import Source, Task
from raystilts.tasks import cldr

GOLDEN = ROOT / "tests" / "golden" / "quickstart-plan.json"


QUICKSTART = smoke()


def check(plan: Plan) -> None:
    """What holds of every plan."""
    seen: set[str] = set()
    for key, stage in plan.stages.items():
        assert stage.key == key
        assert stage.parent is None or stage.parent.key in seen, "a parent stands behind its child"
        seen.add(key)
    assert {cell.evaluation.key for cell in plan.cells} <= seen
    assert len({(c.encoder, c.intermediate, c.target, c.seed) for c in plan.cells}) == len(plan.cells)
    assert all(sum(role == r for role in plan.roles.values()) <= plan.unshared[r] for r in set(plan.roles.values()))


@settings(deadline=None, max_examples=10)
@given(
    st.permutations((cldr.CURRENCY, cldr.OFFICIAL)), st.permutations((cldr.KIND, cldr.LIST, cldr.NAME)),
    st.permutations((1, 2, 3)), st.permutations(QUICKSTART.encoders),
)  # fmt: skip
def test_keys_do_not_depend_on_order(intermediates, targets, seeds, encoders) -> None:
    """Any order of a study's factors gives the same set of stages, parents before children, and no stage twice."""
    study = replace(QUICKSTART, intermediates=tuple(intermediates), targets=tuple(targets), seeds=tuple(seeds), encoders=tuple(encoders))
    plan = make_plan(study)
    check(plan)
    assert set(plan.stages) == set(make_plan(replace(QUICKSTART, intermediates=(cldr.CURRENCY, cldr.OFFICIAL), seeds=(1, 2, 3))).stages)


def test_targets_with_fewer_seeds_have_the_first_ones() -> None:
    """A target with fewer seeds has the runs of the first ones, as a study with these alone; the others keep all theirs."""
    study = replace(QUICKSTART, seeds=(3, 1, 2))
    fewer = make_plan(replace(study, target_seeds={"kind": 2}))
    check(fewer)
    whole, two = make_plan(study), make_plan(replace(study, seeds=(3, 1)))
    assert [cell for cell in fewer.cells if cell.target != "kind"] == [cell for cell in whole.cells if cell.target != "kind"]
    assert [cell for cell in fewer.cells if cell.target == "kind"] == [cell for cell in two.cells if cell.target == "kind"]
    assert set(fewer.stages) < set(whole.stages)
    assert set(make_plan(replace(study, target_seeds={"kind": 9})).stages) == set(whole.stages)
    assert "3 seeds (kind 2) = " in show.plan_table(fewer, Store(ROOT / "absent"))[1]


def test_more_seeds_and_languages_keep_what_is_there() -> None:
    """Adding seeds keeps every stage; adding languages keeps every trained model; a new margin or name keeps everything."""
    before = make_plan(QUICKSTART)
    assert set(before.stages) < set(make_plan(replace(QUICKSTART, seeds=(1, 2, 3))).stages)
    more = make_plan(replace(QUICKSTART, languages=(*QUICKSTART.languages, "ta")))
    trained = {key for key, stage in before.stages.items() if stage.phase != "evaluate"}
    assert trained <= set(more.stages)
    assert set(before.stages) == set(make_plan(replace(QUICKSTART, margin=2.0, name="other", question="?")).stages)


def test_counts_of_the_quickstart() -> None:
    """Alignment once per encoder, an intermediate once per encoder and seed for all targets, untrained retrieval once per encoder."""
    plan = make_plan(experiment("quickstart").study())
    check(plan)
    found = {role: sum(r == role for r in plan.roles.values()) for role in plan.unshared}
    assert found == {"pretraining": 4, "intermediate": 12, "target": 36, "evaluation": 50}
    assert plan.unshared == {"pretraining": 100, "intermediate": 36, "target": 36, "evaluation": 50}
    untrained = [cell for cell in plan.cells if cell.seed is None]
    assert {(cell.intermediate, cell.target) for cell in untrained} == {(NONE, "name")}


def test_the_quickstart_has_the_golden_plan() -> None:
    """Keys of the quickstart are those of the golden file: whoever changes one changes what everybody's stores hold.

    After a change that is meant: raystilts plan experiments/quickstart.py --json > tests/golden/quickstart-plan.json
    """
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    plan = make_plan(experiment("quickstart").study())
    rows = show.plan_rows(plan, Store(Path("nowhere")))
    assert [{**row, "done": False} for row in golden] == rows


@pytest.mark.promise("Keys are the same in every process and on every day")
def test_keys_are_the_same_in_another_process() -> None:
    """Another interpreter with another hash seed, started elsewhere, plans the same keys."""
    path = ROOT / "experiments" / "quickstart.py"
    command = [sys.executable, "-m", "raystilts.cli", "plan", f"{path}:smoke", "--json", "--store", "nowhere"]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env=os.environ | {"PYTHONHASHSEED": "77"}, cwd=ROOT / "tests"
    )
    assert [row["key"] for row in json.loads(done.stdout)] == list(make_plan(QUICKSTART).stages)


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """A folder with a tiny encoder's files and the data of two tasks that share their training set."""
    encoder = tmp_path / "enc"
    encoder.mkdir()
    (encoder / "config.json").write_text("{}")
    (encoder / "model.safetensors").write_bytes(b"weights")
    for name in ("nli-en.tsv", "dev-en.tsv", "test-sw.tsv", "test-ur.tsv"):
        (tmp_path / name).write_text("a\tb\tyes\nc\td\tno\n", encoding="utf-8")
    return tmp_path


def pair(name: str, **changes: object) -> Task:
    """A task on the files of `world`."""
    facts = {
        "kind": "classification", "metric": "accuracy", "labels": ("no", "yes"), "languages": ("sw", "ur"),
        "train": Source(files=("nli-en.tsv",)), "dev": Source(files=("dev-en.tsv",)), "test": Source(files=("test-{language}.tsv",)),
    }  # fmt: skip
    return Task(name, **(facts | changes))


RECIPES = st.builds(Recipe, learning_rate=st.floats(1e-6, 1e-2), num_steps=st.integers(1, 9), batch_size=st.integers(1, 64))
OWN = Source(files=("dev-en.tsv",))


@st.composite
def studies(draw) -> Study:
    """Studies of a few of these tasks, which partly share their data, in any order, with recipes of any kind."""

    def some(values: tuple, least: int = 1) -> tuple:
        return tuple(
            draw(st.lists(st.sampled_from(range(len(values))), min_size=least, unique=True).map(lambda at: [values[i] for i in at]))
        )

    intermediates = (pair("nli"), pair("own", train=OWN), Task("mixture", "mixture", "", parts=(pair("a", train=OWN), pair("b"))))
    targets = (pair("xnli"), pair("steps", trained_on=(pair("first", train=OWN), pair("second"))), pair("small", train=OWN))
    recipes = draw(st.dictionaries(st.sampled_from(["xnli", "nli", "own", "default"]), RECIPES, max_size=3))
    languages = some(("sw", "ur")) if draw(st.booleans()) else None
    encoders = (Encoder("e", folder="enc"), Encoder("f", folder="enc2"))
    return Study("s", "?", some(encoders), some(intermediates, 0), some(targets), some((1, 2, 3, 40)), recipes=recipes, languages=languages)


@pytest.mark.promise("In a plan no stage stands twice and parents stand before children; keys depend on what a stage computes alone")
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(studies(), st.randoms(use_true_random=False), st.text(max_size=20), st.floats(0.1, 9))
def test_keys_depend_on_nothing_else(world: Path, study: Study, random, text: str, number: float) -> None:
    """Any study: the order of its factors and recipes, its name, question, margin, level and notes leave every key as it is; with fewer
    seeds and targets the keys of what is left are the same.
    """
    shutil.copytree(world / "enc", world / "enc2", dirs_exist_ok=True)
    (world / "enc2" / "model.safetensors").write_bytes(b"other weights")
    plan = make_plan(study, world, world)
    check(plan)

    def shuffled(values: tuple) -> tuple:
        return tuple(random.sample(values, len(values)))

    other = replace(
        study, name=f"other {number}", question=text, margin=number, alpha=number / 100, level_note=text,
        recipes=dict(shuffled(tuple(study.recipes.items()))), seeds=shuffled(study.seeds), encoders=shuffled(study.encoders),
        intermediates=shuffled(study.intermediates), targets=shuffled(study.targets),
    )  # fmt: skip
    again = make_plan(other, world, world)
    check(again)
    assert set(again.stages) == set(plan.stages)
    fewer = make_plan(replace(study, seeds=study.seeds[:1], targets=study.targets[:1]), world, world)
    assert set(fewer.stages) <= set(plan.stages)


def test_same_data_is_the_same_stage_and_is_flagged(world: Path) -> None:
    """An intermediate task on the target's own training data is the baseline's training (planned once), and its cells are flagged."""
    study = Study("s", "?", (Encoder("e", folder="enc"),), (pair("nli"),), (pair("xnli"),), (1,))
    plan = make_plan(study, world, world)
    check(plan)
    flags = {cell.intermediate: cell.same_data for cell in plan.cells}
    assert flags == {NONE: False, "nli": True}
    baseline, arm = plan.cells
    assert arm.intermediate_stage is baseline.evaluation.parent
    other = make_plan(replace(study, recipes={"nli": Recipe(learning_rate=1e-3)}), world, world)
    assert other.cells[1].intermediate_stage is not other.cells[0].evaluation.parent


def test_shared_data_is_seen_through_mixtures_and_other_readings(world: Path) -> None:
    """A mixture with the target's data among its parts, a set that it is a part of, and the same file read for another kind are flagged;
    a task on a file of its own is not.
    """
    (world / "other-en.tsv").write_text("e\tf\tyes\ng\th\tno\n", encoding="utf-8")
    own = Source(files=("other-en.tsv",))
    parts = (pair("a", train=own), pair("b"))
    intermediates = (
        Task("mixture", "mixture", "", parts=parts),
        pair("joined", train=replace(own, more=(Source(files=("nli-en.tsv",)),))),
        Task("pairs", "ranking", "accuracy", train=Source(files=("nli-en.tsv",), columns=("a", "b", "label"), only=("yes",))),
        pair("apart", train=own),
    )
    plan = make_plan(Study("s", "?", (Encoder("e", folder="enc"),), intermediates, (pair("xnli"),), (1,)), world, world)
    check(plan)
    flags = {cell.intermediate: cell.same_data for cell in plan.cells}
    assert flags == {NONE: False, "mixture": True, "joined": True, "pairs": True, "apart": False}
    (mixture,) = [stage for stage in plan.stages.values() if stage.task and stage.task.kind == "mixture"]
    assert [(task.name, split, language) for task, split, language in mixture.reads] == [
        ("a", "train", "en"), ("a", "dev", "en"), ("b", "train", "en"), ("b", "dev", "en"),
    ]  # fmt: skip


def test_a_target_can_be_trained_in_several_steps(world: Path) -> None:
    """The steps follow each other and the later ones keep the head; an intermediate comes before all of them; what two targets share is
    planned once.
    """
    (world / "second-en.tsv").write_text("e\tf\tyes\ng\th\tno\n", encoding="utf-8")
    second = pair("second", train=Source(files=("second-en.tsv",)))
    chained = pair("chained", train=None, trained_on=(pair("first", test=None), replace(second, test=None)))
    study = Study("s", "?", (Encoder("e", folder="enc"),), (), (chained, pair("xnli")), (1,))
    plan = make_plan(study, world, world)
    check(plan)
    first, then, evaluation = plan.cells[0].evaluation.lineage
    assert [stage.task.name for stage in (first, then, evaluation)] == ["first", "second", "chained"]
    assert (first.keep_head, then.keep_head) == (False, True)
    assert then.key != replace(then, keep_head=False).key
    assert plan.cells[1].evaluation.parent is first


def test_changed_data_changes_keys(world: Path) -> None:
    """A changed test file makes new evaluations only; a changed training file makes everything new."""
    study = Study("s", "?", (Encoder("e", folder="enc"),), (), (pair("xnli"),), (1,))
    before = make_plan(study, world, world)
    (world / "test-ur.tsv").write_text("a\tb\tno\n", encoding="utf-8")
    after = make_plan(study, world, world)
    kept = {before.stages[key].phase for key in set(before.stages) & set(after.stages)}
    assert kept == {"train"}
    (world / "nli-en.tsv").write_text("a\tb\tno\nc\td\tyes\n", encoding="utf-8")
    assert not set(make_plan(study, world, world).stages) & set(after.stages)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"languages": ()}, "language list is empty"),
        ({"languages": ("de",)}, "none of its languages is a language of 'xnli'"),
        ({"languages": ("sw", "zz9")}, "zz9"),
        ({"seeds": ()}, "seeds is empty"),
        ({"seeds": (1, 1)}, "seed '1' is named twice"),
        ({"targets": ("xnlii",)}, "did you mean 'xnli'"),
        ({"targets": (pair("t", test=None),)}, "no test data"),
        ({"intermediates": (pair("t", train=None),)}, "no training data"),
        ({"encoders": (Encoder("e", folder="nowhere"),)}, r"no config\.json"),
        ({"targets": (pair("t", test=Source(files=("absent-{language}.tsv",))),)}, "absent-sw.tsv"),
        ({"levels": {"sw": "poor"}}, "poor"),
        ({"targets": (pair("t", kind="span", labels=()),), "recipes": {"t": Recipe(max_length=64)}}, "leaves no room for a context"),
        ({"recipes": {"default": Recipe(precision="bf16")}}, "of 'xnli' has precision 'bf16'; choose from auto, float32, bfloat16"),
        (
            {"targets": (pair("t", kind="retrieval", labels=(), train=None),), "recipes": {"t": Recipe(precision="bf16")}},
            "of 't' has precision 'bf16'",
        ),
        ({"target_seeds": {"xnlii": 1}}, "target_seeds gives 'xnlii' 1 seeds"),
        ({"target_seeds": {"xnli": 0}}, "target_seeds gives 'xnli' 0 seeds; name targets and at least 1"),
        ({"seeds": (1, 2), "looks": (2,), "target_seeds": {"xnli": 1}}, "none in a study with looks"),
        ({"families": ("task",)}, "families"),
        ({"targets": (pair("t", trained_on=(pair("nli", labels=("0", "1")),)),)}, "'t' has the labels .* trained on 'nli' with"),
        ({"targets": (pair("t", kind="retrieval", labels=(), layer=None, dev=None, train=None),)}, "no dev data to choose its layer on"),
    ],
)
@pytest.mark.promise("A mistake in a study is one sentence before anything runs")
def test_bad_studies_are_one_sentence(world: Path, changes: dict[str, object], message: str) -> None:
    """Whatever is wrong with a study is a UserError that names it, before anything runs."""
    study = Study("s", "?", (Encoder("e", folder="enc"),), (), (pair("xnli"),), (1,))
    with pytest.raises(UserError, match=message):
        make_plan(replace(study, **changes), world, world)


@pytest.mark.parametrize("function", ["study", "smoke"])
def test_the_laptop_experiment_plans(shared_data: Path, tmp_path: Path, function: str) -> None:
    """experiments/laptop.py plans on the real data with encoder folders of any content."""
    for layers in (3, 6, 12):
        folder = tmp_path / f"e5-small-{layers}"
        folder.mkdir()
        (folder / "config.json").write_text("{}")
        (folder / "model.safetensors").write_bytes(bytes([layers]))
    plan = make_plan(getattr(experiment("laptop"), function)(), shared_data, tmp_path)
    check(plan)
    assert {cell.target for cell in plan.cells if cell.same_data} == {"xnli-dev"}
