"""A tiny mirror of the data sets that cannot lie in the repository, each in the format in which its authors distribute it.

All fields are there, also those that nobody reads, and the traps of each format: quotes that are text, annotators who did not agree,
questions without an answer, an answer whose text stands earlier, too, ids that several questions share, sentences that occur twice,
braces around no mention, several mentions in a context. The contents are made up.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

LANGUAGES = {
    "xnli": ("ar", "en", "sw", "th"),
    "americasnli": ("ay", "bzd", "qu"),
    "afrixnli": ("am", "ha", "om"),
    "xcopa": ("et", "qu", "th", "zh"),
    "belebele": ("am", "en", "om", "zh"),
    "mlqa": ("ar", "de", "en", "zh"),
    "tydiqa": ("en", "ko", "sw", "te"),
    "lareqa": ("ar", "de", "en", "th", "zh"),
    "bucc": ("de", "ru"),
    "mewslix": ("ar", "de", "en", "es", "fa", "ja", "pl", "ro", "ta", "tr", "uk"),
    "udpos": ("lt", "pl", "ro", "uk", "wo"),
}
"""The zero-shot languages of which the mirror has test data."""

Record = dict[str, Any]


def write(folder: Path) -> None:
    """Write all files below the folder."""
    for make in (_inference, _pairs, _choices, _spans, _reading, _sentences, _entities, _tags, _texts):
        make(folder)


# --- formats


def _file(path: Path, text: str, begin: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(f"{begin}{text}".encode())


def _jsonl(path: Path, records: Iterable[Record], ascii_only: bool = False) -> None:
    _file(path, "".join(json.dumps(record, ensure_ascii=ascii_only) + "\n" for record in records))


def _tsv(path: Path, rows: Iterable[Sequence[str]], end: str = "\n", begin: str = "") -> None:
    """Cells between tabs, without any quoting."""
    _file(path, "".join("\t".join(row) + end for row in rows), begin)


# --- inference

PARSE = "(ROOT (S (NP (DT A)) (. .)))"
WORDS = {"e": "entailment", "n": "neutral", "c": "contradiction"}
MNLI = (
    ("Anna built the bridge in 1912, I think.", "The bridge is not new.", "e"),
    ("Anna built the bridge in 1912, I think.", "Anna never saw a bridge.", "c"),
    ('He said, "the lake is cold', "Nobody asked him.", "n"),
    ("uh-huh yeah\tso we swam", "We were in the water.", "e"),  # a tab is text in JSON
    ("The town has a harbour.", "n/a", "-"),
    ("The town has a harbour.", "There is no harbour in the town.", "c"),
)
SNLI = (
    ("A girl in a blue shirt crosses a bridge.", "A girl is outside.", "e"),
    ("A girl in a blue shirt crosses a bridge.", "Two people cross a road.", "-"),
    ("Two men swim in a lake.", "The men are brothers.", "n"),
    ("Two men swim in a lake.", "The lake is frozen.", "c"),
)
ANLI = {
    1: ("Lake Otto is a lake in Mira. It is 12 km² large.", "Lake Otto is in Mira.", "e"),
    2: ("Ida Rand (1911–1999) was a physician.", "Ida Rand was born in 1999.", "c"),
    3: ('TOASTER. [title] Turn it on. "Bread" goes in.', "The bread is brown.", "n"),
}
XNLI = {
    "en": (
        "And he said, Mama, I'm home.|He told his mom he had gotten home.",
        '"The bridge|The bridge is closed.',
        "The lake is cold.|It is hot.",
    ),
    "ar": ("وقال، ماما، لقد عدت للمنزل.|أخبر أمه أنه عاد.", '"الجسر|الجسر مغلق.', "البحيرة باردة.|البحيرة ساخنة."),
    "sw": ("Naye akasema, Mama, niko nyumbani.|Alimwambia mamake amefika.", '"Daraja|Daraja limefungwa.', "Ziwa ni baridi.|Ni moto."),
    "th": ("และเขาพูดว่า แม่ ผมกลับมาบ้านแล้ว|เขาบอกแม่ว่าถึงบ้านแล้ว", '"สะพาน|สะพานปิด', "ทะเลสาบเย็น|ทะเลสาบร้อน"),
}
MULTINLI = {
    **dict.fromkeys(("bg", "de", "el", "es", "fr", "hi", "ru", "tr", "ur", "vi", "zh"), ('"A lake|It is cold.', "A bridge.|No bridge.")),
    "en": ('"The lake is cold|Nobody swims.', "Anna built a bridge.|There is no bridge."),
    "ar": ('"البحيرة باردة|لا أحد يسبح.', "بنت آنا جسرا.|لا يوجد جسر."),
    "sw": ('"Ziwa ni baridi|Hakuna anayeogelea.', "Anna alijenga daraja.|Hakuna daraja."),
    "th": ('"ทะเลสาบเย็น|ไม่มีใครว่ายน้ำ', "แอนนาสร้างสะพาน|ไม่มีสะพาน"),
}
AMERICAS = {
    "aym": (("Utajax jach'awa.", "Utax jisk'awa.", "c"), ("Qutax thayawa.", "Qutax umaniwa.", "e")),
    "bzd": (("Ye' ù dör tâî.", 'Ye\' ù dör "tsítsir".', "c"), ("Nãĩ̂ dör se'.", "Be' sö́ dör.", "n")),
    "quy": (("Wasiyqa hatunmi.", "Wasiyqa huch'uymi.", "c"), ("Quchaqa chirim.", "Pitaq wayt'arqa?", "n")),
}
AFRICAN = {
    "amh": (
        ("ሐይቁ ቀዝቃዛ ነው።", "ሐይቁ ሞቃት ነው።", "2"),
        ("ድልድዩ ሰማያዊ ነው።", "ድልድዩ ቀለም አለው።", "0"),
        ("ድልድዩ ሰማያዊ ነው።", "ኢዳ ዋኘች።", "1"),
    ),
    "eng": (
        ("The lake is cold.", "The lake is warm.", "2"),
        ("The bridge is blue.", "It has a colour.", "0"),
        ("The bridge is blue.", "Ida swam.", "1"),
    ),
    "hau": (
        ("Tafkin yana da sanyi.", "Yana da zafi.", "2"),
        ('Ta ce, "gada shuɗi ce.', "Gadar tana da launi.", "0"),
        ("Gada shuɗi ce.", "Ta yi iyo.", "1"),
    ),
    "orm": (
        ("Haroon qorraadha.", "Haroon ho'aadha.", "2"),
        ("Riqichi cuquliisa dha.", "Halluu qaba.", "0"),
        ("Cuquliisa dha.", "Ida daakte.", "1"),
    ),
}


def _inference(folder: Path) -> None:
    def record(place: int, row: tuple[str, str, str], **more: str) -> Record:
        label = WORDS.get(row[2], row[2])
        given = [label] if row[2] != "-" else ["neutral", "entailment", "contradiction", "neutral", "entailment"]
        sides = {
            f"sentence{n}{part}": text for n in (1, 2) for part, text in (("", row[n - 1]), ("_binary_parse", "( A )"), ("_parse", PARSE))
        }
        return {"annotator_labels": given, "gold_label": label, "pairID": f"{place}{row[2]}", **more, **sides}

    rows = [record(n, row, genre="telephone", promptID=str(n)) for n, row in enumerate(MNLI)]
    _jsonl(folder / "mnli" / "multinli_1.0_train.jsonl", rows, ascii_only=True)
    _jsonl(folder / "snli" / "snli_1.0_train.jsonl", [record(n, row, captionID=f"{n}.jpg#4") for n, row in enumerate(SNLI)])
    for language, pairs in MULTINLI.items():  # XNLI-MT-1.0's own spelling of the third label
        head = [("premise", "hypo", "label")]
        _tsv(
            folder / "xnli-mt" / f"multinli.train.{language}.tsv",
            head + [(*pair.split("|"), "contradictory" if n else "neutral") for n, pair in enumerate(pairs)],
        )
    for number, (context, hypothesis, label) in ANLI.items():
        head = {"uid": f"uid-{number}", "context": context, "hypothesis": hypothesis, "label": label}
        row = {**head, "model_label": "n", "emturk": True, "genre": "wiki", "reason": "", "tag": "1231_1"}
        _jsonl(folder / "anli" / f"R{number}" / "train.jsonl", [row])
    for language, pairs in XNLI.items():
        table = [(*pair.split("|"), WORDS[label]) for pair, label in zip(pairs, "enc", strict=True)]
        _tsv(folder / "xnli" / f"dev-{language}.tsv", table, end="\r\n" if language == "ar" else "\n")
        _tsv(folder / "xnli" / f"test-{language}.tsv", table[::-1])
    for code, pairs in AMERICAS.items():
        table = [(code, *texts, WORDS[label]) for *texts, label in pairs]
        header = ("language", "premise", "hypothesis", "label")
        _tsv(folder / "americasnli" / f"{code}.tsv", [header, *table], begin="\ufeff" if code == "quy" else "")
    for code, pairs in AFRICAN.items():
        _tsv(folder / "afrixnli" / code / "test.tsv", [("premise", "hypothesis", "label"), *pairs], end="\r\n" if code == "hau" else "\n")


QQP = (
    ('What is a "drawbridge?', "What are drawbridges?", "1"),
    ("How cold is Lake Otto?", "Who is Otto?", "0"),
    ("Why is 1912 = 1,912?", '"Why"', "0"),
)


def _pairs(folder: Path) -> None:
    header = ("id", "qid1", "qid2", "question1", "question2", "is_duplicate")
    for split, rows in (("train", QQP), ("dev", QQP[1:])):
        table = [(str(n), str(2 * n + 1), str(2 * n + 2), *row) for n, row in enumerate(rows)]
        _tsv(folder / "qqp" / f"{split}.tsv", [header, *table])


# --- multiple choice

HELLASWAG = (
    ("activitynet~v_a", "A woman stands on a bridge.", "she", ["swims.", ", a fish, reads.", "waves at a boat.", "is a boat."], 2),
    ("wikihow~1", "[header] How to swim [title] Enter the lake.", "", ["[step] Breathe.", "Sleep.", "Burn it.", "Fold it."], 0),
)
COSMOSQA = (
    ('"It was cold," she said, and\nthe lake was, too .', "Why did she say so ?", "She swam .", "None of the above choices .", "1"),
    ("We crossed the bridge at 5 , twice .", "What may be true ?", "We went back .", "We sank .", "0"),
)
CSQA = (
    ("Where would you cross a river?", "bridge", ("lake", "bridge", "harbour", "town", "sky"), "B"),
    ("What is cold?", "cold", ("sun", "tea", "fire", "ice", "oven"), "D"),
)
SIQA = (
    ("Ida swam in the lake at night.", "How would you describe Ida?", "brave", "asleep", "dry", "A"),
    ("Otto fell off the bridge.", "What will Otto want to do next?", "fly", "build it", "swim", "C"),
    ("Anna drew a bridge.", "Why did Anna do this?", "to eat", "to build it", "no reason", "B"),
)
COPA = (
    "My body cast a shadow over the grass.|The sun was rising.|The grass was cut.|cause|0",
    "Ida jumped into the lake.|She dried up.|She got wet.|effect|1",
    "Otto wore a coat.|It was cold.|It was his birthday.|cause|0",
)
XCOPA = {
    "et": ("Ma tühjendasin oma taskud.|Ma leidsin pileti tüki.|Ma leidsin relva.|effect|0", "Järv jäätus.|Oli suvi.|Oli talv.|cause|1"),
    "qu": ("Qochaqa chirirqa.|Inti lloqsimurqa.|Rit'i urmarqa.|cause|1", "Otto urmarqa.|Payqa joq'oyarqa.|Payqa phawarqa.|effect|0"),
    "th": ('ฉันว่ายน้ำ|ฉันเปียก|ฉัน "แห้ง|effect|0', "ทะเลสาบเย็น|เป็นฤดูร้อน|เป็นฤดูหนาว|cause|1"),
    "zh": ("湖水结冰了。|那是夏天。|那是冬天。|cause|1", "艾达跳进了湖里。|她湿了。|她飞走了。|effect|0"),
}
BELEBELE = {
    "eng_Latn": ("The Blue Bridge was built in 1912.", "When was it built?", "What is it?", ("A bridge", "A lake", "A town", "A boat")),
    "amh_Ethi": ("ሰማያዊው ድልድይ በ1912 ተሠራ።", "መቼ ተሠራ?", "ምንድን ነው?", ("ድልድይ", "ሐይቅ", "ከተማ", "ጀልባ")),
    "gaz_Latn": ("Riqichi bara 1912 ijaarame.", "Yoom ijaarame?", "Maali?", ("Riqicha", "Haroo", "Magaalaa", "Bidiruu")),
    "zho_Hans": ("蓝桥建于1912年。", "它何时建造？", "它是什么？", ("桥", "湖", "镇", "船")),
}


def _choices(folder: Path) -> None:
    for split, begin in (("train", 0), ("val", 1)):
        rows = [
            {"ind": n, "activity_label": "Bridges", "ctx_a": first, "ctx_b": second, "ctx": f"{first} {second}".strip()}
            | {"split": split, "split_type": "indomain", "label": label, "endings": endings, "source_id": source}
            for n, (source, first, second, endings, label) in enumerate(HELLASWAG)
        ]
        _jsonl(folder / "hellaswag" / f"hellaswag_{split}.jsonl", rows[begin:])
        rows = [
            dict(zip(("premise", "choice1", "choice2", "question"), row.split("|"), strict=False)) | {"label": int(row[-1]), "idx": n}
            for n, row in enumerate(COPA)
        ]
        _jsonl(folder / "xcopa" / f"{split}-en.jsonl", rows[begin:])
    for split, begin in (("train", 0), ("valid", 1)):
        table = io.StringIO()
        names = ["id", "context", "question", *(f"answer{n}" for n in range(4)), "label"]
        rows = [
            (f"3BFF0DJK##Blog_{n}##q1_a1", context, question, first, second, 'They, "no".', "No .", label)
            for n, (context, question, first, second, label) in enumerate(COSMOSQA)
        ]
        csv.writer(table, lineterminator="\n").writerows([names, *rows[begin:]])
        _file(folder / "cosmosqa" / f"{split}.csv", table.getvalue())
        rows = [
            {"answerKey": key, "id": f"075e{n}", "question": {"question_concept": concept, "choices": _lettered(choices), "stem": stem}}
            for n, (stem, concept, choices, key) in enumerate(CSQA)
        ]
        _jsonl(folder / "csqa" / f"{split}.jsonl", rows[begin:])
    names = ["context", "question", "answerA", "answerB", "answerC", "correct"]
    for split, begin in (("trn", 0), ("dev", 1)):
        _jsonl(folder / "siqa" / f"socialIQa_v1.4_{split}.jsonl", [dict(zip(names, row, strict=True)) for row in SIQA[begin:]])
    for language, texts in XCOPA.items():
        rows = [
            dict(zip(("premise", "choice1", "choice2", "question"), row.split("|"), strict=False))
            | {"label": int(row[-1]), "idx": n, "changed": False}
            for n, row in enumerate(texts)
        ]
        _jsonl(folder / "xcopa" / f"test.{language}.jsonl", rows)
    for code, (passage, first, second, things) in BELEBELE.items():
        questions = ((first, ("1812", "1910", "1912", "1950"), "3"), (second, things, "1"))
        rows = [
            {"link": "https://en.wikibooks.org/wiki/Mira", "question_number": n, "flores_passage": passage, "question": question}
            | {f"mc_answer{place}": answer for place, answer in enumerate(answers, 1)}
            | {"correct_answer_num": number, "dialect": code, "ds": "2023-05-03"}
            for n, (question, answers, number) in enumerate(questions, 1)
        ]
        _jsonl(folder / "belebele" / f"{code}.jsonl", rows)


def _lettered(choices: Sequence[str]) -> list[Record]:
    return [{"label": letter, "text": text} for letter, text in zip("ABCDE", choices, strict=True)]


# --- questions about passages

IDS = ("56be4db0acb8001400a502ec", "56be4db0acb8001400a502ed", "56be4db0acb8001400a502ee")
PASSAGES = {
    "en": (
        'The "Blue Bridge" crosses the harbour of Mira. |It was built in 1912 by [Anna Quill]. |Until 1950 it was [1912] feet long.',
        "Who built the bridge?",
        "How many feet long was the bridge?",
        "Lake Otto is cold.\n|The physician [Ida Rand] swam in it in 1950. |Nobody had done so before.",
        "Who swam in Lake Otto?",
    ),
    "ar": (
        "«الجسر الأزرق» جسر في ميرا. |بنته [آنا كويل] عام 1912. |حتى 1950 كان طوله [1912] قدما.",
        "من بنى الجسر؟",
        "كم قدما كان طول الجسر؟",
        "بحيرة أوتو باردة.\n|سبحت فيها [إيدا راند] عام 1950. |لم يفعل ذلك أحد من قبل.",
        "من سبح في بحيرة أوتو؟",
    ),
    "de": (
        "Die „Blaue Brücke“ steht in Mira. |[Anna Quill] baute sie 1912. |Bis 1950 war sie [1912] Fuß lang.",
        "Wer baute die Brücke?",
        "Wie viele Fuß lang war sie?",
        "Der Ottosee ist kalt.\n|1950 schwamm [Ida Rand] darin. |Zuvor tat das niemand.",
        "Wer schwamm im Ottosee?",
    ),
    "ko": (
        "'푸른 다리'는 미라에 있다. |[안나 퀼]이 1912년에 지었다. |1950년까지 길이가 [1912]피트였다.",
        "누가 다리를 지었는가?",
        "다리는 몇 피트였는가?",
        "오토 호수는 차갑다.\n|1950년에 [이다 란드]가 헤엄쳤다. |그 전에는 아무도 하지 않았다.",
        "누가 오토 호수에서 헤엄쳤는가?",
    ),
    "sw": (
        '"Daraja la Buluu" liko Mira. |[Anna Quill] alilijenga mwaka 1912. |Hadi 1950 lilikuwa na urefu wa futi [1912].',
        "Nani alijenga daraja?",
        "Daraja lilikuwa la futi ngapi?",
        "Ziwa Otto ni baridi.\n|[Ida Rand] aliogelea humo mwaka 1950. |Hakuna aliyefanya hivyo kabla.",
        "Nani aliogelea katika Ziwa Otto?",
    ),
    "te": (
        "నీలి వంతెన మిరాలో ఉంది. |[అన్నా క్విల్] దీన్ని 1912లో నిర్మించింది. |1950 వరకు దాని పొడవు [1912] అడుగులు.",
        "వంతెనను ఎవరు నిర్మించారు?",
        "వంతెన ఎన్ని అడుగులు?",
        "ఒట్టో సరస్సు చల్లగా ఉంటుంది.\n|[ఇడా రాండ్] 1950లో అందులో ఈదింది. |అంతకు ముందు ఎవరూ ఈదలేదు.",
        "ఒట్టో సరస్సులో ఎవరు ఈదారు?",
    ),
    "th": (
        "สะพานสีน้ำเงินอยู่ในเมืองมิรา |[แอนนา ควิลล์] สร้างในปี 1912 |ถึงปี 1950 มันยาว [1912] ฟุต",
        "ใครสร้างสะพาน",
        "สะพานยาวกี่ฟุต",
        "ทะเลสาบอ็อตโตเย็น\n|[ไอดา แรนด์] ว่ายน้ำที่นี่ในปี 1950 |ไม่มีใครทำมาก่อน",
        "ใครว่ายน้ำในทะเลสาบอ็อตโต",
    ),
    "zh": (
        "“蓝桥”横跨米拉的港口。|它由[安娜·奎尔]于1912年建造。|到1950年为止，它长[1912]英尺。",
        "谁建造了这座桥？",
        "这座桥长多少英尺？",
        "奥托湖很冷。\n|[艾达·兰德]于1950年在湖里游泳。|此前没有人这样做过。",
        "谁在奥托湖里游泳？",
    ),
}
"""A passage with two questions and one with one, in each language; | ends a sentence, and the answers stand in brackets."""


def _questions(language: str, ids: Sequence[str] = IDS) -> list[Record]:
    """The passages of a language as SQuAD's paragraphs."""
    first, *both, second, last = PASSAGES[language]
    return [_paragraph(first, both, ids[:2]), _paragraph(second, [last], ids[2:])]


