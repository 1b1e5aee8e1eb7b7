"""Every task whose data is at hand, on the real files and a real multilingual encoder of three layers."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from places import ROOT, SHARED

from raystilts import data
from raystilts.execute import Site, check_inputs
from raystilts.process import owner
from raystilts.readers import filled
from raystilts.stage import Encoder, Recipe
from raystilts.store import Store
from raystilts.study import Study, make_plan
from raystilts.sweep import run_in_process
from raystilts.task import Example, Source, Task
from raystilts.tasks.choice import COPA, COSMOSQA, CSQA, XCOPA
from raystilts.tasks.nli import PAWSX, TAXINLI, XNLI
from raystilts.tasks.qa import SQUAD, TYDIQA, XQUAD
from raystilts.tasks.retrieval import SQUAD_SENTENCES, TATOEBA
from raystilts.tasks.tagging import CCG, MASAKHANER, UDPOS, WIKIANN
from raystilts.tasks.text import SIB200

LIMIT = 24  # examples of a dev or test set
LANGUAGES = ("sw", "yo", "te", "qu", "ht", "wo", "bn", "mr", "az", "th", "ha", "zh", "ko")


@pytest.fixture(scope="module")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the real encoder of three layers; skipped where its weights cannot be had."""
    tool, folder = SHARED / "tools" / "build_encoder.py", tmp_path_factory.mktemp("encoders")
    if not tool.is_file():
        pytest.skip("needs ../shared/tools/build_encoder.py, which is not here")
    made = subprocess.run([sys.executable, str(tool), str(folder / "e5"), "--layers", "3"], capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"the encoder's weights cannot be had: {made.stderr.strip().splitlines()[-1]}")
    return folder


def cut(source: Source | None, **changes: object) -> Source:
    """A small part of a source, with changes."""
    assert source is not None
    return replace(source, limit=LIMIT, **changes)


def small(task: Task, **changes: object) -> Task:
    """The task with small dev and test sets, in the languages of this module that are at hand."""
    splits = {split: cut(source) for split in ("dev", "test") if (source := getattr(task, split))}
    made = replace(task, **{**splits, **changes})
    if "languages" not in changes and made.test:
        made = replace(made, languages=tuple(code for code in made.languages if code in LANGUAGES and at_hand(made.test, code)))
    return made


def at_hand(source: Source, code: str) -> bool:
    """Whether a language's files are there."""
    return all((SHARED / "data" / filled(name, code, source.codes)).is_file() for name in source.files)


SQUAD_PART = small(
    SQUAD,
    train=replace(SQUAD.train, files=("squad/part-1.json",), without=XQUAD.test),
    dev=cut(SQUAD.dev, files=("squad/part-2-dev.json",)),
)
SENTENCES = small(
    SQUAD_SENTENCES,
    train=replace(SQUAD_SENTENCES.train, files=("squad/part-2.json",)),
    dev=cut(SQUAD_SENTENCES.dev, files=("squad/part-2-dev.json",)),
)
COSMOSQA_PART = small(COSMOSQA, train=COSMOSQA.dev)  # its training part is not at hand
WIKIANN_DEV = small(WIKIANN, name="wikiann-dev", test=cut(WIKIANN.dev))
TARGETS = (
    small(XNLI, name="xnli-dev", trained_on=(small(TAXINLI),), test=cut(XNLI.dev)),
    small(PAWSX, name="pawsx-dev", train=PAWSX.dev, test=cut(PAWSX.dev)),
    small(UDPOS),
    WIKIANN_DEV,
    small(MASAKHANER, trained_on=(replace(WIKIANN_DEV, test=None),), languages=("yo", "ha")),
    small(XQUAD, trained_on=(SQUAD_PART,)),
    # the files at hand hold no answers for TyDiQA's dev part, which is its test
    small(XQUAD, name="xquad-tydiqa", trained_on=(replace(TYDIQA, dev=cut(SQUAD_PART.dev), test=None),)),
    small(XCOPA, trained_on=(small(CSQA), small(COPA))),
    small(SIB200),
    small(TATOEBA, layer=None, dev=cut(TATOEBA.dev)),
)


