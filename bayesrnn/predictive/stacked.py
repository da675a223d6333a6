"""One law a step."""

# ruff: noqa: D102 - each method is documented in AbstractLaw

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .law import AbstractLaw


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
