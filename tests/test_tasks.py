"""The tasks as literals."""

from __future__ import annotations

import subprocess
import sys

import pytest

from raystilts import data, tasks
from raystilts.errors import UserError
from raystilts.metrics import METRICS
from raystilts.task import ENGLISH, Source, Task

LANGUAGES = {
    "xnli": "ar bg de el en es fr hi ru sw th tr ur vi zh",
    "pawsx": "de en es fr ja ko zh",
    "udpos": "af ar bg de el en es et eu fa fi fr he hi hu id it ja kk ko lt mr nl pl pt ro ru ta te th tl tr uk ur vi wo yo zh",
    "wikiann": "af ar az bg bn de el en es et eu fa fi fr gu he hi hu id it ja jv ka kk ko lt ml mr ms my nl pa pl pt qu ro ru sw ta te "
    "th tl tr uk ur vi yo zh",
    "tatoeba": "af ar az bg bn de el es et eu fa fi fr he hi hu id it ja jv ka kk ko lt ml mr nl pl pt ro ru sw ta te th tl tr uk ur vi zh",
}


@pytest.mark.parametrize("name", LANGUAGES)
def test_language_lists_are_those_of_xtreme_r(name):
    """The zero-shot test languages are exactly the published ones."""
    assert sorted(tasks.find(name).languages) == sorted(LANGUAGES[name].split())


@pytest.mark.parametrize("task", tasks.TASKS.values(), ids=tasks.TASKS)
def test_tasks_are_complete(task):
    """A task has a known metric, a citation, a licence, distinct languages and labels, and data for at least one phase."""
    assert task.metric in METRICS
    assert task.citation
    assert task.licence
    assert len(set(task.languages)) == len(task.languages)
    assert len(set(task.labels)) == len(task.labels)
    assert task.train or task.test
    if task.test and task.kind != "retrieval":
        assert task.train or tasks.find(task.trained_on).train
    if task.trained_on:
        assert set(data.labels(tasks.find(task.trained_on))) == set(task.labels)


@pytest.mark.parametrize("task", tasks.TASKS.values(), ids=tasks.TASKS)
def test_sources_are_pinned_or_say_why_not(task):
    """Each source generates its examples, or names local files; its Hub commit is 40 hexadecimal digits, or a reason stands there."""
    for source in filter(None, (task.train, task.dev, task.test)):
        if source.generate:
            continue
        assert source.files
        assert len(source.files) == (2 if source.reader == "aligned" else 1)
        if source.revision:
            assert len(source.revision) == 40
            assert int(source.revision, 16)
            assert len(source.columns) > 1
            assert source.split
            assert data.identity(source, ENGLISH if source is not task.test else task.languages[0])
        else:
            assert source.exclude


def test_names_are_found_or_the_nearest_is_named():
    """`find` returns the task of a name, and refuses unknown ones with the nearest."""
    assert tasks.find("xnli").name == "xnli"
    with pytest.raises(UserError, match="there is no task 'xnl1'; did you mean 'xnli'"):
        tasks.find("xnl1")


def test_a_new_task_is_one_literal(tmp_path):
    """A classification task in five languages is one literal of a few lines, and reads its files."""
    task = Task(
        name="mood",
        kind="classification",
        metric="accuracy",
        labels=("good", "bad"),
        languages=("sw", "yo", "ha", "ig", "zu"),
        train=Source(columns=("text", "label"), files=("mood/train.tsv",)),
        test=Source(columns=("text", "label"), files=("mood/{iso3}.tsv",)),
    )
    (tmp_path / "mood").mkdir()
    (tmp_path / "mood" / "hau.tsv").write_text("Lafiya lau\tgood\n")
    assert [example.label for example in data.examples(task, "test", "ha", tmp_path)] == ["good"]


def test_importing_tasks_and_data_loads_nothing_heavy():
    """Neither `datasets` nor torch nor Ray is loaded until the Hub, a model or a sweep is asked for."""
    code = "import sys, raystilts.data, raystilts.tasks, raystilts.metrics; print({'datasets', 'torch', 'ray'} & sys.modules.keys())"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "set()"
