"""`raystilts verify`: a byte that is not what was written is noticed and named, and only what hangs on it is made anew."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from raystilts import cli, sweep
from raystilts.execute import Site
from raystilts.process import owner
from raystilts.record import BLANK, parse, sealed
from raystilts.stage import SCHEMA, Architecture, Encoder, Recipe
from raystilts.store import Store, store_at
from raystilts.study import Plan, Study, make_plan
from raystilts.tasks import cldr
from raystilts.verify import lines, repair, verify

RECIPE = Recipe(learning_rate=1e-3, num_steps=2, batch_size=8, micro_batch_size=8, max_length=32)
TINY = Encoder("tiny", architecture=Architecture(1, 16, 2, 32, 1500), texts=cldr.TEXTS)
STUDY = Study("tiny", "?", (TINY,), (cldr.CURRENCY,), (cldr.KIND,), (1,), {"default": RECIPE}, languages=("sw", "yo"))


@pytest.fixture(scope="module")
def plan() -> Plan:
    """Six stages: an encoder, a training on it, two on either, and their evaluations."""
    return make_plan(STUDY)


@pytest.fixture(scope="module")
def made(plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished store of real stages."""
    store = Store(tmp_path_factory.mktemp("made") / "store")
    store.prepare()
    sweep.run_in_process(plan, Site(store, owner()))
    assert store.finished(plan.stages) == set(plan.stages)
    return store.root


@pytest.fixture
def store(made: Path, tmp_path: Path) -> Store:
    """A copy to be broken."""
    shutil.copytree(made, tmp_path / "store")
    return Store(tmp_path / "store")


def flip(path: Path, place: float = 0.5) -> None:
    """Change a bit of one byte."""
    content = bytearray(path.read_bytes())
    content[int(place * (len(content) - 1))] ^= 1
    path.write_bytes(content)


def contents(root: Path) -> dict[str, bytes]:
    """What stages hold that does not depend on when they were made."""
    files = (root / "stages").glob("*/**/*")
    return {str(f.relative_to(root)): f.read_bytes() for f in files if f.is_file() and f.name not in ("stage.json", "log.jsonl")}


def key_of(plan: Plan, role: str, after: bool = False) -> str:
    """The stage of a role, with or without an intermediate task before it."""
    return next(
        key for key in plan.stages if plan.roles[key] == role and (len(plan.stages[key].lineage) > 2 + (role == "evaluation")) == after
    )


