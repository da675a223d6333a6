"""Times as people write them: in either order, in several columns, as months, quarters, weeks, epochs, with clocks."""

import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bayesrnn.data.dates import dates_by_pattern
from bayesrnn.data.files import Notes

_WRITE = (
    "Write dates as 2024-01-31 or 2024-01-31 13:30, or leave the column out and count the rows: every='MS' "
    "(--every MS), if a row is a month"
)
_OFFSET = r"\d{2}:\d{2}.*?([+-]\d{2}(?::?\d{2})?)$"
_EPOCH = {"s": (1e8, 1e10), "ms": (1e11, 1e13), "us": (1e14, 1e16), "ns": (1e17, 1e19)}


def read_times(cells: Any, name: str, path: object, notes: Notes, day_first: bool | None = None) -> Any:
    """Return a column of text, indexed by the line of the file, as dates or plain numbers.

    Raises:
        ValueError: If they are no dates or could be read in two ways.
    """
    if pd.api.types.is_datetime64_any_dtype(cells.dtype):
        return pd.DatetimeIndex(cells)
    texts = cells.map(str).astype("str").str.strip()
    points = texts.str.replace(",", ".") if notes.decimal == "," else texts
    if pd.to_numeric(points.iloc[:1], errors="coerce").notna().all():
        numbers = pd.to_numeric(points, errors="coerce")
        if numbers.notna().all():
            return _from_numbers(points, numbers, name, notes)
    if len(texts) > 1 and bool(texts.str.fullmatch(r"\d{4}[-/]\d{2}").all()):
        years = texts.str[:4].astype(int)
        if bool(((years + 1) % 100 == texts.str[5:].astype(int)).all()):  # 2000-01, 2001-02
            notes.say(f"{name!r} read as years, by the first of the two")
            return pd.DatetimeIndex(pd.to_datetime(texts.str[:4], format="%Y"))
    times = _iso(texts, name, notes)
    if times is None:
        times = dates_by_pattern(texts, name, path, notes, day_first)
    if times is None:
        raise ValueError(_no_dates(texts, name, path))
    return times


def _from_numbers(texts: Any, numbers: Any, name: str, notes: Notes) -> Any:
    """Return years, 202401, 20240131, seconds since 1970, ... as dates, and other numbers as they are."""
    lengths = set(texts.str.len())
    if lengths == {7} and texts.str.fullmatch(r"(1[6-9]|20|21)\d\d\.(0[1-9]|1[0-2])").all():
        notes.say(f"{name!r} read as year.month")
        return pd.DatetimeIndex(pd.to_datetime(texts, format="%Y.%m"))
    for length, form, words in (
        (6, "%Y%m", "year and month"),
        (8, "%Y%m%d", "year, month, day"),
        (10, "%Y%m%d%H", "year, month, day, hour"),
        (12, "%Y%m%d%H%M", "year to minute"),
        (14, "%Y%m%d%H%M%S", "year to second"),
    ):
        if lengths == {length} and texts.str.match(r"(1[6-9]|20|21)\d\d(0[1-9]|1[0-2])\d*$").all():
            times = pd.to_datetime(texts, format=form, errors="coerce")
            if times.notna().all():
                notes.say(f"{name!r} read as {words}")
                return pd.DatetimeIndex(times)
    whole = bool((numbers == numbers.round()).all())
    for unit, (low, high) in _EPOCH.items():
        if bool(((numbers >= low) & (numbers < high)).all()) and (whole or unit == "s"):
            notes.say(f"{name!r} read as {unit} since 1970, in UTC")
            return pd.DatetimeIndex(pd.to_datetime(numbers, unit=unit))
    if bool(((numbers >= 1600) & (numbers < 2200)).all()):
        years = np.floor(numbers + 1e-3)
        if whole:
            notes.say(f"{name!r} read as years")
            return pd.DatetimeIndex(pd.to_datetime(years.astype(int).astype(str), format="%Y"))
        months = np.clip(np.floor(12 * (numbers - years) + 0.02), 0, 11)
        if not (12 * years + months).duplicated().any():
            notes.say(f"{name!r} read as years with the month as a fraction")
            return pd.DatetimeIndex(pd.to_datetime({"year": years, "month": months + 1, "day": 1}))
    return pd.Index(numbers.astype(np.int64) if whole else numbers, name=None)


