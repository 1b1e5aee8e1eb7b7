"""Metrics against seqeval and scikit-learn."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raystilts.metrics import METRICS, entities, micro_f1

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from seqeval.metrics import f1_score
    from seqeval.metrics.sequence_labeling import get_entities
    from sklearn.metrics import accuracy_score

from raystilts.tasks.tagging import NAMES, UPOS

ADVERSARIAL = (
    *("B-A", "I-A", "E-A", "S-A", "B-B", "I-B", "B", "I", "E", "S", "O", ".", ".-A", "-A", "-", "B-", "I-", "O-A", "A", "AB", "B-A-B"),
    *("I-A-B", "X", "_", "IB", "b-A", "Ā-A", "NP/NP"),
)


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


def our_f1(gold, predicted):
    """Our micro F1 in points, from sums over sentences."""
    rows = micro_f1(gold, predicted)
    return METRICS["micro_f1"].aggregate([sum(column) for column in zip(*rows, strict=True)], len(rows))


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
    assert our_f1(*corpus) == pytest.approx(seqeval_f1(*corpus), abs=1e-10)


@settings(max_examples=1000, deadline=None)
@given(corpora(UPOS))
def test_micro_f1_equals_seqeval_on_parts_of_speech(corpus):
    """The same for bare UPOS tags, X among them, where a run of one tag is one entity."""
    assert our_f1(*corpus) == pytest.approx(seqeval_f1(*corpus), abs=1e-10)


@settings(max_examples=700, deadline=None)
@given(corpora(ADVERSARIAL))
def test_micro_f1_equals_seqeval_on_any_tags(corpus):
    """And for tags of any form."""
    assert our_f1(*corpus) == pytest.approx(seqeval_f1(*corpus), abs=1e-10)


def test_micro_f1_equals_seqeval_on_a_large_corpus():
    """On 2,000 sentences of random tags with 20 % errors the sums give seqeval's F1 to the last digits."""
    rng = np.random.default_rng(0)
    gold = [rng.choice(UPOS, size).tolist() for size in rng.integers(1, 20, 2000)]
    predicted = [[tag if rng.random() < 0.8 else str(rng.choice(UPOS)) for tag in tags] for tags in gold]
    assert our_f1(gold, predicted) == pytest.approx(seqeval_f1(gold, predicted), abs=1e-10)


def test_an_entity_counts_in_the_sentence_in_which_it_ends():
    """Statistics belong to their own sentence, also where seqeval dates an entity back to an earlier one."""
    gold, predicted = [["NOUN", "VERB"], ["X", "NOUN"]], [["NOUN", "NOUN"], ["X", "NOUN"]]
    assert micro_f1(gold, predicted) == [(0.0, 1.0, 2.0), (1.0, 2.0, 2.0)]
    assert micro_f1(gold[1:], predicted[1:]) == [(2.0, 2.0, 2.0)]


@settings(max_examples=300, deadline=None)
@given(corpora(NAMES))
def test_token_accuracy_equals_sklearn(corpus):
    """Sums of (correct, words, words) give scikit-learn's accuracy over all words."""
    gold, predicted = corpus
    metric = METRICS["token_accuracy"]
    sums = [sum(column) for column in zip(*metric.function(gold, predicted), strict=True)]
    flat = [[tag for tags in side for tag in tags] for side in corpus]
    assert metric.aggregate(sums, len(gold)) == pytest.approx(100 * accuracy_score(*flat), abs=1e-10)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abc")), min_size=1))
def test_accuracy_equals_sklearn(pairs):
    """The mean of the per-example values is scikit-learn's accuracy."""
    metric = METRICS["accuracy"]
    gold, predicted = zip(*pairs, strict=True)
    total = sum(value for (value,) in metric.function(gold, predicted))
    assert metric.aggregate([total], len(pairs)) == pytest.approx(100 * accuracy_score(gold, predicted), abs=1e-10)


def test_nothing_to_find_and_nothing_found_is_zero():
    """F1 of a corpus without entities is 0, as seqeval has it, not an error or 100."""
    assert our_f1([["O", "O"]], [["O", "O"]]) == 0.0 == seqeval_f1([["O", "O"]], [["O", "O"]])


@pytest.mark.parametrize("name", ["micro_f1", "token_accuracy"])
def test_words_without_prediction_are_refused(name):
    """A truncated prediction is an error, never a silently shorter gold."""
    with pytest.raises(ValueError, match="2 gold tags but 1 predicted"):
        METRICS[name].function([["O", "O"]], [["O"]])


def test_each_metric_names_its_statistics():
    """The names of the statistics fit what the function returns, and no examples have no score."""
    for name, metric in METRICS.items():
        assert metric.name == name
        assert len(metric.statistics) == len(metric.function([["O"]], [["O"]])[0])
        with pytest.raises(ValueError, match="no examples"):
            metric.aggregate([0.0] * len(metric.statistics), 0)
