"""How do plan, status and the tables of a report grow with the stages of a store, and how many readers does it bear?

    python analysis/benchmarks/load.py --stages 100000 --rows 50000000

It writes load.md beside this file. The study is synthetic: two encoders x (the baseline and 4 intermediates) x 10 targets in 5 languages;
what doubles is the number of seeds. Stages are planned as any study's are, and written as a sweep writes them, with sealed records and the
hashes of their files; weights are files of 64 bytes. The prediction tables are a few per language that were written once, linked hard into
every evaluation: their rows are read as often as those of files of their own would be, but from memory that already holds them. plan and
status are the commands; the tables are the runs with their records, then every prediction table, compared with its hash and read. The
statistics above them are measured in full_study.md. MiB are the most that the process held, or the one that started it: an upper bound.

What grows with languages is measured with tables of two arms of five runs and 100 examples in each of so many (made-up) languages:
`raystilts analyse`, from the tables to the written report.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import json
import multiprocessing
import os
import random
import resource
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from machine import machine

from raystilts import cli, results
from raystilts.record import finish
from raystilts.stage import SCHEMA, Encoder
from raystilts.store import Store
from raystilts.study import Plan, Study, make_plan
from raystilts.task import Example, Source, Task

LANGUAGES = ("sw", "yo", "te", "th", "ur")
NUM_TARGETS, NUM_INTERMEDIATES, ENCODERS = 10, 4, ("base", "large")
STAGES_A_SEED = len(ENCODERS) * (NUM_INTERMEDIATES + 2 * (NUM_INTERMEDIATES + 1) * NUM_TARGETS)
EVALUATIONS_A_SEED = len(ENCODERS) * (NUM_INTERMEDIATES + 1) * NUM_TARGETS
VARIANTS = 8  # different prediction tables of a language
READERS, READ = 200, 20  # processes at the same time, and stages that each reads
NAMES = ("plan", "status", "tables")
NUMBERS_OF_LANGUAGES = (100, 200, 400, 800)


def study(num_seeds: int) -> Study:
    """Tasks that generate an example, so that nothing is read to plan them."""

    def task(name: str) -> Task:
        source = Source(generate=lambda language: (Example("1", (f"{name} {language}",), "a"),))
        return Task(name, "classification", "accuracy", languages=LANGUAGES, labels=("a", "b"), train=source, dev=source, test=source)

    encoders = tuple(Encoder(name, hub=f"synthetic/{name}", revision="0" * 40) for name in ENCODERS)
    intermediates = tuple(task(f"intermediate{number}") for number in range(NUM_INTERMEDIATES))
    targets = tuple(task(f"target{number}") for number in range(NUM_TARGETS))
    return Study("load", "Does the store grow in proportion?", encoders, intermediates, targets, tuple(range(num_seeds)))


def tables(folder: Path, rows: int) -> list[Path]:
    """Prediction tables of so many rows, several for each language."""
    found = []
    for number in range(VARIANTS * len(LANGUAGES)):
        right = np.random.default_rng(number).random(rows) < 0.7
        table = {
            "example_id": [str(place) for place in range(rows)],
            "cluster_id": pa.nulls(rows, pa.string()),
            "gold": ["a"] * rows,
            "prediction": np.where(right, "a", "b"),
            "s0": right.astype(float),
        }
        found.append(folder / f"{number}.parquet")
        pq.write_table(pa.table(table), found[-1], compression="zstd")
    return found


def write(store: Store, plan: Plan, parts: Sequence[Path]) -> None:
    """What the store lacks of the plan's stages, as a sweep writes them; all but one, so that nothing asks for statistics."""
    done = store.done()
    for number, (key, stage) in enumerate([*plan.stages.items()][:-1]):
        if key in done:
            continue
        folder = store.path(key)
        (folder / "predictions").mkdir(parents=True)
        lineage = [
            {"key": one.key, "phase": one.phase, "task": one.task and one.task.name, "data": dict(one.data)} for one in stage.lineage
        ]
        record = {"schema": SCHEMA, "key": key, "label": plan.label(key), "phase": stage.phase, "lineage": lineage, "seconds": 1.0}
        record |= {"code": {"raystilts": "0", "git": None, "python": "3"}, "packages": {"torch": "2"}, "started": "2026-01-01T00:00:00Z"}
        record["result"] = {"dev_score": 70.0, "num_parameters": 1, "metric": "accuracy", "scores": dict.fromkeys(LANGUAGES, 70.0)}
        if stage.phase == "evaluate":
            for place, language in enumerate(LANGUAGES):
                part = parts[place * VARIANTS + number % VARIANTS]
                os.link(part, folder / "predictions" / f"{language}.parquet")
        else:
            (folder / "model.safetensors").write_bytes(os.urandom(64))
        (folder / "stage.json").write_text(json.dumps(record), encoding="utf-8")
        finish(folder)


