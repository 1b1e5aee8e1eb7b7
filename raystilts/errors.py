"""Errors that mean something to users: a mistake of theirs, and a training that diverged."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """One clear sentence (what, where, what to do). The command line prints it and exits with code 2."""


class DivergedError(ArithmeticError):
    """A training whose loss or gradients are no finite numbers: a finding about its recipe and seed, neither a bug nor a fault.

    The sentence says at which step, and what the losses before were.
    """


def nearest(name: str, known: Iterable[str]) -> str:
    """Ends a sentence about an unknown `name`: the nearest known one, or all of them where none is near."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(map(printable, known))}"


def printable(text: str) -> str:
    """A name that may come from a file, for a sentence: line ends and what else would change a terminal are written as escapes."""
    return text if text.isprintable() else repr(text)[1:-1]
