"""Metrics against seqeval, scikit-learn, numbers by hand, and the plain loops of analysis/recompute_scores.py.

Those loops are the published scripts in other words and import nothing of raystilts. So each is tested by the other.
"""

from __future__ import annotations

import importlib.util
import json
import math
import random
import warnings
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raystilts.metrics import METRICS, RULES, entities, map_at_20, micro_f1

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from seqeval.metrics import f1_score
    from seqeval.metrics.sequence_labeling import get_entities
    from sklearn.metrics import accuracy_score, average_precision_score
    from sklearn.metrics import f1_score as f1_of_indicators

from raystilts.tasks.tagging import NAMES, UPOS

ADVERSARIAL = (
    *("B-A", "I-A", "E-A", "S-A", "B-B", "I-B", "B", "I", "E", "S", "O", ".", ".-A", "-A", "-", "B-", "I-", "O-A", "A", "AB", "B-A-B"),
    *("I-A-B", "X", "_", "IB", "b-A", "Ā-A", "NP/NP"),
)

SPEC = importlib.util.spec_from_file_location("recompute_scores", Path(__file__).parents[1] / "analysis" / "recompute_scores.py")
recompute_scores = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(recompute_scores)


def our_score(name, gold, predicted, language="en"):
    """Our score in points, from sums over examples."""
    rows = METRICS[name].function(gold, predicted, language)
    return METRICS[name].aggregate([sum(column) for column in zip(*rows, strict=True)], len(rows))


def other_score(name, gold, predicted, language="en"):
    """The score in points of the other implementation."""
    return 100 * recompute_scores.SCORERS[name]([list(g) for g in gold], predicted, language)


def seqeval_entities(tags):
    """Seqeval's entities of one sentence, without its warnings about tags that it does not expect."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return get_entities(list(tags))


def seqeval_f1(gold, predicted):
    """Seqeval's micro F1 in points."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return 100 * f1_score([list(tags) for tags in gold], [list(tags) for tags in predicted])


def corpora(alphabet, sentences=4, words=7):
    """Corpora of (gold tags, predicted tags) of equal lengths."""
    pair = st.tuples(st.sampled_from(alphabet), st.sampled_from(alphabet))
    return st.lists(st.lists(pair, min_size=1, max_size=words), min_size=1, max_size=sentences).map(
        lambda corpus: ([[g for g, _ in sentence] for sentence in corpus], [[p for _, p in sentence] for sentence in corpus])
    )


@settings(max_examples=1500, deadline=None)
@given(st.lists(st.sampled_from(ADVERSARIAL), max_size=9))
def test_entities_equal_seqeval_on_any_tags(tags):
    """The entities of a sentence are seqeval's on BIO violations, bare tags, double hyphens and empty types alike."""
    assert entities(tags) == seqeval_entities(tags)


@settings(max_examples=1000, deadline=None)
@given(st.lists(st.text(alphabet="BIESO.-AX_", min_size=1, max_size=4), max_size=9))
def test_entities_equal_seqeval_on_random_strings(tags):
    """The entities of a sentence are seqeval's on tags of random letters."""
    assert entities(tags) == seqeval_entities(tags)


@settings(max_examples=700, deadline=None)
@given(corpora(NAMES))
def test_micro_f1_equals_seqeval_on_names(corpus):
    """Sums over sentences give seqeval's F1 of the corpus, whatever BIO rules the predictions break."""
    assert our_score("micro_f1", *corpus) == pytest.approx(seqeval_f1(*corpus), abs=1e-10)


@settings(max_examples=800, deadline=None)
@given(corpora(UPOS))
def test_micro_f1_equals_seqeval_on_parts_of_speech(corpus):
    """The same for bare UPOS tags, X among them, where a run of one tag is one entity."""
    assert our_score("micro_f1", *corpus) == pytest.approx(seqeval_f1(*corpus), abs=1e-10)


