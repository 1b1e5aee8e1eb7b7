"""Every task whose real data cannot lie here, on a tiny mirror in the original formats: read, trained, evaluated, refused when broken."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import mirror
import pyarrow.parquet as pq
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from places import ROOT
from safetensors.torch import load_file

from raystilts import check, data, export, model, tasks
from raystilts.cli import main
from raystilts.execute import Site, check_inputs
from raystilts.model import Root
from raystilts.process import owner
from raystilts.stage import Architecture, Encoder, Recipe, Stage
from raystilts.store import Store
from raystilts.study import Cell, Plan, Study, make_plan
from raystilts.sweep import run_in_process
from raystilts.task import ENGLISH, Task
from raystilts.train import Worker, train

ENTAILED, NEUTRAL, CONTRADICTED = "entailment", "neutral", "contradiction"
BRIDGE = 'The "Blue Bridge" crosses the harbour of Mira. It was built in 1912 by Anna Quill. Until 1950 it was 1912 feet long.'
BRIDGE_AR = "«الجسر الأزرق» جسر في ميرا. بنته آنا كويل عام 1912. حتى 1950 كان طوله 1912 قدما."
BRIDGE_KO = "'푸른 다리'는 미라에 있다. 안나 퀼이 1912년에 지었다. 1950년까지 길이가 1912피트였다."
BRIDGE_TE = "నీలి వంతెన మిరాలో ఉంది. అన్నా క్విల్ దీన్ని 1912లో నిర్మించింది. 1950 వరకు దాని పొడవు 1912 అడుగులు."
BRIDGE_ZH = "“蓝桥”横跨米拉的港口。它由安娜·奎尔于1912年建造。到1950年为止，它长1912英尺。"
LAKE = "Lake Otto is cold.\nThe physician Ida Rand swam in it in 1950. Nobody had done so before."
LAKE_DE = "Der Ottosee ist kalt.\n1950 schwamm Ida Rand darin. Zuvor tat das niemand."
LAKE_SW = "Ziwa Otto ni baridi.\nIda Rand aliogelea humo mwaka 1950. Hakuna aliyefanya hivyo kabla."
LAKE_TH = "ทะเลสาบอ็อตโตเย็น\nไอดา แรนด์ ว่ายน้ำที่นี่ในปี 1950 ไม่มีใครทำมาก่อน"
SAID = ("She swam .", "None of the above choices .", 'They, "no".', "No .")
TRUE = ("We went back .", "We sank .", 'They, "no".', "No .")
YEARS = ("1812", "1910", "1912", "1950")
FIRST, SECOND, THIRD = mirror.IDS

READ = (
    # task, split, language, number of examples, place of one of them, its texts, its label
    ("mnli", "train", "en", 5, 3, ("uh-huh yeah\tso we swam", "We were in the water."), ENTAILED),  # the row "-" is left out
    ("mnli", "train", "en", 5, 4, ("The town has a harbour.", "There is no harbour in the town."), CONTRADICTED),
    ("mnli", "dev", "en", 3, 1, ('"The bridge', "The bridge is closed."), NEUTRAL),
    ("snli", "train", "en", 3, 1, ("Two men swim in a lake.", "The men are brothers."), NEUTRAL),
    ("snli", "dev", "en", 3, 0, ("And he said, Mama, I'm home.", "He told his mom he had gotten home."), ENTAILED),
    ("anli-plus", "train", "en", 11, 0, ("A girl in a blue shirt crosses a bridge.", "A girl is outside."), ENTAILED),  # of SNLI
    ("mnli-translated", "train", "en", 30, 1, ("Anna built a bridge.", "There is no bridge."), CONTRADICTED),
    ("mnli-translated", "train", "en", 30, 18, ('"Ziwa ni baridi', "Hakuna anayeogelea."), NEUTRAL),
    ("mnli-translated", "dev", "en", 3, 2, ("The lake is cold.", "It is hot."), CONTRADICTED),
    ("anli-plus", "train", "en", 11, 5, ('He said, "the lake is cold', "Nobody asked him."), NEUTRAL),  # of MNLI
    ("anli-plus", "train", "en", 11, 9, ("Ida Rand (1911–1999) was a physician.", "Ida Rand was born in 1999."), CONTRADICTED),
    ("anli-plus", "dev", "en", 3, 2, ("The lake is cold.", "It is hot."), CONTRADICTED),
    ("qqp", "train", "en", 3, 0, ('What is a "drawbridge?', "What are drawbridges?"), "duplicate"),
    ("qqp", "dev", "en", 2, 1, ("Why is 1912 = 1,912?", '"Why"'), "not_duplicate"),
    ("squad", "train", "en", 3, 1, ("How many feet long was the bridge?", BRIDGE), ("1912",)),
    ("squad", "dev", "en", 3, 0, ("Who built the bridge?", BRIDGE), ("Anna Quill", "Anna Quill", "Quill")),
    ("squad2", "train", "en", 5, 2, ("Who painted the bridge?", BRIDGE), ()),
    ("squad2", "train", "en", 5, 3, ("Who swam in Lake Otto?", LAKE), ("Ida Rand",)),
    ("squad2", "dev", "en", 2, 1, ("Who drained Lake Otto?", LAKE), ()),
    (
        "hellaswag",
        "train",
        "en",
        2,
        0,
        ("A woman stands on a bridge.", "she swims.", "she , a fish, reads.", "she waves at a boat.", "she is a boat."),
        "2",
    ),
    (
        "hellaswag",
        "dev",
        "en",
        1,
        0,
        ("[header] How to swim [title] Enter the lake.", " [step] Breathe.", " Sleep.", " Burn it.", " Fold it."),
        "0",
    ),
    (
        "cosmosqa",
        "train",
        "en",
        2,
        0,
        ('"It was cold," she said, and\nthe lake was, too .', *(f"Why did she say so ? {what}" for what in SAID)),
        "1",
    ),
    ("cosmosqa", "dev", "en", 1, 0, ("We crossed the bridge at 5 , twice .", *(f"What may be true ? {what}" for what in TRUE)), "0"),
    ("csqa", "train", "en", 2, 0, ("Where would you cross a river?", "lake", "bridge", "harbour", "town", "sky"), "B"),
    ("csqa", "dev", "en", 1, 0, ("What is cold?", "sun", "tea", "fire", "ice", "oven"), "D"),
    ("siqa", "train", "en", 3, 1, ("Otto fell off the bridge. What will Otto want to do next?", "fly", "build it", "swim"), "C"),
    ("siqa", "dev", "en", 2, 1, ("Anna drew a bridge. Why did Anna do this?", "to eat", "to build it", "no reason"), "B"),
    ("copa", "train", "en", 3, 1, ("Ida jumped into the lake. What was the effect?", "She dried up.", "She got wet."), "1"),
    ("copa", "dev", "en", 2, 1, ("Otto wore a coat. What was the cause?", "It was cold.", "It was his birthday."), "0"),
    ("ccg", "train", "en", 2, 0, ("The", "bridge", "is", "blue", "."), ("NP/N", "N", r"(S[dcl]\NP)/(S[adj]\NP)", r"S[adj]\NP", ".")),
    ("ccg", "dev", "en", 1, 0, ("The", "bridge", "is", "blue", "."), ("NP/N", "N", r"(S[dcl]\NP)/(S[adj]\NP)", r"S[adj]\NP", ".")),
    ("squad-sentences", "train", "en", 3, 1, ("How many feet long was the bridge?", "Until 1950 it was 1912 feet long." + BRIDGE), None),
    ("squad-sentences", "dev", "en", 3, 0, ("Who built the bridge?", "It was built in 1912 by Anna Quill." + BRIDGE), None),
    (
        "wikipedia-pairs",
        "train",
        "en",
        3,
        0,
        ("Mira: Anna Quill was born in (old) { Mira } .", "Mira is a town. It lies on Lake Otto."),
        None,
    ),
    (
        "wikipedia-pairs",
        "dev",
        "en",
        2,
        0,
        ("Blue Bridge: The { Blue Bridge } leads to the harbour.", "The Blue Bridge is a bridge in Mira."),
        None,
    ),
    ("mlm", "train", "en", 36, 0, ("The lake is cold.",), None),
    ("mlm", "train", "en", 36, 33, ('"Adágún náà tutù.\t\u2028Adágún náà tutù.',), None),
    ("udpos", "train", "en", 2, 1, ("1912",), ("NUM",)),
    ("udpos", "dev", "en", 1, 0, ("The", "bridge", "is", "blue", "."), ("DET", "NOUN", "AUX", "ADJ", "PUNCT")),
    ("udpos", "test", "lt", 2, 0, ('"', "Tiltas", "yra", "mėlynas", "."), ("PUNCT", "NOUN", "AUX", "ADJ", "PUNCT")),
    ("udpos", "test", "pl", 2, 0, ("Most", "był", "by", "długi", "?"), ("NOUN", "AUX", "AUX", "ADJ", "PUNCT")),
    ("udpos", "test", "ro", 2, 0, ("Podul", "într-o", "zi", "s-a", "rupt", "."), ("NOUN", "ADP", "NOUN", "PRON", "VERB", "PUNCT")),
    ("udpos", "test", "uk", 2, 0, ("Озеро", "об'їхали", "вчора", "."), ("NOUN", "VERB", "ADV", "PUNCT")),
    ("udpos", "test", "wo", 2, 0, ("Dex", "gi", "dafa", "sedd", "."), ("NOUN", "DET", "AUX", "VERB", "PUNCT")),
    ("xnli", "dev", "en", 3, 1, ('"The bridge', "The bridge is closed."), NEUTRAL),
    ("xnli", "test", "en", 3, 2, ("And he said, Mama, I'm home.", "He told his mom he had gotten home."), ENTAILED),
    ("xnli", "test", "ar", 3, 1, ('"الجسر', "الجسر مغلق."), NEUTRAL),
    ("xnli", "test", "sw", 3, 0, ("Ziwa ni baridi.", "Ni moto."), CONTRADICTED),
    ("xnli", "test", "th", 3, 2, ("และเขาพูดว่า แม่ ผมกลับมาบ้านแล้ว", "เขาบอกแม่ว่าถึงบ้านแล้ว"), ENTAILED),
    ("americasnli", "test", "ay", 2, 1, ("Qutax thayawa.", "Qutax umaniwa."), ENTAILED),
    ("americasnli", "test", "bzd", 2, 0, ("Ye' ù dör tâî.", 'Ye\' ù dör "tsítsir".'), CONTRADICTED),
    ("americasnli", "test", "qu", 2, 1, ("Quchaqa chirim.", "Pitaq wayt'arqa?"), NEUTRAL),
    ("afrixnli", "test", "am", 3, 0, ("ሐይቁ ቀዝቃዛ ነው።", "ሐይቁ ሞቃት ነው።"), CONTRADICTED),
    ("afrixnli", "test", "ha", 3, 1, ('Ta ce, "gada shuɗi ce.', "Gadar tana da launi."), ENTAILED),
    ("afrixnli", "test", "om", 3, 2, ("Cuquliisa dha.", "Ida daakte."), NEUTRAL),
    ("xcopa", "test", "et", 2, 0, ("Ma tühjendasin oma taskud. What was the effect?", "Ma leidsin pileti tüki.", "Ma leidsin relva."), "0"),
    ("xcopa", "test", "qu", 2, 0, ("Qochaqa chirirqa. What was the cause?", "Inti lloqsimurqa.", "Rit'i urmarqa."), "1"),
    ("xcopa", "test", "th", 2, 0, ("ฉันว่ายน้ำ What was the effect?", "ฉันเปียก", 'ฉัน "แห้ง'), "0"),
    ("xcopa", "test", "zh", 2, 0, ("湖水结冰了。 What was the cause?", "那是夏天。", "那是冬天。"), "1"),
    ("belebele", "test", "en", 2, 0, ("The Blue Bridge was built in 1912.", *(f"When was it built? {year}" for year in YEARS)), "2"),
    ("belebele", "test", "am", 2, 0, ("ሰማያዊው ድልድይ በ1912 ተሠራ።", *(f"መቼ ተሠራ? {year}" for year in YEARS)), "2"),
    (
        "belebele",
        "test",
        "om",
        2,
        1,
        ("Riqichi bara 1912 ijaarame.", "Maali? Riqicha", "Maali? Haroo", "Maali? Magaalaa", "Maali? Bidiruu"),
        "0",
    ),
    ("belebele", "test", "zh", 2, 1, ("蓝桥建于1912年。", *(f"它是什么？ {thing}" for thing in "桥湖镇船")), "0"),
    ("mlqa", "test", "en", 3, 1, ("How many feet long was the bridge?", BRIDGE), ("1912",)),
    ("mlqa", "test", "ar", 3, 0, ("من بنى الجسر؟", BRIDGE_AR), ("آنا كويل",)),
    ("mlqa", "test", "de", 3, 2, ("Wer schwamm im Ottosee?", LAKE_DE), ("Ida Rand",)),
    ("mlqa", "test", "zh", 3, 1, ("这座桥长多少英尺？", BRIDGE_ZH), ("1912",)),
    ("tydiqa", "train", "en", 3, 2, ("Who swam in Lake Otto?", LAKE), ("Ida Rand",)),
    ("tydiqa", "dev", "en", 3, 0, ("Who built the bridge?", BRIDGE), ("Anna Quill",)),
    ("tydiqa", "test", "en", 3, 1, ("How many feet long was the bridge?", BRIDGE), ("1912",)),
    ("tydiqa", "test", "ko", 3, 1, ("다리는 몇 피트였는가?", BRIDGE_KO), ("1912",)),
    ("tydiqa", "test", "sw", 3, 2, ("Nani aliogelea katika Ziwa Otto?", LAKE_SW), ("Ida Rand",)),
    ("tydiqa", "test", "te", 3, 0, ("వంతెనను ఎవరు నిర్మించారు?", BRIDGE_TE), ("అన్నా క్విల్",)),
    ("lareqa", "test", "ar", 3, 2, ("من سبح في بحيرة أوتو؟",), (THIRD,)),
    (
        "lareqa",
        "test",
        "de",
        2,
        1,
        ("Wie viele Fuß lang war sie?",),
        (SECOND,),
    ),  # of the third question the sentence is not among the given
    ("lareqa", "test", "en", 3, 0, ("Who built the bridge?",), (FIRST,)),
    ("lareqa", "test", "th", 3, 0, ("ใครสร้างสะพาน",), (FIRST,)),
    ("lareqa", "test", "zh", 3, 1, ("这座桥长多少英尺？",), (SECOND,)),
    ("bucc", "dev", "de", 6, 3, ("Der See ist kalt.",), ("en-000000002",)),
    ("bucc", "dev", "ru", 6, 1, ("Идёт снег.",), ()),
    ("bucc", "test", "de", 6, 2, ("„Wer schwimmt hier",), ("en-000000103",)),
    ("bucc", "test", "ru", 6, 3, ("Анна уехала из Миры в 1920 году.",), ("en-000000102",)),
    ("mewslix", "test", "de", 3, 1, ("Ottosee: Anna Quill (links) steht in Mira am { Ottosee } .",), ("Q2",)),
    ("mewslix", "test", "de", 3, 2, ("Mira: { Mira } ist klein.",), ("Q1",)),
    ("mewslix", "test", "ar", 1, 0, ("ميرا: { ميرا } مدينة.",), ("Q1",)),
    ("mewslix", "test", "en", 1, 0, ("Mira: { Mira } is wet.",), ("Q1",)),
    ("mewslix", "test", "es", 1, 0, ("lago Otto: El { lago Otto } está frío.",), ("Q2",)),
    ("mewslix", "test", "fa", 1, 0, ("دریاچه اوتو: { دریاچه اوتو } سرد است.",), ("Q2",)),
    ("mewslix", "test", "ja", 1, 0, ("青い橋: { 青い橋 } は長い。",), ("Q5",)),
    ("mewslix", "test", "pl", 1, 0, ("Anna Quill: { Anna Quill } zbudowała most.",), ("Q3",)),
    ("mewslix", "test", "ro", 1, 0, ("Podul Albastru: { Podul Albastru } e lung.",), ("Q5",)),
    ("mewslix", "test", "ta", 1, 0, ("இடா ராண்ட்: { இடா ராண்ட் } நீந்தினார்.",), ("Q4",)),
    ("mewslix", "test", "tr", 1, 0, ("Ida Rand: { Ida Rand } yüzdü.",), ("Q4",)),
    ("mewslix", "test", "uk", 1, 0, ("Анна Квілл: Сьогодні { Анна Квілл } відкрила міст.",), ("Q3",)),
)

SEARCHED = (
    # task, language, number of candidates, place of one of them, its id, its text, the keys that it answers
    ("lareqa", "ar", 6, 2, "ar_1_2", f"حتى 1950 كان طوله 1912 قدما.{BRIDGE_AR}", (SECOND,)),
    ("lareqa", "de", 5, 4, "de_2_1", f"Zuvor tat das niemand.{LAKE_DE}", ()),
    ("lareqa", "en", 6, 1, "en_1_1", f"It was built in 1912 by Anna Quill.{BRIDGE}", (FIRST,)),
    ("lareqa", "th", 6, 4, "th_2_1", f"ไอดา แรนด์ ว่ายน้ำที่นี่ในปี 1950{LAKE_TH}", (THIRD,)),
    ("lareqa", "zh", 6, 0, "zh_1_0", f"“蓝桥”横跨米拉的港口。{BRIDGE_ZH}", ()),
    ("bucc", "de", 7, 3, "en-000000103", '"Who swims here', ("en-000000103",)),
    ("bucc", "ru", 7, 4, "en-000000104", "The bridge is blue.", ("en-000000104",)),
    ("mewslix", "de", 6, 0, "Q1", "Mira is a town. It lies on Lake Otto.", ("Q1",)),
    ("mewslix", "ta", 6, 4, "Q5", "The Blue Bridge is a bridge in Mira.", ("Q5",)),
    ("mewslix", "uk", 6, 5, "Q6", "Nobody is a film {of 1950}.", ("Q6",)),
)
SHORT = Recipe(
    learning_rate=1e-3, num_steps=2, batch_size=4, micro_batch_size=2, max_length=64, stride=16, max_query_length=16, max_answer_length=8
)


@pytest.fixture(scope="module")
def encoders(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny random encoder."""
    made = tmp_path_factory.mktemp("encoders")
    texts = [
        text for name, split, language, *_ in READ for e in data.examples(tasks.find(name), split, language, folder) for text in e.texts
    ]
    model.initialise(made / "tiny", texts, Architecture(1, 16, 1, 32, 800), 0)
    return made