def _paragraph(marked: str, questions: Sequence[str], ids: Sequence[str]) -> Record:
    bare = marked.replace("|", "")
    pieces = re.split(r"[\[\]]", bare)  # the text before an answer, the answer, ...
    starts = [sum(map(len, pieces[:n])) for n in range(1, len(pieces), 2)]
    qas = [
        {"question": question, "id": name, "answers": [{"text": text, "answer_start": start}]}
        for question, name, text, start in zip(questions, ids, pieces[1::2], starts, strict=True)
    ]
    return {"context": "".join(pieces), "qas": qas}


def _spanned(sentences: Sequence[str]) -> list[tuple[int, int]]:
    """Where each sentence begins and ends, without the white space after it, if they follow each other."""
    starts = [sum(map(len, sentences[:n])) for n in range(len(sentences))]
    return [(start, start + len(text.rstrip())) for start, text in zip(starts, sentences, strict=True)]


def _squad(path: Path, paragraphs: Sequence[Record], version: str | float = "1.1", title: str = "Mira", ascii_only: bool = False) -> None:
    """All paragraphs in one article; without a title each in its own, as XTREME's scripts leave TyDiQA."""
    data = [{"title": title, "paragraphs": paragraphs}] if title else [{"paragraphs": [paragraph]} for paragraph in paragraphs]
    _file(path, json.dumps({"data": data, "version": version}, ensure_ascii=ascii_only))


