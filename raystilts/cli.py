"""The command line: raystilts VERB ..."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from raystilts import __version__, languages, show
from raystilts.errors import UserError
from raystilts.experiment import find, load_study
from raystilts.faults import divergence
from raystilts.masking import masked
from raystilts.process import owner
from raystilts.store import Store, store_at
from raystilts.study import NONE, Plan, make_plan

if TYPE_CHECKING:
    from raystilts.execute import Site
    from raystilts.sweep import Cluster

EPILOGUES = {
    "tasks": "example: raystilts tasks xnli --data DATA",
    "plan": "example: raystilts plan quickstart --json",
    "run": "example: raystilts run quickstart; or raystilts run laptop:smoke --data DATA --encoders ENCODERS --store runs/smoke",
    "tune": "example: raystilts tune quickstart --task kind --trials 8",
    "status": "example: raystilts status quickstart",
    "report": "example: raystilts report quickstart --out report",
    "translate": "example: raystilts translate mnli --model facebook/nllb-200-distilled-600M --revision COMMIT --language sw --out FILE",
    "verify": "example: raystilts verify runs/quickstart --repair",
    "data": "example: raystilts data check --data DATA",
    "export": "example: raystilts export laptop --data DATA --encoders ENCODERS --intermediate mnli --out predictions",
    "analyse": "example: raystilts analyse TABLES --plan plan.toml --out analysis",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb. Returns the exit code: 0 done, 1 some stages failed or are broken, 2 bad input, 130 interrupted."""
    options = parser().parse_args(arguments)
    try:
        code: int = options.verb(options)
    except UserError as error:
        print(f"raystilts: {masked(str(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("raystilts: interrupted; run the same command again to continue.", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # a full disk, a file server that is away
        print(f"raystilts: {masked(str(error))}; when that is put right, the same command goes on.", file=sys.stderr)
        return 2
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

    added = verb("data", "Look after data files: `data check` reads all files below --data and says what is wrong in them.", check_data)
    added.add_argument("action", choices=["check"], help="check: counts, label distributions, duplicates, every malformed row")
    added.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder with data in its original formats")
    added.add_argument("--json", action="store_true", help="print JSON")

    added = verb("translate", "Translate a task's English training data; the same command continues what was interrupted.", translate)
    add_translation_flags(added)
    added = verb("verify", "Compare every file of a store with what was written, and name what is not.", verify_store)
    added.add_argument("store", metavar="STORE", help="a folder, s3://BUCKET/FOLDER or gs://BUCKET/FOLDER")
    added.add_argument("--repair", action="store_true", help="put broken stages aside, so that the next run makes them anew")

    added = verb("analyse", "Analyse predictions that anybody made: tables of runs and examples, a plan of contrasts in TOML.", analyse)
    added.add_argument("tables", type=Path, metavar="TABLES", help="folder with runs.parquet, and examples.parquet or scores")
    added.add_argument("--plan", type=Path, required=True, metavar="FILE", help="plan in TOML: metric, contrasts, interactions, policy")
    added.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the tables and the report")
    add_further(added)

    which = "FILE.py or FILE.py:FUNCTION; the function (default: study) returns a Study. What comes with raystilts goes by its name alone: "
    which += "quickstart, quickstart:smoke, laptop"
    for name, what, function in (
        ("plan", "Show which stages a study consists of, which are done, and what sharing saves.", show_plan),
        ("run", "Run what is missing of a study, then write its report. The same command continues an interrupted run.", run),
        ("tune", "Search a recipe per task on English dev, on Ray; print it as a literal.", tune),
        ("status", "Show how far a study is, also while it runs.", show_status),
        ("report", "Write the report of a study from what is in its store.", report),
        ("export", "Write a model's predictions in the format of XTREME's evaluator.", export_predictions),
    ):
        added = verb(name, what, function)
        added.add_argument("experiment", metavar="EXPERIMENT", help=which)
        where = "where finished stages are: a folder, s3://BUCKET/FOLDER or gs://BUCKET/FOLDER (default: runs/NAME-OF-STUDY)"
        added.add_argument("--store", metavar="PLACE", help=where)
        added.add_argument("--data", type=Path, metavar="DIR", help="folder with data in its original formats (default: the Hub)")
        added.add_argument("--encoders", type=Path, metavar="DIR", help="folder that holds the encoder folders (default: the current one)")
        added.add_argument("--all-seeds", action="store_true", help="all seeds of all arms, also of those that looks have decided")
        if name in ("plan", "status"):
            added.add_argument("--json", action="store_true", help="print JSON")
        if name == "plan":
            add_simulation_flags(added)
        if name == "export":
            add_export_flags(added)
        if name in ("run", "report"):
            added.add_argument(
                "--out",
                type=Path,
                metavar="DIR",
                help="folder for the report (default: report in the store, or in runs/NAME-OF-STUDY)",
            )
            add_further(added)
        if name == "report":
            again = "make the report again as stages finish, looked for every SECONDS (10), until all are done or Ctrl-C"
            added.add_argument("--watch", nargs="?", type=positive, const=10, metavar="SECONDS", help=again)
        if name in ("run", "tune"):
            add_run_flags(added)
        if name == "tune":
            add_tune_flags(added)
    return top


def add_export_flags(added: argparse.ArgumentParser) -> None:
    """Flags that choose a model whose predictions are exported."""
    added.add_argument("--format", choices=["xtreme"], default="xtreme", help="whose evaluator it is for (default: xtreme)")
    added.add_argument("--encoder", metavar="NAME", help="encoder (default: the study's last)")
    added.add_argument("--intermediate", metavar="NAME", default=NONE, help=f"intermediate task (default: {NONE})")
    added.add_argument("--seed", type=int, metavar="N", help="seed (default: the study's first)")
    added.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the predictions")


def add_translation_flags(added: argparse.ArgumentParser) -> None:
    """Flags of a machine translation."""
    added.add_argument("name", help="a task's name")
    added.add_argument("--model", required=True, metavar="PLACE", help="a sequence-to-sequence model: a folder, or a Hub id")
    added.add_argument("--revision", default="", metavar="COMMIT", help="commit of a Hub model")
    added.add_argument("--language", required=True, metavar="CODE", help="the language to translate into")
    added.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="translations/TASK-LANGUAGE.tsv below --data is where it is read"
    )
    added.add_argument("--data", type=Path, metavar="DIR", help="folder with data in its original formats (default: the Hub)")
    added.add_argument("--limit", type=positive, metavar="N", help="translate that many examples (default: all)")
    added.add_argument("--batch-size", type=positive, default=32, metavar="N", help="examples at once (32)")
    added.add_argument("--max-length", type=positive, default=256, metavar="N", help="tokens of a text and of its translation (256)")
    added.add_argument("--num-beams", type=positive, default=1, metavar="N", help="beams of the search (1: greedy)")


