"""Distributions made of another distribution: a scaled spread, a map of the levels."""

# ruff: noqa: D102 - each method is documented in AbstractDistribution

from abc import abstractmethod
from collections.abc import Callable
from functools import cached_property
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch import distributions as D

from bayesrnn.likelihoods import families
from bayesrnn.predictive.distributions.abstract import AbstractDistribution
from bayesrnn.predictive.distributions.empirical import EmpiricalDistribution
from bayesrnn.predictive.distributions.mixture import MixtureDistribution, RemadeDistribution
from bayesrnn.predictive.distributions.moments import MomentsDistribution
from bayesrnn.predictive.distributions.quantiles import QuantileDistribution, table_by_rows, table_points


class WrappedDistribution(AbstractDistribution):
    """A distribution that changes another: shape, place and draws are the base's."""

    def __init__(self, base: AbstractDistribution) -> None:
        self.base = base
        self.shape, self.dtype, self.device, self.is_count = base.shape, base.dtype, base.device, base.is_count
        self.has_density = base.has_density

    @abstractmethod
    def rewrap(self, base: AbstractDistribution) -> "WrappedDistribution":
        """The same change of another base."""

    def draws(self) -> Tensor:
        return self.base.draws()

    def select(self, key: Any) -> AbstractDistribution:
        return self.rewrap(self.base.select(key))

    def cast(self, function: Callable[[Tensor], Tensor]) -> AbstractDistribution:
        return self.rewrap(self.base.cast(function))

    def keep_draws(self, draws: Tensor) -> AbstractDistribution:
        return self.rewrap(self.base.keep_draws(draws))

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        level = torch.rand(n, *self.shape, generator=generator, dtype=torch.float64).clamp(1e-12, 1 - 1e-12)
        return self.quantile(level.to(self.device))

    def paths(self, n: int, choice: torch.Generator, noise: torch.Generator) -> Tensor:
        return torch.stack([self.carry(y, noise) for y in self.base.paths(n, choice, noise)])

    def carry(self, y: Tensor, noise: torch.Generator) -> Tensor:
        """The value with the level that y has in the base; uniform over a jump of the cdf."""
        lower, upper = self.base.pit(y)
        share = torch.rand(self.shape, generator=noise, dtype=torch.float64).to(self.device)
        return self.quantile((lower + share * (upper - lower)).clamp(1e-15, 1 - 1e-15)[None])[0]

    def _split(self, variance: Tensor, part: Callable[[], Tensor]) -> Tensor:
        """The base's share of a part of the variance, of another total."""
        return variance * part() / self.base.variance()


class SpreadDistribution(WrappedDistribution):
    r"""$Y' = \mu + s (Y - \mu)$: the spread about the mean times s, both parts of the variance times $s^2$."""

    def __init__(self, base: AbstractDistribution, factor: float) -> None:
        super().__init__(base)
        self.factor = factor

    def rewrap(self, base: AbstractDistribution) -> "SpreadDistribution":
        return SpreadDistribution(base, self.factor)

    def mean(self) -> Tensor:
        return self.base.mean()

    def aleatoric(self) -> Tensor:
        return self.factor**2 * self.base.aleatoric()

    def epistemic(self) -> Tensor:
        return self.factor**2 * self.base.epistemic()

    def variance(self) -> Tensor:
        return self.factor**2 * self.base.variance()

    def cdf(self, y: Tensor) -> Tensor:
        return self.base.cdf(self.unscaled(y))

    def below(self, y: Tensor) -> Tensor:
        return self.base.below(self.unscaled(y))

    def pit(self, y: Tensor) -> tuple[Tensor, Tensor]:
        return self.base.pit(self.unscaled(y))

    def inside(self, y: Tensor, level: float) -> Tensor:
        return self.base.inside(self.unscaled(y), level)

    def log_prob(self, y: Tensor) -> Tensor:
        return self.base.log_prob(self.unscaled(y)) - float(np.log(self.factor))

    def quantile(self, q: Tensor) -> Tensor:
        return self._forth(self.base.quantile(q))

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        return self._forth(self.base.sample(n, generator))

    def carry(self, y: Tensor, noise: torch.Generator) -> Tensor:
        return self._forth(y)

    def draws(self) -> Tensor:
        return self._forth(self.base.draws())

    def _forth(self, y: Tensor) -> Tensor:
        mean = self.base.mean()
        return mean + self.factor * (y - mean)

    def unscaled(self, y: Tensor) -> Tensor:
        """The value of the base that y came from."""
        mean = self.base.mean()
        return mean + (y - mean) / self.factor