def _spans(folder: Path) -> None:
    _squad(folder / "squad" / "train-v1.1.json", _questions("en"), ascii_only=True)
    several = _questions("en")
    given = several[0]["qas"][0]["answers"]
    given += [dict(given[0]), {"text": "Quill", "answer_start": given[0]["answer_start"] + len("Anna ")}]
    _squad(folder / "squad" / "dev-v1.1.json", several, ascii_only=True)
    for split in ("train", "dev"):
        paragraphs = _questions("en")
        for question in (question for paragraph in paragraphs for question in paragraph["qas"]):
            question["is_impossible"] = False
        impossible = {
            "plausible_answers": paragraphs[0]["qas"][0]["answers"],
            "question": "Who painted the bridge?",
            "id": "5a8d7bf7df8bba001a0f9ab1",
        }
        paragraphs[0]["qas"].append({**impossible, "answers": [], "is_impossible": True})
        paragraphs[1]["qas"].append({**impossible, "id": "5a8d7bf7df8bba001a0f9ab2", "question": "Who drained Lake Otto?"})
        paragraphs[1]["qas"][-1] |= {"answers": [], "is_impossible": True, "plausible_answers": []}
        _squad(folder / "squad" / f"{split}-v2.0.json", paragraphs if split == "train" else paragraphs[1:], version="v2.0")


