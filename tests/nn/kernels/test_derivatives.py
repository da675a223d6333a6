"""Derivatives that are not one backward pass: forward mode, torch.func, per-row transforms, second derivatives."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad

from bayesrnn import nn as bnn
from bayesrnn import schemes

KINDS = ("LSTM", "CappedLSTM", "GRU", "RNN")
SCHEMES = {
    "untied": schemes.gal(0.3),
    "tied": schemes.gal(0.3, gates="tied"),
    "naive": schemes.naive(0.3),
    "weight_drop": schemes.weight_drop(0.3),
    "zoneout": schemes.zoneout(hidden=0.3),
}
CASES = [(kind, name, rows) for kind in KINDS for name in SCHEMES for rows in (1, 2)]


def function(
    kind: str, name: str, rows: int | None, lengths: list[int] | None = None
) -> tuple[Any, Callable[..., Any]]:
    """A layer, and x -> outputs and last states under masks of so many rows: 1 folds, None has no masks."""
    torch.manual_seed(0)
    layer = getattr(bnn, kind)(3, 4, dropout=SCHEMES[name], dtype=torch.float64).eval()
    masks = None if rows is None else layer.sample_masks(rows, seed=1, steps=5)

    def run(x: Tensor) -> Tensor:
        out, last = layer(x, masks=masks, lengths=lengths)
        return torch.cat([out.flatten(), *(s.flatten() for s in (last if kind.endswith("LSTM") else [last]))])

    return layer, run


def slope(f: Callable[[Tensor], Tensor], x: Tensor, v: Tensor, step: float = 1e-6) -> Tensor:
    return (f(x + step * v) - f(x - step * v)).detach() / (2 * step)


@pytest.mark.parametrize(("kind", "name", "rows"), [*CASES, *((kind, "untied", None) for kind in KINDS)])
@pytest.mark.parametrize("lengths", [None, [5, 2]])
def test_forward_mode_is_the_finite_difference(
    kind: str, name: str, rows: int | None, lengths: list[int] | None
) -> None:
    _, f = function(kind, name, rows, lengths)
    x, v = torch.randn(5, 2, 3, dtype=torch.float64), torch.randn(5, 2, 3, dtype=torch.float64)
    want = slope(f, x, v)
    assert want.abs().max() > 0.01
    torch.testing.assert_close(torch.func.jvp(f, (x,), (v,))[1], want, atol=1e-8, rtol=1e-6)
    with forward_ad.dual_level():
        dual = forward_ad.unpack_dual(f(forward_ad.make_dual(x, v)))
    torch.testing.assert_close(dual.tangent, want, atol=1e-8, rtol=1e-6)


@pytest.mark.parametrize(("kind", "name", "rows"), CASES)
def test_jacobians_of_both_modes_agree(kind: str, name: str, rows: int) -> None:
    _, f = function(kind, name, rows)
    x = torch.randn(5, 2, 3, dtype=torch.float64)
    torch.testing.assert_close(torch.func.jacfwd(f)(x), torch.func.jacrev(f)(x))
    torch.testing.assert_close(torch.func.jacrev(f)(x), torch.autograd.functional.jacobian(f, x))


@pytest.mark.parametrize("kind", KINDS)
def test_forward_mode_in_the_weights(kind: str) -> None:
    layer, _ = function(kind, "untied", 2)
    x = torch.randn(5, 2, 3, dtype=torch.float64)
    weight = layer.weight_hh_l0.detach()
    v = torch.randn_like(weight)

    def of(weight: Tensor) -> Tensor:
        return torch.func.functional_call(layer, {"weight_hh_l0": weight}, (x,), {"masks": masks})[0]

    masks = layer.sample_masks(2, seed=1)
    torch.testing.assert_close(torch.func.jvp(of, (weight,), (v,))[1], slope(of, weight, v), atol=1e-8, rtol=1e-6)


@pytest.mark.parametrize(("kind", "name", "rows"), [*CASES, *((kind, "untied", None) for kind in KINDS)])
def test_vmap_is_a_loop(kind: str, name: str, rows: int | None) -> None:
    _, f = function(kind, name, rows)
    many = torch.randn(3, 5, 2, 3, dtype=torch.float64)
    torch.testing.assert_close(torch.func.vmap(f)(many), torch.stack([f(x) for x in many]))


def test_the_other_layers_follow_transforms() -> None:
    words, dropout = bnn.Embedding(5, 3, dropout=0.4), bnn.Dropout(0.5)
    tokens, masks = torch.tensor([[[1, 2, 1]], [[4, 0, 4]]]), torch.tensor([[0.0, 2.0, 2.0]])
    word = torch.tensor([[2.0, 0.0, 2.0, 2.0, 0.0]])

    def embedded(t: Tensor) -> Tensor:
        return words(t, masks=word)

    torch.testing.assert_close(torch.func.vmap(embedded)(tokens), torch.stack([embedded(t) for t in tokens]))
    x = torch.randn(2, 3)
    assert torch.equal(torch.func.jvp(lambda x: dropout(x, masks=masks), (x,), (x,))[1], x * masks)


@pytest.mark.parametrize("kind", KINDS)
def test_second_derivatives_are_given_by_torch_func_and_refused_in_words_elsewhere(kind: str) -> None:
    _, f = function(kind, "untied", 2)
    x, v = torch.randn(5, 2, 3, dtype=torch.float64), torch.randn(5, 2, 3, dtype=torch.float64)
    gradient = torch.func.grad(lambda x: f(x).square().sum())
    product = torch.func.jvp(gradient, (x,), (v,))[1]
    torch.testing.assert_close(product, slope(gradient, x, v), atol=1e-7, rtol=1e-6)
    asked = x.requires_grad_()
    with pytest.raises(NotImplementedError, match=r"no second derivatives .*torch\.func\.hessian"):
        torch.autograd.grad(f(asked).square().sum(), asked, create_graph=True)
