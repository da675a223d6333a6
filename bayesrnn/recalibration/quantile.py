"""Recalibrate the levels: quantiles that hold as often as they say."""

from typing import Any, ClassVar

import numpy as np
import torch

from bayesrnn.metrics.pairs import Pairs
from bayesrnn.metrics.score import Array
from bayesrnn.predictive import ContinuousPredictive
from bayesrnn.predictive.distributions.transformed import LevelDistribution
from bayesrnn.recalibration.protocol import AbstractRecalibrator


class QuantileRecalibration(AbstractRecalibrator):
    r"""Map levels by how often they held: $F'(y) = R(F(y))$, $R(p) = \hat P(F(Y) \le p)$ on held-out targets.

    R is piecewise linear between order statistics of the transform (finer in the tails) and mixed with the identity in
    the proportion of one target a knot, so that it increases everywhere and the density stays positive. It corrects
    bias and shape as well as spread; its log density on the fitted targets is never worse than before.

    Source: Kuleshov, Fenner & Ermon 2018 (arXiv:1807.00263), algorithm 1.
    """

    name: ClassVar[str] = "quantile_recalibration"
    kind = ContinuousPredictive

    def _fit(self, pairs: Pairs) -> dict[str, Any]:
        lower, upper = (pairs.take(end) for end in pairs.predictive.distribution.pit(pairs.target.double()))  # type: ignore[union-attr]
        u = np.sort(lower + np.random.default_rng(0).random(len(lower)) * (upper - lower))
        lost = ((u < 1e-9) | (u > 1 - 1e-9)).mean()
        if lost > 0.01:
            raise ValueError(
                f"{lost:.0%} of the held-out targets lie so far outside that their levels are 0 or 1, which no map of "
                "levels can repair: the spread is far too small. Fit VarianceScaling first, then this on its result."
            )
        before, after = _knots(u)
        return {"before": before.tolist(), "after": after.tolist()}

    def _apply(self, predictive: Any, parameters: dict[str, Any]) -> ContinuousPredictive:
        before, after = (torch.tensor(parameters[k], dtype=torch.float64) for k in ("before", "after"))
        return predictive.with_distribution(LevelDistribution(predictive.distribution, before, after))


def _knots(u: Array) -> tuple[Array, Array]:
    size = len(u)
    coarse = max(int(np.sqrt(size)), 5)
    regular = (np.arange(1, coarse) * size) // coarse
    fine = 2 ** np.arange(0, int(np.log2(max(size // coarse, 1))) + 1)  # 1, 2, 4, ... targets from either end
    ranks = np.unique(np.concatenate([fine, regular, size - fine]))
    ranks = ranks[(ranks > 0) & (ranks < size)]
    inner = np.unique(0.5 * (u[ranks - 1] + u[ranks]))  # between neighbors, so that no target sits on a knot
    inner = inner[(inner > 1e-12) & (inner < 1 - 1e-12)]
    before = np.concatenate([[0.0], inner, [1.0]])
    share = np.searchsorted(u, before, side="right") / size
    share[0], share[-1] = 0.0, 1.0
    weight = size / (size + len(before) - 1)
    return before, weight * share + (1 - weight) * before
