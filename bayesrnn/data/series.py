"""A regular time series, checked, with the season that its time step suggests."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bayesrnn._checks import check_whole
from bayesrnn.data.gaps import bridge_gaps, observed_values
from bayesrnn.data.steps import regular_times, season

__all__ = ["Series"]

_SHORTEST = 3


@dataclass(frozen=True, eq=False)
class Series:
    """Values at equal time steps.

    Args:
        times: A pandas index: dates with a frequency, or numbers at equal distances.
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
        if hasattr(self.times, "freq"):
            import pandas as pd

            return pd.date_range(self.times[-1], periods=steps + 1, freq=self.times.freq)[1:]
        distance = self.times[1] - self.times[0]
        return type(self.times)(self.times[-1] + distance * np.arange(1, steps + 1))

    @staticmethod
    def from_pandas(
        data: Any, *, period: int | None = None, units: str = "", name: str | None = None, bridge: bool = False
    ) -> "Series":
        """Check a pandas Series whose index holds the times (dates or numbers) and return it in order of time.

        Args:
            data: Numbers, indexed by time.
            period: Steps of a season; by default what the time step suggests (12 for months, 24 for hours, ...).
            units: Units of the values.
            name: What is measured; by default the name of the pandas Series.
            bridge: Whether missing values are filled from those before them (the last one plus the seasonal pattern so
                far) and marked as not observed, instead of refused; missing ones at the start are left out.

        Raises:
            TypeError: If it is no pandas Series, or its values are no numbers.
            ValueError: If a value is missing or infinite, a time comes twice, steps are unequal, or it is too short.

        Example:
            >>> import pandas as pd
            >>> index = pd.date_range("2001-01-01", periods=24, freq="MS")
            >>> Series.from_pandas(pd.Series(range(24), index=index)).period
            12
        """
        import pandas as pd

        if not isinstance(data, pd.Series):
            raise TypeError(
                f"a series is a pandas Series indexed by time, but a {type(data).__name__} was given. From a table "
                "take table.set_index('time')['target']."
            )
        if not pd.api.types.is_numeric_dtype(data) or pd.api.types.is_bool_dtype(data):
            raise TypeError(f"the values must be numbers, but they are {data.dtype}. Use pandas.to_numeric first.")
        if len(data) < _SHORTEST:
            raise ValueError(f"the series has {len(data)} values; at least {_SHORTEST} are needed. Check the file.")
        data = data.sort_index()
        if bridge:
            data = data.loc[data.first_valid_index() :]
        times = regular_times(data.index)
        values = data.to_numpy(dtype=np.float64, na_value=np.nan)
        found = season(times) if period is None else check_whole(period, "period")
        observed = observed_values(values, times, bridge, _SHORTEST)
        if not observed.all():
            values = bridge_gaps(values, observed, found)
        label = str(name or data.name or "value")
        return Series(times, torch.from_numpy(values.copy()), torch.from_numpy(observed), found, label, units)


def _like(times: Any, time: Any) -> Any:
    import pandas as pd

    return pd.Timestamp(time) if isinstance(times, pd.DatetimeIndex) else time
