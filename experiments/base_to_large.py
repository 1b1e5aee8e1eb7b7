"""Does a gain (or its absence) with XLM-R Base say what happens with XLM-R Large? Equivalent within a point, larger, smaller or unknown?

Base is a quarter of Large's cost: if gains scaled, intermediate tasks could be chosen with Base. Five intermediates of different kinds and
sizes, four targets with many low-resource languages, and looks at 3, 5 and 8 seeds, so that only undecided arms cost more.

    raystilts run experiments/base_to_large.py --gpus-per-worker 1

All data are on the Hub at pinned commits. Cosmos QA and CommonsenseQA are small, so their trainings are short: a difference between
intermediates is of the tasks as they are, not of equal numbers of steps (experiments/controls.py has those).

`raystilts plan --all-seeds --throughput 250 xlmr-large=80` (sequences a second on one GPU: stated speeds, to be replaced by measured ones):

                    stages       steps    trained on     evaluated   GPU-hours
    pretraining          0           0             0             0         0.0
    intermediate        80     832,944    37,919,232     1,140,368        87.8
    target             288   1,271,808    40,697,856     1,383,744        94.3
    evaluation         370           0             0    14,635,600        11.2
    all                738   2,104,752    78,617,088    17,159,712       193.3

The sizes are those published with the data sets; test sets without one count as nothing.
"""

from dataclasses import replace

from raystilts.encoders import XLMR_BASE, XLMR_LARGE
from raystilts.stage import Encoder, Recipe
from raystilts.study import Study
from raystilts.task import cut
from raystilts.tasks.choice import CSQA
from raystilts.tasks.nli import TAXINLI
from raystilts.tasks.tagging import UDPOS, UDPOS_ON_HUB, WIKIANN

RECIPES = {
    "default": Recipe(learning_rate=2e-5, num_epochs=3),
    **dict.fromkeys(("squad", "tydiqa"), Recipe(learning_rate=3e-5, num_epochs=3, max_length=384, weight_decay=1e-4)),
    **dict.fromkeys(("udpos", "wikiann"), Recipe(learning_rate=2e-5, num_epochs=10)),
}


def study() -> Study:
    """Base and Large x (none, mnli, squad, hellaswag, cosmosqa, csqa) x four targets x 3, 5 or 8 seeds."""
    return Study(
        name="base-to-large",
        question="Do gains of intermediate tasks with XLM-R Base hold with XLM-R Large, within one point?",
        encoders=(XLMR_BASE, XLMR_LARGE),
        intermediates=("mnli", "squad", "hellaswag", "cosmosqa", "csqa"),
        targets=(UDPOS_ON_HUB, "wikiann", "tydiqa", "tatoeba"),
        seeds=tuple(range(1, 9)),
        recipes=RECIPES,
        margin=1.0,
        looks=(3, 5, 8),
    )


def smoke() -> Study:
    """The same shape in minutes on development data: encoders of three and six layers, a part of MNLI and CommonsenseQA, UD-POS and WikiANN
    (its dev set) in four languages, two seeds and no looks. Its results mean nothing.
    """
    names = replace(WIKIANN, name="wikiann-dev", test=WIKIANN.dev)
    few = Recipe(learning_rate=1e-4, head_learning_rate=1e-3, num_steps=15, batch_size=16, max_length=64, max_examples=800)
    return replace(
        study(),
        name="base-to-large-smoke",
        encoders=tuple(Encoder(f"e5-small-{layers}", folder=f"e5-small-{layers}") for layers in (3, 6)),
        intermediates=tuple(cut(task, 80) for task in (TAXINLI, CSQA)),
        targets=tuple(cut(task, 80) for task in (UDPOS, names)),
        seeds=(1, 2),
        recipes={"default": few},
        languages=("te", "mr", "ta", "yo"),
        looks=(),
    )
