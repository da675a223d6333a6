"""Smooth calibration error: kernel smoothing with the bandwidth that fixes itself."""

from typing import Any, Unpack

import numpy as np

from bayesrnn.metrics._reliability import check_classes, top_label_items
from bayesrnn.metrics.metric import Metric, evaluate
from bayesrnn.metrics.score import Array, Options, Score
from bayesrnn.predictive import Predictive

_GRID = 1024
_SIMULATIONS = 50


def smooth_calibration_error(predictive: Predictive, target: Any = None, **options: Unpack[Options]) -> Score:
    r"""Smooth calibration error (smECE) of the most probable class: no bins, no edges, nothing to choose.

    $\mathrm{smECE}_\sigma = \int_0^1 |\frac1n\sum_i (y_i - c_i) K_\sigma(c_i, t)|\,dt$ with the Gaussian kernel
    reflected at 0 and 1, at the $\sigma$ where $\mathrm{smECE}_\sigma = \sigma$. The floor is simulated.

    Source: Błasiok & Nakkiran 2023 (arXiv:2309.12236), definitions 4 and 5.
    """
    check_classes(predictive, "smooth_calibration_error")
    seed = options.get("seed", 0)

    def floor(values: Array) -> float:
        rng = np.random.default_rng(seed)
        confidence = values[:, 0]
        hits = ((rng.random(len(confidence)) < confidence).astype(np.float64) for _ in range(_SIMULATIONS))
        return float(np.mean([smooth_error(np.column_stack([confidence, hit])) for hit in hits]))

    metric = Metric(
        "smooth_calibration_error",
        "smECE, reflected Gaussian kernel, top label",
        top_label_items,
        reduce=smooth_error,
        floor=floor,
    )
    return evaluate(metric, predictive, target, options)


def smooth_error(values: Array) -> float:
    """Return smECE of (confidence, correct) pairs (n, 2), to the grid's resolution of 1/1024.

    The reflected Gaussian kernel is the heat kernel of an interval with closed ends, which cosines diagonalize:
    residuals are put on a grid once, and each bandwidth costs two cosine transforms.
    """
    from scipy.fft import dct, idct

    position = np.clip(values[:, 0], 0.0, 1.0) * _GRID - 0.5
    left = np.floor(position).astype(np.int64)
    share = position - left
    residual = (values[:, 1] - values[:, 0]) / len(values)
    density = np.zeros(_GRID)
    np.add.at(density, np.clip(left, 0, _GRID - 1), residual * (1 - share))
    np.add.at(density, np.clip(left + 1, 0, _GRID - 1), residual * share)
    waves, frequency = dct(density, type=2), np.pi * np.arange(_GRID)

    def error(bandwidth: float) -> float:
        return float(np.abs(idct(waves * np.exp(-0.5 * (frequency * bandwidth) ** 2), type=2)).sum())

    low, high = 0.0, 1.0  # error(low) > low and error(high) <= high: the error falls as the bandwidth grows
    if error(1.0 / _GRID) <= 1.0 / _GRID:
        return error(0.5 / _GRID)
    for _ in range(17):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if error(middle) > middle else (low, middle)
    return high
