"""A model and a task -> one table of predictions per language.

Columns of a table: example_id, cluster_id (null: the example stands for itself), gold, prediction, s0 .. sk: the statistics of the task's
metric, by whose sums every score is computed. All languages go through the model together, sorted by length in token budgets.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from raystilts import data, features, model, retrieval
from raystilts.features import Items
from raystilts.kinds import KINDS
from raystilts.metrics import METRICS
from raystilts.model import Root
from raystilts.network import Network
from raystilts.precision import autocast
from raystilts.retrieval import Texts
from raystilts.stage import Recipe, Stage
from raystilts.task import ENGLISH, Example, Task

TOKEN_BUDGETS = {"cpu": 2048, "cuda": 8192}
"""Tokens of a batch, padding counted. On a processor that few, so that what a layer computes stays in the cache."""

PREDICTIONS = "predictions"


@dataclass(frozen=True)
class Place:
    """Where a stage's model and data are, and where it computes. cache: tokenised data that stages and processes share."""

    root: Root
    checkpoint: Path | None
    data: Path | None
    device: str
    cache: Path | None = None


@dataclass(frozen=True)
class Answers:
    """Per language: what is right, and what was predicted, for each example."""

    gold: Mapping[str, Sequence[Any]]
    predicted: Mapping[str, Sequence[Any]]


def evaluate(
    stage: Stage, place: Place, trained: Mapping[str, Any], folder: Path, languages: Collection[str] | None = None
) -> dict[str, Any]:
    """Evaluate a stage's task in all its languages, or in these; writes predictions/<language>.parquet into `folder`.

    trained: what the training left on record: the labels in the order of the head's outputs, the threshold of "no answer". Returns
    what stage.json says of the evaluation: scores in 0-100 per language.
    """
    task, recipe = stage.task, stage.recipe or (stage.parent.recipe if stage.parent else None)
    assert task is not None  # noqa: S101  evaluation stages have both; for the type checker
    assert recipe is not None  # noqa: S101
    labels = (trained.get("labels") or [[]])[0]
    splits = dict.fromkeys(split for _, split, _ in stage.reads)
    texts = {split: _texts(stage, 0, split, labels, recipe, place, languages) for split in splits}
    facts: dict[str, Any] = {}
    if task.headless:
        answers, facts = _retrieve(task, recipe, place, texts, folder)
    else:
        found = _outputs(task, recipe, place, labels, texts["test"])
        answers = _predictions(task, labels, texts["test"], found, trained.get("threshold"))
    (folder / PREDICTIONS).mkdir(exist_ok=True)
    scores: dict[str, dict[str, float]] = {metric: {} for metric in (task.metric, *task.also)}
    for language, of_language in texts["test"].items():
        gold, predicted = answers.gold[language], answers.predicted[language]
        table, of_metric = prediction_table(task, of_language.examples, gold, predicted, language)
        for metric, score in of_metric.items():
            scores[metric][language] = score
        pq.write_table(table, folder / PREDICTIONS / f"{language}.parquet", compression="zstd")
    facts |= {"scores": scores.pop(task.metric), "metric": task.metric}
    facts |= {"also": scores} if scores else {}
    return facts | {"num_examples": {language: len(of_language.examples) for language, of_language in texts["test"].items()}}


