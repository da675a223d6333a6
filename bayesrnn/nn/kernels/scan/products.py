"""Masked products of stacked gates: one matrix product where gates are tied, one batched product where they are not.

Masks here have four dimensions, (steps or 1, gates or 1, rows or 1, features).
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from bayesrnn.nn.kernels.scan.library import kernels, threads_for
from bayesrnn.nn.kernels.scan.packed import packed

_PIECE_BYTES = 640 << 10  # of what enters a masked product at once, so that the mask's product stays in a cache


def pieces(x: Tensor, dtype: torch.dtype) -> Iterator[tuple[slice, slice]]:
    """Yield spans of steps for one product each, with the rows they have once steps and rows are one dimension.

    On a CPU a piece of a masked input that stays in a cache saves a tenth to a fifth of the time. Products in a low
    type have limits of their own and are not cut.
    """
    steps, rows = x.shape[:2]
    span = steps
    if not x.is_cuda and dtype.itemsize > 2:
        span = max(1, _PIECE_BYTES // max(1, rows * x.shape[2] * dtype.itemsize))
    for start in range(0, steps, span):
        stop = min(start + span, steps)
        yield slice(start, stop), slice(start * rows, stop * rows)


def of_span(mask: Tensor, span: slice) -> Tensor:
    """Return the mask of some steps, (steps or 1, ...)."""
    return mask[span] if mask.shape[0] > 1 else mask


def turned(value: Tensor) -> Tensor:
    """Return the transpose of the last two dimensions, laid out in memory, by the copy that runs on all threads."""
    four = value.unflatten(-2, (-1, 1)) if value.dim() == 3 else value.unsqueeze(1).unsqueeze(0)
    copied = four.contiguous(memory_format=torch.channels_last).squeeze(2).mT
    return copied if value.dim() == 3 else copied[0]


def masked(x: Tensor, mask: Tensor, dtype: torch.dtype) -> Iterator[Tensor]:
    """Yield x under the mask of each gate, (steps * rows, features): one buffer, which the next gate overwrites."""
    buffer: Tensor | None = None
    for part in mask.unbind(1):
        buffer = under(x, part, dtype, buffer)
        yield buffer.flatten(0, 1)


def under(x: Tensor, mask: Tensor, dtype: torch.dtype, out: Tensor | None = None) -> Tensor:
    """Return x * mask, (steps, rows, features), in the type of a product; in `out` if that is given."""
    compiled = kernels() if dtype == torch.bfloat16 and x.dtype == torch.float32 and not x.is_cuda else None
    if compiled is None or not x.is_contiguous() or mask.shape[2] != x.shape[2] or mask.dtype != x.dtype:
        return torch.mul(x, mask, out=out) if x.dtype == mask.dtype == dtype else (x * mask).to(dtype)
    out = torch.empty_like(x, dtype=dtype) if out is None else out
    mask = mask.contiguous()
    step, row = (mask.stride(d) if mask.shape[d] > 1 else 0 for d in (0, 1))
    threads = threads_for(x.numel() * 32)
    compiled["masked"](*x.shape, x.data_ptr(), mask.data_ptr(), step, row, out.data_ptr(), threads)
    return out


# Transposing the weights in memory doubles the speed of bfloat16 products on a CPU; it pays from so many rows x steps.
_TURN_FROM = 600


class GateProduct:
    """The products W_k (x * mask_k) of all gates k.

    Args:
        weight: (gates * H, features), gates stacked.
        gates: How many.
        untied: Whether each gate has its own mask.
        dtype: Type in which the product is made.
        rows: How many rows enter the product of one step.
        steps: How many steps are to come.
        at_once: Whether all steps are one product, rather than one product per step.
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
        """Add a product made in a lower type; its two buffers are reused, since allocation costs more than the sum."""
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
        """Return the product of a step, (rows, gates * H) or (gates, rows, H) if untied; the next overwrites it."""
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
            result = x.new_empty(self.gates, x.shape[0] * x.shape[1], self.weight.shape[-1], dtype=self.dtype)
            for span, flat in pieces(x, self.dtype):
                for gate, part in enumerate(masked(x[span], of_span(mask, span), self.dtype)):
                    torch.mm(part, self.weight[gate], out=result[gate, flat])
            return result
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


# Transposing the smaller factor halves the time of a weight's gradient in bfloat16; it pays from so many numbers.
_TURN_GRADIENT_FROM = 1 << 18


def weight_gradient(gradient: Tensor, x: Tensor, mask: Tensor | None, out: Tensor) -> None:
    """Write the gradient of the weight into `out` (gates * H, features): one product per mask, over steps and rows.

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
    by_x = gradient.new_empty(steps, rows, weight.shape[1], dtype=torch.promote_types(gradient.dtype, mask.dtype))
    parts = weight.unflatten(0, (gates, -1)) if mask.shape[1] > 1 else weight.unsqueeze(0)
    for span, _ in pieces(by_x, gradient.dtype):
        some = gradient[span].flatten(0, 1)
        per_gate = some.unbind(1) if mask.shape[1] > 1 else (some.flatten(1),)
        total = by_x[span]
        for gate, (flat, part, kept) in enumerate(zip(per_gate, parts, of_span(mask, span).unbind(1), strict=True)):
            one = torch.mm(flat, part).view(total.shape)
            if gate == 0:
                torch.mul(one, kept, out=total)
            else:
                total.addcmul_(one, kept)
    return by_x
