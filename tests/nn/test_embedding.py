"""Word-type masks: one per word type and sequence, at every place, never on padding or on the decoder's side."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bayesrnn import nn as bnn
from bayesrnn.masks import Binding, stream
from bayesrnn.nn.masked import bound


def binding(draws: int, rows: int, shared: bool = False, sampling: str = "stratified") -> Binding:
    return Binding(stream(sampling, 0), torch.arange(draws), torch.arange(rows), shared)


def kept(layer: bnn.Embedding, tokens: torch.Tensor) -> torch.Tensor:
    """What each vector was multiplied by, for a layer whose weights are 1."""
    with torch.no_grad():
        layer.weight.fill_(1.0)
    return layer(tokens)[..., 0].detach()


@given(tokens=st.lists(st.lists(st.integers(0, 4), min_size=6, max_size=6), min_size=1, max_size=4), mode=st.booleans())
def test_a_word_falls_at_all_its_places_or_at_none(tokens: list[list[int]], mode: bool) -> None:
    values, layer = torch.tensor(tokens), bnn.Embedding(5, 3, dropout=0.5)
    if mode:
        factors = kept(layer, values)
    else:
        with bound(layer.eval(), binding(1, len(tokens))):
            factors = kept(layer, values)
    for row, line in zip(factors, values):
        for word in range(5):
            assert len(set(row[line == word].tolist())) <= 1
    assert set(factors.flatten().tolist()) <= {0.0, 2.0}


@pytest.mark.parametrize("sampling", ["independent", "stratified"])
def test_masks_of_words_are_those_of_single_draws_and_windows(sampling: str) -> None:
    layer, tokens = bnn.Embedding(50, 2, dropout=0.4).eval(), torch.randint(0, 50, (3, 8))
    many = binding(20, 3, sampling=sampling)
    with bound(layer, many):
        whole = kept(layer, tokens.repeat(20, 1)).view(20, 3, 8)
    with bound(layer, many):
        window = kept(layer, tokens[:, 2:5].repeat(20, 1)).view(20, 3, 3)
    assert torch.equal(whole[:, :, 2:5], window)
    for draw in (0, 7, 19):
        with bound(layer, Binding(many.stream, torch.tensor([draw]), torch.tensor([2]))):
            assert torch.equal(kept(layer, tokens[2:])[0], whole[draw, 2])
    different = tokens.repeat(20, 1)
    different[-1] = torch.randint(0, 50, (8,))  # the draws no longer read the same words
    with bound(layer, many):
        assert torch.equal(kept(layer, different).view(20, 3, 8)[:-1], whole[:-1])
    assert abs(float((whole == 0).float().mean()) - 0.4) < 0.1


def test_shared_masks_are_one_for_all_rows() -> None:
    layer = bnn.Embedding(30, 2, dropout=0.5).eval()
    tokens = torch.arange(30).repeat(2 * 3, 1)
    with bound(layer, binding(2, 3, shared=True)):
        factors = kept(layer, tokens).view(2, 3, 30)
    assert torch.equal(factors[:, :1].expand(-1, 3, -1), factors)
    assert not torch.equal(factors[0], factors[1])


@pytest.mark.parametrize("mode", [True, False])
def test_sequences_drop_words_of_their_own(mode: bool) -> None:
    layer, tokens = bnn.Embedding(40, 2, dropout=0.5), torch.arange(40).repeat(100, 1)
    if mode:
        factors = kept(layer, tokens)
    else:
        with bound(layer.eval(), binding(1, 100)):
            factors = kept(layer, tokens)
    agree = torch.stack([(a == b).float().mean() for a, b in itertools.pairwise(factors)])
    assert abs(float(agree.mean()) - 0.5) < 4 * 0.5 / (99 * 40) ** 0.5
    assert agree.max() < 1.0


def test_padding_is_never_dropped() -> None:
    layer = bnn.Embedding(5, 2, padding_idx=1, dropout=0.9)
    factors = kept(layer, torch.ones(200, 3, dtype=torch.long))
    assert set(factors.flatten().tolist()) == {1.0}


def test_time_first_and_one_sequence() -> None:
    tokens = torch.tensor([[1, 2, 1, 2], [2, 2, 1, 1]])
    masks = torch.tensor([[1.0, 2.0, 0.0], [1.0, 0.0, 2.0]])
    want = torch.tensor([[2.0, 0.0, 2.0, 0.0], [2.0, 2.0, 0.0, 0.0]])
    for layer, given_tokens, back in (
        (bnn.Embedding(3, 2, dropout=0.5), tokens, lambda v: v),
        (bnn.Embedding(3, 2, dropout=0.5, batch_first=False), tokens.t(), lambda v: v.transpose(0, 1)),
    ):
        layer.weight.data.fill_(1.0)
        assert torch.equal(back(layer(given_tokens, masks=masks))[..., 0], want)
    single = bnn.Embedding(3, 2, dropout=0.5)
    single.weight.data.fill_(1.0)
    assert torch.equal(single(tokens[0], masks=masks[:1])[:, 0], want[0])


def test_a_shared_decoder_is_not_masked() -> None:
    layer, decoder = bnn.Embedding(5, 3, dropout=0.9), torch.nn.Linear(3, 5, bias=False)
    decoder.weight = layer.weight
    x = torch.randn(2, 3)
    assert torch.equal(decoder(x), x @ layer.weight.t())


def test_eval_without_masks_and_rate_zero_look_up() -> None:
    tokens = torch.randint(0, 5, (2, 4))
    for layer in (bnn.Embedding(5, 3, dropout=0.5).eval(), bnn.Embedding(5, 3).train()):
        assert torch.equal(layer(tokens), layer.weight[tokens])


def test_bad_tokens_and_masks() -> None:
    layer = bnn.Embedding(5, 3, dropout=0.5)
    with pytest.raises(ValueError, match="whole numbers of shape"):
        layer(torch.zeros(2, 3))
    with pytest.raises(ValueError, match=r"must lie in 0..4, but they reach from -1 to 7"):
        layer(torch.tensor([[-1, 7]]))
    with pytest.raises(ValueError, match=r"must have shape \(2, 5\)"):
        layer(torch.zeros(2, 3, dtype=torch.long), masks=torch.ones(2, 4))
    with bound(layer, binding(2, 2)), pytest.raises(ValueError, match=r"bound to 4 rows .* given 3"):
        layer(torch.zeros(3, 3, dtype=torch.long))
