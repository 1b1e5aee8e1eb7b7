"""Does an encoder of XLM-R Large's size train on batches of 32 x 128 tokens within 20 GiB? The most resident memory, as the kernel says.

    python analysis/benchmarks/large.py --data DATA --tokenizer ENCODERS/e5-small-3

Weights are random: only sizes matter. --tokenizer names any encoder folder with XLM-R's tokenizer. The batches are pairs of MNLI, joined
and cut so that each has all 128 tokens. What training holds without compaction is computed: the missing rows of the embedding matrix, four
times (weights, gradients, and AdamW's two moments). Every way is a process of its own, and ends where less than 3 GiB of the machine's
memory stay available.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import torch
import transformers
from machine import machine

from raystilts import data, model
from raystilts.features import Item, Items
from raystilts.kinds import KINDS
from raystilts.model import Root
from raystilts.stage import Recipe
from raystilts.tasks.nli import TAXINLI
from raystilts.train import Part, Worker, fit, recomputed

LENGTH, BATCH, LIMIT = 128, 32, 20.0
LARGE = {"num_hidden_layers": 24, "hidden_size": 1024, "intermediate_size": 4096, "num_attention_heads": 16}
RECIPE = Recipe(num_steps=2, batch_size=BATCH, max_length=LENGTH)
GIB = 2**30
WAYS = {"kept": Worker(), "recomputed": Worker(recompute=True)}


def write_root(folder: Path, tokenizer: Path, sizes: dict[str, int]) -> None:
    """A random encoder of XLM-R Large's configuration, or of smaller sizes."""
    config = transformers.XLMRobertaConfig(
        vocab_size=250_002, max_position_embeddings=514, type_vocab_size=1, layer_norm_eps=1e-5, pad_token_id=1, bos_token_id=0,
        eos_token_id=2, **sizes,
    )  # fmt: skip
    torch.manual_seed(1)
    transformers.XLMRobertaModel(config, add_pooling_layer=False).save_pretrained(folder)
    for name in model.TOKENIZER_FILES:
        if (tokenizer / name).exists():
            shutil.copyfile(tokenizer / name, folder / name)


def full_batches(root: Root, data_dir: Path) -> Items:
    """As many items of LENGTH pieces as the steps need: pairs, one after the other."""
    examples = data.examples(TAXINLI, "train", "en", data_dir)
    kind, wanted = KINDS[TAXINLI.kind], BATCH * (RECIPE.num_steps or 1)
    whole, pieces = [], []
    for item in kind.encode(examples, TAXINLI.labels, model.load_tokenizer(root), RECIPE):
        pieces += [int(piece) for piece in item.pieces[0]]
        if len(pieces) >= LENGTH:
            whole.append(Item(len(whole), (pieces[:LENGTH],), item.targets))
            pieces = []
        if len(whole) == wanted:
            break
    return Items.of(whole)


def guard() -> None:
    """Ends this process where the machine's memory runs short."""
    while True:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
        available = next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable")) / 2**20
        if available < 3:
            print(f"stopped: only {available:.1f} GiB of the machine's memory are available", file=sys.stderr, flush=True)
            os._exit(3)
        time.sleep(0.2)


def measure(way: str, root: Root, data_dir: Path, threads: int) -> dict[str, Any]:
    """Train a few steps; the most GiB of this process, its losses and seconds a step."""
    threading.Thread(target=guard, daemon=True).start()
    torch.set_num_threads(threads)
    transformers.logging.set_verbosity_error()
    items, worker = full_batches(root, data_dir), WAYS[way]
    built = model.build(root, None, items.vocabulary, [len(TAXINLI.labels)], 1, keep_head=False)
    if worker.recompute:
        recomputed(built.encoder)
    # a study keeps the root for its next stage; its pages are the file's and may go
    whole = model.num_parameters(root)
    with tempfile.NamedTemporaryFile("w+", encoding="utf-8") as log:
        facts = fit(built, TAXINLI, [Part(TAXINLI, TAXINLI.labels, len(items), items)], RECIPE, 1, model.load_tokenizer(root), worker, log)
        log.flush()
        losses = [json.loads(line)["loss"] for line in Path(log.name).read_text(encoding="utf-8").splitlines()[1:]]
    held = sum(parameter.numel() for parameter in [*built.encoder.parameters(), *built.heads.parameters()])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"peak": peak, "losses": losses, "step": facts["seconds_training"] / len(losses), "held": held, "whole": whole}


def line_of(way: str, found: dict[str, Any]) -> str:
    """A way's line of the table."""
    without = found["peak"] + 4 * 4 * (found["whole"] - found["held"]) / GIB
    cells = [way, f"{found['held'] / 1e6:.0f} M of {found['whole'] / 1e6:.0f} M", f"{found['peak']:.1f}"]
    cells += ["PASS" if found["peak"] <= LIMIT else "FAIL", f"{without:.1f}", f"{found['step']:.0f}"]
    cells += [", ".join(f"{loss:.6f}" for loss in found["losses"])]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=list(WAYS), help="of layers' states (default: both)")
    parser.add_argument("--layers", type=int, default=24, help="for a trial of this script (default: 24)")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".md"))
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        context = multiprocessing.get_context("spawn")
        sizes = LARGE | {"num_hidden_layers": options.layers}
        writer = context.Process(target=write_root, args=(Path(folder), options.tokenizer, sizes))
        writer.start()
        writer.join()
        for way in options.ways:
            with context.Pool(1) as pool:
                rows.append(line_of(way, pool.apply(measure, (way, Root(folder), options.data, options.threads))))
                print(rows[-1], file=sys.stderr, flush=True)
    text = "\n".join(
        [
            "# Memory of XLM-R Large in training",
            "",
            f"Made by `python analysis/benchmarks/large.py --data DATA --tokenizer FOLDER --layers {options.layers}`. "
            f"{RECIPE.num_steps} steps of {BATCH} x {LENGTH} tokens in float32, in micro-batches of {RECIPE.micro_batch_size}; "
            f"random weights of XLM-R Large's "
            f"configuration with {options.layers} layers. {machine()}",
            "",
            f"| states of layers | parameters held | GiB at most | at most {LIMIT:.0f} GiB "
            "| without compaction (computed) | s a step | losses |",
            "|---|---|---:|---|---:|---:|---|",
            *rows,
            "",
            "Resident memory of the whole process, the root encoder's own copy among it (which other stages of the process read). Without "
            "compaction the rest of the embedding matrix is held four times more: weights, gradients and AdamW's two moments.",
        ]
    )
    print(text)
    options.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
