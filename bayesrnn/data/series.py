"""A regular time series, checked, its gaps bridged, with the season that its time step suggests."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from bayesrnn._checks import check_whole
from bayesrnn.data.files import Notes
from bayesrnn.data.steps import following, regular_times, season
from bayesrnn.data.unequal import time_text

_SHORTEST = 3
_DUPLICATES = ("error", "mean", "first", "last")


@dataclass(frozen=True, eq=False)
class Series:
    """Values at equal time steps.

    Args:
        times: A pandas index: dates with a frequency (without one in daily sessions), or numbers at equal distances.
        values: One value per time, (T,), float64. Gaps are bridged from what comes before them, so that a slice holds
            nothing that was observed after it.
        observed: Which values were observed, (T,) booleans; bridged ones are neither trained on nor scored.
        period: Steps of a season.
        name: What is measured.
        units: In which units.
    """

    times: Any
    values: Tensor
    observed: Tensor
    period: int
    name: str = "value"
    units: str = ""

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, steps: slice) -> "Series":
        """Return the series of a run of steps."""
        return Series(self.times[steps], self.values[steps], self.observed[steps], self.period, self.name, self.units)

    def position(self, time: Any) -> int:
        """Return how many steps lie before `time`."""
        return int(self.times.searchsorted(_like(self.times, time)))

    def future(self, steps: int) -> Any:
        """Return the times of the next `steps` steps after the end."""
        return following(self.times, steps)

    @staticmethod
    def from_pandas(
        data: Any,
        *,
        period: int | None = None,
        units: str = "",
        name: str | None = None,
        bridge: bool = False,
        duplicates: str = "error",
    ) -> "Series":
        """Check a pandas Series whose index holds the times (dates or numbers) and return it in order of time.

        Args:
            data: Numbers, indexed by time.
            period: Steps of a season; by default what the time step suggests (12 for months, 24 for hours, ...).
            units: Units of the values.
            name: What is measured; by default the name of the pandas Series.
            bridge: Whether missing values and missing times are filled from the values before them (the last one plus
                the seasonal pattern so far) and marked as not observed, instead of refused; missing ones at the start
                are left out.
            duplicates: What becomes of values whose time comes more than once: "mean", "first", "last" or "error".

        Raises:
            TypeError: If it is no pandas Series, or its values are no numbers.
            ValueError: If a value is missing or infinite, a time comes twice, steps are unequal, or it is too short.

        Example:
            >>> import pandas as pd
            >>> index = pd.date_range("2001-01-01", periods=24, freq="MS")
            >>> Series.from_pandas(pd.Series(range(24), index=index)).period
            12
        """
        notes = Notes()
        series = checked_series(
            data, notes.say, period=period, units=units, name=name, bridge=bridge, duplicates=duplicates
        )
        for note in notes.lines:
            warnings.warn(note, stacklevel=2)
        return series


def checked_series(
    data: Any,
    say: Callable[[str], None],
    *,
    period: int | None,
    units: str,
    name: str | None,
    bridge: bool,
    duplicates: str,
) -> Series:
    """Do what `Series.from_pandas` does; `say` takes what was assumed, in words."""
    if not isinstance(data, pd.Series):
        raise TypeError(
            f"a series is a pandas Series indexed by time, but a {type(data).__name__} was given. From a table "
            "take table.set_index('time')['target']."
        )
    if not pd.api.types.is_numeric_dtype(data) or pd.api.types.is_bool_dtype(data):
        raise TypeError(f"the values must be numbers, but they are {data.dtype}. Use pandas.to_numeric first.")
    data = _once(data, duplicates)
    if len(data) < _SHORTEST:
        raise ValueError(f"the series has {len(data)} values; at least {_SHORTEST} are needed. Check the file.")
    data = data.sort_index()
    times, places = regular_times(data.index, bridge, say)
    values = np.full(len(times), np.nan)
    values[places] = data.to_numpy(dtype=np.float64, na_value=np.nan)
    if bridge:
        start = int(np.argmin(np.isnan(values)))
        times, values = times[start:], values[start:]
    steps = season(times) if period is None else check_whole(period, "period")
    observed = observed_values(values, times, bridge, _SHORTEST)
    if not observed.all():
        values = bridge_gaps(values, observed, steps)
    label = str(name or data.name or "value")
    return Series(times, torch.from_numpy(values.copy()), torch.from_numpy(observed), steps, label, units)


def _once(data: Any, duplicates: str) -> Any:
    """Return the series with each time once, or refuse it."""
    if duplicates not in _DUPLICATES:
        raise ValueError(f"duplicates must be one of {', '.join(_DUPLICATES)}, but {duplicates!r} was given.")
    if data.index.hasnans:
        raise ValueError(f"{int(data.index.isna().sum())} times are missing. Every row needs its time.")
    if data.index.is_unique:
        return data
    if duplicates == "error":
        again = data.index.duplicated()
        raise ValueError(
            f"the time {time_text(data.index[again][0], data.index)} comes more than once ({int(again.sum())} of "
            f"{len(data)} rows repeat a time). One series has one value per time: take their mean, the first or the "
            "last with duplicates='mean' (--duplicates mean; where clocks were set back, the mean of the hour that "
            "comes twice), or, if the file holds several series, keep the rows of one."
        )
    return data.groupby(data.index, sort=True).agg(duplicates)


def _like(times: Any, time: Any) -> Any:
    """Return a time as the index holds its own: with their zone, or by their clock without one."""
    if not isinstance(times, pd.DatetimeIndex):
        return time
    time = pd.Timestamp(time)
    if times.tz is None:
        return time.tz_localize(None)
    return time.tz_localize(times.tz) if time.tz is None else time.tz_convert(times.tz)


def observed_values(values: Any, times: Any, bridge: bool, shortest: int) -> Any:
    """Return which values are observed, or refuse missing and infinite ones."""
    infinite = np.flatnonzero(np.isinf(values))
    if len(infinite):
        raise ValueError(
            f"{len(infinite)} values are infinite (first at {time_text(times[infinite[0]], times)}). Correct or "
            "remove them."
        )
    missing = np.flatnonzero(np.isnan(values))
    if len(missing) and not bridge:
        raise ValueError(
            f"{len(missing)} of {len(values)} values are missing (first at {time_text(times[missing[0]], times)}). "
            "Fill them in, start after them, or bridge them (bridge=True, or --bridge on the command line): they are "
            "then neither learned nor scored."
        )
    if len(values) - len(missing) < shortest:
        raise ValueError(f"only {len(values) - len(missing)} values are observed; at least {shortest} are needed.")
    return ~np.isnan(values)


def bridge_gaps(values: Any, observed: Any, period: int) -> Any:
    r"""Fill each gap from what was observed before it, never from what follows.

    With the last observed value $y_l$ and the K seasons of m steps that lie before it, a missing value becomes

    $$y_t = y_l + \frac1K \sum_{j=1}^{K} (y_{t-jm} - y_{l-jm}),$$

    the last value plus the mean change that the past saw over the same steps of the season (values filled before count
    like observed ones). So a context that ends anywhere holds nothing that was observed later.

    Values, (T,), are NaN where nothing was observed; the first is observed.
    """
    base = float(values[0])
    filled = (values - base).tolist()
    sums: list[float] = []  # of the values at the same step of the season, up to and with each
    last = 0
    for t, seen in enumerate(observed.tolist()):
        if seen:
            last = t
        else:
            seasons = last // period
            change = 0.0
            if seasons:
                first = t - (seasons + 1) * period
                change = sums[t - period] - (sums[first] if first >= 0 else 0.0) - sums[last - period]
            filled[t] = filled[last] + change / max(seasons, 1)
        sums.append(filled[t] + (sums[t - period] if t >= period else 0.0))
    return np.where(observed, values, np.asarray(filled) + base)
