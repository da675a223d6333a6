"""The law of point predictions: epistemic variance alone."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bayesrnn.predictive.empirical import EmpiricalLaw

__all__ = ["PointLaw"]


class PointLaw(EmpiricalLaw):
    """Draws of the prediction itself, (S, B, ...): what is known of the target without a likelihood."""

    def aleatoric(self) -> Tensor:
        """Zero: the model says nothing about noise."""
        return torch.zeros_like(self.mean())

    def epistemic(self) -> Tensor:
        """Variance over draws."""
        return self.samples.double().var(0, correction=1)

    def draws(self) -> Tensor:
        """The predictions of the draws."""
        return self.samples.double()

    def select(self, key: Any) -> "PointLaw":
        """The law of some rows."""
        return PointLaw(self.samples[(slice(None), *key)] if isinstance(key, tuple) else self.samples[:, key])

    def cast(self, function: Callable[[Tensor], Tensor]) -> "PointLaw":
        """The law on another device or in another dtype."""
        return PointLaw(function(self.samples))

    def keep_draws(self, draws: Tensor) -> "PointLaw":
        """The law of a subset of the draws."""
        return PointLaw(self.samples[draws.to(self.samples.device)])
