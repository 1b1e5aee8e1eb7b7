"""Names from other people's studies and tables: whatever stands in them, a report shows it, and nothing of it acts."""

from __future__ import annotations

import csv
import dataclasses
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from raystilts.report import LanguageFacts, citations, latex, markdown, verdict_lines, write_report
from raystilts.report.citations import METHODS, bibtex
from raystilts.report.cleaning import ACTIVE

PARSER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
MARKUP = [
    *"#+-=*_~`|[]()!<>&\\:.1 \"'{}$%^@/a",
    "é",
    "\n",
    "\t",
    "e\u0301",
    "\u0301",
    "שלום",
    "مرحبا",
    "\u200d",
    "\u00a0",
    "http://a.b",
]
TEXTS = st.lists(st.sampled_from(MARKUP), max_size=12).map("".join) | st.text(max_size=20)
HOSTILE = (
    "# h",
    "- # h: # h",
    "---",
    "1. one\n2. two",
    "=cmd|' /C calc'!A0",
    "@SUM(1,1)",
    "~~~\ncode",
    "[a](javascript:alert(1))",
    "![x](http://a.b/c.png)",
    r"\input{/etc/passwd}",
    "a\u202egnp.exe",
    "\u0301\u0301combining",
    "שלום عربي",
    "bell\x07 \x1b[31mred\x1b[0m \x00\x0b\x9b",
    "]]>--><!--",
    "a" * 300,
    "\u2028\u2029\ufeff",
    "../../../etc/passwd",
    "日本語 👩‍👩‍👧‍👦",
)


def shown(line: str) -> str:
    """The text that a reader of a rendered line sees; every element other than what the report wrote is an error."""
    tokens = PARSER.parse(line)
    inside = [child for token in tokens for child in token.children or ()]
    assert {child.type for child in inside} <= {"text", "text_special", "softbreak"}, line
    return "".join(child.content for child in inside)


@pytest.mark.promise(
    "No name brings headings, lists, rules, links, code or HTML into a report's Markdown",
    found="leading #, -, +, =, 1. and ~~~ were not escaped, nor underscores beside underscores",
)
@settings(deadline=None, max_examples=400)
@given(TEXTS)
def test_names_in_markdown_are_read_as_they_are(text: str) -> None:
    """As a paragraph, heading, list item, cell of a table and behind a name, a text's words are what is read, and no markup."""
    words = " ".join(text.split()).replace("\0", "\N{REPLACEMENT CHARACTER}")
    escaped = markdown.escape(text)
    for before, kinds in (("", {"paragraph"}), ("## ", {"heading"}), ("- ", {"bullet_list", "list_item", "paragraph"})):
        assert shown(f"{before}{escaped}") == words
        found = {token.type.removesuffix("_open") for token in PARSER.parse(f"{before}{escaped}") if token.type.endswith("_open")}
        assert found <= kinds, (before, escaped)
    table = PARSER.parse(f"| a | b |\n| --- | --- |\n| {escaped} | x |\n")
    cells = ["".join(child.content for child in token.children or ()) for token in table if token.type == "inline"]
    assert cells == ["a", "b", words, "x"]


@pytest.mark.promise("No name brings a command into a report's LaTeX")
@settings(deadline=None, max_examples=300)
@given(TEXTS)
def test_names_in_latex_are_read_as_they_are(text: str) -> None:
    """What is not one of the escapes has no special character, and the escapes say the text."""
    escaped = latex.escape(text)
    back = {put: letter for letter, put in latex.SPECIAL.items()}
    parts = re.split(f"({'|'.join(re.escape(put) for put in sorted(back, key=len, reverse=True))})", escaped)
    assert not set("".join(parts[::2])) & set("\\{}$&%#_~^")
    read = "".join(back.get(part, part) for part in parts)
    assert read.replace("“", "``").replace("”", "''").replace("–", "--") == (
        " ".join(text.split()).replace("“", "``").replace("”", "''").replace("–", "--")
    )


