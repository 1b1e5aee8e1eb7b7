"""The kinds of tasks: items, losses and predictions do what their definitions say."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from places import random_encoder
from torch.nn import functional

from raystilts import features, model
from raystilts.features import Item, Items
from raystilts.kinds import KINDS, mlm, span
from raystilts.kinds.span import Span
from raystilts.metrics import METRICS
from raystilts.model import Root
from raystilts.network import Network
from raystilts.stage import Recipe
from raystilts.task import Example
from raystilts.tasks import cldr

RECIPE = Recipe(max_length=24, stride=7, max_query_length=5, max_answer_length=4, dropout=0.0, pooling="mean")
WORDS = st.lists(st.sampled_from(["Nairobi", "ya", "mji", "Kenya", "北京", "Juba,", "(Dodoma)"]), min_size=1, max_size=60).map(" ".join)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Root:
    """A random encoder on disk."""
    return random_encoder(tmp_path_factory.mktemp("root"), ("sw", "zh"), num_layers=2, dropout=0.0)


def network(root: Root, kind: str, num_labels: int = 0, recipe: Recipe = RECIPE) -> Network:
    """A full model with one head, in evaluation."""
    labels = [str(number) for number in range(num_labels)]
    parts = model.build(root, None, None, [KINDS[kind].num_outputs(labels)], 5, keep_head=False)
    return Network(parts, recipe, model.load_tokenizer(root), [KINDS[kind].loss]).eval()


def items_of(kind: str, examples: list[Example], root: Root, labels: tuple[str, ...] = (), recipe: Recipe = RECIPE) -> list[Item]:
    """The items of some examples, as they come out of storage."""
    return list(Items.of(KINDS[kind].encode(examples, labels, model.load_tokenizer(root), recipe)))


def summed_loss(net: Network, kind: str, items: list[Item]) -> float:
    """The loss of all the items in one batch."""
    with torch.inference_mode():
        return float(net(0, KINDS[kind].collate(items, net.pad, net.recipe, len(net.index))))


# --- span


def question(context: str, begin: int = 0, end: int = 0) -> Example:
    """A question about a context whose answer stands at some characters; none where they are equal."""
    answers = ((context[begin:end],), (begin,)) if end > begin else ((), ())
    return Example("q", ("Nairobi ni mji wa nchi gani katika Afrika ya Mashariki?", context), answers[0], starts=answers[1])


@settings(deadline=None, max_examples=60)
@given(context=WORDS)
def test_windows_cover_the_whole_context(root: Root, context: str) -> None:
    """Windows are no longer than allowed, begin `stride` pieces apart, overlap, and their offsets cover the context from end to end;
    every window repeats the question, cut to its own limit.
    """
    items = items_of("span", [question(context)], root)
    tokenizer = model.load_tokenizer(root)
    pieces = tokenizer(context, add_special_tokens=False)["input_ids"]
    asked = tokenizer(question(context).texts[0], add_special_tokens=False)["input_ids"][:5]
    found: list[int] = []
    for number, item in enumerate(items):
        window = item.pieces[0].tolist()
        start, num = int(item.places[0]), len(item.offsets) // 2
        assert len(window) <= RECIPE.max_length
        assert window[1:6] == asked
        assert window[start : start + num] == pieces[number * 7 : number * 7 + num]
        found = found[: number * 7] + window[start : start + num]
    assert found == pieces


@settings(deadline=None, max_examples=80)
@given(context=WORDS, data=st.data())
def test_targets_are_the_answer(root: Root, context: str, data: st.DataObject) -> None:
    """Where a window holds the answer, the pieces between its targets cover the answer's characters and no word more; where it does
    not, both targets are the first token. An answer that is no longer than windows overlap is held by at least one.
    """
    words = context.split(" ")
    first = data.draw(st.integers(0, len(words) - 1))
    last = data.draw(st.integers(first, min(first + 1, len(words) - 1)))
    begin = len(" ".join(words[:first])) + (1 if first else 0)
    answer = " ".join(words[first : last + 1])
    held = 0
    for item in items_of("span", [question(context, begin, begin + len(answer))], root):
        start, num = int(item.places[0]), len(item.offsets) // 2
        if list(item.targets) == [0, 0]:
            assert not (item.offsets[0] <= begin and item.offsets[2 * num - 1] >= begin + len(answer))
            continue
        held += 1
        low, high = item.offsets[item.targets[0] - start], item.offsets[num + item.targets[1] - start]
        assert context[low:high].strip() == answer
    pieces = len(model.load_tokenizer(root)(answer, add_special_tokens=False)["input_ids"])
    overlap = max(len(item.offsets) // 2 for item in items_of("span", [question("Juba " * 60)], root)) - RECIPE.stride
    assert held >= 1 or pieces > overlap


@settings(deadline=None)
@given(
    num=st.integers(1, 12),
    longest=st.integers(1, 5),
    values=st.lists(st.integers(-3, 3), min_size=28, max_size=28),
)
def test_the_best_span_is_the_best_of_all(num: int, longest: int, values: list[int]) -> None:
    """Among all spans of at most the allowed length none has a larger sum of both logits; ties go to the shortest, then the first."""
    logits = np.array(values, dtype=np.float32).reshape(14, 2)
    item = Item(0, (list(range(14)),), (), [2], 0, [*range(num), *range(1, num + 1)])
    every = [(logits[2 + a, 0] + logits[2 + b, 1], -(b - a), -a, (a, b + 1)) for a in range(num) for b in range(a, min(num, a + longest))]
    score, *_, (begin, end) = max(every)
    assert span._best(logits, item, longest) == Span(score, begin, end, logits[0, 0] + logits[0, 1])


def test_answers_come_from_the_best_window(root: Root) -> None:
    """The answer is the best span of all windows of the example, whatever order they come in; with a threshold the margin over the
    lowest score of "none" decides.
    """
    examples = [question("Nairobi, Kenya"), question("Juba")]
    items = Items.of([Item(0, ([0],)), Item(0, ([0],)), Item(1, ([0],))])
    found = [Span(1.0, 0, 7, 5.0), Span(3.0, 9, 14, 4.0), Span(2.0, 0, 4, 2.5)]
    assert span.predictions(examples, items, found, (), None) == ["Kenya", "Juba"]
    assert span.predictions(examples, items, found, (), 0.7) == ["", "Juba"]
    assert span.predictions(examples, items, found, (), 0.2) == ["", ""]
    turned = Items.of([Item(1, ([0],)), Item(0, ([0],)), Item(0, ([0],))])
    assert span.predictions(examples, turned, found[::-1], (), 0.7) == ["", "Juba"]


@settings(deadline=None, max_examples=60)
@given(
    cases=st.lists(
        st.tuples(st.sampled_from(["", "Kenya", "Juba"]), st.sampled_from(["Kenya", "Juba"]), st.integers(-4, 4)), min_size=1, max_size=12
    )
)
def test_the_threshold_is_the_best_there_is(cases: list[tuple[str, str, int]]) -> None:
    """No threshold gives a better mean F1 on the dev set; a dev set where every question has an answer gives none."""
    examples = [
        Example(str(n), ("?", text), (gold,) if gold else (), starts=(0,) if gold else ()) for n, (gold, text, _) in enumerate(cases)
    ]
    items = Items.of([Item(n, ([0],)) for n in range(len(cases))])
    found = [Span(0.0, 0, len(text), float(margin)) for _, text, margin in cases]
    gold = [example.label for example in examples]

    def score(right: object, predicted: object) -> list[float]:
        return [statistics[0] for statistics in METRICS["squad_v2_f1"].function(right, predicted)]

    def mean(threshold: float) -> float:
        return sum(score(gold, span.predictions(examples, items, found, (), threshold)))

    chosen = span.calibrate(examples, items, found, score)
    if all(gold):
        assert chosen is None
    else:
        assert chosen is not None
        assert mean(chosen) == pytest.approx(max(mean(cut / 2) for cut in range(-12, 13)))


def test_a_span_loss_equals_transformers(root: Root) -> None:
    """The loss is that of transformers' question answering head with the same weights, whose padding is kept out of the softmax."""
    examples = [question("Nairobi, Kenya", 9, 14), question("mji wa Juba", 7, 11), question("Dodoma")]
    items = items_of("span", examples, root)
    net = network(root, "span")
    other = transformers.AutoModelForQuestionAnswering.from_pretrained(root.source).eval()
    base = getattr(other, other.base_model_prefix)
    base.load_state_dict(net.encoder.state_dict())
    other.qa_outputs.load_state_dict(net.heads[0].state_dict())
    expected = 0.0
    for item in items:  # one at a time: no padding
        pieces = torch.tensor([item.pieces[0].tolist()])
        first, last = (torch.tensor([int(place)]) for place in item.targets)
        with torch.inference_mode():
            expected += float(other(input_ids=pieces, start_positions=first, end_positions=last).loss)
    assert summed_loss(net, "span", items) == pytest.approx(expected, rel=1e-5)


