"""A study of full size whose truth is known: are the planted effects, and only they, reported as real, and how long does it take?

    python analysis/synthetic_study.py DIR [--scale small|full] [--seeds 5] [--seed 0]     # DIR/tables, DIR/plan.toml, DIR/truth.json
    raystilts analyse DIR/tables --plan DIR/plan.toml --out DIR/report

Two encoders, no intermediate task and eleven of them, twelve targets in the languages of the package's own tasks, five seeds. Each example
has units (an answer, the quarters of a span's F1, the sentence's spans) that a run gets right with a probability that is normal in a
latent sum: level of the arm in the language, difficulty of the example (shared by all arms and encoders; half of it also by the languages
of a parallel test set), what the encoder and the arm make of the example, luck of the run (shared by its languages), of the run in the
language, of the seed (shared by the arms of an encoder and target), luck of the draw. Arms without a planted effect follow the same law as
their baseline, so that their gain is exactly zero; planted gains are exact in points (means) or to a few hundredths (micro-F1). One run
has collapsed: it predicts nothing at all.

full: 6,420,000 rows in 214 test sets, 2.6 MB, made in 2 s with 150 MiB; `raystilts analyse` takes 80 s of one processor and 820 MiB.
small: 990,000 rows in 110 test sets, 0.6 MB, made in 1 s with 140 MiB; analysed in 16 s.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from scipy.special import ndtr, ndtri

from raystilts import languages, tasks
from raystilts.metrics import METRICS

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
ENCODERS = {"base": 278_000_000, "large": 560_000_000}
INTERMEDIATES = ("anli-plus", "mnli", "qqp", "squad", "squad2", "hellaswag", "ccg", "cosmosqa", "csqa", "mlm", "multi-task")
LEVELS = {  # target: baseline of the smaller encoder in a language of middling resources, points
    "xnli": 72.0,
    "pawsx": 80.0,
    "xcopa": 55.0,
    "udpos": 70.0,
    "wikiann": 60.0,
    "xquad": 68.0,
    "mlqa": 62.0,
    "tydiqa": 55.0,
    "tatoeba": 60.0,
    "bucc": 75.0,
    "lareqa": 40.0,
    "mewslix": 45.0,
}
PARALLEL = ("xnli", "pawsx", "xcopa", "xquad", "mlqa", "lareqa")
ITEM, OF_ENCODER, OF_ARM = 0.60, 0.14, 0.04
"""Shares of the latent variance: difficulty of the example, what the encoder makes of it, what the arm makes of it."""
RUN, RUN_HERE, OF_SEED = 0.022, 0.020, 0.011
"""Latent standard deviations of a run, a run in one language and a seed: about one point in all."""
DRAW = 1 - ITEM - OF_ENCODER - OF_ARM - RUN**2 - RUN_HERE**2 - OF_SEED**2
WRONG_SPANS = 0.8
"""Share of missed spans that a run predicts wrongly instead of not at all."""


@dataclass(frozen=True)
class Effect:
    """A planted gain (points) of an intermediate task on a target; level "" for all languages, else "low" for low-resource ones."""

    name: str
    intermediate: str
    targets: tuple[str, ...]
    encoders: tuple[str, ...]
    level: str
    gain: float


BOTH = tuple(ENCODERS)
EFFECTS = (
    Effect("helps low-resource languages of two targets", "ccg", ("udpos", "wikiann"), BOTH, "low", 14.0),
    Effect("helps the larger encoder only", "hellaswag", ("xcopa",), ("large",), "", 14.0),
    Effect("helps everywhere", "squad", ("tydiqa",), BOTH, "", 12.0),
    Effect("hurts everywhere", "qqp", ("bucc",), BOTH, "", -12.0),
    Effect("helps a little everywhere", "mnli", ("udpos",), BOTH, "", 4.5),
)
COLLAPSED = ("large", "qqp", "wikiann", 3)


@dataclass(frozen=True)
class Scale:
    """How large a study is. examples: per language."""

    targets: tuple[str, ...]
    intermediates: tuple[str, ...]
    examples: int
    resamples: int


SCALES = {
    "small": Scale(("xcopa", "udpos", "wikiann", "tydiqa", "bucc"), ("mnli", "qqp", "squad", "hellaswag", "ccg"), 150, 1_000),
    "full": Scale(tuple(LEVELS), INTERMEDIATES, 250, 10_000),
}


def is_low(code: str) -> bool:
    """Whether a language counts as low-resource."""
    return languages.low_resource(languages.find(code))


def planted(encoder: str, intermediate: str, target: str, language: str) -> float:
    """The true gain of a cell, points.

    >>> planted("base", "hellaswag", "xcopa", "sw"), planted("large", "hellaswag", "xcopa", "sw"), planted("base", "ccg", "udpos", "de")
    (0.0, 14.0, 0.0)
    """
    found = [
        effect.gain
        for effect in EFFECTS
        if (intermediate, target in effect.targets, encoder in effect.encoders) == (effect.intermediate, True, True)
        and (effect.level != "low" or is_low(language))
    ]
    return sum(found, 0.0)


def contrast_name(encoder: str, intermediate: str, target: str) -> str:
    """The name of a contrast in the plan, as the package's own studies call them."""
    return f"{intermediate} > {target}, {encoder}"