def _reading(folder: Path) -> None:
    for language in LANGUAGES["mlqa"]:
        path = folder / "mlqa" / "MLQA_V1" / "test" / f"test-context-{language}-question-{language}.json"
        _squad(path, _questions(language), version=1.0)
    version = "TyDiQA-GoldP-1.1-for-SQuAD-1.1"
    train = _questions("en", ("0", "1", "0"))  # XTREME's script leaves of each id the number within a document
    _squad(folder / "tydiqa" / "tydiqa.goldp.en.train.json", train, version, title="")
    names = {"en": "english", "ko": "korean", "sw": "swahili", "te": "telugu"}
    for language, name in names.items():
        paragraphs = _questions(language, [f"{name}-{number}" for number in ("11-0", "-12-5", "13-0")])
        _squad(folder / "tydiqa" / f"tydiqa.goldp.{language}.dev.json", paragraphs, version, title="")
    for language in LANGUAGES["lareqa"]:
        paragraphs = _questions(language)
        for paragraph, marked in zip(paragraphs, (PASSAGES[language][0], PASSAGES[language][3]), strict=True):
            paragraph["sentence_breaks"] = _spanned(re.sub(r"[\[\]]", "", marked).split("|"))
            paragraph["sentences"] = [paragraph["context"][start:end] for start, end in paragraph["sentence_breaks"]]
        if language == "de":  # the question about the second sentence then has no answer among the candidates
            del paragraphs[1]["sentence_breaks"][1]
            del paragraphs[1]["sentences"][1]
        _squad(folder / "lareqa" / "xquad-r" / f"{language}.json", paragraphs)


