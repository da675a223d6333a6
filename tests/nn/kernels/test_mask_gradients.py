"""Gradients of masks through the scan: those of the plain loop."""

import pytest
import torch

from bayesrnn import nn as bnn
from bayesrnn import schemes
from bayesrnn.nn.kernels import dispatch
from bayesrnn.nn.kernels.reference import reference

SCHEMES = {
    "untied": schemes.gal(0.3),
    "tied": schemes.gal(0.3, gates="tied"),
    "hidden": schemes.gal(hidden=0.3),
    "naive": schemes.naive(0.3),
    "moon": schemes.moon(0.3),
    "semeniuta": schemes.semeniuta(0.3),
}


def gradients(layer, masks, x, lengths, dtype):
    leaves = {key: mask.detach().clone().requires_grad_() for key, mask in masks.items()}
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float64):
        out, last = layer(x, masks=leaves, lengths=lengths)
    total = (out.double() * torch.arange(out.numel()).view(out.shape).sin()).sum()
    total = total + sum(s.double().square().sum() for s in (last if isinstance(last, tuple) else [last]))
    return torch.autograd.grad(total, list(leaves.values()))


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("name", SCHEMES)
@pytest.mark.parametrize(("rows", "lengths"), [(3, None), (3, [5, 2, 4]), (1, None), (1, [2, 5, 4])])
def test_the_scan_gives_the_gradients_of_the_plain_loop(monkeypatch, kind, name, rows, lengths):
    if name in ("moon", "semeniuta") and kind != "LSTM":
        pytest.skip("no such site")
    torch.manual_seed(0)
    options = {"bidirectional": True, "dropout": SCHEMES[name], "dtype": torch.float64}
    layer = getattr(bnn, kind)(3, 4, 2, **options).eval().requires_grad_(False)
    masks = layer.sample_masks(rows, seed=1, steps=5)
    x = torch.randn(5, 3, 3, dtype=torch.float64)
    scanned = gradients(layer, masks, x, lengths, torch.float64)
    monkeypatch.setattr(dispatch, "_serves_stock", lambda *_: False)
    monkeypatch.setattr(dispatch, "scan", reference)
    for a, b in zip(scanned, gradients(layer, masks, x, lengths, torch.float64)):
        assert b.abs().max() > 1e-3
        torch.testing.assert_close(a, b)


def test_products_in_bfloat16_give_them_roughly():
    torch.manual_seed(0)
    layer = bnn.LSTM(8, 16, dropout=0.3).eval()
    masks, x = layer.sample_masks(4, seed=1), torch.randn(6, 4, 8)
    exact = gradients(layer.double(), {k: m.double() for k, m in masks.items()}, x.double(), None, torch.float64)
    for low, want in zip(gradients(layer.float(), masks, x, None, torch.bfloat16), exact):
        assert (low - want).norm() < 0.03 * want.norm()
