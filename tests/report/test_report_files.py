"""The written report: whole, reproducible, self-contained, inert whatever the names are, numbers equal to the tables."""

from __future__ import annotations

import csv
import dataclasses
import os
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pyarrow as pa
import pyarrow.parquet
import pytest

from raystilts.report import LanguageFacts, write_report

GOLDEN = Path(__file__).parents[1] / "golden" / "report.md"
EVIL = '<script>alert("x")</script>$\\frac{'
NUMBERS = {
    "Gain": ("theta",),
    "95 % interval": ("boot_lo", "boot_hi"),
    "p": ("p",),
    "Holm p": ("p_holm",),
    "Score": ("score_plus",),
    "Baseline": ("score_minus",),
    "Runs": ("runs_plus",),
    "Baseline runs": ("runs_minus",),
    "Examples": ("n_examples",),
    "Detectable": ("mde",),
}


class Page(HTMLParser):
    """All start tags with attributes, the ids, and the table of all gains: rows of (text, data-value)."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.head: list[str] = []
        self.rows: list[list[list[str]]] = []
        self.scripts: list[str] = []
        self._table = self._where = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        """Notes the tag, and opens rows and cells."""
        found = dict(attrs)
        self.tags.append((tag, found))
        if tag == "table":
            self._table = found.get("id") or ""
        if self._table == "gains-table" and tag == "tr":
            self.rows.append([])
        cell = "td" if found.get("scope") == "row" else tag
        if self._table == "gains-table" and cell == "td":
            self.rows[-1].append(["", found.get("data-value") or ""])
        if self._table == "gains-table" and cell == "th":
            self.head.append("")
        if tag == "script":
            self.scripts.append("")
        self._where = cell

    def handle_endtag(self, tag):
        """Text that follows belongs to no cell."""
        self._where = ""

    def handle_data(self, data):
        """Adds text to the open cell."""
        if self._table == "gains-table" and self._where == "td":
            self.rows[-1][-1][0] += data
        if self._table == "gains-table" and self._where == "th":
            self.head[-1] += data
        if self._where == "script":
            self.scripts[-1] += data


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def _csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def written(small, tmp_path_factory):
    """The small report on disk, and the analysis and story it was made from."""
    out = tmp_path_factory.mktemp("report")
    return write_report(*small, out), *small


def test_golden_markdown(written):
    """report.md of the small study is the golden one; after an intended change, run `RAYSTILTS_GOLDEN=1 pytest tests/report -k golden`."""
    text = written[0].with_name("report.md").read_text(encoding="utf-8")
    if os.environ.get("RAYSTILTS_GOLDEN"):
        GOLDEN.write_text(text, encoding="utf-8")
    assert text == GOLDEN.read_text(encoding="utf-8")


def test_rerun_gives_identical_bytes(written, tmp_path):
    """The same analysis gives the same files, byte for byte, and leaves no temporary file behind."""
    write_report(written[1], written[2], tmp_path)
    once, again = _files(written[0].parent), _files(tmp_path)
    assert once.keys() == again.keys()
    assert [name for name in once if once[name] != again[name]] == []
    assert not any(Path(name).name.startswith(".") for name in once)


def test_every_table_is_on_disk_twice(written):
    """Each table of the analysis is there as parquet, unchanged, and as CSV with lists joined by blanks."""
    folder = written[0].parent / "tables"
    for field in dataclasses.fields(written[1]):
        table = getattr(written[1], field.name)
        assert pyarrow.parquet.read_table(folder / f"{field.name}.parquet").equals(table)
        rows = _csv(folder / f"{field.name}.csv")
        assert len(rows) == len(table)
        assert list(rows[0]) == table.column_names
    assert [row["run_ids"] for row in _csv(folder / "findings.csv")] == ["run-a run-b", ""]


def _same(text: str, values: list[float]) -> bool:
    """True where the printed text is the rounded values."""
    if text.startswith("< "):
        return values[0] < float(text[2:])
    printed = [float(part.replace("\N{MINUS SIGN}", "-").replace(",", "")) for part in re.findall("[+\N{MINUS SIGN}]?[\\d.]+", text)]
    return len(printed) == len(values) and all(abs(a - b) <= 0.00501 for a, b in zip(printed, values, strict=True))


def test_every_number_of_the_gains_table_is_in_the_csv(written):
    """The page's table of gains, its printed numbers and the exact ones behind them, are those of tables/gains.csv."""
    page = Page(written[0].read_text(encoding="utf-8"))
    gains = _csv(written[0].parent / "tables" / "gains.csv")
    expected = {(row["target"], row["intermediate"], row["encoder"], row["language"]): row for row in gains if row["policy"] == "all"}
    shown = [row for row in page.rows if row]
    assert len(shown) == len(expected) == 28
    for cells in shown:
        row = dict(zip(page.head, cells, strict=True))
        code = re.search(r"\((\w+)\)$", row["Language"][0])[1]
        source = expected.pop((row["Target"][0], row["Intermediate"][0], row["Encoder"][0], code))
        for title, columns in NUMBERS.items():
            text, value = row[title]
            if text != "–":
                assert [float(part) for part in value.split()] == [float(source[column]) for column in columns]
                assert _same(text, [float(source[column]) for column in columns]), (title, text)
            else:
                assert source["claim"] == "refused"
    assert not expected