def add_tune_flags(added: argparse.ArgumentParser) -> None:
    """Flags of a search for recipes."""
    added.add_argument("--task", metavar="TASK", help="the task whose recipe is searched (default: each that the study trains)")
    added.add_argument("--encoder", metavar="NAME", help="the encoder that is trained (default: the study's first)")
    how = "successive halving of what Optuna proposes (default), or population based training, whose last values are tried as a recipe"
    added.add_argument("--search", choices=["halving", "pbt"], default="halving", help=how)
    what = "recipes that are tried, or members of the population, the study's own among them (16)"
    added.add_argument("--trials", type=positive, default=16, metavar="N", help=what)
    added.add_argument("--max-epochs", type=positive, metavar="N", help="epochs of the longest training (default: the recipe's)")
    added.add_argument("--num-seeds", type=positive, default=1, metavar="N", help="seeds per recipe, none of them the study's (1)")


def add_simulation_flags(added: argparse.ArgumentParser) -> None:
    """Flags that ask how long a plan takes, and what it costs."""
    what = "say what the plan costs on devices that train on N sequences a second with the first encoder; ENCODER=N for another"
    added.add_argument("--throughput", nargs="+", default=[], metavar="N", help=what)
    added.add_argument("--simulate", action="store_true", help="say how long the missing stages take, by the sweep's own order of jobs")
    added.add_argument("--workers", type=positive, default=2, metavar="N", help="jobs at the same time in the simulation (default: 2)")
    how = "; also ROLE=X or ROLE:ENCODER=X, such as target:xlmr-large=5 (default: what the store has measured)"
    added.add_argument("--hours-per-stage", nargs="+", default=[], metavar="X", help=f"hours that a stage takes{how}")
    added.add_argument("--examples-per-second", nargs="+", default=[], metavar="X", help=f"examples that a stage reads a second{how}")


