"""Recalibrate each step of a forecast by a map of its own."""

from collections.abc import Callable
from typing import Any, Self

import torch
from torch import Tensor

from bayesrnn._checks import as_values
from bayesrnn.predictive import ContinuousPredictive, Predictive
from bayesrnn.predictive.distributions.joined import JoinedDistribution
from bayesrnn.recalibration.parameters import check_keys
from bayesrnn.recalibration.protocol import AbstractRecalibrator


class PerHorizon:
    """Fit one recalibrator per step of targets (B, T): far horizons are often wrong in another way than near ones.

    Args:
        make: Makes a fresh recalibrator, e.g. the class `VarianceScaling`.

    Example:
        >>> from bayesrnn.predictive import Predictive
        >>> from bayesrnn.recalibration import VarianceScaling
        >>> predictive = Predictive.from_gaussian(torch.zeros(50, 3), torch.ones(50, 3))
        >>> PerHorizon(VarianceScaling).fit(predictive, torch.randn(50, 3)).apply(predictive).std.shape
        torch.Size([50, 3])
    """

    name = "per_horizon"

    def __init__(self, make: Callable[[], AbstractRecalibrator]) -> None:
        if not callable(make):
            raise TypeError(
                f"make must make a recalibrator of each step, but {make!r:.60} was given. Give a class, such as "
                "VarianceScaling, or lambda: SplitConformal(scaled=False)."
            )
        self.make = make
        self.steps: list[AbstractRecalibrator] | None = None

    def fit(
        self,
        predictive: Predictive,
        target: Any,
        *,
        training_ids: Any = None,
        mask: Tensor | None = None,
        nan: str = "raise",
    ) -> Self:
        """Fit a map for each step; each needs 30 held-out rows of its own."""
        steps = _steps(predictive)
        target = as_values(target, "target")
        if target.shape != steps.shape:
            raise ValueError(f"target of shape {tuple(target.shape)} does not fit the predictive {tuple(steps.shape)}.")
        fitted = []
        for t in range(steps.shape[1]):
            here = slice(t, t + 1)
            part = None if mask is None else mask[:, here]
            fitted.append(
                self.make().fit(steps.at_step(here), target[:, here], training_ids=training_ids, mask=part, nan=nan)
            )
        self.steps = fitted
        return self

    def apply(self, predictive: Predictive) -> ContinuousPredictive:
        """Return the predictive with each step recalibrated by its own map."""
        if self.steps is None:
            raise ValueError("this PerHorizon was not fitted: call fit(predictive, target) on held-out data.")
        whole = _steps(predictive)
        if whole.shape[1] != len(self.steps):
            raise ValueError(f"maps were fitted for {len(self.steps)} steps, but the predictive has {whole.shape[1]}.")
        parts = [part.apply(whole.at_step(slice(t, t + 1))).distribution for t, part in enumerate(self.steps)]
        return whole.with_distribution(JoinedDistribution(parts, list(torch.arange(len(parts)).split(1)), 1))

    def to_dict(self) -> dict[str, Any]:
        """Return the fitted maps as JSON values."""
        if self.steps is None:
            raise ValueError("this PerHorizon was not fitted: there is nothing to save.")
        return {"name": self.name, "steps": [part.to_dict() for part in self.steps]}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Make the recalibrator that `to_dict` described."""
        from bayesrnn.recalibration import from_dict

        check_keys(values, ("name", "steps"), cls.__name__)
        if values["name"] != cls.name or not (isinstance(values["steps"], list) and values["steps"]):
            raise ValueError("these are not the values of a fitted PerHorizon.")
        if any(not isinstance(part, dict) or part.get("name") == cls.name for part in values["steps"]):
            raise ValueError("each step of a PerHorizon must be one recalibrator, no PerHorizon itself.")
        parts = [from_dict(part) for part in values["steps"]]
        recalibrator = cls(type(parts[0]))
        recalibrator.steps = parts
        return recalibrator


def _steps(predictive: Any) -> ContinuousPredictive:
    if not isinstance(predictive, ContinuousPredictive) or len(predictive.shape) < 2:
        shape = tuple(getattr(predictive, "shape", ()))
        raise ValueError(
            f"PerHorizon needs a continuous predictive of shape (rows, steps), but a {type(predictive).__name__} of "
            f"shape {shape} was given. Without steps use the recalibrator itself."
        )
    return predictive