@pytest.mark.promise(
    "No citation brings a field, an entry or a command into a report's BibTeX, and none is lost",
    found="a citation of signs alone had no key; of two with one beginning, one was lost; ~ and ^ were not escaped",
)
@settings(deadline=None, max_examples=200)
@given(st.lists(TEXTS, max_size=4))
def test_names_in_bibtex_are_read_as_they_are(texts: list[str]) -> None:
    """Each work has one entry with a key of its own, whose braces are balanced."""
    found = bibtex(texts).removeprefix(METHODS)
    works = {citations._plain(part) for text in texts for part in text.split(";") if part.strip()}
    keys = re.findall(r"^@misc\{([a-z0-9.-]+), ", found, re.MULTILINE)
    assert len(keys) == len(set(keys)) == found.count("\n") == len(works)
    for line in found.splitlines():
        bare = re.sub(r"\\[%$#&_]|\\textascii(tilde|circum)\{\}", "", line)
        depth = 0
        for place, letter in enumerate(bare):
            depth += (letter == "{") - (letter == "}")
            assert depth > 0 or place in (*range(6), len(bare) - 1), line
        assert depth == 0
        assert "\\" not in bare


class Texts(HTMLParser):
    """The elements of a page and its text outside of scripts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: dict[str, int] = {}
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Counts it."""
        self.elements[tag] = self.elements.get(tag, 0) + 1
        assert not [name for name, _ in attrs if name.startswith("on")]

    def handle_data(self, data: str) -> None:
        """Keeps it."""
        self.text += data


def told(make_analysis, names: tuple[str, ...]):
    """A report's analysis and story with these names everywhere."""
    languages = {code: names[place % len(names)] for place, code in enumerate(("af", "sw", "yo", "te"))}
    analysis, story = make_analysis(
        languages=4, targets=names[:1], intermediates=names[1:2], encoders=(names[2], names[3]), names=languages, policies=("all",)
    )
    row = {"kind": names[0], "severity": "error", "run_ids": list(names), "language": "af", "detail": names[1]}
    return (
        dataclasses.replace(analysis, findings=pa.Table.from_pylist([row], schema=analysis.findings.schema)),
        dataclasses.replace(
            story, title=names[0], question=names[1], command=names[2], notes=names, missing=names, level_note=names[3],
            trap_cells={(names[0], names[1]): names[2]}, facts={names[0]: names[1]},
            languages={code: LanguageFacts(name, "low", 0.0) for code, name in languages.items()},
            levels=("low",), study_file=(names[2], names[3]), citations=names,
        ),
    )  # fmt: skip


@pytest.mark.promise(
    "Names with markup, control characters, right-to-left and combining characters leave a report whole: page, Markdown, figures, tables",
    found="a control character in a name ended the report in an XML error, and reached the terminal",
)
@pytest.mark.parametrize("start", range(0, len(HOSTILE), 4))
def test_a_report_of_hostile_names_is_whole(make_analysis, tmp_path: Path, start: int) -> None:
    """The page has the elements of a harmless report, files are where they belong, and no file or line obeys a control character."""
    names = (HOSTILE[start : start + 4] + HOSTILE)[:4]
    plain = write_report(*told(make_analysis, ("one", "two", "three", "four")), tmp_path / "plain")
    made = told(make_analysis, names)
    page = write_report(*made, tmp_path / "hostile")
    texts = {path: path.read_text(encoding="utf-8") for path in page.parent.rglob("*") if path.suffix in (".html", ".md", ".tex", ".bib")}
    for path, text in texts.items():
        assert not re.findall(ACTIVE, text), path
    assert Texts(texts[page]).elements == Texts(plain.read_text(encoding="utf-8")).elements
    for path in (page.parent / "figures").glob("*.svg"):
        ElementTree.parse(path)  # noqa: S314  our own
    headings = [
        [token.tag for token in PARSER.parse((folder / "report.md").read_text(encoding="utf-8")) if token.type == "heading_open"]
        for folder in (plain.parent, page.parent)
    ]
    assert headings[0] == headings[1]
    tokens = PARSER.parse((page.parent / "report.md").read_text(encoding="utf-8"))
    assert not [token for token in tokens if token.type in ("html_block", "fence", "code_block", "hr", "ordered_list_open")]
    inside = [child for token in tokens for child in token.children or ()]
    assert not [child for child in inside if child.type in ("html_inline", "link_open", "s_open", "em_open")]
    assert all(str(child.attrs["src"]).startswith("figures/") for child in inside if child.type == "image")
    with (page.parent / "tables" / "findings.csv").open(encoding="utf-8", newline="") as file:
        assert [row["kind"] for row in csv.DictReader(file)] == [re.sub(ACTIVE, "\N{REPLACEMENT CHARACTER}", names[0])]
    assert {path.parent.parent for path in tmp_path.rglob("*.svg")} == {plain.parent, page.parent}
    assert not [line for line in verdict_lines(*made) if re.findall(ACTIVE, line)]
