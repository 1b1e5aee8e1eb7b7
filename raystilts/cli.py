"""The command line: raystilts VERB ..."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from raystilts import __version__, show
from raystilts.errors import UserError
from raystilts.store import Store, owner
from raystilts.study import Plan, Study, make_plan

EPILOGUES = {
    "tasks": "example: raystilts tasks xnli --data ../shared/data",
    "plan": "example: raystilts plan experiments/quickstart.py --json",
    "run": "example: raystilts run experiments/laptop.py:smoke --data DATA --encoders ENCODERS --store runs/smoke",
    "status": "example: raystilts status experiments/quickstart.py",
    "report": "example: raystilts report experiments/quickstart.py --out report",
    "analyse": "example: raystilts analyse TABLES --plan plan.toml --out analysis",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb. Returns the exit code: 0 done, 1 some stages failed, 2 bad input, 130 interrupted."""
    options = parser().parse_args(arguments)
    try:
        code: int = options.verb(options)
    except UserError as error:
        print(f"raystilts: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("raystilts: interrupted; run the same command again to continue.", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code


def parser() -> argparse.ArgumentParser:
    """All verbs and flags. Flags say where and how; what is run is the experiment's business."""
    top = argparse.ArgumentParser(
        prog="raystilts",
        description="Intermediate-task transfer sweeps on Ray, and the statistics that say which of their gains are real.",
    )
    top.add_argument("--version", action="version", version=f"raystilts {__version__}")
    verbs = top.add_subparsers(required=True, metavar="VERB")

    def verb(name: str, what: str, function: object) -> argparse.ArgumentParser:
        added = verbs.add_parser(name, help=what, description=what, epilog=EPILOGUES[name])
        added.set_defaults(verb=function)
        return added

    added = verb("tasks", "List the tasks, or show one with an example of each split that is at hand.", show_tasks)
    added.add_argument("name", nargs="?", help="a task's name")
    added.add_argument("--data", type=Path, metavar="DIR", help="folder with data in its original formats (default: the Hub)")
    added.add_argument("--json", action="store_true", help="print JSON")

    added = verb("analyse", "Analyse predictions that anybody made: tables of runs and examples, a plan of contrasts in TOML.", analyse)
    added.add_argument("tables", type=Path, metavar="TABLES", help="folder with runs.parquet, and examples.parquet or scores")
    added.add_argument("--plan", type=Path, required=True, metavar="FILE", help="plan in TOML: metric, contrasts, interactions, policy")
    added.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the tables and the report")

    for name, what, function in (
        ("plan", "Show which stages a study consists of, which are done, and what sharing saves.", show_plan),
        ("run", "Run what is missing of a study, then write its report. The same command continues an interrupted run.", run),
        ("status", "Show how far a study is, also while it runs.", show_status),
        ("report", "Write the report of a study from what is in its store.", report),
    ):
        added = verb(name, what, function)
        added.add_argument(
            "experiment", metavar="EXPERIMENT", help="FILE.py or FILE.py:FUNCTION; the function (default: study) returns a Study"
        )
        added.add_argument("--store", type=Path, metavar="DIR", help="folder of finished stages (default: runs/NAME-OF-STUDY)")
        added.add_argument("--data", type=Path, metavar="DIR", help="folder with data in its original formats (default: the Hub)")
        added.add_argument("--encoders", type=Path, metavar="DIR", help="folder that holds the encoder folders (default: the current one)")
        if name in ("plan", "status"):
            added.add_argument("--json", action="store_true", help="print JSON")
        if name in ("run", "report"):
            added.add_argument("--out", type=Path, metavar="DIR", help="folder for the report (default: STORE/report)")
        if name == "run":
            add_run_flags(added)
    return top


def add_run_flags(added: argparse.ArgumentParser) -> None:
    """Flags that say how a plan runs."""
    added.add_argument("--workers", type=positive, default=1, metavar="N", help="processes per fine-tuning (default: 1)")
    added.add_argument("--cpus-per-worker", type=positive, default=1, metavar="N", help="CPUs, and threads, of a process (default: 1)")
    added.add_argument(
        "--gpus-per-worker", type=share, default=0.0, metavar="X", help="GPUs of a process; a fraction shares one (default: 0)"
    )
    added.add_argument("--max-concurrent", type=positive, metavar="N", help="stages at the same time (default: what fits)")
    added.add_argument("--address", metavar="ADDRESS", help="join this Ray cluster, such as auto (default: start Ray on this machine)")
    added.add_argument("--in-process", action="store_true", help="run the stages one after the other in this process, without Ray")
    added.add_argument("-v", "--verbose", action="store_true", help="show Ray's own messages")


def positive(text: str) -> int:
    """A whole number of at least 1."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def share(text: str) -> float:
    """A number of GPUs: whole, or a fraction below 1."""
    try:
        number = float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from error
    if not (0 <= number < 1 or number.is_integer()):
        raise argparse.ArgumentTypeError(f"{text!r} is neither a whole number nor a fraction below 1")
    return number


def load_study(experiment: str) -> Study:
    """The Study that `FILE.py[:FUNCTION]` returns. The file is executed: run only experiments that you trust."""
    name, _, function = experiment.partition(":")
    path, function = Path(name), function or "study"
    if not path.is_file():
        raise UserError(f"{path}: there is no such experiment file; name an existing one, such as experiments/quickstart.py.")
    spec = importlib.util.spec_from_file_location(f"raystilts_experiment_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise UserError(f"{path}: an experiment is a Python file whose name ends in .py.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{path}: cannot be executed ({type(error).__name__}: {error}); correct the file.") from error
    make = getattr(module, function, None)
    if not callable(make):
        raise UserError(f"{path}: it has no function {function}(); define one that returns a raystilts.study.Study.")
    found = make()
    if not isinstance(found, Study):
        raise UserError(f"{path}: {function}() returns {type(found).__name__}; it must return a raystilts.study.Study.")
    return found


def planned(options: argparse.Namespace) -> tuple[Plan, Store]:
    """The plan of the command's experiment, and its store."""
    study = load_study(options.experiment)
    if options.data is not None and not options.data.is_dir():
        raise UserError(f"{options.data}: there is no such folder; --data names a folder with the data files.")
    return make_plan(study, options.data, options.encoders), Store(options.store or Path("runs") / study.name)


def show_tasks(options: argparse.Namespace) -> int:
    """Verb tasks. Shows what is at hand: files below --data, generated examples, the Hub's cache; downloads nothing."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    facts = show.task_facts(options.name, options.data) if options.name else show.task_rows()
    lines = show.task_lines(facts) if isinstance(facts, dict) else show.tasks_table(facts)
    print(json.dumps(facts, indent=1, ensure_ascii=False) if options.json else "\n".join(lines))
    return 0


def show_plan(options: argparse.Namespace) -> int:
    """Verb plan."""
    plan, store = planned(options)
    rows = show.plan_rows(plan, store)
    print(json.dumps(rows, indent=1, ensure_ascii=False) if options.json else "\n".join(show.plan_table(plan, store)))
    return 0


def show_status(options: argparse.Namespace) -> int:
    """Verb status."""
    plan, store = planned(options)
    rows = show.plan_rows(plan, store)
    failures = {key: store.failure(key) for key in plan.stages if store.failure(key) and not store.has(key)}
    if options.json:
        print(json.dumps({"study": plan.study.name, "stages": rows, "failures": failures}, indent=1, ensure_ascii=False))
        return 0
    print("\n".join(show.plan_table(plan, store)))
    for key, text in failures.items():
        print(f"failed: {plan.label(key)} ({key})\n  {text.strip().splitlines()[-1]}")
    missing = [plan.label(row["key"]) for row in rows if not row["done"]]  # type: ignore[arg-type]
    if missing:
        print(f"next: {'; '.join(missing[:3])}{' ...' if len(missing) > 3 else ''}")
        return 0
    from raystilts import results  # noqa: PLC0415  imports the statistics, which take a second

    print("\n".join(["all stages are done.", *results.next_look(plan, store)]))
    return 0


def run(options: argparse.Namespace) -> int:
    """Verb run."""
    from raystilts import sweep  # noqa: PLC0415  imports Ray and torch only when something is to be run
    from raystilts.execute import Site, check_inputs  # noqa: PLC0415

    plan, store = planned(options)
    store.prepare()
    store.clear_partial()
    store.forget_failures()
    print("\n".join(show.plan_table(plan, store)))
    # workers of Ray start in another folder
    site = Site(
        Store(store.root.resolve()), owner(), options.data and options.data.resolve(), options.encoders and options.encoders.resolve(),
        options.workers, options.cpus_per_worker, options.gpus_per_worker,
    )  # fmt: skip
    done = store.finished(plan.stages)
    stale = [key for key in plan.stages if store.has(key) and key not in done]
    for key in reversed(stale):
        store.discard(key)
    if stale:
        print(f"{len(stale)} finished stages stand on one that is gone from the store and are made again with it.")
    if len(done) == len(plan.stages):
        print("nothing to run: all stages are in the store.")
    else:
        check_inputs(plan, site)
        if options.in_process:
            sweep.run_in_process(plan, site)
        else:
            sweep.run_on_ray(plan, site, sweep.Cluster(options.address, options.max_concurrent, options.verbose))
    write_report(plan, store, options)
    return 1 if any(not store.has(key) for key in plan.stages) else 0


def report(options: argparse.Namespace) -> int:
    """Verb report."""
    plan, store = planned(options)
    write_report(plan, store, options)
    return 0


def analyse(options: argparse.Namespace) -> int:
    """Verb analyse."""
    from raystilts.analyse import analyse_tables  # noqa: PLC0415  imports the statistics, which take a second

    again = f"raystilts analyse {options.tables} --plan {options.plan} --out {options.out}"
    print("\n".join(analyse_tables(options.tables, options.plan, options.out, again)))
    return 0


def write_report(plan: Plan, store: Store, options: argparse.Namespace) -> None:
    """Write the report of what is in the store; print the verdicts and where the report lies."""
    from raystilts import results  # noqa: PLC0415  imports the statistics, which take a second

    out = options.out or store.root / "report"
    lines = results.write(plan, store, out, command(options))
    print("\n".join(lines))
    print(f"report: {out / 'report.html'}")


def command(options: argparse.Namespace) -> str:
    """The command that makes this study and its report."""
    flags = [f"--{name} {value}" for name in ("data", "encoders", "store") if (value := getattr(options, name))]
    return " ".join(["raystilts run", options.experiment, *flags])


if __name__ == "__main__":
    sys.exit(main())
