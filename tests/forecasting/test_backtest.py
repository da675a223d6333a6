"""Backtests: what a forecast may know; baselines against their definitions and statsmodels."""

import numpy as np
import pandas as pd
import pytest
import torch

from bayesrnn.data import Series
from bayesrnn.forecasting import Backtest, backtest, exponential_smoothing, forecast, seasonal_naive, split_in_time
from bayesrnn.forecasting.splits import judged_origins, windows_between
from bayesrnn.models import Forecaster
from bayesrnn.predictive import Predictive


def toy(length: int = 120, seed: int = 0) -> Series:
    noise = np.random.default_rng(seed).normal(size=length)
    steps = np.arange(length)
    values = 100 + 0.2 * steps + 3 * np.sin(2 * np.pi * steps / 12) + 0.5 * noise.cumsum()
    return Series.from_pandas(pd.Series(values, index=pd.date_range("2000-01-01", periods=length, freq="MS"), name="y"))


def changed(series: Series, start: int) -> Series:
    values = series.values.clone()
    values[start:] += 50.0
    return Series(series.times, values, series.observed, series.period, series.name, series.units)


@pytest.fixture(scope="module")
def forecaster() -> Forecaster:
    torch.manual_seed(0)
    model = Forecaster(24, 6, period=12, hidden_size=4, dropout=0.3)
    torch.nn.init.normal_(model.head.weight)
    return model


def test_a_forecast_knows_nothing_after_its_origin(forecaster: Forecaster) -> None:
    series, origins = toy(), torch.arange(60, 100, 7)
    found = backtest(forecaster, series, origins, draws=8)
    for row, origin in enumerate(origins.tolist()):
        other = backtest(forecaster, changed(series, origin + 1), origins, draws=8)
        assert torch.equal(found.predictive.mean[row], other.predictive.mean[row])
        assert torch.equal(found.predictive.std[row], other.predictive.std[row])
    assert torch.equal(found.target[2], series.values[75:81])
    assert torch.equal(found.positions()[2], torch.arange(75, 81))


def test_a_forecast_depends_on_nothing_but_its_origin(forecaster: Forecaster) -> None:
    series = toy()
    many = backtest(forecaster, series, torch.arange(40, 110), draws=16, seed=5)
    one = backtest(forecaster, series, torch.tensor([77]), draws=16, seed=5)
    assert torch.allclose(many.predictive.mean[77 - 40], one.predictive.mean[0], atol=1e-5)
    last = forecast(forecaster, series[:78], draws=16, seed=5)
    assert torch.allclose(last.mean, one.predictive.mean, atol=1e-5)


def test_the_deterministic_pass_has_no_epistemic_part(forecaster: Forecaster) -> None:
    series = toy()
    found = backtest(forecaster, series, torch.tensor([50, 60]), draws=0)
    with torch.no_grad():
        distribution = forecaster.eval()(series.values[27:51][None])
    assert torch.allclose(found.predictive.mean[0], distribution.mean[0])
    assert not found.predictive.epistemic.any()


def test_the_table_has_a_line_a_forecast(forecaster: Forecaster) -> None:
    found = backtest(forecaster, toy(), torch.tensor([50, 60]), draws=8)
    table = found.to_frame()
    assert len(table) == 12
    assert table["time"].iloc[7] == pd.Timestamp("2000-01-01") + pd.DateOffset(months=62)
    assert np.allclose(table["std"] ** 2, table["aleatoric"] + table["epistemic"])


@pytest.mark.parametrize("origin", [22, 114])
def test_origins_without_room_are_refused(forecaster: Forecaster, origin: int) -> None:
    with pytest.raises(ValueError, match=r"origins must lie between 23 .* and 113 .* but they reach from"):
        backtest(forecaster, toy(), torch.tensor([origin]), draws=4)


def test_origins_are_positions(forecaster: Forecaster) -> None:
    with pytest.raises(ValueError, match="origins are positions in the series"):
        backtest(forecaster, toy(), torch.zeros(0, dtype=torch.long), draws=4)
    with pytest.raises(ValueError, match="reads 24 values, but the series has 20"):
        forecast(forecaster, toy(20))


def test_spans_do_not_overlap(forecaster: Forecaster) -> None:
    series = toy(200)
    split = split_in_time(series, needed=30, horizon=6)
    _, target, _ = windows_between(forecaster, series, 0, split.validation)
    assert torch.equal(target[-1], series.values[split.validation - 6 : split.validation])
    context, later, _ = windows_between(forecaster, series, split.validation, split.held_out)
    assert torch.equal(context[0], series.values[split.validation - 24 : split.validation])
    assert torch.equal(later[0], series.values[split.validation : split.validation + 6])
    for every in (1, 5, 40):
        origins = judged_origins(series, split, context=24, horizon=6, every=every)
        assert origins[0] + 1 >= split.validation
        assert split.held_out - 1 in origins
        assert int(origins[-1]) + 6 == len(series) - 1


