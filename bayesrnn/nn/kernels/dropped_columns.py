r"""Masks that all rows share, by leaving out what is dropped: $W (x \circ z) = W_{:,K} x_K / (1 - p)$, K what is kept.

At p = .5 half of the weights are never used. Folding multiplies them by 0 all the same; here they are left out of the
products once a pass, so that each step multiplies half as much. Without gradients only.
"""

import torch
from torch import Tensor

from bayesrnn.masks import SiteMasks
from bayesrnn.nn.kernels.cells import Cell, State
from bayesrnn.nn.kernels.reference import Weights

__all__ = ["compact", "pays"]

_SHARE = 0.3  # of the units dropped: below it torch's own kernel is as fast
_ROWS = 48  # with fewer rows a step reads weights rather than multiplies


class _Product:
    """The products of one site: kept features times their columns of the weights.

    Args:
        weight: (gates * H, features), gates stacked.
        mask: (1, features), (gates, 1, features) where gates are untied, or None.
        bias: (gates * H,), or None.
        gates: How many.
    """

    def __init__(self, weight: Tensor, mask: Tensor | None, bias: Tensor | None, gates: int) -> None:
        self.gates, self.untied, self.kept = gates, False, None
        self.bias = weight.new_zeros(len(weight)) if bias is None else bias
        if mask is None:
            self.weight = weight.t().contiguous()
            return
        mask = mask[0].to(weight.dtype)
        self.untied = len(mask) > 1
        if not self.untied:
            mask = mask[0]
            self.kept = mask[0].nonzero().flatten()
            self.weight = (weight * mask).index_select(1, self.kept).t().contiguous()
            return
        alive = mask[:, 0] != 0
        # kept units first; where a gate keeps fewer than the most, dropped ones fill up, with weights of 0
        chosen = alive.to(torch.int8).argsort(dim=1, descending=True, stable=True)[:, : int(alive.sum(1).max())]
        self.kept = chosen.flatten()
        scaled = weight.unflatten(0, (gates, -1)) * mask
        self.weight = scaled.gather(2, chosen.unsqueeze(1).expand(-1, scaled.shape[1], -1)).mT.contiguous()
        self.bias = self.bias.view(gates, 1, -1)

    def __call__(self, x: Tensor) -> Tensor:
        """Return the product (rows, gates * H) with x (rows, features)."""
        entering = x if self.kept is None else x.index_select(1, self.kept)
        if not self.untied:
            return torch.addmm(self.bias, entering, self.weight)
        parts = torch.baddbmm(self.bias, entering.unflatten(1, (self.gates, -1)).transpose(0, 1), self.weight)
        return parts.transpose(0, 1).flatten(1)


def pays(x: Tensor, masks: SiteMasks, lengths: Tensor | None) -> bool:
    """Whether leaving out is faster than folding: on a CPU, without gradients, with enough rows and enough dropped."""
    if x.is_cuda or torch.is_grad_enabled() or lengths is not None or x.shape[1] < _ROWS or masks.weight is not None:
        return False
    hidden = masks.hidden
    return hidden is not None and float((hidden == 0).float().mean()) >= _SHARE


def compact(
    cell: Cell,
    x: Tensor,
    state: State,
    weights: Weights,
    masks: SiteMasks,
    *,
    lengths: Tensor | None = None,
    reverse: bool = False,
) -> tuple[Tensor, State]:
    """Run one layer in one direction; arguments and results are those of `reference`, masks those that can be folded.

    Raises:
        ValueError: If rows have lengths of their own; `stock` serves those.
    """
    if lengths is not None:
        raise ValueError("rows of different lengths are served by the fold, not by leaving out dropped units.")
    w_ih, w_hh, b_ih, b_hh = weights
    inward, onward = _Product(w_ih, masks.input, b_ih, cell.gates), _Product(w_hh, masks.hidden, b_hh, cell.gates)
    projected = inward(x.flatten(0, 1)).unflatten(0, x.shape[:2])
    none = SiteMasks()
    outputs: list[Tensor] = [x] * len(x)
    for t in reversed(range(len(x))) if reverse else range(len(x)):
        state = cell.step(projected[t], onward(state[0]), state, none)
        outputs[t] = state[0]
    return torch.stack(outputs), state
