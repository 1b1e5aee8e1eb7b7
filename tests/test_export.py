"""Exports are scored by a reader that knows XTREME's formats and nothing of raystilts: its scores must be those of the store."""

from __future__ import annotations

import json
import random
import shutil
import string
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from seqeval.metrics import f1_score

from raystilts import cli, data, evaluate, export, languages, tasks
from raystilts.errors import UserError
from raystilts.experiment import load_study
from raystilts.process import owner
from raystilts.readers import filled
from raystilts.record import finish
from raystilts.store import Store
from raystilts.study import NONE, Cell, Plan, make_plan
from raystilts.task import Task
from raystilts.tasks.nli import PAWSX
from raystilts.tasks.tagging import NAMES, UPOS

STUDY = """
from raystilts.stage import Encoder
from raystilts.study import Study
TARGETS = ("xnli", "pawsx", "udpos", "wikiann", "xquad", "mlqa", "tydiqa", "xcopa", "tatoeba", "bucc", "mewslix", "lareqa")
def study():
    encoders = (Encoder("small", folder="small"), Encoder("large", folder="large"))
    return Study("exported", "Can XTREME read it?", encoders, ("qqp",), TARGETS, (1, 2), languages=("ar", "de", "zh"))
"""
LANGUAGES = ("ar", "de", "zh")
NUM = 12
FILES = {  # XTREME's name of each task, and how its files end
    "xnli": ("xnli", "tsv"),
    "pawsx": ("pawsx", "tsv"),
    "udpos": ("udpos", "tsv"),
    "wikiann": ("panx", "tsv"),
    "xquad": ("xquad", "json"),
    "mlqa": ("mlqa", "json"),
    "tydiqa": ("tydiqa", "json"),
    "xcopa": ("xcopa", "jsonl"),
    "tatoeba": ("tatoeba", "tsv"),
    "bucc": ("bucc2018", "tsv"),
    "mewslix": ("mewslix", "json"),
}
# of Tatoeba, in the order of its file: equal sentences, blanks at the ends, letters that a dictionary would order in another way
ENGLISH = (
    "You can go.",
    "I see.",
    "écoute",
    "he came",
    " I see.",
    "He came",
    "Äpfel",
    "I see.",
    "apples\u00a0",
    "Zoo",
    "10 of",
    "\U0001f600",
)
SORTED = (10, 5, 1, 4, 7, 0, 9, 8, 3, 6, 2, 11)


# --- tiny files as the data sets' authors distribute them, and the labels as XTREME keeps them


