"""The time step and the season of a series, also where rows are missing; unequal steps are reported."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from bayesrnn.data.unequal import commonest, moved_times, unequal_steps

_CALENDAR = {"Y": 1, "Q": 4, "M": 12, "W": 52, "B": 5, "D": 7}
_DAY = 86_400
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_HALF, _MOST = 0.5, 0.9
_YEAR = 12


def regular_times(index: Any, bridge: bool = False, say: Callable[[str], None] = lambda _: None) -> tuple[Any, Any]:
    """Return times at equal steps, with their frequency, and where each row of `index` stands among them.

    `index` is sorted, none twice; `bridge` puts in times that are missing altogether.

    Raises:
        ValueError: If steps are unequal, or times are missing and not bridged.
    """
    if isinstance(index, pd.PeriodIndex):
        index = index.to_timestamp()
    if not (isinstance(index, pd.DatetimeIndex) or pd.api.types.is_numeric_dtype(index)):
        raise ValueError(f"times must be dates or numbers, but they are {index.dtype}. Use pandas.to_datetime.")
    if not isinstance(index, pd.DatetimeIndex):
        return _numbers(index, bridge)
    frequency: Any = index.freq or _inferred(index)
    steps = np.diff(index.asi8)
    if frequency is None and bool((steps == steps[0]).all()):
        frequency = index[1] - index[0]
    if frequency is not None:
        return pd.DatetimeIndex(index, freq=frequency), np.arange(len(index))
    index, whole = _grid(index, say)
    if whole is None or (len(whole) > len(index) and not bridge):
        raise ValueError(unequal_steps(index, whole))
    return whole, whole.get_indexer(index)


def _numbers(index: Any, bridge: bool) -> tuple[Any, Any]:
    steps = np.diff(index.to_numpy())
    if np.allclose(steps, steps[0], rtol=1e-6):
        return index, np.arange(len(index))
    step = commonest(steps)
    places = np.rint((index.to_numpy() - index[0]) / step).astype(int)
    if not bridge or not np.allclose(index[0] + step * places, index, rtol=0, atol=1e-6 * step):
        raise ValueError(unequal_steps(index, None))
    return type(index)(index[0] + step * np.arange(places[-1] + 1)), places


def _grid(index: Any, say: Callable[[str], None]) -> tuple[Any, Any]:
    """Return the dates, moved a little where that makes steps equal, and all times of their step (or None)."""
    local = index.tz_localize(None)
    usual = pd.Timedelta(commonest(np.diff(local.asi8)), unit=local.unit)
    base = local if usual >= pd.Timedelta(days=1) else index  # days, weeks, months of the calendar
    if not ((base - base[0]) % usual).any():  # all times lie a whole number of usual steps apart
        frequency = _plain(base, usual)
    elif (sessions := _sessions(index, usual)) is not None:
        return index, _said(sessions, say)
    else:
        base, frequency = moved_times(base, say)
    if frequency is None:
        return index, None
    index = base.tz_localize(index.tz) if base.tz is None else base
    whole = pd.date_range(index[0], index[-1], freq=frequency)
    if len(whole) > len(index) and (sessions := _sessions(index, usual)) is not None and len(sessions) < len(whole):
        return index, _said(sessions, say)
    if len(index) < _HALF * len(whole) or (whole.get_indexer(index) < 0).any():
        return index, None
    return index, whole


def _plain(index: Any, usual: Any) -> Any:
    """Return the frequency of dates a whole number of steps apart; daily dates may skip days of the week."""
    days, rest = divmod(usual, pd.Timedelta(days=1))
    if rest:
        return usual
    present = sorted(set(index.day_of_week))
    if days == 1 and len(index) >= 2 * _CALENDAR["D"] and len(present) < _CALENDAR["D"]:
        weekmask = " ".join(_DAYS[k] for k in present)
        return "B" if present == [*range(5)] else pd.offsets.CustomBusinessDay(weekmask=weekmask)
    if days == _CALENDAR["D"] and len(present) == 1:
        return pd.offsets.Week(weekday=present[0])
    return pd.offsets.Day(days)


def _sessions(index: Any, usual: Any) -> Any:
    """Return all times of a series that has the same hours every day and pauses between (business hours), or None."""
    local = index.tz_localize(None)
    slots = pd.TimedeltaIndex(sorted(set(local - local.normalize())))
    days = pd.DatetimeIndex(sorted(set(local.normalize())))
    if usual >= pd.Timedelta(days=1) or len(slots) < 2 or len(days) < 2 or len(index) < _MOST * len(slots) * len(days):
        return None
    present = sorted(set(days.day_of_week))
    if len(days) < 5 and len(present) == len(days):
        present = [*range(7)] if max(present) > 4 else [*range(5)]
    whole = _days_times(pd.date_range(days[0], days[-1]), present, slots, index.tz)
    whole = whole[(whole >= index[0]) & (whole <= index[-1])]
    if len(index) < _HALF * len(whole) or (whole.get_indexer(index) < 0).any():
        return None
    return whole


def _said(sessions: Any, say: Callable[[str], None]) -> Any:
    """Return times in daily sessions after saying what they are."""
    slots, days = _pattern(sessions)
    first, last = (str(slot).split("days ")[-1][:5] for slot in (slots[0], slots[-1]))
    say(
        f"{len(slots)} times per day, {first} to {last}, on {len(days)} days per week: the next morning "
        "follows the evening"
    )
    return sessions


def _days_times(dates: Any, present: list[int], slots: Any, zone: Any) -> Any:
    """Return every time of day on every date that falls on one of the days of the week."""
    dates = dates[dates.day_of_week.isin(present)]
    times = pd.DatetimeIndex((dates.to_numpy()[:, None] + slots.to_numpy()).reshape(-1))
    return times.tz_localize(zone, ambiguous="NaT", nonexistent="NaT").dropna()


def following(times: Any, steps: int) -> Any:
    """Return the next `steps` times after the last one."""
    if not isinstance(times, pd.DatetimeIndex):
        return type(times)(times[-1] + (times[1] - times[0]) * np.arange(1, steps + 1))
    if times.freq is not None:
        return pd.date_range(times[-1], periods=steps + 1, freq=times.freq)[1:]
    slots, days = _pattern(times)
    later = pd.date_range(times[-1].tz_localize(None).normalize(), periods=7 * (steps // len(slots) + 2))
    every = _days_times(later, days, slots, times.tz)
    return every[every > times[-1]][:steps]


def _pattern(times: Any) -> tuple[Any, list[int]]:
    """Return the times of day and the days of the week of a series in daily sessions."""
    local = times.tz_localize(None)
    return pd.TimedeltaIndex(sorted(set(local - local.normalize()))), sorted(set(local.day_of_week))


def is_regular(index: Any) -> bool:
    """Return whether dates come in order, at equal steps of time or of the calendar."""
    if not (index.is_monotonic_increasing and index.is_unique):
        return False
    steps = np.diff(index.to_numpy())
    return len(steps) == 0 or bool((steps == steps[0]).all()) or _inferred(index) is not None


def _inferred(index: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # whether pandas returns text or an offset is all the same here
        inferred = pd.infer_freq(index)
    return None if inferred is not None and "bh" in inferred.lower() else inferred  # its hours are fixed: 9 to 17


def season(times: Any) -> int:
    """Return the steps of the season that the time step suggests."""
    if isinstance(times, pd.DatetimeIndex):
        frequency: Any = times.freq
        if frequency is None or isinstance(frequency, pd.offsets.BusinessHour | pd.offsets.CustomBusinessHour):
            return len(_pattern(times)[0])
        if isinstance(frequency, pd.offsets.CustomBusinessDay):
            return len(frequency.weekmask.split())
        plain = type(frequency) is pd.DateOffset
        letter = "M" if plain else frequency.rule_code.split("-")[0].rstrip("ES") or "E"
        if frequency.n == 1 and not plain and letter in _CALENDAR:
            return _CALENDAR[letter]
        if letter in "YQM":
            months = round((times[1] - times[0]) / pd.Timedelta(days=30.44))
            if _YEAR % months == 0 or months % _YEAR == 0:
                return max(_YEAR // months, 1)
        seconds = (times[1] - times[0]).total_seconds()
        if seconds < _DAY and _DAY % seconds == 0:
            return int(_DAY // seconds)
    raise ValueError(
        "the season does not follow from these time steps. Say how many steps it has with period=, 1 for none."
    )