def add_further(added: argparse.ArgumentParser) -> None:
    """The flag that asks for tables beside a report."""
    what = "write tables beside the report: practices (what other practices would have claimed), selection (the best intermediate, "
    what += "honestly), ledger (published claims against this study)"
    added.add_argument("--further", nargs="+", default=[], choices=["practices", "selection", "ledger"], help=what)


def add_run_flags(added: argparse.ArgumentParser) -> None:
    """Flags that say how a plan runs."""
    added.add_argument("--workers", type=positive, default=1, metavar="N", help="processes per fine-tuning (default: 1)")
    added.add_argument("--cpus-per-worker", type=positive, default=1, metavar="N", help="CPUs, and threads, of a process (default: 1)")
    added.add_argument(
        "--gpus-per-worker", type=share, default=0.0, metavar="X", help="GPUs of a process; a fraction shares one (default: 0)"
    )
    added.add_argument("--max-concurrent", type=positive, metavar="N", help="stages at the same time (default: what fits)")
    where = "join this Ray cluster: auto, or HOST:PORT (default: RAY_ADDRESS, else Ray is started on this machine)"
    added.add_argument("--address", metavar="ADDRESS", help=where)
    how_often = "a training that is killed goes on from its state at most that long ago (default: 10)"
    added.add_argument("--checkpoint-minutes", type=float, default=10.0, metavar="X", help=how_often)
    what = "hold all rows of the embedding matrix in training, also of pieces that no text has: same results, more time and memory"
    added.add_argument("--no-compaction", dest="compaction", action="store_false", help=what)
    what = "compute layers again in the backward pass instead of keeping them: same results, less memory, a third more time"
    added.add_argument("--recompute", action="store_true", help=what)
    how = added.add_mutually_exclusive_group()
    how.add_argument("--in-process", action="store_true", help="run the stages one after the other in this process, without Ray")
    where = "log losses and scores also there, through Ray's callbacks: in logs beside the report, or as MLFLOW_TRACKING_URI says"
    how.add_argument("--log-to", nargs="+", default=[], choices=["tensorboard", "mlflow", "wandb"], help=where)
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


def planned(options: argparse.Namespace) -> tuple[Plan, Store]:
    """The plan of the command's experiment, and its store."""
    study = load_study(options.experiment)
    if options.data is not None and not options.data.is_dir():
        raise UserError(f"{options.data}: there is no such folder; --data names a folder with the data files.")
    store = store_at(options.store) if options.store else Store(Path("runs") / study.name)
    store.check_schema()
    if not study.looks:
        return make_plan(study, options.data, options.encoders), store
    from raystilts import results  # noqa: PLC0415  imports the statistics, which take a second

    return results.plan_of(study, options.data, options.encoders, store, all_seeds=options.all_seeds), store


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
    if options.simulate:
        from raystilts import simulate  # noqa: PLC0415  needed here only

        declared = simulate.declare(plan, hours=options.hours_per_stage, rates=options.examples_per_second, data_dir=options.data)
        known = simulate.durations(plan, store, declared)
        found = simulate.simulate(simulate.graph_of(plan), known.seconds, options.workers, store.finished(plan.stages))
        facts = simulate.facts(found, known)
        print(json.dumps(facts, indent=1, ensure_ascii=False) if options.json else "\n".join(simulate.lines(found, known)))
        return 0
    if options.throughput:
        from raystilts import cost  # noqa: PLC0415  needed here only

        found_cost = cost.cost_of(plan, cost.throughputs(plan, options.throughput), options.data)
        print(json.dumps(cost.facts(found_cost), indent=1) if options.json else "\n".join(cost.lines(found_cost)))
        return 0
    rows = show.plan_rows(plan, store)
    print(json.dumps(rows, indent=1, ensure_ascii=False) if options.json else "\n".join(show.plan_table(plan, store)))
    return 0


