"""Recalibration along origins: factors that follow misses at several speeds, weighed by how well they did so far."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bayesrnn._checks import check_number, check_rising, check_whole
from bayesrnn.forecasting.distribution import ForecastDistribution
from bayesrnn.forecasting.settings import LEVELS
from bayesrnn.predictive.distributions.stretched import through

GAINS = (0.0, 0.05, 0.1, 0.2, 0.4)
"""Speeds, per horizon; at 0 the interval stays raw."""
_LEAST, _MOST = math.log(1 / 3), math.log(6.0)
_APART = 1.02
_HIGH = 0.9


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
    r"""Stretch the central interval of each level by a weighted mean of factors that follow misses at several speeds.

    For each gain g a factor s of every level p and step h moves with each time whose targets become known,

    $$\log s^g_h \leftarrow \log s^g_h + \frac{g}{H} \sum_i w_{h h_i}
    \frac{1\{y_i \notin s^g_{h_i} I_i\} - (1 - p)}{\sqrt{p(1-p)}},$$

    and the factor that is used is their mean, weighted by the interval scores so far, in units of the raw width:

    $$\log \hat s_h = \sum_g v_g \log s^g_h, \qquad v_g \propto n_g e^{-\eta_p L^g_h / H}, \qquad
    \eta_p = 2\, q\, \varphi(q) / p$$

    $I_i$ is the raw interval; the weights w add up to 1 and fall by e with every `reach` steps of difference in
    horizon; the past fades from L over `memory` steps. From 90 % on, where misses are rare and wide intervals dear, the
    raw interval (g = 0) counts twice as much as all others together before anything is known ($n_0 = 2 (G - 1)$, else
    1), which bounds the loss against it. Errors of one horizon move
    together, so a horizon counts as one observation; $\eta_p$, with q the normal quantile at (1 + p) / 2, makes the
    weights as sure as one observation allows: curvature over variance of the score.

    Args:
        horizon: Steps ahead, H.
        gains: Speeds g; 0 for the raw interval.
        memory: Steps over which the past fades by e; by default 20 horizons.
        reach: Steps of horizon over which targets are pooled; by default a horizon.
        levels: Of the intervals.

    Raises:
        ValueError: If a number is not positive, a gain negative, or levels do not increase.

    Example:
        >>> hedge = HedgedIntervals(24)
        >>> hedge.factors(hedge.start()).shape
        torch.Size([3, 24])

    Source: several gains, weighed by past scores: Gibbs & Candès 2022 (arXiv:2208.08401); factors that follow misses:
    Angelopoulos, Candès & Tibshirani 2023 (arXiv:2307.16895); η: Lyddon, Holmes & Walker 2019 (Biometrika 106).
    """

    horizon: int
    gains: Sequence[float] = GAINS
    memory: float | None = None
    reach: float | None = None
    levels: Sequence[float] = LEVELS

    def __post_init__(self) -> None:
        check_whole(self.horizon, "horizon")
        for name in ("memory", "reach"):
            if getattr(self, name) is not None:
                check_number(getattr(self, name), name, "positive and finite", 0.0, above=True)
        if not isinstance(self.gains, list | tuple) or not self.gains:
            raise ValueError(f"gains must be speeds, at least one, such as {GAINS}, but {self.gains!r} was given.")
        for gain in self.gains:
            check_number(gain, "gains", "finite and not negative", 0.0)
        check_rising(self.levels)

    def start(self) -> Tensor:
        """Return log factors and losses before anything is known, (2, gains, levels, H)."""
        return torch.zeros(2, len(self.gains), len(self.levels), self.horizon, dtype=torch.float64)

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
        self, state: Tensor, past: Past, wanted: Sequence[int], *, since: int, until: int
    ) -> tuple[Tensor, Tensor]:
        """Return the factors at each wanted position, (levels, W, H), and the state at position `until`.

        From `since` to a position between and from there on gives the same numbers as at once.

        Args:
            state: Log factors and losses up to `since`, (2, gains, levels, H).
            past: Targets; those known at `since` or before are in the state already, those after `until` wait.
            wanted: Positions of origins, increasing.
            since: Position up to which targets are counted.
            until: Position up to which they shall be.
        """
        steps = torch.arange(self.horizon)
        near = torch.exp(-(steps[:, None] - steps).abs() / (self.reach or self.horizon)).double()
        fade = 1 / (self.memory or 20.0 * self.horizon)
        seen = ~torch.isnan(past.off) & (past.known_at > since) & (past.known_at <= until)
        factors, place, before = [], 0, since
        for now in [*past.known_at[seen].unique().tolist(), math.inf]:
            while place < len(wanted) and wanted[place] < now:
                factors.append(self.factors(state))
                place += 1
            if now == math.inf:
                break
            rows, ahead = (seen & (past.known_at == now)).nonzero(as_tuple=True)
            weight = near[:, ahead]
            change = self._change(state[0][..., ahead], past.reaches[:, :, rows, ahead], past.off[rows, ahead])
            moved, lost = torch.einsum("ht,kglt->kglh", weight / weight.sum(1, keepdim=True), change)
            losses = math.exp(-(now - before) * fade) * state[1] + lost
            state, before = torch.stack([(state[0] + moved).clamp(_LEAST, _MOST), losses]), now
        state = torch.stack([state[0], math.exp(-(until - before) * fade) * state[1]])
        return torch.stack(factors, 1) if factors else torch.ones(len(self.levels), 0, self.horizon), state

    def factors(self, state: Tensor) -> Tensor:
        """Return the factor of each level and step, (levels, H)."""
        levels = torch.tensor(self.levels, dtype=torch.float64)
        score = torch.special.ndtri((1 + levels) / 2)
        rate = 2 * score * torch.exp(-(score**2) / 2) / math.sqrt(2 * math.pi) / levels / self.horizon
        raw = torch.tensor(self.gains, dtype=torch.float64)[:, None, None] == 0
        count = torch.where(raw & (levels[:, None] >= _HIGH), max(2.0 * (len(self.gains) - 1), 1.0), 1.0)
        return (torch.softmax(count.log() - rate[:, None] * state[1], 0) * state[0]).sum(0).exp()

    def _change(self, logs: Tensor, reaches: Tensor, off: Tensor) -> Tensor:
        """Return what targets change of log factors and losses, (2, gains, levels, targets)."""
        level = torch.tensor(self.levels, dtype=torch.float64)[:, None]
        gain = torch.tensor(self.gains, dtype=torch.float64)[:, None, None] / self.horizon
        low, high = logs.exp() * reaches[0], logs.exp() * reaches[1]
        beyond = (-off - low).clamp(min=0) + (off - high).clamp(min=0)
        moved = gain * ((beyond > 0).double() - (1 - level)) / (level * (1 - level)).sqrt()
        score = logs.exp() + 2 / (1 - level) * beyond / reaches.sum(0).clamp(min=1e-300)
        return torch.stack([moved, score])

    def stretch(self, raw: ForecastDistribution, factors: Tensor) -> ForecastDistribution:
        """Return the distribution whose central intervals are `raw`'s, stretched by factors (levels, O, H)."""
        reaches, median = self.reaches(raw)
        reaches = reaches.clamp(min=1e-12 * float(reaches.max()))
        before = torch.stack([_increasing(side) for side in reaches])
        after = torch.stack([_increasing(side * factors) for side in before])

        def moved(values: Tensor) -> Tensor:
            return median + through(values - median, before, after)[0]

        return raw.stretched(moved)


def _increasing(values: Tensor) -> Tensor:
    """Raise reaches until they increase with the level."""
    rows = [values[0]]
    for value in values[1:]:
        rows.append(torch.maximum(value, _APART * rows[-1]))
    return torch.stack(rows)
