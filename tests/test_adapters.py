"""Low-rank adapters: merged they compute the same, and what they do not touch stays as it was, bit for bit."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from encoders import CONFIGS, tiny
from places import random_encoder
from safetensors.torch import load_file

from raystilts import adapters, model
from raystilts.errors import UserError
from raystilts.model import Root
from raystilts.stage import Recipe, Stage
from raystilts.tasks import cldr
from raystilts.train import Worker, train

LORA = Recipe(lora_rank=4, learning_rate=1e-3, num_steps=6, batch_size=20, micro_batch_size=8, max_length=32, pooling="mean")
PIECES = torch.tensor([[0, 7, 9, 2], [0, 8, 2, 1]])
CHOSEN = {
    "bert": ["query", "value"],
    "xlm-roberta": ["query", "value"],
    "mdeberta-v3": ["query_proj", "value_proj"],
    "modernbert": ["Wqkv"],
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Root:
    """A random encoder of two layers on disk, with dropout."""
    return random_encoder(tmp_path_factory.mktemp("root"), num_layers=2)


@pytest.mark.parametrize("name", CONFIGS)
def test_merging_changes_no_output(name: str) -> None:
    """Query and value get adapters in every architecture; with weights of any size, merged states are those before within 1e-5, the
    merged encoder has the names of the plain one, and only its adapted matrices differ.
    """
    encoder, plain = tiny(name), tiny(name).state_dict()
    adapters.add(encoder, LORA, 1)
    trained = {n: p for n, p in encoder.named_parameters() if p.requires_grad}
    assert trained
    assert all("lora_" in n for n in trained)
    with torch.no_grad():
        for parameter in trained.values():
            parameter.normal_(0.0, 0.3, generator=torch.Generator().manual_seed(1))
    mask = (PIECES != 1).long()
    encoder.eval()  # of the adapters' own dropout
    before = encoder(input_ids=PIECES, attention_mask=mask).last_hidden_state
    adapters.merge(encoder)
    after = encoder(input_ids=PIECES, attention_mask=mask).last_hidden_state
    torch.testing.assert_close(after, before, atol=1e-5, rtol=0)
    assert encoder.state_dict().keys() == plain.keys()
    changed = {n for n, value in encoder.state_dict().items() if not torch.equal(value, plain[n])}
    assert {n.split(".")[-2] for n in changed} == set(CHOSEN[name])
    assert not torch.allclose(before, tiny(name)(input_ids=PIECES, attention_mask=mask).last_hidden_state, atol=1e-2)


@pytest.mark.parametrize("name", CONFIGS)
def test_new_adapters_change_nothing_at_all(name: str) -> None:
    """One of the two matrices begins at zero: merged untrained, all weights are the root's, and the global generator has not moved."""
    torch.manual_seed(5)
    before = torch.get_rng_state()
    encoder = tiny(name)
    adapters.add(encoder, LORA, 1)
    assert torch.equal(before, torch.get_rng_state())
    adapters.merge(encoder)
    assert all(torch.equal(value, tiny(name).state_dict()[n]) for n, value in encoder.state_dict().items())


def test_first_weights_are_a_function_of_the_seed() -> None:
    """The same seed gives the same adapters whatever was drawn before, another seed others."""

    def first(seed: int) -> torch.Tensor:
        encoder = tiny("bert")
        adapters.add(encoder, LORA, seed)
        return torch.cat([p.flatten() for n, p in encoder.named_parameters() if "lora_A" in n])

    one = first(1)
    torch.rand(3)
    assert torch.equal(one, first(1))
    assert not torch.equal(one, first(2))


def test_a_recipe_names_layers_and_depth() -> None:
    """The modules that it names, up to the relative depth that it says."""
    recipe = replace(LORA, lora_modules="dense key", lora_depth=0.5)
    found = adapters.targets(tiny("xlm-roberta"), recipe)
    inside = "encoder.layer.0"
    assert found == [f"{inside}.attention.self.key", *(f"{inside}.{of}.dense" for of in ("attention.output", "intermediate", "output"))]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lora_modules": "qkv"}, r"no linear layer named qkv; set lora_modules to some of: dense key query value"),
        ({"lora_depth": 0.1}, r"within the first 0 of 2 layers .* lora_depth is too small"),
        ({"average_checkpoints": 2}, r"lora_rank and average_checkpoints exclude each other"),
    ],
)
def test_what_cannot_be_adapted_is_refused(changes: dict[str, Any], message: str) -> None:
    """One sentence says what is not there and what is."""
    with pytest.raises(UserError, match=message):
        adapters.targets(tiny("xlm-roberta"), replace(LORA, **changes))


def test_a_trained_checkpoint_is_plain(root: Root, tmp_path: Path) -> None:
    """The file has the names of any other; all but the query and value of the adapted layer is the root's, bit for bit, the embeddings
    among it; the head has learned.
    """
    stage = Stage(
        "train",
        cldr.KIND,
        (("train/en", "x"),),
        seed=1,
        recipe=replace(LORA, lora_depth=0.5, num_steps=6),
        encoder="e",
    )
    for name, recipe in (("lora", stage.recipe), ("full", replace(LORA, lora_rank=0))):
        (tmp_path / name).mkdir()
        train(replace(stage, recipe=recipe), root, None, None, tmp_path / name, Worker())
    lora, full = (load_file(tmp_path / name / model.WEIGHTS) for name in ("lora", "full"))
    assert lora.keys() == full.keys()
    assert len(lora[model.ROWS]) == 0
    plain = {f"encoder.{name}": value for name, value in model.load_root(root).state_dict().items()}
    changed = {name for name, value in lora.items() if name in plain and not torch.equal(value, plain[name])}
    assert changed == {f"encoder.encoder.layer.0.attention.self.{name}.weight" for name in ("query", "value")}
    fresh = model.build(root, None, None, [len(cldr.KINDS)], 1, keep_head=False).heads[0].weight
    assert not torch.equal(lora["heads.0.weight"], fresh)


def test_peft_is_loaded_only_where_it_is_needed() -> None:
    """A training without adapters does not import it."""
    code = "import raystilts.train, raystilts.evaluate, sys; print('peft' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
