"""How a forecaster is fitted: chosen on the validation span, then fitted again to everything."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bayesrnn.forecasting.calendar import calendar_columns, seasons_of
from bayesrnn.forecasting.design import Design, Layout
from bayesrnn.forecasting.features import Reader, Scale, Windows, scale_of
from bayesrnn.forecasting.fitted import Fitted, observed_loss
from bayesrnn.forecasting.panel import Record
from bayesrnn.forecasting.skeleton import Choice, choose, cross_fitted, fit_skeleton
from bayesrnn.models.forecaster_residual import ResidualForecaster
from bayesrnn.schemes import Scheme
from bayesrnn.training import History, fit

__all__ = ["Options", "Outcome", "learn", "validation_starts"]

_MOST_WINDOWS, _WATCHED = 10_000, 1_000
_BATCH, _STEPS, _EPOCHS = 64, 600, 60
_LONGEST_LAG, _REPEATS = 96, 8
_FEWEST = 8
"""Origins that a span needs to be learned from or chosen on."""
_EXACT = 1e-9  # in units of a series: errors of no more are rounding


@dataclass(frozen=True)
class Options:
    """Options of a fit.

    Attributes:
        horizon: Steps ahead.
        seasons: Steps of each season; None for what the time step suggests.
        hidden_size, num_layers: Of the network.
        schemes: Its masks; of several those that are better in the validation span.
        likelihoods: Of several the one that is better in the validation span, with the masks chosen before.
        epochs: Most passes over the windows; None for as many as 600 steps make.
        learning_rate: Highest step size.
        seed: Of weights and masks.
        progress: Whether to show bars.
        checkpoint: Folder where each training keeps its state, so that a fit which was stopped goes on.
        context: Steps that the network reads; None for two seasons, 24 to 96.
    """

    horizon: int
    seasons: tuple[int, ...] | None
    hidden_size: int
    num_layers: int
    schemes: tuple[Scheme, ...]
    likelihoods: tuple[str, ...]
    epochs: int | None
    learning_rate: float
    seed: int
    progress: bool
    checkpoint: Path | None = None
    context: int | None = None

    def state_folder(self, scheme: Scheme, likelihood: str, last: bool) -> Path | None:
        """Return where one of the trainings of a fit keeps its state."""
        text = json.dumps([scheme.to_dict(), likelihood, last]).encode()
        name = hashlib.blake2b(text, digest_size=6).hexdigest()
        return None if self.checkpoint is None else self.checkpoint / name


@dataclass(frozen=True, eq=False)
class Outcome:
    """A fit on the span before validation, chosen by validation, and the fit to everything with the same choices."""

    early: Fitted
    final: Fitted
    choice: Choice
    history: History
    starts: list[int]


def validation_starts(records: Sequence[Record], horizon: int, validation: Any = None) -> list[int]:
    """Return the position in each series at which validation starts.

    Args:
        records: The series.
        horizon: Steps ahead.
        validation: A share of each series, or a time; a fifth by default.

    Raises:
        ValueError: If the share is not in (0, 1).
    """
    if validation is None or isinstance(validation, float):
        share = 0.2 if validation is None else validation
        if not 0 < share < 1:
            raise ValueError(f"validation must be a share in (0, 1) or a time, but {validation!r} was given.")
        return [len(r) - max(round(share * len(r)), horizon + min(horizon, _FEWEST)) for r in records]
    return [int(record.times.searchsorted(validation)) for record in records]


def learn(records: Sequence[Record], options: Options, validation: Any = None) -> Outcome:
    """Choose on the validation span what is learned before it; then learn the same from everything.

    Raises:
        ValueError: If no series is long enough, or none ever changes.
    """
    horizon = options.horizon
    starts = validation_starts(records, horizon, validation)
    layout = _layout(records, starts, options)
    context = options.context or int(np.clip(2 * layout.seasons[0], 24, 96))
    reader = Reader(layout, horizon, context, max(starts))
    train = [_origins(reader, record, layout.seasons[0], start) for record, start in zip(records, starts)]
    watch = [_range(reader, record, start - 1, len(record) - 1) for record, start in zip(records, starts)]
    _check_long(records, starts, train, watch, horizon, layout)
    scales = {r.id: _early_scale(r, start, layout.seasons[0]) for r, start in zip(records, starts)}
    rows, held = _rows(reader, records, train, scales), _rows(reader, records, watch, scales)
    choice, _ = choose(rows, held, layout, horizon)
    early, history = _fitted(reader, records, train, scales, choice, options, watch, None)
    scales = {r.id: scale_of(r, layout.seasons[0]) for r in records}
    everything = [_origins(reader, record, layout.seasons[0], len(record)) for record in records]
    chosen = replace(options, schemes=(early.network.scheme,), likelihoods=(early.network.likelihood,))
    final, _ = _fitted(reader, records, everything, scales, choice, chosen, None, history)
    return Outcome(early, final, choice, history, starts)


def _fitted(
    reader: Reader,
    records: Sequence[Record],
    origins: Sequence[NDArray[np.int64]],
    scales: dict[Any, Scale],
    choice: Choice,
    options: Options,
    watch: Sequence[NDArray[np.int64]] | None,
    before: History | None,
) -> tuple[Fitted, History]:
    """Fit linear part and network: up to the best epoch on `watch` windows, or to the best epoch of `before`."""
    rows = _rows(reader, records, origins, scales)
    skeleton = fit_skeleton(rows, reader.layout, choice, reader.horizon)
    bases = cross_fitted(rows, reader.layout, choice, reader.horizon)
    kept = _thinned(origins, _MOST_WINDOWS)
    windows = Windows.joined(
        [
            reader.windows(design.track, o[k], base[k], record)
            for (design, o), base, k, record in zip(rows, bases, kept, records)
            if len(k)
        ]
    )
    fitted = Fitted(reader, skeleton, None, scales)  # type: ignore[arg-type]
    held = None
    if watch is not None:
        few = _thinned(watch, _WATCHED)
        held = Windows.joined(
            [fitted.windows(record, o[k] - reader.needed) for record, o, k in zip(records, watch, few) if len(k)]
        )
    network, history = _best(windows, held, options, before)
    return replace(fitted, network=network), history


def _best(
    windows: Windows, held: Windows | None, options: Options, before: History | None
) -> tuple[ResidualForecaster, History]:
    """Train with each scheme, then with each further likelihood under the better one; return the best."""

    def tried(scheme: Scheme, likelihood: str) -> tuple[ResidualForecaster, History]:
        return _trained(windows, held, scheme, likelihood, options, before)

    def loss(result: tuple[ResidualForecaster, History]) -> float:
        return result[1].best or 0.0

    best = min((tried(scheme, options.likelihoods[0]) for scheme in options.schemes), key=loss)
    others = [tried(best[0].scheme, likelihood) for likelihood in options.likelihoods[1:]]
    return min([best, *others], key=loss)


def _trained(
    windows: Windows,
    held: Windows | None,
    scheme: Scheme,
    likelihood: str,
    options: Options,
    before: History | None,
) -> tuple[ResidualForecaster, History]:
    most = options.epochs or max(1, min(_EPOCHS, round(_STEPS * _BATCH / len(windows))))
    epochs = most if before is None else (before.best_epoch or 0) + 1
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        network = ResidualForecaster(
            windows.context.shape[-1],
            windows.ahead.shape[-1],
            windows.base.shape[-1],
            hidden_size=options.hidden_size,
            num_layers=options.num_layers,
            dropout=scheme,
            likelihood=likelihood,
        )
    error = (windows.target - windows.base) / windows.scale
    spread = error.square().nanmean(0).sqrt()
    if not bool(spread.max() > _EXACT):
        raise ValueError(
            "the linear part forecasts every value exactly, so there is no error to learn from: the series repeats or "
            "goes on without noise. Such a series needs no forecaster; check that the right column was read."
        )
    network.standardize(windows.context, windows.ahead, torch.where(spread > 0, spread, spread.mean()))
    history = fit(
        network,
        _data(windows),
        None if held is None else _data(held),
        loss=observed_loss,
        epochs=epochs,
        batch_size=_BATCH,
        learning_rate=options.learning_rate,
        weight_decay=1e-4,
        schedule=lambda epoch: warm_cosine(epoch, most),
        checkpoint=options.state_folder(scheme, likelihood, before is not None),
        seed=options.seed,
        progress=options.progress,
    )
    return network, history


def warm_cosine(epoch: int, epochs: int) -> float:
    """Return the factor of the learning rate: linear warm-up over a tenth of the epochs, then cosine decay."""
    place = (epoch + 0.5) / epochs
    return place / 0.1 if place < 0.1 else float(0.5 * (1 + np.cos(np.pi * (place - 0.1) / 0.9)))


def _early_scale(record: Record, start: int, season: int) -> Scale:
    """Return the scale before validation, or of the whole series if it does not move before."""
    try:
        return scale_of(record.until(max(start, 3)), season)
    except ValueError:
        return scale_of(record, season)


def _data(windows: Windows) -> dict[str, torch.Tensor]:
    names, seen = ("context", "ahead", "base", "scale"), ~torch.isnan(windows.target)
    value = torch.where(seen, windows.target, windows.base)
    return dict(zip(names, windows.inputs())) | {"target": torch.stack([value, seen.double()], -1)}


def _layout(records: Sequence[Record], starts: Sequence[int], options: Options) -> Layout:
    longest = max(range(len(records)), key=lambda k: starts[k])
    record, length = records[longest], max(starts[longest], 2)
    seasons = options.seasons or seasons_of(record.times, length)
    if max(seasons) * 2 > length:
        raise ValueError(
            f"a season of {max(seasons)} steps needs two of them before validation, but the longest series has "
            f"{length} steps there. Leave it out of seasons=, or bring a longer series."
        )
    lags = min(2 * seasons[0] if seasons[0] > 1 else 24, _LONGEST_LAG, max(length // 8, 1))
    repeats = tuple(max(min(_REPEATS, (length // 4 - options.horizon) // m), 1) if m > 1 else 0 for m in seasons)
    calendar = calendar_columns(record.times[:2], length).shape[1]
    return Layout(tuple(seasons), lags, repeats, calendar, record.known.shape[1], record.past.shape[1])


def _origins(reader: Reader, record: Record, season: int, end: int) -> NDArray[np.int64]:
    """Return the origins, in the track, whose targets lie before `end` and which know two seasons."""
    first = reader.needed - 1 if len(record) >= 2 * reader.needed else 2 * season
    return _range(reader, record, first, end - 1)


def _range(reader: Reader, record: Record, first: int, last: int) -> NDArray[np.int64]:
    """Return the origins, in the track, from position `first` whose targets end by position `last`."""
    return np.arange(max(first, 0), max(last - reader.horizon + 1, 0)) + reader.needed


def _rows(
    reader: Reader, records: Sequence[Record], origins: Sequence[NDArray[np.int64]], scales: dict[Any, Scale]
) -> list[tuple[Design, NDArray[np.int64]]]:
    nothing = [np.zeros((reader.horizon, record.known.shape[1])) for record in records]
    tracks = [reader.track(r, scales[r.id], later) for r, later in zip(records, nothing)]
    return [(Design(track, reader.layout), o) for track, o in zip(tracks, origins)]


def _thinned(origins: Sequence[NDArray[np.int64]], most: int) -> list[NDArray[np.int64]]:
    """Return which origins of each series to keep, evenly, so that at most about `most` are left."""
    every = max(-(-sum(map(len, origins)) // most), 1)
    return [np.arange(len(o) % every // 2, len(o), every) for o in origins]


def _check_long(
    records: Sequence[Record],
    starts: Sequence[int],
    train: Sequence[NDArray[np.int64]],
    watch: Sequence[NDArray[np.int64]],
    horizon: int,
    layout: Layout,
) -> None:
    learned, watched = sum(map(len, train)), sum(map(len, watch))
    if learned >= _FEWEST and watched >= 1:
        return
    longest = max(map(len, records))
    fits = (longest - 2 * layout.seasons[0] - 2 * _FEWEST) // 2
    advice = f"a horizon of at most {fits} fits" if fits >= 1 else "bring a longer series"
    raise ValueError(
        f"the longest of {len(records)} series has {longest} steps, which are too few for a horizon of {horizon}: "
        f"{learned} windows lie before validation (at least {_FEWEST} are needed) and {watched} in it. With seasons of "
        f"{', '.join(map(str, layout.seasons))} steps {advice}."
    )
