"""A seasonal series taken apart into level, drift, season and remainder."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Parts:
    """A context taken apart.

    Attributes:
        drift: Mean change from season to season, per step, (rows, 1).
        steady: Level and season of the steps ahead, (rows, H).
        season: Mean pattern of the seasons, (rows, C + H).
        remainder: What is left, (rows, C).
    """

    drift: Tensor
    steady: Tensor
    season: Tensor
    remainder: Tensor

    @property
    def last(self) -> Tensor:
        """The remainder at the origin, (rows, 1)."""
        return self.remainder[:, -1:]


def take_apart(context: Tensor, season: int, horizon: int) -> Parts:
    """Return the parts of contexts (rows, C), whose seasons are m = `season` steps long."""
    steps = context.shape[1]
    drift = (context[:, season:] - context[:, :-season]).mean(1, keepdim=True) / season
    back = torch.arange(1 - steps, 1, device=context.device, dtype=context.dtype)
    flat = context - drift * back
    whole = steps - steps % season  # the last whole seasons
    pattern = flat[:, steps - whole :].unflatten(1, (-1, season)).mean(1)
    level = pattern.mean(1, keepdim=True)
    pattern = pattern - level
    phase = (torch.arange(steps + horizon, device=context.device) - steps) % season
    repeated = pattern[:, phase]
    remainder = flat - level - repeated[:, :steps]
    return Parts(drift, level + repeated[:, steps:], repeated, remainder)
