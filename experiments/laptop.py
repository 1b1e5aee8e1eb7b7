"""Do English intermediate tasks help a small multilingual encoder in low-resource languages, and alike with 6 layers and with 12?

Real data and a real encoder, at a size for a laptop's processor. Run it with the folders of data and encoders:

    raystilts run experiments/laptop.py:smoke --data DATA --encoders ENCODERS     # minutes
    raystilts run experiments/laptop.py --data DATA --encoders ENCODERS           # hours; Ctrl-C and the same command go on

ENCODERS holds e5-small-3, e5-small-6 and e5-small-12: Hugging Face folders (config.json, *.safetensors, tokenizer.json) of
multilingual-e5-small (Wang et al. 2024) with 3, 6 and all 12 of its layers, in XLM-R's architecture. The smaller ones are truncations, not
models that were pretrained small: what 12 layers gain over 6 is not what a larger model gains over a smaller one. The family's contrastive
pretraining has seen inference and question answering data, so gains of these tasks may be smaller here than with XLM-R.
DATA holds the original files: mnli/train-10k.tsv, xnli/dev-*.tsv, udpos/*.tsv, panx/*.tsv, ccg/*.tsv, csqa/*.jsonl, squad/part-*.json,
tydiqa/*.train.json, xquad/*.json, sib200/*, tatoeba/* (`raystilts tasks NAME --data DATA` shows what is at hand).

Written down before the first run:

- Arms: no intermediate task, MNLI (10,071 pairs that TaxiNLI has), SQuAD (a part, without the questions that XQuAD asks again),
  CommonsenseQA, CCG supertags (converted from UD: its sentences are UD-POS's, so it is no independent task for that target), and the
  mixture of the four, each equally often.
- Targets: UD-POS, WikiANN, SIB-200 and Tatoeba with five seeds, XNLI (trained on the same part of MNLI, tested on its dev set) and XQuAD
  (trained on TyDiQA's English, whose own dev answers may not be at hand) with three. XQuAD has no low-resource language: it is there to
  see whether SQuAD, which should help it, is seen to. Tatoeba is not trained: its baseline is one run of the encoder as it is.
- Languages: all of Joshi's classes 0-2 that the files have, and for comparison those of `HIGH`. WikiANN and XNLI are tested on their dev
  sets; no choice is made on them. At most 100 test examples per language, 300 of XNLI: those with the smallest hash of their id. Training
  sets are subsets by the same rule, the same for every seed.
- Families: each target's languages, arms and encoders are corrected together. Margin: one point. Policy: all runs.
- Expected power, if runs of an arm differ by 1.5 points in a language and these examples leave another 0.7 (tags) or 2 open (pairs,
  retrieval): a gain in one language is found with 80 % power, before correction, from 3.5 points (tags), 6.7 (XNLI) and 6.3 (Tatoeba); with
  2.5 and 2.5, SIB-200 from 8.4, XQuAD from 8.6. Corrected for thirty hypotheses these are 5.3, 9.9, 9.0, 12.2 and 12.7. So single languages
  can only be decided where gains are large; the pooled claims over low-resource languages are what this study is for.
- MNLI > XNLI, and the mixture before it, train on the same data twice: the report flags them.
- Recipes were chosen beforehand on English dev examples, of the smaller encoder and of a seed (101) that the study has not, with one or two
  runs each. These runs say what the trainings can be expected to learn: UD-POS 86 % of the tags, WikiANN 51 F1, SIB-200 77 %; of the
  intermediates MNLI little (37 to 47 % after 1,600 to 9,600 pairs, where guessing is 33 %), SQuAD 13 F1 after 640 questions, CommonsenseQA
  26 % where guessing is 20 %, CCG about half of the supertags. XNLI after 1,200 pairs is near guessing, and so is XQuAD's F1 after 400
  questions (7): a gain there says that the intermediate training taught what the target's own could not, as with the same data twice.

`raystilts plan --throughput 36 e5-small-12=18` (sequences a second of one processor core in bfloat16, measured on pairs):

                    stages       steps    trained on     evaluated   GPU-hours
    pretraining          0           0             0             0         0.0
    intermediate        50       7,720       138,240        16,000         1.7
    target             252      20,580       186,240        28,740         2.3
    evaluation         304           0             0       604,020         2.3
    all                606      28,300       324,480       648,760         6.3

The last column counts hours of one core; two of them are busy at once.
"""

from dataclasses import replace

from raystilts import languages
from raystilts.mixing import UNIFORM
from raystilts.stage import Encoder, Recipe
from raystilts.study import Study
from raystilts.task import Source, Task, cut
from raystilts.tasks.choice import CSQA
from raystilts.tasks.nli import TAXINLI, XNLI
from raystilts.tasks.qa import SQUAD, TYDIQA, XQUAD
from raystilts.tasks.retrieval import TATOEBA
from raystilts.tasks.tagging import CCG, UDPOS, WIKIANN
from raystilts.tasks.text import SIB200

