"""Products with weights in the packed order of the CPU libraries, for many products with the same weight."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from bayesrnn.nn.precision import multiplies_bfloat16

_FEWEST_STEPS = 8
_ROWS = range(8, 513)  # with fewer or more rows the order of the weights makes no difference
_SMALLEST = 1 << 16  # numbers in the weights


def packed(weights: Sequence[Tensor], rows: int, steps: int) -> list[Callable[[Tensor], Tensor]]:
    """Return x -> x W^T for each weight, in packed form; an empty list where that does not pay.

    Args:
        weights: Each (H, features), in the type of the product.
        rows: The number of rows of every x.
        steps: How many products will be computed.
    """
    first = weights[0]
    if first.device.type != "cpu" or steps < _FEWEST_STEPS or rows not in _ROWS or first.numel() < _SMALLEST:
        return []
    if first.dtype == torch.float32 and torch.backends.mkl.is_available():
        return [_mkl(w.contiguous(), rows) for w in weights]
    if first.dtype == torch.bfloat16 and len(weights) == 1 and rows < 64 and multiplies_bfloat16():
        return [_mkldnn(first.contiguous(), rows)]
    return []


def _mkl(weight: Tensor, rows: int) -> Callable[[Tensor], Tensor]:
    order = torch.ops.mkl._mkl_reorder_linear_weight(weight, rows)
    product = torch.ops.mkl._mkl_linear.default
    return lambda x: product(x, order, weight, None, rows)


def _mkldnn(weight: Tensor, rows: int) -> Callable[[Tensor], Tensor]:
    order = torch.ops.mkldnn._reorder_linear_weight(weight, rows)
    product = torch.ops.mkldnn._linear_pointwise.default
    return lambda x: product(x, order, None, "none", [], "")
