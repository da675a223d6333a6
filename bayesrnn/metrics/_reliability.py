"""Are class probabilities right: binned calibration errors, with one convention for the edges."""

import math
from dataclasses import dataclass
from typing import Any, Unpack

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bayesrnn._checks import check_whole
from bayesrnn.metrics.metric import Metric, evaluate
from bayesrnn.metrics.pairs import pair
from bayesrnn.metrics.score import Array, Options, Score
from bayesrnn.predictive import ClassPredictive, ContinuousPredictive, Predictive, TokenPredictive


@dataclass(frozen=True, eq=False)
class Reliability:
    """Bins of a reliability diagram; empty bins are left out."""

    count: Array
    confidence: Array
    accuracy: Array
    lower: Array
    upper: Array


def reliability(
    predictive: Predictive, target: Any = None, *, bins: int = 15, equal_mass: bool = False, **options: Unpack[Options]
) -> Reliability:
    """Return count, mean confidence and accuracy of the most probable class in each bin of confidence."""
    check_classes(predictive, "reliability")
    pairs = pair(predictive, target, options)
    values = pairs.take(top_label_items(pairs.predictive, pairs.target))
    which = bin_index(values[:, 0], bins, equal_mass=equal_mass, digits=edge_digits(predictive))
    count = np.bincount(which, minlength=bins)
    used = count > 0
    confidence, accuracy = (
        np.bincount(which, weights=values[:, k], minlength=bins)[used] / count[used] for k in (0, 1)
    )
    if equal_mass:
        lower = np.array([values[which == b, 0].min() for b in np.flatnonzero(used)])
        upper = np.array([values[which == b, 0].max() for b in np.flatnonzero(used)])
    else:
        lower, upper = np.flatnonzero(used) / bins, (np.flatnonzero(used) + 1) / bins
    return Reliability(count[used].astype(np.float64), confidence, accuracy, lower, upper)


def expected_calibration_error(
    predictive: Predictive, target: Any = None, *, bins: int = 15, **options: Unpack[Options]
) -> Score:
    r"""Expected calibration error of the most probable class, equal-width bins: $\sum_b \frac{n_b}{n}|acc_b - conf_b|$.

    Bins are [k/bins, (k+1)/bins), the last closed, with exact edges. A perfectly calibrated model does not score 0:
    `floor=True` gives $\sqrt{2/\pi}\,n^{-1}\sum_b\sqrt{\sum_{i \in b} c_i(1-c_i)}$, what it scores on average.

    Source: Guo et al. 2017 (arXiv:1706.04599), eq. 3.
    """
    return _binned("expected_calibration_error", f"ece{bins}_left: top label", predictive, target, bins, options)


def adaptive_calibration_error(
    predictive: Predictive, target: Any = None, *, bins: int = 15, **options: Unpack[Options]
) -> Score:
    """Expected calibration error of the most probable class with bins of equal mass (ties share a bin).

    Source: Nixon et al. 2019 (arXiv:1904.01685), section 4, for the top label.
    """
    definition = f"ece{bins}_equal_mass: top label"
    return _binned("adaptive_calibration_error", definition, predictive, target, bins, options, equal_mass=True)


def classwise_calibration_error(
    predictive: Predictive, target: Any, *, bins: int = 15, **options: Unpack[Options]
) -> Score:
    """Mean over classes of the calibration error of that class's probability, equal-width bins.

    Source: Kull et al. 2019 (arXiv:1910.12656), eq. 3.
    """
    check_classes(predictive, "classwise_calibration_error", tokens=False)
    check_whole(bins, "bins")
    digits = edge_digits(predictive)

    def items(p: ClassPredictive, y: Tensor) -> Tensor:
        return torch.cat([p.probabilities, y[..., None].double()], -1)

    def per_class(values: Array, what: Any) -> float:
        classes = values.shape[1] - 1
        hits = (values[:, -1:] == np.arange(classes)).astype(np.float64)
        return float(np.mean([what(values[:, k], hits[:, k]) for k in range(classes)]))

    def error(p: Array, hit: Array) -> float:
        return _gap(p, hit, bin_index(p, bins, digits=digits))

    def floor(p: Array, _: Array) -> float:
        return _null(p, bin_index(p, bins, digits=digits))

    metric = Metric(
        "classwise_calibration_error",
        f"ece{bins}_left: mean over classes",
        items,
        reduce=lambda values: per_class(values, error),
        floor=lambda values: per_class(values, floor),
    )
    return evaluate(metric, predictive, target, options)


