"""torch's own kernels (cuDNN on a GPU), for no masks or masks folded into weights or inputs."""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from bayesrnn.masks import SiteMasks
from bayesrnn.nn.kernels.cells import Cell, State
from bayesrnn.nn.kernels.reference import Weights
from bayesrnn.nn.sequences import turned_steps

# Masks folded into weights are new memory, which cuDNN copies into one piece: microseconds, and no user can help it.
warnings.filterwarnings("ignore", "RNN module weights are not part of single contiguous chunk", module=__name__)

_KERNELS: dict[str, Callable[..., tuple[Tensor, ...]]] = {
    "lstm": torch._VF.lstm,
    "gru": torch._VF.gru,
    "rnn_tanh": torch._VF.rnn_tanh,
    "rnn_relu": torch._VF.rnn_relu,
}


def has_kernel(cell: Cell) -> bool:
    """Whether torch has a kernel for the recurrence."""
    return cell.name in _KERNELS


def can_fold(masks: SiteMasks) -> bool:
    """Whether the masks can be multiplied into the weights: all rows and steps share them."""
    products = [m for m in (masks.input, masks.hidden) if m is not None]
    return not any(m is not None for m in masks.inside) and all(m.shape[0] == m.shape[2] == 1 for m in products)


def acts_outside(masks: SiteMasks) -> bool:
    """Whether the only mask is on the layer's inputs and shared by all gates, so torch's kernel can run."""
    tied = masks.input is None or masks.input.shape[1] == 1
    return tied and all(m is None for m in (masks.hidden, masks.weight, *masks.inside))


def outside(
    cell: Cell,
    x: Tensor,
    state: State,
    weights: Weights,
    masks: SiteMasks,
    *,
    lengths: Tensor | None = None,
    reverse: bool = False,
) -> tuple[Tensor, State]:
    """Multiply the masks of one layer and direction into its inputs, and run torch's kernel; see `reference`."""
    if masks.input is not None:
        x = x * masks.input[:, 0].to(x.device, x.dtype)
    if reverse:
        x = _turned(x, lengths)
    out, last = stock(cell, x, tuple(s.unsqueeze(0) for s in state), [weights], lengths=lengths)
    return _turned(out, lengths) if reverse else out, tuple(s.squeeze(0) for s in last)


def _turned(x: Tensor, lengths: Tensor | None) -> Tensor:
    """Turn every row around within its length."""
    if lengths is None:
        return x.flip(0)
    place = turned_steps(lengths.cpu(), x.shape[0]).to(x.device)
    return x.gather(0, place.unsqueeze(-1).expand_as(x))


def fold(weights: Weights, masks: SiteMasks, gates: int) -> Weights:
    r"""Multiply the masks into the weights: $W_k (x \circ z^k) = (W_k \operatorname{diag} z^k) x$.

    Args:
        weights: In torch's shapes.
        masks: For which `can_fold` holds.
        gates: How many gates are stacked in the weights.
    """
    w_ih, w_hh, b_ih, b_hh = weights
    if masks.weight is not None:
        w_hh = w_hh * masks.weight[0, 0]
    return _folded(w_ih, masks.input, gates), _folded(w_hh, masks.hidden, gates), b_ih, b_hh


def _folded(weight: Tensor, mask: Tensor | None, gates: int) -> Tensor:
    if mask is None:
        return weight
    mask = mask[0].to(weight.dtype)
    if len(mask) == 1:
        return weight * mask[0]
    return (weight.unflatten(0, (gates, -1)) * mask).flatten(0, 1)


def stock(
    cell: Cell,
    x: Tensor,
    states: State,
    weights: list[Weights],
    *,
    lengths: Tensor | None = None,
    bidirectional: bool = False,
) -> tuple[Tensor, State]:
    """Run a stack of layers through torch's kernel, outside of autocast: the state keeps the type of the weights.

    Args:
        cell: The recurrence.
        x: Inputs (T, rows, D).
        states: Initial (h,) or (h, c), each (layers * directions, rows, H).
        weights: Of every layer and direction, in torch's order.
        lengths: Steps of each row, on the CPU.
        bidirectional: Whether each layer has two directions.

    Returns:
        Outputs (T, rows, directions * H), 0 beyond a row's length, and the last states.
    """
    flat = [w for layer in weights for w in layer if w is not None]
    if torch.amp.is_autocast_available(x.device.type) and torch.is_autocast_enabled(x.device.type):
        # torch's kernel would round the state at every step; in float32, a GPU's products are TF32 by default
        x, states = x.to(flat[0].dtype), tuple(s.to(flat[0].dtype) for s in states)
        with torch.autocast(x.device.type, enabled=False):
            return stock(cell, x, states, weights, lengths=lengths, bidirectional=bidirectional)
    biased = weights[0][2] is not None
    layers = len(weights) // (2 if bidirectional else 1)
    # The flag of training only chooses the kernel that remembers what a backward pass needs; there is no dropout in it.
    options = (biased, layers, 0.0, torch.is_grad_enabled(), bidirectional)
    kernel = _KERNELS[cell.name]
    single = len(states) == 1
    if lengths is None:
        out, *last = kernel(x, states[0] if single else states, flat, *options, False)
        return out, tuple(last)
    packed = pack_padded_sequence(x, lengths, enforce_sorted=False)
    forth, back = packed.sorted_indices, packed.unsorted_indices
    if forth is None or back is None:
        raise RuntimeError("a batch packed with enforce_sorted=False holds its order")
    ordered = tuple(s.index_select(1, forth) for s in states)
    data, *last = kernel(packed.data, packed.batch_sizes, ordered[0] if single else ordered, flat, *options)
    out, _ = pad_packed_sequence(packed._replace(data=data), total_length=x.shape[0])
    return out, tuple(value.index_select(1, back) for value in last)


def flatten(weights: list[list[Tensor]], cell: Cell, layers: int, bidirectional: bool) -> None:
    """Put the parameters of a stack into one piece of memory where cuDNN runs; else do nothing."""
    flat = [w for own in weights for w in own]
    distinct = len({w.data_ptr() for w in flat}) == len(flat)
    if (
        not has_kernel(cell)
        or not distinct
        or not all(w.is_cuda and torch.backends.cudnn.is_acceptable(w.data) for w in flat)
    ):
        return
    from torch.backends.cudnn import rnn

    (_, inputs), (_, units) = flat[0].shape, flat[1].shape
    mode = rnn.get_cudnn_mode({"lstm": "LSTM", "gru": "GRU"}.get(cell.name, cell.name.upper()))
    with torch.cuda.device_of(flat[0]), torch.no_grad():
        torch._cudnn_rnn_flatten_weight(flat, len(weights[0]), inputs, mode, units, 0, layers, False, bidirectional)
