"""The check of a folder: counts that are right, and every malformed row with file and line."""

from __future__ import annotations

import json
import shutil

import pytest

from raystilts import check
from raystilts.check import Problem
from raystilts.errors import UserError

TASKS = ("xnli", "mnli", "wikiann", "udpos", "xcopa", "copa", "csqa", "cosmosqa", "xquad", "squad", "sib200", "tatoeba")

NLI = "A cat.\tAn animal.\tentailment\nA dog.\tA cat.\tcontradiction\n"
NER = "Rose\tB-PER\nleft\tO\n\nIn\tO\nBonn\tB-LOC\n"
COPA = "".join(
    json.dumps({"premise": f"Rain {i}.", "choice1": "a", "choice2": "b", "question": "cause", "idx": i, "label": i % 2}) + "\n"
    for i in range(3)
)
COSMOS = 'id,context,question,answer0,answer1,answer2,answer3,label\n1,"It, rained.",Why?,a,b,c,d,0\n2,"Sun\nshone.",Why?,a,b,c,d,3\n'
SQUAD = json.dumps(
    {
        "data": [
            {
                "paragraphs": [
                    {
                        "context": f"{word} is here.",
                        "qas": [{"id": word, "question": "Who?", "answers": [{"text": word, "answer_start": 0}]}],
                    }
                ]
            }
            for word in ("Ann", "Ben", "Cem")
        ]
    },
    indent=1,
)