# --- choice


def test_a_choice_loss_equals_transformers(root: Root) -> None:
    """The loss is that of a linear score of each (beginning, continuation) pair, read as transformers reads it, and softmax over them."""
    examples = [Example("a", ("Juba", "mji", "nchi ya Afrika", "mto"), "1"), Example("b", ("Kenya", "nchi", "mji wa Kenya", "Juba"), "0")]
    items = items_of("choice", examples, root, ("0", "1", "2"))
    assert [len(item.pieces) for item in items] == [3, 3]
    net = network(root, "choice")
    tokenizer = model.load_tokenizer(root)
    expected, best = 0.0, []
    for example in examples:
        inputs = tokenizer([example.texts[0]] * 3, list(example.texts[1:]), padding=True, return_tensors="pt")
        with torch.inference_mode():
            states = model.load_root(root)(**inputs).last_hidden_state
            weight = inputs["attention_mask"].unsqueeze(-1).float()
            scores = net.heads[0]((states * weight).sum(1) / weight.sum(1)).view(1, 3)
        expected += float(functional.cross_entropy(scores, torch.tensor([int(example.label)])))
        best.append(str(int(scores.argmax())))
    assert summed_loss(net, "choice", items) == pytest.approx(expected, rel=1e-5)
    batch = KINDS["choice"].collate(items, net.pad, RECIPE, len(net.index))
    with torch.inference_mode():
        found = KINDS["choice"].outputs(net, net.heads[0], batch, items)
    assert KINDS["choice"].predictions(examples, items, found, ("0", "1", "2"), None) == best