@settings(max_examples=700, deadline=None)
@given(corpora(ADVERSARIAL))
def test_micro_f1_equals_seqeval_on_any_tags(corpus):
    """And for tags of any form."""
    assert our_score("micro_f1", *corpus) == pytest.approx(seqeval_f1(*corpus), abs=1e-10)


def test_micro_f1_equals_seqeval_on_a_large_corpus():
    """On 2,000 sentences of random tags with 20 % errors the sums give seqeval's F1 to the last digits."""
    rng = np.random.default_rng(0)
    gold = [rng.choice(UPOS, size).tolist() for size in rng.integers(1, 20, 2000)]
    predicted = [[tag if rng.random() < 0.8 else str(rng.choice(UPOS)) for tag in tags] for tags in gold]
    assert our_score("micro_f1", gold, predicted) == pytest.approx(seqeval_f1(gold, predicted), abs=1e-10)


def test_an_entity_counts_in_the_sentence_in_which_it_ends():
    """Statistics belong to their own sentence, also where seqeval dates an entity back to an earlier one."""
    gold, predicted = [["NOUN", "VERB"], ["X", "NOUN"]], [["NOUN", "NOUN"], ["X", "NOUN"]]
    assert micro_f1(gold, predicted) == [(0.0, 1.0, 2.0), (1.0, 2.0, 2.0)]
    assert micro_f1(gold[1:], predicted[1:]) == [(2.0, 2.0, 2.0)]


@settings(max_examples=300, deadline=None)
@given(corpora(NAMES))
def test_token_accuracy_equals_sklearn(corpus):
    """Sums of (correct, words, words) give scikit-learn's accuracy over all words."""
    flat = [[tag for tags in side for tag in tags] for side in corpus]
    assert our_score("token_accuracy", *corpus) == pytest.approx(100 * accuracy_score(*flat), abs=1e-10)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abc")), min_size=1))
def test_accuracy_equals_sklearn(pairs):
    """The mean of the per-example values is scikit-learn's accuracy."""
    gold, predicted = zip(*pairs, strict=True)
    assert our_score("accuracy", gold, predicted) == pytest.approx(100 * accuracy_score(gold, predicted), abs=1e-10)


def test_nothing_to_find_and_nothing_found_is_zero():
    """F1 of a corpus without entities is 0, as seqeval has it, not an error or 100."""
    assert our_score("micro_f1", [["O", "O"]], [["O", "O"]]) == 0.0 == seqeval_f1([["O", "O"]], [["O", "O"]])


@pytest.mark.parametrize("name", ["micro_f1", "token_accuracy"])
def test_words_without_prediction_are_refused(name):
    """A truncated prediction is an error, never a silently shorter gold."""
    with pytest.raises(ValueError, match="2 gold tags but 1 predicted"):
        METRICS[name].function([["O", "O"]], [["O"]])


ARTICLES = (
    *("a", "an", "the", "un", "una", "unos", "unas", "el", "la", "los", "las", "của", "là", "cái", "chiếc", "những", "ال"),
    *("ein", "eine", "einen", "einem", "eines", "einer", "der", "die", "das", "den", "dem", "des"),
)
WORDS = (
    *(
        "Paris",
        "PARIS",
        "paris",
        "2020",
        "1",
        "U.S.",
        "don't",
        "d’Arc",
        "3,5",
        "İ",
        "ß",
        "ẞ",
        "Σ",
        "ς",
        "ÀN",
        "The",
        "a_",
        "_the_",
        "_",
        "x",
    ),
    *(
        "e\u0301",
        "\u0301the",
        "the\u0301",
        "a\u0301n",
        "ca\u0301i",
        "cu\u0309a",
        "la\u0300",
        "ａ",
        "ＴＨＥ",
        "１２",
        "\u200d",
        "\u200b",
        "\ufeff",
    ),
    *(
        "北京",
        "北京市",
        "中國",
        "一",
        "龥",
        "龦",
        "㐀",
        "𠀀",
        "2008年",
        "ไทย",
        "กรุงเทพ",
        "हिन्दी",
        "की",
        "الكتاب",
        "كتاب",
        "والال",
        "سؤال",
        "اَل",
    ),
    *(
        "«x»",
        "¿qué?",
        "。",
        "、",
        "，",
        "！",
        "（",
        "「",
        "،",
        "؟",
        "।",
        "…",
        "—",
        "-",
        "·",
        "・",
        "$",
        "€",
        "+",
        "^",
        "`",
        "|",
        "~",
        "=",
        "😀",
    ),
)
SPACES = (" ", " ", " ", "", "  ", "-", "\t", "\u3000", "\u00a0", "\u2028", "\x1c", "\x85")