def write(path: Path, text: str) -> None:
    """Write a file and its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def rows(values: Sequence[Any]) -> str:
    """One value a line."""
    return "".join(f"{value}\n" for value in values)


def make_data(folder: Path, labels: Path, codes: Sequence[str] = LANGUAGES) -> None:
    """Test files of all tasks in the languages that they have, and XTREME's labels."""
    rng = random.Random(1)  # noqa: S311  no secret
    inference = rng.choices(("entailment", "neutral", "contradiction"), k=NUM)
    write(folder / "xnli/test-en.tsv", rows([f"premise {n}\thypothesis {n}\t{label}" for n, label in enumerate(inference)]))
    mentions, wanted = [], {}
    for code in codes:
        write(folder / f"xnli/test-{code}.tsv", rows([f"{code} premise {n}\thypothesis {n}\t{label}" for n, label in enumerate(inference)]))
        write(labels / f"xnli/test-{code}.tsv", rows(inference))
        same_meaning = rng.choices("01", k=NUM)
        write(folder / f"pawsx/test-{code}.tsv", rows([f"{code} one {n}\tother {n}\t{label}" for n, label in enumerate(same_meaning)]))
        write(labels / f"pawsx/test-{code}.tsv", rows(same_meaning))
        for name, tags, prefix in (("udpos", UPOS, ""), ("panx", NAMES, f"{code}:")):
            sentences = [rng.choices(tags, k=rng.randint(1, 9)) for _ in range(NUM)]
            tagged = [rows([f"{prefix}w{n}{place}\t{tag}" for place, tag in enumerate(of)]) for n, of in enumerate(sentences)]
            write(folder / f"{name}/test-{code}.tsv", "\n".join(tagged))
            write(labels / f"{name}/test-{code}.tsv", "\n".join(map(rows, sentences)))
        for name, place in (
            ("xquad", f"xquad/xquad.{code}.json"),
            ("mlqa", f"mlqa/MLQA_V1/test/test-context-{code}-question-{code}.json"),
            ("tydiqa", f"tydiqa/tydiqa.goldp.{code}.dev.json"),
        ):
            questions = {"data": [{"paragraphs": [paragraph(f"{name}-{code}-{n}", rng) for n in range(4)]}]}
            text = json.dumps(questions, ensure_ascii=rng.random() < 0.5)
            write(folder / place, text)
            write(labels / f"{name}/test-{code}.json", text)
        choice = [rng.randint(0, 1) for _ in range(NUM)]
        same = {"question": "cause", "choice1": "a", "choice2": "b"}
        asked = [{"premise": f"{code} {n}", "label": label, "idx": n, **same} for n, label in enumerate(choice)]
        write(folder / f"xcopa/test.{code}.jsonl", rows([json.dumps(row) for row in asked]))
        write(labels / f"xcopa/test-{code}.jsonl", rows([json.dumps({"label": c}) for c in choice]))
        iso3 = languages.find(code).tatoeba
        write(folder / f"tatoeba/tatoeba.{iso3}-eng.eng", rows(ENGLISH))
        write(folder / f"tatoeba/tatoeba.{iso3}-eng.{iso3}", rows([f"{code} sentence {n}" for n in range(len(ENGLISH))]))
        write(labels / f"tatoeba/test-{code}.tsv", rows(SORTED))
        gold = [f"{code}-{n:09}\ten-{n + 100:09}" for n in range(0, NUM, 2)]
        for split in ("dev", "test"):
            write(folder / f"bucc2018/{code}-en.{split}.{code}", rows([f"{code}-{n:09}\tsentence {n}" for n in range(NUM)]))
            write(folder / f"bucc2018/{code}-en.{split}.en", rows([f"en-{n + 100:09}\tEnglish {n}" for n in range(NUM)]))
            write(folder / f"bucc2018/{code}-en.{split}.gold", rows(gold))
        write(labels / f"bucc2018/test-{code}.tsv", rows(gold))
        wanted[code] = {f"{code}{n:030}": [f"Q{rng.randrange(30)}"] for n in range(NUM)}
        mentions += [mention(code, name, entity) for name, (entity,) in wanted[code].items()]
        write(labels / f"mewslix/test-{code}.json", json.dumps(wanted[code]))
    write(folder / "mewslix/wikinews_mentions-test.jsonl", rows(mentions))
    span = [{"start": 0, "end": 3}]
    entities = [{"entity_id": f"Q{n}", "description": "It.", "sentence_spans": span} for n in range(30)]
    write(folder / "mewslix/candidate_set_entities.jsonl", rows([json.dumps(entity) for entity in entities]))


def paragraph(name: str, rng: random.Random) -> dict[str, Any]:
    """Three questions about a context whose words scorers read in their own ways: articles, punctuation, Chinese characters."""
    words = rng.sample(("The", "an", "die", "Das", "rivière", "«Große»", "الكتاب", "北京", "U.S.", "1,000", "ein", "Haus", "flows"), 9)
    context = " ".join(words)
    questions = []
    for place in range(3):
        texts = [" ".join(words[2 * place : 2 * place + size]) for size in (2, 3)]
        answers = [{"text": text, "answer_start": context.index(text)} for text in texts]
        questions.append({"id": f"{name}-{place}", "question": f"Which {place}?", "answers": answers})
    return {"context": context, "qas": questions}


