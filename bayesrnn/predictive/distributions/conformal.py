"""Distributions whose intervals come from the errors seen on held-out targets."""

# ruff: noqa: D102 - each method is documented in AbstractDistribution

from functools import cached_property

import torch
from torch import Tensor

from bayesrnn.predictive.distributions.abstract import AbstractDistribution
from bayesrnn.predictive.distributions.transformed import TabulatedDistribution, WrappedDistribution, interpolate

_GUARD = 1e-9  # of a rank: 100 * (1 - .42) is 58.00000000000001
_NO_DENSITY = (
    "a conformal predictive gives intervals and quantiles but no density, so log_prob and nll are undefined. "
    "Judge it by coverage, interval_score and crps, or recalibrate with VarianceScaling or QuantileRecalibration."
)


class ConformalDistribution(WrappedDistribution):
    r"""$Y = \mu \pm \sigma r$ with r one of n held-out $|y - \mu|/\sigma$, each side as likely.

    The central interval of level p is $\mu \pm \sigma r_{(\lceil (n+1) p \rceil)}$, infinite where $p > n/(n+1)$;
    it holds an exchangeable target with probability at least p. `before` and `after` map the asked level to
    another (adaptive). Moments, samples and scores are of the distribution with these intervals, given that r is
    finite: how far errors beyond all n reach is not known. If the largest level of the map is itself out of reach of n
    errors, that part of the distribution is at infinity instead, and variance and CRPS are infinite.
    """

    def __init__(self, base: AbstractDistribution, radii: Tensor, before: Tensor, after: Tensor, scaled: bool) -> None:
        super().__init__(base)
        self.radii, self.before, self.after = (t.double().to(base.device) for t in (radii, before, after))
        self.scaled, self.is_count, self.has_density = scaled, False, False

    def rewrap(self, base: AbstractDistribution) -> "ConformalDistribution":
        return ConformalDistribution(base, self.radii, self.before, self.after, self.scaled)

    def mean(self) -> Tensor:
        return self.base.mean()

    def variance(self) -> Tensor:
        ends, _, share = self._atoms
        return self._scale() ** 2 * (share[share > 0] * ends[share > 0] ** 2).sum()

    def aleatoric(self) -> Tensor:
        return self._split(self.variance(), self.base.aleatoric)

    def epistemic(self) -> Tensor:
        return self._split(self.variance(), self.base.epistemic)

    def quantile(self, q: Tensor) -> Tensor:
        q = q.to(self.device, torch.float64)
        level = interpolate((2 * q - 1).abs(), self.before, self.after)
        radius = self._ends[self._rank(level)]
        side = torch.sign(2 * q - 1)
        # at the median there is no side: 0 * inf would be NaN
        return torch.where(side == 0, self.mean(), self.mean() + side * self._scale() * radius)

    def cdf(self, y: Tensor) -> Tensor:
        return self._from_rank(y, torch.searchsorted(self.radii, self._radius(y), right=True))

    def pit(self, y: Tensor) -> tuple[Tensor, Tensor]:
        radius = self._radius(y)
        inner = self._from_rank(y, torch.searchsorted(self.radii, radius))
        outer = self._from_rank(y, torch.searchsorted(self.radii, radius, right=True) + 1)
        return torch.minimum(inner, outer), torch.maximum(inner, outer)

    def log_prob(self, y: Tensor) -> Tensor:
        raise ValueError(_NO_DENSITY)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        level = torch.rand(n, *self.shape, generator=generator, dtype=torch.float64).to(self.device)
        side = 2.0 * torch.randint(2, (n, *self.shape), generator=generator) - 1
        return self.mean() + side.to(self.device) * self._scale() * self._drawn(level)

    def carry(self, y: Tensor, noise: torch.Generator) -> Tensor:
        lower, upper = self.base.pit(y)
        share = torch.rand(self.shape, generator=noise, dtype=torch.float64).to(self.device)
        side = 2 * (lower + share * (upper - lower)) - 1
        return self.mean() + torch.sign(side) * self._scale() * self._drawn(side.abs())

    def _drawn(self, level: Tensor) -> Tensor:
        ends, reached, _ = self._atoms
        return ends[torch.searchsorted(reached, level.contiguous(), right=True).clamp(max=len(ends) - 1)]

    def crps(self, y: Tensor) -> Tensor:
        r"""$\sigma(E\max(R, |t|) - \frac12 E\max(R, R'))$ with $t = (y - \mu)/\sigma$, by symmetry."""
        ends, reached, share = self._atoms
        if float(share[-1]) > 0:
            return torch.full_like(self.mean(), torch.inf)
        radius = self._radius(y)
        ends, reached, share = ends[:-1], reached[:-1], share[:-1]
        smaller = torch.searchsorted(ends, radius, right=True)  # at least 1: the first end is 0
        sums = (share * ends).cumsum(0)
        near = reached[smaller - 1] * radius + sums[-1] - sums[smaller - 1]
        both = (ends * (2 * reached - share) * share).sum()  # P(max(R, R') = r) is the rise of the squared cdf of R
        return self._scale() * (near - 0.5 * both)

    @cached_property
    def _ends(self) -> Tensor:
        return torch.cat([self.radii.new_zeros(1), self.radii, self.radii.new_full((1,), torch.inf)])

    @cached_property
    def _atoms(self) -> tuple[Tensor, Tensor, Tensor]:
        """The values of R, the cdf at each, and the probability of each; the last value is infinite."""
        rank = torch.arange(len(self._ends), device=self.device)
        reached = self._level(rank)
        if int(self._rank(self.after[-2])) <= len(self.radii):
            reached = (reached / reached[-2]).clamp(max=1)
        return self._ends, reached, torch.diff(reached, prepend=reached.new_zeros(1))

    def _rank(self, level: Tensor) -> Tensor:
        rank = torch.ceil((len(self.radii) + 1) * level - _GUARD).long()
        return rank.clamp(0, len(self.radii) + 1)

    def _level(self, rank: Tensor) -> Tensor:
        """The largest level asked whose interval ends at the rank."""
        level = interpolate((rank.double() + _GUARD) / (len(self.radii) + 1), self.after, self.before)
        return torch.where(rank > len(self.radii), 1.0, level)

    def _scale(self) -> Tensor:
        return self.base.variance().sqrt() if self.scaled else torch.ones_like(self.base.mean())

    def _radius(self, y: Tensor) -> Tensor:
        return ((y - self.mean()) / self._scale()).abs().contiguous()

    def _from_rank(self, y: Tensor, rank: Tensor) -> Tensor:
        return 0.5 + 0.5 * torch.sign(y - self.mean()) * self._level(rank)


