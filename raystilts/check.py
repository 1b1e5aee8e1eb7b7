"""Goes through a folder of data sets and says what is there and what is wrong: every malformed row of every file, not only the first.

A file is read as the tasks read it. Files that stand beside a task's own and end alike are read in the same way; the rest is listed.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raystilts import data, languages
from raystilts.errors import UserError
from raystilts.readers import READERS, Reading, Row, filled
from raystilts.task import ENGLISH, Example, Source, Task
from raystilts.tasks import TASKS, find

TOP_LABELS = 5  # labels that are named of a file
FEW = 20  # examples whose labels may be all the same
SHOWN_LINES, SHOWN_PROBLEMS = 8, 20  # of a kind of problem, and of a file, in the table for terminals


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong: in which file below the folder, in which line (None: in all of it)."""

    file: str
    line: int | None
    what: str


@dataclass(frozen=True, slots=True)
class File:
    """What was found in a file, or in the files that are read together.

    group: the folder that its kind of file lies in. read_as: task and split, after "as" where no task names the file itself.
    language: canonical code, "" where nothing tells it. examples: how many are well formed; words: of tagged sentences. labels: how
    often each occurs. repeated: examples whose texts and label stood before; sharing: examples that share a text with another one.
    problems: what is malformed; hidden: gold that is not there, so that nothing can be scored.
    """

    paths: tuple[str, ...]
    group: str
    read_as: str
    language: str
    examples: int
    words: int
    labels: tuple[tuple[str, int], ...]
    repeated: int
    sharing: int
    problems: tuple[Problem, ...]
    hidden: tuple[Problem, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """What a folder holds. unread: files, or folders with the number of their files, that no task reads."""

    folder: str
    files: tuple[File, ...]
    unread: tuple[tuple[str, int], ...]

    @property
    def problems(self) -> list[Problem]:
        """All that is malformed."""
        return [problem for file in self.files for problem in file.problems]

    @property
    def hidden(self) -> list[Problem]:
        """Files whose gold is not there."""
        return [problem for file in self.files for problem in file.hidden]


@dataclass(frozen=True)
class _Use:
    """A task's way to read some files in a language."""

    task: Task
    split: str
    source: Source
    code: str
    paths: tuple[Path, ...]


def check(folder: Path, task_names: Collection[str] = ()) -> Report:
    """Reads every file below the folder that one of the tasks (all of them where none is named) knows how to read."""
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder: name the one with the data sets.")
    uses = list(_uses(folder, [find(name) for name in task_names] if task_names else list(TASKS.values())))
    present = sorted(path for path in folder.rglob("*") if path.is_file())
    found: list[File] = []
    golds: dict[tuple[Any, ...], dict[Any, Row]] = {}
    read: set[Path] = set()
    done: set[tuple[Any, ...]] = set()
    # English first: the other languages' files are compared with it.
    for use in sorted((use for use in uses if all(path.is_file() for path in use.paths)), key=lambda use: use.code != ENGLISH):
        way = (use.paths, *_way(use))
        if way not in done:
            done.add(way)
            read.update(use.paths)
            found.append(_file(folder, use, f"{use.task.name} {use.split}", golds))
    beside: dict[tuple[Path, str], list[_Use]] = defaultdict(list)
    for use in uses:
        if len(use.paths) == 1:
            beside[use.paths[0].parent, use.paths[0].suffix].append(use)
    for path in present:
        if path not in read and (similar := _similar(path, beside[path.parent, path.suffix])):
            read.add(path)
            use = dataclasses.replace(similar, paths=(path,), source=dataclasses.replace(similar.source, parallel=False))
            found.append(_file(folder, use, f"as {use.task.name} {use.split}", golds))
    known: set[Problem] = set()  # a file that is read in several ways has its problems once
    for place, file in enumerate(found):
        new = tuple(problem for problem in dict.fromkeys(file.problems) if problem not in known)
        known.update(new)
        found[place] = dataclasses.replace(file, problems=new)
    found.sort(key=lambda file: (file.group, file.read_as, file.language, file.paths))
    return Report(str(folder), tuple(found), tuple(_unread(folder, present, read)))


# --- which files are read how


def _uses(folder: Path, tasks: Sequence[Task]) -> Iterator[_Use]:
    """How the tasks would read files in each language of the table, whether or not the files are there."""
    for task in tasks:
        for split in ("train", "dev", "test"):
            source: Source | None = getattr(task, split)
            for used, what in _sources(source, split):
                # one file of all languages holds those of the task
                for code in task.languages if used.reader == "mewslix_mentions" else languages.LANGUAGES:
                    try:
                        paths = tuple(folder / filled(name, code, used.codes) for name in used.files)
                    except UserError:  # the languages table lacks the code that the file's name needs
                        continue
                    if paths:
                        yield _Use(task, what, used, code, paths)


def _sources(source: Source | None, what: str) -> Iterator[tuple[Source, str]]:
    """A source and all those that it names."""
    if source is not None:
        yield source, what
        for further in source.more:
            yield from _sources(further, what)
        yield from _sources(source.without, what)
        yield from _sources(source.candidates, f"{what} candidates")


def _way(use: _Use) -> tuple[Any, ...]:
    """What distinguishes ways to read the same file."""
    source = use.source
    own = use.code if source.reader == "mewslix_mentions" else ""
    return source.reader, source.header or source.columns, source.separator, source.values, source.only, use.task.kind, own


def _similar(path: Path, beside: Sequence[_Use]) -> _Use | None:
    """Of the uses of files in the same folder that end alike the one of the file whose name begins alike as far as possible."""
    return max(beside, key=lambda use: _alike(use.paths[0].name, path.name), default=None)


def _alike(first: str, second: str) -> int:
    """Number of characters with which both begin."""
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(first, second, strict=False)))


