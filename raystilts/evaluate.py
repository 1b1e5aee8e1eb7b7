"""A model and a task -> one table of predictions per language.

Columns of a table: example_id, cluster_id (null: the example stands for itself), gold, prediction, s0 .. sk: the statistics of the task's
metric, by whose sums every score is computed. All languages go through the model together, sorted by length in token budgets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch.nn import functional

from raystilts import data, features, model
from raystilts.features import Item
from raystilts.metrics import METRICS
from raystilts.model import Model, Root
from raystilts.stage import Recipe, Stage
from raystilts.task import ENGLISH, Example, Task

TOKEN_BUDGET = 8192
PREDICTIONS = "predictions"


def evaluate(
    stage: Stage, root: Root, checkpoint: Path | None, labels: Sequence[str], data_dir: Path | None, folder: Path, device: str
) -> dict[str, Any]:
    """Evaluate a stage's task in all its languages; writes predictions/<language>.parquet into `folder`.

    labels: the label names in the order of the head's outputs. Returns what stage.json says of it: scores in 0-100 per language.
    """
    task, languages = stage.task, [name.partition("/")[2] for name, _ in stage.data]
    assert task is not None  # noqa: S101  evaluation stages have one; for the type checker
    recipe = next((s.recipe for s in reversed(stage.lineage) if s.recipe and s.task and s.task.kind == task.kind), None) or Recipe()
    examples: dict[str, list[Example]] = features.cached(
        ("test", stage.data, task.kind), lambda: {language: data.examples(task, "test", language, data_dir) for language in languages}
    )
    predicted = predict(task, recipe, root, checkpoint, labels, examples, ("test", stage.data), device)
    (folder / PREDICTIONS).mkdir()
    scores = {}
    for language in languages:
        table, scores[language] = prediction_table(task, examples[language], predicted[language])
        pq.write_table(table, folder / PREDICTIONS / f"{language}.parquet", compression="zstd")
    return {"scores": scores, "num_examples": {language: len(examples[language]) for language in languages}, "metric": task.metric}


def dev_score(stage: Stage, root: Root, checkpoint: Path, labels: Sequence[str], data_dir: Path | None, device: str) -> float | None:
    """Score on English dev, 0-100; None where the task has none. Never looks at another language."""
    task, recipe = stage.task, stage.recipe
    if task is None or recipe is None or task.dev is None:
        return None
    examples = {ENGLISH: features.cached(("dev", stage.data, task.kind), lambda: data.examples(task, "dev", ENGLISH, data_dir))}
    predicted = predict(task, recipe, root, checkpoint, labels, examples, ("dev", stage.data), device)
    return prediction_table(task, examples[ENGLISH], predicted[ENGLISH])[1]


def predict(
    task: Task, recipe: Recipe, root: Root, checkpoint: Path | None, labels: Sequence[str],
    examples: Mapping[str, Sequence[Example]], identity: object, device: str,
) -> dict[str, list[Any]]:  # fmt: skip
    """Per language, a prediction for each example: a label, a tuple of tags, or the id of the retrieved example."""
    tokenizer = model.load_tokenizer(root)
    flat = [example for found in examples.values() for example in found]
    parts_key = (identity, root, task.kind, tuple(labels), recipe.max_length)
    items: list[Item] = features.cached(parts_key, lambda: features.encode(task, labels, flat, tokenizer, recipe.max_length))
    pieces = features.cached(("pieces", *parts_key), lambda: features.pieces_of(items))
    pairs = task.kind in {"retrieval", "ranking"}
    num_labels = None if pairs else len(labels)
    parts = model.build(root, checkpoint, pieces, num_labels, None, keep_head=True)
    for module in (parts.encoder, parts.head):
        if module is not None:
            module.to(device).eval()
    bf16 = device.startswith("cuda") and torch.cuda.is_bf16_supported()
    with torch.inference_mode(), torch.autocast("cuda", torch.bfloat16, enabled=bf16):
        if pairs:
            return _retrieve(task, parts, items, examples, tokenizer, device)
        found = _label(task, recipe, parts, items, labels, flat, tokenizer.pad_token_id, device)
    return _per_language(found, examples)


def _per_language(found: Sequence[Any], examples: Mapping[str, Sequence[Example]]) -> dict[str, list[Any]]:
    split, start = {}, 0
    for language, of_language in examples.items():
        split[language] = list(found[start : start + len(of_language)])
        start += len(of_language)
    return split


def _label(
    task: Task,
    recipe: Recipe,
    parts: Model,
    items: Sequence[Item],
    labels: Sequence[str],
    flat: Sequence[Example],
    padding: int,
    device: str,
) -> list[Any]:
    assert parts.head is not None  # noqa: S101  for the type checker
    names = np.array(labels)
    tags: list[list[str]] = [[""] * len(example.texts) for example in flat]
    single: list[str] = [""] * len(flat)
    index = parts.index.to(device)
    for batch in features.by_tokens(features.lengths(items), TOKEN_BUDGET):
        pieces = features.pad([items[i].pieces for i in batch], padding).to(device)
        mask = pieces != padding
        states = parts.encoder(input_ids=index[pieces], attention_mask=mask.long()).last_hidden_state
        if task.kind == "tagging":
            best = parts.head(states).argmax(-1).cpu().numpy()
            for row, i in enumerate(batch):
                item = items[i]
                tags[item.example][item.first : item.first + len(item.words)] = names[best[row, item.words]].tolist()
        else:
            best = parts.head(model.pool(states, mask, recipe.pooling)).argmax(-1).cpu().numpy()
            for row, i in enumerate(batch):
                single[items[i].example] = str(names[best[row]])
    return [tuple(found) for found in tags] if task.kind == "tagging" else single


def _retrieve(
    task: Task, parts: Model, items: Sequence[Item], examples: Mapping[str, Sequence[Example]], tokenizer: Any, device: str
) -> dict[str, list[Any]]:
    """Nearest English text by cosine among the language's own candidates; the first of equals."""
    texts = {tuple(pieces): None for item in items for pieces in (item.pieces, item.second)}
    place = {text: i for i, text in enumerate(texts)}
    vectors = _embed(task, parts, list(texts), tokenizer, device)
    found, start = {}, 0
    for language, of_language in examples.items():
        mine = items[start : start + len(of_language)]
        start += len(of_language)
        queries, candidates = (
            vectors[[place[tuple(side)] for side in sides]] for sides in zip(*((i.pieces, i.second) for i in mine), strict=True)
        )
        best = (queries @ candidates.T).argmax(1).tolist()
        found[language] = [of_language[i].id for i in best]
    return found


