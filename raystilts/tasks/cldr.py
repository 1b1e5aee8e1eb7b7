"""A small world of real words: the names of places, languages, scripts, currencies and cities in Unicode's CLDR.

CLDR ships inside the package `babel`, so these tasks need no download. Every entity belongs to one split by the hash of its id, in
all tasks and languages, so no entity that anything was trained on (the tokenizer aside, which sees training entities only, too) is
tested. Left out are names that are not the language's own (equal to the English ones) and names that stand for several entities
within a language. Languages whose locale inherits from another language's (Haitian Creole's names are French ones) are refused.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, partial

from babel import Locale, localedata
from babel.core import get_global

from raystilts.errors import UserError
from raystilts.task import ENGLISH, Example, Source, Task

KINDS = ("city", "currency", "language", "script", "territory")
TAGS = ("O", *(f"{part}-{kind}" for kind in KINDS for part in "BI"))

LANGUAGES = (
    *("am", "ar", "az", "bn", "de", "gu", "hi", "id", "jv", "ka", "kk", "ml", "my", "pa", "qu", "ru", "sw", "ta", "te", "tr"),
    *("ur", "wo", "yo", "zh", "zu"),
)

TEST_SHARE, DEV_SHARE = 0.4, 0.1
LIST_LENGTHS = (3, 4, 5)  # names in a list, in turn


def share(text: str) -> float:
    """A number in [0, 1) that is a function of the text alone."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64


def split_of(entity: str) -> str:
    """The split that an entity (`territory:KE`) belongs to in every task and language."""
    place = share(entity)
    return "test" if place < TEST_SHARE else "dev" if place < TEST_SHARE + DEV_SHARE else "train"


@cache
def names(language: str) -> Mapping[str, str]:
    """Entity id -> name in the language, for the names that are its own and unambiguous within it."""
    if language != ENGLISH and language in get_global("parent_exceptions"):
        raise UserError(f"CLDR: the names of {language!r} are inherited from {get_global('parent_exceptions')[language]!r}; leave it out.")
    if not localedata.exists(language):
        raise UserError(f"CLDR: the installed package babel has no locale {language!r}; leave it out.")
    found = dict(_all_names(Locale.parse(language)))
    if language != ENGLISH:
        english = names(ENGLISH)
        found = {entity: name for entity, name in found.items() if entity in english and name != english[entity]}
    meanings = Counter(name.casefold() for name in found.values())
    return {entity: name for entity, name in sorted(found.items()) if meanings[name.casefold()] == 1}


def _all_names(locale: Locale) -> Iterator[tuple[str, str]]:
    for code, name in locale.territories.items():
        if code.isalpha():  # numeric codes are groups of territories, such as 419, Latin America
            yield f"territory:{code}", name
    for kind, table in (("language", locale.languages), ("script", locale.scripts), ("currency", locale.currencies)):
        for code, name in table.items():
            yield f"{kind}:{code}", name
    for zone in sorted(get_global("zone_territories")):
        city = locale.time_zones.get(zone, {}).get("city")
        if city is None and locale.language == ENGLISH:
            city = zone.rpartition("/")[2].replace("_", " ")  # CLDR leaves out English cities that the zone's id already names
        if city and not zone.startswith("Etc/"):
            yield f"city:{zone}", city


def _entities(language: str, split: str) -> list[str]:
    return [entity for entity in names(language) if split_of(entity) == split]


def kinds(language: str, split: str) -> list[Example]:
    """Classification: what kind of thing does a name stand for?"""
    table = names(language)
    return [Example(entity, (table[entity],), entity.partition(":")[0]) for entity in _entities(language, split)]


def lists(language: str, split: str) -> list[Example]:
    """Tagging: a list of names joined as the language joins lists; each word carries the kind of the name that it is part of.

    The same entities stand in the same list in every language, as far as the language names them; lists of one name are left out.
    """
    table = names(language)
    order = sorted(_entities(ENGLISH, split), key=lambda entity: share(f"list/{entity}"))
    found, start, turn = [], 0, 0
    while start < len(order):
        members = order[start : start + LIST_LENGTHS[turn % len(LIST_LENGTHS)]]
        start, turn = start + len(members), turn + 1
        named = [entity for entity in members if entity in table]
        if len(named) > 1:
            tokens = list(_tokens(language, [(table[entity], entity.partition(":")[0]) for entity in named]))
            identity = hashlib.sha256("+".join(members).encode()).hexdigest()[:16]
            found.append(Example(identity, tuple(word for word, _ in tokens), tuple(tag for _, tag in tokens)))
    return found


