"""Inputs of the linear part and the network: scaled series (tracks), and windows at origins."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bayesrnn.data.patterns import pattern_of
from bayesrnn.data.steps import following
from bayesrnn.forecasting.calendar import calendar_columns, clock_columns
from bayesrnn.forecasting.design import Design, Layout, Track
from bayesrnn.forecasting.public_holidays import holiday_columns, holiday_flags
from bayesrnn.forecasting.record import Record


@dataclass(frozen=True)
class Scale:
    """Mean of a series, and its usual seasonal change (`width`), by which values are divided."""

    mean: float
    width: float


@dataclass(frozen=True, eq=False)
class Windows:
    """Inputs and targets of the network at N origins: features, linear forecasts, observed values.

    Attributes:
        context: (N, C, features).
        ahead: (N, H, features).
        base: (N, H) linear forecasts, target units.
        scale: (N, 1) width of the series.
        target: (N, H), target units; NaN where nothing was observed.
        ids: (N,) numbers that name series and origin: the masks of an origin are its own.
    """

    context: Tensor
    ahead: Tensor
    base: Tensor
    scale: Tensor
    target: Tensor
    ids: Tensor

    def __len__(self) -> int:
        return len(self.base)

    def inputs(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the arguments of the network."""
        return self.context, self.ahead, self.base, self.scale

    @staticmethod
    def joined(parts: Sequence["Windows"]) -> "Windows":
        """Return the windows of all parts."""
        return Windows(*(torch.cat([getattr(part, name) for part in parts]) for name in Windows.__annotations__))


@dataclass(frozen=True)
class Reader:
    """Turns a history into scaled values (a track), and a track into windows.

    Attributes:
        layout: Regressors of the linear part.
        horizon: Steps ahead, H.
        context: Steps that the network reads.
        span: Steps of the longest series learned from: whether a year can be known.
        holidays: Country whose holidays are regressors.
    """

    layout: Layout
    horizon: int
    context: int
    span: int
    holidays: str | None = None

    @property
    def needed(self) -> int:
        """Steps before an origin, itself included; as many are put in front of every track."""
        return max(self.layout.context(self.horizon), self.context + 1)

    def track(self, record: Record, scale: Scale, ahead: NDArray[np.float64]) -> Track:
        """Return a history in scaled units, with its first season repeated in front, marked as not observed."""
        front, season = self.needed, min(self.layout.seasons[0], len(record))
        place = np.arange(-front, 0) % season
        times = record.times.append(following(record.times, self.horizon))
        calendar = np.concatenate([calendar_columns(times, self.span), holiday_columns(times, self.holidays)], 1)
        clock = np.concatenate([clock_columns(times, self.span), holiday_flags(times, self.holidays)], 1)
        known, past = np.concatenate([record.known, ahead]), record.past
        earlier = [np.repeat(part[:1], front, 0) for part in (calendar, clock, known, past)]
        calendar, clock, known, past = (
            np.concatenate([before, part]) for before, part in zip(earlier, (calendar, clock, known, past))
        )
        values = np.concatenate([record.values[:season][place], record.values]) / scale.width
        observed = np.concatenate([np.zeros(front, bool), record.observed])
        return Track(
            values, observed, calendar, known, past, scale.mean / scale.width, clock, record.static, scale.width
        )

    def windows(self, track: Track, origins: NDArray[np.int64], base: NDArray[np.float64], record: Record) -> Windows:
        """Return the windows at origins (positions in the track) with linear forecasts `base`, (N, H), scaled."""
        moments = record.times[origins - self.needed]
        values, seasons = track.values, [m for m in self.layout.seasons if m > 1]
        anchor = Design(track, self.layout).anchor(origins)[:, None]
        back = origins[:, None] + np.arange(1 - self.context, 1)
        steps = np.arange(1, self.horizon + 1)
        later = origins[:, None] + steps
        read = [values[back] - anchor, values[back] - values[np.maximum(back - 1, 0)], track.observed[back] * 1.0]
        read += [values[back] - values[np.maximum(back - m, 0)] for m in seasons]
        future = [base - anchor, np.broadcast_to(steps / self.horizon, base.shape)]
        future += [values[later - (-(-steps // m)) * m] - anchor for m in seasons]
        fixed = np.broadcast_to(track.static, (len(origins), 1, len(track.static)))
        context = [np.stack(read, -1), track.clock[back], track.known[back], track.past[back]]
        ahead = [np.stack(future, -1), track.clock[later], track.known[later]]
        full = [
            np.concatenate([*part, np.broadcast_to(fixed, (len(origins), length, fixed.shape[2]))], -1)
            for part, length in ((context, self.context), (ahead, self.horizon))
        ]
        width = track.width
        inside = np.minimum(later, len(values) - 1)
        seen = (later < len(values)) & track.observed[inside]
        target = np.where(seen, values[inside], np.nan) * width
        read_features, future_features = (torch.from_numpy(part.astype(np.float32)) for part in full)
        return Windows(
            read_features,
            future_features,
            torch.from_numpy(base * width),
            torch.full((len(origins), 1), width, dtype=torch.float64),
            torch.from_numpy(target),
            ids_of(record.id, moments),
        )


def scale_of(record: Record, season: int) -> Scale:
    """Return mean and width of a history: the mean absolute change from season to season.

    Raises:
        ValueError: If the values never change.
    """
    values = record.values
    changes = np.abs(values[season:] - values[:-season]) if len(values) > season else np.abs(np.diff(values))
    mean = float(values.mean())
    width = float(changes.mean()) or float(values.std())
    if not width > 1e-12 * (np.abs(values).max() + 1e-300):
        width = 1.0 if len(values) < 2 * season else 0.0
    if width == 0.0:
        raise ValueError(
            f"the values of {record.label} {pattern_of(values)}, so there is no error to learn from. Such a series "
            "needs no forecaster; check that the right column was read."
        )
    return Scale(mean, width)


def ids_of(name: Any, moments: Any) -> Tensor:
    """Return a number in [0, 2**63) for each origin of a series, from its name and time."""
    digests = [hashlib.blake2b(f"{name}|{moment}".encode(), digest_size=8).digest() for moment in moments]
    return torch.tensor([int.from_bytes(digest, "little") >> 1 for digest in digests])