def top_label_calibration_error(
    predictive: Predictive, target: Any, *, bins: int = 15, **options: Unpack[Options]
) -> Score:
    r"""Calibration error of the confidence given which class is predicted: $\sum_k \frac{n_k}{n} ECE_k$.

    Source: Gupta & Ramdas 2022 (arXiv:2107.08353), top-label calibration.
    """
    check_classes(predictive, "top_label_calibration_error", tokens=False)
    check_whole(bins, "bins")
    digits = edge_digits(predictive)

    def items(p: ClassPredictive, y: Tensor) -> Tensor:
        return torch.cat([top_label_items(p, y), p.mode[..., None].double()], -1)

    def cells(values: Array) -> NDArray[np.int64]:
        return bin_index(values[:, 0], bins, digits=digits) + bins * values[:, 2].astype(np.int64)

    metric = Metric(
        "top_label_calibration_error",
        f"ece{bins}_left: given the predicted class",
        items,
        reduce=lambda values: _gap(values[:, 0], values[:, 1], cells(values)),
        floor=lambda values: _null(values[:, 0], cells(values)),
    )
    return evaluate(metric, predictive, target, options)


def confidence_gap(predictive: Predictive, target: Any = None, **options: Unpack[Options]) -> Score:
    """Mean confidence minus accuracy: positive when the model is overconfident."""
    check_classes(predictive, "confidence_gap")

    def items(p: Any, y: Any) -> Tensor:
        both = top_label_items(p, y)
        return both[..., 0] - both[..., 1]

    metric = Metric("confidence_gap", "mean confidence minus accuracy", items)
    return evaluate(metric, predictive, target, options)


def top_label_items(p: Any, y: Any) -> Tensor:
    """Return (confidence, correct) of each target, (B, ..., 2)."""
    if isinstance(p, TokenPredictive):
        if p.confidence is None or p.correct is None:
            raise ValueError(
                "this token predictive did not keep confidence and correct, so its calibration cannot be binned: "
                "compute it with these statistics."
            )
        return torch.stack([p.confidence.double(), p.correct.double()], -1)
    confidence = p.probabilities.amax(-1)
    return torch.stack([confidence, (p.mode == p.class_index(y)).double()], -1)


def bin_index(p: Array, bins: int, *, equal_mass: bool = False, digits: int = 12) -> NDArray[np.int64]:
    """Return the bin of each probability: [k/bins, (k+1)/bins), the last closed; or bins of equal mass."""
    check_whole(bins, "bins")
    if equal_mass:
        return equal_mass_bins(p, bins)
    # rounding first puts 0.3 = 3/10, whatever its last bits, at the edge where it belongs
    return np.clip(np.floor(np.round(p * bins, digits)), 0, bins - 1).astype(np.int64)


def equal_mass_bins(values: Array, bins: int) -> NDArray[np.int64]:
    """Return bins of (nearly) equal size along the values; equal values share a bin, and no bin is empty."""
    ordered = np.sort(values)
    cuts = ordered[(np.arange(1, bins) * len(values)) // bins]
    return np.unique(np.searchsorted(cuts, values, side="right"), return_inverse=True)[1]


def edge_digits(predictive: Any) -> int:
    """Return the decimals to which a probability times bins is known: float32 cannot tell 0.7 from 0.69999999."""
    return 12 if predictive.dtype == torch.float64 else 5


def check_classes(predictive: Any, name: str, *, tokens: bool = True) -> None:
    """Refuse a predictive that has no class probabilities."""
    if isinstance(predictive, ContinuousPredictive):
        raise ValueError(
            f"{name} is about classes, but a predictive of a continuous target was given. Use coverage, crps, "
            "miscalibration_area or pit."
        )
    if isinstance(predictive, TokenPredictive) and not tokens:
        raise ValueError(
            f"{name} needs every class's probability, which a token predictive does not keep. Use nll, "
            "expected_calibration_error or smooth_calibration_error."
        )


def _binned(
    name: str,
    definition: str,
    predictive: Predictive,
    target: Any,
    bins: int,
    options: Options,
    *,
    equal_mass: bool = False,
) -> Score:
    check_classes(predictive, name)
    check_whole(bins, "bins")
    digits = edge_digits(predictive)

    def cells(values: Array) -> NDArray[np.int64]:
        return bin_index(values[:, 0], bins, equal_mass=equal_mass, digits=digits)

    metric = Metric(
        name,
        definition,
        top_label_items,
        reduce=lambda values: _gap(values[:, 0], values[:, 1], cells(values)),
        floor=lambda values: _null(values[:, 0], cells(values)),
    )
    return evaluate(metric, predictive, target, options)


def _gap(confidence: Array, correct: Array, which: NDArray[np.int64]) -> float:
    return float(np.abs(np.bincount(which, weights=correct - confidence)).sum() / len(which))


def _null(confidence: Array, which: NDArray[np.int64]) -> float:
    variance = np.bincount(which, weights=confidence * (1 - confidence)).clip(min=0)
    return math.sqrt(2 / math.pi) / len(which) * float(np.sqrt(variance).sum())
