"""How a forecaster is fitted: chosen on the validation span, then fitted again to everything."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bayesrnn.forecasting._train import observed_nll, warm_cosine
from bayesrnn.forecasting.features import Reader, Scale, Windows, scale_of
from bayesrnn.forecasting.fitted import Fitted
from bayesrnn.forecasting.options import Options
from bayesrnn.forecasting.record import Record
from bayesrnn.forecasting.skeleton import Choice, choose, fit_skeleton
from bayesrnn.forecasting.spans import (
    check_long,
    designs,
    layout_of,
    origins_before,
    origins_between,
    thinned,
    validation_starts,
)
from bayesrnn.models.forecaster_residual import ResidualForecaster
from bayesrnn.schemes import Scheme
from bayesrnn.training import History, fit

_MOST_WINDOWS, _WATCHED = 10_000, 1_000
_BATCH, _STEPS, _EPOCHS = 64, 600, 60
_SHARES = tuple(k / 10 for k in range(1, 11))
_EXACT = 1e-9  # in units of a series: errors of no more are rounding


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained network, of which a share is kept (`ResidualForecaster.shrink`), and its validation loss."""

    network: ResidualForecaster
    history: History
    share: float
    loss: float


@dataclass(frozen=True, eq=False)
class Outcome:
    """A fit on the span before validation, chosen by validation, and the fit to everything with the same choices."""

    early: Fitted
    final: Fitted
    choices: tuple[Choice, ...]
    trained: Trained
    starts: list[int]


def learn(records: Sequence[Record], options: Options, validation: Any = None) -> Outcome:
    """Choose on the validation span what is learned before it; then learn the same from everything.

    Raises:
        ValueError: If no series is long enough, or none ever changes.
    """
    horizon = options.horizon
    starts = validation_starts(records, horizon, validation)
    layout = layout_of(records, starts, options)
    context = options.context or int(np.clip(2 * layout.seasons[0], 24, 96))
    reader = Reader(layout, horizon, context, max(starts), options.holidays)
    train = [origins_before(reader, record, layout.seasons[0], start) for record, start in zip(records, starts)]
    watch = [origins_between(reader, record, start - 1, len(record) - 1) for record, start in zip(records, starts)]
    check_long(records, starts, train, watch, horizon, layout)
    scales = {r.id: _early_scale(r, start, layout.seasons[0]) for r, start in zip(records, starts)}
    rows, held = designs(reader, records, train, scales), designs(reader, records, watch, scales)
    choices, _ = choose(rows, held, layout, horizon)
    early, trained = _fitted(reader, records, train, scales, choices, options, watch, None)
    scales = {r.id: scale_of(r, layout.seasons[0]) for r in records}
    everything = [origins_before(reader, record, layout.seasons[0], len(record)) for record in records]
    chosen = replace(options, schemes=(early.network.scheme,), likelihoods=(early.network.likelihood,))
    final, _ = _fitted(reader, records, everything, scales, choices, chosen, None, trained.share)
    return Outcome(early, final, choices, trained, starts)


def _fitted(
    reader: Reader,
    records: Sequence[Record],
    origins: Sequence[NDArray[np.int64]],
    scales: dict[Any, Scale],
    choices: Sequence[Choice],
    options: Options,
    watch: Sequence[NDArray[np.int64]] | None,
    share: float | None,
) -> tuple[Fitted, Trained]:
    """Fit linear part and network, of which the share is kept that is best on `watch` windows, or `share`."""
    rows = designs(reader, records, origins, scales)
    skeleton, bases = fit_skeleton(rows, reader.layout, choices, reader.horizon)
    kept = thinned(origins, _MOST_WINDOWS)
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
        few = thinned(watch, _WATCHED)
        held = Windows.joined(
            [fitted.windows(record, o[k] - reader.needed) for record, o, k in zip(records, watch, few) if len(k)]
        )
    trained = _best(windows, held, options, share)
    return replace(fitted, network=trained.network), trained


def _best(windows: Windows, held: Windows | None, options: Options, share: float | None) -> Trained:
    """Train with each scheme, then with each further likelihood under the better one; return the best."""

    def tried(scheme: Scheme, likelihood: str) -> Trained:
        network, history = _network(windows, scheme, likelihood, options, held is None)
        loss, kept = (0.0, share or 1.0) if held is None else _share(network, held)
        return Trained(network.shrink(kept), history, kept, loss)

    best = min((tried(scheme, options.likelihoods[0]) for scheme in options.schemes), key=lambda one: one.loss)
    others = [tried(best.network.scheme, likelihood) for likelihood in options.likelihoods[1:]]
    return min([best, *others], key=lambda one: one.loss)


@torch.no_grad()
def _share(network: ResidualForecaster, held: Windows) -> tuple[float, float]:
    """Return the lowest loss of the deterministic pass in the validation span, and the share that has it."""
    parts = zip(held.context.split(_BATCH), held.ahead.split(_BATCH))
    raw, target = torch.cat([network.parameters_of(*part) for part in parts]), _data(held)["target"]
    losses = {
        share: float(observed_nll(network.distribution(share * raw, held.base, held.scale), target))
        for share in _SHARES
    }
    share = min(losses, key=lambda one: losses[one])
    return losses[share], share


def _network(
    windows: Windows, scheme: Scheme, likelihood: str, options: Options, last: bool
) -> tuple[ResidualForecaster, History]:
    """Train a network through all epochs: the rate of the last steps is 0, so their noise is averaged out."""
    epochs = options.epochs or max(1, min(_EPOCHS, round(_STEPS * _BATCH / len(windows))))
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
        loss=observed_nll,
        epochs=epochs,
        batch_size=_BATCH,
        learning_rate=options.learning_rate,
        weight_decay=1e-4,
        schedule=lambda epoch: warm_cosine(epoch, epochs),
        checkpoint=options.state_folder(scheme, likelihood, last),
        seed=options.seed,
        progress=options.progress,
    )
    return network, history


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