# --- sentences that are translations

ENGLISH = (
    *("The bridge is blue.", "The lake is cold.", "Anna left Mira in 1920.", '"Who swims here', "The bridge is blue.", "It rained.", "No."),
)
BUCC = {
    "de": ("Die Brücke ist blau.", "Es schneit.", "„Wer schwimmt hier", "Der See ist kalt.", "Es schneit.", "Nein."),
    "ru": ("Мост синий.", "Идёт снег.", "Озеро холодное.", "Анна уехала из Миры в 1920 году.", "Да.", "Да."),
}
TRANSLATED = {"de": {1: 1, 3: 4, 4: 2, 6: 7}, "ru": {1: 1, 3: 2, 4: 3}}


def _sentences(folder: Path) -> None:
    for language, sentences in BUCC.items():
        for split, first in (("dev", 1), ("test", 100)):  # the other split has other ids
            begin = folder / "bucc2018" / f"{language}-en.{split}"
            for code, texts in ((language, sentences), ("en", ENGLISH)):
                _tsv(Path(f"{begin}.{code}"), [(f"{code}-{first + n:09}", text) for n, text in enumerate(texts)])
            pairs = TRANSLATED[language].items()
            _tsv(Path(f"{begin}.gold"), [(f"{language}-{first + own - 1:09}", f"en-{first + other - 1:09}") for own, other in pairs])


