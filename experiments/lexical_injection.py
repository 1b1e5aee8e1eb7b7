"""Does aligning an early layer on pairs of words bring low-resource languages nearer to English, or does any training of that layer?

Targeted lexical injection (arXiv 2506.15415) trains low-rank adapters so that a word's vector in an early layer is near that of its English
translation. The paper reports rising cosines of trained and unseen pairs. A rising cosine may also be collapse, so here:

- every injection has its control: the same words, as many steps, in random pairs;
- outcomes are retrieval of unseen names (CLDR) and of sentences (Tatoeba), both without training, and a task that is trained in English and
  tested in all languages (SIB-200): what a cosine is good for;
- the layer is swept: the paper's second of twelve, a third, two thirds and all of the depth, each with its own control;
- special tokens are not pooled, and a word that stands twice in a batch is no negative of itself.

Pairs are the training names of places, languages, scripts and currencies in CLDR; `lexicon.word_pairs` reads other ones from files.

    raystilts run experiments/lexical_injection.py --data DATA --encoders ENCODERS

ENCODERS holds xlm-roberta-base, a Hugging Face folder (for smoke: e5-small-3, see laptop.py); DATA the original files of Tatoeba and
SIB-200.

`raystilts plan --throughput 250` (sequences a second on one GPU: a stated speed, to be replaced by a measured one):

                    stages       steps    trained on     evaluated   GPU-hours
    pretraining          0           0             0             0         0.0
    intermediate        40     232,400     3,718,400        81,120         4.2
    target              45       4,950       158,400         4,455         0.2
    evaluation         127           0             0     1,590,268         0.6
    all                212     237,350     3,876,800     1,675,843         4.9

`analysis/lexical_cosines.py` shows the cosines of the trained models.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from raystilts.method import Method
from raystilts.stage import Encoder, Recipe
from raystilts.study import Study
from raystilts.task import Source, Task, cut
from raystilts.tasks import cldr, lexicon
from raystilts.tasks.retrieval import TATOEBA
from raystilts.tasks.text import SIB200

LANGUAGES = ("az", "bn", "de", "hi", "jv", "ka", "kk", "ml", "ru", "sw", "ta", "te", "tr", "ur", "zh")
ALL = tuple((language, 1.0) for language in LANGUAGES)
UNSEEN = Source(generate=partial(cldr.aligned, levels=ALL, split="dev"))
PAIRS = replace(cldr.alignment(dict(ALL)), name="injection", dev=UNSEEN)
RANDOM = lexicon.random_pairs(PAIRS, "random pairs")
DEPTHS = {"2/12": 2 / 12, "4/12": 4 / 12, "8/12": 8 / 12, "12/12": 1.0}

RECIPES = {
    "default": Recipe(max_length=64),
    "sib200": Recipe(learning_rate=2e-5, head_learning_rate=1e-3, num_epochs=5, pooling="mean"),
}


def methods(depths: Mapping[str, float], recipe: Recipe = lexicon.INJECTION) -> tuple[Method, ...]:
    """An injection and its control at each depth, before everything else."""
    return tuple(
        Method(f"{task.name} {name}", before=((task, lexicon.at_layer(depth, recipe)),))
        for name, depth in depths.items()
        for task in (PAIRS, RANDOM)
    )


def targets(limit: int) -> tuple[Task, ...]:
    """Retrieval of names and of sentences, and topics; at most `limit` sentences and topics per language."""
    shown = (replace(task, languages=tuple(code for code in LANGUAGES if code in task.languages)) for task in (TATOEBA, SIB200))
    return (cldr.NAME, *(cut(task, limit) for task in shown))


def study() -> Study:
    """XLM-R Base x (plain, injection and random pairs at four depths) x (name, tatoeba, sib200) x seeds 1-5."""
    return Study(
        name="lexical-injection",
        question="Does lexical injection at an early layer help retrieval and a downstream task, and do random pairs not?",
        encoders=(Encoder("xlmr-base", folder="xlm-roberta-base"),),
        intermediates=(),
        targets=targets(1000),
        seeds=(1, 2, 3, 4, 5),
        recipes=RECIPES,
        languages=LANGUAGES,
        methods=methods(DEPTHS),
    )


def smoke() -> Study:
    """multilingual-e5-small with 3 layers x (plain, injection and random pairs at two depths) x the targets x seeds 1-2: minutes."""
    small = replace(lexicon.INJECTION, num_steps=60, batch_size=32)
    return replace(
        study(),
        name="lexical-injection-smoke",
        encoders=(Encoder("e5-small-3", folder="e5-small-3"),),
        targets=targets(200),
        seeds=(1, 2),
        recipes=RECIPES | {"sib200": replace(RECIPES["sib200"], learning_rate=1e-4, num_steps=60)},
        languages=("jv", "ka", "ml", "sw", "te"),
        methods=methods({"1/3": 1 / 3, "3/3": 1.0}, small),
    )