def show_status(options: argparse.Namespace) -> int:
    """Verb status."""
    plan, store = planned(options)
    rows = show.plan_rows(plan, store)
    told, done = store.failures(), store.done()
    failures = {key: store.failure(key) for key in plan.stages if key in told and key not in done}
    if options.json:
        facts = {"study": plan.study.name, "stages": rows, "running": show.running_now(plan, store), "failures": failures}
        print(json.dumps(facts, indent=1, ensure_ascii=False))
        return 0
    print("\n".join(show.plan_table(plan, store)))
    print("\n".join(show.activity(plan, store)))
    for key, text in failures.items():
        what = "diverged" if divergence(text) else "failed"
        print(f"{what}: {plan.label(key)} ({key})\n  {text.strip().splitlines()[-1]}")
    missing = [plan.label(row["key"]) for row in rows if not row["done"]]  # type: ignore[arg-type]
    if missing:
        print(f"next: {'; '.join(missing[:3])}{' ...' if len(missing) > 3 else ''}")
        return 0
    from raystilts import results  # noqa: PLC0415  imports the statistics, which take a second

    print("\n".join(["all stages are done.", *results.next_look(plan, store)]))
    return 0


def run(options: argparse.Namespace) -> int:
    """Verb run. A study with looks is run up to the next look again and again, until nothing asks for more seeds."""
    plan, store = planned(options)
    store.prepare()
    store.clear_partial()
    store.forget_failures()
    run_missing(plan, store, options)
    while plan.study.looks and plan.stages.keys() <= store.done():
        longer, _ = planned(options)
        if longer.num_seeds == plan.num_seeds:
            break
        plan = longer
        print("a look was taken: arms whose gains are undecided get more seeds.")
        run_missing(plan, store, options)
    done = store.done()
    if any(cell.evaluation.key in done for cell in plan.cells):
        write_report(plan, store, options)
    return 0 if plan.stages.keys() <= done else 1


def site_of(store: Store, options: argparse.Namespace) -> Site:
    """Where and how the command's stages run; workers of Ray start in another folder, so paths are whole ones."""
    from raystilts.execute import Site  # noqa: PLC0415

    return Site(
        store.absolute(),
        owner(),
        options.data and options.data.resolve(),
        options.encoders and options.encoders.resolve(),
        options.workers,
        options.cpus_per_worker,
        options.gpus_per_worker,
        checkpoint_minutes=options.checkpoint_minutes,
        compaction=options.compaction,
        recompute=options.recompute,
    )


def cluster_of(plan: Plan, store: Store, options: argparse.Namespace) -> Cluster | None:
    """Which Ray the command uses, and what is told of it to others; None: this process alone."""
    from raystilts.sweep import Cluster  # noqa: PLC0415  imports torch
    from raystilts.tracking import Tracking  # noqa: PLC0415

    if options.in_process:
        return None
    tracking = (
        Tracking(tuple(dict.fromkeys(options.log_to)), beside(store, plan).resolve() / "logs", plan.study.name) if options.log_to else None
    )
    return Cluster(options.address, options.max_concurrent, options.verbose, tracking)


def run_missing(plan: Plan, store: Store, options: argparse.Namespace) -> None:
    """Run what the store lacks of a plan."""
    from raystilts import sweep  # noqa: PLC0415  imports Ray and torch only when something is to be run
    from raystilts.execute import check_inputs  # noqa: PLC0415

    print("\n".join(show.plan_table(plan, store)))
    site, cluster = site_of(store, options), cluster_of(plan, store, options)
    done = store.finished(plan.stages)
    there = store.done()
    stale = [key for key in plan.stages if key in there and key not in done]
    for key in reversed(stale):
        store.discard(key)
    if stale:
        print(f"{len(stale)} finished stages stand on one that is gone from the store and are made again with it.")
    if len(done) == len(plan.stages):
        print("nothing to run: all stages are in the store.")
        return
    check_inputs(plan, site)
    sweep.run_in_process(plan, site) if cluster is None else sweep.run_on_ray(plan, site, cluster)


def tune(options: argparse.Namespace) -> int:
    """Verb tune."""
    from raystilts import tune as search  # noqa: PLC0415  imports Ray and torch
    from raystilts.halving import Budget  # noqa: PLC0415

    plan, store = planned(options)
    cluster = cluster_of(plan, store, options)
    budget = Budget(options.trials, options.max_epochs, options.num_seeds)
    for task in [options.task] if options.task else search.tunable(plan):
        encoder = options.encoder or plan.study.encoders[0].name
        found = search.tune_task(plan, task, encoder, budget, site_of(store, options), cluster, method=options.search)
        print("\n".join(found.lines))
    return 0


