"""Rolling recalibration: causal, at rest on calibrated forecasts, a cure for wrong spreads."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bayesrnn.data import Series
from bayesrnn.forecasting import Backtest, RadialDistribution, RollingIntervals
from bayesrnn.predictive import Predictive

ROLLING = RollingIntervals(step=0.1, reach=2.0)


def made(origins: int = 60, horizon: int = 4, spread: float = 1.0, seed: int = 0) -> Backtest:
    """Forecasts N(0, 1) of targets N(0, spread^2), independent of each other."""
    generator = torch.Generator().manual_seed(seed)
    target = spread * torch.randn(origins, horizon, generator=generator, dtype=torch.float64)
    distribution = Predictive.from_gaussian(torch.zeros_like(target), torch.ones_like(target))
    length = origins + horizon + 1
    series = Series.from_pandas(pd.Series(np.zeros(length), index=np.arange(length)), period=1)
    return Backtest(series, torch.arange(origins), distribution, target)


def with_target(test: Backtest, target: Tensor) -> Backtest:
    return Backtest(test.series, test.origins, test.predictive, target)


def coverage(distribution: object, target: Tensor, level: float) -> float:
    low, high = distribution.interval(level)
    return float(((low <= target) & (target <= high)).double().mean())


def test_errors_enter_only_once_they_are_known() -> None:
    for row, step in ((10, 0), (10, 3), (30, 2)):
        test = made()
        test.target[row, step] = 0.0
        base = ROLLING.factors(test)
        target = test.target.clone()
        target[row, step] = 1000.0  # a hit becomes a miss
        change = (ROLLING.factors(with_target(test, target)) != base).any(2).any(0)
        known_at = row + step + 1  # the origin at which this target has been seen
        assert not change[:known_at].any()
        assert change[known_at]


def test_future_errors_do_not_change_past_intervals() -> None:
    test = made()
    target = test.target.clone()
    target[test.positions() > 40] = 1e6
    distribution, other = ROLLING.apply(test), ROLLING.apply(with_target(test, target))
    low, high = distribution.interval(0.8)
    changed_low, changed_high = other.interval(0.8)
    assert torch.equal(low[:41], changed_low[:41])
    assert torch.equal(high[:41], changed_high[:41])
    assert (changed_high - changed_low > high - low)[45:].all()


def test_factors_follow_the_equation() -> None:
    """Against plain loops over origins, levels and steps."""
    test = made(20, 3, 1.5)
    found = ROLLING.factors(test)
    normal = [0.6744897501960817, 1.2815515655446004, 1.959963984540054]
    state, used = np.zeros((3, 3)), np.ones((3, 20, 3))
    for now in range(20):
        for p, level in enumerate(ROLLING.levels):
            change = np.zeros(3)
            for step in range(3):
                total = weights = 0.0
                for ahead in range(3):
                    row = now - ahead - 1
                    if row >= 0:
                        missed = abs(float(test.target[row, ahead])) > used[p, row, ahead] * normal[p]
                        weight = math.exp(-abs(step - ahead) / 2.0)
                        total += weight * (missed - (1 - level)) / math.sqrt(level * (1 - level))
                        weights += weight
                change[step] = 0.1 * total / weights if weights else 0.0
            state[p] += change
        for step in range(3):
            radius = 0.0
            for p in range(3):
                radius = max(math.exp(state[p, step]) * normal[p], 1.02 * radius)
                used[p, now, step] = radius / normal[p]
    np.testing.assert_allclose(found, used, rtol=1e-6)


def test_the_first_forecast_is_as_it_was() -> None:
    test = made()
    after = ROLLING.apply(test)[:1]
    assert torch.allclose(after.quantile(0.9), test.predictive[:1].quantile(0.9))
    assert torch.allclose(after.log_prob(test.target[:1]), test.predictive[:1].log_prob(test.target[:1]))


@pytest.mark.parametrize("spread", [1.0, 2.5, 0.5])
def test_recalibrated_intervals_cover_what_they_promise(spread: float) -> None:
    test = made(500, 3, spread, seed=3)
    distribution = RollingIntervals(step=0.04, reach=3.0).apply(test)[100:]
    for level in (0.5, 0.8, 0.95):
        assert abs(coverage(distribution, test.target[100:], level) - level) < 0.04
    assert abs(coverage(test.predictive, test.target, 0.8) - 0.8) > 0.1 or spread == 1.0


def test_a_skewed_distribution_is_judged_by_the_intervals_it_issued() -> None:
    """Calibrated forecasts whose quartiles lie far from the middle of their interval stay calibrated."""
    generator = torch.Generator().manual_seed(5)
    spread = torch.where(torch.rand(3000, 1, generator=generator) < 0.2, 3.0, 0.0).double()
    noise = torch.randn(3000, 1, generator=generator, dtype=torch.float64)
    target = spread + torch.where(spread > 0, 1.0, 0.5) * noise
    parts = torch.tensor([0.0, 0.0, 0.0, 0.0, 3.0]).double().expand(3000, 1, 5).permute(2, 0, 1)
    scales = torch.tensor([0.5, 0.5, 0.5, 0.5, 1.0]).double().expand(3000, 1, 5).permute(2, 0, 1)
    raw = Predictive.from_draws(torch.distributions.Normal(parts, scales))
    series = Series.from_pandas(pd.Series(np.zeros(3002), index=np.arange(3002)), period=1)
    test = Backtest(series, torch.arange(3000), raw, target)
    distribution = RollingIntervals(step=0.04, reach=1.0).apply(test)[200:]
    for level in (0.5, 0.8, 0.95):
        assert abs(coverage(distribution, target[200:], level) - level) < 0.01
    assert ((RollingIntervals(step=0.04, reach=1.0).factors(test).mean((1, 2)) - 1).abs() < 0.1).all()


def test_intervals_are_nested() -> None:
    test = made(80, 3, 3.0, seed=1)
    bounds = [e for level in (0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99) for e in ROLLING.apply(test).interval(level)]
    lower, upper = torch.stack(bounds[0::2]), torch.stack(bounds[1::2])
    assert (torch.diff(lower, dim=0) < 0).all()
    assert (torch.diff(upper, dim=0) > 0).all()


def test_unobserved_targets_teach_nothing() -> None:
    test = made()
    observed = torch.ones(len(test.series), dtype=torch.bool)
    observed[20] = False
    series = Series(test.series.times, test.series.values, observed, 1)
    base = Backtest(series, test.origins, test.predictive, test.target)
    target = test.target.clone()
    target[test.positions() == 20] = 1000.0
    assert torch.equal(ROLLING.factors(base), ROLLING.factors(with_target(base, target)))


def test_an_origin_after_the_last_forecast_is_served() -> None:
    test = made()
    later = ROLLING.factors(test, torch.tensor([63]))
    assert later.shape == (3, 1, 4)
    assert not torch.equal(later[:, 0], ROLLING.factors(test)[:, -1])


@pytest.mark.parametrize("name", ["step", "reach"])
def test_numbers_must_be_positive(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be positive and finite"):
        RollingIntervals(**{name: 0.0})


@pytest.mark.parametrize("levels", [(), (0.8, 0.5), (0.5, 0.5)])
def test_levels_must_increase(levels: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match=r"levels must be distinct and increase|levels is empty"):
        RollingIntervals(levels=levels)


def radial(seed: int = 0, factors: tuple[float, ...] = (2.0, 1.5, 3.0)) -> tuple[Predictive, Predictive]:
    generator = torch.Generator().manual_seed(seed)
    loc = torch.randn(5, 4, 2, generator=generator, dtype=torch.float64)
    before = Predictive.from_draws(torch.distributions.Normal(loc, 0.5 + loc.abs()))
    half = torch.stack([(high - low) / 2 for low, high in (before.interval(p) for p in (0.5, 0.8, 0.95))])
    half = torch.stack([half, 1.1 * half])
    after = half * torch.tensor(factors, dtype=torch.float64)[:, None, None]
    return before, before.with_distribution(RadialDistribution(before.distribution, half, after))


@settings(max_examples=15)
@given(st.integers(0, 10_000), st.lists(st.floats(0.5, 1.5), min_size=3, max_size=3))
def test_the_distribution_is_one_distribution(seed: int, rises: list[float]) -> None:
    """Quantile and cdf invert each other, and the density is the slope of the cdf."""
    _, distribution = radial(seed, tuple(np.cumsum(rises)))
    for q in (0.01, 0.2, 0.5, 0.77, 0.999):
        y = distribution.quantile(q)
        assert torch.allclose(distribution.cdf(y), torch.full_like(y, q), atol=1e-6)
    y = distribution.quantile(0.63)
    slope = (distribution.cdf(y + 1e-5) - distribution.cdf(y - 1e-5)) / 2e-5
    assert torch.allclose(distribution.log_prob(y).exp(), slope, rtol=1e-4)


def test_intervals_are_stretched_as_asked() -> None:
    before = Predictive.from_gaussian(torch.randn(5, 4, dtype=torch.float64), torch.rand(5, 4, dtype=torch.float64) + 1)
    factors = torch.tensor([2.0, 1.5, 3.0], dtype=torch.float64)[:, None, None].expand(3, 5, 4)
    check_stretch(before, factors)


def test_a_skewed_distribution_is_stretched_from_its_median_on_both_sides() -> None:
    loc = torch.tensor([0.0, 0.0, 3.0], dtype=torch.float64)[:, None, None].expand(3, 5, 4)
    before = Predictive.from_draws(torch.distributions.Normal(loc, 0.5 + 0.2 * loc))
    check_stretch(before, torch.tensor([2.0, 1.5, 3.0], dtype=torch.float64)[:, None, None].expand(3, 5, 4))


def check_stretch(before: Predictive, factors: Tensor) -> None:
    distribution, median = RollingIntervals().stretch(before, factors), before.quantile(0.5)
    for level, factor in ((0.5, 2.0), (0.8, 1.5), (0.95, 3.0)):
        for after, first in zip(distribution.interval(level), before.interval(level), strict=True):
            assert torch.allclose(after - median, factor * (first - median), rtol=1e-6)


def test_both_parts_keep_their_shares() -> None:
    before, distribution = radial()
    assert torch.allclose(distribution.aleatoric + distribution.epistemic, distribution.variance)
    assert torch.allclose(distribution.epistemic / distribution.variance, before.epistemic / before.variance)
    samples = distribution[:1].sample(1_000, seed=0)
    assert torch.allclose(samples.var(0), distribution.variance[:1], rtol=0.35)


def test_rows_can_be_chosen() -> None:
    _, distribution = radial()
    some = distribution[torch.tensor([2, 0])]
    assert torch.allclose(some.quantile(0.9), distribution.quantile(0.9)[[2, 0]])
    assert distribution.to(torch.float32).dtype == torch.float32


def test_the_factor_of_an_inner_level_pushes_those_around_it() -> None:
    """Errors of just 1: half of the targets should lie further out than all do, so the levels would meet there."""
    test = made(300, 2)
    factors = ROLLING.factors(with_target(test, torch.ones_like(test.target)))
    normal = torch.special.ndtri((1 + torch.tensor(ROLLING.levels, dtype=torch.float64)) / 2)[:, None, None]
    rise = (factors * normal)[1:] / (factors * normal)[:-1]
    assert float(rise.min()) == pytest.approx(1.02)
