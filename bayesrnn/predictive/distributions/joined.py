"""One distribution joined from parts along rows or steps."""

# ruff: noqa: D102 - each method is documented in AbstractDistribution

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from bayesrnn.predictive.distributions.abstract import AbstractDistribution


class JoinedDistribution(AbstractDistribution):
    """Parts side by side: rows that took different numbers of draws, or steps that were recalibrated on their own.

    Args:
        parts: Distributions of one kind of shape; only the size of `dim` differs.
        index: Where each part lies along `dim`; together every position once.
        dim: 0 joins rows, 1 joins steps.
    """

    def __init__(self, parts: Sequence[AbstractDistribution], index: Sequence[Tensor], dim: int = 0) -> None:
        self.parts, self.dim = list(parts), dim
        first = self.parts[0]
        self.index = [where.to(first.device) for where in index]
        size = sum(len(where) for where in self.index)
        self.shape = torch.Size((*first.shape[:dim], size, *first.shape[dim + 1 :]))
        self.dtype, self.device, self.is_count = first.dtype, first.device, first.is_count
        self.has_density = all(part.has_density for part in self.parts)

    def each(self, function: Callable[..., Tensor], *values: Tensor) -> Tensor:
        """Return `function(part, its values)` of every part, put together; axes in front of the rows stay in front."""

        def axis(tensor: Tensor) -> int:
            return tensor.dim() - len(self.shape) + self.dim

        results = [
            function(part, *(v.index_select(axis(v), where) for v in values))
            for part, where in zip(self.parts, self.index, strict=True)
        ]
        return torch.cat(results, axis(results[0])).index_select(axis(results[0]), torch.cat(self.index).argsort())

    def mean(self) -> Tensor:
        return self.each(lambda part: part.mean())

    def aleatoric(self) -> Tensor:
        return self.each(lambda part: part.aleatoric())

    def epistemic(self) -> Tensor:
        return self.each(lambda part: part.epistemic())

    def between_networks(self) -> Tensor:
        return self.each(lambda part: part.between_networks())

    def variance(self) -> Tensor:
        return self.each(lambda part: part.variance())

    def cdf(self, y: Tensor) -> Tensor:
        return self.each(lambda part, value: part.cdf(value), y)

    def below(self, y: Tensor) -> Tensor:
        return self.each(lambda part, value: part.below(value), y)

    def pit(self, y: Tensor) -> tuple[Tensor, Tensor]:
        lower, upper = self.each(lambda part, value: torch.stack(part.pit(value)), y)
        return lower, upper

    def inside(self, y: Tensor, level: float) -> Tensor:
        return self.each(lambda part, value: part.inside(value, level), y)

    def log_prob(self, y: Tensor) -> Tensor:
        return self.each(lambda part, value: part.log_prob(value), y)

    def quantile(self, q: Tensor) -> Tensor:
        return self.each(lambda part, level: part.quantile(level), q)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        return self.each(lambda part: part.sample(n, generator))

    def draws(self) -> Tensor:
        draws = [part.draws() for part in self.parts]
        if len({len(part) for part in draws}) > 1:
            raise ValueError(
                "the rows of this predictive took different numbers of draws (tolerance= stopped some early), so "
                "there is no tensor of draws. Predict without tolerance=, or take rows with equal draws."
            )
        return self.each(lambda part: part.draws())

    def select(self, key: Any) -> AbstractDistribution:
        keys = key if isinstance(key, tuple) else (key,)
        keys = (*keys, *(slice(None) for _ in range(self.dim + 1 - len(keys))))
        rows, here, deeper = keys[: self.dim], keys[self.dim], keys[self.dim + 1 :]
        chosen = torch.arange(self.shape[self.dim])[here.cpu() if isinstance(here, Tensor) else here]
        parts, index = [], []
        for part, where in zip(self.parts, self.index, strict=True):
            place = torch.full((self.shape[self.dim],), -1)
            place[where.cpu()] = torch.arange(len(where))
            inside = place[chosen] >= 0
            if not bool(inside.any()):
                continue
            base = part.select(rows) if rows else part
            front = tuple(slice(None) for _ in rows)
            if chosen.dim() == 0:
                return base.select((*front, int(place[chosen]), *deeper))
            picked = place[chosen][inside].to(self.device)
            parts.append(base.select((*front, picked, *deeper) if rows or deeper else picked))
            index.append(inside.nonzero().flatten())
        return parts[0] if len(parts) == 1 else JoinedDistribution(parts, index, self.dim)

    def cast(self, function: Callable[[Tensor], Tensor]) -> "JoinedDistribution":
        return JoinedDistribution([part.cast(function) for part in self.parts], self.index, self.dim)

    def keep_draws(self, draws: Tensor) -> AbstractDistribution:
        if self.dim == 0:
            return super().keep_draws(draws)  # says that rows of different draws keep none in common
        return JoinedDistribution([part.keep_draws(draws) for part in self.parts], self.index, self.dim)

    def paths(self, n: int, choice: torch.Generator, noise: torch.Generator) -> Tensor:
        state = choice.get_state()

        def draw(part: AbstractDistribution) -> Tensor:
            if self.dim == 1:
                choice.set_state(state)  # every step of a row's path comes from the same draw
            return part.paths(n, choice, noise)

        return self.each(draw)
