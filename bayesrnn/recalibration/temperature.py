"""Recalibrate class probabilities by one temperature."""

from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from bayesrnn.metrics.pairs import Pairs
from bayesrnn.predictive import ClassPredictive
from bayesrnn.recalibration.parameters import Flag, Numbers
from bayesrnn.recalibration.protocol import AbstractRecalibrator

_REACH = 4.0  # log temperature searched within exp(-4)..exp(4)
_SMALLEST = -690.0  # log of the smallest probability that differs from 0


class Temperature(AbstractRecalibrator):
    r"""Divide the log of the mean probabilities by one temperature: $p' \propto \bar p^{1/T}$.

    T minimizes the nll on the held-out targets. It is fitted after averaging over draws: draws that are each calibrated
    average to an underconfident mean. `at_bound` says whether the search ended at its limit (separable data).

    Source: Guo et al. 2017 (arXiv:1706.04599), section 4.2; Rahaman & Thiery 2021 (arXiv:2007.08792).
    """

    name: ClassVar[str] = "temperature"
    kind = ClassPredictive
    legal: ClassVar = {"temperature": Numbers(np.exp(-1.01 * _REACH), np.exp(1.01 * _REACH)), "at_bound": Flag()}

    @property
    def at_bound(self) -> bool:
        """Whether the fitted temperature is a limit of the search."""
        return bool(self.fitted["at_bound"])

    def _fit(self, pairs: Pairs) -> dict[str, Any]:
        from scipy.optimize import minimize_scalar

        logs, target = held_out_classes(pairs)

        def nll(log_temperature: float) -> float:
            scaled = torch.log_softmax(logs / float(np.exp(log_temperature)), -1)
            return -float(scaled.gather(-1, target[:, None]).mean())

        search = minimize_scalar(nll, bounds=(-_REACH, _REACH), method="bounded", options={"xatol": 1e-8})
        best = min((float(search.x), 0.0), key=nll)
        at_bound = min(nll(-_REACH), nll(_REACH)) <= nll(best) + 1e-12  # flat up to a limit: separable data
        return {"temperature": float(np.exp(best)), "at_bound": at_bound}

    def _apply(self, predictive: Any, parameters: dict[str, Any]) -> ClassPredictive:
        logs = predictive.log_mean.clamp(min=_SMALLEST) / parameters["temperature"]
        return predictive.recalibrated(torch.log_softmax(logs, -1))


def held_out_classes(pairs: Pairs) -> tuple[Tensor, Tensor]:
    """Return the log probabilities (n, K) and target classes (n,) of the kept targets.

    Raises:
        ValueError: If all targets are of one class: the others cannot be calibrated.
    """
    logs = torch.as_tensor(pairs.take(pairs.predictive.log_mean)).clamp(min=_SMALLEST)
    target = torch.as_tensor(pairs.take(pairs.predictive.class_index(pairs.target))).long()
    if len(torch.unique(target)) < 2:
        raise ValueError(
            f"all {len(target)} held-out targets are of class {int(target[0])}: probabilities cannot be recalibrated "
            "on a single class. Hold out rows of every class."
        )
    return logs, target
