"""Is it the intermediate task that helps, or its texts, more steps, or pretraining in the first place?

MNLI beside its controls, all at the same number of steps: MNLI with shuffled labels (the same texts, nothing to learn), the target's own
data (as many more steps, no other task), and an encoder of the same architecture with random weights, for which there is no pretrained
knowledge that a task could call up. A gain is MNLI's only where it is larger than the controls' gains.

    raystilts run experiments/controls.py --gpus-per-worker 1

All data are on the Hub at pinned commits. Tatoeba has no training data, so no arm after own data. The report compares each arm with
none; the pretrained encoder comes last, so that "scaling" there is what pretraining adds to a gain.

`raystilts plan --throughput 250 xlmr-base=250` (sequences a second on one GPU: stated speeds, to be replaced by measured ones):

                    stages       steps    trained on     evaluated   GPU-hours
    pretraining          0           0             0             0         0.0
    intermediate        50     613,600    19,635,200       209,540        21.9
    target             120     824,800    26,393,600       638,960        29.6
    evaluation         142           0             0     5,562,248         2.1
    all                312   1,438,400    46,028,800     6,410,748        53.5

The sizes are those published with the data sets; test sets without one count as nothing.
"""

from dataclasses import replace

from raystilts.encoders import XLMR_BASE
from raystilts.shuffling import shuffled_task
from raystilts.stage import Encoder, Recipe
from raystilts.study import OWN_DATA, Study
from raystilts.task import cut
from raystilts.tasks.nli import MNLI, TAXINLI
from raystilts.tasks.retrieval import TATOEBA
from raystilts.tasks.tagging import UDPOS, UDPOS_ON_HUB

RANDOM = replace(XLMR_BASE, name="xlmr-base-random", random_weights=True)
STEPS = 12_272  # an epoch of MNLI's 392,702 pairs in batches of 32

MATCHED = Recipe(learning_rate=2e-5, num_steps=STEPS)
RECIPES = {
    "default": Recipe(learning_rate=2e-5, num_epochs=10),
    **dict.fromkeys(("mnli", "mnli-shuffled", OWN_DATA), MATCHED),
    "pawsx": Recipe(learning_rate=2e-5, num_epochs=5),
}


def study() -> Study:
    """XLM-R Base, pretrained and random, x (none, mnli, mnli-shuffled, own-data) x four targets x seeds 1-5."""
    return Study(
        name="controls",
        question="Is it MNLI that helps, or its texts, more steps, or pretraining?",
        encoders=(RANDOM, XLMR_BASE),
        intermediates=("mnli", shuffled_task(MNLI), OWN_DATA),
        targets=(UDPOS_ON_HUB, "wikiann", "pawsx", "tatoeba"),
        seeds=(1, 2, 3, 4, 5),
        recipes=RECIPES,
    )


def smoke() -> Study:
    """The same shape in minutes on development data: an encoder of three layers, pretrained and random, a part of MNLI, UD-POS and
    Tatoeba in four languages. Its results mean nothing.
    """
    pretrained = Encoder("e5-small-3", folder="e5-small-3")
    few = Recipe(learning_rate=1e-4, head_learning_rate=1e-3, num_steps=15, batch_size=16, max_length=64, max_examples=800)
    return replace(
        study(),
        name="controls-smoke",
        encoders=(replace(pretrained, name="e5-small-3-random", random_weights=True), pretrained),
        intermediates=(cut(TAXINLI, 80), cut(shuffled_task(TAXINLI), 80), OWN_DATA),
        targets=tuple(cut(task, 80) for task in (UDPOS, TATOEBA)),
        seeds=(1, 2),
        recipes={"default": few, OWN_DATA: few},
        languages=("te", "mr", "tr", "ta"),
    )
