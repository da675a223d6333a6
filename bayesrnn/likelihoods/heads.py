"""Likelihoods as functions: raw output of a model in, torch Distribution of the target out."""

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.distributions import Bernoulli, Categorical, Distribution, Normal
from torch.nn import functional as F

from bayesrnn._checks import check_number
from bayesrnn.likelihoods.counts import NegativeBinomial, Poisson, StudentT


class Likelihood(Protocol):
    """Anything that turns a model's raw output into the distribution of the target given one draw."""

    def __call__(self, output: Tensor, /) -> Distribution:
        """Return the distribution; its batch shape is the output's without the parameter dimension."""
        ...


def gaussian(output: Tensor) -> Normal:
    r"""Gaussian with a variance of its own for every target.

    $y \sim N(\mu, e^{s})$ with $(\mu, s)$ the two entries of the last dimension: mean (target units) and log variance.

    Raises:
        TypeError: If the output is no floating point tensor.
        ValueError: If the last dimension is not 2.

    Source: Kendall & Gal 2017 (arXiv:1703.04977), section 3.1: the network predicts the log variance.

    Example:
        >>> gaussian(torch.zeros(5, 2)).batch_shape
        torch.Size([5])
    """
    _check_last(output, 2, "gaussian", "mean and log variance")
    mean, log_variance = output.unbind(-1)
    return Normal(mean, torch.exp(0.5 * log_variance))


@dataclass(frozen=True)
class HomoscedasticGaussian:
    r"""Gaussian whose precision $\tau$ is one known number: $y \sim N(\mu, \tau^{-1})$.

    Source: Gal & Ghahramani 2016 (arXiv:1506.02142), section 4: the predictive variance adds $\tau^{-1}$.
    """

    precision: float

    def __post_init__(self) -> None:
        fix = " It is 1 / noise variance: for a noise standard deviation s pass 1 / s**2."
        precision = check_number(self.precision, "precision", "positive and finite", 0.0, above=True, fix=fix)
        object.__setattr__(self, "precision", precision)

    def __call__(self, output: Tensor) -> Normal:
        """Return the distribution of the target; the last dimension of `output` is 1 and holds the mean."""
        _check_last(output, 1, "homoscedastic_gaussian", "the mean")
        mean = output[..., 0]
        return Normal(mean, torch.full_like(mean, self.precision**-0.5))


def homoscedastic_gaussian(precision: float) -> HomoscedasticGaussian:
    r"""Gaussian of known precision $\tau$ (1 / target units squared); the output's last dimension is 1, the mean.

    Raises:
        ValueError: If the precision is not positive and finite, or (when called) the last dimension is not 1.

    Example:
        >>> homoscedastic_gaussian(4.0)(torch.zeros(5, 1)).stddev[0].item()
        0.5
    """
    return HomoscedasticGaussian(precision)


def student_t(output: Tensor) -> StudentT:
    r"""Student t: heavier tails than a Gaussian, for series with outliers.

    $y = \mu + e^{s} t_\nu$, $\nu = 2 + \mathrm{softplus}(r)$, with $(\mu, s, r)$ the last dimension. The degrees of
    freedom stay above 2, so the variance $e^{2s}\nu/(\nu-2)$ is finite.

    Raises as `gaussian`, where the last dimension is not 3.
    """
    _check_last(output, 3, "student_t", "location, log scale and raw degrees of freedom")
    location, log_scale, raw = output.unbind(-1)
    smallest = 4 * torch.finfo(output.dtype).eps  # softplus underflows to 0, and 2 + 0 has no variance
    return StudentT(2 + F.softplus(raw) + smallest, location, torch.exp(log_scale))


def poisson(output: Tensor) -> Poisson:
    r"""Poisson counts with rate $e^{o}$; the last dimension is 1, the log rate.

    Raises as `gaussian`, where the last dimension is not 1.
    """
    _check_last(output, 1, "poisson", "the log rate")
    return Poisson(torch.exp(output[..., 0]))


