"""Conformalized quantiles: the model's own intervals, moved until they hold."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch

from bayesrnn._checks import check_levels
from bayesrnn.metrics.pairs import Pairs
from bayesrnn.predictive import ContinuousPredictive
from bayesrnn.predictive.distributions.conformal import OffsetDistribution
from bayesrnn.recalibration.conformal import conformal_rank
from bayesrnn.recalibration.parameters import Numbers, check_per_level
from bayesrnn.recalibration.protocol import AbstractRecalibrator

LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)


class ConformalizedQuantiles(AbstractRecalibrator):
    r"""Widen or narrow the central interval [l, u] of each level by a constant c.

    c is the quantile of max(l - y, y - u) over held-out targets y. At each of `levels` the interval holds an
    exchangeable target with at least that probability. An interval that would lie inside the interval of a lower level
    is widened to it, so that intervals nest; between the levels ends move as the model's own do. Skewed intervals stay
    skewed.

    Args:
        levels: Central levels at which the offset is fitted.

    Source: Romano, Patterson & Candès 2019 (arXiv:1905.03222), section 3.
    """

    name: ClassVar[str] = "conformalized_quantiles"
    kind = ContinuousPredictive
    legal: ClassVar = {"offsets": Numbers(many=True)}

    def check_together(self, parameters: dict[str, Any]) -> None:
        """Refuse another number of offsets than of levels."""
        check_per_level(parameters["offsets"], self.levels, "offsets of ConformalizedQuantiles")

    def __init__(self, levels: Sequence[float] = LEVELS) -> None:
        self.levels = check_levels(levels)

    def settings(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {"levels": self.levels}

    def _fit(self, pairs: Pairs) -> dict[str, Any]:
        count, offsets = int(pairs.keep.sum()), []
        for level in self.levels:
            rank = conformal_rank(count, level)
            if rank > count:
                raise ValueError(
                    f"level {level:g} needs at least {int(np.ceil(level / (1 - level)))} held-out targets, but {count} "
                    "were given: hold out more, or leave the level out of levels=."
                )
            low, high = pairs.predictive.interval(level)
            missed = pairs.take(torch.maximum(low - pairs.target, pairs.target - high))
            offsets.append(float(np.sort(missed)[rank - 1]))
        return {"offsets": offsets}

    def _apply(self, predictive: Any, parameters: dict[str, Any]) -> ContinuousPredictive:
        levels, offsets = (torch.tensor(v, dtype=torch.float64) for v in (self.levels, parameters["offsets"]))
        return predictive.with_distribution(OffsetDistribution(predictive.distribution, levels, offsets))
