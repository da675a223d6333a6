"""Which origins a forecaster learns from and is chosen on."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesrnn.forecasting.calendar import calendar_columns, seasons_of
from bayesrnn.forecasting.design import Design, Layout
from bayesrnn.forecasting.features import Reader, Scale
from bayesrnn.forecasting.options import Options
from bayesrnn.forecasting.origins import spread
from bayesrnn.forecasting.public_holidays import holiday_columns
from bayesrnn.forecasting.record import Record
from bayesrnn.report.format import capital

_LONGEST_LAG, _REPEATS = 96, 8
_FEWEST = 8
"""Origins that a span needs to be learned from or chosen on."""


def validation_starts(records: Sequence[Record], horizon: int, validation: Any = None) -> list[int]:
    """Return the position in each series at which validation starts.

    Args:
        records: The series.
        horizon: Steps ahead.
        validation: A share of each series, or a time; a fifth by default.

    Raises:
        ValueError: If the share is not in (0, 1).
    """
    if validation is None or isinstance(validation, float):
        share = 0.2 if validation is None else validation
        if not 0 < share < 1:
            raise ValueError(f"validation must be a share in (0, 1) or a time, but {validation!r} was given.")
        return [len(r) - max(round(share * len(r)), horizon + min(horizon, _FEWEST)) for r in records]
    return [int(record.times.searchsorted(validation)) for record in records]


def layout_of(records: Sequence[Record], starts: Sequence[int], options: Options) -> Layout:
    """Return the regressors of which the linear part chooses: lags, seasons, calendar, covariates.

    Raises:
        ValueError: If validation starts before two of the seasons that were asked for.
    """
    longest = max(range(len(records)), key=lambda k: starts[k])
    record, length = records[longest], max(starts[longest], 2)
    seasons = options.seasons or seasons_of(record.times, length)
    if max(seasons) * 2 > length:
        raise ValueError(
            f"a season of {max(seasons)} steps needs two of them before validation, but the longest series has "
            f"{length} steps there. Leave it out of seasons= (--season), or bring a longer series."
        )
    lags = min(2 * seasons[0] if seasons[0] > 1 else 24, _LONGEST_LAG, max(length // 8, 1))
    repeats = tuple(max(min(_REPEATS, (length // 4 - options.horizon) // m), 1) if m > 1 else 0 for m in seasons)
    calendar = calendar_columns(record.times[:2], length).shape[1]
    free = holiday_columns(record.times[:2], options.holidays).shape[1]
    return Layout(tuple(seasons), lags, repeats, calendar, record.known.shape[1], record.past.shape[1], free)


def origins_before(reader: Reader, record: Record, season: int, end: int) -> NDArray[np.int64]:
    """Return the origins, in the track, whose targets lie before `end` and which know two seasons."""
    first = reader.needed - 1 if len(record) >= 2 * reader.needed else 2 * season
    return origins_between(reader, record, first, end - 1)


def origins_between(reader: Reader, record: Record, first: int, last: int) -> NDArray[np.int64]:
    """Return the origins, in the track, from position `first` whose targets end by position `last`."""
    return np.arange(max(first, 0), max(last - reader.horizon + 1, 0)) + reader.needed


def designs(
    reader: Reader, records: Sequence[Record], origins: Sequence[NDArray[np.int64]], scales: dict[Any, Scale]
) -> list[tuple[Design, NDArray[np.int64]]]:
    """Return the regressors of each series, with its origins in the track."""
    nothing = [np.zeros((reader.horizon, record.known.shape[1])) for record in records]
    tracks = [reader.track(r, scales[r.id], later) for r, later in zip(records, nothing)]
    return [(Design(track, reader.layout), o) for track, o in zip(tracks, origins)]


def thinned(origins: Sequence[NDArray[np.int64]], most: int) -> list[NDArray[np.int64]]:
    """Return which origins of each series to keep, evenly, so that at most about `most` are left."""
    share = min(most / max(sum(map(len, origins)), 1), 1.0)
    return [spread(len(o), math.ceil(share * len(o))) for o in origins]


def check_long(
    records: Sequence[Record],
    starts: Sequence[int],
    train: Sequence[NDArray[np.int64]],
    watch: Sequence[NDArray[np.int64]],
    horizon: int,
    layout: Layout,
) -> None:
    """Refuse series that leave too few origins to learn from, or none to choose on."""
    learned, watched = sum(map(len, train)), sum(map(len, watch))
    if learned >= _FEWEST and watched >= 1:
        return
    longest = max(map(len, records))
    fits = (longest - 2 * layout.seasons[0] - 2 * _FEWEST) // 2
    advice = f"a horizon of at most {fits} fits" if fits >= 1 else "bring a longer series"
    counts = ", ".join(map(str, layout.seasons))
    raise ValueError(
        f"the longest of {len(records)} series has {longest} steps, which are too few for a horizon of {horizon}: "
        f"{learned} windows lie before validation (at least {_FEWEST} are needed) and {watched} in it. "
        f"{f'With seasons of {counts} steps {advice}' if max(layout.seasons) > 1 else capital(advice)}."
    )
