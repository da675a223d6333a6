"""Recalibrate the levels: quantiles that hold as often as they say."""

from typing import Any, ClassVar

import numpy as np
import torch

from bayesrnn.metrics.pairs import Pairs
from bayesrnn.metrics.score import Array
from bayesrnn.predictive import ContinuousPredictive
from bayesrnn.predictive.distributions.transformed import LevelDistribution
from bayesrnn.recalibration.parameters import Numbers
from bayesrnn.recalibration.protocol import AbstractRecalibrator


class QuantileRecalibration(AbstractRecalibrator):
    r"""Map levels by how often they held: $F'(y) = R(F(y))$, $R(p) = \hat P(F(Y) \le p)$ on held-out targets.

    R goes straight from one order statistic of the transform to the next of about $\sqrt n$ chosen ones (finer in the
    tails): the k-th of n stands at level k / (n + 1), where a new target lies below it with that probability. It
    corrects bias and shape as well as spread.

    Source: Kuleshov, Fenner & Ermon 2018 (arXiv:1807.00263), algorithm 1.
    """

    name: ClassVar[str] = "quantile_recalibration"
    kind = ContinuousPredictive
    legal: ClassVar = {name: Numbers(0, 1, many=True, rising=True) for name in ("before", "after")}

    def check_together(self, parameters: dict[str, Any]) -> None:
        """Refuse levels that do not reach from 0 to 1, come twice, or are not matched."""
        before, after = parameters["before"], parameters["after"]
        whole = all(levels[0] == 0 and levels[-1] == 1 for levels in (before, after))
        distinct = all(len(set(levels)) == len(levels) for levels in (before, after))
        if len(before) != len(after) or not distinct or not whole:
            raise ValueError(
                "before and after of QuantileRecalibration must be as many levels, from 0 to 1, each once."
            )

    def _fit(self, pairs: Pairs) -> dict[str, Any]:
        lower, upper = (pairs.take(end) for end in pairs.predictive.distribution.pit(pairs.target.double()))  # type: ignore[union-attr]
        u = np.sort(lower + np.random.default_rng(0).random(len(lower)) * (upper - lower))
        lost = int(((u < 1e-9) | (u > 1 - 1e-9)).sum())
        if lost > max(1, 0.05 * len(u)):
            raise ValueError(
                f"{lost} of the {len(u)} held-out targets lie so far outside that their levels are 0 or 1, which no "
                "map of levels can repair: the spread is far too small. Fit VarianceScaling first, then this."
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
    fine = 2 ** np.arange(0, int(np.log2(max(size // coarse, 1))) + 1)  # the 1st, 2nd, 4th, ... from either end
    ranks = np.unique(np.concatenate([fine, regular, size + 1 - fine]))
    at = np.clip(u[ranks - 1], 1e-12, 1 - 1e-12)
    last = np.append(np.diff(at) > 0, True)  # of equal ones the last: a tie has the cdf of its upper end
    level = np.concatenate([[0.0], ranks[last] / (size + 1), [1.0]])
    return np.concatenate([[0.0], at[last], [1.0]]), level
