"""Calendar features of times (day, week and year), and the seasons that a time step can have."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayesrnn.data.steps import season

_DAY, _WEEK, _YEAR = 86_400.0, 604_800.0, 31_556_952.0
_YEARS = 1.5
"""Years that a series must span for its year to be told from a trend."""
_SEVERAL = 2.5
"""How often a season must fit into the series to be looked for."""


def seasons_of(times: Any, length: int) -> tuple[int, ...]:
    """Return the seasons in steps, shortest first: day, week and year, as far as step and length allow.

    Args:
        times: Dates with a frequency, or numbers (which have no seasons of their own).
        length: Steps of the longest series.
    """
    try:
        first = season(times)
    except ValueError:
        return (1,)
    seasons = [first]
    step = seconds_of_step(times)
    if step:
        for span in (_DAY, _WEEK, _YEAR):
            steps = round(span / step)
            whole = abs(steps - span / step) < 0.02 * steps
            if whole and steps > seasons[-1] and (steps % seasons[-1] == 0 or span == _YEAR):
                seasons.append(steps)
    kept = [steps for steps in seasons if _SEVERAL * steps <= length]
    return tuple(kept) or (1,)


def calendar_columns(times: Any, length: int) -> NDArray[np.float64]:
    """Return the calendar features of each time, (T, columns): day, week and year if longer than the step.

    Harmonics of the day, the day of the week, both together for weekends, and three harmonics of the year where
    `length` steps span at least one and a half. Numbers have no calendar: no columns.
    """
    step = seconds_of_step(times)
    if not step:
        return np.zeros((len(times), 0))
    local = times.tz_localize(None) if times.tz is not None else times
    columns: list[NDArray[np.float64]] = []
    weekday = np.asarray(local.day_of_week)
    weekend = (weekday >= 5).astype(float)
    if step < _DAY:
        waves = daily_waves(times, min(6, max(int(_DAY / step) // 2 - 1, 1)))
        columns += waves + [wave * weekend for wave in waves] + [weekend]
    if step <= _DAY:
        columns += [(weekday == day).astype(float) for day in range(7)]
    if length * step >= _YEARS * _YEAR:
        columns += _waves(np.asarray(local.day_of_year - 1) / 365.2425, 5 if step > 20 * _DAY else 3)
    return np.stack(columns, 1) if columns else np.zeros((len(times), 0))


def clock_columns(times: Any, length: int) -> NDArray[np.float64]:
    """Return fewer columns for a network: where in the day, the week and the year a time lies, (T, columns)."""
    step = seconds_of_step(times)
    if not step:
        return np.zeros((len(times), 0))
    local = times.tz_localize(None) if times.tz is not None else times
    columns: list[NDArray[np.float64]] = []
    day = np.asarray((local - local.normalize()) / pd.Timedelta(days=1))
    weekday = np.asarray(local.day_of_week)
    if step < _DAY:
        columns += _waves(day, 2)
    if step <= _DAY:
        columns += [*_waves((weekday + day) / 7, 1), (weekday >= 5).astype(float)]
    if length * step >= _YEARS * _YEAR:
        columns += _waves(np.asarray(local.day_of_year - 1) / 365.2425, 1)
    return np.stack(columns, 1) if columns else np.zeros((len(times), 0))


def daily_waves(times: Any, harmonics: int) -> list[NDArray[np.float64]]:
    """Return sine and cosine of the place in the day, for each harmonic, (T,) each."""
    local = times.tz_localize(None) if times.tz is not None else times
    return _waves(np.asarray((local - local.normalize()) / pd.Timedelta(days=1)), harmonics)


def _waves(share: NDArray[np.float64], harmonics: int) -> list[NDArray[np.float64]]:
    return [wave(2 * np.pi * k * share) for k in range(1, harmonics + 1) for wave in (np.sin, np.cos)]


def seconds_of_step(times: Any) -> float:
    """Return the usual step in seconds; 0 for numbers."""
    if not isinstance(times, pd.DatetimeIndex) or len(times) < 2:
        return 0.0
    return float(np.median(np.diff(times.asi8))) / {"s": 1, "ms": 1e3, "us": 1e6, "ns": 1e9}[times.unit]
