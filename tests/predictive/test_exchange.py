"""Other tools' forecasts in, ours out."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from torch import distributions as D

from bayesrnn import metrics
from bayesrnn.predictive import ContinuousPredictive, MomentsDistribution, Origin, Predictive

LEVELS = [0.05, 0.2, 0.5, 0.8, 0.95]


def gaussian(rows: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(rows, generator=generator).double(), torch.rand(rows, generator=generator).double() + 0.5


@pytest.mark.parametrize("levels", [LEVELS, [0.1, 0.9], [0.9, 0.1]])
def test_quantiles_of_a_gaussian_are_that_gaussian(levels: list[float]) -> None:
    mean, std = gaussian()
    exact = Predictive.from_gaussian(mean, std)
    p = Predictive.from_quantiles(levels, exact.quantile(levels))
    y = mean + std * torch.tensor([-9.0, -1.0, 0.1, 2.0, 7.0])
    torch.testing.assert_close(p.mean, mean)
    torch.testing.assert_close(p.std, std)
    for name in ("cdf", "log_prob"):
        torch.testing.assert_close(getattr(p, name)(y), getattr(exact, name)(y), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(p.quantile([0.001, 0.6, 0.999]), exact.quantile([0.001, 0.6, 0.999]))
    closed = metrics.gaussian_crps(mean, std, y)
    torch.testing.assert_close(metrics.crps_values(p.distribution, y), closed, rtol=1e-9, atol=1e-12)
    assert stats.kstest(p.cdf(p.sample(800, seed=3)[:, :][0]).numpy(), "uniform").pvalue > 1e-4


def test_moments_and_scores_of_any_quantiles_are_those_of_their_cdf() -> None:
    values = torch.tensor([[-1.0, 0.0], [-0.5, 0.0], [0.0, 2.0], [4.0, 2.5], [5.0, 3.0]]).double()
    p = Predictive.from_quantiles(LEVELS, values)
    grid = torch.linspace(-40, 60, 200_001).double()
    heights = torch.stack([p.cdf(torch.stack([x, x])) for x in grid[::20]])
    step, y = float(grid[20] - grid[0]), torch.tensor([1.3, -0.2]).double()
    middle = 0.5 * (grid[::20][1:] + grid[::20][:-1])[:, None]
    rise = heights.diff(dim=0)
    mean = (rise * middle).sum(0)
    torch.testing.assert_close(p.mean, mean, atol=1e-2, rtol=0)
    torch.testing.assert_close(p.variance, (rise * (middle - mean) ** 2).sum(0), atol=2e-2, rtol=0)
    brute = ((heights - (grid[::20][:, None] >= y).double()) ** 2).sum(0) * step
    torch.testing.assert_close(metrics.crps_values(p.distribution, y), brute, atol=2e-2, rtol=0)
    low, high = p.distribution.pit(torch.zeros(2).double())
    assert float(low[1]) == 0  # two equal lowest quantiles: all below the second level is a point mass
    assert float(high[1]) == pytest.approx(0.2)
    with pytest.raises(ValueError, match="point mass has no density"):
        p.log_prob(y)


def test_crossing_quantiles_are_counted_and_sorted() -> None:
    values = torch.tensor([[0.0, 0.0], [2.0, 1.0], [1.0, 2.0]])
    with pytest.warns(UserWarning, match="quantiles of 1 of 2 targets cross"):
        p = Predictive.from_quantiles([0.1, 0.5, 0.9], values)
    assert p.quantile(0.5).tolist() == pytest.approx([1.0, 1.0])


def test_intervals_are_quantiles() -> None:
    mean, std = gaussian()
    exact = Predictive.from_gaussian(mean, std)
    p = Predictive.from_intervals(0.8, *exact.interval(0.8), median=mean)
    torch.testing.assert_close(p.std, std)
    low, high = (torch.stack(ends) for ends in zip(exact.interval(0.5), exact.interval(0.9)))
    torch.testing.assert_close(Predictive.from_intervals([0.5, 0.9], low, high).std, std)
    with pytest.raises(ValueError, match="ends exchanged"):
        Predictive.from_intervals(0.8, high[0], low[0])
    with pytest.raises(ValueError, match="must have one shape"):
        Predictive.from_intervals([0.5, 0.9], low[0], high[0])


def test_bad_quantiles_are_refused() -> None:
    values = torch.zeros(3, 2)
    with pytest.raises(ValueError, match=r"3 levels on axis 0.*movedim"):
        Predictive.from_quantiles([0.1, 0.5, 0.9], values.T)
    with pytest.raises(ValueError, match="Percent are divided"):
        Predictive.from_quantiles([10, 50, 90], values)
    p = Predictive.from_quantiles([0.1, 0.5, 0.9], torch.arange(6.0).reshape(3, 1, 2))
    with pytest.raises(ValueError, match="aleatoric and which epistemic"):
        _ = p.epistemic
    with pytest.raises(ValueError, match="has no paths"):
        p.paths(3)


def test_a_forecast_table_is_read() -> None:
    q = stats.norm.ppf
    table = pd.DataFrame({"unique_id": ["b", "b", "a", "a"], "ds": [1, 2, 2, 1], "LSTM": 0.0})
    center = np.array([10.0, 11.0, 1.0, 0.0])
    for percent in (80, 95):
        table[f"LSTM-lo-{percent}"] = center + 2 * q(0.5 - percent / 200)
        table[f"LSTM-hi-{percent}"] = center + 2 * q(0.5 + percent / 200)
    table["LSTM-median"] = center
    p = Predictive.from_frame(table)
    assert p.shape == (2, 2)
    np.testing.assert_allclose(p.mean.numpy(), [[0, 1], [10, 11]], atol=1e-9)
    np.testing.assert_allclose(p.std.numpy(), 2)
    with pytest.raises(ValueError, match=r"models \['LSTM'\].*model='GRU'"):
        Predictive.from_frame(table, model="GRU")
    with pytest.raises(ValueError, match="2 cutoffs"):
        Predictive.from_frame(table.assign(cutoff=[1, 1, 2, 2]))
    with pytest.raises(ValueError, match="different numbers of rows"):
        Predictive.from_frame(table[:3])


def test_ours_go_out() -> None:
    means = torch.randn(99, 4, 3, generator=torch.Generator().manual_seed(0)).double()
    p = Predictive.from_draws(D.Normal(means, 0.7))
    frame = p.to_frame(levels=[0.8, 0.975])
    assert {"mean", "median", "std", "aleatoric", "epistemic", "lo-80", "hi-80", "lo-97.5"} <= set(frame.columns)
    np.testing.assert_allclose(frame["lo-80"], p.interval(0.8)[0].flatten())
    streamed = ContinuousPredictive(MomentsDistribution(p.mean, p.aleatoric, p.epistemic), Origin(99)).to_frame()
    assert "median" not in streamed
    low, high = p.interval_of_mean(0.8)
    torch.testing.assert_close(low, means.sort(0).values[9])
    torch.testing.assert_close(high, means.sort(0).values[89])
    torch_distribution = p.to_distribution()
    y = torch.randn(4, 3).double()
    torch.testing.assert_close(torch_distribution.log_prob(y), p.log_prob(y))
    torch.testing.assert_close(torch_distribution.mean, p.mean)
    with pytest.raises(ValueError, match="no mixture of torch distributions"):
        Predictive.from_samples(means).to_distribution()
    assert math.isfinite(float(p.to_frame()["standard_error"].sum()))


@pytest.mark.parametrize("rate", [0.2, 1.0, 3.0, 50.0])
def test_attainable_coverage_of_counts_is_what_their_interval_holds(rate: float) -> None:
    p = Predictive.from_draws(D.Poisson(torch.full((8, 2), rate).double()))
    for level in (0.5, 0.8, 0.95):
        low, high = stats.poisson(rate).ppf([(1 - level) / 2, (1 + level) / 2])
        held = stats.poisson(rate).cdf(high) - stats.poisson(rate).cdf(low - 1)
        assert p.attainable_coverage(level).tolist() == pytest.approx([held] * 2)
    assert Predictive.from_gaussian(*gaussian()).attainable_coverage(0.8).tolist() == pytest.approx([0.8] * 5)
