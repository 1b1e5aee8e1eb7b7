"""Pairs of texts in a random order: the control of a training on pairs."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence

from raystilts.errors import UserError
from raystilts.task import Example


def deranged(pairs: Sequence[Example]) -> list[Example]:
    """The same first texts and the same second texts, but no first text stands beside one that it has in any pair.

    Which one it gets is drawn by hash, so that the control is the same for all seeds. Raises UserError where texts repeat so much that
    there is no such order.
    """
    right = {(pair.texts[0], pair.texts[1]) for pair in pairs}
    order = sorted(range(len(pairs)), key=lambda place: hashlib.sha256(f"deranged/{place}/{pairs[place].id}".encode()).digest())
    seconds = [pairs[place].texts[1] for place in order]

    def fits(place: int, second: str) -> bool:
        return (pairs[place].texts[0], second) not in right

    for place in range(len(pairs)):
        if fits(place, seconds[place]):
            continue
        others = ((place + step) % len(pairs) for step in range(1, len(pairs)))
        other = next((one for one in others if fits(place, seconds[one]) and fits(one, seconds[place])), None)
        if other is None:
            raise UserError(f"pairs: {pairs[place].texts[0]!r} cannot be paired with another text; the control needs more different pairs.")
        seconds[place], seconds[other] = seconds[other], seconds[place]
    return [dataclasses.replace(pair, texts=(pair.texts[0], second)) for pair, second in zip(pairs, seconds, strict=True)]