# --- read


@pytest.mark.parametrize(("name", "split", "language", "count", "place", "texts", "label"), READ)
def test_a_split_is_read(
    folder: Path, name: str, split: data.Split, language: str, count: int, place: int, texts: tuple[str, ...], label: object
) -> None:
    """The literal finds its file and, in it, as many examples as there are, with the texts and the label of the one that is written here;
    answers stand where they are said to.
    """
    found = data.examples(tasks.find(name), split, language, folder)
    assert len(found) == count
    assert (found[place].texts, found[place].label) == (texts, label)
    for example in found:
        for answer, start in zip(example.label or (), example.starts, strict=bool(example.starts)):
            assert example.texts[1].startswith(str(answer), start)


def test_an_answer_is_where_the_file_says(folder: Path) -> None:
    """1912 stands twice in the passage; the second one is the answer."""
    found = data.examples(tasks.find("squad"), "train", "en", folder)[1]
    assert found.starts == (BRIDGE.rindex("1912"),) != (BRIDGE.index("1912"),)


@pytest.mark.parametrize(("name", "language", "count", "place", "identity", "text", "keys"), SEARCHED)
def test_candidates_are_read(
    folder: Path, name: str, language: str, count: int, place: int, identity: str, text: str, keys: tuple[str, ...]
) -> None:
    """What is searched: sentences with their context, English sentences, descriptions of entities, by their ids."""
    found = data.candidates(tasks.find(name), "test", language, folder)
    assert len(found) == count
    assert (found[place].id, found[place].texts, found[place].label) == (identity, (text.replace("\n", ""),), keys)


