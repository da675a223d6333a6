"""The difference between two predictives on the same targets."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from bayesrnn._checks import check_level
from bayesrnn.metrics.bootstrap import percentile_interval
from bayesrnn.metrics.jackknife import spread
from bayesrnn.metrics.score import Score
from bayesrnn.predictive import Predictive


def paired_difference(
    metric: Callable[..., Score],
    first: Predictive,
    second: Predictive,
    target: Any = None,
    *,
    interval: float = 0.95,
    **options: Any,
) -> Score:
    """Return metric(first) - metric(second) with a paired bootstrap interval over sequences.

    Both are scored on the same resamples of the sequences, so what makes a sequence hard cancels. Draws that both share
    (one seed, as many draws) cancel too in the Monte Carlo error: the jackknife leaves a block out of both at once. For
    a metric that is better when lower, an interval below zero says that `first` is better.

    Args:
        metric: One of `bayesrnn.metrics` that returns a Score.
        first: A predictive.
        second: Another of the same targets.
        target: (B, ...).
        interval: Level of the interval.
        **options: Passed to the metric (level=, sequences=, seed=, ...).
    """
    check_level(interval, "interval")
    a = metric(first, target, interval=interval, **options)
    b = metric(second, target, interval=interval, **options)
    if a.replicates is None or b.replicates is None or (a.n, a.sequences) != (b.n, b.sequences):
        raise ValueError(
            f"the two predictives must be scored on the same targets, but one has {a.n} of {a.sequences} sequences and "
            f"the other {b.n} of {b.sequences}. Pass the same mask and sequences."
        )
    replicates = a.replicates - b.replicates
    return replace(
        a,
        name=f"{a.name} difference",
        value=a.value - b.value,
        definition=f"first minus second: {a.definition}",
        interval=percentile_interval(replicates, interval),
        standard_error=_error(a, b, first.origin.shares_draws(second.origin)),
        corrected=None if a.corrected is None or b.corrected is None else a.corrected - b.corrected,
        floor=None,
        replicates=replicates,
        left_out=None,
    )


def _error(a: Score, b: Score, shared: bool) -> float | None:
    if a.standard_error is None or b.standard_error is None:
        return None
    if shared and a.left_out is not None and b.left_out is not None and len(a.left_out) == len(b.left_out):
        return spread(a.left_out - b.left_out)
    return math.hypot(a.standard_error, b.standard_error)
