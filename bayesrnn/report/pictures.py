"""Which pictures a calibration report shows, and what it says of each."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from bayesrnn import plots
from bayesrnn.metrics import Score
from bayesrnn.metrics.bootstrap import FEWEST_SEQUENCES
from bayesrnn.predictive import ClassPredictive, ContinuousPredictive, MomentsDistribution, Predictive, TokenPredictive
from bayesrnn.report.exhibit import Picture
from bayesrnn.report.format import capital, number, percent, span

Tables = Mapping[str, list[dict[str, Any]]]


def continuous_pictures(
    predictive: ContinuousPredictive,
    target: Any,
    scores: Mapping[str, Score],
    *,
    level: float,
    units: str,
    groups: Sequence[Any] | Tensor | None,
    options: Mapping[str, Any],
) -> dict[str, Picture]:
    """Return the pictures of a continuous or count target, by name.

    Args:
        predictive: What was judged.
        target: What happened.
        scores: Score of each measure, by its key.
        level: Level of the intervals spoken about.
        units: Units of the target.
        groups: Group of each row.
        options: mask, lengths, nan, sequences and seed that were scored with.
    """
    known: dict[str, Picture] = {}

    def add(name: str, plot: Any, text: str, *more: Any, **own: Any) -> None:
        known[name] = Picture.of(plot, text, predictive, target, *more, **own, **options)

    cover = scores.get(f"coverage_{level * 100:g}")
    intervals = cover is not None and not isinstance(predictive.distribution, MomentsDistribution)
    if cover is not None and intervals:
        text = f"The {level * 100:g} % intervals hold {percent(cover.value)}"
        text += f" {span(*cover.interval, scale=100)}" if cover.interval else ""
        text += " of the targets. Below the diagonal: too narrow."
        add("interval_reliability", plots.interval_reliability, text, level=level)
        text = "PIT histogram. Flat if calibrated; a U says too narrow, a hump too wide, a slope biased."
        add("pit_histogram", plots.pit_histogram, text)
        add("pit_ecdf", plots.pit_ecdf, "The same, cumulated: a calibrated model stays inside the gray band.")
        text = "Coverage of central intervals against their mean width."
        add("coverage_width", plots.coverage_width, text, units=units)
    if "mean_squared_z" in scores:
        ratio = number(scores["mean_squared_z"].value ** 0.5, 2)
        text = f"Error against predicted spread: errors are {ratio} predicted standard deviations (root mean square)."
        add("error_against_spread", plots.error_against_spread, text, units=units)
    if "aurc_mean_ties_avg" in scores:
        text = "Error of the targets kept when the least certain are refused first."
        add("risk_coverage", plots.risk_coverage, text, units=units)
    if intervals and len(predictive.shape) > 1 and predictive.shape[1] > 1:
        text = f"Coverage of the {level * 100:g} % intervals by steps ahead."
        add("coverage_by_horizon", plots.coverage_by_horizon, text, level=level)
    if intervals and groups is not None:
        text = f"Coverage of the {level * 100:g} % intervals by group."
        add("coverage_by_group", plots.coverage_by_group, text, groups, level=level)
    return known


def confidence_pictures(
    predictive: Predictive, target: Any, scores: Mapping[str, Score], options: Mapping[str, Any]
) -> dict[str, Picture]:
    """Return the pictures of classes, or of tokens that kept their confidence, by name."""
    if isinstance(predictive, TokenPredictive):
        if predictive.confidence is None or predictive.correct is None:
            return {}
        target = None
    gap, error = scores.get("confidence_gap"), scores.get("ece15_left")
    text = "Accuracy against confidence."
    if gap is not None and error is not None:
        text = (
            f"Accuracy against confidence: the gap is {100 * gap.value:+.1f} points on average, the expected "
            f"calibration error {number(error.value, 2)}. Below the diagonal: overconfident."
        ).replace("-", "−")
    risk = "Share of wrong answers among those kept when the least certain are refused first."
    counts = "How many targets have which confidence, right and wrong."
    pictures = {
        "reliability": Picture.of(plots.reliability_diagram, text, predictive, target, **options),
        "confidence_histogram": Picture.of(plots.confidence_histogram, counts, predictive, target, **options),
        "risk_coverage": Picture.of(plots.risk_coverage, risk, predictive, target, **options),
    }
    if isinstance(predictive, ClassPredictive):
        taken = "Which class is predicted for the targets of each class: shares of a row."
        pictures["confusion_matrix"] = Picture.of(plots.confusion_matrix, taken, predictive, target, **options)
    return pictures


def part_pictures(tables: Tables, *, tokens: bool) -> dict[str, Picture]:
    """Return the pictures of the scores of parts of the data (classes and tokens), by name."""
    known: dict[str, Picture] = {}
    names = {"horizon": "position", "group": "group", "frequency": "frequency"}
    columns = [("confidence_gap", "confidence − accuracy", 0.0)]
    columns += [("nll", "surprise [nats]", None)] if tokens else []  # type: ignore[list-item]
    for key, parts in tables.items():
        rows = [row for row in parts if row["sequences"] >= FEWEST_SEQUENCES]
        left = [row["part"] for row in parts if row["sequences"] < FEWEST_SEQUENCES]
        small = f" Left out, with fewer than {FEWEST_SEQUENCES} sequences: {', '.join(left)}." if left else ""
        for column, label, ideal in columns:
            if not rows or column not in rows[0]:
                continue
            bounded = all(f"{column}_low" in row for row in rows)
            ends = [[row[f"{column}_{end}"] for row in rows] if bounded else None for end in ("low", "high")]
            known[f"{column}_by_{key}"] = Picture.of(
                plots.score_by_part,
                f"{capital(label)} by {names[key]}, with bootstrap intervals.{small}",
                [row["part"] for row in rows],
                [row[column] for row in rows],
                *ends,
                ideal=ideal,
                off=[row["off"] for row in rows] if ideal is not None else None,
                title=f"{capital(label.split(' [')[0])} by {names[key]}",
                xlabel="occurrences of the token" if key == "frequency" else names[key],
                ylabel=label,
            )
    return known
