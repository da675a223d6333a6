"""Does the predicted spread match the error: bins of equal size along the predicted standard deviation."""

from dataclasses import dataclass
from typing import Any, Unpack

import numpy as np
import torch
from torch import Tensor

from bayesrnn._checks import check_whole
from bayesrnn.metrics._reliability import equal_mass_bins
from bayesrnn.metrics.metric import Metric, evaluate
from bayesrnn.metrics.pairs import pair
from bayesrnn.metrics.regression import check_continuous
from bayesrnn.metrics.score import Array, Options, Score
from bayesrnn.predictive import ContinuousPredictive, Predictive


@dataclass(frozen=True, eq=False)
class SpreadBins:
    """Root mean predicted variance against root mean squared error in bins of (nearly) equal size."""

    count: Array
    predicted: Array
    observed: Array


def spread_bins(predictive: Predictive, target: Any, *, bins: int = 10, **options: Unpack[Options]) -> SpreadBins:
    """Return predicted spread and observed error by bin, for the error-against-spread picture."""
    check_continuous(predictive, "spread_bins")
    pairs = pair(predictive, target, options)
    return _bins(pairs.take(_items(pairs.predictive, pairs.target)), bins)


def expected_normalized_calibration_error(
    predictive: Predictive, target: Any, *, bins: int = 10, **options: Unpack[Options]
) -> Score:
    r"""Mean over bins of |RMSE - root mean variance| / root mean variance (ENCE).

    Bins hold equally many targets in the order of predicted standard deviation; equal deviations share a bin, so a
    constant one gives a single bin. The floor simulates Gaussian errors of the predicted size.

    Source: Levi et al. 2022 (arXiv:1905.11659), eq. 8; its floor grows as sqrt(bins / n): Pernot, arXiv:2305.11905.
    """
    check_continuous(predictive, "expected_normalized_calibration_error")
    check_whole(bins, "bins")
    seed = options.get("seed", 0)

    def reduce(values: Array) -> float:
        binned = _bins(values, bins)
        return float((np.abs(binned.observed - binned.predicted) / binned.predicted).mean())

    def floor(values: Array) -> float:
        rng = np.random.default_rng(seed)
        variance = values[:, 1]
        errors = (np.column_stack([variance * rng.chisquare(1, len(values)), variance]) for _ in range(100))
        return float(np.mean([reduce(simulated) for simulated in errors]))

    metric = Metric(
        "expected_normalized_calibration_error",
        f"{bins} equal-mass bins of predicted std, relative",
        _items,
        reduce=reduce,
        floor=floor,
    )
    return evaluate(metric, predictive, target, options)


def _items(p: ContinuousPredictive, y: Any) -> Tensor:
    return torch.stack([(p.mean - y) ** 2, p.variance], -1)


def _bins(values: Array, bins: int) -> SpreadBins:
    if len(values) < bins:
        raise ValueError(f"{bins} bins need at least {bins} targets, but {len(values)} were given: lower bins=.")
    if not np.isfinite(values[:, 1]).all() or (values[:, 1] <= 0).any():
        raise ValueError("a predicted variance is zero or infinite, so errors cannot be measured in units of it.")
    which = equal_mass_bins(values[:, 1], bins)
    count = np.bincount(which)
    mean = np.stack([np.bincount(which, weights=values[:, k]) for k in (1, 0)]) / count
    return SpreadBins(count.astype(np.float64), np.sqrt(mean[0]), np.sqrt(mean[1]))
