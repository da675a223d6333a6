"""A part of a batch, and whether it differs from the same draws and rows run by themselves."""

from dataclasses import dataclass

import torch
from torch import Tensor

from bayesrnn.inference.outputs import OutputDistribution, parameters


@dataclass(frozen=True)
class BatchPart:
    """Some draws and rows of a batch, by position."""

    draws: Tensor
    rows: Tensor

    def of(self, value: Tensor) -> Tensor:
        """Return that part of a tensor (S, B, ...)."""
        return value[self.draws.to(value.device)][:, self.rows.to(value.device)]


def differ(
    whole: list[OutputDistribution], few: list[OutputDistribution], some: BatchPart, *, rough: bool, times: float = 1.0
) -> bool:
    """Whether part of a batch differs from the same rows run separately, beyond rounding or a trace of the spread.

    Limit: 4 eps of the dtype (or 1e-6, not `rough`) times the largest value, plus 1e-3 of the spread between draws.
    """
    for a, b in zip(whole, few, strict=True):
        for value, alone in zip(parameters(a), parameters(b), strict=True):
            if not value.is_floating_point():
                continue
            spread = value.double().std(0) if value.shape[0] > 3 else torch.zeros(())
            scale = value.double().abs().nan_to_num(0, 0, 0).amax() if value.numel() else torch.zeros(())
            step = 4 * torch.finfo(value.dtype).eps if rough else 1e-6
            limit = step * scale + 1e-3 * spread.nan_to_num(0, 0, 0).mean()
            if largest_gap(some.of(value), alone) > times * float(limit):
                return True
    return False


def largest_gap(a: Tensor, b: Tensor) -> float:
    """Return the largest difference where both have values; steps beyond the longer row are padding."""
    shape = [min(m, n) for m, n in zip(a.shape, b.shape)]
    for dim, size in enumerate(shape):
        a, b = a.narrow(dim, 0, size), b.narrow(dim, 0, size)
    gap = (a.double() - b.double()).abs()
    both = torch.isfinite(gap)
    return float(gap[both].amax()) if bool(both.any()) else 0.0
