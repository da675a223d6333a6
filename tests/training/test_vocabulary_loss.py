"""The loss that carries its gradient, against torch's cross entropy."""

import pytest
import torch
from torch.nn import functional as F

from bayesrnn.training import vocabulary_loss as module
from bayesrnn.training.vocabulary_loss import vocabulary_loss


def parts() -> tuple[torch.Tensor, ...]:
    features, weight, bias = torch.randn(13, 5), torch.randn(9, 5), torch.randn(9)
    return features.requires_grad_(), weight.requires_grad_(), bias.requires_grad_(), torch.randint(9, (13,))


@pytest.mark.parametrize("cells", [2**24, 40])
def test_loss_and_gradients_are_torchs(cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CELLS", cells)  # 40: pieces of four rows
    features, weight, bias, targets = parts()
    loss = vocabulary_loss(features, weight, bias, targets, scale=0.25)
    found = torch.autograd.grad(3 * loss, (features, weight, bias))
    expected = 0.25 * F.cross_entropy(features @ weight.T + bias, targets, reduction="sum")
    torch.testing.assert_close(loss, expected)
    for a, b in zip(found, torch.autograd.grad(3 * expected, (features, weight, bias)), strict=True):
        torch.testing.assert_close(a, b)


def test_bfloat16_products_are_within_their_rounding() -> None:
    features, weight, bias, targets = parts()
    exact = vocabulary_loss(features, weight, bias, targets, scale=1.0)
    rounded = vocabulary_loss(features, weight, bias, targets, scale=1.0, precision="bf16")
    assert float((rounded - exact).detach()) == pytest.approx(0.0, abs=0.2)
    for a, b in zip(torch.autograd.grad(rounded, (features, weight)), torch.autograd.grad(exact, (features, weight))):
        assert a.dtype == torch.float32
        torch.testing.assert_close(a, b, rtol=0.1, atol=0.05)
