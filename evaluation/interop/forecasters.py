"""Forecasts of other libraries, read by `Predictive.from_frame`."""

import warnings
from typing import Any

import numpy as np
import pandas as pd

import bayesrnn as br
from evaluation.interop.data import HORIZON, SEASON, Task

LEVELS = [50, 80, 95]


def statsforecast(task: Task) -> tuple[Any, Any]:
    """AutoETS: columns AutoETS-lo-80, AutoETS-hi-80."""
    from statsforecast import StatsForecast
    from statsforecast.models import AutoETS

    model = StatsForecast([AutoETS(season_length=SEASON)], freq="MS")
    return br.Predictive.from_frame(model.forecast(df=task.long(), h=HORIZON, level=LEVELS)), task.target


def statsmodels(task: Task) -> tuple[Any, Any]:
    """A seasonal autoregression of one series: summary_frame."""
    from statsmodels.tsa.statespace.sarimax import SARIMAX

    y = task.past["s0"].asfreq("MS")
    fitted = SARIMAX(y, order=(1, 0, 0), seasonal_order=(1, 1, 0, SEASON), trend="c").fit(disp=0)
    return br.Predictive.from_frame(fitted.get_forecast(HORIZON).summary_frame()), task.target[:1]


def sktime(task: Task) -> tuple[Any, Any]:
    """A naive forecaster: predict_quantiles with a MultiIndex."""
    from sktime.forecasting.naive import NaiveForecaster

    y = task.past["s0"].to_period("M")
    fitted = NaiveForecaster("last", sp=SEASON).fit(y, fh=np.arange(1, HORIZON + 1))
    return br.Predictive.from_frame(fitted.predict_quantiles(alpha=[0.05, 0.25, 0.5, 0.75, 0.95])), task.target[:1]


def darts(task: Task) -> tuple[Any, Any]:
    """Exponential smoothing: a stochastic TimeSeries, samples on its last axis."""
    from darts import TimeSeries
    from darts.models import ExponentialSmoothing

    series = TimeSeries.from_times_and_values(task.past.index, task.past["s0"].to_numpy())
    forecast = ExponentialSmoothing(seasonal_periods=SEASON).fit(series).predict(HORIZON, num_samples=200)
    return br.Predictive.from_frame(forecast), task.target[:1]


def neuralforecast(task: Task) -> tuple[Any, Any]:
    """Its own LSTM with a quantile loss: columns LSTM-lo-80, LSTM-median."""
    import logging

    from neuralforecast import NeuralForecast
    from neuralforecast.losses.pytorch import MQLoss
    from neuralforecast.models import LSTM

    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    model = LSTM(
        HORIZON, input_size=2 * SEASON, loss=MQLoss(level=LEVELS), max_steps=150, encoder_hidden_size=16,
        decoder_hidden_size=16, scaler_type="standard", enable_checkpointing=False, **quiet,
    )  # fmt: skip
    net = NeuralForecast([model], freq="MS")
    net.fit(task.long())
    return br.Predictive.from_frame(net.predict()), task.target


def gluonts(task: Task) -> tuple[Any, Any]:
    """A seasonal naive forecast: samples, draws first."""
    from gluonts.dataset.pandas import PandasDataset
    from gluonts.model.seasonal_naive import SeasonalNaivePredictor

    data = PandasDataset.from_long_dataframe(task.long(), target="y", item_id="unique_id", timestamp="ds", freq="M")
    forecasts = list(SeasonalNaivePredictor(prediction_length=HORIZON, season_length=SEASON).predict(data))
    spread = task.past.diff(SEASON).std().mean()  # it has no spread of its own: that of its errors on the past
    for forecast in forecasts:
        noise = np.random.default_rng(0).normal(scale=spread, size=(200, HORIZON))
        forecast.samples = forecast.samples + noise
    return br.Predictive.from_frame(forecasts), task.target


def skpro(task: Task) -> tuple[Any, Any]:
    """A probabilistic regression on the twelve months before: predict_quantiles."""
    from sklearn.linear_model import LinearRegression
    from skpro.regression.residual import ResidualDouble

    x, y = _table(task)
    model = ResidualDouble(LinearRegression()).fit(x[:-HORIZON], y[:-HORIZON])
    table = model.predict_quantiles(x[-HORIZON:], alpha=[0.05, 0.25, 0.5, 0.75, 0.95])
    return br.Predictive.from_frame(table), y[-HORIZON:]["y"].to_numpy()


def mapie(task: Task) -> tuple[Any, Any]:
    """Split conformal intervals of a linear model: an array (n, 2, levels)."""
    from mapie.regression import SplitConformalRegressor
    from sklearn.linear_model import LinearRegression

    x, y = _table(task)
    target = y["y"].to_numpy()
    levels = [0.5, 0.8, 0.9]
    model = SplitConformalRegressor(LinearRegression(), confidence_level=levels, prefit=False)
    half = len(x) // 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(x[:half], target[:half]).conformalize(x[half:-HORIZON], target[half:-HORIZON])
        _, ends = model.predict_interval(x[-HORIZON:])
    return br.Predictive.from_intervals(levels, ends), target[-HORIZON:]


def _table(task: Task) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the twelve months before each month of the first series, and the month."""
    values = pd.concat([task.past, task.future])["s0"].to_numpy()
    cut = np.lib.stride_tricks.sliding_window_view(values, SEASON + 1)
    columns = [f"lag{k}" for k in range(SEASON, 0, -1)]
    return pd.DataFrame(cut[:, :-1], columns=columns), pd.DataFrame({"y": cut[:, -1]})
