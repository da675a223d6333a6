"""Recurrent layers as plain operators of torch, for graphs that are written to files: a scan over all steps."""

from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

from bayesrnn.masks import SiteMasks
from bayesrnn.nn.kernels.cells import Cell, State
from bayesrnn.nn.kernels.reference import Weights, masked_product


def run_exported(
    projections: list[Tensor],
    cell: Cell,
    x: Tensor,
    states: State,
    layers: list[tuple[Weights, SiteMasks]],
    *,
    lengths: Tensor | None,
    bidirectional: bool,
) -> tuple[Tensor, State]:
    """Run a stack of layers while `torch.export` traces; arguments and results are as in `run_projected`."""
    directions, last = 2 if bidirectional else 1, []
    alive = None if lengths is None else torch.arange(x.shape[0], device=x.device)[:, None] < lengths.to(x.device)
    for start in range(0, len(layers), directions):
        outputs = []
        for place in range(start, start + directions):
            weights, masks = layers[place]
            state = tuple(value[place] for value in states)
            w_hr = projections[place] if projections else None
            out, final = _layer(cell, x, state, (weights, w_hr), masks, alive, reverse=place > start)
            outputs.append(out)
            last.append(final)
        x = torch.cat(outputs, -1)
    return x, tuple(torch.stack(values) for values in zip(*last, strict=True))


def _layer(
    cell: Cell,
    x: Tensor,
    state: State,
    weights: tuple[Weights, Tensor | None],
    masks: SiteMasks,
    alive: Tensor | None,
    *,
    reverse: bool,
) -> tuple[Tensor, State]:
    """Run one layer and direction. The products of the inputs are made for all steps at once.

    Backward in time, everything is turned around, padding first: a row stands still until its last step comes.
    """
    from torch._higher_order_ops.scan import scan

    (w_ih, w_hh, b_ih, b_hh), w_hr = weights
    if masks.weight is not None:
        w_hh = w_hh * masks.weight[0, 0]
    each = {site: mask for site, mask in vars(masks).items() if mask is not None and site not in ("input", "weight")}
    new = {site: mask for site, mask in each.items() if not isinstance(mask.shape[0], int) or mask.shape[0] > 1}
    held = {site: mask for site, mask in each.items() if site not in new}
    read = {"inward": _inward(x, w_ih, b_ih, masks.input, cell.gates)} | new
    if alive is not None:
        read["alive"] = alive.unsqueeze(-1)
    if reverse:
        read = {name: values.flip(0) for name, values in read.items()}
    step = partial(_step, cell, (w_hh, b_hh, w_hr), held)
    last, outputs = scan(step, tuple(value.clone() for value in state), read)
    return outputs.flip(0) if reverse else outputs, last


def _step(
    cell: Cell, weights: tuple[Tensor, Tensor | None, Tensor | None], held: Any, old: State, now: dict[str, Tensor]
) -> tuple[State, Tensor]:
    w_hh, b_hh, w_hr = weights
    new_masks = {site: mask.unsqueeze(0) for site, mask in now.items() if site not in ("inward", "alive")}
    masks = held | new_masks
    recurrent = masked_product(old[0], w_hh, b_hh, masks.get("hidden"), cell.gates)
    keep = masks.get("keep_hidden")
    inside = {site: mask for site, mask in masks.items() if site in ("cell", "candidate", "keep_cell")}
    h, *rest = cell.step(now["inward"], recurrent, old, SiteMasks(**inside))
    h = h if w_hr is None else linear(h, w_hr)
    h = h if keep is None else h + keep[0, 0].to(h.dtype) * (old[0] - h)
    state = (h, *rest)
    if "alive" not in now:
        return tuple(value.clone() for value in state), h.clone()
    alive = now["alive"]
    return tuple(torch.where(alive, a, b) for a, b in zip(state, old, strict=True)), torch.where(
        alive, h, torch.zeros_like(h)
    )


def _inward(x: Tensor, weight: Tensor, bias: Tensor | None, mask: Tensor | None, gates: int) -> Tensor:
    """Return W (x * mask) + b of all steps, (T, rows, gates * H)."""
    if mask is None or mask.shape[1] == 1:
        return linear(x if mask is None else x * mask[:, 0], weight, bias)
    parts = [linear(x * mask[:, k], own) for k, own in enumerate(weight.chunk(gates))]
    return torch.cat(parts, -1) if bias is None else torch.cat(parts, -1) + bias
