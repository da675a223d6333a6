"""Training of a forecaster on the early span of a series."""

import math
from pathlib import Path

import torch
from torch import Tensor
from torch.distributions import Distribution

from bayesrnn.data.series import Series
from bayesrnn.forecasting.splits import Split, windows_between
from bayesrnn.models import Forecaster
from bayesrnn.training import History, fit


def train(
    forecaster: Forecaster,
    series: Series,
    split: Split,
    *,
    epochs: int = 30,
    patience: int | None = None,
    learning_rate: float = 2e-3,
    weight_decay: float = 1e-4,
    batch_size: int = 32,
    seed: int = 0,
    progress: bool = False,
    checkpoint: Path | None = None,
) -> History:
    """Train on every window whose targets lie in the training span; keep the weights that are best in validation.

    Bridged gaps are read but never counted as targets. The learning rate rises over a tenth of the epochs and then
    falls to zero along a cosine.

    Args:
        forecaster: Trained in place.
        series: The series; nothing after `split.held_out` is looked at.
        split: The spans.
        epochs: Passes over the windows.
        patience: Stop after so many epochs without a better validation loss.
        learning_rate: Highest step size.
        weight_decay: Decoupled decay of AdamW.
        batch_size: Windows per step.
        seed: Seed of the order and the masks.
        progress: Whether to show a bar.
        checkpoint: Folder for the state after each epoch.

    Returns:
        The losses of each epoch, nats per target.
    """
    context, target, seen = windows_between(forecaster, series, 0, split.validation)
    forecaster.standardize(context, target, seen)
    validation = None
    if patience is not None:
        later, then, then_seen = windows_between(forecaster, series, split.validation, split.held_out)
        validation = (later, torch.stack([then, then_seen], -1))
    return fit(
        forecaster,
        (context, torch.stack([target, seen], -1)),
        validation,
        loss=observed_nll,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        patience=patience,
        schedule=lambda epoch: warm_cosine(epoch, epochs),
        seed=seed,
        progress=progress,
        checkpoint=checkpoint,
    )


def observed_nll(distribution: Distribution, target: Tensor) -> Tensor:
    """Return the mean negative log-likelihood of the observed targets, nats; `target` is (rows, H, 2) with which."""
    value, seen = target.unbind(-1)
    return -(distribution.log_prob(value) * seen).sum() / seen.sum().clamp(min=1.0)


def warm_cosine(epoch: int, epochs: int) -> float:
    """Return the factor of the learning rate: linear warm-up over a tenth of the epochs, then cosine decay."""
    place = (epoch + 0.5) / epochs
    return place / 0.1 if place < 0.1 else 0.5 * (1 + math.cos(math.pi * (place - 0.1) / 0.9))
