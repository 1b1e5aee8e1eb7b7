"""The tasks as literals."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest
from places import ROOT

from raystilts import data, model, tasks
from raystilts.cli import main
from raystilts.errors import UserError
from raystilts.metrics import METRICS
from raystilts.stage import Architecture
from raystilts.task import ENGLISH

LANGUAGES = {
    "xnli": "ar bg de el en es fr hi ru sw th tr ur vi zh",
    "pawsx": "de en es fr ja ko zh",
    "xcopa": "et ht id it qu sw ta th tr vi zh",
    "udpos": "af ar bg de el en es et eu fa fi fr he hi hu id it ja kk ko lt mr nl pl pt ro ru ta te th tl tr uk ur vi wo yo zh",
    "wikiann": "af ar az bg bn de el en es et eu fa fi fr gu he hi hu id it ja jv ka kk ko lt ml mr ms my nl pa pl pt qu ro ru sw ta te "
    "th tl tr uk ur vi yo zh",
    "xquad": "ar de el en es hi ro ru th tr vi zh",
    "mlqa": "ar de en es hi vi zh",
    "tydiqa": "ar bn en fi id ko ru sw te",
    "tatoeba": "af ar az bg bn de el es et eu fa fi fr he hi hu id it ja jv ka kk ko lt ml mr nl pl pt ro ru sw ta te th tl tr uk ur vi zh",
    "bucc": "de fr ru zh",
    "lareqa": "ar de el en es hi ru th tr vi zh",
    "mewslix": "ar de en es fa ja pl ro ta tr uk",
    # beyond XTREME(-R), as their authors publish them; of SIB-200 the languages whose files are in the development data
    "americasnli": "ay bzd cni gn hch nah oto qu shp tar",
    "afrixnli": "am ee ha ig lg ln om rw sn so sw tw wo xh yo zu",
    "masakhaner": "bbj bm ee fon ha ig lg luo mos ny pcm rw sn sw tn tw wo xh yo zu",
    "sib200": "am ar ay az bm de ee en eu fon gn gu ha ht ig jv ka kk lg ml mr my ny pa qu rw so sw ta te ti tl ur wo yo zu",
}
INTERMEDIATES = (
    *("anli-plus", "mnli", "qqp", "squad", "squad2", "hellaswag", "ccg", "cosmosqa", "csqa"),  # the nine of Phang et al. 2020
    *("siqa", "copa", "mlm", "multi-task"),
)


@pytest.mark.parametrize("name", LANGUAGES)
def test_language_lists_are_the_published_ones(name):
    """The zero-shot test languages are exactly those of XTREME-R, XTREME and the other benchmarks' authors."""
    assert sorted(tasks.find(name).languages) == sorted(LANGUAGES[name].split())