def run_name(encoder: str, intermediate: str, target: str, seed: int) -> str:
    """The id of a run."""
    return f"{encoder}/{intermediate}/{target}/seed {seed}"


def hit_rate(score: float, family: str) -> float:
    """The probability that a unit is right, for a score (0 to 1): micro-F1 also counts wrong spans.

    >>> hit_rate(0.5, "accuracy"), round(hit_rate(0.5, "micro_f1"), 3)
    (0.5, 0.474)
    """
    return score * (1 + WRONG_SPANS) / (2 - score * (1 - WRONG_SPANS)) if family == "micro_f1" else score


def family_of(target: str) -> str:
    """The statistics' name of a target's metric."""
    return METRICS[tasks.find(target).metric].family


def level_of(target: str, code: str, rng: np.random.Generator) -> float:
    """The smaller encoder's baseline in a language, points: it grows with the size of CC-100, and languages differ beside that."""
    size = np.log10(languages.find(code).cc100_mb or 10.0)
    return float(np.clip(LEVELS[target] + 4 * (size - 3.5) + rng.normal(0, 3), 25, 82))


@dataclass(frozen=True)
class Grid:
    """The arms of a target and their seeds, in the order of the arrays: encoder, arm (the first without intermediate), seed."""

    target: str
    arms: tuple[str, ...]
    seeds: int

    @property
    def runs(self) -> list[str]:
        """Ids in order."""
        return [run_name(e, a, self.target, s + 1) for e, a, s in product(ENCODERS, self.arms, range(self.seeds))]


def simulate(grid: Grid, examples: int, seed: int) -> Iterator[tuple[str, dict[str, Ints | Floats]]]:
    """Statistics (runs, examples) by language of one target: s0, or s0, s1, s2."""
    target, task = grid.target, tasks.find(grid.target)
    family, number = family_of(target), tuple(LEVELS).index(target)
    rng = np.random.default_rng([seed, number])
    shape = len(ENCODERS), len(grid.arms), grid.seeds
    luck = RUN * rng.standard_normal(shape) + OF_SEED * rng.standard_normal((shape[0], 1, shape[2]))
    common = rng.standard_normal(examples)
    for place, code in enumerate(task.languages):
        own = np.random.default_rng([seed, number, place + 1])
        base = level_of(target, code, own)
        item = own.standard_normal(examples)
        if target in PARALLEL:
            item = np.sqrt(0.5) * (item + common)
        of_encoder = np.sqrt(OF_ENCODER) * own.standard_normal((len(ENCODERS), 1, examples))
        of_arm = np.sqrt(OF_ARM) * own.standard_normal((*shape[:2], examples))
        level = [
            [ndtri(hit_rate((base + 6 * (encoder == "large") + planted(encoder, arm, target, code)) / 100, family)) for arm in grid.arms]
            for encoder in ENCODERS
        ]
        of_run = np.array(level)[..., None] + luck + RUN_HERE * own.standard_normal(shape)
        latent = of_run[..., None] + (np.sqrt(ITEM) * item + of_encoder + of_arm)[:, :, None, :]
        chance = ndtr(latent / np.sqrt(DRAW)).reshape(-1, examples)
        yield code, statistics(chance, family, task.metric, own)


