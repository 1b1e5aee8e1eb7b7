"""Classification of sentence pairs: inference and paraphrase."""

from __future__ import annotations

from dataclasses import replace

from raystilts import pairs
from raystilts.task import Source, Task

INFERENCE = ("entailment", "neutral", "contradiction")
NUMBERED = (("0", "entailment"), ("1", "neutral"), ("2", "contradiction"))
UNDECIDED = (("-", ""), ("-1", ""))  # the annotators did not agree
GLUE = "bcdcba79d07bc864c1c254ccfcedcce55bcc9a8c"


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


def _anli(number: int) -> Source:
    return Source(
        dataset="facebook/anli",  # checked: pinned so by public projects; plain_text in parquet with the splits of its documentation
        revision="8e4813d81f46d313dac7892e1c28076917cfcdf9",
        subset="plain_text",
        split=f"train_r{number}",
        columns=("premise", "hypothesis", "label"),
        files=(f"anli/R{number}/train.jsonl",),
        reader="jsonl",
        header=("context", "hypothesis", "label"),
        values=(("e", "entailment"), ("n", "neutral"), ("c", "contradiction")),
    )


def _qqp(name: str, split: str) -> Source:
    return Source(
        dataset="nyu-mll/glue",
        revision=GLUE,
        subset="qqp",
        split=split,
        columns=("question1", "question2", "label"),
        files=(f"qqp/{name}.tsv",),
        header=("question1", "question2", "is_duplicate"),
        gaps=True,
        values=(("0", "not_duplicate"), ("1", "duplicate")),
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
        revision=GLUE,
        subset="mnli",
        split="train",
        columns=("premise", "hypothesis", "label"),
        files=("mnli/multinli_1.0_train.jsonl",),
        reader="jsonl",
        header=("sentence1", "sentence2", "gold_label"),
        values=UNDECIDED,
        origin="mnli",
    ),
    dev=_xnli("dev", "validation"),  # its English part, as XTREME selects; some copies of "MNLI" hold MNLI's own dev set
    citation="Williams et al. 2018, arXiv 1704.05426",
    licence="OANC, CC BY 3.0 and others, by genre",
)

MNLI_TRANSLATED = Task(
    name="mnli-translated",
    kind="classification",
    metric="accuracy",
    labels=INFERENCE,
    # row i is the same pair in every language, and its label must be the English row's
    train=replace(
        _xnli("train", "train"),
        files=("xnli-mt/multinli.train.{language}.tsv",),  # XNLI-MT-1.0/multinli
        header=("premise", "hypo", "label"),
        values=(("contradictory", "contradiction"),),
        origin="mnli",
        languages=("en", "ar", "bg", "de", "el", "es", "fr", "hi", "ru", "sw", "th", "tr", "ur", "vi", "zh"),
        translated=True,
    ),
    dev=_xnli("dev", "validation"),
    citation="Conneau et al. 2018, arXiv 1809.05053 (translate-train); as intermediate task: Phang et al. 2020, arXiv 2005.13013",
    licence="MNLI's; the translations CC BY-NC 4.0",
)

TAXINLI = Task(
    name="taxinli",
    kind="classification",
    metric="accuracy",
    labels=INFERENCE,
    train=Source(
        files=("mnli/train-10k.tsv",),
        header=("prem", "hyp", "label"),
        origin="mnli",
        exclude="10,071 pairs of MNLI, most of them from its dev set, in TaxiNLI's table",
    ),
    dev=_xnli("dev", "validation"),
    citation="Joshi et al. 2020, arXiv 2009.14505; Williams et al. 2018, arXiv 1704.05426",
    licence="MNLI's",
)

SNLI = Task(
    name="snli",
    kind="classification",
    metric="accuracy",
    labels=INFERENCE,
    train=Source(
        dataset="stanfordnlp/snli",  # checked: pinned so by public projects, in parquet with these columns
        revision="cdb5c3d5eed6ead6e5a341c8e56e669bb666725b",
        subset="plain_text",
        split="train",
        columns=("premise", "hypothesis", "label"),
        files=("snli/snli_1.0_train.jsonl",),
        reader="jsonl",
        header=("sentence1", "sentence2", "gold_label"),
        values=UNDECIDED,
    ),
    dev=_xnli("dev", "validation"),
    citation="Bowman et al. 2015, arXiv 1508.05326",
    licence="CC BY-SA 4.0",
)

