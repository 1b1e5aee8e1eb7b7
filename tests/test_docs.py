"""The documentation: its commands parse and run, its studies are planned, its links resolve, its numbers are those of analysis/.

A comment above a fenced block says what is done with it: `<!-- runs -->` (executed, page by page, in one folder), `<!-- needs: WHAT -->`
(only parsed: it needs data, a cluster, minutes), `<!-- file: NAME -->` (written to that folder).
"""

from __future__ import annotations

import ast
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from places import ROOT

from raystilts import cli, stats
from raystilts.experiment import load_study
from raystilts.stage import Encoder
from raystilts.study import Study, make_plan
from raystilts.task import Source, Task
from raystilts.tasks import find

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"(?:<!-- (?P<mark>[^\n]*?) -->\n)?^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE)
MADE = {"analysis/report.html", "analysis/gains.csv"}
"""Paths that a page names and its own commands make."""


@dataclass(frozen=True)
class Block:
    """A fenced block: its comment (`runs`, `needs: data`, `file: x.py`), its language and its text."""

    mark: str
    language: str
    text: str

    @property
    def file(self) -> str:
        """The file that it is written to; empty where it is none."""
        return self.mark.removeprefix("file: ") if self.mark.startswith("file: ") else ""


def blocks(page: Path) -> list[Block]:
    """All fenced blocks of a page."""
    found = FENCE.finditer(page.read_text(encoding="utf-8"))
    return [Block(match["mark"] or "", match["language"], match["text"]) for match in found]


def commands(text: str) -> Iterator[list[str]]:
    """The commands of a shell block as words: continued lines are joined, comments left out."""
    for line in text.replace("\\\n", " ").splitlines():
        if words := shlex.split(line, comments=True):
            yield words


def arguments_of(words: list[str]) -> list[str] | None:
    """What a command gives to raystilts; None where it starts something else."""
    if words[0] == "raystilts":
        return words[1:]
    if "raystilts.cli" in words:
        return words[words.index("raystilts.cli") + 1 :]
    return None


RUNNING = [page for page in PAGES if any(block.mark == "runs" for block in blocks(page))]


def spelled_out(words: list[str]) -> list[str]:
    """Without what stands for more: `...` and `[NAME]`; what a command needs beside them is filled in."""
    kept = [word for word in words if word != "..." and not word.startswith("[")]
    return [*kept, "--data", "DATA"] if kept == ["data", "check"] else kept


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_parses(page: Path) -> None:
    """Each command that starts with raystilts is one that the program accepts, and its block says whether a test runs it."""
    for block in blocks(page):
        if block.language != "sh":
            continue
        found = [arguments for words in commands(block.text) if (arguments := arguments_of(words)) is not None]
        for arguments in found:
            cli.parser().parse_args(spelled_out(arguments))
        if found:
            assert block.mark == "runs" or re.fullmatch(r"needs: [a-z ]+", block.mark), block.text


@pytest.mark.parametrize(
    "page", [page for page in PAGES if any(block.mark == "runs" for block in blocks(page))], ids=lambda page: page.stem
)
@pytest.mark.slow
def test_commands_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a page tells its reader to type works, in order, in a folder with the files that the page tells him to write."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["python"])
    for block in blocks(page):
        if block.file:
            Path(block.file).write_text(block.text, encoding="utf-8")
        for words in commands(block.text) if block.mark == "runs" else ():
            arguments = arguments_of(words)
            if arguments is not None:
                assert cli.main(arguments) == 0, words
            elif words[0] == "python":
                runpy.run_path(words[1], run_name="__main__")
            else:
                subprocess.run(words, check=True)


def sources(task: Task) -> Iterator[tuple[Source, tuple[str, ...]]]:
    """All sources of a task, with the languages that are read of each."""
    for part in (task, *task.parts, *task.trained_on):
        for source, languages in ((part.train, ("en",)), (part.dev, ("en",)), (part.test, task.languages)):
            if source:
                yield from ((one, languages) for one in (source, *source.more, source.without, source.candidates) if one)