def test_every_split_and_language_of_the_mirror_is_among_these() -> None:
    """Nothing that a literal reads from the mirror is left out above; the mixture has no sources of its own."""
    named = {name for name, *_ in READ}
    assert named >= {*mirror.LANGUAGES, *(part.name for part in tasks.find("multi-task").parts)}
    for name in named:
        task = tasks.find(name)
        assert {split for of, split, *_ in READ if of == name} == {split for split in ("train", "dev", "test") if getattr(task, split)}
        assert {language for of, split, language, *_ in READ if (of, split) == (name, "test")} == set(mirror.LANGUAGES.get(name, ()))


def test_ids_and_clusters_are_the_data_sets_own(folder: Path) -> None:
    """Questions, mentions and sentences keep their ids; a passage, a document is a cluster; an id that two questions share is none."""
    of = {name: data.examples(tasks.find(name), "test", code, folder) for name, code in (("mlqa", "zh"), ("mewslix", "de"), ("bucc", "ru"))}
    assert [(e.id, e.cluster) for e in of["mlqa"]] == [(FIRST, FIRST), (SECOND, FIRST), (THIRD, THIRD)]
    assert [(e.id, e.cluster) for e in of["mewslix"]] == [(f"de-7:{n}", "de-7") for n in range(3)]
    assert [e.id for e in of["bucc"]] == [f"ru-{n:09}" for n in range(100, 106)]
    english, amharic = (data.examples(tasks.find("belebele"), "test", code, folder) for code in ("en", "am"))
    assert [(e.id, e.cluster) for e in english] == [
        (f"{e.cluster} {n}", "https://en.wikibooks.org/wiki/Mira") for n, e in enumerate(english, 1)
    ]
    assert [e.id for e in english] == [e.id for e in amharic]
    assert [e.id for e in data.examples(tasks.find("tydiqa"), "test", "te", folder)] == ["telugu-11-0", "telugu--12-5", "telugu-13-0"]
    train = data.examples(tasks.find("tydiqa"), "train", "en", folder)
    assert [len(e.id) for e in train] == [16, 1, 16]
    first, second = (data.examples(tasks.find("xnli"), "test", code, folder) for code in ("en", "th"))
    assert [e.id for e in first] == [e.id for e in second]