# --- mentions and entities

ENTITIES = {
    "Q1": ("Mira", "en", "Mira is a town. |It lies  on Lake Otto."),
    "Q2": ("Otto", "de", "Der Ottosee ist ein See. |Er ist kalt."),
    "Q3": ("Анна Квілл", "uk", "Анна Квілл була інженеркою."),
    "Q4": ("இடா ராண்ட்", "ta", "இடா ராண்ட் ஒரு மருத்துவர்."),
    "Q5": ("Blue Bridge", "en", "The Blue Bridge is a bridge\nin Mira."),
    "Q6": ("Nobody", "en", "Nobody is a film {of 1950}."),
}
NEWS = {
    "ar": "[ميرا](Q1) مدينة.",
    "de": "Mira. |Anna Quill {links} steht in [Mira](Q1) am [Ottosee](Q2). |[Mira](Q1) ist klein.",
    "en": "[Mira](Q1) is wet.",
    "es": "El [lago Otto](Q2) está frío.",
    "fa": "[دریاچه اوتو](Q2) سرد است.",
    "ja": "[青い橋](Q5)は長い。",
    "pl": "[Anna Quill](Q3) zbudowała most.",
    "ro": "[Podul Albastru](Q5) e lung.",
    "ta": "மிராவில் மழை. |[இடா ராண்ட்](Q4) நீந்தினார்.",
    "tr": "[Ida Rand](Q4) yüzdü.",
    "uk": "Сьогодні [Анна Квілл](Q3) відкрила міст.",
}
PAIRS = (
    "Anna Quill was born in {old} [Mira](Q1).",
    "It is wide.\n|The [Blue Bridge](Q5) leads to the harbour.",
    "[Nobody](Q6) was shown in 1950.",
)


