"""The columns of the tables that `to_frame` returns, one line per target."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bayesrnn._checks import check_levels


def index_columns(shape: torch.Size, sequence_ids: Tensor | None) -> dict[str, Any]:
    """Return the columns that say which target each line of a table is about."""
    grid = np.indices(tuple(shape)).reshape(len(shape), -1)
    names = ["row", "step", *(f"axis_{k}" for k in range(2, len(shape)))]
    columns: dict[str, Any] = dict(zip(names, grid))
    if sequence_ids is not None:
        columns["sequence_id"] = sequence_ids.cpu().numpy()[grid[0]]
    return columns


def numbers(tensor: Tensor) -> Any:
    """Return the values as a numpy array."""
    values = tensor.detach().cpu()
    return (values.float() if values.dtype == torch.bfloat16 else values).numpy()


def flat(tensor: Tensor) -> Any:
    """Return the values as a flat numpy array."""
    return numbers(tensor.reshape(-1))


def continuous_columns(predictive: Any, levels: Sequence[float]) -> dict[str, Any]:
    """Return moments, parts, intervals and errors of a continuous predictive; what is not known is left out."""
    columns = index_columns(predictive.shape, predictive.sequence_ids)
    columns["mean"] = flat(predictive.mean)
    with suppress(ValueError):  # only moments are known
        columns["median"] = flat(predictive.quantile(0.5))
    columns["std"] = flat(predictive.std)
    with suppress(ValueError):  # samples and quantiles do not tell the parts
        parts = ("aleatoric", "epistemic", *_parts_of_networks(predictive))
        columns |= {name: flat(getattr(predictive, name)) for name in parts}
    for level in check_levels(levels):
        with suppress(ValueError):  # the draws do not determine the interval
            low, high = predictive.interval(level)
            columns |= {f"lo-{100 * level:.10g}": flat(low), f"hi-{100 * level:.10g}": flat(high)}
    with suppress(ValueError):
        if predictive.standard_error is not None:
            columns["standard_error"] = flat(predictive.standard_error)
    return columns


def class_columns(predictive: Any) -> dict[str, Any]:
    """Return mode, entropies, variation ratio and probabilities of a class predictive."""
    columns = index_columns(predictive.shape, predictive.sequence_ids)
    parts = ("aleatoric", "epistemic", *_parts_of_networks(predictive))
    columns |= {name: flat(getattr(predictive, name)) for name in ("mode", "entropy", *parts, "variation_ratio")}
    if predictive.class_names:
        columns["mode"] = np.asarray(predictive.names)[columns["mode"]]
    p = predictive.probabilities
    return columns | {f"probability_{name}": flat(p[..., k]) for k, name in enumerate(predictive.names)}


def _parts_of_networks(predictive: Any) -> tuple[str, ...]:
    return ("between_masks", "between_networks") if predictive.networks > 1 else ()
