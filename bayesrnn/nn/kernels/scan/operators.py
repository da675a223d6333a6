"""The scan as two operators that autograd and `torch.compile` know: no graph break inside a layer."""

import sys
from collections.abc import Callable, Sequence
from functools import wraps
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from bayesrnn.masks import SiteMasks
from bayesrnn.nn.kernels.scan.backward import Saved, backward
from bayesrnn.nn.kernels.scan.forward import forward
from bayesrnn.nn.kernels.scan.layer import Layer
from bayesrnn.nn.kernels.scan.mask_gradient import SITES, mask_gradients
from bayesrnn.nn.kernels.scan.pointwise import POINTWISE

_LAYER = "Tensor[] state, Tensor[] weights, Tensor[] masks, str sites"
"""State: h, or h and c. Weights: ih and hh, or with both biases. Masks: of the named sites."""

# torch keeps compiled graphs on disk, by the names of the operators in them: a change of arguments needs new names.
_LIBRARY = torch.library.Library("bayesrnn", "FRAGMENT")
_LIBRARY.define(
    f"scan_layer(str cell, Tensor x, {_LAYER}, int[] sizes, ScalarType product, bool save)"
    " -> (Tensor, Tensor, Tensor, Tensor)"
)
_LIBRARY.define(
    f"scan_gradients(str cell, {_LAYER}, Tensor?[] gradients, Tensor[] saved, int[] sizes, ScalarType product, "
    "bool want_masks, bool want_weights, bool want_x)"
    " -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor[])"
)


def _eager(kernel: Callable[..., Any]) -> Callable[..., Any]:
    """Keep `torch.compile` from tracing a kernel; if it is not in use, do not import it (seconds)."""
    untraced: list[Callable[..., Any]] = []

    @wraps(kernel)
    def call(*arguments: Any) -> Any:
        if "torch._dynamo" not in sys.modules:
            return kernel(*arguments)
        if not untraced:
            untraced.append(torch.compiler.disable(kernel))
        return untraced[0](*arguments)

    return call


def _layer(
    cell: str, weights: list[Tensor], masks: list[Tensor], sites: str, sizes: list[int], product: torch.dtype
) -> Layer:
    ih, hh, *biases = weights
    b_ih, b_hh = biases or (None, None)
    return Layer(cell, ih, hh, b_ih, b_hh, SiteMasks.of(sites, masks), list(sizes), product)


