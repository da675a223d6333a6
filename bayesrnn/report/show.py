"""A calibration report shown: its pictures and its page."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from bayesrnn import plots
from bayesrnn.predictive import ClassPredictive, ContinuousPredictive, MomentsDistribution, TokenPredictive
from bayesrnn.report.page import Page, number, percent, span

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from bayesrnn.report.calibration import CalibrationReport

__all__ = ["page", "pictures"]

Drawer = Callable[[Any], "Axes"]
Found = dict[str, tuple[Drawer, str]]


def pictures(report: "CalibrationReport") -> Found:
    """Return what can be drawn: name → (function of an Axes, what it shows in words)."""
    predictive = report.predictive
    if isinstance(predictive, ContinuousPredictive):
        found = _continuous(report)
    elif isinstance(predictive, ClassPredictive):
        found = {**_confidence(report), **_parts(report)}
    else:
        kept = predictive.confidence is not None and predictive.correct is not None  # type: ignore[attr-defined]
        found = {**(_confidence(report) if kept else {}), **_parts(report)}
    return found


def page(report: "CalibrationReport", images: Mapping[str, bytes], said: Mapping[str, str]) -> Page:
    """Return the page, with pictures that are drawn already."""
    result = Page(report.title)
    for finding in report.findings:
        result.say(finding.text, finding.tone)
    facts = report.facts
    result.facts(
        f"{facts['targets']} targets of {facts['sequences']} sequences · {facts['made by']} · intervals: "
        f"{100 * facts['bootstrap level']:g} % bootstrap over whole sequences, seed {facts['bootstrap seed']}."
    )
    if report.warnings:
        result.section("Before you trust these numbers")
        for warning in report.warnings:
            result.say(warning, "warn")
    if images:
        result.section("Pictures")
        for name, data in images.items():
            result.picture(data, said[name], said[name])
    result.section(
        "Every figure",
        "Rank models by the scores (CRPS, likelihood, Brier); the calibration numbers say what to repair, and mean "
        "nothing below what a calibrated model of this size would score.",
    )
    result.table([_row(report, m) for m in report.measures])
    for name, title in (("horizon", _step_word(report)), ("group", "By group"), ("frequency", "By frequency")):
        if name in report.tables:
            rows = [_part_row(row, name) for row in report.tables[name]]
            result.section(title).table(rows, folded=f"All {len(rows)} rows" if len(rows) > 12 else "")
    if report.notes:
        result.section("What is missing, and why")
        for note in report.notes:
            result.text(note)
    definitions = [{"figure": m.label, "definition": report.scores[m.key].definition} for m in report.measures]
    return result.section("Definitions").table(definitions, folded="What exactly each figure is")


def _continuous(report: "CalibrationReport") -> Found:
    given, options, units = (report.predictive, report.target), dict(report.options), report.units
    level, scores = report.level, report.scores
    found: Found = {}
    cover = scores.get(f"coverage_{level * 100:g}")
    moments = isinstance(report.predictive.distribution, MomentsDistribution)  # type: ignore[attr-defined]
    if cover is not None and not moments:
        text = f"The {level * 100:g} % intervals hold {percent(cover.value)}"
        text += f" {span(*cover.interval, scale=100)}" if cover.interval else ""
        draw = partial(_on, plots.interval_reliability, *given, level=level, **options)
        found["interval_reliability"] = (draw, f"{text} of the targets. Below the diagonal: too narrow.")
        words = "Flat if calibrated; a U says too narrow, a hump too wide, a slope biased."
        found["pit_histogram"] = (partial(_on, plots.pit_histogram, *given, **options), f"PIT histogram. {words}")
        draw = partial(_on, plots.pit_ecdf, *given, **options)
        found["pit_ecdf"] = (draw, "The same, cumulated: a calibrated model stays inside the gray band.")
        draw = partial(_on, plots.coverage_width, *given, units=units, **options)
        found["coverage_width"] = (draw, "Coverage of central intervals against their mean width.")
    if "mean_squared_z" in scores:
        draw = partial(_on, plots.error_against_spread, *given, units=units, **options)
        ratio = number(scores["mean_squared_z"].value ** 0.5, 2)
        say = f"Error against predicted spread: errors are {ratio} predicted standard deviations (root mean square)."
        found["error_against_spread"] = (draw, say)
    if "aurc_mean_ties_avg" in scores:
        draw = partial(_on, plots.risk_coverage, *given, units=units, **options)
        found["risk_coverage"] = (draw, "Error of the targets kept when the least certain are refused first.")
    if "horizon" in report.tables and not moments:
        draw = partial(_on, plots.coverage_by_horizon, *given, level=level, **options)
        found["coverage_by_horizon"] = (draw, f"Coverage of the {level * 100:g} % intervals by steps ahead.")
    if report.labels is not None and "group" in report.tables and not moments:
        draw = partial(_on, plots.coverage_by_group, *given, report.labels, level=level, **options)
        found["coverage_by_group"] = (draw, f"Coverage of the {level * 100:g} % intervals by group.")
    return found


def _confidence(report: "CalibrationReport") -> Found:
    predictive, options = report.predictive, dict(report.options)
    given = (predictive, None if isinstance(predictive, TokenPredictive) else report.target)
    gap, error = report.scores.get("confidence_gap"), report.scores.get("ece15_left")
    text = "Accuracy against confidence."
    if gap is not None and error is not None:
        text = (
            f"Accuracy against confidence: the gap is {100 * gap.value:+.1f} points on average, the expected "
            f"calibration error {number(error.value, 2)}. Below the diagonal: overconfident."
        ).replace("-", "−")
    found: Found = {"reliability": (partial(_on, plots.reliability_diagram, *given, **options), text)}
    draw = partial(_on, plots.confidence_histogram, *given, **options)
    found["confidence_histogram"] = (draw, "How many targets have which confidence, right and wrong.")
    draw = partial(_on, plots.risk_coverage, *given, **options)
    found["risk_coverage"] = (draw, "Share of wrong answers among those kept when the least certain are refused first.")
    return found


def _parts(report: "CalibrationReport") -> Found:
    found: Found = {}
    names = {"horizon": "position", "group": "group", "frequency": "frequency"}
    for key, rows in report.tables.items():
        for column, label, ideal in (
            ("confidence_gap", "confidence − accuracy", 0.0),
            ("nll", "surprise [nats]", None),
        ):
            if column not in rows[0] or (column == "nll" and not isinstance(report.predictive, TokenPredictive)):
                continue
            bounded = all(f"{column}_low" in row for row in rows)
            draw = partial(
                _on,
                plots.score_by_part,
                [row["part"] for row in rows],
                [row[column] for row in rows],
                [row[f"{column}_low"] for row in rows] if bounded else None,
                [row[f"{column}_high"] for row in rows] if bounded else None,
                ideal=ideal,
                off=[row["off"] for row in rows] if ideal is not None else None,
                title=f"{label.split(' [')[0].capitalize()} by {names[key]}",
                xlabel="occurrences of the token" if key == "frequency" else names[key],
                ylabel=label,
            )
            found[f"{column}_by_{key}"] = (draw, f"{label.capitalize()} by {names[key]}, with bootstrap intervals.")
    return found


def _row(report: "CalibrationReport", measure: Any) -> dict[str, Any]:
    score = report.scores[measure.key]
    unit = measure.units(report.units)
    return {
        "figure": f"{measure.label} [{unit}]" if unit else measure.label,
        "better": measure.wish,
        "value": number(score.value, 4),
        f"{100 * report.facts['bootstrap level']:g} % interval": ""
        if score.interval is None
        else span(*score.interval),
        "error of finite draws": "" if score.standard_error is None else number(score.standard_error, 2),
        "corrected": "" if score.corrected is None else number(score.corrected, 4),
        "calibrated model": "" if score.floor is None else number(score.floor, 2),
    }


def _part_row(row: Mapping[str, Any], kind: str) -> dict[str, Any]:
    shown: dict[str, Any] = {{"horizon": "step", "frequency": "occurrences"}.get(kind, kind): row["part"]}
    for name, value in row.items():
        if name == "part":
            continue
        if name.endswith(("_low", "_high")):
            continue
        if name == "off":
            shown["beyond chance"] = "" if value is None else "yes" if value else "no"
        elif isinstance(value, float):
            ends = f" {span(row[f'{name}_low'], row[f'{name}_high'])}" if f"{name}_low" in row else ""
            shown[name.replace("_", " ")] = number(value) + ends
        else:
            shown[name] = value
    return shown


def _step_word(report: "CalibrationReport") -> str:
    return "By horizon" if isinstance(report.predictive, ContinuousPredictive) else "By position"


def _on(draw: Callable[..., "Axes"], *arguments: Any, **options: Any) -> "Axes":
    *given, ax = arguments
    return draw(*given, ax=ax, **options)
