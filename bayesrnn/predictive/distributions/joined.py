"""One distribution a step."""

# ruff: noqa: D102 - each method is documented in AbstractDistribution

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bayesrnn.predictive.distributions.abstract import AbstractDistribution

__all__ = ["GroupedDistribution", "StackedDistribution"]


class GroupedDistribution(AbstractDistribution):
    """Rows in groups, each with a distribution of its own: what is left when converged rows stop taking draws.

    Args:
        groups: Pairs of row positions and the distribution of those rows; together all rows, each once.
    """

    def __init__(self, groups: list[tuple[Tensor, AbstractDistribution]]) -> None:
        self.groups = groups
        first = groups[0][1]
        rows = sum(index.numel() for index, _ in groups)
        self.shape = torch.Size((rows, *first.shape[1:]))
        self.dtype, self.device, self.is_count = first.dtype, first.device, first.is_count

    def mean(self) -> Tensor:
        """Mean of the target."""
        return self._gather(lambda distribution, _: distribution.mean())

    def aleatoric(self) -> Tensor:
        """Aleatoric variance."""
        return self._gather(lambda distribution, _: distribution.aleatoric())

    def epistemic(self) -> Tensor:
        """Epistemic variance."""
        return self._gather(lambda distribution, _: distribution.epistemic())

    def cdf(self, y: Tensor) -> Tensor:
        """P(Y <= y)."""
        return self._gather(lambda distribution, index: distribution.cdf(y[index]))

    def below(self, y: Tensor) -> Tensor:
        """P(Y < y)."""
        return self._gather(lambda distribution, index: distribution.below(y[index]))

    def pit(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Ends of the interval of the probability integral transform."""
        low = self._gather(lambda distribution, index: distribution.pit(y[index])[0])
        return low, self._gather(lambda distribution, index: distribution.pit(y[index])[1])

    def log_prob(self, y: Tensor) -> Tensor:
        """Log density."""
        return self._gather(lambda distribution, index: distribution.log_prob(y[index]))

    def quantile(self, q: Tensor) -> Tensor:
        """Quantiles, levels (Q, rows, ...)."""
        return self._gather(lambda distribution, index: distribution.quantile(q[:, index]), 1)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Samples (n, rows, ...)."""
        return self._gather(lambda distribution, _: distribution.sample(n, generator), 1)

    def draws(self) -> Tensor:
        """Not one tensor: rows took different numbers of draws."""
        raise ValueError(
            "the rows of this predictive took different numbers of draws (tolerance= stopped some early), so there is "
            "no tensor of draws. Predict without tolerance=, or take rows with equal draws."
        )

    def select(self, key: Any) -> AbstractDistribution:
        """The distribution of some rows."""
        rows, rest = (key[0], key[1:]) if isinstance(key, tuple) else (key, ())
        chosen = torch.arange(self.shape[0])[rows]
        found = []
        for index, distribution in self.groups:
            place = torch.full((self.shape[0],), -1)
            place[index.cpu()] = torch.arange(index.numel())
            inside = place[chosen] >= 0
            if bool(inside.any()):
                picked = place[chosen][inside].to(self.device)
                where = inside.nonzero().flatten().to(self.device)
                found.append((where, distribution.select((picked, *rest) if rest else picked)))
        return found[0][1] if len(found) == 1 else GroupedDistribution(found)

    def cast(self, function: Callable[[Tensor], Tensor]) -> "GroupedDistribution":
        """The distribution on another device or in another dtype."""
        distributions = [distribution.cast(function) for _, distribution in self.groups]
        return GroupedDistribution(
            [
                (index.to(distribution.device), distribution)
                for (index, _), distribution in zip(self.groups, distributions, strict=True)
            ]
        )

    def _gather(self, function: Callable[[AbstractDistribution, Tensor], Tensor], dim: int = 0) -> Tensor:
        parts = [function(distribution, index) for index, distribution in self.groups]
        order = torch.cat([index for index, _ in self.groups])
        return torch.cat(parts, dim).index_select(dim, order.argsort())


class StackedDistribution(AbstractDistribution):
    """One distribution a step, of shape (B, ...) each, joined to (B, T, ...)."""

    def __init__(self, distributions: Sequence[AbstractDistribution]) -> None:
        self.distributions = list(distributions)
        first = self.distributions[0]
        self.shape = torch.Size([first.shape[0], len(self.distributions), *first.shape[1:]])
        self.dtype, self.device, self.is_count = first.dtype, first.device, first.is_count
        self.has_density = all(distribution.has_density for distribution in self.distributions)

    def mean(self) -> Tensor:
        return torch.stack([distribution.mean() for distribution in self.distributions], 1)

    def aleatoric(self) -> Tensor:
        return torch.stack([distribution.aleatoric() for distribution in self.distributions], 1)

    def epistemic(self) -> Tensor:
        return torch.stack([distribution.epistemic() for distribution in self.distributions], 1)

    def variance(self) -> Tensor:
        return torch.stack([distribution.variance() for distribution in self.distributions], 1)

    def cdf(self, y: Tensor) -> Tensor:
        return torch.stack([distribution.cdf(y[:, t]) for t, distribution in enumerate(self.distributions)], 1)

    def below(self, y: Tensor) -> Tensor:
        return torch.stack([distribution.below(y[:, t]) for t, distribution in enumerate(self.distributions)], 1)

    def pit(self, y: Tensor) -> tuple[Tensor, Tensor]:
        ends = [distribution.pit(y[:, t]) for t, distribution in enumerate(self.distributions)]
        return torch.stack([low for low, _ in ends], 1), torch.stack([high for _, high in ends], 1)

    def inside(self, y: Tensor, level: float) -> Tensor:
        return torch.stack(
            [distribution.inside(y[:, t], level) for t, distribution in enumerate(self.distributions)], 1
        )

    def log_prob(self, y: Tensor) -> Tensor:
        return torch.stack([distribution.log_prob(y[:, t]) for t, distribution in enumerate(self.distributions)], 1)

    def quantile(self, q: Tensor) -> Tensor:
        return torch.stack([distribution.quantile(q[:, :, t]) for t, distribution in enumerate(self.distributions)], 2)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        return torch.stack([distribution.sample(n, generator) for distribution in self.distributions], 2)

    def draws(self) -> Tensor:
        return torch.stack([distribution.draws() for distribution in self.distributions], 2)

    def select(self, key: Any) -> AbstractDistribution:
        if not isinstance(key, tuple):
            return StackedDistribution([distribution.select(key) for distribution in self.distributions])
        rows, steps, *rest = key
        deeper = (rows, *rest) if rest else rows
        chosen = np.arange(len(self.distributions))[steps]
        if chosen.ndim == 0:
            return self.distributions[int(chosen)].select(deeper)
        return StackedDistribution([self.distributions[step].select(deeper) for step in chosen.tolist()])

    def cast(self, function: Callable[[Tensor], Tensor]) -> "StackedDistribution":
        return StackedDistribution([distribution.cast(function) for distribution in self.distributions])

    def keep_draws(self, draws: Tensor) -> "StackedDistribution":
        return StackedDistribution([distribution.keep_draws(draws) for distribution in self.distributions])
