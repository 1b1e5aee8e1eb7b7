"""Identity: what changes a key and what does not."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raystilts.stage import KEY_LENGTH, Recipe, Stage, fingerprint
from raystilts.task import Source, Task

leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
values = st.recursive(leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3), max_leaves=8)

TASK = Task("t", "classification", "accuracy", labels=("no", "yes"), train=Source(files=("t.tsv",)))
STAGE = Stage("train", TASK, (("train/en", "sha256:1"), ("dev/en", "sha256:2")), seed=1, recipe=Recipe(), encoder="sha256:3")


@given(values, values)
def test_equal_fingerprints_mean_equal_values(a: object, b: object) -> None:
    """Two values have one fingerprint only if they are equal and of equal types (1 and 1.0 and True are three values)."""
    assert (fingerprint(a) == fingerprint(b)) == (repr(_sorted(a)) == repr(_sorted(b)))


def _sorted(value: object) -> object:
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(item) for item in value] if isinstance(value, list) else value


@given(st.dictionaries(st.text(), leaves, min_size=2))
def test_order_of_a_dict_does_not_count(value: dict[str, object]) -> None:
    """A dict's fingerprint does not depend on the order in which it was filled."""
    assert fingerprint(value) == fingerprint(dict(reversed(value.items())))


@pytest.mark.parametrize("value", [{1, 2}, print, partial(print), object(), {1: "a"}, b"bytes", Recipe])
def test_values_without_a_stable_form_are_refused(value: object) -> None:
    """What has no stable form raises instead of getting a key that another process would not get."""
    with pytest.raises(TypeError, match="no stable form"):
        fingerprint(value)


def test_nan_is_no_number() -> None:
    """NaN has a form of its own, which no number shares."""
    assert fingerprint(float("nan")) not in {fingerprint(0.0), fingerprint(float("inf"))}


def test_key_is_a_function_of_the_content() -> None:
    """A stage made again has the same key, of the documented length."""
    assert STAGE.key == replace(STAGE).key
    assert len(STAGE.key) == KEY_LENGTH


@pytest.mark.parametrize(
    "changed",
    [
        replace(STAGE, seed=2),
        replace(STAGE, recipe=Recipe(learning_rate=1e-5)),
        replace(STAGE, data=(("train/en", "sha256:other"), ("dev/en", "sha256:2"))),
        replace(STAGE, encoder="sha256:other"),
        replace(STAGE, parent=STAGE),
        replace(STAGE, phase="evaluate"),
        replace(STAGE, task=replace(TASK, labels=("yes", "no"))),
        replace(STAGE, task=replace(TASK, metric="micro_f1")),
    ],
)
@pytest.mark.promise("Whatever changes a result changes its key")
def test_whatever_changes_the_result_changes_the_key(changed: Stage) -> None:
    """Seed, recipe, data, encoder, parent, phase, label order and metric are part of the identity."""
    assert changed.key != STAGE.key


@pytest.mark.parametrize(
    "renamed",
    [
        replace(STAGE, task=replace(TASK, name="other", citation="x", licence="y")),
        replace(STAGE, task=replace(TASK, train=Source(files=("elsewhere.tsv",)))),
        replace(STAGE, data=tuple(reversed(STAGE.data))),
    ],
)
def test_names_places_and_order_do_not_change_the_key(renamed: Stage) -> None:
    """A task's name, where its files lie and the order of the data entries are not part of the identity."""
    assert renamed.key == STAGE.key


def test_lineage_is_oldest_first() -> None:
    """A lineage runs from the root to the stage itself."""
    child = replace(STAGE, parent=STAGE, seed=2)
    grandchild = replace(STAGE, parent=child, seed=3)
    assert [stage.seed for stage in grandchild.lineage] == [1, 2, 3]
