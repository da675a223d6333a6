"""Rows of a table beside what a forecaster knows: which are learned from, which are new, how ids are written."""

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from bayesrnn.data.unequal import time_text
from bayesrnn.estimators import BayesianRNNForecaster
from bayesrnn.forecasting.panel import FEWEST, as_times
from bayesrnn.forecasting.record import Columns, Record

_SHARE = 0.8


def held_out_start(frame: Any, time: str) -> Any:
    """Return the time at which the last fifth of the times of a table begins."""
    times = np.sort(frame[time].unique())
    return times[min(round(_SHARE * len(times)), len(times) - 1)]


def learned_from(frame: Any, names: dict[str, str], start: Any) -> Any:
    """Return the rows before `start` of the series that have values enough there; the others are judged as new ones."""
    early = frame[frame[names["time"]] < start]
    if "id" not in names:
        return early
    counts = early.groupby(names["id"])[names["target"]].transform("count")
    return early[counts >= FEWEST]


def with_levels_of(frame: Any, early: Any, covariates: Sequence[str]) -> Any:
    """Return a table without the levels of categories that `early` does not hold: they count as missing."""
    texts = [name for name in covariates if not pd.api.types.is_numeric_dtype(frame[name])]
    return frame.assign(**{name: frame[name].where(frame[name].isin(early[name].dropna())) for name in texts})


def aligned(frame: Any, columns: Columns, records: Sequence[Record]) -> Any:
    """Return a table (or None) with ids written, and times in the zone, as the known series have them.

    Raises:
        ValueError: If only one side has offsets from UTC.
    """
    if frame is None:
        return None
    name, known = columns.time, records[0].times
    times = pd.Index(frame[name])
    if isinstance(times, pd.DatetimeIndex) and times.tz is None and getattr(known, "tz", None) is not None:
        raise ValueError(
            f"the times in {name!r} have no offset from UTC ({time_text(times[0])}), but those before had one "
            f"({time_text(known[-1])}). Write them as they were written."
        )
    frame = frame.assign(**{name: as_times(times, columns, known)})
    if columns.id is None:
        return frame
    counts = Counter(_form(record.id) for record in records)
    same = {_form(record.id): record.id for record in records if counts[_form(record.id)] == 1}
    exact = {record.id for record in records}
    ids = [given if given in exact else same.get(_form(given), given) for given in frame[columns.id]]
    return frame.assign(**{columns.id: pd.Series(ids, frame.index, dtype=object)})


def _form(id: Any) -> str:
    """Return an id as text, in which 1, 1.0 and "1" are the same."""
    return re.sub(r"^(-?\d+)\.0+$", r"\1", str(id).strip())


def check_counted(frame: Any, columns: Columns, record: Record) -> None:
    """Refuse rows whose times were counted from the start if they are not the rows that a forecaster knows from there.

    Raises:
        ValueError: If a value differs.
    """
    given = frame.set_index(columns.time)[columns.target].reindex(record.times).to_numpy()
    both = record.observed & ~np.isnan(given)
    if not np.allclose(given[both], record.values[both]):
        raise ValueError(
            f"the rows have no times, so they are counted from {time_text(record.times[0], record.times)}, where the "
            "run begins, but their values there are others. Give the old rows and then the new ones in one file, or "
            "learn anew from a file with times."
        )


def rows_after(forecaster: BayesianRNNForecaster, frame: Any) -> Any:
    """Return the rows of a table that come after what a forecaster knows of each series.

    Raises:
        ValueError: If there are none.
    """
    state = forecaster._fitted()
    ends = {record.id: record.times[-1] for record in state.records}
    ids = frame[state.columns.id] if state.columns.id is not None else [None] * len(frame)
    times = frame[state.columns.time]
    later = np.array([name not in ends or t > ends[name] for name, t in zip(ids, times)], dtype=bool)
    if not later.any():
        last = time_text(max(ends.values()), state.records[0].times)
        raise ValueError(
            f"no row comes after {last}, the last one that the run knows. Give rows that follow it (to judge by rows, "
            "do so before `update` takes them in); to forecast from there, predict without a file."
        )
    return frame[later]


def ended_before(records: Sequence[Record]) -> str:
    """Return a note on the series that end before others do, empty if there are none."""
    last = max(record.times[-1] for record in records)
    behind = [record for record in records if record.times[-1] < last]
    if not behind:
        return ""
    names = [f"{record.id} ({time_text(record.times[-1], record.times)})" for record in behind[:5]]
    more = f" and {len(behind) - 5} more" if len(behind) > 5 else ""
    return (
        f"ended before {time_text(last, records[0].times)}: {', '.join(names)}{more}. A forecast begins where its "
        "series ends."
    )


def table_digest(frame: Any) -> str:
    """Return a digest that two tables share only if columns and rows are equal."""
    from pandas.util import hash_pandas_object

    digest = hashlib.blake2b(repr(list(frame.columns)).encode(), digest_size=16)
    digest.update(hash_pandas_object(frame, index=False).to_numpy().tobytes())
    return digest.hexdigest()
