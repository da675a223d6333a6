"""Masked products of stacked gates: one matrix product where gates are tied, one batched product where they are not.

Masks here have four dimensions, (steps or 1, gates or 1, rows or 1, features); gradients of the gates have the shape
(steps, rows, gates, H).
"""

import torch
from torch import Tensor

__all__ = ["GateProduct", "input_gradient", "weight_gradient"]


class GateProduct:
    """W_k (x * mask_k) for every gate k, added to what the gates hold already.

    Args:
        weight: (gates * H, features), gates stacked.
        gates: How many.
        untied: Whether each gate has its own mask.
        dtype: Type in which the product is made.
    """

    def __init__(self, weight: Tensor, gates: int, untied: bool, dtype: torch.dtype) -> None:
        self.gates, self.untied, self.dtype = gates, untied, dtype
        stacked = weight.to(dtype)
        turned = stacked.unflatten(0, (gates, -1)).mT if untied else stacked.t()
        # A copy that is row-major in the features doubles the speed of bfloat16 products on a CPU; for float32 the copy
        # costs more than it saves.
        self.weight = turned.contiguous() if dtype == torch.bfloat16 and not weight.is_cuda else turned

    def add_(self, target: Tensor, x: Tensor, mask: Tensor | None) -> None:
        """Add to `target` (rows, gates, H) the product with x (rows, features) under a mask of one step."""
        if self.untied and mask is not None:
            into, entering = target.transpose(0, 1), (x * mask).to(self.dtype)
            if target.dtype == self.dtype:
                into.baddbmm_(entering, self.weight)
            else:
                into.add_(torch.bmm(entering, self.weight))
            return
        flat, entering = target.flatten(1), (x if mask is None else x * mask[0]).to(self.dtype)
        if target.dtype == self.dtype:
            flat.addmm_(entering, self.weight)
        else:
            flat.add_(torch.mm(entering, self.weight))

    def project_(self, target: Tensor, x: Tensor, mask: Tensor | None) -> None:
        """Do the same for many steps: (steps, rows, gates, H), (steps, rows, features), a mask of four dimensions."""
        flat = target.flatten(0, 1)
        if mask is None:
            self.add_(flat, x.flatten(0, 1), None)
        elif self.untied:
            masked = (x * mask.transpose(0, 1)).to(self.dtype).flatten(1, 2)
            into = flat.transpose(0, 1)
            if target.dtype == self.dtype:
                into.baddbmm_(masked, self.weight)
            else:
                into.add_(torch.bmm(masked, self.weight))
        else:
            self.add_(flat, (x * mask[:, 0]).flatten(0, 1), None)


def weight_gradient(gradient: Tensor, x: Tensor, mask: Tensor | None, out: Tensor) -> None:
    """Write into `out` (gates * H, features) the gradient of the weight: one product over all steps and rows.

    Args:
        gradient: Of the gates, (steps, rows, gates, H), in the type of the product.
        x: What entered before the mask, (steps, rows, features).
        mask: Of four dimensions, or None.
        out: Where to write.
    """
    if mask is None or mask.shape[1] == 1:
        entering = (x if mask is None else x * mask[:, 0]).to(gradient.dtype).flatten(0, 1)
        columns = gradient.flatten(2).flatten(0, 1).t()
        if out.dtype == gradient.dtype:
            torch.mm(columns, entering, out=out)
        else:
            out.copy_(torch.mm(columns, entering))
        return
    entering = (x * mask.transpose(0, 1)).to(gradient.dtype).flatten(1, 2)
    per_gate = gradient.flatten(0, 1).permute(1, 2, 0)
    out.copy_(torch.bmm(per_gate, entering).flatten(0, 1))


def input_gradient(gradient: Tensor, weight: Tensor, mask: Tensor | None) -> Tensor:
    """Return the gradient of what entered, (steps, rows, features).

    Args:
        gradient: Of the gates, (steps, rows, gates, H), in the type of the product.
        weight: (gates * H, features), in the type of the product.
        mask: Of four dimensions, or None.
    """
    steps, rows, gates, _ = gradient.shape
    if mask is None or mask.shape[1] == 1:
        found = torch.mm(gradient.flatten(2).flatten(0, 1), weight).view(steps, rows, -1)
        return found if mask is None else found * mask[:, 0]
    per_gate = gradient.flatten(0, 1).transpose(0, 1)
    found = torch.bmm(per_gate, weight.unflatten(0, (gates, -1))).unflatten(1, (steps, rows))
    return (found * mask.transpose(0, 1)).sum(0)
