"""One paired difference: a metric of two predictives on the same targets."""

from dataclasses import dataclass
from typing import Any

from bayesrnn.metrics import Score
from bayesrnn.metrics.paired import difference
from bayesrnn.metrics.registry import Measure, Verdict
from bayesrnn.report.format import capital, fixed, number, percent, points, span


@dataclass(frozen=True)
class Difference:
    """A metric of one predictive against the reference, with a paired bootstrap interval over sequences.

    Attributes:
        name: Which predictive.
        reference: What it is compared with.
        measure: The metric.
        score: Its value.
        reference_score: The reference's value.
        value: Value minus the reference's value.
        interval: Of that difference.
        loss: The same difference turned so that below zero is better (distance from the ideal for coverages).
        loss_interval: Of that.
        level: Level of the intervals.
    """

    name: str
    reference: str
    measure: Measure
    score: Score
    reference_score: Score
    value: float
    interval: tuple[float, float]
    loss: float
    loss_interval: tuple[float, float]
    level: float

    @property
    def verdict(self) -> Verdict:
        """Which predictive is better, judged by the interval of the loss difference."""
        return self.measure.verdict(*self.loss_interval)

    @property
    def change(self) -> tuple[float, tuple[float, float]]:
        """The change that `verdict` judges, with its interval; for an ideal such as 80 %, of the distance from it."""
        near = self.measure.better == "near"
        return (self.loss, self.loss_interval) if near else (self.value, self.interval)

    @property
    def relative(self) -> float:
        """The loss difference as a share of `base`."""
        return self.loss / self.base

    @property
    def base(self) -> float:
        """What a difference is measured in: the reference's value, or 1 (one nat, 100 points) where 0 is near."""
        value = abs(self.reference_score.value)
        return value if self.measure.scaled and value > 0 else 1.0

    def sentence(self, units: str = "") -> str:
        """Return the difference in words."""
        unit = self.measure.units(units)
        unit = f" {unit}" if unit else ""
        value, interval = self.change
        if self.measure.unit == "share":
            values = f"{percent(self.score.value)} against {percent(self.reference_score.value)}"
            change = f"{points(value)} {span(*interval, scale=100, digits=2, sign=True)}"
        else:
            values = f"{number(self.score.value)}{unit} against {number(self.reference_score.value)}{unit}"
            change = f"{number(value, 2, sign=True)}{unit} {span(*interval, digits=2, sign=True)}"
        if self.measure.better == "near":
            change += f" in the distance from {self.measure.ideal:.3g}"
        if self.verdict is Verdict.UNDECIDED:
            return (
                f"In {self.measure.label} there is no clear difference between {self.name} and {self.reference}: "
                f"{values}, a difference of {change}."
            )
        start = f"{capital(self.name)} is {self.verdict} than {self.reference}"
        return f"{start} in {self.measure.label}: {values}, {change}."

    def record(self) -> dict[str, Any]:
        """Return the difference as one row of a table."""
        ends = self.score.interval or (None, None)
        return {
            "predictive": self.name,
            "reference": self.reference,
            "metric": self.measure.key,
            "better": self.measure.wish,
            "value": self.score.value,
            "value_low": ends[0],
            "value_high": ends[1],
            "reference_value": self.reference_score.value,
            "difference": self.value,
            "low": self.interval[0],
            "high": self.interval[1],
            "relative": self.relative,
            "verdict": str(self.verdict),
            "standard_error": self.score.standard_error,
            "corrected": self.score.corrected,
            "n": self.score.n,
            "sequences": self.score.sequences,
            "draws": self.score.draws,
            "definition": self.score.definition,
        }

    def cells(self) -> tuple[str, ...]:
        """Return the difference as the cells of a line of text."""
        moved, ends = self.change
        change, interval = fixed(moved, ends, sign=True)
        verdict = "–" if self.verdict is Verdict.UNDECIDED else str(self.verdict)
        return (
            self.measure.label,
            number(self.score.value),
            number(self.reference_score.value),
            change,
            interval,
            verdict,
        )

    def row(self, *, named: bool) -> dict[str, Any]:
        """Return the difference as a line of a page's table; `named` says of which predictive."""
        moved, ends = self.change
        error = self.score.standard_error
        return {
            "metric": self.measure.label,
            **({"predictive": self.name} if named else {}),
            "better": self.measure.wish,
            "value": number(self.score.value, 4),
            "reference": number(self.reference_score.value, 4),
            "difference": f"{number(moved, 3, sign=True)} {span(*ends, sign=True)}",
            "error of finite draws": "" if error is None else number(error, 2),
            "verdict": str(self.verdict),
        }


def paired(name: str, reference: str, measure: Measure, score: Score, reference_score: Score) -> Difference:
    """Return the paired difference of two scores with bootstrap replicates from the same resamples.

    Raises:
        ValueError: If the scores are not of the same targets.
    """
    value, interval, _ = difference(score, reference_score)
    loss, loss_interval, _ = difference(score, reference_score, measure.loss)
    level = score.level or 0.95
    return Difference(name, reference, measure, score, reference_score, value, interval, loss, loss_interval, level)
