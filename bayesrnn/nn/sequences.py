"""Between `PackedSequence` and padded, time-first tensors, in the rows' original order."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from bayesrnn._checks import is_exporting


def padding(
    model: nn.Module, inputs: Sequence[Any], keywords: Mapping[str, Any], values: Tensor
) -> tuple[Tensor | None, int | None]:
    """Return the lengths that the model was given and the padded steps, or None where `values` is not per step.

    Lengths are the argument `lengths` of `forward`. A loss has one number per step if its second dimension is as long
    as the second dimension of the inputs, unless the model says ``every_step = False``.
    """
    lengths = keywords.get("lengths")
    if lengths is None and len(inputs) > 1:
        lengths = inspect.signature(model.forward).bind_partial(*inputs).arguments.get("lengths")
    if lengths is None or values.dim() < 2 or getattr(model, "every_step", None) is False:
        return None, None
    tensors = [value for value in (*inputs, *keywords.values()) if isinstance(value, Tensor) and value.dim() > 1]
    steps = values.shape[1]
    return (lengths, steps) if any(tensor.shape[1] == steps for tensor in tensors) else (None, None)


def before_padding(lengths: Any, steps: int, dims: int, device: torch.device) -> Tensor:
    """Return, for values of `dims` dimensions, (rows, steps, 1, ...): whether a step lies before the row's padding."""
    inside = torch.arange(steps, device=device) < torch.as_tensor(lengths, device=device)[:, None]
    return inside.reshape(inside.shape + (1,) * (dims - 2))


def turned_steps(lengths: Tensor, steps: int) -> Tensor:
    """Return which step stands where once every row is read backward from its own end, (steps, rows).

    What lies beyond a row's length stays in place, so that turning twice changes nothing.

    Args:
        lengths: Steps of each row (rows,), on the CPU.
        steps: Steps of the longest.

    Example:
        >>> turned_steps(torch.tensor([3, 2]), 3).T
        tensor([[2, 1, 0],
                [1, 0, 2]])
    """
    times = torch.arange(steps).unsqueeze(1)
    mirrored = lengths.unsqueeze(0) - 1 - times
    return torch.where(mirrored >= 0, mirrored, times)


def unpack(packed: PackedSequence) -> tuple[Tensor, Tensor]:
    """Return the padded tensor (T, rows, D) and the lengths (rows,), both in the original order of the rows."""
    return pad_packed_sequence(packed)


def repack(outputs: Tensor, lengths: Tensor, like: PackedSequence) -> PackedSequence:
    """Pack (T, rows, H) exactly as `like` is packed: same order, same indices."""
    if like.sorted_indices is not None:
        outputs = outputs.index_select(1, like.sorted_indices)
        lengths = lengths.index_select(0, like.sorted_indices.cpu())
    packed = pack_padded_sequence(outputs, lengths)
    return PackedSequence(packed.data, like.batch_sizes, like.sorted_indices, like.unsorted_indices)


def without_padding(x: Tensor, sizes: Tensor) -> tuple[Tensor, Tensor | None]:
    """Return x (steps, rows, features) with zeros beyond each length, and the lengths, or None without padding."""
    steps = x.shape[0]
    if not is_exporting() and bool((sizes == steps).all()):
        return x, None
    dead = torch.arange(steps, device=x.device).unsqueeze(1) >= sizes.to(x.device)
    return x.masked_fill(dead.unsqueeze(-1), 0.0), sizes
