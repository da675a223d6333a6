"""A forecaster of a table, judged on the last fifth of it, or on rows that came later."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bayesrnn._progress import timed
from bayesrnn.comparison import Comparison
from bayesrnn.data.steps import following
from bayesrnn.data.unequal import time_text
from bayesrnn.estimators import BayesianRNNForecaster
from bayesrnn.forecasting._backtest import Backtest
from bayesrnn.forecasting.baselines import exponential_smoothing, seasonal_naive
from bayesrnn.forecasting.intervals import compare_forecasts
from bayesrnn.forecasting.origins import spacing
from bayesrnn.forecasting.rolling import judged
from bayesrnn.forecasting.state import State
from bayesrnn.predictive import Predictive

MC, PLAIN, NAIVE, ETS = "MC dropout", "deterministic pass", "seasonal naive", "ETS"
_MOST_ORIGINS = 200
_LONG = 5_000
"""Rows beyond which exponential smoothing takes minutes and is left out."""


@dataclass(frozen=True, eq=False)
class ForecastJudgement:
    """Forecasts from origins that roll through a span that was not learned from, compared with others.

    Attributes:
        test: The forecasts, with what happened.
        comparison: They, the deterministic pass and the baselines.
        every: Steps between origins.
    """

    test: Backtest
    comparison: Comparison
    every: int

    def scores(self) -> dict[str, float]:
        """Return the figures of a list of runs."""
        scores = self.comparison.scores[MC]
        return {name: scores[name].value for name in ("crps", "rmse", "coverage_80", "coverage_95")}

    @property
    def series(self) -> tuple[Any, ...]:
        """The series, in their order."""
        return self.test.series if isinstance(self.test.series, tuple) else (self.test.series,)


def forecast_ahead(
    forecaster: BayesianRNNForecaster, frame: Any, start: Any, say: Callable[[str], None] = lambda _: None
) -> Backtest:
    """Forecast a table (None: what the forecaster knows) from `start` on, at about 200 origins or fewer.

    Raises:
        ValueError: If no series has room for an origin, or nothing was observed there.
    """
    state = forecaster._fitted()
    every = _spacing(state, frame, start)
    count = -(-_origin_count(state, frame, start) // every)
    say(f"forecasting from {count} origin{'s' if count > 1 else ''}, {every} step{'s' if every > 1 else ''} apart")
    test = judged(state, frame, start=start, every=every, forecast=None)
    if bool(torch.isnan(test.target).all()):
        begin = time_text(start, state.records[0].times)
        raise ValueError(f"nothing was observed from {begin} on, so there is nothing to judge by.")
    return test


def judge_ahead(
    forecaster: BayesianRNNForecaster,
    frame: Any,
    start: Any,
    *,
    units: str = "",
    say: Callable[[str], None] = lambda _: None,
) -> ForecastJudgement:
    """Compare the forecasts of `forecast_ahead` with the deterministic pass and baselines.

    Raises:
        ValueError: If there is one origin only, or none, or nothing was observed there.
    """
    state = forecaster._fitted()
    test, every = forecast_ahead(forecaster, frame, start, say), _spacing(state, frame, start)
    steps = steps_since_start(test)
    if not bool(steps.any()):
        raise ValueError(
            f"from {time_text(start, state.records[0].times)} on there is room for one forecast of {test.horizon} "
            f"steps, but a comparison takes several: give more than {test.horizon} rows of a series."
        )
    plain = judged(replace(state, draws=0), frame, start=start, every=every, forecast=None)
    forecasts: dict[str, Predictive] = {PLAIN: plain.predictive, MC: test.predictive} | _baselines(test)
    comparison = compare_forecasts(forecasts, test.target, steps, reference=PLAIN, units=units)
    return ForecastJudgement(test, comparison, every)


def _spacing(state: State, frame: Any, start: Any) -> int:
    """Return the steps between origins, so that there are about 200 or fewer, at all times of the day or year."""
    most = max(-(-_origin_count(state, frame, start) // _MOST_ORIGINS), 1)
    return spacing(most, state.fitted.reader.layout.seasons[0])


def _origin_count(state: State, frame: Any, start: Any) -> int:
    """Return how many origins a table has from `start` on, or, without a table, what the forecaster knows."""
    horizon, column = state.fitted.reader.horizon, state.columns.time
    if frame is None:
        return sum(max(len(r) - int(r.times.searchsorted(start)) - horizon + 1, 0) for r in state.records)
    series = max(len(frame) // max(frame[column].nunique(), 1), 1)
    return max(int((frame[column] >= start).sum()) - series * (horizon - 1), 1)


def steps_since_start(test: Backtest) -> Tensor:
    """Return how many steps after the first origin of its series each origin lies, (O,)."""
    which = torch.zeros(len(test), dtype=torch.long) if test.which is None else test.which
    first = {int(k): int(test.origins[which == k].min()) for k in which.unique()}
    return test.origins - torch.tensor([first[int(k)] for k in which])


def _baselines(test: Backtest) -> dict[str, Predictive]:
    """Return seasonal naive, and for one series that is not long ETS, from the same origins."""
    which = torch.zeros(len(test), dtype=torch.long) if test.which is None else test.which
    series = test.series if isinstance(test.series, tuple) else (test.series,)
    parts: dict[str, list[Any]] = {NAIVE: [], ETS: []}
    for k in which.unique().tolist():
        origins = test.origins[which == k]
        known = {"horizon": test.horizon, "fit_until": int(origins[0]) + 1}
        try:
            parts[NAIVE].append(seasonal_naive(series[k], origins, **known).predictive)
        except ValueError:  # too short for the errors of a season
            return {}
        if len(series) == 1 and len(series[0]) <= _LONG:
            parts[ETS].append(exponential_smoothing(series[k], origins, **known).predictive)
    order = torch.cat([torch.nonzero(which == k).flatten() for k in which.unique()]).argsort()
    return {name: _stacked(members, order) for name, members in parts.items() if members}


def _stacked(members: list[Any], order: Tensor) -> Predictive:
    """Return Gaussian forecasts of several series as one predictive, in the order of the origins."""
    mean, std = (torch.cat([getattr(member, name) for member in members])[order] for name in ("mean", "std"))
    return Predictive.from_gaussian(mean, std)


def histories_of(forecaster: BayesianRNNForecaster) -> tuple[tuple[str, Any, Any, Any], ...]:
    """Return name, last times and values, and times ahead of each series, for pictures."""
    state, steps = forecaster._fitted(), 3 * forecaster.horizon
    shown = []
    for record in state.records:
        values = np.where(record.observed, record.values, np.nan)[-steps:]
        name = state.columns.target if record.id is None else str(record.id)
        ahead = following(record.times, forecaster.horizon)
        shown.append((name, record.times[-steps:].to_numpy(), torch.from_numpy(values), ahead.to_numpy()))
    return tuple(shown)


def time_needed(forecaster: BayesianRNNForecaster) -> float:
    """Return about how many seconds judging and learning take: a step of a network of that size is timed."""
    steps = 600 if forecaster.epochs is None else min(60 * forecaster.epochs, 600)
    tried = (forecaster.dropout is None) + (forecaster.likelihood == "auto") + 1  # then once more, on everything
    width = forecaster.hidden_size
    network = torch.nn.LSTM(width, width, forecaster.num_layers)
    x = torch.zeros(48 + forecaster.horizon, 64, width)
    step = timed(lambda: network(x)[0].mean().backward())
    return 2 * (tried + 1) * steps * 2 * step + 10
