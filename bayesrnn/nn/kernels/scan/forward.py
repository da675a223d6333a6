"""The loop forward in time, with the input products of many steps made at once."""

from torch import Tensor

from bayesrnn.nn.kernels.scan import fused_loop
from bayesrnn.nn.kernels.scan.fused_loop import Products, Rows
from bayesrnn.nn.kernels.scan.layer import Layer, along, cut, extras_along, gated, steps_at_once, ungated
from bayesrnn.nn.kernels.scan.products import GateProduct, of_span
from bayesrnn.nn.kernels.scan.sequence import kernels_for, sequence_forward

_BLOCK_ROWS = 1024  # when nothing is kept for a backward pass, so that the states stay in a cache
_DEVICE_ROWS = 1 << 14  # the same on a GPU, where a step of few rows takes less time than its launch
_BLOCK_BYTES = 8 << 20  # of gates that are projected at once, so that they are read again from a cache


def forward(layer: Layer, x: Tensor, state: tuple[Tensor, ...], save: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Run a layer forward in time.

    Args:
        layer: Cell, weights, masks and sizes.
        x: Inputs (steps, rows, features).
        state: Initial h, or h and c, each (rows, H), in the type of the state.
        save: Whether to keep what the backward pass needs.

    Returns:
        Outputs (steps, rows, H), last memory (rows, H), and what is kept: activated gates and the cell's extra, or
        nothing.
    """
    cell, first, masks = layer.cell, state[0], layer.masks
    own = kernels_for(layer, x, first)
    if own is not None:
        return sequence_forward(own, layer, x, state, save)
    whole = fused_loop.persistent_of(layer, first)
    if whole is not None:
        return whole.persistent_forward(layer, x, state, save)
    (steps, rows), units = x.shape[:2], first.shape[1]
    out = first.new_empty(steps, rows, units)
    last = state[1].clone() if cell.memory else first.new_empty(0)
    block_rows = rows if save else _even(rows, _BLOCK_ROWS if x.device.type == "cpu" else _DEVICE_ROWS)
    products = Products(
        GateProduct(layer.ih, cell.gates, _apart(masks.input), layer.product, rows, steps, at_once=True),
        GateProduct(
            layer.hh, cell.gates, _apart(masks.hidden), layer.product, block_rows, steps * (rows // block_rows),
            at_once=False,
        ),
        *layer.biases(first),
    )  # fmt: skip
    gates = first.new_empty((steps, rows, cell.gates, units) if save else (0,))
    extra = first.new_empty((steps, rows, units) if save and cell.extra else (0,))
    backend = fused_loop.backend_of(layer, first)
    for start in range(0, rows, block_rows):
        stop = min(start + block_rows, rows)
        some = slice(start, stop)
        alive = [min(n, stop) - start for n in layer.sizes if n > start] if layer.sizes else [stop - start] * steps
        part = Rows(
            x[:, some], first[some], masks.rows(start, stop), alive,
            out[:, some], last[some], gates if save else None, extra,
        )  # fmt: skip
        if backend is None:
            _forward_rows(layer, products, part)
        else:
            fused_loop.fused_forward(backend, layer, products, part)
    return out, last, gates, extra


def _forward_rows(layer: Layer, products: Products, part: Rows) -> None:
    """Run some rows through all their steps."""
    cell, first, masks, out, last = layer.cell, part.first, part.masks, part.out, part.last
    sizes, kept, extra = part.sizes, part.kept, part.extra
    rows, units = first.shape
    span = len(sizes) if kept is not None else steps_at_once(rows * cell.gates * units * 4, len(sizes), _BLOCK_BYTES)
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
            _project(products, part, buffer, products.bias, slice(t, min(t + span, len(sizes))), n)
        target = cut(targets[place], n)
        into = target
        if cell.apart:
            into = cut(recurrent, n)
            _fill(into, products.again)
        old = cut(old, n)
        products.onward.add_(into, old, hidden[t])
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


def _project(products: Products, rows: Rows, buffer: Tensor, bias: Tensor | None, span: slice, n: int) -> None:
    """Fill the buffer with the input products of a span of steps for the first n rows."""
    target = buffer[: span.stop - span.start]
    if n < target.shape[1] and len(target) > 1:
        n = target.shape[1]  # one product over whole steps; what lies beyond a row's length is not read
    target, mask = target[:, :n], rows.masks.input
    _fill(target, bias)
    if mask is not None:
        mask = of_span(mask, span)
        mask = mask[:, :, :n] if mask.shape[2] > n else mask
    products.inward.project_(target, rows.x[span, :n], mask)


def _apart(mask: Tensor | None) -> bool:
    """Whether each gate has a mask of its own."""
    return mask is not None and mask.shape[1] > 1


def _fill(target: Tensor, bias: Tensor | None) -> None:
    if bias is None:
        target.zero_()
    else:
        target.copy_(bias)


def _even(total: int, most: int) -> int:
    """Return the size of equal blocks of at most `most`."""
    blocks = -(-total // most)
    return -(-total // blocks)