def test_refused_rows_show_their_reason_and_no_result(written):
    """A refused gain has no effect, interval, p or score on the page and in the Markdown: only its reason and how much data there was."""
    page = Page(written[0].read_text(encoding="utf-8"))
    rows = [dict(zip(page.head, cells, strict=True)) for cells in page.rows if cells]
    refused = [row for row in rows if "refused" in row["Verdict"][0]]
    assert len(refused) == 4
    for row in refused:
        assert {row[title][0] for title in NUMBERS if title not in ("Runs", "Baseline runs", "Examples")} == {"–"}
        assert row["Verdict"][0] == "✕ refused: one seed says nothing about the procedure"
    thetas = [row["theta"] for row in written[1].gains.to_pylist() + written[1].pooled.to_pylist() if row["claim"] == "refused"]
    for name in ("report.html", "report.md"):
        text = written[0].with_name(name).read_text(encoding="utf-8")
        assert not [theta for theta in thetas if repr(theta) in text]


def test_page_is_self_contained(written):
    """Nothing on the page makes the browser ask another machine or file for anything."""
    text = written[0].read_text(encoding="utf-8")
    page = Page(text)
    for tag, attributes in page.tags:
        assert tag not in ("link", "iframe", "object", "embed", "img", "base", "form", "image", "foreignobject"), tag
        assert tag != "script" or "src" not in attributes
        assert not {"src", "srcset"} & set(attributes)
        for name in ("href", "xlink:href", "action"):
            assert (attributes.get(name) or "#").startswith("#"), attributes
        assert not [name for name in attributes if name.startswith("on")]
    assert "@import" not in text
    assert "url(" not in re.sub(r"url\(#[\w-]+\)", "", text)
    assert set(re.findall(r"https?://[^\s\"'<)]+", text)) <= {"http://www.w3.org/2000/svg"}


