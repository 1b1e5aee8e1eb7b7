"""How many examples data sets have, as published with them. For estimating costs alone: what is trained and scored is always counted."""

from __future__ import annotations

from collections.abc import Mapping

from raystilts.task import Source

Size = int | Mapping[str, int]

HUB: Mapping[tuple[str, str, str], Size] = {
    ("facebook/xnli", "{language}", "train"): 392_702,
    ("facebook/xnli", "{language}", "validation"): 2_490,
    ("facebook/xnli", "{language}", "test"): 5_010,
    ("nyu-mll/glue", "mnli", "train"): 392_702,
    ("nyu-mll/glue", "qqp", "train"): 363_846,
    ("nyu-mll/glue", "qqp", "validation"): 40_430,
    ("stanfordnlp/snli", "plain_text", "train"): 549_367,
    ("facebook/anli", "plain_text", "train_r1"): 16_946,
    ("facebook/anli", "plain_text", "train_r2"): 45_460,
    ("facebook/anli", "plain_text", "train_r3"): 100_459,
    ("google-research-datasets/paws-x", "{language}", "train"): 49_401,
    ("google-research-datasets/paws-x", "{language}", "validation"): 2_000,
    ("google-research-datasets/paws-x", "{language}", "test"): 2_000,
    ("rajpurkar/squad", "", "train"): 87_599,
    ("rajpurkar/squad", "", "validation"): 10_570,
    ("rajpurkar/squad_v2", "", "train"): 130_319,
    ("rajpurkar/squad_v2", "", "validation"): 11_873,
    ("google/xquad", "xquad.{language}", "validation"): 1_190,
    ("google/xtreme", "MLQA.{language}.{language}", "test"): {
        "ar": 5_335, "de": 4_517, "en": 11_590, "es": 5_253, "hi": 4_918, "vi": 5_495, "zh": 5_137,
    },
    ("google-research-datasets/tydiqa", "secondary_task", "train"): {"en": 3_696},
    ("google-research-datasets/tydiqa", "secondary_task", "validation"): {
        "ar": 921, "bn": 113, "en": 440, "fi": 782, "id": 565, "ko": 276, "ru": 812, "sw": 499, "te": 669,
    },
    ("Rowan/hellaswag", "", "train"): 39_905,
    ("Rowan/hellaswag", "", "validation"): 10_042,
    ("allenai/cosmos_qa", "default", "train"): 25_262,
    ("allenai/cosmos_qa", "default", "validation"): 2_985,
    ("tau/commonsense_qa", "", "train"): 9_741,
    ("tau/commonsense_qa", "", "validation"): 1_221,
    ("lighteval/siqa", "", "train"): 33_410,
    ("lighteval/siqa", "", "validation"): 1_954,
    ("aps/super_glue", "copa", "train"): 400,
    ("aps/super_glue", "copa", "validation"): 100,
    ("cambridgeltl/xcopa", "{language}", "test"): 500,
    ("unimelb-nlp/wikiann", "{language}", "train"): {"en": 20_000},
    ("unimelb-nlp/wikiann", "{language}", "validation"): {"en": 10_000},
    ("google/xtreme", "udpos.{name}", "train"): {"en": 21_253},
    ("google/xtreme", "udpos.{name}", "validation"): {"en": 3_974},
    ("google/xtreme", "udpos.{name}", "test"): {
        "af": 425, "ar": 1_680, "el": 456, "en": 5_440, "eu": 1_799, "hi": 2_684, "kk": 1_047, "mr": 47, "ta": 654, "te": 146, "th": 1_000,
        "tl": 222, "tr": 5_842, "ur": 535, "vi": 800, "yo": 318,
    },
    ("unimelb-nlp/wikiann", "{language}", "test"): {
        **dict.fromkeys(("ar", "de", "en", "eu", "ka"), 10_000),
        **dict.fromkeys(("af", "az", "bn", "kk", "ml", "mr", "sw", "ta", "te", "tl", "ur"), 1_000),
        **dict.fromkeys(("gu", "jv", "my", "pa", "qu", "yo"), 100),
    },
    ("mteb/tatoeba-bitext-mining", "{tatoeba}-eng", "test"): {
        **dict.fromkeys(
            (
                *("af", "ar", "az", "bg", "bn", "de", "el", "es", "et", "eu", "fa", "fi", "fr", "he", "hi", "hu", "id", "it", "ja", "ko"),
                *("lt", "mr", "nl", "pl", "pt", "ro", "ru", "tl", "tr", "uk", "ur", "vi", "zh"),
            ),
            1_000,
        ),
        "jv": 205, "ka": 746, "kk": 575, "ml": 687, "sw": 390, "ta": 307, "te": 234, "th": 548,
    },
    ("mteb/sib200", "{flores}", "train"): 701,
    ("mteb/sib200", "{flores}", "validation"): 99,
    ("mteb/sib200", "{flores}", "test"): 204,
    ("masakhane/afrixnli", "{iso3}", "test"): 600,
    ("facebook/belebele", "{flores}", "test"): 900,
}  # fmt: skip
"""By data set, configuration and split of the Hub as sources write them: examples of each language, or of these."""

FILES: Mapping[str, int] = {
    "mnli/train-10k.tsv": 10_071,
    "squad/train-v1.1.json": 87_599,
    "squad/dev-v1.1.json": 10_570,
    "ccg/train.tsv": 38_015,
    "ccg/dev.tsv": 5_484,
}
"""By file, of data sets that no Hub commit is pinned for: SQuAD read as sentences, TaxiNLI, CCGbank as Phang et al. (2020) count it."""


def size_of(source: Source, language: str) -> int | None:
    """Examples of a source in a language, those of `more` and all its `languages` among them; None where nobody says."""
    own = HUB.get((source.dataset, source.subset, source.split.partition("[")[0])) if source.dataset else None
    size = own.get(language) if isinstance(own, Mapping) else own
    if size is None and len(source.files) == 1:
        size = FILES.get(source.files[0])
    if size is not None:
        size *= max(1, len(source.languages))
    elif source.languages and "[:" in source.split:
        size = len(source.languages) * int(source.split.partition("[:")[2].rstrip("]"))
    further = [size_of(more, language) for more in source.more]
    if size is None or None in further:
        return None
    whole = size + sum(number or 0 for number in further)
    return min(whole, source.limit or whole)
