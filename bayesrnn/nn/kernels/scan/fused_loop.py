"""The two loops with the pointwise part compiled: what `forward` and `backward` do for LSTM and GRU, fused."""

from collections.abc import Callable

import torch
from torch import Tensor

from bayesrnn.masks import SiteMasks
from bayesrnn.nn.kernels.scan.cpu_kernels import Kernels, kernels
from bayesrnn.nn.kernels.scan.masks import along, contiguous, gated, leave_the_cell_whole, ungated
from bayesrnn.nn.kernels.scan.pointwise import POINTWISE, Pointwise
from bayesrnn.nn.kernels.scan.products import GateProduct

__all__ = ["fused", "fused_backward", "fused_forward"]

Strides = tuple[int, int, int, int]


def fused(name: str, like: Tensor, masks: SiteMasks, sizes: list[int], product: torch.dtype) -> Kernels | None:
    """Return the kernels if they serve this case: float32 LSTM or GRU, on a CPU, full rows, only cells masked."""
    if name not in ("lstm", "gru") or like.dtype != torch.float32 or like.device.type != "cpu":
        return None
    if product not in (torch.float32, torch.bfloat16):
        return None
    if not leave_the_cell_whole(masks) or (sizes and sizes[-1] != like.shape[0]):
        return None
    return kernels()


def fused_forward(
    found: Kernels,
    name: str,
    x: Tensor,
    first: Tensor,
    products: tuple[GateProduct, GateProduct],
    biases: tuple[Tensor | None, Tensor | None],
    masks: SiteMasks,
    out: Tensor,
    last: Tensor,
    kept: Tensor | None,
    extra: Tensor,
    span: int,
) -> None:
    """Run some rows through all their steps; `out`, `last`, `kept` and `extra` are filled."""
    cell, (inward, onward) = POINTWISE[name], products
    steps, rows, units = len(x), *first.shape
    bias, again = (first.new_zeros(cell.gates, units) if b is None else b.contiguous() for b in biases)
    sizes = [rows] * steps
    hidden, reads = gated(masks.hidden, sizes), contiguous(ungated(masks.cell, sizes))
    states = out if out.is_contiguous() else torch.empty_like(out, memory_format=torch.contiguous_format)
    outs = along(states, sizes)
    acts = None if kept is None else along(kept, sizes)
    extras = along(extra, sizes) if kept is not None else None
    memory = last.contiguous()
    old, before = first.contiguous(), memory
    call = found[f"{name}_forward"]
    ones = first.new_ones(units)
    narrow = onward.dtype == torch.bfloat16 and not _untied(masks.hidden)
    entering = torch.empty(first.shape, dtype=torch.bfloat16) if narrow else None
    for t in range(steps):
        if t % span == 0:
            stop = min(t + span, steps)
            mask = masks.input
            if mask is not None and mask.shape[0] > 1:
                mask = mask[t:stop]
            pre = inward.many(x[t:stop], mask, None if kept is None else kept.flatten(2).flatten(0, 1))
        add = onward.one(old, hidden[t]) if entering is None or t == 0 else onward.one(entering, None)
        following: tuple[int | None, int, int] = (None, ones.data_ptr(), 0)
        if entering is not None and t + 1 < steps:
            site = _site(hidden[t + 1], ones)
            following = (entering.data_ptr(), *_shared(site, ones))
        act = None if acts is None else acts[t].data_ptr()
        told = (rows, units, *_strides(pre, t % span, rows, cell), *_strides(add, 0, rows, cell), bias.data_ptr())
        if cell.memory:
            more = memory if extras is None else extras[t]
            read = _shared(reads[t], ones)
            call(*told, before.data_ptr(), more.data_ptr(), outs[t].data_ptr(), act, *read, *following)
            before = more
        else:
            recurrent = None if extras is None else extras[t].data_ptr()
            call(*told, again.data_ptr(), old.data_ptr(), outs[t].data_ptr(), act, recurrent, *following)
        old = outs[t]
    if states is not out:
        out.copy_(states)
    if before is not last and cell.memory:
        last.copy_(before)


