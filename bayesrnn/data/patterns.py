"""Name the pattern of a series that can be continued without error, such as a constant one."""

from typing import Any

import numpy as np

_EQUAL = 1e-9  # relative: more apart than rounding
_LARGEST = 1e30  # squares and sums of larger values leave float32 soon


def pattern_of(values: Any) -> str:
    """Return the pattern of an exactly predictable series (N,), as the end of "the values ...".

    Example:
        >>> pattern_of([2.0, 2.0, 2.0])
        'are constant (2)'
        >>> pattern_of([1.0, 2.0, 4.0, 8.0])
        'grow by the same factor each step (2): forecast their logarithm, whose drift is constant'
    """
    values = np.asarray(values, np.float64)
    if not np.isfinite(values).all() or np.abs(values).max(initial=0.0) > _LARGEST:
        return f"reach {np.abs(values).max():.3g}, too large for float32: divide them by a number of their size"
    steps = np.diff(values)
    size = np.abs(values).max(initial=0.0)
    changes = np.flatnonzero(np.abs(steps) > _EQUAL * size)
    if not len(changes):
        return f"are constant ({values[0]:g})"
    if len(changes) <= 2:
        return f"are constant but for {len(changes)} step{'s' * (len(changes) > 1)} (after value {changes[0] + 1})"
    if np.ptp(steps) <= _EQUAL * size:
        return f"rise by the same amount each step ({steps[0]:g})"
    if (values > 0).all() or (values < 0).all():
        factors = values[1:] / values[:-1]
        if np.ptp(factors) <= _EQUAL * factors.max():
            return (
                f"{'grow' if factors[0] > 1 else 'shrink'} by the same factor each step ({factors[0]:g}): forecast "
                "their logarithm, whose drift is constant"
            )
    return "repeat exactly from season to season"