def scale_spread(distribution: AbstractDistribution, factor: float) -> AbstractDistribution:
    """Return the distribution with its spread about the mean scaled; location-scale families keep their kind.

    Raises:
        ValueError: For counts, which would no longer be whole numbers.
    """
    if distribution.is_count:
        raise ValueError(
            "scaling the spread of counts about their mean leaves the whole numbers. Use QuantileRecalibration, which "
            "maps levels and keeps counts."
        )
    mean = distribution.mean()
    if isinstance(distribution, MomentsDistribution):
        parts = (distribution.aleatoric(), distribution.epistemic(), distribution.between_networks())
        scaled = MomentsDistribution(mean, *(factor**2 * part for part in parts))
        return scaled.cast(lambda t: t.to(distribution.dtype))
    if type(distribution) is EmpiricalDistribution:
        return EmpiricalDistribution((mean + factor * (distribution.samples.double() - mean)).to(distribution.dtype))
    if isinstance(distribution, MixtureDistribution):
        wide: Any = distribution.component()
        if isinstance(wide, D.Normal | D.Laplace | D.StudentT):
            make: Any = type(wide)
            shape = (wide.df,) if isinstance(wide, D.StudentT) else ()
            moved = make(*shape, mean + factor * (wide.loc - mean), factor * wide.scale, validate_args=False)
            moved = families.map_parameters(moved, lambda t: t.to(distribution.dtype))
            # with fewer draws the mean changes: errors of finite draws come from the base
            return RemadeDistribution(
                moved, distribution, lambda base: cast(MixtureDistribution, scale_spread(base, factor))
            )
    return SpreadDistribution(distribution, factor)


class TabulatedDistribution(WrappedDistribution):
    r"""A distribution whose moments and CRPS come from a table of the points where its base's quantiles go.

    Let $(m', v')$ be the table's moments, $(m, v)$ those in a table of the base, $(\mu, \sigma^2)$ the base's own:
    the mean is $\mu + m' - m$ and the variance $\sigma^2 v'/v$: exact where nothing is changed. The split into
    aleatoric and epistemic keeps the base's shares.
    """

    @abstractmethod
    def moved(self, levels: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Where levels and values of the base's quantiles go, (L, B, ...) each."""

    @cached_property
    def _moments(self) -> tuple[Tensor, Tensor]:
        mean, variance = table_by_rows(self, _table_moments, lead=1)
        return mean, variance

    def mean(self) -> Tensor:
        return self._moments[0]

    def variance(self) -> Tensor:
        return self._moments[1]

    def aleatoric(self) -> Tensor:
        return self._split(self._moments[1], self.base.aleatoric)

    def epistemic(self) -> Tensor:
        return self._split(self._moments[1], self.base.epistemic)

    def crps(self, y: Tensor) -> Tensor | None:
        if self.is_count:
            return None
        return table_by_rows(self, lambda part, value: QuantileDistribution(*_moved_points(part)).crps(value), y)


def _moved_points(distribution: Any) -> tuple[Tensor, Tensor]:
    return distribution.moved(*table_points(distribution.base))


def _table_moments(distribution: Any) -> Tensor:
    base, points = distribution.base, table_points(distribution.base)
    old, new = QuantileDistribution(*points), QuantileDistribution(*distribution.moved(*points))
    mean, variance = base.mean(), base.variance()
    kept = old.variance() > 0
    wider = torch.where(kept, variance * new.variance() / old.variance().clamp(min=1e-300), new.variance())
    return torch.stack([mean + new.mean() - old.mean(), wider])


class LevelDistribution(TabulatedDistribution):
    r"""$F'(y) = R(F(y))$ with R strictly increasing and piecewise linear from (0, 0) to (1, 1).

    The density is $R'(F(y)) f(y)$, the quantile $Q(R^{-1}(q))$. Source: Kuleshov et al. 2018 (arXiv:1807.00263).
    """

    def __init__(self, base: AbstractDistribution, before: Tensor, after: Tensor) -> None:
        super().__init__(base)
        self.before, self.after = before.double().to(base.device), after.double().to(base.device)

    def rewrap(self, base: AbstractDistribution) -> "LevelDistribution":
        return LevelDistribution(base, self.before, self.after)

    def cdf(self, y: Tensor) -> Tensor:
        return interpolate(self.base.cdf(y), self.before, self.after)

    def moved(self, levels: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        return interpolate(levels, self.before, self.after), values

    def below(self, y: Tensor) -> Tensor:
        return interpolate(self.base.below(y), self.before, self.after)

    def pit(self, y: Tensor) -> tuple[Tensor, Tensor]:
        lower, upper = self.base.pit(y)
        return interpolate(lower, self.before, self.after), interpolate(upper, self.before, self.after)

    def log_prob(self, y: Tensor) -> Tensor:
        if self.is_count:
            return (self.cdf(y) - self.below(y)).clamp(min=0).log()
        slope = (self.after[1:] - self.after[:-1]) / (self.before[1:] - self.before[:-1])
        piece = torch.searchsorted(self.before, self.base.cdf(y).contiguous(), right=True) - 1
        return self.base.log_prob(y) + slope.log()[piece.clamp(0, len(slope) - 1)]

    def quantile(self, q: Tensor) -> Tensor:
        return self.base.quantile(interpolate(q, self.after, self.before))


def interpolate(x: Tensor, knots: Tensor, values: Tensor) -> Tensor:
    """Return the piecewise linear function through (knots, values) at x; knots increase."""
    piece = (torch.searchsorted(knots, x.contiguous(), right=True) - 1).clamp(0, len(knots) - 2)
    share = (x - knots[piece]) / (knots[piece + 1] - knots[piece])
    return values[piece] + share.clamp(0, 1) * (values[piece + 1] - values[piece])
