"""Unequal time steps: dates moved to a whole number of equal ones, and what is said where that cannot be."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

_YEAR = 12


def moved_times(index: Any, say: Callable[[str], None]) -> tuple[Any, Any]:
    """Return dates moved to equal steps, and the frequency; None where there is no such step.

    Example:
        >>> import pandas as pd
        >>> moved_times(pd.DatetimeIndex(["2024-01-12", "2024-02-11", "2024-03-14"]), print)[0][1]
        one value per month, dated on different days: read as the first of each month
        Timestamp('2024-02-01 00:00:00')
    """
    step = (index[1:] - index[:-1]).to_series().median()
    day = pd.Timedelta(days=1)
    if step >= 27 * day:
        return _months(index, say)
    if 6 * day <= step <= 8 * day:
        weeks = index.normalize() - pd.to_timedelta(index.day_of_week, unit="D")
        return _kept(index, weeks, pd.offsets.Week(weekday=0), "week, dated on different days: read as its Monday", say)
    if 0.75 * day <= step <= 1.25 * day:
        return _kept(index, index.normalize(), "D", "day, at different times: read as the day", say)
    rule = round_step(step)
    if rule is None:
        return index, None
    near = index.round(rule) if index.tz is None else index.tz_convert("UTC").round(rule).tz_convert(index.tz)
    if (abs(index - near) > pd.Timedelta(rule) / 4).any():
        return index, None
    return _kept(index, near, pd.Timedelta(rule), f"{rule}, at uneven times: rounded to it", say)


def _kept(index: Any, moved: Any, frequency: Any, words: str, say: Callable[[str], None]) -> tuple[Any, Any]:
    """Return the moved dates, or the old ones and None where two would be the same."""
    if not moved.is_unique:
        return index, None
    say(f"one value per {words}")
    return pd.DatetimeIndex(moved), frequency


def _months(index: Any, say: Callable[[str], None]) -> tuple[Any, Any]:
    """Return dates of months: on the first, on the last, on one day of all, or moved to the first."""
    months = index.year * _YEAR + index.month
    step = int(commonest(np.diff(months)))
    if not months.is_unique or ((months - months[0]) % step).any():
        return index, None
    day = int(index.day.max())
    same = index.day == np.minimum(day, index.days_in_month)
    if not same.all() or len(set(index.time)) > 1:
        say("one value per month, dated on different days: read as the first of each month")
        index, day = pd.DatetimeIndex(index.normalize() - pd.to_timedelta(index.day - 1, unit="D")), 1
    if step == 1 and day == 1:
        return index, pd.offsets.MonthBegin()
    if step == 1 and index.is_month_end.all():
        return index, pd.offsets.MonthEnd()
    return index, pd.DateOffset(months=step, day=day)


_ROUND = [(n * size, f"{n}{name}") for size, name, counts in (
    (1, "s", (1, 2, 5, 10, 15, 20, 30)),
    (60, "min", (1, 2, 5, 10, 15, 20, 30)),
    (3600, "h", (1, 2, 3, 4, 6, 8, 12)),
    (86400, "D", range(1, 61)),
) for n in counts]  # fmt: skip
_NEAR = 0.1


def commonest(steps: Any) -> Any:
    """Return the step that comes most often."""
    usual, counts = np.unique(np.asarray(steps), return_counts=True)
    return usual[counts.argmax()]


def round_step(step: Any) -> str | None:
    """Return the round step that lies within a tenth of a pandas Timedelta, in pandas' short form, or None.

    Example:
        >>> import pandas as pd
        >>> round_step(pd.Timedelta(seconds=601))
        '10min'
    """
    seconds = step.total_seconds()
    size, name = min(_ROUND, key=lambda known: abs(known[0] - seconds))
    return name if abs(size - seconds) <= _NEAR * size else None


def unequal_steps(index: Any, whole: Any) -> str:
    """Say where the first unequal step is (in months for monthly data), and what to do."""
    steps, length = np.diff(index.to_numpy()), _length
    if isinstance(index, pd.DatetimeIndex):
        steps = np.diff(index.tz_localize(None).to_numpy())
        months = np.diff(index.year * 12 + index.month)
        if commonest(steps) >= np.timedelta64(28, "D") and bool((months > 0).all()):
            steps, length = months, _month_text
    common = commonest(steps)
    place = int(np.argmax(steps != common))
    if whole is not None and len(whole) > len(index):  # the first step over a time that is missing
        gone = whole.difference(index)[0]
        place = int(index.searchsorted(gone)) - 1
    before, after = (time_text(time, index) for time in index[place : place + 2])
    return (
        f"the time steps are unequal: {after} follows {before}, a step of "
        f"{length(steps[place])} where most are {length(common)}. {_advice(index, common, whole)}"
    )


def _advice(index: Any, common: Any, whole: Any) -> str:
    """Say what to do about times that are missing, or about steps that fit no grid."""
    if not isinstance(index, pd.DatetimeIndex):
        return (
            "A forecast needs equal steps. These times were read as plain numbers: bridge the missing ones "
            "(bridge=True, or --bridge), write dates as 2024-01-31, or leave the times out and count the rows "
            "(every='D', --every D)."
        )
    rule = _rule(index, common, whole)
    if whole is None:
        means = f"take means with series.resample('{rule}').mean() in pandas and bridge empty ones; or " if rule else ""
        return f"A forecast needs equal steps: {means}leave the times out and count the rows (every='D', --every D)."
    clocks = ""
    if whole.freq is not None and isinstance(common, np.timedelta64) and common < np.timedelta64(1, "D"):
        clocks = "; where clocks were set forward, write each time with its offset from UTC (03:00+02:00)"
    resample = f", or, in pandas, series.resample('{rule}').mean().ffill()" if rule else ""
    return (
        f"{len(whole) - len(index)} of {len(whole)} times are missing: bridge them (bridge=True, or --bridge on the "
        f"command line; they are then neither learned nor scored){resample}{clocks}."
    )


def _rule(index: Any, common: Any, whole: Any) -> str:
    """Return the step in pandas' short form (5min, B, MS), or nothing where there is none that keeps most values."""
    if whole is not None and (whole.freq is None or isinstance(whole.freq, pd.offsets.CustomBusinessDay)):
        return ""
    if not isinstance(common, np.timedelta64):
        return "MS" if common == 1 else f"{int(common)}MS"
    if whole is not None:
        return str(whole.freqstr)
    return round_step((index[1:] - index[:-1]).to_series().median()) or ""


