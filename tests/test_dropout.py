"""Dropout on processors: torch's own, drawn faster."""

from __future__ import annotations

import pytest
import torch
from scipy import stats
from torch import nn
from torch.nn import functional

from raystilts import dropout
from raystilts.dropout import FastDropout, attention, fast_dropout, kept, scale_of

SHAPES = ((4, 3, 5, 8), (4, 3, 7, 8))  # of queries, of keys


@pytest.mark.parametrize("p", [0.1, 0.25, 0.5, 0.9])
def test_units_are_dropped_with_their_probability(p: float) -> None:
    """Of a million units the share that is dropped is p, in a binomial test, also among those beside a dropped one and in every quarter of
    a random word; means stay.
    """
    torch.manual_seed(0)
    values = torch.ones(1_000_001)
    dropped = ~kept(values, p)
    parts = [dropped, dropped[1:][dropped[:-1]], *(dropped[place::4] for place in range(4))]
    for part in parts:
        assert stats.binomtest(int(part.sum()), len(part), p).pvalue > 1e-4
    assert abs(float(dropout.dropout(values, p).mean()) - 1) < 5 * (p / (1 - p)) ** 0.5 / 1000
    assert scale_of(p) == pytest.approx(1 / (1 - p), rel=1e-4)


def test_masks_are_functions_of_torchs_generator() -> None:
    """The same state of torch's generator gives the same masks, the next call others."""
    torch.manual_seed(1)
    state, values = torch.get_rng_state(), torch.ones(1000)
    first, second = kept(values, 0.5), kept(values, 0.5)
    torch.set_rng_state(state)
    assert torch.equal(first, kept(values, 0.5))
    assert not torch.equal(first, second)


def test_modules_and_gradients() -> None:
    """Within it, nn.Dropout drops so: what is kept is scaled, gradients go through what is kept alone; evaluation and p = 0 change
    nothing, p = 1 leaves nothing.
    """
    values = torch.randn(50, 20, requires_grad=True)
    with FastDropout():
        torch.manual_seed(2)
        out = nn.Dropout(0.3)(values)
        assert torch.equal(nn.Dropout(0.3).eval()(values), values)
        assert torch.equal(nn.Dropout(0.0)(values), values)
        assert not nn.Dropout(1.0)(values).any()
    torch.manual_seed(2)
    factor = kept(values, 0.3) * scale_of(0.3)
    assert torch.equal(out, values * factor)
    (gradient,) = torch.autograd.grad(out.sum(), values)
    assert torch.equal(gradient, factor)


@pytest.mark.parametrize("masked", [None, "bool", "added"])
def test_attention_is_torchs(masked: str | None) -> None:
    """Where nothing is dropped it is torch's, masked keys or not, gradients too; a row whose keys are all hidden is finite."""
    torch.manual_seed(3)
    query, key, value = (torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in (SHAPES[0], SHAPES[1], SHAPES[1]))
    hidden = torch.rand(4, 1, 5, 7) < 0.3
    mask = {None: None, "bool": ~hidden, "added": torch.zeros(hidden.shape, dtype=torch.float64).masked_fill(hidden, -1e9)}[masked]
    theirs, ours = functional.scaled_dot_product_attention(query, key, value, mask), attention(query, key, value, mask)
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0)
    for one, other in zip(*(torch.autograd.grad(out.square().sum(), (query, key, value)) for out in (ours, theirs)), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=0)
    assert attention(query, key, value, torch.zeros(4, 1, 5, 7, dtype=torch.bool)).isfinite().all()


def test_attention_drops_shares() -> None:
    """With dropout each output is the sum of the values of what is kept, by their scaled shares; its mean over masks is torch's without."""
    torch.manual_seed(4)
    query, key, value = torch.randn(SHAPES[0]), torch.randn(SHAPES[1]), torch.randn(SHAPES[1])
    with FastDropout():
        outs = torch.stack([functional.scaled_dot_product_attention(query, key, value, dropout_p=0.2) for _ in range(2000)])
    error = outs.std(0) / 2000**0.5
    assert ((outs.mean(0) - functional.scaled_dot_product_attention(query, key, value)).abs() < 5 * error).all()
    torch.manual_seed(5)
    out = attention(query, key, value, dropout_p=0.2)
    torch.manual_seed(5)
    shares = (query @ key.transpose(-2, -1) / 8**0.5).softmax(-1)
    torch.testing.assert_close(out, (shares * kept(shares, 0.2) * scale_of(0.2)) @ value)


def test_gpus_keep_their_own() -> None:
    """Only processors' dropout is replaced, and of it what encoders do: the rest is torch's, mask by mask."""
    assert not isinstance(fast_dropout(torch.device("cuda")), FastDropout)
    assert isinstance(fast_dropout(torch.device("cpu")), FastDropout)
    query, groups = torch.randn(SHAPES[0]), torch.randn(SHAPES[0][0], 1, *SHAPES[0][2:])
    for call in (
        lambda: functional.scaled_dot_product_attention(query, query, query, dropout_p=0.1, is_causal=True),
        lambda: functional.scaled_dot_product_attention(query, groups, groups, dropout_p=0.1, enable_gqa=True),
        lambda: functional.dropout(query.clone(), 0.1, inplace=True),
    ):
        torch.manual_seed(7)
        theirs = call()
        torch.manual_seed(7)
        with FastDropout():
            assert torch.equal(call(), theirs)