# --- masked language modelling


def test_masking_is_15_percent_in_the_shares_80_10_10(root: Root) -> None:
    """Of the content tokens 15 % are chosen; of these 80 % are masked, 10 % replaced and 10 % left as they are; special tokens and
    padding never are (chi-square, 99.9 %).
    """
    tokenizer = model.load_tokenizer(root)
    text = " ".join(example.texts[0] for example in cldr.kinds("en", "train")[:400])
    recipe = Recipe(max_length=64)
    items = items_of("mlm", [Example("t", (text,))] * 20, root, recipe=recipe)
    torch.manual_seed(1)
    batch = mlm.collate(items, tokenizer.pad_token_id, recipe, len(tokenizer))
    original = features.pad([item.pieces[0] for item in items], tokenizer.pad_token_id)
    content = torch.isin(original, torch.tensor(tokenizer.all_special_ids), invert=True)
    chosen = batch["labels"] != features.IGNORED
    assert not (chosen & ~content).any()
    assert torch.equal(batch["labels"][chosen], original[chosen])
    num, total = int(chosen.sum()), int(content.sum())
    assert abs(num - 0.15 * total) < 3.3 * (0.15 * 0.85 * total) ** 0.5
    masked = batch["masked"]
    assert not (masked & ~chosen).any()
    same = chosen & ~masked & (batch["pieces"] == original)
    counts = Counter(masked=int(masked.sum()), same=int(same.sum()), replaced=num - int(masked.sum()) - int(same.sum()))
    expected = {"masked": 0.8 * num, "same": 0.1 * num, "replaced": 0.1 * num}
    assert sum((counts[name] - value) ** 2 / value for name, value in expected.items()) < 13.82
    assert torch.equal(batch["pieces"][~chosen], original[~chosen])


