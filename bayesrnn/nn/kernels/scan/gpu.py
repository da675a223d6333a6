"""The two loops on a CUDA device: a matrix product and one kernel a step, for LSTM and GRU with only cells masked."""

import warnings
from functools import cache
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from bayesrnn.masks import SiteMasks
from bayesrnn.nn.kernels.scan.masks import along, contiguous, gated, leave_the_cell_whole, ungated
from bayesrnn.nn.kernels.scan.pointwise import POINTWISE
from bayesrnn.nn.kernels.scan.products import GateProduct

__all__ = ["gpu_backward", "gpu_forward", "on_gpu"]

_BLOCK = 128  # units of a row that one program does
_HELD_BYTES = 256 << 20  # of gates that are projected at once when nothing is kept


def on_gpu(name: str, like: Tensor, masks: SiteMasks, sizes: list[int]) -> bool:
    """Whether the kernels serve this case: a float32 state on a CUDA device, full rows, and Triton that works there."""
    if name not in ("lstm", "gru") or like.dtype != torch.float32 or like.device.type != "cuda":
        return False
    return leave_the_cell_whole(masks) and not (sizes and sizes[-1] != like.shape[0]) and _triton_works()


@cache
def _triton_works() -> bool:
    """Whether a kernel can be compiled and launched; it takes Triton, and a C compiler for its launcher."""
    if find_spec("triton") is None:
        return False
    try:
        _touch()
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        reason = str(error).strip().split("\n")[0][:200]
        warnings.warn(
            f"Triton is installed but cannot launch a kernel here ({type(error).__name__}: {reason}), so that masks "
            "inside a recurrence take many small kernels on this GPU: the same numbers, several times slower. Triton "
            "needs a C compiler.",
            stacklevel=2,
        )
        return False
    return True


def _touch() -> None:
    """Launch the smallest kernel."""
    _kernels().touch[(1,)](torch.zeros(1, device="cuda"))


@cache
def _kernels() -> Any:
    from bayesrnn.nn.kernels.scan import triton_kernels

    return triton_kernels


