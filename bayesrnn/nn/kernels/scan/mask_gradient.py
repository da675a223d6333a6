r"""The gradients of the masks on what enters the products: $\partial / \partial z = \sum_t x_t \circ (W^\top g_t)$."""

import torch
from torch import Tensor

from bayesrnn.nn.kernels.scan.layer import Layer
from bayesrnn.nn.kernels.scan.products import input_gradient

SITES = ("input", "hidden")
"""Sites whose masks get a gradient from the scan."""


def mask_gradients(layer: Layer, gates: Tensor, x: Tensor, old: Tensor) -> list[Tensor]:
    """Return the gradients of the masks of a layer, in the order of its sites; empty where there is none.

    Args:
        layer: Cell, weights and masks.
        gates: Gradients of the gates, (steps, rows, blocks, H), in the type of the products.
        x: Inputs, (steps, rows, D).
        old: h of the step before, (steps, rows, H).
    """
    cell, masks = layer.cell, layer.masks
    gradients = []
    for site, mask in zip(masks.sites.split(), masks.all(), strict=True):
        if site == "hidden":
            gradient = _of_product(gates[:, :, cell.hidden], layer.hh, old, mask)
        elif site == "input":
            order = [block for block, _ in cell.inward]
            inward = torch.cat([gates[:, :, block] for block in order], 2) if len(order) > 1 else gates[:, :, order[0]]
            gradient = _of_product(inward, layer.ih, x, mask)
        else:
            gradient = mask.new_empty(0)
        gradients.append(gradient)
    return gradients


def _of_product(gates: Tensor, weight: Tensor, entering: Tensor, mask: Tensor) -> Tensor:
    """Return the gradient of the mask of one product, in the shape of the mask."""
    weight = weight.to(gates.dtype)
    if mask.shape[1] == 1:
        gradient = (input_gradient(gates, weight, None) * entering).unsqueeze(1)
    else:
        parts = weight.unflatten(0, (gates.shape[2], -1))
        products = [input_gradient(gates[:, :, k : k + 1], part, None) for k, part in enumerate(parts)]
        gradient = torch.stack([product * entering for product in products], 1)
    shared = [d for d in (0, 2, 3) if mask.shape[d] == 1 and gradient.shape[d] > 1]
    return (gradient.sum(shared, keepdim=True) if shared else gradient).to(mask.dtype)
