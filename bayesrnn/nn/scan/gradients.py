"""Gradients of masked products: of the weights, and of what entered.

Masks here have four dimensions, (steps or 1, gates or 1, rows or 1, features); gradients of the gates have the shape
(steps, rows, gates, H).
"""

import torch
from torch import Tensor

from bayesrnn.nn.scan.pieces import masked, of_span, pieces, turned

__all__ = ["input_gradient", "weight_gradient"]

# A weight's gradient in bfloat16 takes half the time when the smaller factor is turned around in memory first, if the
# gradient has this many numbers; below, turning takes longer than the product.
_TURN_GRADIENT_FROM = 1 << 18


def weight_gradient(gradient: Tensor, x: Tensor, mask: Tensor | None, out: Tensor) -> None:
    """Write into `out` (gates * H, features) the gradient of the weight: one product a mask over all steps and rows.

    Args:
        gradient: Of the gates, (steps, rows, gates, H), in the type of the product.
        x: What entered before the mask, (steps, rows, features).
        mask: Of four dimensions, or None.
        out: Where to write.
    """
    if mask is None:
        _outer(gradient.flatten(2).flatten(0, 1), x.to(gradient.dtype).flatten(0, 1), out)
        return
    parts = out.unflatten(0, (gradient.shape[2], -1)) if mask.shape[1] > 1 else out.unsqueeze(0)
    for span, _ in pieces(x, gradient.dtype):
        some = gradient[span].flatten(0, 1)
        per_gate = some.unbind(1) if mask.shape[1] > 1 else (some.flatten(1),)
        entering = masked(x[span], of_span(mask, span), gradient.dtype)
        for flat, seen, part in zip(per_gate, entering, parts, strict=True):
            _outer(flat, seen, part, add=span.start > 0)


def _outer(gradient: Tensor, entering: Tensor, out: Tensor, *, add: bool = False) -> None:
    """Write gradient^T entering into `out`, or add it; low types are made whole and never added."""
    if add:
        out.addmm_(gradient.t(), entering)
    elif gradient.dtype.itemsize > 2:
        torch.mm(gradient.t(), entering, out=out)
    elif out.numel() >= _TURN_GRADIENT_FROM:
        out.copy_(turned(torch.mm(turned(entering), gradient)))
    else:
        out.copy_(torch.mm(gradient.t(), entering))


def input_gradient(gradient: Tensor, weight: Tensor, mask: Tensor | None) -> Tensor:
    """Return the gradient of what entered, (steps, rows, features).

    Args:
        gradient: Of the gates, (steps, rows, gates, H), in the type of the product.
        weight: (gates * H, features), in the type of the product.
        mask: Of four dimensions, or None.
    """
    steps, rows, gates, _ = gradient.shape
    if mask is None:
        return torch.mm(gradient.flatten(2).flatten(0, 1), weight).view(steps, rows, -1)
    found = gradient.new_empty(steps, rows, weight.shape[1], dtype=torch.promote_types(gradient.dtype, mask.dtype))
    parts = weight.unflatten(0, (gates, -1)) if mask.shape[1] > 1 else weight.unsqueeze(0)
    for span, _ in pieces(found, gradient.dtype):
        some = gradient[span].flatten(0, 1)
        per_gate = some.unbind(1) if mask.shape[1] > 1 else (some.flatten(1),)
        total = found[span]
        for gate, (flat, part, kept) in enumerate(zip(per_gate, parts, of_span(mask, span).unbind(1), strict=True)):
            made = torch.mm(flat, part).view(total.shape)
            if gate == 0:
                torch.mul(made, kept, out=total)
            else:
                total.addcmul_(made, kept)
    return found