def test_nothing_of_the_mirror_is_malformed_or_left_unread(folder: Path) -> None:
    """`raystilts data check` reads every file of the mirror and finds nothing wrong."""
    report = check.check(folder)
    assert (report.problems, report.hidden, report.unread) == ([], [], ())


# --- trained and evaluated

INTERMEDIATES = ("multi-task", "squad2", "mlm", "squad-sentences")
TARGETS = ("xnli", "mlqa", "tydiqa", "belebele", "bucc", "lareqa", "mewslix", "americasnli", "afrixnli", "xcopa")
SAME_DATA = {
    "multi-task": {"xnli", "americasnli", "afrixnli", "mlqa", "lareqa", "belebele"},
    "squad-sentences": {"mlqa", "lareqa"},
    "squad2": {"mlqa", "lareqa"},
    "squad": {"mlqa", "lareqa"},
    "mnli": {"xnli", "americasnli", "afrixnli"},
    "mnli-translated": {"xnli", "americasnli", "afrixnli"},
    "mnli-mlm": {"xnli", "americasnli", "afrixnli"},
    "siqa": {"xcopa"},
    "copa": {"xcopa"},
    "cosmosqa": {"belebele"},
    "wikipedia-pairs": {"mewslix"},
}


def target(name: str) -> Task:
    """A target in the languages of the mirror."""
    return replace(tasks.find(name), languages=mirror.LANGUAGES[name])


