"""Launches the Triton kernels; imported only where they run."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

from bayesrnn.nn.kernels.scan.layer import BackwardStep, ForwardStep, Layer
from bayesrnn.nn.kernels.scan.triton_kernels import gru_backward, gru_forward, lstm_backward, lstm_forward
from bayesrnn.nn.kernels.scan.triton_kernels import touch as touch

_BLOCK = 128  # units of a row that one program does


class TritonBackend:
    """Launches the Triton kernels; see `fused_loop.Backend`."""

    aligned, in_place, held_bytes = True, False, 256 << 20

    def on(self, like: Tensor) -> AbstractContextManager[Any]:
        """See `device_of`."""
        return device_of(like)

    def carried(self, first: Tensor, gates: int, dtype: torch.dtype) -> Tensor:
        """Return memory for h under the masks of the next step: one copy per mask."""
        shape = (gates, *first.shape) if gates > 1 else first.shape
        return torch.empty(shape, dtype=dtype, device=first.device)

    def forward(self, layer: Layer, first: Tensor, bias: Tensor, again: Tensor) -> Callable[[ForwardStep], None]:
        """Return the step forward."""
        (rows, units), gates = first.shape, layer.cell.gates
        grid = (rows, -(-units // _BLOCK))

        def step(now: ForwardStep) -> None:
            old, carried, new = now.old, now.carried, now.new
            products = (*gates_of(now.pre, now.place, rows, gates), *gates_of(now.add, 0, rows, gates), bias)
            ahead = (old if carried is None else carried, *_mask(now.following, old), rows, units)
            act = first if now.act is None else now.act
            flags: dict[str, Any] = {"KEEP": now.act is not None, "MASKED": now.following is not None, "BLOCK": _BLOCK}
            flags["NEXT"] = 0 if carried is None else 1 if carried.dim() == 2 else len(carried)
            if layer.cell.memory:
                read = _mask(now.read, old)[:2]
                flags |= {"READ": now.read is not None, "CAPPED": layer.name == "lstm_capped"}
                lstm_forward[grid](*products, now.before, new, now.h, act, *read, *ahead, **flags)
            else:
                gru_forward[grid](*products, again, old, now.h, act, old if new is None else new, *ahead, **flags)

        return step

    def backward(self, layer: Layer, carried: Tensor, narrow: bool) -> Callable[[BackwardStep], None]:
        """Return the step backward."""
        rows, units = carried.shape
        grid = (rows, -(-units // _BLOCK))

        def step(now: BackwardStep) -> None:
            past, raw, site, arriving = now.kept[2], now.raw, now.site, now.arriving
            flags: dict[str, Any] = {"MASKED": site is not None, "ARRIVING": arriving is not None, "LOW": narrow}
            flags |= {"RAW": 0 if raw is None else 1 if raw.dim() == 2 else len(raw), "BLOCK": _BLOCK}
            arrived = (past if raw is None else raw, *_mask(site, past), past if arriving is None else arriving)
            rest = (*arrived, carried, now.gradient, now.low, rows, units)
            if layer.cell.memory:
                flags |= {"READ": now.read is not None, "CAPPED": layer.name == "lstm_capped"}
                lstm_backward[grid](*now.kept, *_mask(now.read, past)[:2], *rest, **flags)
            else:
                gru_backward[grid](*now.kept, *rest, **flags)

        return step


def device_of(like: Tensor) -> AbstractContextManager[Any]:
    """Return a context in which the tensor's device is the current one, on which Triton launches."""
    context: AbstractContextManager[Any] = torch.cuda.device_of(like)
    return context


def gates_of(product: Tensor, place: int, rows: int, gates: int) -> tuple[Tensor, int, int]:
    """Return one step of a product, and its strides of rows and gates.

    A product has the shape (steps * rows, gates * H), or (gates, steps * rows, H) where each gate has its own.
    """
    if product.dim() == 3:
        return product[:, place * rows :], product.stride(1), product.stride(0)
    return product[place * rows :], product.stride(0), product.shape[1] // gates


def _mask(mask: Tensor | None, instead: Tensor) -> tuple[Tensor, int, int]:
    """Return a mask ([gates or 1,] rows or 1, H), and its strides of rows and gates."""
    if mask is None:
        return instead, 0, 0
    if mask.shape[-1] != instead.shape[-1]:  # one number for all units
        mask = mask.expand(*mask.shape[:-1], instead.shape[-1])
    if mask.stride(-1) != 1:
        mask = mask.contiguous()
    row = mask.stride(-2) if mask.shape[-2] > 1 else 0
    return mask, row, mask.stride(0) if mask.dim() == 3 and mask.shape[0] > 1 else 0
