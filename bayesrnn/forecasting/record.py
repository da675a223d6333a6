"""The history of one series, and the names of the columns that it comes from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayesrnn.data.series import bridge_gaps
from bayesrnn.data.steps import following, season
from bayesrnn.data.unequal import time_text


@dataclass(frozen=True)
class Columns:
    """Names of the columns: id (None for one series), time, target, covariates."""

    id: str | None
    time: str
    target: str
    known: tuple[str, ...] = ()
    past: tuple[str, ...] = ()
    static: tuple[str, ...] = ()

    def all(self) -> list[str]:
        """Return every name."""
        first = [] if self.id is None else [self.id]
        return [*first, self.time, self.target, *self.known, *self.past, *self.static]


@dataclass(frozen=True, eq=False)
class Record:
    """The history of one series.

    Attributes:
        id: Its name; None where the table holds one series.
        times: (T,) a pandas index at equal steps.
        values: (T,), target units, gaps bridged from what comes before them.
        observed: (T,), which were observed.
        known, past: (T, columns), encoded covariates.
        static: (columns,), encoded.
    """

    id: Any
    times: Any
    values: NDArray[np.float64]
    observed: NDArray[np.bool_]
    known: NDArray[np.float64]
    past: NDArray[np.float64]
    static: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))

    def __len__(self) -> int:
        return len(self.values)

    @property
    def label(self) -> str:
        """Its name in an error."""
        return "the series" if self.id is None else f"the series {self.id!r}"

    def until(self, end: int) -> "Record":
        """Return the first `end` steps."""
        return self._cut(slice(end))

    def last(self, steps: int) -> "Record":
        """Return the last so many steps, or all of them."""
        return self._cut(slice(-steps, None))

    def _cut(self, kept: slice) -> "Record":
        return replace(
            self, **{name: getattr(self, name)[kept] for name in ("times", "values", "observed", "known", "past")}
        )

    def joined(self, later: "Record") -> "Record":
        """Return this history and the rows that follow it.

        Raises:
            ValueError: If they do not start where it ends.
        """
        due = following(self.times, 1)[0]
        if later.times[0] != due:
            start, needed = (time_text(time, self.times) for time in (later.times[0], due))
            between = "Give the rows between too, with an empty target where nothing is known"
            raise ValueError(
                f"new rows of {self.label} must begin at {needed}, the step after its last one, but they begin at "
                f"{start}. {between if later.times[0] > due else 'Give only what is new'}; or learn from all rows anew."
            )
        if ((later.static != 0) & ~np.isclose(later.static, self.static)).any():  # 0: missing, or no level
            raise ValueError(
                f"a static covariate of {self.label} is another one than before. A static one stays: correct it; what "
                "changes belongs to past= or known= (--past, --known) when all is learned anew."
            )
        times = self.times.append(later.times)
        if getattr(self.times, "freq", None) is not None:
            times = pd.DatetimeIndex(times, freq=self.times.freq)
        parts = {n: np.concatenate([getattr(self, n), getattr(later, n)]) for n in ("observed", "known", "past")}
        values = np.concatenate([self.values, later.values])
        if not parts["observed"].all():  # from the past only, so what was bridged before stays
            values = bridge_gaps(np.where(parts["observed"], values, np.nan), parts["observed"], season_or_none(times))
        return replace(self, times=times, values=values, **parts)


def season_or_none(times: Any) -> int:
    """Return the steps of the season that times suggest, 1 if none."""
    try:
        return season(times)
    except ValueError:
        return 1


def column_names(names: Sequence[str], what: str) -> tuple[str, ...]:
    """Return names of columns, refusing one text in the place of a list."""
    if isinstance(names, str):
        raise TypeError(f"{what} must be a list of column names, but the text {names!r} was given: pass [{names!r}].")
    return tuple(names)


def describe(records: Sequence[Record], columns: Columns) -> Mapping[str, Any]:
    """Return what the data were, as JSON values: series, rows, first and last time, step."""
    times = records[0].times
    return {
        "series": len(records),
        "rows": sum(len(record) for record in records),
        "first": time_text(min(record.times[0] for record in records), times),
        "last": time_text(max(record.times[-1] for record in records), times),
        "step": getattr(times, "freqstr", None) or str(times[1] - times[0]),
        "missing": sum(int((~record.observed).sum()) for record in records),
        "target": columns.target,
    }
