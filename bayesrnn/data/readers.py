"""Readers of time series: one column of a file, and the CO2 record that ships with statsmodels."""

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bayesrnn.data.files import Notes
from bayesrnn.data.numbers import read_numbers
from bayesrnn.data.series import Series, checked_series
from bayesrnn.data.tables import read_columns
from bayesrnn.data.times import read_times, time_cells

_STEPS = {
    "minute": "min", "hour": "h", "day": "D", "week": "W", "month": "MS", "quarter": "QS", "year": "YS",
    "hourly": "h", "daily": "D", "weekly": "W", "monthly": "MS", "quarterly": "QS", "yearly": "YS", "annual": "YS",
    "T": "min", "H": "h", "M": "MS", "Q": "QS", "Y": "YS", "A": "YS", "S": "s",
}  # fmt: skip

_MONTHS = {"MS": 1, "QS": 3, "YS": 12}


def read_series(
    path: str | os.PathLike[str],
    *,
    target: str,
    time: str | None = None,
    period: int | None = None,
    units: str = "",
    bridge: bool = False,
    duplicates: str = "error",
    every: str | None = None,
    start: str | None = None,
    day_first: bool | None = None,
    decimal: str | None = None,
    missing: Sequence[float] | None = None,
) -> Series:
    r"""Read one column of a file (csv, JSON lines, Parquet) as a series, and warn of what was assumed.

    Times whose offset from UTC changes (clocks put forward or back) are read in UTC.

    Args:
        path: The file. A csv file may lack its header: columns are then called 1, 2, ...
        target: Column of the values.
        time: Column of the times; several, joined by commas, hold parts of it ("date,hour" or "year,month").
        period: Steps of a season; by default what the time step suggests.
        units: Units of the values.
        bridge: Whether missing values and missing rows are bridged; they are neither learned nor scored.
        duplicates: What becomes of rows whose time comes more than once: "mean", "first", "last" or "error".
        every: For a file without times: the step between rows, such as "5min", "h", "D", "B", "W", "MS", "QS", "YS".
        start: Time of the first row where `every` is given; by default 2000-01-01.
        day_first: Whether 03/04/2024 is the third of April; by default what the column shows.
        decimal: Decimal sign, "." or ","; by default what the column shows.
        missing: Numbers that stand for missing values; by default those such as -9999 that lie far from all others.

    Raises:
        ValueError: If the file cannot be read, lacks a column, can be read in two ways, or does not hold a regular
            series (see `Series.from_pandas`).

    Example:
        >>> import tempfile
        >>> path = tempfile.mkdtemp() + "/sales.csv"
        >>> with open(path, "w") as file:
        ...     _ = file.write("day,sold\n2024-01-01,3\n2024-01-02,5\n2024-01-03,4\n")
        >>> read_series(path, time="day", target="sold").period
        7
    """
    path, notes = Path(path), Notes()
    columns = _time_columns(path, time, every, start)
    if target in columns:
        raise ValueError(f"the column {target!r} holds times or values, not both. Name two columns.")
    try:
        table = _without_ends(read_columns(path, [*columns, target], notes), target, notes)
        values = read_numbers(table[target], target, path, notes, decimal, missing)
        if every is not None:
            times = _counted(every, start, len(table), notes)
        else:
            times = read_times(time_cells(table[columns], path), str(time), path, notes, day_first)
        series = checked_series(
            pd.Series(values, index=times, name=target),
            notes.say,
            period=period,
            units=units,
            name=target,
            bridge=bridge,
            duplicates=duplicates,
        )
    except ValueError as error:
        assumed = f" (It was read so: {'; '.join(notes.lines)}.)" if notes.lines else ""
        raise ValueError(f"{error}{assumed}") from None
    if notes.lines:
        warnings.warn(f"{path.name} was read so: {'; '.join(notes.lines)}.", stacklevel=2)
    return series


def mauna_loa_co2() -> Series:
    """Return the monthly means of the weekly CO2 record of Mauna Loa, 1958 to 2001, that ships with statsmodels.

    A month without a single week (five of 526, all before 1965) is bridged and marked as not observed.

    Source: Keeling & Whorf, Scripps Institution of Oceanography.
    """
    from statsmodels.datasets import co2

    weekly = co2.load_pandas().data["co2"]
    return Series.from_pandas(weekly.resample("MS").mean(), units="ppm", name="CO2", bridge=True)


def _time_columns(path: Path, time: str | None, every: str | None, start: str | None) -> list[str]:
    if every is not None and time is not None:
        raise ValueError(
            f"times come from a column ({time!r}) or are counted (every={every!r}), not both. Leave one out."
        )
    if start is not None and every is None:
        raise ValueError("start is the time of the first row of a file without times. Give the step too: every='h'.")
    if every is None and time is None:
        raise ValueError(
            f"which column of {path} holds the times? Name it with time= (--time), or give the step between rows with "
            "every= (--every), such as every='MS'."
        )
    return [] if time is None else [part.strip() for part in time.split(",")]


def _without_ends(table: Any, target: str, notes: Notes) -> Any:
    """Return the rows without empty ones and without words (a source, a total) after the last time."""
    empty = (table.isna() | (table == "")).to_numpy()
    times = [str(cell) for cell in table.iloc[:, 0]] if table.columns[0] != target else []
    dated = any(map(str.isdigit, times[0])) if times else False
    full = ~empty.all(1) if times else np.ones(len(table), bool)  # rows that are counted all count
    last = len(table)

    def is_words(row: int) -> bool:
        if not dated:
            return False
        long = empty[row, 1:].all() and len(times[row]) > 2 * len(times[0])
        return bool(long) or not any(map(str.isdigit, times[row]))

    while last > 0 and (empty[last - 1].all() or is_words(last - 1)):
        last -= 1
    feet = int((~empty[last:].all(1)).sum())
    if feet and (empty[last:, 0] & ~empty[last:].all(1)).any():
        return table[full]  # values without a time
    if feet:
        notes.say(f"{feet} line{'s' if feet > 1 else ''} of words at the end left out")
    return table[full & (np.arange(len(table)) < last)]


def _counted(every: str, start: str | None, rows: int, notes: Notes) -> Any:
    """Return the times of rows that are counted from `start` on."""
    word = _STEPS.get(every.strip().casefold().removesuffix("s")) or _STEPS.get(every.strip(), every.strip())
    try:
        first = pd.Timestamp(start or "2000-01-01")
    except ValueError:
        raise ValueError(f"start must be a date such as 2000-01-31, but {start!r} was given.") from None
    step: Any = word
    if word == "W":
        step = pd.offsets.Week(weekday=first.day_of_week)
    elif word in _MONTHS and first != first.normalize().replace(day=1, month=1):
        step = pd.DateOffset(months=_MONTHS[word], day=first.day)
    try:
        times = pd.date_range(first, periods=rows, freq=step)
    except (ValueError, TypeError):
        raise ValueError(
            f"every must be a time step such as 5min, h, D, B, W, MS, QS or YS, but {every!r} was given."
        ) from None
    if start is not None and times[0] != first:
        raise ValueError(f"start={start!r} is no time of the step {every!r}: the first one after it is {times[0]}.")
    if start is None:
        notes.say(f"rows counted from {times[0].date()}, the start that is taken where none is given")
    return times
