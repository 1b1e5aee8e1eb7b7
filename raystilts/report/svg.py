"""A matplotlib figure as an SVG and a PDF file, each as small as it can be, and the colours that the page changes for dark and print."""

from __future__ import annotations

import csv
import io
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.text import Text

SVG = "http://www.w3.org/2000/svg"
XLINK = "{http://www.w3.org/1999/xlink}href"

# Okabe and Ito's palette, which the colour-blind can tell apart; the order keeps neighbours far apart in lightness too.
LEVELS = ("#d55e00", "#009e73", "#0072b2", "#cc79a7", "#e69f00", "#56b4e9")
INK, MUTED, LINE, PAPER, OTHER, CARD = "#1b1c1d", "#5e6166", "#d3d5d8", "#fefefe", "#77797d", "#f6f7f8"

# Inside a page, the colours become variables, which the page sets for light, dark and print.
PAGE_COLOURS: Mapping[str, str] = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    LINE: "var(--line)",
    PAPER: "var(--paper)",
    OTHER: "var(--other)",
    CARD: "var(--card)",
    **{colour: f"var(--level-{place})" for place, colour in enumerate(LEVELS)},
}

RC: Any = {
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "svg.hashsalt": "raystilts",
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.size": 9.0,
    "text.color": INK,
    "path.simplify": False,
}
WANTED = ("fill", "fill-opacity", "opacity", "stroke", "stroke-opacity", "stroke-width", "stroke-dasharray")
"""What a style says beside the font; joins and caps are the same in all our lines."""
DEFAULTS = {"stroke-width": "1", "stroke-opacity": "1", "fill-opacity": "1", "opacity": "1", "stroke": "none"}


@dataclass(frozen=True)
class Drawing:
    """name: file name without ending; svg, pdf, csv: the files' bytes. The ids in the SVG begin with the name: a page may hold many.

    tall: it has names to read and keeps a least width, even on a phone.
    """

    name: str
    title: str
    caption: str
    svg: bytes
    pdf: bytes
    csv: bytes
    width: float  # CSS pixels
    height: float
    tall: bool = False


def drawing(figure: Figure, name: str, title: str, caption: str, rows: Sequence[Mapping[str, Any]], *, tall: bool = False) -> Drawing:
    """The files of a figure; `title` is what a screen reader says, `rows` are the data that it shows."""
    with mpl.rc_context(RC), warnings.catch_warnings():
        # Names in any script are laid out by the reader's fonts; that the measuring font lacks a letter does not matter.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from font")
        warnings.filterwarnings("ignore", message=r"Matplotlib currently does not support .* natively")
        root = _svg(figure)
        pdf = _pdf(figure)
    root.insert(0, _element("title", title))
    _prefix_ids(root, f"{name}-")
    svg = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    wide, high = (float(side) * 96 / 72 for side in figure.get_size_inches() * 72)
    return Drawing(name, title, caption, svg, pdf, _csv(rows), wide, high, tall)


def _svg(figure: Figure) -> ElementTree.Element:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    root = ElementTree.fromstring(buffer.getvalue())  # noqa: S314 - matplotlib's own output
    for element in root.iter():
        element.tag = element.tag.removeprefix(f"{{{SVG}}}")
        element.text, element.tail = (text if text and text.strip() else None for text in (element.text, element.tail))
        if XLINK in element.attrib:
            element.attrib["href"] = element.attrib.pop(XLINK)
        _attributes(element)
    root.attrib |= {"xmlns": SVG, "font-family": "system-ui, sans-serif", "stroke-linejoin": "round"}
    for child in [child for child in root if child.tag in ("metadata", "defs") and not list(child.iter("path"))]:
        root.remove(child)
    for parent in list(root.iter()):
        _unwrap(parent)
    return root


def _attributes(element: ElementTree.Element) -> None:
    """A style becomes attributes, since a page's policy may forbid styles; numbers are rounded to what an eye can see."""
    found = element.attrib
    style = dict(part.strip().split(": ", 1) for part in found.pop("style", "").split(";") if ": " in part)
    found |= {key: style[key].removesuffix("px") for key in ("font-size", "font-style", "font-weight", "text-anchor") if key in style}
    found |= {key: style[key] for key in WANTED if key in style and style[key] != DEFAULTS.get(key)}
    if found.get("transform", "").startswith("rotate(-0 "):
        del found["transform"]
    for key in ("d", "x", "y", "transform", "width", "height", "stroke-width", "fill-opacity", "stroke-opacity"):
        if key in found:
            found[key] = _rounded(found[key], 1 if key == "d" else 2)
    if "d" in found:
        found["d"] = " ".join(found["d"].split()).replace(" L", "L").replace("M ", "M").replace("L ", "L").replace(" z", "z")


def _rounded(text: str, digits: int) -> str:
    return re.sub(r"-?\d+\.\d+", lambda match: f"{float(match[0]):.{digits}f}".rstrip("0").rstrip("."), text)


def _unwrap(parent: ElementTree.Element) -> None:
    """A group that only has a name says nothing: its members stand in its place."""
    place = 0
    while place < len(parent):
        child = parent[place]
        if child.tag == "g" and not set(child.attrib) - {"id"}:
            parent[place : place + 1] = list(child)
        else:
            place += 1


def _prefix_ids(root: ElementTree.Element, prefix: str) -> None:
    """Several figures share a page, and ids are unique in a page; one that nothing refers to is left out."""
    used = {element.attrib["href"].removeprefix("#") for element in root.iter() if "href" in element.attrib}
    used |= {name for element in root.iter() for value in element.attrib.values() for name in re.findall(r"url\(#([^)]+)\)", value)}
    short = {name: f"{prefix}{place}" for place, name in enumerate(sorted(used))}
    for element in root.iter():
        if "id" in element.attrib and element.attrib["id"] not in used:
            del element.attrib["id"]
        for key, value in element.attrib.items():
            if key == "id":
                element.attrib[key] = short[value]
            elif key == "href":
                element.attrib[key] = f"#{short[value.removeprefix('#')]}"
            else:
                element.attrib[key] = re.sub(r"url\(#([^)]+)\)", lambda match: f"url(#{short[match[1]]})", value)


def _pdf(figure: Figure) -> bytes:
    """With the fonts that every reader of PDF has, where they have the letters; else with what is used of the measuring font."""
    texts = figure.findobj(Text)
    core = {text: text.get_text().replace("\N{MINUS SIGN}", "-") for text in texts}
    try:
        "".join(core.values()).encode("cp1252")
    except UnicodeEncodeError:
        rc: Any = {"pdf.fonttype": 42}
    else:
        rc = {"pdf.use14corefonts": True}
        for text, plain in core.items():
            text.set_text(plain)
            if text.get_fontweight() == "normal":
                text.set_fontweight("medium")  # what Helvetica's own list of weights calls it
    buffer = io.BytesIO()
    with mpl.rc_context(rc):
        figure.savefig(buffer, format="pdf", metadata={"Creator": None, "Producer": None, "CreationDate": None})
    return buffer.getvalue()


def _element(tag: str, text: str) -> ElementTree.Element:
    element = ElementTree.Element(tag)
    element.text = text
    return element


def _csv(rows: Sequence[Mapping[str, Any]]) -> bytes:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([["" if row.get(name) is None else row[name] for name in columns] for row in rows])
    return text.getvalue().encode()
