"""Places that are not as one would wish: odd paths, no home, others' folders, clocks that are set, secrets nearby."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from filelock import FileLock
from places import ROOT, SMOKE
from test_tasks import STUDY
from test_verify import STUDY as TINY

from raystilts import cli, faults, model, tracking
from raystilts.errors import UserError
from raystilts.execute import Site, execute, perform_here
from raystilts.masking import masked
from raystilts.remote import LEASE
from raystilts.stage import Architecture
from raystilts.store import Store, store_at
from raystilts.study import make_plan

SECRETS = {
    "HF_TOKEN": "hf_abcdefghijklmnop",
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMIK7MDENGbPx",
    "WANDB_API_KEY": "0123456789abcdef0123",
    "MLFLOW_TRACKING_PASSWORD": "correct-horse-battery",
    "SOME_SERVICE_TOKEN": "tok-tok-tok-tok",
}


@dataclass(frozen=True)
class Ran:
    """A sweep in an odd place: its folders, what it said."""

    experiment: Path
    data: Path
    encoders: Path
    store: Path
    said: str


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """A whole run in folders with blanks, quotes and letters beyond ASCII, without a home, on data that cannot be written, near secrets."""
    top = tmp_path_factory.mktemp("odd") / "Ärger & Söhne's 数据 ምሳሌ"
    data, encoders, store = top / "data sets", top / "encoders é", top / "my store ü"
    (data / "topic").mkdir(parents=True)
    block = next(b for b in re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL) if "TOPIC" in b)
    experiment = top / "my study.py"
    experiment.write_text(f"{block}{STUDY}".replace("(1, 2, 3)", "(1, 2)"), encoding="utf-8")
    for split in ("train", "dev", "test"):
        for language in ("en", "ha", "ig", "sw", "yo", "zu"):
            rows = [f"{language} {split} {number}\t{('news', 'sports')[number % 2]}\n" for number in range(8)]
            (data / "topic" / f"{split}-{language}.tsv").write_text("".join(rows), encoding="utf-8")
    model.initialise(encoders / "tiny", ["news sports test train dev ha ig sw yo zu en 0 1 2 3"] * 9, Architecture(1, 16, 1, 32, 60), 0)
    for folder in (data / "topic", data, encoders / "tiny", encoders):
        folder.chmod(0o555)
    away = {"HF_HOME", "XDG_CACHE_HOME", "MPLCONFIGDIR", "RAYSTILTS_CACHE", "TORCH_HOME"}
    home = {"HOME": "/proc/nowhere"}  # where not even root can make a folder
    command = [sys.executable, "-m", "raystilts.cli", "run", experiment.name, "--in-process", "--data", str(data)]
    command += ["--encoders", str(encoders), "--store", str(store)]
    environment = {name: value for name, value in os.environ.items() if name not in away} | home | SECRETS
    environment["PYTHONPATH"] = str(ROOT)
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=top, env=environment, timeout=120)
    for folder in (data, data / "topic", encoders, encoders / "tiny"):
        folder.chmod(0o755)
    assert done.returncode == 0, done.stdout + done.stderr
    return Ran(experiment, data, encoders, store, done.stdout + done.stderr)


def test_odd_paths_and_no_home_do_not_matter(ran: Ran, capsys: pytest.CaptureFixture[str]) -> None:
    """The run is whole; verify, plan and status find it, and the report's command can be pasted into a shell."""
    assert cli.main(["verify", str(ran.store)]) == 0
    where = ["--data", str(ran.data), "--encoders", str(ran.encoders), "--store", str(ran.store)]
    for verb in ("plan", "status"):
        assert cli.main([verb, str(ran.experiment), "--json", *where]) == 0
    capsys.readouterr()
    told = (ran.store / "report" / "report.md").read_text(encoding="utf-8")
    command = next(line for line in told.splitlines() if "raystilts run" in line).split("`")[1]
    assert shlex.split(command) == ["raystilts", "run", ran.experiment.name, *where]


