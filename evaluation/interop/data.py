"""One small problem for all: a noisy season of 12 with a slow trend; the last steps are held out."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

HORIZON, SEASON = 12, 12


@dataclass(frozen=True)
class Task:
    """Monthly series, and what happened afterwards.

    Attributes:
        past: Known values by month, a column per series.
        future: The next `HORIZON` months.
    """

    past: pd.DataFrame
    future: pd.DataFrame

    @property
    def target(self) -> np.ndarray:
        """What happened, (series, steps)."""
        return self.future.to_numpy().T

    def long(self) -> pd.DataFrame:
        """Return the known values as unique_id, ds, y."""
        table = self.past.rename_axis("ds").reset_index().melt("ds", var_name="unique_id", value_name="y")
        return table[["unique_id", "ds", "y"]]


def task(series: int = 3, months: int = 120, seed: int = 0) -> Task:
    """Return the series."""
    generator = np.random.default_rng(seed)
    time = np.arange(months + HORIZON)
    index = pd.date_range("2010-01-01", periods=len(time), freq="MS")
    values = {
        f"s{k}": 10 + k + 0.01 * time + np.sin(2 * np.pi * (time + k) / SEASON) + 0.3 * generator.normal(size=len(time))
        for k in range(series)
    }
    table = pd.DataFrame(values, index=index)
    return Task(table.iloc[:months], table.iloc[months:])


def windows(values: np.ndarray, length: int = SEASON) -> tuple[np.ndarray, np.ndarray]:
    """Return windows (rows, length, 1) of a series and the value after each, (rows,)."""
    cut = np.lib.stride_tricks.sliding_window_view(values, length + 1)
    return cut[:, :-1, None].astype(np.float32), cut[:, -1].astype(np.float32)
