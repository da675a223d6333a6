"""What is said about time steps that are unequal: where, and what to do."""

from typing import Any

import numpy as np

__all__ = ["commonest", "round_step", "time_text", "unequal_steps"]

_ROUND = [(n * size, f"{n}{name}") for size, name, counts in (
    (1, "s", (1, 2, 5, 10, 15, 20, 30)),
    (60, "min", (1, 2, 5, 10, 15, 20, 30)),
    (3600, "h", (1, 2, 3, 4, 6, 8, 12)),
    (86400, "D", range(1, 61)),
) for n in counts]  # fmt: skip
_NEAR = 0.1


def commonest(steps: Any) -> Any:
    """Return the step that comes most often."""
    usual, counts = np.unique(np.asarray(steps), return_counts=True)
    return usual[counts.argmax()]


def round_step(step: Any) -> str | None:
    """Return the round step that lies within a tenth of a pandas Timedelta, in pandas' short form, or None.

    Example:
        >>> import pandas as pd
        >>> round_step(pd.Timedelta(seconds=601))
        '10min'
    """
    seconds = step.total_seconds()
    size, name = min(_ROUND, key=lambda known: abs(known[0] - seconds))
    return name if abs(size - seconds) <= _NEAR * size else None


def unequal_steps(index: Any, whole: Any) -> str:
    """Say where the first unequal step is (in months for monthly data), and what to do."""
    import pandas as pd

    steps, length = np.diff(index.to_numpy()), _length
    if isinstance(index, pd.DatetimeIndex):
        steps = np.diff(index.tz_localize(None).to_numpy())
        months = np.diff(index.year * 12 + index.month)
        if commonest(steps) >= np.timedelta64(28, "D") and bool((months > 0).all()):
            steps, length = months, _months
    common = commonest(steps)
    place = int(np.argmax(steps != common))
    if whole is not None and len(whole) > len(index):  # the first step over a time that is missing
        gone = whole.difference(index)[0]
        place = int(index.searchsorted(gone)) - 1
    return (
        f"the time steps are unequal: {time_text(index[place + 1])} follows {time_text(index[place])}, a step of "
        f"{length(steps[place])} where most are {length(common)}. {_advice(index, common, whole)}"
    )


def _advice(index: Any, common: Any, whole: Any) -> str:
    """Say what to do about times that are missing, or about steps that fit no grid."""
    import pandas as pd

    if not isinstance(index, pd.DatetimeIndex):
        return (
            "A forecast needs equal steps. These times were read as plain numbers: bridge the missing ones "
            "(bridge=True, or --bridge), write dates as 2024-01-31, or leave the times out and count the rows "
            "(every='D', --every D)."
        )
    rule = _rule(index, common, whole)
    if whole is None:
        means = f"take means with series.resample('{rule}').mean() in pandas and bridge empty ones; or " if rule else ""
        return f"A forecast needs equal steps: {means}leave the times out and count the rows (every='D', --every D)."
    clocks = ""
    if whole.freq is not None and isinstance(common, np.timedelta64) and common < np.timedelta64(1, "D"):
        clocks = "; where clocks were set forward, write each time with its offset from UTC (03:00+02:00)"
    resample = f", or, in pandas, series.resample('{rule}').mean()" if rule else ""
    return (
        f"{len(whole) - len(index)} of {len(whole)} times are missing: bridge them (bridge=True, or --bridge on the "
        f"command line; they are then neither learned nor scored){resample}{clocks}."
    )


def _rule(index: Any, common: Any, whole: Any) -> str:
    """Return the step in pandas' short form (5min, B, MS), or nothing where there is none that keeps most values."""
    import pandas as pd

    if whole is not None and (whole.freq is None or isinstance(whole.freq, pd.offsets.CustomBusinessDay)):
        return ""
    if not isinstance(common, np.timedelta64):
        return "MS" if common == 1 else f"{int(common)}MS"
    if whole is not None:
        return str(whole.freqstr)
    return round_step((index[1:] - index[:-1]).to_series().median()) or ""


def _months(step: Any) -> str:
    return f"{int(step)} month{'s' if step != 1 else ''}"


def time_text(time: Any) -> str:
    """Return a time as text: a date without its clock where that is midnight."""
    return str(time).removesuffix(" 00:00:00")


def _length(step: Any) -> str:
    import pandas as pd

    return (
        str(pd.Timedelta(step)).removesuffix(" 00:00:00") if np.issubdtype(type(step), np.timedelta64) else f"{step:g}"
    )
