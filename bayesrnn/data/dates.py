"""Dates in the forms in which people write them, taken apart by patterns and put together by pandas."""

import calendar
import re
from typing import Any

import numpy as np
import pandas as pd

from bayesrnn.data.files import Notes
from bayesrnn.data.steps import is_regular

_MONTHS = {m.lower(): k for k, m in enumerate(calendar.month_abbr[1:], 1)}
_ZONES = {
    "utc": 0, "gmt": 0, "z": 0, "wet": 0, "west": 1, "bst": 1, "cet": 1, "cest": 2, "eet": 2, "eest": 3,
    "est": -5, "edt": -4, "cst": -6, "cdt": -5, "mst": -7, "mdt": -6, "pst": -8, "pdt": -7,
}  # fmt: skip
_CLOCK = (
    r"(?:(?:[T,]|\s)\s*(?P<hour>\d{1,2})(?:[:h.]?(?P<minute>\d{2})?)?(?:[:.]?(?P<second>\d{2}(?:[.,]\d+)?))?)?"
    r"\s*(?P<half>[AaPp]\.?[Mm]\.?)?\s*(?P<zone>[A-Za-z]{1,4}|(?:UTC|GMT)?[+-]\d{1,2}(?::?\d{2})?)?"
)
_WEEKDAY = r"^(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*\.?,?\s+"
_NAME = r"(?P<name>[A-Za-z]{3,9})\.?"
_DATES = (
    r"(?P<year>\d{4})[-/.\s](?P<month>\d{1,2})[-/.\s](?P<day>\d{1,2})",
    r"(?P<year>\d{4})(?P<month>\d{2})(?P<day>\d{2})",
    r"(?P<first>\d{1,2})(?P<sign>[-/.])(?P<second_part>\d{1,2})(?P=sign)(?P<year>\d{4}|\d{2})",
    rf"(?P<day>\d{{1,2}})[-\s./]*{_NAME}[-\s,./]*(?P<year>\d{{4}}|\d{{2}})",
    rf"{_NAME}\s+(?P<day>\d{{1,2}})(?:st|nd|rd|th)?,?\s+(?P<year>\d{{4}})",
    rf"(?P<year>\d{{4}})[-\s./]+{_NAME}[-\s./]+(?P<day>\d{{1,2}})",
)
_PERIODS = (
    r"(?P<year>\d{4})[-/:.\s]?M?(?P<month>0[1-9]|1[0-2]|(?<=\D)[1-9])",
    r"(?P<month>\d{1,2})[-/.](?P<year>\d{4})",
    rf"{_NAME}[-\s,./']*(?P<year>\d{{4}}|\d{{2}})",
    rf"(?P<year>\d{{4}})[-\s./:]*{_NAME}",
    rf"(?P<year>\d{{2}})[-\s./]{_NAME}",
    r"(?P<year>\d{4}|\d{2})[-\s/:.]*Q(?P<quarter>[1-4])",
    r"Q(?P<quarter>[1-4])[-\s/:.']*(?P<year>\d{4}|\d{2})",
    r"(?P<year>\d{4})-?W(?P<week>\d{1,2})(?:-?(?P<weekday>[1-7]))?",
)
_CENTURY = 30  # as in Excel


def dates_by_pattern(texts: Any, name: str, path: object, notes: Notes, day_first: bool | None) -> Any:
    """Return a column of text as dates by the first pattern that fits all of it, or None.

    Example:
        >>> import pandas as pd
        >>> dates_by_pattern(pd.Series(["Q1 2001", "Q2 2001"]), "when", "", Notes(), None)[1]
        Timestamp('2001-04-01 00:00:00')

    Raises:
        ValueError: If the day or the month could come first.
    """
    texts = texts.str.replace(_WEEKDAY, "", regex=True, flags=re.IGNORECASE)
    if bool(texts.str.contains(r"\d\s+-\s+\d").all()):
        notes.say(f"of the spans in {name!r} the start is read")
        texts = texts.str.split(r"\s+-\s+", regex=True).str[0]
    for pattern in [date + _CLOCK for date in _DATES] + list(_PERIODS):
        compiled = re.compile(rf"^\s*{pattern}\s*$", re.IGNORECASE)
        if not compiled.match(texts.iloc[0]):
            continue
        parts = texts.str.extract(compiled)
        if parts["year"].isna().any():
            continue
        times = _assembled(parts, name, path, notes, day_first)
        if times is not None:
            return times
    return None


def _assembled(parts: Any, name: str, path: object, notes: Notes, day_first: bool | None) -> Any:
    """Return dates from their parts, or None where a part is no month, no day or no hour."""
    if "name" in parts:
        parts["month"] = parts["name"].str[:3].str.lower().map(_MONTHS)
        if parts["month"].isna().any():
            return None
    years = parts["year"].astype(int)
    if "name" in parts and "day" not in parts and parts.columns[0] == "year" and not (years > 31).any():
        return None  # 01-Jan is a day of the year
    if (parts["year"].str.len() == 2).any():
        years = _full(parts["year"])
        notes.say(f"two-digit years of {name!r} read as 1930 to 2029")
    if "week" in parts:
        day = parts["weekday"].fillna("1")
        weeks = years.astype(str) + "-" + parts["week"].str.zfill(2) + "-" + day
        return _index(pd.to_datetime(weeks, format="%G-%V-%u", errors="coerce"))
    if "quarter" in parts:
        parts["month"] = 3 * parts["quarter"].astype(int) - 2
    if "first" in parts:
        return _in_order(parts, years, name, path, notes, day_first)
    days = parts.get("day", 1)
    if "day" not in parts and (parts["year"].str.len() == 2).any():
        order = 12 * years + parts["month"].astype(int)
        if not (order.is_monotonic_increasing or order.is_monotonic_decreasing):
            return None  # days of a month, not years
    return _clocked(_dates(years, parts["month"], days), parts, name, notes)