def _unread(folder: Path, present: Sequence[Path], read: set[Path]) -> Iterator[tuple[str, int]]:
    """Files that were not read; of folders without any that was, only the number."""
    kept = {parent for path in read for parent in path.parents} | {folder}
    counts: Counter[Path] = Counter()
    for path in present:
        if path not in read:
            # the uppermost folder in which nothing was read, else the file itself
            top = next(parent for parent in [*reversed(path.parents), path] if parent.is_relative_to(folder) and parent not in kept)
            counts[top] += 1
    for path, count in sorted(counts.items()):
        yield str(path.relative_to(folder)) + ("/" if path.is_dir() else ""), count


# --- one file


def _file(folder: Path, use: _Use, read_as: str, golds: dict[tuple[Any, ...], dict[Any, Row]]) -> File:
    problems: list[Problem] = []
    hidden: list[Problem] = []

    def noted(where: str, line: int | None, what: str) -> Problem:
        path = Path(where)
        return Problem(str(path.relative_to(folder)) if path.is_relative_to(folder) else where, line, what)

    def on_error(where: str, line: int | None, what: str) -> None:
        problems.append(noted(where, line, what))

    def on_hidden(where: str, line: int | None, what: str) -> None:
        hidden.append(noted(where, line, what))

    source, task = use.source, use.task
    reading = Reading(use.paths, source, task.kind, use.code, on_error, on_hidden)
    where = str(use.paths[0])
    try:
        raw = list(READERS[source.reader](reading))
        rows = list(data.checked(raw, task, source, where, on_error))
        examples = data.identified(rows, task.kind, where, on_error)
    except UserError as error:  # of the task's literal, not of the data
        raw, rows, examples = [], [], []
        on_error(where, None, str(error))
    if not raw and not problems and not hidden:
        on_error(where, None, "it has no examples: put the original file there.")
    if source.parallel:
        _compare(use, raw, golds, where, on_error)
    labels, clusters = _labels(examples, task), Counter(example.cluster for example in examples)
    if task.kind in ("classification", "choice") and len(examples) > FEW and len(labels) == 1:
        on_hidden(where, None, f"all {len(examples)} labels are {next(iter(labels))!r}: are the real ones hidden?")
    language = use.code if any("{" in name for name in source.files) or source.reader == "mewslix_mentions" else ENGLISH
    return File(
        paths=tuple(str(path.relative_to(folder)) for path in use.paths),
        group=_group(use, folder),
        read_as=read_as,
        language="" if read_as.startswith("as ") else language,
        examples=len(examples),
        words=sum(len(example.texts) for example in examples) if task.kind == "tagging" else 0,
        labels=tuple(labels.most_common()),
        repeated=len(examples) - len({(example.texts, example.label) for example in examples}),
        sharing=sum(count for cluster, count in clusters.items() if cluster and count > 1),
        problems=tuple(sorted(problems, key=lambda problem: (problem.file, problem.line or 0))),
        hidden=tuple(hidden),
    )


def _group(use: _Use, folder: Path) -> str:
    """The folder of the source's files, up to where the language comes in."""
    if use.paths[0].parent == folder:
        return "."
    fixed = []
    for part in Path(use.source.files[0]).parent.parts:
        if "{" in part:
            break
        fixed.append(part)
    return "/".join(fixed) or "."


def _labels(examples: Sequence[Example], task: Task) -> Counter[str]:
    """How often each label occurs; of questions, whether they have an answer. Keys of retrieval are no labels."""
    if task.kind == "tagging":
        return Counter(tag for example in examples for tag in example.label or ())
    if task.kind == "span":
        return Counter("answered" if example.label else "no answer" for example in examples)
    return Counter(example.label for example in examples if isinstance(example.label, str))


