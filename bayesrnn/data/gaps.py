"""Gaps of a series: which values are observed, and what stands in for the others."""

from typing import Any

import numpy as np

from bayesrnn.data.step_words import time_text

__all__ = ["bridge_gaps", "observed_values"]


def observed_values(values: Any, times: Any, bridge: bool, shortest: int) -> Any:
    """Return which values are observed, or refuse missing and infinite ones."""
    infinite = np.flatnonzero(np.isinf(values))
    if len(infinite):
        raise ValueError(
            f"{len(infinite)} values are infinite (first at {time_text(times[infinite[0]])}). Correct or remove them."
        )
    missing = np.flatnonzero(np.isnan(values))
    if len(missing) and not bridge:
        raise ValueError(
            f"{len(missing)} of {len(values)} values are missing (first at {time_text(times[missing[0]])}). Fill them "
            "in, start after them, or bridge them (bridge=True, or --bridge on the command line): they are then "
            "neither learned nor scored."
        )
    if len(values) - len(missing) < shortest:
        raise ValueError(f"only {len(values) - len(missing)} values are observed; at least {shortest} are needed.")
    return ~np.isnan(values)


def bridge_gaps(values: Any, observed: Any, period: int) -> Any:
    r"""Fill each gap from what was observed before it, never from what follows.

    With the last observed value $y_l$ and the K seasons of m steps that lie before it, a missing value becomes

    $$y_t = y_l + \frac1K \sum_{j=1}^{K} (y_{t-jm} - y_{l-jm}),$$

    the last value plus the mean change that the past saw over the same steps of the season (values filled before count
    like observed ones). So a context that ends anywhere holds nothing that was observed later.

    Args:
        values: (T,), NaN where nothing was observed; the first is observed.
        observed: Which are observed, (T,).
        period: Steps of a season, m.
    """
    base = float(values[0])
    filled = (values - base).tolist()
    sums: list[float] = []  # of the values at the same step of the season, up to and with each
    last = 0
    for t, seen in enumerate(observed.tolist()):
        if seen:
            last = t
        else:
            seasons = last // period
            change = 0.0
            if seasons:
                first = t - (seasons + 1) * period
                change = sums[t - period] - (sums[first] if first >= 0 else 0.0) - sums[last - period]
            filled[t] = filled[last] + change / max(seasons, 1)
        sums.append(filled[t] + (sums[t - period] if t >= period else 0.0))
    return np.where(observed, values, np.asarray(filled) + base)
