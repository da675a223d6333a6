"""Forecasts of a table from rolling origins, by a fitted forecaster or by any other."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from bayesrnn.data.series import Series
from bayesrnn.forecasting._backtest import Backtest
from bayesrnn.forecasting.distribution import ForecastDistribution
from bayesrnn.forecasting.features import Windows
from bayesrnn.forecasting.panel import read_panel
from bayesrnn.forecasting.record import Columns, Record
from bayesrnn.forecasting.state import State, predictive_of
from bayesrnn.predictive import ContinuousPredictive, Predictive

Forecast = Callable[[Any, int], Any]


def judged(
    state: State,
    frame: Any,
    *,
    start: Any,
    every: int,
    draws: int | None = None,
    recalibrate: bool = True,
    forecast: Forecast | None = None,
) -> Backtest:
    """Return forecasts from origins that roll through each series, with what happened.

    Raises:
        ValueError: If no series has room for an origin.
    """
    draws = state.draws if draws is None else draws
    horizon, least = state.fitted.reader.horizon, 2 * state.fitted.reader.layout.seasons[0]
    records = list(state.records if frame is None else read_panel(frame, state.columns, state.encoding)[0])
    places = [_origins(record, start, least, horizon, every) for record in records]
    if not sum(map(len, places)):
        raise ValueError(
            f"no series has room for an origin: the longest has {max(map(len, records))} steps, and a forecast needs "
            f"{least} before its origin and {horizon} after it. Give more rows, or an earlier start."
        )
    windows = Windows.joined([state.fitted.windows(r, o) for r, o in zip(records, places) if len(o)])
    if forecast is None:
        raw = state.raw(windows, draws)
        if recalibrate:
            raw = state.hedge.stretch(raw, _factors(state, raw, windows, records, places))
        predictive = predictive_of(raw, draws, state.seed, windows.ids)
    else:
        predictive = _others(forecast, records, places, state.columns, horizon)
    which = torch.repeat_interleave(torch.arange(len(records)), torch.tensor([len(o) for o in places]))
    series = tuple(_series(record, state) for record in records)
    origins = torch.from_numpy(np.concatenate(places))
    if state.columns.id is None:
        return Backtest(series[0], origins, predictive, windows.target)
    return Backtest(series, origins, predictive, windows.target, which)


def _factors(
    state: State, raw: ForecastDistribution, windows: Windows, records: Sequence[Record], places: Sequence[Any]
) -> Tensor:
    """Return the factors of every origin, (levels, O, H), from the errors that each series had shown by then."""
    hedge, parts, first = state.hedge, [], 0
    ends = {record.id: record.times[-1] for record in state.records}
    for record, origins in zip(records, places):
        if not len(origins):
            continue
        rows = slice(first, first + len(origins))
        end = ends.get(record.id)
        counted = -1 if end is None else int(record.times.searchsorted(end, side="right")) - 1
        since = min(max(counted, int(origins[0])), int(origins[-1]))
        known = torch.from_numpy(origins)[:, None] + torch.arange(1, raw.shape[1] + 1)
        past = hedge.past(raw.select(rows), windows.target[rows], known)
        wanted = origins.tolist()
        parts.append(hedge.rolled(state.hedged(record), past, wanted, since=since, until=wanted[-1])[0])
        first += len(origins)
    return torch.cat(parts, 1)


def _origins(record: Record, start: Any, least: int, horizon: int, every: int) -> Any:
    first = least if start is None else max(int(record.times.searchsorted(start)) - 1, least)
    return np.arange(first, len(record) - horizon, every)


def _series(record: Record, state: State) -> Series:
    season = state.fitted.reader.layout.seasons[0]
    name = state.columns.target if record.id is None else str(record.id)
    return Series(record.times, torch.from_numpy(record.values), torch.from_numpy(record.observed), season, name)


def _others(
    forecast: Forecast, records: Sequence[Record], places: Sequence[Any], columns: Columns, horizon: int
) -> ContinuousPredictive:
    """Return the forecasts of another forecaster, which is shown one history at a time."""
    results = []
    for record, origins in zip(records, places):
        for origin in origins:
            table = _history(record.until(int(origin) + 1), columns)
            results.append(_samples(forecast(table, horizon), horizon))
    fewest = min(len(samples) for samples in results)
    return Predictive.from_samples(torch.stack([samples[:fewest] for samples in results], 1), axis=0)


def _history(record: Record, columns: Columns) -> Any:
    values = np.where(record.observed, record.values, np.nan)
    table = {} if columns.id is None else {columns.id: record.id}
    return pd.DataFrame({**table, columns.time: record.times, columns.target: values})


def _samples(result: Any, horizon: int) -> Tensor:
    if isinstance(result, ContinuousPredictive):
        result = result.sample(200).reshape(200, -1)
    samples = torch.as_tensor(np.asarray(result), dtype=torch.float64)
    if samples.dim() != 2 or samples.shape[1] != horizon:
        raise ValueError(
            f"forecast(history, horizon) must return samples (n, {horizon}) or a Predictive of one row, but a shape "
            f"{tuple(samples.shape)} came back."
        )
    return samples
