"""Models: compaction changes nothing, checkpoints hold what differs, a tokenizer is a function of its texts."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import transformers
from safetensors.torch import load_file

from raystilts import features, model
from raystilts.errors import UserError
from raystilts.features import Items
from raystilts.kinds import KINDS
from raystilts.model import Root
from raystilts.record import sha256
from raystilts.stage import Architecture, Encoder, Recipe, Stage
from raystilts.tasks import cldr
from raystilts.train import Worker, recomputed, train

SMALL = Architecture(2, 32, 2, 64, 1200, dropout=0.1)
RECIPE = Recipe(learning_rate=1e-3, num_steps=6, batch_size=16, micro_batch_size=8, max_length=32, weight_decay=0.01, pooling="mean")
STAGE = Stage("train", cldr.KIND, (("train/en", "x"),), seed=1, recipe=RECIPE, encoder="e")


def names() -> list[str]:
    """Names in three languages."""
    return [example.texts[0] for example in cldr.texts("en", ("sw", "ru"), "train")]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Root:
    """A random encoder on disk."""
    folder = tmp_path_factory.mktemp("root")
    model.initialise(folder, names(), SMALL, 3)
    return Root(str(folder))


def losses(folder: Path) -> list[float]:
    """The losses in a training's log."""
    return [json.loads(line)["loss"] for line in (folder / "log.jsonl").read_text().splitlines()[1:]]


def test_initialising_twice_gives_the_same_files(root: Root, tmp_path: Path) -> None:
    """Weights and tokenizer are functions of texts, architecture and seed; another seed gives other weights."""
    model.initialise(tmp_path / "again", names(), SMALL, 3)
    model.initialise(tmp_path / "other", names(), SMALL, 4)
    for name in ("model.safetensors", "tokenizer.json", "config.json"):
        assert sha256(tmp_path / "again" / name) == sha256(Path(root.source) / name)
    assert sha256(tmp_path / "other" / "model.safetensors") != sha256(Path(root.source) / "model.safetensors")


def test_it_is_an_ordinary_hugging_face_folder(root: Root) -> None:
    """transformers loads the folder by itself, and the tokenizer turns names into pieces and back."""
    encoder = transformers.AutoModel.from_pretrained(root.source)
    tokenizer = transformers.AutoTokenizer.from_pretrained(root.source)
    assert encoder.config.model_type == "xlm-roberta"
    assert encoder.config.vocab_size == len(tokenizer)
    assert tokenizer.decode(tokenizer("Nairobi")["input_ids"], skip_special_tokens=True) == "Nairobi"


def test_a_compact_model_computes_the_same(root: Root) -> None:
    """Hidden states with only the rows that occur equal those of the full matrix, bit by bit."""
    tokenizer = model.load_tokenizer(root)
    items = Items.of(KINDS["classification"].encode(cldr.kinds("en", "dev")[:16], cldr.KINDS, tokenizer, RECIPE))
    pieces = features.pad([item.pieces[0] for item in items], tokenizer.pad_token_id)
    mask = (pieces != tokenizer.pad_token_id).long()
    full = model.build(root, None, None, [5], 1, keep_head=False)
    compact = model.build(root, None, items.vocabulary, [5], 1, keep_head=False)
    assert len(compact.rows) < len(full.rows)
    with torch.inference_mode():
        states = [m.encoder(input_ids=m.index[pieces], attention_mask=mask).last_hidden_state for m in (full, compact)]
    assert torch.equal(*states)


def test_training_compact_full_or_recomputed_gives_the_same_losses_and_weights(root: Root, tmp_path: Path) -> None:
    """Losses, all weights and the rows that changed are equal with compaction on and off (weight decay included), and where layers are
    computed again (dropout included).
    """
    rows = {}
    for name, worker in (("compact", Worker()), ("full", Worker(compaction=False)), ("recomputed", Worker(recompute=True))):
        (tmp_path / name).mkdir()
        rows[name] = train(STAGE, root, None, None, tmp_path / name, worker)["embedding_rows"]
    assert rows["compact"] == rows["recomputed"] < rows["full"]
    compact = load_file(tmp_path / "compact" / model.WEIGHTS)
    for name in ("full", "recomputed"):
        assert losses(tmp_path / "compact") == losses(tmp_path / name)
        other = load_file(tmp_path / name / model.WEIGHTS)
        assert compact.keys() == other.keys()
        assert all(torch.equal(compact[tensor], other[tensor]) for tensor in compact)


