"""LSTM with projected states (`proj_size`): h_t = W_hr (o tanh(c_t)), masked where h is read."""

import warnings
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

from bayesrnn.masks import SiteMasks
from bayesrnn.nn.kernels.cells import Cell, State
from bayesrnn.nn.kernels.reference import Weights, masked_product
from bayesrnn.nn.kernels.torch_kernel import stock

# torch's layer says so too: on a CPU it takes another kernel for projected states
warnings.filterwarnings("ignore", "LSTM with projections is not supported with oneDNN", module="bayesrnn.nn.kernels")


def run_projected(
    projections: list[Tensor],
    cell: Cell,
    x: Tensor,
    states: State,
    layers: list[tuple[Weights, SiteMasks]],
    *,
    lengths: Tensor | None,
    bidirectional: bool,
) -> tuple[Tensor, State]:
    """Run a stack of projected layers: torch's kernel without masks, else plain operations step by step.

    Other arguments and results are as in `kernels.dispatch.run`; h and outputs have P features, c has H.

    Args:
        projections: W_hr of every layer and direction, (P, H).
        cell: The LSTM.
        x: Inputs (T, rows, D).
        states: Initial h (layers * directions, rows, P) and c (layers * directions, rows, H).
        layers: Weights and masks of every layer and direction, in torch's order.
        lengths: Steps of each row, on the CPU, or None if all have T.
        bidirectional: Whether each layer has two directions.
    """
    if not any(masks.all() for _, masks in layers):
        five: Any = [(*own, w_hr) for (own, _), w_hr in zip(layers, projections)]  # the kernel takes five a layer
        return stock(cell, x, states, five, lengths=lengths, bidirectional=bidirectional)
    directions = 2 if bidirectional else 1
    last: list[State] = []
    for start in range(0, len(layers), directions):
        outputs = []
        for direction in range(directions):
            place, reverse = start + direction, bool(direction)
            state, (weights, masks) = (states[0][place], states[1][place]), layers[place]
            out, final = _layer(cell, x, state, weights, projections[place], masks, lengths=lengths, reverse=reverse)
            outputs.append(out)
            last.append(final)
        x = torch.cat(outputs, -1)
    return x, (torch.stack([h for h, _ in last]), torch.stack([c for _, c in last]))


def _layer(
    cell: Cell,
    x: Tensor,
    state: State,
    weights: Weights,
    w_hr: Tensor,
    masks: SiteMasks,
    *,
    lengths: Tensor | None,
    reverse: bool,
) -> tuple[Tensor, State]:
    """Run one layer and direction; see `kernels.reference.reference`."""
    w_ih, w_hh, b_ih, b_hh = weights
    if masks.weight is not None:
        w_hh = w_hh * masks.weight[0, 0]
    steps, outputs = x.shape[0], [x.new_empty(0)] * x.shape[0]
    h, c = state
    for t in reversed(range(steps)) if reverse else range(steps):
        now = masks.at(t)
        inward = masked_product(x[t], w_ih, b_ih, now.input, cell.gates)
        recurrent = masked_product(h, w_hh, b_hh, now.hidden, cell.gates)
        inside = SiteMasks(cell=now.cell, candidate=now.candidate, keep_cell=now.keep_cell)
        unprojected, new_c = cell.step(inward, recurrent, (h, c), inside)
        new_h = linear(unprojected, w_hr)
        if now.keep_hidden is not None:
            new_h = torch.lerp(new_h, h, now.keep_hidden[0, 0].to(h.dtype))
        if lengths is None:
            h, c, outputs[t] = new_h, new_c, new_h
        else:
            alive = (lengths > t).to(x.device).unsqueeze(-1)
            h, c = torch.where(alive, new_h, h), torch.where(alive, new_c, c)
            outputs[t] = torch.where(alive, new_h, torch.zeros_like(new_h))
    return torch.stack(outputs), (h, c)
