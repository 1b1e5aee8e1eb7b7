"""Encoders of other architectures than XLM-R's: each trains, is saved, read again and evaluated, and compaction changes nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from raystilts import architectures, evaluate, model
from raystilts.errors import UserError
from raystilts.evaluate import Place
from raystilts.execute import Site, check_inputs
from raystilts.kinds import KINDS
from raystilts.model import Root
from raystilts.network import Network
from raystilts.stage import Architecture, Encoder, Recipe, Stage
from raystilts.store import Store
from raystilts.study import Study, make_plan
from raystilts.task import Example, Task
from raystilts.tasks import cldr
from raystilts.train import Worker, train

WORDS = sorted({word for example in cldr.kinds("en", "train")[:200] for word in example.texts[0].split()})
SIZES: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def tokenizer(folder: Path, types: bool, pad_last: bool = False) -> int:
    """Write a tokenizer of whole words in BERT's frame, with segments or without; the padding has the first or the last number. Returns
    the size of its vocabulary.
    """
    special = [*SPECIAL[1:], *WORDS, SPECIAL[0]] if pad_last else [*SPECIAL, *WORDS]
    made = Tokenizer(models.WordLevel({word: number for number, word in enumerate(special)}, "[UNK]"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    ids = [(token, made.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    second = ":1" if types else ""
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair=f"[CLS] $A [SEP] $B{second} [SEP]{second}", special_tokens=ids
    )
    names = {f"{token[1:-1].lower()}_token": token for token in SPECIAL}
    transformers.PreTrainedTokenizerFast(tokenizer_object=made, **names).save_pretrained(folder)
    return len(special)


def bert(folder: Path) -> None:
    """As mBERT: two segments, absolute positions, a pooler that is not used, and a language model head in the file."""
    config = transformers.BertConfig(vocab_size=tokenizer(folder, True), max_position_embeddings=48, pad_token_id=0, **SIZES)
    transformers.BertForMaskedLM(config).save_pretrained(folder)


def deberta(folder: Path) -> None:
    """As mDeBERTa-v3: relative positions, no segments though the tokenizer has them."""
    config = transformers.DebertaV2Config(
        vocab_size=tokenizer(folder, True), type_vocab_size=0, relative_attention=True, position_buckets=8, pos_att_type=["p2c", "c2p"],
        position_biased_input=False, norm_rel_ebd="layer_norm", share_att_key=True, max_relative_positions=-1, pad_token_id=0, **SIZES,
    )  # fmt: skip
    transformers.DebertaV2Model(config).save_pretrained(folder)


def modernbert(folder: Path) -> None:
    """As ModernBERT: rotary positions, local attention, dropout under other names, and the padding at the end of the vocabulary."""
    size = tokenizer(folder, False, pad_last=True)
    config = transformers.ModernBertConfig(
        vocab_size=size, pad_token_id=size - 1, bos_token_id=1, cls_token_id=1, eos_token_id=2, sep_token_id=2, max_position_embeddings=64,
        local_attention=8, global_attn_every_n_layers=2, embedding_dropout=0.1, mlp_dropout=0.1, **SIZES,
    )  # fmt: skip
    transformers.ModernBertModel(config).save_pretrained(folder)


def without_padding(folder: Path) -> None:
    """A BERT whose config names no padding token: the tokenizer's is used."""
    config = transformers.BertConfig(vocab_size=tokenizer(folder, True), pad_token_id=None, **SIZES)
    transformers.BertModel(config).save_pretrained(folder)


def xlmr(folder: Path) -> None:
    """As XLM-R."""
    model.initialise(folder, WORDS, Architecture(2, 32, 2, 48, 400), 0)


MAKERS: dict[str, Callable[[Path], None]] = {
    "bert": bert, "deberta": deberta, "modernbert": modernbert, "no padding": without_padding, "xlmr": xlmr,
}  # fmt: skip
NLI = Task("nli", "classification", "accuracy", labels=("no", "yes"))
PAIRS = [Example(str(n), (" ".join(WORDS[n : n + 3]), " ".join(WORDS[n + 5 : n + 12])), "yes" if n % 2 else "no") for n in range(24)]
RECIPE = Recipe(learning_rate=1e-3, num_steps=4, batch_size=8, micro_batch_size=4, max_length=32, weight_decay=0.01)


