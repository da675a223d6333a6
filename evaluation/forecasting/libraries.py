"""Peers of other libraries as they come: DeepAR of gluonts and BlockRNNModel of darts, where these are installed."""

import importlib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import metadata
from typing import Any

import numpy as np
import torch

from bayesrnn.predictive import ContinuousPredictive, Predictive
from evaluation.forecasting.peers import DRAWS, Problem

__all__ = ["LIBRARIES", "installed"]

Outcome = tuple[ContinuousPredictive, dict[str, Any]]
"""Forecasts, and how they were made."""

_STEPS = 1_500
"""Most training steps of darts' model; its default of 100 epochs takes up to 36,000, an hour per series on one core."""


def installed(say: Callable[[str], None]) -> dict[str, Callable[[Problem], Outcome]]:
    """Return the peers whose libraries can be imported, and say of the others which package is missing."""
    usable = {}
    for name, (package, make) in LIBRARIES.items():
        try:
            importlib.import_module(package)
        except ImportError as error:
            say(f"{name} is left out: {package} cannot be imported ({error}).")
        else:
            usable[name] = make
    return usable


def deepar(problem: Problem) -> Outcome:
    """Train DeepAR of gluonts on what comes before the held-out span, with its defaults: two LSTM layers, Student t."""
    from gluonts.dataset.common import ListDataset
    from gluonts.torch import DeepAREstimator

    values, times = problem.series.values.numpy(), problem.series.times
    frequency = {"MS": "M"}.get(times.freqstr, times.freqstr)
    ends = [problem.learned, *(origin + 1 for origin in problem.origins.tolist())]
    histories = [{"start": times[0], "target": values[:end].astype(np.float32)} for end in ends]
    epochs, batches = (1, 2) if problem.smoke else (100, 50)
    estimator = DeepAREstimator(
        frequency,
        problem.task.horizon,
        num_parallel_samples=DRAWS,
        num_batches_per_epoch=batches,
        trainer_kwargs={"max_epochs": epochs, **_QUIETLY},
    )
    with _elsewhere(problem.seed):
        network = estimator.train(ListDataset(histories[:1], frequency), cache_data=True)
        forecasts = list(network.predict(ListDataset(histories[1:], frequency)))
    drawn = np.stack([forecast.samples for forecast in forecasts], 1)
    setup = f"{_version('gluonts')}, its defaults: {epochs} epochs of {batches} batches"
    return Predictive.from_samples(torch.from_numpy(drawn).double()), {"setup": setup}


def block_rnn(problem: Problem) -> Outcome:
    """Train BlockRNNModel of darts with dropout, and forecast with `mc_dropout=True`.

    Two LSTM layers, since `dropout` acts between layers, and quantile regression, since without a likelihood darts
    gives one sample; the other settings are its defaults, on values scaled to [0, 1].
    """
    from darts import TimeSeries
    from darts.dataprocessing.transformers import Scaler
    from darts.models import BlockRNNModel
    from darts.utils.likelihood_models import QuantileRegression

    series, horizon = problem.series, problem.task.horizon
    whole = TimeSeries.from_times_and_values(series.times, series.values.numpy()).astype(np.float32)
    learned, scaler = whole[: problem.learned], Scaler()
    context = 2 * max(series.period, horizon)
    batches = -(-(problem.learned - context - horizon + 1) // 32)
    epochs = 1 if problem.smoke else min(100, max(_STEPS // batches, 1))
    with _elsewhere(problem.seed):
        model = BlockRNNModel(
            context,
            horizon,
            model="LSTM",
            n_rnn_layers=2,
            dropout=0.1,
            n_epochs=epochs,
            likelihood=QuantileRegression(),
            random_state=problem.seed,
            pl_trainer_kwargs=_QUIETLY,
        )
        model.fit(scaler.fit_transform(learned))
        scaled = scaler.transform(whole)
        known = [scaled[origin + 1 - context : origin + 1] for origin in problem.origins.tolist()]
        options = {"num_samples": DRAWS, "mc_dropout": True, "random_state": problem.seed, "verbose": False}
        paths = model.predict(horizon, known, **options)
    drawn = np.stack([scaler.inverse_transform(path).all_values()[:, 0] for path in paths])
    setup = (
        f"{_version('darts')}, two LSTM layers, dropout .1, quantile regression, context {context}, its defaults else"
        + ("" if epochs == 100 else f", but {epochs} epochs of {batches} batches in the place of 100")
    )
    return Predictive.from_samples(torch.from_numpy(drawn).double().permute(2, 0, 1)), {"setup": setup}


LIBRARIES: dict[str, tuple[str, Callable[[Problem], Outcome]]] = {
    "DeepAR": ("gluonts.torch", deepar),
    "darts BlockRNNModel, mc_dropout": ("darts.models", block_rnn),
}
"""Package and forecasts of each peer."""

_QUIETLY = {"accelerator": "cpu", "enable_progress_bar": False, "logger": False, "enable_model_summary": False}


@contextmanager
def _elsewhere(seed: int) -> Iterator[None]:
    """Work in a temporary folder, where the libraries leave files, from the random states of a seed."""
    before = os.getcwd()
    with tempfile.TemporaryDirectory() as folder, torch.random.fork_rng(devices=[]):
        os.chdir(folder)
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002  gluonts draws its windows so
        try:
            yield
        finally:
            os.chdir(before)


def _version(package: str) -> str:
    return f"{package} {metadata.version(package)}"
