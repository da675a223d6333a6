"""Gamma functions and deviances without cancellation: what densities of counts and of Student's t are made of.

Source: Loader 2000, Fast and accurate computation of binomial probabilities (saddle-point form).
"""

import math

import torch
from torch import Tensor

__all__ = ["LARGE", "LOG_TWO_PI", "excess", "remainder", "rising"]

LARGE = 16.0  # from here on the five terms of Stirling's series below are exact to double precision
LOG_TWO_PI = math.log(2 * math.pi)
_TERMS = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188)


def rising(count: Tensor, value: Tensor) -> Tensor:
    r"""Return $\log\Gamma(r + y) - \log\Gamma(r) - y \log r$, which tends to 0 as r grows."""
    large = count >= LARGE
    r = torch.where(large, count, LARGE)  # both branches see legal numbers only: no NaN in the gradient of the other
    series = (r + value - 0.5) * torch.log1p(value / r) - value + _series(r + value) - _series(r)
    r = torch.where(large, 1.0, count)
    direct = torch.lgamma(r + value) - torch.lgamma(r) - value * r.log()
    return torch.where(large, series, direct)


def remainder(z: Tensor) -> Tensor:
    r"""Return $\log\Gamma(z) - (z - \frac12)\log z + z - \frac12\log 2\pi$, z > 0; by Stirling's series where large."""
    large = z >= LARGE
    few = torch.where(large, 1.0, z)
    direct = torch.lgamma(few) - (few - 0.5) * few.log() + few - 0.5 * LOG_TWO_PI
    return torch.where(large, _series(torch.where(large, z, LARGE)), direct)


def excess(change: Tensor, ratio: Tensor) -> Tensor:
    r"""Return $x - \log(1 + x)$, the deviance of a count by its relative error x; given both x and 1 + x > 0.

    Near 0 the first is exact and near -1 the second, if each was computed without the other.
    """
    small = change.abs() < 0.5
    logarithm = torch.where(small, torch.log1p(torch.where(small, change, 0.0)), torch.where(small, 1.0, ratio).log())
    return change - logarithm


def _series(z: Tensor) -> Tensor:
    inverse = 1 / z
    square = inverse * inverse
    total = torch.zeros_like(z)
    for coefficient in reversed(_TERMS):
        total = total * square + coefficient
    return total * inverse
