"""Splits of a series in time, and the windows that a model is trained on."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bayesrnn.data.series import Series
from bayesrnn.models import Forecaster

__all__ = ["Split", "origins_between", "split_in_time", "windows_between"]


@dataclass(frozen=True)
class Split:
    """Positions in a series: training ends where validation starts, validation where the held-out span starts."""

    validation: int
    held_out: int
    end: int


def split_in_time(
    series: Series, *, needed: int, horizon: int, validation: Any = None, held_out: Any = None, share: float = 0.2
) -> Split:
    """Split a series in three spans of time: training, validation, held out.

    Args:
        series: The series.
        needed: Values that one window needs (context and horizon); training must hold at least twice as many.
        horizon: Steps ahead; validation and held-out span must hold at least two horizons each.
        validation: Time (or position) at which validation starts; by default a `share` before the held-out span.
        held_out: Time (or position) at which the held-out span starts; by default the last `share`.
        share: Share of the series of each later span.

    Raises:
        ValueError: If a span would be too short.
    """
    end = len(series)
    size = max(round(share * end), 2 * horizon)
    last = end - size if held_out is None else _position(series, held_out)
    first = last - size if validation is None else _position(series, validation)
    if first < needed + horizon or last - first < 2 * horizon or end - last < 2 * horizon:
        raise ValueError(
            f"a series of {end} values is too short: {max(first, 0)} for training, {last - first} for validation and "
            f"{end - last} held out, where at least {needed + horizon}, {2 * horizon} and {2 * horizon} are needed "
            f"({needed} for a context with its horizon of {horizon}). Bring a longer series, or shorten the horizon, "
            "the context or the period."
        )
    return Split(first, last, end)


def windows_between(forecaster: Forecaster, series: Series, start: int, stop: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return contexts (rows, C), targets (rows, H) and which were observed, for targets within [start, stop)."""
    first = start - forecaster.context if start >= forecaster.context else 0
    context, target = forecaster.windows(series.values[first:stop])
    _, seen = forecaster.windows(series.observed[first:stop].double())
    return context, target, seen


def origins_between(forecaster: Forecaster, start: int, stop: int, every: int = 1) -> Tensor:
    """Return the origins (positions of the last known value) whose targets lie within [start, stop)."""
    first = max(start - 1, forecaster.context - 1)
    return torch.arange(first, stop - forecaster.horizon, every)


def _position(series: Series, place: Any) -> int:
    return place if isinstance(place, int) else series.position(place)
