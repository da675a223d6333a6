"""The loss that carries its gradient, against torch's cross entropy."""

import shutil

import pytest
import torch
from torch.nn import functional as F

from bayesrnn.nn import use_compiled
from bayesrnn.nn.kernels.scan import library as native
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


@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler here")
@pytest.mark.parametrize(("tokens", "words", "width"), [(13, 9, 5), (131, 333, 40), (64, 32, 80), (1, 50, 3)])
@pytest.mark.parametrize("precision", [None, "bf16"])
def test_the_compiled_loss_is_the_plain_one(tokens: int, words: int, width: int, precision: str | None) -> None:
    torch.manual_seed(0)
    features, weight = torch.randn(tokens, width), torch.randn(words, width) / width**0.5
    bias, targets = 3 * torch.randn(words), torch.randint(words, (tokens,))
    leaves = [value.requires_grad_() for value in (features, weight, bias)]
    found = []
    before = native._wanted
    for compiled in (False, True):
        use_compiled(compiled)
        try:
            loss = vocabulary_loss(*leaves, targets, scale=0.1, precision=precision)
        finally:
            native._wanted = before
        found.append((loss, *torch.autograd.grad(loss, leaves)))
    for plain, fused in zip(*found, strict=True):
        assert fused.dtype == plain.dtype
        assert (plain - fused).norm() <= (2e-2 if precision else 1e-6) * plain.norm()
    if precision is None:
        exact = 0.1 * F.cross_entropy(features.double() @ weight.double().T + bias, targets, reduction="sum")
        torch.testing.assert_close(found[1][0].double(), exact, rtol=1e-6, atol=1e-6)


@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler here")
def test_the_compiled_loss_lets_nan_out_and_no_foreign_target_in() -> None:
    features, weight, bias, targets = (value.detach() for value in parts())
    use_compiled()
    with pytest.raises(IndexError, match="targets must lie"):
        vocabulary_loss(features, weight, bias, targets + 9, scale=1.0)
    features[3, 2] = torch.nan
    assert vocabulary_loss(features, weight, bias, targets, scale=1.0).isnan()


def test_bfloat16_products_are_within_their_rounding() -> None:
    features, weight, bias, targets = parts()
    exact = vocabulary_loss(features, weight, bias, targets, scale=1.0)
    rounded = vocabulary_loss(features, weight, bias, targets, scale=1.0, precision="bf16")
    assert float((rounded - exact).detach()) == pytest.approx(0.0, abs=0.2)
    for a, b in zip(torch.autograd.grad(rounded, (features, weight)), torch.autograd.grad(exact, (features, weight))):
        assert a.dtype == torch.float32
        torch.testing.assert_close(a, b, rtol=0.1, atol=0.05)
