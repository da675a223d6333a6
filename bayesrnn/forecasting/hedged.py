"""Recalibration along origins: each level's interval is stretched by the factors that would have scored best so far."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bayesrnn._checks import check_level
from bayesrnn.forecasting.distribution import ForecastDistribution
from bayesrnn.forecasting.settings import LEVELS
from bayesrnn.predictive.distributions.stretched import through

_LOWEST, _STEP, _COUNT = -1.0, 0.1, 25
"""Logarithms of the factors that are weighed: from 1/e to 4, 1 among them."""
_APART = 1.02


@dataclass(frozen=True, eq=False)
class Past:
    """Forecasts whose targets are known: how far intervals reach, where targets fell, and when they were known.

    Attributes:
        reaches: From the median to the ends of the raw intervals, (2, levels, O, H).
        off: Target minus median, (O, H); NaN where nothing was observed.
        known_at: Position at which each target was known, (O, H).
    """

    reaches: Tensor
    off: Tensor
    known_at: Tensor


@dataclass(frozen=True)
class HedgedIntervals:
    r"""Stretch the central interval of each level by a weighted mean of factors g, weighted by their past scores.

    $$\log \hat g_h = \sum_g w_g \log g, \qquad w_g \propto e^{-\eta L_h(g) - (\log g)^2 / 2\tau^2}$$

    $L_h(g)$ sums the interval scores of the interval stretched by g, in units of its raw width, over the targets known
    so far: the targets of a time count as one, steps ahead within `reach` of h count together, and the past fades
    over `memory` steps. The raw interval (g = 1) is among the candidates, so that the loss against it is bounded: at
    most $(\log 25) / \eta$ in sum, by weights that follow exponentially.

    Args:
        rate: η.
        memory: Steps over which the past fades by e.
        reach: Steps of horizon over which targets are pooled.
        width: τ, spread of log factors before anything is known.
        levels: Of the intervals.

    Raises:
        ValueError: If a number is not positive, or levels do not increase.

    Example:
        >>> hedge = HedgedIntervals.for_horizon(24)
        >>> hedge.factors(hedge.start(24)).shape
        torch.Size([3, 24])

    Source: interval score: Gneiting & Raftery 2007, eq. 43; weights: Vovk 1990 (aggregating strategies).
    """

    rate: float = 0.01
    memory: float = 1000.0
    reach: float = 12.0
    width: float = 0.25
    levels: Sequence[float] = LEVELS

    def __post_init__(self) -> None:
        for name in ("rate", "memory", "reach", "width"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} must be positive and finite, but {value!r} was given.")
        if not self.levels or list(self.levels) != sorted({check_level(p, "levels") for p in self.levels}):
            raise ValueError(f"levels must be distinct and increase, but {list(self.levels)} was given.")

    @classmethod
    def for_horizon(cls, horizon: int) -> "HedgedIntervals":
        """Return the recalibration that pools targets over half a horizon and lets a horizon count as a quarter.

        Errors of one horizon move together: counted one by one, they would move the factors by chance.
        """
        return cls(rate=0.25 / horizon, memory=max(100.0 * horizon, 1000.0), reach=max(horizon / 2, 1.0))

    def start(self, horizon: int) -> Tensor:
        """Return the losses before anything is known, (levels, H, factors)."""
        return torch.zeros(len(self.levels), horizon, _COUNT, dtype=torch.float64)

    def past(self, raw: ForecastDistribution, target: Tensor, known_at: Tensor) -> Past:
        """Return what forecasts say about the factors, once their targets are known."""
        reaches, median = self.reaches(raw)
        return Past(reaches, target.double() - median, known_at)

    def reaches(self, raw: ForecastDistribution) -> tuple[Tensor, Tensor]:
        """Return how far each interval reaches below and above the median, (2, levels, O, H), and the median."""
        tails = torch.tensor([(1 - p) / 2 for p in self.levels], dtype=torch.float64)
        levels = torch.cat([tails, 1 - tails, torch.tensor([0.5], dtype=torch.float64)])
        values = raw.quantile(levels.reshape(-1, 1, 1).expand(-1, *raw.shape))
        count, median = len(self.levels), values[-1]
        return torch.stack([median - values[:count], values[count:-1] - median]), median

    def rolled(
        self, losses: Tensor, past: Past, wanted: Sequence[int], *, since: int, until: int
    ) -> tuple[Tensor, Tensor]:
        """Return the factors at each wanted position, (levels, W, H), and the losses at position `until`.

        From `since` to a position between and from there on gives the same numbers as at once.

        Args:
            losses: What was lost up to `since`, (levels, H, factors).
            past: Targets; those known at `since` or before are in `losses` already, those after `until` wait.
            wanted: Positions of origins, increasing.
            since: Position up to which targets are counted.
            until: Position up to which they shall be.
        """
        horizon = losses.shape[1]
        candidates = self._log_factors.exp()
        penalty = torch.tensor([2 / (1 - p) for p in self.levels], dtype=torch.float64).reshape(-1, 1, 1)
        seen = ~torch.isnan(past.off) & (past.known_at > since) & (past.known_at <= until)
        order = torch.arange(horizon)
        near = torch.exp(-(order[:, None] - order).abs() / self.reach).double()
        times = past.known_at[seen].unique().tolist()
        factors, place, before = [], 0, since
        for now in [*times, math.inf]:
            while place < len(wanted) and wanted[place] < now:
                factors.append(self.factors(losses))
                place += 1
            if now == math.inf:
                break
            rows, steps = (seen & (past.known_at == now)).nonzero(as_tuple=True)
            low, high = past.reaches[:, :, rows, steps].unsqueeze(-1)
            off = past.off[rows, steps].double().unsqueeze(-1)
            width = (low + high).clamp(min=1e-300)
            beyond = (-off - candidates * low).clamp(min=0) + (off - candidates * high).clamp(min=0)
            score = candidates + penalty * beyond / width  # (levels, targets, factors)
            weight = near[:, steps]
            weight = weight / weight.sum(1, keepdim=True)
            losses = math.exp(-(now - before) / self.memory) * losses + torch.einsum("ht,ltf->lhf", weight, score)
            before = now
        losses = math.exp(-(until - before) / self.memory) * losses
        stacked = torch.stack(factors, 1) if factors else torch.ones(len(self.levels), 0, horizon)
        return stacked, losses

    def factors(self, losses: Tensor) -> Tensor:
        """Return the factor of each level and step, (levels, H)."""
        logs = self._log_factors
        weights = torch.softmax(-self.rate * losses - logs**2 / (2 * self.width**2), -1)
        return (weights * logs).sum(-1).exp()

    def stretch(self, raw: ForecastDistribution, factors: Tensor) -> ForecastDistribution:
        """Return the distribution whose central intervals are `raw`'s, stretched by factors (levels, O, H)."""
        reaches, median = self.reaches(raw)
        reaches = reaches.clamp(min=1e-12 * float(reaches.max()))
        before = torch.stack([_increasing(side) for side in reaches])
        after = torch.stack([_increasing(side * factors) for side in before])

        def moved(values: Tensor) -> Tensor:
            return median + through(values - median, before, after)[0]

        return raw.stretched(moved)

    @property
    def _log_factors(self) -> Tensor:
        return _LOWEST + _STEP * torch.arange(_COUNT, dtype=torch.float64)


def _increasing(values: Tensor) -> Tensor:
    """Raise reaches until they increase with the level."""
    rows = [values[0]]
    for value in values[1:]:
        rows.append(torch.maximum(value, _APART * rows[-1]))
    return torch.stack(rows)