ANLI_PLUS = Task(
    name="anli-plus",
    kind="classification",
    metric="accuracy",
    labels=INFERENCE,
    # one set of SNLI, MNLI and the three rounds of ANLI, and so each in proportion to its size
    train=replace(SNLI.train, more=(MNLI.train, *map(_anli, (1, 2, 3)))) if SNLI.train and MNLI.train else None,
    dev=_xnli("dev", "validation"),
    citation="ANLI: Nie et al. 2020, arXiv 1910.14599; the mixture: Phang et al. 2020, arXiv 2005.13013",
    licence="SNLI's, MNLI's and CC BY-NC 4.0",
)

QQP = Task(
    name="qqp",
    kind="classification",
    metric="accuracy",
    labels=("not_duplicate", "duplicate"),
    train=_qqp("train", "train"),
    dev=_qqp("dev", "validation"),
    citation="Iyer et al. 2017; GLUE: Wang et al. 2018, arXiv 1804.07461",
    licence="Quora's terms of service",
)

XNLI = Task(
    name="xnli",
    kind="classification",
    metric="accuracy",
    labels=INFERENCE,
    languages=("ar", "bg", "de", "el", "en", "es", "fr", "hi", "ru", "sw", "th", "tr", "ur", "vi", "zh"),
    trained_on=(MNLI,),
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

XNLI_PAIRS = replace(
    XNLI,
    name="xnli-pairs",
    languages=pairs.ordered(XNLI.languages),  # premise and hypothesis in two languages, such as de--en
    test=replace(_xnli("test", "test"), pairs=True),
    citation="Conneau et al. 2018, arXiv 1809.05053; all pairs of languages: Huang et al. 2021, arXiv 2104.08645",
)

PAWSX_PAIRS = replace(
    PAWSX,
    name="pawsx-pairs",
    languages=pairs.ordered(PAWSX.languages),
    train=None,
    trained_on=(PAWSX,),
    test=replace(_pawsx("test", "test"), pairs=True),
    citation="Yang et al. 2019, arXiv 1908.11828; all pairs of languages: Huang et al. 2021, arXiv 2104.08645",
)

AMERICASNLI = Task(
    name="americasnli",
    kind="classification",
    metric="accuracy",
    labels=INFERENCE,
    languages=("ay", "bzd", "cni", "gn", "hch", "nah", "oto", "qu", "shp", "tar"),
    trained_on=(MNLI,),
    test=Source(
        files=("americasnli/{code}.tsv",),
        header=("premise", "hypothesis", "label"),
        codes=(("ay", "aym"), ("qu", "quy")),
        exclude="no commit could be checked; the files are AmericasNLI's test.tsv, cut by its column `language`",
    ),
    citation="Ebrahimi et al. 2022, arXiv 2104.08726",
    licence="CC BY-SA 4.0",
)

AFRIXNLI = Task(
    name="afrixnli",
    kind="classification",
    metric="accuracy",
    labels=INFERENCE,
    languages=("am", "ee", "ha", "ig", "lg", "ln", "om", "rw", "sn", "so", "sw", "tw", "wo", "xh", "yo", "zu"),
    trained_on=(MNLI,),
    test=Source(
        dataset="masakhane/afrixnli",  # checked: pinned so by evaluation projects, with these configurations; tables of text, no script
        revision="e3ca06b30f3e7af2a86f6c8609ea76fee326bc56",
        subset="{iso3}",
        split="test",
        columns=("premise", "hypothesis", "label"),
        files=("afrixnli/{iso3}/test.tsv",),
        header=("premise", "hypothesis", "label"),
        values=NUMBERED,
        parallel=True,  # translations of the same pairs of XNLI's test set
    ),
    citation="Adelani et al. 2024, arXiv 2406.03368",
    licence="Apache 2.0",
)

TASKS = (MNLI, MNLI_TRANSLATED, TAXINLI, SNLI, ANLI_PLUS, QQP, XNLI, PAWSX, AMERICASNLI, AFRIXNLI, XNLI_PAIRS, PAWSX_PAIRS)
