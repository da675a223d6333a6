"""Scale the aleatoric spread and the epistemic spread by a factor each."""

from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution, MixtureSameFamily, Normal, StudentT

from bayesrnn.likelihoods.families import map_parameters
from bayesrnn.metrics.pairs import Pairs
from bayesrnn.predictive import ContinuousPredictive
from bayesrnn.predictive.distributions.abstract import AbstractDistribution
from bayesrnn.predictive.distributions.mixture import MixtureDistribution, RemadeDistribution
from bayesrnn.recalibration.parameters import Numbers
from bayesrnn.recalibration.protocol import AbstractRecalibrator

_IMPOSSIBLE = 1e9


class PartScaling(AbstractRecalibrator):
    r"""Multiply aleatoric and epistemic spread by a factor each.

    $$\mu'_s = \bar\mu + e\,(\mu_s - \bar\mu), \qquad \sigma'_s = a\,\sigma_s$$

    a and e minimize the nll of the mixture over draws on the held-out targets; the aleatoric variance is multiplied by
    $a^2$, the epistemic one by $e^2$. One factor for both (`VarianceScaling`) cannot say that the noise is right and
    the draws agree too much. For draws that are Gaussian, Student t, or mixtures of Gaussians.

    Source: aleatoric and epistemic parts scaled separately, after Laves et al. 2020 (sigma scaling), section 3.

    Example:
        >>> from bayesrnn.predictive import Predictive
        >>> means = torch.randn(20, 500, generator=torch.Generator().manual_seed(0)) * torch.linspace(0.1, 3, 500)
        >>> predictive = Predictive.from_draws(Normal(means, torch.ones(20, 500)))
        >>> sorted(PartScaling().fit(predictive, means[0]).parameters)
        ['aleatoric', 'epistemic']
    """

    name: ClassVar[str] = "part_scaling"
    kind = ContinuousPredictive
    legal: ClassVar = {"aleatoric": Numbers(1e-3, 1e3), "epistemic": Numbers(1e-3, 1e3)}

    def _fit(self, pairs: Pairs) -> dict[str, Any]:
        from scipy.optimize import minimize

        distribution, target = pairs.predictive.distribution, torch.as_tensor(pairs.target).double()
        _scaled(distribution, 1.0, 1.0)  # what has no parts to scale is refused before anything is computed

        def nll(logs: Any) -> float:
            a, e = np.exp(np.clip(logs, -3, 3))
            value = -float(pairs.take(_scaled(distribution, a, e).log_prob(target)).mean())
            return value if np.isfinite(value) else _IMPOSSIBLE

        starts = [minimize(nll, start, method="Nelder-Mead", options={"xatol": 1e-3}) for start in ([0, 0], [0, 1])]
        best = min(starts, key=lambda result: result.fun)
        a, e = np.exp(np.clip(best.x, -3, 3)) if best.fun < nll([0, 0]) else (1.0, 1.0)
        return {"aleatoric": float(a), "epistemic": float(e)}

    def _apply(self, predictive: Any, parameters: dict[str, Any]) -> ContinuousPredictive:
        return predictive.with_distribution(
            _scaled(predictive.distribution, parameters["aleatoric"], parameters["epistemic"])
        )


def _scaled(base: AbstractDistribution, a: float, e: float) -> MixtureDistribution:
    if not isinstance(base, MixtureDistribution):
        raise ValueError(
            f"a {type(base).__name__} does not hold the draws whose noise and disagreement could be scaled apart. "
            "Predict with keep_draws=True and a likelihood, and recalibrate in parts first; or use VarianceScaling."
        )
    components = _of_parts(base.components, a, e)
    return RemadeDistribution(components, base, lambda other: _scaled(other, a, e))


def _of_parts(distribution: Distribution, a: float, e: float) -> Distribution:
    """Return the draws with their places moved from the mean by e and their widths multiplied by a."""
    if isinstance(distribution, MixtureSameFamily) and isinstance(distribution.component_distribution, Normal):
        inner = distribution.component_distribution
        center = (distribution.mixture_distribution.probs * inner.loc).sum(-1, keepdim=True).mean(0)
        parts = Normal(_moved(inner.loc, center, e), a * inner.scale, validate_args=False)
        same = map_parameters(distribution.mixture_distribution, lambda t: t)
        return MixtureSameFamily(same, parts, validate_args=False)
    if isinstance(distribution, Normal | StudentT):
        loc = _moved(distribution.loc, distribution.loc.mean(0), e)
        if isinstance(distribution, Normal):
            return Normal(loc, a * distribution.scale, validate_args=False)
        return type(distribution)(distribution.df, loc, a * distribution.scale, validate_args=False)
    raise ValueError(
        f"draws of a {type(distribution).__name__} have no place and width to scale apart: that takes Gaussians, "
        "Student t, or mixtures of Gaussians. Use VarianceScaling."
    )


def _moved(loc: Tensor, center: Tensor, e: float) -> Tensor:
    return center + e * (loc - center)
