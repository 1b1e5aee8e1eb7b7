"""Classification of sentence pairs: inference and paraphrase."""

from __future__ import annotations

from raystilts.task import Source, Task

INFERENCE = ("entailment", "neutral", "contradiction")


def _xnli(name: str, split: str) -> Source:
    return Source(
        dataset="facebook/xnli",  # checked: the commit of its conversion to parquet, which holds a folder per language
        revision="b8dd5d7af51114dbda02c0e3f6133f332186418e",
        subset="{language}",
        split=split,
        columns=("premise", "hypothesis", "label"),
        files=(f"xnli/{name}-{{language}}.tsv",),
        parallel=True,
    )


def _pawsx(name: str, split: str) -> Source:
    return Source(
        dataset="google-research-datasets/paws-x",  # checked: pinned so, with these splits, in public projects that read its parquet
        revision="4cd8187c404bda33cb1f62b49b001115862acf37",
        subset="{language}",
        split=split,
        columns=("sentence1", "sentence2", "label"),
        files=(f"pawsx/{name}-{{language}}.tsv",),  # not parallel: the labels of some rows differ between languages
    )


MNLI = Task(
    name="mnli",
    kind="classification",
    metric="accuracy",
    labels=INFERENCE,
    train=Source(
        dataset="nyu-mll/glue",  # checked: the commit that the caches of public projects name, with mnli in parquet
        revision="bcdcba79d07bc864c1c254ccfcedcce55bcc9a8c",
        subset="mnli",
        split="train",
        columns=("premise", "hypothesis", "label"),
        files=("mnli/train-10k.tsv",),
        header=("prem", "hyp", "label"),
    ),
    dev=_xnli("dev", "validation"),  # its English part, as XTREME selects; some copies of "MNLI" hold MNLI's own dev set
    citation="Williams et al. 2018, arXiv 1704.05426",
    licence="OANC, CC BY 3.0 and others, by genre",
)

XNLI = Task(
    name="xnli",
    kind="classification",
    metric="accuracy",
    labels=INFERENCE,
    languages=("ar", "bg", "de", "el", "en", "es", "fr", "hi", "ru", "sw", "th", "tr", "ur", "vi", "zh"),
    trained_on="mnli",
    dev=_xnli("dev", "validation"),
    test=_xnli("test", "test"),
    citation="Conneau et al. 2018, arXiv 1809.05053",
    licence="CC BY-NC 4.0",
)

PAWSX = Task(
    name="pawsx",
    kind="classification",
    metric="accuracy",
    labels=("0", "1"),
    languages=("de", "en", "es", "fr", "ja", "ko", "zh"),
    train=_pawsx("train", "train"),
    dev=_pawsx("dev", "validation"),
    test=_pawsx("test", "test"),
    citation="Yang et al. 2019, arXiv 1908.11828",
    licence="free for any purpose, Google",
)

TASKS = (MNLI, XNLI, PAWSX)
