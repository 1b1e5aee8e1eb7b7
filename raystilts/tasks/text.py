"""Classification of single texts; plain text for masked language modelling."""

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


def wikipedia(*languages: str, num_articles: int) -> Source:
    """The first articles of each language's Wikipedia, or the files text/<language>.txt, a text a line."""
    return Source(
        dataset="wikimedia/wikipedia",  # checked: pinned so by public projects, a folder of parquet per language
        revision="b04c8d1ceb2f5cd4588862100d08de323dccfbaa",
        subset="20231101.{language}",
        split=f"train[:{num_articles}]",
        columns=("text",),
        files=("text/{language}.txt",),
        reader="text",
        languages=languages,
    )


def masked_words(*languages: str, num_articles: int = 5000) -> Task:
    """Masked language modelling on text of several languages, equally many articles of each."""
    return Task(
        name="mlm",
        kind="mlm",
        metric="",
        train=wikipedia(*languages, num_articles=num_articles),
        citation="Devlin et al. 2019, arXiv 1810.04805; as intermediate task: Phang et al. 2020, arXiv 2005.13013",
        licence="CC BY-SA 4.0 (Wikipedia)",
    )


MLM = masked_words("en", "ar", "de", "es", "eu", "hi", "id", "ko", "qu", "ru", "sw", "ta", "te", "th", "tr", "vi", "yo", "zh")

TASKS = (SIB200, MLM)
