"""The distribution of a forecast as a table of levels: fast quantiles, parts of the variance, joint paths."""

# ruff: noqa: D102 - each method is documented in AbstractDistribution

from collections.abc import Callable
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.distributions import MixtureSameFamily, Normal

from bayesrnn.predictive.distributions.abstract import AbstractDistribution
from bayesrnn.predictive.distributions.mixture import MixtureDistribution
from bayesrnn.predictive.distributions.quantiles import QuantileDistribution

_REACH, _NODES = 5.0, 101
_LEAST = 1e-9
_AT_ONCE = 2**17  # numbers that stay in a processor's cache


class ForecastDistribution(QuantileDistribution):
    r"""Quantiles of H-step forecasts, (L, B, H), with the epistemic share and the correlation of the steps.

    A path is $Q_h(\Phi(z_h))$ with $z \sim N(0, R)$: each step keeps its distribution exactly, and R says how errors h
    and k steps ahead go together.

    Args:
        levels: Cumulative probabilities, (L, B, H), not falling.
        values: The quantiles, (L, B, H), target units.
        share: Epistemic share of the variance, (B, H).
        correlation: R, of the normal scores of the errors, (H, H).
    """

    def __init__(self, levels: Tensor, values: Tensor, share: Tensor, correlation: Tensor) -> None:
        super().__init__(levels, values)
        self.share, self.correlation = share, correlation

    def aleatoric(self) -> Tensor:
        return self.variance() * (1 - self.share)

    def epistemic(self) -> Tensor:
        return self.variance() * self.share

    def variance(self) -> Tensor:
        return self._moments[1]

    @cached_property
    def _factor(self) -> Tensor:
        eye = torch.eye(len(self.correlation), dtype=torch.float64)
        return torch.linalg.cholesky(0.999 * self.correlation + 0.001 * eye)

    def paths(self, n: int, choice: torch.Generator, noise: torch.Generator) -> Tensor:
        if len(self.shape) != 2 or self.shape[1] != len(self.correlation):
            return super().paths(n, choice, noise)
        scores = torch.randn(n, *self.shape, generator=noise, dtype=torch.float64) @ self._factor.T
        return self.quantile(torch.special.ndtr(scores.to(self.device)))

    def stretched(self, function: Callable[[Tensor], Tensor]) -> "ForecastDistribution":
        """Return the distribution whose quantiles are `function` of these, increasing along the levels."""
        return ForecastDistribution(self.levels, function(self.values), self.share, self.correlation)

    def select(self, key: Any) -> "ForecastDistribution":
        full = (slice(None), *key) if isinstance(key, tuple) else (slice(None), key)
        steps = key[1] if isinstance(key, tuple) and len(key) > 1 else slice(None)
        correlation = self.correlation[steps][:, steps] if isinstance(steps, slice) else self.correlation
        return ForecastDistribution(self.levels[full], self.values[full], self.share[key], correlation)

    def cast(self, function: Callable[[Tensor], Tensor]) -> "ForecastDistribution":
        values = function(self.values)
        return ForecastDistribution(
            self.levels.to(values.device), values, function(self.share), self.correlation.to(values.device)
        )


def table_of(mixture: AbstractDistribution, correlation: Tensor) -> ForecastDistribution:
    """Return the table that follows a mixture over draws: its cdf, exact, at 101 points within five deviations."""
    parts = []
    per_row = mixture.draws().numel() // mixture.shape[0]
    step = max(_AT_ONCE // per_row, 1)
    for start in range(0, mixture.shape[0], step):
        piece = mixture.select(slice(start, start + step)) if step < mixture.shape[0] else mixture
        mean, variance, epistemic = piece.mean(), piece.variance(), piece.epistemic()
        scores = torch.linspace(-_REACH, _REACH, _NODES, dtype=torch.float64)
        values = mean + variance.sqrt() * scores.reshape(-1, *(1 for _ in piece.shape))
        cdf = _cdf_of_normals(piece) or piece.cdf
        levels = torch.stack([cdf(value) for value in values]).clamp(_LEAST, 1 - _LEAST)
        parts.append((levels.cummax(0).values, values, epistemic / variance))
    levels, values, share = (torch.cat(tensors, dim) for tensors, dim in zip(zip(*parts), (1, 1, 0)))
    return ForecastDistribution(levels, values, share, correlation)


def _cdf_of_normals(mixture: AbstractDistribution) -> Callable[[Tensor], Tensor] | None:
    r"""Return the cdf of Gaussian draws, or mixtures of Gaussians with one mean; much faster than by rows.

    $\Phi(z) = (1 + \mathrm{erf}(z / \sqrt 2)) / 2$, so the mean over draws is taken of erf: three passes.
    """
    components = mixture.component() if isinstance(mixture, MixtureDistribution) else None
    if isinstance(components, Normal):
        normal, weights = components, None
    elif isinstance(components, MixtureSameFamily) and isinstance(components.component_distribution, Normal):
        normal, weights = components.component_distribution, components.mixture_distribution.probs
    else:
        return None
    rate = 0.5**0.5 / normal.scale
    shift = -normal.loc * rate
    if weights is None:
        return lambda value: 0.5 + 0.5 * torch.addcmul(shift, rate, value).erf_().mean(0)
    shift, rate, weights = (part.movedim(-1, 0).contiguous() for part in (shift, rate, weights))
    half = 0.5 / shift.shape[1] * weights
    return lambda value: 0.5 + torch.addcmul(shift, rate, value).erf_().mul_(half).sum((0, 1))