@data.english_only()
def dev_scores(stage: Stage, place: Place, trained: Mapping[str, Any]) -> dict[str, Any]:
    """Scores on English dev, for stage.json: `dev_score` in 0-100 (of a mixture the mean over its parts), and what else dev decides.

    Never looks at another language. dev_score is None where no part has dev data.
    """
    assert stage.recipe is not None  # noqa: S101  training stages have one; for the type checker
    scores: dict[str, float] = {}
    facts: dict[str, Any] = {}
    for number, task in enumerate(stage.parts):
        if task.dev is None or task.kind == "mlm":
            continue
        labels = trained["labels"][number]
        texts = _texts(stage, number, "dev", labels, stage.recipe, place)[ENGLISH]
        if task.kind == "ranking":
            network = _network(task, stage.recipe, place, [texts.items], labels, number, len(stage.parts))
            with torch.inference_mode(), autocast(stage.recipe, place.device):
                predicted: Sequence[Any] = retrieval.nearest_pairs(
                    network, texts, stage.recipe.ranking_layer, place.device, Path(tempfile.gettempdir())
                )
            gold: Sequence[Any] = [example.id for example in texts.examples]
        else:
            found = _outputs(task, stage.recipe, place, labels, {ENGLISH: texts}, number, len(stage.parts))
            calibrate = KINDS[task.kind].calibrate
            threshold = calibrate(texts.examples, texts.items, found[ENGLISH], _scorer(task)) if calibrate else None
            if calibrate and len(stage.parts) == 1:
                facts["threshold"] = threshold
            answers = _predictions(task, labels, {ENGLISH: texts}, found, threshold)
            gold, predicted = answers.gold[ENGLISH], answers.predicted[ENGLISH]
        scores[task.name] = prediction_table(task, texts.examples, gold, predicted, ENGLISH)[1][task.metric]
    mean = sum(scores.values()) / len(scores) if scores else None
    return facts | {"dev_score": mean} | ({"dev_scores": scores} if len(stage.parts) > 1 else {})


def _scorer(task: Task) -> Any:
    metric = METRICS[task.metric]
    return lambda gold, predicted: [statistics[0] for statistics in metric.function(gold, predicted, ENGLISH)]


def _texts(
    stage: Stage,
    number: int,
    split: str,
    labels: Sequence[str],
    recipe: Recipe,
    place: Place,
    languages: Collection[str] | None = None,
) -> dict[str, Texts]:
    """Per language the texts of a split of a part of the stage; "test-candidates" is what the test's queries search."""
    return {
        language: _read(task, split, language, stage.identity_of(number, f"{split}/{language}"), stage.root, labels, recipe, place)
        for task, of, language in stage.reads
        if of == split and task is stage.parts[number] and (languages is None or language in languages)
    }


def _read(
    task: Task, split: str, language: str, identity: str, tokenizer_identity: str, labels: Sequence[str], recipe: Recipe, place: Place
) -> Texts:
    """Examples and their tokens, which are read from the cache where another stage has left them."""
    data.refuse_locked(task, data.split_of(split)[0], language)  # also where the examples lie in memory
    key = (split, identity, task.kind)
    examples: list[Example] = features.cached(key, lambda: data.read(task, split, language, place.data))
    kind = KINDS["ranking" if task.headless else task.kind]
    tokenizer = model.load_tokenizer(place.root)
    parts = (*key, tuple(labels), tokenizer_identity, recipe.lengths)
    return Texts(identity, examples, features.tokenised(place.cache, parts, lambda: kind.encode(examples, labels, tokenizer, recipe)))


def _network(
    task: Task, recipe: Recipe, place: Place, items: Sequence[Items], labels: Sequence[str], number: int = 0, num_parts: int = 1
) -> Network:
    """The stage's model, compact, ready to be read."""
    pieces = np.unique(np.concatenate([part.vocabulary for part in items]))
    widths = [] if task.headless else [0] * num_parts
    if not task.headless:
        widths[number] = KINDS[task.kind].num_outputs(labels)
    parts = model.build(place.root, place.checkpoint, pieces, widths, None, keep_head=not task.headless)
    return Network(parts, recipe, model.load_tokenizer(place.root)).to(place.device).eval()


def _outputs(
    task: Task, recipe: Recipe, place: Place, labels: Sequence[str], texts: Mapping[str, Texts], number: int = 0, num_parts: int = 1
) -> dict[str, list[Any]]:
    """Per language what the head says of each item; all languages' items go through the model together."""
    kind = KINDS[task.kind]
    assert kind.outputs is not None  # noqa: S101  only kinds that predict come here; for the type checker
    network = _network(task, recipe, place, [of.items for of in texts.values()], labels, number, num_parts)
    sizes = [of.items.lengths for of in texts.values()]
    owner = np.repeat(np.arange(len(sizes)), [len(of) for of in sizes])
    inside = np.concatenate([np.arange(len(of)) for of in sizes])
    found: list[list[Any]] = [[None] * len(of) for of in sizes]
    collections = [of.items for of in texts.values()]
    width = max(of.sequences for of in collections)
    budget = TOKEN_BUDGETS[torch.device(place.device).type]
    with torch.inference_mode(), autocast(recipe, place.device):
        for batch in features.by_tokens(np.concatenate(sizes), budget, width):
            items = [collections[owner[i]][inside[i]] for i in batch]
            collated = kind.collate(items, network.pad, recipe, len(network.index))
            moved = network.moved(collated)
            for i, output in zip(batch, kind.outputs(network, network.heads[number], moved, items), strict=True):
                found[owner[i]][inside[i]] = output
    return dict(zip(texts, found, strict=True))


