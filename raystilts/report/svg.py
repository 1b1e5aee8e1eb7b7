"""A matplotlib figure as SVG: one form that stands alone in a file, one that lives inside a page and follows its colours."""

from __future__ import annotations

import io
import re
import warnings
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

import matplotlib as mpl
from matplotlib.figure import Figure

SVG = "http://www.w3.org/2000/svg"
XLINK = "{http://www.w3.org/1999/xlink}href"

# Okabe and Ito's palette, which the colour-blind can tell apart; the order keeps neighbours far apart in lightness too.
LEVELS = ("#d55e00", "#009e73", "#0072b2", "#cc79a7", "#e69f00", "#56b4e9")
INK, MUTED, LINE, PAPER, OTHER = "#1b1c1d", "#5e6166", "#d3d5d8", "#fefefe", "#77797d"

# Inside a page, the colours become variables, which the page sets for light, dark and print.
PAGE_COLOURS = {
    INK: "currentColor",
    MUTED: "var(--muted)",
    LINE: "var(--line)",
    PAPER: "var(--paper)",
    OTHER: "var(--other)",
    **{colour: f"var(--level-{place})" for place, colour in enumerate(LEVELS)},
}

RC: Any = {
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "svg.hashsalt": "raystilts",
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.size": 9.0,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": LINE,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": INK,
    "axes.titlesize": 10.0,
    "axes.labelsize": 9.0,
    "grid.color": LINE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": True,
    "legend.frameon": False,
    "path.simplify": False,
}


@dataclass(frozen=True)
class Drawing:
    """name: file name without ending; alone: the bytes of the SVG file; inline: the element for a page, ids prefixed by the name."""

    name: str
    title: str
    caption: str
    alone: bytes
    inline: str
    width: float  # CSS pixels


def drawing(figure: Figure, name: str, title: str, caption: str) -> Drawing:
    """The two forms of a figure; `title` is what a screen reader says."""
    root = _parse(figure)
    points_wide = float(root.attrib["width"].removesuffix("pt"))
    root.insert(0, _element("title", title))
    root.attrib["style"] = "background: #fff"  # its ink is dark
    alone = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    root.remove(root[0])  # inside a page, browsers would show it wherever the mouse is
    _prefix_ids(root, f"{name}-")
    _page_colours(root)
    del root.attrib["width"], root.attrib["height"], root.attrib["style"]
    root.attrib |= {"role": "img", "aria-label": title}
    return Drawing(name, title, caption, alone, ElementTree.tostring(root, encoding="unicode"), points_wide * 96 / 72)


def _parse(figure: Figure) -> ElementTree.Element:
    buffer = io.BytesIO()
    with mpl.rc_context(RC), warnings.catch_warnings():
        # Names in any script are laid out by the reader's fonts; that the measuring font lacks a letter does not matter.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from font")
        warnings.filterwarnings("ignore", message=r"Matplotlib currently does not support .* natively")
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    root = ElementTree.fromstring(buffer.getvalue())  # noqa: S314 - matplotlib's own output
    for element in root.iter():
        element.tag = element.tag.removeprefix(f"{{{SVG}}}")
        if XLINK in element.attrib:
            element.attrib["href"] = element.attrib.pop(XLINK)
        if style := element.attrib.get("style"):
            element.attrib["style"] = re.sub(r"(font:[^;']*?[\d.]+px )[^;]*", r"\1system-ui, sans-serif", style)
    root.attrib["xmlns"] = SVG
    for child in [child for child in root if child.tag == "metadata"]:
        root.remove(child)
    return root


def _element(tag: str, text: str) -> ElementTree.Element:
    element = ElementTree.Element(tag)
    element.text = text
    return element


def _prefix_ids(root: ElementTree.Element, prefix: str) -> None:
    """Several figures share a page, and ids are unique in a page."""
    for element in root.iter():
        for key, value in element.attrib.items():
            if key == "id":
                element.attrib[key] = prefix + value
            elif key == "href":
                element.attrib[key] = f"#{prefix}{value.removeprefix('#')}"
            else:
                element.attrib[key] = value.replace("url(#", f"url(#{prefix}")


def _page_colours(root: ElementTree.Element) -> None:
    for element in root.iter():
        if style := element.attrib.get("style"):
            element.attrib["style"] = re.sub(r"#[0-9a-f]{6}", lambda match: PAGE_COLOURS.get(match[0], match[0]), style)