def mention(code: str, name: str, entity: str) -> str:
    """A mention of an entity in news."""
    context = {"document_id": f"doc-{name}", "language": code, "text": "Smith went.", "sentence_spans": [{"start": 0, "end": 11}]}
    span = {"start": 0, "end": 5, "text": "Smith"}
    return json.dumps({"context": context, "mentions": [{"example_id": name, "entity_id": entity, "mention_span": span}]})


# --- a store with what evaluations leave there


@dataclass(frozen=True)
class World:
    """A study's plan, its store, its data, XTREME's labels, and the folder of all of them."""

    root: Path
    plan: Plan
    store: Store

    @property
    def data(self) -> Path:
        """The original files."""
        return self.root / "data"

    def model(self, intermediate: str = NONE, seed: int | None = None) -> list[Cell]:
        """The runs of the large encoder."""
        return export.cells_of(self.plan, None, intermediate, seed)

    def run(self, *arguments: str) -> int:
        """The verb export on the command line."""
        return cli.main(["export", str(self.root / "exp.py"), *self.places, *arguments])

    @property
    def places(self) -> list[str]:
        """Where things are, as flags."""
        return ["--data", str(self.data), "--encoders", str(self.root), "--store", str(self.store.root)]


def make_plan_in(root: Path, codes: Sequence[str] = LANGUAGES) -> Plan:
    """The plan of the experiment in a folder; files that are only trained on are made, empty, as nothing is trained."""
    study = replace(load_study(str(root / "exp.py")), languages=tuple(codes))
    for target in map(tasks.find, (*study.targets, *study.intermediates)):
        used = [(source, "en") for task in (target, *target.trained_on) for source in (task.train, task.dev)]
        used += [(target.test, code) for code in codes if code in target.languages]
        for path in (root / "data" / filled(name, code, source.codes) for source, code in used if source for name in source.files):
            if not path.exists():
                write(path, "")
    return make_plan(study, root / "data", root)


def predict(task: Task, examples: Sequence[Any], rng: random.Random) -> tuple[list[Any], list[Any]]:
    """(gold, predictions) as evaluate.py has them; many of the predictions are right."""
    gold: list[Any] = [example.label or () for example in examples]
    if task.kind == "tagging":
        return gold, [tuple(tag if rng.random() < 0.7 else rng.choice(task.labels) for tag in tags) for tags in gold]
    if task.kind == "span":
        spans = [example.texts[1].split()[rng.randrange(4) :][: rng.randint(1, 4)] for example in examples]
        return gold, [rng.choice((answers[0], answers[-1], " ".join(words), "")) for answers, words in zip(gold, spans, strict=True)]
    if task.kind == "mining":
        others = [f"en-{n:09}" for n in range(100, 109)]
        return gold, [tuple(found if rng.random() < 0.5 else rng.sample([*found, *others], rng.randrange(3))) for found in gold]
    if task.name == "mewslix":
        return gold, [tuple(rng.sample([f"Q{n}" for n in range(30)], 20)) for _ in gold]
    if task.kind == "retrieval":
        gold = [example.id for example in examples]
    return gold, [label if rng.random() < 0.6 else rng.choice(task.labels or gold) for label in gold]


def evaluate_in(store: Store, cell: Cell, folder: Path) -> None:
    """Put a run's evaluation into the store, with predictions that nobody made."""
    task = cell.evaluation.task
    rng = random.Random(f"{cell.encoder} {cell.intermediate} {cell.target} {cell.seed}")  # noqa: S311  no secret
    scores: dict[str, dict[str, float]] = {metric: {} for metric in (task.metric, *task.also)}
    with store.writing(cell.evaluation.key, owner()) as out:
        (out / evaluate.PREDICTIONS).mkdir()
        for language in cell.languages:
            examples = data.examples(task, "test", language, folder)
            table, found = evaluate.prediction_table(task, examples, *predict(task, examples, rng), language)
            pq.write_table(table, out / evaluate.PREDICTIONS / f"{language}.parquet")
            for metric, score in found.items():
                scores[metric][language] = score
        write(out / "stage.json", json.dumps({"result": {"scores": scores.pop(task.metric), "metric": task.metric, "also": scores}}))
        finish(out)


