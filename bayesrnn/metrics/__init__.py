"""Metrics: each takes (predictive, target), returns a Score with its errors on request."""

from bayesrnn.metrics._crps import crps_values, fair_crps, gaussian_crps, gaussian_mixture_crps
from bayesrnn.metrics._pit import Pit, interval_reliability, miscalibration_area, pit
from bayesrnn.metrics._reliability import (
    Reliability,
    adaptive_calibration_error,
    classwise_calibration_error,
    confidence_gap,
    expected_calibration_error,
    reliability,
    top_label_calibration_error,
)
from bayesrnn.metrics.classes import (
    BrierDecomposition,
    accuracy,
    brier_decomposition,
    brier_score,
    mean_entropy,
    mean_mutual_information,
    ranked_probability_score,
    set_coverage,
    set_size,
)
from bayesrnn.metrics.confusion import ConfusionMatrix, confusion_matrix
from bayesrnn.metrics.paired import paired_difference
from bayesrnn.metrics.paths import energy_score, variogram_score
from bayesrnn.metrics.regression import (
    bias,
    coverage,
    crps,
    interval_score,
    mae,
    mean_squared_z,
    pinball_loss,
    rmse,
    sharpness,
    width,
)
from bayesrnn.metrics.score import Options, Score
from bayesrnn.metrics.selective import RiskCoverage, area_under_risk_coverage, error_auroc, risk_coverage, shift_auroc
from bayesrnn.metrics.smooth import smooth_calibration_error
from bayesrnn.metrics.spread import SpreadBins, expected_normalized_calibration_error, spread_bins
from bayesrnn.metrics.tokens import bits_per_token, deterministic_perplexity, entropy_gap, nll, perplexity

__all__ = [
    "BrierDecomposition",
    "ConfusionMatrix",
    "Options",
    "Pit",
    "Reliability",
    "RiskCoverage",
    "Score",
    "SpreadBins",
    "accuracy",
    "adaptive_calibration_error",
    "area_under_risk_coverage",
    "bias",
    "bits_per_token",
    "brier_decomposition",
    "brier_score",
    "classwise_calibration_error",
    "confidence_gap",
    "confusion_matrix",
    "coverage",
    "crps",
    "crps_values",
    "deterministic_perplexity",
    "energy_score",
    "entropy_gap",
    "error_auroc",
    "expected_calibration_error",
    "expected_normalized_calibration_error",
    "fair_crps",
    "gaussian_crps",
    "gaussian_mixture_crps",
    "interval_reliability",
    "interval_score",
    "mae",
    "mean_entropy",
    "mean_mutual_information",
    "mean_squared_z",
    "miscalibration_area",
    "nll",
    "paired_difference",
    "perplexity",
    "pinball_loss",
    "pit",
    "ranked_probability_score",
    "reliability",
    "risk_coverage",
    "rmse",
    "set_coverage",
    "set_size",
    "sharpness",
    "shift_auroc",
    "smooth_calibration_error",
    "spread_bins",
    "top_label_calibration_error",
    "variogram_score",
    "width",
]
