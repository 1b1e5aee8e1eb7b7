"""How Sphinx builds the documentation: `make docs`."""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
from pathlib import Path

from sphinx.application import Sphinx

sys.path.insert(0, str(Path(__file__).parent))
from command_line import reference

project = html_title = "raystilts"
html_theme = "furo"
extensions = ["myst_parser", "sphinx.ext.autodoc"]
smartquotes = False  # they would make a dash of the two in --data
default_role = "code"  # one backtick, as in Markdown
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
maximum_signature_line_length = 100


def setup(app: Sphinx) -> None:
    """Called by Sphinx: the page of the command line and the fields of dataclasses are made from the code."""
    app.connect("source-read", fill)
    app.connect("autodoc-process-docstring", add_fields)


def fill(_: Sphinx, page: str, source: list[str]) -> None:
    """Put the reference where the page has its mark."""
    if page == "reference/command-line":
        source[0] = source[0].replace("<!-- the command line -->", "\n".join(reference()))


def add_fields(_: Sphinx, kind: str, _name: str, value: object, _options: object, lines: list[str]) -> None:
    """Put below the text of a dataclass what the comments beside its fields say."""
    if kind == "class" and isinstance(value, type) and dataclasses.is_dataclass(value):
        noted = re.findall(r"^    (\w+): [^#\n]*  # (.+)$", inspect.getsource(value), re.MULTILINE)
        lines.extend(["", *(f"- `{name}`: {note.replace('*', chr(92) + '*').replace('|', chr(92) + '|')}" for name, note in noted), ""])
