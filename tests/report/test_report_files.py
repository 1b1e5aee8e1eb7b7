"""The written report: whole, reproducible, self-contained, inert whatever the names are, numbers equal to the tables."""

from __future__ import annotations

import base64
import csv
import dataclasses
import gzip
import hashlib
import json
import os
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pyarrow as pa
import pyarrow.parquet
import pytest
from places import script

from raystilts.report import LanguageFacts, verdict_lines, write_report
from raystilts.report.citations import bibtex
from raystilts.tasks import TASKS

GOLDEN = Path(__file__).parents[1] / "golden" / "report.md"
EVIL = '<script>alert("x")</script>$\\frac{'
NUMBERS = next(shown.numbers for shown in script("analysis/check_report.py").TABLES if shown.file == "gains")


class Page(HTMLParser):
    """All start tags with attributes, and the contents of scripts by their type."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: dict[str, list[str]] = {}
        self.tables: dict[str, dict] = {}
        self._script: tuple[str, str] | None = None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        """Notes the tag."""
        found = dict(attrs)
        self.tags.append((tag, found))
        self._script = (found.get("type") or "", found.get("id") or "") if tag == "script" else None

    def handle_endtag(self, tag):
        """Text that follows belongs to no script."""
        self._script = None

    def handle_data(self, data):
        """Keeps what scripts hold; JSON as tables."""
        if self._script is not None:
            kind, name = self._script
            self.scripts.setdefault(kind, []).append(data)
            if kind == "application/json":
                self.tables[name] = json.loads(data)

    def rows(self, name: str) -> list[dict[str, str]]:
        """The rows of a table as texts by the titles of its columns, as the page's script reads them."""
        columns = self.tables[name]["columns"]
        return [
            {column["title"]: column["words"][cell][0] if "words" in column else cell[0] for column, cell in zip(columns, row, strict=True)}
            for row in self.tables[name]["rows"]
        ]

    def figures(self) -> list[dict[str, str]]:
        """The files of every figure, as the page's script unpacks them."""
        return [json.loads(gzip.decompress(base64.b64decode(text))) for text in self.scripts["text/plain"]]


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
    """The numbers that the page's table of gains prints, and the exact ones beside them, are those of tables/gains.csv."""
    page = Page(written[0].read_text(encoding="utf-8"))
    gains = _csv(written[0].parent / "tables" / "gains.csv")
    expected = {(row["target"], row["intermediate"], row["encoder"], row["language"]): row for row in gains if row["policy"] == "all"}
    shown, cells = page.rows("gains-table"), page.tables["gains-table"]["rows"]
    place = {column["title"]: number for number, column in enumerate(page.tables["gains-table"]["columns"])}
    assert len(shown) == len(expected) == 28
    for row, cell in zip(shown, cells, strict=True):
        code = re.search(r"\((\w+)\)$", row["Language"])[1]
        source = expected.pop((row["Target"], row["Intermediate"], row["Encoder"], code))
        for title, columns in NUMBERS.items():
            if row[title] != "–":
                assert _same(row[title], [float(source[column]) for column in columns]), (title, row[title])
                assert cell[place[title]][1:] == [float(source[column]) for column in columns]
            else:
                assert source["claim"] == "refused"
    assert not expected


def test_refused_rows_show_their_reason_and_no_result(written):
    """A refused gain has no effect, interval, p or score on the page and in the Markdown: only its reason and how much data there was."""
    page = Page(written[0].read_text(encoding="utf-8"))
    refused = [row for row in page.rows("gains-table") if "refused" in row["Verdict"]]
    assert len(refused) == 4
    for row in refused:
        assert {row[title] for title in NUMBERS if title not in ("Runs", "Baseline runs", "Examples")} == {"–"}
        assert row["Verdict"] == "✕ refused: one seed says nothing about the procedure"
    thetas = [row["theta"] for row in written[1].gains.to_pylist() + written[1].pooled.to_pylist() if row["claim"] == "refused"]
    for name in ("report.html", "report.md"):
        text = written[0].with_name(name).read_text(encoding="utf-8")
        assert not [theta for theta in thetas if repr(theta) in text]
    for figure in Page(written[0].read_text(encoding="utf-8")).figures():
        assert not [theta for theta in thetas if repr(theta) in figure["csv"]]


@pytest.mark.promise("A report's page asks no network")
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
        assert "style" not in attributes
    assert "@import" not in text
    assert "url(" not in re.sub(r"url\(#[\w-]+\)", "", text)
    assert not re.findall(r"https?://[^\s\"'<)]+", text)
    for figure in page.figures():
        assert set(re.findall(r"https?://[^\s\"'<)]+", figure["svg"])) == {"http://www.w3.org/2000/svg"}
        assert not re.search(r"\sstyle=|<style|<script|<image|foreignObject", figure["svg"])