def statistics(chance: Floats, family: str, metric: str, rng: np.random.Generator) -> dict[str, Ints | Floats]:
    """Statistics (runs, examples) of units that are right with the given chances (runs, examples)."""
    if family != "micro_f1":
        units = 1 if metric == "accuracy" else 4
        return {"s0": rng.binomial(units, chance) / units}
    gold = np.broadcast_to(1 + rng.binomial(2, 0.4, chance.shape[1]), chance.shape)
    hits = rng.binomial(gold, chance)
    return {"s0": hits, "s1": hits + rng.binomial(gold - hits, WRONG_SPANS), "s2": gold}


def example_ids(target: str, language: str, examples: int) -> list[str]:
    """Ids that the languages of a parallel test set share."""
    lead = target if target in PARALLEL else f"{target}-{language}"
    return [f"{lead}-{i:04d}" for i in range(examples)]


def example_tables(grid: Grid, examples: int, seed: int) -> Iterator[pa.Table]:
    """The rows of one target, a language at a time."""
    runs = grid.runs
    lost = run_name(*COLLAPSED)
    for code, found in simulate(grid, examples, seed):
        if lost in runs:
            for name in ("s0", "s1"):
                found[name][runs.index(lost)] = 0
        columns: dict[str, pa.Array] = {
            "run_id": coded(np.repeat(np.arange(len(runs)), examples), runs),
            "language": coded(np.zeros(len(runs) * examples, np.int64), [code]),
            "example_id": coded(np.tile(np.arange(examples), len(runs)), example_ids(grid.target, code, examples)),
        }
        for name in ("s0", "s1", "s2"):
            values = found.get(name)
            columns[name] = pa.nulls(len(runs) * examples, pa.float32()) if values is None else pa.array(values.ravel(), pa.float32())
        yield pa.table(columns)


def coded(codes: Ints, values: list[str]) -> pa.DictionaryArray:
    """Texts by number."""
    return pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32()), pa.array(values, pa.string()))


def runs_table(scale: Scale, seeds: int) -> pa.Table:
    """One row per run; every run of an arm has an intermediate checkpoint of its own, which the targets share."""
    rows = [
        {
            "run_id": run_name(encoder, arm, target, seed),
            "encoder": encoder,
            "num_parameters": ENCODERS[encoder],
            "intermediate": arm,
            "intermediate_run_id": None if arm == "none" else f"{encoder}/{arm}/seed {seed}",
            "target": target,
            "seed": seed,
            "status": "ok",
        }
        for encoder, arm, target, seed in product(ENCODERS, ("none", *scale.intermediates), scale.targets, range(1, seeds + 1))
    ]
    return pa.Table.from_pylist(rows)


