"""How many rows fit in memory at once."""

import os
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from bayesrnn._checks import check_whole
from bayesrnn.inference.structure import leaves, row_count
from bayesrnn.nn.masked import MaskedModule

__all__ = ["rows_at_once"]

_SHARE = 0.25  # of the memory that is free: the rest is the user's, and estimates are rough
_MOST = 1024  # more rows make a pass no faster: their masks and activations leave the caches


def rows_at_once(model: nn.Module, inputs: tuple[Any, ...], batch_dim: int, max_memory: int | None) -> int:
    """Return how many draws x rows may go through the model together.

    Args:
        model: The module.
        inputs: Its inputs.
        batch_dim: Dimension of the rows.
        max_memory: Bytes that one pass may use; a share of what is free if not given.

    Raises:
        ValueError: If `max_memory` is below one byte.
    """
    budget = free_memory(model) * _SHARE if max_memory is None else check_whole(max_memory, "max_memory")
    return int(max(1, min(_MOST, budget // bytes_per_row(model, inputs, batch_dim))))


def bytes_per_row(model: nn.Module, inputs: tuple[Any, ...], batch_dim: int) -> int:
    """Estimate the bytes that one row needs on its way through the model: inputs, masks, activations of all steps."""
    size, steps = 0, 1
    for _, leaf in leaves(inputs):
        rows = row_count(leaf, batch_dim)
        if not rows:
            continue
        data = leaf.data if isinstance(leaf, PackedSequence) else leaf
        size += data.numel() * data.element_size() // rows
        if isinstance(leaf, PackedSequence):
            steps = max(steps, leaf.batch_sizes.numel())
        elif leaf.dim() > 1:
            steps = max(steps, leaf.shape[0 if batch_dim == 1 else 1])
    for module in model.modules():
        if isinstance(module, MaskedModule | nn.RNNBase):
            widest = max((p.shape[0] for p in module.parameters()), default=0)
            layers = sum(p.dim() == 2 for p in module.parameters())
            size += 4 * widest * (3 * steps + 2 * max(layers, 1))
        elif isinstance(module, nn.Linear):
            size += 4 * module.out_features * steps
    return max(2 * size, 1)


def free_memory(model: nn.Module) -> int:
    """Return the bytes that are free on the device of the model."""
    first: Tensor | None = next(model.parameters(), None)
    if first is not None and first.is_cuda:
        return int(torch.cuda.mem_get_info(first.device)[0])
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return 2**31
