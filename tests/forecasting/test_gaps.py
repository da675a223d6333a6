"""Gaps: nothing that was observed after an origin reaches a forecast from it, whatever forecasts or trains."""

import re

import numpy as np
import pandas as pd
import pytest
import torch

from bayesrnn.data import Series
from bayesrnn.forecasting import (
    backtest,
    exponential_smoothing,
    forecast,
    seasonal_naive,
    settings_for,
    split_in_time,
    study,
    train,
)
from bayesrnn.forecasting.splits import judged_origins, windows_between
from bayesrnn.models import Forecaster

LENGTH = 300


def values(seed: int = 0) -> np.ndarray:
    steps = np.arange(LENGTH)
    noise = np.random.default_rng(seed).normal(size=LENGTH)
    return 20 + 0.05 * steps + 3 * np.sin(2 * np.pi * steps / 12) + 0.3 * noise.cumsum()


def with_gaps(data: np.ndarray, missing: np.ndarray) -> Series:
    data = np.where(missing, np.nan, data)
    return Series.from_pandas(pd.Series(data, index=np.arange(len(data))), period=12, bridge=True)


def holes(seed: int = 1) -> np.ndarray:
    """Single values, runs, one longer than a season, and one that ends at the origin of most tests, 252."""
    missing = np.random.default_rng(seed).random(LENGTH) < 0.15
    missing[0] = False
    missing[60:75] = missing[250:253] = True
    return missing


def replaced(data: np.ndarray, origin: int) -> np.ndarray:
    """Everything after the origin by other values."""
    other = data.copy()
    other[origin + 1 :] = 500.0 * np.random.default_rng(9).normal(size=LENGTH - origin - 1)
    return other


@pytest.fixture(scope="module")
def forecaster() -> Forecaster:
    torch.manual_seed(0)
    model = Forecaster(24, 6, period=12, hidden_size=4, dropout=0.3)
    torch.nn.init.normal_(model.head.weight)
    return model


@pytest.mark.parametrize("origin", [61, 74, 75, 200, 249, 250, 252, 253])
def test_what_comes_after_an_origin_changes_no_value_up_to_it(origin: int) -> None:
    series, other = with_gaps(values(), holes()), with_gaps(replaced(values(), origin), holes())
    assert torch.equal(series.values[: origin + 1], other.values[: origin + 1])
    assert torch.equal(series.values[: origin + 1], with_gaps(values()[: origin + 1], holes()[: origin + 1]).values)


@pytest.mark.parametrize("origin", [249, 251, 252])
def test_no_forecast_sees_past_its_origin(forecaster: Forecaster, origin: int) -> None:
    series, other = with_gaps(values(), holes()), with_gaps(replaced(values(), origin), holes())
    at = torch.tensor([origin])

    def methods(s: Series) -> list:
        return [
            backtest(forecaster, s, at, draws=8).predictive,
            exponential_smoothing(s, at, 6, fit_until=200).predictive,
            seasonal_naive(s, at, 6, fit_until=200).predictive,
            seasonal_naive(s, at, 6, fit_until=200, drift=24).predictive,
        ]

    for before, after in zip(methods(series), methods(other), strict=True):
        assert torch.equal(before.mean, after.mean)
        assert torch.equal(before.std, after.std)
    cut = forecast(forecaster, series[: origin + 1], draws=8)
    assert torch.equal(cut.mean, methods(series)[0].mean)


def test_training_sees_nothing_after_its_span(forecaster: Forecaster) -> None:
    split = split_in_time(with_gaps(values(), holes()), needed=30, horizon=6)
    missing = holes()
    missing[split.validation - 2 : split.validation + 2] = True
    both = [with_gaps(data, missing) for data in (values(), replaced(values(), split.validation - 1))]
    for first, second in zip(*(windows_between(forecaster, s, 0, split.validation) for s in both), strict=True):
        assert torch.equal(first, second)
    weights = []
    for series in both:
        torch.manual_seed(0)
        model = Forecaster(24, 6, period=12, hidden_size=4, dropout=0.3)
        train(model, series, split, epochs=1)
        weights.append(model.state_dict())
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_a_window_knows_nothing_of_its_own_targets(forecaster: Forecaster) -> None:
    series, split = with_gaps(values(), holes()), 240
    context, _, _ = windows_between(forecaster, series, 0, split)
    for row in (40, 100, 210):
        origin = row + forecaster.context - 1
        other = with_gaps(replaced(values(), origin), holes())
        assert torch.equal(context[row], other.values[row : origin + 1])


