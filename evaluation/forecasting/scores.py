"""Scores of forecasts by the same 99 quantiles, whatever they are made of, and paired differences."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bayesrnn.forecasting.distribution import table_of
from bayesrnn.predictive import ContinuousPredictive, MixtureDistribution

__all__ = ["geometric_mean", "paired_error", "scores"]

_LEVELS = [0.025, *(k / 100 for k in range(1, 100)), 0.975]


def scores(predictive: ContinuousPredictive, target: Tensor, scale: float) -> dict[str, Any]:
    """Return the scaled CRPS of each origin, and coverage, width and interval score over all.

    The CRPS is twice the mean quantile loss over the levels .01 to .99, the same for every kind of forecast.
    """
    values = _quantiles(predictive)
    inner = values[1:-1]
    levels = torch.tensor(_LEVELS[1:-1], dtype=torch.float64).reshape(-1, 1, 1)
    error = target - inner
    crps = 2 * torch.maximum(levels * error, (levels - 1) * error).mean(0) / scale
    result: dict[str, Any] = {
        "crps": float(crps.mean()),
        "crps_by_origin": [round(value, 6) for value in crps.mean(1).tolist()],
        "mae": float((target - inner[49]).abs().mean()) / scale,
    }
    for level, (low, high) in {50: (25, 75), 80: (10, 90), 95: (0, 100)}.items():
        lower, upper = values[low], values[high]
        outside = (lower - target).clamp(min=0) + (target - upper).clamp(min=0)
        result[f"coverage_{level}"] = float((outside == 0).double().mean())
        result[f"width_{level}"] = float((upper - lower).mean()) / scale
        score = upper - lower + 2 / (1 - level / 100) * outside
        result[f"interval_score_{level}"] = float(score.mean()) / scale
    return result


def _quantiles(predictive: ContinuousPredictive) -> Tensor:
    distribution = predictive.distribution
    if (
        isinstance(distribution, MixtureDistribution) and distribution.size > 1
    ):  # thousands of exact inversions are slow
        steps = distribution.shape[1]
        distribution = table_of(distribution, torch.eye(steps, dtype=torch.float64))
    levels = torch.tensor(_LEVELS, dtype=torch.float64).reshape(-1, 1, 1).expand(-1, *distribution.shape)
    return distribution.quantile(levels).double()


def geometric_mean(values: Sequence[float]) -> float:
    """Return the geometric mean."""
    return math.exp(float(np.mean(np.log(values))))


def paired_error(mine: Mapping[str, Any], other: Mapping[str, Any], overlap: float) -> tuple[float, float]:
    """Return the mean difference of the CRPS by origin, and its standard error over blocks of two horizons.

    Args:
        mine: Scores.
        other: Scores on the same origins.
        overlap: Origins per horizon.
    """
    gap = np.asarray(mine["crps_by_origin"]) - np.asarray(other["crps_by_origin"])
    blocks = np.array_split(gap, max(int(len(gap) / max(2 * overlap, 1)), 2))
    means = np.array([block.mean() for block in blocks])
    return float(gap.mean()), float(means.std(ddof=1) / math.sqrt(len(means)))
