"""Multiple choice: which continuation is right."""

from __future__ import annotations

from raystilts.task import Source, Task

XCOPA_LANGUAGES = ("et", "ht", "id", "it", "qu", "sw", "ta", "th", "tr", "vi", "zh")
LETTERS = ("A", "B", "C", "D", "E")
PLACES = ("0", "1", "2", "3")


def _hellaswag(name: str, split: str) -> Source:
    return Source(
        dataset="Rowan/hellaswag",  # checked: the commit that evaluation harnesses' caches name; the columns are the original's
        revision="218ec52e09a7e7462a5400043bb9a69a41d06b76",
        split=split,
        columns=("ctx_a", *(f"{{ctx_b}} {{endings[{place}]}}" for place in PLACES), "label"),
        files=(f"hellaswag/hellaswag_{name}.jsonl",),
        reader="jsonl",
    )


def _cosmosqa(name: str, split: str) -> Source:
    return Source(
        dataset="allenai/cosmos_qa",  # checked: the head of its branch refs/convert/parquet, as the main branch holds a script
        revision="ed50fe83db62b355759053b1cd5eef344ee371e0",
        subset="default",
        split=split,
        columns=("context", *(f"{{question}} {{answer{place}}}" for place in PLACES), "label"),
        files=(f"cosmosqa/{name}.csv",),
        reader="csv",
        id="id",
    )


def _csqa(name: str, split: str) -> Source:
    return Source(
        dataset="tau/commonsense_qa",  # checked: the commit that evaluation harnesses' caches name, and its columns there
        revision="94630fe30dad47192a8546eb75f094926d47e155",
        split=split,
        columns=("question", *(f"{{choices[text][{place}]}}" for place in range(5)), "answerKey"),
        files=(f"csqa/{name}.jsonl",),
        reader="jsonl",
        header=("{question[stem]}", *(f"{{question[choices][{place}][text]}}" for place in range(5)), "answerKey"),
        id="id",
    )


def _siqa(name: str, split: str) -> Source:
    return Source(
        dataset="lighteval/siqa",  # checked: evaluation projects pin this copy, equal to allenai/social_i_qa, whose main branch is a script
        revision="54c6a1f8cb6daf4f5abf24a601852612fb35eb25",
        split=split,
        columns=("{context} {question}", "answerA", "answerB", "answerC", "label"),
        files=(f"siqa/socialIQa_v1.4_{name}.jsonl",),
        reader="jsonl",
        header=("{context} {question}", "answerA", "answerB", "answerC", "correct"),
        values=(("1", "A"), ("2", "B"), ("3", "C")),
    )


def _copa(name: str, split: str) -> Source:
    return Source(
        dataset="aps/super_glue",  # checked: the commit that public projects pin, with copa in parquet and these columns
        revision="3de24cf8022e94f4ee4b9d55a6f539891524d646",
        subset="copa",
        split=split,
        columns=("{premise} What was the {question}?", "choice1", "choice2", "label"),  # the words of XTREME-R's prompt
        files=(f"xcopa/{name}-en.jsonl",),
        reader="jsonl",
        values=(("choice1", "0"), ("choice2", "1")),
        id="idx",
    )


def _xcopa(name: str, split: str) -> Source:
    return Source(
        dataset="cambridgeltl/xcopa",  # checked: pinned so by evaluation projects, a folder of parquet per language
        revision="042f78955ba48e6404616762fa6e05e839c3907a",
        subset="{language}",
        split=split,
        columns=("{premise} What was the {question}?", "choice1", "choice2", "label"),
        files=(f"xcopa/{name}.{{language}}.jsonl",),
        reader="jsonl",
        id="idx",
    )


HELLASWAG = Task(
    name="hellaswag",
    kind="choice",
    metric="accuracy",
    labels=PLACES,
    train=_hellaswag("train", "train"),
    dev=_hellaswag("val", "validation"),
    citation="Zellers et al. 2019, arXiv 1905.07830",
    licence="MIT",
)

