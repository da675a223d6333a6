"""The mixture over draws: the predictive distribution when each draw gives a distribution of the target."""

# ruff: noqa: D102 - each method is documented in AbstractDistribution

import math
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Categorical, Distribution, MixtureSameFamily, Normal, constraints

from bayesrnn._checks import rows_of
from bayesrnn.likelihoods import families
from bayesrnn.predictive.distributions.abstract import AbstractDistribution
from bayesrnn.predictive.distributions.networks import between, networks_kept
from bayesrnn.predictive.distributions.numerics import invert_continuous, invert_count

_PIECE = 2**21  # values of (draws, rows) handled at once


class MixtureDistribution(AbstractDistribution):
    r"""$p(y) = \frac{1}{S}\sum_s p_s(y)$ of S distributions with batch shape (S, B, ...).

    The distributions of M networks lie side by side: index s * M + m is draw s of network m.
    """

    def __init__(self, distribution: Distribution, networks: int = 1) -> None:
        self.networks = networks
        self.components: Distribution = families.map_parameters(distribution, Tensor.detach)
        shape = self.components.batch_shape
        if len(shape) < 2:
            raise ValueError(
                f"the distribution must have batch shape (draws, rows, ...), but it is {tuple(shape)}. "
                "For one draw add an axis in front: Normal(mean[None], std[None])."
            )
        families.check_parameters(self.components)
        self.shape = shape[1:]
        self.is_count = families.family(self.components) == "count"
        example = families.example_parameter(self.components)
        self.dtype, self.device = example.dtype, example.device

    @property
    def size(self) -> int:
        """Number of draws."""
        return self.components.batch_shape[0]

    @cached_property
    def _wide(self) -> Distribution:
        return families.map_parameters(self.components, Tensor.double)

    def component(self) -> Distribution:
        """Return the per-draw distributions with float64 parameters."""
        return self._wide

    def draws(self) -> Tensor:
        return families.mean_of(self._wide)

    def mean(self) -> Tensor:
        return self._sound(self.draws().mean(0), "the mean")

    def aleatoric(self) -> Tensor:
        self.draws()  # says that there is no mean before a variance is given
        return self._sound(families.variance_of(self._wide).mean(0), "the aleatoric variance")

    def epistemic(self) -> Tensor:
        return self._sound(torch.stack(between(self.draws(), self.networks)).sum(0), "the epistemic variance")

    def between_networks(self) -> Tensor:
        return between(self.draws(), self.networks)[1]

    def cdf(self, y: Tensor) -> Tensor:
        return self._by_rows(lambda distribution, v: families.cdf_of(distribution, v).mean(0), y)

    def log_prob(self, y: Tensor) -> Tensor:
        def density(distribution: Distribution, value: Tensor) -> Tensor:
            return torch.logsumexp(_log_prob(distribution, value), 0) - math.log(self.size)

        everywhere = self._wide.support in (constraints.real, None)
        densities = self._by_rows(density, y)
        return self._sound(densities, "the log density", anyhow=everywhere and bool(torch.isfinite(y).all()))

    def quantile(self, q: Tensor) -> Tensor:
        return torch.stack([self._by_rows(self._invert, level) for level in q.to(torch.float64)])

    def inside(self, y: Tensor, level: float) -> Tensor:
        if self.is_count:
            return super().inside(y, level)
        height = self.cdf(y)  # of a distribution without jumps that says the same, without the search for a quantile
        return (height >= (1 - level) / 2) & (height <= (1 + level) / 2)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        return self._of_draws(torch.randint(self.size, (n, *self.shape), generator=generator), generator)

    def paths(self, n: int, choice: torch.Generator, noise: torch.Generator) -> Tensor:
        rows = torch.randint(self.size, (n, self.shape[0]), generator=choice)
        return self._of_draws(rows.reshape(n, -1, *(1 for _ in self.shape[1:])).expand(n, *self.shape), noise)

    def to_torch(self) -> Distribution:
        components = families.map_parameters(self.components, lambda t: t.movedim(0, -1))
        even = Categorical(logits=torch.zeros(components.batch_shape, dtype=self.dtype, device=self.device))
        return MixtureSameFamily(even, components, validate_args=False)

    def sample_of_each(self, generator: torch.Generator) -> Tensor:
        """Return one target of every draw, (S, B, ...)."""
        draws = torch.arange(self.size).reshape(-1, *(1 for _ in self.shape)).expand(self.size, *self.shape)
        return self._of_draws(draws, generator)

    def _sound(self, values: Tensor, name: str, anyhow: bool = False) -> Tensor:
        """Return values (B, ...); refuse values that are too large for float64, unless infinity is right."""
        bad = ~torch.isfinite(values)
        if bool(bad.any()) and (anyhow or self._is_extreme()):
            raise ValueError(
                f"{name} of rows {rows_of(bad)[:5]} is beyond float64 (1.8e308): means, scales or targets are too far "
                "apart in size. Give the model targets of moderate size (standardize them), and look for a training "
                "that diverged."
            )
        return values

    def _is_extreme(self) -> bool:
        """Whether a square of some parameter has no place in float64."""
        sizes: list[float] = []

        def note(value: Tensor) -> Tensor:
            sizes.append(float(value.abs().max()) if value.numel() else 0.0)
            return value

        families.map_parameters(self._wide, note)
        return max(sizes) > 1e150

    def _of_draws(self, chosen: Tensor, generator: torch.Generator) -> Tensor:
        """Return targets (n, B, ...) sampled from the distributions of the chosen draws (n, B, ...)."""
        grid = torch.meshgrid(*(torch.arange(s) for s in self.shape), indexing="ij")
        distribution = families.map_parameters(self._wide, lambda t: t.cpu()[(chosen, *grid)])
        state = int(torch.randint(2**62, (1,), generator=generator))
        with torch.random.fork_rng(devices=[]):  # torch.distributions know the global generator only: put it back
            torch.default_generator.manual_seed(state)
            return distribution.sample().to(self.device, torch.float64)

    def select(self, key: Any) -> "MixtureDistribution":
        full = (slice(None), *key) if isinstance(key, tuple) else (slice(None), key)
        return MixtureDistribution(families.map_parameters(self.components, lambda t: t[full]), self.networks)

    def cast(self, function: Callable[[Tensor], Tensor]) -> "MixtureDistribution":
        return MixtureDistribution(families.map_parameters(self.components, function), self.networks)

    def keep_draws(self, draws: Tensor) -> "MixtureDistribution":
        if draws.numel() and int(draws.max()) >= self.size:  # of the moments of many draws one Gaussian is kept
            raise ValueError(
                f"this distribution holds {self.size} {'draw' if self.size == 1 else 'draws'}, numbered 0 to "
                f"{self.size - 1}, but draw {int(draws.max())} was asked for: it did not keep the draws that it was "
                "made of."
            )
        few = families.map_parameters(self.components, lambda t: t[draws.to(t.device)])
        return MixtureDistribution(few, networks_kept(draws, self.networks))

    def _invert(self, distribution: Distribution, q: Tensor) -> Tensor:
        def cdf(y: Tensor) -> Tensor:
            return families.cdf_of(distribution, y).mean(0)

        if self.is_count:
            mean, variance = families.mean_of(distribution), families.variance_of(distribution)
            return invert_count(cdf, q, (mean + 3 * variance.sqrt()).amax(0))
        ends = families.icdf_of(distribution, q.expand(distribution.batch_shape))
        if ends is None:
            mean, spread = families.mean_of(distribution), families.variance_of(distribution).sqrt()
            low, high, start = (mean - spread).amin(0), (mean + spread).amax(0), None
        elif self.size == 1:
            return ends[0]
        else:  # the quantile of the mixture lies between the quantiles of the draws, near their mean
            low, high, start = ends.amin(0), ends.amax(0), ends.mean(0)
        return invert_continuous(cdf, lambda y: _log_prob(distribution, y).exp().mean(0), q, low, high, start)

    def _by_rows(self, function: Callable[[Distribution, Tensor], Tensor], y: Tensor) -> Tensor:
        y = y.to(self.device, torch.float64).expand(self.shape)
        pieces = list(self._pieces())
        if len(pieces) == 1:
            return function(self._wide, y)
        parts = []
        for rows in pieces:
            distribution = families.map_parameters(self.components, lambda t, rows=rows: t[:, rows].double())  # type: ignore[misc]
            parts.append(function(distribution, y[rows]))
        return torch.cat(parts)

    def _pieces(self) -> Iterator[slice]:
        per_row = max(self.size * math.prod(self.shape[1:]), 1)
        step = max(_PIECE // per_row, 1)
        for start in range(0, max(self.shape[0], 1), step):
            yield slice(start, start + step)


def _log_prob(distribution: Distribution, value: Tensor) -> Tensor:
    inside = distribution.support.check(value)  # type: ignore[union-attr]
    if isinstance(distribution, Normal):  # torch squares the scale, which has no place in float64 below 1e-162
        z = (value - distribution.loc) / distribution.scale
        return -0.5 * z * z - distribution.scale.log() - 0.5 * math.log(2 * math.pi)
    if bool(inside.all()):
        return distribution.log_prob(value)
    filler = distribution.mean.floor() if families.family(distribution) == "count" else distribution.mean
    return torch.where(
        inside, distribution.log_prob(torch.where(inside, value.expand(distribution.batch_shape), filler)), -torch.inf
    )


class RemadeDistribution(MixtureDistribution):
    """A mixture that a function made of all draws of another distribution: fewer draws are made anew, not cut."""

    def __init__(
        self,
        distribution: Distribution,
        base: AbstractDistribution,
        remake: Callable[[AbstractDistribution], MixtureDistribution],
    ) -> None:
        even = isinstance(base, MixtureDistribution) and base.size == distribution.batch_shape[0]
        super().__init__(distribution, base.networks if even else 1)  # type: ignore[attr-defined]
        self.base, self.remake = base, remake

    def select(self, key: Any) -> MixtureDistribution:
        return self.remake(self.base.select(key))

    def cast(self, function: Callable[[Tensor], Tensor]) -> MixtureDistribution:
        return self.remake(self.base.cast(function))

    def keep_draws(self, draws: Tensor) -> MixtureDistribution:
        return self.remake(self.base.keep_draws(draws))


class MatchedDistribution(RemadeDistribution):
    """The Gaussian with the mean and the variance of another distribution: one component, whatever its draws."""

    def __init__(self, base: AbstractDistribution) -> None:
        mean, std = (t[None].to(base.dtype) for t in (base.mean(), base.variance().sqrt()))
        super().__init__(Normal(mean, std, validate_args=False), base, MatchedDistribution)

    def paths(self, n: int, choice: torch.Generator, noise: torch.Generator) -> Tensor:
        return AbstractDistribution.paths(self, n, choice, noise)  # the parts that steps share are no longer known


def gaussian_distribution(distribution: AbstractDistribution) -> Normal | None:
    """Return the per-draw Normal distributions in float64 if the distribution is a mixture of Gaussians, else None."""
    component = distribution.component() if isinstance(distribution, MixtureDistribution) else None
    return component if isinstance(component, Normal) else None
