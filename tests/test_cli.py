"""The command line: bad input is one sentence and exit code 2; good input says what it does."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from places import ROOT

from raystilts import cli

QUICKSTART = str(ROOT / "experiments" / "quickstart.py")
STUDY = """
from raystilts.stage import Encoder
from raystilts.study import Study
from raystilts.task import Source, Task
TOPIC = Task("topic", "classification", "accuracy", labels=("news", "sports"), languages=("ha", "ig", "yo"),
             train=Source(files=("train.tsv",), columns=("text", "label")),
             test=Source(files=("test-{language}.tsv",), columns=("text", "label")))
def study():
    return Study("topics", "Does it work?", (Encoder("e", folder="enc"),), (), (TOPIC,), (1,))
"""


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an experiment, its data and an encoder's files; it is the current folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "exp.py").write_text(STUDY, encoding="utf-8")
    (tmp_path / "enc").mkdir()
    (tmp_path / "enc" / "config.json").write_text("{}")
    (tmp_path / "enc" / "model.safetensors").write_bytes(b"")
    (tmp_path / "train.tsv").write_text("a\tnews\nb\tsports\n", encoding="utf-8")
    for language in ("ha", "ig", "yo"):
        (tmp_path / f"test-{language}.tsv").write_text(f"{language}\tnews\n", encoding="utf-8")
    return tmp_path


def fails(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run a verb that must fail as bad input does; the sentence."""
    assert cli.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert error.startswith("raystilts: ")
    assert "Traceback" not in error
    return error


def test_a_new_task_plans_from_the_experiment_file_alone(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A task that only the experiment file knows is planned like any other."""
    assert cli.main(["plan", "exp.py", "--data", ".", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["role"], row["task"]) for row in rows] == [("target", "topic"), ("evaluation", "topic")]


@pytest.mark.parametrize(
    ("before", "after", "sentence"),
    [
        ("def study", "def studies", "no function study()"),
        ("return Study(", "return (", "must return a raystilts.study.Study"),
        ("from raystilts", "from raystilt", "cannot be executed"),
        ('"classification"', '"classification"))))', "cannot be executed"),
        ("(TOPIC,)", "('xnly',)", "did you mean 'xnli'"),
        ("(1,))", "(1,), languages=())", "the language list is empty"),
        ('languages=("ha", "ig", "yo")', "languages=()", "none of its languages"),
        ('folder="enc"', 'folder="none"', "none has no config.json"),
    ],
)
def test_a_bad_experiment_is_one_sentence(world: Path, capsys: pytest.CaptureFixture[str], before: str, after: str, sentence: str) -> None:
    """An experiment without study(), with a syntax error, an unknown task, no languages or an absent encoder."""
    (world / "exp.py").write_text(STUDY.replace(before, after), encoding="utf-8")
    assert sentence in fails(capsys, "plan", "exp.py", "--data", ".")


def test_absent_files_are_one_sentence(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A missing experiment, data folder or data file is named."""
    assert "nowhere.py: there is no such experiment file" in fails(capsys, "run", "nowhere.py")
    assert "nowhere: there is no such folder" in fails(capsys, "run", "exp.py", "--data", "nowhere")
    (world / "test-ig.tsv").unlink()
    assert "test-ig.tsv" in fails(capsys, "run", "exp.py", "--data", ".")


def test_shipped_experiments_go_by_their_names(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From any folder `quickstart` and `quickstart:smoke` are the experiments that come with raystilts, unless a file there has that name;
    an unknown name is told which there are.
    """
    assert cli.main(["plan", "quickstart:smoke", "--json"]) == 0
    by_name = capsys.readouterr().out
    assert cli.main(["plan", f"{QUICKSTART}:smoke", "--json"]) == 0
    assert capsys.readouterr().out == by_name
    assert "one that comes with raystilts: base_to_large, controls, laptop, " in fails(capsys, "plan", "quickstar")
    (world / "quickstart").write_text("")
    assert "whose name ends in .py" in fails(capsys, "plan", "quickstart")


def test_an_unwritable_store_is_one_sentence(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A store that cannot be made is named, before anything runs."""
    (world / "file").write_text("")
    assert "the store cannot be written" in fails(capsys, "run", "exp.py", "--data", ".", "--store", "file/store")


@pytest.mark.parametrize("verb", [["run", "--in-process"], ["run"]])
def test_a_malformed_row_is_named_before_anything_runs(world: Path, capsys: pytest.CaptureFixture[str], verb: list[str]) -> None:
    """A data file with a malformed row is refused with file and line, and no stage was started."""
    (world / "test-ig.tsv").write_text("fine\tnews\nno label here\n", encoding="utf-8")
    error = fails(capsys, verb[0], "exp.py", "--data", ".", "--store", "store", *verb[1:])
    assert "test-ig.tsv" in error
    assert "2" in error
    assert not list((world / "store" / "stages").glob("*"))


def test_an_encoder_that_cannot_be_loaded_is_named_before_anything_runs(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An encoder folder whose files are no encoder is refused in one sentence, and no stage was started."""
    assert "encoder 'e': enc cannot be loaded" in fails(
        capsys, "run", "exp.py", "--data", ".", "--encoders", ".", "--store", "store"
    ).replace(str(world) + "/", "")
    assert not list((world / "store" / "stages").glob("*"))


def test_a_report_of_nothing_is_one_sentence(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A report before anything was evaluated says so."""
    assert "nothing of study 'topics' has been evaluated yet" in fails(capsys, "report", "exp.py", "--data", ".")


def test_tasks_lists_and_shows(shared_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`tasks` lists all; `tasks NAME` shows counts and an example from what is at hand; unknown names get the nearest."""
    assert cli.main(["tasks", "--json"]) == 0
    assert {"xnli", "udpos", "tatoeba", "kind"} <= {row["name"] for row in json.loads(capsys.readouterr().out)}
    assert cli.main(["tasks", "sib200", "--data", str(shared_data), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["splits"]["test"]["yo"]["examples"] == 204
    assert cli.main(["tasks", "kind"]) == 0
    assert "Unicode" in capsys.readouterr().out
    assert "did you mean 'xnli'" in fails(capsys, "tasks", "xnl")


@pytest.mark.parametrize("verb", ["tasks", "data", "plan", "run", "tune", "status", "report", "export", "analyse"])
def test_every_verb_s_help_has_an_example(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    """--help ends with an example of the verb."""
    with pytest.raises(SystemExit) as stop:
        cli.main([verb, "--help"])
    assert stop.value.code == 0
    assert f"example: raystilts {verb}" in capsys.readouterr().out


@pytest.mark.parametrize("flags", [["--workers", "0"], ["--gpus-per-worker", "1.5"], ["--cpus-per-worker", "x"]])
def test_bad_flags_exit_with_2(flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Numbers of workers, CPUs and GPUs that make no sense are refused by name."""
    with pytest.raises(SystemExit) as stop:
        cli.main(["run", QUICKSTART, *flags])
    assert stop.value.code == 2
    assert flags[0] in capsys.readouterr().err


def test_planning_loads_neither_ray_nor_torch() -> None:
    """`plan` answers without Ray and torch."""
    code = (
        f"from raystilts import cli; import sys; cli.main(['plan', {QUICKSTART!r}, '--store', 'no']);"
        "print({'ray', 'torch'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"