def plan_text(scale: Scale) -> str:
    """plan.toml: a gain for every encoder, intermediate and target, one family per target, and the larger encoder's minus the smaller's."""
    metrics = ", ".join(f"{target} = {json.dumps(family_of(target))}" for target in scale.targets)
    lines = [
        'title = "A synthetic study with planted effects"',
        'question = "Which intermediate tasks help which targets, in which languages, and does it scale from base to large?"',
        f"metric = {{ {metrics} }}",
        "margin = 1.0",
        f"resamples = {scale.resamples}",
        "",
    ]
    for encoder, intermediate, target in product(ENCODERS, scale.intermediates, scale.targets):
        name = contrast_name(encoder, intermediate, target)
        sides = {"plus": intermediate, "minus": "none"}
        lines += ["[[contrasts]]", f"name = {json.dumps(name)}", f"family = {json.dumps(target)}"]
        lines += [f'{side} = {{ encoder = "{encoder}", intermediate = "{arm}", target = "{target}" }}' for side, arm in sides.items()]
        lines += [f'labels = {{ encoder = "{encoder}", intermediate = "{intermediate}", target = "{target}" }}', ""]
    for intermediate, target in product(scale.intermediates, scale.targets):
        name = f"{intermediate} > {target}: large - base"
        plus, minus = (json.dumps(contrast_name(encoder, intermediate, target)) for encoder in ("large", "base"))
        lines += ["[[interactions]]", f"name = {json.dumps(name)}", f"plus = {plus}", f"minus = {minus}"]
        lines += [f'labels = {{ encoder = "base to large", intermediate = "{intermediate}", target = "{target}" }}', ""]
    return "\n".join(lines)


def truth(scale: Scale, seed: int) -> dict[str, Any]:
    """What is true of the tables: gains that are not zero by contrast and language, and runs that collapsed."""
    gains: dict[str, Mapping[str, float]] = {}
    for encoder, intermediate, target in product(ENCODERS, scale.intermediates, scale.targets):
        found = {code: gain for code in tasks.find(target).languages if (gain := planted(encoder, intermediate, target, code))}
        if found:
            gains[contrast_name(encoder, intermediate, target)] = found
    effects = [vars(effect) for effect in EFFECTS]
    lost = [run_name(*COLLAPSED)] if COLLAPSED[2] in scale.targets and COLLAPSED[1] in scale.intermediates else []
    listed = {target: tasks.find(target).languages for target in scale.targets}
    return {"seed": seed, "effects": effects, "gains": gains, "collapsed": lost, "languages": listed}


def write_study(folder: Path, scale: Scale, seeds: int = 5, seed: int = 0) -> int:
    """Write tables/runs.parquet, tables/examples.parquet, plan.toml and truth.json; returns the number of rows of examples."""
    (folder / "tables").mkdir(parents=True, exist_ok=True)
    pq.write_table(runs_table(scale, seeds), folder / "tables" / "runs.parquet")
    writer, rows = None, 0
    try:
        for target in scale.targets:
            for table in example_tables(Grid(target, ("none", *scale.intermediates), seeds), scale.examples, seed):
                writer = writer or pq.ParquetWriter(folder / "tables" / "examples.parquet", table.schema, compression="zstd")
                writer.write_table(table)
                rows += len(table)
    finally:
        if writer is not None:
            writer.close()
    (folder / "plan.toml").write_text(plan_text(scale), encoding="utf-8")
    (folder / "truth.json").write_text(json.dumps(truth(scale, seed), indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return rows


def main() -> None:
    """Write one study and say how large it is."""
    parser = argparse.ArgumentParser(description="A synthetic study of full size whose truth is known.")
    parser.add_argument("folder", type=Path, help="where tables/, plan.toml and truth.json are written")
    parser.add_argument("--scale", choices=tuple(SCALES), default="full")
    parser.add_argument("--seeds", type=int, default=5, help="runs of each arm")
    parser.add_argument("--seed", type=int, default=0, help="of the generator")
    options = parser.parse_args()
    start = time.perf_counter()
    rows = write_study(options.folder, SCALES[options.scale], options.seeds, options.seed)
    size = (options.folder / "tables" / "examples.parquet").stat().st_size
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{rows:,} rows, {size / 1e6:.1f} MB, {time.perf_counter() - start:.1f} s, peak memory {memory:.0f} MiB")


if __name__ == "__main__":
    main()