def masked_words() -> Task:
    """Masked language modelling on real sentences of three languages, which are read here: a training may not read them itself."""
    found = [example for code in ("en", "sw", "yo") for example in data.examples(SIB200, "test", code, SHARED / "data")]
    made = [Example(str(number), (example.texts[0],)) for number, example in enumerate(found)]
    return Task("mlm", "mlm", "", train=Source(generate=lambda _language: made))


MULTI_TASK = Task("multi-task", "mixture", "", parts=(small(TAXINLI), SQUAD_PART, small(CSQA), small(CCG), COSMOSQA_PART), temperature=2.0)
INTERMEDIATES = (small(TAXINLI), small(CCG), SQUAD_PART, small(CSQA), COSMOSQA_PART, small(COPA), SENTENCES, MULTI_TASK)


def run(study: Study, encoders: Path, store: Store) -> int:
    """Run a study in this process; the number of scores that a script, which knows nothing of raystilts, finds equal to the reported."""
    plan = make_plan(study, SHARED / "data", encoders)
    site = Site(store, owner(), SHARED / "data", encoders)
    store.prepare()
    check_inputs(plan, site)
    run_in_process(plan, site)
    failures = [store.failure(key) for key in plan.stages if not store.has(key)]
    assert not failures, failures
    script = [sys.executable, str(ROOT / "analysis" / "recompute_scores.py"), str(store.root)]
    done = subprocess.run(script, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return next(int(line.split()[0]) for line in done.stdout.splitlines() if "scores recomputed" in line)


def study(name: str, intermediates: Sequence[Task], targets: Sequence[Task]) -> Study:
    """A study of three steps per training."""
    short = Recipe(learning_rate=1e-4, num_steps=3, batch_size=8, micro_batch_size=4, max_length=64, max_examples=64)
    recipes = {
        "default": short,
        **dict.fromkeys(("squad", "tydiqa"), replace(short, max_length=192)),
        "multi-task": replace(short, num_steps=8, max_length=192),
    }
    encoder = Encoder("e5-small-3", folder="e5")
    return Study(name, "Does every task work?", (encoder,), tuple(intermediates), tuple(targets), (1,), recipes, LANGUAGES)


@pytest.mark.slow
def test_targets_train_and_are_evaluated(shared_data: Path, encoders: Path, tmp_path: Path) -> None:
    """Every target whose data is at hand trains for a few steps and is evaluated in its languages; all scores, EM and token accuracy
    among them, are those that seqeval, scikit-learn and the published scripts' formulas give for the prediction tables.
    """
    store = Store(tmp_path / "store")
    checked = run(study("targets", (), TARGETS), encoders, store)
    assert all(task.languages for task in TARGETS)
    assert checked >= sum(len(task.languages) for task in TARGETS)
    records = [store.record(path.name) for path in (store.root / "stages").iterdir()]
    evaluated = {record["lineage"][-1]["task"]: record["result"] for record in records if record["phase"] == "evaluate"}
    assert set(evaluated) == {task.name for task in TARGETS}
    assert 0 < evaluated["tatoeba"]["layer"] <= 1
    assert set(evaluated["xquad"]["also"]) == {"squad_em"}
    # an encoder that was pretrained to compare sentences finds translations without any training
    assert evaluated["tatoeba"]["scores"]["bn"] > 50


@pytest.mark.slow
def test_intermediates_train(shared_data: Path, encoders: Path, tmp_path: Path) -> None:
    """Every intermediate whose data is at hand, masked words and a mixture of five among them, trains for a few steps, is scored on
    English dev, and hands its encoder on.
    """
    store = Store(tmp_path / "store")
    intermediates = (*INTERMEDIATES, masked_words())
    assert run(study("intermediates", intermediates, (small(TATOEBA, languages=("sw", "te")),)), encoders, store)
    records = [store.record(path.name) for path in (store.root / "stages").iterdir()]
    trained = {record["lineage"][-1]["task"]: record["result"] for record in records if record["phase"] == "train"}
    assert set(trained) == {task.name for task in intermediates}
    for name, facts in trained.items():
        assert (facts["dev_score"] is None) == (name == "mlm"), name
    assert set(trained["multi-task"]["dev_scores"]) == {part.name for part in MULTI_TASK.parts}