@pytest.fixture
def mirror(tmp_path):
    """A small folder of data sets without any mistake."""
    files = {
        "xnli/dev-en.tsv": NLI,
        "xnli/dev-sw.tsv": NLI,
        "panx/dev-en.tsv": NER,
        "panx/dev-sw.tsv": NER,
        "xcopa/train-en.jsonl": COPA,
        "cosmosqa/valid.csv": COSMOS,
        "xquad/xquad.en.json": SQUAD,
        "squad/part.json": SQUAD,
        "tatoeba/tatoeba.swh-eng.swh": "moja\nmbili\n",
        "tatoeba/tatoeba.swh-eng.eng": "one\ntwo\n",
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    return tmp_path


def found(folder):
    """The problems of the folder as (file, line, what)."""
    return [(problem.file, problem.line, problem.what) for problem in check.check(folder, TASKS).problems]


def test_a_good_folder_has_counts_and_no_problems(mirror):
    """Every file is read once, as its task reads it or as the file beside it, with the languages that its name tells."""
    report = check.check(mirror, TASKS)
    assert not report.problems
    assert not report.unread
    counts = {tuple(sorted(file.paths, reverse=True)): (file.read_as, file.language, file.examples, file.words) for file in report.files}
    assert counts == {
        ("cosmosqa/valid.csv",): ("cosmosqa dev", "en", 2, 0),
        ("panx/dev-en.tsv",): ("wikiann dev", "en", 2, 4),
        ("panx/dev-sw.tsv",): ("wikiann dev", "sw", 2, 4),
        ("squad/part.json",): ("as squad train", "", 3, 0),
        ("tatoeba/tatoeba.swh-eng.swh", "tatoeba/tatoeba.swh-eng.eng"): ("tatoeba test", "sw", 2, 0),
        ("xcopa/train-en.jsonl",): ("copa train", "en", 3, 0),
        ("xnli/dev-en.tsv",): counts[("xnli/dev-en.tsv",)],
        ("xnli/dev-sw.tsv",): counts[("xnli/dev-sw.tsv",)],
        ("xquad/xquad.en.json",): ("xquad test", "en", 3, 0),
    }
    shown = check.lines(report)
    assert any(line.startswith("panx") and "2 languages x 2 sentences: en sw" in line for line in shown)
    assert shown[-1] == "10 files read, nothing malformed in them"
    assert json.loads(json.dumps(check.facts(report)))["num_problems"] == 0


def test_duplicates_and_labels_are_counted(mirror):
    """Labels, examples that are there twice, and examples that share a text."""
    (mirror / "xnli" / "dev-en.tsv").write_text(NLI + "A cat.\tIt is red.\tneutral\n" + NLI)
    (mirror / "xnli" / "dev-sw.tsv").unlink()
    (file,) = (file for file in check.check(mirror, ["mnli"]).files if file.group == "xnli")
    assert file.labels == (("entailment", 2), ("contradiction", 2), ("neutral", 1))
    assert (file.repeated, file.sharing) == (2, 5)


CORRUPTIONS = {
    "truncated JSON": ("xquad/xquad.en.json", SQUAD[:-40], [SQUAD[:-40].count("\n") + 1], "this is not JSON ("),
    "truncated JSON line": ("xcopa/train-en.jsonl", COPA + '{"premise": "x', [4], "this is not JSON ("),
    "missing column": ("xnli/dev-sw.tsv", NLI + "a\tb\n" + "c\n", [3, 4], "columns between tabs instead of 3"),
    "missing key": (
        "xcopa/train-en.jsonl",
        COPA.replace('"choice2": "b", ', "", 2),
        [1, 2],
        "the column 'choice2' is missing; did you mean",
    ),
    "missing cell": ("cosmosqa/valid.csv", COSMOS + "3,x,y,a,b,c,d\n", [5], "7 columns between commas instead of 8"),
    "unclosed quote": (
        "cosmosqa/valid.csv",
        COSMOS + '3,"x,y,a,b,c,d,0\n4,x,y,a,b,c,d,0\n',
        [5],
        "a quote is opened here and never closed",
    ),
    "wrong encoding": ("panx/dev-sw.tsv", NER.encode() + b"\nZ\xfcrich\tB-LOC\n\nK\xf6ln\tB-LOC\n", [7, 9], "this is not UTF-8 (byte"),
    "carriage return": ("xnli/dev-sw.tsv", b"a\rb\tc\tneutral\r\n" + NLI.encode(), [1], "a carriage return stands within the line"),
    "unknown label": ("xnli/dev-sw.tsv", NLI + "a\tb\tentailed\n", [3], "has no label 'entailed'; did you mean 'entailment'?"),
    "BIO garbage": ("panx/dev-sw.tsv", NER + "x\tB-\ny\tE-PER\n", [6, 7], "wikiann has no label"),
    "empty file": ("panx/dev-sw.tsv", "", [None], "the file is empty"),
    "header only": ("cosmosqa/valid.csv", COSMOS[: COSMOS.index("\n") + 1], [None], "it has no examples"),
    "wrong answer": (
        "squad/part.json",
        SQUAD.replace('"text": "Ben"', '"text": "Bob"'),
        [28],
        "question 'Ben': the answer 'Bob' does not stand",
    ),
    "unequal lengths": ("tatoeba/tatoeba.swh-eng.swh", "moja\n", [None], "it has 1 lines, but"),
    "empty line": ("tatoeba/tatoeba.swh-eng.eng", "one\n\n", [2], "the line is empty"),
    "other label": ("xnli/dev-sw.tsv", NLI.replace("contradiction", "neutral"), [2], "but 'contradiction' in the English row"),
    "other length": ("xnli/dev-sw.tsv", NLI + "a\tb\tneutral\n", [None], "it ends with line 3, the English file"),
}


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_corrupted_files_are_named_with_every_line(mirror, name):
    """Each way to break a file is reported for that file, with each line that is broken, and for no other file."""
    file, content, lines, message = CORRUPTIONS[name]
    (mirror / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    problems = found(mirror)
    told = [(where, line) for where, line, what in problems if message in what]
    assert told == [(file, line) for line in lines], problems
    assert {where for where, _, _ in problems} == {file}
    shown = check.lines(check.check(mirror, TASKS))
    assert any(line.strip().startswith(file) and message in line for line in shown)
    assert shown[-1].endswith("of them")


def test_a_problem_is_reported_once(mirror):
    """A file that two tasks read has each problem once, and rows around it are counted."""
    (mirror / "xnli" / "dev-sw.tsv").write_text(NLI + "a\tb\n")
    assert len([what for _, line, what in found(mirror) if line == 3]) == 1
    report = check.check(mirror, ["xnli"])
    assert {file.examples for file in report.files if file.paths == ("xnli/dev-sw.tsv",)} == {2}


def test_labels_that_are_all_the_same_look_hidden(mirror):
    """XTREME's copies of test sets have one label on all rows: nothing is malformed, but it is said."""
    content = "".join(json.dumps({**json.loads(COPA.splitlines()[0]), "idx": i}) + "\n" for i in range(30))
    (mirror / "xcopa" / "test-en.jsonl").write_text(content)
    report = check.check(mirror)
    assert report.problems == []
    assert report.hidden == [Problem("xcopa/test-en.jsonl", None, "all 30 labels are '0': are the real ones hidden?")]
    assert check.lines(report)[-1].endswith("; 1 files without their gold cannot be scored")


def test_what_nothing_reads_is_listed(mirror):
    """Folders without any file that a task reads are one row with their number of files."""
    for name in ("notes/a.txt", "notes/deep/b.txt", "xnli/readme.md", "LICENSE"):
        (mirror / name).parent.mkdir(parents=True, exist_ok=True)
        (mirror / name).write_text("x")
    report = check.check(mirror, TASKS)
    assert report.unread == (("LICENSE", 1), ("notes/", 2), ("xnli/readme.md", 1))
    assert "  notes/: 2 files" in check.lines(report)


def test_tables_of_problems_stay_short():
    """Lines with the same problem share a row; --json has all."""
    problems = tuple(Problem("f", line, "odd") for line in range(1, 31)) + tuple(Problem("f", 1, f"p{i}") for i in range(30))
    file = check.File(("f",), ".", "x dev", "en", 0, 0, (), 0, 0, problems, ())
    report = check.Report("data", (file,), ())
    shown = check.lines(report)
    assert "  f, line 1, 2, 3, 4, 5, 6, 7, 8 and 22 more: odd" in shown
    assert "  f: 11 kinds of problems more (--json has all)" in shown
    assert len(check.facts(report)["files"][0]["problems"]) == 60


def test_a_folder_that_is_none_is_refused(tmp_path):
    """A wrong --data or an unknown task is one sentence."""
    with pytest.raises(UserError, match="is not a folder"):
        check.check(tmp_path / "nothing")
    with pytest.raises(UserError, match=r"there is no task 'xnly'; did you mean 'xnli'\?"):
        check.check(tmp_path, ["xnly"])


# --- the development data

# (group, read as) -> languages or files, examples of each where they are all the same
PUBLISHED = {
    ("xnli", "mnli dev"): (15, 2490),
    ("mnli", "taxinli train"): (1, 10071),
    ("panx", "wikiann train"): (1, 20000),
    ("panx", "wikiann dev"): (22, None),
    ("udpos", "udpos train"): (1, 21787),
    ("udpos", "udpos test"): (16, None),
    ("tydiqa", "tydiqa train"): (1, 3696),
    ("xquad", "xquad test"): (12, 1190),
    ("xcopa", "xcopa test"): (11, 500),
    ("xcopa", "copa train"): (1, 400),
    ("csqa", "csqa train"): (1, 9741),
    ("csqa", "csqa dev"): (1, 1221),
    ("ccg", "ccg train"): (1, 11303),
    ("ccg", "ccg dev"): (1, 1864),
    ("cosmosqa", "cosmosqa dev"): (1, 2985),
    ("pawsx", "pawsx dev"): (7, 2000),
    ("sib200", "sib200 train"): (36, 701),
    ("sib200", "sib200 dev"): (36, 99),
    ("sib200", "sib200 test"): (36, 204),
    ("tatoeba", "tatoeba test"): (45, None),
    ("masakhaner2/gold", "masakhaner test"): (8, None),
}


def test_the_development_data_is_what_its_readme_says(shared_data):
    """All of ../shared/data with the counts of its README, and nothing malformed; some of XTREME's copies hide answers and labels."""
    report = check.check(shared_data)
    groups: dict[tuple[str, str], list[int]] = {}
    for file in report.files:
        groups.setdefault((file.group, file.read_as), []).append(file.examples)
    for key, (num, count) in PUBLISHED.items():
        assert len(groups[key]) == num, key
        assert count is None or set(groups[key]) == {count}, key
    parts = {file.paths[0]: file.examples for file in report.files if file.group == "squad"}
    assert parts == {"squad/part-1.json": 4639, "squad/part-2.json": 3547, "squad/part-2-dev.json": 444}
    assert report.problems == []
    assert {problem.file.split("/")[0] for problem in report.hidden} == {"tydiqa", "xcopa"}
    assert len(report.hidden) == 9 + 1
    assert report.unread == (("README.md", 1), ("masakhaner2/predictions/", 114))
    assert len(check.lines(report)) < 100


def test_real_files_that_are_corrupted_are_named(shared_data, tmp_path):
    """Copies of real files with one row broken: the row is named, and all the others are counted as before."""
    for name in ("xquad/xquad.th.json", "panx/dev-yo.tsv", "cosmosqa/valid.csv"):
        (tmp_path / name).parent.mkdir()
        shutil.copyfile(shared_data / name, tmp_path / name)
    path = tmp_path / "panx" / "dev-yo.tsv"
    rows = path.read_text().split("\n")
    rows[10] = rows[10].replace("\t", " ")
    path.write_text("\n".join(rows))
    path = tmp_path / "xquad" / "xquad.th.json"
    content = path.read_text()
    path.write_text(content.replace('"answer_start": ', '"answer_start": 1', 1))
    path = tmp_path / "cosmosqa" / "valid.csv"
    rows = path.read_text().split("\n")
    rows[7] = rows[7][:-1] + "9"
    path.write_text("\n".join(rows))
    report = check.check(tmp_path, ["xquad", "wikiann", "cosmosqa"])
    assert [(problem.file, problem.line) for problem in report.problems][0::2] == [("cosmosqa/valid.csv", 8), ("xquad/xquad.th.json", 15)]
    assert [file.examples for file in report.files] == [2984, 100, 1189]