def _text(marked: str) -> Record:
    """A text whose sentences end with |, and where these stand."""
    sentences = marked.split("|")
    return {"text": "".join(sentences), "sentence_spans": [{"start": start, "end": end} for start, end in _spanned(sentences)]}


def _mentioned(name: str, language: str, marked: str, **more: str) -> tuple[Record, list[Record]]:
    """A context and its mentions, each as [text](entity)."""
    pieces = re.split(r"\[(.*?)\]\((.*?)\)", marked)
    left, mentions = "", []
    for n, (before, text, entity) in enumerate(zip(pieces[::3], pieces[1::3], pieces[2::3], strict=False)):
        left += before
        start = len(left.replace("|", ""))
        span = {"start": start, "end": start + len(text), "text": text}
        mentions.append({"example_id": f"{name}:{n}", "mention_span": span, "entity_id": entity, "metadata": {"source": "wiki"}})
        left += text
    context = {"document_title": name, **more, "document_url": f"https://x/{name}", "document_id": name, "language": language}
    return context | _text(left + pieces[-1]), mentions


def _entities(folder: Path) -> None:
    entities = {}
    for name, (title, language, marked) in ENTITIES.items():
        text = _text(marked)
        more = {"description_language": language, "description_url": f"https://{language}.wikipedia.org/wiki/{title}"}
        entities[name] = {"entity_id": name, "title": title, "description": text.pop("text"), **more, **text}
    news = [dict(zip(("context", "mentions"), _mentioned(f"{code}-7", code, marked), strict=True)) for code, marked in NEWS.items()]
    pairs = []
    for n, marked in enumerate(PAIRS):
        context, (mention,) = _mentioned(f"Q{n}", "en", marked, section_title="History")
        pairs.append({"contextual_mention": {"context": context, "mention": mention}, "entity": entities[mention["entity_id"]]})
    mewslix = folder / "mewslix"
    _jsonl(mewslix / "candidate_set_entities.jsonl", entities.values())
    _jsonl(mewslix / "wikinews_mentions-test.jsonl", news, ascii_only=True)
    _jsonl(mewslix / "wikipedia_pairs-train.jsonl", pairs)
    _jsonl(mewslix / "wikipedia_pairs-dev.jsonl", pairs[1:])


