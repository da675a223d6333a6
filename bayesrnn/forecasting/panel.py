"""Many series in one table: checked, put on regular times, gaps bridged from the past, covariates made numbers."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayesrnn.data.series import bridge_gaps
from bayesrnn.data.steps import following, regular_times
from bayesrnn.data.unequal import time_text
from bayesrnn.forecasting.covariates import Encoding
from bayesrnn.forecasting.record import Columns, Record, season_or_none

_SINGLE = "series"
FEWEST = 3


def read_panel(
    frame: Any, columns: Columns, encoding: Encoding | None = None, *, fewest: int = FEWEST, like: Any = None
) -> tuple[list[Record], Encoding]:
    """Return the series of a table, in order of their ids, and how covariates become numbers.

    Args:
        frame: The table.
        columns: Names of its columns.
        encoding: Of covariates; learned from the table if not given.
        fewest: Rows that a series must have.
        like: Times of a series of the same step, for series too short to show theirs.

    Raises:
        TypeError: If it is no table, or the target no numbers.
        ValueError: If a column lacks, a time comes twice or is missing, or covariates do not fit.
    """
    check_columns(frame, columns.all(), "the table")
    if not pd.api.types.is_numeric_dtype(frame[columns.target]) or pd.api.types.is_bool_dtype(frame[columns.target]):
        raise ValueError(
            f"the target {columns.target!r} must be numbers, but it holds {frame[columns.target].dtype} (such as "
            f"{frame[columns.target].iloc[0]!r}). Convert it with pandas.to_numeric, or take a classifier for classes."
        )
    encoding = encoding or Encoding.learn(frame, {k: getattr(columns, k) for k in ("known", "past", "static")})
    records = [_record(name, rows, columns, encoding, fewest, like) for name, rows in _by_id(frame, columns)]
    steps = {record.id: _step_of(record.times) for record in records if like is None}
    if len(set(steps.values())) > 1:
        name, other = next((n, s) for n, s in steps.items() if s != steps[records[0].id])
        raise ValueError(
            f"all series need the same time step, but {records[0].id!r} has {steps[records[0].id]} and {name!r} has "
            f"{other}. Bring them to one step (pandas.DataFrame.resample), or fit a forecaster for each step."
        )
    return records, encoding


def covariates_ahead(
    known: Any, records: Sequence[Record], columns: Columns, encoding: Encoding, horizon: int
) -> list[NDArray[np.float64]]:
    """Return the encoded known covariates of the next H steps of each series, (H, columns).

    Raises:
        ValueError: If they are missing, wholly or for a step.
    """
    if not columns.known:
        if known is not None:
            raise ValueError("known= was given, but the forecaster was made without known covariates (known=()).")
        return [np.zeros((horizon, 0)) for _ in records]
    needed = ", ".join(map(repr, columns.known))
    if known is None:
        raise ValueError(
            f"the forecaster was fitted with covariates known in advance ({needed}), so a forecast needs them for the "
            f"next {horizon} steps: pass known=, a table with {', '.join(map(repr, _keys(columns)))} and {needed} "
            "(--future FILE, or rows of the file after its last value)."
        )
    check_columns(known, [*_keys(columns), *columns.known], "known")
    tables = dict(_by_id(known, columns))
    ahead = []
    for record in records:
        due = following(record.times, horizon)
        key = _SINGLE if record.id is None else record.id
        if key not in tables:
            start, end = (time_text(time, record.times) for time in (due[0], due[-1]))
            raise ValueError(
                f"known has no rows of {record.label}; give its {horizon} steps from {start} to {end} (--future FILE, "
                "or rows with an empty target), or leave it out."
            )
        rows = tables[key].drop_duplicates(columns.time).set_index(columns.time)
        rows.index = as_times(rows.index, columns, record.times)
        missing = due.difference(rows.index)
        rows = rows.reindex(due)
        empty = rows[list(columns.known)].isna().any(axis=1).to_numpy()
        if len(missing) or empty.any():
            first = missing[0] if len(missing) else due[empty][0]
            first, start, end = (time_text(time, record.times) for time in (first, due[0], due[-1]))
            raise ValueError(
                f"known covariates of {record.label} are missing in the horizon, first at {first}: each of the "
                f"{horizon} steps from {start} to {end} needs {needed} (--future FILE, or rows with an empty target). "
                "A covariate that is not known so far ahead belongs to past= (--past), not to known=."
            )
        ahead.append(encoding.encode(rows, "known"))
    return ahead


def check_columns(frame: Any, names: Iterable[str], what: str) -> None:
    """Refuse what is no table, or lacks a column."""
    if not isinstance(frame, pd.DataFrame):
        raise TypeError(f"{what} must be a pandas DataFrame, but a {type(frame).__name__} was given.")
    if missing := [name for name in names if name not in frame.columns]:
        raise ValueError(
            f"{what} has no column {', '.join(map(repr, missing))}; its columns are "
            f"{', '.join(map(repr, list(frame.columns)[:20]))}."
        )
    if not len(frame):
        raise ValueError(f"{what} has no rows.")


def _keys(columns: Columns) -> list[str]:
    return [columns.time] if columns.id is None else [columns.id, columns.time]


def _by_id(frame: Any, columns: Columns) -> list[tuple[Any, Any]]:
    if columns.id is None:
        return [(_SINGLE, frame)]
    if frame[columns.id].isna().any():
        raise ValueError(f"{int(frame[columns.id].isna().sum())} rows have no {columns.id!r}: name the series of each.")
    return [(name, rows) for name, rows in frame.groupby(columns.id, sort=True, observed=True)]


def _record(name: Any, rows: Any, columns: Columns, encoding: Encoding, fewest: int, like: Any) -> Record:
    single = columns.id is None
    label = "the series" if single else f"the series {name!r}"
    index = as_times(pd.Index(rows[columns.time]), columns, like)
    rows = rows.set_axis(index, axis=0).sort_index()
    if rows.index.has_duplicates:
        again = rows.index[rows.index.duplicated()][0]
        hint = "If the table holds several series, name the column that tells them apart: id=." if single else ""
        raise ValueError(f"{label} has more than one row at {time_text(again, rows.index)}. {hint}".rstrip())
    if len(rows) < fewest:
        count = f"{len(rows)} row{'' if len(rows) == 1 else 's'}"
        raise ValueError(f"{label} has {count}; at least {fewest} are needed. Give more of it, or leave it out.")
    try:
        times, places = _regular(rows.index, like)
    except ValueError as error:
        raise ValueError(f"{label}: {error}") from None
    values = np.full(len(times), np.nan)
    values[places] = rows[columns.target].to_numpy(np.float64, na_value=np.nan)
    if np.isinf(values).any():
        raise ValueError(
            f"{label} holds infinite values, first at {time_text(times[np.isinf(values)][0], times)}. Correct them."
        )
    rows = rows.set_axis(times[places], axis=0).reindex(times)
    if like is None:
        start = int(np.argmin(np.isnan(values)))
        times, values, rows = times[start:], values[start:], rows.iloc[start:]
    observed = ~np.isnan(values)
    if like is None and observed.sum() < fewest:
        raise ValueError(
            f"only {int(observed.sum())} values of {label} are observed; at least {fewest} are needed. Give more of "
            "it, or leave it out."
        )
    if like is None and not observed.all():
        values = bridge_gaps(values, observed, season_or_none(times))
    known, past = (encoding.encode(rows, kind) for kind in ("known", "past"))
    static = encoding.encode(rows.ffill().bfill().iloc[:1], "static")[0] if columns.static else np.zeros(0)
    _check_static(rows, columns, label)
    return Record(None if single else name, times, values, observed, known, past, static)


def _regular(index: Any, like: Any) -> tuple[Any, Any]:
    """Return times at equal steps (the step of `like`, if given) and the position of each row."""
    if like is None:
        return regular_times(index, True)
    if isinstance(like, pd.DatetimeIndex) != isinstance(index, pd.DatetimeIndex):
        raise ValueError(f"times were {like.dtype} before, but now they are {index.dtype}.")
    frequency = getattr(like, "freq", None)
    if frequency is not None:
        whole = pd.date_range(index[0], index[-1], freq=frequency)
    else:
        count = round(float((index[-1] - index[0]) / (like[1] - like[0])))
        whole = index[:1].append(following(like[:2] + (index[0] - like[1]), count)) if count else index
    places = whole.get_indexer(index)
    if (places < 0).any():
        raise ValueError(
            f"its time {time_text(index[places < 0][0], index)} is not at the step of the rows before, {frequency}."
        )
    return whole, places


def _check_static(rows: Any, columns: Columns, label: str) -> None:
    for name in columns.static:
        if rows[name].dropna().nunique() > 1:
            raise ValueError(
                f"the static covariate {name!r} of {label} changes over time; a static one has one value per series. "
                "Correct it, or pass it as past= or known= (--past, --known)."
            )


def as_times(index: Any, columns: Columns, like: Any) -> Any:
    """Return times as an index of dates or numbers, in the zone of the dates `like`, if there are any.

    Raises:
        ValueError: If they are neither, one is missing, or only one side has an offset from UTC.
    """
    if isinstance(index, pd.PeriodIndex):
        index = index.to_timestamp()
    if not isinstance(index, pd.DatetimeIndex) and not pd.api.types.is_numeric_dtype(index):
        try:
            index = pd.DatetimeIndex(pd.to_datetime(index))
        except (ValueError, TypeError):
            raise ValueError(
                f"the times in {columns.time!r} must be dates or numbers, but {index[0]!r} is neither. Use "
                "pandas.to_datetime with a format."
            ) from None
    if index.hasnans:
        raise ValueError(f"{int(index.isna().sum())} times in {columns.time!r} are missing. Every row needs its time.")
    if not isinstance(like, pd.DatetimeIndex) or not isinstance(index, pd.DatetimeIndex):
        return index
    if like.tz is not None:
        return index.tz_localize(like.tz) if index.tz is None else index.tz_convert(like.tz)
    if index.tz is not None and not bool((like == like.normalize()).all()):
        raise ValueError(
            f"the times in {columns.time!r} have an offset from UTC ({time_text(index[0])}), but those before had none "
            f"({time_text(like[-1])}). Write them as they were written."
        )
    return index.tz_localize(None)  # days of the local clock


def _step_of(times: Any) -> str:
    """Return the time step as text; weeks and years are the same whichever day they begin on."""
    frequency = getattr(times, "freq", None)
    return str(frequency.freqstr).split("-")[0] if frequency is not None else str(times[-1] - times[-2])
