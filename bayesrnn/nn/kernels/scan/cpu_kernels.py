"""Launches the compiled pointwise kernels between products in bfloat16, one step at a time."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from bayesrnn.nn.kernels.scan.layer import BackwardStep, ForwardStep, Layer
from bayesrnn.nn.kernels.scan.library import Kernels, threads_for

_COST = 256  # multiplications that take as long as the pointwise part of one unit


class CpuBackend:
    """Launches the C++ kernels; see `fused_loop.Backend`."""

    aligned, in_place, held_bytes = False, True, 8 << 20  # what is projected at once is read again from a cache

    def __init__(self, loaded: Kernels) -> None:
        self.kernels = loaded

    def on(self, like: Tensor) -> AbstractContextManager[Any]:
        """Return a context that does nothing."""
        return nullcontext()

    def carried(self, first: Tensor, gates: int, dtype: torch.dtype) -> Tensor | None:
        """Return memory for the masked h in bfloat16; the product masks and rounds h itself in all other cases."""
        return torch.empty(first.shape, dtype=dtype) if dtype == torch.bfloat16 and gates == 1 else None

    def forward(self, layer: Layer, first: Tensor, bias: Tensor, again: Tensor) -> Callable[[ForwardStep], None]:
        """Return the step forward."""
        rows, units = first.shape
        call, ones = self.kernels[f"{layer.name}_forward"], first.new_ones(units)

        cell, bias_at, again_at, ones_at = layer.cell, bias.data_ptr(), again.data_ptr(), ones.data_ptr()
        memory, gates, threads = cell.memory, cell.gates, threads_for(rows * units * _COST)

        def step(now: ForwardStep) -> None:
            pre, place, add, old, before, new, h, act, read, carried, following = now
            front = (rows, units, *_strides(pre, place, rows, gates), *_strides(add, 0, rows, gates), bias_at)
            ahead: tuple[int | None, int, int] = (None, ones_at, 0)
            if carried is not None:
                site = _site(following, ones)
                ahead = (carried.data_ptr(), *_shared(site, ones))
            kept, more = None if act is None else act.data_ptr(), None if new is None else new.data_ptr()
            if memory:
                call(*front, before.data_ptr(), more, h.data_ptr(), kept, *_shared(read, ones), *ahead, threads)
            else:
                call(*front, again_at, old.data_ptr(), h.data_ptr(), kept, more, *ahead, threads)

        return step

    def backward(self, layer: Layer, carried: Tensor, narrow: bool) -> Callable[[BackwardStep], None]:
        """Return the step backward."""
        call = self.kernels[f"{layer.name}_backward"]
        zeros, ones = torch.zeros_like(carried), carried.new_ones(carried.shape[1])

        memory, shape, threads = layer.cell.memory, tuple(carried.shape), threads_for(carried.numel() * _COST)
        carried_at, zeros_at = carried.data_ptr(), zeros.data_ptr()

        def step(now: BackwardStep) -> None:
            kept, read, raw, site, arriving, gradient, low = now
            raw = zeros if raw is None else raw
            if site is not None and raw.dim() == 3:
                raw, site = raw.float().mul_(site).sum(0), None
            mask = _site(site, ones)
            call(
                *shape,
                *(value.data_ptr() for value in kept),
                *(_shared(read, ones) if memory else ()),
                raw.data_ptr(),
                raw.dtype == torch.bfloat16,
                *_shared(mask, ones),
                zeros_at if arriving is None else arriving.data_ptr(),
                carried_at,
                gradient.data_ptr(),
                low.data_ptr(),
                threads,
            )

        return step


def _site(mask: Tensor | None, ones: Tensor) -> Tensor:
    """Return the tied mask of a step, contiguous: (rows or 1, H) or (H,).

    The caller keeps it under a name, which holds its memory.
    """
    return ones if mask is None else mask[0].contiguous()


def _shared(mask: Tensor | None, ones: Tensor) -> tuple[int, int]:
    """Return address and row stride of a mask, (rows or 1, H) or (H,); 0 where all rows share it."""
    mask = ones if mask is None else mask
    return mask.data_ptr(), mask.shape[-1] if mask.dim() == 2 and mask.shape[0] > 1 else 0


def _strides(product: Tensor, place: int, rows: int, gates: int) -> tuple[int, int, int]:
    """Return address and strides of rows and gates of one step of a product.

    A product has the shape (steps * rows, gates * H), or (gates, steps * rows, H) where each gate has its own.
    """
    if product.dim() == 3:
        row, gate = product.stride(1), product.stride(0)
    else:
        row, gate = product.stride(0), product.shape[1] // gates
    return product.data_ptr() + place * rows * row * product.element_size(), row, gate
