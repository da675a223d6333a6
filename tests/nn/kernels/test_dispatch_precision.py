"""Gradients, precision and compilers through every path of a layer."""

import copy
import shutil
import warnings

import pytest
import torch

from bayesrnn.nn.kernels.scan import scan
from tests.nn.kernels.layer_cases import SCHEMES, build
from tests.nn.masks import site_masks

ONLY_LSTM = ("moon", "zoneout")


@pytest.mark.parametrize("kind", ["LSTM", "CappedLSTM", "GRU", "RNN"])
@pytest.mark.parametrize("name", ["tied", "untied", "naive", "zoneout hidden", "moon"])
def test_gradcheck(kind: str, name: str) -> None:
    if name in ONLY_LSTM and not kind.endswith("LSTM"):
        pytest.skip("no memory cell")
    layer = build(kind, SCHEMES[name], 2, 3)
    masks = site_masks(layer, layer.sample_masks(2, seed=0, steps=3), 2, 3)
    x = torch.randn(3, 2, 2, dtype=torch.float64, requires_grad=True)
    state = tuple(torch.randn(2, 3, dtype=torch.float64, requires_grad=True) for _ in layer.cell.states)
    weights = layer._weights(0, "")

    def function(*leaves: torch.Tensor) -> tuple[torch.Tensor, ...]:
        states = len(layer.cell.states)
        out, last = scan(layer.cell, leaves[0], leaves[1 : 1 + states], leaves[1 + states :], masks)
        return out, *last

    assert torch.autograd.gradcheck(function, (x, *state, *weights))


def test_masks_that_ask_for_a_gradient_get_one() -> None:
    layer = build("GRU", SCHEMES["tied"])
    masks = {key: mask.requires_grad_() for key, mask in layer.sample_masks(2, seed=0).items()}
    layer(torch.randn(4, 2, 3, dtype=torch.float64), masks=masks)[0].sum().backward()
    assert all(mask.grad is not None and mask.grad.abs().sum() > 0 for mask in masks.values())


@pytest.mark.parametrize("kind", ["LSTM", "CappedLSTM", "GRU", "RNN"])
@pytest.mark.parametrize("name", ["tied", "untied", "none"])
def test_autocast_makes_products_in_bfloat16_and_keeps_float32(kind: str, name: str) -> None:
    torch.manual_seed(0)
    layer = build(kind, SCHEMES[name], 16, 32, dtype=torch.float32)
    x = torch.randn(10, 6, 16, requires_grad=True)
    masks = layer.sample_masks(6, seed=0)
    results = []
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            out, _ = layer(x, masks=masks)
        assert out.dtype == torch.float32
        results.append((out, *torch.autograd.grad(out.square().sum(), [x, *layer.parameters()])))
    assert not torch.equal(results[0][0], results[1][0])
    for exact, low in zip(*results, strict=True):
        assert (exact - low).norm() < 0.03 * exact.norm()


def test_layer_in_bfloat16() -> None:
    layer = build("LSTM", SCHEMES["untied"], 8, 16, dtype=torch.float32)
    masks, x = layer.sample_masks(3, seed=0), torch.randn(5, 3, 8)
    low = copy.deepcopy(layer).bfloat16()
    out, (h, c) = low(x.bfloat16(), masks=masks)
    assert out.dtype == h.dtype == c.dtype == torch.bfloat16
    torch.testing.assert_close(out.float(), layer(x, masks=masks)[0], atol=0.02, rtol=0.05)


def test_float64_stays_float64_under_autocast() -> None:
    layer = build("LSTM", SCHEMES["tied"])
    x, masks = torch.randn(4, 2, 3, dtype=torch.float64), layer.sample_masks(2, seed=0)
    want = layer(x, masks=masks)[0]
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(layer(x, masks=masks)[0], want)


def test_no_gradient_is_made_for_an_input_that_wants_none() -> None:
    layer = build("GRU", SCHEMES["tied"])
    x = torch.randn(4, 2, 3, dtype=torch.float64)
    layer(x, masks=layer.sample_masks(2, seed=0))[0].sum().backward()
    assert x.grad is None
    assert all(p.grad is not None for p in layer.parameters())


def test_backward_twice_through_a_retained_graph() -> None:
    layer = build("LSTM", SCHEMES["untied"])
    out = layer(torch.randn(4, 2, 3, dtype=torch.float64), masks=layer.sample_masks(2, seed=0))[0].sum()
    first = torch.autograd.grad(out, list(layer.parameters()), retain_graph=True)
    torch.testing.assert_close(first, torch.autograd.grad(out, list(layer.parameters())))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_compile_without_a_graph_break(kind: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        layer = build(kind, SCHEMES["untied"], dtype=torch.float32)
        x, masks = torch.randn(4, 2, 3), layer.sample_masks(2, seed=0)
        want = layer(x, masks=masks)[0]
        compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
        got = compiled(x, masks=masks)[0]
        torch.testing.assert_close(got, want)
        a = torch.autograd.grad(got.sum(), list(layer.parameters()))
        torch.testing.assert_close(a, torch.autograd.grad(want.sum(), list(layer.parameters())))
        fresh = compiled(x)[0]
        assert not torch.equal(fresh, compiled(x)[0])
        assert fresh.shape == want.shape


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch's default compiler needs a C++ compiler")
@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_the_default_compiler_takes_a_model_with_and_without_masks(kind: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch._dynamo.reset()
        layer = build(kind, SCHEMES["tied"], dtype=torch.float32)
        model = torch.nn.Sequential(torch.nn.Linear(3, 3), layer)
        compiled, x = torch.compile(model, fullgraph=True), torch.randn(4, 2, 3)
        torch.testing.assert_close(compiled.eval()(x)[0], model.eval()(x)[0], rtol=1e-5, atol=1e-5)
        compiled.train()(x)[0].sum().backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