def test_recomputing_needs_an_encoder_that_can() -> None:
    """An encoder without gradient checkpointing is refused in a sentence that names the flag."""
    encoder = SimpleNamespace(supports_gradient_checkpointing=False, config=SimpleNamespace(model_type="own"))
    with pytest.raises(UserError, match=r"'own' cannot be recomputed: run again without --recompute"):
        recomputed(encoder)


def test_a_checkpoint_carries_the_rows_of_its_whole_lineage(root: Root, tmp_path: Path) -> None:
    """After two stages on different data the checkpoint restores every row that either has changed, and the root's where none did."""
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    train(STAGE, root, None, None, tmp_path / "first", Worker())
    second = replace(STAGE, task=cldr.CURRENCY, seed=2, parent=STAGE)
    train(second, root, tmp_path / "first", None, tmp_path / "second", Worker())
    one, two = (load_file(tmp_path / name / model.WEIGHTS) for name in ("first", "second"))
    assert set(one["embedding.rows"].tolist()) <= set(two["embedding.rows"].tolist())
    restored = model.build(root, tmp_path / "second", None, [2], None, keep_head=True)
    matrix = restored.encoder.get_input_embeddings().weight.detach()
    assert torch.equal(matrix[two["embedding.rows"]], two["embedding.values"])
    untouched = torch.ones(len(matrix), dtype=torch.bool)
    untouched[two["embedding.rows"]] = False
    assert torch.equal(matrix[untouched], model.load_root(root).get_input_embeddings().weight.detach()[untouched])
    assert torch.equal(restored.heads[0].weight.detach(), two["heads.0.weight"])


def test_a_new_head_comes_from_its_seed(root: Root) -> None:
    """Heads are functions of the stage's seed, whatever the global generator's state."""
    torch.manual_seed(1)
    first = model.build(root, None, [5], [3], 7, keep_head=False).heads[0]
    torch.manual_seed(2)
    again, other = (model.build(root, None, [5], [3], seed, keep_head=False).heads[0] for seed in (7, 8))
    assert torch.equal(first.weight, again.weight)
    assert not torch.equal(first.weight, other.weight)


@pytest.mark.parametrize(("pooling", "expected"), [("first", [[1.0, 2.0]]), ("mean", [[2.0, 3.0]])])
def test_pooling(pooling: str, expected: list[list[float]]) -> None:
    """`first` is the first token's state; `mean` is over the mask only."""
    states = torch.tensor([[[1.0, 2.0], [3.0, 4.0], [99.0, 99.0]]])
    assert model.pool(states, torch.tensor([[True, True, False]]), pooling).tolist() == expected


def test_identity_of_an_encoder_is_its_files(root: Root, tmp_path: Path) -> None:
    """A copied folder is the same encoder under any name; a changed weight or tokenizer is another one."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for path in Path(root.source).iterdir():
            (tmp_path / name / path.name).write_bytes(path.read_bytes())
    identity = {name: model.encoder_identity(Encoder(name, folder=name), tmp_path) for name in ("a", "b")}
    assert identity["a"] == identity["b"]
    with (tmp_path / "b" / "tokenizer.json").open("a") as file:
        file.write("\n")
    assert model.encoder_identity(Encoder("b", folder="b"), tmp_path) != identity["a"]


def test_encoders_that_cannot_be_loaded_are_one_sentence(tmp_path: Path) -> None:
    """A folder without config.json, one without safetensors, and a Hub id without a revision are refused with what to do."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"no config\.json"):
        model.encoder_identity(Encoder("e", folder="empty"), tmp_path)
    (tmp_path / "empty" / "config.json").write_text("{}")
    with pytest.raises(UserError, match="safetensors"):
        model.encoder_identity(Encoder("e", folder="empty"), tmp_path)
    with pytest.raises(UserError, match="revision"):
        model.encoder_identity(Encoder("e", hub="FacebookAI/xlm-roberta-base"), tmp_path)