def study(intermediates: Sequence[str], targets: Sequence[str]) -> Study:
    """A study of two steps per training. COPA's steps change nothing, so that what it started from is what it leaves."""
    recipes = {"default": SHORT, "copa": replace(SHORT, learning_rate=0.0), "multi-task": replace(SHORT, num_steps=8)}
    encoder = Encoder("tiny", folder="tiny")
    return Study("mirror", "Does every task work?", (encoder,), tuple(intermediates), tuple(map(target, targets)), (1,), recipes)


@pytest.fixture(scope="module")
def ran(folder: Path, encoders: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Store]:
    """The study of all targets and intermediates, run in this process."""
    plan, store = make_plan(study(INTERMEDIATES, TARGETS), folder, encoders), Store(tmp_path_factory.mktemp("ran") / "store")
    site = Site(store, owner(), folder, encoders)
    store.prepare()
    check_inputs(plan, site)
    run_in_process(plan, site)
    return plan, store


def cell_of(plan: Plan, name: str, intermediate: str) -> Cell:
    """The run of a target after an intermediate task."""
    return next(cell for cell in plan.cells if (cell.target, cell.intermediate) == (name, intermediate))


def table(store: Store, cell: Cell, language: str) -> list[dict[str, Any]]:
    """The rows of a prediction table."""
    rows: list[dict[str, Any]] = pq.read_table(store.path(cell.evaluation.key) / "predictions" / f"{language}.parquet").to_pylist()
    return rows