def negative_binomial(output: Tensor) -> NegativeBinomial:
    r"""Overdispersed counts: mean $\mu$, variance $\mu + \alpha\mu^2$, with $(\log\mu, \log\alpha)$ the last dimension.

    As $\log\alpha \to -\infty$ it is the Poisson distribution, in value and gradient. Beyond ±40 (float32; 45 % of the
    exponents that the type has) $\log\alpha$ is taken as that bound: counts below a million cannot tell the difference.

    Raises as `gaussian`, where the last dimension is not 2.

    Source: Salinas et al. 2020, DeepAR (arXiv:1704.04110), section 3.1.
    """
    _check_last(output, 2, "negative_binomial", "log mean and log dispersion")
    log_mean, log_dispersion = output.unbind(-1)
    most = 0.45 * math.log(torch.finfo(output.dtype).max)  # in the gradient, alpha**2 neither under- nor overflows
    log_dispersion = log_dispersion.clamp(-most, most)
    return NegativeBinomial(torch.exp(-log_dispersion), logits=log_mean + log_dispersion)


def bernoulli(output: Tensor) -> Bernoulli:
    """Two classes; the last dimension is 1, the logit of class 1.

    Raises as `gaussian`, where the last dimension is not 1.
    """
    _check_last(output, 1, "bernoulli", "the logit of class 1")
    return Bernoulli(logits=output[..., 0])


def categorical(output: Tensor) -> Categorical:
    """K classes; the last dimension holds their K logits.

    Raises as `gaussian`, where the last dimension is below 2.
    """
    _check_floating(output, "categorical")
    if output.dim() < 1 or output.shape[-1] < 2:
        raise ValueError(
            f"categorical needs at least 2 logits in the last dimension, but an output of shape {tuple(output.shape)} "
            "was given. For one logit use likelihoods.bernoulli."
        )
    return Categorical(logits=output)


def ordinal(output: Tensor) -> Categorical:
    r"""Ordered classes by a cumulative link: $P(y \le k) = \sigma(\theta_k)$ with increasing thresholds.

    $\theta_0 = o_0$, $\theta_k = \theta_{k-1} + \mathrm{softplus}(o_k)$. The last dimension is K - 1 for K classes.

    Raises as `gaussian`, where the last dimension is missing or empty.

    Source: McCullagh 1980, Regression models for ordinal data, section 2.
    """
    _check_floating(output, "ordinal")
    if output.dim() < 1 or output.shape[-1] < 1:
        raise ValueError(
            f"ordinal needs K - 1 numbers in the last dimension for K ordered classes, but an output of shape "
            f"{tuple(output.shape)} was given."
        )
    gaps = F.softplus(output[..., 1:])
    thresholds = torch.cumsum(torch.cat([output[..., :1], gaps], -1), -1)
    # log(sigmoid(b) - sigmoid(a)) = logsigmoid(b) + logsigmoid(-a) + log(1 - exp(a - b)): no difference of near-equals;
    # and 1 - exp(-softplus(o)) = sigmoid(o)
    inner = F.logsigmoid(thresholds[..., 1:]) + F.logsigmoid(-thresholds[..., :-1]) + F.logsigmoid(output[..., 1:])
    first, last = F.logsigmoid(thresholds[..., :1]), F.logsigmoid(-thresholds[..., -1:])
    return Categorical(logits=torch.cat([first, inner, last], -1))


def _check_floating(output: Tensor, name: str) -> None:
    if not isinstance(output, Tensor):
        raise TypeError(
            f"{name} maps a model's output tensor to a distribution, but a {type(output).__name__} was given. For "
            "numbers of another kind: torch.as_tensor(output); for a model with several outputs, choose one: "
            f"likelihood=lambda output: {name}(output[0])."
        )
    if not output.is_floating_point():
        raise TypeError(
            f"{name} maps a model's raw output, floating point, to a distribution, but {output.dtype} was given. Did "
            "the targets come in its place? Else use output.float()."
        )


def _check_last(output: Tensor, size: int, name: str, meaning: str) -> None:
    _check_floating(output, name)
    if output.dim() < 1 or output.shape[-1] != size:
        raise ValueError(
            f"{name} needs {size} in the last dimension ({meaning}), but an output of shape {tuple(output.shape)} was "
            f"given. Let the model's last layer have {size} outputs a target, e.g. Linear(hidden, {size}), and reshape "
            f"several targets to (..., targets, {size})."
        )
