"""The difference between two predictives on the same targets."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from bayesrnn._checks import check_level
from bayesrnn.predictive import Predictive

from .errors import percentile_interval
from .score import Score


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

    Both are scored on the same resamples of the sequences, so what makes a sequence hard cancels. For a metric that is
    better when lower, an interval below zero says that `first` is better.

    Args:
        metric: One of `bayesrnn.metrics` that returns a Score.
        first: A predictive.
        second: Another of the same targets.
        target: (B, ...).
        interval: Level of the interval.
        **options: Passed to the metric (level=, groups=, seed=, ...).
    """
    check_level(interval, "interval")
    a = metric(first, target, interval=interval, **options)
    b = metric(second, target, interval=interval, **options)
    if a.replicates is None or b.replicates is None or (a.n, a.sequences) != (b.n, b.sequences):
        raise ValueError(
            f"the two predictives must be scored on the same targets, but one has {a.n} of {a.sequences} sequences and "
            f"the other {b.n} of {b.sequences}. Pass the same mask and groups."
        )
    replicates = a.replicates - b.replicates
    return replace(
        a,
        name=f"{a.name} difference",
        value=a.value - b.value,
        definition=f"first minus second: {a.definition}",
        interval=percentile_interval(replicates, interval),
        standard_error=None if a.standard_error is None or b.standard_error is None else _both(a, b),
        corrected=None if a.corrected is None or b.corrected is None else a.corrected - b.corrected,
        floor=None,
        replicates=replicates,
    )


def _both(a: Score, b: Score) -> float:
    return ((a.standard_error or 0.0) ** 2 + (b.standard_error or 0.0) ** 2) ** 0.5
