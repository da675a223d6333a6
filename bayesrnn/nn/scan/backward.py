"""The loop backward in time, written by hand."""

from dataclasses import dataclass

import torch
from torch import Tensor

from bayesrnn.nn.scan.parts import Masks, Weights, at, one
from bayesrnn.nn.scan.pointwise import POINTWISE, Kept, Pointwise
from bayesrnn.nn.scan.products import input_gradient, weight_gradient

__all__ = ["Gradients", "backward"]


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
        keep, kept = one(masks.keep_hidden, t, n), None
        if keep is not None:
            kept = total * keep
            total = total - kept
        gradient = blocks[t, :n]
        if grad_c is not None and by_h is not None and carry is not None:
            _memory_step(gradient, total, grad_c[:n], by_h[t, :n], carry[t, :n], one(masks.keep_cell, t, n))
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
