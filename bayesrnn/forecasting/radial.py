"""A law whose distances from the median are stretched, each part of the way by its own factor."""

# ruff: noqa: D102 - each method is documented in AbstractLaw

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bayesrnn.predictive.law import AbstractLaw
from bayesrnn.predictive.recalibrated import QuadratureLaw

__all__ = ["RadialLaw"]


class RadialLaw(QuadratureLaw):
    r"""$Y' = m + \mathrm{sign}(Y - m)\, g(|Y - m|)$ with m the median and g increasing, piecewise linear.

    g takes 0 to 0 and each of K distances to another; beyond the last it is a line through the origin's continuation,
    of slope last / last. The quantile is $m \pm g(|Q - m|)$, the density $f(y) / g'$ at the distance it came from.

    Args:
        base: The law that is stretched.
        before: K increasing distances, (K, B, ...), target units.
        after: Where they go, (K, B, ...), increasing.
    """

    def __init__(self, base: AbstractLaw, before: Tensor, after: Tensor, median: Tensor | None = None) -> None:
        super().__init__(base)
        self.before, self.after = before.double(), after.double()
        if median is None:
            half = torch.full((1, *base.shape), 0.5, dtype=torch.float64, device=base.device)
            median = base.quantile(half)[0]
        self.median = median

    def rewrap(self, base: AbstractLaw) -> "RadialLaw":
        return RadialLaw(base, self.before, self.after, self.median)

    def select(self, key: Any) -> "RadialLaw":
        deeper = (slice(None), *key) if isinstance(key, tuple) else (slice(None), key)
        return RadialLaw(self.base.select(key), self.before[deeper], self.after[deeper], self.median[key])

    def cast(self, function: Callable[[Tensor], Tensor]) -> "RadialLaw":
        moved = (function(tensor) for tensor in (self.before, self.after, self.median))
        return RadialLaw(self.base.cast(function), *moved)

    def cdf(self, y: Tensor) -> Tensor:
        return self.base.cdf(self._back(y))

    def below(self, y: Tensor) -> Tensor:
        return self.base.below(self._back(y))

    def pit(self, y: Tensor) -> tuple[Tensor, Tensor]:
        return self.base.pit(self._back(y))

    def log_prob(self, y: Tensor) -> Tensor:
        _, slope = through(y - self.median, self.after, self.before)
        return self.base.log_prob(self._back(y)) + slope.log()

    def quantile(self, q: Tensor) -> Tensor:
        return self.median + through(self.base.quantile(q) - self.median, self.before, self.after)[0]

    def draws(self) -> Tensor:
        return self.median + through(self.base.draws() - self.median, self.before, self.after)[0]

    def _back(self, y: Tensor) -> Tensor:
        return self.median + through(y - self.median, self.after, self.before)[0]


def through(distance: Tensor, knots: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Return the odd piecewise linear function through (knots, values) at `distance` (..., B, ...), and its slope."""
    size = distance.abs()
    slope = (values[0] / knots[0]).expand_as(size)
    result = size * slope
    for k in range(len(knots)):
        inner = k + 1 < len(knots)
        rise, run = (values[k + 1] - values[k], knots[k + 1] - knots[k]) if inner else (values[k], knots[k])
        steep = rise / run
        beyond = size > knots[k]
        result = torch.where(beyond, values[k] + (size - knots[k]) * steep, result)
        slope = torch.where(beyond, steep.expand_as(size), slope)
    return result * torch.sign(distance), slope
