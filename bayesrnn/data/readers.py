"""Readers of time series: one column of a csv file, and the CO2 record that ships with statsmodels."""

import os
import warnings
from pathlib import Path
from typing import Any

from bayesrnn.data.series import Series
from bayesrnn.data.steps import is_regular

__all__ = ["mauna_loa_co2", "read_series"]

_WRITE = "Write dates as 2024-01-31 or 2024-01-31 13:30."


def read_series(
    path: str | os.PathLike[str],
    *,
    time: str,
    target: str,
    period: int | None = None,
    units: str = "",
    bridge: bool = False,
) -> Series:
    """Read one column of a csv file as a series; `time` names the column of times, `target` that of the values.

    Times whose offset from UTC changes (clocks put forward or back) are read in UTC.

    Raises:
        ValueError: If the file cannot be read, lacks a column, or does not hold a regular series (see
            `Series.from_pandas`).
    """
    import pandas as pd

    path = Path(path)
    if not path.is_file():
        raise ValueError(f"there is no file {path}. Give the path of a csv file with a header line.")
    try:
        table = pd.read_csv(path)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path} is not a csv file that can be read: {error}. Save it as comma-separated UTF-8."
        ) from None
    for column in (time, target):
        if column not in table.columns:
            names = ", ".join(map(str, table.columns))
            other = next((sign for sign in ";\t|" if len(table.columns) == 1 and sign in names), None)
            fix = f" They seem to be separated by {other!r}: use commas, and numbers with points." if other else ""
            raise ValueError(f"{path} has no column {column!r}; its columns are {names}.{fix}")
    numbers = pd.to_numeric(table[target], errors="coerce")
    words = table[target][numbers.isna() & table[target].notna()]
    if len(words):
        raise ValueError(
            f"the column {target!r} of {path} must hold numbers, but line {words.index[0] + 2} holds "
            f"{words.iloc[0]!r}. Remove or replace what is no number."
        )
    return Series.from_pandas(
        pd.Series(numbers.to_numpy(), index=_times(table[time], path), name=target),
        period=period,
        units=units,
        bridge=bridge,
    )


def mauna_loa_co2() -> Series:
    """Return the monthly means of the weekly CO2 record of Mauna Loa, 1958 to 2001, that ships with statsmodels.

    A month without a single week (five of 526, all before 1965) is bridged and marked as not observed.

    Source: Keeling & Whorf, Scripps Institution of Oceanography.
    """
    from statsmodels.datasets import co2

    weekly = co2.load_pandas().data["co2"]
    return Series.from_pandas(weekly.resample("MS").mean(), units="ppm", name="CO2", bridge=True)


def _times(column: Any, path: Path) -> Any:
    import pandas as pd

    if pd.api.types.is_numeric_dtype(column):
        return pd.Index(column.to_numpy())
    try:
        readings = _readings(column)
    except (ValueError, TypeError) as error:
        first = str(error).splitlines()[0].split(". You might")[0].rstrip(".")
        raise ValueError(
            f"the times of {path}, column {column.name!r}, are neither dates nor numbers: {first}. {_WRITE}"
        ) from None
    if len(readings) > 1:
        readings = [found for found in readings if len(found) > 2 and is_regular(found)]
    if len(readings) != 1:
        raise ValueError(
            f"the times of {path}, column {column.name!r}, such as {column.iloc[1]!r}, can be read with the day or "
            f"with the month first. {_WRITE}"
        )
    return readings[0]


def _readings(column: Any) -> list[Any]:
    """Return the ways in which all of a column are dates: one, or of 03/04/2024 two.

    Raises:
        ValueError: If there is none.
    """
    import pandas as pd

    utc = _offsets_change(column)
    either = bool(column.astype(str).str.match(r"\d{1,2}[./-]\d{1,2}[./-]\d{4}").all())
    found: list[Any] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pandas guesses each date alone; unequal steps are refused later
        for day_first in (False, True) if either else (False,):
            try:
                times = pd.DatetimeIndex(pd.to_datetime(column, utc=utc, dayfirst=day_first))
            except (ValueError, TypeError):
                if day_first == either and not found:  # the last way
                    raise
                continue
            if not any(times.equals(other) for other in found):
                found.append(times)
    return found


def _offsets_change(column: Any) -> bool:
    """Whether the times have offsets from UTC that differ, as where clocks change: steps are equal in UTC alone."""
    offsets = column.astype(str).str.extract(r"\d{2}:\d{2}.*?([+-]\d{2}:?\d{2})$")[0]
    return bool(offsets.notna().all()) and offsets.nunique() > 1
