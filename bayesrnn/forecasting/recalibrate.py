"""Recalibration along rolling origins: intervals widen after misses and narrow after hits, once these are known."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bayesrnn._checks import check_number, check_rising
from bayesrnn.forecasting._backtest import Backtest
from bayesrnn.forecasting.settings import LEVELS
from bayesrnn.predictive import ContinuousPredictive
from bayesrnn.predictive.distributions.stretched import RadialDistribution

_LEAST, _MOST = math.log(1 / 3), math.log(6.0)
_APART, _TINY = 1.02, 1e-9


@dataclass(frozen=True)
class RollingIntervals:
    r"""Widen the intervals of each level after misses and narrow them after hits, as targets become known.

    The target of step h from origin o is known at o + h. At each origin, with the targets that became known since the
    one before, the factor on both sides of the central interval of level p at step h, from the median, changes by

    $$\log s_h \leftarrow \log s_h + \gamma \sum_i w_{h h_i} \frac{1\{y_i \notin I_i\} - (1 - p)}{\sqrt{p(1-p)}},$$

    where $I_i$ is the interval as it was issued and the weights w add up to 1 and fall by e with every `reach` steps of
    difference in horizon. The factors start at 1. Whatever the series does, the share of misses tends to 1 - p as long
    as a factor stays within [1/3, 6]; nothing after an origin enters.

    Args:
        step: The gain γ: how fast factors follow.
        reach: Steps of horizon over which misses are pooled.
        levels: Levels p whose intervals are followed; those between and beyond are stretched in between.

    Raises:
        ValueError: If a number is not positive or a level not in (0, 1).

    Source: Gibbs & Candès 2021 (arXiv:2106.00170), eq. 2, on the width instead of the level: the quantile tracking of
    Angelopoulos, Candès & Tibshirani 2023 (arXiv:2307.16895), section 2.
    """

    step: float = 0.04
    reach: float = 12.0
    levels: Sequence[float] = LEVELS

    def __post_init__(self) -> None:
        for name in ("step", "reach"):
            check_number(getattr(self, name), name, "positive and finite", 0.0, above=True)
        check_rising(self.levels)

    @classmethod
    def for_horizon(cls, horizon: int) -> "RollingIntervals":
        """Return the recalibration that pools misses over a whole horizon."""
        return cls(reach=float(horizon))

    def factors(self, raw: Backtest, origins: Tensor | None = None) -> Tensor:
        """Return the factors of each level at each origin (by default `raw`'s) and step, (levels, O, H)."""
        issued = raw.origins.tolist()
        wanted = issued if origins is None else origins.tolist()
        reaches, median = self._reaches(raw.predictive)
        issued_reaches = reaches.clone()
        known_at, seen = raw.positions(), raw.series.observed[raw.positions()]
        near = torch.exp(-(torch.arange(raw.horizon)[:, None] - torch.arange(raw.horizon)).abs() / self.reach).double()
        levels = torch.tensor(self.levels, dtype=torch.float64)[:, None]
        state = torch.zeros(len(self.levels), raw.horizon, dtype=torch.float64)
        row_of = {origin: row for row, origin in enumerate(issued)}
        by_origin, before = {}, -1
        for now in sorted({*issued, *wanted}):
            rows, steps = ((known_at > before) & (known_at <= now) & seen).nonzero(as_tuple=True)
            if len(rows):
                off = (raw.target - median)[rows, steps].double()
                lower, upper = issued_reaches[:, :, rows, steps]
                missed = ((off < -lower) | (off > upper)).double()
                surprise = (missed - (1 - levels)) / (levels * (1 - levels)).sqrt()
                weight = near[:, steps]
                state = state + self.step * surprise @ (weight / weight.sum(1, keepdim=True)).T
                state = state.clamp(_LEAST, _MOST)
            by_origin[now] = _nested(state.exp(), levels)
            if now in row_of:
                row = row_of[now]
                issued_reaches[:, :, row] = _stretched(reaches[:, :, row], by_origin[now])
            before = now
        return torch.stack([by_origin[origin] for origin in wanted], 1)

    def stretch(self, predictive: ContinuousPredictive, factors: Tensor) -> ContinuousPredictive:
        """Return the predictive with its central intervals stretched by `factors` (levels, O, H)."""
        reaches, median = self._reaches(predictive)
        return predictive.with_distribution(
            RadialDistribution(predictive.distribution, reaches, _stretched(reaches, factors), median)
        )

    def apply(self, raw: Backtest) -> ContinuousPredictive:
        """Return the recalibrated forecasts."""
        return self.stretch(raw.predictive, self.factors(raw))

    def _reaches(self, predictive: ContinuousPredictive) -> tuple[Tensor, Tensor]:
        """Return how far each interval reaches below and above the median, (2, levels, O, H), and the median."""
        median = predictive.quantile(0.5).double()
        low, high = (torch.stack(ends).double() for ends in zip(*map(predictive.interval, self.levels), strict=True))
        reaches = torch.stack([median - low, high - median])
        least = _TINY * (high - low)  # a point mass at the median leaves an interval without extent on one side
        return torch.stack([_increasing(side, 1.0 + _TINY) for side in reaches.maximum(least)]), median


def _stretched(reaches: Tensor, factors: Tensor) -> Tensor:
    """Return the reaches times the factors, raised until they increase with the level."""
    return torch.stack([_increasing(side * factors) for side in reaches])


def _nested(factors: Tensor, levels: Tensor) -> Tensor:
    """Raise factors where a wider level would otherwise have the narrower interval (of a normal distribution)."""
    normal = torch.special.ndtri((1 + levels) / 2)
    return _increasing(factors * normal) / normal


def _increasing(values: Tensor, apart: float = _APART) -> Tensor:
    rows = [values[0]]
    for value in values[1:]:
        rows.append(torch.maximum(value, apart * rows[-1]))
    return torch.stack(rows)
