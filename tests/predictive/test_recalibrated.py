"""Moments of distributions made of other distributions, against closed forms, scipy and sums over their own cdf."""

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from torch import Tensor
from torch import distributions as D

from bayesrnn.predictive import AbstractDistribution, Predictive
from bayesrnn.predictive.distributions.conformal import OffsetDistribution
from bayesrnn.predictive.distributions.joined import JoinedDistribution
from bayesrnn.predictive.distributions.transformed import LevelDistribution, SpreadDistribution

SAME = torch.tensor([0.0, 1.0])
BEFORE = torch.tensor([0.0, 0.02, 0.3, 0.55, 0.9, 0.99, 1.0]).double()
AFTER = torch.tensor([0.0, 0.1, 0.25, 0.6, 0.8, 0.97, 1.0]).double()


def full(*values: float) -> list[Tensor]:
    return [torch.full((1, 2), value).double() for value in values]


def one(distribution: Any) -> AbstractDistribution:
    return Predictive.from_draws(distribution).distribution


def by_step(parts: list[AbstractDistribution]) -> JoinedDistribution:
    return JoinedDistribution(parts, list(torch.arange(len(parts)).split(1)), 1)


CONTINUOUS = {
    "normal": (D.Normal(*full(1.0, 2.0)), stats.norm(1, 2)),
    "student": (D.StudentT(*full(3.0, 0.5, 1.0)), stats.t(3, 0.5)),
    "lognormal": (D.LogNormal(*full(0.0, 1.0)), stats.lognorm(1)),
    "gamma": (D.Gamma(*full(0.3, 1.0)), stats.gamma(0.3)),
}
COUNTS = {
    "rare": (D.Poisson(*full(0.05)), stats.poisson(0.05)),
    "few": (D.Poisson(*full(0.3)), stats.poisson(0.3)),
    "some": (D.Poisson(*full(9.0)), stats.poisson(9.0)),
    "many": (D.Poisson(*full(4000.0)), stats.poisson(4000.0)),
    "spread": (
        D.NegativeBinomial(torch.full((1, 2), 2.0).double(), probs=torch.tensor(0.98).double()),
        stats.nbinom(2, 0.02),
    ),
}


@pytest.mark.parametrize("name", CONTINUOUS)
def test_the_identity_keeps_the_moments(name: str) -> None:
    distribution, oracle = CONTINUOUS[name]
    same = LevelDistribution(one(distribution), SAME, SAME)
    assert same.mean().tolist() == pytest.approx([oracle.mean()] * 2, rel=1e-6)
    assert same.variance().tolist() == pytest.approx([oracle.var()] * 2, rel=1e-6)
    still = OffsetDistribution(one(distribution), torch.tensor([0.5, 0.9]), torch.zeros(2))
    assert still.mean().tolist() == pytest.approx([oracle.mean()] * 2, rel=1e-6)
    assert still.variance().tolist() == pytest.approx([oracle.var()] * 2, rel=1e-6)


@pytest.mark.parametrize("name", CONTINUOUS)
def test_moments_of_mapped_levels_are_scipys_piece_by_piece(name: str) -> None:
    distribution, oracle = CONTINUOUS[name]
    mapped = LevelDistribution(one(distribution), BEFORE, AFTER)
    slope = np.diff(AFTER) / np.diff(BEFORE)
    ends = oracle.ppf(BEFORE.numpy())
    partial = [[oracle.expect(lambda x, k=k: x**k, lb=a, ub=b) for a, b in pairwise(ends)] for k in (1, 2)]
    mean, square = (float(slope @ np.array(part)) for part in partial)
    tolerance = 5e-3 if name == "student" else 2e-3  # of the variance of 3 degrees of freedom 0.1 % lies beyond 1e-10
    assert mapped.mean().tolist() == pytest.approx([mean] * 2, rel=2e-3)
    assert mapped.variance().tolist() == pytest.approx([square - mean**2] * 2, rel=tolerance)
    torch.testing.assert_close(mapped.aleatoric() + mapped.epistemic(), mapped.variance())


@pytest.mark.parametrize("name", COUNTS)
def test_moments_of_counts_are_sums_over_their_cdf(name: str) -> None:
    distribution, oracle = COUNTS[name]
    k = np.arange(20_000)
    for after in (BEFORE, AFTER):
        mass = np.diff(np.interp(oracle.cdf(k), BEFORE, after), prepend=0.0)
        mean = (k * mass).sum()
        variance = ((k - mean) ** 2 * mass).sum()
        mapped = LevelDistribution(one(distribution), BEFORE, after)
        assert mapped.mean().tolist() == pytest.approx([mean] * 2, rel=3e-4)
        assert mapped.variance().tolist() == pytest.approx([variance] * 2, rel=1e-3)