def test_the_policy_allows_our_style_and_script_alone(written):
    """The page's content security policy forbids all but the very style and script that it holds."""
    text = written[0].read_text(encoding="utf-8")
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', text)[1]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    for tag, directive in (("style", "style-src"), ("script", "script-src")):
        (held,) = re.findall(rf"<{tag}>(.*?)</{tag}>", text, flags=re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(held.encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}'" in policy


def test_ids_are_unique_and_references_resolve(written):
    """No id occurs twice on the page although it holds many figures, and each reference finds its id."""
    text = written[0].read_text(encoding="utf-8")
    page = Page(text)
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    figures = [figure["svg"] for figure in page.figures()]
    inside = [name for svg in figures for name in re.findall(r' id="([^"]+)"', svg)]
    assert len(ids + inside) == len({*ids, *inside})
    assert set(re.findall(r'href="#([^"]+)"', text)) <= set(ids)
    used = [set(re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', svg)) for svg in figures]
    for svg, references in zip(figures, used, strict=True):
        assert {a or b for a, b in references} == set(re.findall(r' id="([^"]+)"', svg))
    assert sum(map(len, used)) > 10


def test_figures_stand_alone_beside_the_page_and_in_it(written):
    """Every figure is well-formed XML with plain colours, a PDF and its data; the page holds the very same files."""
    folder = written[0].parent / "figures"
    kinds = ("forest", "profile", "resource", "scaling")
    expected = {f"kind-{name}-{kind}" for name in ("currency", "official") for kind in kinds}
    expected |= {f"target-kind-{kind}" for kind in ("scales", "variance", "seeds", "power")} | {"heatmap-all", "heatmap-low"}
    assert {path.stem for path in folder.iterdir()} == expected
    page = Page(written[0].read_text(encoding="utf-8"))
    names = [attributes["data-figure"] for tag, attributes in page.tags if tag == "figure"]
    assert set(names) == expected
    for name, held in zip(names, page.figures(), strict=True):
        root = ElementTree.fromstring(held["svg"])  # noqa: S314
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert "var(--" not in held["svg"]
        assert base64.b64decode(held["pdf"]).startswith(b"%PDF")
        for ending in ("svg", "csv"):
            assert held[ending] == (folder / f"{name}.{ending}").read_text(encoding="utf-8")
        assert base64.b64decode(held["pdf"]) == (folder / f"{name}.pdf").read_bytes()
    assert "Swahili (sw)" in (folder / "kind-currency-forest.svg").read_text(encoding="utf-8")


def test_the_data_of_a_figure_are_those_of_the_tables(written):
    """The CSV of a forest plot holds every gain and pooled gain that it draws, exactly as the tables do."""
    folder = written[0].parent
    gains = [row for row in _csv(folder / "tables" / "gains.csv") if row["policy"] == "all" and row["intermediate"] == "currency"]
    drawn = {(row["encoder"], row["language"]): row for row in _csv(folder / "figures" / "kind-currency-forest.csv")}
    for row in gains:
        shown = drawn[row["encoder"], row["language"]]
        assert shown["claim"] == row["claim"]
        if row["claim"] == "refused":
            assert shown["gain"] == ""
        else:
            assert [float(shown[name]) for name in ("gain", "lo", "hi")] == [float(row[name]) for name in ("theta", "boot_lo", "boot_hi")]
    assert drawn["micro", "pooled: all"]["gain"]


def test_every_figure_draws_numbers_of_the_tables(written):
    """Whatever a figure's CSV says of gains, trends, variance and scales stands in a table on disk, or is a summary of such numbers."""
    folder = written[0].parent
    known = {
        float(value)
        for path in (folder / "tables").glob("*.csv")
        for row in _csv(path)
        for value in row.values()
        if re.fullmatch(r"-?[\d.]+(e-?\d+)?", value)
    }
    computed = {"share_above", "mean_score", "quartile_1", "quartile_3", "detectable_median", "hypotheses", "log10_mb"}
    checked = 0
    for path in sorted((folder / "figures").glob("*.csv")):
        for row in _csv(path):
            for name, value in row.items():
                if name not in computed and re.fullmatch(r"-?[\d.]+(e-?\d+)?", value):
                    assert float(value) in known, (path.name, name, value)
                    checked += 1
    assert checked > 400


def test_every_work_is_cited_once_with_its_title():
    """Of all tasks' citations, each arXiv paper is one entry, with a title; no key stands twice."""
    entries = bibtex(task.citation for task in TASKS.values()).split("\n@")
    keys = [re.search(r"\{([^,]+),", entry)[1] for entry in entries]
    assert len(set(keys)) == len(keys)
    papers = [entry for entry in entries if "eprint" in entry]
    works = [re.search(r"eprint = \{([\d.]+)\}", entry)[1] for entry in papers]
    assert len(set(works)) == len(works) > 30
    assert [entry for entry in papers if "title = {" not in entry] == []


def test_tables_in_latex_are_whole(written):
    """Every table of the page is there as LaTeX with booktabs: as many cells in a row as columns, nothing special left unescaped."""
    files = sorted((written[0].parent / "latex").glob("*.tex"))
    assert {"questions", "gains", "findings", "practices", "ledger", "target-kind-1"} <= {path.stem for path in files}
    for path in files:
        text = path.read_text(encoding="utf-8")
        columns = re.search(r"\\begin\{(?:tabular|longtable)\}\{((?:[lr]|>\{\\raggedright\\arraybackslash\}p\{\d+pt\})+)\}\n", text)[1]
        many = len(re.sub(r">\{.*?\}p\{\d+pt\}", "p", columns))
        assert text.count(r"\toprule") >= 1
        assert r"\bottomrule" in text
        body = text.split(r"\midrule")[-1].split(r"\bottomrule")[0]
        rows = [line for line in body.splitlines() if line.startswith("{}")]
        assert rows
        for row in rows:
            assert row.endswith(r"\\")
            assert len(re.split(r"(?<!\\)&", row)) == many
            assert not re.search(r"(?<!\\)[%#_]|−|●", row), row


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="needs pdflatex: apt-get install texlive-latex-recommended")
def test_tables_in_latex_compile_and_fit_the_page(written, tmp_path):
    """A document with every table compiles, and none runs out of an A4 page, upright or across."""
    packages = {line for path in (written[0].parent / "latex").glob("*.tex") for line in path.read_text(encoding="utf-8").splitlines()[:1]}
    (needs,) = packages
    tables = "".join(f"\\input{{{path}}}\n" for path in sorted((written[0].parent / "latex").glob("*.tex")))
    lines = [r"\documentclass{article}", r"\usepackage[T1]{fontenc}", r"\usepackage[a4paper,margin=2.5cm]{geometry}"]
    lines += [needs.removeprefix("% needs "), r"\begin{document}", tables, r"\end{document}"]
    (tmp_path / "all.tex").write_text("\n".join(lines), encoding="utf-8")
    for _ in range(3):  # a long table knows its columns' widths after the first run
        ran = subprocess.run(
            ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all.tex"], cwd=tmp_path, capture_output=True, check=False
        )
        assert ran.returncode == 0, ran.stdout.decode(errors="replace")[-2000:]
    assert re.findall(rb"Overfull .hbox.*", ran.stdout) == []


@pytest.mark.promise("Markup in a name is text on the page and in its figures")
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
        trap_cells={(EVIL, EVIL): EVIL},
        facts={EVIL: EVIL},
        level_note=EVIL,
        complete=False,
        languages={code: LanguageFacts(names[code], f"{EVIL}-{place % 2}", 0.0) for place, code in enumerate(names)},
        levels=(f"{EVIL}-0", f"{EVIL}-1"),
        study_file=(EVIL, f"</pre>{EVIL}"),
        citations=(EVIL,),
    )
    page = write_report(analysis, story, tmp_path)
    found = Page(page.read_text(encoding="utf-8"))
    (script,) = found.scripts[""]
    assert "alert" not in script
    assert any(EVIL in cell for cell in found.rows("gains-table")[0].values())
    assert not [text for text in found.scripts["application/json"] if "<" in text or ">" in text]
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


def test_an_arm_that_guesses_everywhere_is_no_news_at_the_bottom(small, tmp_path):
    """Its sentence stands with the cells to distrust: on top of report.md, above the page's questions, below a terminal's table. One that
    guesses in some languages is among the findings alone.
    """
    analysis, story = small
    row = {"kind": "guessing", "run_ids": ["nano/none/kind/1"], "language": ""}
    rows = [{**row, "severity": "error", "detail": "it guesses everywhere"}, {**row, "severity": "warning", "detail": "it guesses in sw"}]
    analysis = dataclasses.replace(analysis, findings=pa.Table.from_pylist(rows, schema=analysis.findings.schema))
    page = write_report(analysis, story, tmp_path)
    text = page.with_name("report.md").read_text(encoding="utf-8")
    assert text.index("**Cells to distrust**") < text.index("> - it guesses everywhere.") < text.index("## All questions")
    html = page.read_text(encoding="utf-8")
    assert "<li>it guesses everywhere.</li></ul></div>" in html
    told = "1 arm no better than always giving the most frequent answer, in any language; the report names them."
    assert " ".join(verdict_lines(analysis, story)).endswith(f"distrust: {told}")
    for told in (text, html):
        assert "it guesses in sw" in told
        assert "it guesses in sw." not in told


def test_both_policies_stand_side_by_side_where_they_differ(written):
    """A gain that changes when collapsed runs are dropped is shown under both policies; the others are not repeated."""
    text = written[0].with_name("report.md").read_text(encoding="utf-8")
    section = text.split("## Both collapse policies")[1].split("## What other")[0]
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


@pytest.mark.promise("A report that cannot be written leaves the old one whole")
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
