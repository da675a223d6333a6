"""Predictive variance and log-likelihood of a homoscedastic regression, as the papers define them."""

import math

import torch
from torch import Tensor
from torch.distributions import Distribution

from bayesrnn.likelihoods import homoscedastic_gaussian
from bayesrnn.objective.conversions import check_positive

__all__ = ["predictive_log_likelihood", "predictive_variance"]


def predictive_variance(draws: Tensor, precision: float) -> Tensor:
    r"""Return $\mathrm{Var}[y] = \tau^{-1} + \frac1S\sum_s \hat y_s^2 - \bigl(\frac1S\sum_s \hat y_s\bigr)^2$.

    The noise is added to the variance, never to the standard deviation.

    Args:
        draws: Per-draw means, (S, B, ...), target units.
        precision: $\tau$, 1 / noise variance, in the same units.

    Returns:
        Variances (B, ...).

    Raises:
        ValueError: If the precision is not positive or there are no draws.

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
    precision, $p$ is $N(y; \hat y_s, \tau^{-1})$; for a heteroscedastic or discrete head give the law itself.

    Args:
        draws: Per-draw means (S, B, ...), or a Distribution of batch shape (S, B, ...).
        target: (B, ...), target units.
        precision: $\tau$; needed for means, and wrong beside a Distribution.

    Raises:
        ValueError: If the shapes do not fit, or the precision is missing, not positive, or given beside a law.

    Source: Gal & Ghahramani (2016), arXiv:1506.02142, section 4.

    Example:
        >>> draws = torch.zeros(10, 3, 1)
        >>> predictive_log_likelihood(draws, torch.zeros(3, 1), precision=2 * math.pi).mean()
        tensor(0.)
    """
    if isinstance(draws, Distribution):
        if precision is not None:
            raise ValueError("a Distribution has its own noise: leave out precision=, or give the per-draw means.")
        law, shape = draws, draws.batch_shape
    else:
        if precision is None:
            raise ValueError("per-draw means need the precision of the noise: pass precision=, or a Distribution.")
        law = homoscedastic_gaussian(check_positive(precision, "precision"))(_draws(draws).unsqueeze(-1))
        shape = draws.shape
    if tuple(target.shape) != tuple(shape[1:]):
        raise ValueError(
            f"target must have the shape of one draw, {tuple(shape[1:])}, but {tuple(target.shape)} was given."
        )
    return torch.logsumexp(law.log_prob(target), 0) - math.log(shape[0])


def _draws(draws: Tensor) -> Tensor:
    if draws.dim() < 1 or not draws.shape[0]:
        raise ValueError(f"draws must be (S, B, ...) with S of at least 1, but the shape is {tuple(draws.shape)}.")
    return draws
