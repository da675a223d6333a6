"""The loop forward in time, with the input products of many steps made at once."""

import torch
from torch import Tensor

from bayesrnn.masks import SiteMasks
from bayesrnn.nn.kernels.scan.fused_loop import fused, fused_forward
from bayesrnn.nn.kernels.scan.gpu import gpu_forward, on_gpu
from bayesrnn.nn.kernels.scan.masks import Weights, along, cut, extras_along, gated, ungated
from bayesrnn.nn.kernels.scan.pointwise import POINTWISE, Pointwise
from bayesrnn.nn.kernels.scan.products import GateProduct

__all__ = ["forward"]

_BLOCK_ROWS = 1024  # when nothing is kept for a backward pass
_BLOCK_BYTES = 8 << 20  # of gates that are projected at once, so that they are read again from a cache


def forward(
    name: str,
    x: Tensor,
    first: Tensor,
    memory: Tensor | None,
    weights: Weights,
    masks: SiteMasks,
    sizes: list[int],
    product: torch.dtype,
    save: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Run a layer forward in time.

    Args:
        name: The cell.
        x: Inputs (steps, rows, features).
        first: Initial h (rows, H), in the type of the state.
        memory: Initial c (rows, H), or None.
        weights: In torch's shapes.
        masks: Of four dimensions.
        sizes: How many rows are alive at each step, never growing; empty if all are.
        product: Type of the matrix products.
        save: Whether to keep what the backward pass needs.

    Returns:
        Outputs (steps, rows, H), last memory (rows, H), and what is kept: activated gates and the cell's extra, or
        nothing.
    """
    cell = POINTWISE[name]
    steps, rows = x.shape[:2]
    out = first.new_empty(steps, rows, first.shape[1])
    last = first.new_empty(0) if memory is None else memory.clone()
    block_rows = rows if save else _even(rows, _BLOCK_ROWS)
    inward = GateProduct(weights.ih, cell.gates, _apart(masks.input), product, rows, steps, at_once=True)
    onward = GateProduct(
        weights.hh, cell.gates, _apart(masks.hidden), product, block_rows, steps * (rows // block_rows), at_once=False
    )
    gates = first.new_empty((steps, rows, cell.gates, first.shape[1]) if save else (0,))
    extra = first.new_empty((steps, rows, first.shape[1]) if save and cell.extra else (0,))
    biases = _biases(cell, weights, first)
    compiled, launched = fused(name, first, masks, sizes, product), on_gpu(name, first, masks, sizes)
    for start in range(0, rows, block_rows):
        stop = min(start + block_rows, rows)
        part = slice(start, stop)
        read = (x[:, part], first[part], (inward, onward), biases, masks.rows(start, stop))
        filled = (out[:, part], last[part], gates if save else None, extra)
        if launched:
            with torch.cuda.device_of(first):  # Triton launches on the current device
                gpu_forward(name, *read, *filled)
        elif compiled is not None:
            span = steps if save else _steps_at_once((stop - start) * cell.gates * out.shape[2] * 4, steps)
            fused_forward(compiled, name, *read, *filled, span)
        else:
            alive = [min(n, stop) - start for n in sizes if n > start] if sizes else [stop - start] * steps
            _forward_block(cell, *read, alive, *filled)
    return out, last, gates, extra


def _forward_block(
    cell: Pointwise,
    x: Tensor,
    first: Tensor,
    products: tuple[GateProduct, GateProduct],
    biases: tuple[Tensor | None, Tensor | None],
    masks: SiteMasks,
    sizes: list[int],
    out: Tensor,
    last: Tensor,
    kept: Tensor | None,
    extra: Tensor,
) -> None:
    """Run some rows through all their steps; `out`, `last`, `kept` and `extra` are filled."""
    inward, onward = products
    rows, units = first.shape
    span = len(sizes) if kept is not None else _steps_at_once(rows * cell.gates * units * 4, len(sizes))
    buffer = first.new_empty(span, rows, cell.gates, units) if kept is None else kept
    recurrent = first.new_empty(rows, cell.gates, units) if cell.apart else first
    scratch = first.new_empty(rows, units)
    targets, outs = along(buffer, sizes[:1] * span), along(out, sizes)
    mores = along(extra, sizes) if kept is not None and cell.extra else None
    hidden, keeps, pointwise = gated(masks.hidden, sizes), ungated(masks.keep_hidden, sizes), extras_along(masks, sizes)
    old, before = first, last
    for t, n in enumerate(sizes):
        place = t % span
        if place == 0:
            _project(inward, buffer, x, biases[0], masks.input, t, min(t + span, len(sizes)), n)
        target = cut(targets[place], n)
        into = target
        if cell.apart:
            into = cut(recurrent, n)
            _fill(into, biases[1])
        old = cut(old, n)
        onward.add_(into, old, hidden[t])
        h = outs[t]
        more = mores[t] if mores is not None else cut(last if cell.memory else scratch, n)
        before = cut(before, n) if cell.memory and kept is not None else more
        cell.forward(target, into, old, before, h, more, pointwise[t])
        before = more
        keep = keeps[t]
        if keep is not None:
            h.lerp_(old, keep)
        if cell.memory and kept is not None and (t + 1 == len(sizes) or sizes[t + 1] < n):
            last[:n].copy_(more)  # the rows that end here are not written again
        if n < rows:
            out[t, n:].zero_()
        old = h
    out[len(sizes) :].zero_()


def _project(
    inward: GateProduct, buffer: Tensor, x: Tensor, bias: Tensor | None, mask: Tensor | None, t: int, stop: int, n: int
) -> None:
    """Fill the buffer with the input products of steps t..stop-1 for the first n rows."""
    target = buffer[: stop - t]
    rows = target.shape[1]
    if n < rows and stop - t > 1:
        n = rows  # one product over whole steps; what lies beyond a row's length is not read
    target, entering = target[:, :n], x[t:stop, :n]
    _fill(target, bias)
    if mask is not None:
        mask = mask[t:stop] if mask.shape[0] > 1 else mask
        mask = mask[:, :, :n] if mask.shape[2] > n else mask
    inward.project_(target, entering, mask)


def _apart(mask: Tensor | None) -> bool:
    """Whether each gate has a mask of its own."""
    return mask is not None and mask.shape[1] > 1


def _fill(target: Tensor, bias: Tensor | None) -> None:
    if bias is None:
        target.zero_()
    else:
        target.copy_(bias)


def _biases(cell: Pointwise, weights: Weights, like: Tensor) -> tuple[Tensor | None, Tensor | None]:
    """Return the biases (gates, H) of the input product and, where it is kept apart, of the recurrent one."""
    if weights.bias_ih is None or weights.bias_hh is None:
        return None, None
    ih, hh = (b.to(like.dtype).unflatten(0, (cell.gates, -1)) for b in (weights.bias_ih, weights.bias_hh))
    return (ih, hh) if cell.apart else (ih + hh, None)


def _steps_at_once(bytes_a_step: int, steps: int) -> int:
    return max(1, min(steps, _BLOCK_BYTES // max(1, bytes_a_step)))


def _even(total: int, most: int) -> int:
    """Return the size of equal blocks of at most `most`."""
    blocks = -(-total // most)
    return -(-total // blocks)
