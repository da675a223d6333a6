"""Adaptive conformal intervals for series that drift."""

from collections.abc import Sequence
from typing import Any, ClassVar, Self

import numpy as np
import torch

from bayesrnn._checks import check_flag, check_level, check_levels, check_whole
from bayesrnn.metrics.pairs import Pairs, pair
from bayesrnn.predictive import ContinuousPredictive, Predictive
from bayesrnn.predictive.distributions.conformal import ConformalDistribution
from bayesrnn.recalibration.conformal import conformal_rank, scores
from bayesrnn.recalibration.parameters import Numbers, check_per_level
from bayesrnn.recalibration.protocol import AbstractRecalibrator


class AdaptiveConformal(AbstractRecalibrator):
    r"""Split conformal intervals whose level follows the misses: $\alpha_{t+1} = \alpha_t + \gamma(\alpha - err_t)$.

    `fit` on a held-out stretch, then for each new row in time order: `apply` to predict, `update` once the target is
    known. Only past errors are used, and the long-run miss rate tends to 1 - level whatever the series does. Each level
    of `levels` follows its own misses; other levels are interpolated.

    Args:
        levels: Central levels to keep.
        step_size: The gain gamma; larger follows faster and wobbles more.
        window: How many of the latest errors are kept.
        scaled: Whether errors are measured in predicted standard deviations.

    Source: Gibbs & Candès 2021 (arXiv:2106.00170), eq. 2.
    """

    name: ClassVar[str] = "adaptive_conformal"
    kind = ContinuousPredictive
    legal: ClassVar = {"recent": Numbers(0, many=True), "effective": Numbers(many=True)}

    def check_together(self, parameters: dict[str, Any]) -> None:
        """Refuse another number of effective levels than of levels."""
        check_per_level(parameters["effective"], self.levels, "effective levels of AdaptiveConformal")

    def __init__(
        self,
        levels: Sequence[float] = (0.5, 0.8, 0.9, 0.95),
        step_size: float = 0.01,
        window: int = 1000,
        scaled: bool = True,
    ) -> None:
        self.levels = check_levels(levels)
        self.step_size = check_level(step_size, "step_size")
        self.window = check_whole(window, "window", 30)
        self.scaled = check_flag(scaled, "scaled")

    def settings(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {"levels": self.levels, "step_size": self.step_size, "window": self.window, "scaled": self.scaled}

    def update(self, predictive: Predictive, target: Any, *, nan: str = "raise") -> Self:
        """Take in the targets of the next rows, in time order: each row first tested, then added to the errors.

        Args:
            predictive: What was predicted of these rows (before `apply`).
            target: What happened, (B, ...).
            nan: "drop" skips missing targets.
        """
        self._check_kind(predictive)
        parameters = self.fitted
        pairs = pair(predictive, target, {"nan": nan})
        recent, levels = list(parameters["recent"]), np.asarray(parameters["effective"])
        wanted = np.asarray(self.levels)
        for score in pairs.take(scores(pairs.predictive, pairs.target, self.scaled)):
            ordered = np.sort(recent)
            missed = np.array([float(score > _radius(ordered, level)) for level in _issued(levels)])
            levels = levels - self.step_size * ((1 - wanted) - missed)
            recent = [*recent, float(score)][-self.window :]
        self.parameters = {"recent": recent, "effective": levels.tolist()}
        return self

    def _fit(self, pairs: Pairs) -> dict[str, Any]:
        errors = pairs.take(scores(pairs.predictive, pairs.target, self.scaled))
        return {"recent": errors[-self.window :].tolist(), "effective": list(self.levels)}

    def _apply(self, predictive: Any, parameters: dict[str, Any]) -> ContinuousPredictive:
        radii = torch.tensor(sorted(parameters["recent"]), dtype=torch.float64)
        before = torch.tensor([0.0, *self.levels, 1.0], dtype=torch.float64)
        effective = _issued(parameters["effective"])
        after = _rising([0.0, *effective, max(1.0, float(effective[-1]))])
        return predictive.with_distribution(
            ConformalDistribution(
                predictive.distribution, radii, before, torch.tensor(after, dtype=torch.float64), self.scaled
            )
        )


def _issued(levels: Any) -> Any:
    """Effective levels, cut to 0 (a point) and 1 (an infinite interval), and increasing with the level."""
    return np.maximum.accumulate(np.clip(levels, 0.0, 1.0 + 1e-6))


def _rising(values: Sequence[float]) -> list[float]:
    """Values in order, with equal ones moved apart by the last bit: more would move ranks too."""
    rising = [values[0]]
    for value in values[1:]:
        rising.append(max(value, float(np.nextafter(rising[-1], np.inf))))
    return rising


def _radius(ordered: Any, level: float) -> float:
    rank = conformal_rank(len(ordered), level)
    if rank > len(ordered):
        return float("inf")
    return float(ordered[rank - 1]) if rank > 0 else 0.0
