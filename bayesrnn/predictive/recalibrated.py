"""Laws made of another law: a scaled spread, a map of the levels, one law a step."""

# ruff: noqa: D102 - each method is documented in AbstractLaw

from abc import abstractmethod
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch import distributions as D

from bayesrnn import likelihoods

from .empirical import EmpiricalLaw
from .law import AbstractLaw
from .mixture import MixtureLaw
from .moments import MomentsLaw

_NODES = 40


class WrappedLaw(AbstractLaw):
    """A law that changes another: shape, place and draws are the base's."""

    def __init__(self, base: AbstractLaw) -> None:
        self.base = base
        self.shape, self.dtype, self.device, self.is_count = base.shape, base.dtype, base.device, base.is_count

    @abstractmethod
    def rewrap(self, base: AbstractLaw) -> "WrappedLaw":
        """The same change of another base."""

    def draws(self) -> Tensor:
        return self.base.draws()

    def select(self, key: Any) -> AbstractLaw:
        return self.rewrap(self.base.select(key))

    def cast(self, function: Callable[[Tensor], Tensor]) -> AbstractLaw:
        return self.rewrap(self.base.cast(function))

    def keep_draws(self, draws: Tensor) -> AbstractLaw:
        return self.rewrap(self.base.keep_draws(draws))

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        level = torch.rand(n, *self.shape, generator=generator, dtype=torch.float64).clamp(1e-12, 1 - 1e-12)
        return self.quantile(level.to(self.device))

    def _split(self, variance: Tensor, part: Callable[[], Tensor]) -> Tensor:
        """The base's share of a part of the variance, of another total."""
        return variance * part() / self.base.variance()


class SpreadLaw(WrappedLaw):
    r"""$Y' = \mu + s (Y - \mu)$: the spread about the mean times s, both parts of the variance times $s^2$."""

    def __init__(self, base: AbstractLaw, factor: float) -> None:
        super().__init__(base)
        self.factor = factor

    def rewrap(self, base: AbstractLaw) -> "SpreadLaw":
        return SpreadLaw(base, self.factor)

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

    def log_prob(self, y: Tensor) -> Tensor:
        return self.base.log_prob(self.unscaled(y)) - float(np.log(self.factor))

    def quantile(self, q: Tensor) -> Tensor:
        return self._forth(self.base.quantile(q))

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        return self._forth(self.base.sample(n, generator))

    def draws(self) -> Tensor:
        return self._forth(self.base.draws())

    def _forth(self, y: Tensor) -> Tensor:
        mean = self.base.mean()
        return mean + self.factor * (y - mean)

    def unscaled(self, y: Tensor) -> Tensor:
        """The value of the base that y came from."""
        mean = self.base.mean()
        return mean + (y - mean) / self.factor


def scale_spread(law: AbstractLaw, factor: float) -> AbstractLaw:
    """Return the law with its spread about the mean scaled; laws with a location and a scale keep their kind.

    Raises:
        ValueError: For counts, which would no longer be whole numbers.
    """
    if law.is_count:
        raise ValueError(
            "scaling the spread of counts about their mean leaves the whole numbers. Use QuantileRecalibration, which "
            "maps levels and keeps counts."
        )
    mean = law.mean()
    if isinstance(law, MomentsLaw):
        scaled = MomentsLaw(mean, factor**2 * law.aleatoric(), factor**2 * law.epistemic())
        return scaled.cast(lambda t: t.to(law.dtype))
    if type(law) is EmpiricalLaw:
        return EmpiricalLaw((mean + factor * (law.samples.double() - mean)).to(law.dtype))
    if isinstance(law, MixtureLaw):
        wide: Any = law.component()
        if isinstance(wide, D.Normal | D.Laplace | D.StudentT):
            make: Any = type(wide)
            shape = (wide.df,) if isinstance(wide, D.StudentT) else ()
            moved = make(*shape, mean + factor * (wide.loc - mean), factor * wide.scale, validate_args=False)
            return MixtureLaw(likelihoods.map_parameters(moved, lambda t: t.to(law.dtype)))
    return SpreadLaw(law, factor)


