"""The distribution through a table of quantiles, and the table of any other distribution."""

# ruff: noqa: D102 - each method is documented in AbstractDistribution

import math
from collections.abc import Callable
from functools import cached_property
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from bayesrnn.predictive.distributions.abstract import AbstractDistribution
from bayesrnn.predictive.distributions.empirical import EmpiricalDistribution

_EDGES = (1e-10, 1e-7, 1e-3, 0.1, 0.5, 0.9, 1 - 1e-3, 1 - 1e-7, 1 - 1e-10)
_PARTS = 8  # points from one of these quantiles to the next; with those in between and 160 where the cdf rises, 225
_POINTS = 225
_COUNT_EDGES = torch.linspace(-6.4, 6.4, 27, dtype=torch.float64)
_LEAST, _MOST = 1e-300, 1 - 1e-16
_NARROW = 1e-3  # scores closer than this: the normal density hardly changes between them
_AT_ONCE = 2**21  # numbers in a table at once


class QuantileDistribution(AbstractDistribution):
    r"""$Y = v(Z)$ with $Z \sim N(0, 1)$ and v piecewise linear: straight lines between quantiles on normal paper.

    v goes through $(\Phi^{-1}(p_i), v_i)$. Beyond the outermost levels it continues with the slope of the outermost
    piece: each tail is normal, through the two outermost quantiles. Quantiles of a Gaussian at
    two levels or more thus give that Gaussian. Equal values are a point mass, equal levels a gap without probability.
    Moments, cdf, density and CRPS are exact for this distribution.

    Args:
        levels: Cumulative probabilities, (L,) or (L, B, ...), not falling.
        values: The quantiles, (L, B, ...), not falling, target units.
    """

    def __init__(self, levels: Tensor, values: Tensor) -> None:
        self.levels = levels.reshape(-1, *(1 for _ in values.shape[1:])) if levels.dim() == 1 else levels
        self.levels = self.levels.double().expand(values.shape)
        self.values = values
        self.shape, self.dtype, self.device, self.is_count = values.shape[1:], values.dtype, values.device, False

    @cached_property
    def _scores(self) -> Tensor:
        return torch.special.ndtri(self.levels.clamp(_LEAST, _MOST))

    @cached_property
    def _points(self) -> Tensor:
        return self.values.double()

    @cached_property
    def _slope(self) -> Tensor:
        run = self._scores.diff(dim=0)
        return torch.where(run > 0, self._points.diff(dim=0) / run.clamp(min=1e-300), 0.0)

    @cached_property
    def _moments(self) -> tuple[Tensor, Tensor]:
        z, v, slope = self._scores, self._points, self._slope
        height, run = _density(z), z.diff(dim=0)
        low, high = z[:-1], z[1:]
        flipped = low > 0  # in the upper half the differences of Phi are taken from above, where they do not cancel
        mass = _phi(torch.where(flipped, -low, high)) - _phi(torch.where(flipped, -high, low))
        first = height[:-1] - height[1:] - low * mass  # of Z - low within the piece
        second = mass + low * height[:-1] - high * height[1:] - 2 * low * (height[:-1] - height[1:]) + low**2 * mass
        narrow = run < _NARROW
        first = torch.where(narrow, 0.5 * run * mass, first)
        second = torch.where(narrow, run**2 / 3 * mass, second)
        center = v[len(v) // 2]
        off = v[:-1] - center
        mean = (off * mass + slope * first).sum(0)
        square = (off**2 * mass + 2 * off * slope * first + slope**2 * second).sum(0)
        for a, end, rise in ((z[0], v[0] - center, -slope[0]), (-z[-1], v[-1] - center, slope[-1])):
            mass, first = _phi(a), _density(a) + a * _phi(a)  # of a - Z where Z < a
            mean = mean + end * mass + rise * first
            second = (1 + a**2) * mass + a * _density(a)
            square = square + end**2 * mass + 2 * end * rise * first + rise**2 * second
        return center + mean, (square - mean**2).clamp(min=0)

    def mean(self) -> Tensor:
        return self._moments[0]

    def variance(self) -> Tensor:
        return self._moments[1]

    def aleatoric(self) -> Tensor:
        raise ValueError(_NO_PARTS)

    def epistemic(self) -> Tensor:
        raise ValueError(_NO_PARTS)

    def draws(self) -> Tensor:
        raise ValueError(_NO_PARTS)

    def cdf(self, y: Tensor) -> Tensor:
        return _phi(self._score_of(y, (self._points <= y).sum(0)))

    def below(self, y: Tensor) -> Tensor:
        return _phi(self._score_of(y, (self._points < y).sum(0)))

    def log_prob(self, y: Tensor) -> Tensor:
        if bool((self._slope <= 0).any()):
            raise ValueError("two of the quantiles are equal: a point mass has no density. Judge by crps or pinball.")
        reached = (self._points <= y).sum(0)
        slope = self._slope.gather(0, self._piece(reached)[None])[0]
        return -0.5 * self._score_of(y, reached) ** 2 - 0.5 * math.log(2 * math.pi) - slope.log()

    def quantile(self, q: Tensor) -> Tensor:
        return torch.stack([self._value_at(torch.special.ndtri(level.to(self.device).double())) for level in q])

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        scores = torch.randn(n, *self.shape, generator=generator, dtype=torch.float64).to(self.device)
        return torch.stack([self._value_at(score) for score in scores])

    def crps(self, y: Tensor) -> Tensor:
        r"""$\int \Phi^2 dv$ below y and $\int (1 - \Phi)^2 dv$ above it, piece by piece in closed form."""
        z, v, slope = self._scores, self._points, self._slope
        cut = torch.minimum(torch.maximum(y, v[:-1]), v[1:])
        share = (cut - v[:-1]) / v.diff(dim=0).clamp(min=1e-300)
        at = torch.where(v.diff(dim=0) > 0, z[:-1] + share * z.diff(dim=0), z[:-1])
        total = (_squares(z[:-1], at, slope, cut - v[:-1]) + _squares(-z[1:], -at, slope, v[1:] - cut)).sum(0)
        for sign, a, end, rise in ((1.0, z[0], v[0], slope[0]), (-1.0, -z[-1], v[-1], slope[-1])):
            beyond = (sign * (end - y)).clamp(min=0)  # how far y lies out in this tail
            out = a - torch.where(rise > 0, beyond / rise.clamp(min=1e-300), 0.0)
            tail = rise * (_square_integral(out) + _square_integral(-out) - _square_integral(-a))
            total = total + torch.where(rise > 0, tail, beyond)
        return total

    def select(self, key: Any) -> "QuantileDistribution":
        full = (slice(None), *key) if isinstance(key, tuple) else (slice(None), key)
        return QuantileDistribution(self.levels[full], self.values[full])

    def cast(self, function: Callable[[Tensor], Tensor]) -> "QuantileDistribution":
        values = function(self.values)
        return QuantileDistribution(self.levels.to(values.device), values)

    def _piece(self, reached: Tensor) -> Tensor:
        return (reached - 1).clamp(0, len(self.values) - 2)

    def _value_at(self, score: Tensor) -> Tensor:
        piece = self._piece((self._scores < score).sum(0))[None]
        start, slope = (t.gather(0, piece)[0] for t in (self._scores, self._slope))
        return self._points.gather(0, piece)[0] + slope * (score - start)

    def _score_of(self, y: Tensor, reached: Tensor) -> Tensor:
        """Return the score of y, of whose table `reached` values lie before it."""
        piece = self._piece(reached)[None]
        start, value = (t.gather(0, piece)[0] for t in (self._scores, self._points))
        rise, run = (t.diff(dim=0).gather(0, piece)[0] for t in (self._points, self._scores))
        inside = start + (y - value) / rise.clamp(min=1e-300) * run
        nothing_beyond = torch.where(reached == 0, -torch.inf, torch.inf)
        return torch.where(rise > 0, inside, nothing_beyond)


def table_points(distribution: AbstractDistribution) -> tuple[Tensor, Tensor]:
    """Return levels and values, (L, B, ...) each, through which a table follows the distribution.

    Samples and counts give the two ends of each step of their cdf (counts in strides where there are many), other
    distributions their cdf at 225 points out to levels of 1e-10, most of them where it rises.
    """
    if isinstance(distribution, EmpiricalDistribution):
        size = len(distribution.samples)
        level = torch.arange(size + 1, dtype=torch.float64, device=distribution.device) / size
        levels = torch.stack([level[:-1], level[1:]], 1).reshape(-1, *(1 for _ in distribution.shape))
        return levels.expand(-1, *distribution.shape), distribution.ordered.repeat_interleave(2, 0)
    if distribution.is_count:
        return _counts(distribution)
    if not distribution.has_density:  # a cdf of steps, which only the quantiles follow
        levels = _even_levels(distribution)
        return levels, distribution.quantile(levels).cummax(0).values
    edges = distribution.quantiles(_EDGES)
    values = torch.stack([low + k / _PARTS * (high - low) for low, high in pairwise(edges) for k in range(_PARTS)])
    values = torch.cat([values, edges[-1:]])
    heights = torch.stack([distribution.cdf(x) for x in values]).cummax(0).values
    # a first table says where the cdf rises: there the other points go
    closer = QuantileDistribution(heights, values).quantile(_even_levels(distribution))
    values, order = torch.cat([values, closer]).sort(0)
    heights = torch.cat([heights, torch.stack([distribution.cdf(x) for x in closer])]).gather(0, order)
    return heights.cummax(0).values, values


def _counts(distribution: AbstractDistribution) -> tuple[Tensor, Tensor]:
    edges = distribution.quantiles(torch.special.ndtr(_COUNT_EDGES).tolist())
    inner = [
        torch.floor(low + k / _PARTS * (high - low)) for low, high in pairwise(edges) for k in range(1, _PARTS + 1)
    ]
    values, heights = [edges[0], edges[0]], [torch.zeros_like(edges[0]), distribution.cdf(edges[0])]
    for before, x in pairwise([edges[0], *inner]):
        values += [torch.minimum(before + 1, x), x]
        heights += [heights[-1], distribution.cdf(x)]
    return torch.stack(heights).cummax(0).values, torch.stack(values).cummax(0).values


def _even_levels(distribution: AbstractDistribution) -> Tensor:
    """Return 160 levels for every target, two thirds evenly spaced and one third evenly in the scores (the tails)."""
    even = torch.linspace(0, 1, 114, dtype=torch.float64)[1:-1]
    levels = torch.cat([even, torch.special.ndtr(torch.linspace(-6.3, 6.3, 48, dtype=torch.float64))]).sort().values
    return levels.to(distribution.device).reshape(-1, *(1 for _ in distribution.shape)).expand(-1, *distribution.shape)


def table_by_rows(
    distribution: AbstractDistribution, function: Callable[..., Tensor], *values: Tensor, lead: int = 0
) -> Tensor:
    """Return `function(distribution, *values)` with rows along axis `lead`, of as many rows at once as memory holds."""
    rows = distribution.shape[0]
    step = max(_AT_ONCE // (_POINTS * max(math.prod(distribution.shape[1:]), 1)), 1)
    if step >= rows:
        return function(distribution, *values)
    pieces = [slice(start, start + step) for start in range(0, rows, step)]
    return torch.cat([function(distribution.select(p), *(v[p] for v in values)) for p in pieces], lead)


_NO_PARTS = (
    "Quantiles of the target do not say which part of their variance is aleatoric and which epistemic, nor what "
    "single draws said. Give the per-draw distributions instead: Predictive.from_draws(Normal(means, stds))."
)


def _phi(z: Tensor) -> Tensor:
    return torch.special.ndtr(z)


def _density(z: Tensor) -> Tensor:
    return torch.exp(-0.5 * z**2) / math.sqrt(2 * math.pi)


def _square_integral(z: Tensor) -> Tensor:
    r"""$\int_{-\infty}^z \Phi^2 = z\Phi^2 + 2\varphi\Phi - \Phi(\sqrt 2 z)/\sqrt\pi$."""
    height = _phi(z)
    return z * height**2 + 2 * _density(z) * height - _phi(math.sqrt(2) * z) / math.sqrt(math.pi)


def _squares(start: Tensor, end: Tensor, slope: Tensor, rise: Tensor) -> Tensor:
    """Integral of Phi^2 over a piece; where its scores do not move, Phi is constant."""
    exact = slope * (_square_integral(end) - _square_integral(start))
    return torch.where((end - start).abs() < _NARROW, rise * _phi(0.5 * (start + end)) ** 2, exact)