def reported(world: World, cell: Cell, language: str) -> dict[str, float]:
    """What the store says of an evaluation, by metric."""
    result = world.store.record(cell.evaluation.key)["result"]
    return {metric: scores[language] for metric, scores in {result["metric"]: result["scores"], **result["also"]}.items()}


def make_world(root: Path, codes: Sequence[str] = LANGUAGES) -> World:
    """Two encoders, of which only the large one is evaluated."""
    write(root / "exp.py", STUDY)
    for name in ("small", "large"):
        write(root / name / "config.json", "{}")
        write(root / name / "model.safetensors", name)
    make_data(root / "data", root / "labels", codes)
    plan, store = make_plan_in(root, codes), Store(root / "store")
    store.prepare()
    for cell in plan.cells:
        if cell.encoder == "large" and cell.target in FILES:
            evaluate_in(store, cell, root / "data")
    return World(root, plan, store)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A study of all tasks; tests that change it take a copy."""
    return make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture
def own(world: World, tmp_path: Path) -> World:
    """A copy of the study, with the same plan."""
    shutil.copytree(world.root, tmp_path / "world")
    return World(tmp_path / "world", world.plan, Store(tmp_path / "world" / "store"))


# --- an evaluator


def evaluated(task: str, predictions: Path, labels: Path, language: str) -> dict[str, float]:
    """Scores of a file of predictions against XTREME's file of labels, by raystilts' names of the metrics."""
    found, gold = (path.read_text(encoding="utf-8") for path in (predictions, labels))
    if task in ("udpos", "wikiann"):
        sides = [[block.split() for block in text.split("\n\n")] for text in (gold, found)]
        assert [len(tags) for tags in sides[0]] == [len(tags) for tags in sides[1]]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # parts of speech are no names of entities
            scores = {"micro_f1": 100 * f1_score(*sides)}
        words = list(zip(gold.split(), found.split(), strict=True))
        return scores | ({"token_accuracy": 100 * sum(a == b for a, b in words) / len(words)} if task == "udpos" else {})
    if task in ("xquad", "mlqa", "tydiqa"):
        return answered(task, json.loads(found), json.loads(gold), language)
    if task == "bucc":
        pairs, right = ({tuple(line.split("\t")) for line in text.splitlines()} for text in (found, gold))
        return {"pair_f1": 200 * len(pairs & right) / (len(pairs) + len(right))}
    if task == "mewslix":
        ranks, entities = json.loads(found), json.loads(gold)
        values = [1 / (1 + ranks[name][:20].index(entity)) if entity in ranks[name][:20] else 0 for name, (entity,) in entities.items()]
        return {"map_at_20": 100 * sum(values) / len(values)}
    sides = [text.splitlines() for text in (gold, found)]
    if task == "xcopa":
        sides = [[json.loads(line)["label"] for line in side] for side in sides]
        assert {type(label) for label in sides[1]} == {int}
    pairs = list(zip(*sides, strict=True))
    return {"accuracy": 100 * sum(a == b for a, b in pairs) / len(pairs)}


def answered(task: str, found: dict[str, str], gold: Any, language: str) -> dict[str, float]:
    """F1 and exact match over the best of the answers of each question."""
    questions = [question for article in gold["data"] for paragraph in article["paragraphs"] for question in paragraph["qas"]]
    assert found.keys() == {question["id"] for question in questions}
    overlap = exact = 0.0
    for question in questions:
        own = tokens(found[question["id"]], language if task == "mlqa" else "")
        others = [tokens(answer["text"], language if task == "mlqa" else "") for answer in question["answers"]]
        exact += own in others
        overlap += max(2 * (Counter(own) & Counter(other)).total() / (len(own) + len(other) or 1) for other in others)
    metric = "mlqa" if task == "mlqa" else "squad"
    return {f"{metric}_f1": 100 * overlap / len(questions), f"{metric}_em": 100 * exact / len(questions)}


def tokens(text: str, language: str) -> list[str]:
    """An answer's tokens; "" is SQuAD's way with every language."""
    text = "".join(c for c in text.lower() if c not in string.punctuation and not (language and c in "«»"))
    if language == "zh":
        return [part for word in text.split() for part in (word if "\u4e00" <= word[0] <= "\u9fa5" else [word])]
    if language == "ar":
        return text.replace("ال", " ").split()
    return [word for word in text.split() if word not in ({"ein", "die", "das", "der"} if language == "de" else {"a", "an", "the"})]


@pytest.mark.parametrize(("intermediate", "seed"), [(NONE, None), (NONE, 2), ("qqp", 1)])
def test_the_evaluator_computes_the_reported_scores(world: World, tmp_path: Path, intermediate: str, seed: int | None) -> None:
    """For every task, language and metric what the exported files score is what the store reports of that model, to 1e-10."""
    cells = world.model(intermediate, seed)
    lines = export.xtreme(cells, world.store, world.data, tmp_path)
    assert len(lines) == len(cells) == 12
    expected = set()
    for cell in cells:
        if cell.target == "lareqa":
            continue
        name, suffix = FILES[cell.target]
        for language in cell.languages:
            path = tmp_path / name / f"test-{language}.{suffix}"
            expected.add(path)
            found = evaluated(cell.target, path, world.root / "labels" / name / path.name, language)
            assert found == pytest.approx(reported(world, cell, language), abs=1e-10), path
            assert found[tasks.find(cell.target).metric] > 0, path
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == expected
    assert "lareqa: left out, XTREME's evaluator does not know it" in lines
    assert any(line.startswith(f"xnli: 3 languages in {tmp_path / 'xnli'} (large, {intermediate}, seed {seed or 1})") for line in lines)


def test_models_differ(world: World, tmp_path: Path) -> None:
    """Another seed or intermediate task is another file; what is not trained is the same for all seeds."""
    for place, (intermediate, seed) in enumerate([(NONE, 1), (NONE, 2), ("qqp", 1)]):
        export.xtreme(world.model(intermediate, seed), world.store, world.data, tmp_path / str(place))
    for name, different in (("xnli/test-ar.tsv", 3), ("panx/test-zh.tsv", 3), ("tatoeba/test-de.tsv", 2), ("bucc2018/test-de.tsv", 2)):
        assert len({(tmp_path / str(place) / name).read_bytes() for place in range(3)}) == different


def test_rows_keep_their_order_and_sentences_are_sorted_as_upstream_sorts_them(own: World, tmp_path: Path) -> None:
    """A line per example in the order of the file; Tatoeba's in the order of the English sentences' code points, equal ones as they are."""
    cells = [cell for cell in own.model() if cell.target in ("xnli", "tatoeba")]
    for path in (path for cell in cells for path in (own.store.path(cell.evaluation.key) / "predictions").iterdir()):
        table = pq.read_table(path)
        pq.write_table(table.set_column(table.column_names.index("prediction"), "prediction", table["gold"]), path)
        finish(path.parent.parent)
    export.xtreme(cells, own.store, own.data, tmp_path / "out")
    for name in (f"{task}/test-{language}.tsv" for task in ("xnli", "tatoeba") for language in LANGUAGES):
        assert (tmp_path / "out" / name).read_bytes() == (own.root / "labels" / name).read_bytes()


# --- what is read, and what is refused


def refused(cells: Sequence[Cell], world: World, out: Path) -> str:
    """The sentence with which an export is refused, of which nothing is written."""
    with pytest.raises(UserError) as error:
        export.xtreme(cells, world.store, world.data, out)
    assert not [path for path in out.rglob("*") if path.is_file()]
    assert "\n" not in str(error.value)
    return str(error.value)


def test_examples_are_read_for_tatoeba_alone(own: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything else is in the tables: all other data may be gone."""
    asked = []
    read = data.examples
    monkeypatch.setattr(data, "examples", lambda task, *others: asked.append(task.name) or read(task, *others))
    for folder in own.data.iterdir():
        if folder.name != "tatoeba":
            shutil.rmtree(folder)
    export.xtreme(own.model(), own.store, own.data, tmp_path / "out")
    assert asked == ["tatoeba"] * len(LANGUAGES)


