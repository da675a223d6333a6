"""One driver for the errors of every metric: bootstrap over sequences; those of finite draws are in `jackknife`."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from bayesrnn._checks import check_level, check_seed, check_whole
from bayesrnn.metrics.jackknife import DrawError, WithoutBlocks, jackknife
from bayesrnn.metrics.pairs import pair
from bayesrnn.metrics.score import Array, Options, Score
from bayesrnn.predictive import Predictive

Items = Callable[[Any, Any], Tensor]
Reduce = Callable[[Array], float]


def evaluate(
    name: str,
    definition: str,
    predictive: Predictive,
    target: Any,
    options: Options,
    items: Items,
    *,
    reduce: Reduce | None = None,
    transform: Callable[[float], float] | None = None,
    correct: bool = False,
    floor: Reduce | None = None,
    need_target: bool = True,
    fixed: bool = False,
    share: bool = False,
    without: WithoutBlocks | None = None,
) -> Score:
    """Score a predictive: per-target items, reduced to one number, with the errors that the options ask for.

    Args:
        name: Name of the metric.
        definition: Which number it is.
        predictive: Judged.
        target: What happened.
        options: See `Options`.
        items: (predictive, target) to what each target contributes, (B, ...) or (B, ..., d).
        reduce: Items (n, ...) to the number; the mean, through `transform`, when not given.
        transform: Applied to the mean.
        correct: Whether finite draws bias the number, so that a corrected one is worth giving.
        floor: Items to what a calibrated model would score.
        need_target: Whether the metric needs a target at all.
        fixed: Whether the items hold values that stay when draws are left out (a tensor that was given), so that the
            error of finite draws cannot be known.
        share: Whether the items are 0 or 1. Where all are the same no resample differs from another, and the interval
            is that of `unanimous_interval`.
        without: Predictive, target and blocks of draws to the items without each block, where that is cheaper at once.
    """
    pairs = pair(predictive, target, options, need_target=need_target)
    final = transform or (lambda mean: mean)
    number: Reduce = reduce or (lambda values: final(float(values.mean())))
    values = pairs.take(items(pairs.predictive, pairs.target))
    value = number(values)
    if math.isnan(value):
        raise ValueError(f"{name} is undefined for these {len(values)} targets (it came out as NaN).")
    level = options.get("interval")
    interval, replicates = None, None
    if level is not None:
        level = check_level(level, "interval")
        seed, resamples = (
            check_seed(options.get("seed", 0)),
            check_whole(options.get("resamples", 1000), "resamples", 10),
        )
        replicates = (
            bootstrap(values, number, pairs.sequences, seed=seed, resamples=resamples)
            if reduce is not None
            else bootstrap_mean(values, final, pairs.sequences, seed=seed, resamples=resamples)
        )
        if floor is not None:
            # resampling repeats targets, which inflates a calibration error by about its floor: center on the value
            replicates = np.maximum(replicates - (np.nanmean(replicates) - value), 0.0)
        alike = share and value in (0.0, 1.0)
        sequences = int(pairs.sequences.max()) + 1
        interval = unanimous_interval(value, sequences, level) if alike else percentile_interval(replicates, level)
    drawn = DrawError()
    if options.get("monte_carlo", False) and not fixed:
        drawn = jackknife(pairs, items, number, value, without=without)
    return Score(
        name=name,
        value=value,
        definition=definition,
        n=len(values),
        sequences=int(pairs.sequences.max()) + 1,
        draws=predictive.draws_used,
        interval=interval,
        level=level,
        standard_error=drawn.standard_error,
        corrected=drawn.corrected if correct else None,
        floor=floor(values) if floor is not None and options.get("floor", False) else None,
        dropped=pairs.dropped,
        replicates=replicates,
        left_out=drawn.left_out,
    )


def resample_sequences(sequences: NDArray[np.int64], *, seed: int, resamples: int) -> NDArray[np.int64]:
    """Return which sequences each resample takes, (resamples, sequences); equal seeds give paired resamples.

    Raises:
        ValueError: If there is one sequence only, whose variation cannot be known.
    """
    count = int(sequences.max()) + 1
    if count < 2:
        raise ValueError(
            "a bootstrap interval resamples whole sequences, and there is only 1. Give the sequence of each target "
            "with sequences=, or leave interval= out."
        )
    return np.random.default_rng(seed).integers(count, size=(resamples, count))


def bootstrap(values: Array, statistic: Reduce, sequences: NDArray[np.int64], *, seed: int, resamples: int) -> Array:
    """Return `statistic` on resamples of whole sequences, (resamples,); undefined resamples are left out."""
    order = np.argsort(sequences, kind="stable")
    counts = np.bincount(sequences)
    starts = np.concatenate([[0], counts.cumsum()[:-1]])
    found = []
    for chosen in resample_sequences(sequences, seed=seed, resamples=resamples):
        sizes = counts[chosen]
        offsets = np.repeat(starts[chosen] - (sizes.cumsum() - sizes), sizes)
        try:
            found.append(statistic(values[order[offsets + np.arange(sizes.sum())]]))
        except ValueError:  # a resample with one class only, say: the statistic is not defined there
            found.append(math.nan)
    result = np.asarray(found)
    if np.isnan(result).mean() > 0.1:
        raise ValueError(
            "the metric is undefined in more than a tenth of the bootstrap resamples: too few sequences (or too few of "
            "a class) for an interval."
        )
    return result


def bootstrap_mean(
    values: Array, transform: Callable[[float], float], sequences: NDArray[np.int64], *, seed: int, resamples: int
) -> Array:
    """Return the same for a function of the mean, without touching single targets again."""
    counts, sums = np.bincount(sequences), np.bincount(sequences, weights=values)
    chosen = resample_sequences(sequences, seed=seed, resamples=resamples)
    means = sums[chosen].sum(1) / counts[chosen].sum(1)
    return np.asarray([transform(float(m)) for m in means])


def percentile_interval(replicates: Array, level: float) -> tuple[float, float]:
    """Return the central interval of bootstrap replicates."""
    known = replicates[~np.isnan(replicates)]
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2], method="closest_observation")
    return float(low), float(high)


def unanimous_interval(value: float, sequences: int, level: float) -> tuple[float, float]:
    r"""Return the exact interval of a share that is 1 (or 0) in every one of G sequences.

    $[\alpha^{1/G}, 1]$ for a share of 1 and $[0, 1 - \alpha^{1/G}]$ for 0, $\alpha$ half of one minus the level: ten
    out of ten say "at least 69 %", not "always". Targets of one sequence count as one.

    Source: Clopper & Pearson 1934 (Biometrika 26).
    """
    miss = 1.0 - ((1.0 - level) / 2) ** (1.0 / sequences)
    return (1.0 - miss, 1.0) if value == 1.0 else (0.0, miss)