@st.composite
def texts(draw):
    """Texts of words, articles, punctuation and spaces of many scripts, now and then of any characters."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.text(max_size=6))
    words = draw(st.lists(st.sampled_from(WORDS + ARTICLES), max_size=5))
    return draw(st.sampled_from(SPACES)).join(words)


@st.composite
def questions(draw, min_answers=1):
    """(answers, prediction) of some questions; most predictions are made from an answer."""
    gold, predicted = [], []
    for _ in range(draw(st.integers(1, 3))):
        answers = draw(st.lists(texts(), min_size=min_answers, max_size=3))
        base = draw(st.sampled_from([*answers, ""]))
        article, end = draw(st.sampled_from(ARTICLES)), draw(st.sampled_from(WORDS))
        variants = (base, base, base.upper(), f"{article} {base}", f"{base}{end}", " ".join(reversed(base.split())), "")
        gold.append(tuple(answers))
        predicted.append(draw(st.one_of(st.sampled_from(variants), texts())))
    return gold, predicted


def assert_other_agrees(names, gold, predicted, language="en"):
    """Both implementations have the same score, by each of the metrics."""
    for name in names:
        ours = our_score(name, gold, predicted, language)
        assert abs(ours - other_score(name, gold, predicted, language)) <= 1e-10, name


@settings(max_examples=250, deadline=None)
@given(questions())
def test_squad_equals_the_other_implementation(corpus):
    """F1 and exact match of SQuAD 1.1 on texts of many scripts."""
    assert_other_agrees(("squad_f1", "squad_em"), *corpus)


@settings(max_examples=250, deadline=None)
@given(questions(min_answers=0))
def test_squad_v2_equals_the_other_implementation(corpus):
    """F1 and exact match of SQuAD 2.0, with questions that have no answer and answers of which nothing is left."""
    assert_other_agrees(("squad_v2_f1", "squad_v2_em"), *corpus)


@settings(max_examples=300, deadline=None)
@given(questions(), st.sampled_from(tuple(RULES)))
def test_mlqa_equals_the_other_implementation(corpus, language):
    """F1 and exact match of MLQA in each of its languages, on texts of all of them."""
    assert_other_agrees(("mlqa_f1", "mlqa_em"), *corpus, language)


def test_many_answers_equal_the_other_implementation():
    """All metrics of answers on 4,000 more questions, each on its own: far more than Hypothesis can draw in the same time."""
    rng = random.Random(0)  # noqa: S311  data of a test

    def text():
        return rng.choice(SPACES).join(rng.choices(WORDS + ARTICLES, k=rng.randrange(6)))

    for _ in range(4000):
        answers = [text() for _ in range(rng.randint(1, 3))]
        words = rng.choice(answers).split() + rng.choices(WORDS + ARTICLES, k=rng.randrange(3))
        question = [answers], [" ".join(rng.sample(words, rng.randint(0, len(words))))]
        assert_other_agrees(("squad_f1", "squad_em", "squad_v2_f1", "squad_v2_em"), *question)
        assert_other_agrees(("mlqa_f1", "mlqa_em"), *question, rng.choice(tuple(RULES)))


@settings(max_examples=100, deadline=None)
@given(questions())
def test_mlqa_in_english_is_squad_but_for_punctuation(corpus):
    """Where there is only ASCII, MLQA's English rules are SQuAD's."""
    gold, predicted = [[answer.encode("ascii", "ignore").decode() for answer in answers] for answers in corpus[0]], corpus[1]
    predicted = [text.encode("ascii", "ignore").decode() for text in predicted]
    assert METRICS["mlqa_f1"].function(gold, predicted) == METRICS["squad_f1"].function(gold, predicted)
    assert METRICS["mlqa_em"].function(gold, predicted) == METRICS["squad_em"].function(gold, predicted)


@pytest.mark.parametrize(
    ("answers", "prediction", "f1", "exact"),
    [
        (("the cat sat",), "A cat sat down.", 4 / 5, 0),
        (("Denver Broncos", "The Broncos"), "broncos!", 1, 1),
        (("x x y",), "x y y", 2 / 3, 0),
        (("x",), "", 0, 0),
        (("...",), "The", 0, 1),  # nothing is left of either: v1.1 finds no common word, but two equal texts
        (("die Stadt",), "Stadt", 2 / 3, 0),  # English articles only
        (("北京。",), "北京", 0, 0),  # ASCII punctuation only
        (("the\u0301 x",), "\u0301 x", 1, 1),  # a combining mark ends a word
        (("l'an",), "lan", 1, 1),  # punctuation leaves first, and articles after it
    ],
)
def test_squad_by_hand(answers, prediction, f1, exact):
    """The rules of SQuAD 1.1, one by one; with answers, SQuAD 2.0 differs from it only where nothing is left."""
    assert METRICS["squad_f1"].function([answers], [prediction]) == [(pytest.approx(f1, abs=1e-15),)]
    assert METRICS["squad_em"].function([answers], [prediction]) == [(exact,)]
    if answers != ("...",):
        assert METRICS["squad_v2_f1"].function([answers], [prediction]) == METRICS["squad_f1"].function([answers], [prediction])


@pytest.mark.parametrize(
    ("answers", "prediction", "f1", "exact"),
    [
        ((), "", 1, 1),
        ((), "the!", 1, 1),
        ((), "x", 0, 0),
        (("...", "the"), "", 1, 1),  # no answer has a word: as if there were none
        (("...", "x"), "", 0, 0),  # one has: the other is left out
        (("x y",), "x", 2 / 3, 0),
    ],
)
def test_squad_v2_by_hand(answers, prediction, f1, exact):
    """The rules of SQuAD 2.0 about questions without an answer."""
    assert METRICS["squad_v2_f1"].function([answers], [prediction]) == [(pytest.approx(f1, abs=1e-15),)]
    assert METRICS["squad_v2_em"].function([answers], [prediction]) == [(exact,)]


@pytest.mark.parametrize(
    ("language", "answer", "prediction", "f1", "exact"),
    [
        ("de", "die Stadt", "„Der Stadt“", 1, 1),
        ("en", "die Stadt", "the Stadt", 2 / 3, 0),
        ("es", "¿las casas?", "unas casas", 1, 1),
        ("vi", "những con chim", "con chim", 1, 1),
        ("vi", "ca\u0301i x", "x", 2 / 3, 0),  # an article in decomposed letters is none
        ("hi", "la किताब।", "किताब", 2 / 3, 0),  # no articles, but its own punctuation
        ("ar", "الكتاب", "كتاب؟", 1, 1),
        ("ar", "سؤال", "سؤ", 1, 1),  # within a word, too
        ("zh", "中国人", "中國人", 2 / 3, 0),
        ("zh", "2008年北京", "北京2008", 6 / 7, 0),
        ("zh", "（中国）", "中国", 1, 1),
        ("zh", "龦㐀", "龦 㐀", 0, 0),  # beyond the common characters words stand between spaces
    ],
)
def test_mlqa_by_hand(language, answer, prediction, f1, exact):
    """The rules of each language of MLQA."""
    assert METRICS["mlqa_f1"].function([(answer,)], [prediction], language) == [(pytest.approx(f1, abs=1e-15),)]
    assert METRICS["mlqa_em"].function([(answer,)], [prediction], language) == [(exact,)]


def test_a_question_without_answer_or_in_another_language_is_refused():
    """The metrics that have no rule for it say so, as their scripts do."""
    for name in ("squad_f1", "squad_em", "mlqa_f1", "mlqa_em"):
        with pytest.raises(ValueError, match="no answer"):
            METRICS[name].function([()], [""])
    for name in ("mlqa_f1", "mlqa_em"):
        with pytest.raises(ValueError, match="language 'fr'"):
            METRICS[name].function([("x",)], ["x"], "fr")


CANDIDATES = tuple(f"d{number}" for number in range(45))
RANKINGS = st.lists(
    st.tuples(
        st.lists(st.sampled_from(CANDIDATES), min_size=1, max_size=30, unique=True),
        st.lists(st.sampled_from(CANDIDATES), max_size=40) | st.permutations(CANDIDATES),
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=400, deadline=None)
@given(RANKINGS)
def test_map_equals_the_other_implementation(queries):
    """Mean average precision at 20 with repeated ids, more than 20 of them, and more than 20 that are relevant."""
    gold, predicted = zip(*queries, strict=True)
    assert_other_agrees(("map_at_20",), gold, predicted)


@settings(max_examples=200, deadline=None)
@given(st.integers(2, 20).flatmap(lambda n: st.permutations(CANDIDATES[:n])), st.data())
def test_map_of_a_whole_ranking_equals_sklearn(ranked, data):
    """Where all candidates are among the 20, it is scikit-learn's average precision."""
    relevant = data.draw(st.lists(st.sampled_from(ranked), min_size=1, unique=True))
    expected = average_precision_score([candidate in relevant for candidate in ranked], range(len(ranked), 0, -1))
    assert map_at_20([relevant], [ranked]) == [(pytest.approx(expected, abs=1e-12),)]


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(CANDIDATES), st.lists(st.sampled_from(CANDIDATES), max_size=40))
def test_map_with_one_relevant_id_is_the_reciprocal_rank(relevant, ranked):
    """As Mewsli-X has it: 1 / rank of the entity among the first 20, else 0."""
    expected = 1 / (ranked.index(relevant) + 1) if relevant in ranked[:20] else 0.0
    assert map_at_20([(relevant,)], [tuple(ranked)]) == [(expected,)]


