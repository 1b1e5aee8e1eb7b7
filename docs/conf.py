"""How Sphinx builds the documentation: `make docs`."""

from __future__ import annotations

import sys
from pathlib import Path

from sphinx.application import Sphinx

sys.path.insert(0, str(Path(__file__).parent))
from command_line import reference

project = html_title = "raystilts"
html_theme = "furo"
extensions = ["myst_parser", "sphinx.ext.autodoc"]
default_role = "code"  # one backtick, as in Markdown
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
maximum_signature_line_length = 100


def setup(app: Sphinx) -> None:
    """Called by Sphinx: the page of the command line is made when it is read."""
    app.connect("source-read", fill)


def fill(_: Sphinx, page: str, source: list[str]) -> None:
    """Put the reference where the page has its mark."""
    if page == "reference/command-line":
        source[0] = source[0].replace("<!-- the command line -->", "\n".join(reference()))
