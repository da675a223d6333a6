"""Predictive statistics that accumulate as draws come: they merge associatively and do not grow with draws."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.nn import functional as F

from bayesrnn.inference.outputs import OutputDistribution, Point
from bayesrnn.inference.statistics import Moments, Replicates
from bayesrnn.likelihoods import families
from bayesrnn.predictive.probabilities import class_log_probabilities

__all__ = ["ClassStatistics", "ContinuousStatistics", "Statistics", "statistics_of"]


class Statistics(ABC):
    """What is kept of some draws of some rows."""

    @abstractmethod
    def merge(self, other: Any) -> Any:
        """Return the statistics of both: other draws of the same rows."""

    @abstractmethod
    def rows(self, index: Tensor) -> Any:
        """Return the statistics of some rows."""

    @property
    @abstractmethod
    def replicates(self) -> Replicates:
        """Means over draws with their standard errors: of the target, or of each class's probability."""

    def row_error(self) -> Tensor:
        """Return the largest error of each row by which it may stop, (B,)."""
        error = self.replicates.stopping_error
        return error.flatten(1).amax(1) if error.dim() > 1 else error


@dataclass(frozen=True, eq=False)
class ContinuousStatistics(Statistics):
    """Means, epistemic and aleatoric variance of a continuous or count target."""

    means: Replicates
    variances: Moments
    dtype: torch.dtype

    @property
    def replicates(self) -> Replicates:
        """The means of the draws."""
        return self.means

    def merge(self, other: "ContinuousStatistics") -> "ContinuousStatistics":
        """Return the statistics of both."""
        return ContinuousStatistics(self.means.merge(other.means), self.variances.merge(other.variances), self.dtype)

    def rows(self, index: Tensor) -> "ContinuousStatistics":
        """Return the statistics of some rows."""
        return ContinuousStatistics(self.means.rows(index), self.variances.rows(index), self.dtype)

    def moments(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return mean, aleatoric and epistemic variance, (B, ...), float64."""
        return self.means.mean, self.variances.mean, self.means.draws.variance


@dataclass(frozen=True, eq=False)
class ClassStatistics(Statistics):
    """Probabilities, their log-mean-exp, expected entropy and votes of a class target."""

    probabilities: Replicates
    log_total: Tensor  # (B, ..., K): log of the sum of the probabilities over draws
    entropies: Moments
    votes: Tensor
    dtype: torch.dtype

    @property
    def replicates(self) -> Replicates:
        """The probabilities of the draws."""
        return self.probabilities

    def merge(self, other: "ClassStatistics") -> "ClassStatistics":
        """Return the statistics of both."""
        return ClassStatistics(
            self.probabilities.merge(other.probabilities),
            torch.logaddexp(self.log_total, other.log_total),
            self.entropies.merge(other.entropies),
            self.votes + other.votes,
            self.dtype,
        )

    def rows(self, index: Tensor) -> "ClassStatistics":
        """Return the statistics of some rows."""
        return ClassStatistics(
            self.probabilities.rows(index),
            self.log_total[index],
            self.entropies.rows(index),
            self.votes[index],
            self.dtype,
        )

    @property
    def log_mean(self) -> Tensor:
        r"""$\log \frac1S \sum_s p_s$ of each class, (B, ..., K), float64: never rounded to the model's type."""
        return torch.log_softmax(self.log_total, -1)


def statistics_of(
    distribution: OutputDistribution, draws: Tensor, block: int
) -> ContinuousStatistics | ClassStatistics:
    """Return the statistics of a distribution with batch shape (S, B, ...) of the draws of these numbers (S,)."""
    if isinstance(distribution, Point):
        means = Replicates.of(distribution.value, draws, block)
        return ContinuousStatistics(means, Moments.of(torch.zeros_like(distribution.value)), distribution.value.dtype)
    if families.family(distribution) == "class":
        return _class_statistics(distribution, draws, block)
    mean = families.mean_of(distribution)
    wide = families.map_parameters(distribution, Tensor.double)
    variances = Moments.of(families.variance_of(wide))
    return ContinuousStatistics(Replicates.of(families.mean_of(wide), draws, block), variances, mean.dtype)


def _class_statistics(distribution: Distribution, draws: Tensor, block: int) -> ClassStatistics:
    logs = class_log_probabilities(distribution)
    wide = logs.double()
    probabilities = wide.exp()
    entropy = -(probabilities * wide.clamp(min=torch.finfo(wide.dtype).min)).sum(-1)
    return ClassStatistics(
        Replicates.of(probabilities, draws, block),
        wide.logsumexp(0),
        Moments.of(entropy),
        F.one_hot(wide.argmax(-1), wide.shape[-1]).sum(0),
        logs.dtype,
    )