def test_data_that_is_not_at_hand_is_refused(own: World, tmp_path: Path) -> None:
    """Tatoeba's English sentences are named where they are missing, and nothing is exported."""
    (own.data / "tatoeba/tatoeba.deu-eng.eng").unlink()
    sentence = refused(own.model(), own, tmp_path / "out")
    assert "tatoeba in 'de' cannot be exported" in sentence
    assert "tatoeba.deu-eng.eng does not exist: put the original file there" in sentence


@pytest.mark.parametrize("change", ["other text", "other order", "fewer"])
def test_other_data_than_was_evaluated_is_refused(own: World, tmp_path: Path, change: str) -> None:
    """Sentences that were changed, moved or taken out do not belong to the table."""
    for suffix in ("cmn", "eng"):
        path = own.data / f"tatoeba/tatoeba.cmn-eng.{suffix}"
        first, second, *others = path.read_text(encoding="utf-8").splitlines()
        changed = {"other text": ["other", second], "other order": [second, first], "fewer": [second]}[change]
        path.write_text(rows([*changed, *others]), encoding="utf-8")
    sentence = refused(own.model(), own, tmp_path / "out")
    assert "tatoeba in 'zh' cannot be exported: the 1" in sentence
    assert "are not the 12 that were evaluated" in sentence


