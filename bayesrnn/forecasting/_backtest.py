"""Forecasts from rolling origins, with what happened."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from bayesrnn.data.series import Series
from bayesrnn.forecasting.settings import LEVELS
from bayesrnn.inference import predict
from bayesrnn.models import Forecaster
from bayesrnn.predictive import ContinuousPredictive


@dataclass(frozen=True, eq=False)
class Backtest:
    """Forecasts of H steps from O origins.

    Args:
        series: What was forecast: one series, or several.
        origins: Position of the last value that each forecast knew, (O,), increasing in each series.
        predictive: Distribution of the targets, (O, H).
        target: What happened, (O, H).
        which: Of several series, the number of each forecast's, (O,).
    """

    series: Any
    origins: Tensor
    predictive: ContinuousPredictive
    target: Tensor
    which: Tensor | None = None

    def __len__(self) -> int:
        return len(self.origins)

    def __getitem__(self, rows: Any) -> "Backtest":
        which = None if self.which is None else self.which[rows]
        return Backtest(self.series, self.origins[rows], self.predictive[rows], self.target[rows], which)

    @property
    def horizon(self) -> int:
        """Steps ahead, H."""
        return int(self.target.shape[1])

    def positions(self) -> Tensor:
        """Return the positions of the targets in the series, (O, H)."""
        return self.origins[:, None] + torch.arange(1, self.horizon + 1)

    def chained(self) -> tuple[Tensor, Tensor]:
        """Return rows that cover the span one after the other, and the steps until the next of them takes over."""
        rows = [0]
        while rows[-1] < len(self) - 1:
            reached = int(torch.searchsorted(self.origins, self.origins[rows[-1]] + self.horizon, right=True)) - 1
            rows.append(max(reached, rows[-1] + 1))
        chosen = torch.tensor(rows)
        steps = torch.diff(self.origins[chosen]).clamp(max=self.horizon)
        return chosen, torch.cat([steps, torch.tensor([self.horizon])])

    def since(self, origin: int) -> "Backtest":
        """Return the forecasts from `origin` on."""
        return self[self.origins >= origin]

    def with_predictive(self, predictive: ContinuousPredictive) -> "Backtest":
        """Return the same origins and targets with other forecasts."""
        return replace(self, predictive=predictive)

    def to_frame(self) -> Any:
        """Return one line per target: origin, horizon, time, observed, mean, std, parts and ends of the intervals."""
        import pandas as pd

        if self.which is not None:
            single = [
                replace(self[self.which == k], series=series, which=None).to_frame().assign(id=series.name)
                for k, series in enumerate(self.series)
                if bool((self.which == k).any())
            ]
            frame = pd.concat(single, ignore_index=True)
            return frame[["id", *(name for name in frame.columns if name != "id")]]
        rows, steps = self.target.shape
        times = self.series.times
        columns: dict[str, Any] = {
            "origin": times[self.origins.numpy()].repeat(steps),
            "horizon": torch.arange(1, steps + 1).repeat(rows).numpy(),
            "time": times[self.positions().reshape(-1).numpy()],
            "observed": self.target.reshape(-1).numpy(),
        }
        return pd.DataFrame(columns | distribution_columns(self.predictive))


def distribution_columns(predictive: ContinuousPredictive) -> dict[str, Any]:
    """Return mean, std, parts and the ends of the 50, 80 and 95 % intervals, each flat."""
    columns = {name: getattr(predictive, name) for name in ("mean", "std", "aleatoric", "epistemic")}
    for level in LEVELS:
        columns[f"lower_{100 * level:g}"], columns[f"upper_{100 * level:g}"] = predictive.interval(level)
    return {name: values.reshape(-1).numpy() for name, values in columns.items()}


def backtest(
    forecaster: Forecaster, series: Series, origins: Tensor, *, draws: int = 200, seed: int = 0, progress: bool = False
) -> Backtest:
    """Forecast from each origin, knowing only what came before it; the masks of an origin are its own.

    Args:
        forecaster: A trained forecaster.
        series: The series.
        origins: Positions of the last known value, (O,).
        draws: Mask sets per forecast; 0 for the deterministic pass (the standard dropout approximation).
        seed: Seed of the masks.
        progress: Whether to show a bar.

    Raises:
        ValueError: If an origin leaves no room for its context or its targets.
    """
    context, target = _known(forecaster, series, origins)
    distribution = predict(forecaster, context, draws=draws, seed=seed, sequence_ids=origins, progress=progress)
    return Backtest(series, origins, distribution, target)


def forecast(forecaster: Forecaster, series: Series, *, draws: int = 200, seed: int = 0) -> ContinuousPredictive:
    """Return the distribution of the H values after the end of the series, (1, H)."""
    if len(series) < forecaster.context:
        raise ValueError(f"the forecaster reads {forecaster.context} values, but the series has {len(series)}.")
    context = series.values[-forecaster.context :][None]
    distribution = predict(forecaster, context, draws=draws, seed=seed, sequence_ids=[len(series) - 1])
    if not isinstance(distribution, ContinuousPredictive):
        raise TypeError(f"a forecaster gives a continuous predictive, but a {type(distribution).__name__} came back.")
    return distribution


def _known(forecaster: Forecaster, series: Series, origins: Tensor) -> tuple[Tensor, Tensor]:
    before, after = forecaster.context, forecaster.horizon
    if origins.dim() != 1 or not len(origins):
        raise ValueError(f"origins are positions in the series, at least one, but {tuple(origins.shape)} was given.")
    first, last = int(origins.min()), int(origins.max())
    if first < before - 1 or last + after >= len(series):
        raise ValueError(
            f"origins must lie between {before - 1} (a context of {before} before them) and "
            f"{len(series) - after - 1} ({after} targets after them), but they reach from {first} to {last}."
        )
    context = series.values[origins[:, None] + torch.arange(1 - before, 1)]
    target = series.values[origins[:, None] + torch.arange(1, after + 1)]
    return context, target
