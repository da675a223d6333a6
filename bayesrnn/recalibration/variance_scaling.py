"""Scale the spread about the mean by one factor."""

from typing import Any, ClassVar

import numpy as np
import torch

from bayesrnn.metrics.pairs import Pairs
from bayesrnn.predictive import ContinuousPredictive
from bayesrnn.predictive.distributions.transformed import scale_spread
from bayesrnn.recalibration.parameters import Numbers
from bayesrnn.recalibration.protocol import AbstractRecalibrator

_SMALLEST = 1e-12  # factor; the largest is its inverse
_IMPOSSIBLE = 1e9  # nll of a factor that puts a target outside the support: large, but fit for a line search


class VarianceScaling(AbstractRecalibrator):
    r"""Multiply the spread about the mean by one factor s: $Y' = \mu + s(Y - \mu)$.

    s minimizes the nll on the held-out targets (for a Gaussian $s^2 = \mathrm{mean}\,z^2$, the closed form; where there
    is no density that form is used). Aleatoric and epistemic variance are both multiplied by $s^2$.

    Source: Laves et al. 2020, Well-calibrated regression uncertainty, section 3 (sigma scaling).

    Example:
        >>> from bayesrnn.predictive import Predictive
        >>> target = 2 * torch.randn(1000, generator=torch.Generator().manual_seed(0))
        >>> too_sure = Predictive.from_gaussian(torch.zeros(1000), torch.ones(1000))
        >>> bool(1.8 < VarianceScaling().fit(too_sure, target).apply(too_sure).std[0] < 2.2)
        True
    """

    name: ClassVar[str] = "variance_scaling"
    kind = ContinuousPredictive
    legal: ClassVar = {"factor": Numbers(_SMALLEST, 1 / _SMALLEST)}

    def _fit(self, pairs: Pairs) -> dict[str, Any]:
        p, y = pairs.predictive, torch.as_tensor(pairs.target)
        scale_spread(p.distribution, 1.0)  # counts are refused before anything is computed
        z2 = pairs.take((p.mean - y) ** 2 / p.variance)
        closed = float(np.sqrt(z2.mean()))
        if not 30 * _SMALLEST <= closed <= 1 / (30 * _SMALLEST):
            raise ValueError(
                "the spread cannot be scaled: every error is zero next to it, or a predicted variance is zero or "
                "infinite, or so far from the errors that no factor helps."
            )

        def nll(factor: float) -> float:
            value = -float(pairs.take(scale_spread(p.distribution, factor).log_prob(y.double())).mean())
            return value if np.isfinite(value) else _IMPOSSIBLE

        try:
            nll(1.0)
        except ValueError:
            return {"factor": closed}
        return {"factor": _best_factor(nll, closed)}

    def _apply(self, predictive: Any, parameters: dict[str, Any]) -> ContinuousPredictive:
        return predictive.with_distribution(scale_spread(predictive.distribution, parameters["factor"]))


def _best_factor(nll: Any, closed: float) -> float:
    from scipy.optimize import minimize_scalar

    center = float(np.log(closed))
    search = minimize_scalar(
        lambda t: nll(float(np.exp(t))), bounds=(center - 3, center + 3), method="bounded", options={"xatol": 1e-6}
    )
    # mixtures may have several minima: never end above the closed form or the map that changes nothing
    return min((float(np.exp(search.x)), closed, 1.0), key=nll)