def provide(study: Study, folder: Path) -> None:
    """Empty files for what the plan of a study reads: data below `folder`, encoders, too."""
    for task in (*study.intermediates, *study.targets):
        for source, languages in sources(find(task) if isinstance(task, str) else task):
            for language in languages:
                for name in source.files:
                    path = folder / name.format_map({"language": language})
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.touch()
    for encoder in study.encoders:
        if encoder.folder:
            (folder / encoder.folder).mkdir(exist_ok=True)
            (folder / encoder.folder / "config.json").write_text("{}")
            (folder / encoder.folder / "model.safetensors").touch()


STUDIES = [(page, block) for page in PAGES for block in blocks(page) if block.language == "python" and "def study" in block.text]


@pytest.mark.parametrize(("page", "block"), STUDIES, ids=[f"{page.stem}-{block.file}" for page, block in STUDIES])
def test_every_study_is_planned(page: Path, block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each study of the documentation is a file that raystilts loads and plans; those that read data of the Hub need none to be planned."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "experiment.py").write_text(block.text, encoding="utf-8")
    study = load_study("experiment.py")
    provide(study, tmp_path)
    own = any(isinstance(task, Task) for task in study.targets) and any(isinstance(one, Encoder) and one.folder for one in study.encoders)
    plan = make_plan(study, tmp_path if own or "units" in study.name else None, tmp_path)
    assert len(plan.cells) >= 2 * len(study.seeds) or study.looks


def test_every_python_block_is_python() -> None:
    """Each block that calls itself Python is some."""
    found = [block for page in PAGES for block in blocks(page) if block.language == "python"]
    assert len(found) > 8
    for block in found:
        ast.parse(block.text)


def slug(heading: str) -> str:
    """The anchor of a heading, as Markdown's renderers make it."""
    return re.sub(r"[^\w\- ]", "", heading.replace("`", "").strip().lower()).replace(" ", "-")


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return FENCE.sub("", page.read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_resolve(page: Path) -> None:
    """Every relative link and picture names a file that is there, and every anchor a heading; paths in backticks are there, too."""
    text = prose(page)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+://", target):
            continue
        name, _, anchor = target.partition("#")
        found = (page.parent / name).resolve() if name else page
        assert found.exists(), f"{page.name}: {target}"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", prose(found), re.MULTILINE)
            assert anchor in map(slug, headings), f"{page.name}: {target}"
    for path in re.findall(r"`(?:python )?((?:analysis|experiments|raystilts|tests|docs)/[\w/.-]+)", text):
        if path not in MADE:
            assert (ROOT / path).exists(), f"{page.name}: {path}"


def test_the_numbers_are_those_of_the_analysis() -> None:
    """Every row of the coverage tables that the explanation shows stands in the table that the simulation wrote."""
    shown = [line for line in (ROOT / "docs" / "explanation" / "intervals.md").read_text(encoding="utf-8").splitlines() if "|" in line]
    written = (ROOT / "analysis" / "coverage.md").read_text(encoding="utf-8").splitlines()
    numbers = [line for line in shown if re.search(r"\d\d\.\d", line)]
    assert len(numbers) == 15
    assert [line for line in numbers if line not in written] == []


@pytest.mark.slow
def test_the_site_builds_without_warnings(tmp_path: Path) -> None:
    """Sphinx finds no dead reference, and the reference has every verb and every public name."""
    pytest.importorskip("furo", reason="needs the extra `docs`")
    pytest.importorskip("myst_parser", reason="needs the extra `docs`")
    command = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "--quiet", str(ROOT / "docs"), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    page = (tmp_path / "reference" / "command-line.html").read_text(encoding="utf-8")
    for verb in ("tasks", "data", "plan", "run", "tune", "status", "report", "export", "analyse"):
        assert f'id="raystilts-{verb}"' in page
    names = (tmp_path / "reference" / "statistics.html").read_text(encoding="utf-8")
    missing = [name for name in stats.__all__ if f'id="raystilts.stats.{name}"' not in names]
    assert missing == ["CLAIMS", "FURTHER", "POLICIES"]  # constants: the page says what they are
    assert all(f">{name}</span>" in names for name in missing)
