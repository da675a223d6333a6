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
from bayesrnn.predictive import ClassPredictive, ContinuousPredictive
from bayesrnn.predictive.classes import class_log_probabilities

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

    @abstractmethod
    def predictive(self, **origin: Any) -> ContinuousPredictive | ClassPredictive:
        """Return the predictive that these statistics describe."""

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """Return named tensors from which `from_tensors` makes the same value."""

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

    def predictive(self, **origin: Any) -> ContinuousPredictive:
        """Return mean and variances as a predictive."""
        values = (self.means.mean, self.variances.mean, self.means.draws.variance)
        mean, aleatoric, epistemic = (v.to(self.dtype) for v in values)
        return ContinuousPredictive.from_moments(
            mean,
            aleatoric,
            epistemic,
            self.means.draws.count,
            self.means.standard_error.to(self.dtype),
            self.means.degrees_of_freedom,
            **origin,
        )

    def tensors(self) -> dict[str, Tensor]:
        """Return named tensors."""
        found = {f"means/{k}": v for k, v in self.means.tensors().items()}
        return found | {f"variances/{k}": v for k, v in self.variances.tensors().items()} | _tag(self.dtype)

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> "ContinuousStatistics":
        """Make the value that `tensors` described."""
        parts = _groups(tensors)
        return cls(
            Replicates.from_tensors(parts["means"]), Moments.from_tensors(parts["variances"]), tensors["dtype"].dtype
        )


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

    def predictive(self, **origin: Any) -> ClassPredictive:
        """Return the averages as a predictive."""
        count = self.probabilities.draws.count
        mean = (self.log_total - torch.tensor(float(count), dtype=torch.float64).log()).exp()
        return ClassPredictive.from_statistics(
            mean.to(self.dtype),
            self.entropies.mean,
            self.votes,
            count,
            self.probabilities.standard_error.to(self.dtype),
            self.probabilities.degrees_of_freedom,
            **origin,
        )

    def tensors(self) -> dict[str, Tensor]:
        """Return named tensors."""
        found = {f"probabilities/{k}": v for k, v in self.probabilities.tensors().items()}
        found |= {f"entropies/{k}": v for k, v in self.entropies.tensors().items()}
        return found | {"log_total": self.log_total, "votes": self.votes} | _tag(self.dtype)

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> "ClassStatistics":
        """Make the value that `tensors` described."""
        parts = _groups(tensors)
        return cls(
            Replicates.from_tensors(parts["probabilities"]),
            tensors["log_total"],
            Moments.from_tensors(parts["entropies"]),
            tensors["votes"],
            tensors["dtype"].dtype,
        )


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


def _tag(dtype: torch.dtype) -> dict[str, Tensor]:
    return {"dtype": torch.zeros((), dtype=dtype)}


def _groups(tensors: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    groups: dict[str, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        group, _, key = name.rpartition("/")
        groups.setdefault(group, {})[key] = value
    return groups