def told(num_seeds: int, store: Path, verb: str) -> None:
    """One of the commands, without what it prints."""
    experiment = store.parent / "experiment.py"
    here = str(Path(__file__).parent)
    lines = ("import sys", f"sys.path.insert(0, {here!r})", "import load", "def study():", f"    return load.study({num_seeds})")
    experiment.write_text("\n".join(lines), encoding="utf-8")
    with contextlib.redirect_stdout(io.StringIO()):
        if cli.main([verb, str(experiment), "--store", str(store)]):
            raise SystemExit(f"{verb} failed")


def read_tables(num_seeds: int, store: Path) -> None:
    """What a report reads: runs, records, prediction tables."""
    plan, place = make_plan(study(num_seeds)), Store(store)
    results.runs_table(plan, place)
    results.other_scores(plan, place)
    results.facts(plan, place)
    rows = sum(len(table) for table in results.examples_of(plan, place))
    print(rows, flush=True)


def analyse_languages(number: int, folder: Path) -> None:
    """The command that analyses tables of so many languages, which are made before."""
    rng, runs, parts = np.random.default_rng(0), [], []
    names = np.repeat([f"language {place}" for place in range(number)], 100)
    ids = np.tile([str(place) for place in range(100)], number)
    for arm, seed in itertools.product(("none", "task"), range(5)):
        run = f"{arm}-{seed}"
        runs.append({"run_id": run, "seed": seed, "encoder": "base", "intermediate": arm})
        right = (rng.random(len(ids)) < (0.74 if arm == "task" else 0.7)).astype(float)
        parts.append(pa.table({"run_id": [run] * len(ids), "language": names, "example_id": ids, "s0": right}))
    tables = folder / f"of {number} languages"
    tables.mkdir()
    pq.write_table(pa.Table.from_pylist(runs), tables / "runs.parquet")
    pq.write_table(pa.concat_tables(parts), tables / "examples.parquet")
    arms = [f'{side} = {{ encoder = "base", intermediate = "{arm}" }}' for side, arm in (("plus", "task"), ("minus", "none"))]
    lines = ['title = "Languages"', 'question = "Does it grow?"', 'metric = "accuracy"', "[[contrasts]]", 'name = "task"', *arms]
    (tables / "plan.toml").write_text("\n".join(lines), encoding="utf-8")
    with contextlib.redirect_stdout(io.StringIO()):
        if cli.main(["analyse", str(tables), "--plan", str(tables / "plan.toml"), "--out", str(tables / "report")]):
            raise SystemExit("analyse failed")


MEASURED: Mapping[str, Callable[[int, Path], None]] = {
    "plan": lambda num_seeds, store: told(num_seeds, store, "plan"),
    "status": lambda num_seeds, store: told(num_seeds, store, "status"),
    "tables": read_tables,
    "languages": analyse_languages,
}


def _in_process(name: str, num_seeds: int, store: Path, answer: multiprocessing.Queue[tuple[float, float, float]]) -> None:
    began = time.monotonic()
    MEASURED[name](num_seeds, store)
    used = resource.getrusage(resource.RUSAGE_SELF)
    answer.put((time.monotonic() - began, used.ru_utime + used.ru_stime, used.ru_maxrss / 2**10))


def measure(name: str, num_seeds: int, store: Path) -> tuple[float, float, float]:
    """(seconds, of processors, peak memory in MiB) in a process of its own, planning included; imports in the last two only."""
    context = multiprocessing.get_context("spawn")
    answer: multiprocessing.Queue[tuple[float, float, float]] = context.Queue()
    process = context.Process(target=_in_process, args=(name, num_seeds, store, answer))
    process.start()
    found = answer.get()
    process.join()
    return found


