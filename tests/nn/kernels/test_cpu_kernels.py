"""The compiled pointwise part of bfloat16 steps gives what torch's operations give, forward and backward."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from bayesrnn import nn as bnn
from bayesrnn import schemes
from bayesrnn.nn.kernels.scan import fused_loop as fused
from bayesrnn.nn.kernels.scan import library as native
from bayesrnn.nn.kernels.scan import products as pieces

needs_compiler = pytest.mark.skipif(native.kernels() is None, reason="there is no C++ compiler")
SCHEMES = {
    "zaremba": schemes.zaremba(0.4),
    "naive": schemes.naive(0.4),
    "naive untied": schemes.naive(0.4, gates="untied"),
    "tied": schemes.gal(0.4, gates="tied"),
    "untied": schemes.gal(0.4),
    "hidden only": schemes.gal(hidden=0.5, gates="untied"),
    "moon": schemes.moon(0.4),
    "cells by step": schemes.Scheme(
        "some", (schemes.Placement("cell", 0.4, "step"), schemes.Placement("hidden", 0.3, "sequence"))
    ),
}
CASES = [(kind, name) for kind in ("LSTM", "CappedLSTM") for name in SCHEMES] + [
    ("GRU", name) for name, s in SCHEMES.items() if "cell" not in s.sites
]


@pytest.fixture
def compiled() -> Iterator[None]:
    yield
    native.use_compiled()


def outcome(layer: Any, x: torch.Tensor, grad: bool, masks: Any) -> list[torch.Tensor]:
    states = layer.num_layers * (2 if layer.bidirectional else 1)
    torch.manual_seed(1)
    first = [torch.randn(states, x.shape[1], layer.hidden_size) for _ in layer.cell.states]
    state = first[0] if len(first) == 1 else tuple(first)
    x = x.clone().requires_grad_(grad)
    first = [s.requires_grad_(grad) for s in first]
    with torch.set_grad_enabled(grad), torch.autocast("cpu", torch.bfloat16):
        out, last = layer(x, state, masks=masks)
    last = [last] if isinstance(last, torch.Tensor) else list(last)
    if not grad:
        return [out, *last]
    loss = (out * torch.linspace(-1, 1, out.numel()).view_as(out)).sum() + sum(s.square().sum() for s in last)
    return [out, *last, *torch.autograd.grad(loss, [x, *first, *layer.parameters()])]


@needs_compiler
@pytest.mark.parametrize(("kind", "name"), CASES)
@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize(("rows", "units", "steps", "bias"), [(3, 5, 4, True), (2, 37, 6, False), (20, 160, 9, True)])
def test_compiled_agrees(
    compiled: None, kind: str, name: str, grad: bool, rows: int, units: int, steps: int, bias: bool
) -> None:
    torch.manual_seed(0)
    layer = getattr(bnn, kind)(7, units, 2, bidirectional=True, bias=bias, dropout=SCHEMES[name])
    masks = layer.sample_masks(rows, seed=1, steps=steps)
    x = torch.randn(steps, rows, 7)
    native.use_compiled(False)
    want = outcome(layer, x, grad, masks)
    native.use_compiled()
    calls = []
    kernels = {k: (lambda *a, f=f: (calls.append(1), f(*a))[1]) for k, f in native._loaded.items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fused, "kernels", lambda: kernels)
        patch.setattr(pieces, "_PIECE_BYTES", 2 * rows * units * 4)  # the second layer in pieces
        got = outcome(layer, x, grad, masks)
    assert len(calls) == 4 * steps * (2 if grad else 1)
    for a, b in zip(got, want, strict=True):
        scale = max(1.0, b.detach().abs().max().item())
        torch.testing.assert_close(a, b, rtol=0, atol=scale * 3e-2)
