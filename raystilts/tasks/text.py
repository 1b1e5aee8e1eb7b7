"""Classification of single texts."""

from __future__ import annotations

from raystilts.task import Source, Task

TOPICS = ("entertainment", "geography", "health", "politics", "science/technology", "sports", "travel")


def _sib200(name: str, split: str) -> Source:
    return Source(
        dataset="mteb/sib200",  # the authors' Davlan/sib200 needs a script, which `datasets` no longer runs; checked: mteb's pinned source
        revision="a74d7350ea12af010cfb1c21e34f1f81fd2e615b",
        subset="{flores}",
        split=split,
        columns=("text", "category"),
        files=(f"sib200/{{flores}}/{name}.tsv",),
        header=("text", "category"),
        parallel=True,
    )


SIB200 = Task(
    name="sib200",
    kind="classification",
    metric="accuracy",
    labels=TOPICS,
    languages=(
        *("am", "ar", "ay", "az", "bm", "de", "en", "eu", "ee", "fon", "gn", "gu", "ht", "ha", "ig", "jv", "ka", "kk", "rw", "lg"),
        *("ml", "mr", "my", "ny", "pa", "qu", "so", "sw", "ta", "te", "tl", "ti", "ur", "wo", "yo", "zu"),
    ),
    train=_sib200("train", "train"),
    dev=_sib200("dev", "validation"),
    test=_sib200("test", "test"),
    citation="Adelani et al. 2024, arXiv 2309.07445",
    licence="CC BY-SA 4.0",
)

TASKS = (SIB200,)
