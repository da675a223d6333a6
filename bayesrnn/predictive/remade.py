"""Mixtures computed from all draws of another law, such as the Gaussian of its mean and variance."""

# ruff: noqa: D102 - each method is documented in AbstractLaw

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.distributions import Distribution, Normal

from .law import AbstractLaw
from .mixture import MixtureLaw


class RemadeLaw(MixtureLaw):
    """A mixture made of a base by a function of all its draws; of fewer draws it is made anew, not cut."""

    def __init__(
        self, distribution: Distribution, base: AbstractLaw, remake: Callable[[AbstractLaw], MixtureLaw]
    ) -> None:
        super().__init__(distribution)
        self.base, self.remake = base, remake

    def select(self, key: Any) -> MixtureLaw:
        return self.remake(self.base.select(key))

    def cast(self, function: Callable[[Tensor], Tensor]) -> MixtureLaw:
        return self.remake(self.base.cast(function))

    def keep_draws(self, draws: Tensor) -> MixtureLaw:
        return self.remake(self.base.keep_draws(draws))


def match_moments(base: AbstractLaw) -> RemadeLaw:
    """Return the Gaussian with the mean and the variance of a law: one component, whatever its draws."""
    mean, std = (t[None].to(base.dtype) for t in (base.mean(), base.variance().sqrt()))
    return RemadeLaw(Normal(mean, std, validate_args=False), base, match_moments)
