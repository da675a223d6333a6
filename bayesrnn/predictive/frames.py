"""Tables of a predictive, a line a target."""

import contextlib
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from bayesrnn.predictive.classes import ClassPredictive
    from bayesrnn.predictive.continuous import ContinuousPredictive
    from bayesrnn.predictive.tokens import TokenPredictive


def continuous_frame(predictive: "ContinuousPredictive", level: float) -> Any:
    """Return mean, std, parts, interval and standard error of each target."""
    import pandas as pd

    columns = index_columns(predictive.shape, predictive.sequence_ids)
    columns |= {"mean": flat(predictive.mean), "std": flat(predictive.std)}
    with contextlib.suppress(ValueError):  # samples of the target do not tell the parts: the columns are left out
        columns |= {"aleatoric": flat(predictive.aleatoric), "epistemic": flat(predictive.epistemic)}
    with contextlib.suppress(ValueError):  # the draws do not determine the interval: the columns are left out
        low, high = predictive.interval(level)
        columns |= {f"low_{level:g}": flat(low), f"high_{level:g}": flat(high)}
    columns["standard_error"] = flat(predictive.standard_error)
    return pd.DataFrame(columns)


def class_frame(predictive: "ClassPredictive") -> Any:
    """Return mode, entropies, variation ratio and probabilities of each target."""
    import pandas as pd

    columns = index_columns(predictive.shape, predictive.sequence_ids)
    columns |= {
        "mode": flat(predictive.mode),
        "entropy": flat(predictive.entropy),
        "aleatoric": flat(predictive.aleatoric),
        "epistemic": flat(predictive.epistemic),
        "variation_ratio": flat(predictive.variation_ratio),
    }
    probabilities = predictive.probabilities.reshape(-1, predictive.classes).cpu().double().numpy()
    columns |= {f"probability_{k}": probabilities[:, k] for k in range(predictive.classes)}
    return pd.DataFrame(columns)


def token_frame(predictive: "TokenPredictive") -> Any:
    """Return a line a scored token: row, step, log probability and what else is known."""
    import pandas as pd

    columns = index_columns(predictive.shape, predictive.sequence_ids)
    names = (
        "target",
        "log_prob",
        "deterministic_log_prob",
        "entropy",
        "aleatoric",
        "epistemic",
        "confidence",
        "correct",
    )
    for name in names:
        value = getattr(predictive, name)
        if value is not None:
            columns[name] = flat(value)
    return pd.DataFrame(columns)[flat(predictive.mask)].reset_index(drop=True)


def index_columns(shape: torch.Size, sequence_ids: Tensor | None) -> dict[str, Any]:
    """Return the columns that say which target a line is about."""
    grid = np.indices(tuple(shape)).reshape(len(shape), -1)
    names = ["row", "step", *(f"axis_{k}" for k in range(2, len(shape)))]
    columns: dict[str, Any] = dict(zip(names, grid))
    if sequence_ids is not None:
        columns["sequence_id"] = sequence_ids.cpu().numpy()[grid[0]]
    return columns


def flat(tensor: Tensor) -> Any:
    """Return the values as a flat numpy array."""
    values = tensor.detach().cpu().reshape(-1)
    return values.float().numpy() if values.dtype == torch.bfloat16 else values.numpy()
