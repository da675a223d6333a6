"""The forecasters that are judged side by side: ours in its forms, and its peers."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.distributions import Normal

import bayesrnn as br
from bayesrnn.data import Series
from bayesrnn.forecasting import backtest, exponential_smoothing, seasonal_naive, settings_for, split_in_time, train
from bayesrnn.models import Forecaster
from bayesrnn.predictive import ContinuousPredictive, Predictive
from evaluation.forecasting.tasks import Task

__all__ = ["FORECASTS", "OURS", "PRESENT", "RAW", "Problem"]

OURS, RAW = "MC dropout, recalibrated", "MC dropout"
PRESENT = "the forecaster before"
OTHER_FORMS = DETERMINISTIC, ENSEMBLE = "deterministic pass", "ensemble of five"
"""Of the same networks; no peers."""
DRAWS, MEMBERS = 200, 5


@dataclass(frozen=True, eq=False)
class Problem:
    """A series with its spans and origins."""

    task: Task
    series: Series
    seed: int
    smoke: bool = False
    kept: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def origins(self) -> Tensor:
        origins = self.task.origins(self.series)
        return origins[:: len(origins) // 4] if self.smoke else origins

    @property
    def learned(self) -> int:
        """Where the held-out span starts."""
        return self.task.spans(self.series)[1]

    @property
    def target(self) -> Tensor:
        """What happened, (O, H)."""
        return self.series.values[self.origins[:, None] + torch.arange(1, self.task.horizon + 1)]

    def frame(self, end: int | None = None) -> pd.DataFrame:
        return pd.DataFrame({"ds": self.series.times, "y": self.series.values.numpy()})[:end]


def ours(problem: Problem, *, draws: int = DRAWS, recalibrated: bool = True, seed: int = 0) -> ContinuousPredictive:
    """Fit on what comes before the held-out span; history up to an origin conditions its forecast."""
    forecaster = _fitted(problem, seed)
    test = forecaster.backtest(
        problem.frame(),
        start=problem.series.times[problem.learned],
        every=int(torch.diff(problem.origins)[0]),
        draws=8 if problem.smoke and draws else draws,
        recalibrate=recalibrated,
    )
    assert torch.equal(test.origins[: len(problem.origins)], problem.origins)  # noqa: S101
    return test.predictive[: len(problem.origins)]


def _fitted(problem: Problem, seed: int) -> Any:
    if seed not in problem.kept:
        first = problem.task.spans(problem.series)[0]
        options: dict[str, Any] = {"epochs": 1, "hidden_size": 4, "likelihood": "gaussian"} if problem.smoke else {}
        if seed:  # further members have the masks and the likelihood that the first chose in the validation span
            network = _fitted(problem, 0).state_.fitted.network
            options |= {"dropout": network.scheme, "likelihood": network.likelihood}
        forecaster = br.estimators.BayesianRNNForecaster(
            problem.task.horizon, draws=DRAWS, seed=problem.seed + seed, **options
        )
        problem.kept[seed] = forecaster.fit(problem.frame(problem.learned), validation=problem.series.times[first])
    return problem.kept[seed]


def ensemble(problem: Problem) -> ContinuousPredictive:
    """Average five deterministic passes of networks that were trained from different seeds."""
    members = [ours(problem, draws=0, recalibrated=False, seed=k) for k in range(2 if problem.smoke else MEMBERS)]
    levels = [(k + 0.5) / 50 for k in range(50)]
    return Predictive.from_samples(torch.cat([member.quantile(levels) for member in members]))


def before(problem: Problem) -> ContinuousPredictive:
    """Train the forecaster of one season, as the study has it, and recalibrate nothing."""
    series, horizon = problem.series, problem.task.horizon
    settings = settings_for(series, horizon, seed=problem.seed, epochs=1 if problem.smoke else None)
    validation, held_out = problem.task.spans(series)
    split = split_in_time(
        series, needed=settings.context + horizon, horizon=horizon, validation=validation, held_out=held_out
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(problem.seed)
        forecaster = Forecaster(
            settings.context, horizon, period=series.period, hidden_size=settings.hidden_size,
            dropout=settings.scheme(),
        )  # fmt: skip
    train(forecaster, series, split, epochs=settings.epochs, learning_rate=settings.learning_rate, seed=problem.seed)
    draws = 8 if problem.smoke else DRAWS
    return backtest(forecaster, series, problem.origins, draws=draws, seed=problem.seed).predictive


def autoregression(problem: Problem, samples: int = 200) -> ContinuousPredictive:
    """Fit one step ahead by least squares on recent and seasonal lags, roll out with residuals drawn again."""
    values, horizon, season = problem.series.values.numpy(), problem.task.horizon, problem.series.period
    seasons = [season, 7 * season] if 7 * season * 4 < problem.learned and season in (24, 48) else [season]
    lags = sorted({*range(1, 4), *(m * k + j for m in seasons for k in (1, 2) for j in (-1, 0, 1))})
    times = np.arange(lags[-1], problem.learned)
    matrix = np.stack([np.ones(len(times)), *(values[times - lag] for lag in lags)], 1)
    weights, *_ = np.linalg.lstsq(matrix, values[times], rcond=None)
    residuals = values[times] - matrix @ weights
    rng, origins = np.random.default_rng(problem.seed), problem.origins.numpy()
    paths = np.repeat(values[origins[:, None] + np.arange(1 - lags[-1], 1)][None], samples, 0)
    for _ in range(horizon):
        step = weights[0] + sum(w * paths[..., -lag] for w, lag in zip(weights[1:], lags))
        step = step + rng.choice(residuals, step.shape)
        paths = np.concatenate([paths, step[..., None]], -1)
    return Predictive.from_samples(torch.from_numpy(paths[..., -horizon:]))


class PlainLSTM(nn.Module):
    """torch's LSTM of the same size on standardized values: no masks, no linear part."""

    def __init__(self, horizon: int, hidden: int = 32) -> None:
        super().__init__()
        self.recurrent, self.head = nn.LSTM(1, hidden, batch_first=True), nn.Linear(hidden, 2 * horizon)

    def forward(self, context: Tensor) -> Normal:
        center = context.mean(1, keepdim=True)
        width = context.std(1, keepdim=True) + 1e-6
        hidden, _ = self.recurrent(((context - center) / width).unsqueeze(-1).float())
        location, raw = self.head(hidden[:, -1]).double().chunk(2, -1)
        return Normal(center + width * location, width * (nn.functional.softplus(raw) + 1e-4))


