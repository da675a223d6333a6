"""Splits of a series in time, and the windows that a model is trained on."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bayesrnn.data.series import Series
from bayesrnn.models import Forecaster


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
            f"a series of {end} values is too short for a horizon of {horizon}: with {end - last} values held out and "
            f"{last - first} for validation (at least {2 * horizon} each), {first} are left to train on, where "
            f"{needed + horizon} are needed ({needed} for a context with its horizon). {_advice(end, needed, horizon)}"
        )
    return Split(first, last, end)


def _advice(end: int, needed: int, horizon: int) -> str:
    """Say which horizon fits, with the context as it is."""
    context = needed - horizon
    longest = (end - context) // 6  # two horizons in each of two spans, one in a window, one more to train on
    fits = f"A horizon of {longest} fits, " if 0 < longest < horizon else ""
    return f"{fits}{'or b' if fits else 'B'}ring a longer series, or shorten the context or the period."


def windows_between(forecaster: Forecaster, series: Series, start: int, stop: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return contexts (rows, C), targets (rows, H) and which were observed, for targets within [start, stop)."""
    first = start - forecaster.context if start >= forecaster.context else 0
    context, target = forecaster.windows(series.values[first:stop])
    _, seen = forecaster.windows(series.observed[first:stop].double())
    return context, target, seen


def judged_origins(series: Series, split: Split, *, context: int, horizon: int, every: int) -> Tensor:
    """Return the origins from validation on whose targets were all observed, every so many steps.

    One falls on the start of the held-out span and one on the last place with room for a horizon, so that the forecasts
    reach from the first held-out value to the last.

    Raises:
        ValueError: If gaps leave no origin in the validation span, less than two in the held-out span, or nothing to
            train on.
    """
    if not series.observed[context : split.validation].any():
        raise ValueError(
            f"no value after the first {context}, the context, is observed before validation starts: there is nothing "
            "to train on. Start the series later, or shorten the context."
        )
    first, last = max(split.validation, context) - 1, split.end - horizon - 1
    origins = torch.arange(first, last + 1)
    origins = origins[((origins - (split.held_out - 1)) % every == 0) | (origins == last)]
    observed = series.observed[origins[:, None] + torch.arange(1, horizon + 1)]
    whole = observed.all(1)
    held_out = origins >= split.held_out - 1
    for span, inside, needed in (("validation", ~held_out, 1), ("held-out", held_out, 2)):
        if (kept := int((whole & inside).sum())) < needed:
            missing = 1 - float(series.observed[split.validation :].double().mean())
            count, every_one = int(inside.sum()), "nearly every" if kept else "every"
            raise ValueError(
                f"gaps in {every_one} horizon: of the {count} forecasts of {horizon} steps in the {span} span "
                f"{kept or 'none'} can be judged and {needed} must be, because {100 * missing:.0f} % of the values are "
                "missing. Shorten the horizon below the distance between gaps, fill the gaps in, or leave out times "
                "that are never observed: of working days make a series of working days "
                "(data[data.index.day_of_week < 5].asfreq('B'))."
            )
    return origins[whole]


def _position(series: Series, place: Any) -> int:
    return place if isinstance(place, int) else series.position(place)
