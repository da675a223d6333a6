"""The loop backward in time, written by hand."""

from dataclasses import dataclass

import torch
from torch import Tensor

from bayesrnn.masks import SiteMasks
from bayesrnn.nn.kernels.scan import fused_loop
from bayesrnn.nn.kernels.scan.layer import Layer, along, cut, extras, gated, ungated
from bayesrnn.nn.kernels.scan.pointwise import Kept
from bayesrnn.nn.kernels.scan.products import input_gradient, weight_gradient
from bayesrnn.nn.kernels.scan.sequence import kernels_for, sequence_backward


@dataclass(frozen=True)
class Saved:
    """Tensors saved for the backward pass: inputs, outputs, activated gates, and extras of the cell."""

    x: Tensor
    out: Tensor
    gates: Tensor
    extra: Tensor


@dataclass(frozen=True)
class Gradients:
    """Gradients of everything that entered, the biases' as (blocks, H), and of the gates at every step."""

    x: Tensor | None
    first: Tensor
    memory: Tensor | None
    ih: Tensor
    hh: Tensor
    bias: Tensor
    gates: Tensor


def backward(
    layer: Layer,
    state: tuple[Tensor, ...],
    saved: Saved,
    grad_out: Tensor | None,
    grad_last: Tensor | None,
    want_weights: bool,
    want_x: bool,
) -> Gradients:
    """Go backward through a layer; the weights' gradients are one product over all steps, at the end.

    Args:
        layer: Cell, weights, masks and sizes.
        state: Initial h, or h and c.
        saved: What the forward pass kept.
        grad_out: Gradient of the outputs, or None.
        grad_last: Gradient of the last memory, or None.
        want_weights: Whether the gradients of the weights are needed; without, they are empty.
        want_x: Whether the gradient of the inputs is needed.
    """
    cell, masks, product, first = layer.cell, layer.masks, layer.product, state[0]
    own = kernels_for(layer, saved.x, first)
    if own is not None:
        everything = (saved.x, saved.out, saved.gates, saved.extra)
        return Gradients(*sequence_backward(own, layer, state, everything, grad_out, grad_last, want_weights, want_x))
    old, kept = torch.cat((first.unsqueeze(0), saved.out[:-1])), (saved.out, saved.gates, saved.extra)
    whole, backend = fused_loop.persistent_of(layer, first), fused_loop.backend_of(layer, first)
    if whole is not None:
        blocks, low, grad_h, grad_c = whole.persistent_backward(layer, state, kept, grad_out, grad_last)
    elif backend is not None:
        blocks, low, grad_h, grad_c = fused_loop.fused_backward(backend, layer, state, kept, grad_out, grad_last)
    else:
        memory = state[1] if cell.memory else None
        blocks, carry, by_h = cell.factors(Kept(saved.gates, saved.extra, old, memory), extras(masks))
        low = blocks if product == blocks.dtype else torch.empty_like(blocks, dtype=product)
        grad_h, grad_c = _loop(layer, first, (blocks, carry, by_h), low, grad_out, grad_last)
    grad_ih, grad_hh = torch.empty_like(layer.ih), torch.empty_like(layer.hh)
    if want_weights:
        weight_gradient(low[:, :, cell.hidden], old, masks.hidden, grad_hh)
    units, ih, grad_x = first.shape[1], layer.ih.to(product), None
    for block, gate in cell.inward:
        part = slice(gate.start * units, gate.stop * units)
        mask = masks.input if masks.input is None or masks.input.shape[1] == 1 else masks.input[:, gate]
        if want_weights:
            weight_gradient(low[:, :, block], saved.x, mask, grad_ih[part])
        if want_x:
            one = input_gradient(low[:, :, block], ih[part], mask)
            grad_x = one if grad_x is None else grad_x.add_(one)
    return Gradients(
        None if grad_x is None else grad_x.to(saved.x.dtype), grad_h, grad_c, grad_ih, grad_hh, blocks.sum((0, 1)), low
    )


