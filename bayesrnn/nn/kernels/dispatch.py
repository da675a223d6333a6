"""Which path computes a layer: torch's kernel where folding leaves no mask, else the scan.

Paths that agree to rounding:

- `stock`: no masks, or masks shared by all rows and steps, which are folded into the weights.
- `outside`: masks only on the inputs (Zaremba's), off the CPU. They are multiplied into the inputs, and torch's
  kernel does the rest in one launch for all steps. On a CPU the scan is as fast, and where launches are recorded and
  played back it is faster.
- `scan`: everything else, in train and eval mode.
- `reference`: plain torch operations, where others give no derivative: learned rates of masks inside a step,
  forward-mode derivatives, `torch.func`.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from bayesrnn.masks import SiteMasks
from bayesrnn.nn.devices import played_back, transformed
from bayesrnn.nn.kernels.cells import Cell, State
from bayesrnn.nn.kernels.reference import Weights, reference
from bayesrnn.nn.kernels.scan import scan
from bayesrnn.nn.kernels.torch_kernel import acts_outside, can_fold, fold, has_kernel, outside, stock

Path = Callable[..., tuple[Tensor, State]]
Layer = tuple[Weights, SiteMasks]
"""Weights and masks of one layer and direction."""


def run(
    cell: Cell, x: Tensor, states: State, layers: list[Layer], *, lengths: Tensor | None, bidirectional: bool
) -> tuple[Tensor, State]:
    """Run a stack of layers on the fastest path that serves its masks.

    Args:
        cell: The recurrence.
        x: Inputs (T, rows, D).
        states: Initial (h,) or (h, c), each (layers * directions, rows, H).
        layers: Weights and masks of every layer and direction, in torch's order.
        lengths: Steps of each row, on the CPU, or None if all have T.
        bidirectional: Whether each layer has two directions.

    Returns:
        Outputs (T, rows, directions * H) and the last states, in the type of the weights.
    """
    dtype = layers[0][0][0].dtype
    if not transformed() and has_kernel(cell) and _serves_stock(x, layers, lengths):
        folded = [fold(weights, masks, cell.gates) for weights, masks in layers]
        out, last = stock(cell, x, states, folded, lengths=lengths, bidirectional=bidirectional)
    else:
        out, last = _stacked(_path(cell, x, layers), cell, x, states, layers, lengths, bidirectional)
    return out.to(dtype), tuple(value.to(dtype) for value in last)


def _path(cell: Cell, x: Tensor, layers: list[Layer]) -> Path:
    """Return what runs the layers one by one."""
    if transformed():
        return reference
    stock_serves = x.device.type != "cpu" and not played_back() and has_kernel(cell)
    if stock_serves and all(acts_outside(masks) for _, masks in layers):
        return outside
    inside = [mask for _, masks in layers for mask in (*masks.inside, masks.weight) if mask is not None]
    return reference if any(mask.requires_grad for mask in inside) else scan


def _serves_stock(x: Tensor, layers: list[Layer], lengths: Tensor | None) -> bool:
    if played_back():
        return False
    if x.device.type == "cpu":
        if torch.is_autocast_enabled("cpu"):
            return False  # the scan keeps the state in float32
        if torch.compiler.is_compiling():
            return False  # torch's default compiler fails on the CPU kernel of an LSTM; the scan is one node for it
        if lengths is not None and torch.is_grad_enabled():
            return False  # torch's loop over a packed batch is no kernel on a CPU: training takes twice as long
    return all(can_fold(masks) for _, masks in layers)


def _stacked(
    path: Path,
    cell: Cell,
    x: Tensor,
    states: State,
    layers: list[Layer],
    lengths: Tensor | None,
    bidirectional: bool,
) -> tuple[Tensor, State]:
    """Run layer by layer; the directions of a layer read the same input."""
    directions = 2 if bidirectional else 1
    last: list[State] = []
    for start in range(0, len(layers), directions):
        outputs = []
        for direction in range(directions):
            weights, masks = layers[start + direction]
            state = tuple(s[start + direction] for s in states)
            out, final = path(cell, x, state, weights, masks, lengths=lengths, reverse=bool(direction))
            outputs.append(out)
            last.append(final)
        x = torch.cat(outputs, -1) if bidirectional else outputs[0]
    return x, tuple(torch.stack(values) for values in zip(*last, strict=True))
