"""Recalibration as the origins roll on: spreads follow past errors, and only those already known."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Normal, StudentT

from bayesrnn._checks import check_whole
from bayesrnn.forecasting.backtest import Backtest
from bayesrnn.predictive import ContinuousPredictive
from bayesrnn.predictive.mixture import MixtureLaw

__all__ = ["RollingScale"]

_SCALES = torch.logspace(math.log10(0.1), 1.0, 161, dtype=torch.float64)
_AIM = 0.5 / math.sqrt(math.pi)


@dataclass(frozen=True)
class RollingScale:
    r"""One factor on the spread for each origin and step ahead, learned from the errors known at that origin.

    The error of step h from origin o is known at o + h. With the standardized errors $z = (y - \mu)/\sigma$ known
    so far and $\varphi$ the normal density, the factor s of an origin and step solves

    $$\sum_i w_i \varphi(z_i / s) + n_0 \, \mathbb{E}_{z \sim N(0,1)} \varphi(z / s)
      = \frac{1}{2\sqrt\pi} \Big(\sum_i w_i + n_0\Big),$$

    which is the scale of least weighted CRPS: large errors count, but no single one dominates. Weights halve with every
    `half_life` steps of age and fall by e with every `reach` steps of difference in horizon; $n_0$ errors of a
    calibrated forecast hold the factor at 1 until there is evidence. Nothing after the origin enters.

    Args:
        half_life: Steps after which an error counts half.
        reach: Steps of horizon over which errors speak for each other.
        strength: The $n_0$, in errors.

    Raises:
        ValueError: If a number is not positive.

    Source: the score's minimum follows from its closed form (Gneiting & Raftery 2007, section 4.2); the weighting is
    exponential smoothing.
    """

    half_life: float
    reach: float
    strength: float = 100.0

    def __post_init__(self) -> None:
        for name in ("half_life", "reach", "strength"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} must be positive and finite, but {value!r} was given.")

    @classmethod
    def for_horizon(cls, horizon: int) -> "RollingScale":
        """Return the one that forgets half in one horizon and lets a sixth of the horizon speak for each step."""
        return cls(half_life=1.0 * check_whole(horizon, "horizon"), reach=max(horizon / 6, 1.0))

    def factors(self, raw: Backtest, origins: Tensor | None = None) -> Tensor:
        """Return the factor of each step ahead at each origin (by default those of `raw`), (O, H), float64."""
        law = raw.predictive
        z = ((raw.target - law.mean) / law.std).double().reshape(-1, 1)
        evidence = torch.exp(-0.5 * (z / _SCALES) ** 2) / math.sqrt(2 * math.pi)
        prior = _SCALES / torch.sqrt(2 * math.pi * (1 + _SCALES**2))
        known_at = raw.positions().reshape(-1)
        seen = raw.series.observed[known_at]
        steps = torch.arange(1, raw.horizon + 1)
        apart = (steps[:, None] - steps.repeat(len(raw))).abs()
        near = torch.exp(-apart / self.reach) * seen
        rows = []
        for origin in raw.origins if origins is None else origins:
            age = origin - known_at
            weight = near * torch.where(age >= 0, torch.exp2(-age.clamp(min=0) / self.half_life), 0.0)
            level = weight.double() @ evidence + self.strength * prior
            rows.append(_crossing(level / (weight.sum(1, keepdim=True) + self.strength)))
        return torch.stack(rows)

    def apply(self, raw: Backtest) -> tuple[ContinuousPredictive, Tensor]:
        """Return the recalibrated forecasts and the factor of each, (O, H); the variances grow by its square."""
        factor = self.factors(raw)
        return stretch(raw.predictive, factor), factor


def stretch(predictive: ContinuousPredictive, factor: Tensor) -> ContinuousPredictive:
    """Return the predictive with the spread of each target about its mean times its factor.

    Raises:
        TypeError: If the law is no mixture of Gaussians or Student t over draws, as forecasters give it.
    """
    law = predictive.law
    wide: Any = law.component() if isinstance(law, MixtureLaw) else None
    if not isinstance(wide, Normal | StudentT):
        raise TypeError(f"only a mixture of Gaussians or Student t can be stretched, not a {type(law).__name__}.")
    mean = law.mean()
    shape = (wide.df,) if isinstance(wide, StudentT) else ()
    make: Any = type(wide)
    moved = make(*shape, mean + factor * (wide.loc - mean), factor * wide.scale, validate_args=False)
    return predictive.with_law(MixtureLaw(moved))


def _crossing(level: Tensor) -> Tensor:
    """Return where each increasing row of `level` (H, scales) crosses the aim, on a logarithmic line between scales."""
    after = (level < _AIM).sum(1).clamp(1, len(_SCALES) - 1)
    low, high = (level.gather(1, (after - k)[:, None]).squeeze(1) for k in (1, 0))
    share = ((_AIM - low) / (high - low).clamp(min=1e-12)).clamp(0, 1)
    return torch.exp((1 - share) * _SCALES[after - 1].log() + share * _SCALES[after].log())