def _iso(texts: Any, name: str, notes: Notes) -> Any:
    """Return dates that all begin as 2024-01-31, by pandas, or None."""
    if not bool(texts.str.match(r"\d{4}-\d{2}-\d{2}").all()):
        return None
    change = False
    if re.search(_OFFSET, texts.iloc[0]):
        ends = texts.str.extract(_OFFSET)[0]
        change = bool(ends.notna().all()) and ends.nunique() > 1
    try:
        times = pd.DatetimeIndex(pd.to_datetime(texts, format="ISO8601", utc=change))
    except (ValueError, TypeError):
        return None
    if not change:
        return times
    clock = pd.DatetimeIndex(pd.to_datetime(texts.str.slice(0, 19), format="ISO8601"))
    if clock.is_unique and len(set(clock.time)) == 1:  # days of the local clock
        return clock
    notes.say(f"{name!r} read in UTC, since its offsets change")
    return times


def _no_dates(texts: Any, name: str, path: object) -> str:
    """Say which value is no date."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dates = pd.to_datetime(texts, errors="coerce", format="mixed", utc=True)
    bad = dates.isna() & pd.to_numeric(texts, errors="coerce").isna()
    if not bad.any():  # all are dates, not all in one form
        forms = texts.str.replace(r"\d+", "0", regex=True).str.replace(r"[A-Za-z]+", "a", regex=True)
        bad = forms != forms.iloc[0]
    line = texts.index[int(np.argmax(bad.to_numpy()))]
    return (
        f"the times of {path}, column {name!r}, are neither dates nor numbers alike: line {line} holds "
        f"{texts[line]!r}. {_WRITE}."
    )


_PARTS = {
    "yr": "year", "yyyy": "year", "mo": "month", "mon": "month", "mm": "month", "dy": "day", "dd": "day",
    "qtr": "quarter", "wk": "week", "doy": "yearday", "dayofyear": "yearday", "hr": "hour", "hh": "hour",
    "min": "minute", "mn": "minute",
}  # fmt: skip


def time_cells(table: Any, path: Path) -> Any:
    """Return one column of times as text: the only one, or the parts put together.

    Raises:
        ValueError: If a cell is empty.

    Example:
        >>> import pandas as pd
        >>> time_cells(pd.DataFrame({"Month": [1, 2], "Year": [2020, 2020]}), Path("f.csv")).tolist()
        ['2020-1', '2020-2']
    """
    for name in table.columns:
        blank = table[name].isna() | (table[name] == "")
        if blank.any():
            rows = f"{int(blank.sum())} rows have" if blank.sum() > 1 else "1 row has"
            raise ValueError(
                f"the time in line {blank.index[blank][0]} of {path}, column {name!r}, is empty ({rows} none). Every "
                "row needs its time: fill it in or remove the line."
            )
    if table.shape[1] == 1:
        return table.iloc[:, 0]
    texts = table.map(str).apply(lambda column: column.str.replace(r"[.,]0$", "", regex=True))
    texts.columns = [_part(name) for name in table.columns]
    if "year" not in texts or not texts.columns.is_unique:
        return texts.agg(" ".join, axis=1)
    if "month" in texts:
        date = texts["year"] + "-" + texts["month"]
        date = date + "-" + texts["day"] if "day" in texts else date
    elif "quarter" in texts:
        date = texts["year"] + "Q" + texts["quarter"].str.removeprefix("Q")
    elif "week" in texts:
        date = texts["year"] + "-W" + texts["week"]
    elif "yearday" in texts:
        days = texts["year"] + texts["yearday"].str.zfill(3)
        dates = pd.to_datetime(days, format="%Y%j", errors="coerce").dt.strftime("%Y-%m-%d")
        date = dates.where(dates.notna(), days)
    else:
        return texts.agg(" ".join, axis=1)
    if "hour" in texts:
        date = date + " " + texts["hour"]
        if "minute" in texts:
            date = date + ":" + texts["minute"].str.zfill(2)
    return date


def _part(name: str) -> str:
    key = "".join(letter for letter in name.casefold() if letter.isalpha())
    return _PARTS.get(key, key)