def test_the_command_lists_all_targets_and_intermediates(capsys):
    """`raystilts tasks --json` has the 17 targets with their languages, and the intermediates; the table names each."""
    assert main(["tasks", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    targets = {name for name, row in rows.items() if "target" in row["uses"]}
    assert targets >= {*LANGUAGES, "belebele"}
    assert len({*LANGUAGES, "belebele"}) == 17
    for name, languages in LANGUAGES.items():
        assert sorted(rows[name]["languages"]) == sorted(languages.split())
    assert all("intermediate" in rows[name]["uses"] for name in INTERMEDIATES)
    assert len(INTERMEDIATES) == 13
    assert rows["xcopa"]["trained_on"] == ["siqa", "copa"]
    assert rows["xnli"]["low_resource"] == ["sw"]
    assert rows["squad"]["sources"]["train"]["hub"] == "rajpurkar/squad@7b6d24c440a36b6815f21b70d25016731768db1f"
    assert main(["tasks"]) == 0
    shown = capsys.readouterr().out.splitlines()
    for name, row in rows.items():
        line = next(number for number, text in enumerate(shown[2:], 2) if text.startswith(f"{name} "))
        assert row["citation"] in shown[line + 1]
        assert row["licence"] in shown[line + 1]


def test_the_mixture_is_of_the_nine():
    """The multi-task intermediate trains on the nine tasks of Phang et al. 2020."""
    assert {part.name for part in tasks.find("multi-task").parts} == set(INTERMEDIATES[:9])


@pytest.mark.parametrize("task", tasks.TASKS.values(), ids=tasks.TASKS)
def test_tasks_are_complete(task):
    """A task has a known metric, a citation, a licence, distinct languages and labels, and data for at least one phase."""
    assert set(filter(None, (task.metric, *task.also))) <= METRICS.keys()
    assert bool(task.metric) == (task.kind not in ("mlm", "mixture"))
    assert task.citation
    assert task.licence
    assert len(set(task.languages)) == len(task.languages)
    assert len(set(task.labels)) == len(task.labels)
    assert task.train or task.test or task.parts
    if task.test and task.kind not in ("retrieval", "mining"):
        assert task.train or all(trained.train for trained in task.trained_on)
    if task.trained_on and task.kind != "retrieval":
        assert set(data.labels(task.trained_on[-1])) == set(task.labels)
        assert task.trained_on[-1].kind == task.kind


@pytest.mark.parametrize("task", tasks.TASKS.values(), ids=tasks.TASKS)
def test_sources_are_pinned_or_say_why_not(task):
    """Each source generates its examples, or names local files; its Hub commit is 40 hexadecimal digits, or a reason stands there."""
    for source in filter(None, (task.train, task.dev, task.test, task.test and task.test.candidates)):
        if source.generate:
            continue
        assert source.files
        assert len(source.files) == (2 if source.reader == "aligned" or (source.reader == "bucc" and source.candidates) else 1)
        if source.revision:
            assert len(source.revision) == 40
            assert int(source.revision, 16)
            assert len(source.columns) > (0 if task.kind == "mlm" else 1)
            assert source.split
            assert data.identity(source, ENGLISH if source is not task.test else task.languages[0])
        else:
            assert source.exclude


def test_names_are_found_or_the_nearest_is_named():
    """`find` returns the task of a name, and refuses unknown ones with the nearest."""
    assert tasks.find("xnli").name == "xnli"
    with pytest.raises(UserError, match="there is no task 'xnl1'; did you mean 'xnli'"):
        tasks.find("xnl1")


def test_a_new_task_takes_one_file_of_at_most_15_lines(tmp_path, capsys):
    """README's new task in five languages has at most 15 lines and, with a study around it, trains, is evaluated and reported."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    (block,) = [block for block in blocks if "TOPIC = Task(" in block]
    assert len(block.strip().splitlines()) <= 15
    (tmp_path / "topic.py").write_text(f"{block}{STUDY}", encoding="utf-8")
    (tmp_path / "topic").mkdir()
    for split in ("train", "dev", "test"):
        for language in ("en", "ha", "ig", "sw", "yo", "zu"):
            rows = [f"{language} {split} {number}\t{('news', 'sports')[number % 2]}\n" for number in range(8)]
            (tmp_path / "topic" / f"{split}-{language}.tsv").write_text("".join(rows), encoding="utf-8")
    model.initialise(
        tmp_path / "tiny", ["news sports test train dev ha ig sw yo zu en 0 1 2 3 4 5 6 7"] * 9, Architecture(1, 16, 1, 32, 60), 0
    )
    folders = ["--data", str(tmp_path), "--encoders", str(tmp_path), "--store", str(tmp_path / "store")]
    assert main(["run", str(tmp_path / "topic.py"), "--in-process", *folders]) == 0, capsys.readouterr()
    shown = capsys.readouterr().out
    assert "over 5 languages" in shown
    assert (tmp_path / "store" / "report" / "report.html").is_file()


STUDY = """
from raystilts.stage import Encoder, Recipe
from raystilts.study import Study

def study() -> Study:
    recipe = Recipe(num_steps=2, batch_size=4)
    return Study("topic", "?", (Encoder("tiny", folder="tiny"),), (), (TOPIC,), (1, 2, 3), {"default": recipe})
"""


def test_importing_tasks_and_data_loads_nothing_heavy():
    """Neither `datasets` nor torch nor Ray is loaded until the Hub, a model or a sweep is asked for."""
    code = "import sys, raystilts.data, raystilts.tasks, raystilts.metrics; print({'datasets', 'torch', 'ray'} & sys.modules.keys())"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "set()"
