"""All steps of a layer in one call of a compiled kernel, forward and backward."""

import ctypes

import torch
from torch import Tensor

from bayesrnn.nn.kernels.scan.layer import Layer
from bayesrnn.nn.kernels.scan.library import Kernels, kernels, threads_for

_CELLS = {"lstm": 0, "lstm_capped": 0, "gru": 1, "rnn_tanh": 2, "rnn_relu": 3}


class _Strided(ctypes.Structure):
    """See `cpp/layer.h`."""

    _fields_ = (("data", ctypes.c_void_p), *((name, ctypes.c_int64) for name in ("step", "gate", "row")))


def _fields(names: str, kind: type) -> list[tuple[str, type]]:
    return [(name, kind) for name in names.split()]


class _Layer(ctypes.Structure):
    """See `cpp/layer.h`."""

    _fields_ = (
        *_fields("cell steps rows features units threads capped", ctypes.c_int64),
        *_fields("alive ih hh bias_ih bias_hh first memory", ctypes.c_void_p),
        *_fields("x mask_x mask_h mask_c out", _Strided),
        *_fields("gates extra last", ctypes.c_void_p),
        *_fields("grad_out", _Strided),
        *_fields("grad_last blocks grad_h grad_c", ctypes.c_void_p),
        *_fields("grad_x", _Strided),
        *_fields("grad_ih grad_hh", ctypes.c_void_p),
    )


def kernels_for(layer: Layer, x: Tensor, first: Tensor) -> Kernels | None:
    """Return the kernels where they do the layer: float32 on a CPU, masks of inputs, hidden states and memory cells."""
    single = x.dtype == first.dtype == layer.product == layer.ih.dtype == torch.float32
    return kernels() if layer.reads_masks and single and x.device.type == "cpu" and x.numel() else None


def sequence_forward(
    own: Kernels, layer: Layer, x: Tensor, state: tuple[Tensor, ...], save: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Do what `forward` does."""
    cell, first = layer.cell, state[0]
    (steps, rows), units = x.shape[:2], first.shape[1]
    out = first.new_empty(steps, rows, units)
    last = torch.empty_like(state[1]) if cell.memory else first.new_empty(0)
    gates = first.new_empty((steps, rows, cell.gates, units) if save else (0,))
    extra = first.new_empty((steps, rows, units) if save and cell.extra else (0,))
    call = _Call(layer, x, state, out)
    call.fill(gates=gates if save else None, extra=extra if save and cell.extra else None, last=last)
    own["forward"](call.address)
    return out, last, gates, extra


def sequence_backward(
    own: Kernels,
    layer: Layer,
    state: tuple[Tensor, ...],
    saved: tuple[Tensor, Tensor, Tensor, Tensor],
    grad_out: Tensor | None,
    grad_last: Tensor | None,
    want_weights: bool,
    want_x: bool,
) -> tuple[Tensor | None, Tensor, Tensor | None, Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of inputs, initial h and c, both weights, biases (blocks, H), and gates at every step.

    Args:
        own: The kernels.
        layer: Cell, weights, masks and sizes.
        state: Initial h, or h and c.
        saved: Inputs, outputs, activated gates and the cell's extra.
        grad_out: Gradient of the outputs, or None.
        grad_last: Gradient of the last memory, or None.
        want_weights: Whether the gradients of the weights are needed; else they are not filled.
        want_x: Whether the gradient of the inputs is needed.
    """
    x, out, gates, extra = saved
    blocks = out.new_empty(*out.shape[:2], layer.cell.blocks, out.shape[2])
    grad_h = torch.empty_like(state[0], memory_format=torch.contiguous_format)
    grad_c = torch.empty_like(grad_h) if layer.cell.memory else None
    grad_x = x.new_empty(x.shape) if want_x else None
    grad_ih, grad_hh = torch.empty_like(layer.ih), torch.empty_like(layer.hh)
    call = _Call(layer, x, state, out)
    call.fill(gates=gates, extra=extra, grad_last=grad_last, blocks=blocks, grad_h=grad_h, grad_c=grad_c)
    call.fill(grad_ih=grad_ih, grad_hh=grad_hh)
    call.sequences(grad_out=grad_out, grad_x=grad_x)
    own["backward"](call.address)
    if want_weights:
        own["weight_gradient"](call.address)
    return grad_x, grad_h, grad_c, grad_ih, grad_hh, blocks.sum((0, 1)), blocks


class _Call:
    """The arguments of a kernel, and the tensors that must live until it returns."""

    def __init__(self, layer: Layer, x: Tensor, state: tuple[Tensor, ...], out: Tensor) -> None:
        self._held: list[Tensor] = []
        (steps, rows, features), units, masks = x.shape, out.shape[2], layer.masks
        work = steps * rows * units * layer.cell.gates * (features + units)
        self.arguments = _Layer(
            _CELLS[layer.name], steps, rows, features, units, threads_for(work), layer.name == "lstm_capped"
        )
        self.address = ctypes.addressof(self.arguments)
        alive = torch.tensor([*layer.sizes, *[0] * (steps - len(layer.sizes))]) if layer.sizes else None
        self.fill(alive=alive, ih=layer.ih, hh=layer.hh, bias_ih=layer.bias_ih, bias_hh=layer.bias_hh)
        self.fill(first=state[0], memory=state[1] if len(state) > 1 else None)
        self.sequences(x=x, out=out)
        self.arguments.mask_x = self._mask(masks.input, features)
        self.arguments.mask_h = self._mask(masks.hidden, units)
        self.arguments.mask_c = self._mask(masks.cell, units)

    def fill(self, **tensors: Tensor | None) -> None:
        """Set contiguous tensors."""
        for name, tensor in tensors.items():
            if tensor is not None:
                setattr(self.arguments, name, self._contiguous(tensor).data_ptr())

    def sequences(self, **tensors: Tensor | None) -> None:
        """Set tensors (steps, rows, features)."""
        for name, tensor in tensors.items():
            if tensor is not None:
                tensor = tensor if tensor.stride(2) == 1 or tensor.shape[2] == 1 else self._contiguous(tensor)
                self._held.append(tensor)
                setattr(self.arguments, name, _Strided(tensor.data_ptr(), tensor.stride(0), 0, tensor.stride(1)))

    def _mask(self, mask: Tensor | None, width: int) -> _Strided:
        """Return a mask (steps or 1, gates or 1, rows or 1, features or 1)."""
        if mask is None:
            return _Strided(None, 0, 0, 0)
        if mask.shape[3] != width or mask.stride(3) != 1:
            mask = mask.expand(-1, -1, -1, width).contiguous()
        self._held.append(mask)
        strides = (mask.stride(d) if mask.shape[d] > 1 else 0 for d in range(3))
        return _Strided(mask.data_ptr(), *strides)

    def _contiguous(self, tensor: Tensor) -> Tensor:
        tensor = tensor.contiguous()
        self._held.append(tensor)
        return tensor
