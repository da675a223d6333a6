"""Leaving out dropped units agrees with multiplying by 0."""

import pytest
import torch

import bayesrnn as br
from bayesrnn.nn.kernels.dispatch import _stacked
from bayesrnn.nn.kernels.dropped_columns import compact, pays
from bayesrnn.nn.kernels.reference import reference

LAYERS = [br.nn.LSTM, br.nn.GRU, br.nn.RNN]


def stack(layer, masks=None):
    masks = layer.sample_masks(1, seed=3) if masks is None else masks
    return [(layer._weights(*place), own) for place, own in layer._site_masks(1, 1, masks)]


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("gates", ["tied", "untied"])
@pytest.mark.parametrize("sites", [{"input": 0.5, "hidden": 0.5}, {"hidden": 0.4}, {"input": 0.6}])
@pytest.mark.parametrize("bias", [True, False])
def test_compact_agrees_with_the_reference(kind, gates, sites, bias):
    scheme = br.schemes.gal(**sites, gates=gates)
    layer = kind(4, 6, 2, bias=bias, bidirectional=True, dropout=scheme).double()
    layers, x = stack(layer), torch.randn(5, 9, 4, dtype=torch.float64)
    states = tuple(torch.randn(4, 9, 6, dtype=torch.float64) for _ in layer.cell.states)
    with torch.no_grad():
        found = _stacked(compact, layer.cell, x, states, layers, None, True)
        wanted = _stacked(reference, layer.cell, x, states, layers, None, True)
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)


def test_a_mask_that_drops_everything_leaves_the_biases():
    layer = br.nn.GRU(3, 4, dropout=br.schemes.gal(hidden=0.5, gates="tied")).double()
    masks = {"hidden_l0": torch.zeros(1, 4, dtype=torch.float64)}
    layers = stack(layer, masks)
    x, states = torch.randn(5, 2, 3, dtype=torch.float64), (torch.randn(1, 2, 4, dtype=torch.float64),)
    with torch.no_grad():
        found = _stacked(compact, layer.cell, x, states, layers, None, False)
        torch.testing.assert_close(found, _stacked(reference, layer.cell, x, states, layers, None, False))


def test_it_serves_what_it_can_and_no_more():
    layer = br.nn.LSTM(3, 8, dropout=br.schemes.gal(hidden=0.5, gates="tied"))
    (_, masks), x = stack(layer)[0], torch.randn(5, 64, 3)
    with torch.no_grad():
        half = masks.__class__(hidden=torch.tensor([0.0, 2.0] * 4).view(1, 1, 1, 8))
        assert pays(x, half, None)
        assert not pays(x[:, :2], half, None)
        assert not pays(x, half, torch.tensor([5] * 64))
        assert not pays(x, masks.__class__(hidden=torch.full((1, 1, 1, 8), 1.1)), None)
    assert not pays(x, half, None)
    with pytest.raises(ValueError, match="served by the fold"):
        compact(layer.cell, x, (x, x), layer._weights(0, ""), half, lengths=torch.tensor([5] * 64))


def test_the_layer_takes_it_by_itself():
    layer = br.nn.LSTM(3, 8, dropout=br.schemes.gal(input=0.5, hidden=0.5)).double()
    masks, x = layer.sample_masks(1, seed=0), torch.randn(5, 64, 3, dtype=torch.float64)
    with torch.no_grad():
        quick = layer(x, masks=masks)[0]
    slow = layer(x, masks=masks)[0]
    torch.testing.assert_close(quick, slow.detach(), rtol=1e-12, atol=1e-12)
