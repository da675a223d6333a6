"""The loss over a vocabulary with its gradient made on the way: the logits are seen once and never kept."""

from typing import Any

import torch
from torch import Tensor

__all__ = ["vocabulary_loss"]

_CELLS = 2**24  # logits held at once


class _VocabularyLoss(torch.autograd.Function):
    """Forward makes loss and gradients together; backward hands the gradients out."""

    @staticmethod
    def forward(
        ctx: Any, features: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, scale: float, dtype: torch.dtype
    ) -> Tensor:
        x, w, b = features.to(dtype), weight.to(dtype), bias.to(dtype)
        to_features = torch.empty_like(features)
        to_weight, to_bias, total = None, torch.zeros_like(bias), features.new_zeros(())
        for part in torch.arange(len(x), device=x.device).split(max(_CELLS // len(weight), 1)):
            rows = slice(int(part[0]), int(part[-1]) + 1)
            logs = torch.log_softmax(torch.addmm(b, x[rows], w.t()).to(features.dtype), -1)
            total -= logs.gather(1, targets[rows, None]).sum()
            law = logs.exp_()
            law.scatter_add_(1, targets[rows, None], law.new_full((len(law), 1), -1.0))
            to_bias += law.sum(0)
            gradient = law.to(dtype).mul_(scale)
            to_features[rows] = gradient @ w
            piece = (gradient.t() @ x[rows]).to(weight.dtype)
            to_weight = piece if to_weight is None else to_weight.add_(piece)
        ctx.save_for_backward(to_features, to_weight, to_bias.mul_(scale))
        return total * scale

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        factor = gradients[0]
        found = ctx.saved_tensors
        if float(factor) != 1.0:
            found = tuple(value * factor for value in found)
        return (*found, None, None, None)


def vocabulary_loss(
    features: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, *, scale: float, precision: str | None = None
) -> Tensor:
    r"""Return $a \sum_n -\log \mathrm{softmax}(W x_n + b)_{y_n}$, a scalar, nats times a.

    Args:
        features: x, (N, F).
        weight: W, (V, F).
        bias: b, (V,).
        targets: y, (N,).
        scale: The factor a.
        precision: "bf16" makes the products and the gradients of the weights in bfloat16; the softmax is float32.

    Example:
        >>> zeros = torch.zeros(3, 2)
        >>> loss = vocabulary_loss(zeros, torch.zeros(5, 2), torch.zeros(5), torch.tensor([0, 1, 4]), scale=1.0)
        >>> round(float(loss), 3)
        4.828
    """
    dtype = torch.bfloat16 if precision == "bf16" else features.dtype
    loss: Tensor = _VocabularyLoss.apply(features, weight, bias, targets, scale, dtype)
    return loss