def test_ids_are_unique_and_references_resolve(written):
    """No id occurs twice on the page although it holds many figures, and each reference finds its id."""
    text = written[0].read_text(encoding="utf-8")
    ids = [attributes["id"] for _, attributes in Page(text).tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    references = {a or b for a, b in re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', text)}
    assert len(references) > 10
    assert references <= set(ids)


def test_figures_stand_alone_and_follow_the_page(written):
    """Every figure is well-formed XML with plain colours in its file, and uses the page's variables inside the page."""
    figures = sorted((written[0].parent / "figures").glob("*.svg"))
    assert [path.stem for path in figures] == [
        f"kind-{name}-{kind}" for name in ("currency", "official") for kind in ("forest", "resource", "scaling")
    ]
    for path in figures:
        root = ElementTree.parse(path).getroot()  # noqa: S314
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert "var(--" not in path.read_text(encoding="utf-8")
    inline = re.findall(r"<svg .*?</svg>", written[0].read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(inline) == len(figures)
    assert not [text for text in inline if "#d55e00" in text or "currentColor" not in text]
    assert "Swahili (sw)" in inline[0]


def test_markup_in_names_is_inert(make_analysis, tmp_path):
    """A language, task, encoder, finding or fact that contains markup is text everywhere: page, figures, Markdown."""
    names = {"af": EVIL, "sw": "Swahili", "yo": "Yoruba", "te": "Telugu"}
    analysis, story = make_analysis(
        languages=4, targets=(EVIL,), intermediates=("<img src=x onerror=alert(1)>",), encoders=("nano", "<b>micro</b>"), names=names
    )
    findings = pa.Table.from_pylist(
        [{"kind": EVIL, "severity": "error", "run_ids": [EVIL], "language": "af", "detail": EVIL}], schema=analysis.findings.schema
    )
    analysis = dataclasses.replace(analysis, findings=findings)
    story = dataclasses.replace(
        story,
        title=EVIL,
        question=EVIL,
        command=EVIL,
        notes=(EVIL,),
        missing=(EVIL,),
        trap_cells=(EVIL,),
        facts={EVIL: EVIL},
        level_note=EVIL,
        complete=False,
        languages={code: LanguageFacts(names[code], f"{EVIL}-{place % 2}", 0.0) for place, code in enumerate(names)},
        levels=(f"{EVIL}-0", f"{EVIL}-1"),
    )
    page = write_report(analysis, story, tmp_path)
    found = Page(page.read_text(encoding="utf-8"))
    (script,) = found.scripts
    assert "alert" not in script
    assert not [tag for tag, attributes in found.tags if tag in ("img", "b") or "onerror" in attributes]
    for figure in (tmp_path / "figures").glob("*.svg"):
        assert not [element for element in ElementTree.parse(figure).iter() if element.tag.endswith("script")]  # noqa: S314
    forest = ElementTree.parse(next((tmp_path / "figures").glob("*forest.svg")))  # noqa: S314
    assert EVIL in "".join(forest.getroot().itertext())
    # In Markdown a code span shows its content as it is; everywhere else the brackets are entities.
    outside = re.sub(r"`+[^`]*`+", "", (tmp_path / "report.md").read_text(encoding="utf-8"))
    assert not re.search("<(script|img|b>)", outside)


def test_an_incomplete_study_says_so_on_top(small, tmp_path):
    """What is missing stands above the verdicts, and the verdicts are called preliminary."""
    analysis, story = small
    story = dataclasses.replace(story, missing=tuple(f"micro, currency, kind, seed {seed}" for seed in range(9)), complete=False)
    page = write_report(analysis, story, tmp_path)
    for name in ("report.html", "report.md"):
        text = page.with_name(name).read_text(encoding="utf-8")
        assert 0 < text.index("preliminary") < text.index("Real gains in")
        assert 0 < text.index("micro, currency, kind, seed 8") < text.index("Real gains in")


def test_both_policies_stand_side_by_side_where_they_differ(written):
    """A gain that changes when collapsed runs are dropped is shown under both policies; the others are not repeated."""
    text = written[0].with_name("report.md").read_text(encoding="utf-8")
    section = text.split("## Both collapse policies")[1].split("## Methods")[0]
    rows = [line for line in section.splitlines() if line.startswith("| kind")]
    assert len(rows) == 8
    assert sum("| Afrikaans (af) |" in row for row in rows) == sum("| all languages, pooled |" in row for row in rows) == 4
    assert "With converged runs only (converged)" in section


def test_one_policy_is_enough(make_analysis, tmp_path):
    """An analysis under one policy has a report, without a comparison of policies."""
    analysis, story = make_analysis(languages=4, targets=("kind",), intermediates=("currency",), policies=("all",))
    assert "Only one collapse policy was computed." in write_report(analysis, story, tmp_path).read_text(encoding="utf-8")


def test_an_empty_analysis_has_a_report(small, tmp_path):
    """A sweep that has finished no comparison yet can be reported: the page says that nothing can be compared."""
    analysis, story = small
    empty = dataclasses.replace(
        analysis, **{field.name: getattr(analysis, field.name).slice(0, 0) for field in dataclasses.fields(analysis)}
    )
    story = dataclasses.replace(story, missing=("everything",), complete=False)
    assert "Nothing can be compared yet" in write_report(empty, story, tmp_path).read_text(encoding="utf-8")


def test_a_failed_write_leaves_the_old_file(small, tmp_path, monkeypatch):
    """A report that cannot be finished leaves the former page whole and no temporary file."""
    page = write_report(*small, tmp_path)
    before = page.read_bytes()

    def fail(self, target):
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_report(*small, tmp_path)
    assert page.read_bytes() == before
    assert not list(tmp_path.rglob(".*"))


def test_numbers_of_the_methods_are_those_of_the_study(written):
    """The methods paragraph is filled in: encoders, languages, seeds, examples, margin, level."""
    text = written[0].with_name("report.md").read_text(encoding="utf-8").split("## Methods")[1]
    for part in (
        "2 encoders (nano, micro)",
        "7 languages",
        "1 to 3 runs",
        "400 to 406 test examples",
        "below 0.05",
        "within 1 point ",
        "10,000 crossed bootstrap resamples",
    ):
        assert part in text, part
