"""Do MNLI and CCG supertagging, learned in English, help a small multilingual encoder in low-resource languages?

Real data and a real encoder, at a size for a laptop's processor. Run it with the folders of data and encoders:

    raystilts run experiments/laptop.py:smoke --data DATA --encoders ENCODERS

ENCODERS holds e5-small-3, e5-small-6 and e5-small-12: Hugging Face folders (config.json, *.safetensors, tokenizer.json) of
multilingual-e5-small (Wang et al. 2024) with 3, 6 and all 12 of its layers, in XLM-R's architecture. The smaller ones are truncations, not
models that were pretrained small, and the family's contrastive pretraining has seen inference and question answering data.
DATA holds the original files: mnli/train-10k.tsv, xnli/dev-*.tsv, udpos/*.tsv, panx/*.tsv, ccg/*.tsv, sib200/*, tatoeba/*
(`raystilts tasks NAME --data DATA` shows what is at hand).

XNLI is tested on its dev set, WikiANN on its dev sets, whose test sets are larger; no choice is made on them. Training sets are
subsets (the examples with the smallest hash of their id), the same for every seed. TaxiNLI > XNLI trains on the same data twice: the
report flags it. MNLI's part is TaxiNLI's: 10,071 pairs.
"""

from dataclasses import replace

from raystilts.stage import Encoder, Recipe
from raystilts.study import Study
from raystilts.task import Source, Task, cut
from raystilts.tasks.nli import TAXINLI, XNLI
from raystilts.tasks.retrieval import TATOEBA
from raystilts.tasks.tagging import CCG, UDPOS, WIKIANN
from raystilts.tasks.text import SIB200

# A single small rate under-trains the head of an encoder of this size.
RECIPES = {
    "taxinli": (NLI := Recipe(learning_rate=5e-5, head_learning_rate=1e-3, num_epochs=1, max_examples=4800, pooling="mean")),
    "xnli-dev": NLI,  # the same training: TaxiNLI alone is the baseline of one and the intermediate of the other
    "ccg": Recipe(learning_rate=2e-4, head_learning_rate=3e-3, num_epochs=1, max_examples=3200),
    "udpos": Recipe(learning_rate=2e-4, head_learning_rate=3e-3, num_epochs=1, max_examples=1600),
    "wikiann-dev": Recipe(learning_rate=2e-4, head_learning_rate=3e-3, num_epochs=1, max_examples=3200),
    "sib200": Recipe(learning_rate=1e-4, head_learning_rate=1e-3, num_epochs=5, pooling="mean"),
}

UDPOS_LANGUAGES = ("af", "ar", "el", "eu", "hi", "kk", "mr", "ta", "te", "th", "tl", "tr", "ur", "vi", "yo")
WIKIANN_LANGUAGES = (
    *("af", "ar", "az", "bn", "de", "eu", "gu", "jv", "ka", "kk", "ml", "mr", "my", "pa", "qu", "sw", "ta", "te", "tl", "ur"),
    "yo",
)
XNLI_LANGUAGES = tuple(code for code in XNLI.languages if code != "en")
TATOEBA_LANGUAGES = (
    *("af", "ar", "az", "bg", "bn", "de", "el", "et", "eu", "fi", "fr", "he", "hi", "hu", "id", "it", "ja", "jv", "ka", "kk", "ko"),
    *("lt", "ml", "mr", "nl", "fa", "sw", "ta", "te", "tl", "tr", "ur", "vi"),
)


def shown(task: Task, languages: tuple[str, ...], limit: int, test: Source | None = None) -> Task:
    """The task in the languages at hand, with `limit` dev and test examples, read from another split where `test` says so."""
    return cut(replace(task, languages=languages, test=test or task.test), limit)


def intermediates(limit: int) -> tuple[Task, ...]:
    """TaxiNLI and CCG with at most `limit` dev examples."""
    return tuple(cut(task, limit) for task in (TAXINLI, CCG))


def targets(limit: int) -> tuple[Task, ...]:
    """The target tasks, with at most `limit` dev and test examples per language."""
    return (
        replace(shown(XNLI, XNLI_LANGUAGES, limit, XNLI.dev), name="xnli-dev", train=TAXINLI.train, trained_on=()),
        shown(UDPOS, UDPOS_LANGUAGES, limit),
        replace(shown(WIKIANN, WIKIANN_LANGUAGES, limit, WIKIANN.dev), name="wikiann-dev"),
        shown(SIB200, tuple(code for code in SIB200.languages if code != "en"), limit),
        shown(TATOEBA, TATOEBA_LANGUAGES, limit),
    )


def encoder(num_layers: int) -> Encoder:
    """multilingual-e5-small with that many of its layers."""
    return Encoder(f"e5-small-{num_layers}", folder=f"e5-small-{num_layers}")


def study() -> Study:
    """Two encoders x (none, taxinli, ccg) x five targets x seeds 1-3."""
    return Study(
        name="laptop",
        question="Do MNLI and CCG supertagging in English help multilingual-e5-small in low-resource languages, with 6 layers and with 12?",
        encoders=(encoder(6), encoder(12)),
        intermediates=intermediates(1000),
        targets=targets(1000),
        seeds=(1, 2, 3),
        recipes=RECIPES,
    )


def smoke() -> Study:
    """One encoder of 3 layers x (none, taxinli) x (xnli-dev, udpos, tatoeba) x seeds 1-2, on small parts of the data."""
    names = ("xnli-dev", "udpos", "tatoeba")
    return replace(
        study(),
        name="laptop-smoke",
        question="Does the whole path work on real data with a real encoder? (Too small to answer anything else.)",
        encoders=(encoder(3),),
        intermediates=intermediates(200)[:1],
        targets=tuple(target for target in targets(200) if target.name in names),
        seeds=(1, 2),
        recipes={name: replace(recipe, max_examples=800) for name, recipe in RECIPES.items()},
    )