def fused_backward(
    found: Kernels,
    name: str,
    grad_out: Tensor | None,
    grad_last: Tensor | None,
    first: Tensor,
    memory: Tensor | None,
    hh: Tensor,
    masks: SiteMasks,
    out: Tensor,
    gates: Tensor,
    extra: Tensor,
    through: Callable[[Tensor, Tensor, Tensor | None, Tensor], Tensor],
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Return gradients of the gates (steps, rows, blocks, H), in float32 and in the type of products, of h and c."""
    cell = POINTWISE[name]
    steps, rows, units = out.shape
    blocks = out.new_empty(steps, rows, cell.blocks, units)
    narrow = hh.dtype == torch.bfloat16
    low = torch.empty_like(blocks, dtype=hh.dtype) if narrow else blocks
    zeros, ones = out.new_zeros(rows, units), out.new_ones(units)
    arriving = [zeros] * steps if grad_out is None else along(grad_out.contiguous(), [rows] * steps)
    carried = torch.zeros_like(zeros) if grad_last is None else grad_last.clone(memory_format=torch.contiguous_format)
    hidden, reads = gated(masks.hidden, [rows] * steps), contiguous(ungated(masks.cell, [rows] * steps))
    initial = (first if memory is None else memory).contiguous()
    acts, extras, outs = (along(value, [rows] * steps) for value in (gates, extra, out))
    gradients, lows = along(blocks, [rows] * steps), along(low, [rows] * steps)
    onward = along(low[:, :, cell.hidden].flatten(2), [rows] * steps)
    pasts = extras if cell.memory else outs
    raw, mask = zeros, ones
    call = found[f"{name}_backward"]
    for t in reversed(range(steps)):
        past = pasts[t - 1] if t else initial
        call(
            rows,
            units,
            acts[t].data_ptr(),
            extras[t].data_ptr(),
            past.data_ptr(),
            *(_shared(reads[t], ones) if cell.memory else ()),
            raw.data_ptr(),
            raw.dtype == torch.bfloat16,
            *_shared(mask, ones),
            arriving[t].data_ptr(),
            carried.data_ptr(),
            gradients[t].data_ptr(),
            lows[t].data_ptr() if narrow else None,
        )
        site = hidden[t]
        if site is not None and site.shape[0] > 1:
            raw, mask = through(onward[t], hh, site, torch.empty_like(zeros)), ones
        else:
            raw, mask = torch.mm(onward[t], hh), _site(site, ones)
    grad_h = raw.float().mul_(mask) if raw is not zeros else torch.zeros_like(zeros)
    return blocks, low, grad_h if cell.memory else grad_h.add_(carried), carried if cell.memory else None


def _untied(mask: Tensor | None) -> bool:
    return mask is not None and mask.shape[1] > 1


def _site(mask: Tensor | None, ones: Tensor) -> Tensor:
    """Return the tied mask of a step, (rows or 1, H) or (H,), contiguous."""
    return ones if mask is None else mask[0].contiguous()


def _shared(mask: Tensor | None, ones: Tensor) -> tuple[int, int]:
    """Return address and row stride of a mask (rows or 1, H) or (H,), which is 0 where all rows share it."""
    mask = ones if mask is None else mask
    return mask.data_ptr(), mask.shape[-1] if mask.dim() == 2 and mask.shape[0] > 1 else 0


def _strides(product: Tensor, place: int, rows: int, cell: Pointwise) -> Strides:
    """Return address, strides of rows and gates, and whether it is low, of one step of a product.

    A product has the shape (steps, rows, gates, H), or (gates, steps, rows, H) where each gate has its own.
    """
    size, low = product.element_size(), product.dtype == torch.bfloat16
    if product.dim() == 3:  # untied: (gates, steps * rows, H)
        row, gate = product.stride(1), product.stride(0)
    else:  # (steps * rows, gates * H)
        row, gate = product.stride(0), product.shape[1] // cell.gates
    return product.data_ptr() + place * rows * row * size, row, gate, int(low)
