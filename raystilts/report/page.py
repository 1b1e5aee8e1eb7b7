"""The report as one self-contained HTML page: no network, figures inside, readable without its script."""

from __future__ import annotations

import base64
import hashlib
import re
from importlib import resources

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from raystilts.report.content import Content
from raystilts.report.view import interval, points, refused


def page(what: Content) -> str:
    """The page's text. Everything that comes from the study is escaped by Jinja2, or by svg.py inside figures."""
    environment = Environment(
        loader=PackageLoader("raystilts.report", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["minus"] = minus
    script = resources.files("raystilts.report").joinpath("page.js").read_text(encoding="utf-8")
    return environment.get_template("page.html.jinja").render(
        what=what,
        story=what.story,
        # The policy forbids every request and every script but ours, should markup ever slip in.
        script=Markup(script),  # noqa: S704 - our own file
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        svg=lambda drawing: Markup(drawing.inline),  # noqa: S704 - serialised by svg.py, which escapes
        refused=refused,
        points=points,
        interval=interval,
    )


def minus(text: str) -> str:
    """A hyphen before a number becomes a minus sign."""
    return re.sub(r"(?<![\w.])-(?=\d)", "\N{MINUS SIGN}", str(text))
