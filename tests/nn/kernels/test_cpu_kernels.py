"""The compiled pointwise part gives what torch's operations give, forward and backward."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from bayesrnn import nn as bnn
from bayesrnn import schemes
from bayesrnn.nn.kernels.scan import cpu_kernels as native
from bayesrnn.nn.kernels.scan import fused_loop as fused
from bayesrnn.nn.kernels.scan import products as pieces

needs_compiler = pytest.mark.skipif(
    not any(shutil.which(c) for c in native._COMPILERS), reason="there is no C++ compiler"
)
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
CASES = [("LSTM", name) for name in SCHEMES] + [("GRU", name) for name, s in SCHEMES.items() if "cell" not in s.sites]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def compiled(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    before = native._wanted
    yield
    native.use_compiled(before)


def outcome(layer: Any, x: torch.Tensor, low: bool, grad: bool, masks: Any) -> list[torch.Tensor]:
    states = layer.num_layers * (2 if layer.bidirectional else 1)
    torch.manual_seed(1)
    first = [torch.randn(states, x.shape[1], layer.hidden_size) for _ in layer.cell.states]
    state = first[0] if len(first) == 1 else tuple(first)
    x = x.clone().requires_grad_(grad)
    first = [s.requires_grad_(grad) for s in first]
    with torch.set_grad_enabled(grad), torch.autocast("cpu", torch.bfloat16, enabled=low):
        out, last = layer(x, state, masks=masks)
    last = [last] if isinstance(last, torch.Tensor) else list(last)
    if not grad:
        return [out, *last]
    loss = (out * torch.linspace(-1, 1, out.numel()).view_as(out)).sum() + sum(s.square().sum() for s in last)
    return [out, *last, *torch.autograd.grad(loss, [x, *first, *layer.parameters()])]


@needs_compiler
@pytest.mark.parametrize(("kind", "name"), CASES)
@pytest.mark.parametrize("low", [False, True])
@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize(("rows", "units", "steps", "bias"), [(3, 5, 4, True), (2, 37, 6, False), (20, 160, 9, True)])
def test_compiled_agrees(
    compiled: None, kind: str, name: str, low: bool, grad: bool, rows: int, units: int, steps: int, bias: bool
) -> None:
    torch.manual_seed(0)
    layer = getattr(bnn, kind)(7, units, 2, bidirectional=True, bias=bias, dropout=SCHEMES[name])
    masks = layer.sample_masks(rows, seed=1, steps=steps)
    x = torch.randn(steps, rows, 7)
    native.use_compiled(False)
    want = outcome(layer, x, low, grad, masks)
    native.use_compiled()
    calls = []
    kernels = {k: (lambda *a, f=f: (calls.append(1), f(*a))[1]) for k, f in native._loaded.items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fused, "kernels", lambda: kernels)
        patch.setattr(pieces, "_PIECE_BYTES", 2 * rows * units * 4)  # the second layer in pieces
        got = outcome(layer, x, low, grad, masks)
    assert len(calls) == 4 * steps * (2 if grad else 1)
    for a, b in zip(got, want, strict=True):
        scale = max(1.0, b.detach().abs().max().item())
        torch.testing.assert_close(a, b, rtol=0, atol=scale * (3e-2 if low else 2e-5))


@needs_compiler
def test_gradients_are_those_of_double_precision(compiled: None) -> None:
    native.use_compiled()
    torch.manual_seed(0)
    for kind in ("LSTM", "GRU"):
        layer = getattr(bnn, kind)(6, 24, dropout=schemes.gal(0.3, gates="tied"))
        masks = layer.sample_masks(5, seed=1, steps=7)
        x = torch.randn(7, 5, 6)
        got = outcome(layer, x, False, True, masks)
        double = [m.double() for m in masks.values()]
        torch.manual_seed(1)
        want = outcome_double(layer, x, dict(zip(masks, double, strict=True)))
        for a, b in zip(got, want, strict=True):
            torch.testing.assert_close(a.double(), b, rtol=1e-5, atol=2e-6)


def outcome_double(layer: Any, x: torch.Tensor, masks: Any) -> list[torch.Tensor]:
    torch.manual_seed(1)
    first = [torch.randn(1, x.shape[1], layer.hidden_size).double().requires_grad_() for _ in layer.cell.states]
    twin = type(layer)(layer.input_size, layer.hidden_size, dropout=layer.scheme, dtype=torch.float64)
    twin.load_state_dict({k: v.double() for k, v in layer.state_dict().items()})
    x = x.double().requires_grad_()
    out, last = twin(x, first[0] if len(first) == 1 else tuple(first), masks=masks)
    last = [last] if isinstance(last, torch.Tensor) else list(last)
    weights = torch.linspace(-1, 1, out.numel()).view_as(out).double()
    loss = (out * weights).sum() + sum(s.square().sum() for s in last)
    return [out, *last, *torch.autograd.grad(loss, [x, *first, *twin.parameters()])]


@needs_compiler
@pytest.mark.parametrize("low", [False, True])
def test_extremes_saturate_and_nan_is_kept(compiled: None, low: bool) -> None:
    native.use_compiled()
    for kind in ("LSTM", "GRU"):
        layer = getattr(bnn, kind)(1, 20, dropout=schemes.gal(hidden=0.5, gates="tied")).eval()
        masks = layer.sample_masks(3, seed=0, steps=2)
        x = torch.tensor([1e4, -1e4, float("nan")]).view(1, 3, 1).repeat(2, 1, 1)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=low):
            out, _ = layer(x, masks=masks)
        assert out[:, :2].isfinite().all()
        assert out[:, 2].isnan().all()


@needs_compiler
def test_what_it_does_not_serve_goes_the_plain_way(compiled: None) -> None:
    native.use_compiled()
    for layer, x in (
        (bnn.LSTM(3, 4, dropout=schemes.zoneout(0.3, 0.3)), torch.randn(5, 2, 3)),
        (bnn.LSTM(3, 4, dropout=schemes.gal(0.3), dtype=torch.float64), torch.randn(5, 2, 3).double()),
        (bnn.RNN(3, 4, dropout=schemes.gal(0.3)), torch.randn(5, 2, 3)),
    ):
        drawn = layer.sample_masks(2, seed=0, steps=5)
        got = layer(x, masks=drawn)[0]
        native.use_compiled(False)
        assert torch.equal(got, layer(x, masks=drawn)[0])
        native.use_compiled()
    layer = bnn.GRU(3, 4, dropout=schemes.gal(0.3))
    drawn = layer.sample_masks(2, seed=0, steps=5)
    x = torch.randn(5, 2, 3)
    got = layer(x, lengths=[5, 2], masks=drawn)[0]
    native.use_compiled(False)
    assert torch.equal(got, layer(x, lengths=[5, 2], masks=drawn)[0])


def test_without_a_compiler_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "_loaded", {})
    monkeypatch.setattr(native.shutil, "which", lambda _: None)
    monkeypatch.setattr(native, "_wanted", False)
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(RuntimeError, match=r"need a C\+\+ compiler.*Install one"):
        native.use_compiled()
    assert native.kernels() is None


@needs_compiler
def test_a_failed_compilation_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "_loaded", {})
    monkeypatch.setattr(native, "_FOLDER", tmp_path)
    monkeypatch.setattr(native, "_SOURCES", ("broken.cpp",))
    monkeypatch.setattr(native, "_HEADERS", ())
    (tmp_path / "broken.cpp").write_text("this is no C++", encoding="utf-8")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(RuntimeError, match="could not compile"):
        native.use_compiled()
    assert list((tmp_path / "cache" / "bayesrnn").iterdir()) == []
