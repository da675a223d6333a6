"""Shift and scale draws so that their mixture has given moments."""

import torch
from torch import Tensor
from torch import distributions as D

from bayesrnn.inference.outputs import OutputDistribution, Point
from bayesrnn.likelihoods import families

_SCALED = (D.Normal, D.StudentT, D.Laplace)


def rescaled(
    distribution: OutputDistribution, mean: Tensor, aleatoric: Tensor, epistemic: Tensor
) -> OutputDistribution:
    r"""Return the draws with a given mean, mean variance and variance of the means over draws.

    $\mu'_s = \hat\mu + (\mu_s - \bar\mu)\, (\hat V / s^2_\mu)^{1/2}$ and $\sigma'_s = \sigma_s\, (\hat A /
    \overline{\sigma^2})^{1/2}$: the mixture keeps the shape that the draws give it, with the
    better mean and variance.

    Args:
        distribution: Batch shape (S, B, ...).
        mean: Of the target, (B, ...).
        aleatoric: Mean variance of a draw, (B, ...).
        epistemic: Variance of the draws' means, (B, ...).

    Raises:
        ValueError: If the distribution has no location and scale.
    """
    if isinstance(distribution, Point):
        return Point(_spread(distribution.value, mean, epistemic))
    base = families.peel(distribution)
    if not isinstance(base, _SCALED):
        raise ValueError(
            f"the draws of a {type(base).__name__} have no location and scale that could be moved to the moments of "
            "control variates. Pass keep_draws=False for the moments only, or control=None."
        )
    present = families.variance_of(families.map_parameters(base, Tensor.double)).mean(0)
    scale = (base.scale * _ratio(aleatoric, present)).to(base.scale.dtype)
    return families.with_parameters(base, loc=_spread(base.loc, mean, epistemic), scale=scale)


def _spread(values: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    wide = values.double()
    centre = wide.mean(0)
    return (mean + (wide - centre) * _ratio(variance, wide.var(0))).to(values.dtype)


def _ratio(wanted: Tensor, present: Tensor) -> Tensor:
    """Return the square root of a ratio; 1 where there is nothing to scale."""
    return torch.where(present > 0, wanted / torch.where(present > 0, present, 1.0), 1.0).sqrt()
