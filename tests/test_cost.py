"""The cost of a plan, against numbers computed by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from test_study import pair as bare
from test_study import world

from raystilts import cost
from raystilts.cli import main
from raystilts.errors import UserError
from raystilts.stage import Encoder, Recipe
from raystilts.study import Study, make_plan
from raystilts.task import Source, Task
from raystilts.tasks import find
from raystilts.tasks.sizes import size_of

__all__ = ["world"]

ENCODERS = (Encoder("small", folder="enc"), Encoder("large", folder="enc2"))


def pair(name: str, **changes: object) -> Task:
    """A task on these files."""
    made = bare(name)
    named = {split: replace(getattr(made, split), columns=("a", "b", "label")) for split in ("train", "dev", "test")}
    return replace(made, **(named | changes))


def tables(folder: Path) -> None:
    """A second encoder; training data of 10 pairs and of 4 choices between three, dev data of 3 pairs, tests of 5 and of 6 pairs."""
    (folder / "enc2").mkdir()
    for name in ("config.json", "model.safetensors"):
        (folder / "enc2" / name).write_text("{}2")
    for name, size in (("nli-en", 10), ("dev-en", 3), ("test-sw", 5), ("test-ur", 6)):
        (folder / f"{name}.tsv").write_text("".join(f"a{n}\tb\tyes\n" for n in range(size)), encoding="utf-8")
    (folder / "choice-en.tsv").write_text("".join(f"q{n}\ta\tb\tc\t0\n" for n in range(4)), encoding="utf-8")


def test_a_plans_cost_is_what_hands_compute(world: Path) -> None:
    """Two encoders, none and a choice task, one target, two seeds; per encoder and seed it is as follows.

    intermediate: 2 epochs of ceil(4 / 3) = 2 steps, 4 steps x 3 examples x 3 continuations = 36 sequences, no dev data.
    target, twice: 7 steps x 5 examples = 35 sequences; dev 3. evaluation, twice: 5 + 6 = 11 sequences.
    """
    tables(world)
    choice = Task(
        "choice", "choice", "accuracy", labels=("0", "1", "2"), train=Source(files=("choice-en.tsv",), columns=("q", "a", "b", "c", "y"))
    )
    recipes = {"choice": Recipe(num_epochs=2, batch_size=3), "xnli": Recipe(num_steps=7, batch_size=5)}
    plan = make_plan(Study("s", "?", ENCODERS, (choice,), (pair("xnli"),), (1, 2), recipes), world, world)
    found = cost.cost_of(plan, {"small": 10.0, "large": 2.0}, world)
    rows = {row.role: (row.stages, row.steps, row.trained, row.evaluated) for row in found.rows}
    assert rows == {
        "pretraining": (0, 0, 0, 0),
        "intermediate": (4, 16, 144, 0),
        "target": (8, 56, 280, 24),
        "evaluation": (8, 0, 0, 88),
        "all": (20, 72, 424, 112),
    }
    hours = {row.role: row.hours for row in found.rows}
    assert hours["intermediate"] == pytest.approx((72 / 10 + 72 / 2) / 3600)
    assert hours["target"] == pytest.approx(((140 + 12 / 3) / 10 + (140 + 12 / 3) / 2) / 3600)
    assert hours["evaluation"] == pytest.approx((44 / 3 / 10 + 44 / 3 / 2) / 3600)
    assert hours["all"] == pytest.approx(sum(hours[role] for role in ("intermediate", "target", "evaluation")))
    assert found.unknown == ()
    partly = cost.cost_of(plan, {"small": 10.0}, world)
    assert [row.hours for row in partly.rows] == [0.0, None, None, None, None]
    assert "unknown" in "\n".join(cost.lines(partly))


def test_a_mixtures_sequences_follow_its_shares(world: Path) -> None:
    """10 pairs with share 0.25 and 4 choices of three with 0.75: a step of 4 examples has 4 x (0.25 + 0.75 x 3) = 10 sequences; an epoch
    of 14 examples is ceil(14 / 4) = 4 steps.
    """
    tables(world)
    choice = Task(
        "choice", "choice", "accuracy", labels=("0", "1", "2"), train=Source(files=("choice-en.tsv",), columns=("q", "a", "b", "c", "y"))
    )
    mixture = Task("m", "mixture", "", parts=(pair("nli", dev=None), choice), weights=(0.25, 0.75))
    study = Study("s", "?", ENCODERS[:1], (mixture,), (pair("xnli"),), (1,), {"m": Recipe(num_epochs=1, batch_size=4)})
    row = next(row for row in cost.cost_of(make_plan(study, world, world), {}, world).rows if row.role == "intermediate")
    assert (row.steps, row.trained) == (4, 40)


def test_sizes_are_the_published_ones_where_no_file_is() -> None:
    """A set of several sources, several languages, a cut, and what nobody says."""
    sizes = {name: size_of(find(name).train, "en") for name in ("mnli", "squad", "csqa", "anli-plus", "mlm", "mnli-translated", "mewslix")
             if find(name).train}  # fmt: skip
    assert (sizes["mnli"], sizes["squad"], sizes["csqa"]) == (392_702, 87_599, 9_741)
    assert sizes["anli-plus"] == 549_367 + 392_702 + 16_946 + 45_460 + 100_459
    assert sizes["mlm"] == 18 * 5_000
    assert sizes["mnli-translated"] == 15 * 392_702
    assert size_of(replace(find("mnli").train, limit=100), "en") == 100
    assert size_of(find("tydiqa").test, "sw") == 499
    assert size_of(find("bucc").test, "de") is None


def test_what_nobody_says_is_named(world: Path) -> None:
    """A file that cannot be read has no size: the table says which, and counts nothing for it."""
    tables(world)
    plan = make_plan(Study("s", "?", ENCODERS[:1], (), (pair("xnli"),), (1,)), world, world)
    (world / "test-ur.tsv").write_text("broken\n")
    found = cost.cost_of(plan, {"small": 1.0}, world)
    assert found.unknown == ("xnli test in ur",)
    assert "counted as 0: xnli test in ur." in cost.lines(found)[-1]
    assert next(row for row in found.rows if row.role == "evaluation").evaluated == 5


def test_the_command_prints_it(capsys: pytest.CaptureFixture[str]) -> None:
    """`raystilts plan --throughput` prints the table, or JSON; a name that is no encoder and what is no number are one sentence."""
    command = ["plan", "experiments/quickstart.py:smoke", "--throughput", "1000"]
    assert main(command) == 0
    shown = capsys.readouterr().out
    assert "GPU-hours" in shown
    assert "unknown" in shown  # nano's speed
    assert main([*command, "nano=500", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["sequences_per_second"] == {"pico": 1000.0, "nano": 500.0}
    assert found["roles"][-1]["hours"] > 0
    assert main([*command[:3], "nan0=5"]) == 2
    assert main([*command[:3], "-1"]) == 2


def test_a_throughput_is_a_positive_number_of_an_encoder_of_the_study(world: Path) -> None:
    """Anything else is a UserError."""
    tables(world)
    plan = make_plan(Study("s", "?", ENCODERS, (), (pair("xnli"),), (1,)), world, world)
    assert cost.throughputs(plan, ["100", "large=20"]) == {"small": 100.0, "large": 20.0}
    for text in ("big=3", "large=fast", "0", "inf"):
        with pytest.raises(UserError, match="--throughput"):
            cost.throughputs(plan, [text])