def _loop(
    layer: Layer,
    first: Tensor,
    factors: tuple[Tensor, Tensor | None, Tensor | None],
    low: Tensor,
    grad_out: Tensor | None,
    grad_last: Tensor | None,
) -> tuple[Tensor, Tensor | None]:
    """Turn the factors of the gates into gradients, step by step; return the gradients of the initial h and c.

    Args:
        layer: Cell, weights, masks and sizes.
        first: Initial h.
        factors: What `Pointwise.factors` returns.
        low: Filled with the gates' gradients in the type of the products.
        grad_out: Gradient of the outputs, or None.
        grad_last: Gradient of the last memory, or None.
    """
    (blocks, carry, by_h), cell, masks, hh = factors, layer.cell, layer.masks, layer.hh.to(layer.product)
    grad_h = torch.zeros_like(first)
    grad_c = None
    if cell.memory:
        grad_c = torch.zeros_like(first) if grad_last is None else grad_last.clone()
    steps, rows = blocks.shape[:2]
    sizes = layer.sizes or [rows] * steps
    arriving = None if grad_out is None else along(grad_out, sizes)
    gradients, lows = along(blocks, sizes), along(low, sizes)
    onward = along(low[:, :, cell.hidden].flatten(2), sizes)
    carries = None if carry is None else along(carry, sizes)
    memory = None if by_h is None else _Memory(blocks, by_h, masks, sizes)
    hidden, keeps = gated(masks.hidden, sizes), ungated(masks.keep_hidden, sizes)
    buffer = torch.empty_like(first)
    for t in reversed(range(len(sizes))):
        n = sizes[t]
        if n < rows:
            blocks[t, n:].zero_()
            low[t, n:].zero_()
        if n == 0:
            continue
        total = cut(grad_h, n)
        if arriving is not None:
            total.add_(arriving[t])
        keep, kept = keeps[t], None
        if keep is not None:
            kept = total * keep
            total = total - kept
        if memory is not None and grad_c is not None and carries is not None:
            memory.step(t, total, cut(grad_c, n), carries[t])
        else:
            gradients[t].mul_(total.unsqueeze(1))
        if low is not blocks:
            lows[t].copy_(gradients[t])
        before = _through(onward[t], hh, hidden[t], cut(buffer, n))
        if carries is not None and memory is None:
            before.addcmul_(total, carries[t])
        if kept is not None:
            before.add_(kept)
        if before is not buffer:
            grad_h[:n].copy_(before)
        else:
            grad_h, buffer = before, grad_h
    for t in range(len(sizes), steps):
        blocks[t].zero_()
        low[t].zero_()
    return grad_h, grad_c


class _Memory:
    """The part of a step backward that an LSTM's memory cells need."""

    def __init__(self, blocks: Tensor, by_h: Tensor, masks: SiteMasks, sizes: list[int]) -> None:
        self.inner, self.output = along(blocks[:, :, :3], sizes), along(blocks[:, :, 3], sizes)
        self.by_h, self.keeps = along(by_h, sizes), ungated(masks.keep_cell, sizes)

    def step(self, t: int, total: Tensor, grad_c: Tensor, carry: Tensor) -> None:
        """Turn the factors of a step into gradients, and `grad_c` of the new memory into the old one's."""
        keep, kept = self.keeps[t], None
        if keep is not None:
            kept = grad_c * keep
            grad_c.sub_(kept)
        grad_c.addcmul_(total, self.by_h[t])
        self.inner[t].mul_(grad_c.unsqueeze(1))
        self.output[t].mul_(total)
        grad_c.mul_(carry)
        if kept is not None:
            grad_c.add_(kept)


def _through(gradient: Tensor, weight: Tensor, mask: Tensor | None, out: Tensor) -> Tensor:
    """Return the gradient of h (rows, H) through one recurrent product, given the gradient of its gates."""
    if mask is not None and mask.shape[0] > 1:
        gates = mask.shape[0]
        per_gate = gradient.unflatten(1, (gates, -1)).transpose(0, 1)
        per_gate = torch.bmm(per_gate, weight.unflatten(0, (gates, -1)))
        return torch.sum(per_gate.to(out.dtype).mul_(mask), 0, out=out)
    if weight.dtype == out.dtype:
        torch.mm(gradient, weight, out=out)
    else:
        out.copy_(torch.mm(gradient, weight))
    return out if mask is None else out.mul_(mask[0])
