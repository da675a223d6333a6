"""Rolling recalibration: causal, the identity on calibrated forecasts, a cure for wrong spreads."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.optimize import brentq
from scipy.stats import norm
from torch import Tensor
from torch.distributions import Normal, StudentT

from bayesrnn.data import Series
from bayesrnn.forecasting import Backtest, RollingScale
from bayesrnn.forecasting.recalibrate import stretch
from bayesrnn.predictive import Predictive

ROLLING = RollingScale(half_life=10.0, reach=2.0, strength=20.0)


def made(origins: int = 60, horizon: int = 4, spread: float = 1.0, seed: int = 0) -> Backtest:
    """Forecasts N(0, 1) of targets N(0, spread^2), independent of each other."""
    generator = torch.Generator().manual_seed(seed)
    target = spread * torch.randn(origins, horizon, generator=generator, dtype=torch.float64)
    law = Predictive.from_gaussian(torch.zeros_like(target), torch.ones_like(target))
    length = origins + horizon + 1
    series = Series.from_pandas(pd.Series(np.zeros(length), index=np.arange(length)), period=1)
    return Backtest(series, torch.arange(origins), law, target)


def with_target(test: Backtest, target: Tensor) -> Backtest:
    return Backtest(test.series, test.origins, test.predictive, target)


def test_errors_enter_only_once_they_are_known() -> None:
    test = made()
    base = ROLLING.factors(test)
    for row, step in ((10, 0), (10, 3), (30, 2)):
        target = test.target.clone()
        target[row, step] = 1000.0
        change = (ROLLING.factors(with_target(test, target)) != base).any(1)
        known_at = row + step + 1  # the origin at which this target has been seen
        assert not change[:known_at].any()
        assert change[known_at:].all()


def test_future_errors_do_not_change_past_intervals() -> None:
    test = made()
    law, _ = ROLLING.apply(test)
    target = test.target.clone()
    target[test.positions() > 40] = 1e6
    other, _ = ROLLING.apply(with_target(test, target))
    low, high = law.interval(0.8)
    changed_low, changed_high = other.interval(0.8)
    assert torch.equal(low[:41], changed_low[:41])
    assert torch.equal(high[:41], changed_high[:41])
    assert (changed_high - changed_low > high - low)[45:].all()


def test_a_factor_solves_its_equation() -> None:
    """Against a root finder on the sum, term by term."""
    test = made(12, 3, 2.0)
    factor = ROLLING.factors(test)
    for origin, step in ((0, 1), (5, 1), (11, 3)):

        def excess(scale: float, origin: int = origin, step: int = step) -> float:
            prior = scale / math.sqrt(2 * math.pi * (1 + scale**2))
            total, weights = 20.0 * prior, 20.0
            for row in range(12):
                for ahead in range(1, 4):
                    if row + ahead <= origin:
                        weight = 0.5 ** ((origin - row - ahead) / 10.0) * math.exp(-abs(ahead - step) / 2.0)
                        total += weight * norm.pdf(float(test.target[row, ahead - 1]) / scale)
                        weights += weight
            return total - weights / (2 * math.sqrt(math.pi))

        assert float(factor[origin, step - 1]) == pytest.approx(brentq(excess, 0.1, 10), rel=2e-3)


@pytest.mark.parametrize(("spread", "low", "high"), [(1.0, 0.93, 1.07), (2.5, 2.2, 2.8), (0.4, 0.36, 0.47)])
def test_the_factor_tends_to_the_true_spread(spread: float, low: float, high: float) -> None:
    factors = RollingScale(half_life=200.0, reach=5.0, strength=20.0).factors(made(150, 4, spread))
    assert float(factors[0].mean()) == pytest.approx(1.0, abs=1e-3)
    assert low < float(factors[-1].mean()) < high


def test_recalibrated_intervals_cover_what_they_promise() -> None:
    test = made(250, 4, 1.8, seed=3)
    law, _ = RollingScale(half_life=100.0, reach=5.0, strength=20.0).apply(test)
    inside = [((a <= test.target) & (test.target <= b))[50:].double().mean() for a, b in [law.interval(0.8)]]
    assert abs(float(inside[0]) - 0.8) < 0.04
    assert float((test.target.abs() < 1.2816)[50:].double().mean()) < 0.6  # raw


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
    assert ROLLING.factors(test, torch.tensor([63])).shape == (1, 4)


@pytest.mark.parametrize("family", ["normal", "student"])
def test_stretching_scales_both_parts(family: str) -> None:
    loc = torch.randn(50, 3, 2, dtype=torch.float64)
    law = Normal(loc, torch.ones_like(loc)) if family == "normal" else StudentT(torch.full_like(loc, 5.0), loc, 1.0)
    before = Predictive.from_draws(law)
    factor = torch.tensor([[1.0, 2.0], [0.5, 3.0], [1.5, 1.0]], dtype=torch.float64)
    after = stretch(before, factor)
    for part in ("aleatoric", "epistemic", "variance"):
        assert torch.allclose(getattr(after, part), factor**2 * getattr(before, part), rtol=1e-9)
    assert torch.allclose(after.mean, before.mean)
    wide, narrow = after.interval(0.8), before.interval(0.8)
    assert torch.allclose(wide[1] - after.mean, factor * (narrow[1] - before.mean), atol=1e-6)


def test_other_laws_are_refused() -> None:
    with pytest.raises(TypeError, match="only a mixture of Gaussians or Student t"):
        stretch(Predictive.from_samples(torch.randn(50, 3)), torch.ones(3))


@pytest.mark.parametrize("name", ["half_life", "reach", "strength"])
def test_numbers_must_be_positive(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be positive and finite"):
        RollingScale(**{"half_life": 1.0, "reach": 1.0, "strength": 1.0, name: 0.0})
