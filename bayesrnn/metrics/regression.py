"""Scores of continuous and count targets."""

import math
from typing import Any, Unpack

import torch
from torch import Tensor

from bayesrnn._checks import check_level, rows_of
from bayesrnn.metrics._crps import crps_values, crps_without_blocks
from bayesrnn.metrics.metric import Metric, evaluate
from bayesrnn.metrics.score import Options, Score
from bayesrnn.predictive import ContinuousPredictive, Predictive


def rmse(predictive: Predictive, target: Any, **options: Unpack[Options]) -> Score:
    r"""Root mean squared error of the predictive mean, target units: $\sqrt{\mathrm{mean}\,(y - \mu)^2}$.

    Args:
        predictive: Of a continuous or count target, (B, ...).
        target: What happened, (B, ...).
        **options: See `Options`.

    Raises:
        ValueError: If shapes differ or the target holds NaN.

    Example:
        >>> float(rmse(Predictive.from_gaussian(torch.zeros(2), torch.ones(2)), torch.tensor([3.0, 3.0])))
        3.0
    """
    metric = Metric("rmse", "of the predictive mean, target units", _squared, transform=math.sqrt)
    return _evaluate(metric, predictive, target, options)


def mae(predictive: Predictive, target: Any, **options: Unpack[Options]) -> Score:
    r"""Mean absolute error of the predictive mean, target units: $\mathrm{mean}\,|y - \mu|$."""
    definition = "of the predictive mean, target units"
    metric = Metric("mae", definition, lambda p, y: (p.mean - y).abs())
    return _evaluate(metric, predictive, target, options)


def bias(predictive: Predictive, target: Any, **options: Unpack[Options]) -> Score:
    r"""Mean of prediction minus target, target units: $\mathrm{mean}\,(\mu - y)$."""
    definition = "mean prediction minus target, target units"
    metric = Metric("bias", definition, lambda p, y: p.mean - y)
    return _evaluate(metric, predictive, target, options)


def crps(predictive: Predictive, target: Any, **options: Unpack[Options]) -> Score:
    r"""Continuous ranked probability score, target units: mean of $\int (F(x) - 1\{x \ge y\})^2 dx$.

    A proper score; of a point prediction it is the absolute error. Closed form for Gaussians and mixtures of them, the
    fair estimator for samples (finite samples do not bias it), sums for counts, a table of quantiles for others.

    Source: Gneiting & Raftery 2007, section 4.2; Grimit et al. 2006; Ferro 2014.
    """
    definition = "mean over targets, target units; samples: fair estimator"

    def items(p: ContinuousPredictive, y: Tensor) -> Tensor:
        return crps_values(p.distribution, y)

    metric = Metric("crps", definition, items, correct=True, without=crps_without_blocks)
    return _evaluate(metric, predictive, target, options)


def interval_score(predictive: Predictive, target: Any, *, level: float = 0.9, **options: Unpack[Options]) -> Score:
    r"""Winkler score of the central interval, target units, lower is better.

    $(u - l) + \frac{2}{\alpha}(l - y)_+ + \frac{2}{\alpha}(y - u)_+$ with $\alpha$ = 1 - level.

    Source: Gneiting & Raftery 2007, eq. 43.
    """
    level = check_level(level)

    def items(p: ContinuousPredictive, y: Tensor) -> Tensor:
        low, high = p.interval(level)
        missed = (low - y).clamp(min=0) + (y - high).clamp(min=0)
        return high - low + 2 / (1 - level) * missed

    metric = Metric("interval_score", f"Winkler, central {level:g}, target units", items)
    return _evaluate(metric, predictive, target, options)


def pinball_loss(predictive: Predictive, target: Any, *, q: float = 0.5, **options: Unpack[Options]) -> Score:
    r"""Pinball (quantile) loss of the q-quantile, target units: $(y - Q)(q - 1\{y < Q\})$.

    Source: Koenker & Bassett 1978; a proper score of the quantile.
    """
    q = check_level(q, "q")

    def items(p: ContinuousPredictive, y: Tensor) -> Tensor:
        gap = y - p.quantile(q)
        return torch.maximum(q * gap, (q - 1) * gap)

    metric = Metric("pinball_loss", f"quantile {q:g}, target units", items)
    return _evaluate(metric, predictive, target, options)


def coverage(predictive: Predictive, target: Any, *, level: float = 0.9, **options: Unpack[Options]) -> Score:
    """Share of targets inside the central interval of `level` (its ends count as inside).

    Where all or none are inside, the bootstrap interval gives way to the exact one for that many sequences.

    Raises:
        ValueError: If the level is not in (0, 1), or the draws cannot resolve it.
    """
    level = check_level(level)

    def items(p: ContinuousPredictive, y: Tensor) -> Tensor:
        return p.distribution.inside(y.double(), level).double()

    definition = f"share inside the central {level:g} interval"
    metric = Metric("coverage", definition, items, share=True)
    return _evaluate(metric, predictive, target, options)


def width(predictive: Predictive, target: Any = None, *, level: float = 0.9, **options: Unpack[Options]) -> Score:
    """Mean width of the central interval of `level`, target units (no target needed)."""
    level = check_level(level)

    def items(p: ContinuousPredictive, _: Tensor | None) -> Tensor:
        low, high = p.interval(level)
        return high - low

    definition = f"mean width of the central {level:g} interval, target units"
    metric = Metric("width", definition, items, need_target=False)
    return _evaluate(metric, predictive, target, options)


def sharpness(predictive: Predictive, target: Any = None, **options: Unpack[Options]) -> Score:
    r"""Root mean predictive variance, target units (no target needed): $\sqrt{\mathrm{mean}\,\sigma^2}$."""
    definition = "root mean predictive variance, target units"

    def items(p: ContinuousPredictive, _: Tensor | None) -> Tensor:
        return p.variance

    metric = Metric("sharpness", definition, items, transform=math.sqrt, need_target=False)
    return _evaluate(metric, predictive, target, options)


def mean_squared_z(predictive: Predictive, target: Any, **options: Unpack[Options]) -> Score:
    r"""Mean of $((y - \mu)/\sigma)^2$: 1 when the spread is right, above 1 when it is too small.

    Source: Pernot 2024 (arXiv:2402.10043), the most reliable of the spread statistics.
    """
    definition = "mean squared standardized error, 1 is right"
    metric = Metric("mean_squared_z", definition, lambda p, y: (p.mean - y) ** 2 / p.variance)
    return _evaluate(metric, predictive, target, options)


def check_continuous(predictive: Any, name: str) -> None:
    """Refuse a class or token predictive where a continuous one is needed."""
    if isinstance(predictive, Predictive) and not isinstance(predictive, ContinuousPredictive):
        raise ValueError(
            f"{name} is about continuous or count targets, but a {type(predictive).__name__} was given. For classes "
            "use nll, accuracy, brier_score or expected_calibration_error."
        )


def _squared(p: ContinuousPredictive, y: Tensor) -> Tensor:
    squares = (p.mean - y) ** 2
    if not bool(torch.isfinite(squares).all()) and bool(torch.isfinite(y).all()):
        row = rows_of(~torch.isfinite(squares))[0]
        raise ValueError(
            f"the squared error of row {row} is beyond the largest {str(squares.dtype).removeprefix('torch.')}. Bring "
            "targets and predictions to a moderate size, or take both in float64: predictive.to(torch.float64)."
        )
    return squares


def _evaluate(metric: Metric, predictive: Predictive, target: Any, options: Options) -> Score:
    check_continuous(predictive, metric.name)
    return evaluate(metric, predictive, target, options)
