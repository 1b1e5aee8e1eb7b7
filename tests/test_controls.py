"""Controls and what is read beside English: shuffled labels, a target's own data, random weights, declared languages."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from test_study import pair, world

from raystilts import data, disclosure, model, results, show
from raystilts.errors import UserError
from raystilts.execute import Site, check_inputs, root_of_encoder
from raystilts.model import Root
from raystilts.shuffling import shuffled, shuffled_task
from raystilts.stage import Architecture, Encoder, Recipe
from raystilts.store import Store
from raystilts.study import NONE, OWN_DATA, Study, make_plan
from raystilts.sweep import run_in_process
from raystilts.task import Example, Source, Task
from raystilts.tasks import cldr, find

__all__ = ["world"]

ENCODER = Encoder("e", folder="enc")
OWN = {OWN_DATA: Recipe(num_steps=7)}

# --- shuffled labels


def test_shuffled_labels_keep_texts_ids_and_marginals() -> None:
    """Labels are a permutation of what they were, nothing else changes, few keep theirs, and every time it is the same permutation."""
    task = shuffled_task(cldr.KIND)
    before, after = (data.examples(one, "train", "en") for one in (cldr.KIND, task))
    assert task.name == "kind-shuffled"
    assert [(e.id, e.texts, e.cluster) for e in before] == [(e.id, e.texts, e.cluster) for e in after]
    assert Counter(e.label for e in before) == Counter(e.label for e in after)
    chance = sum((count / len(before)) ** 2 for count in Counter(e.label for e in before).values())
    kept = sum(a.label == b.label for a, b in zip(before, after, strict=True)) / len(before)
    assert abs(kept - chance) < 4 * (chance * (1 - chance) / len(before)) ** 0.5
    assert after == data.examples(task, "train", "en")
    assert data.examples(task, "dev", "en") == data.examples(cldr.KIND, "dev", "en")


def test_shuffled_tags_keep_sentence_lengths() -> None:
    """Tags are permuted among all words of the set; each sentence keeps its words and as many tags."""
    before, after = (data.examples(one, "train", "en") for one in (cldr.LIST, shuffled_task(cldr.LIST)))
    assert [e.texts for e in before] == [e.texts for e in after]
    assert all(len(e.texts) == len(e.label or ()) for e in after)
    assert Counter(tag for e in before for tag in e.label or ()) == Counter(tag for e in after for tag in e.label or ())
    assert sum(a.label == b.label for a, b in zip(before, after, strict=True)) < len(before) / 2


def test_shuffled_answers_stand_elsewhere_in_their_context() -> None:
    """A question gets as many words at another place of its own context; a question without an answer stays so."""
    context = "Anna built the long bridge in 1912 and left the town."
    asked = [Example(str(n), ("When?", context), ("in 1912",), starts=(context.index("in 1912"),)) for n in range(200)]
    none = Example("none", ("Who?", context), ())
    found = shuffled([*asked, none], find("squad"))
    assert found[-1] == none
    places = Counter(example.starts[0] for example in found[:-1])
    assert len(places) == 10  # of eleven words ten begin a pair
    for example in found[:-1]:
        (text,), (start,) = example.label or (), example.starts
        assert context[start : start + len(text)] == text
        assert len(text.split()) == 2


def test_shuffled_data_is_other_data() -> None:
    """The identity says that labels are shuffled; every labelled part of a mixture is, and what has no labels is refused."""
    assert cldr.KIND.train is not None
    assert data.identity(cldr.KIND.train, "en") != data.identity(replace(cldr.KIND.train, shuffled_labels=True), "en")
    mixture = shuffled_task(find("mnli-mlm"))
    assert [part.name for part in mixture.parts] == ["mnli-shuffled", "mlm"]
    with pytest.raises(UserError, match="mlm: there are no training labels to shuffle"):
        shuffled_task(find("mlm"))


# --- the target's own data


def test_own_data_is_a_control_for_each_target(world: Path) -> None:
    """Its arm trains on the target's data with its own recipe and then anew as the baseline does; it is no cell to distrust, other
    repeated data is; a target that is not trained has no such arm.
    """
    mined = pair("mined", kind="retrieval", labels=(), train=None, languages=("sw",))
    study = Study("s", "?", (ENCODER,), (OWN_DATA, pair("nli")), (pair("xnli"), mined), (1, 2), OWN)
    plan = make_plan(study, world, world)
    own = [cell for cell in plan.cells if cell.intermediate == OWN_DATA]
    assert [(cell.target, cell.seed, cell.same_data, cell.is_control) for cell in own] == [("xnli", 1, True, True), ("xnli", 2, True, True)]
    first, then, _ = own[0].evaluation.lineage
    assert first is own[0].intermediate_stage
    assert (first.recipe, then.recipe, then.keep_head) == (OWN[OWN_DATA], Recipe(), False)
    assert (first.data, first.task) == (then.data, then.task)
    assert disclosure.distrusted(plan) == {
        ("xnli", "nli"): "nli > xnli: both phases train on the same data, so a gain says nothing of the task."
    }
    told = disclosure.controls(plan)
    assert told[0].startswith("own-data is a control: as many steps on the target's own data")
    assert told[1] == "mined has no arm after own-data: nothing is trained for it."
    assert f"note: {told[0]}" in show.plan_table(plan, Store(world / "store"))
    asked = results.analysis_plan(plan)
    assert [contrast.name for contrast in asked.contrasts] == ["own-data > xnli, e", "nli > xnli, e", "nli > mined, e"]


@pytest.mark.parametrize("recipes", [{}, {OWN_DATA: Recipe(num_epochs=1)}])
def test_own_data_needs_its_number_of_steps(world: Path, recipes: dict[str, Recipe]) -> None:
    """Without num_steps nobody knows what it is matched with."""
    with pytest.raises(UserError, match=r"needs recipes.'own-data'. with num_steps"):
        make_plan(Study("s", "?", (ENCODER,), (OWN_DATA,), (pair("xnli"),), (1,), recipes), world, world)


# --- random weights


def test_random_weights_are_another_encoder(tmp_path: Path) -> None:
    """The same config and tokenizer, other weights, drawn by the seed: another identity for each seed, the same for other weight files."""
    texts = [example.texts[0] for example in cldr.kinds("en", "train")[:300]]
    model.initialise(tmp_path / "enc", texts, Architecture(1, 16, 1, 32, 300), 0)
    site = Site(Store(tmp_path / "store"), "here", None, tmp_path)
    drawn = [replace(ENCODER, random_weights=True, pretraining_seed=seed) for seed in (0, 1)]
    identities = [model.encoder_identity(encoder, tmp_path) for encoder in (ENCODER, *drawn)]
    assert len(set(identities)) == 3
    roots = [root_of_encoder(encoder, site) for encoder in (ENCODER, *drawn)]
    states = [model.load_root(root).state_dict() for root in roots]
    assert states[0].keys() == states[1].keys()
    name = "embeddings.word_embeddings.weight"
    assert not torch.equal(states[0][name], states[1][name])
    assert not torch.equal(states[1][name], states[2][name])
    model.load_root.cache_clear()
    assert all(torch.equal(value, states[1][key]) for key, value in model.load_root(roots[1]).state_dict().items())
    (tmp_path / "enc" / "model.safetensors").unlink()
    assert [model.encoder_identity(encoder, tmp_path) for encoder in drawn] == identities[1:]
    assert model.load_root(Root(roots[1].source, None, 1)).config.hidden_size == 16


@pytest.mark.slow
def test_controls_run(tmp_path: Path) -> None:
    """Own data, shuffled labels and random weights run from the plan to the report, whose page names each as a control."""
    texts = [example.texts[0] for example in cldr.kinds("en", "train")[:300]]
    model.initialise(tmp_path / "enc", texts, Architecture(1, 16, 1, 32, 300), 0)
    short = Recipe(num_steps=2, batch_size=4, max_length=32)
    study = Study(
        *("controls", "?", (ENCODER, Encoder("random", folder="enc", random_weights=True)), (OWN_DATA, shuffled_task(cldr.CURRENCY))),
        *((cldr.KIND, cldr.NAME), (1, 2), {"default": short, OWN_DATA: short}, ("sw", "te", "wo")),
    )
    plan, store = make_plan(study, None, tmp_path), Store(tmp_path / "store")
    site = Site(store, "here", None, tmp_path)
    store.prepare()
    check_inputs(plan, site)
    run_in_process(plan, site)
    results.write(plan, store, tmp_path / "report", "raystilts run")
    page = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    for name in ("own-data is a control", "currency-shuffled is a control", "random is a control"):
        assert name in page
    assert "both phases train on the same data" not in page
    untrained = [cell for cell in plan.cells if cell.seed is None]
    assert {(cell.encoder, cell.intermediate, cell.target) for cell in untrained} == {("e", NONE, "name"), ("random", NONE, "name")}
    scores = [json.dumps(store.record(cell.evaluation.key)["result"]["scores"], sort_keys=True) for cell in untrained]
    assert scores[0] != scores[1]


# --- declared languages


def files(folder: Path) -> None:
    """Three pairs in English and two translations, and a text in two languages."""
    for language, word in (("en", "lake"), ("sw", "ziwa"), ("yo", "adágún")):
        (folder / f"nli-{language}.tsv").write_text(f"{word} 1\tb\tyes\n{word} 2\td\tno\n{word} 3\tf\tyes\n", encoding="utf-8")
        (folder / f"text-{language}.txt").write_text(f"{word}\n", encoding="utf-8")


TRANSLATED = Source(
    files=("nli-{language}.tsv",), columns=("a", "b", "label"), parallel=True, languages=("en", "sw", "yo"), translated=True
)


def test_translations_are_joined_by_row(tmp_path: Path) -> None:
    """All languages follow each other; a translation has its English row's label, id (numbered) and cluster; one that disagrees, or has
    another number of rows, is refused with file and line.
    """
    files(tmp_path)
    task = pair("nli", train=TRANSLATED)
    with data.english_only():
        found = data.examples(task, "train", "en", tmp_path)
    assert [example.texts[0] for example in found] == [f"{word} {n}" for word in ("lake", "ziwa", "adágún") for n in (1, 2, 3)]
    assert [example.label for example in found] == ["yes", "no", "yes"] * 3
    assert [example.id for example in found[3:6]] == [f"{example.id}#2" for example in found[:3]]
    assert len(data.examples(replace(task, train=replace(TRANSLATED, limit=4)), "train", "en", tmp_path)) == 4
    (tmp_path / "nli-yo.tsv").write_text("a\tb\tyes\nc\td\tyes\ne\tf\tyes\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"nli-yo.tsv, line 2: the label is 'yes', but 'no' in the English row"):
        data.examples(task, "train", "en", tmp_path)


def test_the_identity_is_of_all_languages(tmp_path: Path) -> None:
    """A changed translation is other data; text in several languages has the identity of its sources one after the other."""
    files(tmp_path)
    before = data.identity(TRANSLATED, "en", tmp_path)
    assert before != data.identity(replace(TRANSLATED, languages=("en", "sw")), "en", tmp_path)
    (tmp_path / "nli-yo.tsv").write_text("a\tb\tyes\nc\td\tno\ne\tg\tyes\n", encoding="utf-8")
    assert before != data.identity(TRANSLATED, "en", tmp_path)
    text = Source(files=("text-{language}.txt",), reader="text", languages=("sw", "yo"))
    first, second = (Source(files=(f"text-{language}.txt",), reader="text") for language in ("sw", "yo"))
    assert data.identity(text, "en", tmp_path) == data.identity(replace(first, more=(second,)), "en", tmp_path)


def test_labelled_data_in_other_languages_is_refused(tmp_path: Path) -> None:
    """Only text without labels and declared translations may be read in other languages; the plan says so before anything is trained, and
    reading does, too.
    """
    files(tmp_path)
    task = pair("nli", train=replace(TRANSLATED, translated=False))
    with pytest.raises(UserError, match="nli: its source reads labelled data in 'sw'"):
        data.examples(task, "train", "en", tmp_path)
    (tmp_path / "enc").mkdir()
    for name in ("config.json", "model.safetensors", "dev-en.tsv", "test-sw.tsv", "test-ur.tsv"):
        (tmp_path / "enc" / name if "." in name and "tsv" not in name else tmp_path / name).write_text("a\tb\tyes\n")
    with pytest.raises(UserError, match="nli: its source reads labelled data in 'sw'"):
        make_plan(Study("s", "?", (ENCODER,), (task,), (pair("xnli", train=Source(files=("nli-en.tsv",))),), (1,)), tmp_path, tmp_path)


def test_the_plan_says_what_else_than_english_is_read(tmp_path: Path) -> None:
    """Languages of unlabelled text and of translations stand in the plan's notes and in the report's, which no longer says English only."""
    files(tmp_path)
    (tmp_path / "enc").mkdir()
    for name in ("enc/config.json", "enc/model.safetensors", "dev-en.tsv", "test-sw.tsv", "test-ur.tsv"):
        (tmp_path / name).write_text("a\tb\tyes\n")
    text = Task("words", "mlm", "", train=Source(files=("text-{language}.txt",), reader="text", languages=("sw", "yo")))
    own = pair("xnli", train=Source(files=("nli-en.tsv",)))
    mixture = Task("nli-words", "mixture", "", parts=(pair("nli", train=Source(files=("nli-en.tsv",))), text))
    study = Study("s", "?", (ENCODER,), (mixture, pair("translated", train=TRANSLATED)), (own,), (1,))
    plan = make_plan(study, tmp_path, tmp_path)
    expected = ["nli-words reads unlabelled text in sw, yo.", "translated reads machine translations of English training data in sw, yo."]
    assert disclosure.other_languages(plan) == expected
    assert disclosure.notes(plan)[0].endswith(" ".join(expected))
    assert show.plan_table(plan, Store(tmp_path / "store"))[-2:] == [f"note: {line}" for line in expected]
    assert disclosure.notes(make_plan(replace(study, intermediates=()), tmp_path, tmp_path)) == [disclosure.ENGLISH_ONLY]
