"""The predictive of a continuous or count target."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from bayesrnn._checks import as_values, check_level, check_seed, check_whole, narrowed
from bayesrnn.predictive.base import Predictive
from bayesrnn.predictive.columns import continuous_columns
from bayesrnn.predictive.distributions.abstract import AbstractDistribution
from bayesrnn.predictive.distributions.empirical import EmpiricalDistribution
from bayesrnn.predictive.distributions.mixture import MatchedDistribution
from bayesrnn.predictive.distributions.moments import MomentsDistribution
from bayesrnn.predictive.finite_draws import block_standard_error, check_error_shape, check_errors, existing
from bayesrnn.predictive.origin import Origin


@dataclass(frozen=True, eq=False, repr=False)
class ContinuousPredictive(Predictive):
    r"""Distribution of a continuous (or count) target averaged over draws; shapes (B,) or (B, T, ...), draws on axis 0.

    $p(y) = \frac1S \sum_s p(y \mid \omega_s)$. The variance is the sum of two parts:
    aleatoric $\frac1S\sum_s \mathrm{Var}_s$ and epistemic $\frac1{S-1}\sum_s(\mu_s - \bar\mu)^2$: unbiased for
    independent draws, up to a share 1/(S - 1) too large for stratified ones, which avoid one another.
    Statistics are computed in float64 and returned in the dtype of the model's output.
    """

    distribution: AbstractDistribution
    origin: Origin
    given_standard_error: Tensor | None = None
    given_errors: dict[str, Tensor] | None = None

    def __post_init__(self) -> None:
        self.origin.check_rows(len(self))
        check_error_shape(self.given_standard_error, self.distribution.shape, "the mean")

    @cached_property
    def mean(self) -> Tensor:
        """Mean of the target, (B, ...), target units."""
        return self._out(self.distribution.mean(), "the mean")

    @cached_property
    def aleatoric(self) -> Tensor:
        """Variance that stays when the weights are known, (B, ...)."""
        return self._out(self.distribution.aleatoric(), "the aleatoric variance")

    @cached_property
    def epistemic(self) -> Tensor:
        """Variance of the mean over draws (divided by S - 1), (B, ...)."""
        return self._out(self.distribution.epistemic(), "the epistemic variance")

    @cached_property
    def between_networks(self) -> Tensor:
        """Part of the epistemic variance between the networks of an ensemble (divided by M - 1), (B, ...)."""
        return self._out(self.distribution.between_networks(), "the variance between networks")

    @cached_property
    def between_masks(self) -> Tensor:
        """Part of the epistemic variance between the masks of a network, (B, ...): the rest of `epistemic`."""
        masks = self.distribution.epistemic() - self.distribution.between_networks()
        return self._out(masks, "the variance between masks")

    @cached_property
    def variance(self) -> Tensor:
        """Total variance, (B, ...): aleatoric + epistemic."""
        return self._out(self.distribution.variance(), "the variance")

    @cached_property
    def std(self) -> Tensor:
        """Square root of the variance, (B, ...), target units."""
        return self._out(self.distribution.variance().sqrt(), "the standard deviation")

    @cached_property
    def draws(self) -> Tensor:
        """Per-draw means, (S, B, ...)."""
        return self._out(self.distribution.draws().movedim(0, -1), "the mean of a draw").movedim(-1, 0)

    @cached_property
    def standard_error(self) -> Tensor | None:
        """Monte Carlo standard error of the mean, (B, ...): 0 where nothing was sampled.

        None where one draw, or one block of draws that depend on one another, tells nothing of it.
        """
        if self.given_standard_error is not None:
            return existing(self.given_standard_error)
        if isinstance(self.distribution, MomentsDistribution):
            return self._out((self.distribution.epistemic() / self.draws_used).sqrt(), "the standard error")
        error = existing(block_standard_error(self.distribution.draws(), self.origin))
        return None if error is None else self._out(error, "the standard error")

    @property
    def standard_errors(self) -> dict[str, Tensor]:
        """Monte Carlo standard errors of mean, aleatoric, epistemic and variance, (B, ...), by name.

        Raises:
            ValueError: If they were not computed.
        """
        return check_errors(self.given_errors)

    def quantile(self, q: float | Sequence[float] | Tensor) -> Tensor:
        """Return the exact quantile of the mixture: (B, ...) for one level, (Q, B, ...) for a list of Q.

        Raises:
            ValueError: If a level is not in (0, 1), or the draws do not determine the quantile.
        """
        given = as_values(q, "q").double()
        if given.dim() > 1 or given.numel() == 0:
            raise ValueError(f"q must be one level or a list of levels, but a shape {tuple(given.shape)} was given.")
        single = given.dim() == 0
        checked = [check_level(level, "q") for level in given.reshape(-1).tolist()]
        values = self._out(self.distribution.quantiles(checked).movedim(0, -1), "a quantile").movedim(-1, 0)
        return values[0] if single else values

    def interval(self, level: float = 0.9) -> tuple[Tensor, Tensor]:
        """Return the central interval that holds the target with probability `level`: (low, high), each (B, ...)."""
        level = check_level(level)
        low, high = self.quantile([(1 - level) / 2, (1 + level) / 2])
        return low, high

    def cdf(self, y: Tensor) -> Tensor:
        """Return P(Y <= y), (B, ...)."""
        return self._out(self.distribution.cdf(self._value(y)))

    def log_prob(self, y: Tensor) -> Tensor:
        """Return the log density of the mixture (log probability for counts) at y, nats, (B, ...)."""
        return self._out(self.distribution.log_prob(self._value(y)), "the log density")

    def sample(self, n: int, seed: int = 0) -> Tensor:
        """Return n samples of each target, (n, B, ...); the steps of a row come from different draws.

        Their totals, maxima or crossing times over steps are far too sure: take `paths` for those. The global random
        state does not change.
        """
        check_whole(n, "n")
        generator = torch.Generator().manual_seed(check_seed(seed))
        return self._out(self.distribution.sample(n, generator))

    def paths(self, n: int, seed: int = 0) -> Tensor:
        r"""Return n paths of every row, (n, B, ...): one draw serves all steps, with independent noise.

        The variance of a total over steps is then $\mathrm{Var}_s \sum_t \mu_{st} + \frac1S \sum_{st} \sigma_{st}^2$.
        Of samples a path is one sample along the whole row. Recalibrated steps keep their
        levels: the path of the base goes through the map of each step.

        Raises:
            ValueError: If it is not known how steps move together (moments, quantiles, a matched Gaussian).

        Example:
            >>> means = torch.tensor([[[1.0, 1.0]], [[-1.0, -1.0]]])  # two draws, one row, two steps that move together
            >>> predictive = Predictive.from_draws(torch.distributions.Normal(means, 0.1))
            >>> predictive.paths(1000).sum(-1).std() > 1.8 > predictive.sample(1000).sum(-1).std()
            tensor(True)
        """
        check_whole(n, "n")
        if len(self.shape) == 1:
            return self.sample(n, seed)
        choice = torch.Generator().manual_seed(check_seed(seed))
        noise = torch.Generator().manual_seed(int(torch.randint(2**62, (1,), generator=choice)))
        return self._out(self.distribution.paths(n, choice, noise))

    def attainable_coverage(self, level: float = 0.9) -> Tensor:
        """Return the probability that this predictive itself gives its central interval, (B, ...).

        Counts jump, so their intervals hold more than their level: judge an observed coverage against this one.
        """
        return self._out(self.distribution.attainable_coverage(check_level(level)))

    def moment_matched(self) -> "ContinuousPredictive":
        """Return the Gaussian predictive with this mean and variance (and an aleatoric part that holds all of it).

        It keeps the distribution that it matches, so that errors of finite draws stay known where that distribution
        kept its draws.

        Raises:
            ValueError: If a mean is not finite or a variance is not positive.
        """
        Predictive.from_gaussian(self.mean, self.std)  # says which rows have no Gaussian
        return ContinuousPredictive(MatchedDistribution(self.distribution), self.origin, self.standard_error)

    def to_frame(self, levels: Sequence[float] = (0.5, 0.8, 0.95)) -> Any:
        """Return a DataFrame with one line per target: row, step(s), mean, median, std, parts, intervals.

        Intervals are called by their level in percent: `lo-80` and `hi-80`. What is not known is left out.
        """
        import pandas as pd

        return pd.DataFrame(continuous_columns(self, levels))

    def interval_of_mean(self, level: float = 0.9) -> tuple[Tensor, Tensor]:
        """Return the central interval of the draws' means, (low, high): how unsure the model is, without the noise.

        Quantiles of the S means at k / (S + 1), so that few draws do not make it too narrow.

        Raises:
            ValueError: If the draws were not kept, or are too few for the level.
        """
        low, high = EmpiricalDistribution(self.distribution.draws()).central(check_level(level))
        return self._out(low), self._out(high)

    def to_distribution(self) -> Distribution:
        """Return the torch distribution of the targets, batch shape (B, ...): an equal mixture over the draws.

        Raises:
            ValueError: If the predictive is not a mixture of torch distributions.
        """
        return self.distribution.to_torch()

    def with_distribution(self, distribution: AbstractDistribution) -> "ContinuousPredictive":
        """Return the predictive with a recalibrated distribution; where it came from and its Monte Carlo error stay."""
        return ContinuousPredictive(distribution, self.origin, self.standard_error)

    def keep_draws(self, draws: Tensor) -> "ContinuousPredictive":
        """Return the predictive of a subset of the draws (indices): what fewer draws would have said."""
        return ContinuousPredictive(self.distribution.keep_draws(draws), self.origin.of_draws(draws))

    @property
    def shape(self) -> torch.Size:
        """Shape of the target, (B, ...)."""
        return self.distribution.shape

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the results."""
        return self.distribution.dtype

    @property
    def device(self) -> torch.device:
        """Where the results live."""
        return self.distribution.device

    def _value(self, y: Tensor) -> Tensor:
        value = as_values(y, "y").to(self.device, torch.float64)
        if value.shape != self.distribution.shape and value.dim() > 0:
            raise ValueError(
                f"y of shape {tuple(value.shape)} does not fit the predictive of shape "
                f"{tuple(self.distribution.shape)}: give one value per target."
            )
        if bool(torch.isnan(value).any()):
            raise ValueError("y holds NaN: drop or impute the missing values first.")
        return value.expand(self.distribution.shape)

    def _out(self, tensor: Tensor, name: str = "the result") -> Tensor:
        return narrowed(tensor, self.dtype, name)