# --- tagged words and plain text

TAGGED = {
    "en": "The DET|bridge NOUN|is AUX|blue ADJ|. PUNCT",
    "lt": '" PUNCT|Tiltas NOUN|yra AUX|mėlynas ADJ|. PUNCT',
    "pl": "Most NOUN|był AUX|by AUX|długi ADJ|? PUNCT",
    "ro": "Podul NOUN|într-o ADP|zi NOUN|s-a PRON|rupt VERB|. PUNCT",
    "uk": "Озеро NOUN|об'їхали VERB|вчора ADV|. PUNCT",
    "wo": "Dex NOUN|gi DET|dafa AUX|sedd VERB|. PUNCT",
}
CATEGORIES = "The NP/N|bridge N|is (S[dcl]\\NP)/(S[adj]\\NP)|blue S[adj]\\NP|. ."


def _conll(*sentences: str) -> str:
    """A word, a tab and its tag a line, an empty line after each sentence."""
    return "".join("".join(f"{word.replace(' ', chr(9))}\n" for word in sentence.split("|")) + "\n" for sentence in sentences)


def _tags(folder: Path) -> None:
    for language in LANGUAGES["udpos"]:
        _file(folder / "udpos" / f"test-{language}.tsv", _conll(TAGGED[language], "1912 NUM"))
    for split, more in (("train", 2), ("dev", 1)):
        _file(folder / "udpos" / f"{split}-en.tsv", _conll(*(TAGGED["en"], "1912 NUM")[:more]))
        _file(folder / "ccg" / f"{split}.tsv", _conll(*(CATEGORIES, "Lakes N")[:more]))


TEXTS = {
    "en": "The lake is cold.", "ar": "البحيرة باردة.", "de": "Der See ist kalt.", "es": "El lago está frío.", "eu": "Aintzira hotza da.",
    "hi": "झील ठंडी है।", "id": "Danau itu dingin.", "ko": "호수는 차갑다.", "qu": "Quchaqa chirim.", "ru": "Озеро холодное.",
    "sw": "Ziwa ni baridi.", "ta": "ஏரி குளிர்ச்சியாக உள்ளது.", "te": "సరస్సు చల్లగా ఉంది.", "th": "ทะเลสาบเย็น", "tr": "Göl soğuk.",
    "vi": "Hồ lạnh.", "yo": "Adágún náà tutù.", "zh": "湖水很冷。",
}  # fmt: skip


def _texts(folder: Path) -> None:
    for language, text in TEXTS.items():
        _file(folder / "text" / f"{language}.txt", f'{text}\n\n"{text}\t\u2028{text}\n', begin="\ufeff" if language == "en" else "")
