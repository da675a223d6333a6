"""A whole forecasting study: split, train, recalibrate, compare, on one series."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bayesrnn import schemes
from bayesrnn.data.series import Series
from bayesrnn.forecasting._backtest import backtest, forecast
from bayesrnn.forecasting._train import train
from bayesrnn.forecasting.baselines import exponential_smoothing, seasonal_naive
from bayesrnn.forecasting.intervals import compare_forecasts
from bayesrnn.forecasting.recalibrate import RollingIntervals
from bayesrnn.forecasting.result import BASELINES, MC, NAIVE_MASKS, RAW, STANDARD, STANDARD_RECALIBRATED, Study
from bayesrnn.forecasting.settings import Settings
from bayesrnn.forecasting.splits import Split, judged_origins, split_in_time
from bayesrnn.models import Forecaster
from bayesrnn.predictive import Predictive
from bayesrnn.training import History


def study(
    series: Series,
    settings: Settings,
    *,
    validation: Any = None,
    held_out: Any = None,
    per_step: bool = True,
    future: bool = False,
    progress: bool = False,
    say: Callable[[str], None] = lambda _: None,
    checkpoint: str | os.PathLike[str] | None = None,
) -> Study:
    """Train on the early span, forecast from origins that roll through the rest, recalibrate causally, compare.

    The held-out span is used for nothing but the scores: the network learns from the training span; the spreads start
    from validation errors and follow those that each origin already knows.

    Args:
        series: The series.
        settings: Sizes, rates, draws, seed.
        validation: Time at which validation starts; by default a fifth before the held-out span.
        held_out: Time at which the held-out span starts; by default the last fifth.
        per_step: Whether to train and compare the network with a new mask each step too.
        future: Whether to forecast the steps after the end of the series too.
        progress: Whether to show bars.
        say: Called with one line per stage.
        checkpoint: Folder for the trainings after each epoch: the same call goes on where it was stopped.

    Raises:
        ValueError: If the series is too short for its period and horizon, or gaps leave nothing to judge.
    """
    horizon, draws = settings.horizon, settings.draws
    split = split_in_time(
        series, needed=settings.context + horizon, horizon=horizon, validation=validation, held_out=held_out
    )
    origins = judged_origins(series, split, context=settings.context, horizon=horizon, every=settings.every)
    stage = _Stages(say)
    with stage("training", "training the network with one mask per sequence"):
        forecaster, history = _trained(
            series, split, settings, settings.scheme(), progress, _part(checkpoint, "sequence")
        )
    with stage("forecasting", f"drawing {draws} mask sets for each of {len(origins)} origins"):
        everything = backtest(forecaster, series, origins, draws=draws, seed=settings.seed, progress=progress)
        plain = backtest(forecaster, series, origins, draws=0)
        rolling = RollingIntervals.for_horizon(horizon)
        factors, held = rolling.factors(everything), origins >= split.held_out - 1
        raw = everything[held]
        recalibrated = raw.with_predictive(rolling.stretch(raw.predictive, factors[:, held]))
    forecasts: dict[str, Predictive] = {
        MC: recalibrated.predictive,
        RAW: raw.predictive,
        STANDARD_RECALIBRATED: rolling.apply(plain)[held],
        STANDARD: plain.predictive[held],
    }
    if per_step:
        with stage("naive masks", "training the same network with a new mask each step"):
            naive, _ = _trained(series, split, settings, settings.naive_scheme(), progress, _part(checkpoint, "step"))
            options: dict[str, Any] = {"draws": draws, "seed": settings.seed, "progress": progress}
            forecasts[NAIVE_MASKS] = backtest(naive, series, raw.origins, **options).predictive
    with stage("baselines", "fitting the baselines"):
        forecasts |= _baselines(series, raw.origins, split, settings)
    with stage("scoring", "scoring on the held-out span"):
        comparison = compare_forecasts(forecasts, raw.target, raw.origins, reference=STANDARD, units=series.units)
    ahead = None
    if future:
        end = rolling.factors(everything, torch.tensor([len(series) - 1]))
        ahead = rolling.stretch(forecast(forecaster, series, draws=draws, seed=settings.seed), end)
    return Study(
        series, split, settings, forecaster, history, raw, recalibrated, factors[:, held], comparison, ahead,
        stage.seconds,
    )  # fmt: skip


def _trained(
    series: Series, split: Split, settings: Settings, scheme: schemes.Scheme, progress: bool, checkpoint: Path | None
) -> tuple[Forecaster, History]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        forecaster = Forecaster(
            settings.context,
            settings.horizon,
            period=series.period,
            hidden_size=settings.hidden_size,
            dropout=scheme,
        )
    history = train(
        forecaster,
        series,
        split,
        epochs=settings.epochs,
        learning_rate=settings.learning_rate,
        seed=settings.seed,
        progress=progress,
        checkpoint=checkpoint,
    )
    return forecaster, history


def _part(checkpoint: str | os.PathLike[str] | None, name: str) -> Path | None:
    return None if checkpoint is None else Path(checkpoint) / name


def _baselines(series: Series, origins: Tensor, split: Split, settings: Settings) -> dict[str, Predictive]:
    known: dict[str, Any] = {"horizon": settings.horizon, "fit_until": split.held_out}
    tests = (
        exponential_smoothing(series, origins, **known),
        seasonal_naive(series, origins, **known, drift=settings.context - series.period),
        seasonal_naive(series, origins, **known),
    )
    return {name: test.predictive for name, test in zip(BASELINES, tests, strict=True)}


class _Stages:
    """Says what begins and notes how long it took."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say, self.seconds = say, dict[str, float]()

    @contextmanager
    def __call__(self, stage: str, text: str) -> Iterator[None]:
        self.say(text)
        since = time.perf_counter()
        yield
        self.seconds[stage] = time.perf_counter() - since
