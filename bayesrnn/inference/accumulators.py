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
from bayesrnn.predictive.probabilities import class_log_probabilities, entropy_of


class Statistics(ABC):
    """Statistics of some draws of some rows."""

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

    def errors(self) -> dict[str, Tensor]:
        """Return the standard errors of the moments by name, (B, ...), where they are known."""
        return {}

    def adjusted(self, distribution: OutputDistribution) -> OutputDistribution:
        """Return the distributions of the draws as a predictive keeps them."""
        return distribution

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
    networks: Moments | None = None  # of each network's means, (B, M, ...), where there are several

    @property
    def replicates(self) -> Replicates:
        """The means of the draws; of several networks, averaged over them."""
        return self.means

    def merge(self, other: "ContinuousStatistics") -> "ContinuousStatistics":
        """Return the statistics of both."""
        return ContinuousStatistics(
            self.means.merge(other.means),
            self.variances.merge(other.variances),
            self.dtype,
            None if self.networks is None else self.networks.merge(other.networks),  # type: ignore[arg-type]
        )

    def rows(self, index: Tensor) -> "ContinuousStatistics":
        """Return the statistics of some rows."""
        networks = None if self.networks is None else self.networks.rows(index)
        return ContinuousStatistics(self.means.rows(index), self.variances.rows(index), self.dtype, networks)

    def moments(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return mean, aleatoric and epistemic variance and its part between networks, (B, ...), float64."""
        if self.networks is None:
            epistemic = self.means.draws.variance
            return self.means.mean, self.variances.mean, epistemic, torch.zeros_like(epistemic)
        masks = self.networks.variance.mean(1) if self.networks.count > 1 else 0.0
        between = self.networks.mean.var(1, correction=1)
        return self.means.mean, self.variances.mean, masks + between, between


@dataclass(frozen=True, eq=False)
class ClassStatistics(Statistics):
    """Probabilities, their log-mean-exp, expected entropy and votes of a class target."""

    probabilities: Replicates
    log_total: Tensor  # (B, ..., K): log of the sum of the probabilities over draws
    entropies: Moments
    votes: Tensor
    dtype: torch.dtype
    network_totals: Tensor | None = None  # (B, M, ..., K): of each network by itself, where there are several

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
            None if self.network_totals is None else torch.logaddexp(self.network_totals, other.network_totals),  # type: ignore[arg-type]
        )

    def rows(self, index: Tensor) -> "ClassStatistics":
        """Return the statistics of some rows."""
        return ClassStatistics(
            self.probabilities.rows(index),
            self.log_total[index],
            self.entropies.rows(index),
            self.votes[index],
            self.dtype,
            None if self.network_totals is None else self.network_totals[index],
        )

    @property
    def log_mean(self) -> Tensor:
        r"""$\log \frac1S \sum_s p_s$ of each class, (B, ..., K), float64: never rounded to the model's type."""
        return torch.log_softmax(self.log_total, -1)

    @property
    def network_entropy(self) -> Tensor | None:
        """Entropy of each network's mean probabilities, averaged over networks, (B, ...), nats; None for only one."""
        totals = self.network_totals
        return None if totals is None else entropy_of(totals.log_softmax(-1)).mean(1)

    @property
    def expected_entropy(self) -> Tensor:
        """Mean entropy of a draw, (B, ...), nats, float64."""
        return self.entropies.mean


def statistics_of(
    distribution: OutputDistribution, draws: Tensor, block: int, networks: int = 1
) -> ContinuousStatistics | ClassStatistics:
    """Return the statistics of a distribution with batch shape (S * M, B, ...) of the draws of these numbers (S,).

    The distributions of the M networks lie side by side, draw after draw.
    """
    if isinstance(distribution, Point):
        means, variances, dtype = distribution.value, torch.zeros_like(distribution.value), distribution.value.dtype
    elif families.family(distribution) == "class":
        return _class_statistics(distribution, draws, block, networks)
    else:
        dtype = families.mean_of(distribution).dtype
        wide = families.map_parameters(distribution, Tensor.double)
        means, variances = families.mean_of(wide), families.variance_of(wide)
    each = _apart(means, networks)
    apart = Moments.of(each.transpose(1, 2)) if networks > 1 else None
    return ContinuousStatistics(Replicates.of(_averaged(each), draws, block), Moments.of(variances), dtype, apart)


def _apart(values: Tensor, networks: int) -> Tensor:
    """Return values (S * M, B, ...) as (S, M, B, ...)."""
    return values.detach().unflatten(0, (-1, networks))


def _averaged(values: Tensor) -> Tensor:
    """Return the mean over the networks of values (S, M, B, ...)."""
    return values[:, 0] if values.shape[1] == 1 else values.double().mean(1)


def _class_statistics(distribution: Distribution, draws: Tensor, block: int, networks: int) -> ClassStatistics:
    logs = class_log_probabilities(distribution)
    wide = logs.double()
    probabilities = wide.exp()
    return ClassStatistics(
        Replicates.of(_averaged(_apart(probabilities, networks)), draws, block),
        wide.logsumexp(0),
        Moments.of(entropy_of(wide)),
        F.one_hot(wide.argmax(-1), wide.shape[-1]).sum(0),
        logs.dtype,
        _apart(wide, networks).logsumexp(0).transpose(0, 1) if networks > 1 else None,
    )
