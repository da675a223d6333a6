"""The regressors of the linear part: lags, values of seasons ago, levels, calendar and covariates."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Track:
    """One series as the model reads it: scaled values with what stands beside them.

    Attributes:
        values: (T,), scaled, gaps bridged from the past.
        observed: (T,), which of them were observed.
        calendar: (T + H, columns): of each time and of the horizon after the end, columns of holidays last.
        known: (T + H, columns): covariates known in advance.
        past: (T, columns): covariates known up to the origin.
        mean: Of the values learned from, scaled.
        clock: (T + H, columns): the few columns of the calendar that the network reads.
        static: (columns,): covariates of the series.
        width: What the values were divided by.
    """

    values: Array
    observed: NDArray[np.bool_]
    calendar: Array
    known: Array
    past: Array
    mean: float
    clock: Array
    static: Array
    width: float


@dataclass(frozen=True)
class Layout:
    """Which regressors there are: the columns of a `Design`.

    Attributes:
        seasons: Steps of each season, shortest first; (1,) for none.
        lags: Last values.
        repeats: For each season, how many seasons back are looked at.
        calendar, known, past, holidays: Columns of each kind.
    """

    seasons: tuple[int, ...]
    lags: int
    repeats: tuple[int, ...]
    calendar: int = 0
    known: int = 0
    past: int = 0
    holidays: int = 0

    def context(self, horizon: int) -> int:
        """Return the values that are needed before an origin, itself included."""
        reach = [m * (-(-horizon // m) + k) for m, k in zip(self.seasons, self.repeats) if m > 1]
        return max([self.lags, 2 * max(self.seasons), 2, *reach])

    def groups(self) -> list[tuple[str, int, int]]:
        """Return the group of each column: its kind, its season, its place in the group."""
        columns = [("lag", 0, j) for j in range(self.lags)]
        for m, count in zip(self.seasons, self.repeats):
            if m > 1:
                columns += [("season", m, k) for k in range(count)] + [("echo", m, k) for k in range(count)]
        columns += [("level", m, 0) for m in self.seasons[1:]] + [("drift", m, 0) for m in self.seasons]
        columns += [("mean", 0, 0)]
        kinds = {"calendar": self.calendar, "holiday": self.holidays, "known": 2 * self.known, "past": self.past}
        for kind, count in kinds.items():
            columns += [(kind, 0, j) for j in range(count)]
        return columns


class Design:
    r"""Regressors of the change from the anchor, $y_{o+h} - a_o$, at origins of a series.

    The anchor $a_o$ is the mean of the last (shortest) season. Lags are $y_{o-j} - a_o$; a season m gives
    $y_{o+h-km} - a_o$ and its echo $y_{o-km} - a_o$ for k from $\lceil h/m \rceil$ on, its level (mean of its last m
    values) and its drift (change from the m values before those); the mean is $\bar y - a_o$.
    """

    def __init__(self, track: Track, layout: Layout) -> None:
        self.track, self.layout = track, layout
        self._sums = np.concatenate([[0.0], np.cumsum(track.values)])

    def anchor(self, origins: NDArray[np.int64]) -> Array:
        """Return the anchor at each origin, (N,)."""
        return self._mean(origins, self.layout.seasons[0])

    def shared(self, origins: NDArray[np.int64]) -> Array:
        """Return the columns that are the same for all steps ahead: lags, levels, drifts, mean, past."""
        values, anchor = self.track.values, self.anchor(origins)
        columns = [values[origins - j] - anchor for j in range(self.layout.lags)]
        levels = {m: self._mean(origins, m) for m in self.layout.seasons}
        later = [levels[m] - anchor for m in self.layout.seasons[1:]]
        later += [levels[m] - self._mean(origins - m, m) for m in self.layout.seasons]
        later += [self.track.mean - anchor]
        self._split = len(columns)
        past = list(self.track.past[origins].T)
        return np.stack([*columns, *later, *past], 1)

    def matrix(self, origins: NDArray[np.int64], step: int, shared: Array) -> Array:
        """Return the columns of `Layout.groups` at each origin for one step ahead, (N, columns)."""
        values, anchor = self.track.values, self.anchor(origins)
        aligned = []
        for m, count in zip(self.layout.seasons, self.layout.repeats):
            if m > 1:
                first = -(-step // m)
                aligned += [values[origins + step - k * m] - anchor for k in range(first, first + count)]
                aligned += [values[origins - k * m] - anchor for k in range(first, first + count)]
        lags, later = shared[:, : self.layout.lags], shared[:, self.layout.lags :]
        split = later.shape[1] - self.layout.past
        columns = [lags, *(column[:, None] for column in aligned), later[:, :split]]
        columns += [self.track.calendar[origins + step], self.track.known[origins + step]]
        columns += [self.track.known[origins], later[:, split:]]
        return np.concatenate(columns, 1)

    def _mean(self, origins: NDArray[np.int64], steps: int) -> Array:
        return (self._sums[origins + 1] - self._sums[np.maximum(origins + 1 - steps, 0)]) / steps