def test_all_of_a_text_is_read(root: Root) -> None:
    """A text longer than a window goes on in the next; no piece is left out."""
    tokenizer = model.load_tokenizer(root)
    text = " ".join(example.texts[0] for example in cldr.kinds("en", "train")[:50])
    items = items_of("mlm", [Example("t", (text,))], root)
    found = [piece for item in items for piece in item.pieces[0][item.places[0] : item.places[1]].tolist()]
    assert len(items) > 1
    assert found == tokenizer(text, add_special_tokens=False)["input_ids"]


def test_the_masked_loss_equals_transformers(root: Root, tmp_path: Path) -> None:
    """With a pretrained language model's folder its own head is used, tied to the embeddings: the loss is transformers'."""
    config = transformers.AutoConfig.from_pretrained(root.source)
    torch.manual_seed(3)
    pretrained = transformers.AutoModelForMaskedLM.from_config(config).eval()
    with torch.no_grad():
        pretrained.lm_head.bias.normal_()
    pretrained.save_pretrained(tmp_path)
    model.load_tokenizer(root).save_pretrained(tmp_path)
    folder = Root(str(tmp_path))
    net = network(folder, "mlm")
    items = items_of("mlm", [Example("t", ("Nairobi ni mji mkuu wa Kenya",))], folder)
    recipe = replace(RECIPE, mask_probability=0.5)
    torch.manual_seed(7)
    batch = mlm.collate(items, net.pad, recipe, len(net.index))
    with torch.inference_mode():
        found = float(net(0, batch))
        logits = pretrained(
            input_ids=batch["pieces"].masked_fill(batch["masked"], net.mask), attention_mask=(batch["pieces"] != net.pad).long()
        ).logits
        expected = float(functional.cross_entropy(logits.flatten(0, 1), batch["labels"].flatten(), reduction="sum"))
    assert found == pytest.approx(expected, rel=1e-5)


# --- all kinds

LABELS = ("0", "1", "2")
EXAMPLES = {
    "classification": [Example(str(n), (f"Nairobi {'mji ' * n}",), LABELS[n % 3]) for n in range(5)],
    "choice": [Example(str(n), (f"Juba {'mji ' * n}", "a", "Kenya", "b c"), LABELS[n % 3]) for n in range(5)],
    "tagging": [Example(str(n), ("Juba",) * (n + 1), ("1",) * (n + 1)) for n in range(5)],
    "span": [question("Nairobi, Kenya " * (n + 1), 9, 14) for n in range(5)],
}


@pytest.mark.parametrize("kind", EXAMPLES)
def test_losses_and_outputs_do_not_depend_on_what_else_is_in_the_batch(root: Root, kind: str) -> None:
    """The loss of a batch is the sum of its items' alone, and predictions are the same, though padding differs."""
    net = network(root, kind, len(LABELS))
    items = items_of(kind, EXAMPLES[kind], root, LABELS)
    functions = KINDS[kind]
    assert summed_loss(net, kind, items) == pytest.approx(sum(summed_loss(net, kind, [item]) for item in items), rel=1e-4)

    def outputs(some: list[Item]) -> list[object]:
        with torch.inference_mode():
            return functions.outputs(net, net.heads[0], functions.collate(some, net.pad, RECIPE, len(net.index)), some)

    together, alone = outputs(items), [output for item in items for output in outputs([item])]
    stored = Items.of(items)
    found = [functions.predictions(EXAMPLES[kind], stored, some, LABELS, None) for some in (together, alone)]
    assert found[0] == found[1]
    assert len(found[0]) == len(EXAMPLES[kind])