def test_a_sound_store_is_sound(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 0, and how much was compared."""
    assert cli.main(["verify", str(made)]) == 0
    assert capsys.readouterr().out.startswith(f"{made}: 6 stages, ")


@pytest.mark.parametrize("place", [0.0, 0.5, 1.0])
def test_a_flipped_byte_in_any_file_is_noticed_and_named(made: Path, store: Store, place: float) -> None:
    """In every kind of file, at its beginning, in its middle and at its end: the stage and the file are named, and no other."""
    kinds = {file.name if "predictions" not in file.parts else "predictions": file for file in made.glob("stages/*/**/*") if file.is_file()}
    assert kinds.keys() == {
        "stage.json",
        "model.safetensors",
        "log.jsonl",
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "predictions",
    }
    for file in kinds.values():
        name = file.relative_to(made)
        flip(store.root / name, place)
        found = verify(store)
        assert {key: [one.file for one in problems] for key, problems in found.problems.items()} == {
            name.parts[1]: ["/".join(name.parts[2:])]
        }
        shutil.copy(file, store.root / name)


def test_a_flipped_bit_anywhere_in_a_record_is_noticed(made: Path) -> None:
    """Every bit of every tenth byte, of white space, names, numbers and the seal itself."""
    path = next(made.glob("stages/*/stage.json"))
    content = path.read_bytes()
    assert parse(content, path.parent.name)["key"] == path.parent.name
    seal = content.index(b'"seal"')
    for place in {*range(0, len(content), 10), *range(seal - 2, seal + 76)}:
        for bit in range(8):
            changed = bytearray(content)
            changed[place] ^= 1 << bit
            with pytest.raises(ValueError, match=r"."):
                parse(bytes(changed), path.parent.name)


def test_only_what_is_broken_and_what_stands_on_it_is_made_anew(
    plan: Plan, made: Path, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    """A target's weights and an evaluation elsewhere: the run makes these two and what needs the first, to the same bytes."""
    target, evaluation = key_of(plan, "target"), key_of(plan, "evaluation", after=True)
    flip(store.path(target) / "model.safetensors")
    flip(store.path(evaluation) / "predictions" / "sw.parquet")
    child = next(key for key in plan.children[target])
    assert cli.main(["verify", str(store.root)]) == 1
    said = capsys.readouterr().out
    assert f"broken: {plan.label(target)} ({target}): model.safetensors is not what was written" in said
    assert f"broken: {plan.label(evaluation)} ({evaluation}): predictions/sw.parquet is not what was written" in said
    assert f"needs it: {plan.label(child)} ({child}) stands on {plan.label(target)} ({target})" in said
    assert "2 stages are broken, and 1 stand on them." in said
    assert cli.main(["verify", str(store.root), "--repair"]) == 0
    assert "kept as " in capsys.readouterr().out
    assert len(list((store.root / "broken").iterdir())) == 2
    assert store.finished(plan.stages) == set(plan.stages) - {target, evaluation, child}
    before = {key: (store.path(key) / "stage.json").stat().st_mtime_ns for key in store.finished(plan.stages)}
    store.discard(child)  # as `raystilts run` does with what stands on a stage that is gone
    sweep.run_in_process(plan, Site(store, owner()))
    assert contents(store.root) == contents(made)
    assert {key: (store.path(key) / "stage.json").stat().st_mtime_ns for key in before} == before
    assert cli.main(["verify", str(store.root)]) == 0


def test_a_stage_without_a_record_is_named_by_those_that_stand_on_it(plan: Plan, store: Store) -> None:
    """A folder whose stage.json is gone is broken, is known by its task, and can be taken out."""
    middle = key_of(plan, "intermediate", after=False)
    (store.path(middle) / "stage.json").unlink()
    found = verify(store)
    assert [(one.file, one.what) for one in found.problems[middle]] == [("stage.json", "is missing")]
    assert found.label(middle) == f"train currency ({middle})"
    assert len(found.needing()) == 2
    assert repair(store, found).keys() == {middle}
    assert not store.path(middle).exists()


def test_missing_and_foreign_files_are_named(plan: Plan, store: Store) -> None:
    """What is gone makes a stage anew; what somebody has put there is left to whoever did it."""
    one, other = key_of(plan, "target"), key_of(plan, "evaluation")
    (store.path(one) / "log.jsonl").unlink()
    (store.path(other) / "notes.txt").write_text("mine")
    found = verify(store)
    assert [problem.what for problem in found.problems[one]] == ["is missing"]
    assert "notes.txt is not named in its record" in "\n".join(lines(store, found, None))
    kept = repair(store, found)
    assert kept.keys() == {one}
    assert f"left as it is: {plan.label(other)}" in "\n".join(lines(store, found, kept))


def rewritten(store: Store, key: str, change: Callable[[dict[str, object]], object]) -> None:
    """Change a record and seal it, as somebody does who wants it to look sound."""
    path = store.path(key) / "stage.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    change(record)
    path.write_bytes(sealed(record))


@pytest.mark.parametrize(("number", "age"), [(SCHEMA + 1, "a newer"), (SCHEMA - 1, "an older")])
def test_another_schema_is_one_clear_sentence(
    plan: Plan, store: Store, number: int, age: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Of a stage: verify names it and leaves it. Of the whole store: every command says so and reads nothing."""
    key = key_of(plan, "evaluation")
    rewritten(store, key, lambda record: record.update(schema=number))
    assert cli.main(["verify", str(store.root), "--repair"]) == 1
    assert f"made by {age} raystilts (schema {number}; this one has {SCHEMA})" in capsys.readouterr().out
    assert store.path(key).is_dir()
    (store.root / "store.json").write_text(json.dumps({"schema": number}))
    experiment = tmp_path / "exp.py"
    experiment.write_text("from test_verify import STUDY\ndef study():\n    return STUDY\n", encoding="utf-8")
    commands = [
        ["verify", str(store.root)],
        *([verb, str(experiment), "--store", str(store.root)] for verb in ("plan", "status", "report", "run")),
    ]
    for command in commands:
        assert cli.main(command) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"raystilts: {store.root}: made by {age} raystilts (schema {number}")
        assert error.count("\n") == 1


def test_records_from_before_there_were_seals_are_read(plan: Plan, store: Store) -> None:
    """They count as unsealed; a seal that has lost its name does not."""
    key = key_of(plan, "evaluation")
    path = store.path(key) / "stage.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    sealed_text, seal = path.read_text(encoding="utf-8"), record.pop("seal")
    path.write_text(json.dumps(record), encoding="utf-8")
    found = verify(store)
    assert found.unsealed == [key]
    assert not found.problems
    path.write_text(sealed_text.replace('"seal"', '"sebl"'), encoding="utf-8")
    assert verify(store).problems.keys() == {key}
    assert seal != BLANK


def outside(store: Store, key: str, name: str, target: Path) -> None:
    """Replace a file of a stage by a link to a copy elsewhere."""
    file = store.path(key) / name
    shutil.copy(file, target)
    file.unlink()
    file.symlink_to(target)


def test_links_that_lead_out_of_a_store_are_refused(plan: Plan, store: Store, tmp_path: Path) -> None:
    """A linked prediction file, record or stage: the sentence names it, though its bytes are the right ones."""
    file, record, stage = (key_of(plan, role) for role in ("evaluation", "target", "intermediate"))
    outside(store, file, "predictions/sw.parquet", tmp_path / "sw.parquet")
    outside(store, record, "stage.json", tmp_path / "stage.json")
    shutil.move(store.path(stage), tmp_path / "moved")
    store.path(stage).symlink_to(tmp_path / "moved")
    with pytest.raises(cli.UserError, match=r"predictions/sw\.parquet lies outside of the store"):
        store.fetch(file)
    for key in (record, stage):
        with pytest.raises(cli.UserError, match="a symbolic link leads out of the store"):
            store.fetch(key)
    assert verify(store).problems.keys() == {file, record, stage}
    shutil.copytree(store.root, tmp_path / "whole", symlinks=True)
    (tmp_path / "link").symlink_to(tmp_path / "whole")
    assert Store(tmp_path / "link").has(key_of(plan, "evaluation", after=True))  # the store itself may be a link


@pytest.mark.parametrize("name", ["../outside.txt", "/etc/hosts", "predictions/../../x", "C:\\x", "..\\x"])
def test_names_that_lead_out_of_a_stage_are_refused(plan: Plan, store: Store, name: str) -> None:
    """A record cannot make anybody read a file elsewhere."""
    key = key_of(plan, "evaluation")
    rewritten(store, key, lambda record: record["files"].update({name: {"sha256": "0" * 64, "bytes": 1}}))
    with pytest.raises(cli.UserError, match="lies outside of the store"):
        store.fetch(key)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"[" * 100_000, "nested too deeply"),
        (b"[]", "no JSON object"),
        (b'{"files": [1]}', "list of files"),
        (b'{"key": "x"}', "record of x"),
    ],
)
def test_a_record_that_is_none_is_one_sentence(plan: Plan, store: Store, content: bytes, reason: str) -> None:
    """Deep nesting, other JSON, another stage's record."""
    key = key_of(plan, "evaluation")
    (store.path(key) / "stage.json").write_bytes(content)
    with pytest.raises(cli.UserError, match=reason):
        store.record(key)


def test_a_record_that_is_too_large_is_not_read(plan: Plan, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Above the limit no more than the limit is read."""
    key = key_of(plan, "evaluation")
    monkeypatch.setattr("raystilts.record.LARGEST", 100)
    with pytest.raises(cli.UserError, match="larger than"):
        store.record(key)


@pytest.mark.parametrize("kind", ["s3", "gs"])
def test_object_stores_are_verified_and_repaired(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The objects are compared, whatever copy this machine has: a changed file, record and twin of a record are named and taken out."""
    monkeypatch.setenv("RAYSTILTS_CACHE", str(tmp_path / "machine"))
    store = store_at(request.getfixturevalue(kind)())
    store.prepare()
    for key in ("file", "record", "twin", "sound"):
        with store.writing(key, owner()) as folder:
            (folder / "data.txt").write_text("data")
            (folder / "stage.json").write_text(json.dumps({"key": key, "label": f"the {key}"}))
    assert not verify(store).problems
    attempt = {key: store.record(key)["attempt"] for key in ("file", "twin")}
    store.shared.write(f"stages/file/{attempt['file']}/data.txt", b"dato")
    store.shared.write("records/record.json", store.shared.read("records/record.json").replace(b"the record", b"the recorb"))
    store.shared.write(f"stages/twin/{attempt['twin']}/stage.json", b"{}")
    found = verify(store)
    assert {key: problems[0].file for key, problems in found.problems.items()} == {
        "file": "data.txt", "record": "stage.json", "twin": "stage.json",
    }  # fmt: skip
    kept = repair(store, found)
    assert store.done() == {"sound"}
    assert all(store.shared.has(place.removeprefix(f"{store.shown}/")) for place in kept.values())


def test_an_object_whose_name_leads_out_is_not_copied(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Names of objects are text that anybody with the bucket can choose."""
    remote = store_at("s3://bucket/folder").shared
    monkeypatch.setattr(type(remote), "names", lambda self, folder: {"../../evil": 1.0})
    monkeypatch.setattr(type(remote), "_at", lambda self, name: name)
    with pytest.raises(cli.UserError, match=r"'../../evil' would be copied out of its folder"):
        remote.get_folder("stages/k", tmp_path / "k")
    assert not list(tmp_path.iterdir())


def test_a_stage_renamed_is_not_another(plan: Plan, store: Store) -> None:
    """A sound folder under another stage's key is noticed: keys say what a stage is."""
    key = key_of(plan, "evaluation")
    store.path(key).rename(store.path("0" * 20))
    assert verify(store).problems.keys() == {"0" * 20}
    assert replace(store).done() >= {"0" * 20}
