"""One layer and direction through the scan: what `reference` does, for speed."""

from dataclasses import replace

import torch
from torch import Tensor

from bayesrnn.masks import SiteMasks
from bayesrnn.nn.kernels.cells import Cell, State
from bayesrnn.nn.kernels.reference import Weights
from bayesrnn.nn.kernels.scan import fused_loop
from bayesrnn.nn.kernels.scan.layer import Layer
from bayesrnn.nn.kernels.scan.operators import scan_layer
from bayesrnn.nn.kernels.scan.order import Alignment, Order

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
    """Run one layer in one direction; the arguments and results are as in `reference`.

    Matrix products are made in the type of autocast or of the weights; the state is float32 at least. Masks of the
    sites `input` and `hidden` get a gradient.
    """
    w_ih, w_hh, b_ih, b_hh = weights
    if masks.weight is not None:
        w_hh = w_hh * masks.weight[0, 0]
    product = product_dtype(x, w_ih)
    w_ih, w_hh = w_ih.to(product), w_hh.to(product)  # once, for both directions of time
    held = torch.float32 if product in _LOW else product
    order = Order(lengths, x.shape[0], reverse, x.device)
    entering = order.inward(x)
    first = [order.rows(s.to(held)).contiguous() for s in state]
    units = first[0].shape[1]
    ordered = replace(masks, weight=None).on(x.device, held).map(order.mask)
    layer = Layer(cell.name, w_ih, w_hh, b_ih, b_hh, ordered, order.sizes, product)
    filled = Alignment.of(x.shape[2], units, product)
    backend = fused_loop.backend_of(layer, first[0]) if filled and not torch.compiler.is_compiling() else None
    widened = backend is not None and backend.aligned
    if widened:
        entering, first = filled.entering(entering), [filled.held(s) for s in first]
        wide = filled.weights((w_ih, w_hh, b_ih, b_hh), cell.gates)
        layer = Layer(cell.name, *wide, filled.masks(ordered), order.sizes, product)
    parameters = [w for w in (layer.ih, layer.hh, layer.bias_ih, layer.bias_hh) if w is not None]
    save = torch.is_grad_enabled() and any(t.requires_grad for t in (x, *state, *parameters, *masks.all()))
    out, last = scan_layer(cell.name, entering, first, parameters, layer.masks, order.sizes, product, save)
    if widened:
        out, last = out[..., :units].contiguous(), last[..., :units]
    final = [out[-1] if lengths is None else out.gather(0, order.ends(out)).squeeze(0)]
    if len(first) > 1:
        final.append(last)
    return order.outward(out), tuple(order.back(value) for value in final)


def product_dtype(x: Tensor, weight: Tensor) -> torch.dtype:
    """Return the type of the matrix products: autocast's where it is on, else the weights'."""
    if torch.is_autocast_enabled(x.device.type) and weight.dtype != torch.float64:
        return torch.get_autocast_dtype(x.device.type)
    return weight.dtype
