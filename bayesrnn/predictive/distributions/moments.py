"""The distribution of which only mean and variances were kept: what a streamed prediction leaves."""

# ruff: noqa: D102 - each method is documented in AbstractDistribution

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bayesrnn._checks import check_finite
from bayesrnn.predictive.distributions.abstract import AbstractDistribution


class MomentsDistribution(AbstractDistribution):
    """Mean, aleatoric and epistemic variance of each target, its part between networks, and nothing else."""

    has_density = False

    def __init__(
        self, mean: Tensor, aleatoric: Tensor, epistemic: Tensor, between_networks: Tensor | None = None
    ) -> None:
        if not (mean.shape == aleatoric.shape == epistemic.shape) or mean.dim() < 1:
            raise ValueError(
                "mean, aleatoric and epistemic must have one shape (rows, ...), but they have "
                f"{tuple(mean.shape)}, {tuple(aleatoric.shape)} and {tuple(epistemic.shape)}."
            )
        check_finite(mean, "mean")
        for name, value in (("aleatoric", aleatoric), ("epistemic", epistemic)):
            if bool((~(value >= 0)).any()):
                raise ValueError(f"{name} is a variance and must be zero or more everywhere, but it is not.")
        self._mean, self._aleatoric, self._epistemic = mean.detach(), aleatoric.detach(), epistemic.detach()
        self._networks = torch.zeros_like(self._mean) if between_networks is None else between_networks.detach()
        self.shape, self.dtype, self.device, self.is_count = mean.shape, mean.dtype, mean.device, False

    def mean(self) -> Tensor:
        return self._mean.double()

    def aleatoric(self) -> Tensor:
        return self._aleatoric.double()

    def epistemic(self) -> Tensor:
        return self._epistemic.double()

    def between_networks(self) -> Tensor:
        return self._networks.double()

    def cdf(self, y: Tensor) -> Tensor:
        raise _no_distribution("cdf")

    def log_prob(self, y: Tensor) -> Tensor:
        raise _no_distribution("log_prob")

    def quantile(self, q: Tensor) -> Tensor:
        raise _no_distribution("quantile")

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        raise _no_distribution("sample")

    def paths(self, n: int, choice: torch.Generator, noise: torch.Generator) -> Tensor:
        raise ValueError(
            "this predictive kept the mean and the variances of each step only, which do not say how steps move "
            "together, so it has no paths. Predict with keep_draws=True."
        )

    def draws(self) -> Tensor:
        raise _no_distribution("draws")

    def select(self, key: Any) -> "MomentsDistribution":
        return MomentsDistribution(*(part[key] for part in self._parts))

    def cast(self, function: Callable[[Tensor], Tensor]) -> "MomentsDistribution":
        return MomentsDistribution(*(function(part) for part in self._parts))

    @property
    def _parts(self) -> tuple[Tensor, ...]:
        return self._mean, self._aleatoric, self._epistemic, self._networks


def _no_distribution(name: str) -> ValueError:
    return ValueError(
        f"this predictive kept the mean and the variances only, so {name} is unknown. Predict with keep_draws=True, "
        "or accept a Gaussian of the same mean and variance: predictive.moment_matched()."
    )
