"""Errors of a number from finite data: the bootstrap over sequences, and the jackknife with its t interval."""

import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bayesrnn.metrics.pairs import check_several
from bayesrnn.metrics.score import Array
from bayesrnn.predictive.finite_draws import spread

METHODS = ("bootstrap", "student")
FEW_SEQUENCES = 30
"""Fewer sequences than this make a percentile bootstrap too narrow: 95 % intervals hold 75 % at 5, 88 % at 20."""
FEWEST_SEQUENCES = 6
"""Sequences that a verdict needs: of fewer, all lie on one side by chance in 2^(1 − k) > 5 % of cases."""
Sequences = NDArray[np.int64]


@dataclass(frozen=True)
class Statistic:
    """A number of items (n, ...); `transform` is set where it is that function of their mean."""

    number: Callable[[Array], float]
    transform: Callable[[float], float] | None = None


def resampled(
    statistic: Statistic, values: Array, sequences: Sequences, method: str, *, seed: int, resamples: int
) -> Array:
    """Return the statistic of each resample of whole sequences, or (student) without each sequence in turn.

    Raises:
        ValueError: If there is one sequence only, whose variation cannot be known, or the statistic is undefined in
            more than a tenth of the resamples.
    """
    count = check_several(sequences)
    draw = np.random.default_rng(seed).integers
    chosen = None if method == "student" else draw(count, size=(resamples, count))
    if statistic.transform is not None:
        return _of_means(values, statistic.transform, sequences, chosen)
    replicates = np.asarray([_defined(statistic.number, part) for part in _parts(values, sequences, chosen)])
    if np.isnan(replicates).mean() > 0.1:
        raise ValueError(
            "the metric is undefined in more than a tenth of the resamples: too few sequences (or too few of a class) "
            "for an interval."
        )
    return replicates


def _parts(values: Array, sequences: Sequences, chosen: Sequences | None) -> Iterator[Array]:
    if chosen is None:
        yield from (values[sequences != k] for k in range(int(sequences.max()) + 1))
        return
    order = np.argsort(sequences, kind="stable")
    counts = np.bincount(sequences)
    starts = np.concatenate([[0], counts.cumsum()[:-1]])
    for row in chosen:
        sizes = counts[row]
        offsets = np.repeat(starts[row] - (sizes.cumsum() - sizes), sizes)
        yield values[order[offsets + np.arange(sizes.sum())]]


def _defined(statistic: Callable[[Array], float], values: Array) -> float:
    try:
        return statistic(values)
    except ValueError:  # a resample with one class only, say: the statistic is not defined there
        return math.nan


def _of_means(
    values: Array, transform: Callable[[float], float], sequences: Sequences, chosen: Sequences | None
) -> Array:
    """Return the same for a function of the mean, without touching single targets again."""
    counts, sums = np.bincount(sequences), np.bincount(sequences, weights=values)
    if chosen is None:
        means = (sums.sum() - sums) / (counts.sum() - counts)
    else:
        means = sums[chosen].sum(1) / counts[chosen].sum(1)
    return np.asarray([transform(float(m)) for m in means])


def interval_of(value: float, replicates: Array, level: float, method: str) -> tuple[float, float]:
    r"""Return the interval of a value: percentiles of the resamples, or the t interval of the jackknife.

    $\hat\theta \pm t_{G-1}\,\sqrt{\tfrac{G-1}{G}\sum_g(\theta_{(-g)} - \bar\theta)^2}$ for G sequences.
    """
    known = replicates[~np.isnan(replicates)]
    if method == "bootstrap":
        low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2], method="closest_observation")
        return float(low), float(high)
    from scipy.stats import t

    half = float(t.ppf((1 + level) / 2, len(known) - 1)) * spread(known)
    return value - half, value + half


class FewSequencesWarning(UserWarning):
    """A bootstrap interval rests on too few sequences to hold its level."""

    def __init__(self, count: int) -> None:
        super().__init__(
            f"only {count} independent sequences: the bootstrap interval is rough and too narrow (95 % intervals hold "
            'about 75 % with 5 sequences, 88 % with 20). method="student" gives the t interval of the jackknife.'
        )


@contextmanager
def unwarned() -> Iterator[None]:
    """Leave the warning of few sequences out, where the caller says so in its own words."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FewSequencesWarning)
        yield


def unanimous_interval(value: float, sequences: int, level: float) -> tuple[float, float]:
    r"""Return the exact interval of a share that is 1 (or 0) in every one of G sequences.

    $[\alpha^{1/G}, 1]$ for a share of 1 and $[0, 1 - \alpha^{1/G}]$ for 0, $\alpha$ half of one minus the level: ten
    out of ten say "at least 69 %", not "always". Targets of one sequence count as one.

    Source: Clopper & Pearson 1934 (Biometrika 26).
    """
    miss = 1.0 - ((1.0 - level) / 2) ** (1.0 / sequences)
    return (1.0 - miss, 1.0) if value == 1.0 else (0.0, miss)
