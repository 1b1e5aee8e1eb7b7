"""Tagging of words: parts of speech, names, categories."""

from __future__ import annotations

from dataclasses import replace

from raystilts.task import Source, Task

UPOS = (
    *("ADJ", "ADP", "ADV", "AUX", "CCONJ", "DET", "INTJ", "NOUN", "NUM", "PART", "PRON", "PROPN", "PUNCT", "SCONJ", "SYM"),
    *("VERB", "X"),
)
NAMES = ("O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC")
LICENSED = "CCGbank is licensed, LDC2005T13; put a word, a tab and its category a line there, an empty line between sentences"
XTREME_R = (
    *("af", "ar", "az", "bg", "bn", "de", "el", "en", "es", "et", "eu", "fa", "fi", "fr", "gu", "he", "hi", "ht", "hu", "id", "it"),
    *("ja", "jv", "ka", "kk", "ko", "lt", "ml", "mr", "ms", "my", "nl", "pa", "pl", "pt", "qu", "ro", "ru", "sw", "ta", "te", "th"),
    *("tl", "tr", "uk", "ur", "vi", "wo", "yo", "zh"),
)


def _udpos(name: str, split: str) -> Source:
    return Source(
        dataset="google/xtreme",  # checked: this commit holds parquet of all configurations; UD 2.5, as XTREME-R keeps it
        revision="ec5f1f46e9af79639a90684a7a70a956c4998f04",
        subset="udpos.{name}",
        split=split,
        columns=("tokens", "pos_tags"),
        files=(f"udpos/{name}-{{language}}.tsv",),
        reader="conll",
        exclude="the Hub lacks lt, pl, ro, uk and wo, which XTREME-R's scripts make from UD 2.7",
    )


def _wikiann(name: str, split: str) -> Source:
    return Source(
        dataset="unimelb-nlp/wikiann",  # checked: pinned so by public projects; Rahimi's split of PAN-X, a folder of parquet per language
        revision="f0a3be6dc5564c0cc4150bb660144800a1f539d4",
        subset="{language}",
        split=split,
        columns=("tokens", "ner_tags"),
        files=(f"panx/{name}-{{language}}.tsv",),
        reader="conll",
        exclude="PAN-X is gone from its own link; the files are Rahimi's split of it, a word, a tab and its tag a line",
    )


UDPOS = Task(
    name="udpos",
    kind="tagging",
    metric="micro_f1",  # XTREME's "accuracy" is seqeval's F1
    also=("token_accuracy",),
    labels=UPOS,
    languages=(
        *("af", "ar", "bg", "de", "el", "en", "es", "et", "eu", "fa", "fi", "fr", "he", "hi", "hu", "id", "it", "ja", "kk", "ko"),
        *("lt", "mr", "nl", "pl", "pt", "ro", "ru", "ta", "te", "th", "tl", "tr", "uk", "ur", "vi", "wo", "yo", "zh"),
    ),
    train=_udpos("train", "train"),
    dev=_udpos("dev", "validation"),
    test=_udpos("test", "test"),
    citation="Universal Dependencies 2.5 and 2.7: Nivre et al. 2020, arXiv 2004.10643",
    licence="CC BY-SA and CC BY-NC-SA, by treebank",
)

NOT_ON_HUB = ("lt", "pl", "ro", "uk", "wo")
UDPOS_ON_HUB = replace(UDPOS, languages=tuple(code for code in UDPOS.languages if code not in NOT_ON_HUB))

WIKIANN = Task(
    name="wikiann",
    kind="tagging",
    metric="micro_f1",
    labels=NAMES,
    languages=tuple(code for code in XTREME_R if code not in ("ht", "wo")),
    train=_wikiann("train", "train"),
    dev=_wikiann("dev", "validation"),
    test=_wikiann("test", "test"),
    citation="Pan et al. 2017; splits of Rahimi et al. 2019, arXiv 1902.00193",
    licence="ODC-BY",
)

MASAKHANER = Task(
    name="masakhaner",
    kind="tagging",
    metric="micro_f1",
    labels=NAMES,
    languages=(
        *("bbj", "bm", "ee", "fon", "ha", "ig", "lg", "luo", "mos", "ny", "pcm", "rw", "sn", "sw", "tn", "tw", "wo", "xh", "yo"),
        "zu",
    ),
    trained_on=(WIKIANN,),
    test=Source(
        dataset="masakhane/masakhaner2",
        subset="{iso3}",
        split="test",
        columns=("tokens", "ner_tags"),
        files=("masakhaner2/gold/{iso3}.txt",),
        reader="conll",
        separator=" ",
        exclude="the Hub holds a script, which `datasets` no longer runs; the files are {iso3}/test.txt of masakhane-io/masakhane-ner",
        values=(("B-DATE", "O"), ("I-DATE", "O")),  # dates are no entities in the English training data: no zero-shot model can find them
    ),
    citation="Adelani et al. 2022, arXiv 2210.12391",
    licence="CC BY-NC 4.0",
)

CCG = Task(
    name="ccg",
    kind="tagging",
    metric="token_accuracy",
    labels=(),  # the sorted labels of the training data: 1,363 in CCGbank with rare ones
    train=Source(files=("ccg/train.tsv",), reader="conll", exclude=LICENSED),
    dev=Source(files=("ccg/dev.tsv",), reader="conll", exclude=LICENSED),
    citation="Hockenmaier and Steedman 2007",
    licence="LDC for CCGbank",
)

TASKS = (UDPOS, WIKIANN, MASAKHANER, CCG)
