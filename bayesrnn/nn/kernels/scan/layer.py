"""One layer and direction through the scan: what `reference` does, for speed."""

from dataclasses import replace

import torch
from torch import Tensor

from bayesrnn.masks import SiteMasks
from bayesrnn.nn.kernels.cells import Cell, State
from bayesrnn.nn.kernels.reference import Weights
from bayesrnn.nn.kernels.scan.gpu import on_gpu
from bayesrnn.nn.kernels.scan.masks import Alignment
from bayesrnn.nn.kernels.scan.operators import scan_op
from bayesrnn.nn.sequences import turned_steps

__all__ = ["product_dtype", "scan"]

_LOW = (torch.bfloat16, torch.float16)


def scan(
    cell: Cell,
    x: Tensor,
    state: State,
    weights: Weights,
    masks: SiteMasks,
    *,
    lengths: Tensor | None = None,
    reverse: bool = False,
) -> tuple[Tensor, State]:
    """Run one layer in one direction; the arguments and results are those of `reference`.

    Matrix products are made in the type of autocast or of the weights; the state is float32 at least. Masks get no
    gradient.
    """
    w_ih, w_hh, b_ih, b_hh = weights
    if masks.weight is not None:
        w_hh = w_hh * masks.weight[0, 0]
    product = product_dtype(x, w_ih)
    w_ih, w_hh = w_ih.to(product), w_hh.to(product)  # once, for both directions of time
    held = torch.float32 if product in _LOW else product
    order = _Order(lengths, x.shape[0], reverse, x.device)
    entering = order.inward(x)
    ordered = replace(masks, weight=None).on(x.device, held).map(order.mask)
    first = [order.rows(s.to(held)).contiguous() for s in state]
    units = first[0].shape[1]
    filled = Alignment.of(x.shape[2], units, product)
    widened = filled and not torch.compiler.is_compiling() and on_gpu(cell.name, first[0], ordered, order.sizes)
    if widened:
        entering, first = filled.entering(entering), [filled.held(s) for s in first]
        ordered = filled.masks(ordered)
        w_ih, w_hh, b_ih, b_hh = filled.weights(w_ih, w_hh, b_ih, b_hh, cell.gates)
    needed = (x, *state, *(w for w in (w_ih, w_hh, b_ih, b_hh) if w is not None))
    save = torch.is_grad_enabled() and any(t.requires_grad for t in needed)
    memory = first[1] if len(first) > 1 else None
    out, last, _, _ = scan_op(
        cell.name,
        entering,
        first[0],
        memory,
        w_ih,
        w_hh,
        b_ih,
        b_hh,
        ordered.all(),
        ordered.sites,
        order.sizes,
        product,
        save,
    )
    if widened:
        out, last = out[..., :units].contiguous(), last[..., :units]
    final = [out[-1] if lengths is None else out.gather(0, order.ends(out)).squeeze(0)]
    if memory is not None:
        final.append(last)
    return order.outward(out), tuple(order.back(value) for value in final)


def product_dtype(x: Tensor, weight: Tensor) -> torch.dtype:
    """Return the type of the matrix products: autocast's where it is on, else the weights'."""
    if torch.is_autocast_enabled(x.device.type) and weight.dtype != torch.float64:
        return torch.get_autocast_dtype(x.device.type)
    return weight.dtype


class _Order:
    """The order in which a scan wants its input: long rows first, and time forward."""

    def __init__(self, lengths: Tensor | None, steps: int, reverse: bool, device: torch.device) -> None:
        self.reverse = reverse
        self.lengths: Tensor | None = None
        self.forth: Tensor | None = None
        self.sizes: list[int] = []
        if lengths is None:
            return
        lengths = lengths.cpu()
        ordered, forth = lengths.sort(descending=True, stable=True)
        if not bool((forth[1:] > forth[:-1]).all()):
            self.forth, self.inverse = forth.to(device), forth.argsort().to(device)
        self.lengths = ordered.to(device)
        times = torch.arange(steps)
        self.sizes = (ordered.unsqueeze(0) > times.unsqueeze(1)).sum(1).tolist()
        self.turn = turned_steps(ordered, steps).to(device)

    def rows(self, value: Tensor, dim: int = 0) -> Tensor:
        """Put the rows into the order of the scan."""
        return value if self.forth is None else value.index_select(dim, self.forth)

    def back(self, value: Tensor, dim: int = 0) -> Tensor:
        """Put the rows back into the caller's order."""
        return value if self.forth is None else value.index_select(dim, self.inverse)

    def inward(self, x: Tensor) -> Tensor:
        """Order (steps, rows, features) for the scan."""
        return self._turned(self.rows(x, 1))

    def outward(self, out: Tensor) -> Tensor:
        """Undo `inward`."""
        return self.back(self._turned(out), 1)

    def mask(self, site: str, mask: Tensor) -> Tensor:
        """Order a mask of four dimensions."""
        if mask.shape[2] > 1:
            mask = self.rows(mask, 2)
        if mask.shape[0] == 1 or not self.reverse:
            return mask
        if self.lengths is None:
            return mask.flip(0)
        full = mask.expand(-1, -1, self.lengths.shape[0], -1)
        return full.gather(0, self.turn[:, None, :, None].expand_as(full))

    def ends(self, out: Tensor) -> Tensor:
        """Return indices (1, rows, H) of each row's last step."""
        if self.lengths is None:
            raise ValueError("rows without lengths end together")
        return (self.lengths - 1).view(1, -1, 1).expand(1, -1, out.shape[2])

    def _turned(self, value: Tensor) -> Tensor:
        if not self.reverse:
            return value
        if self.lengths is None:
            return value.flip(0)
        return value.gather(0, self.turn.unsqueeze(-1).expand_as(value))