def _tokens(language: str, named: Sequence[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    patterns = Locale.parse(language).list_patterns["standard"]
    joints = ["2"] if len(named) == 2 else ["start", *["middle"] * (len(named) - 3), "end"]
    before, _, rest = patterns[joints[0]].partition("{0}")
    yield from _outside(before)
    for place, (name, kind) in enumerate(named):
        yield from ((word, f"{'B' if i == 0 else 'I'}-{kind}") for i, word in enumerate(name.split()))
        if place < len(joints):
            between, _, after = patterns[joints[place]].partition("{0}")[2].partition("{1}")
            yield from _outside(between)
            rest = after
    yield from _outside(rest)


def _outside(text: str) -> Iterator[tuple[str, str]]:
    return ((word, "O") for word in text.replace("\u200f", " ").split())


def translations(language: str, split: str) -> list[Example]:
    """Retrieval: (the language's name, the English name) of an entity."""
    table, english = names(language), names(ENGLISH)
    return [Example(entity, (table[entity], english[entity])) for entity in _entities(language, split)]


def aligned(_target: str, levels: tuple[tuple[str, float], ...], split: str) -> list[Example]:
    """Ranking: pairs of names and their English ones, from the share of each language's training entities that `levels` says.

    One training set over all the languages; the parameter that names a language has no meaning here.
    """
    return [
        Example(f"{language}/{example.id}", example.texts)
        for language, part in levels
        for example in translations(language, split)
        if share(f"aligned/{language}/{example.id}") < part
    ]


def texts(_target: str, languages: tuple[str, ...], split: str) -> list[Example]:
    """The names of English and of all the languages as bare texts, for a tokenizer; the parameter that names one has no meaning."""
    return [
        Example(f"{language}/{entity}", (names(language)[entity],))
        for language in (ENGLISH, *languages)
        for entity in _entities(language, split)
    ]


def currencies(language: str, split: str) -> list[Example]:
    """Pairs (currency, territory): is, or was, the one in use in the other?"""
    used = {(f"currency:{row[0]}", f"territory:{place}") for place, rows in get_global("territory_currencies").items() for row in rows}
    return _pairs(language, used, split)


def official_languages(language: str, split: str) -> list[Example]:
    """Pairs (language, territory): is the one official in the other?"""
    official = {
        (f"language:{code}", f"territory:{place}")
        for place, spoken in get_global("territory_languages").items()
        for code, facts in spoken.items()
        if facts["official_status"]
    }
    return _pairs(language, official, split)


def _pairs(language: str, true: set[tuple[str, str]], split: str) -> list[Example]:
    """The true pairs, and for each of them the same thing with a territory drawn by hash.

    No entity of the test split occurs, so that no tested entity is seen; a tenth of the things is held out as dev.
    """
    table = names(language)
    kept = sorted(pair for pair in true if all(entity in table and split_of(entity) != "test" for entity in pair))
    places = sorted({place for _, place in kept})
    found = {}
    for thing, place in kept:
        if (share(f"dev/{thing}") < DEV_SHARE) == (split == "dev"):
            drawn = places[int(share(f"false/{thing}/{place}") * len(places))]
            for territory in (place, drawn):
                label = "yes" if (thing, territory) in true else "no"
                pair = f"{thing}+{territory}"
                found[pair] = Example(pair, (table[thing], table[territory]), label, cluster=thing)
    return list(found.values())


def synonyms(_language: str) -> list[Example]:
    """A small table for Source.synonyms, an example a word: English words of the names with others that mean the same."""
    return [Example(word, (word, *others)) for word, *others in map(str.split, SYNONYMS)]


SYNONYMS = (
    "islands isles", "island isle", "north northern", "south southern", "east eastern", "west western", "central middle", "republic state",
    "new modern", "old ancient former", "ancient old", "traditional classical", "united joined", "territory land region", "sign signed",
)  # fmt: skip

CITATION = "Unicode Common Locale Data Repository (CLDR), as packaged by Babel"
LICENCE = "Unicode License v3"

KIND = Task(
    name="kind",
    kind="classification",
    metric="accuracy",
    labels=KINDS,
    languages=LANGUAGES,
    train=Source(generate=partial(kinds, split="train")),
    dev=Source(generate=partial(kinds, split="dev")),
    test=Source(generate=partial(kinds, split="test")),
    citation=CITATION,
    licence=LICENCE,
)

LIST = Task(
    name="list",
    kind="tagging",
    metric="micro_f1",
    labels=TAGS,
    languages=LANGUAGES,
    train=Source(generate=partial(lists, split="train")),
    dev=Source(generate=partial(lists, split="dev")),
    test=Source(generate=partial(lists, split="test")),
    citation=CITATION,
    licence=LICENCE,
)

NAME = Task(
    name="name",
    kind="retrieval",
    metric="accuracy",
    languages=LANGUAGES,
    test=Source(generate=partial(translations, split="test")),
    citation=CITATION,
    licence=LICENCE,
)

CURRENCY = Task(
    name="currency",
    kind="classification",
    metric="accuracy",
    labels=("no", "yes"),
    train=Source(generate=partial(currencies, split="train")),
    dev=Source(generate=partial(currencies, split="dev")),
    citation=CITATION,
    licence=LICENCE,
)

OFFICIAL = Task(
    name="official",
    kind="classification",
    metric="accuracy",
    labels=("no", "yes"),
    train=Source(generate=partial(official_languages, split="train")),
    dev=Source(generate=partial(official_languages, split="dev")),
    citation=CITATION,
    licence=LICENCE,
)

TEXTS = Task(
    name="texts",
    kind="ranking",
    metric="accuracy",
    train=Source(generate=partial(texts, languages=LANGUAGES, split="train")),
    citation=CITATION,
    licence=LICENCE,
)

TASKS = (KIND, LIST, NAME, CURRENCY, OFFICIAL)


def alignment(levels: Mapping[str, float]) -> Task:
    """Translation ranking over the training names of each language, as large a part of them as `levels` says (0 to 1)."""
    parts = tuple(sorted(levels.items()))
    return Task(
        name="alignment",
        kind="ranking",
        metric="accuracy",
        train=Source(generate=partial(aligned, levels=parts, split="train")),
        citation=CITATION,
        licence=LICENCE,
    )
