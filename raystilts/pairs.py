"""Generalised zero-shot tests (Lewis et al. 2020 for MLQA; Huang et al. 2021, arXiv 2104.08645): the texts of an example in two languages.

All ordered pairs of a parallel test set's languages, each language with itself among them: 15 x 15 of XNLI, 7 x 7 of PAWS-X.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

from raystilts.errors import UserError
from raystilts.languages import PAIR
from raystilts.task import Example


def ordered(languages: Sequence[str]) -> tuple[str, ...]:
    """The codes of all ordered pairs, each language with itself among them."""
    return tuple(f"{first}{PAIR}{second}" for first, second in product(languages, languages))


def joined(first: Sequence[Example], second: Sequence[Example], english: Sequence[Example], name: str) -> list[Example]:
    """The first text of `first` with the other texts of `second`; row i of all three is the same example.

    Id, label and cluster are the English example's. Rows of which one side has another label than English are left out: in PAWS-X they are
    those that were not translated ("NS"). Raises UserError where the numbers of rows differ; name: of the pair, for the message.
    """
    if not len(first) == len(second) == len(english):
        raise UserError(
            f"{name}: the two languages and English have {len(first)}, {len(second)} and {len(english)} rows, which must be parallel: "
            "get all from the same release."
        )
    return [
        Example(gold.id, (one.texts[0], *other.texts[1:]), gold.label, gold.cluster)
        for one, other, gold in zip(first, second, english, strict=True)
        if one.label == other.label == gold.label
    ]