def _reader(number: int, store: Store, keys: Sequence[str], start: object, answer: multiprocessing.Queue[tuple[float, int]]) -> None:
    """A process that looks at what is done and reads some evaluations, each compared with its hashes."""
    start.wait()  # type: ignore[attr-defined]
    began, rows = time.monotonic(), 0
    done = store.done()
    for key in random.Random(number).sample(keys, min(READ, len(keys))):  # noqa: S311  no secret
        if key in done:
            rows += sum(pq.read_metadata(store.fetch(key) / "predictions" / f"{language}.parquet").num_rows for language in LANGUAGES)
    answer.put((time.monotonic() - began, rows))


def readers(store: Store, keys: Sequence[str]) -> tuple[float, float, int]:
    """(median and longest seconds of a reader, stages written meanwhile): many read at once while one process goes on writing."""
    context = multiprocessing.get_context("fork")
    start, answer = context.Event(), context.Queue()
    processes = [context.Process(target=_reader, args=(number, store, keys, start, answer)) for number in range(READERS)]
    for process in processes:
        process.start()
    start.set()
    found, written = [], 0
    while len(found) < READERS:
        with store.writing(f"{written:020}", "load") as folder:
            (folder / "stage.json").write_text("{}", encoding="utf-8")
        written += 1
        while not answer.empty():
            found.append(answer.get())
    for process in processes:
        process.join()
    for number in range(written):
        store.discard(f"{number:020}")
    if any(process.exitcode for process in processes) or len({rows for _, rows in found}) != 1:
        raise SystemExit("a reader failed")
    return float(np.median([seconds for seconds, _ in found])), max(seconds for seconds, _ in found), written


def main() -> None:
    """Write stores of a quarter, a half and all of the stages, one after the other into the same folder, and measure each."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--stages", type=int, default=100_000, help="of the largest store (default: 100,000)")
    parser.add_argument("--rows", type=int, default=50_000_000, help="prediction rows of the largest store (default: 50 million)")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".md"))
    options = parser.parse_args()
    most = -(-options.stages // STAGES_A_SEED)
    rows = max(1, options.rows // (most * EVALUATIONS_A_SEED * len(LANGUAGES)))
    lines = []
    os.fsync = lambda file: None  # the store is thrown away: hundreds of thousands of flushes would measure the disk
    with tempfile.TemporaryDirectory() as scratch:
        store = Store(Path(scratch) / "store")
        store.prepare()
        parts = tables(store.root, rows)
        for share in (4, 2, 1):
            num_seeds = max(1, most // share)
            plan = make_plan(study(num_seeds))
            began = time.monotonic()
            write(store, plan, parts)
            took = time.monotonic() - began
            found = {name: measure(name, num_seeds, store.root) for name in NAMES}
            num_rows = (len(plan.cells) - 1) * len(LANGUAGES) * rows
            cells = ["{:.1f} s ({:.1f} s), {:.0f} MiB".format(*found[name]) for name in NAMES]
            lines.append(f"| {len(plan.stages):,} | {num_rows:,} | {took:.0f} s | {' | '.join(cells)} |")
            print(lines[-1], flush=True)
        keys = [cell.evaluation.key for cell in plan.cells[:-1]]
        median, longest, written = readers(store, keys)
        of_languages = [(number, *measure("languages", number, store.root)) for number in NUMBERS_OF_LANGUAGES]
    grown = [f"| {number} | {seconds:.1f} s ({used:.1f} s), {peak:.0f} MiB |" for number, seconds, used, peak in of_languages]
    text = f"""# Load: a store of {len(plan.stages):,} stages

`python analysis/benchmarks/load.py --stages {options.stages} --rows {options.rows}`

{machine()}

| stages | prediction rows | written in (this doubling) | plan | status | tables of a report |
|---:|---:|---:|---:|---:|---:|
{chr(10).join(lines)}

In brackets: seconds of processors, imports among them, which tell more where other work shares the machine.

{READERS} processes at once list all stages and read {READ} evaluations each: half of them in {median:.1f} s, the last in {longest:.1f} s,
while one process wrote {written} stages. None saw half a stage.

| languages | tables to a report |
|---:|---:|
{chr(10).join(grown)}

{__doc__.partition("It writes load.md beside this file. ")[2].strip()}
"""
    options.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
