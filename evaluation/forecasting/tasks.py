"""The three series, their splits and settings: all fixed here, before any held-out value is looked at."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from bayesrnn.data import Series
from bayesrnn.forecasting import Settings

__all__ = ["TASKS", "Task"]


@dataclass(frozen=True)
class Task:
    """One series.

    Attributes:
        title: What it is.
        read: From the data folder to the series.
        settings: Sizes, rates, origins.
        validation: Where validation starts.
        held_out: Where the held-out span starts.
    """

    title: str
    read: Callable[[Path], Series]
    settings: Settings
    validation: str
    held_out: str


def co2(data: Path) -> Series:
    table = pd.read_csv(data / "co2_noaa" / "co2_mlo_monthly_clean.csv", index_col="month", parse_dates=True)
    return Series.from_pandas(table["co2_ppm"], units="ppm", name="CO2")


def taxi(data: Path) -> Series:
    """Passengers an hour: the half hours added up; the season is a week."""
    table = pd.read_csv(data / "nyc_taxi" / "nyc_taxi.csv", index_col="timestamp", parse_dates=True)
    hourly = table["value"].resample("h").sum() / 1000
    return Series.from_pandas(hourly, period=168, units="thousand an hour", name="taxi passengers")


def ett(data: Path) -> Series:
    """Oil temperature of a transformer, to the end of the usual test span (12 + 4 + 4 months of 30 days)."""
    table = pd.read_csv(data / "ett" / "ETTh1.csv", index_col="date", parse_dates=True)
    return Series.from_pandas(table["OT"].iloc[: 20 * 30 * 24], units="°C", name="oil temperature")


TASKS = {
    "co2": Task("Mauna Loa CO2, monthly to 2026", co2, Settings(horizon=12, context=60), "1994-01", "2004-01"),
    "taxi": Task(
        "New York taxi passengers, hourly",
        taxi,
        Settings(horizon=24, context=504, hidden_size=32, epochs=10, every=3),
        "2014-10-01",
        "2014-11-01",
    ),
    "ett": Task(
        "ETTh1 oil temperature, hourly",
        ett,
        Settings(horizon=24, context=168, hidden_size=32, epochs=3, every=6),
        "2017-06-26",
        "2017-10-24",
    ),
}
"""Validation and held-out spans of ETTh1 are the usual ones: months 13-16 and 17-20 of 30 days."""