COSMOSQA = Task(
    name="cosmosqa",
    kind="choice",
    metric="accuracy",
    labels=PLACES,
    train=_cosmosqa("train", "train"),
    dev=_cosmosqa("valid", "validation"),
    citation="Huang et al. 2019, arXiv 1909.00277",
    licence="CC BY 4.0",
)

CSQA = Task(
    name="csqa",
    kind="choice",
    metric="accuracy",
    labels=LETTERS,
    train=_csqa("train", "train"),
    dev=_csqa("valid", "validation"),
    citation="Talmor et al. 2019, arXiv 1811.00937",
    licence="MIT",
)

SIQA = Task(
    name="siqa",
    kind="choice",
    metric="accuracy",
    labels=LETTERS[:3],
    train=_siqa("trn", "train"),
    dev=_siqa("dev", "validation"),
    citation="Sap et al. 2019, arXiv 1904.09728",
    licence="CC BY 4.0",
)

COPA = Task(
    name="copa",
    kind="choice",
    metric="accuracy",
    labels=PLACES[:2],
    train=_copa("train", "train"),
    dev=_copa("val", "validation"),
    citation="Roemmele et al. 2011; SuperGLUE: Wang et al. 2019, arXiv 1905.00537",
    licence="BSD 2-Clause",
)

XCOPA = Task(
    name="xcopa",
    kind="choice",
    metric="accuracy",
    labels=PLACES[:2],
    languages=XCOPA_LANGUAGES,
    trained_on=(SIQA, COPA),
    test=_xcopa("test", "test"),
    citation="Ponti et al. 2020, arXiv 2005.00333",
    licence="CC BY 4.0",
)

BELEBELE = Task(
    name="belebele",
    kind="choice",
    metric="accuracy",
    labels=PLACES,
    languages=(
        *("af", "am", "ar", "as", "az", "bg", "bm", "bn", "bo", "ca", "ceb", "ckb", "cs", "da", "de", "el", "en", "es", "et"),
        *("eu", "fa", "fi", "fr", "gn", "gu", "ha", "he", "hi", "hr", "ht", "hu", "hy", "id", "ig", "is", "it", "ja", "jv"),
        *("ka", "kk", "km", "kn", "ko", "ky", "lg", "ln", "lo", "lt", "luo", "lv", "mg", "mi", "mk", "ml", "mn", "mr", "ms"),
        *("mt", "my", "nb", "ne", "nl", "nso", "ny", "om", "or", "pa", "pl", "ps", "pt", "ro", "ru", "rw", "sd", "si", "sk"),
        *("sl", "sn", "so", "sq", "sr", "ss", "st", "su", "sv", "sw", "ta", "te", "tg", "th", "ti", "tl", "tn", "tr", "ts"),
        *("uk", "ur", "uz", "vi", "wo", "xh", "yo", "zh", "zu"),
    ),
    trained_on=(COSMOSQA,),  # as Belebele a passage, a question and four answers; the authors train on several such sets, RACE among them
    test=Source(
        dataset="facebook/belebele",  # checked: pinned so by evaluation projects, a JSON lines file per language, which needs no script
        revision="7899cdfa4e1e0d733fd77c848e2c273cb1d32be2",
        subset="{flores}",
        split="test",
        columns=("flores_passage", *(f"{{question}} {{mc_answer{place}}}" for place in range(1, 5)), "correct_answer_num"),
        files=("belebele/{flores}.jsonl",),
        reader="jsonl",
        values=(("1", "0"), ("2", "1"), ("3", "2"), ("4", "3")),
        id="{link} {question_number}",
        cluster="link",
    ),
    citation="Bandarkar et al. 2024, arXiv 2308.16884",
    licence="CC BY-SA 4.0",
)

TASKS = (HELLASWAG, COSMOSQA, CSQA, SIQA, COPA, XCOPA, BELEBELE)
