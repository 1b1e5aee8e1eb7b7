"""The reference of the command line, from the program's own parser."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from raystilts.cli import parser


def reference() -> Iterator[str]:
    """Lines of Markdown: every verb with its usage, arguments, flags and example."""
    top = parser()
    verbs = next(action for action in top._actions if isinstance(action, argparse._SubParsersAction))
    for name, verb in verbs.choices.items():
        yield from (f"## raystilts {name}", "", verb.description or "", "", "```text", verb.format_usage().strip(), "```", "")
        yield from ("| argument | meaning |", "|---|---|")
        yield from (f"| {_names(action)} | {_help(action)} |" for action in verb._actions)
        example, _, command = (verb.epilog or "").partition(": ")
        yield from ("", f"{example.capitalize()}: `{command}`", "")


def _names(action: argparse.Action) -> str:
    """`--store PLACE`, or a positional argument's name."""
    value = action.metavar or ("{" + ",".join(map(str, action.choices)) + "}" if action.choices else "")
    names = action.option_strings or [str(action.metavar or action.dest)]
    shown = f" {value}" if action.option_strings and value else ""
    return ", ".join(f"`{name}{shown}`" for name in names)


def _help(action: argparse.Action) -> str:
    words = f"{action.help or ''}{'; needed' if action.required and action.option_strings else ''}"
    return words.replace("|", "\\|").replace("<", "&lt;").replace("{", "&#123;")
