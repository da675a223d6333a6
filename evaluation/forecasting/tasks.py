"""The four series, their horizons and spans: all fixed here, before any held-out value is looked at."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from bayesrnn.data import Series
from bayesrnn.forecasting.origins import spacing

__all__ = ["TASKS", "Task"]

_TRAIN, _LEARNED, _ORIGINS = 0.6, 0.8, 120


@dataclass(frozen=True)
class Task:
    """One series: trained on its first 60 %, chosen on the next 20 %, judged on the last 20 %.

    Attributes:
        title: What it is.
        file: Where it is in the data folder.
        read: From that file to the series.
        horizon: Steps ahead.
    """

    title: str
    file: str
    read: Callable[[Path], Series]
    horizon: int

    def spans(self, series: Series) -> tuple[int, int]:
        """Return where validation and the held-out span start."""
        return int(_TRAIN * len(series)), int(_LEARNED * len(series))

    def origins(self, series: Series) -> Tensor:
        """Return about 120 origins in the held-out span, at every time of the season."""
        first, last = self.spans(series)[1] - 1, len(series) - self.horizon - 1
        return torch.arange(first, last + 1, spacing(max((last - first) // _ORIGINS, 1), series.period))

    def scale(self, series: Series) -> float:
        """Return the mean absolute error of the seasonal naive forecast in the training span."""
        known = series.values[: self.spans(series)[0]]
        return float((known[series.period :] - known[: -series.period]).abs().mean())


def co2(file: Path) -> Series:
    table = pd.read_csv(file, index_col="month", parse_dates=True)
    return Series.from_pandas(table["co2_ppm"], units="ppm", name="CO2")


def taxi(file: Path) -> Series:
    table = pd.read_csv(file, index_col="timestamp", parse_dates=True)
    return Series.from_pandas(table["value"] / 1000, units="thousand per half hour", name="taxi passengers")


def ett(file: Path) -> Series:
    """Oil temperature of a transformer, to the end of the usual test span (12 + 4 + 4 months of 30 days)."""
    table = pd.read_csv(file, index_col="date", parse_dates=True)
    return Series.from_pandas(table["OT"].iloc[: 20 * 30 * 24], units="°C", name="oil temperature")


TASKS = {
    "co2": Task("Mauna Loa CO2, monthly, 24 months ahead", "co2_noaa/co2_mlo_monthly_clean.csv", co2, 24),
    "taxi": Task("New York taxi passengers, half-hourly, 48 steps ahead", "nyc_taxi/nyc_taxi.csv", taxi, 48),
    "etth1": Task("ETTh1 oil temperature, hourly, 48 hours ahead", "ett/ETTh1.csv", ett, 48),
    "etth2": Task("ETTh2 oil temperature, hourly, 48 hours ahead", "ett/ETTh2.csv", ett, 48),
}