def test_all_stages_are_done_and_their_scores_are_recomputed_elsewhere(ran: tuple[Plan, Store]) -> None:
    """Nothing failed, and a script that knows nothing of raystilts finds every score in the prediction tables."""
    plan, store = ran
    assert {key: store.failure(key) for key in plan.stages if not store.has(key)} == {}
    done = subprocess.run(
        [sys.executable, str(ROOT / "analysis" / "recompute_scores.py"), str(store.root)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    count = sum(len(cell.languages) for cell in plan.cells)
    assert f"{count} scores recomputed, 0 differ" in done.stdout
    others = sum(len(cell.languages) for cell in plan.cells if cell.target in ("mlqa", "tydiqa"))
    assert f"{others} scores by the tasks' other metrics recomputed, 0 differ" in done.stdout


def test_thresholds_are_on_record(ran: tuple[Plan, Store]) -> None:
    """SQuAD 2.0 leaves the threshold of "no answer", SQuAD 1.1, all of whose questions have one, none; mining has one a language."""
    plan, store = ran
    results = {stage.task.name: store.record(key)["result"] for key, stage in plan.stages.items() if stage.phase == "train" and stage.task}
    assert isinstance(results["squad2"]["threshold"], float)
    assert results["squad"]["threshold"] is None
    assert set(results["multi-task"]["dev_scores"]) == {part.name for part in tasks.find("multi-task").parts}
    assert results["mlm"]["dev_score"] is None
    mined = store.record(cell_of(plan, "bucc", "none").evaluation.key)["result"]
    assert set(mined["thresholds"]) == set(mirror.LANGUAGES["bucc"])
    assert all(isinstance(threshold, float) for threshold in mined["thresholds"].values())


def test_rankings_hold_twenty_candidates_or_all(ran: tuple[Plan, Store]) -> None:
    """LAReQA's pool holds the 29 sentences of all languages, of which each query keeps 20, and is answered by one in each language whose
    file has the sentence; Mewsli-X has 6 entities, of which one is right.
    """
    plan, store = ran
    num_right = {FIRST: 5, SECOND: 5, THIRD: 4}
    for intermediate in ("none", *INTERMEDIATES):
        for name, size in (("lareqa", 20), ("mewslix", 6)):
            cell = cell_of(plan, name, intermediate)
            for language in cell.languages:
                for row in table(store, cell, language):
                    assert len(row["prediction"]) == len(set(row["prediction"])) == size
                    assert len(row["gold"]) == (num_right[row["example_id"]] if name == "lareqa" else 1)


def test_mining_leaves_out_sentences_that_occur_twice(ran: tuple[Plan, Store]) -> None:
    """A sentence that stands twice in its file is never predicted, on either side."""
    plan, store = ran
    for language, twice in (("de", {"de-000000101", "de-000000104"}), ("ru", {"ru-000000104", "ru-000000105"})):
        for intermediate in ("none", *INTERMEDIATES):
            rows = table(store, cell_of(plan, "bucc", intermediate), language)
            assert len(rows) == 6
            assert not [row for row in rows if row["example_id"] in twice and row["prediction"]]
            assert {"en-000000100", "en-000000104"}.isdisjoint(found for row in rows for found in row["prediction"])


def test_copa_goes_on_with_the_head_of_siqa(ran: tuple[Plan, Store]) -> None:
    """XCOPA's model is SIQA's trained on COPA: with a learning rate of 0 it has the same head, which SIQA's training had changed; SIQA
    itself begins with a new head, the same one after every intermediate.
    """
    plan, store = ran
    for intermediate in ("none", *INTERMEDIATES):
        copa = cell_of(plan, "xcopa", intermediate).evaluation.parent
        assert copa is not None
        siqa = copa.parent
        assert siqa is not None
        assert [stage.task and stage.task.name for stage in (siqa, copa)] == ["siqa", "copa"]
        assert (siqa.keep_head, copa.keep_head) == (False, True)
        before, after = (load_file(store.path(stage.key) / model.WEIGHTS) for stage in (siqa, copa))
        for name in ("heads.0.weight", "heads.0.bias"):
            assert torch.equal(before[name], after[name])
        new = torch.empty(1, 16).normal_(0.0, 0.02, generator=torch.Generator().manual_seed(1))
        assert not torch.equal(after["heads.0.weight"], new)
        torch.testing.assert_close(after["heads.0.weight"], new, atol=0.003, rtol=0.0)


def test_predictions_are_exported(ran: tuple[Plan, Store], folder: Path, tmp_path: Path) -> None:
    """The tasks that XTREME's evaluator knows are written in its formats, with the questions' and mentions' own ids."""
    plan, store = ran
    lines = export.xtreme(export.cells_of(plan, None, "squad2", None), store, folder, tmp_path)
    assert [line.partition(":")[0] for line in lines] == list(TARGETS)
    written = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.*")}
    assert {"xnli/test-sw.tsv", "mlqa/test-zh.json", "tydiqa/test-te.json", "bucc2018/test-ru.tsv", "mewslix/test-ta.json"} <= written
    assert set(json.loads((tmp_path / "mewslix" / "test-de.json").read_text(encoding="utf-8"))) == {f"de-7:{n}" for n in range(3)}
    assert set(json.loads((tmp_path / "mlqa" / "test-ar.json").read_text(encoding="utf-8"))) == {FIRST, SECOND, THIRD}
    assert len((tmp_path / "xnli" / "test-sw.tsv").read_text(encoding="utf-8").splitlines()) == 3


def test_cells_whose_phases_share_data_are_flagged(folder: Path, encoders: Path) -> None:
    """The intermediate that is a target's own training, in whole or as a part of a mixture, or in another reading, and no other."""
    named = {*SAME_DATA, "mlm", "csqa", "hellaswag", "qqp", "snli", "ccg", "tydiqa"}
    plan = make_plan(study(sorted(named), TARGETS), folder, encoders)
    found = {name: {cell.target for cell in plan.cells if cell.intermediate == name and cell.same_data} for name in ("none", *named)}
    assert {name: flagged for name, flagged in found.items() if flagged} == {**SAME_DATA, "tydiqa": {"tydiqa"}}


# --- two workers


def _rank(rank: int, port: int, stage: Stage, root: Root, data_dir: Path, folder: Path) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=2)
    train(stage, root, None, data_dir, folder, Worker(rank, 2))
    dist.barrier()  # who leaves while the other still talks may be aborted on the way out
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_workers_follow_one_in_a_mixture(folder: Path, encoders: Path, tmp_path: Path) -> None:
    """The nine tasks, and masked words and ranking beside them, on two gloo workers: the same tasks in the same order, and one worker's
    losses and weights, dropout included, though in each step all heads but one have no gradient.
    """
    parts = (*tasks.find("multi-task").parts, tasks.find("mlm"), tasks.find("squad-sentences"))
    mixture = replace(tasks.find("multi-task"), parts=parts, temperature=10.0)
    read = tuple((f"{place}:train/{ENGLISH}", part.name) for place, part in enumerate(parts))
    stage = Stage("train", mixture, read, seed=1, recipe=replace(SHORT, num_steps=30), encoder="e")
    root = Root(str(encoders / "tiny"))
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    train(stage, root, None, folder, tmp_path / "one", Worker())
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    mp.spawn(_rank, (port, stage, root, folder, tmp_path / "two"), nprocs=2)
    logs = [[json.loads(line) for line in (tmp_path / name / "log.jsonl").read_text().splitlines()] for name in ("one", "two")]
    assert [[worker["rank"] for worker in log[0]["workers"]] for log in logs] == [[0], [0, 1]]
    alone, both = ([line["loss"] for line in log[1:]] for log in logs)
    assert [line["task"] for line in logs[1][1:]] == [line["task"] for line in logs[0][1:]]
    assert {part.kind for part in parts if part.name in {line["task"] for line in logs[0][1:]}} == {part.kind for part in parts}
    assert both == pytest.approx(alone, abs=1e-5)
    one, two = (load_file(tmp_path / name / model.WEIGHTS) for name in ("one", "two"))
    assert one.keys() == two.keys()
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, atol=1e-4, rtol=1e-4)


