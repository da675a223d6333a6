"""Split conformal intervals: coverage without trusting the model's distribution."""

import math
from typing import Any, ClassVar

import numpy as np
import torch

from bayesrnn._checks import check_flag
from bayesrnn.metrics.pairs import Pairs
from bayesrnn.predictive import ContinuousPredictive
from bayesrnn.predictive.distributions.conformal import ConformalDistribution
from bayesrnn.recalibration.parameters import Numbers
from bayesrnn.recalibration.protocol import AbstractRecalibrator

IDENTITY = torch.tensor([0.0, 1.0], dtype=torch.float64)


class SplitConformal(AbstractRecalibrator):
    r"""Intervals $\mu \pm \sigma r$ with r an order statistic of held-out $|y - \mu|/\sigma$.

    If held-out and new targets are exchangeable, `interval(level)` holds a new target with probability between level
    and level + 1/(n+1). A level above n/(n+1) gives infinite ends. Steps of one sequence are not exchangeable: use one
    target a sequence, `PerHorizon`, or (for drifting series) `AdaptiveConformal`.

    Args:
        scaled: Whether errors are measured in predicted standard deviations (intervals follow the uncertainty) or in
            target units (all intervals as wide).

    Source: Lei et al. 2018, Distribution-free predictive inference for regression, sections 2.2 and 5.2.
    """

    name: ClassVar[str] = "split_conformal"
    kind = ContinuousPredictive
    legal: ClassVar = {"radii": Numbers(0, many=True, rising=True)}

    def __init__(self, scaled: bool = True) -> None:
        self.scaled = check_flag(scaled, "scaled")

    def settings(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {"scaled": self.scaled}

    def _fit(self, pairs: Pairs) -> dict[str, Any]:
        return {"radii": np.sort(pairs.take(scores(pairs.predictive, pairs.target, self.scaled))).tolist()}

    def _apply(self, predictive: Any, parameters: dict[str, Any]) -> ContinuousPredictive:
        radii = torch.tensor(parameters["radii"], dtype=torch.float64)
        return predictive.with_distribution(
            ConformalDistribution(predictive.distribution, radii, IDENTITY, IDENTITY, self.scaled)
        )


def scores(predictive: Any, target: Any, scaled: bool) -> torch.Tensor:
    """Return the conformity score of each target: its absolute error, in predicted standard deviations if `scaled`."""
    error = (predictive.distribution.mean() - target.double()).abs()
    if not scaled:
        return error
    variance = predictive.distribution.variance()
    if bool((~(variance > 0) | torch.isinf(variance)).any()):
        raise ValueError("a predicted variance is zero or infinite, so errors cannot be measured in it: scaled=False.")
    return error / variance.sqrt()


def conformal_rank(size: int, level: float) -> int:
    """Return ceil((n + 1) level), guarded against the last bit: 100 * (1 - .42) is 58.00000000000001."""
    return math.ceil((size + 1) * level - 1e-9)
