"""The interface of every distribution of a continuous or count target."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution


class AbstractDistribution(ABC):
    """The distribution of each target of (rows, ...): moments, cdf, quantiles, density, samples; statistics in float64.

    `shape` is (B, ...): rows first. Values `y` have that shape; levels `q` have shape (Q, B, ...).
    """

    shape: torch.Size
    dtype: torch.dtype
    device: torch.device
    is_count: bool
    has_density: bool = True  # whether log_prob is known
    base: "AbstractDistribution"  # where it was made from another one by recalibration

    @abstractmethod
    def mean(self) -> Tensor:
        """Mean of the target, shape (B, ...), target units."""

    @abstractmethod
    def aleatoric(self) -> Tensor:
        """Variance that remains when the weights are known, shape (B, ...)."""

    @abstractmethod
    def epistemic(self) -> Tensor:
        """Variance of the mean over draws, shape (B, ...)."""

    @abstractmethod
    def cdf(self, y: Tensor) -> Tensor:
        """P(Y <= y), shape (B, ...)."""

    @abstractmethod
    def log_prob(self, y: Tensor) -> Tensor:
        """Log density (or log probability of a count) at y, nats, shape (B, ...)."""

    @abstractmethod
    def quantile(self, q: Tensor) -> Tensor:
        """Smallest y with P(Y <= y) >= q, shape of q: (Q, B, ...)."""

    @abstractmethod
    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """`n` samples of every target, (n, B, ...), each from a draw of its own; `generator` lives on the CPU."""

    @abstractmethod
    def draws(self) -> Tensor:
        """Per-draw means, shape (S, B, ...)."""

    @abstractmethod
    def select(self, key: Any) -> "AbstractDistribution":
        """The distribution of some targets: `key` indexes (B, ...), keeping dimensions up to the last one indexed."""

    @abstractmethod
    def cast(self, function: Callable[[Tensor], Tensor]) -> "AbstractDistribution":
        """The same distribution with `function` (a move or a cast) applied to its tensors."""

    def variance(self) -> Tensor:
        """Total variance, shape (B, ...): aleatoric + epistemic."""
        return self.aleatoric() + self.epistemic()

    def between_networks(self) -> Tensor:
        """Part of the epistemic variance between the networks of an ensemble; a recalibrated one keeps its share."""
        epistemic = self.epistemic()
        if not hasattr(self, "base"):
            return torch.zeros_like(epistemic)
        before = self.base.epistemic()
        return torch.where(before > 0, self.base.between_networks() / before.clamp(min=1e-300), 0.0) * epistemic

    def below(self, y: Tensor) -> Tensor:
        """P(Y < y), shape (B, ...)."""
        return self.cdf(torch.ceil(y) - 1) if self.is_count else self.cdf(y)

    def pit(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Ends of the interval over which the probability integral transform of y is uniform."""
        return self.below(y), self.cdf(y)

    def inside(self, y: Tensor, level: float) -> Tensor:
        """Whether y lies in the central interval of `level`, its ends included, shape (B, ...)."""
        low, high = self.central(level)
        return (low <= y) & (y <= high)

    def attainable_coverage(self, level: float) -> Tensor:
        """Probability that the distribution gives its own central interval of `level`, shape (B, ...).

        Counts jump: their interval holds more than its level, $F(u) - F(l^-)$; otherwise it is the level.
        """
        if not self.is_count:
            return torch.full(self.shape, level, dtype=torch.float64, device=self.device)
        low, high = self.central(level)
        return self.cdf(high) - self.below(low)

    def central(self, level: float) -> Tensor:
        """Ends of the central interval of `level`, shape (2, B, ...)."""
        return self.quantiles([(1 - level) / 2, (1 + level) / 2])

    def quantiles(self, levels: Sequence[float]) -> Tensor:
        """Quantiles of every target at the same levels, (Q, B, ...)."""
        asked = torch.tensor(levels, dtype=torch.float64, device=self.device)
        return self.quantile(asked.reshape(-1, *(1 for _ in self.shape)).expand(-1, *self.shape))

    def paths(self, n: int, choice: torch.Generator, noise: torch.Generator) -> Tensor:
        """`n` paths of every row, (n, B, ...): one draw serves all steps, with independent noise.

        `choice` chooses the draws and `noise` makes the noise; both live on the CPU.
        """
        raise ValueError(
            f"{type(self).__name__} says what each step is like, not how steps move together, so it has no paths. "
            "Predict with keep_draws=True, or give paths: Predictive.from_samples(samples)."
        )

    def keep_draws(self, draws: Tensor) -> "AbstractDistribution":
        """The distribution of a subset of the draws (indices along axis 0), to ask what other draws would have said."""
        raise ValueError(f"{type(self).__name__} does not keep its draws, so a subset of them cannot be taken.")

    def to_torch(self) -> Distribution:
        """The torch distribution of the targets, batch shape (B, ...)."""
        raise ValueError(
            f"a {type(self).__name__} is no mixture of torch distributions. Use quantile, cdf and sample, or a "
            "Gaussian of the same moments: moment_matched().to_distribution()."
        )

    def crps(self, y: Tensor) -> Tensor | None:
        """The continuous ranked probability score at y where there is a closed form, else None."""
        return None
