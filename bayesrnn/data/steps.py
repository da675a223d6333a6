"""The time step of a series: equal steps, no time twice, and the season that a step suggests."""

import warnings
from typing import Any

import numpy as np

__all__ = ["is_regular", "regular_times", "season", "time_text"]

_CALENDAR = {"Y": 1, "Q": 4, "M": 12, "W": 52, "B": 5, "D": 7}
_DAY = 86_400


def regular_times(index: Any) -> Any:
    """Return the index with its frequency, or refuse it."""
    import pandas as pd

    if index.hasnans:
        raise ValueError(f"{int(index.isna().sum())} times are missing. Every row needs its time.")
    if not index.is_unique:
        twice = index[index.duplicated()][0]
        raise ValueError(
            f"the time {time_text(twice)} comes more than once. One series has one value a time: drop the copies, "
            "average them, or pick one series out of several."
        )
    if isinstance(index, pd.PeriodIndex):
        index = index.to_timestamp()
    if not (isinstance(index, pd.DatetimeIndex) or pd.api.types.is_numeric_dtype(index)):
        raise ValueError(f"times must be dates or numbers, but they are {index.dtype}. Use pandas.to_datetime.")
    steps = np.diff(index.to_numpy())
    if not isinstance(index, pd.DatetimeIndex):
        if not np.allclose(steps, steps[0], rtol=1e-6):
            raise ValueError(_unequal(index, steps))
        return index
    equal = bool((steps == steps[0]).all())
    frequency: Any = index.freq or _inferred(index) or (pd.Timedelta(steps[0]) if equal else None)
    if frequency is None:
        raise ValueError(_unequal(index, steps))
    return pd.DatetimeIndex(index.to_numpy(), freq=frequency)


def is_regular(index: Any) -> bool:
    """Return whether dates come in order, at equal steps of time or of the calendar."""
    if not (index.is_monotonic_increasing and index.is_unique):
        return False
    steps = np.diff(index.to_numpy())
    return bool((steps == steps[0]).all()) or _inferred(index) is not None


def _inferred(index: Any) -> Any:
    import pandas as pd

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # whether pandas returns text or an offset is all the same here
        return pd.infer_freq(index)


def _unequal(index: Any, steps: Any) -> str:
    """Say where the first unequal step is, counting in months where every time is the same day of a month."""
    import pandas as pd

    length = _length
    if isinstance(index, pd.DatetimeIndex) and bool((index.day == index.day[0]).all()):
        months = np.diff(index.year * 12 + index.month)
        if bool((months > 0).all()):
            steps, length = months, _months
    usual, counts = np.unique(steps, return_counts=True)
    common = usual[counts.argmax()]
    place = int(np.argmax(steps != common))
    return (
        f"the time steps are unequal: {time_text(index[place + 1])} follows {time_text(index[place])}, a step of "
        f"{length(steps[place])} where most are {length(common)}. A forecast needs equal steps{_advice(index, common)}."
    )


def _advice(index: Any, common: Any) -> str:
    """Say what to do about unequal steps of that common length (of months, if it is no duration)."""
    import pandas as pd

    if not isinstance(index, pd.DatetimeIndex):
        return ". These times were read as plain numbers: fill in the missing ones, or write dates as 2024-01-31"
    rule = "MS"
    if isinstance(common, np.timedelta64):
        seconds = common / np.timedelta64(1, "s")
        rule = next(name for name, size in (("D", 86400), ("h", 3600), ("min", 60), ("s", 0)) if seconds >= size)
    text = f": fill in the missing times, e.g. with series.resample('{rule}').mean(), and let empty ones be bridged"
    if rule != "MS" and rule != "D":
        text += "; or, where clocks were set forward, write each time with its offset from UTC (03:00+02:00)"
    return text


def _months(step: Any) -> str:
    return f"{int(step)} month{'s' if step != 1 else ''}"


def season(times: Any) -> int:
    """Return the steps of the season that the time step suggests."""
    import pandas as pd

    if isinstance(times, pd.DatetimeIndex):
        frequency: Any = times.freq
        letter = frequency.rule_code.split("-")[0].rstrip("ES") or "E"
        if frequency.n == 1 and letter in _CALENDAR:
            return _CALENDAR[letter]
        seconds = (times[1] - times[0]).total_seconds()
        if seconds < _DAY and _DAY % seconds == 0:
            return int(_DAY // seconds)
    raise ValueError(
        "the season does not follow from these time steps. Say how many steps it has with period= (--period), "
        "1 for none."
    )


def time_text(time: Any) -> str:
    """Return a time as text: a date without its clock where that is midnight."""
    return str(time).removesuffix(" 00:00:00")


def _length(step: Any) -> str:
    import pandas as pd

    return (
        str(pd.Timedelta(step)).removesuffix(" 00:00:00") if np.issubdtype(type(step), np.timedelta64) else f"{step:g}"
    )
