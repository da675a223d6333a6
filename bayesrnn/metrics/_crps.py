"""The continuous ranked probability score of each kind of distribution."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from bayesrnn.predictive import AbstractDistribution, EmpiricalDistribution, gaussian_distribution
from bayesrnn.predictive.distributions.joined import JoinedDistribution
from bayesrnn.predictive.distributions.quantiles import QuantileDistribution, table_by_rows, table_points
from bayesrnn.predictive.distributions.transformed import SpreadDistribution

_PIECE = 2**21


def crps_values(distribution: AbstractDistribution, y: Tensor) -> Tensor:
    r"""Return $\int (F(x) - 1\{x \ge y\})^2 dx$ of each target, (B, ...), target units.

    Closed form for Gaussians and mixtures of them, the fair estimator for samples, sums for counts, a table of
    quantiles else.
    """
    y = y.double()
    if isinstance(distribution, JoinedDistribution):
        return distribution.each(crps_values, y)
    if isinstance(distribution, SpreadDistribution):
        return distribution.factor * crps_values(distribution.base, distribution.unscaled(y))
    if isinstance(distribution, EmpiricalDistribution):
        return fair_crps(distribution.samples.double(), y)
    exact = distribution.crps(y)
    if exact is not None:
        return exact
    normal = gaussian_distribution(distribution)
    if normal is not None:
        return gaussian_mixture_crps(normal.loc, normal.scale, y)
    if distribution.is_count:
        return _count_crps(distribution, y)
    return table_by_rows(distribution, lambda part, v: QuantileDistribution(*table_points(part)).crps(v), y)


def gaussian_crps(mean: Tensor, std: Tensor, y: Tensor) -> Tensor:
    r"""$\sigma[z(2\Phi(z)-1) + 2\varphi(z) - \pi^{-1/2}]$, $z = (y-\mu)/\sigma$ (Gneiting & Raftery 2007, eq. 21)."""
    return absolute_moment(y - mean, std) - std / math.sqrt(math.pi)


def gaussian_mixture_crps(means: Tensor, stds: Tensor, y: Tensor) -> Tensor:
    r"""Return the CRPS of an equal mixture of Gaussians, parameters (S, B, ...).

    $\frac1S\sum_s A(y-\mu_s,\sigma_s^2) - \frac1{2S^2}\sum_{st} A(\mu_s-\mu_t,\sigma_s^2+\sigma_t^2)$ with
    $A(\mu,\sigma^2) = E|N(\mu,\sigma^2)|$.

    Source: Grimit, Gneiting, Berrocal & Johnson 2006, eq. 3.
    """
    draws = len(means)
    if draws == 1:
        return gaussian_crps(means[0], stds[0], y)
    flat_means, flat_stds, flat_y = means.reshape(draws, -1), stds.reshape(draws, -1), y.reshape(-1)
    parts = []
    step = max(_PIECE // draws**2, 1)
    first, second = torch.triu_indices(draws, draws, 1, device=means.device)
    for start in range(0, flat_y.numel(), step):
        m, s, v = flat_means[:, start : start + step], flat_stds[:, start : start + step], flat_y[start : start + step]
        near = absolute_moment(v - m, s).mean(0)
        pairs = absolute_moment(m[first] - m[second], torch.hypot(s[first], s[second])).sum(0)
        own = s.sum(0) * 2 / math.sqrt(math.pi)  # A(0, 2 s^2)
        parts.append(near - (2 * pairs + own) / (2 * draws**2))
    return torch.cat(parts).reshape(y.shape)


def fair_crps(samples: Tensor, y: Tensor) -> Tensor:
    r"""Return the fair CRPS of samples (S, B, ...): unbiased for the distribution that they come from.

    $\frac1S\sum_s|x_s-y| - \frac1{2S(S-1)}\sum_{st}|x_s-x_t|$, the double sum by sorting.

    Source: Ferro 2014, Fair scores for ensemble forecasts; Zamo & Naveau 2018 (PWM form).
    """
    size = len(samples)
    ordered = samples.sort(0).values
    weights = 2 * torch.arange(1, size + 1, dtype=samples.dtype, device=samples.device) - size - 1
    weights = weights.reshape(-1, *(1 for _ in samples.shape[1:]))
    spread = (weights * ordered).sum(0) / (size * (size - 1))
    return (samples - y).abs().mean(0) - spread


def absolute_moment(mean: Tensor, std: Tensor) -> Tensor:
    """E|N(mean, std^2)|."""
    z = mean / std
    return std * (2 * torch.exp(-0.5 * z**2) / math.sqrt(2 * math.pi) + z * torch.erf(z / math.sqrt(2)))


def _count_crps(distribution: AbstractDistribution, y: Tensor) -> Tensor:
    high = distribution.quantiles([1 - 1e-10])[0]
    last = int(torch.maximum(high, y).max())
    if last > 200_000:
        raise ValueError(
            f"the counts reach {last}, too many to sum one by one. Score samples instead: "
            "Predictive.from_samples(p.sample(1000)), or p.moment_matched()."
        )
    total = (-y).clamp(min=0)
    for k in range(last + 1):
        height, share = distribution.cdf(torch.full_like(y, float(k))), (y - k).clamp(0, 1)  # of [k, k + 1) below y
        total = total + share * height**2 + (1 - share) * (1 - height) ** 2
    return total


def crps_without_blocks(predictive: Any, y: Tensor, blocks: Sequence[slice]) -> list[Tensor] | None:
    """Return the CRPS of each target without each block of draws, (B, ...) each; None for other distributions.

    As `crps_values` of the predictive without those draws, whose pairs are not gone through again for each block.
    """
    normal = gaussian_distribution(predictive.distribution)
    if normal is None or len(normal.loc) != predictive.draws_used:
        return None
    draws = len(normal.loc)
    owner = torch.empty(draws, dtype=torch.long)
    for number, block in enumerate(blocks):
        owner[block] = number
    means, stds = (t.expand(normal.batch_shape).reshape(draws, -1) for t in (normal.loc, normal.scale))
    values = y.double().reshape(-1)
    step = max(_PIECE // draws**2, 1)
    pieces = [slice(start, start + step) for start in range(0, len(values), step)]
    parts = [_without(means[:, part], stds[:, part], values[part], owner.to(y.device)) for part in pieces]
    return list(torch.cat(parts, 1).reshape(len(blocks), *y.shape))


def _without(means: Tensor, stds: Tensor, y: Tensor, owner: Tensor) -> Tensor:
    """Return the scores (R, n) of mixtures (S, n) without the draws of each of the R owners."""
    size = int(owner.max()) + 1
    first, second = torch.triu_indices(len(means), len(means), 1, device=means.device)
    apart = absolute_moment(means[first] - means[second], torch.hypot(stds[first], stds[second]))
    between = _sums(apart, owner[first] * size + owner[second], size**2).unflatten(0, (size, size))
    of_pairs = between.sum((0, 1)) - between.sum(0) - between.sum(1) + between.diagonal().T
    near, own = absolute_moment(y - means, stds), stds * 2 / math.sqrt(math.pi)  # A(0, 2 s^2)
    of_near, of_own = (t.sum(0) - _sums(t, owner, size) for t in (near, own))
    left = len(means) - owner.bincount(minlength=size).double()[:, None]
    return of_near / left - (2 * of_pairs + of_own) / (2 * left**2)


def _sums(values: Tensor, index: Tensor, size: int) -> Tensor:
    return values.new_zeros(size, values.shape[1]).index_add_(0, index, values)
