"""The negative binomial of torch with a density that stays exact where the dispersion is small."""

import torch
from torch import Tensor, distributions
from torch.nn import functional as F

__all__ = ["NegativeBinomial"]

_LARGE = 16.0  # from here on the five terms of Stirling's series below are exact to double precision
_STIRLING = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188)


class NegativeBinomial(distributions.NegativeBinomial):
    r"""torch's `NegativeBinomial(total_count, logits=...)` whose `log_prob` does not cancel at a large total count r.

    With $\mu = r e^{o}$, o the logits,

    $$\log p(y) = y \log\mu - \log y! - r \log(1 + \mu/r) - y \log(1 + \mu/r)
    + \bigl[\log\Gamma(r + y) - \log\Gamma(r) - y \log r\bigr].$$

    torch takes the first and the last gamma functions apart: at r = 1e6 in float32 each is wrong by more than 1, and
    they grow without bound. Here the bracket comes from Stirling's series where r is large, and tends to 0, the rest to
    the Poisson law.

    Example:
        >>> law, three = NegativeBinomial(torch.tensor(1e13), logits=torch.tensor(2e-13).log()), torch.tensor(3.0)
        >>> bool((law.log_prob(three) - distributions.Poisson(2.0).log_prob(three)).abs() < 1e-4)
        True
    """

    def log_prob(self, value: Tensor) -> Tensor:
        """Return log p(value), nats; broadcasts over the batch shape."""
        if self._validate_args:
            self._validate_sample(value)
        count = self.total_count
        more = F.softplus(self.logits)  # log(1 + mu / r)
        poisson = value * (self.logits + count.log()) - torch.lgamma(value + 1) - count * more
        return poisson - value * more + _rising(count, value)


def _rising(count: Tensor, value: Tensor) -> Tensor:
    r"""Return $\log\Gamma(r + y) - \log\Gamma(r) - y \log r$, which tends to 0 as r grows."""
    large = count >= _LARGE
    r = torch.where(large, count, _LARGE)  # both branches see legal numbers only: no NaN in the gradient of the other
    series = (r + value - 0.5) * torch.log1p(value / r) - value + _remainder(r + value) - _remainder(r)
    r = torch.where(large, 1.0, count)
    direct = torch.lgamma(r + value) - torch.lgamma(r) - value * r.log()
    return torch.where(large, series, direct)


def _remainder(z: Tensor) -> Tensor:
    r"""Return $\log\Gamma(z) - (z - \frac12)\log z + z - \frac12\log 2\pi$ for large z, by Stirling's series."""
    inverse = 1 / z
    square = inverse * inverse
    total = torch.zeros_like(z)
    for coefficient in reversed(_STIRLING):
        total = total * square + coefficient
    return total * inverse