def report(options: argparse.Namespace) -> int:
    """Verb report."""
    plan, store = planned(options)
    if options.watch is not None:
        return watch(options)
    write_report(plan, store, options)
    return 0


def watch(options: argparse.Namespace) -> int:
    """Make the report again whenever stages have come into the store, until it holds all of them (or Ctrl-C)."""
    before: object = None
    while True:
        plan, store = planned(options)
        done = store.finished(plan.stages)
        if done != before:
            print(f"{len(done)} of {len(plan.stages)} stages are done.", flush=True)
            if any(store.has(cell.evaluation.key) for cell in plan.cells):
                write_report(plan, store, options, live=True)
        if len(done) == len(plan.stages):
            return 0
        before = done
        time.sleep(options.watch)


def check_data(options: argparse.Namespace) -> int:
    """Verb data: 0 where every file that a task reads is as it must be, else 2."""
    from raystilts import check  # noqa: PLC0415

    if not options.data.is_dir():
        raise UserError(f"{options.data}: there is no such folder; --data names a folder with the data files.")
    found = check.check(options.data)
    print(json.dumps(check.facts(found), indent=1, ensure_ascii=False) if options.json else "\n".join(check.lines(found)))
    return 2 if found.problems else 0


def verify_store(options: argparse.Namespace) -> int:
    """Verb verify: 0 where every file is as it was written or all that was not is taken out, else 1."""
    from raystilts import verify  # noqa: PLC0415  needed here only

    store = store_at(options.store)
    if not store.all_keys():
        raise UserError(f"{store.shown}: no store is there, or nothing is in it; name the place that a run named by --store.")
    found = verify.verify(store)
    kept = verify.repair(store, found) if options.repair and found.problems else None
    print("\n".join(verify.lines(store, found, kept)))
    return int(bool(found.problems.keys() - (kept or {}).keys()))


def export_predictions(options: argparse.Namespace) -> int:
    """Verb export."""
    from raystilts import export  # noqa: PLC0415

    plan, store = planned(options)
    cells = export.cells_of(plan, options.encoder, options.intermediate, options.seed)
    print("\n".join(export.xtreme(cells, store, options.data, options.out)))
    return 0


def translate(options: argparse.Namespace) -> int:
    """Verb translate."""
    from raystilts import tasks  # noqa: PLC0415
    from raystilts.translate import Settings, translate_task  # noqa: PLC0415

    language = languages.find(options.language).code
    settings = Settings(options.model, language, options.revision, options.batch_size, options.max_length, options.num_beams)
    print("\n".join(translate_task(tasks.find(options.name), settings, options.out, options.data, options.limit)))
    return 0


def analyse(options: argparse.Namespace) -> int:
    """Verb analyse."""
    from raystilts.analyse import analyse_tables  # noqa: PLC0415  imports the statistics, which take a second

    again = f"raystilts analyse {options.tables} --plan {options.plan} --out {options.out}"
    print("\n".join(analyse_tables(options.tables, options.plan, options.out, again, options.further)))
    return 0


def write_report(plan: Plan, store: Store, options: argparse.Namespace, *, live: bool = False) -> None:
    """Write the report of what is in the store; print the verdicts and where the report lies."""
    from raystilts import results  # noqa: PLC0415  imports the statistics, which take a second

    out, study_file = options.out or beside(store, plan) / "report", find(options.experiment)
    lines = results.write(plan, store, out, command(options), options.further, study_file=study_file, live=live)
    print("\n".join(lines))
    print(f"report: {out / 'report.html'}")


def beside(store: Store, plan: Plan) -> Path:
    """The folder for what is no stage: the store's, or a study's own where the store is no folder."""
    return store.root if store.address == store.root else Path("runs") / plan.study.name


def command(options: argparse.Namespace) -> str:
    """The command that makes this study and its report."""
    flags = [f"--{name} {shlex.quote(str(value))}" for name in ("data", "encoders", "store") if (value := getattr(options, name))]
    return masked(" ".join(["raystilts run", shlex.quote(options.experiment), *flags]))


if __name__ == "__main__":
    sys.exit(main())
