"""How a metric is described, and the one function that computes it with its errors."""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from bayesrnn._checks import check_choice, check_level, check_seed, check_whole
from bayesrnn.metrics.bootstrap import (
    FEW_SEQUENCES,
    METHODS,
    FewSequencesWarning,
    Statistic,
    interval_of,
    resampled,
    unanimous_interval,
)
from bayesrnn.metrics.jackknife import DrawError, WithoutBlocks, jackknife, sampled
from bayesrnn.metrics.pairs import check_options, pair
from bayesrnn.metrics.score import Array, Options, Score
from bayesrnn.predictive import Predictive


@dataclass(frozen=True)
class Metric:
    """What each target contributes to a metric, and how that becomes one number.

    Attributes:
        name: Name of the metric.
        definition: Which of the numbers of that name it is, and its unit.
        items: (predictive, target) to what each target contributes, (B, ...) or (B, ..., d).
        reduce: Items (n, ...) to the number; the mean, through `transform`, where there is none.
        transform: Applied to the mean.
        correct: Whether finite draws bias the number, so that a corrected one is worth giving.
        floor: Items to what a calibrated model would score.
        need_target: Whether the metric needs a target at all.
        fixed: True if the items do not depend on the draws (a tensor was given): the Monte Carlo error is then unknown.
        share: Whether the items are 0 or 1.
        without: (predictive, target, blocks of draws) to the items without each block, where that is cheaper at once.
    """

    name: str
    definition: str
    items: Callable[[Any, Any], Tensor]
    reduce: Callable[[Array], float] | None = None
    transform: Callable[[float], float] | None = None
    correct: bool = False
    floor: Callable[[Array], float] | None = None
    need_target: bool = True
    fixed: bool = False
    share: bool = False
    without: WithoutBlocks | None = None

    def number(self, values: Array) -> float:
        """Return the number of these items."""
        if self.reduce is not None:
            return self.reduce(values)
        mean = float(values.mean())
        return mean if self.transform is None else self.transform(mean)


def evaluate(metric: Metric, predictive: Predictive, target: Any, options: Options) -> Score:
    """Score a predictive, with the errors that the options ask for."""
    pairs = pair(predictive, target, options, need_target=metric.need_target)
    values = pairs.take(metric.items(pairs.predictive, pairs.target))
    score = evaluate_values(metric, values, pairs.sequences, options, draws=predictive.draws_used)
    drawn = DrawError()
    if options.get("monte_carlo", False) and not metric.fixed and not (metric.share and sampled(predictive)):
        drawn = jackknife(pairs, metric.items, metric.number, score.value, without=metric.without)
    return replace(
        score,
        standard_error=drawn.standard_error,
        degrees_of_freedom=None if drawn.left_out is None else len(drawn.left_out) - 1,
        corrected=drawn.corrected if metric.correct else None,
        left_out=drawn.left_out,
        dropped=pairs.dropped,
        pairing=score.pairing and blake2b(score.pairing.encode() + pairs.keep.tobytes(), digest_size=16).hexdigest(),
    )


def evaluate_values(metric: Metric, values: Array, sequences: NDArray[np.int64], options: Options, draws: int) -> Score:
    """Score items (n, ...) that are known already; each belongs to a sequence, numbered from 0."""
    check_options(options)
    value = metric.number(values)
    if math.isnan(value):
        raise ValueError(f"{metric.name} is undefined for these {len(values)} targets (it came out as NaN).")
    level, interval, replicates, pairing = options.get("interval"), None, None, ""
    count, wanted = int(sequences.max()) + 1, options.get("floor", False) or level is not None
    floor = metric.floor(values) if metric.floor is not None and wanted else None
    method = check_choice(options.get("method", "bootstrap"), "method", METHODS)
    if level is not None:
        level, seed = check_level(level, "interval"), check_seed(options.get("seed", 0))
        resamples = check_whole(options.get("resamples", 1000), "resamples", 10)
        statistic = Statistic(metric.number, None if metric.reduce else metric.transform or (lambda mean: mean))
        replicates = resampled(statistic, values, sequences, method, seed=seed, resamples=resamples)
        if metric.floor is not None and method == "bootstrap":
            # resampling repeats targets, which inflates a calibration error by about its floor: center on the value
            replicates = np.maximum(replicates - (np.nanmean(replicates) - value), 0.0)
        if metric.share and value in (0.0, 1.0):  # no resample differs from another
            interval = unanimous_interval(value, count, level)
        else:
            interval = interval_of(value, replicates, level, method)
            if count < FEW_SEQUENCES and method == "bootstrap":
                warnings.warn(FewSequencesWarning(count), stacklevel=4)
        if floor is not None:  # chance adds between 0 and the floor to a calibration error: the true one is lower
            interval = max(interval[0] - floor, 0.0), interval[1]
        pairing = f"{method} {seed} {resamples} {blake2b(sequences.tobytes(), digest_size=16).hexdigest()}"
    return Score(
        name=metric.name,
        value=value,
        definition=metric.definition,
        n=len(values),
        sequences=count,
        draws=draws,
        interval=interval,
        level=level,
        method=method,
        floor=floor if options.get("floor", False) else None,
        replicates=replicates,
        pairing=pairing,
    )