def test_too_short_a_series_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"a series of 60 values is too short for a horizon of 6: with 12 .* 36 are left"
    ):
        split_in_time(toy(60), needed=66, horizon=6)


def test_seasonal_naive_by_hand() -> None:
    series, origins = toy(), torch.tensor([70, 80])
    found = seasonal_naive(series, origins, 14, fit_until=90)
    y = series.values.numpy()
    mean = [[y[o - 11 + h % 12] for h in range(14)] for o in (70, 80)]
    np.testing.assert_allclose(found.predictive.mean, mean)
    errors = [y[o + 1 + 13] - y[o - 11 + 13 % 12] for o in range(12, 76)]
    assert float(found.predictive.std[0, 13]) == pytest.approx(np.sqrt(np.mean(np.square(errors))))


def test_drift_is_the_mean_seasonal_change() -> None:
    series, origins = toy(), torch.tensor([70])
    y = series.values.numpy()
    drift = np.mean([y[70 - k] - y[58 - k] for k in range(24)])
    found = seasonal_naive(series, origins, 14, fit_until=90, drift=24)
    mean = [y[59 + h % 12] + (1 + h // 12) * drift for h in range(14)]
    np.testing.assert_allclose(found.predictive.mean[0], mean)


def test_naive_needs_a_past() -> None:
    with pytest.raises(ValueError, match="the 20 values before the origins are too few"):
        seasonal_naive(toy(), torch.tensor([70]), 14, fit_until=20)


@pytest.mark.parametrize("period", [12, 1])
def test_exponential_smoothing_is_that_of_statsmodels(period: int) -> None:
    from statsmodels.tsa.exponential_smoothing.ets import ETSModel

    series = toy(72)
    series = Series(series.times, series.values, series.observed, period)
    found = exponential_smoothing(series, torch.tensor([59]), 12, fit_until=60)
    values = pd.Series(series.values[:60].numpy(), index=series.times[:60])
    center, scale = values.mean(), values.std()
    values = (values - center) / scale  # in raw units the optimizer's result depends on them
    form = {"seasonal": "add", "seasonal_periods": 12} if period == 12 else {}
    fitted = ETSModel(values, error="add", trend="add", **form).fit(disp=False)
    oracle = fitted.get_prediction(start=60, end=71)
    np.testing.assert_allclose(found.predictive.mean[0], center + scale * oracle.predicted_mean, rtol=1e-6)
    np.testing.assert_allclose(found.predictive.std[0] ** 2, scale**2 * oracle.forecast_variance, rtol=1e-6)


@pytest.mark.parametrize(("scale", "offset"), [(1e9, 0.0), (1e-9, 0.0), (1.0, 1e6), (-1e4, 0.0)])
def test_exponential_smoothing_does_not_depend_on_units(scale: float, offset: float) -> None:
    series, origins = toy(120), torch.arange(90, 108)
    moved = Series(series.times, offset + scale * series.values, series.observed, series.period)
    found, twin = (exponential_smoothing(s, origins, 12, fit_until=90).predictive for s in (series, moved))
    spread = float(series.values.std())
    np.testing.assert_allclose((twin.mean - offset) / scale, found.mean, atol=1e-3 * spread)
    np.testing.assert_allclose(twin.std / abs(scale), found.std, rtol=1e-3)


def test_baselines_know_nothing_after_their_origin() -> None:
    series = toy(100)
    for method in (exponential_smoothing, seasonal_naive):
        before = method(series, torch.tensor([80]), 6, fit_until=75).predictive
        after = method(changed(series, 81), torch.tensor([80]), 6, fit_until=75).predictive
        assert torch.equal(before.mean, after.mean)
        assert torch.equal(before.std, after.std)


@pytest.mark.parametrize("every", [1, 4, 5, 6, 9])
def test_one_forecast_after_the_other_covers_every_time_that_any_covers(every: int) -> None:
    """Also where gaps leave origins out; each time comes once."""
    series = toy(150)
    origins = torch.arange(30, 144, every)
    origins = origins[(origins < 70) | (origins > 81)]
    target = series.values[origins[:, None] + torch.arange(1, 7)]
    test = Backtest(series, origins, Predictive.from_gaussian(target, torch.ones_like(target)), target)
    rows, steps = test.chained()
    table = test[rows].to_frame()
    table = table[table["horizon"].to_numpy() <= steps.repeat_interleave(6).numpy()]
    assert table["time"].is_monotonic_increasing
    assert table["time"].is_unique
    assert set(table["time"]) == set(series.times[test.positions().flatten().unique().numpy()])
    assert len(rows) == len(steps) <= np.ceil(114 / min(6, 6 // every * every or every)) + 2
    assert np.allclose(table["observed"], series.values[series.times.searchsorted(table["time"])])
