"""Packed weights give the products that plain ones give, and are used where they were meant to be."""

import pytest
import torch

from bayesrnn import nn as bnn
from bayesrnn import schemes
from bayesrnn.nn.kernels.scan import library, products
from bayesrnn.nn.kernels.scan import packed as packing
from bayesrnn.nn.kernels.scan.packed import packed
from bayesrnn.nn.kernels.scan.products import GateProduct, turned
from bayesrnn.nn.precision import multiplies_bfloat16

UNITS, ROWS, STEPS = 160, 20, 10


def outcome(layer: torch.nn.Module, x: torch.Tensor, lengths: list[int] | None, low: bool) -> list[torch.Tensor]:
    masks = layer.sample_masks(ROWS, seed=1, steps=STEPS)
    x = x.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=low):
        out, _ = layer(x, lengths=lengths, masks=masks)
    return [out, *torch.autograd.grad(out.float().square().sum(), [x, *layer.parameters()])]


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("gates", ["tied", "untied"])
@pytest.mark.parametrize("lengths", [None, [10] * 15 + [3] * 5])
@pytest.mark.parametrize("low", [False, True])
def test_a_layer_with_packed_weights_gives_the_same(
    kind: str, gates: str, lengths: list[int] | None, low: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind == "RNN" and gates == "untied":
        pytest.skip("one gate has nothing to untie")
    monkeypatch.setattr(library, "_wanted", False)
    monkeypatch.setattr(packing, "_SMALLEST", 1)
    torch.manual_seed(0)
    layer = getattr(bnn, kind)(UNITS, UNITS, 2, dropout=schemes.gal(0.3, gates=gates))
    x = torch.randn(STEPS, ROWS, UNITS)
    used = []
    monkeypatch.setattr(products, "packed", lambda *a: used.append(packed(*a)) or used[-1])
    got = outcome(layer, x, lengths, low)
    offered = not low or (gates == "tied" and multiplies_bfloat16())
    assert any(used) == offered
    monkeypatch.setattr(products, "packed", lambda *_: [])
    want = outcome(layer, x, lengths, low)
    for a, b in zip(got, want, strict=True):
        scale = b.detach().abs().max().item()
        torch.testing.assert_close(a, b, rtol=0, atol=scale * (2e-2 if low else 1e-5))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("count", [1, 4])
def test_packed_products_are_products(dtype: torch.dtype, count: int) -> None:
    weights = [torch.randn(300, 250, dtype=dtype) for _ in range(count)]
    made = packed(weights, ROWS, 35)
    assert len(made) == (count if dtype == torch.float32 and torch.backends.mkl.is_available() else 0)
    x = torch.randn(ROWS, 250, dtype=dtype)
    for product, weight in zip(made, weights, strict=False):
        torch.testing.assert_close(product(x), (x.double() @ weight.double().T).to(dtype), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(("rows", "steps"), [(20, 3), (2, 35), (5000, 35)])
def test_nothing_is_packed_where_it_does_not_pay(rows: int, steps: int) -> None:
    assert packed([torch.randn(600, 200)], rows, steps) == []


def test_a_product_of_other_rows_than_planned_is_made_too() -> None:
    weight = torch.randn(4 * 150, 150)
    product = GateProduct(weight, 4, False, torch.float32, ROWS, 35, at_once=False)
    for rows in (ROWS, 7):
        target, x = torch.zeros(rows, 4, 150), torch.randn(rows, 150)
        product.add_(target, x, None)
        torch.testing.assert_close(target.flatten(1), x @ weight.T, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("shape", [(5, 3), (4, 5, 3), (1, 7)])
def test_turned_is_the_transpose_laid_out(shape: tuple[int, ...]) -> None:
    value = torch.randn(shape)
    got = turned(value)
    torch.testing.assert_close(got, value.mT)
    assert got.is_contiguous()