def plain_lstm(problem: Problem) -> ContinuousPredictive:
    """Train a Gaussian `nn.LSTM` of 32 units by the same `fit`, stopped on the validation span."""
    series, horizon, context = problem.series, problem.task.horizon, 4 * problem.series.period
    first, learned = problem.task.spans(series)
    rows = series.values.unfold(0, context + horizon, 1)
    ends = torch.arange(len(rows)) + context + horizon
    train_rows, watched = rows[ends <= first], rows[(ends > first + horizon) & (ends <= learned)][::3]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(problem.seed)
        model = PlainLSTM(horizon)
    epochs = 1 if problem.smoke else min(60, max(4, round(1200 * 64 / len(train_rows))))
    pairs = [(part[:, :context], part[:, context:]) for part in (train_rows, watched)]
    br.fit(model, *pairs, epochs=epochs, batch_size=64, learning_rate=2e-3, seed=problem.seed, progress=False)
    known = series.values[problem.origins[:, None] + torch.arange(1 - context, 1)]
    return br.predict(model, known, draws=0)


def _ets(problem: Problem) -> ContinuousPredictive:
    series, origins = problem.series, problem.origins
    return exponential_smoothing(series, origins, problem.task.horizon, fit_until=problem.learned).predictive


def _naive(problem: Problem) -> ContinuousPredictive:
    series, origins = problem.series, problem.origins
    return seasonal_naive(series, origins, problem.task.horizon, fit_until=problem.learned).predictive


FORECASTS: dict[str, Callable[[Problem], ContinuousPredictive]] = {
    "seasonal naive": _naive,
    "ETS": _ets,
    "autoregression, bootstrapped": autoregression,
    "Gaussian nn.LSTM": plain_lstm,
    PRESENT: before,
    OURS: ours,
    RAW: lambda problem: ours(problem, recalibrated=False),
    DETERMINISTIC: lambda problem: ours(problem, draws=0, recalibrated=False),
    ENSEMBLE: ensemble,
}
"""Peers, then ours: what is fitted once serves all of its forms."""
