"""Times that stand in several columns, put together: date and hour, year and month, year and quarter, ..."""

from pathlib import Path
from typing import Any

__all__ = ["time_cells"]

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
        date = _days_of_year(texts["year"] + texts["yearday"].str.zfill(3))
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


def _days_of_year(texts: Any) -> Any:
    import pandas as pd

    dates = pd.to_datetime(texts, format="%Y%j", errors="coerce").dt.strftime("%Y-%m-%d")
    return dates.where(dates.notna(), texts)
