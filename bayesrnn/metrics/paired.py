"""The difference between two predictives on the same targets."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from bayesrnn._checks import check_level
from bayesrnn.metrics.bootstrap import interval_of
from bayesrnn.metrics.pairs import common_sequences
from bayesrnn.metrics.score import Array, Score
from bayesrnn.predictive import Predictive
from bayesrnn.predictive.finite_draws import spread


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
        **options: Passed to the metric (level=, sequences=, seed=, ...). Without sequences=, the
            sequence ids of `second` (else of `first`) say which rows belong together.

    Raises:
        ValueError: If the two carry ids that group the rows differently.
    """
    check_level(interval, "interval")
    options["sequences"] = common_sequences({"the second": second, "the first": first}, options.get("sequences"))
    a = metric(first, target, interval=interval, **options)
    b = metric(second, target, interval=interval, **options)
    value, ends, replicates = difference(a, b)
    error, freedom = _error(a, b, first.origin.shares_draws(second.origin))
    return replace(
        a,
        name=f"{a.name} difference",
        value=value,
        definition=f"first minus second: {a.definition}",
        interval=ends,
        standard_error=error,
        degrees_of_freedom=freedom,
        corrected=None if a.corrected is None or b.corrected is None else a.corrected - b.corrected,
        floor=None,
        replicates=replicates,
        left_out=None,
    )


def difference(
    first: Score, second: Score, turned: Callable[[Any], Any] = lambda values: values
) -> tuple[float, tuple[float, float], Array]:
    """Return first minus second, its interval, and the differences of their paired replicates.

    Args:
        first: A score with an interval.
        second: Another of the same targets, with the same resamples.
        turned: Applied to values before they are subtracted (to the distance from an ideal, say).

    Raises:
        ValueError: If the scores do not come from the same targets, sequences and resamples.
    """
    if first.replicates is None or second.replicates is None or first.pairing != second.pairing:
        raise ValueError(
            f"both must be scored on the same targets, but one has {first.n} targets of {first.sequences} sequences "
            f"and the other {second.n} of {second.sequences}, or their rows are grouped differently, or no interval "
            "was asked for. Pass the same interval, mask, sequences and seed."
        )
    value = float(turned(first.value) - turned(second.value))
    replicates = np.asarray(turned(first.replicates) - turned(second.replicates))
    return value, interval_of(value, replicates, first.level or 0.95, first.method), replicates


def _error(a: Score, b: Score, shared: bool) -> tuple[float | None, int | None]:
    """Return the Monte Carlo error of the difference and its degrees of freedom (Welch 1947 for separate draws)."""
    if a.standard_error is None or b.standard_error is None:
        return None, None
    if shared and a.left_out is not None and b.left_out is not None and len(a.left_out) == len(b.left_out):
        return spread(a.left_out - b.left_out), len(a.left_out) - 1
    errors = [(a.standard_error, a.degrees_of_freedom), (b.standard_error, b.degrees_of_freedom)]
    total = math.hypot(a.standard_error, b.standard_error)
    parts = [(error / total) ** 4 / freedom for error, freedom in errors if error and freedom]
    return total, max(int(1 / sum(parts)), 1) if parts else None
