"""Student's t with a density that stays exact at many degrees of freedom."""

import torch
from torch import Tensor, distributions

from bayesrnn.likelihoods.stirling import LOG_TWO_PI, rising

__all__ = ["StudentT"]


class StudentT(distributions.StudentT):
    r"""torch's `StudentT(df, loc, scale)` whose `log_prob` does not cancel at many degrees of freedom.

    $$\log p(y) = -\tfrac{\nu + 1}{2} \log(1 + z^2/\nu) - \log s - \tfrac12 \log 2\pi
    + \bigl[\log\Gamma(a + \tfrac12) - \log\Gamma(a) - \tfrac12 \log a\bigr]$$

    with $z = (y - m)/s$, $a = \nu/2$. torch takes the gamma functions of the bracket apart: in float32 the density is
    wrong by .02 nats at 1e5 degrees and by .9 at 1e8.

    Example:
        >>> round(float(StudentT(torch.tensor(1e8)).log_prob(torch.tensor(0.0))), 3)
        -0.919
    """

    def log_prob(self, value: Tensor) -> Tensor:
        """Return log p(value), nats; broadcasts over the batch shape."""
        if self._validate_args:
            self._validate_sample(value)
        z = (value - self.loc) / self.scale
        bracket = rising(0.5 * self.df, torch.full_like(self.df, 0.5))
        tail = 0.5 * (self.df + 1) * torch.log1p(z**2 / self.df)
        return bracket - tail - self.scale.log() - 0.5 * LOG_TWO_PI
