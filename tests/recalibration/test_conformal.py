"""Conformal recalibrations hold their level, and are one distribution."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import distributions as D

from bayesrnn import metrics as M
from bayesrnn import recalibration as R
from bayesrnn.predictive import Predictive
from tests.recalibration.examples import gaussian


@pytest.mark.parametrize("kind", [R.SplitConformal, R.ConformalizedQuantiles])
def test_conformal_coverage_over_splits_is_at_the_level(kind):
    covered, level, size, new = 0, 0.8, 49, 50
    for seed in range(200):
        p, y = gaussian(size + new, spread=3.0, shift=0.5, seed=seed)
        fixed = kind(levels=[level]) if kind is R.ConformalizedQuantiles else kind()
        low, high = fixed.fit(p[:size], y[:size]).apply(p[size:]).interval(level)
        covered += int(((low <= y[size:]) & (y[size:] <= high)).sum())
    # exact mean ceil(50 * .8) / 50 = .8; the coverage of one split is Beta(40, 10)
    error = math.sqrt((0.8 * 0.2 / 51 + 0.8 * 0.2 / new) / 200)
    assert covered / (200 * new) == pytest.approx(level, abs=3.5 * error)


def test_conformal_radius_is_the_order_statistic():
    p = Predictive.from_gaussian(torch.zeros(99), torch.ones(99))
    y = torch.arange(1.0, 100.0)
    fixed = R.SplitConformal().fit(p, y).apply(p)
    assert fixed.interval(0.42)[1][0].item() == 42.0
    assert fixed.interval(0.99)[1][0].item() == 99.0
    assert fixed.interval(0.995)[1][0].item() == math.inf
    assert fixed.quantile(0.5)[0].item() == 0.0
    atoms = np.concatenate([y.numpy(), -y.numpy()])
    at = 30.5
    brute = np.abs(atoms - at).mean() - 0.5 * np.abs(atoms[:, None] - atoms).mean()
    assert M.crps_values(fixed.distribution, torch.full((99,), at))[0].item() == pytest.approx(brute)
    for call in (fixed.log_prob, lambda v: R.ConformalizedQuantiles().fit(p, y).apply(p).log_prob(v)):
        with pytest.raises(ValueError, match="no density"):
            call(torch.zeros(99))


def test_conformalized_intervals_nest_and_are_one_distribution() -> None:
    """Offsets that fall with the level made the 90 % interval narrower than the 80 % one, where spreads differ."""
    for seed in range(12):
        p, y = gaussian(40, seed=seed)
        new, _ = gaussian(400, seed=seed + 100)
        levels = R.quantiles.LEVELS
        recalibrator = R.ConformalizedQuantiles().fit(p, y)
        fixed = recalibrator.apply(new)
        q = torch.linspace(0.004, 0.996, 125).double().tolist()
        values = fixed.quantile(q)
        assert (values.diff(dim=0) >= -1e-12).all()
        for height, value in zip(q, values):
            lower, upper = fixed.distribution.pit(value)
            assert ((lower <= height + 1e-9) & (height - 1e-9 <= upper)).all()
        for level, offset in zip(levels, recalibrator.fitted["offsets"]):
            (low, high), (inner, outer) = fixed.interval(level), new.interval(level)
            assert (low <= inner - offset + 1e-9).all()  # what was fitted lies inside what is issued
            assert (high >= outer + offset - 1e-9).all()


def test_conformalized_counts_hold_at_their_levels() -> None:
    held, size, runs = np.zeros(2), 60, 60
    for seed in range(runs):
        generator = torch.Generator().manual_seed(seed)
        rate = 1 + 5 * torch.rand(size + 100, generator=generator).double()
        y = torch.poisson(1.7 * rate, generator=generator)
        p = Predictive.from_draws(D.Poisson(rate[None]))
        fixed = R.ConformalizedQuantiles().fit(p[:size], y[:size]).apply(p[size:])
        for k, level in enumerate((0.5, 0.9)):
            low, high = fixed.interval(level)
            held[k] += float(((low <= y[size:]) & (y[size:] <= high)).double().mean()) / runs
    assert held[0] > 0.5
    assert held[1] > 0.9


def test_conformalized_crps_is_that_of_its_cdf():
    p, y = gaussian(300, spread=2.0)
    fixed = R.ConformalizedQuantiles().fit(p, y).apply(p[:4])
    grid = torch.linspace(-15, 15, 6001, dtype=torch.double)
    heights = torch.stack([fixed.cdf(torch.full((4,), x)) for x in grid[::60]])
    steps = (grid[::60][:, None] >= y[:4]).double()
    brute = ((heights - steps) ** 2).sum(0) * 0.3
    torch.testing.assert_close(M.crps_values(fixed.distribution, y[:4]), brute, atol=0.08, rtol=0.05)


def test_adaptive_follows_a_drift_and_split_does_not():
    generator = torch.Generator().manual_seed(0)
    scale = torch.cat([torch.ones(200), torch.linspace(1, 6, 600)])
    y = scale * torch.randn(800, generator=generator)
    p = Predictive.from_gaussian(torch.zeros(800), torch.ones(800))
    adaptive = R.AdaptiveConformal(levels=[0.9], step_size=0.05, window=200).fit(p[:200], y[:200])
    split = R.SplitConformal().fit(p[:200], y[:200]).apply(p[200:])
    hits = []
    for t in range(200, 800):
        low, high = adaptive.apply(p[t]).interval(0.9)
        hits.append(bool(low <= y[t] <= high))
        adaptive.update(p[t], y[t : t + 1])
    assert np.mean(hits) == pytest.approx(0.9, abs=0.015)
    assert float(M.coverage(split, y[200:], level=0.9)) < 0.7


def test_adaptive_recursion_by_hand():
    p = Predictive.from_gaussian(torch.zeros(40), torch.ones(40))
    adaptive = R.AdaptiveConformal(levels=[0.9], step_size=0.01).fit(p, torch.arange(40.0))
    adaptive.update(p[:2], torch.tensor([1000.0, 0.0]))
    assert adaptive.fitted["effective"][0] == pytest.approx(0.9 - 0.01 * (0.1 - 1) - 0.01 * 0.1)
    assert adaptive.fitted["recent"][-2:] == [1000.0, 0.0]


@pytest.mark.parametrize("kind", [R.ConformalizedQuantiles, R.AdaptiveConformal])
def test_levels_may_be_named_in_any_order(kind: Any) -> None:
    p, y = gaussian(200, spread=2.0)
    found, expected = (kind(levels=levels).fit(p, y).apply(p) for levels in ((0.9, 0.5, 0.8), (0.5, 0.8, 0.9)))
    for level in (0.5, 0.65, 0.9):
        torch.testing.assert_close(found.interval(level), expected.interval(level))
