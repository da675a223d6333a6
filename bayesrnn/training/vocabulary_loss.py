"""The softmax loss over a vocabulary; its gradient is computed in the forward pass, so no logits are stored."""

from functools import partial
from typing import Any

import torch
from torch import Tensor

from bayesrnn.nn.kernels.scan.library import Kernels, kernels, threads_for
from bayesrnn.nn.kernels.scan.products import turned

_CELLS = 2**24  # logits in memory at a time
_STRIP = 64  # tokens whose share of the bias's gradient the kernel sums
_COST = 32  # multiplications that take as long as the loss of one logit


class _VocabularyLoss(torch.autograd.Function):
    """Computes loss and gradients in the forward pass; the backward pass returns the stored gradients."""

    @staticmethod
    def forward(
        ctx: Any, features: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, scale: float, dtype: torch.dtype
    ) -> Tensor:
        x, w = features.to(dtype), weight.to(dtype)
        compiled = _compiled(features, dtype)
        step = _plain if compiled is None else partial(_fused, compiled)
        size = max(_CELLS // len(weight), 1)
        into = torch.empty_like(features)
        total, to_bias, to_weight = features.new_zeros(()), torch.zeros_like(bias), None
        for rows, wanted, to_rows in zip(x.split(size), targets.split(size), into.split(size), strict=True):
            nll, for_weight, for_bias = step(rows, w, bias, wanted, scale, to_rows)
            total += nll
            for_weight = for_weight.to(weight.dtype)
            to_weight = for_weight if to_weight is None else to_weight.add_(for_weight)
            to_bias += for_bias
        ctx.save_for_backward(into, to_weight, to_bias)
        return total * scale

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        factor = gradients[0]
        gradients_of_inputs = ctx.saved_tensors
        if factor.is_cuda or float(factor) != 1.0:  # a look at the number would wait for the device
            gradients_of_inputs = tuple(value * factor for value in gradients_of_inputs)
        return (*gradients_of_inputs, None, None, None)


def _plain(
    x: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, scale: float, to_features: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the sum of the losses and the gradients of weight and bias; write the gradient of x to `to_features`."""
    logs = torch.log_softmax(torch.addmm(bias.to(x.dtype), x, weight.t()).to(bias.dtype), -1)
    nll = -logs.gather(1, targets[:, None]).sum()
    distribution = logs.exp_()
    distribution.scatter_add_(1, targets[:, None], distribution.new_full((len(distribution), 1), -1.0))
    to_bias = distribution.sum(0).mul_(scale)
    gradient = distribution.to(x.dtype).mul_(scale)
    to_features.copy_(gradient @ weight)
    return nll, gradient.t() @ x, to_bias


def _fused(
    compiled: Kernels, x: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, scale: float, to_features: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Do the same with the compiled kernel, on logits of the shape (words, tokens)."""
    words, tokens = len(weight), len(x)
    if tokens and not 0 <= int(targets.min()) <= int(targets.max()) < words:
        raise IndexError(f"targets must lie in 0..{words - 1}")
    logits = torch.mm(weight, x.t())
    to_bias, nll = bias.new_empty(-(-tokens // _STRIP), words), bias.new_empty(tokens)
    bias_row, wanted = bias.contiguous(), targets.contiguous()
    compiled["vocabulary_loss"](
        words,
        tokens,
        logits.data_ptr(),
        x.dtype == torch.bfloat16,
        bias_row.data_ptr(),
        wanted.data_ptr(),
        scale,
        to_bias.data_ptr(),
        nll.data_ptr(),
        threads_for(logits.numel() * _COST),
    )
    if weight.shape[1] < tokens:  # turning the smaller factor in memory costs less than the larger in the product
        to_features.copy_((turned(weight) @ logits).t())
    else:
        to_features.copy_(logits.t() @ weight)
    return nll.sum(), logits @ x, to_bias.sum(0)


def _compiled(features: Tensor, dtype: torch.dtype) -> Kernels | None:
    """Return the compiled kernels if they are wanted and know these types."""
    if features.device.type != "cpu" or features.dtype != torch.float32:
        return None
    return kernels() if dtype in (torch.float32, torch.bfloat16) else None


def vocabulary_loss(
    features: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, *, scale: float, precision: str | None = None
) -> Tensor:
    r"""Return $a \sum_n -\log \mathrm{softmax}(W x_n + b)_{y_n}$, a scalar, nats times a.

    Shapes are x (N, F), W (V, F), b (V,), y (N,). With precision "bf16" the products and the gradients of the weights
    are made in bfloat16; the softmax is float32.

    Example:
        >>> zeros = torch.zeros(3, 2)
        >>> loss = vocabulary_loss(zeros, torch.zeros(5, 2), torch.zeros(5), torch.tensor([0, 1, 4]), scale=1.0)
        >>> round(float(loss), 3)
        4.828
    """
    dtype = torch.bfloat16 if precision == "bf16" else features.dtype
    loss: Tensor = _VocabularyLoss.apply(features, weight, bias, targets, scale, dtype)
    return loss
