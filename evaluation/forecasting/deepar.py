"""The deep probabilistic peer: DeepAR of neuralforecast, where that is installed (it is no dependency of ours)."""

import importlib.util
import time

import numpy as np
import pandas as pd
import torch

from bayesrnn.forecasting import Study
from bayesrnn.predictive import ContinuousPredictive, Predictive

__all__ = ["available", "deepar"]


def available() -> bool:
    """Whether neuralforecast can be imported."""
    return importlib.util.find_spec("neuralforecast") is not None


def deepar(
    found: Study, *, steps: int = 500, windows: int = 64, samples: int = 200
) -> tuple[ContinuousPredictive, float]:
    """Train DeepAR on the training span and forecast from the same origins; return the predictive and the seconds.

    The network, its scaling and its learning rate are the library's defaults with a Student t distribution, our
    context as input size, and 500 steps of 64 windows. Each origin is a series of its own that ends there: nothing
    later is seen.
    """
    from neuralforecast import NeuralForecast
    from neuralforecast.losses.pytorch import DistributionLoss
    from neuralforecast.models import DeepAR

    started = time.perf_counter()
    series, settings = found.series, found.settings
    loss = DistributionLoss("StudentT", level=[50, 80, 95], return_params=False, num_samples=samples)
    model = DeepAR(
        h=settings.horizon,
        input_size=settings.context,
        loss=loss,
        max_steps=steps,
        windows_batch_size=windows,
        scaler_type="standard",
        random_seed=settings.seed,
        trajectory_samples=samples,
        enable_progress_bar=False,
        logger=False,
    )
    values, times = series.values.numpy(), series.times
    network = NeuralForecast(models=[model], freq=series.times.freqstr)
    network.fit(_frame(values[: found.split.validation], times[: found.split.validation], "train"))
    rows = []
    for origin in found.raw.origins.tolist():
        start = origin + 1 - settings.context
        rows.append(_frame(values[start : origin + 1], times[start : origin + 1], f"{origin:09d}"))
    levels = np.linspace(0.025, 0.975, 39)
    predicted = network.predict(pd.concat(rows), quantiles=levels.tolist())
    columns = [c for c in predicted.columns if c.startswith("DeepAR") and ("ql" in c or "median" in c)]
    table = predicted[columns].to_numpy().reshape(len(rows), settings.horizon, len(columns))
    quantiles = torch.from_numpy(np.sort(table.astype(np.float64), -1)).permute(2, 0, 1)
    return Predictive.from_samples(quantiles), time.perf_counter() - started


def _frame(values: np.ndarray, times: pd.DatetimeIndex, name: str) -> pd.DataFrame:
    return pd.DataFrame({"unique_id": name, "ds": times, "y": values})