def _embed(task: Task, parts: Model, texts: Sequence[tuple[int, ...]], tokenizer: Any, device: str) -> torch.Tensor:
    """[len(texts), hidden] unit vectors: mean over content tokens of the layer at the task's relative depth."""
    config: Any = parts.encoder.config
    depth = round(task.layer * config.num_hidden_layers)
    special = torch.tensor(sorted(tokenizer.all_special_ids), device=device)
    index, vectors = parts.index.to(device), torch.empty(len(texts), config.hidden_size)
    for batch in features.by_tokens(np.array([len(text) for text in texts]), TOKEN_BUDGET):
        pieces = features.pad([texts[i] for i in batch], tokenizer.pad_token_id).to(device)
        mask = (pieces != tokenizer.pad_token_id).long()
        states = parts.encoder(input_ids=index[pieces], attention_mask=mask, output_hidden_states=True).hidden_states[depth]
        content = torch.isin(pieces, special, invert=True)
        vectors[torch.as_tensor(batch)] = functional.normalize(model.pool(states, content, "mean").float(), dim=-1).cpu()
    return vectors


def prediction_table(task: Task, examples: Sequence[Example], predicted: Sequence[Any]) -> tuple[pa.Table, float]:
    """A language's predictions as a table, and its score in 0-100."""
    metric = METRICS[task.metric]
    gold = [example.id if task.kind in {"retrieval", "ranking"} else example.label for example in examples]
    statistics = np.array(metric.function(gold, predicted), dtype=np.float64)
    text = pa.list_(pa.string()) if task.kind == "tagging" else pa.string()
    columns = {
        "example_id": pa.array([example.id for example in examples], pa.string()),
        "cluster_id": pa.array([example.cluster for example in examples], pa.string()),
        "gold": pa.array(gold, text),
        "prediction": pa.array(predicted, text),
    }
    columns |= {f"s{k}": pa.array(statistics[:, k]) for k in range(statistics.shape[1])}
    table = pa.table(columns).replace_schema_metadata({"metric": task.metric, "statistics": " ".join(metric.statistics)})
    return table, float(metric.aggregate(statistics.sum(0).tolist(), len(examples)))
