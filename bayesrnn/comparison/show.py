"""A comparison shown: its pictures and its page."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from bayesrnn import plots
from bayesrnn.comparison.difference import Difference
from bayesrnn.comparison.result import Comparison, Curve, listed
from bayesrnn.predictive import ContinuousPredictive
from bayesrnn.report.page import Page, number, percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["page", "pictures"]

Drawer = Callable[[Any], "Axes"]


def pictures(comparison: Comparison) -> dict[str, tuple[Drawer, str]]:
    """Return what can be drawn: name → (function of an Axes, what it shows in words)."""
    found: dict[str, tuple[Drawer, str]] = {}
    for k, name in enumerate(comparison.others):
        key = "differences" if k == 0 else f"differences_{k + 1}"
        found[key] = (partial(_forest, comparison, name), comparison.verdict(name))
    options = {k: v for k, v in comparison.options.items() if v is not None}
    given = (comparison.predictives, comparison.target)
    continuous = isinstance(next(iter(comparison.predictives.values())), ContinuousPredictive)
    if continuous and all("coverage_90" in s and "width_90" in s for s in comparison.scores.values()):
        draw = partial(_on, plots.coverage_width, *given, units=comparison.units, **options)
        found["coverage_width"] = (draw, _widths(comparison))
    if all("aurc_mean_ties_avg" in s for s in comparison.scores.values()):
        draw = partial(_on, plots.risk_coverage, *given, units=comparison.units, **options)
        found["risk_coverage"] = (draw, "Error of the targets kept when the least certain are refused first.")
    for curve in comparison.curves:
        found[f"draws_{curve.name}"] = (
            partial(_curve, comparison, curve),
            f"{curve.label} against the number of draws.",
        )
    return found


def page(comparison: Comparison, images: Mapping[str, bytes]) -> Page:
    """Return the page, with pictures that are drawn already."""
    first = comparison.differences[0]
    result = Page(f"{listed(comparison.others)} against {comparison.reference}")
    for name in comparison.others:
        verdict = next(d.verdict for d in comparison.differences if d.name == name)
        tone = "good" if verdict == "better" else "bad" if verdict == "worse" else "plain"
        result.say(comparison.verdict(name), tone)  # type: ignore[arg-type]
    result.facts(
        f"{first.score.n} targets of {first.score.sequences} sequences. Every interval is a {100 * first.level:g} % "
        "paired bootstrap over whole sequences, each metric on its own. Rank models by the first score; the "
        "calibration numbers say what to repair."
    )
    if first.score.sequences < 30:
        result.say(f"Only {first.score.sequences} sequences: the bootstrap intervals are rough.", "warn")
    known = pictures(comparison)
    result.section("Pictures")
    for name, data in images.items():
        result.picture(data, known[name][1], "" if name.startswith("differences") else known[name][1])
    named = len(comparison.others) > 1
    result.section("Every metric").table([_shown(d, named) for d in comparison.differences])
    if comparison.by_group:
        result.section(f"By group: {first.measure.label}")
        result.table([{"group": g, **_shown(d, True)} for g, found in comparison.by_group.items() for d in found])
    if comparison.costs:
        rows = [{"predictive": n, "passes": c.passes, "seconds": c.seconds} for n, c in comparison.costs.items()]
        result.section("Cost").table(rows)
    if comparison.notes:
        result.section("What is missing, and why")
        for note in comparison.notes:
            result.text(note)
    return result


def _forest(comparison: Comparison, name: str, ax: "Axes | None") -> "Axes":
    mine = [d for d in comparison.differences if d.name == name and d.measure.better != "neither"]
    shown = [d for d in mine if d.measure.key not in ("bias", "mean_squared_z")]
    return plots.forest(
        [d.measure.label for d in shown],
        [100 * d.relative for d in shown],
        [100 * d.loss_interval[0] / d.base for d in shown],
        [100 * d.loss_interval[1] / d.base for d in shown],
        notes=[f"{number(d.score.value)} against {number(d.reference_score.value)}" for d in shown],
        title=f"{name} against {comparison.reference}",
        xlabel="left: better · % of the reference, or points, or 0.01 nats",
        ax=ax,
    )


def _curve(comparison: Comparison, curve: Curve, ax: "Axes | None") -> "Axes":
    known = not any(error is None for error in curve.standard_errors)
    score = comparison.scores[comparison.reference].get(curve.name)
    return plots.convergence(
        curve.draws,
        curve.values,
        [float(error or 0) for error in curve.standard_errors] if known else None,
        reference=None if score is None else score.value,
        reference_name=comparison.reference,
        ylabel=curve.label,
        ax=ax,
    )


def _widths(comparison: Comparison) -> str:
    unit = f" {comparison.units}" if comparison.units else ""
    parts = [
        f"{name} holds {percent(s['coverage_90'].value)} in 90 % intervals of mean width "
        f"{number(s['width_90'].value)}{unit}"
        for name, s in comparison.scores.items()
    ]
    return f"Coverage against mean width of central intervals: {'; '.join(parts)}."


def _shown(d: Difference, named: bool) -> dict[str, Any]:
    low, high = (number(v, 3, sign=True) for v in d.interval)
    error = d.score.standard_error
    return {
        "metric": d.measure.label,
        **({"predictive": d.name} if named else {}),
        "better": d.measure.wish,
        "value": number(d.score.value, 4),
        "reference": number(d.reference_score.value, 4),
        "difference": f"{number(d.value, 3, sign=True)} [{low}, {high}]",
        "error of finite draws": "" if error is None else number(error, 2),
        "verdict": d.verdict,
    }


def _on(draw: Callable[..., "Axes"], *arguments: Any, **options: Any) -> "Axes":
    *given, ax = arguments
    return draw(*given, ax=ax, **options)
