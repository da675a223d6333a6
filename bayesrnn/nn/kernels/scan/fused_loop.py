"""The two loops over time with the pointwise part compiled: one matrix product and one kernel per step.

A backend launches the kernels: C++ on a CPU, for products in bfloat16 (`cpu_kernels`), and Triton on a GPU
(`triton_backend`).
"""

import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import Any, Protocol

import torch
from torch import Tensor

from bayesrnn.masks import SiteMasks
from bayesrnn.nn.kernels.scan.cpu_kernels import CpuBackend
from bayesrnn.nn.kernels.scan.layer import BackwardStep, ForwardStep, Layer, along, contiguous, gated, steps_at_once
from bayesrnn.nn.kernels.scan.library import kernels
from bayesrnn.nn.kernels.scan.products import GateProduct, of_span

_SMALL = 128  # units up to which one kernel does all steps of a layer on a GPU


@dataclass(frozen=True)
class Products:
    """The two matrix products of a layer, with their biases (gates, H) or None.

    `bias` belongs to both products, `again` is kept apart.
    """

    inward: GateProduct
    onward: GateProduct
    bias: Tensor | None
    again: Tensor | None


@dataclass(frozen=True)
class Rows:
    """Some rows of a forward pass.

    Attributes:
        x: Inputs (steps, rows, features).
        first: Initial h (rows, H).
        masks: Of these rows.
        sizes: How many of the rows are alive at each step.
        out: Filled with the outputs (steps, rows, H).
        last: Holds the initial memory (rows, H), and is filled with the last one.
        kept: Filled with the activated gates (steps, rows, gates, H), or None.
        extra: Filled with the cell's extra (steps, rows, H) where gates are kept.
    """

    x: Tensor
    first: Tensor
    masks: SiteMasks
    sizes: list[int]
    out: Tensor
    last: Tensor
    kept: Tensor | None
    extra: Tensor


class Backend(Protocol):
    """What launches the kernels of a device.

    Attributes:
        aligned: Whether rows are to have whole 16 bytes.
        in_place: Whether input products may be made where the activated gates go.
        held_bytes: Of input products that are made at once where nothing is kept.
    """

    aligned: bool
    in_place: bool
    held_bytes: int

    def on(self, like: Tensor) -> AbstractContextManager[Any]:
        """Return a context in which kernels are launched on the device of a tensor."""

    def carried(self, first: Tensor, gates: int, dtype: torch.dtype) -> Tensor | None:
        """Return memory for h under the masks of the next step, or None where the product masks h itself."""

    def forward(self, layer: Layer, first: Tensor, bias: Tensor, again: Tensor) -> Callable[[ForwardStep], None]:
        """Return the step forward."""

    def backward(self, layer: Layer, carried: Tensor, narrow: bool) -> Callable[[BackwardStep], None]:
        """Return the step backward; `carried` is the gradient of the memory, of a GRU what h passes on."""


def backend_of(layer: Layer, like: Tensor) -> Backend | None:
    """Return what runs the layer with states like this one, or None for torch's operations."""
    if not layer.compiles(like):
        return None
    if like.device.type == "cuda":
        return _triton().TritonBackend() if _triton_works() else None
    if like.device.type != "cpu" or layer.product != torch.bfloat16:
        return None
    loaded = kernels()
    return None if loaded is None else CpuBackend(loaded)


def persistent_of(layer: Layer, like: Tensor) -> Any:
    """Return the module that does all steps of a small layer at once, or None where it does not serve."""
    units, kind = like.shape[1], layer.name in ("lstm", "lstm_capped", "gru") and like.dtype == torch.float32
    served = kind and layer.reads_masks and like.device.type == "cuda" and 0 < units <= _SMALL
    if not served or not _triton_works():
        return None
    from bayesrnn.nn.kernels.scan import persistent

    precision = torch.get_float32_matmul_precision()
    return persistent if persistent.agrees(layer.name, units, layer.product, precision, like.device) else None


@cache
def _triton_works() -> bool:
    """Whether a kernel can be compiled and launched; it takes Triton, and a C compiler for its launcher."""
    if find_spec("triton") is None:
        return False
    try:
        _touch()
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        reason = str(error).strip().split("\n")[0][:200]
        warnings.warn(
            f"Triton is installed but cannot launch a kernel here ({type(error).__name__}: {reason}), so that masks "
            "inside a recurrence take many small kernels on this GPU: the same numbers, several times slower. Triton "
            "needs a C compiler.",
            stacklevel=2,
        )
        return False
    return True


def _touch() -> None:
    """Launch the smallest kernel."""
    _triton().touch[(1,)](torch.zeros(1, device="cuda"))


@cache
def _triton() -> Any:
    from bayesrnn.nn.kernels.scan import triton_backend

    return triton_backend


