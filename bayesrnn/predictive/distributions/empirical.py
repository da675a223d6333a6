"""The distribution known only through samples of the target."""

# ruff: noqa: D102 - each method is documented in AbstractDistribution

from collections.abc import Callable
from functools import cached_property
from typing import Any, Self

import torch
from torch import Tensor

from bayesrnn._checks import check_finite
from bayesrnn.predictive.distributions.abstract import AbstractDistribution
from bayesrnn.predictive.distributions.networks import between, networks_kept

_NO_SPLIT = (
    "Samples of the target do not say which part of their variance is aleatoric and which epistemic. "
    "Give the per-draw distributions instead: Predictive.from_draws(Normal(means, stds))."
)


class EmpiricalDistribution(AbstractDistribution):
    """S samples of every target, exchangeable with the target itself if the model is calibrated.

    Quantiles sit at the order statistics k / (S + 1) (Weibull), so that an interval of level p between them holds a
    calibrated target with probability p: the usual linear rule under-covers (76 % for 90 % at S = 10).
    """

    has_density = False

    def __init__(self, samples: Tensor) -> None:
        if not isinstance(samples, Tensor):
            raise TypeError(f"samples must be a tensor (draws, rows, ...), but a {type(samples).__name__} was given.")
        if samples.dim() < 2:
            raise ValueError(
                f"samples must have shape (draws, rows, ...), but {tuple(samples.shape)} was given. "
                "For one row add an axis: samples[:, None]."
            )
        if len(samples) < 2:
            raise ValueError("samples holds a single draw, which has no spread: give at least 2, better 20 or more.")
        if not samples.is_floating_point():
            samples = samples.float()
        check_finite(samples.transpose(0, 1), "samples")
        self.samples = samples.detach()
        self.shape = samples.shape[1:]
        self.dtype, self.device, self.is_count = samples.dtype, samples.device, False

    @cached_property
    def ordered(self) -> Tensor:
        """Samples in float64, sorted along axis 0."""
        return self.samples.double().sort(0).values

    def mean(self) -> Tensor:
        return self.samples.double().mean(0)

    def variance(self) -> Tensor:
        return self.samples.double().var(0, correction=1)

    def aleatoric(self) -> Tensor:
        raise ValueError(_NO_SPLIT)

    def epistemic(self) -> Tensor:
        raise ValueError(_NO_SPLIT)

    def cdf(self, y: Tensor) -> Tensor:
        return (self.samples <= y).double().mean(0)

    def below(self, y: Tensor) -> Tensor:
        return (self.samples < y).double().mean(0)

    def pit(self, y: Tensor) -> tuple[Tensor, Tensor]:
        size = len(self.samples)
        return self.below(y) * size / (size + 1), (self.cdf(y) * size + 1) / (size + 1)

    def log_prob(self, y: Tensor) -> Tensor:
        raise ValueError(
            "Samples have no density, so log_prob and nll are undefined. Give the per-draw distributions "
            "(Predictive.from_draws) or a Gaussian (Predictive.from_gaussian); crps works on samples."
        )

    def quantile(self, q: Tensor) -> Tensor:
        size = len(self.samples)
        position = (q.to(self.device, torch.float64) * (size + 1)).expand(len(q), *self.shape)
        if float(position.amin()) < 1 - 1e-9 or float(position.amax()) > size + 1e-9:
            finest = f"[{1 / (size + 1):.4g}, {size / (size + 1):.4g}]"
            raise ValueError(
                f"{size} samples cannot resolve quantiles outside {finest} (central intervals above level "
                f"{(size - 1) / (size + 1):.4g}): a narrower answer would under-cover. Take more samples, ask for a "
                "lower level, or give the per-draw distributions (Predictive.from_draws)."
            )
        below = position.clamp(1, size).floor().long().clamp(max=size - 1) if size > 1 else position.long()
        share = (position - below).clamp(0, 1)
        low, high = self.ordered.gather(0, below - 1), self.ordered.gather(0, below)
        return low + share * (high - low)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        chosen = torch.randint(len(self.samples), (n, *self.shape), generator=generator)
        return self.samples.double().gather(0, chosen.to(self.device))

    def paths(self, n: int, choice: torch.Generator, noise: torch.Generator) -> Tensor:
        chosen = torch.randint(len(self.samples), (n, self.shape[0]), generator=choice).to(self.device)
        return self.samples.double()[chosen, torch.arange(self.shape[0], device=self.device)]

    def draws(self) -> Tensor:
        return self.samples.double()

    def select(self, key: Any) -> Self:
        full = (slice(None), *key) if isinstance(key, tuple) else (slice(None), key)
        return type(self)(self.samples[full])

    def cast(self, function: Callable[[Tensor], Tensor]) -> Self:
        return type(self)(function(self.samples))

    def keep_draws(self, draws: Tensor) -> Self:
        return type(self)(self.samples[draws.to(self.device)])


class PointDistribution(EmpiricalDistribution):
    """Draws of the prediction itself, (S, B, ...): what is known of the target without a likelihood."""

    def __init__(self, samples: Tensor, networks: int = 1) -> None:
        super().__init__(samples)
        self.networks = networks

    def variance(self) -> Tensor:
        return self.epistemic()

    def quantile(self, q: Tensor) -> Tensor:
        try:
            return super().quantile(q)
        except ValueError:
            if len(self.samples) == 2 and torch.equal(*self.samples):
                raise ValueError(
                    "this is the deterministic pass of a model without a likelihood: a number for each target, with no "
                    "spread and so no interval. Pass likelihood=, or predict with draws for the spread between masks."
                ) from None
            raise

    def aleatoric(self) -> Tensor:
        return torch.zeros_like(self.mean())  # the model says nothing about noise

    def epistemic(self) -> Tensor:
        return sum(between(self.draws(), self.networks))  # type: ignore[return-value]

    def between_networks(self) -> Tensor:
        return between(self.draws(), self.networks)[1]

    def select(self, key: Any) -> "PointDistribution":
        return PointDistribution(super().select(key).samples, self.networks)

    def cast(self, function: Callable[[Tensor], Tensor]) -> "PointDistribution":
        return PointDistribution(function(self.samples), self.networks)

    def keep_draws(self, draws: Tensor) -> "PointDistribution":
        return PointDistribution(self.samples[draws.to(self.device)], networks_kept(draws, self.networks))
