"""Retrieval and mining: texts as unit vectors, and the nearest of them.

Three tasks are read here. Pairs: for each first text the nearest second one of the same list. Queries and candidates: the nearest TOP
candidates of a pool, which holds all languages' where each language has its own. Mining: which sentences of two lists are
translations of each other, with a threshold that is found on dev data of the same two languages, as BUCC's rules have it.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from raystilts import features, search
from raystilts.errors import UserError
from raystilts.features import Items
from raystilts.network import Network
from raystilts.task import Example

TOP = 20  # candidates that are kept of a ranking
TOKEN_BUDGET = 8192
IN_MEMORY = 2**30  # bytes of vectors; more of them lie in a file


@dataclass(frozen=True)
class Texts:
    """The examples of one source in one language, what identifies them, and their tokens."""

    identity: str
    examples: Sequence[Example]
    items: Items


def embed(
    network: Network, items: Items, sides: Sequence[int], layers: Sequence[float], device: str, scratch: Path
) -> Iterator[np.ndarray]:
    """Per side and layer [len(items), hidden] unit vectors: the mean over content tokens of the layer at that relative depth."""
    hidden = int(network.encoder.config.hidden_size)  # type: ignore[union-attr,arg-type]
    for side in sides:
        found = [_storage((len(items), hidden), scratch) for _ in layers]
        sequences = [items[i].pieces[side] for i in range(len(items))]
        for batch in features.by_tokens(np.array([len(pieces) for pieces in sequences]), TOKEN_BUDGET):
            pieces = features.pad([sequences[i] for i in batch], network.pad).to(device)
            for place, vectors in zip(found, network.vectors(pieces, layers), strict=True):
                place[batch] = vectors.cpu().numpy()
        yield from found


def _storage(shape: tuple[int, int], scratch: Path) -> np.ndarray:
    if shape[0] * shape[1] * 4 <= IN_MEMORY:
        return np.empty(shape, dtype=np.float32)
    with tempfile.NamedTemporaryFile(dir=scratch, prefix=".vectors-") as file:  # the mapping outlives the name
        return np.memmap(file, dtype=np.float32, mode="w+", shape=shape)


def nearest_pairs(network: Network, texts: Texts, layer: float, device: str, scratch: Path) -> list[str]:
    """For each pair the id of the pair whose second text is the nearest to its first; the first of equals."""
    first, second = embed(network, texts.items, (0, 1), (layer,), device, scratch)
    places = nearest(first, second, 1, device)[:, 0]
    return [texts.examples[place].id for place in places]


def nearest(queries: np.ndarray, candidates: np.ndarray, k: int, device: str) -> np.ndarray:
    """[queries, k] places of the nearest candidates, the nearest first."""
    places: np.ndarray = search.nearest(torch.from_numpy(queries).to(device), candidates, k)[1].cpu().numpy()
    return places


def best_layer(network: Network, texts: Texts, device: str, scratch: Path) -> float:
    """The relative depth of the layer that finds the most translations among (English) pairs; the lowest of equals."""
    num_layers = int(network.encoder.config.num_hidden_layers)  # type: ignore[union-attr,arg-type]
    layers = [n / num_layers for n in range(1, num_layers + 1)]
    vectors = list(embed(network, texts.items, (0, 1), layers, device, scratch))
    right = np.arange(len(texts.items))
    scores = []
    for own, english in zip(vectors[:num_layers], vectors[num_layers:], strict=True):
        scores.append(float((nearest(own, english, 1, device)[:, 0] == right).mean()))
    return layers[int(np.argmax(scores))]


def ranked(
    network: Network, queries: Mapping[str, Texts], pools: Sequence[Texts], layer: float, device: str, scratch: Path
) -> dict[str, tuple[list[tuple[str, ...]], list[tuple[str, ...]]]]:
    """Per language (gold, predictions): ids of all candidates that answer each query, and of the TOP nearest ones, best first."""
    ids = [example.id for pool in pools for example in pool.examples]
    answers: dict[str, list[str]] = {}
    for pool in pools:
        for example in pool.examples:
            for key in example.label or ():
                answers.setdefault(key, []).append(example.id)
    vectors = [next(embed(network, pool.items, (0,), (layer,), device, scratch)) for pool in pools]
    candidates = vectors[0] if len(vectors) == 1 else np.concatenate(vectors)
    found = {}
    for language, asked in queries.items():
        own = next(embed(network, asked.items, (0,), (layer,), device, scratch))
        places = nearest(own, candidates, TOP, device)
        gold = [
            tuple(dict.fromkeys(answer for key in example.label or () for answer in answers.get(key, ()))) for example in asked.examples
        ]
        lost = next((example.id for example, right in zip(asked.examples, gold, strict=True) if not right), None)
        if lost is not None:
            raise UserError(f"the query {lost!r} in {language!r} has no answer among the {len(ids)} candidates: get both from one release.")
        found[language] = gold, [tuple(ids[place] for place in row) for row in places]
    return found


def mined(network: Network, sources: Texts, targets: Texts, layer: float, device: str, scratch: Path) -> list[tuple[str, str, float]]:
    """(source id, target id, margin score) of what may be translations, the best first.

    As BUCC's evaluation in XTREME has it, equal sentences are mined once, and a pair with a sentence that occurs twice is left out.
    """
    (own, own_ids), (other, other_ids) = (_distinct(network, texts, layer, device, scratch) for texts in (sources, targets))
    pairs = search.mine(torch.from_numpy(own).to(device), torch.from_numpy(other).to(device))
    named = ((own_ids[source], other_ids[target], score) for source, target, score in pairs)
    return [(source, target, score) for source, target, score in named if source is not None and target is not None]


def _distinct(network: Network, texts: Texts, layer: float, device: str, scratch: Path) -> tuple[np.ndarray, list[str | None]]:
    """Vectors of the distinct texts, and their ids (None for a text that occurs twice)."""
    times = Counter(example.texts[0] for example in texts.examples)
    first = {text: place for place, text in reversed(list(enumerate(example.texts[0] for example in texts.examples)))}
    places = sorted(first.values())
    vectors = next(embed(network, texts.items, (0,), (layer,), device, scratch))[places]
    kept = [texts.examples[place] for place in places]
    return vectors, [example.id if times[example.texts[0]] == 1 else None for example in kept]


def cut(pairs: Sequence[tuple[str, str, float]], queries: Texts) -> float:
    """The threshold with the best F1 for mined pairs against the queries' gold."""
    gold = {(example.id, key) for example in queries.examples for key in example.label or ()}
    return search.threshold([score for *_, score in pairs], [(source, target) in gold for source, target, _ in pairs], len(gold))


def mine_language(
    network: Network, test: tuple[Texts, Texts], dev: tuple[Texts, Texts], layer: float, device: str, scratch: Path
) -> tuple[list[tuple[str, ...]], float]:
    """(predictions, threshold): for each query of the test the ids of its translations, by the threshold that is best on dev."""
    threshold = cut(mined(network, *dev, layer, device, scratch), dev[0])
    found: dict[str, list[str]] = {}
    for source, target, score in mined(network, *test, layer, device, scratch):
        if score >= threshold:
            found.setdefault(source, []).append(target)
    return [tuple(found.get(example.id, ())) for example in test[0].examples], threshold
