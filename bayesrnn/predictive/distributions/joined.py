"""One law a step."""

# ruff: noqa: D102 - each method is documented in AbstractLaw

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bayesrnn.predictive.distributions.abstract import AbstractLaw

__all__ = ["GroupedLaw", "StackedLaw"]


class GroupedLaw(AbstractLaw):
    """Rows in groups, each with a law of its own: what is left when converged rows stop taking draws.

    Args:
        groups: Pairs of row positions and the law of those rows; together all rows, each once.
    """

    def __init__(self, groups: list[tuple[Tensor, AbstractLaw]]) -> None:
        self.groups = groups
        first = groups[0][1]
        rows = sum(index.numel() for index, _ in groups)
        self.shape = torch.Size((rows, *first.shape[1:]))
        self.dtype, self.device, self.is_count = first.dtype, first.device, first.is_count

    def mean(self) -> Tensor:
        """Mean of the target."""
        return self._gather(lambda law, _: law.mean())

    def aleatoric(self) -> Tensor:
        """Aleatoric variance."""
        return self._gather(lambda law, _: law.aleatoric())

    def epistemic(self) -> Tensor:
        """Epistemic variance."""
        return self._gather(lambda law, _: law.epistemic())

    def cdf(self, y: Tensor) -> Tensor:
        """P(Y <= y)."""
        return self._gather(lambda law, index: law.cdf(y[index]))

    def below(self, y: Tensor) -> Tensor:
        """P(Y < y)."""
        return self._gather(lambda law, index: law.below(y[index]))

    def pit(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Ends of the interval of the probability integral transform."""
        low = self._gather(lambda law, index: law.pit(y[index])[0])
        return low, self._gather(lambda law, index: law.pit(y[index])[1])

    def log_prob(self, y: Tensor) -> Tensor:
        """Log density."""
        return self._gather(lambda law, index: law.log_prob(y[index]))

    def quantile(self, q: Tensor) -> Tensor:
        """Quantiles, levels (Q, rows, ...)."""
        return self._gather(lambda law, index: law.quantile(q[:, index]), 1)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Samples (n, rows, ...)."""
        return self._gather(lambda law, _: law.sample(n, generator), 1)

    def draws(self) -> Tensor:
        """Not one tensor: rows took different numbers of draws."""
        raise ValueError(
            "the rows of this predictive took different numbers of draws (tolerance= stopped some early), so there is "
            "no tensor of draws. Predict without tolerance=, or take rows with equal draws."
        )

    def select(self, key: Any) -> AbstractLaw:
        """The law of some rows."""
        rows, rest = (key[0], key[1:]) if isinstance(key, tuple) else (key, ())
        chosen = torch.arange(self.shape[0])[rows]
        found = []
        for index, law in self.groups:
            place = torch.full((self.shape[0],), -1)
            place[index.cpu()] = torch.arange(index.numel())
            inside = place[chosen] >= 0
            if bool(inside.any()):
                picked = place[chosen][inside].to(self.device)
                where = inside.nonzero().flatten().to(self.device)
                found.append((where, law.select((picked, *rest) if rest else picked)))
        return found[0][1] if len(found) == 1 else GroupedLaw(found)

    def cast(self, function: Callable[[Tensor], Tensor]) -> "GroupedLaw":
        """The law on another device or in another dtype."""
        laws = [law.cast(function) for _, law in self.groups]
        return GroupedLaw([(index.to(law.device), law) for (index, _), law in zip(self.groups, laws, strict=True)])

    def _gather(self, function: Callable[[AbstractLaw, Tensor], Tensor], dim: int = 0) -> Tensor:
        parts = [function(law, index) for index, law in self.groups]
        order = torch.cat([index for index, _ in self.groups])
        return torch.cat(parts, dim).index_select(dim, order.argsort())


class StackedLaw(AbstractLaw):
    """One law a step, of shape (B, ...) each, joined to (B, T, ...)."""

    def __init__(self, laws: Sequence[AbstractLaw]) -> None:
        self.laws = list(laws)
        first = self.laws[0]
        self.shape = torch.Size([first.shape[0], len(self.laws), *first.shape[1:]])
        self.dtype, self.device, self.is_count = first.dtype, first.device, first.is_count
        self.has_density = all(law.has_density for law in self.laws)

    def mean(self) -> Tensor:
        return torch.stack([law.mean() for law in self.laws], 1)

    def aleatoric(self) -> Tensor:
        return torch.stack([law.aleatoric() for law in self.laws], 1)

    def epistemic(self) -> Tensor:
        return torch.stack([law.epistemic() for law in self.laws], 1)

    def variance(self) -> Tensor:
        return torch.stack([law.variance() for law in self.laws], 1)

    def cdf(self, y: Tensor) -> Tensor:
        return torch.stack([law.cdf(y[:, t]) for t, law in enumerate(self.laws)], 1)

    def below(self, y: Tensor) -> Tensor:
        return torch.stack([law.below(y[:, t]) for t, law in enumerate(self.laws)], 1)

    def pit(self, y: Tensor) -> tuple[Tensor, Tensor]:
        ends = [law.pit(y[:, t]) for t, law in enumerate(self.laws)]
        return torch.stack([low for low, _ in ends], 1), torch.stack([high for _, high in ends], 1)

    def inside(self, y: Tensor, level: float) -> Tensor:
        return torch.stack([law.inside(y[:, t], level) for t, law in enumerate(self.laws)], 1)

    def log_prob(self, y: Tensor) -> Tensor:
        return torch.stack([law.log_prob(y[:, t]) for t, law in enumerate(self.laws)], 1)

    def quantile(self, q: Tensor) -> Tensor:
        return torch.stack([law.quantile(q[:, :, t]) for t, law in enumerate(self.laws)], 2)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        return torch.stack([law.sample(n, generator) for law in self.laws], 2)

    def draws(self) -> Tensor:
        return torch.stack([law.draws() for law in self.laws], 2)

    def select(self, key: Any) -> AbstractLaw:
        if not isinstance(key, tuple):
            return StackedLaw([law.select(key) for law in self.laws])
        rows, steps, *rest = key
        deeper = (rows, *rest) if rest else rows
        chosen = np.arange(len(self.laws))[steps]
        if chosen.ndim == 0:
            return self.laws[int(chosen)].select(deeper)
        return StackedLaw([self.laws[step].select(deeper) for step in chosen.tolist()])

    def cast(self, function: Callable[[Tensor], Tensor]) -> "StackedLaw":
        return StackedLaw([law.cast(function) for law in self.laws])

    def keep_draws(self, draws: Tensor) -> "StackedLaw":
        return StackedLaw([law.keep_draws(draws) for law in self.laws])