def _dates(years: Any, months: Any, days: Any) -> Any:
    return pd.to_datetime({"year": years, "month": months, "day": days}, errors="coerce")


def _in_order(parts: Any, years: Any, name: str, path: object, notes: Notes, day_first: bool | None) -> Any:
    """Return dates such as 03/04/2024 with the day or with the month first, as the column decides, or refuse."""
    first, second = parts["first"].astype(int), parts["second_part"].astype(int)
    readings = {}
    for way in (True, False) if day_first is None else (day_first,):
        months, days = (second, first) if way else (first, second)
        index = _clocked(_dates(years, months, days), parts, name, Notes())
        if index is not None:
            readings[way] = index
    if (parts["year"].str.len() == 2).all() and not any(map(_even, readings.values())):
        index = _clocked(_dates(_full(parts["first"]), second, parts["year"].astype(int)), parts, name, Notes())
        if index is not None and _even(index):
            notes.say(f"{name!r} read as year first")
            return index
    if not readings:
        return _refused_order(parts, name, path, day_first)
    if len(readings) == 2 and not readings[True].equals(readings[False]):
        readings = {way: index for way, index in readings.items() if len(index) > 2 and _even(index)}
        if len(readings) != 1:
            example = parts["first"].iloc[-1] + parts["sign"].iloc[-1] + parts["second_part"].iloc[-1]
            raise ValueError(
                f"the times of {path}, column {name!r}, such as {example + parts['sign'].iloc[-1]}"
                f"{parts['year'].iloc[-1]}, can be read with the day or with the month first. Say which with "
                "day_first=True or day_first=False (--day-first or --month-first)."
            )
    way, index = next(iter(readings.items()))
    notes.say(f"{name!r} read as {'day' if way else 'month'} first")
    _clocked(_dates(years, first, second), parts, name, notes)  # notes of the clock
    return index


def _refused_order(parts: Any, name: str, path: object, day_first: bool | None) -> None:
    """Say where dates do not fit the order that was asked for; None if none was."""
    if day_first is None:
        return
    month = parts["second_part" if day_first else "first"].astype(int)
    line = month.index[int(np.argmax(month.to_numpy() > 12))]
    date = "".join(parts.loc[line, ["first", "sign", "second_part", "sign", "year"]])
    raise ValueError(
        f"the times of {path}, column {name!r}, do not have the {'day' if day_first else 'month'} first: line {line} "
        f"holds {date!r}. Leave the option out, or give the other."
    )


def _full(years: Any) -> Any:
    """Return years with their century where they have two digits."""
    numbers = years.astype(int)
    return numbers + np.where(years.str.len() == 2, np.where(numbers < _CENTURY, 2000, 1900), 0)


def _even(index: Any) -> bool:
    return is_regular(index) or is_regular(index[::-1])


def _clocked(days: Any, parts: Any, name: str, notes: Notes) -> Any:
    """Return dates with their time of day added, in UTC where their offsets differ; None where a part is wrong."""
    if days.isna().any():
        return None
    if "hour" not in parts or parts["hour"].isna().all():
        return _index(days)
    hours = parts["hour"].fillna("0").astype(int)
    half = parts["half"].str.lower().str[0]
    if half.notna().any():
        hours = hours % 12 + 12 * (half == "p")
    minutes = parts["minute"].fillna("0").astype(int)
    seconds = parts["second"].fillna("0").str.replace(",", ".").astype(float)
    if (hours > 24).any() or (minutes > 59).any() or (seconds >= 60).any():
        return None
    if (hours == 24).any():
        notes.say(f"24 o'clock in {name!r} read as the next midnight")
    spans = hours * 3600 + minutes * 60
    index = _index(days + pd.to_timedelta(spans, unit="s") + pd.to_timedelta(seconds, unit="s"))
    offsets = parts["zone"].map(_offset, na_action="ignore")
    if offsets.isna().all():
        return index
    if offsets.isna().any() or (offsets == "?").any():
        return None
    shift = pd.to_timedelta(offsets.astype(float), unit="h")
    return _zoned(index, shift, name, notes)


def _zoned(index: Any, shift: Any, name: str, notes: Notes) -> Any:
    if shift.nunique() == 1 or (len(set(index.time)) == 1 and index.is_unique):
        return index.tz_localize("UTC") if shift.iloc[0].total_seconds() == 0 and shift.nunique() == 1 else index
    notes.say(f"{name!r} read in UTC")
    return (index - shift.to_numpy()).tz_localize("UTC")


def _offset(zone: str) -> Any:
    """Return hours ahead of UTC, or "?" where the zone is not known."""
    known = _ZONES.get(zone.lower())
    if known is not None:
        return known
    match = re.fullmatch(r"(?:UTC|GMT)?([+-])(\d{1,2}):?(\d{2})?", zone, re.IGNORECASE)
    if match is None:
        return "?"
    return (1 if match[1] == "+" else -1) * (int(match[2]) + int(match[3] or 0) / 60)


def _index(times: Any) -> Any:
    return None if times.isna().any() else pd.DatetimeIndex(times)
