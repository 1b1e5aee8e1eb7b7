"""Do English intermediate tasks help in low-resource languages, and does what they gain with XLM-R Base hold with XLM-R Large?

The tasks of XTREME-R (Ruder et al. 2021) whose data are on the Hub, in all of their languages: XNLI, XCOPA, UD-POS, WikiANN, XQuAD, MLQA,
TyDiQA and Tatoeba. Low-resource are the languages of Joshi et al.'s classes 0-2. The three intermediate tasks are those with the
largest average gains in Phang et al. 2020: SQuAD, MNLI and HellaSwag. Five seeds: fewer leave intervals that say little, more only where
a gain is undecided (give `looks` for that).

    raystilts run experiments/xtreme_r.py --gpus-per-worker 1

UD-POS in lt, pl, ro, uk and wo, LAReQA and Mewsli-X are on no Hub: `from_files()` adds them, with all data below --data.
MNLI > XNLI, SQuAD > XQuAD and SQuAD > MLQA train on the same data twice; the report says so.

`raystilts plan --throughput 250 xlmr-large=80` (sequences a second on one GPU: stated speeds, to be replaced by measured ones):

                    stages       steps    trained on     evaluated   GPU-hours
    pretraining          0           0             0             0         0.0
    intermediate        10      37,440     4,792,320       401,680        11.3
    target             280   2,542,720    94,826,240     1,341,440       218.3
    evaluation         312           0             0    11,646,168         8.9
    all                602   2,580,160    99,618,560    13,389,288       238.5

The sizes are those published with the data sets; test sets without one count as nothing.
"""

from dataclasses import replace

from raystilts.encoders import XLMR_BASE, XLMR_LARGE
from raystilts.stage import Encoder, Recipe
from raystilts.study import Study
from raystilts.task import cut
from raystilts.tasks.nli import TAXINLI, XNLI
from raystilts.tasks.retrieval import LAREQA, MEWSLIX, TATOEBA
from raystilts.tasks.tagging import UDPOS, UDPOS_ON_HUB

TARGETS = ("xnli", "xcopa", UDPOS_ON_HUB, "wikiann", "xquad", "mlqa", "tydiqa", "tatoeba")

QUESTIONS = Recipe(learning_rate=3e-5, num_epochs=3, max_length=384, weight_decay=1e-4)
RECIPES = {
    "default": Recipe(learning_rate=2e-5, num_epochs=5),
    **dict.fromkeys(("mnli", "hellaswag"), Recipe(learning_rate=2e-5, num_epochs=3)),
    **dict.fromkeys(("squad", "tydiqa"), QUESTIONS),
    **dict.fromkeys(("udpos", "wikiann"), Recipe(learning_rate=2e-5, num_epochs=10)),
    "squad-sentences": Recipe(learning_rate=2e-5, num_epochs=3, max_length=256),
    "wikipedia-pairs": Recipe(learning_rate=1e-5, num_epochs=2, max_length=64),
}


def study() -> Study:
    """Base and Large x (none, mnli, squad, hellaswag) x eight targets x seeds 1-5."""
    return Study(
        name="xtreme-r",
        question="Do English intermediate tasks help in low-resource languages, and do their gains scale from XLM-R Base to Large?",
        encoders=(XLMR_BASE, XLMR_LARGE),
        intermediates=("mnli", "squad", "hellaswag"),
        targets=TARGETS,
        seeds=(1, 2, 3, 4, 5),
        recipes=RECIPES,
    )


def from_files() -> Study:
    """All ten tasks in all languages, from the original files below --data."""
    return replace(study(), targets=(*(UDPOS if target is UDPOS_ON_HUB else target for target in TARGETS), LAREQA, MEWSLIX))


def smoke() -> Study:
    """The same shape in minutes on development data: encoders of three and six layers, a part of MNLI, XNLI's dev set as its test, UD-POS
    and Tatoeba in four languages. Its results mean nothing.
    """
    xnli = replace(XNLI, name="xnli-dev", test=XNLI.dev, train=TAXINLI.train, trained_on=())
    few = Recipe(learning_rate=1e-4, head_learning_rate=1e-3, num_steps=15, batch_size=16, max_length=64, max_examples=800, pooling="mean")
    return replace(
        study(),
        name="xtreme-r-smoke",
        encoders=tuple(Encoder(f"e5-small-{layers}", folder=f"e5-small-{layers}") for layers in (3, 6)),
        intermediates=(cut(TAXINLI, 80),),
        targets=tuple(cut(task, 80) for task in (xnli, UDPOS, TATOEBA)),
        seeds=(1, 2),
        recipes={"default": few},
        languages=("sw", "te", "mr", "tr"),
    )