def gpu_forward(
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
) -> None:
    """Run some rows through all their steps; `out`, `last`, `kept` and `extra` are filled."""
    cell, (inward, onward) = POINTWISE[name], products
    steps, rows, units = len(x), *first.shape
    bias, again = (first.new_zeros(cell.gates, units) if b is None else b.contiguous() for b in biases)
    sizes = [rows] * steps
    hidden = gated(masks.hidden, sizes)
    reads = contiguous(ungated(masks.cell, sizes))
    states = out if out.is_contiguous() else torch.empty_like(out, memory_format=torch.contiguous_format)
    outs = along(states, sizes)
    acts = [first] * steps if kept is None else along(kept, sizes)
    extras = None if kept is None else along(extra, sizes)
    memory = last.clone(memory_format=torch.contiguous_format)
    span = max(1, min(steps, _HELD_BYTES // (rows * cell.gates * units * 4)))
    add = onward.one(first, hidden[0])
    copies = 1 if add.dim() == 2 else cell.gates
    onwards = torch.empty((copies, rows, units) if copies > 1 else (rows, units), dtype=onward.dtype, device=x.device)
    grid = (rows, -(-units // _BLOCK))
    old, before = first.contiguous(), memory
    for t in range(steps):
        if t % span == 0:
            stop = min(t + span, steps)
            mask = masks.input
            pre = inward.many(x[t:stop], mask[t:stop] if mask is not None and mask.shape[0] > 1 else mask)
        if t:
            add = onward.one(onwards, None)
        following = hidden[t + 1] if t + 1 < steps else None
        told = (*_gates(pre, t % span, rows, cell.gates), *_gates(add, 0, rows, cell.gates), bias)
        ahead = (onwards, *_mask(following, old), rows, units)
        flags: dict[str, Any] = {"KEEP": kept is not None, "NEXT": copies if t + 1 < steps else 0, "BLOCK": _BLOCK}
        flags["MASKED"] = following is not None
        if cell.memory:
            more = memory if extras is None else extras[t]
            read, read_row, _ = _mask(reads[t], old)
            _kernels().lstm_forward[grid](
                *told, before, more, outs[t], acts[t], read, read_row, *ahead, READ=reads[t] is not None, **flags
            )
            before = more
        else:
            recurrent = old if extras is None else extras[t]
            _kernels().gru_forward[grid](*told, again, old, outs[t], acts[t], recurrent, *ahead, **flags)
        old = outs[t]
    if states is not out:
        out.copy_(states)
    if cell.memory:
        last.copy_(before)


def gpu_backward(
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
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Return gradients of the gates (steps, rows, blocks, H), in float32 and in the type of products, of h and c."""
    cell = POINTWISE[name]
    steps, rows, units = out.shape
    sizes = [rows] * steps
    blocks = out.new_empty(steps, rows, cell.blocks, units)
    narrow = hh.dtype != blocks.dtype
    low = torch.empty_like(blocks, dtype=hh.dtype) if narrow else blocks
    arriving = along(out if grad_out is None else grad_out.contiguous(), sizes)
    carried = torch.zeros_like(first) if grad_last is None else grad_last.clone(memory_format=torch.contiguous_format)
    hidden = gated(masks.hidden, sizes)
    reads = contiguous(ungated(masks.cell, sizes))
    initial = (first if memory is None else memory).contiguous()
    acts, extras, outs = (along(value, sizes) for value in (gates, extra, out))
    gradients, lows = along(blocks, sizes), along(low, sizes)
    onward = along(low[:, :, cell.hidden].flatten(2), sizes)
    pasts = extras if cell.memory else outs
    raw, site = None, None
    grid = (rows, -(-units // _BLOCK))
    for t in reversed(range(steps)):
        past = pasts[t - 1] if t else initial
        flags: dict[str, Any] = {"MASKED": site is not None, "ARRIVING": grad_out is not None, "LOW": narrow}
        flags |= {"RAW": 0 if raw is None else 1 if raw.dim() == 2 else len(raw), "BLOCK": _BLOCK}
        told = (outs[t] if raw is None else raw, *_mask(site, past), arriving[t], carried, gradients[t], lows[t])
        if cell.memory:
            read, read_row, _ = _mask(reads[t], past)
            _kernels().lstm_backward[grid](
                acts[t], extras[t], past, read, read_row, *told, rows, units, READ=reads[t] is not None, **flags
            )
        else:
            _kernels().gru_backward[grid](acts[t], extras[t], past, *told, rows, units, **flags)
        site = hidden[t]
        raw = _through(onward[t], hh, site)
    grad_h = _under(raw, site)
    return blocks, low, grad_h if cell.memory else grad_h.add_(carried), carried if cell.memory else None


def _through(gradient: Tensor, weight: Tensor, site: Tensor | None) -> Tensor:
    """Return the gradient of what entered the recurrent product, (rows, H), or (gates, rows, H) if each has a mask."""
    if site is None or site.shape[0] == 1:
        return torch.mm(gradient, weight)
    gates = site.shape[0]
    return torch.bmm(gradient.unflatten(1, (gates, -1)).transpose(0, 1), weight.unflatten(0, (gates, -1)))


def _under(raw: Tensor | None, site: Tensor | None) -> Tensor:
    """Return the gradient of the initial h from that of what entered the first product."""
    if raw is None:
        raise ValueError("a scan has at least one step")
    wide = raw.float()
    if site is None:
        return wide.clone() if wide is raw else wide
    return wide * site[0] if raw.dim() == 2 else (wide * site).sum(0)


def _gates(product: Tensor, place: int, rows: int, gates: int) -> tuple[Tensor, int, int]:
    """Return one step of a product, and its strides of rows and gates.

    A product has the shape (steps * rows, gates * H), or (gates, steps * rows, H) where each gate has its own.
    """
    if product.dim() == 3:
        return product[:, place * rows :], product.stride(1), product.stride(0)
    return product[place * rows :], product.stride(0), product.shape[1] // gates


def _mask(mask: Tensor | None, instead: Tensor) -> tuple[Tensor, int, int]:
    """Return a mask (gates or 1, rows or 1, H) or (rows or 1, H), and its strides of rows and gates."""
    if mask is None:
        return instead, 0, 0
    if mask.shape[-1] != instead.shape[-1]:  # one number for all units
        mask = mask.expand(*mask.shape[:-1], instead.shape[-1])
    if mask.stride(-1) != 1:
        mask = mask.contiguous()
    row = mask.stride(-2) if mask.shape[-2] > 1 else 0
    return mask, row, mask.stride(0) if mask.dim() == 3 and mask.shape[0] > 1 else 0