def _predictions(
    task: Task, labels: Sequence[str], texts: Mapping[str, Texts], found: Mapping[str, list[Any]], threshold: float | None
) -> Answers:
    kind = KINDS[task.kind]
    assert kind.predictions is not None  # noqa: S101  for the type checker
    return Answers(
        {language: [example.label for example in of.examples] for language, of in texts.items()},
        {language: kind.predictions(of.examples, of.items, found[language], labels, threshold) for language, of in texts.items()},
    )


def _retrieve(
    task: Task, recipe: Recipe, place: Place, texts: Mapping[str, dict[str, Texts]], scratch: Path
) -> tuple[Answers, dict[str, Any]]:
    """Answers of retrieval and mining, and what was chosen for them: the layer, the thresholds."""
    every = [of.items for split in texts.values() for of in split.values()]
    network = _network(task, recipe, place, every, ())
    device, test = place.device, texts["test"]
    gold: Mapping[str, Sequence[Any]]
    predicted: Mapping[str, Sequence[Any]]
    with torch.inference_mode(), autocast(recipe, device):
        layer = task.layer if task.layer is not None else retrieval.best_layer(network, texts["dev"][ENGLISH], device, scratch)
        facts: dict[str, Any] = {"layer": layer}
        if task.kind == "mining":
            pairs = {language: tuple(texts[split][language] for split in ("test", "test-candidates")) for language in test}
            tuned = {language: tuple(texts[split][language] for split in ("dev", "dev-candidates")) for language in test}
            mined = {
                language: retrieval.mine_language(network, pairs[language], tuned[language], layer, device, scratch)  # type: ignore[arg-type]
                for language in test
            }
            gold = {language: [example.label or () for example in of.examples] for language, of in test.items()}
            predicted = {language: found for language, (found, _) in mined.items()}
            facts["thresholds"] = {language: threshold for language, (_, threshold) in mined.items()}
        elif pools := texts.get("test-candidates"):
            # a pool that does not depend on the language is named once a language, but is one
            distinct = {of.identity: of for of in pools.values()}
            found = retrieval.ranked(network, test, list(distinct.values()), layer, device, scratch)
            gold, predicted = ({language: sides[side] for language, sides in found.items()} for side in (0, 1))
        else:
            gold = {language: [example.id for example in of.examples] for language, of in test.items()}
            predicted = {language: retrieval.nearest_pairs(network, of, layer, device, scratch) for language, of in test.items()}
    return Answers(gold, predicted), facts


def prediction_table(
    task: Task, examples: Sequence[Example], gold: Sequence[Any], predicted: Sequence[Any], language: str
) -> tuple[pa.Table, dict[str, float]]:
    """A language's predictions as a table, and its score in 0-100 by each of the task's metrics."""
    columns = {
        "example_id": pa.array([example.id for example in examples], pa.string()),
        "cluster_id": pa.array([example.cluster for example in examples], pa.string()),
        "gold": _column(gold),
        "prediction": _column(predicted),
    }
    scores = {}
    for name in (task.metric, *task.also):
        metric = METRICS[name]
        statistics = np.array(metric.function(gold, predicted, language), dtype=np.float64)
        scores[name] = float(metric.aggregate(statistics.sum(0).tolist(), len(examples)))
        prefix = "" if name == task.metric else f"{name}."
        columns |= {f"{prefix}s{k}": pa.array(statistics[:, k]) for k in range(statistics.shape[1])}
    names = {"metric": task.metric, "statistics": " ".join(METRICS[task.metric].statistics)}
    return pa.table(columns).replace_schema_metadata(names), scores


def _column(values: Sequence[Any]) -> pa.Array:
    """Texts, or lists of texts."""
    return pa.array(values, pa.list_(pa.string()) if values and not isinstance(values[0], str) else pa.string())
