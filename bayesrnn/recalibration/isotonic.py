"""Recalibrate class probabilities by a monotone map per class."""

from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from bayesrnn.metrics.pairs import Pairs
from bayesrnn.predictive import ClassPredictive
from bayesrnn.recalibration.parameters import Numbers, check_keys
from bayesrnn.recalibration.protocol import AbstractRecalibrator
from bayesrnn.recalibration.temperature import held_out_classes
from bayesrnn.recalibration.vector_scaling import check_classes_match

_FOLDS = 5


class Maps:
    """What the maps may be: for each class numbers that rise from x to y."""

    def check(self, value: Any, name: str) -> None:
        """Refuse what is no list of such maps.

        Raises:
            ValueError: That names what is wrong.
        """
        if not isinstance(value, list) or len(value) < 2:
            raise ValueError(f"{name} must be a list with a map per class, but {value!r:.60} was given.")
        for number, points in enumerate(value):
            check_keys(points, ("x", "y"), f"map {number} of {name}")
            for axis in ("x", "y"):
                Numbers(0, 1, many=True, rising=True).check(points[axis], f"{axis} of map {number} of {name}")
            if len(points["x"]) != len(points["y"]) or points["y"][0] <= 0:
                raise ValueError(f"map {number} of {name} must have as many x as y, and every y above 0.")


class Isotonic(AbstractRecalibrator):
    r"""One increasing map per class, fitted by isotonic regression of its indicator, then normalized.

    Fitted values are kept within $[1/(n+2), 1 - 1/(n+2)]$, so that no class becomes impossible. On few rows the maps
    fit noise: they are mixed with the original in the proportion of the best nll on rows left out (five folds), if it
    gains more than twice its standard error.

    Source: Zadrozny & Elkan 2002, Transforming classifier scores into accurate multiclass probability estimates.
    """

    name: ClassVar[str] = "isotonic"
    kind = ClassPredictive
    legal: ClassVar = {"maps": Maps(), "weight": Numbers(0, 1)}

    def _fit(self, pairs: Pairs) -> dict[str, Any]:
        logs, target = held_out_classes(pairs)
        p = logs.exp()
        fold = torch.as_tensor(np.random.default_rng(0).permutation(len(p)) % _FOLDS)
        left_out = torch.empty_like(p)
        for k in range(_FOLDS):
            left_out[fold == k] = _mapped(p[fold == k], _maps(p[fold != k], target[fold != k]))

        def gain(weight: float) -> tuple[float, float]:
            mixed = weight * left_out + (1 - weight) * p
            each = (mixed.log() - logs).gather(-1, target[:, None])
            return float(each.mean()), float(each.std()) / len(each) ** 0.5

        gains = {weight: gain(weight) for weight in (1.0, 0.9, 0.75, 0.5, 0.25)}
        best = max(gains, key=lambda weight: gains[weight][0])
        return {"maps": _maps(p, target), "weight": best if gains[best][0] > 2 * gains[best][1] else 0.0}

    def _apply(self, predictive: Any, parameters: dict[str, Any]) -> ClassPredictive:
        check_classes_match(predictive, len(parameters["maps"]))
        p = predictive.log_mean.exp()
        mixed = parameters["weight"] * _mapped(p, parameters["maps"]) + (1 - parameters["weight"]) * p
        return predictive.recalibrated((mixed / mixed.sum(-1, keepdim=True)).log())


def _maps(p: Tensor, target: Tensor) -> list[dict[str, list[float]]]:
    from sklearn.isotonic import IsotonicRegression

    edge, maps = 1.0 / (len(p) + 2), []
    for k in range(p.shape[1]):
        model = IsotonicRegression(y_min=edge, y_max=1 - edge, out_of_bounds="clip")
        model.fit(p[:, k].numpy(), (target == k).numpy().astype(np.float64))
        maps.append({"x": model.X_thresholds_.tolist(), "y": model.y_thresholds_.tolist()})
    return maps


def _mapped(p: Tensor, maps: list[dict[str, list[float]]]) -> Tensor:
    columns = [np.interp(p[..., k].cpu().numpy(), m["x"], m["y"]) for k, m in enumerate(maps)]
    mapped = torch.as_tensor(np.stack(columns, -1), dtype=p.dtype, device=p.device)
    return mapped / mapped.sum(-1, keepdim=True)