@pytest.mark.parametrize(
    ("relevant", "ranked", "expected"),
    [
        (("a",), ("b", "a"), 1 / 2),
        (("a", "b"), ("a", "c", "b"), (1 + 2 / 3) / 2),
        (("a", "b"), ("a", "a", "b"), (1 + 2 / 3) / 2),  # a repeated id counts once, and takes its place
        (("a", "a"), ("a",), 1),
        (("a",), (), 0),
        (("a",), ("b",) * 20 + ("a",), 0),
        (CANDIDATES[:25], CANDIDATES, 1),
        (CANDIDATES[:10], CANDIDATES[:5], 1 / 2),
    ],
)
def test_map_by_hand(relevant, ranked, expected):
    """Average precisions by hand."""
    assert map_at_20([relevant], [ranked]) == [(pytest.approx(expected, abs=1e-15),)]


def test_a_query_without_relevant_candidate_is_refused():
    """Its average precision is 0 / 0."""
    with pytest.raises(ValueError, match="no relevant candidate"):
        map_at_20([("a",), ()], [("a",), ("a",)])


IDS = st.lists(st.sampled_from("abcd"), max_size=4)


@settings(max_examples=250, deadline=None)
@given(st.lists(st.tuples(IDS, IDS), min_size=1, max_size=6))
def test_pair_f1_equals_sklearn_and_the_other_implementation(sentences):
    """Sums over sentences give the F1 of the set of pairs; none to find and none found is 0."""
    gold, predicted = zip(*sentences, strict=True)
    sides = [[candidate in ids for ids in side for candidate in "abcd"] for side in (gold, predicted)]
    assert our_score("pair_f1", gold, predicted) == pytest.approx(100 * f1_of_indicators(*sides, zero_division=0), abs=1e-10)
    assert_other_agrees(("pair_f1",), gold, predicted)


