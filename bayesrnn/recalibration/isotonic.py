"""Recalibrate class probabilities by a monotone map a class."""

from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from bayesrnn.metrics.pairs import Pairs
from bayesrnn.predictive import ClassPredictive
from bayesrnn.recalibration.protocol import AbstractRecalibrator
from bayesrnn.recalibration.temperature import held_out_classes
from bayesrnn.recalibration.vector_scaling import check_classes_match


class Isotonic(AbstractRecalibrator):
    r"""One increasing map a class, fitted by isotonic regression of its indicator, then normalized.

    Fitted values are kept within $[1/(n+2), 1 - 1/(n+2)]$, so that no class becomes impossible. Normalizing several
    maps can spoil their gain: the result is mixed with the original in the proportion that has the best held-out nll.

    Source: Zadrozny & Elkan 2002, Transforming classifier scores into accurate multiclass probability estimates.
    """

    name: ClassVar[str] = "isotonic"
    kind = ClassPredictive

    def _fit(self, pairs: Pairs) -> dict[str, Any]:
        from sklearn.isotonic import IsotonicRegression

        logs, target = held_out_classes(pairs)
        p, edge = logs.exp().numpy(), 1.0 / (len(logs) + 2)
        maps = []
        for k in range(p.shape[1]):
            model = IsotonicRegression(y_min=edge, y_max=1 - edge, out_of_bounds="clip")
            model.fit(p[:, k], (target == k).numpy().astype(np.float64))
            maps.append({"x": model.X_thresholds_.tolist(), "y": model.y_thresholds_.tolist()})
        mapped = _mapped(logs.exp(), maps)

        def nll(weight: float) -> float:
            mixed = weight * mapped + (1 - weight) * logs.exp()
            return -float(mixed.gather(-1, target[:, None]).log().mean())

        return {"maps": maps, "weight": min((1.0, 0.9, 0.75, 0.5, 0.25, 0.0), key=nll)}

    def _apply(self, predictive: Any, parameters: dict[str, Any]) -> ClassPredictive:
        check_classes_match(predictive, len(parameters["maps"]))
        p = predictive.log_mean.exp()
        mixed = parameters["weight"] * _mapped(p, parameters["maps"]) + (1 - parameters["weight"]) * p
        return predictive.recalibrated((mixed / mixed.sum(-1, keepdim=True)).log())


def _mapped(p: Tensor, maps: list[dict[str, list[float]]]) -> Tensor:
    columns = [np.interp(p[..., k].cpu().numpy(), m["x"], m["y"]) for k, m in enumerate(maps)]
    mapped = torch.as_tensor(np.stack(columns, -1), dtype=p.dtype, device=p.device)
    return mapped / mapped.sum(-1, keepdim=True)
