"""How fast texts become tokens, and how fast a second process has them: tokens per second, and the time of a hit in the cache.

    python analysis/benchmarks/tokens.py --data DATA --encoders ENCODERS

DATA holds the original files, ENCODERS a folder e5-small-3 (see experiments/laptop.py). Every row is measured in fresh processes, each
phase `--repetitions` times; medians, with the least and the most. "Made" is the whole of it: the Rust tokenizer, windows, offsets, and the
file. "Hit" is another process that maps the file, asks for all lengths and the pieces that occur, and reads every 100th item.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from machine import machine

from raystilts import data, features, model
from raystilts.features import Item, Items
from raystilts.kinds import KINDS
from raystilts.stage import Recipe
from raystilts.task import Source, Task
from raystilts.tasks.choice import CSQA
from raystilts.tasks.nli import XNLI
from raystilts.tasks.qa import SQUAD
from raystilts.tasks.tagging import UDPOS


def _train(task: Task, source: Source | None, **changes: Any) -> Task:
    return replace(task, train=source and replace(source, **changes))


WORKLOADS = {
    "sentence pairs (XNLI dev, en)": (_train(XNLI, XNLI.dev), Recipe()),
    "tagging (UD-POS train)": (UDPOS, Recipe()),
    "questions (SQuAD part 1)": (_train(SQUAD, SQUAD.train, files=("squad/part-1.json",)), Recipe(max_length=384)),
    "five choices (CommonsenseQA)": (CSQA, Recipe()),
}


def measure(name: str, data_dir: Path, encoder: Path, folder: Path) -> dict[str, float]:
    """In this process: make the items or take those that are there; seconds, and how many pieces."""
    task, recipe = WORKLOADS[name]
    examples = data.examples(task, "train", "en", data_dir)
    tokenizer = model.load_tokenizer(model.Root(str(encoder)))
    tokenizer("warm up")
    Items.of([Item(0, ([0],))]).lengths  # noqa: B018  pyarrow imports pandas on its first way to numpy
    made = []

    def make() -> list[Item]:
        made.append(1)
        return list(KINDS[task.kind].encode(examples, task.labels, tokenizer, recipe))

    started = time.perf_counter()
    items: Items = features.tokenised(folder, ("benchmark", name), make)
    total = int(items.lengths.sum()) + len(items.vocabulary) + sum(len(items[i].pieces) for i in range(0, len(items), 100))
    seconds = time.perf_counter() - started
    facts = {"seconds": seconds, "pieces": items.num_pieces, "items": len(items), "examples": len(examples)}
    return facts | {"made": len(made), "checksum": total}


def alone(name: str, options: argparse.Namespace, folder: Path) -> dict[str, float]:
    """`measure` in a fresh process."""
    command = [sys.executable, __file__, "--data", str(options.data), "--encoders", str(options.encoders), "--one", name, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603  ourselves
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main() -> None:
    """Measure all workloads and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--encoders", type=Path, required=True)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--one", nargs=2, metavar=("WORKLOAD", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    encoder = options.encoders / "e5-small-3"
    if options.one:
        print(json.dumps(measure(options.one[0], options.data, encoder, Path(options.one[1]))))
        return
    print("# Tokens: made once, then mapped\n")
    print(f"Made by `python analysis/benchmarks/tokens.py --data DATA --encoders ENCODERS`. {machine()}\n")
    print("| workload | examples | items | tokens | made, s | tokens/s | hit, ms | made / hit | bytes a token |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name in WORKLOADS:
        makes, hits, size = [], [], 0
        for _ in range(options.repetitions):
            folder = Path(tempfile.mkdtemp(prefix="tokens-"))
            makes.append(alone(name, options, folder))
            hits.append(alone(name, options, folder))
            size = sum(path.stat().st_size for path in folder.iterdir())
            shutil.rmtree(folder)
        first = makes[0]
        if {run["checksum"] for run in (*makes, *hits)} != {first["checksum"]} or any(run["made"] for run in hits):
            raise SystemExit(f"{name}: what was read from the cache is not what was made")
        made, hit = ([run["seconds"] for run in runs] for runs in (makes, hits))
        ratio = statistics.median(a / b for a, b in zip(made, hit, strict=True))
        cells = [
            name, f"{first['examples']:,}", f"{first['items']:,}", f"{first['pieces']:,}",
            f"{statistics.median(made):.2f} ({min(made):.2f}-{max(made):.2f})",
            f"{first['pieces'] / statistics.median(made):,.0f}",
            f"{1000 * statistics.median(hit):.1f} ({1000 * min(hit):.1f}-{1000 * max(hit):.1f})",
            f"{ratio:.0f} x", f"{size / first['pieces']:.1f}",
        ]  # fmt: skip
        print(f"| {' | '.join(cells)} |", flush=True)
    print("\nMedian (least-most) of fresh processes. The clock starts when the tokenizer is warm and the examples are in memory.")


if __name__ == "__main__":
    main()
