"""The plain loop over steps that anyone can read: the reference for every faster path."""

import torch
from torch import Tensor

from bayesrnn.masks import SiteMasks
from bayesrnn.nn.kernels.cells import Cell, State

Weights = tuple[Tensor, Tensor, Tensor | None, Tensor | None]
"""(weight_ih, weight_hh, bias_ih, bias_hh) in torch's shapes."""


def reference(
    cell: Cell,
    x: Tensor,
    state: State,
    weights: Weights,
    masks: SiteMasks,
    *,
    lengths: Tensor | None = None,
    reverse: bool = False,
) -> tuple[Tensor, State]:
    r"""Run one layer in one direction, step by step.

    Gate k sees $W_k (x_t \circ z_x^k) + b_k + U_k (h_{t-1} \circ z_h^k) + d_k$. A row stands still beyond its length:
    its state is kept and its output is 0, as after `pad_packed_sequence`.

    Args:
        cell: The recurrence.
        x: Inputs (T, rows, D).
        state: Initial (h,) or (h, c), each (rows, H).
        weights: In torch's shapes, gates stacked.
        masks: Masks of this layer and direction.
        lengths: Steps of each row, (rows,).
        reverse: Whether time runs backwards.

    Returns:
        The outputs (T, rows, H) and the last state.
    """
    w_ih, w_hh, b_ih, b_hh = weights
    if masks.weight is not None:
        w_hh = w_hh * masks.weight[0, 0]
    outputs: list[Tensor] = [x.new_empty(0)] * x.shape[0]
    for t in reversed(range(x.shape[0])) if reverse else range(x.shape[0]):
        now = masks.at(t)
        inward = masked_product(x[t], w_ih, b_ih, now.input, cell.gates)
        recurrent = masked_product(state[0], w_hh, b_hh, now.hidden, cell.gates)
        new = cell.step(inward, recurrent, state, now)
        if lengths is None:
            state, outputs[t] = new, new[0]
        else:
            alive = (lengths > t).to(x.device).unsqueeze(-1)
            state = tuple(torch.where(alive, a, b) for a, b in zip(new, state, strict=True))
            outputs[t] = torch.where(alive, new[0], torch.zeros_like(new[0]))
    return torch.stack(outputs), state


def masked_product(x: Tensor, weight: Tensor, bias: Tensor | None, mask: Tensor | None, gates: int) -> Tensor:
    """Return W (x * mask) + b of one step, (rows, gates * H); each gate sees its own masked input where untied."""
    if mask is None or mask.shape[1] == 1:
        return torch.nn.functional.linear(x if mask is None else x * mask[0, 0], weight, bias)
    parts = torch.einsum("grf,gof->rgo", x * mask[0], weight.unflatten(0, (gates, -1))).flatten(1)
    return parts if bias is None else parts + bias
