"""Predictive variance and log-likelihood of a homoscedastic regression, as the papers define them."""

import math
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from bayesrnn._checks import check_finite
from bayesrnn.likelihoods import homoscedastic_gaussian
from bayesrnn.objective.conversions import check_positive

__all__ = ["predictive_log_likelihood", "predictive_variance"]


def predictive_variance(draws: Tensor, precision: float) -> Tensor:
    r"""Return $\mathrm{Var}[y] = \tau^{-1} + \frac1S\sum_s \hat y_s^2 - \bigl(\frac1S\sum_s \hat y_s\bigr)^2$.

    The noise is added to the variance, never to the standard deviation. The spread of the draws is divided by S, as in
    the paper: it is the variance of the mixture of these S draws. `Predictive.variance` divides by S - 1, the
    estimate for infinitely many draws (unbiased where they are independent); its epistemic part is S / (S - 1) times
    the one here.

    Args:
        draws: Per-draw means, (S, B, ...), floating point, target units.
        precision: $\tau$, 1 / noise variance, in the same units.

    Returns:
        Variances (B, ...).

    Raises:
        TypeError: If the draws are no floating point tensor.
        ValueError: If the precision is not positive, there are no draws, or one is NaN or infinite.

    Source: Gal & Ghahramani (2016), arXiv:1506.02142, section 4.

    Example:
        >>> predictive_variance(torch.tensor([[1.0], [3.0]]), precision=4.0)
        tensor([1.2500])
    """
    tau = check_positive(precision, "precision")
    return 1.0 / tau + _draws(draws).var(0, correction=0)


def predictive_log_likelihood(draws: Tensor | Distribution, target: Tensor, precision: float | None = None) -> Tensor:
    r"""Return $\log \frac1S \sum_s p(y \mid \omega_s)$ for each target, nats; report its mean over targets.

    The sum over draws is inside the logarithm and each target has a logarithm of its own. For per-draw means and a
    precision, $p$ is $N(y; \hat y_s, \tau^{-1})$; for a heteroscedastic or discrete head give the distribution itself.
    A joint distribution of several targets (`Independent`, `MultivariateNormal`) has one logarithm for all of them.

    Args:
        draws: Per-draw means (S, B, ...), floating point, or a Distribution of batch shape (S, B, ...).
        target: (B, ...), target units; for a Distribution its batch shape without S, and then its event shape.
        precision: $\tau$; needed for means, and wrong beside a Distribution.

    Returns:
        Log densities (log probabilities for classes and counts), (B, ...): the batch shape without S.

    Raises:
        TypeError: If the target is no tensor, or the draws are neither a floating point tensor nor a Distribution.
        ValueError: If the shapes do not fit, a value is NaN or infinite, there are no draws, or the precision is
            missing, not positive, or given beside a distribution.

    Source: Gal & Ghahramani (2016), arXiv:1506.02142, section 4.

    Example:
        >>> draws = torch.zeros(10, 3, 1)
        >>> predictive_log_likelihood(draws, torch.zeros(3, 1), precision=2 * math.pi).mean()
        tensor(0.)
    """
    distribution = _distribution(draws, precision)
    if not distribution.batch_shape or not distribution.batch_shape[0]:
        raise ValueError(
            "the distribution must have the batch shape (S, B, ...) with S of at least 1 draw, but a "
            f"{type(distribution).__name__} of batch shape {tuple(distribution.batch_shape)} was given. For one draw "
            "add a first dimension, e.g. Normal(mean[None], std[None])."
        )
    if not isinstance(target, Tensor):
        raise TypeError(f"target must be a tensor, but a {type(target).__name__} was given: torch.as_tensor(target).")
    expected = (*distribution.batch_shape[1:], *distribution.event_shape)
    if tuple(target.shape) != expected:
        raise ValueError(f"target must have the shape of one draw, {expected}, but {tuple(target.shape)} was given.")
    return torch.logsumexp(distribution.log_prob(check_finite(target, "target")), 0) - math.log(
        distribution.batch_shape[0]
    )


def _distribution(draws: Tensor | Distribution, precision: float | None) -> Distribution:
    if isinstance(draws, Distribution):
        if precision is not None:
            raise ValueError("a Distribution has its own noise: leave out precision=, or give the per-draw means.")
        return draws
    if precision is None:
        raise ValueError("per-draw means need the precision of the noise: pass precision=, or a Distribution.")
    return homoscedastic_gaussian(check_positive(precision, "precision"))(_draws(draws).unsqueeze(-1))


def _draws(draws: Any) -> Tensor:
    if not isinstance(draws, Tensor):
        raise TypeError(
            f"draws must be a tensor (S, B, ...), but a {type(draws).__name__} was given: torch.as_tensor(draws)."
        )
    if not draws.is_floating_point():
        raise TypeError(f"draws are means in target units, floating point, but {draws.dtype} was given: draws.float().")
    if draws.dim() < 1 or not draws.shape[0]:
        raise ValueError(f"draws must be (S, B, ...) with S of at least 1, but the shape is {tuple(draws.shape)}.")
    if not bool(torch.isfinite(draws).all()):
        check_finite(draws.transpose(0, 1) if draws.dim() > 1 else draws, "draws")  # names rows, not draws
    return draws