def _compare(use: _Use, raw: Sequence[Row], golds: dict[tuple[Any, ...], dict[Any, Row]], where: str, on_error: Any) -> None:
    """Reports rows whose label is another one than the English file's, and files of another length, where the source is parallel."""
    key = (use.source.files, _way(use))
    by_id = bool(raw) and all(row.id for row in raw)
    own: dict[Any, Row] = {row.id if by_id else row.line: row for row in raw}
    if use.code == ENGLISH:
        golds[key] = own
    english: Mapping[Any, Row] | None = golds.get(key)
    if english is None:
        on_error(where, None, "the English file that it must be parallel to is missing.")
        return
    if by_id:
        for name in own.keys() - english.keys():
            on_error(where, own[name].line, f"the id {name!r} is not in the English file that it must be parallel to.")
        for name in english.keys() - own.keys():
            on_error(where, None, f"there is no {name!r}, which the English file has that it must be parallel to.")
    elif max(own, default=0) != max(english, default=0):
        on_error(where, None, f"it ends with line {max(own, default=0)}, the English file that it must be parallel to with {max(english)}.")
    for name in own.keys() & english.keys():
        if data.disagree(own[name].label, english[name].label):
            what = f"the label is {own[name].label!r}, but {english[name].label!r} in the English row that it must be parallel to"
            on_error(where, own[name].line, f"{what}: get both from the same release.")


# --- for people and for programs


def facts(report: Report) -> dict[str, Any]:
    """The report for JSON, with every problem."""
    return {**dataclasses.asdict(report), "num_problems": len(report.problems), "num_hidden": len(report.hidden)}


def lines(report: Report) -> list[str]:
    """The report as a table: a row per folder and use with the counts of its languages, and below it what is wrong, file by file."""
    groups: dict[tuple[str, str], list[File]] = defaultdict(list)
    for file in report.files:
        groups[file.group, file.read_as].append(file)
    rows = [(group, read_as, _counts(files)) for (group, read_as), files in groups.items()]
    widths = [max((len(row[place]) for row in rows), default=0) for place in (0, 1)]
    shown = []
    for (group, read_as, counts), files in zip(rows, groups.values(), strict=True):
        shown.append(f"{group:{widths[0]}}  {read_as:{widths[1]}}  {counts}")
        shown += [f"{'':{sum(widths) + 4}}{detail}" for detail in _details(files)]
        shown += [f"  {line}" for file in files for line in _shown(file)]
    if report.unread:
        shown += ["", "not read by any task:"]
        shown += [f"  {path}" + (f": {count} files" if path.endswith("/") else "") for path, count in report.unread]
    num, broken = len(report.problems), sum(bool(file.problems) for file in report.files)
    num_paths = len({path for file in report.files for path in file.paths})
    hidden = f"; {len(report.hidden)} files without their gold cannot be scored" if report.hidden else ""
    shown += ["", f"{num_paths} files read, " + (f"{num} problems in {broken} of them" if num else "nothing malformed in them") + hidden]
    return shown


def _counts(files: Sequence[File]) -> str:
    """Languages and their numbers of examples; one number where all are equal."""
    unit = "sentences" if any(file.words for file in files) else "examples"
    names = [file.language or Path(file.paths[0]).name for file in files]
    numbers = {file.examples for file in files}
    if len(files) == 1:
        return f"{names[0]} {files[0].examples:,} {unit}"
    what = "languages" if len({file.language for file in files}) == len(files) else "files"
    if len(numbers) == 1:
        return f"{len(files)} {what} x {files[0].examples:,} {unit}: {' '.join(names)}"
    return f"{len(files)} {what}, {unit}: {'  '.join(f'{name} {file.examples:,}' for name, file in zip(names, files, strict=True))}"


def _details(files: Sequence[File]) -> Iterator[str]:
    labels: Counter[str] = Counter()
    for file in files:
        labels.update(dict(file.labels))
    words, repeated, sharing = (sum(getattr(file, name) for file in files) for name in ("words", "repeated", "sharing"))
    if labels:
        share = sum(labels.values())
        more = len(labels) - TOP_LABELS
        shown = "  ".join(f"{label} {100 * count / share:.1f} %" for label, count in labels.most_common(TOP_LABELS))
        yield shown + (f"  and {more} more" if more > 0 else "")
    parts = [f"{words:,} words"] if words else []
    parts += [f"{repeated:,} repeated"] if repeated else []
    parts += [f"{sharing:,} share a text"] if sharing else []
    if parts:
        yield ", ".join(parts)


def _shown(file: File) -> Iterator[str]:
    """The problems of a file, those of one kind on one line, and what is hidden."""
    kinds: dict[tuple[str, str], list[int]] = defaultdict(list)
    for problem in (*file.problems, *file.hidden):
        places = kinds[problem.file, problem.what]
        if problem.line is not None:
            places.append(problem.line)
    for (name, what), places in list(kinds.items())[:SHOWN_PROBLEMS]:
        numbers = ", ".join(map(str, places[:SHOWN_LINES])) + (
            f" and {len(places) - SHOWN_LINES} more" if len(places) > SHOWN_LINES else ""
        )
        yield f"{name}{f', line {numbers}' if places else ''}: {what}"
    if len(kinds) > SHOWN_PROBLEMS:
        yield f"{file.paths[0]}: {len(kinds) - SHOWN_PROBLEMS} kinds of problems more (--json has all)"