@pytest.fixture(scope="module", params=MAKERS)
def root(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Root:
    """A random encoder of each kind on disk."""
    folder = tmp_path_factory.mktemp(str(request.param).replace(" ", "-"))
    torch.manual_seed(5)
    MAKERS[request.param](folder)
    return Root(str(folder))


def losses(folder: Path) -> list[float]:
    """The losses in a training's log."""
    return [json.loads(line)["loss"] for line in (folder / "log.jsonl").read_text().splitlines()[1:]]


def stage_of(task: Task) -> Stage:
    """A few steps on a task."""
    read = tuple((f"{place}:train/en", "x") for place in range(len(task.parts))) or (
        ("train/en", task.name),
        ("dev/en", f"{task.name} dev"),
    )
    return Stage("train", task, read, 1, RECIPE, encoder="e")


def test_states_are_those_of_the_encoder_itself(root: Root) -> None:
    """A batch of pairs of different lengths has the states that transformers computes from its tokenizer's own output, segments
    included, with the full matrix and with the rows that occur.
    """
    tokens = model.load_tokenizer(root)
    items = list(KINDS["classification"].encode(PAIRS[:6], NLI.labels, tokens, RECIPE))
    batch = KINDS["classification"].collate(items, tokens.pad_token_id, RECIPE, 0)
    encoder = transformers.AutoModel.from_pretrained(root.source).eval()
    wanted = ("input_ids", "attention_mask", *(["token_type_ids"] if (getattr(encoder.config, "type_vocab_size", 0) or 0) > 1 else []))
    inputs = tokens([e.texts[0] for e in PAIRS[:6]], [e.texts[1] for e in PAIRS[:6]], padding=True, return_tensors="pt",
                    return_token_type_ids=True, truncation=True, max_length=32)  # fmt: skip
    with torch.inference_mode():
        expected = encoder(**{name: inputs[name] for name in wanted}).last_hidden_state
        vocabulary = sorted({int(piece) for item in items for piece in item.pieces[0]})
        for pieces in (None, vocabulary):
            net = Network(model.build(root, None, pieces, [2], 1, keep_head=False), RECIPE, tokens).eval()
            found = net.states(batch["pieces"])
            torch.testing.assert_close(found[inputs["attention_mask"] == 1], expected[inputs["attention_mask"] == 1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("task", [cldr.KIND, cldr.LIST, cldr.CURRENCY], ids=["kind", "list", "currency"])
def test_it_trains_and_is_read_again(root: Root, tmp_path: Path, task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    """A text, words and a pair: losses and weights are the same with compaction and without, and the saved model is what was trained."""
    for name in ("compact", "full"):
        (tmp_path / name).mkdir()
    facts = train(stage_of(task), root, None, None, tmp_path / "compact", Worker())
    scores = evaluate.dev_scores(stage_of(task), Place(root, tmp_path / "compact", None, "cpu"), facts)
    assert 0 <= scores["dev_score"] <= 100
    if task is not cldr.KIND:
        return
    build = model.build
    monkeypatch.setattr(model, "build", lambda root, checkpoint, pieces, *rest, **named: build(root, checkpoint, None, *rest, **named))
    train(stage_of(task), root, None, None, tmp_path / "full", Worker())
    assert losses(tmp_path / "compact") == pytest.approx(losses(tmp_path / "full"), abs=1e-6)
    compact, full = (load_file(tmp_path / name / model.WEIGHTS) for name in ("compact", "full"))
    assert compact.keys() == full.keys()
    assert all(torch.allclose(compact[name], full[name], atol=1e-5) for name in full)


def test_it_masks_words_in_a_mixture(root: Root, tmp_path: Path) -> None:
    """Masked words are one more part of a mixture in every architecture with a mask token."""
    mixture = Task("m", "mixture", "", parts=(cldr.KIND, replace(cldr.TEXTS, kind="mlm", metric="")), weights=(0.5, 0.5))
    train(stage_of(mixture), root, None, None, tmp_path, Worker())
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()[1:]]
    assert {line["task"] for line in lines} == {"kind", cldr.TEXTS.name}


def test_berts_own_language_model_head_is_used(tmp_path: Path) -> None:
    """The masked-word head of a BERT folder is the pretrained one, tied to its embeddings: the same logits."""
    torch.manual_seed(3)
    bert(tmp_path)
    pretrained = transformers.BertForMaskedLM.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        pretrained.cls.predictions.bias.normal_()
    pretrained.save_pretrained(tmp_path)
    root = Root(str(tmp_path))
    net = Network(model.build(root, None, None, [model.VOCABULARY], 1, keep_head=False), RECIPE, model.load_tokenizer(root)).eval()
    pieces = torch.tensor([[2, 7, 9, 4, 11, 3]])
    with torch.inference_mode():
        found = net.heads[0](net.states(pieces), net.encoder.get_input_embeddings().weight)
        torch.testing.assert_close(found, pretrained(input_ids=pieces).logits, rtol=1e-5, atol=1e-5)


def test_segments_are_berts() -> None:
    """0 up to the first separator, 1 after it up to the last, 0 for padding; a single text has one segment."""
    pieces = torch.tensor([[2, 9, 3, 8, 8, 3], [2, 9, 9, 3, 0, 0]])
    assert architectures.segments(pieces, 3, 0).tolist() == [[0, 0, 0, 1, 1, 1], [0] * 6]


def test_the_dropout_before_heads_is_the_configs(tmp_path: Path) -> None:
    """Whatever the config calls it; none where it has none."""
    assert architectures.hidden_dropout(transformers.XLMRobertaConfig(hidden_dropout_prob=0.3)) == 0.3
    assert architectures.hidden_dropout(transformers.DistilBertConfig(dropout=0.2)) == 0.2
    assert architectures.hidden_dropout(transformers.ModernBertConfig(classifier_dropout=0.25)) == 0.25
    assert architectures.hidden_dropout(transformers.PretrainedConfig()) == 0.0


@pytest.mark.parametrize(
    ("missing", "message"),
    [("pad_token", "has no padding token"), ("mask_token", "has no mask token"), ("frame", "no special token before")],
)
def test_what_cannot_work_is_one_sentence(tmp_path: Path, missing: str, message: str) -> None:
    """An encoder whose tokenizer lacks a padding token or special tokens is refused, one without a mask where words are masked."""
    bert(tmp_path)
    path = tmp_path / ("tokenizer.json" if missing == "frame" else "tokenizer_config.json")
    facts = json.loads(path.read_text())
    facts.pop("post_processor" if missing == "frame" else missing)
    path.write_text(json.dumps(facts | ({"post_processor": None} if missing == "frame" else {})))
    with pytest.raises(UserError, match=message):
        list(KINDS["mlm"].encode([Example("t", ("a",))], (), model.load_tokenizer(Root(str(tmp_path))), RECIPE))


def test_a_recipe_that_is_too_long_is_refused(tmp_path: Path) -> None:
    """Before anything is trained, with how much the encoder reads; an encoder with relative positions reads anything."""
    for name, make, num in (("bert", bert, 48), ("xlmr", xlmr, 128), ("deberta", deberta, None)):
        make(tmp_path / name)
        assert architectures.longest(model.load_root(Root(str(tmp_path / name)))) == num
    study = Study("s", "?", (Encoder("bert", folder="bert"),), (), (cldr.KIND,), (1,), {"default": Recipe(max_length=49)}, ("sw",))
    site = Site(Store(tmp_path / "store"), "here", None, tmp_path)
    with pytest.raises(UserError, match="max_length 49, but the encoder reads 48 tokens at most"):
        check_inputs(make_plan(study, None, tmp_path), site)