@_eager
def _scan(
    cell: str,
    x: Tensor,
    state: list[Tensor],
    weights: list[Tensor],
    masks: list[Tensor],
    sites: str,
    sizes: list[int],
    product: torch.dtype,
    save: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Run `forward`; see there."""
    return forward(_layer(cell, weights, masks, sites, sizes, product), x, tuple(state), save)


def _scan_fake(cell: str, x: Tensor, state: list[Tensor], *rest: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    kind, save, h = POINTWISE[cell], rest[-1], state[0]
    steps, rows, units = x.shape[0], x.shape[1], h.shape[1]
    return (
        h.new_empty(steps, rows, units),
        h.new_empty(0) if len(state) == 1 else torch.empty_like(state[1]),
        h.new_empty((steps, rows, kind.gates, units) if save else (0,)),
        h.new_empty((steps, rows, units) if save and kind.extra else (0,)),
    )


@_eager
def _scan_gradients(
    cell: str,
    state: list[Tensor],
    weights: list[Tensor],
    masks: list[Tensor],
    sites: str,
    gradients: list[Tensor | None],
    saved: list[Tensor],
    sizes: list[int],
    product: torch.dtype,
    want_masks: bool,
    want_weights: bool,
    want_x: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, list[Tensor]]:
    """Run `backward`; see there. `gradients`: of outputs and last memory; `saved`: x, outputs, gates, extra."""
    layer = _layer(cell, weights, masks, sites, sizes, product)
    grad_out, grad_last = gradients
    result = backward(layer, tuple(state), Saved(*saved), grad_out, grad_last, want_weights, want_x)
    none, x, out = state[0].new_empty(0), saved[0], saved[1]
    by_masks: list[Tensor] = []
    if want_masks:
        by_masks = mask_gradients(layer, result.gates, x, torch.cat((state[0].unsqueeze(0), out[:-1])))
    return (
        x.new_empty(0) if result.x is None else result.x,
        result.first,
        none if result.memory is None else result.memory,
        result.ih,
        result.hh,
        result.bias,
        by_masks,
    )


def _scan_gradients_fake(
    cell: str, state: list[Tensor], weights: list[Tensor], masks: list[Tensor], sites: str, *rest: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, list[Tensor]]:
    h, x = state[0], rest[1][0]
    return (
        x.new_empty(x.shape if rest[-1] else (0,)),
        h.new_empty(h.shape),
        h.new_empty(0) if len(state) == 1 else state[1].new_empty(state[1].shape),
        torch.empty_like(weights[0]),
        torch.empty_like(weights[1]),
        h.new_empty(POINTWISE[cell].blocks, h.shape[1]),
        [m.new_empty(m.shape if site in SITES else (0,)) for site, m in zip(sites.split(), masks) if rest[-3]],
    )


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.cell, x, state, weights, masks, ctx.sites, ctx.sizes, ctx.product, _ = inputs
    ctx.set_materialize_grads(False)
    out, _, gates, extra = output
    ctx.counts = [4, len(state), len(weights), len(masks)]
    ctx.save_for_backward(x, out, gates, extra, *state, *weights, *masks)


def _backward(ctx: Any, grad_out: Tensor | None, grad_last: Tensor | None, *_: Tensor | None) -> tuple[Any, ...]:
    needs = ctx.needs_input_grad[1], ctx.needs_input_grad[3], ctx.needs_input_grad[4]
    by_x, by_state, by_weights, by_masks = _gradients(
        ctx, torch.ops.bayesrnn.scan_gradients, *needs, grad_out, grad_last
    )
    # torch wants a list in the place of each list of tensors, which an empty one is too
    return None, by_x, by_state, by_weights, by_masks, None, None if ctx.sizes else [], None, None


def _gradients(
    ctx: Any,
    kernel: Callable[..., Any],
    want_x: bool,
    want_weights: Sequence[bool],
    want_masks: Sequence[bool],
    grad_out: Tensor | None,
    grad_last: Tensor | None,
) -> tuple[Tensor | None, list[Any], list[Any], list[Any]]:
    """Return the gradients of x, the states, the weights and the masks; `ctx` holds what `_setup` puts there."""
    if torch.is_grad_enabled():
        raise NotImplementedError(
            "the scan has no second derivatives (create_graph=True). Use torch.func, which takes the plain loop: "
            "torch.func.hessian(f), torch.func.grad of a torch.func.grad, or jacfwd(jacrev(f))."
        )
    tensors = iter(ctx.saved_tensors)
    saved, state, weights, masks = (list(islice(tensors, count)) for count in ctx.counts)
    if grad_last is not None and grad_last.numel() == 0:
        grad_last = None
    by_x, by_h, by_c, by_ih, by_hh, bias, by_masks = kernel(
        ctx.cell, state, weights, masks, ctx.sites, [grad_out, grad_last], saved, ctx.sizes, ctx.product,
        any(want_masks), any(want_weights), want_x,
    )  # fmt: skip
    by_weights: list[Tensor | None] = [by_ih, by_hh]
    if not any(want_weights):
        by_weights = [None] * len(weights)
    elif len(weights) == 4:
        cell, dtype = POINTWISE[ctx.cell], weights[2].dtype
        by_weights.append(torch.cat([bias[block] for block, _ in cell.inward]).flatten().to(dtype))
        by_weights.append(bias[cell.hidden].flatten().to(dtype))
    by_masks = [g if want and g.numel() else None for g, want in zip(by_masks or masks, want_masks)]
    return by_x if want_x else None, [by_h, by_c][: len(state)], by_weights, by_masks


class _Eager(torch.autograd.Function):
    """The scan as a plain autograd function: calls of torch.library take as long as a small layer."""

    @staticmethod
    def forward(ctx: Any, facts: tuple[Any, ...], x: Tensor, *tensors: Tensor) -> tuple[Tensor, Tensor]:
        """Run `_scan` on tensors in one row, since autograd looks into no list."""
        (cell, sites, sizes, product), counts = facts[:4], facts[4]
        flat = iter(tensors)
        state, weights, masks = (list(islice(flat, count)) for count in counts)
        inputs = (cell, x, state, weights, masks, sites, sizes, product, True)
        output = _scan(*inputs)
        _setup(ctx, inputs, output)
        return output[0], output[1]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Any, ...]:
        """Run `_scan_gradients`."""
        _, want_x, *rest = ctx.needs_input_grad
        _, states, weights, _ = ctx.counts
        want_weights, want_masks = rest[states : states + weights], rest[states + weights :]
        by_x, *lists = _gradients(ctx, _scan_gradients, want_x, want_weights, want_masks, *gradients)
        return None, by_x, *(gradient for part in lists for gradient in part)


def scan_layer(
    cell: str,
    x: Tensor,
    state: list[Tensor],
    weights: list[Tensor],
    masks: SiteMasks,
    sizes: list[int],
    product: torch.dtype,
    save: bool,
) -> tuple[Tensor, Tensor]:
    """Return outputs and last memory: by an operator where something looks in, such as a compiler, else directly."""
    some = masks.all()
    if _seen(x):
        return scan_op(cell, x, state, weights, some, masks.sites, sizes, product, save)[:2]
    if not save:
        with torch.no_grad():
            return _scan(cell, x, state, weights, some, masks.sites, sizes, product, False)[:2]
    facts = (cell, masks.sites, sizes, product, (len(state), len(weights), len(some)))
    outputs: tuple[Tensor, Tensor] = _Eager.apply(facts, x, *state, *weights, *some)
    return outputs


def _seen(x: Tensor) -> bool:
    """Whether a compiler, a tracer, a mode, autocast or a kind of tensor wants to see operators."""
    if torch.compiler.is_compiling():  # first: a compiler cannot read what follows
        return True
    plain = type(x) in (Tensor, torch.nn.Parameter) and not torch.is_autocast_enabled(x.device.type)
    return not plain or torch._C._len_torch_dispatch_stack() > 0 or torch._C._get_tracing_state() is not None


for _name, _kernel, _fake in (
    ("scan_layer", _scan, _scan_fake),
    ("scan_gradients", _scan_gradients, _scan_gradients_fake),
):
    _LIBRARY.impl(_name, _kernel, "CompositeExplicitAutograd")
    torch.library.register_fake(f"bayesrnn::{_name}", _fake, lib=_LIBRARY)
torch.library.register_autograd("bayesrnn::scan_layer", _backward, setup_context=_setup, lib=_LIBRARY)

scan_op: Callable[..., tuple[Tensor, Tensor, Tensor, Tensor]] = torch.ops.bayesrnn.scan_layer.default
