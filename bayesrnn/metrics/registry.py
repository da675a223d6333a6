"""Which metrics a report shows for which kind of target, and when a value of each is better."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bayesrnn import metrics
from bayesrnn._checks import check_levels
from bayesrnn.metrics import Score
from bayesrnn.predictive import ClassPredictive, ContinuousPredictive, Predictive, TokenPredictive

Better = Literal["lower", "higher", "near", "neither"]


class Verdict(StrEnum):
    """The verdict from the interval of a difference; for numbers that are neither good nor bad, which is larger."""

    BETTER = "better"
    WORSE = "worse"
    SMALLER = "smaller"
    LARGER = "larger"
    UNDECIDED = "no clear difference"


@dataclass(frozen=True)
class Measure:
    """A metric as a report knows it.

    Attributes:
        key: Machine-readable name: "coverage_90".
        label: Name in words: "coverage of 90 % intervals".
        score: The metric: (predictive, target, **options) to a Score.
        better: When a value is better: "lower", "higher", "near" the ideal, or "neither" (it only describes).
        ideal: The value of a perfect model where better is "near".
        unit: "target", "nats", "share", "target²" or "".
        proper: Whether models may be ranked by it (a proper score).
    """

    key: str
    label: str
    score: Callable[..., Score]
    better: Better
    ideal: float = 0.0
    unit: str = ""
    proper: bool = False

    @property
    def scaled(self) -> bool:
        """Whether a difference makes sense as a share of the reference's value (it has a natural zero far away)."""
        return self.unit in ("target", "target²") or self.key in ("brier_sum", "ppl_mc_micro", "aurc_mean_ties_avg")

    def loss(self, values: Any) -> NDArray[np.float64]:
        """Return values turned so that lower is better (unchanged where a value is neither)."""
        array = np.asarray(values, dtype=float)
        if self.better == "higher":
            return -array
        return np.abs(array - self.ideal) if self.better == "near" else array

    def verdict(self, low: float, high: float) -> Verdict:
        """Return the verdict from the interval of the difference of two losses."""
        if low <= 0 <= high:
            return Verdict.UNDECIDED
        if self.better == "neither":
            return Verdict.SMALLER if high < 0 else Verdict.LARGER
        return Verdict.BETTER if high < 0 else Verdict.WORSE

    @property
    def wish(self) -> str:
        """When a value is better, in words."""
        if self.better == "near":
            return f"near {self.ideal:.3g}"
        return {"lower": "lower", "higher": "higher", "neither": "–"}[self.better]

    def units(self, units: str) -> str:
        """Return the unit of the values where the target is in `units`."""
        if self.unit == "target":
            return units
        if self.unit == "target²":
            return f"{units}²" if units.isalpha() else f"({units})²" if units else ""
        return "" if self.unit == "share" else self.unit


def measures_for(
    predictive: Predictive, levels: Sequence[float] = (0.5, 0.8, 0.95), *, widths: Sequence[float] = (0.9,)
) -> list[Measure]:
    """Return what is worth measuring of a predictive, the score that ranks first.

    Args:
        predictive: Decides the kind of target.
        levels: Levels of the central intervals whose coverage is measured.
        widths: Levels whose mean width and interval score are measured as well.
    """
    if isinstance(predictive, ContinuousPredictive):
        ideals = {
            level: float(predictive.attainable_coverage(level).mean())
            for level in check_levels([*check_levels(levels), *widths])
        }
        return _continuous(ideals, widths)
    if isinstance(predictive, ClassPredictive):
        return _classes()
    if isinstance(predictive, TokenPredictive):
        return _tokens(predictive)
    raise TypeError(f"a Predictive is needed, but a {type(predictive).__name__} was given.")


