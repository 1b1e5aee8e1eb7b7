"""Question answering: where in a context the answer stands."""

from __future__ import annotations

from raystilts.task import Source, Task

COLUMNS = ("question", "context", "answers")


def _squad(dataset: str, revision: str, split: str, name: str) -> Source:
    # checked: pinned so by public projects; parquet since the Hub's own conversion, with these columns in its documentation
    return Source(
        dataset=dataset,
        revision=revision,
        split=split,
        columns=COLUMNS,
        files=(f"squad/{name}.json",),
        reader="squad",
        id="id",
        origin="squad",  # SQuAD 2.0 holds the questions of 1.1
    )


def _tydiqa(files: str, split: str) -> Source:
    return Source(
        dataset="google-research-datasets/tydiqa",  # checked: pinned so by public projects; all languages in one table
        revision="da78f23f9119363459acbaf46bf89426ff26c259",
        subset="secondary_task",
        split=split,
        columns=COLUMNS,
        begins=("id", "{name}-"),
        files=(files,),
        reader="squad",
        id="id",
    )


SQUAD_REVISION = "7b6d24c440a36b6815f21b70d25016731768db1f"
SQUAD2_REVISION = "3ffb306f725f7d2ce8394bc1873b24868140c412"

SQUAD = Task(
    name="squad",
    kind="span",
    metric="squad_f1",
    also=("squad_em",),
    train=_squad("rajpurkar/squad", SQUAD_REVISION, "train", "train-v1.1"),
    dev=_squad("rajpurkar/squad", SQUAD_REVISION, "validation", "dev-v1.1"),
    citation="Rajpurkar et al. 2016, arXiv 1606.05250",
    licence="CC BY-SA 4.0",
)

SQUAD2 = Task(
    name="squad2",
    kind="span",
    metric="squad_v2_f1",
    also=("squad_v2_em",),
    train=_squad("rajpurkar/squad_v2", SQUAD2_REVISION, "train", "train-v2.0"),
    dev=_squad("rajpurkar/squad_v2", SQUAD2_REVISION, "validation", "dev-v2.0"),
    citation="Rajpurkar et al. 2018, arXiv 1806.03822",
    licence="CC BY-SA 4.0",
)

XQUAD = Task(
    name="xquad",
    kind="span",
    metric="squad_f1",
    also=("squad_em",),
    languages=("ar", "de", "el", "en", "es", "hi", "ro", "ru", "th", "tr", "vi", "zh"),
    trained_on=(SQUAD,),
    test=Source(
        dataset="google/xquad",  # checked: pinned so by public projects, a folder of parquet per language, ro among them
        revision="51adfef1c1287aab1d2d91b5bead9bcfb9c68583",
        subset="xquad.{language}",
        split="validation",
        columns=COLUMNS,
        files=("xquad/xquad.{language}.json",),
        reader="squad",
        id="id",
    ),
    citation="Artetxe et al. 2020, arXiv 1910.11856",
    licence="CC BY-SA 4.0",
)

MLQA = Task(
    name="mlqa",
    kind="span",
    metric="mlqa_f1",
    also=("mlqa_em",),
    languages=("ar", "de", "en", "es", "hi", "vi", "zh"),
    trained_on=(SQUAD,),
    test=Source(
        dataset="google/xtreme",  # checked: this commit holds parquet of all configurations; facebook/mlqa holds a script
        revision="ec5f1f46e9af79639a90684a7a70a956c4998f04",
        subset="MLQA.{language}.{language}",
        split="test",
        columns=COLUMNS,
        files=("mlqa/MLQA_V1/test/test-context-{language}-question-{language}.json",),
        reader="squad",
        id="id",
    ),
    citation="Lewis et al. 2020, arXiv 1910.07475",
    licence="CC BY-SA 3.0",
)

TYDIQA = Task(
    name="tydiqa",
    kind="span",
    metric="squad_f1",
    also=("squad_em",),
    languages=("ar", "bn", "en", "fi", "id", "ko", "ru", "sw", "te"),
    train=_tydiqa("tydiqa/tydiqa.goldp.{language}.train.json", "train"),
    dev=_tydiqa("tydiqa/tydiqa.goldp.{language}.dev.json", "validation"),
    test=_tydiqa("tydiqa/tydiqa.goldp.{language}.dev.json", "validation"),  # as XTREME: the test answers are hidden
    citation="Clark et al. 2020, arXiv 2003.05002",
    licence="Apache 2.0",
)

TASKS = (SQUAD, SQUAD2, XQUAD, MLQA, TYDIQA)
