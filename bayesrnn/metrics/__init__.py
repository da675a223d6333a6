"""Metrics: each takes (predictive, target), returns a Score with its errors on request."""

from .classes import (
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
from .crps import crps_values, fair_crps, gaussian_crps, gaussian_mixture_crps
from .likelihood import nll
from .paired import paired_difference
from .regression import (
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
from .reliability import (
    Reliability,
    adaptive_calibration_error,
    classwise_calibration_error,
    confidence_gap,
    expected_calibration_error,
    reliability,
    top_label_calibration_error,
)
from .score import Options, Score
from .selective import RiskCoverage, area_under_risk_coverage, error_auroc, risk_coverage, shift_auroc
from .smooth import smooth_calibration_error
from .spread import SpreadBins, expected_normalized_calibration_error, spread_bins
from .tokens import bits_per_token, deterministic_perplexity, entropy_gap, perplexity
from .transform import Pit, interval_reliability, miscalibration_area, pit

__all__ = [
    "BrierDecomposition",
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
    "coverage",
    "crps",
    "crps_values",
    "deterministic_perplexity",
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
    "width",
]
