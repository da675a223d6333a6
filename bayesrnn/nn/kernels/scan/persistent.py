"""Small layers on a GPU: launches the kernels that do all steps at once; imported only where they run."""

import warnings
from functools import cache
from typing import Any

import torch
from torch import Tensor

from bayesrnn.masks import SiteMasks
from bayesrnn.nn.kernels.cells import CELLS
from bayesrnn.nn.kernels.reference import reference
from bayesrnn.nn.kernels.scan.layer import Layer, steps_at_once
from bayesrnn.nn.kernels.scan.persistent_backward_kernel import all_backward
from bayesrnn.nn.kernels.scan.persistent_forward_kernel import all_forward
from bayesrnn.nn.kernels.scan.products import GateProduct, of_span
from bayesrnn.nn.kernels.scan.triton_backend import device_of, gates_of

_PROJECTED_BYTES = 256 << 20  # of input products that are made at once where nothing is kept
_HELD_BYTES = 32 << 10  # of recurrent weights that stay in the registers of a program
_ROWS = 16  # of a program
_TILE = 32  # units of the weights that are read at once where they do not


def persistent_forward(
    layer: Layer, x: Tensor, state: tuple[Tensor, ...], save: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Do what `forward` does."""
    cell, first = layer.cell, state[0]
    (steps, rows), units = x.shape[:2], first.shape[1]
    call = _Call(layer, steps, rows, units)
    out = first.new_zeros(steps, rows, units) if call.ends is not None else first.new_empty(steps, rows, units)
    gates = first.new_empty((steps, rows, cell.gates, units) if save else (0,))
    extra = first.new_empty((steps, rows, units) if save else (0,))
    hidden = first.clone(memory_format=torch.contiguous_format)
    last = state[1].clone(memory_format=torch.contiguous_format) if cell.memory else first.new_empty(0)
    untied = layer.masks.input is not None and layer.masks.input.shape[1] > 1
    inward = GateProduct(layer.ih, cell.gates, untied, layer.product, rows, steps, at_once=True)
    weights = layer.hh.to(layer.product).unflatten(0, (cell.gates, -1)).mT.contiguous()
    bias, again = (first.new_zeros(cell.gates, units) if b is None else b.contiguous() for b in layer.biases(first))
    scratch = weights if call.flags["HELD"] else weights.new_empty(cell.gates, rows, units)
    span = steps if save else steps_at_once(rows * cell.gates * units * 4, steps, _PROJECTED_BYTES)
    with device_of(first):
        for start in range(0, steps, span):
            some, mask = slice(start, min(start + span, steps)), layer.masks.input
            pre = inward.many(x[some], None if mask is None else of_span(mask, some))
            own, row, gate = gates_of(pre, 0, rows, cell.gates)
            kept = (gates[start], extra[start]) if save else (out, out)
            all_forward[call.grid](
                own, rows * row, row, gate, bias, again, weights, out if call.ends is None else call.ends, hidden, last,
                out[start], *kept, scratch, rows * units, *call.masks(start), start, some.stop - start, rows, units,
                KEEP=save, **call.flags,
            )  # fmt: skip
    return out, last, gates, extra


def persistent_backward(
    layer: Layer,
    state: tuple[Tensor, ...],
    saved: tuple[Tensor, Tensor, Tensor],
    grad_out: Tensor | None,
    grad_last: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Do what `fused_backward` does."""
    out, gates, extra = saved
    steps, rows, units = out.shape
    cell, call = layer.cell, _Call(layer, steps, rows, units)
    blocks = out.new_empty(steps, rows, cell.blocks, units)
    low = torch.empty_like(blocks, dtype=layer.product) if layer.product != blocks.dtype else blocks
    by_hidden = torch.zeros_like(state[0], memory_format=torch.contiguous_format)
    by_memory = torch.zeros_like(by_hidden)
    if grad_last is not None:
        by_memory.copy_(grad_last)
    arriving = out if grad_out is None else grad_out if grad_out.stride(2) == 1 else grad_out.contiguous()
    past = extra if cell.memory else out
    with device_of(out):
        all_backward[call.grid](
            gates[-1], extra[-1], past[-1], state[-1].contiguous(), layer.hh.to(layer.product).contiguous(),
            out if call.ends is None else call.ends, arriving[-1], arriving.stride(0), arriving.stride(1),
            by_hidden, by_memory, blocks[-1], low[-1], *call.masks(steps - 1), blocks.stride(0), steps, rows, units,
            ARRIVING=grad_out is not None, LOW=low is not blocks, **call.flags,
        )  # fmt: skip
    return blocks, low, by_hidden, by_memory if cell.memory else None


@cache
def agrees(name: str, units: int, product: torch.dtype, precision: str, device: torch.device) -> bool:
    """Whether the kernels give here what the plain loop gives, forward and backward; tried once per kind of layer.

    They have been run by Triton's interpreter and compiled for several devices, but few devices were at hand.
    """
    try:
        with torch.inference_mode(False), torch.enable_grad(), torch.autocast(device.type, enabled=False):
            gap = _largest_gap(name, units, product, device)
        exact = product == torch.float32 and precision == "highest"
        if gap <= (1e-3 if exact else 5e-2):
            return True
        reason = f"results differ by {gap:.2g} of their size"
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {str(error).strip().splitlines()[0][:200]}"
    warnings.warn(
        f"the kernel that does all steps of a {name} with {units} units at once is left out on this GPU ({reason}). A "
        "kernel per step serves: the same numbers, several times slower.",
        stacklevel=2,
    )
    return False


def _largest_gap(name: str, units: int, product: torch.dtype, device: torch.device) -> float:
    """Return the largest difference of outputs and gradients of a small layer, in multiples of their largest value."""
    generator, cell = torch.Generator().manual_seed(0), CELLS[name]
    steps, rows, features = 4, 18, 3

    def normal(*shape: int, scale: float = 1.0) -> Tensor:
        return torch.randn(shape, generator=generator).mul_(scale).to(device)

    ih, hh = normal(cell.gates * units, features), normal(cell.gates * units, units, scale=units**-0.5)
    ih, hh = ih.to(product), hh.to(product)
    biases = normal(cell.gates * units), normal(cell.gates * units)
    masks = SiteMasks(hidden=normal(1, cell.gates, rows, units))
    sizes = [rows, rows, rows - 1, 2]
    lengths = (torch.tensor(sizes)[:, None] > torch.arange(rows)).sum(0)
    layer = Layer(name, ih, hh, *biases, masks, sizes, product)
    x, weighing = normal(steps, rows, features), normal(steps, rows, units)
    state = tuple(normal(rows, units).requires_grad_() for _ in cell.states)
    out, last = reference(cell, x, state, (ih.float(), hh.float(), *biases), masks, lengths=lengths.to(device))
    want = [out, *last[1:], *torch.autograd.grad((out * weighing).sum(), state)]
    with torch.no_grad():
        got, memory, *kept = persistent_forward(layer, x, state, True)
        grads = persistent_backward(layer, state, (got, kept[0], kept[1]), weighing, None)[2:]
    pairs = zip(want, [got, *([memory] if len(state) > 1 else []), *grads])
    gaps = [(a - b).detach().abs().max() / a.detach().abs().max() for a, b in pairs if b is not None]
    return float(torch.stack(gaps).max())  # NaN if one is


class _Call:
    """What the launches of a layer share: the grid, the ends of rows, and the constants that choose the kernel."""

    def __init__(self, layer: Layer, steps: int, rows: int, units: int) -> None:
        self.hidden, self.read = (_even(mask, units) for mask in (layer.masks.hidden, layer.masks.cell))
        self.instead = layer.hh  # in the place of what there is not, and is not read
        self.units, self.rows, self.gates = units, rows, layer.cell.gates
        padded = max(16, 1 << (units - 1).bit_length())
        self.grid = (-(-rows // _ROWS),)
        self.ends: Tensor | None = None
        if layer.sizes and layer.sizes[-1] < rows:
            alive = torch.tensor(layer.sizes)[:, None] > torch.arange(rows)
            self.ends = alive.sum(0, dtype=torch.int32).to(layer.hh.device)
        tied = self.hidden is not None and self.hidden.shape[0] == self.hidden.shape[1] == 1
        self.flags: dict[str, Any] = {
            "GATES": self.gates,
            "CAPPED": layer.name == "lstm_capped",
            "LENGTHS": self.ends is not None,
            "MASK": 0 if self.hidden is None else 1 if tied else 2,
            "READ": self.read is not None,
            "HELD": self.gates * padded**2 * layer.product.itemsize <= _HELD_BYTES,
            "ROWS": _ROWS,
            "UNITS": padded,
            "TILE": min(padded, _TILE),
            "PRECISION": "tf32x3" if torch.get_float32_matmul_precision() == "highest" else "tf32",
            "num_warps": 8,
        }

    def masks(self, step: int) -> tuple[Tensor | int, ...]:
        """Return the masks of h and memory from a step on, with strides, then strides of the outputs."""
        read, along, _, row = _from(self.read, step, self.instead)
        outputs = self.rows * self.units
        return (*_from(self.hidden, step, self.instead), read, along, row, outputs, self.gates * outputs)


def _from(mask: Tensor | None, step: int, instead: Tensor) -> tuple[Tensor, int, int, int]:
    """Return a mask from a step on, and its first three strides: steps, gates, rows."""
    if mask is None:
        return instead, 0, 0, 0
    along, gate, row = (mask.stride(d) if mask.shape[d] > 1 else 0 for d in range(3))
    return mask[step if along else 0], along, gate, row


def _even(mask: Tensor | None, units: int) -> Tensor | None:
    """Return a mask whose units lie side by side."""
    if mask is None or (mask.shape[3] == units and mask.stride(3) == 1):
        return mask
    return mask.expand(-1, -1, -1, units).contiguous()
