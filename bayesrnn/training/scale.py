"""A warning if a training would begin far from its targets."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.utils.data import TensorDataset

from bayesrnn._checks import as_values
from bayesrnn.models import SequenceRegressor

__all__ = ["warn_of_scale"]

_OFF = 10.0
"""Warn if the targets' mean is more than so many head units away, or their spread differs by more than this factor."""


def warn_of_scale(model: nn.Module, train: Any) -> None:
    """Warn if the targets are far from the mean or the unit that a `SequenceRegressor` starts from.

    The head starts near mean m and standard deviation s (0 and 1 until `standardize` is called); steps of AdamW are
    about as long as the learning rate, so that a target a thousand units away takes thousands of steps to reach.
    """
    target = _target(train)
    if not isinstance(model, SequenceRegressor) or target is None or not model.head.form.real:
        return
    head = model.head
    values = target.detach().to(head.target_mean).reshape(-1, head.outputs)
    if len(values) < 2:
        return
    mean, std = values.mean(0), values.std(0)
    distance = float(((mean - head.target_mean).abs() / head.target_std).max())
    units = std / head.target_std
    far = distance > _OFF or bool((units > _OFF).any()) or bool(((units > 0) & (units < 1 / _OFF)).any())
    if far:
        warnings.warn(
            f"the targets have mean {_listed(mean)} and standard deviation {_listed(std)}, but the untrained model "
            f"predicts about {_listed(head.target_mean)} +- {_listed(head.target_std)}: training may take very long to "
            "get there. Call model.standardize(x, y) with the training rows first; predictions stay in the units of y.",
            stacklevel=3,
        )


def _target(train: Any) -> Tensor | None:
    """Return the targets if they are one tensor of real numbers."""
    if isinstance(train, TensorDataset):
        train = train.tensors
    if isinstance(train, Mapping):
        value = train.get("target")
    else:
        value = train[-1] if isinstance(train, Sequence) and len(train) else None
    values = None if value is None else as_values(value, "target")
    return values if values is not None and values.is_floating_point() else None


def _listed(values: Tensor) -> str:
    shown = ", ".join(f"{value:.3g}" for value in values[:3].tolist())
    return shown if len(values) <= 3 else f"{shown}, ..."