# Small batches and large rates: what this encoder learns from hundreds of examples. In bfloat16 a processor that has it is twice as fast.
TAGS = Recipe(
    learning_rate=3e-4, head_learning_rate=3e-3, num_epochs=1, batch_size=8, micro_batch_size=8, max_length=96, precision="bfloat16"
)
PAIRS = replace(TAGS, learning_rate=2e-4, head_learning_rate=1e-3, batch_size=16, micro_batch_size=16, pooling="mean")
QUESTIONS = replace(TAGS, head_learning_rate=1e-3, max_length=192, max_query_length=32)
RECIPES = {
    "taxinli": replace(PAIRS, max_examples=4800),
    "xnli-dev": replace(PAIRS, max_examples=1200),
    "squad": replace(QUESTIONS, max_examples=640),
    "tydiqa-xquad": replace(QUESTIONS, max_examples=400),
    "csqa": replace(PAIRS, batch_size=8, micro_batch_size=8, max_examples=640),
    "ccg": replace(TAGS, max_examples=1600),
    "mixture": replace(PAIRS, max_length=192, max_query_length=32, num_steps=112),
    "udpos": replace(TAGS, max_examples=480),
    "wikiann-dev": replace(TAGS, max_examples=960),
    "sib200": replace(TAGS, head_learning_rate=1e-3, pooling="mean"),
    "tatoeba": TAGS,  # it is not trained: how long a text may be, and in which precision it is read
}

HIGH = ("ar", "eu", "hi", "kk", "ta", "th", "tl", "tr", "ur")
"""The other side of the comparison of resource levels, in the languages that most targets have; all low-resource languages are tested."""

# TyDiQA's own dev answers may not be at hand, and SQuAD's questions that XQuAD asks again must not be trained on.
SQUAD_PART = replace(
    SQUAD,
    train=Source(files=("squad/part-1.json",), reader="squad", columns=("question", "context", "answers"), id="id", without=XQUAD.test),
    dev=Source(files=("squad/part-2-dev.json",), reader="squad", columns=("question", "context", "answers"), id="id"),
)


def shown(task: Task, at_hand: tuple[str, ...], limit: int, test: Source | None = None) -> Task:
    """The task in the low-resource languages and those of HIGH that are at hand, with `limit` dev and test examples a language, read from
    another split where `test` says so.
    """
    tested = tuple(code for code in at_hand if code in HIGH or languages.low_resource(languages.find(code)))
    return cut(replace(task, languages=tested, test=test or task.test), limit)


UDPOS_LANGUAGES = ("af", "ar", "el", "eu", "hi", "kk", "mr", "ta", "te", "th", "tl", "tr", "ur", "vi", "yo")
WIKIANN_LANGUAGES = (
    *("af", "ar", "az", "bn", "de", "eu", "gu", "jv", "ka", "kk", "ml", "mr", "my", "pa", "qu", "sw", "ta", "te", "tl", "ur"),
    "yo",
)


def intermediates(limit: int) -> tuple[Task, ...]:
    """The single tasks with at most `limit` dev examples, and the mixture of all four."""
    single = tuple(cut(task, limit) for task in (TAXINLI, SQUAD_PART, CSQA, CCG))
    return (
        *single,
        Task("mixture", "mixture", "", parts=single, temperature=UNIFORM, citation="Phang et al. 2020, arXiv 2005.13013"),
    )


def targets(limit: int) -> tuple[Task, ...]:
    """The target tasks, with at most `limit` dev and test examples per language; of XNLI, whose examples say least, three times as many."""
    return (
        replace(shown(XNLI, XNLI.languages, 3 * limit, XNLI.dev), name="xnli-dev", train=TAXINLI.train, trained_on=()),
        shown(UDPOS, UDPOS_LANGUAGES, limit),
        replace(shown(WIKIANN, WIKIANN_LANGUAGES, limit, WIKIANN.dev), name="wikiann-dev"),
        replace(shown(XQUAD, XQUAD.languages, limit), name="tydiqa-xquad", train=TYDIQA.train, trained_on=()),
        shown(SIB200, SIB200.languages, limit),
        shown(TATOEBA, TATOEBA.languages, limit),
    )


def encoder(num_layers: int) -> Encoder:
    """multilingual-e5-small with that many of its layers."""
    return Encoder(f"e5-small-{num_layers}", folder=f"e5-small-{num_layers}")


def study() -> Study:
    """Two encoders x (none and five intermediates) x six targets x five seeds, or three for pairs and questions."""
    return Study(
        name="laptop",
        question="Do English intermediate tasks help a small multilingual encoder in low-resource languages, with 6 layers and with 12?",
        encoders=(encoder(6), encoder(12)),
        intermediates=intermediates(100),
        targets=targets(100),
        seeds=(1, 2, 3, 4, 5),
        target_seeds={"xnli-dev": 3, "tydiqa-xquad": 3},
        recipes=RECIPES,
        families=("target",),
        margin=1.0,
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
        target_seeds={},
        recipes={name: replace(recipe, max_examples=800) for name, recipe in RECIPES.items()},
    )
