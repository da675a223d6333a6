"""Inputs under masks, made in pieces that a cache holds, and weights turned around in memory."""

from collections.abc import Iterator

import torch
from torch import Tensor

from bayesrnn.nn.scan.native import kernels

__all__ = ["masked", "of_span", "pieces", "turned", "under"]

_PIECE_BYTES = 640 << 10  # of what enters a masked product at once, so that the mask's product stays in a cache


def pieces(x: Tensor, dtype: torch.dtype) -> Iterator[tuple[slice, slice]]:
    """Yield spans of steps, and the rows they are when steps and rows are one dimension, for one product each.

    On a CPU a piece of a masked input that stays in a cache is made and read at once: a tenth to a fifth less time.
    Products in a low type have limits of their own and are made whole.
    """
    steps, rows = x.shape[:2]
    span = steps
    if not x.is_cuda and dtype.itemsize > 2:
        span = max(1, _PIECE_BYTES // max(1, rows * x.shape[2] * dtype.itemsize))
    for start in range(0, steps, span):
        stop = min(start + span, steps)
        yield slice(start, stop), slice(start * rows, stop * rows)


def of_span(mask: Tensor, span: slice) -> Tensor:
    """Return the mask of some steps, (steps or 1, ...)."""
    return mask[span] if mask.shape[0] > 1 else mask


def turned(value: Tensor) -> Tensor:
    """Return the transpose of the last two dimensions, laid out in memory, by the copy that runs on all threads."""
    four = value.unflatten(-2, (-1, 1)) if value.dim() == 3 else value.unsqueeze(1).unsqueeze(0)
    copied = four.contiguous(memory_format=torch.channels_last).squeeze(2).mT
    return copied if value.dim() == 3 else copied[0]


def masked(x: Tensor, mask: Tensor, dtype: torch.dtype) -> Iterator[Tensor]:
    """Yield x under the mask of each gate, (steps * rows, features): one buffer, which the next gate overwrites."""
    buffer: Tensor | None = None
    for part in mask.unbind(1):
        buffer = under(x, part, dtype, buffer)
        yield buffer.flatten(0, 1)


def under(x: Tensor, mask: Tensor, dtype: torch.dtype, out: Tensor | None = None) -> Tensor:
    """Return x * mask, (steps, rows, features), in the type of a product; in `out` if that is given."""
    compiled = kernels() if dtype == torch.bfloat16 and x.dtype == torch.float32 and not x.is_cuda else None
    if compiled is None or not x.is_contiguous() or mask.shape[2] != x.shape[2] or mask.dtype != x.dtype:
        return torch.mul(x, mask, out=out) if x.dtype == mask.dtype == dtype else (x * mask).to(dtype)
    out = torch.empty_like(x, dtype=dtype) if out is None else out
    mask = mask.contiguous()
    step, row = (mask.stride(d) if mask.shape[d] > 1 else 0 for d in (0, 1))
    compiled["masked"](*x.shape, x.data_ptr(), mask.data_ptr(), step, row, out.data_ptr())
    return out
