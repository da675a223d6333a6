"""The deep probabilistic peer: DeepAR of neuralforecast, where that is installed (it is no dependency of ours)."""

import importlib.util

import numpy as np
import pandas as pd
import torch

from bayesrnn.predictive import ContinuousPredictive, Predictive
from evaluation.forecasting.peers import Problem

__all__ = ["available", "deepar"]


def available() -> bool:
    """Whether neuralforecast can be imported."""
    return importlib.util.find_spec("neuralforecast") is not None


def deepar(problem: Problem, *, steps: int = 500, windows: int = 64, samples: int = 200) -> ContinuousPredictive:
    """Train DeepAR before the held-out span and forecast from the same origins.

    The network, its scaling and its learning rate are the library's defaults with a Student t distribution, five
    seasons as input size, and 500 steps of 64 windows. Each origin is a series of its own that ends there: nothing
    later is seen.
    """
    from neuralforecast import NeuralForecast
    from neuralforecast.losses.pytorch import DistributionLoss
    from neuralforecast.models import DeepAR

    series, horizon, context = problem.series, problem.task.horizon, 5 * problem.series.period
    loss = DistributionLoss("StudentT", level=[50, 80, 95], return_params=False, num_samples=samples)
    model = DeepAR(
        h=horizon,
        input_size=context,
        loss=loss,
        max_steps=steps,
        windows_batch_size=windows,
        scaler_type="standard",
        random_seed=problem.seed,
        trajectory_samples=samples,
        enable_progress_bar=False,
        logger=False,
    )
    values, times = series.values.numpy(), series.times
    network = NeuralForecast(models=[model], freq=series.times.freqstr)
    network.fit(_frame(values[: problem.learned], times[: problem.learned], "train"))
    rows = []
    for origin in problem.origins.tolist():
        start = origin + 1 - context
        rows.append(_frame(values[start : origin + 1], times[start : origin + 1], f"{origin:09d}"))
    levels = np.linspace(0.025, 0.975, 39)
    predicted = network.predict(pd.concat(rows), quantiles=levels.tolist())
    columns = [c for c in predicted.columns if c.startswith("DeepAR") and ("ql" in c or "median" in c)]
    table = predicted[columns].to_numpy().reshape(len(rows), horizon, len(columns))
    quantiles = torch.from_numpy(np.sort(table.astype(np.float64), -1)).permute(2, 0, 1)
    return Predictive.from_samples(quantiles)


def _frame(values: np.ndarray, times: pd.DatetimeIndex, name: str) -> pd.DataFrame:
    return pd.DataFrame({"unique_id": name, "ds": times, "y": values})
