"""`proj_size`: torch's results without masks, and masks on the projected state."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import bayesrnn as br
from bayesrnn import schemes
from tests.nn.oracle import gate_mask, sigmoid

SCHEMES = {
    "untied": schemes.gal(0.4),
    "tied": schemes.gal(0.4, gates="tied"),
    "naive": schemes.naive(0.4),
    "moon": schemes.moon(0.4),
    "weight_drop": schemes.weight_drop(0.4),
    "zoneout": schemes.zoneout(0.4, 0.3),
}


@pytest.mark.parametrize("bidirectional", [False, True])
def test_without_masks_a_projected_layer_is_torchs_and_converts(bidirectional: bool) -> None:
    options: dict[str, Any] = {"num_layers": 2, "bidirectional": bidirectional, "batch_first": True, "proj_size": 2}
    torch.manual_seed(0)
    old = nn.LSTM(3, 5, **options)
    torch.manual_seed(0)
    new = br.nn.LSTM(3, 5, dropout=0.3, **options)
    assert [(n, p.tolist()) for n, p in old.named_parameters()] == [(n, p.tolist()) for n, p in new.named_parameters()]
    new = br.convert(old, 0.3).eval()
    x = torch.randn(4, 6, 3)
    state = torch.randn(4 if bidirectional else 2, 4, 2), torch.randn(4 if bidirectional else 2, 4, 5)
    torch.testing.assert_close(new(x, state), old(x, state), rtol=0, atol=0)
    packed = nn.utils.rnn.pack_padded_sequence(x, torch.tensor([6, 2, 5, 1]), batch_first=True, enforce_sorted=False)
    torch.testing.assert_close(new(packed)[1], old(packed)[1])
    assert repr(br.revert(new)) == repr(old)
    assert [[w.shape for w in layer] for layer in new.all_weights] == [[w.shape for w in ws] for ws in old.all_weights]


@pytest.mark.parametrize("name", SCHEMES)
def test_masks_act_on_the_projected_state(name: str) -> None:
    layer = br.nn.LSTM(3, 5, dropout=SCHEMES[name], proj_size=2).double().eval()
    masks = layer.sample_masks(2, seed=0, steps=4)
    places = layer.placements()
    numbers = {key: mask.numpy() for key, mask in masks.items()}

    def at(site: str, t: int, gate: int, row: int) -> Any:
        place = places.get(f"{site}_l0")
        if place is None:
            return 1.0 if not site.startswith("keep") else 0.0
        step, untied = place.span == "step", place.gates == "untied"
        return gate_mask(numbers, f"{site}_l0", t, gate, row, step=step, untied=untied)

    w, u, b, d, r = (p.detach().numpy() for p in layer.parameters())
    u = u * numbers.get("weight_hh_l0", 1.0)
    x = torch.randn(4, 2, 3, dtype=torch.float64)
    want = np.zeros((4, 2, 2))
    for row in range(2):
        h, c = np.zeros(2), np.zeros(5)
        for t in range(4):
            products = [
                w[k * 5 : k * 5 + 5] @ (x[t, row].numpy() * at("input", t, k, row)) + b[k * 5 : k * 5 + 5]
                + u[k * 5 : k * 5 + 5] @ (h * at("hidden", t, k, row)) + d[k * 5 : k * 5 + 5]
                for k in range(4)
            ]  # fmt: skip
            i, f, g, o = products
            new = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            projected = r @ (sigmoid(o) * np.tanh(new * at("cell", t, 0, row)))
            keep_c, keep_h = at("keep_cell", t, 0, row), at("keep_hidden", t, 0, row)
            c, h = keep_c * c + (1 - keep_c) * new, keep_h * h + (1 - keep_h) * projected
            want[t, row] = h
    output, (last, _) = layer(x, masks=masks)
    np.testing.assert_allclose(output.detach().numpy(), want, atol=1e-12)
    assert torch.equal(last[0], output[-1])


def test_a_projected_layer_is_predicted_and_trained() -> None:
    net = br.nn.LSTM(3, 5, 2, dropout=0.3, bidirectional=True, batch_first=True, proj_size=2)
    x = torch.randn(4, 6, 3)
    predictive = br.predict(net, x, draws=8, lengths=[6, 3, 2, 5], likelihood=lambda out: br.inference.point(out[0]))
    assert predictive.mean.shape == (4, 6, 4)
    assert (predictive.draws[:, 1, 3:] == 0.0).all()
    net.train()(x)[0].sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())
    with pytest.raises(ValueError, match="proj_size must be smaller than hidden_size=5, but 5"):
        br.nn.LSTM(3, 5, proj_size=5)
    with pytest.raises(ValueError, match=r"state h must have shape \(4, 4, 2\)"):
        net(x, (torch.zeros(4, 4, 5), torch.zeros(4, 4, 5)))