def test_pair_f1_by_hand():
    """Two of three mined pairs are right, two of four were found: F1 is 4 / 7."""
    gold, predicted = [("a",), ("b", "c"), (), ("d",)], [("a", "a"), ("c",), ("e",), ()]
    assert METRICS["pair_f1"].function(gold, predicted) == [(1, 1, 1), (1, 1, 2), (0, 1, 0), (0, 0, 1)]
    assert our_score("pair_f1", gold, predicted) == pytest.approx(400 / 7, abs=1e-12)


@pytest.mark.parametrize("name", METRICS)
def test_each_example_needs_one_prediction(name):
    """Gold and predictions of different lengths are an error, never cut."""
    with pytest.raises(ValueError, match="shorter"):
        METRICS[name].function([("x",), ("x",)], ["x"])


def test_each_metric_names_its_statistics():
    """The names of the statistics fit what the function returns, and no examples have no score."""
    for name, metric in METRICS.items():
        assert metric.name == name
        assert metric.upstream
        prediction = "O" if name.startswith(("squad", "mlqa")) else ["O"]
        assert len(metric.statistics) == len(metric.function([["O"]], [prediction])[0])
        with pytest.raises(ValueError, match="no examples"):
            metric.aggregate([0.0] * len(metric.statistics), 0)


