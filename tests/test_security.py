"""Files that somebody else has made: none of them is executed, and none can name, or be read as, more than its folder."""

from __future__ import annotations

import ast
import re
from dataclasses import replace
from pathlib import Path

import pytest
from places import ROOT

from raystilts import data, execute, model
from raystilts.errors import UserError
from raystilts.execute import Site
from raystilts.inside import leads_outside, leaves
from raystilts.stage import Architecture, Encoder
from raystilts.store import Store
from raystilts.study import Study, make_plan
from raystilts.task import Source, Task

OUTSIDE = ("/etc/passwd", "../secret.tsv", "a/../../secret.tsv", "..\\secret.tsv", "C:\\secret.tsv", "\\\\host\\share", "")
CODE = [path for folder in ("raystilts", "experiments", "analysis") for path in sorted((ROOT / folder).rglob("*.py"))]
EXECUTES = (
    r"torch\.load|\bpickle\b|cPickle|\bdill\b|cloudpickle|marshal\.|shelve|joblib|allow_pickle\s*=\s*True|trust_remote_code\s*=\s*True"
    r"|weights_only\s*=\s*False|yaml\.(unsafe_)?load\b|\b(eval|exec)\(|__import__\(|os\.system|shell\s*=\s*True"
)


def task(name: str) -> Task:
    """A task that reads one file."""
    source = Source(files=(name,), columns=("text", "label"))
    return Task("topic", "classification", "accuracy", languages=("sw",), labels=("a", "b"), train=source, test=source)


@pytest.mark.parametrize("path", CODE, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_executes_what_it_reads(path: Path) -> None:
    """No unpickling, no remote code, no eval, no shell: their names do not occur as code. `.eval()` of a network is another thing, and
    so is telling Ray to send an experiment's functions whole, which reads nothing.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):  # of docstrings and other texts only the quotes count
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            node.value = ""
    harmless = r"\.eval\(|from ray import cloudpickle|cloudpickle\.register_pickle_by_value\("
    found = re.search(EXECUTES, re.sub(harmless, "", ast.unparse(tree)))
    assert found is None, found


def test_only_a_study_file_is_executed() -> None:
    """The command line loads a module from a path in one place: load_study."""
    places = [
        path.name for path in CODE if path.is_relative_to(ROOT / "raystilts") and re.search(r"exec_module|runpy", path.read_text("utf-8"))
    ]
    assert places == ["experiment.py"]
    for document in ("README.md", "SECURITY.md"):
        text = " ".join((ROOT / document).read_text(encoding="utf-8").split())
        assert "is Python and is executed" in text
        assert "a `plan.toml` is not" in text.lower()


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_source_cannot_name_a_file_outside_of_the_data(name: str, tmp_path: Path) -> None:
    """Neither an absolute path nor one with `..`, in the notation of any system."""
    assert leaves(name)
    (tmp_path / "data").mkdir()
    (tmp_path / "secret.tsv").write_text("x\ta\n", encoding="utf-8")
    with pytest.raises(UserError, match="not below --data"):
        data.examples(task(name), "test", "sw", tmp_path / "data")


def test_a_data_folder_and_its_data_sets_may_be_links(tmp_path: Path) -> None:
    """Data sets are large and lie where there is room."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "x.tsv").write_text("x\ta\n", encoding="utf-8")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "sets").symlink_to(tmp_path / "disk")
    (tmp_path / "link").symlink_to(tmp_path / "data")
    assert len(data.examples(task("sets/x.tsv"), "test", "sw", tmp_path / "link")) == 1
    assert leads_outside(tmp_path / "link" / "sets" / "x.tsv", tmp_path / "link")  # which a store would refuse


@pytest.mark.parametrize("field", ["name", "encoder", "task"])
def test_names_that_become_folders_stay_below_theirs(field: str, tmp_path: Path) -> None:
    """A study's name, an encoder's and a task's."""
    evil = "../evil"
    made = replace(task("x.tsv"), name=evil if field == "task" else "topic")
    encoder = Encoder(evil if field == "encoder" else "e", hub="h/e", revision="0" * 40)
    study = Study(evil if field == "name" else "s", "?", (encoder,), (), (made,), (1,))
    with pytest.raises(UserError, match=r"\.\."):
        make_plan(study, tmp_path)


@pytest.mark.parametrize("folder", ["/encoders/e", "../e"])
def test_an_encoder_lies_below_its_folder(folder: str, tmp_path: Path) -> None:
    """--encoders says where encoders are; a study says which."""
    with pytest.raises(UserError, match="not below --encoders"):
        model.encoder_folder(Encoder("e", folder=folder), tmp_path)


def encoder_in(folder: Path, weights: bytes) -> Site:
    """A site with an encoder whose weights are these bytes, and data."""
    model.initialise(folder / "enc", ["a b c x y z"] * 9, Architecture(1, 16, 1, 32, 60), 0)
    (folder / "enc" / "model.safetensors").write_bytes(weights)
    (folder / "x.tsv").write_text("x\ta\ny\tb\n", encoding="utf-8")
    return Site(Store(folder / "store"), "run", folder, folder)


@pytest.mark.parametrize("weights", [(1 << 40).to_bytes(8, "little") + b"{}", b"\xff" * 8, b"", (9).to_bytes(8, "little") + b"[" * 9])
def test_weights_with_an_impossible_header_are_one_sentence(weights: bytes, tmp_path: Path) -> None:
    """A header of a terabyte is not waited for, and none is trusted: the encoder is named before anything is trained."""
    site = encoder_in(tmp_path, weights)
    study = Study("s", "?", (Encoder("e", folder="enc"),), (), (task("x.tsv"),), (1,))
    plan = make_plan(study, tmp_path, tmp_path)
    with pytest.raises(UserError, match=r"encoder 'e': .* cannot be loaded"):
        execute.check_inputs(plan, site)


def test_a_tokenizer_that_is_none_is_one_sentence(tmp_path: Path) -> None:
    """Whatever the libraries raise of it."""
    site = encoder_in(tmp_path, b"")
    plan = make_plan(Study("s", "?", (Encoder("e", folder="enc"),), (), (task("x.tsv"),), (1,)), tmp_path, tmp_path)
    for content in ("{", "[]", '{"version": "1.0", "model": {"type": "WordLevel", "vocab": {"x": 0}, "unk_token": "x"}}'):
        (tmp_path / "enc" / "tokenizer.json").write_text(content, encoding="utf-8")
        model.load_tokenizer.cache_clear()
        with pytest.raises(UserError, match=r"encoder 'e': .* cannot be loaded"):
            execute.check_inputs(plan, site)


def test_json_of_an_encoder_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A configuration that is larger than any encoder's is not read."""
    encoder_in(tmp_path, b"")
    monkeypatch.setattr(model, "LARGEST", 8)
    with pytest.raises(UserError, match=r"config\.json is larger than"):
        model.encoder_folder(Encoder("e", folder="enc"), tmp_path)