def _continuous(ideals: Mapping[float, float], widths: Sequence[float]) -> list[Measure]:
    measures = [
        Measure("crps", "CRPS", metrics.crps, "lower", unit="target", proper=True),
        Measure("nll", "negative log-likelihood", metrics.nll, "lower", unit="nats", proper=True),
        Measure("rmse", "root mean squared error", metrics.rmse, "lower", unit="target", proper=True),
        Measure("mae", "mean absolute error", metrics.mae, "lower", unit="target"),
        Measure("bias", "bias (prediction − target)", metrics.bias, "near", unit="target"),
    ]
    for level, ideal in ideals.items():
        name, score = f"{level * 100:g}", partial(metrics.coverage, level=level)
        measures.append(
            Measure(f"coverage_{name}", f"coverage of {name} % intervals", score, "near", ideal=ideal, unit="share")
        )
    for level in sorted(widths):
        name, score = f"{level * 100:g}", partial(metrics.width, level=level)
        measures.append(Measure(f"width_{name}", f"width of {name} % intervals", score, "neither", unit="target"))
        score = partial(metrics.interval_score, level=level)
        label = f"interval score ({name} %)"
        measures.append(Measure(f"interval_score_{name}", label, score, "lower", unit="target", proper=True))
    return [
        *measures,
        Measure("sharpness", "sharpness (rms deviation)", metrics.sharpness, "neither", unit="target"),
        Measure("mean_squared_z", "mean squared z", metrics.mean_squared_z, "near", ideal=1.0),
        Measure("miscalibration_area", "miscalibration area", metrics.miscalibration_area, "lower"),
        Measure("ence10", "error against spread", metrics.expected_normalized_calibration_error, "lower"),
        Measure(
            "aurc_mean_ties_avg", "area under risk-coverage", metrics.area_under_risk_coverage, "lower", unit="target²"
        ),
    ]


def _classes() -> list[Measure]:
    return [
        Measure("nll", "negative log-likelihood", metrics.nll, "lower", unit="nats", proper=True),
        Measure("brier_sum", "Brier score", metrics.brier_score, "lower", proper=True),
        Measure("accuracy", "accuracy", metrics.accuracy, "higher", unit="share"),
        Measure("confidence_gap", "confidence − accuracy", metrics.confidence_gap, "near", unit="share"),
        *_calibration_errors(),
        Measure("ece15_equal_mass", "calibration error (equal mass)", metrics.adaptive_calibration_error, "lower"),
        Measure("ece15_classwise", "classwise calibration error", metrics.classwise_calibration_error, "lower"),
        *_selection(),
        Measure("mean_entropy", "mean entropy", metrics.mean_entropy, "neither", unit="nats"),
        Measure("mutual_information", "mean epistemic part", metrics.mean_mutual_information, "neither", unit="nats"),
    ]


def _tokens(predictive: TokenPredictive) -> list[Measure]:
    measures = [
        Measure("ppl_mc_micro", "perplexity", metrics.perplexity, "lower", proper=True),
        Measure("nll", "negative log-likelihood", metrics.nll, "lower", unit="nats", proper=True),
    ]
    if predictive.confidence is not None and predictive.correct is not None:
        measures.append(Measure("accuracy", "accuracy", metrics.accuracy, "higher", unit="share"))
        gap = "confidence − accuracy"
        measures.append(Measure("confidence_gap", gap, metrics.confidence_gap, "near", unit="share"))
        measures += [*_calibration_errors(), *_selection()]
    if predictive.entropy is not None:
        measures.append(Measure("entropy_gap", "entropy minus surprise", metrics.entropy_gap, "near", unit="nats"))
        measures.append(Measure("mean_entropy", "mean entropy", metrics.mean_entropy, "neither", unit="nats"))
    if predictive.epistemic is not None:
        part = "mean epistemic part"
        measures.append(Measure("mutual_information", part, metrics.mean_mutual_information, "neither", unit="nats"))
    return measures


def _calibration_errors() -> list[Measure]:
    return [
        Measure("ece15_left", "expected calibration error", metrics.expected_calibration_error, "lower"),
        Measure("smece", "smooth calibration error", metrics.smooth_calibration_error, "lower"),
    ]


def _selection() -> list[Measure]:
    return [
        Measure(
            "aurc_mean_ties_avg", "area under risk-coverage", metrics.area_under_risk_coverage, "lower", unit="share"
        ),
        Measure("error_auroc", "AUROC of finding errors", metrics.error_auroc, "higher"),
    ]