def test_errors_right_after_a_gap_are_as_large_as_theory_says() -> None:
    """A random walk, the last d values missing: one step ahead the best forecast errs by sqrt(d + 1), not less."""
    walk = np.random.default_rng(3).normal(size=60_000).cumsum()
    missing = np.random.default_rng(4).random(len(walk)) < 0.15
    missing[0] = False
    series = Series.from_pandas(
        pd.Series(np.where(missing, np.nan, walk), index=np.arange(len(walk))), period=1, bridge=True
    )
    error = walk[1:] - series.values.numpy()[:-1]
    since = np.arange(len(walk)) - np.maximum.accumulate(np.where(missing, 0, np.arange(len(walk))))
    for gap in (0, 1, 2):
        here = (since[:-1] == gap) & (np.arange(len(walk) - 1) > 1000)
        assert np.sqrt(np.mean(np.square(error[here]))) == pytest.approx(np.sqrt(gap + 1), rel=0.05)


def test_a_gap_is_filled_as_the_equation_says() -> None:
    """Against the sum over seasons, written out; values missing at the start are left out."""
    data, missing = values(), holes()
    missing[:3] = True
    series = with_gaps(data, missing)
    assert len(series) == LENGTH - 3
    y = series.values.numpy()
    seen = series.observed.numpy()
    for t in np.flatnonzero(~seen):
        last = np.flatnonzero(seen[:t])[-1]
        changes = [y[t - 12 * j] - y[last - 12 * j] for j in range(1, last // 12 + 1)]
        assert y[t] == pytest.approx(y[last] + (np.mean(changes) if changes else 0.0))


def test_gaps_in_every_horizon_are_said_before_the_training() -> None:
    times = pd.date_range("2019-01-01", periods=280)
    data = pd.Series(np.random.default_rng(0).normal(size=280), index=times)
    weekly = Series.from_pandas(data.where(times.day_of_week < 5), bridge=True)
    told: list[str] = []
    with pytest.raises(
        ValueError, match=r"gaps in every horizon: .* 7 steps in the validation span none .*2[89] %"
    ) as error:
        study(weekly, settings_for(weekly, 7), say=told.append)
    assert not told
    rule = re.search(r"\((data\[.*\])\.asfreq\('B'\)\)", str(error.value))
    assert rule is not None
    days = Series.from_pandas(data[data.index.day_of_week < 5].asfreq("B"))  # what the advice says
    split = split_in_time(days, needed=17, horizon=7)
    assert len(judged_origins(days, split, context=10, horizon=7, every=1)) > 50


def test_one_forecast_to_judge_is_too_few() -> None:
    missing = np.zeros(LENGTH, dtype=bool)
    missing[241:294:4] = True
    series = with_gaps(values(), missing)  # only the last horizon of the held-out span is whole
    split = split_in_time(series, needed=30, horizon=6)
    with pytest.raises(ValueError, match=r"gaps in nearly every horizon: .* held-out span 1 can be judged and 2 must"):
        judged_origins(series, split, context=24, horizon=6, every=1)


def test_nothing_observed_to_train_on_is_said_too() -> None:
    data = values()
    data[1:200] = np.nan
    series = with_gaps(data, np.isnan(data))
    with pytest.raises(ValueError, match="no value after the first 24, the context, is observed before validation"):
        judged_origins(series, split_in_time(series, needed=30, horizon=6), context=24, horizon=6, every=1)
