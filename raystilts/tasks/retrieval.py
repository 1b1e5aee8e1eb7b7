"""Retrieval: the nearest translation, answer or entity is the prediction; and mining of translations.

For Tatoeba and BUCC nothing is trained; LAReQA's and Mewsli-X's dual encoders learn by ranking pairs.
"""

from __future__ import annotations

from dataclasses import replace

from raystilts.task import Source, Task
from raystilts.tasks.nli import XNLI
from raystilts.tasks.qa import SQUAD

RELATIVE_DEPTH = 0.58  # XTREME-R reads layer 14 of XLM-R Large's 24: the same relative depth in an encoder of any size

TATOEBA = Task(
    name="tatoeba",
    kind="retrieval",
    metric="accuracy",
    languages=(
        *("af", "ar", "az", "bg", "bn", "de", "el", "es", "et", "eu", "fa", "fi", "fr", "he", "hi", "hu", "id", "it", "ja", "jv"),
        *("ka", "kk", "ko", "lt", "ml", "mr", "nl", "pl", "pt", "ro", "ru", "sw", "ta", "te", "th", "tl", "tr", "uk", "ur", "vi", "zh"),
    ),
    test=Source(
        dataset="mteb/tatoeba-bitext-mining",  # checked: pinned so by mteb; the columns are those of all its bitext tasks
        revision="69e8f12da6e31d59addadda9a9c8a2e601a0e282",
        subset="{tatoeba}-eng",
        split="test",
        columns=("sentence2", "sentence1"),  # as XTREME: the nearest sentence of the language is looked for, for each English one
        files=("tatoeba/tatoeba.{tatoeba}-eng.eng", "tatoeba/tatoeba.{tatoeba}-eng.{tatoeba}"),
        reader="aligned",
    ),
    # with layer=None the best layer at finding the English hypothesis that an English premise entails
    dev=replace(XNLI.dev, only=("entailment",), parallel=False) if XNLI.dev else None,
    layer=RELATIVE_DEPTH,
    citation="Artetxe and Schwenk 2019, arXiv 1812.10464; XTREME-R: Ruder et al. 2021, arXiv 2104.07412",
    licence="CC BY 2.0 FR",
)


def _bucc(name: str) -> Source:
    where = "bucc2018/{language}-en.%s.%s"
    return Source(
        files=(where % (name, "{language}"), where % (name, "gold")),
        reader="bucc",
        candidates=Source(files=(where % (name, "en"),), reader="bucc", exclude="the English sentences"),
        exclude="the training part of BUCC 2018 is XTREME's test and the sample part its dev; the Hub's copies hold the gold pairs alone",
    )


BUCC = Task(
    name="bucc",
    kind="mining",
    metric="pair_f1",
    languages=("de", "fr", "ru", "zh"),
    dev=_bucc("dev"),
    test=_bucc("test"),
    layer=RELATIVE_DEPTH,
    citation="Zweigenbaum et al. 2018; margin score: Artetxe and Schwenk 2019, arXiv 1811.01136",
    licence="CC BY-SA (Wikipedia) and free for research (news)",
)

FROM_JSON = "its rows are made from the original JSON files, which no Hub data set holds in this form"

SQUAD_SENTENCES = Task(
    name="squad-sentences",
    kind="ranking",
    metric="accuracy",
    train=Source(files=("squad/train-v1.1.json",), reader="squad_sentences", origin="squad", exclude=FROM_JSON),
    dev=Source(files=("squad/dev-v1.1.json",), reader="squad_sentences", exclude=FROM_JSON),
    citation=SQUAD.citation,
    licence=SQUAD.licence,
)

LAREQA = Task(
    name="lareqa",
    kind="retrieval",
    metric="map_at_20",
    languages=("ar", "de", "el", "en", "es", "hi", "ru", "th", "tr", "vi", "zh"),
    trained_on=(SQUAD_SENTENCES,),
    test=Source(
        files=("lareqa/xquad-r/{language}.json",),
        reader="squad_questions",
        candidates=Source(files=("lareqa/xquad-r/{language}.json",), reader="squad_candidates", exclude=FROM_JSON),
        exclude=FROM_JSON,
    ),
    citation="Roy et al. 2020, arXiv 2004.05484",
    licence="CC BY-SA 4.0",
)


MADE_BY_SCRIPT = "get-mewsli-x.sh of google-research makes the files from Wikipedia and Wikinews"


def _wikipedia_pairs(name: str) -> Source:
    return Source(files=(f"mewslix/wikipedia_pairs-{name}.jsonl",), reader="mewslix_pairs", exclude=MADE_BY_SCRIPT)


WIKIPEDIA_PAIRS = Task(
    name="wikipedia-pairs",
    kind="ranking",
    metric="accuracy",
    train=_wikipedia_pairs("train"),
    dev=_wikipedia_pairs("dev"),
    citation="Mewsli-X's English training pairs: Ruder et al. 2021, arXiv 2104.07412",
    licence="CC BY-SA 3.0",
)

MEWSLIX = Task(
    name="mewslix",
    kind="retrieval",
    metric="map_at_20",
    languages=("ar", "de", "en", "es", "fa", "ja", "pl", "ro", "ta", "tr", "uk"),
    trained_on=(WIKIPEDIA_PAIRS,),
    test=Source(
        files=("mewslix/wikinews_mentions-test.jsonl",),
        reader="mewslix_mentions",
        candidates=Source(files=("mewslix/candidate_set_entities.jsonl",), reader="mewslix_entities", exclude=MADE_BY_SCRIPT),
        exclude=MADE_BY_SCRIPT,
    ),
    citation="Ruder et al. 2021, arXiv 2104.07412",
    licence="CC BY 2.5 (Wikinews), CC BY-SA 3.0 (Wikipedia)",
)

TASKS = (TATOEBA, BUCC, SQUAD_SENTENCES, LAREQA, WIKIPEDIA_PAIRS, MEWSLIX)