@pytest.mark.parametrize("task", ["xquad", "mewslix"])
def test_ids_that_raystilts_made_are_refused(own: World, tmp_path: Path, task: str) -> None:
    """Where a file gives one id to several questions or mentions, answers cannot be told apart by it."""
    if task == "xquad":
        path = own.data / "xquad/xquad.de.json"
        path.write_text(path.read_text(encoding="utf-8").replace("xquad-de-1-0", "xquad-de-0-0"), encoding="utf-8")
    else:
        path = own.data / "mewslix/wikinews_mentions-test.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines()
        path.write_text(rows([*lines, lines[0]]), encoding="utf-8")
    changed = World(own.root, make_plan_in(own.root), own.store)
    (cell,) = (cell for cell in changed.model() if cell.target == task)
    assert not own.store.has(cell.evaluation.key)
    evaluate_in(own.store, cell, own.data)
    assert "has an id that raystilts made, as its file repeats one" in refused(changed.model(), changed, tmp_path / "out")


def test_a_damaged_table_is_refused(own: World, tmp_path: Path) -> None:
    """A table that is not what was written is named."""
    (cell,) = (cell for cell in own.model() if cell.target == "mewslix")
    path = own.store.path(cell.evaluation.key) / "predictions" / "de.parquet"
    path.write_bytes(path.read_bytes()[:100])
    assert "predictions/de.parquet has 100 bytes" in (said := refused(own.model(), own, tmp_path / "out"))
    assert f"delete the folder {path.parent.parent}" in said
    path.unlink()
    assert "predictions/de.parquet is missing" in refused(own.model(), own, tmp_path / "out")


def test_other_tasks_of_the_same_names_are_left_out(world: World, tmp_path: Path) -> None:
    """A part of a test set, more than it, and a task of another kind are no test sets of XTREME; where nothing is left that is an error."""
    (cell,) = (cell for cell in world.model() if cell.target == "pawsx")
    part = "this study's test set is a part of it, or more than it"
    for changes, why in (
        ({"test": replace(PAWSX.test, limit=5)}, part),
        ({"test": replace(PAWSX.test, more=(PAWSX.test,))}, part),
        ({"test": replace(PAWSX.test, values=(("-", ""),))}, part),
        ({"kind": "tagging"}, "it is of the kind tagging, but XTREME's task of that name is of the kind classification"),
    ):
        changed = replace(cell, evaluation=replace(cell.evaluation, task=replace(PAWSX, **changes)))
        assert refused([changed], world, tmp_path / "out") == f"nothing to export: pawsx: left out, {why}."


