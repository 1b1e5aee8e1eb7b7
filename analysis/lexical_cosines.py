"""Cosines of word pairs before and after lexical injection, trained and unseen ones, each beside the same words in random pairs.

    python analysis/lexical_cosines.py experiments/lexical_injection.py:smoke --store runs/lexical-injection-smoke --encoders ENCODERS

One line per training on pairs that the store holds, and one per layer of the encoder that it started from. A cosine of right pairs says
something only where that of random pairs stays behind: where both rise, the vectors have collapsed. Trains nothing.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from raystilts import data, model
from raystilts.cli import load_study
from raystilts.execute import Site, checkpoint_of, root_of
from raystilts.features import Items
from raystilts.kinds import KINDS
from raystilts.model import Root
from raystilts.network import Network
from raystilts.pairs import deranged
from raystilts.retrieval import embed
from raystilts.stage import Recipe, Stage
from raystilts.store import Store
from raystilts.study import make_plan
from raystilts.task import ENGLISH, Example

NUM_PAIRS = 1000  # of each column, the same for all models


def cosines(root: Root, checkpoint: Path | None, recipe: Recipe, pairs: Sequence[Example]) -> float:
    """The mean cosine of pairs in the layer that the recipe aligns."""
    tokenizer = model.load_tokenizer(root)
    items = Items.of(KINDS["ranking"].encode(pairs, (), tokenizer, recipe))
    built = model.build(root, checkpoint, items.vocabulary, [], None, keep_head=False)
    network = Network(built, recipe, tokenizer).eval()
    with torch.inference_mode():
        first, second = embed(network, items, (0, 1), (recipe.ranking_layer,), "cpu", Path(tempfile.gettempdir()))
    return float(np.einsum("nd,nd->n", first, second).mean())


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment", help="FILE.py:FUNCTION")
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--encoders", type=Path)
    parser.add_argument("--data", type=Path)
    options = parser.parse_args()
    plan = make_plan(load_study(options.experiment), options.data, options.encoders)
    site = Site(Store(options.store), "", options.data, options.encoders)
    done = site.store.finished(plan.stages)
    stages = [stage for key, stage in plan.stages.items() if key in done and stage.phase == "train" and stage.task]
    found = [stage for stage in stages if stage.task and stage.task.kind == "ranking" and plan.roles[stage.key] != "pretraining"]
    right = next((stage.task for stage in found if stage.task and stage.task.dev), None)
    if right is None:
        raise SystemExit("the store holds no training on pairs that has dev data, which are the unseen pairs.")
    columns = []
    for split in ("train", "dev"):
        pairs = data.subset(data.examples(right, split, ENGLISH, options.data), NUM_PAIRS)  # type: ignore[arg-type]
        columns += [pairs, deranged(pairs)]
    print(f"{'':44}{'trained':>9}{'random':>9}{'unseen':>9}{'random':>9}")

    def line(name: str, stage: Stage, checkpoint: Path | None) -> None:
        assert stage.recipe is not None  # noqa: S101  for the type checker
        numbers = [cosines(root_of(stage, plan, site), checkpoint, stage.recipe, pairs) for pairs in columns]
        print(f"{name:44}" + "".join(f"{number:9.4f}" for number in numbers), flush=True)

    before: set[float] = set()
    for stage in found:
        assert stage.recipe is not None  # noqa: S101
        if stage.recipe.ranking_layer not in before:
            before.add(stage.recipe.ranking_layer)
            line(f"before, layer {stage.recipe.ranking_layer:.2f}", stage, checkpoint_of(stage, site))
        line(f"{plan.methods[stage.key]}, seed {stage.seed}", stage, site.store.fetch(stage.key))


if __name__ == "__main__":
    main()
