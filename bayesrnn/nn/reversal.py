"""Time turned around for the backward direction of a layer."""

import torch
from torch import Tensor

__all__ = ["turned_steps"]


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
