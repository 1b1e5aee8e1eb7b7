"""Machine translation: the file is what the translated task reads, an interrupted one goes on, and what cannot work says why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers

from raystilts import data, translate
from raystilts.cli import main
from raystilts.errors import UserError
from raystilts.task import Task
from raystilts.tasks import cldr, find
from raystilts.tasks.translated import translated
from raystilts.translate import Settings, translate_task

WORDS = sorted({word for example in cldr.kinds("en", "train") for word in example.texts[0].split()})
SPECIAL = {"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
SIZES = {
    "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 16,
    "decoder_ffn_dim": 16, "d_model": 16, "max_position_embeddings": 64,
}  # fmt: skip


def marian(folder: Path, targets: Sequence[str] = ()) -> None:
    """A random model for one pair of languages, or with tokens of target languages."""
    vocabulary = ["</s>", "<unk>", "<pad>", *targets, *WORDS]
    made = Tokenizer(models.WordLevel({word: number for number, word in enumerate(vocabulary)}, "<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=made, **SPECIAL)
    fast.save_pretrained(folder)
    torch.manual_seed(4)
    config = transformers.MarianConfig(
        vocab_size=len(vocabulary), pad_token_id=2, eos_token_id=0, decoder_start_token_id=2, forced_eos_token_id=0, **SIZES
    )
    _save(transformers.MarianMTModel(config), folder)


def nllb(folder: Path) -> None:
    """A random NLLB model (M2M100's architecture) with its own tokenizer of single characters."""
    letters = sorted({letter for word in WORDS for letter in word} | {"▁"})
    vocabulary = {token: number for number, token in enumerate(["<s>", "<pad>", "</s>", "<unk>", *letters])}
    tokenizer = transformers.NllbTokenizer(vocab=vocabulary, merges=[])
    tokenizer.save_pretrained(folder)
    torch.manual_seed(4)
    config = transformers.M2M100Config(
        vocab_size=len(tokenizer), pad_token_id=1, bos_token_id=0, eos_token_id=2, decoder_start_token_id=2, **SIZES
    )
    _save(transformers.M2M100ForConditionalGeneration(config), folder)


def _save(model: transformers.PreTrainedModel, folder: Path) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.5)  # so that a random model has more to say than one word
    model.save_pretrained(folder)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of a model for one pair."""
    folder = tmp_path_factory.mktemp("marian")
    marian(folder)
    return str(folder)


def test_what_is_written_is_what_the_task_reads(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command writes a row per example; the translated task reads the English examples and these, with their labels; two languages
    are read one after the other.
    """
    for language in ("sw", "yo"):
        out = tmp_path / "translations" / f"kind-{language}.tsv"
        command = ["translate", "kind", "--model", model, "--language", language, "--out", str(out), "--limit", "10", "--max-length", "12"]
        assert main(command) == 0
        assert "10 examples of kind" in capsys.readouterr().out
    english = data.examples(cldr.KIND, "train", "en")
    chosen = {example.id: example for example in data.subset(english, 10)}
    task = translated(cldr.KIND, "sw", "yo", texts=1)
    found = data.examples(task, "train", "en", tmp_path)
    assert found[: len(english)] == english
    made = found[len(english) :]
    assert [example.label for example in made] == [example.label for example in chosen.values()] * 2
    assert [example.id for example in made] == [f"{name}#{number}" for number in (2, 3) for name in chosen]
    assert {example.texts for example in made}.isdisjoint({example.texts for example in chosen.values()})
    assert (task.name, task.dev) == ("kind-translated", cldr.KIND.dev)


def test_an_interrupted_translation_goes_on(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed in the middle of a line, it goes on after the last whole batch, to the same bytes; with other settings it is refused."""
    settings = Settings(model, "sw", batch_size=3, max_length=12)
    translate_task(cldr.KIND, settings, tmp_path / "whole.tsv", limit=10)
    load, calls = translate.load, []

    def dying(settings: Settings) -> translate.Translate:
        made = load(settings)

        def one(texts: Sequence[str]) -> list[str]:
            calls.append(len(texts))
            if len(calls) == 3:
                raise KeyboardInterrupt
            return made(texts)

        return one

    with monkeypatch.context() as patch:
        patch.setattr(translate, "load", dying)
        with pytest.raises(KeyboardInterrupt):
            translate_task(cldr.KIND, settings, tmp_path / "cut.tsv", limit=10)
    partial = tmp_path / "cut.tsv.partial"
    partial.write_bytes(partial.read_bytes()[:-4])  # the last batch is not whole
    with pytest.raises(UserError, match="begun with another num_beams; delete it"):
        translate_task(cldr.KIND, replace(settings, num_beams=2), tmp_path / "cut.tsv", limit=10)
    (line,) = translate_task(cldr.KIND, settings, tmp_path / "cut.tsv", limit=10)
    assert "(7 now," in line
    assert (tmp_path / "cut.tsv").read_bytes() == (tmp_path / "whole.tsv").read_bytes()
    assert not partial.exists()
    with pytest.raises(UserError, match="exists; delete it"):
        translate_task(cldr.KIND, settings, tmp_path / "cut.tsv")


def test_models_for_many_languages_are_told_the_language(tmp_path: Path) -> None:
    """NLLB begins a translation with FLORES's code and reads English, multilingual Marian models have a token before the text; a language
    that the model does not know is refused.
    """
    nllb(tmp_path / "nllb")
    marian(tmp_path / "marian", (">>swh<<", ">>hau<<"))
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "nllb")
    settings = Settings(str(tmp_path / "nllb"), "sw", max_length=12)
    assert translate.told_language(tokenizer, settings) == ("", {"forced_bos_token_id": tokenizer.convert_tokens_to_ids("swh_Latn")})
    assert tokenizer.src_lang == "eng_Latn"
    assert len(translate.load(settings)(["Kenya", "Juba"])) == 2
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "marian")
    settings = Settings(str(tmp_path / "marian"), "sw", max_length=12)
    assert translate.told_language(tokenizer, settings) == (">>swh<< ", {})
    with pytest.raises(UserError, match="does not know 'yo'"):
        translate.told_language(tokenizer, replace(settings, language="yo"))


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("squad", "where the answer then stands"),
        ("ccg", "its tags are lost"),
        ("mlm", "read in the language itself"),
        ("xnli", "no training data"),
    ],
)
def test_what_cannot_be_translated_says_why(task: str, message: str, tmp_path: Path) -> None:
    """Answers and tags are places in a text, which a translation does not keep."""
    for attempt in (lambda: translate_task(find(task), Settings("m", "sw"), tmp_path / "x"), lambda: translated(find(task), "sw")):
        with pytest.raises(UserError, match=message):
            attempt()


def test_models_are_pinned_and_whole(model: str, tmp_path: Path) -> None:
    """A Hub model needs its commit; a folder without a model is one sentence; a limit in the source is refused."""
    with pytest.raises(UserError, match="name its commit"):
        translate.load(Settings("nobody/nothing", "sw"))
    with pytest.raises(UserError, match="cannot be loaded"):
        translate.load(Settings(str(tmp_path), "sw"))
    task: Task = replace(cldr.KIND, train=replace(cldr.KIND.train, limit=3))  # type: ignore[arg-type]
    with pytest.raises(UserError, match="has a limit"):
        translated(task, "sw")
