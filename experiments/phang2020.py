"""Which English intermediate tasks help zero-shot transfer, and do more tasks, other languages' text or translations help more?

The grid of Phang et al. 2020 (arXiv 2005.13013): none, nine intermediate tasks, all nine in one mixture, MNLI, SQuAD and the mixture
with masked words of the target languages in a fifth of the steps, and MNLI with its machine translations; nine targets of XTREME in its 40
languages, three seeds, XLM-R Large.

    raystilts run experiments/phang2020.py --data DATA

needs all data below --data (`raystilts tasks NAME` names the files): CCGbank is licensed (LDC2005T13), BUCC is on no Hub, and a study
reads all of its data from one place. `text/<language>.txt` is text of each target language, such as its Wikipedia.

The recipe is the one that the authors released where they released one: Adam at 1e-5, 10 % warm-up, clipping at 1.0, 256 tokens (384 for
questions), 2 epochs of XNLI and questions, 5 of PAWS-X, 10 of tagging. Ours are the batches of 32, 2 epochs of each intermediate, 1 of the
mixture with its cap of 2^17 examples, the share of masked words, and that the last weights are used, chosen by nobody.

`raystilts plan --throughput 60` (60 sequences a second on one GPU: a stated speed, to be replaced by a measured one):

                    stages       steps    trained on     evaluated   GPU-hours
    pretraining          0           0             0             0         0.0
    intermediate        36   1,468,146    52,377,855     1,191,420       244.3
    target             270   2,289,240    73,255,680     1,326,330       341.2
    evaluation         401           0             0    13,208,577        20.4
    all                707   3,757,386   125,633,535    15,726,327       605.9

The sizes are those published with the data sets; test sets without one count as nothing.
"""

from dataclasses import replace

from raystilts.encoders import XLMR_LARGE
from raystilts.stage import Encoder, Recipe
from raystilts.study import Study
from raystilts.task import Source, Task, cut
from raystilts.tasks.choice import CSQA
from raystilts.tasks.mixture import MULTI_TASK, SHARE, with_masked_words
from raystilts.tasks.nli import MNLI, TAXINLI
from raystilts.tasks.qa import SQUAD
from raystilts.tasks.retrieval import TATOEBA
from raystilts.tasks.tagging import CCG, UDPOS
from raystilts.tasks.text import SIB200, masked_words

LANGUAGES = (
    *("af", "ar", "bg", "bn", "de", "el", "en", "es", "et", "eu", "fa", "fi", "fr", "he", "hi", "hu", "id", "it", "ja", "jv", "ka", "kk"),
    *("ko", "ml", "mr", "ms", "my", "nl", "pt", "ru", "sw", "ta", "te", "th", "tl", "tr", "ur", "vi", "yo", "zh"),
)
TEXT = masked_words(*LANGUAGES)
MIXTURE = replace(MULTI_TASK, cap=2**17)
NINE = ("anli-plus", "mnli", "qqp", "squad", "squad2", "hellaswag", "ccg", "cosmosqa", "csqa")
TARGETS = ("xnli", "pawsx", "udpos", "wikiann", "xquad", "mlqa", "tydiqa", "bucc", "tatoeba")

DEFAULT = Recipe(learning_rate=1e-5, num_epochs=2, batch_size=32, max_length=256)
QUESTIONS = replace(DEFAULT, max_length=384)
RECIPES = {
    "default": DEFAULT,
    "pawsx": replace(DEFAULT, num_epochs=5),
    "udpos": replace(DEFAULT, num_epochs=10),
    "wikiann": replace(DEFAULT, num_epochs=10),
    "mnli-translated": replace(DEFAULT, num_epochs=1),  # of fifteen languages
    **dict.fromkeys(("squad", "squad2", "tydiqa", "squad-mlm"), QUESTIONS),
    **dict.fromkeys(("multi-task", "multi-task-mlm"), replace(QUESTIONS, num_epochs=1)),
}


def study() -> Study:
    """XLM-R Large x (none, nine tasks, their mixture, three with masked words, one with translations) x nine targets x seeds 1-3."""
    return Study(
        name="phang2020",
        question="Which English intermediate tasks help zero-shot transfer, and do mixing, masked words or translations help more?",
        encoders=(XLMR_LARGE,),
        intermediates=(*NINE, MIXTURE, *(with_masked_words(task, TEXT, SHARE) for task in (MNLI, SQUAD, MIXTURE)), "mnli-translated"),
        targets=TARGETS,
        seeds=(1, 2, 3),
        recipes=RECIPES,
        languages=LANGUAGES,
    )


def smoke() -> Study:
    """The same shape in minutes on development data: an encoder of three layers; a part of MNLI for MNLI, three tasks for nine, SIB-200's
    training texts for text and, as they are translations of each other, for translated data. Its results mean nothing.
    """
    text = Source(files=("sib200/{flores}/train.tsv",), header=("text",), languages=("sw", "yo", "te"), limit=300)
    words = Task("words", "mlm", "", train=text, citation=SIB200.citation, licence=SIB200.licence)
    train = SIB200.train and replace(SIB200.train, languages=("en", "sw", "yo"), translated=True)
    topics = cut(replace(SIB200, name="topics-translated", train=train), 60)
    parts = tuple(cut(task, 60) for task in (TAXINLI, CSQA, CCG))
    few = Recipe(learning_rate=1e-4, head_learning_rate=1e-3, num_steps=20, batch_size=16, max_length=64, max_examples=800)
    return replace(
        study(),
        name="phang2020-smoke",
        encoders=(Encoder("e5-small-3", folder="e5-small-3"),),
        intermediates=(parts[0], replace(MIXTURE, parts=parts), with_masked_words(parts[0], words, SHARE), topics),
        targets=(cut(UDPOS, 60), cut(TATOEBA, 60)),
        seeds=(1, 2),
        recipes={"default": few},
        languages=("mr", "ta", "te", "tr"),
    )
