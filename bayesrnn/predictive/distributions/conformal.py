"""Distributions whose intervals come from the errors seen on held-out targets."""

# ruff: noqa: D102 - each method is documented in AbstractDistribution

from functools import cached_property
from itertools import pairwise

import torch
from torch import Tensor

from bayesrnn.predictive.distributions.abstract import AbstractDistribution
from bayesrnn.predictive.distributions.numerics import PANELS, Integrand, integrate, invert_continuous, quantiles_of
from bayesrnn.predictive.distributions.transformed import QuadratureDistribution, WrappedDistribution, interpolate

_PANELS = (1e-7, 1e-4, 1e-2, 0.1, 0.5, 0.9, 0.99, 1 - 1e-4, 1 - 1e-7)
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
        ends, reached, _ = self._atoms
        radius = ends[torch.searchsorted(reached, level, right=True).clamp(max=len(ends) - 1)]
        return self.mean() + side.to(self.device) * self._scale() * radius

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


class OffsetDistribution(QuadratureDistribution):
    r"""Central intervals moved outwards (or in) by an offset that depends on the level: conformalized quantiles.

    $Q'(q) = Q(q) \pm c(|2q - 1|)$, c linear between the fitted levels and constant beyond the last; the median stays.
    """

    def __init__(self, base: AbstractDistribution, levels: Tensor, offsets: Tensor) -> None:
        super().__init__(base)
        self.levels, self.offsets = (t.double().to(base.device) for t in (levels, offsets))
        self.is_count = self.has_density = False

    def rewrap(self, base: AbstractDistribution) -> "OffsetDistribution":
        return OffsetDistribution(base, self.levels, self.offsets)

    def quantile(self, q: Tensor) -> Tensor:
        q = q.to(self.device, torch.float64)
        return self._move(self.base.quantile(q), q)

    def cdf(self, y: Tensor) -> Tensor:
        spread = self.base.variance().sqrt()

        def moved(x: Tensor) -> Tensor:
            return self._move(x, self.base.cdf(x))

        return self.base.cdf(invert_continuous(moved, None, y.double(), self._median - spread, self._median + spread))

    def _changes(self, mean: Tensor, variance: Tensor) -> Tensor:
        if self.base.is_count or not self.base.has_density:
            return self._changes_by_level(mean)

        def make(rows: Tensor | None) -> Integrand:  # over the base's density: the cdf of this distribution is slow
            distribution, center = (self, mean) if rows is None else (self.rewrap(self.base.select(rows)), mean[rows])

            def change(x: Tensor) -> Tensor:
                move = distribution._move(x, distribution.base.cdf(x)) - x
                return distribution.base.log_prob(x).exp() * torch.stack([move, (2 * (x - center) + move) * move])

            return change

        return integrate(make, quantiles_of(self.base, PANELS), torch.stack([variance.sqrt(), variance]))

    def log_prob(self, y: Tensor) -> Tensor:
        raise ValueError(_NO_DENSITY)

    def crps(self, y: Tensor) -> Tensor:
        """Integrate (F' - step)^2 exactly for F' piecewise linear through 129 points of each distribution."""
        edges = quantiles_of(self.base, _PANELS)
        share = torch.linspace(0, 1, 17, dtype=torch.float64, device=self.device)[:-1]
        points = [low + s * (high - low) for low, high in pairwise(edges) for s in share] + [edges[-1]]
        height = [self.base.cdf(x) for x in points]
        place = [self._move(x, level) for x, level in zip(points, height)]
        total = (place[0] - y).clamp(min=0) + (y - place[-1]).clamp(min=0)
        for a, b, fa, fb in zip(place[:-1], place[1:], height[:-1], height[1:]):
            cut = torch.minimum(torch.maximum(y, a), b)
            fc = fa + (fb - fa) * torch.where(b > a, (cut - a) / (b - a).clamp(min=1e-300), 0.0)
            total = total + (cut - a) * (fa**2 + fa * fc + fc**2) / 3
            total = total + (b - cut) * ((1 - fc) ** 2 + (1 - fc) * (1 - fb) + (1 - fb) ** 2) / 3
        return total

    @cached_property
    def _median(self) -> Tensor:
        half = torch.full((1, *self.shape), 0.5, dtype=torch.float64, device=self.device)
        return self.base.quantile(half)[0]

    def _move(self, x: Tensor, level: Tensor) -> Tensor:
        side = torch.sign(2 * level - 1)
        out = x + side * interpolate((2 * level - 1).abs(), self.levels, self.offsets)
        median = self._median
        # an inward offset larger than the half width would cross the median: stop there
        return torch.where(side > 0, torch.maximum(out, median), torch.where(side < 0, torch.minimum(out, median), out))
