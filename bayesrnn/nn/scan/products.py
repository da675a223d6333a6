"""Masked products of stacked gates: one matrix product where gates are tied, one batched product where they are not.

Masks here have four dimensions, (steps or 1, gates or 1, rows or 1, features).
"""

import torch
from torch import Tensor

from bayesrnn.nn.scan.packing import packed
from bayesrnn.nn.scan.pieces import masked, of_span, pieces, turned, under

__all__ = ["GateProduct"]

# A copy of the weights that is row-major in the features doubles the speed of bfloat16 products of many rows on a CPU,
# and costs as much as it wins with this many. For float32 it never pays.
_TURN_FROM = 600


class GateProduct:
    """W_k (x * mask_k) for every gate k, added to what the gates hold already.

    Args:
        weight: (gates * H, features), gates stacked.
        gates: How many.
        untied: Whether each gate has its own mask.
        dtype: Type in which the product is made.
        rows: How many rows enter the product of one step.
        steps: How many steps are to come.
        at_once: Whether the steps are made together, rather than one after the other.
    """

    def __init__(
        self, weight: Tensor, gates: int, untied: bool, dtype: torch.dtype, rows: int, steps: int, *, at_once: bool
    ) -> None:
        self.gates, self.untied, self.dtype, self.rows = gates, untied, dtype, rows
        stacked = weight.to(dtype)
        parts = list(stacked.unflatten(0, (gates, -1))) if untied else [stacked]
        self._low: Tensor | None = None
        self._wide: Tensor | None = None
        self.packed = [] if at_once else packed(parts, rows, steps)
        shaped = stacked.unflatten(0, (gates, -1)) if untied else stacked
        worth = dtype == torch.bfloat16 and not self.packed and not weight.is_cuda and rows * steps >= _TURN_FROM
        self.weight = turned(shaped) if worth else shaped.mT

    def add_(self, target: Tensor, x: Tensor, mask: Tensor | None) -> None:
        """Add to `target` (rows, gates, H) the product with x (rows, features) under a mask of one step."""
        untied = self.untied and mask is not None
        entering = (x if mask is None else x * (mask if untied else mask[0])).to(self.dtype)
        into, seen = (target.transpose(0, 1), entering) if untied else (target.flatten(1), entering)
        if self.packed and x.shape[0] == self.rows:
            for product, part, given in zip(
                self.packed, *((into, seen) if untied else ((into,), (seen,))), strict=True
            ):
                part.add_(product(given))
        elif target.dtype == self.dtype:
            (into.baddbmm_ if untied else into.addmm_)(seen, self.weight)
        else:
            self._add_low(into, seen)

    def _add_low(self, into: Tensor, entering: Tensor) -> None:
        """Add a product made in a lower type; its two buffers are kept, since fresh memory costs more than the sum."""
        low = torch.matmul(entering, self.weight, out=self._buffer(entering))
        if self._wide is None or self._wide.shape != low.shape:
            self._wide = into.new_empty(low.shape)
        into.add_(self._wide.copy_(low))

    def project_(self, target: Tensor, x: Tensor, mask: Tensor | None) -> None:
        """Do the same for many steps: (steps, rows, gates, H), (steps, rows, features), a mask of four dimensions."""
        flat = target.flatten(0, 1)
        if mask is None:
            self.add_(flat, x.flatten(0, 1), None)
        elif self.untied:
            for gate, entering in enumerate(masked(x, mask, self.dtype)):
                into = flat[:, gate]
                if target.dtype == self.dtype:
                    into.addmm_(entering, self.weight[gate])
                else:
                    into.add_(torch.mm(entering, self.weight[gate]))
        else:
            self.add_(flat, under(x, mask[:, 0], self.dtype).flatten(0, 1), None)

    def one(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Return the product of a step, (rows, gates * H) or (gates, rows, H) if untied, until the next one is made."""
        untied = self.untied and mask is not None
        entering = (x if mask is None else x * (mask if untied else mask[0])).to(self.dtype)
        if self.packed and x.shape[0] == self.rows:
            if untied:
                return torch.stack([product(part) for product, part in zip(self.packed, entering, strict=True)])
            return self.packed[0](entering)
        return torch.matmul(entering, self.weight, out=self._buffer(entering))

    def many(self, x: Tensor, mask: Tensor | None, into: Tensor | None = None) -> Tensor:
        """Return the products of steps, (steps * rows, gates * H) or (gates, steps * rows, H), in `into` if it fits."""
        if mask is not None and self.untied:
            found = x.new_empty(self.gates, x.shape[0] * x.shape[1], self.weight.shape[-1], dtype=self.dtype)
            for span, flat in pieces(x, self.dtype):
                for gate, part in enumerate(masked(x[span], of_span(mask, span), self.dtype)):
                    torch.mm(part, self.weight[gate], out=found[gate, flat])
            return found
        if into is None or into.dtype != self.dtype:
            into = self._buffer(x.flatten(0, 1))
        if mask is None:
            return torch.mm(x.to(self.dtype).flatten(0, 1), self.weight, out=into)
        for span, flat in pieces(x, self.dtype):
            torch.mm(under(x[span], of_span(mask, span)[:, 0], self.dtype).flatten(0, 1), self.weight, out=into[flat])
        return into

    def _buffer(self, entering: Tensor) -> Tensor:
        shape = (*entering.shape[:-1], self.weight.shape[-1])
        if self._low is None or self._low.shape != shape:
            self._low = entering.new_empty(shape, dtype=self.dtype)
        return self._low
