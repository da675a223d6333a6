"""The linear part of a forecaster: regressors chosen on the validation span, mean weights of ridge regressions."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bayesrnn.forecasting.design import Design, Layout, Track
from bayesrnn.forecasting.origins import spread

Array = NDArray[np.float64]
Rows = Sequence[tuple[Design, NDArray[np.int64]]]
"""Designs with the origins to look at in each."""

_STEPS, _ORIGINS = 10, 500
_SWEEPS, _MEMBERS = 2, 10
_PRIORS = ("season", "anchor", "last", "change")


@dataclass(frozen=True)
class Choice:
    """Which regressors take part, where weights shrink to, and how strongly.

    Attributes:
        lags: Last values that are read.
        repeats: For each season, how many seasons back; 0 leaves the season out.
        prior: Where weights shrink to: "anchor" (0), "last" (the last value), "season" (the mean of past seasons),
            "change" (the last value plus what followed it seasons ago).
        calendar, holidays, mean: Whether the calendar, holidays and the mean of the series take part.
        penalty: Relative to the sum of squares of each regressor.
    """

    lags: int
    repeats: tuple[int, ...]
    prior: str = "anchor"
    calendar: bool = False
    mean: bool = False
    penalty: float = 1e-3
    holidays: bool = False

    def columns(self, layout: Layout) -> NDArray[np.int64]:
        """Return the positions of its regressors in the layout."""
        repeats = dict(zip(layout.seasons, self.repeats))
        keep = {
            "lag": lambda m, k: k < self.lags,
            "season": lambda m, k: k < repeats[m],
            "echo": lambda m, k: k < repeats[m],
            "level": lambda m, k: repeats[m] > 0,
            "drift": lambda m, k: repeats[m] > 0 or m == 1,
            "mean": lambda m, k: self.mean,
            "calendar": lambda m, k: self.calendar,
            "holiday": lambda m, k: self.holidays,
        }
        return np.array(
            [i for i, (kind, m, k) in enumerate(layout.groups()) if kind not in keep or keep[kind](m, k)], np.int64
        )

    def start(self, layout: Layout) -> Array:
        """Return where the weights of its regressors shrink to."""
        longest = max((m for m, k in zip(layout.seasons, self.repeats) if k and m > 1), default=0)
        count = dict(zip(layout.seasons, self.repeats)).get(longest, 0)
        groups = layout.groups()
        weights = np.zeros(len(self.columns(layout)))
        for place, column in enumerate(self.columns(layout)):
            kind, m, k = groups[column]
            if self.prior in ("last", "change") and kind == "lag" and k == 0:
                weights[place] = 1.0
            elif self.prior in ("season", "change") and kind == "season" and m == longest:
                weights[place] = 1.0 / count
            elif self.prior == "change" and kind == "echo" and m == longest:
                weights[place] = -1.0 / count
        return weights


@dataclass(frozen=True, eq=False)
class Skeleton:
    """A fitted linear part: weights (H, regressors) of the regressors at `columns` of the layout."""

    layout: Layout
    columns: NDArray[np.int64]
    weights: Array

    def predict(self, track: Track, origins: NDArray[np.int64]) -> Array:
        """Return the forecasts from each origin, (N, H), scaled."""
        design = Design(track, self.layout)
        shared, steps = design.shared(origins), range(1, len(self.weights) + 1)
        changes = [design.matrix(origins, h, shared)[:, self.columns] @ self.weights[h - 1] for h in steps]
        return np.stack(changes, 1) + design.anchor(origins)[:, None]


def choose(train: Rows, validation: Rows, layout: Layout, horizon: int) -> tuple[tuple[Choice, ...], float]:
    """Return choices whose mean forecast has a small mean absolute error in the validation span, and that error.

    From each prior on, each part of the choice is improved in turn. Of all that were tried then, the best is taken, and
    nine times the one whose forecast, added to the mean, lowers its error most; one that comes again weighs more.

    Source: Caruana et al. 2004, "Ensemble selection from libraries of models" (ICML).
    """
    errors = _Errors(train, validation, layout, horizon)
    for prior in _PRIORS:
        best = Choice(_several(layout.lags)[-1], tuple(min(k, 2) for k in layout.repeats), prior, penalty=1e-2)
        for _ in range(_SWEEPS):
            before = best
            for options in _moves(layout):
                best = min([best, *options(best)], key=errors.size)
            if best == before:
                break
    return errors.best_mean(_MEMBERS)


class _Errors:
    """Errors of choices in the validation span; one sum of squares and products per step serves every choice."""

    def __init__(self, train: Rows, validation: Rows, layout: Layout, horizon: int) -> None:
        steps = sorted({round(h) for h in np.linspace(1, horizon, min(_STEPS, horizon))})
        most = _ORIGINS // len(validation) + 1
        held = [(design, origins[spread(len(origins), most)]) for design, origins in validation]
        self.layout, self.of = layout, dict[Choice, Array]()
        known, later = ([design.shared(origins) for design, origins in rows] for rows in (train, held))
        self.parts = []
        for h in steps:
            products = _products([_read(row, h, part) for row, part in zip(train, known)])
            tests = (_read(row, h, part) for row, part in zip(held, later))
            self.parts.append((*products, *(np.concatenate(p) for p in zip(*tests))))
        counts = [seen / max(seen.sum(), 1) / len(steps) for *_, seen in self.parts]
        self.weights = np.concatenate(counts)

    def size(self, choice: Choice) -> float:
        """Return the mean absolute error of a choice."""
        if choice not in self.of:
            columns, start = choice.columns(self.layout), choice.start(self.layout)
            errors = []
            for gram, cross, matrix, change, _ in self.parts:
                weights = _solve(gram[np.ix_(columns, columns)], cross[columns], start, choice.penalty)
                errors.append(matrix[:, columns] @ weights - change)
            self.of[choice] = np.concatenate(errors)
        return self._mean(self.of[choice])

    def best_mean(self, members: int) -> tuple[tuple[Choice, ...], float]:
        """Return the members, in the order in which they were taken, and the error of their mean."""
        chosen = [min(self.of, key=self.size)]
        total = self.of[chosen[0]]
        for count in range(2, members + 1):
            chosen.append(min(self.of, key=lambda choice: self._mean((total + self.of[choice]) / count)))
            total = total + self.of[chosen[-1]]
        return tuple(chosen), self._mean(total / members)

    def _mean(self, errors: Array) -> float:
        return float(self.weights @ np.abs(errors))


def fit_skeleton(
    rows: Rows, layout: Layout, choices: Sequence[Choice], horizon: int, folds: int = 5
) -> tuple[Skeleton, list[Array]]:
    """Return the mean weights of choices, by ridge regression, and cross-fitted forecasts of the rows, (N, H) each.

    A cross-fitted forecast comes from weights that were fitted to the other folds of time.
    """
    columns, weigh = _joined(layout, choices)
    shared = [design.shared(origins) for design, origins in rows]
    pieces = [np.array_split(np.arange(len(origins)), folds) for _, origins in rows]
    weights, forecasts = [], [np.zeros((len(origins), horizon)) for _, origins in rows]
    for h in range(1, horizon + 1):
        read = [_read(row, h, part, columns) for row, part in zip(rows, shared)]
        products = [_products([[v[p[f]] for v in values] for values, p in zip(read, pieces)]) for f in range(folds)]
        gram, cross = (np.sum(part, 0) for part in zip(*products))
        weights.append(weigh(gram, cross))
        for f in range(folds):
            others = weigh(gram - products[f][0], cross - products[f][1])
            for forecast, (matrix, *_), p in zip(forecasts, read, pieces):
                forecast[p[f], h - 1] = matrix[p[f]] @ others
    anchored = [change + design.anchor(origins)[:, None] for change, (design, origins) in zip(forecasts, rows)]
    return Skeleton(layout, columns, np.stack(weights)), anchored


def _joined(layout: Layout, choices: Sequence[Choice]) -> tuple[NDArray[np.int64], Callable[[Array, Array], Array]]:
    """Return every regressor that a choice reads, and the mean weights as a function of their products."""
    columns = np.unique(np.concatenate([choice.columns(layout) for choice in choices]))
    counts = Counter(choices)

    def weigh(gram: Array, cross: Array) -> Array:
        mean = np.zeros(len(columns))
        for choice, count in counts.items():
            own = np.searchsorted(columns, choice.columns(layout))
            weights = _solve(gram[np.ix_(own, own)], cross[own], choice.start(layout), choice.penalty)
            mean[own] += weights * (count / len(choices))
        return mean

    return columns, weigh


def _moves(layout: Layout) -> Iterable[Callable[[Choice], list[Choice]]]:
    yield lambda c: [replace(c, penalty=p) for p in (1e-4, 1e-3, 1e-2, 3e-2, 1e-1, 0.3, 1.0)]
    for place, most in enumerate(layout.repeats):
        yield (
            lambda c, place=place, most=most: [  # type: ignore[misc]
                replace(c, repeats=(*c.repeats[:place], k, *c.repeats[place + 1 :])) for k in (0, *_several(most))
            ]
        )
    yield lambda c: [replace(c, lags=p) for p in _several(layout.lags)]
    yield lambda c: [replace(c, calendar=flag) for flag in (False, True)] if layout.calendar else []
    yield lambda c: [replace(c, holidays=flag) for flag in (False, True)] if layout.holidays else []
    yield lambda c: [replace(c, mean=flag) for flag in (False, True)]


def _several(most: int) -> list[int]:
    return sorted({k for k in (1, 2, 3, 4, 6, 8, 12, 24, 48, 96) if k < most} | ({most} if most else set()))


def _read(
    row: tuple[Design, NDArray[np.int64]], step: int, shared: Array, columns: NDArray[np.int64] | None = None
) -> list[Array]:
    """Return regressors, changes from the anchor, and which were observed, at the origins of one series."""
    design, origins = row
    matrix = design.matrix(origins, step, shared)
    change = design.track.values[origins + step] - design.anchor(origins)
    seen = design.track.observed[origins + step].astype(float)
    return [matrix if columns is None else matrix[:, columns], change, seen]


def _products(read: Sequence[Sequence[Array]]) -> tuple[Array, Array]:
    """Return $X^T X$ and $X^T y$ of the observed rows of all series."""
    weighted = [(matrix * seen[:, None]).T for matrix, _, seen in read]
    gram = np.sum([part @ matrix for part, (matrix, _, _) in zip(weighted, read)], 0)
    return gram, np.sum([part @ change for part, (_, change, _) in zip(weighted, read)], 0)


def _solve(gram: Array, cross: Array, start: Array, penalty: float) -> Array:
    r"""Return the minimum of $|y - X w|^2 + \lambda \sum_j |x_j|^2 (w_j - w^0_j)^2$."""
    size = np.sqrt(np.maximum(np.diag(gram), 1e-12 * max(float(np.diag(gram).max()), 1e-300)))
    scaled = gram / size[:, None] / size
    right = (cross - gram @ start) / size
    return start + np.linalg.solve(scaled + (penalty + 1e-9) * np.eye(len(size)), right) / size
