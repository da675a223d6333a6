"""Dates that stand for a month, a week, a day or a round time, moved to its start so that steps are equal."""

from collections.abc import Callable
from typing import Any

import numpy as np

from bayesrnn.data.step_words import commonest, round_step

__all__ = ["moved_times"]

_YEAR = 12


def moved_times(index: Any, say: Callable[[str], None]) -> tuple[Any, Any]:
    """Return dates at a whole number of equal steps, and their frequency; it is None where there is no such step.

    Args:
        index: Sorted dates, none twice.
        say: Takes what was moved, in words.

    Example:
        >>> import pandas as pd
        >>> moved_times(pd.DatetimeIndex(["2024-01-12", "2024-02-11", "2024-03-14"]), print)[0][1]
        one value per month, dated on different days: read as the first of each month
        Timestamp('2024-02-01 00:00:00')
    """
    import pandas as pd

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
    import pandas as pd

    if not moved.is_unique:
        return index, None
    say(f"one value per {words}")
    return pd.DatetimeIndex(moved), frequency


def _months(index: Any, say: Callable[[str], None]) -> tuple[Any, Any]:
    """Return dates of months: on the first, on the last, on one day of all, or moved to the first."""
    import pandas as pd

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