def fused_forward(backend: Backend, layer: Layer, products: Products, part: Rows) -> None:
    """Run some rows through all their steps."""
    cell, first, kept, x = layer.cell, part.first, part.kept, part.x
    steps, rows, units = len(x), *first.shape
    bias, again = (
        first.new_zeros(cell.gates, units) if b is None else b.contiguous() for b in (products.bias, products.again)
    )
    sizes = [rows] * steps
    hidden, reads = gated(part.masks.hidden, sizes), contiguous(part.masks.cell, sizes)
    states = part.out if part.out.is_contiguous() else torch.empty_like(part.out, memory_format=torch.contiguous_format)
    outs, acts = along(states, sizes), [None] * steps if kept is None else along(kept, sizes)
    memory = part.last.contiguous()
    news = [memory if cell.memory else None] * steps if kept is None else along(part.extra, sizes)
    in_place = kept is not None and backend.in_place
    span = steps if in_place else steps_at_once(rows * cell.gates * units * 4, steps, backend.held_bytes)
    old, before = first.contiguous(), memory
    buffer = backend.carried(first, 1 if hidden[0] is None else len(hidden[0]), products.onward.dtype)
    carried: Tensor | None = None
    with backend.on(first):
        step = backend.forward(layer, first, bias, again)
        for t in range(steps):
            if t % span == 0:
                some, mask = slice(t, min(t + span, steps)), part.masks.input
                into = kept.flatten(2).flatten(0, 1) if kept is not None and in_place else None
                pre = products.inward.many(x[some], None if mask is None else of_span(mask, some), into)
            add = products.onward.one(old, hidden[t]) if carried is None else products.onward.one(carried, None)
            ahead = t + 1 < steps
            carried = buffer if ahead else None
            new = news[t]
            following = hidden[t + 1] if ahead else None
            step(ForwardStep(pre, t % span, add, old, before, new, outs[t], acts[t], reads[t], carried, following))
            old = outs[t]
            before = new if cell.memory and new is not None else before
    if states is not part.out:
        part.out.copy_(states)
    if cell.memory and before is not part.last:
        part.last.copy_(before)


def fused_backward(
    backend: Backend,
    layer: Layer,
    state: tuple[Tensor, ...],
    saved: tuple[Tensor, Tensor, Tensor],
    grad_out: Tensor | None,
    grad_last: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Return gradients of the gates, in float32 and in the type of products, of h and of c.

    Those of the gates have the shape (steps, rows, blocks, H).

    Args:
        backend: What launches the kernels.
        layer: Cell, weights and masks.
        state: Initial h, or h and c.
        saved: Outputs, activated gates and the cell's extra.
        grad_out: Gradient of the outputs, or None.
        grad_last: Gradient of the last memory, or None.
    """
    cell, hh = layer.cell, layer.hh.to(layer.product)
    out, gates, extra = saved
    steps, rows, units = out.shape
    sizes = [rows] * steps
    blocks = out.new_empty(steps, rows, cell.blocks, units)
    narrow = hh.dtype != blocks.dtype
    low = torch.empty_like(blocks, dtype=hh.dtype) if narrow else blocks
    arriving: list[Any] = [None] * steps if grad_out is None else along(grad_out.contiguous(), sizes)
    carried = torch.zeros_like(state[0], memory_format=torch.contiguous_format)
    if grad_last is not None:
        carried.copy_(grad_last)
    hidden, reads = gated(layer.masks.hidden, sizes), contiguous(layer.masks.cell, sizes)
    acts, extras, outs = (along(value, sizes) for value in (gates, extra, out))
    gradients, lows = along(blocks, sizes), along(low, sizes)
    onward = along(low[:, :, cell.hidden].flatten(2), sizes)
    pasts = [state[-1].contiguous(), *(extras if cell.memory else outs)]
    raw: Tensor | None = None
    site: Tensor | None = None
    with backend.on(out):
        step = backend.backward(layer, carried, narrow)
        for t in reversed(range(steps)):
            kept = acts[t], extras[t], pasts[t]
            step(BackwardStep(kept, reads[t], raw, site, arriving[t], gradients[t], lows[t]))
            site = hidden[t]
            raw = _through(onward[t], hh, site)
    grad_h = _under(raw, site)
    return blocks, low, grad_h if cell.memory else grad_h.add_(carried), carried if cell.memory else None


def _through(gradient: Tensor, weight: Tensor, site: Tensor | None) -> Tensor:
    """Return the gradient of what entered the recurrent product, (rows, H), or (gates, rows, H) if each has a mask."""
    if site is None or site.shape[0] == 1:
        return torch.mm(gradient, weight)
    gates = site.shape[0]
    return torch.bmm(gradient.unflatten(1, (gates, -1)).transpose(0, 1), weight.unflatten(0, (gates, -1)))


def _under(raw: Tensor | None, site: Tensor | None) -> Tensor:
    """Return the gradient of the initial h from the gradient of what entered the first product."""
    if raw is None:
        raise ValueError("a scan has at least one step")
    wide = raw.float()
    if site is None:
        return wide.clone() if wide is raw else wide
    return wide * site[0] if raw.dim() == 2 else (wide * site).sum(0)
