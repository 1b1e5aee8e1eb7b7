"""Sweeps on clusters: the files of experiments/cluster, and dry runs of what they start, with this machine as two nodes."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from places import ROOT

from raystilts import cli
from raystilts.experiment import load_study
from raystilts.store import Store
from raystilts.study import make_plan

FOLDER = ROOT / "experiments" / "cluster"
SCHEMA = json.loads((ROOT / "tests" / "golden" / "rayjob-schema.json").read_text(encoding="utf-8"))
SMALL = f"""
import importlib.util
from dataclasses import replace
spec = importlib.util.spec_from_file_location("q", {str(ROOT / "experiments" / "quickstart.py")!r})
q = importlib.util.module_from_spec(spec)
spec.loader.exec_module(q)
def study():
    made = q.smoke()
    return replace(made, name="small", encoders=made.encoders[:1], seeds=(1,))
"""
SRUN = """#!/bin/bash
echo "$*" >> "$SHIMS/srun.log"
while [[ "$1" == --* ]]; do shift; done
if [ "$1" = ray ]; then set -- "$@" --node-ip-address=127.0.0.2 --temp-dir="$SHIMS/2"; fi
exec "$@"
"""
SCONTROL = """#!/bin/bash
echo "$*" >> "$SHIMS/scontrol.log"
if [ "$1" = show ]; then printf 'node1\\nnode2\\n'; fi
"""
RAYSTILTS = f"""#!/bin/bash
exec {sys.executable} -m raystilts.cli "$@"
"""


def job() -> dict[str, Any]:
    """The manifest for Kubernetes."""
    found: dict[str, Any] = yaml.safe_load((FOLDER / "rayjob.yaml").read_text(encoding="utf-8"))
    return found


def parsed(command: str) -> Any:
    """What the command line makes of a `raystilts` command."""
    words = shlex.split(command.replace("\\\n", " "), comments=True)
    start = words.index("raystilts.cli" if "raystilts.cli" in words else "raystilts")
    return cli.parser().parse_args(words[start + 1 :])


def test_the_manifest_is_a_rayjob() -> None:
    """Every field of rayjob.yaml is one of KubeRay's or Kubernetes', and of its type; misspelt ones are found."""
    validator = jsonschema.Draft202012Validator(SCHEMA)
    assert not list(validator.iter_errors(job()))
    for path in (("spec",), ("spec", "rayClusterSpec", "headGroupSpec", "template", "spec", "containers", 0)):
        wrong = job()
        place: Any = wrong
        for step in path:
            place = place[step]
        place["immage"] = "x"
        assert "immage" in next(validator.iter_errors(wrong)).message


def test_the_manifest_s_image_has_the_pinned_ray() -> None:
    """All images and rayVersion are the Ray of constraints.txt, with Python 3.11; the command parses, and names only shared folders."""
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    version = re.search(r"^ray==(.+)$", pins, re.MULTILINE)
    assert version is not None
    cluster = job()["spec"]["rayClusterSpec"]
    assert cluster["rayVersion"] == version[1]
    pods = [group["template"]["spec"] for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])]
    assert {container["image"] for pod in pods for container in pod["containers"]} == {f"rayproject/ray:{version[1]}-py311-gpu"}
    for pod in pods:
        mounted = {mount["name"] for container in pod["containers"] for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod["volumes"]}
    options = parsed(job()["spec"]["entrypoint"])
    assert (ROOT / Path(options.experiment).relative_to("/shared/raystilts")).is_file()
    assert all(path.is_relative_to("/shared") for path in (options.data, options.encoders, Path(options.store)))


def test_the_runtime_environments_are_ray_s(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray takes runtime_env.yaml and the manifest's; what it does not know, which it only warns of, is an error here."""
    from ray.runtime_env import RuntimeEnv  # noqa: PLC0415  takes a second

    monkeypatch.chdir(ROOT)
    ours = yaml.safe_load((FOLDER / "runtime_env.yaml").read_text(encoding="utf-8"))
    for fields in (ours, yaml.safe_load(job()["spec"]["runtimeEnvYAML"])):
        assert set(fields) <= RuntimeEnv.known_fields
        made = RuntimeEnv(**fields)
        assert made["pip"]["packages"]
        assert made["env_vars"]["HF_HOME"] == "/shared/huggingface"