def _month_text(step: Any) -> str:
    return f"{int(step)} month{'s' if step != 1 else ''}"


def time_text(time: Any, times: Any = None) -> str:
    """Return a time as text, no finer than the steps of `times` (only itself, if not given) are.

    Example:
        >>> import pandas as pd
        >>> [time_text(t[0], t) for t in (pd.date_range("2024", periods=2, freq=step) for step in ("MS", "D", "h"))]
        ['2024-01', '2024-01-01', '2024-01-01 00:00']
    """
    if not isinstance(time, pd.Timestamp | np.datetime64):
        return str(time).removesuffix(" 00:00:00")  # a number; a length of days
    stamp = pd.Timestamp(time)
    known = pd.DatetimeIndex([stamp] if times is None else times)
    if bool((known == known.normalize()).all()):
        return str(stamp.date())[: 7 if len(known) > 1 and bool((known.day == 1).all()) else 10]
    whole = not (known.second.any() or known.microsecond.any())
    return stamp.isoformat(sep=" ", timespec="minutes" if whole else "auto")


def _length(step: Any) -> str:
    if not np.issubdtype(type(step), np.timedelta64):
        return f"{step:g}"
    length = pd.Timedelta(step)
    for word, unit in (("day", "D"), ("hour", "h"), ("minute", "min"), ("second", "s")):
        if length % pd.Timedelta(1, unit) == pd.Timedelta(0):
            count = length // pd.Timedelta(1, unit)
            return f"{count} {word}{'s' if count != 1 else ''}"
    return str(length)