@pytest.mark.parametrize("name", ["student", "lognormal"])
def test_offsets_move_the_tails(name: str) -> None:
    distribution, oracle = CONTINUOUS[name]
    levels, offsets = np.array([0.5, 0.9]), np.array([0.4, 1.5])
    moved = OffsetDistribution(one(distribution), torch.tensor(levels), torch.tensor(offsets))
    knots = oracle.ppf([0.05, 0.25, 0.5, 0.75, 0.95])
    to = knots + np.array([-1.5, -0.4, 0.0, 0.4, 1.5])

    def move(u: float) -> float:
        x = oracle.ppf(u)
        return float(np.interp(x, knots, to - knots))  # beyond the last level the move stays what it is there

    def change(u: float) -> float:
        return (2 * (oracle.ppf(u) - oracle.mean()) + move(u)) * move(u)

    cuts = [0, 1e-7, 1e-4, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1 - 1e-4, 1 - 1e-7, 1]
    shift, wider = (sum(integrate.quad(f, a, b, epsabs=1e-7)[0] for a, b in pairwise(cuts)) for f in (move, change))
    assert moved.mean().tolist() == pytest.approx([oracle.mean() + shift] * 2, rel=1e-3)
    assert moved.variance().tolist() == pytest.approx([oracle.var() + wider - shift**2] * 2, rel=5e-3)


def test_a_mixture_of_narrow_distributions_keeps_its_moments_and_maps_them() -> None:
    loc = 3 * torch.randn(20, 6, dtype=torch.double, generator=torch.Generator().manual_seed(0))
    base = one(D.Normal(loc, torch.full_like(loc, 0.02)))
    same = LevelDistribution(base, SAME, SAME)
    torch.testing.assert_close(same.mean(), base.mean())
    torch.testing.assert_close(same.variance(), base.variance())
    mapped = LevelDistribution(base, BEFORE, AFTER)
    for row in range(6):
        x = np.linspace(-15, 15, 60_001)
        cdf = stats.norm.cdf(x[:, None], loc[:, row].numpy(), 0.02).mean(1)
        rise, middle = np.diff(np.interp(cdf, BEFORE, AFTER)), 0.5 * (x[1:] + x[:-1])
        mean = (rise * middle).sum()
        variance = (rise * (middle - mean) ** 2).sum()
        epistemic = float(base.epistemic()[row])  # unbiased over 20 draws, where the mixture's own is 19/20 of it
        own = float(base.variance()[row]) - epistemic / 20
        assert float(mapped.mean()[row]) == pytest.approx(mean, abs=6e-3)
        assert float(mapped.variance()[row]) == pytest.approx(variance * float(base.variance()[row]) / own, rel=5e-3)


def test_a_variance_that_is_infinite_stays_so() -> None:
    mapped = LevelDistribution(one(D.StudentT(*full(2.0, 0.0, 1.0))), BEFORE, AFTER)
    assert mapped.variance().tolist() == [math.inf] * 2


@pytest.mark.parametrize(
    "steps", [slice(1, 3), slice(None), [0, 2], torch.tensor([2, 0]), torch.tensor([True, False, True])]
)
@pytest.mark.parametrize("rows", [slice(0, 4), torch.tensor([3, 1])])
def test_steps_of_a_distribution_for_each_step(steps: Any, rows: Any) -> None:
    means = torch.randn(5, 3).double()
    stacked = by_step([one(D.Normal(means[None, :, t : t + 1], torch.ones(1, 5, 1).double())) for t in range(3)])
    found = stacked.select((rows, steps))
    torch.testing.assert_close(found.mean(), means[rows][:, steps])
    assert found.shape == means[rows][:, steps].shape
    torch.testing.assert_close(stacked.select((rows, 1)).mean(), means[rows][:, 1])


def test_an_offset_inwards_stops_at_the_median() -> None:
    distribution = OffsetDistribution(
        one(D.Normal(*full(1.0, 2.0))), torch.tensor([0.5, 0.9]), torch.tensor([-9.0, -9.0])
    )
    for level in (0.05, 0.2, 0.5, 0.8, 0.95):
        assert distribution.quantile(torch.full((1, 2), level).double())[0].tolist() == pytest.approx([1.0, 1.0])


@pytest.mark.parametrize("level", [0.1, 0.5, 0.9, 0.99])
def test_inside_is_what_the_interval_says(level: float) -> None:
    """Distributions without jumps are asked for their cdf at y, not for two quantiles."""
    generator = torch.Generator().manual_seed(0)
    mean, std = torch.randn(9, 40, 1, generator=generator), torch.rand(9, 40, 1, generator=generator) + 0.2
    distributions: list[AbstractDistribution] = [
        Predictive.from_draws(distribution).distribution
        for distribution in (
            D.Normal(mean, std),
            D.StudentT(3.0, mean, std),
            D.LogNormal(mean, std),
            D.Poisson(4 * std),
        )
    ]
    distributions += [
        SpreadDistribution(distributions[0], 1.7),
        by_step(distributions[:2]),
        by_step([distributions[3], distributions[3]]),
    ]
    for distribution in distributions:
        for y in distribution.sample(5, generator):
            low, high = distribution.quantile(
                torch.tensor([(1 - level) / 2, (1 + level) / 2]).double().reshape(2, *[1] * y.dim()).expand(2, *y.shape)
            )
            assert torch.equal(distribution.inside(y, level), (low <= y) & (y <= high))
