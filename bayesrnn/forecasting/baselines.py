"""Baselines of a forecaster: the last season again, and exponential smoothing by statsmodels."""

import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bayesrnn.data.series import Series
from bayesrnn.forecasting._backtest import Backtest
from bayesrnn.predictive import Predictive

_LONG = 24
"""Longest season whose initial pattern is fitted; a longer one starts from the first seasons."""


def seasonal_naive(series: Series, origins: Tensor, horizon: int, *, fit_until: int, drift: int = 0) -> Backtest:
    r"""Forecast the value of a season ago, with Gaussian intervals as wide as its errors before `fit_until`.

    $\hat y_{o+h} = y_{o+h-km} + k \bar d$ with $k = \lceil h/m \rceil$; the standard deviation of step h is the root
    mean squared error of step h over all origins before `fit_until`.

    Args:
        series: The series.
        origins: Positions of the last known value, (O,).
        horizon: Steps ahead, H.
        fit_until: Position before which errors are measured.
        drift: Over how many past changes from season to season $\bar d$ is averaged; 0 for no drift.

    Raises:
        ValueError: If nothing is left to measure errors on.
    """
    first = series.period + max(drift, 1) - 1
    earlier = torch.arange(first, max(fit_until - horizon, first))
    if len(earlier) < 2:
        raise ValueError(
            f"the {fit_until} values before the origins are too few to measure the errors of {horizon} steps."
        )
    error = _target(series.values, earlier, horizon) - _last_season(series, earlier, horizon, drift)
    seen = _target(series.observed.double(), earlier, horizon)
    std = ((seen * error.square()).sum(0) / seen.sum(0).clamp(min=1)).sqrt()
    std = std.clamp(min=torch.finfo(std.dtype).eps)
    mean = _last_season(series, origins, horizon, drift)
    distribution = Predictive.from_gaussian(mean, std.expand_as(mean), sequence_ids=origins)
    return Backtest(series, origins, distribution, _target(series.values, origins, horizon))


def exponential_smoothing(series: Series, origins: Tensor, horizon: int, *, fit_until: int) -> Backtest:
    r"""Forecast by additive error, trend and season (ETS, Holt-Winters), fitted before `fit_until` by statsmodels.

    The parameters stay; level, slope and season are updated at every step, so each forecast knows everything up to its
    origin. With $c_j = \alpha + \beta j + \gamma 1\{j \bmod m = 0\}$ the variance of step h is
    $\sigma^2 (1 + \sum_{j=1}^{h-1} c_j^2)$.

    Args:
        series: The series.
        origins: Positions of the last known value, (O,).
        horizon: Steps ahead, H.
        fit_until: Position before which the parameters are fitted.

    Source: Hyndman et al. 2008, Forecasting with Exponential Smoothing, table 6.1 (class 1).
    """
    from statsmodels.tsa.exponential_smoothing.ets import ETSModel

    season = series.period
    known = series.values[:fit_until]
    center, scale = float(known.mean()), float(known.std()) or 1.0  # the optimizer works in absolute units
    values = (series.values.numpy() - center) / scale
    form: dict[str, Any] = {"error": "add", "trend": "add"}
    if season > 1:
        form |= {"seasonal": "add", "seasonal_periods": season}
    start = {} if season <= _LONG else {"initialization_method": "heuristic"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # statsmodels warns of optimizers that stop early; the scores show the quality
        fitted = ETSModel(values[:fit_until], **form, **start).fit(disp=False)
        begin = {"initial_level": fitted.initial_level, "initial_trend": fitted.initial_trend}
        if season > 1:
            begin["initial_seasonal"] = fitted.initial_seasonal
        filtered = ETSModel(values, **form, initialization_method="known", **begin).smooth(fitted.params)
    steps = np.arange(1, horizon + 1)
    at = origins.numpy()[:, None]
    mean = np.asarray(filtered.level)[at] + steps * np.asarray(filtered.slope)[at]
    gain = filtered.smoothing_level + filtered.smoothing_trend * steps
    if season > 1:
        mean = mean + np.asarray(filtered.season)[at - season + 1 + (steps - 1) % season]
        gain = gain + filtered.smoothing_seasonal * (steps % season == 0)
    noise = float(np.mean(np.square(values[:fit_until] - np.asarray(filtered.fittedvalues)[:fit_until])))
    std = np.sqrt(noise * np.concatenate([[1.0], 1 + np.cumsum(gain[:-1] ** 2)]))
    distribution = Predictive.from_gaussian(
        center + scale * torch.from_numpy(mean),
        scale * torch.from_numpy(std).expand(mean.shape),
        sequence_ids=origins,
    )
    return Backtest(series, origins, distribution, _target(series.values, origins, horizon))


def _last_season(series: Series, origins: Tensor, horizon: int, drift: int) -> Tensor:
    season = series.period
    steps = torch.arange(horizon)
    twin = origins[:, None] - season + 1 + steps % season
    mean = series.values[twin]
    if drift:
        past = origins[:, None] - torch.arange(drift)
        change = (series.values[past] - series.values[past - season]).mean(1, keepdim=True)
        mean = mean + (1 + steps // season) * change
    return mean


def _target(values: Tensor, origins: Tensor, horizon: int) -> Tensor:
    return values[origins[:, None] + torch.arange(1, horizon + 1)]