class OffsetDistribution(TabulatedDistribution):
    r"""Central intervals moved outwards (or in) by an offset per level, and kept nested: conformalized quantiles.

    At a fitted level the ends are $Q(q) \pm c$, or the ends of a narrower level's interval where this one would lie
    inside it (never beyond the median). Between two fitted levels the ends move as the base's own do, on a straight
    line; beyond the last they stay as far from the base's as they are there.
    """

    def __init__(self, base: AbstractDistribution, levels: Tensor, offsets: Tensor) -> None:
        super().__init__(base)
        self.levels, self.offsets = (t.double().to(base.device) for t in (levels, offsets))
        self.is_count = self.has_density = False

    def rewrap(self, base: AbstractDistribution) -> "OffsetDistribution":
        return OffsetDistribution(base, self.levels, self.offsets)

    def quantile(self, q: Tensor) -> Tensor:
        q = q.to(self.device, torch.float64)
        return self.moved(q, self.base.quantile(q))[1]

    def moved(self, levels: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        heights, before, after = self._knots
        piece = torch.searchsorted(heights, levels.contiguous()).clamp(1, len(heights) - 1)
        low, high, to_low, to_high = (
            t.expand(-1, *self.shape).gather(0, p) for t in (before, after) for p in (piece - 1, piece)
        )
        run, rise = high - low, to_high - to_low
        # where the base stands still (counts) it is the level that moves
        share = (levels - heights[piece - 1]) / (heights[piece] - heights[piece - 1])
        share = torch.where(run > 0, (values - low) / run.clamp(min=1e-300), share).clamp(0, 1)
        outside = torch.where(levels < heights[0], values - before[0] + after[0], values - before[-1] + after[-1])
        inside = (levels >= heights[0]) & (levels <= heights[-1])
        return levels, torch.where(inside, to_low + share * rise, outside)

    def cdf(self, y: Tensor) -> Tensor:
        return self._level_of(y, strict=False)

    def below(self, y: Tensor) -> Tensor:
        return self._level_of(y, strict=True)

    def _level_of(self, y: Tensor, strict: bool) -> Tensor:
        heights, before, after = self._knots
        reached = ((after < y) if strict else (after <= y)).sum(0)
        piece = reached.clamp(1, len(heights) - 1)[None]
        low, high, to_low, to_high = (t.gather(0, p)[0] for t in (before, after) for p in (piece - 1, piece))
        share = (y - to_low) / (to_high - to_low).clamp(min=1e-300)
        x = low + share * (high - low)
        x = torch.where(reached == 0, y - after[0] + before[0], x)
        x = torch.where(reached == len(heights), y - after[-1] + before[-1], x)
        least, most = heights[(piece - 1)[0]], heights[piece[0]]
        level = torch.where(
            high > low, self.base.below(x) if strict else self.base.cdf(x), least + share * (most - least)
        )
        level = torch.minimum(torch.maximum(level, least), most)
        outside = self.base.below(x) if strict else self.base.cdf(x)
        level = torch.where(reached == 0, outside.clamp(max=float(heights[0])), level)
        return torch.where(reached == len(heights), outside.clamp(min=float(heights[-1])), level)

    def log_prob(self, y: Tensor) -> Tensor:
        raise ValueError(_NO_DENSITY)

    @cached_property
    def _knots(self) -> tuple[Tensor, Tensor, Tensor]:
        """The fitted levels as heights of the cdf (2K + 1,), the base's quantiles there, and where they go."""
        heights = torch.cat([0.5 - 0.5 * self.levels.flip(0), self.levels.new_tensor([0.5]), 0.5 + 0.5 * self.levels])
        before = self.base.quantiles(heights.tolist())
        middle, shape = len(self.levels), (-1, *(1 for _ in self.shape))
        median = before[middle : middle + 1]
        offsets = self.offsets.reshape(shape)
        upper = torch.cat([median, before[middle + 1 :] + offsets]).cummax(0).values
        lower = torch.cat([median, before[:middle].flip(0) - offsets]).cummin(0).values
        return heights, before, torch.cat([lower.flip(0), upper[1:]])