def write_evaluation(store, gold, predicted, result):
    """A store with one evaluation in Chinese."""
    folder = store / "stages" / "key"
    (folder / "predictions").mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"gold": gold, "prediction": predicted}), folder / "predictions" / "zh.parquet")
    record = {"phase": "evaluate", "label": "mlqa", "result": result}
    (folder / "stage.json").write_text(json.dumps(record), encoding="utf-8")


def test_the_script_knows_every_metric():
    """What can be reported can be recomputed."""
    assert recompute_scores.SCORERS.keys() == METRICS.keys()


def test_the_script_finds_a_wrong_score(tmp_path, capsys):
    """It reads a table's answers by its language's rules, and rejects a score or another metric's that is off or not a number."""
    gold, predicted = [["2008年北京"], ["x", "中国"]], ["北京2008", "中国。"]
    f1, exact = (our_score(name, gold, predicted, "zh") for name in ("mlqa_f1", "mlqa_em"))
    assert (f1, exact) == (pytest.approx(100 * (6 / 7 + 1) / 2), 50.0)
    for scores, also, code in ((f1, exact, 0), (f1 + 1e-9, exact, 1), (f1, exact - 1e-9, 1), (f1, math.nan, 1)):
        result = {"metric": "mlqa_f1", "scores": {"zh": scores}, "also": {"mlqa_em": {"zh": also}}}
        write_evaluation(tmp_path, gold, predicted, result)
        assert recompute_scores.main(tmp_path) == code
        assert ("all equal" in capsys.readouterr().out) == (code == 0)


# --- what holds of every metric

ODD_TEXTS = st.text(max_size=8) | st.sampled_from(
    ["", " ", "the", "a.", "、", "\u0301", "\ud7ff", "١٢", "中文 字", "\u202e", "İ", "ß", "\x00"]
)
GOLD_AND_PREDICTION = {
    "accuracy": (ODD_TEXTS, ODD_TEXTS),
    "micro_f1": st.lists(st.tuples(st.sampled_from(ADVERSARIAL), st.sampled_from(ADVERSARIAL)), min_size=1, max_size=6),
    "token_accuracy": st.lists(st.tuples(ODD_TEXTS, ODD_TEXTS), min_size=1, max_size=6),
    "map_at_20": (st.lists(ODD_TEXTS, min_size=1, max_size=4), st.lists(ODD_TEXTS, max_size=25)),
    "pair_f1": (st.lists(ODD_TEXTS, max_size=4), st.lists(ODD_TEXTS, max_size=4)),
    **{name: (st.lists(ODD_TEXTS, min_size=1, max_size=3), ODD_TEXTS) for name in ("squad_f1", "squad_em", "mlqa_f1", "mlqa_em")},
    **{name: (st.lists(ODD_TEXTS, max_size=3), ODD_TEXTS) for name in ("squad_v2_f1", "squad_v2_em")},
}


