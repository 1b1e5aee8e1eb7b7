"""The embedded world: splits by entity, own names only, tags that fit."""

from __future__ import annotations

import pytest
from babel.core import get_global

from raystilts.errors import UserError
from raystilts.task import ENGLISH
from raystilts.tasks import cldr

ALL = (ENGLISH, *cldr.LANGUAGES)


@pytest.mark.parametrize("language", ALL)
def test_no_entity_is_in_two_splits(language: str) -> None:
    """Training, dev and test entities are disjoint, in every language and across languages."""
    train, dev, test = ({example.id for example in cldr.kinds(language, split)} for split in ("train", "dev", "test"))
    english = {example.id for example in cldr.kinds(ENGLISH, "train")}
    assert not train & dev
    assert not (train | dev | english) & test
    assert test


def test_nothing_that_trains_sees_a_tested_entity() -> None:
    """Alignment, tokenizer, intermediate tasks and the targets' training never hold an entity of the test split."""
    levels = tuple((language, 1.0) for language in cldr.LANGUAGES)
    seen = {example.id.partition("/")[2] for example in cldr.aligned(ENGLISH, levels, "train")}
    seen |= {example.id.partition("/")[2] for example in cldr.texts(ENGLISH, cldr.LANGUAGES, "train")}
    seen |= {
        entity
        for make in (cldr.currencies, cldr.official_languages)
        for example in make(ENGLISH, "train")
        for entity in example.id.split("+")
    }
    assert seen
    assert not [entity for entity in seen if cldr.split_of(entity) == "test"]


@pytest.mark.parametrize("language", cldr.LANGUAGES)
def test_names_are_the_language_s_own(language: str) -> None:
    """No language inherits its locale from another one, and no name equals the English one or stands for two entities."""
    assert language not in get_global("parent_exceptions")
    names, english = cldr.names(language), cldr.names(ENGLISH)
    assert len(names) > 300
    assert all(name != english[entity] for entity, name in names.items())
    assert len({name.casefold() for name in names.values()}) == len(names)


def test_inherited_locales_are_refused() -> None:
    """Haitian Creole's names in CLDR are French ones: asking for them is an error that says so."""
    with pytest.raises(UserError, match="inherited from 'fr_HT'"):
        cldr.names("ht")
    with pytest.raises(UserError, match="no locale 'xx'"):
        cldr.names("xx")


@pytest.mark.parametrize("language", ALL)
def test_lists_are_tagged_word_by_word(language: str) -> None:
    """Every word has a tag, tags are well-formed BIO, and the tagged words spell the names."""
    table = cldr.names(language)
    known = {" ".join(name.split()) for name in table.values()}
    for example in cldr.lists(language, "test"):
        assert len(example.texts) == len(example.label)
        assert set(example.label) <= set(cldr.TAGS)
        spans: list[list[str]] = []
        previous = "O"
        for word, tag in zip(example.texts, example.label, strict=True):
            if tag.startswith("I-"):
                assert previous[2:] == tag[2:]
                spans[-1].append(word)
            elif tag.startswith("B-"):
                spans.append([word])
            previous = tag
        assert len(spans) > 1
        assert all(" ".join(span) in known for span in spans)


def test_swahili_lists_are_joined_as_swahili_joins_them() -> None:
    """The locale's own list pattern is used: commas, and `na` before the last name."""
    joined = [" ".join(example.texts) for example in cldr.lists("sw", "test")]
    assert all(" na " in text for text in joined)
    assert any(" , " in text for text in joined)


def test_ids_are_parallel_across_languages() -> None:
    """The same entity and the same list have one id in every language, so that languages share test examples."""
    for make in (cldr.kinds, cldr.lists, cldr.translations):
        shared = {example.id for example in make("sw", "test")} & {example.id for example in make("te", "test")}
        assert len(shared) > 30
        assert len({example.id for example in make("sw", "test")}) == len(make("sw", "test"))


@pytest.mark.parametrize(("make", "fact"), [(cldr.currencies, ("KES", "KE", "yes")), (cldr.official_languages, ("sw", "KE", "yes"))])
def test_intermediate_tasks_say_what_cldr_says(make, fact: tuple[str, str, str]) -> None:
    """Labels are CLDR's supplemental data, both labels occur, and train and dev share no pair."""
    train, dev = make(ENGLISH, "train"), make(ENGLISH, "dev")
    labels = [example.label for example in train]
    assert 0.35 < labels.count("yes") / len(labels) < 0.65
    assert not {example.id for example in train} & {example.id for example in dev}
    thing, place, label = fact
    for example in (*train, *dev):
        left, _, right = example.id.partition("+")
        if left.endswith(f":{thing}") and right == f"territory:{place}":
            assert example.label == label


@pytest.mark.parametrize("part", [0.0, 0.1, 1.0])
def test_alignment_uses_the_share_it_is_told(part: float) -> None:
    """A language's share of training names in the alignment is near what the study says, and exactly none or all at the ends."""
    pairs = cldr.aligned(ENGLISH, (("te", part),), "train")
    whole = len(cldr.translations("te", "train"))
    assert len(pairs) == pytest.approx(part * whole, abs=0.05 * whole if 0 < part < 1 else 0)
