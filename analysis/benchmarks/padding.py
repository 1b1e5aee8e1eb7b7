"""What share of the tokens that a model reads is padding?

    python analysis/benchmarks/padding.py --data DATA --encoders ENCODERS

Counts over an epoch of whole training sets, and over the test sentences of 20 languages: batches as raystilts makes them (sorted by length
within pools of 32 batches, so that what stands together stays random; micro-batches are cut from them), a random order in batches of 16
padded to their longest (transformers' default data collators), and everything padded to the maximum. Writes padding.md beside this file.
"""

from __future__ import annotations

import argparse
import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
from peer_work import PAIRS, QUESTIONS, TAGS, TESTED, TESTED_LANGUAGES, TRAINED

from raystilts import data, features, model
from raystilts.evaluate import TOKEN_BUDGETS
from raystilts.kinds import KINDS
from raystilts.model import Root
from raystilts.stage import Recipe
from raystilts.task import Task


def lengths(task: Task, recipe: Recipe, split: str, language: str, folder: Path, root: Root) -> np.ndarray:
    """Tokens of each item."""
    examples = data.examples(task, split, language, folder)
    return np.array(
        [len(item.pieces[0]) for item in KINDS[task.kind].encode(examples, data.labels(task, folder), model.load_tokenizer(root), recipe)]
    )


def parts(order: np.ndarray, size: int) -> list[np.ndarray]:
    """Item numbers, in their order, that many at a time."""
    return [order[start : start + size] for start in range(0, len(order), size)]


def waste(batches: list[np.ndarray], sizes: np.ndarray) -> float:
    """Share of padding where each batch is padded to its longest."""
    return 1 - sum(int(sizes[batch].sum()) for batch in batches) / sum(len(batch) * int(sizes[batch].max()) for batch in batches)


def training(sizes: np.ndarray, recipe: Recipe) -> tuple[float, float, float]:
    """Shares of padding of an epoch: ours, in random order, padded to the maximum."""
    micro, steps = recipe.micro_batch_size, -(-len(sizes) // recipe.batch_size)
    ours = [part for batch in itertools.islice(features.batches(sizes, recipe, 1), steps) for part in parts(batch, micro)]
    shuffled = parts(np.random.default_rng(1).permutation(len(sizes)), micro)
    return waste(ours, sizes), waste(shuffled, sizes), 1 - float(sizes.mean()) / recipe.max_length


def main() -> None:
    """Count and write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--encoders", type=Path, required=True, help="holds e5-small-3 (see experiments/laptop.py)")
    options = parser.parse_args()
    root = Root(str(options.encoders / "e5-small-3"))
    lines = ["| | items | tokens an item | raystilts | random order | padded to the maximum |", "|---|---:|---:|---:|---:|---:|"]
    for name in (PAIRS, TAGS, QUESTIONS):
        task, recipe = TRAINED[name]
        sizes = lengths(task, recipe, "train", "en", options.data, root)
        cells = [f"{share:.1%}" for share in training(sizes, replace(recipe, num_epochs=1))]
        lines.append(f"| {name} | {len(sizes):,} | {sizes.mean():.0f} | {' | '.join(cells)} |")
    recipe = TRAINED[TAGS][1]
    tested = [lengths(TESTED, recipe, "test", language, options.data, root) for language in TESTED_LANGUAGES]
    sizes = np.concatenate(tested)
    ours = waste(list(features.by_tokens(sizes, TOKEN_BUDGETS["cpu"], 1)), sizes)
    ends = np.cumsum([len(of) for of in tested])
    in_order = [part for of, end in zip(tested, ends, strict=True) for part in parts(np.arange(end - len(of), end), 32)]
    cells = [f"{share:.1%}" for share in (ours, waste(in_order, sizes), 1 - float(sizes.mean()) / recipe.max_length)]
    lines.append(f"| 20 languages (WikiANN) | {len(sizes):,} | {sizes.mean():.0f} | {' | '.join(cells)} |")
    table, about = "\n".join(lines), __doc__.partition("Counts")
    text = f"# Padding\n\n`python analysis/benchmarks/padding.py --data DATA --encoders ENCODERS`\n\n{table}\n\n{about[1]}{about[2]}"
    Path(__file__).with_suffix(".md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
