"""Which origins to take where not all can be: some at every time of the season."""

import math

import numpy as np
from numpy.typing import NDArray

_GOLDEN = (5**0.5 - 1) / 2


def spacing(wanted: int, season: int, most: int | None = None) -> int:
    """Return the steps between origins, near `wanted` and at most `most`, that visit every time of the season.

    Where the spacing and the season share a factor, origins see some times of the day only, and the scores of each
    horizon are those of other times.

    Example:
        >>> spacing(12, season=48)
        13
    """
    if season == 1 or wanted == 1:
        return wanted
    whole = [steps for steps in range(1, (most or wanted + season) + 1) if math.gcd(steps, season) == 1]
    return min(whole, key=lambda steps: (max(steps / wanted, wanted / steps), -steps))


def spread(count: int, kept: int) -> NDArray[np.int64]:
    """Return about `kept` of `count` positions: one per equal part, at a place in it that changes.

    Equal steps would meet a season of 24 at some of its hours only. Fractions of multiples of the golden ratio are in
    step with no season.

    Example:
        >>> spread(240, 10) % 24
        array([ 0, 14,  5, 20, 11,  2, 16,  7, 22, 13])
    """
    if kept >= count:
        return np.arange(count)
    parts = np.arange(kept)
    return np.unique(((parts + parts * _GOLDEN % 1) * count / kept).astype(np.int64))
