"""Lexical injection: its pairs, its loss, its control; and the planted effect, which the report must name, and of the control none."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from places import experiment

from raystilts import data, model, results
from raystilts.errors import UserError
from raystilts.execute import Site, execute, perform_here
from raystilts.kinds.ranking import hardest, negatives
from raystilts.stage import Architecture, Encoder, Recipe
from raystilts.store import Store
from raystilts.study import Study, make_plan
from raystilts.task import Source
from raystilts.tasks import cldr, lexicon

LANGUAGES = ("ar", "hi", "ru", "te")
PAIRS = replace(cldr.alignment(dict.fromkeys(LANGUAGES, 1.0)), name="injection")
RANDOM = lexicon.random_pairs(PAIRS, "random pairs")


def test_the_loss_is_the_margin_to_the_hardest_negative() -> None:
    """By hand: 0.4 + 0.5 - 0.9 = 0; 0.4 + 0.7 - 0.2 = 0.9; without a negative no loss, and no gradient that is not a number."""
    cosines = torch.tensor([[0.9, 0.5, 0.1], [0.7, 0.2, 0.6], [0.3, 0.3, 0.1]], requires_grad=True)
    allowed = torch.tensor([[False, True, True], [True, False, True], [False, False, False]])
    losses = hardest(cosines, allowed, 0.4)
    torch.testing.assert_close(losses, torch.tensor([0.0, 0.9, 0.0]))
    losses.sum().backward()
    assert cosines.grad is not None
    torch.testing.assert_close(cosines.grad, torch.tensor([[0.0, 0, 0], [1, -1, 0], [0, 0, 0]]))


def test_no_word_is_its_own_negative() -> None:
    """Pairs that share a text on either side, or whose second text is the other's first, are no negatives of each other; padding to
    another width does not matter.
    """
    first = torch.tensor([[5, 1, 1], [5, 1, 1], [6, 7, 1], [8, 1, 1]])
    second = torch.tensor([[9, 1], [10, 1], [10, 1], [6, 7]])
    expected = torch.tensor([[0, 0, 1, 1], [0, 0, 0, 1], [1, 0, 0, 0], [1, 1, 1, 0]]).bool()
    assert torch.equal(negatives(first, second, 1), expected)


def test_random_pairs_have_the_same_words_and_no_right_pair() -> None:
    """The multisets of both sides stay; no pair, and no other right one of that word, is among them; it is the same each time, its
    identity is another one, and most languages' words for one thing no longer share a partner.
    """
    right, wrong = (data.examples(task, "train", "en") for task in (PAIRS, RANDOM))
    for side in (0, 1):
        assert Counter(pair.texts[side] for pair in right) == Counter(pair.texts[side] for pair in wrong)
    assert not {pair.texts for pair in right} & {pair.texts for pair in wrong}
    assert [pair.id for pair in right] == [pair.id for pair in wrong]
    assert wrong == data.examples(RANDOM, "train", "en")
    assert data.identity(PAIRS.train, "en") != data.identity(RANDOM.train, "en")
    partners: dict[str, set[str]] = {}
    for pair in wrong:
        partners.setdefault(pair.id.partition("/")[2], set()).add(pair.texts[1])
    assert sum(map(len, partners.values())) > 0.95 * len(wrong)


def test_word_pairs_are_read_from_files(tmp_path: Path) -> None:
    """The lines of all files, in their order, also in random pairs; a line without a tab is named; so is a list that has no such order."""
    (tmp_path / "sw.tsv").write_text("maji\twater\nnyumba\thouse\n", encoding="utf-8")
    (tmp_path / "lg.tsv").write_text("amazzi\twater\nennyumba\thouse\n", encoding="utf-8")
    task = lexicon.word_pairs("pairs", ("sw.tsv", "lg.tsv"))
    right = [("maji", "water"), ("nyumba", "house"), ("amazzi", "water"), ("ennyumba", "house")]
    assert [pair.texts for pair in data.examples(task, "train", "en", tmp_path)] == right
    control = data.examples(lexicon.random_pairs(task, "random"), "train", "en", tmp_path)
    assert [pair.texts for pair in control] == [(word, {"water": "house", "house": "water"}[english]) for word, english in right]
    (tmp_path / "one.tsv").write_text("maji\twater\nmto\twater\n", encoding="utf-8")
    with pytest.raises(UserError, match="cannot be paired with another text; the control needs more different pairs"):
        data.examples(lexicon.random_pairs(lexicon.word_pairs("one", ("one.tsv",)), "random"), "train", "en", tmp_path)
    (tmp_path / "one.tsv").write_text("maji\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"one.tsv.*1"):
        data.examples(lexicon.word_pairs("one", ("one.tsv",)), "train", "en", tmp_path)


def test_the_published_recipe() -> None:
    """Rank 16, alpha 32, dropout 0.05, the second of twelve layers, margin 0.4, batches of 8; a sweep moves layer and adapters."""
    found = lexicon.INJECTION
    assert (found.lora_rank, found.lora_alpha, found.lora_dropout, found.lora_modules) == (16, 32.0, 0.05, "")
    assert (found.ranking_loss, found.ranking_margin, found.batch_size, found.learning_rate) == ("hardest", 0.4, 8, 2e-4)
    assert round(found.ranking_layer * 12) == round(found.lora_depth * 12) == 2
    assert lexicon.at_layer(0.5) == replace(found, ranking_layer=0.5, lora_depth=0.5)


def test_every_injection_of_the_experiment_has_its_control(tmp_path: Path) -> None:
    """XLM-R Base: four depths, at each the same recipe on right and on random pairs, with seeds of their own; all see all targets."""
    texts = [example.texts[0] for example in cldr.texts("en", ("sw",), "train")]
    (tmp_path / "xlm-roberta-base").mkdir()
    model.initialise(tmp_path / "xlm-roberta-base", texts, Architecture(1, 16, 1, 32, 500), 0)
    shutil.copytree(tmp_path / "xlm-roberta-base", tmp_path / "e5-small-3")
    module = experiment("lexical_injection")
    for study, depths in ((module.study(), 4), (module.smoke(), 2)):
        by_name = {method.name: method.before[0] for method in study.methods}
        assert len(by_name) == 2 * depths
        for name, (task, recipe) in by_name.items():
            assert by_name[name.replace("injection", "random pairs")][1] == recipe
            assert recipe.ranking_layer == recipe.lora_depth
            assert task.train.deranged is name.startswith("random")
        targets = tuple(replace(target, test=cldr.NAME.test, train=target.train and cldr.KIND.train, dev=None) for target in study.targets)
        plan = make_plan(replace(study, targets=targets), None, tmp_path)
        arms = {cell.arm[2:] for cell in plan.cells}
        assert len(arms) == (2 * depths + 1) * 3
        assert {cell.seed for cell in plan.cells if cell.method != "plain"} == set(study.seeds)


@pytest.mark.slow
def test_the_report_finds_the_injection_and_not_its_control(tmp_path: Path) -> None:
    """An encoder with random weights cannot find translations. Pairs of training names teach it to find names that it was not taught, in
    every language; the same names in random pairs do not: the report calls the one a real gain and nothing of the other.
    """
    recipe = Recipe(learning_rate=2e-3, num_steps=120, batch_size=96, max_length=24, dropout=0.0)
    texts = replace(cldr.TEXTS, train=Source(generate=partial(cldr.texts, languages=LANGUAGES, split="train")))
    study = Study(
        name="planted",
        question="Does lexical injection help retrieval?",
        encoders=(Encoder("nano", architecture=Architecture(1, 64, 2, 128, vocab_size=3000), texts=texts),),
        intermediates=(PAIRS, RANDOM),
        targets=(cldr.NAME,),
        seeds=(1, 2, 3),
        recipes={"injection": recipe, "random pairs": recipe},
        languages=LANGUAGES,
    )
    plan, site = make_plan(study), Site(Store(tmp_path / "store"), "test")
    site.store.prepare()
    for key in plan.stages:
        execute(key, plan, site, perform_here(site))
    lines = results.write(plan, site.store, tmp_path / "report", "command")
    cells = {name: line.partition(name)[2].split() for name in ("injection", "random pairs") for line in lines if name in line}
    assert cells["injection"][1:4] == ["4", "0", "4"], "languages with a real gain, with a real loss, in all"
    assert cells["injection"][4].startswith("+")
    assert cells["injection"][4].endswith("*"), "a real gain over the languages"
    assert cells["random pairs"][1:4] == ["0", "0", "4"]
    assert "*" not in cells["random pairs"][4]
    assert " ".join(lines).startswith("Real gains in 4 of 8 comparisons")