@st.composite
def scored(draw):
    """A metric, gold, predictions and a language that MLQA knows."""
    name = draw(st.sampled_from(sorted(METRICS)))
    of_one = GOLD_AND_PREDICTION[name]
    examples = draw(st.lists(st.tuples(*of_one) if isinstance(of_one, tuple) else of_one, min_size=1, max_size=6))
    if not isinstance(of_one, tuple):
        examples = [tuple(zip(*words, strict=True)) for words in examples]
    gold, predicted = zip(*examples, strict=True)
    return name, list(gold), list(predicted), draw(st.sampled_from(sorted(RULES)))


@pytest.mark.promise(
    "A metric gives a number from 0 to 100 for any texts, whatever the order of the examples, and the same for two copies of them"
)
@settings(deadline=None, max_examples=600)
@given(scored(), st.randoms(use_true_random=False))
def test_scores_are_bounded_and_symmetric(case, shuffled):
    """Each example's share is from 0 to 1; right predictions are never worse than others; one language's scores are no other's business."""
    name, gold, predicted, language = case
    score = our_score(name, gold, predicted, language)
    assert 0 <= score <= 100
    assert math.isfinite(score)
    if METRICS[name].family == "mean":
        assert all(0 <= row[0] <= 1 for row in METRICS[name].function(gold, predicted, language))
    pairs = list(zip(gold, predicted, strict=True))
    shuffled.shuffle(pairs)
    if name != "micro_f1":  # seqeval's corpus has an order: see there
        assert our_score(name, *map(list, zip(*pairs, strict=True)), language) == pytest.approx(score)
        assert our_score(name, gold * 2, predicted * 2, language) == pytest.approx(score)
    if name.startswith(("squad", "mlqa")):  # no text fits better than the answer that fits best
        best = [max(our_score(name, [g], [answer], language) for answer in (*g, "")) for g in gold]
        assert score <= sum(best) / len(best) + 1e-9
    else:
        assert our_score(name, gold, gold, language) >= score


@pytest.mark.promise("All wrong is 0, all right is 100, for one example and for many, with one class and with several")
@pytest.mark.parametrize("number", [1, 5])
def test_extreme_predictions_have_extreme_scores(number):
    """Also where gold and predictions hold one class only."""
    for name, gold, right, wrong in (
        ("accuracy", "a", "a", "b"),
        ("micro_f1", ("B-X", "O"), ("B-X", "O"), ("O", "B-X")),
        ("micro_f1", ("B-X",), ("B-X",), ("O",)),
        ("token_accuracy", ("x", "y"), ("x", "y"), ("y", "x")),
        ("map_at_20", ("i",), ("i", "j"), ("j", "k")),
        ("pair_f1", ("i",), ("i",), ("j",)),
        ("pair_f1", ("i",), ("i",), ()),
        *((f"{family}_{kind}", ("yes",), "yes", "no") for family in ("squad", "squad_v2", "mlqa") for kind in ("f1", "em")),
        *((f"squad_v2_{kind}", (), "", "no") for kind in ("f1", "em")),
    ):
        assert our_score(name, [gold] * number, [right] * number) == 100
        assert our_score(name, [gold] * number, [wrong] * number) == 0


@pytest.mark.parametrize("name", METRICS)
def test_a_score_of_nothing_is_refused(name):
    """There is no score of no examples."""
    with pytest.raises(ValueError, match="of no examples is not defined"):
        METRICS[name].aggregate([0.0, 0.0, 0.0][: len(METRICS[name].statistics)], 0)
