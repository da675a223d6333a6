"""A whole forecasting study: split, train, recalibrate, compare, on one series."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from bayesrnn import schemes
from bayesrnn.data.series import Series
from bayesrnn.forecasting._backtest import Backtest, backtest, forecast
from bayesrnn.forecasting._train import train
from bayesrnn.forecasting.baselines import exponential_smoothing, seasonal_naive
from bayesrnn.forecasting.recalibrate import RollingIntervals
from bayesrnn.forecasting.scores import score_table
from bayesrnn.forecasting.settings import Settings
from bayesrnn.forecasting.splits import Split, judged_origins, split_in_time
from bayesrnn.models import Forecaster
from bayesrnn.predictive import ContinuousPredictive
from bayesrnn.training import History

__all__ = ["MC", "NAIVE_MASKS", "RAW", "STANDARD", "Study", "study"]

MC = "MC dropout, recalibrated"
RAW = "MC dropout"
STANDARD = "standard approximation"
STANDARD_RECALIBRATED = "standard, recalibrated"
NAIVE_MASKS = "per-step masks (naive)"
_FEW_ORIGINS = 10


@dataclass(frozen=True, eq=False)
class Study:
    """What a study found.

    Attributes:
        series: The series.
        split: Its spans.
        settings: What was chosen beforehand.
        forecaster: The trained network.
        history: Its losses.
        raw: Forecasts of the held-out span as the draws give them.
        recalibrated: The same with spreads that follow past errors.
        factors: By how much the 50, 80 and 95 % intervals were widened, (3, O, H).
        forecasts: Name → distribution of the held-out targets; the first two are `recalibrated` and `raw`.
        table: Scores of all of them.
        blocks: Block of each origin, for the bootstrap.
        future: Recalibrated distribution of the steps after the end of the series, (1, H).
        seconds: Name of a stage → how long it took.
    """

    series: Series
    split: Split
    settings: Settings
    forecaster: Forecaster
    history: History
    raw: Backtest
    recalibrated: Backtest
    factors: Tensor
    forecasts: dict[str, ContinuousPredictive]
    table: Any
    blocks: Tensor
    future: ContinuousPredictive
    seconds: dict[str, float] = field(default_factory=dict)

    def value(self, forecast: str, score: str) -> float:
        """Return one number of the table."""
        found = self.table[(self.table["forecast"] == forecast) & (self.table["score"] == score)]
        return float(found["value"].iloc[0])


def study(
    series: Series,
    settings: Settings,
    *,
    validation: Any = None,
    held_out: Any = None,
    per_step: bool = True,
    progress: bool = False,
    say: Callable[[str], None] = lambda _: None,
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
        progress: Whether to show bars.
        say: Told what happens, a line a stage.

    Raises:
        ValueError: If the series is too short for its period and horizon.
    """
    needed = settings.context + settings.horizon
    split = split_in_time(series, needed=needed, horizon=settings.horizon, validation=validation, held_out=held_out)
    span = {"context": settings.context, "horizon": settings.horizon, "every": settings.every}
    origins = judged_origins(series, split, **span)  # before the training: gaps may leave none
    clock = _Clock(say)
    clock.start("training", "training the network with one mask a sequence")
    forecaster, history = _trained(series, split, settings, settings.scheme(), progress)
    clock.start("forecasting", f"drawing {settings.draws} mask sets for each of {len(origins)} origins")
    options: dict[str, Any] = {"draws": settings.draws, "seed": settings.seed}
    everything = backtest(forecaster, series, origins, **options, progress=progress)
    plain = backtest(forecaster, series, origins, draws=0)
    rolling = RollingIntervals.for_horizon(settings.horizon)
    held = origins >= split.held_out - 1
    factors = rolling.factors(everything)
    raw = everything[held]
    recalibrated = raw.with_predictive(rolling.stretch(raw.predictive, factors[:, held]))
    later = raw.origins
    forecasts = {
        MC: recalibrated.predictive,
        RAW: raw.predictive,
        STANDARD_RECALIBRATED: rolling.apply(plain)[held],
        STANDARD: plain.predictive[held],
    }
    if per_step:
        clock.start("naive masks", "training the same network with a new mask each step")
        naive, _ = _trained(series, split, settings, settings.naive_scheme(), progress)
        forecasts[NAIVE_MASKS] = backtest(naive, series, later, **options, progress=progress).predictive
    clock.start("baselines", "fitting the baselines")
    known: dict[str, Any] = {"fit_until": split.held_out}
    horizon, drift = settings.horizon, settings.context - series.period
    forecasts |= {
        "ETS": exponential_smoothing(series, later, horizon, **known).predictive,
        "seasonal naive + drift": seasonal_naive(series, later, horizon, **known, drift=drift).predictive,
        "seasonal naive": seasonal_naive(series, later, horizon, **known).predictive,
    }
    clock.start("scoring", "scoring on the held-out span")
    blocks = _blocks(later, horizon)
    table = score_table(forecasts, raw.target, reference=STANDARD, blocks=blocks, seed=settings.seed)
    end = torch.tensor([len(series) - 1])
    future = rolling.stretch(forecast(forecaster, series, **options), rolling.factors(everything, end))
    clock.stop()
    return Study(
        series,
        split,
        settings,
        forecaster,
        history,
        raw,
        recalibrated,
        factors[:, held],
        forecasts,
        table,
        blocks,
        future,
        clock.seconds,
    )


def _trained(
    series: Series, split: Split, settings: Settings, scheme: schemes.Scheme, progress: bool
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
    )
    return forecaster, history


def _blocks(origins: Tensor, horizon: int) -> Tensor:
    """Blocks of as many steps as the horizon, or half of it where that would leave too few."""
    span = int(origins[-1] - origins[0]) + 1
    size = horizon if span >= _FEW_ORIGINS * horizon else max(horizon // 2, 1)
    return (origins - origins[0]) // size


class _Clock:
    """Says what begins and notes how long it took."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say, self.seconds = say, dict[str, float]()
        self.stage, self.since = "", 0.0

    def start(self, stage: str, text: str) -> None:
        self.stop()
        self.say(text)
        self.stage, self.since = stage, time.perf_counter()

    def stop(self) -> None:
        if self.stage:
            self.seconds[self.stage] = time.perf_counter() - self.since
