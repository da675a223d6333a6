"""Recalibrate class probabilities by a weight and a bias per class."""

from typing import Any, ClassVar

import numpy as np
import torch

from bayesrnn.metrics.pairs import Pairs
from bayesrnn.metrics.score import Array
from bayesrnn.predictive import ClassPredictive
from bayesrnn.recalibration.parameters import Numbers
from bayesrnn.recalibration.protocol import AbstractRecalibrator
from bayesrnn.recalibration.temperature import _SMALLEST, held_out_classes

_PENALTY = 1e-3  # pulls towards the identity, so that a class absent from the held-out rows keeps a finite bias


class VectorScaling(AbstractRecalibrator):
    r"""$p'_k \propto \exp(w_k \log \bar p_k + b_k)$: also corrects classes that are forecast too often.

    Weights and biases minimize the held-out nll plus a small pull towards $w = 1, b = 0$, which keeps the nll from
    getting worse than it was and the problem well posed.

    Source: Guo et al. 2017 (arXiv:1706.04599), section 4.2.
    """

    name: ClassVar[str] = "vector_scaling"
    kind = ClassPredictive
    legal: ClassVar = {"weight": Numbers(-1e6, 1e6, many=True), "bias": Numbers(-1e6, 1e6, many=True)}

    def check_together(self, parameters: dict[str, Any]) -> None:
        """Refuse another number of weights than of biases."""
        if len(parameters["weight"]) != len(parameters["bias"]):
            raise ValueError("weight and bias of VectorScaling must have one number per class each.")

    def _fit(self, pairs: Pairs) -> dict[str, Any]:
        from scipy.optimize import minimize

        logs, target = held_out_classes(pairs)
        classes = logs.shape[-1]

        def objective(flat: Array) -> tuple[float, Array]:
            theta = torch.tensor(flat, requires_grad=True)
            weight, shift = theta[:classes], theta[classes:]
            scaled = torch.log_softmax(weight * logs + shift, -1)
            pull = _PENALTY * (((weight - 1) ** 2).sum() + (shift**2).sum())
            loss = pull - scaled.gather(-1, target[:, None]).mean()
            (gradient,) = torch.autograd.grad(loss, theta)
            return float(loss.detach()), gradient.numpy()

        start = np.concatenate([np.ones(classes), np.zeros(classes)])
        fit = minimize(objective, start, jac=True, method="L-BFGS-B")
        best = fit.x if fit.fun <= objective(start)[0] else start
        return {"weight": best[:classes].tolist(), "bias": best[classes:].tolist()}

    def _apply(self, predictive: Any, parameters: dict[str, Any]) -> ClassPredictive:
        weight, shift = (
            torch.tensor(parameters[k], dtype=torch.float64, device=predictive.device) for k in ("weight", "bias")
        )
        check_classes_match(predictive, len(weight))
        return predictive.recalibrated(torch.log_softmax(weight * predictive.log_mean.clamp(min=_SMALLEST) + shift, -1))


def check_classes_match(predictive: ClassPredictive, classes: int) -> None:
    """Refuse a predictive with another number of classes than the map was fitted for."""
    if predictive.classes != classes:
        raise ValueError(f"the map was fitted for {classes} classes, but the predictive has {predictive.classes}.")