def test_the_readme_s_commands_are_understood() -> None:
    """Every `raystilts` command in the cluster's README parses, and the files it names are there."""
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    blocks = "\n".join(re.findall(r"```sh\n(.*?)```", text, re.DOTALL)).replace("\\\n", " ")
    blocks = blocks.replace("experiments/cluster/slurm.sh", "-- raystilts run")  # which is what it does with its arguments
    commands = [line for line in blocks.splitlines() if re.search(r"(^|-- )(raystilts|python -m raystilts\.cli) ", line)]
    assert len(commands) >= 3
    for command in commands:
        assert (ROOT / parsed(command).experiment.partition(":")[0]).is_file(), command
    for name in re.findall(r"experiments/cluster/[a-z_]+\.[a-z]+", text):
        assert (ROOT / name).is_file()


def test_the_slurm_script_is_sound() -> None:
    """Bash parses slurm.sh; shellcheck, where it is installed, finds nothing."""
    subprocess.run(["bash", "-n", FOLDER / "slurm.sh"], check=True)
    if shutil.which("shellcheck"):
        done = subprocess.run(["shellcheck", "--severity=warning", FOLDER / "slurm.sh"], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder with a short name: those of Ray's sockets may have 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="rs-", dir="/tmp", ignore_cleanup_errors=True) as name:
        yield Path(name)


def free_port() -> int:
    """A port on which nothing listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


def environment(**more: str) -> dict[str, str]:
    """The environment of a node: this checkout, this Python, and no Ray of somebody else's."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "SLURM_"))}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return kept | {"PYTHONPATH": str(ROOT), "PATH": path, "RAY_USAGE_STATS_ENABLED": "0"} | more


def of_sessions(*leaders: int) -> list[int]:
    """Living processes of sessions that this test started, by their leaders' ids."""
    found = subprocess.run(["ps", "-eo", "pid=,sid=,stat="], capture_output=True, text=True, check=True).stdout.splitlines()
    rows = [line.split() for line in found]
    return [int(pid) for pid, session, state in rows if int(session) in leaders and not state.startswith("Z")]


def end(*processes: subprocess.Popen[Any]) -> None:
    """Stop what this test started, politely, then not."""
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + 20
    while of_sessions(*(process.pid for process in processes)) and time.monotonic() < deadline:
        time.sleep(0.2)
        for process in processes:
            process.poll()
    for pid in of_sessions(*(process.pid for process in processes)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    for process in processes:
        process.wait(timeout=20)


def events(store: Path) -> dict[str, list[str]]:
    """Key -> what the journal says of it, in order."""
    found: dict[str, list[str]] = {}
    for line in Store(store).journal():
        found.setdefault(line["key"], []).append(line["event"])
    return found


@pytest.mark.slow
def test_slurm_runs_a_sweep_is_stopped_and_goes_on(short: Path, tmp_path: Path) -> None:
    """On two nodes slurm.sh starts Ray on both; told that its time is up it ends with 130 in good order and queues again; the second
    time all stages get done, none twice, with exit code 0; nothing is left of either, neither processes nor folders.
    """
    for name, text in {"srun": SRUN, "scontrol": SCONTROL, "raystilts": RAYSTILTS}.items():
        (short / name).write_text(text, encoding="utf-8")
        (short / name).chmod(0o755)
    (tmp_path / "small.py").write_text(SMALL, encoding="utf-8")
    store = tmp_path / "store"
    known = environment(SHIMS=str(short), SLURM_JOB_ID=f"t{os.getpid()}", SLURM_JOB_NODELIST="node[1-2]", SLURM_JOB_NUM_NODES="2")
    known |= {"SLURM_CPUS_PER_TASK": "1", "PATH": f"{short}:{known['PATH']}"}
    command = [FOLDER / "slurm.sh", tmp_path / "small.py", "--store", store]
    said = ""
    for tries, code in ((0, 130), (1, 0)):
        output = tmp_path / f"{tries}.log"
        with output.open("w") as file:
            started = subprocess.Popen(
                command, env=known | {"SLURM_RESTART_COUNT": str(tries)}, stdout=file, stderr=file, start_new_session=True
            )
        try:
            deadline = time.monotonic() + 240
            while tries == 0 and started.poll() is None and time.monotonic() < deadline and len(list(store.glob("stages/*"))) < 3:
                time.sleep(0.1)
            if tries == 0:
                started.send_signal(signal.SIGUSR1)
            assert started.wait(timeout=240) == code, output.read_text()
            deadline = time.monotonic() + 20
            while of_sessions(started.pid) and time.monotonic() < deadline:
                time.sleep(0.2)
            assert not of_sessions(started.pid)
        finally:
            end(started)
        said = output.read_text()
        assert "2 nodes: " in said
        assert not Path(f"/tmp/ray-{known['SLURM_JOB_ID']}-{tries}").exists()  # noqa: S108
        if tries == 0:
            assert "run the same command again" in said
            assert [line for line in (short / "scontrol.log").read_text().splitlines() if "requeue" in line] == [
                f"requeue {known['SLURM_JOB_ID']}"
            ]
            assert not list((store / "partial").iterdir())
    plan = make_plan(load_study(str(tmp_path / "small.py")))
    assert all(Store(store).has(key) for key in plan.stages)
    assert all(found.count("done") == 1 for found in events(store).values())
    assert set(events(store)) == set(plan.stages)
    asked = (short / "srun.log").read_text()
    assert "--nodes=1 --ntasks=1 --ntasks-per-node=1 --cpus-per-task=1 --exclude=node1 --export=ALL ray start" in asked
    assert (short / "scontrol.log").read_text().count("requeue") == 1


@pytest.mark.slow
def test_a_submitted_job_runs_on_the_nodes_of_its_cluster(short: Path, tmp_path: Path) -> None:
    """`ray job submit` with the documented runtime environment: all stages are done by a node other than the driver's, which has no
    processors to give; a bad command fails there.
    """
    gcs, dashboard, client, store = free_port(), free_port(), free_port(), tmp_path / "store"
    known = environment(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))
    ray = [str(Path(sys.executable).parent / "ray")]
    node = ["--block", "--min-worker-port=0", "--max-worker-port=0", "--dashboard-agent-listen-port=0"]
    node += ["--object-store-memory=200000000"]
    head = [
        "--head",
        "--num-cpus=0",
        f"--port={gcs}",
        f"--dashboard-port={dashboard}",
        f"--ray-client-server-port={client}",
        f"--temp-dir={short / '1'}",
    ]
    other = ["--num-cpus=1", f"--address=127.0.0.1:{gcs}", "--node-ip-address=127.0.0.2", f"--temp-dir={short / '2'}"]
    fields = yaml.safe_load((FOLDER / "runtime_env.yaml").read_text(encoding="utf-8"))
    del fields["pip"]  # this environment has them
    (tmp_path / "runtime_env.yaml").write_text(yaml.safe_dump(fields), encoding="utf-8")
    submit = [*ray, "job", "submit", f"--address=http://127.0.0.1:{dashboard}", "--runtime-env", str(tmp_path / "runtime_env.yaml"), "--"]
    (tmp_path / "small.py").write_text(SMALL, encoding="utf-8")
    plan = make_plan(load_study(str(tmp_path / "small.py")))
    run = [sys.executable, "-m", "raystilts.cli", "run", str(tmp_path / "small.py"), "--store", str(store)]
    nodes: list[subprocess.Popen[Any]] = []

    def submitted(*words: str) -> tuple[int, str]:
        done = subprocess.run([*submit, *words], cwd=ROOT, env=known, capture_output=True, text=True, timeout=240, check=False)
        return done.returncode, done.stdout + done.stderr

    try:
        with (tmp_path / "ray.log").open("w") as log:
            for place, flags in (("1", head), ("2", other)):
                command = [*ray, "start", *flags, *node]
                nodes.append(subprocess.Popen(command, env=known, stdout=log, stderr=log, start_new_session=True))
                deadline = time.monotonic() + 90
                while not (short / place / "ray_current_cluster").exists():
                    assert nodes[-1].poll() is None, (tmp_path / "ray.log").read_text()
                    assert time.monotonic() < deadline, (tmp_path / "ray.log").read_text()
                    time.sleep(0.2)
        code, said = submitted(*run)  # RAY_ADDRESS is set there, and no second Ray is started
        assert code == 0, said
        assert set(events(store)) == set(plan.stages)
        assert all(Store(store).has(key) for key in plan.stages)
        assert ran_on(store, short / "2") == set(plan.stages)
        code, said = submitted(*run[:3], "run", "experiments/nowhere.py")
        assert code == 1
        assert "there is no such experiment file" in said
        assert "failed with exit code 2" in said
    finally:
        end(*reversed(nodes))


def ran_on(store: Path, node: Path) -> set[str]:
    """Keys of the stages whose every run was in a process of the node with that folder: its processes' logs end in their ids."""
    here = {path.stem.rpartition("-")[2] for path in node.glob("session_*/logs/worker-*.out")}
    lines = Store(store).journal()
    elsewhere = {line["key"] for line in lines if line["process"].rpartition("-")[2] not in here}
    return {line["key"] for line in lines} - elsewhere
