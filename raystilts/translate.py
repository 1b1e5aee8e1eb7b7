"""Machine translation of a task's English training data, for `raystilts.tasks.translated`.

Any sequence-to-sequence model of transformers: one for a pair of languages (Marian), or for many (M2M100, NLLB, multilingual Marian), which
is told the language by the code it knows. The result is a table: id of the English example, texts, label. What has been translated
stands in FILE.partial, so that the same command goes on after an interruption, with the same batches and so the same file; FILE.json
says what made it.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from raystilts import data, languages
from raystilts.errors import UserError
from raystilts.task import ENGLISH, Example, Task
from raystilts.tasks.translated import check, header


@dataclass(frozen=True)
class Settings:
    """What decides the translations, beside the data. max_length: tokens of a text and of its translation; longer ones are cut.

    model: a folder, or a Hub id with its commit as `revision`.
    """

    model: str
    language: str
    revision: str = ""
    batch_size: int = 32  # examples
    max_length: int = 256
    num_beams: int = 1


Translate = Callable[[Sequence[str]], list[str]]


def translate_task(task: Task, settings: Settings, out: Path, data_dir: Path | None = None, limit: int | None = None) -> list[str]:
    """Translate a task's English training data into `out`; returns what to print. limit: that many examples, those with the smallest
    hash of their id. Raises UserError where the task, the model or the file does not allow it.
    """
    check(task)
    if out.exists():
        raise UserError(f"{out} exists; delete it to translate again.")
    examples = data.subset(data.examples(task, "train", ENGLISH, data_dir), limit)
    facts = {"task": task.name, "data": data.identity(data.source_of(task, "train"), ENGLISH, data_dir), "limit": limit, **asdict(settings)}
    out.parent.mkdir(parents=True, exist_ok=True)
    partial, told = out.with_name(f"{out.name}.partial"), out.with_name(f"{out.name}.json")
    done = _done(partial, told, facts, settings.batch_size)
    if done == 0:
        columns = header(len(examples[0].texts), isinstance(examples[0].label, str))
        partial.write_text("\t".join(("id", *columns)) + "\n", encoding="utf-8")
        told.write_text(json.dumps(facts, ensure_ascii=False, indent=1), encoding="utf-8")
    translate, started = load(settings), time.monotonic()
    with partial.open("a", encoding="utf-8", newline="\n") as file:
        for begin in range(done, len(examples), settings.batch_size):
            file.writelines(_rows(examples[begin : begin + settings.batch_size], translate))
            file.flush()
    partial.replace(out)
    seconds = time.monotonic() - started
    return [f"{len(examples)} examples of {task.name} in {settings.language}: {out} ({len(examples) - done} now, {seconds:.0f} s)"]


def _done(partial: Path, told: Path, facts: dict[str, Any], size: int) -> int:
    """How many examples are translated: whole batches of the same task, data, model and settings; what is beyond them is cut off."""
    if not partial.exists():
        return 0
    before = json.loads(told.read_text(encoding="utf-8")) if told.exists() else {}
    if before != facts:
        other = [name for name in facts if before.get(name) != facts[name]]
        raise UserError(f"{partial} was begun with another {' and '.join(other)}; delete it to begin anew, or give the same.")
    lines = partial.read_bytes().split(b"\n")[:-1]
    done = max(0, len(lines) - 1) // size * size
    partial.write_bytes(b"".join(line + b"\n" for line in lines[: done + 1]))
    return done


def _rows(examples: Sequence[Example], translate: Translate) -> Iterator[str]:
    """Lines of a table; what would end a cell or a line becomes a space."""
    found = iter(translate([text for example in examples for text in example.texts]))
    for example in examples:
        texts = [" ".join(next(found).split()) for _ in example.texts]
        empty = next((text for text, made in zip(example.texts, texts, strict=True) if not made), None)
        if empty is not None:
            raise UserError(f"the model translates {empty[:60]!r} (example {example.id}) to nothing; leave it out, or use another model.")
        yield "\t".join((example.id, *texts, *([example.label] if isinstance(example.label, str) else []))) + "\n"


def load(settings: Settings) -> Translate:
    """texts -> translations, by a model of a folder or of the Hub at a commit. Safetensors only, no remote code."""
    import torch  # noqa: PLC0415  seconds to load
    import transformers  # noqa: PLC0415

    if not Path(settings.model).is_dir() and not settings.revision:
        raise UserError(f"{settings.model} is no folder; for a model of the Hub name its commit with --revision.")
    where = {"revision": settings.revision or "main", "trust_remote_code": False}
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(settings.model, **where)
        made = transformers.AutoModelForSeq2SeqLM.from_pretrained(settings.model, use_safetensors=True, **where)
    except ImportError as error:
        raise UserError(
            f"{settings.model}: its tokenizer needs a package ({_first(error)}); pip install 'raystilts[translate]'."
        ) from error
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{settings.model} cannot be loaded ({_first(error)}); give a translation model with safetensors.") from error
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = made.eval().to(device)
    prefix, options = told_language(tokenizer, settings)
    options |= {"num_beams": settings.num_beams, "max_length": settings.max_length, "do_sample": False}

    def translate(texts: Sequence[str]) -> list[str]:
        inputs = tokenizer(
            [prefix + text for text in texts], padding=True, truncation=True, max_length=settings.max_length, return_tensors="pt"
        )
        inputs.pop("token_type_ids", None)
        with torch.inference_mode():
            found = model.generate(**inputs.to(device), **options)
        return list(tokenizer.batch_decode(found, skip_special_tokens=True))

    return translate


def _first(error: Exception) -> str:
    return next(filter(None, map(str.strip, str(error).splitlines())), type(error).__name__)


def told_language(tokenizer: Any, settings: Settings) -> tuple[str, dict[str, Any]]:
    """How a model is told what to translate into: a prefix of each text, and options of `generate`.

    M2M100 and NLLB begin the translation with the language's token and have English set in the tokenizer; multilingual Marian models want
    ">>xxx<<" before the text; a model for one pair wants nothing. Raises UserError where a model for many does not know the language.
    """
    vocabulary = tokenizer.get_vocab()
    if hasattr(tokenizer, "src_lang"):
        with contextlib.suppress(KeyError):
            tokenizer.src_lang = _code(vocabulary, ENGLISH)[0]
            return "", {"forced_bos_token_id": _code(vocabulary, settings.language)[1]}
        raise _unknown(settings)
    if any(token.startswith(">>") and token.endswith("<<") for token in vocabulary):
        token = next((f">>{code}<<" for code in _codes(settings.language) if f">>{code}<<" in vocabulary), None)
        if token is None:
            raise _unknown(settings)
        return f"{token} ", {}
    return "", {}


def _unknown(settings: Settings) -> UserError:
    codes = ", ".join(_codes(settings.language))
    return UserError(f"{settings.model} does not know {settings.language!r} (nor {codes}); choose a model that translates into it.")


def _codes(language: str) -> list[str]:
    """What models may call a language: its tag, ISO 639-3, FLORES's name and the code in that."""
    known = languages.find(language)
    return list(dict.fromkeys(filter(None, (known.flores, known.code, known.iso3, known.flores.partition("_")[0]))))


def _code(vocabulary: dict[str, int], language: str) -> tuple[str, int]:
    """What the model calls a language, and the number of that token; KeyError where it does not know it."""
    for code in _codes(language):
        for token in (code, f"__{code}__"):  # NLLB's and M2M100's tokens
            if token in vocabulary:
                return code, vocabulary[token]
    raise KeyError(language)