# --- broken rows


def edit(old: str, new: str, count: int = 1) -> Callable[[str], str]:
    """Replaces a text that must be there."""

    def change(text: str) -> str:
        assert old in text
        return text.replace(old, new, count)

    return change


BROKEN = (
    # target, intermediate, file, what happens to it, line (None: the whole file), what is said
    ("xnli", "squad2", "mnli/multinli_1.0_train.jsonl", edit('"gold_label": "neutral"', '"gold_label": "netural"'), 3, "'neutral'"),
    ("xnli", "squad2", "xnli/test-sw.tsv", edit("entailment", "neutral"), 3, "the English row that it must be parallel to"),
    ("americasnli", "squad2", "americasnli/quy.tsv", edit("\tneutral", "\tneutro"), 3, "did you mean 'neutral'"),
    ("afrixnli", "squad2", "afrixnli/hau/test.tsv", edit("\t1\r", "\t3\r"), 4, "afrixnli has no label '3'"),
    ("belebele", "squad2", "belebele/gaz_Latn.jsonl", edit('"correct_answer_num": "1"', '"correct_answer_num": "5"'), 2, "no label '5'"),
    (
        "belebele",
        "squad2",
        "cosmosqa/train.csv",
        edit('""It was cold,""', '"It was cold,"'),
        2,
        "quotes within a quoted text must be doubled",
    ),
    ("xcopa", "squad2", "siqa/socialIQa_v1.4_trn.jsonl", edit('"correct": "C"', '"correct": "D"'), 2, "siqa has no label 'D'"),
    ("mlqa", "squad2", "squad/train-v2.0.json", edit('"is_impossible": false', '"is_impossible": true'), 1, "called impossible, but has"),
    ("mlqa", "squad2", "mlqa/MLQA_V1/test/test-context-zh-question-zh.json", edit('"answer_start": 14', '"answer_start": 13'), 1, FIRST),
    ("tydiqa", "squad2", "tydiqa/tydiqa.goldp.te.dev.json", edit('"question": ', '"Question": '), 1, "telugu-11-0"),
    ("lareqa", "squad2", "lareqa/xquad-r/th.json", edit('"sentence_breaks"', '"breaks"'), 1, 'no "sentence_breaks"'),
    ("bucc", "squad2", "bucc2018/ru-en.dev.gold", edit("ru-000000003", "ru-000000030"), 2, "there is no id 'ru-000000030'"),
    (
        "mewslix",
        "squad2",
        "mewslix/wikinews_mentions-test.jsonl",
        edit('"text": "Ottosee"', '"text": "Otto"'),
        2,
        "'Otto' does not stand at",
    ),
    ("mewslix", "squad2", "mewslix/candidate_set_entities.jsonl", edit('"entity_id": "Q3"', '"id": "Q3"'), 3, "'entity_id' is missing"),
    ("mewslix", "squad2", "mewslix/wikinews_mentions-test.jsonl", edit('"entity_id": "Q2"', '"entity_id": ""'), 2, "hidden labels cannot"),
    ("bucc", "mlm", "text/yo.txt", edit("tutù", "tutù\0"), 1, "a NUL character"),
    ("bucc", "multi-task", "anli/R3/train.jsonl", edit('"label": "n"', '"label": "x"'), 1, "no label 'x'"),
    ("bucc", "multi-task", "ccg/train.tsv", edit("bridge\tN", "bridge N"), 2, "1 columns instead of a word, a tab and its tag"),
)
EXPERIMENT = """
from dataclasses import replace
from raystilts import tasks
from raystilts.stage import Encoder
from raystilts.study import Study

def study() -> Study:
    target = replace(tasks.find({target!r}), languages={languages!r})
    return Study("broken", "?", (Encoder("tiny", folder="tiny"),), ({intermediate!r},), (target,), (1,))
"""


