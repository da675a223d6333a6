"""The scan as two operators that autograd and `torch.compile` know: no graph break inside a layer."""

import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch import Tensor

from bayesrnn.masks import SiteMasks
from bayesrnn.nn.kernels.scan.backward import backward
from bayesrnn.nn.kernels.scan.forward import forward
from bayesrnn.nn.kernels.scan.masks import Weights
from bayesrnn.nn.kernels.scan.pointwise import POINTWISE

__all__ = ["scan_op"]

_MASKS = "Tensor[] masks, str sites"
_WEIGHTS = "Tensor w_ih, Tensor w_hh, Tensor? b_ih, Tensor? b_hh"


_LIBRARY = torch.library.Library("bayesrnn", "FRAGMENT")
_LIBRARY.define(
    f"scan(str cell, Tensor x, Tensor h, Tensor? c, {_WEIGHTS}, {_MASKS}, int[] sizes, ScalarType product, bool save)"
    " -> (Tensor, Tensor, Tensor, Tensor)"
)
_LIBRARY.define(
    f"scan_backward(str cell, Tensor? grad_out, Tensor? grad_last, Tensor x, Tensor h, Tensor? c, {_WEIGHTS}, {_MASKS}"
    ", Tensor out, Tensor gates, Tensor extra, int[] sizes, ScalarType product, bool want_x)"
    " -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)"
)


def _eager(kernel: Callable[..., Any]) -> Callable[..., Any]:
    """Keep a compiler that is in use from looking into a kernel; one that is not in use is not imported (seconds)."""
    untraced: list[Callable[..., Any]] = []

    @wraps(kernel)
    def call(*arguments: Any) -> Any:
        if "torch._dynamo" not in sys.modules:
            return kernel(*arguments)
        if not untraced:
            untraced.append(torch.compiler.disable(kernel))
        return untraced[0](*arguments)

    return call


@_eager
def _scan(
    cell: str,
    x: Tensor,
    h: Tensor,
    c: Tensor | None,
    w_ih: Tensor,
    w_hh: Tensor,
    b_ih: Tensor | None,
    b_hh: Tensor | None,
    masks: list[Tensor],
    sites: str,
    sizes: list[int],
    product: torch.dtype,
    save: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Run `forward`; see there."""
    weights = Weights(w_ih, w_hh, b_ih, b_hh)
    return forward(cell, x, h, c, weights, SiteMasks.of(sites, masks), list(sizes), product, save)


def _scan_fake(cell: str, x: Tensor, h: Tensor, c: Tensor | None, *rest: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    kind, save = POINTWISE[cell], rest[-1]
    steps, rows, units = x.shape[0], x.shape[1], h.shape[1]
    return (
        h.new_empty(steps, rows, units),
        h.new_empty(0) if c is None else torch.empty_like(c),
        h.new_empty((steps, rows, kind.gates, units) if save else (0,)),
        h.new_empty((steps, rows, units) if save and kind.extra else (0,)),
    )


@_eager
def _scan_backward(
    cell: str,
    grad_out: Tensor | None,
    grad_last: Tensor | None,
    x: Tensor,
    h: Tensor,
    c: Tensor | None,
    w_ih: Tensor,
    w_hh: Tensor,
    b_ih: Tensor | None,
    b_hh: Tensor | None,
    masks: list[Tensor],
    sites: str,
    out: Tensor,
    gates: Tensor,
    extra: Tensor,
    sizes: list[int],
    product: torch.dtype,
    want_x: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Run `backward`; see there."""
    weights = Weights(w_ih, w_hh, b_ih, b_hh)
    found = backward(
        cell,
        grad_out,
        grad_last,
        x,
        h,
        c,
        weights,
        SiteMasks.of(sites, masks),
        out,
        gates,
        extra,
        list(sizes),
        product,
        want_x,
    )
    none = h.new_empty(0)
    return (
        x.new_empty(0) if found.x is None else found.x,
        found.first,
        none if found.memory is None else found.memory,
        found.ih,
        found.hh,
        found.bias,
    )


def _scan_backward_fake(
    cell: str,
    grad_out: Tensor | None,
    grad_last: Tensor | None,
    x: Tensor,
    h: Tensor,
    c: Tensor | None,
    w_ih: Tensor,
    w_hh: Tensor,
    *rest: Any,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    return (
        x.new_empty(x.shape) if rest[-1] else x.new_empty(0),
        h.new_empty(h.shape),
        h.new_empty(0) if c is None else c.new_empty(c.shape),
        torch.empty_like(w_ih),
        torch.empty_like(w_hh),
        h.new_empty(POINTWISE[cell].blocks, h.shape[1]),
    )


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.cell, masks, ctx.sites, ctx.sizes, ctx.product, _ = inputs[0], *inputs[8:]
    ctx.set_materialize_grads(False)
    out, _, gates, extra = output
    ctx.save_for_backward(*inputs[1:8], out, gates, extra, *masks)


def _backward(ctx: Any, grad_out: Tensor | None, grad_last: Tensor | None, *_: Tensor | None) -> tuple[Any, ...]:
    if torch.is_grad_enabled():
        raise NotImplementedError(
            "the scan has no second derivatives (create_graph=True). Use torch.func, which takes the plain loop: "
            "torch.func.hessian(f), torch.func.grad of a torch.func.grad, or jacfwd(jacrev(f))."
        )
    saved = ctx.saved_tensors
    inputs, kept, masks = saved[:7], saved[7:10], list(saved[10:])
    want_x = ctx.needs_input_grad[1]
    if grad_last is not None and grad_last.numel() == 0:
        grad_last = None
    x, h, c, w_ih, w_hh, bias = torch.ops.bayesrnn.scan_backward(
        ctx.cell, grad_out, grad_last, *inputs, masks, ctx.sites, *kept, ctx.sizes, ctx.product, want_x
    )
    b_ih = b_hh = None
    if inputs[5] is not None:
        cell = POINTWISE[ctx.cell]
        b_hh = bias[cell.hidden].flatten().to(inputs[5].dtype)
        b_ih = torch.cat([bias[block] for block, _ in cell.inward]).flatten().to(inputs[5].dtype)
    gradients = (None, x if want_x else None, h, None if inputs[2] is None else c, w_ih, w_hh, b_ih, b_hh)
    none = [None] * len(masks)  # torch wants a list in the place of each list of tensors, which an empty one is too
    return *gradients, none, None, None if ctx.sizes else [], None, None


for _name, _kernel, _fake in (("scan", _scan, _scan_fake), ("scan_backward", _scan_backward, _scan_backward_fake)):
    _LIBRARY.impl(_name, _kernel, "CompositeExplicitAutograd")
    torch.library.register_fake(f"bayesrnn::{_name}", _fake, lib=_LIBRARY)
torch.library.register_autograd("bayesrnn::scan", _backward, setup_context=_setup, lib=_LIBRARY)

scan_op: Callable[..., tuple[Tensor, Tensor, Tensor, Tensor]] = torch.ops.bayesrnn.scan.default