@pytest.mark.promise("Files are closed as soon as they are read: few file descriptors are enough for a store of any size")
def test_few_file_descriptors_are_enough(smoke_store: Path, ran: Ran, tmp_path: Path) -> None:
    """Status, report and check of a store need no more than 20 open files, a tenth of what it has; neither does a run."""
    assert sum(path.is_file() for path in (smoke_store / "stages").rglob("*")) > 200
    run = ["run", str(ran.experiment), "--data", str(ran.data), "--encoders", str(ran.encoders), "--store", str(tmp_path / "store")]
    report = ["report", SMOKE, "--store", str(smoke_store), "--out", str(tmp_path / "report")]
    for arguments in ([*run, "--in-process"], ["status", SMOKE, "--store", str(smoke_store)], report, ["verify", str(smoke_store)]):
        command = f"ulimit -n 20; exec {shlex.join([sys.executable, '-m', 'raystilts.cli', *arguments])}"
        done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr


def test_data_is_only_read(ran: Ran) -> None:
    """Nothing but the data is in its folder, nor beside the encoder's own files."""
    assert {path.suffix for path in ran.data.rglob("*") if path.is_file()} == {".tsv"}
    assert {path.name for path in (ran.encoders / "tiny").iterdir()} <= {
        *("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
    }


def test_no_secret_of_the_environment_is_written_or_said(ran: Ran) -> None:
    """Not in a record, log, table, page or line."""
    written = b"\n".join(path.read_bytes() for path in ran.store.rglob("*") if path.is_file()) + ran.said.encode()
    for name, value in SECRETS.items():
        assert value.encode() not in written, name


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("s3://ID:SE%2FCRET@bucket/x?region=eu", "s3://***@bucket/x?region=eu"),
        ("gs://anonymous@bucket/x", "gs://anonymous@bucket/x"),
        (
            "GET https://user:pass@host/a failed, https://host/b?api_key=abc&x=1",
            "GET https://***@host/a failed, https://host/b?api_key=***&x=1",
        ),
        ("s3://b/x?session_token=abc", "s3://b/x?session_token=***"),
        ("denied for tok-tok-tok-tok", "denied for [SOME_SERVICE_TOKEN]"),
        ("somebody@example.org wrote to /data/key=1", "somebody@example.org wrote to /data/key=1"),
    ],
)
def test_secrets_are_masked(text: str, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials in addresses, options that hold them, values of variables; and nothing else."""
    monkeypatch.setenv("SOME_SERVICE_TOKEN", SECRETS["SOME_SERVICE_TOKEN"])
    assert masked(text) == shown


def test_credentials_of_an_address_are_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a store, in its errors, its report's command and a failure; of a service that is logged to."""
    address = "s3://ID:SECRET-KEY@bucket/folder?region=eu"
    assert store_at(address).shown == "s3://***@bucket/folder?region=eu"
    assert cli.main(["verify", "s3://ID:SECRET-KEY@"]) == 2
    options = cli.parser().parse_args(["report", "exp.py", "--store", address])
    failed = faults.failure(OSError(f"no answer of {address}"), "a stage", tmp_path)

    def refuse(_: object) -> None:
        raise ConnectionError(f"no answer of {os.environ['MLFLOW_TRACKING_URI']}")

    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://me:SECRET-KEY@host")
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setattr(tracking, "_mlflow", refuse)
    with pytest.raises(UserError) as raised:
        tracking.loggers(tracking.Tracking(("mlflow",), tmp_path, "p"))
    shown = capsys.readouterr()
    for text in (shown.out, shown.err, cli.command(options), failed.reason, str(raised.value)):
        assert text.strip() or text is shown.out
        assert "SECRET" not in text


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that every user can enter; those of pytest are its user's own."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@contextlib.contextmanager
def somebody_else() -> Iterator[None]:
    """As a user without rights: root becomes one; who is not root has none on what cannot be written anyway."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.skipif(os.name != "posix", reason="owners of files are POSIX's")
def test_another_users_store_is_read_and_not_written(ran: Ran, public: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """status reads it, and sees what its owner works on; run says in one sentence that it cannot be written."""
    store = Store(public / "store")
    shutil.copytree(ran.store, store.root)
    shutil.copy(ran.experiment, public / "exp.py")
    where = ["--data", str(public / "data"), "--encoders", str(public / "encoders"), "--store", str(store.root)]
    shutil.copytree(ran.data, public / "data")
    shutil.copytree(ran.encoders, public / "encoders")
    plan, _ = cli.planned(cli.parser().parse_args(["plan", str(public / "exp.py"), *where]))
    key = next(reversed(plan.stages))
    store.discard(key)
    with store.lock(key), FileLock(store.root / "locks" / "other.lock"):
        pass
    assert cli.main(["status", str(public / "exp.py"), *where]) == 0  # imports what the other user may not, as does the next line
    time.strptime("2026", "%Y")
    for path in (*store.root.rglob("*"), store.root):
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        capsys.readouterr()
        with FileLock(store.root / "locks" / f"{key}.lock") if os.geteuid() == 0 else contextlib.nullcontext(), somebody_else():
            assert cli.main(["status", str(public / "exp.py"), *where]) == 0
            said = capsys.readouterr().out
            assert cli.main(["run", str(public / "exp.py"), "--in-process", *where]) == 2
        error = capsys.readouterr().err
        assert f"raystilts: {store.root}: the store cannot be written (" in error
        assert error.count("\n") == 1
        assert ("running now: " if os.geteuid() == 0 else "nothing runs now") in said
    finally:
        for path in (store.root, *store.root.rglob("*")):
            path.chmod(0o755)


def test_a_clock_that_is_set_makes_no_claim_void(s3: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An hour forward or back on this machine: what another process works on stays its own."""
    monkeypatch.setenv("RAYSTILTS_CACHE", str(tmp_path / "machine"))
    store = store_at(s3())  # type: ignore[operator]
    store.prepare()
    real, held, over = time.time, threading.Event(), threading.Event()

    def work() -> None:
        with store.lock("k"):
            held.set()
            over.wait(60)

    worker = threading.Thread(target=work)
    worker.start()
    assert held.wait(60)
    try:
        for jump in (10 * LEASE, -10 * LEASE):
            with monkeypatch.context() as patch:
                patch.setattr(time, "time", lambda jump=jump: real() + jump)
                assert abs(store.shared.now() - real()) < LEASE
                assert store.busy(["k", "l"]) == {"k"}
    finally:
        over.set()
        worker.join()


def test_a_clock_that_is_set_changes_no_duration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stage that took a moment took a moment, though the clock went back an hour meanwhile."""
    plan = make_plan(TINY)
    site = Site(Store(tmp_path / "store"), "run")
    site.store.prepare()
    key, hours = next(iter(plan.stages)), iter(range(10**6))
    real = time.time
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: real() - 3600 * next(hours))
        execute(key, plan, site, perform_here(site))
    assert 0 <= site.store.record(key)["seconds"] < 600


def test_the_journal_keeps_its_order(tmp_path: Path) -> None:
    """Lines of one process stay in the order in which it wrote them, whatever its clock said."""
    store = Store(tmp_path)
    lines = [{"time": f"2026-01-01T0{hour}:00:00Z", "event": event, "key": "k"} for hour, event in ((5, "start"), (4, "done"))]
    (tmp_path / "journal.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
    assert [line["event"] for line in store.journal()] == ["start", "done"]


def test_rays_dashboard_is_for_this_machine_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Ray that is started here binds its dashboard to the loopback address, and asks for a token."""
    for name in ("RAY_ADDRESS", "RAY_AUTH_MODE"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    import ray  # noqa: PLC0415  takes seconds

    from raystilts.sweep import Cluster, connected  # noqa: PLC0415

    asked: dict[str, object] = {}

    def refuse(**given: object) -> None:
        asked.update(given)
        raise ConnectionError("enough")

    monkeypatch.setattr(ray, "init", refuse)
    with pytest.raises(UserError, match="enough"), connected(Cluster(), Site(Store(tmp_path), "run", workers=2), str(tmp_path)):
        pass
    assert asked["include_dashboard"] is True
    assert asked["dashboard_host"] == "127.0.0.1"
