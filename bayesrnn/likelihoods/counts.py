"""Poisson, negative binomial and Student's t whose float32 log densities do not cancel: computed in float64."""

import math

import torch
from torch import Tensor, distributions
from torch.nn import functional as F

_LARGE = 16.0  # from here on the five terms of Stirling's series are exact to double precision
_TERMS = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188)


class Poisson(distributions.Poisson):
    r"""torch's `Poisson(rate)` with a log density that is exact at large counts in float32.

    $$\log p(y) = y \log\mu - \mu - \log y!$$

    torch subtracts these terms in the type of the rate: wrong by .8 nats at a count of a million in float32.

    Example:
        >>> distribution = Poisson(torch.tensor(1e6))
        >>> round(float(distribution.log_prob(torch.tensor(1e6))), 3)
        -7.827
    """

    def log_prob(self, value: Tensor) -> Tensor:
        """Return log p(value), nats; broadcasts over the batch shape."""
        if self._validate_args:
            self._validate_sample(value)
        y, mean = value.double(), self.rate.double()
        return (torch.xlogy(y, mean) - mean - torch.lgamma(y + 1)).to(self.rate.dtype)


class NegativeBinomial(distributions.NegativeBinomial):
    r"""torch's `NegativeBinomial(total_count, logits=...)` with a log density that is exact up to the Poisson limit.

    With r the total count, o the logits and the mean $\mu = r e^{o}$,

    $$\log p(y) = y \log\mu - \log y! - (r + y) \log(1 + \mu/r)
    + \bigl[\log\Gamma(r + y) - \log\Gamma(r) - y \log r\bigr].$$

    As r grows the bracket tends to 0 and the rest to the Poisson density.

    Example:
        >>> three = torch.tensor(3.0)
        >>> distribution = NegativeBinomial(torch.tensor(1e13), logits=torch.tensor(2e-13).log())
        >>> bool((distribution.log_prob(three) - distributions.Poisson(2.0).log_prob(three)).abs() < 1e-4)
        True
    """

    def log_prob(self, value: Tensor) -> Tensor:
        """Return log p(value), nats; broadcasts over the batch shape."""
        if self._validate_args:
            self._validate_sample(value)
        r, logits, y = torch.broadcast_tensors(self.total_count.double(), self.logits.double(), value.double())
        spread = F.softplus(logits, threshold=50.0)  # log(1 + mu / r); torch cuts off at 20, where 1e-9 is left
        poisson = y * (logits + r.log()) - torch.lgamma(y + 1) - r * spread
        return (poisson - y * spread + _rising(r, y)).to(self.logits.dtype)


class StudentT(distributions.StudentT):
    r"""torch's `StudentT(df, loc, scale)` with a log density that is exact at many degrees of freedom.

    $$\log p(y) = -\tfrac{\nu + 1}{2} \log(1 + z^2/\nu) - \log s - \tfrac12 \log 2\pi
    + \bigl[\log\Gamma(a + \tfrac12) - \log\Gamma(a) - \tfrac12 \log a\bigr]$$

    with $z = (y - m)/s$, $a = \nu/2$. torch subtracts the gamma functions of the bracket: in float32 the density is
    wrong by .02 nats at 1e5 degrees and by .9 at 1e8.

    Example:
        >>> round(float(StudentT(torch.tensor(1e8)).log_prob(torch.tensor(0.0))), 3)
        -0.919
    """

    def log_prob(self, value: Tensor) -> Tensor:
        """Return log p(value), nats; broadcasts over the batch shape."""
        if self._validate_args:
            self._validate_sample(value)
        z, df = ((value - self.loc) / self.scale).double(), self.df.double()
        bracket = _rising(0.5 * df, torch.full_like(df, 0.5))
        tail = 0.5 * (df + 1) * torch.log1p(z**2 / df)
        return (bracket - tail - self.scale.double().log() - 0.5 * math.log(2 * math.pi)).to(self.loc.dtype)


def _rising(r: Tensor, y: Tensor) -> Tensor:
    r"""Return $\log\Gamma(r + y) - \log\Gamma(r) - y \log r$, which tends to 0 as r grows.

    The gamma functions are of size r log r: subtracted, they lose 1e-5 nats at r = 1e10 even in float64. So Stirling's
    series takes over where r is large.
    """
    large = r >= _LARGE
    safe = torch.where(large, r, _LARGE)  # both branches see legal numbers only: no NaN in the gradient of the other
    series = (safe + y - 0.5) * torch.log1p(y / safe) - y + _stirling(safe + y) - _stirling(safe)
    safe = torch.where(large, 1.0, r)
    return torch.where(large, series, torch.lgamma(safe + y) - torch.lgamma(safe) - y * safe.log())


def _stirling(z: Tensor) -> Tensor:
    total = torch.zeros_like(z)
    for term in reversed(_TERMS):
        total = total / (z * z) + term
    return total / z