@pytest.mark.parametrize(("name", "intermediate", "file", "change", "line", "message"), BROKEN)
def test_a_broken_row_ends_a_run_before_it_begins(
    folder: Path,
    encoders: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    intermediate: str,
    file: str,
    change: Callable[[str], str],
    line: int,
    message: str,
) -> None:
    """`raystilts run` ends with 2 and one sentence with file and line; nothing was trained. `data check` says the same."""
    broken = tmp_path / "data"
    shutil.copytree(folder, broken)
    path = broken / file
    path.write_bytes(change(path.read_bytes().decode()).encode())
    experiment = tmp_path / "broken.py"
    experiment.write_text(EXPERIMENT.format(target=name, languages=mirror.LANGUAGES[name], intermediate=intermediate), encoding="utf-8")
    store = tmp_path / "store"
    places = ["--data", str(broken), "--encoders", str(encoders), "--store", str(store)]
    assert main(["run", str(experiment), *places, "--in-process"]) == 2
    said = capsys.readouterr().err
    assert f"{path}, line {line}: " in said
    assert message in said
    assert said.count("\n") == 1
    assert not list((store / "stages").iterdir())
    involved = [of for task in (tasks.find(name), tasks.find(intermediate)) for of in (task, *task.trained_on, *task.parts)]
    found = check.check(broken, [task.name for task in involved]).problems
    assert {(problem.file, problem.line) for problem in found} == {(file, line)}


@pytest.mark.parametrize(
    ("name", "file", "change", "message"),
    [
        ("mewslix", "mewslix/candidate_set_entities.jsonl", edit('"entity_id": "Q3"', '"entity_id": "Q33"'), "'Q3', which no candidate is"),
        ("bucc", "bucc2018/ru-en.test.gold", edit("en-000000101", "en-000000999"), "'en-000000999', which no candidate is"),
    ],
)
def test_a_query_without_an_answer_ends_a_run_before_it_begins(
    folder: Path,
    encoders: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    file: str,
    change: Callable[[str], str],
    message: str,
) -> None:
    """Files that are well formed each, but of different releases, are refused before anything is trained."""
    broken = tmp_path / "data"
    shutil.copytree(folder, broken)
    (broken / file).write_bytes(change((broken / file).read_bytes().decode()).encode())
    experiment = tmp_path / "broken.py"
    experiment.write_text(EXPERIMENT.format(target=name, languages=mirror.LANGUAGES[name], intermediate="squad2"), encoding="utf-8")
    places = ["--data", str(broken), "--encoders", str(encoders), "--store", str(tmp_path / "store")]
    assert main(["run", str(experiment), *places, "--in-process"]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert not list((tmp_path / "store" / "stages").iterdir())
