"""A distribution whose distances from the median are stretched, each part of the way by its own factor."""

# ruff: noqa: D102 - each method is documented in AbstractDistribution

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bayesrnn.predictive.distributions.abstract import AbstractDistribution
from bayesrnn.predictive.distributions.transformed import TabulatedDistribution


class RadialDistribution(TabulatedDistribution):
    r"""$Y' = m + \mathrm{sign}(Y - m)\, g_\pm(|Y - m|)$ with m the median and g increasing, piecewise linear.

    Each side of the median has a g of its own. It takes 0 to 0 and each of K distances to another; beyond the last it
    goes on with the slope last / last. The quantile is $m \pm g_\pm(|Q - m|)$, the density $f(y) / g'$ at the distance
    it came from.

    Args:
        base: The distribution that is stretched.
        before: K increasing distances below the median and K above it, (2, K, B, ...), target units.
        after: Where they go, (2, K, B, ...), increasing along K.
        median: m, (B, ...); of `base` if not given.
    """

    def __init__(self, base: AbstractDistribution, before: Tensor, after: Tensor, median: Tensor | None = None) -> None:
        super().__init__(base)
        self.before, self.after = before.double(), after.double()
        self.median = base.quantiles([0.5])[0] if median is None else median

    def rewrap(self, base: AbstractDistribution) -> "RadialDistribution":
        return RadialDistribution(base, self.before, self.after, self.median)

    def select(self, key: Any) -> "RadialDistribution":
        sides = (slice(None), slice(None))
        deeper = (*sides, *key) if isinstance(key, tuple) else (*sides, key)
        return RadialDistribution(self.base.select(key), self.before[deeper], self.after[deeper], self.median[key])

    def cast(self, function: Callable[[Tensor], Tensor]) -> "RadialDistribution":
        moved = (function(tensor) for tensor in (self.before, self.after, self.median))
        return RadialDistribution(self.base.cast(function), *moved)

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
        return self._forth(self.base.quantile(q))

    def draws(self) -> Tensor:
        return self._forth(self.base.draws())

    def carry(self, y: Tensor, noise: torch.Generator) -> Tensor:
        return self._forth(y)

    def moved(self, levels: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        return levels, self._forth(values)

    def _forth(self, y: Tensor) -> Tensor:
        return self.median + through(y - self.median, self.before, self.after)[0]

    def _back(self, y: Tensor) -> Tensor:
        return self.median + through(y - self.median, self.after, self.before)[0]


def through(distance: Tensor, knots: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Return the piecewise linear function through 0 and ±(knots, values) at `distance` (..., B, ...), and its slope.

    Knots and values are (2, K, B, ...): for negative distances, then for positive ones.
    """
    size, below = distance.abs(), distance < 0
    at, to = _sided(below, knots), _sided(below, values)
    slope = to[0] / at[0]
    result = size * slope
    for k in range(len(at)):
        inner = k + 1 < len(at)
        rise, run = (to[k + 1] - to[k], at[k + 1] - at[k]) if inner else (to[k], at[k])
        beyond = size > at[k]
        result = torch.where(beyond, to[k] + (size - at[k]) * (rise / run), result)
        slope = torch.where(beyond, rise / run, slope)
    return result * torch.sign(distance), slope


def _sided(below: Tensor, sides: Tensor) -> list[Tensor]:
    return [torch.where(below, lower, upper) for lower, upper in zip(sides[0], sides[1], strict=True)]
