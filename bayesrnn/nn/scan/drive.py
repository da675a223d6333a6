"""The loops over steps: forward, with the input products of many steps made at once, and backward, written by hand."""

from dataclasses import dataclass

import torch
from torch import Tensor

from bayesrnn.nn.scan.pointwise import POINTWISE, Extras, Kept, Pointwise
from bayesrnn.nn.scan.products import GateProduct, input_gradient, weight_gradient

__all__ = ["Gradients", "Masks", "Weights", "backward", "forward"]

_BLOCK_ROWS = 1024  # when nothing is kept for a backward pass
_BLOCK_BYTES = 8 << 20  # of gates that are projected at once, so that they are read again from a cache


@dataclass(frozen=True)
class Weights:
    """Weights in torch's shapes."""

    ih: Tensor
    hh: Tensor
    bias_ih: Tensor | None
    bias_hh: Tensor | None


@dataclass(frozen=True)
class Masks:
    """Masks of four dimensions, (steps or 1, gates or 1, rows or 1, features or 1), or None."""

    input: Tensor | None
    hidden: Tensor | None
    cell: Tensor | None
    candidate: Tensor | None
    keep_cell: Tensor | None
    keep_hidden: Tensor | None

    def rows(self, start: int, stop: int) -> "Masks":
        """Return the masks of rows start..stop-1."""
        return Masks(*(m if m is None or m.shape[2] == 1 else m[:, :, start:stop] for m in self._all()))

    def _all(self) -> tuple[Tensor | None, ...]:
        return (self.input, self.hidden, self.cell, self.candidate, self.keep_cell, self.keep_hidden)

    def extras(self) -> Extras:
        """Return the pointwise masks of all steps."""
        return Extras(*(None if m is None else m[:, 0] for m in self._all()[2:5]))

    def extras_at(self, t: int, rows: int) -> Extras:
        """Return the pointwise masks of step t."""
        if self.cell is None and self.candidate is None and self.keep_cell is None:
            return _NO_EXTRAS
        return Extras(*(_one(m, t, rows) for m in self._all()[2:5]))


_NO_EXTRAS = Extras()


def at(mask: Tensor | None, t: int, rows: int) -> Tensor | None:
    """Return (gates or 1, rows or 1, features): the mask of step t for the first rows."""
    if mask is None:
        return None
    now = mask[t if mask.shape[0] > 1 else 0]
    return now[:, :rows] if now.shape[1] > rows else now


def _one(mask: Tensor | None, t: int, rows: int) -> Tensor | None:
    now = at(mask, t, rows)
    return None if now is None else now[0]


