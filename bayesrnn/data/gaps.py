"""Gaps of a series: which values are observed, and what stands in for the others."""

from typing import Any

import numpy as np

from bayesrnn.data.steps import time_text

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
    """Fill gaps with a line between neighbors plus the mean seasonal pattern around the line."""
    steps = np.arange(len(values))
    phase = steps % period
    window = np.ones(2 * (period // 2) + 1)
    known = np.where(observed, values, 0.0)
    mean = np.convolve(known, window, "same") / np.maximum(np.convolve(observed, window, "same"), 1)
    away = np.where(observed, values - mean, 0.0)
    pattern = np.bincount(phase, away, period) / np.maximum(np.bincount(phase, observed, period), 1)
    level = np.interp(steps, steps[observed], (values - pattern[phase])[observed])
    return np.where(observed, values, level + pattern[phase])