class QuadratureLaw(WrappedLaw):
    """A law whose moments are integrals of its quantiles over the levels; the split keeps the base's shares."""

    @cached_property
    def _moments(self) -> tuple[Tensor, Tensor]:
        nodes, weights = np.polynomial.legendre.leggauss(_NODES)
        ones = (1 for _ in self.shape)
        level = torch.as_tensor(0.5 * (nodes + 1), device=self.device).reshape(-1, *ones).expand(-1, *self.shape)
        found = self.quantile(level)
        share = torch.as_tensor(0.5 * weights, device=self.device).reshape(-1, *(1 for _ in self.shape))
        mean = (share * found).sum(0)
        return mean, (share * (found - mean) ** 2).sum(0)

    def mean(self) -> Tensor:
        return self._moments[0]

    def variance(self) -> Tensor:
        return self._moments[1]

    def aleatoric(self) -> Tensor:
        return self._split(self._moments[1], self.base.aleatoric)

    def epistemic(self) -> Tensor:
        return self._split(self._moments[1], self.base.epistemic)


class LevelLaw(QuadratureLaw):
    r"""$F'(y) = R(F(y))$ with R strictly increasing and piecewise linear from (0, 0) to (1, 1).

    The density is $R'(F(y)) f(y)$, the quantile $Q(R^{-1}(q))$. Source: Kuleshov et al. 2018 (arXiv:1807.00263).
    """

    def __init__(self, base: AbstractLaw, before: Tensor, after: Tensor) -> None:
        super().__init__(base)
        self.before, self.after = before.double().to(base.device), after.double().to(base.device)

    def rewrap(self, base: AbstractLaw) -> "LevelLaw":
        return LevelLaw(base, self.before, self.after)

    def cdf(self, y: Tensor) -> Tensor:
        return interpolate(self.base.cdf(y), self.before, self.after)

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


class StackedLaw(AbstractLaw):
    """One law a step, of shape (B, ...) each, joined to (B, T, ...)."""

    def __init__(self, laws: Sequence[AbstractLaw]) -> None:
        self.laws = list(laws)
        first = self.laws[0]
        self.shape = torch.Size([first.shape[0], len(self.laws), *first.shape[1:]])
        self.dtype, self.device, self.is_count = first.dtype, first.device, first.is_count

    def mean(self) -> Tensor:
        return torch.stack([law.mean() for law in self.laws], 1)

    def aleatoric(self) -> Tensor:
        return torch.stack([law.aleatoric() for law in self.laws], 1)

    def epistemic(self) -> Tensor:
        return torch.stack([law.epistemic() for law in self.laws], 1)

    def variance(self) -> Tensor:
        return torch.stack([law.variance() for law in self.laws], 1)

    def cdf(self, y: Tensor) -> Tensor:
        return torch.stack([law.cdf(y[:, t]) for t, law in enumerate(self.laws)], 1)

    def below(self, y: Tensor) -> Tensor:
        return torch.stack([law.below(y[:, t]) for t, law in enumerate(self.laws)], 1)

    def pit(self, y: Tensor) -> tuple[Tensor, Tensor]:
        ends = [law.pit(y[:, t]) for t, law in enumerate(self.laws)]
        return torch.stack([low for low, _ in ends], 1), torch.stack([high for _, high in ends], 1)

    def log_prob(self, y: Tensor) -> Tensor:
        return torch.stack([law.log_prob(y[:, t]) for t, law in enumerate(self.laws)], 1)

    def quantile(self, q: Tensor) -> Tensor:
        return torch.stack([law.quantile(q[:, :, t]) for t, law in enumerate(self.laws)], 2)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        return torch.stack([law.sample(n, generator) for law in self.laws], 2)

    def draws(self) -> Tensor:
        return torch.stack([law.draws() for law in self.laws], 2)

    def select(self, key: Any) -> AbstractLaw:
        if isinstance(key, tuple):
            rows, step, *rest = key
            return self.laws[step].select((rows, *rest) if rest else rows)
        return StackedLaw([law.select(key) for law in self.laws])

    def cast(self, function: Callable[[Tensor], Tensor]) -> "StackedLaw":
        return StackedLaw([law.cast(function) for law in self.laws])

    def keep_draws(self, draws: Tensor) -> "StackedLaw":
        return StackedLaw([law.keep_draws(draws) for law in self.laws])


def interpolate(x: Tensor, knots: Tensor, values: Tensor) -> Tensor:
    """Return the piecewise linear function through (knots, values) at x; knots increase."""
    piece = (torch.searchsorted(knots, x.contiguous(), right=True) - 1).clamp(0, len(knots) - 2)
    share = (x - knots[piece]) / (knots[piece + 1] - knots[piece])
    return values[piece] + share.clamp(0, 1) * (values[piece + 1] - values[piece])