def forward(
    name: str,
    x: Tensor,
    first: Tensor,
    memory: Tensor | None,
    weights: Weights,
    masks: Masks,
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
    inward = GateProduct(weights.ih, cell.gates, masks.input is not None and masks.input.shape[1] > 1, product)
    onward = GateProduct(weights.hh, cell.gates, masks.hidden is not None and masks.hidden.shape[1] > 1, product)
    gates = first.new_empty((steps, rows, cell.gates, first.shape[1]) if save else (0,))
    extra = first.new_empty((steps, rows, first.shape[1]) if save and cell.extra else (0,))
    biases = _biases(cell, weights, first)
    block_rows = rows if save else _even(rows, _BLOCK_ROWS)
    for start in range(0, rows, block_rows):
        stop = min(start + block_rows, rows)
        part = slice(start, stop)
        _forward_block(
            cell,
            x[:, part],
            first[part],
            (inward, onward),
            biases,
            masks.rows(start, stop),
            [min(n, stop) - start for n in sizes if n > start] if sizes else [stop - start] * steps,
            out[:, part],
            last[part],
            gates if save else None,
            extra,
        )
    return out, last, gates, extra


def _forward_block(
    cell: Pointwise,
    x: Tensor,
    first: Tensor,
    products: tuple[GateProduct, GateProduct],
    biases: tuple[Tensor | None, Tensor | None],
    masks: Masks,
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
    old = first
    for t, n in enumerate(sizes):
        place = t % span
        if place == 0:
            _project(inward, buffer, x, biases[0], masks.input, t, min(t + span, len(sizes)), n)
        target = buffer[place, :n]
        into = target
        if cell.apart:
            into = recurrent[:n]
            _fill(into, biases[1])
        old = old[:n]
        onward.add_(into, old, at(masks.hidden, t, n))
        h = out[t, :n]
        if cell.memory:
            more = last[:n] if kept is None else extra[t, :n]
            before = more if kept is None else (last if t == 0 else extra[t - 1])[:n]
        else:
            more = extra[t, :n] if kept is not None and cell.extra else scratch[:n]
            before = more
        cell.forward(target, into, old, before, h, more, masks.extras_at(t, n))
        keep = _one(masks.keep_hidden, t, n)
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


@dataclass(frozen=True)
class Gradients:
    """Gradients of everything that entered; the biases' as (blocks, H)."""

    x: Tensor | None
    first: Tensor
    memory: Tensor | None
    ih: Tensor
    hh: Tensor
    bias: Tensor


def backward(
    name: str,
    grad_out: Tensor | None,
    grad_last: Tensor | None,
    x: Tensor,
    first: Tensor,
    memory: Tensor | None,
    weights: Weights,
    masks: Masks,
    out: Tensor,
    gates: Tensor,
    extra: Tensor,
    sizes: list[int],
    product: torch.dtype,
    want_x: bool,
) -> Gradients:
    """Go backward through a layer; the weights' gradients are one product over all steps, at the end."""
    cell = POINTWISE[name]
    old = torch.cat((first.unsqueeze(0), out[:-1]))
    blocks, carry, by_h = cell.factors(Kept(gates, extra, old, memory), masks.extras())
    low = blocks if product == blocks.dtype else torch.empty_like(blocks, dtype=product)
    hh = weights.hh.to(product)
    grad_h, grad_c = _loop(cell, grad_out, grad_last, first, hh, masks, blocks, carry, by_h, low, sizes)
    grad_ih, grad_hh = torch.empty_like(weights.ih), torch.empty_like(weights.hh)
    weight_gradient(low[:, :, cell.hidden], old, masks.hidden, grad_hh)
    units = first.shape[1]
    grad_x = None
    ih = weights.ih.to(product)
    for block, gate in cell.inward:
        part = slice(gate.start * units, gate.stop * units)
        mask = masks.input if masks.input is None or masks.input.shape[1] == 1 else masks.input[:, gate]
        weight_gradient(low[:, :, block], x, mask, grad_ih[part])
        if want_x:
            found = input_gradient(low[:, :, block], ih[part], mask)
            grad_x = found if grad_x is None else grad_x.add_(found)
    return Gradients(
        None if grad_x is None else grad_x.to(x.dtype), grad_h, grad_c, grad_ih, grad_hh, blocks.sum((0, 1))
    )


def _loop(
    cell: Pointwise,
    grad_out: Tensor | None,
    grad_last: Tensor | None,
    first: Tensor,
    hh: Tensor,
    masks: Masks,
    blocks: Tensor,
    carry: Tensor | None,
    by_h: Tensor | None,
    low: Tensor,
    sizes: list[int],
) -> tuple[Tensor, Tensor | None]:
    """Turn the factors in `blocks` into gradients, step by step; return those of the initial h and c."""
    grad_h = torch.zeros_like(first)
    grad_c = None
    if cell.memory:
        grad_c = torch.zeros_like(first) if grad_last is None else grad_last.clone()
    steps, rows = blocks.shape[:2]
    buffer = torch.empty_like(first)
    for t in reversed(range(steps)):
        n = sizes[t] if sizes else rows
        if n < rows:
            blocks[t, n:].zero_()
            low[t, n:].zero_()
        if n == 0:
            continue
        total = grad_h[:n]
        if grad_out is not None:
            total.add_(grad_out[t, :n])
        keep, kept = _one(masks.keep_hidden, t, n), None
        if keep is not None:
            kept = total * keep
            total = total - kept
        gradient = blocks[t, :n]
        if grad_c is not None and by_h is not None and carry is not None:
            _memory_step(gradient, total, grad_c[:n], by_h[t, :n], carry[t, :n], _one(masks.keep_cell, t, n))
        else:
            gradient.mul_(total.unsqueeze(1))
        if low is not blocks:
            low[t, :n].copy_(gradient)
        found = _through(low[t, :n, cell.hidden], hh, at(masks.hidden, t, n), buffer[:n])
        if carry is not None and not cell.memory:
            found.addcmul_(total, carry[t, :n])
        if kept is not None:
            found.add_(kept)
        if found is not buffer or n < rows:
            grad_h[:n].copy_(found)
        else:
            grad_h, buffer = found, grad_h
    return grad_h, grad_c


def _memory_step(
    gradient: Tensor, total: Tensor, grad_c: Tensor, by_h: Tensor, carry: Tensor, keep: Tensor | None
) -> None:
    """One step of an LSTM: the factors in `gradient` become gradients, `grad_c` goes from new memory to old."""
    kept = None
    if keep is not None:
        kept = grad_c * keep
        grad_c.sub_(kept)
    grad_c.addcmul_(total, by_h)
    gradient[:, :3].mul_(grad_c.unsqueeze(1))
    gradient[:, 3].mul_(total)
    grad_c.mul_(carry)
    if kept is not None:
        grad_c.add_(kept)


def _through(gradient: Tensor, weight: Tensor, mask: Tensor | None, out: Tensor) -> Tensor:
    """Return the gradient of h (rows, H) through the recurrent product of one step."""
    if mask is not None and mask.shape[0] > 1:
        gates = mask.shape[0]
        found = torch.bmm(gradient.transpose(0, 1), weight.unflatten(0, (gates, -1)))
        return torch.sum(found.to(out.dtype).mul_(mask), 0, out=out)
    if weight.dtype == out.dtype:
        torch.mm(gradient.flatten(1), weight, out=out)
    else:
        out.copy_(torch.mm(gradient.flatten(1), weight))
    return out if mask is None else out.mul_(mask[0])