def test_files_of_another_export_are_not_mixed_in(world: World, tmp_path: Path) -> None:
    """The same export again replaces its files; a file of a language that it does not write is in the way."""
    export.xtreme(world.model(), world.store, world.data, tmp_path)
    before = set(tmp_path.rglob("*"))
    export.xtreme(world.model(NONE, 2), world.store, world.data, tmp_path)
    assert set(tmp_path.rglob("*")) == before
    write(tmp_path / "xnli" / "test-fr.tsv", "neutral\n")
    with pytest.raises(UserError, match=r"test-fr\.tsv is of another export"):
        export.xtreme(world.model(), world.store, world.data, tmp_path)


def test_a_full_disk_leaves_no_half_of_a_file(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where writing fails, whole files stay as they were, and nothing lies beside them."""
    export.xtreme(world.model(), world.store, world.data, tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    written = Path.write_bytes

    def fails(path: Path, content: bytes) -> int:
        written(path, content[: len(content) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fails)
    with pytest.raises(UserError, match=r"test-ar\.tsv: cannot be written \(No space left on device\)"):
        export.xtreme(world.model(NONE, 2), world.store, world.data, tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


# --- the command line


def test_the_verb_exports(world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`raystilts export` writes what the function writes, and says where it is and of which model."""
    assert world.run("--out", str(tmp_path / "cli"), "--intermediate", "qqp", "--seed", "2") == 0
    lines = export.xtreme(world.model("qqp", 2), world.store, world.data, tmp_path / "here")
    assert capsys.readouterr().out.splitlines() == [line.replace("/here/", "/cli/") for line in lines]
    files = [path.relative_to(tmp_path / "here") for path in sorted((tmp_path / "here").rglob("test-*"))]
    assert len(files) == 26
    assert all((tmp_path / "here" / path).read_bytes() == (tmp_path / "cli" / path).read_bytes() for path in files)


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--encoder", "larg"], "study 'exported' has no encoder 'larg'; did you mean 'large'?"),
        (["--encoder", ""], "study 'exported' has no encoder ''; known: large, small"),
        (["--intermediate", "mnli"], "study 'exported' has no intermediate task 'mnli'; known: none, qqp"),
        (["--seed", "7"], "study 'exported' has no seed '7'; known: 1, 2"),
        (["--encoder", "small"], "nothing to export: xnli: left out, it is not evaluated yet; pawsx: left out"),
        (["--out", "FILE"], "cannot be written (Not a directory); name another folder with --out."),
    ],
)
def test_bad_flags_are_one_sentence(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], sentence: str
) -> None:
    """Unknown encoders, intermediate tasks and seeds, models that are not evaluated and folders that cannot be written: exit code 2."""
    write(tmp_path / "file", "")
    places = [flag.replace("FILE", str(tmp_path / "file")) for flag in flags]
    assert world.run("--out", str(tmp_path / "out"), *places) == 2
    error = capsys.readouterr().err
    assert error.startswith("raystilts: ")
    assert error.count("\n") == 1
    assert sentence in error
    assert [path.name for path in tmp_path.rglob("*")] == ["file"]


def test_what_is_evaluated_is_exported_beside_what_is_not(own: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Changed data makes another stage, which is not evaluated yet: the other tasks are exported, and the line says so."""
    path = own.data / "tatoeba/tatoeba.deu-eng.eng"
    path.write_text(path.read_text(encoding="utf-8").replace("Zoo", "zoo"), encoding="utf-8")
    assert own.run("--out", str(tmp_path / "out")) == 0
    assert "tatoeba: left out, it is not evaluated yet" in capsys.readouterr().out.splitlines()
    assert not (tmp_path / "out" / "tatoeba").exists()
    assert (tmp_path / "out" / "bucc2018" / "test-zh.tsv").is_file()
