"""Tables of one or many series with covariates, as a forecaster takes them."""

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bayesrnn.data.files import Notes
from bayesrnn.data.numbers import read_numbers
from bayesrnn.data.tables import read_columns
from bayesrnn.data.times import read_times, time_cells


def read_panel_file(
    path: str | os.PathLike[str],
    *,
    time: str,
    target: str | None = None,
    id: str | None = None,
    covariates: Sequence[str] = (),
    day_first: bool | None = None,
    decimal: str | None = None,
    missing: Sequence[float] | None = None,
) -> Any:
    r"""Read a file with one row per series and time into a DataFrame, and warn of what was assumed.

    Args:
        path: A csv file, JSON lines or Parquet.
        time: Column of the times; parts are joined by commas.
        target: Column of the values; empty ones are NaN. None for rows ahead, which have none.
        id: Column that names the series, if there are several.
        covariates: Further columns: numbers where all are, else texts.
        day_first: Whether 03/04/2024 is the third of April; by default what the column shows.
        decimal: Decimal sign; by default what the column shows.
        missing: Numbers that stand for missing values; by default those that lie far from all others.

    Raises:
        ValueError: If the file cannot be read, lacks a column, or holds a target that is no number.

    Example:
        >>> import tempfile
        >>> path = tempfile.mkdtemp() + "/shops.csv"
        >>> with open(path, "w") as file:
        ...     _ = file.write("shop,day,sold,holiday\na,2024-01-01,3,yes\na,2024-01-02,,no\n")
        >>> read_panel_file(path, time="day", target="sold", id="shop", covariates=["holiday"])["sold"].tolist()
        [3.0, nan]
    """
    path, notes = Path(path), Notes()
    times = [part.strip() for part in time.split(",")]
    named = [name for name in (target, id, *covariates) if name is not None]
    if twice := [name for name in named if named.count(name) > 1 or name in times]:
        raise ValueError(f"the column {twice[0]!r} was named for two things. Each column serves for one.")
    table = read_columns(path, [*times, *named], notes)
    frame: dict[str, Any] = {}
    if id is not None:
        empty = table[id].isna() | (table[id] == "")
        if empty.any():
            raise ValueError(f"line {table.index[empty][0]} of {path} has no {id!r}. Name the series of every row.")
        mixed = table[id].map(type).nunique() > 1  # 1 and "1" are one series
        frame[id] = (table[id].map(str) if mixed else table[id]).to_numpy()
    frame[time] = read_times(time_cells(table[times], path), time, path, notes, day_first)
    if target is not None:
        frame[target] = read_numbers(table[target], target, path, notes, decimal, missing)
    for name in covariates:
        frame[name] = _covariate(table[name], name, path, notes, decimal)
    if notes.lines:
        warnings.warn(f"{path.name} was read so: {'; '.join(notes.lines)}.", stacklevel=2)
    return pd.DataFrame(frame)


def without_future(frame: Any, time: str, target: str) -> tuple[Any, Any]:
    """Return the rows up to the last time with a target, and the later rows, which hold known covariates only."""
    seen = frame[target].notna()
    if not seen.any():
        return frame.iloc[:0], frame.drop(columns=target)
    past = frame[time] <= frame.loc[seen, time].max()
    return frame[past], frame[~past].drop(columns=target)


def _covariate(cells: Any, name: str, path: Path, notes: Notes, decimal: str | None) -> Any:
    try:
        return read_numbers(cells, name, path, Notes(decimal=notes.decimal), decimal, [])
    except ValueError:
        return np.asarray([None if cell is None or cell == "" else str(cell) for cell in cells], dtype=object)
