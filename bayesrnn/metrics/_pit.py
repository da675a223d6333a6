"""The probability integral transform and what is read off it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Unpack

import numpy as np
import torch
from torch import Tensor

from bayesrnn._checks import check_level, check_seed, check_whole
from bayesrnn.metrics.metric import Metric, evaluate
from bayesrnn.metrics.pairs import pair
from bayesrnn.metrics.score import Array, Options, Score
from bayesrnn.predictive import ClassPredictive, ContinuousPredictive, Predictive, TokenPredictive

NULL_AREA = math.sqrt(2 / math.pi) * math.pi / 8  # E of the integral of |Brownian bridge|: 0.3133


@dataclass(frozen=True, eq=False)
class Pit:
    """Probability integral transform of each scored target: uniform if the predictive is calibrated.

    A target of a distribution with jumps (counts, ordered classes, samples) has an interval [lower, upper] instead of
    a point.
    """

    lower: Array
    upper: Array
    sequences: Array

    def __len__(self) -> int:
        return len(self.lower)

    @property
    def values(self) -> Array:
        """Middle of each interval (the transform itself where there is no jump), (n,)."""
        return 0.5 * (self.lower + self.upper)

    def sample(self, seed: int = 0) -> Array:
        """Randomized transform: uniform within each interval, (n,)."""
        share = np.random.default_rng(check_seed(seed)).random(len(self.lower))
        return self.lower + share * (self.upper - self.lower)

    def ecdf(self, u: Any) -> Array:
        """Non-randomized distribution of the transform at the points `u`; the diagonal if calibrated.

        Source: Czado, Gneiting & Held 2009, Predictive model assessment for count data, section 2.
        """
        points = np.atleast_1d(np.asarray(u, dtype=np.float64))[:, None]
        width = self.upper - self.lower
        jump = np.clip((points - self.lower) / np.where(width > 0, width, 1.0), 0.0, 1.0)
        return np.where(width > 0, jump, (points >= self.lower).astype(np.float64)).mean(1)

    def histogram(self, bins: int = 10) -> Array:
        """Share of the targets in each of `bins` equal bins, (bins,); 1 / bins each if calibrated."""
        edges = np.linspace(0.0, 1.0, check_whole(bins, "bins", 2) + 1)
        shares = self.ecdf(edges)
        shares[0], shares[-1] = 0.0, 1.0
        return np.diff(shares)


def pit(predictive: Predictive, target: Any, **options: Unpack[Options]) -> Pit:
    r"""Return the probability integral transform $F(y)$ of each target.

    Args:
        predictive: Continuous, count, or of ordered classes.
        target: (B, ...).
        **options: mask, lengths, nan and sequences of `Options`.

    Source: Dawid 1984; Gneiting, Balabdaoui & Raftery 2007, section 3.1.
    """
    if isinstance(predictive, TokenPredictive):
        raise ValueError(
            "the tokens of a vocabulary have no order, so there is no integral transform. Use nll instead."
        )
    pairs = pair(predictive, target, options)
    lower, upper = (pairs.take(end) for end in pit_ends(pairs.predictive, pairs.target))
    return Pit(lower, upper, pairs.sequences.astype(np.float64))


def pit_ends(predictive: Any, target: Any) -> tuple[Tensor, Tensor]:
    """Return both ends of the transform of each target, (B, ...)."""
    if isinstance(predictive, ContinuousPredictive):
        return predictive.distribution.pit(target.double())
    cumulative = predictive.probabilities.cumsum(-1).clamp(max=1)
    upper = cumulative.gather(-1, target.long()[..., None])[..., 0]
    own = predictive.probabilities.gather(-1, target.long()[..., None])[..., 0]
    return (upper - own).clamp(min=0), upper


def _reach(predictive: Any, target: Any, seed: int) -> Tensor:
    """Return the level of the central interval that ends at each target, (B, ...), randomized over jumps."""
    lower, upper = pit_ends(predictive, target)
    share = torch.rand(lower.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (2 * (lower + share.to(lower.device) * (upper - lower)) - 1).abs()


def miscalibration_area(predictive: Predictive, target: Any, **options: Unpack[Options]) -> Score:
    r"""Area between the coverage of central intervals and the diagonal, over all levels, in [0, 0.5].

    $\int_0^1 |\hat P(|2F(y) - 1| \le p) - p|\,dp$, exact. Of n independent calibrated targets it is $0.3133/\sqrt n$ on
    average: the floor. Distributions with jumps use the randomized transform (`seed`).

    Source: Kuleshov, Fenner & Ermon 2018 (arXiv:1807.00263), section 3.5, with the absolute difference.
    """
    seed = check_seed(options.get("seed", 0))
    check_ordered(predictive, "miscalibration_area")

    metric = Metric(
        "miscalibration_area",
        "central intervals, exact integral over levels",
        partial(_reach, seed=seed),
        reduce=area_from_diagonal,
        floor=lambda values: NULL_AREA / math.sqrt(len(values)),
    )
    return evaluate(metric, predictive, target, options)


def interval_reliability(
    predictive: Predictive, target: Any, levels: Sequence[float], **options: Unpack[Options]
) -> list[Score]:
    """Return the coverage of the central interval at each of several levels, without inverting the cdf.

    A target is inside where its transform lies within level / 2 of one half; distributions with jumps use the
    randomized one.
    """
    check_ordered(predictive, "interval_reliability")
    seed = check_seed(options.get("seed", 0))
    scores = []
    for level in levels:
        check_level(level)

        def items(p: Any, y: Any, level: float = level) -> Tensor:
            return (_reach(p, y, seed) <= level).double()

        definition = f"share whose transform is inside the central {level:g}"
        metric = Metric("coverage", definition, items, share=True)
        scores.append(evaluate(metric, predictive, target, options))
    return scores


def area_from_diagonal(values: Array) -> float:
    """Return the integral over [0, 1] of |ecdf of the values - level|, exactly (a step against a line)."""
    edges = np.concatenate([[0.0], np.sort(values), [1.0]])
    heights = np.arange(len(values) + 1) / len(values)
    low, high = heights - edges[:-1], heights - edges[1:]  # ecdf minus level at the ends of each step
    same = low * high >= 0
    width = edges[1:] - edges[:-1]
    straight = 0.5 * (np.abs(low) + np.abs(high)) * width
    crossed = 0.5 * (low**2 + high**2)  # slope -1: two triangles
    return float(np.where(same, straight, crossed).sum())


def check_ordered(predictive: Any, name: str) -> None:
    """Refuse token streams, whose targets have no order."""
    if isinstance(predictive, TokenPredictive):
        raise ValueError(f"{name} needs an ordered target (continuous, counts, ordered classes), not tokens.")
    if isinstance(predictive, ClassPredictive) and predictive.classes < 2:
        raise ValueError(f"{name} needs at least 2 classes.")
