"""Public holidays of a country as features of times: the holiday, the day before it and the day after."""

import difflib
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayesrnn.forecasting.calendar import daily_waves, seconds_of_step

_DAY = 86_400.0
_BESIDE = (0, 1, -1)  # days until the next holiday (the day before: 1)


def check_holidays(code: str | None) -> str | None:
    """Return a code of a country (`US`) or of a part of one (`US-NY`) that the library `holidays` knows.

    Raises:
        ImportError: If the library is not installed.
        ValueError: If it does not know the code.
    """
    if code is None:
        return None
    known = _library().list_supported_countries(include_aliases=True)
    country, _, part = str(code).partition("-")
    if country not in known:
        raise ValueError(f"holidays={code!r} is no country that the library holidays knows.{_near(country, known)}")
    if part and part not in known[country]:
        near = _near(part, known[country], f"{country}-")
        raise ValueError(f"holidays={code!r}: the library holidays knows no part {part!r} of {country}.{near}")
    return code


def holiday_columns(times: Any, code: str | None) -> NDArray[np.float64]:
    """Return whether each time is on a holiday, the day before or the day after, (T, 3 or 15).

    Below a day each of them comes also with two harmonics of the day, since a holiday has hours of its own.

    Raises:
        ValueError: If times are no dates, or their step is longer than a day.
    """
    if code is None:
        return np.zeros((len(times), 0))
    flags = holiday_flags(times, code)
    if seconds_of_step(times) >= _DAY:
        return flags
    waves = daily_waves(times, 2)
    return np.concatenate([flags, *(flags * wave[:, None] for wave in waves)], 1)


def holiday_flags(times: Any, code: str | None) -> NDArray[np.float64]:
    """Return whether each time is on a holiday, the day before or the day after, (T, 3); (T, 0) without a code."""
    if code is None:
        return np.zeros((len(times), 0))
    if not 0 < seconds_of_step(times) <= _DAY:
        raise ValueError(
            f"holidays={code!r} needs dates with a step of a day or less, but the times are "
            f"{'numbers' if not isinstance(times, pd.DatetimeIndex) else 'farther apart'}. Leave holidays out."
        )
    days = (times.tz_localize(None) if times.tz is not None else times).normalize()
    free = _days(code, days.min().year - 1, days.max().year + 1)
    return np.stack([(days + pd.Timedelta(days=k)).isin(free) for k in _BESIDE], 1).astype(np.float64)


@lru_cache(maxsize=8)
def _days(code: str, first: int, last: int) -> pd.DatetimeIndex:
    country, _, part = code.partition("-")
    days = _library().country_holidays(country, subdiv=part or None, years=range(first, last + 1))
    return pd.DatetimeIndex(sorted(days))


def _near(given: str, known: Iterable[str], before: str = "") -> str:
    near = difflib.get_close_matches(given.upper(), sorted(known), 3, 0.5)
    return f" Near are {', '.join(before + name for name in near)}." if near else " Codes are such as US or DE-BY."


def _library() -> Any:
    try:
        import holidays
    except ImportError:
        raise ImportError(
            "holidays= needs the library holidays, which is not installed: pip install holidays"
        ) from None
    return holidays
