"""The pictures of a backtest: the fan over the held-out span, calibration, comparison."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from bayesrnn import plots
from bayesrnn.forecasting.backtest import Backtest
from bayesrnn.plots._canvas import BLUE, CYCLE, MARKERS, NEUTRAL, headline, ink, percent_axis, with_units

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["calibration_picture", "comparison_picture", "forecast_picture", "launches"]

_LEVELS = ((0.95, 0.18), (0.8, 0.30), (0.5, 0.45))


def launches(test: Backtest) -> Backtest:
    """Return the forecasts that follow each other without overlap: one every H steps."""
    return test[torch.arange(0, len(test), test.horizon)]


def forecast_picture(test: Backtest, before: int) -> "Figure":
    """Draw forecasts launched one after the other over the held-out span, and how far the truth lay from them.

    Args:
        test: Held-out forecasts; those of `launches` are drawn.
        before: Steps of history to show.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.6, 6.8), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    shown = launches(test)
    series = shown.series
    start = int(shown.origins[0])
    first = max(start + 1 - before, 0)
    last = int(shown.positions().max()) + 1
    times = series.times.to_numpy()
    seen = series.observed[first:last]
    values = torch.where(seen, series.values[first:last], torch.nan)
    for axes, centered in ((top, False), (bottom, True)):
        _fans(axes, shown, times, centered)
    top.plot(times[first:last], values, color=ink(), linewidth=0.9, marker="o", markersize=2, label="observed")
    for row in range(len(shown)):
        positions = shown.positions()[row]
        away = shown.target[row] - shown.predictive.quantile(0.5)[row]
        label = "observed" if row == 0 else None
        bottom.plot(times[positions], away, color=ink(), linewidth=0.9, marker="o", markersize=2, label=label)
        for axes in (top, bottom):
            axes.axvline(times[shown.origins[row]], color=NEUTRAL, linewidth=0.7, linestyle=":")
    low, high = shown.predictive.interval(0.8)
    held = float(((shown.target >= low) & (shown.target <= high)).double().mean())
    headline(
        top, f"{series.name}: {shown.horizon}-step forecasts, each launched at a dotted line, knowing nothing after it"
    )
    headline(bottom, "The same, as the distance from the forecast's median", f"80 % intervals hold {held:.0%} here")
    top.set_ylabel(with_units(series.name, series.units))
    bottom.set_ylabel(with_units("observed − median", series.units))
    bottom.set_xlabel("time")
    bottom.axhline(0, color=BLUE, linewidth=1)
    top.legend(frameon=False, fontsize="small", loc="upper left", ncols=5)
    _trim(top, bottom)
    return figure


def calibration_picture(raw: Backtest, recalibrated: Backtest, blocks: Tensor) -> "Figure":
    """Draw interval reliability, PIT histogram and coverage by horizon, raw above and recalibrated below."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13.2, 8.2), layout="constrained")
    for row, (name, test) in enumerate((("raw", raw), ("recalibrated", recalibrated))):
        axes = [figure.add_subplot(2, 3, 3 * row + k) for k in (1, 2, 3)]
        law, target = test.predictive, test.target
        plots.interval_reliability(law, target, level=0.8, groups=blocks, ax=axes[0])
        plots.pit_histogram(law, target, groups=blocks, ax=axes[1])
        plots.coverage_by_horizon(law, target, level=0.8, groups=blocks, ax=axes[2])
        for ax, title in zip(axes, ("Interval reliability", "PIT histogram", "Coverage by horizon"), strict=True):
            ax.set_title(f"{title}, {name}", loc="left", fontweight="bold")
            ax.spines[["top", "right"]].set_visible(False)
    return figure


def comparison_picture(table: Any, units: str, notes: Mapping[str, str]) -> "Figure":
    """Draw CRPS, coverage and width of every forecast.

    Args:
        table: What `score_table` returned.
        units: Units of the target.
        notes: Name of a forecast → what is said of it below its name.
    """
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(table["forecast"]))
    figure = Figure(figsize=(13.2, 1.6 + 0.62 * len(names)), layout="constrained")
    axes = figure.subplots(1, 3, sharey=True, width_ratios=(3, 4, 3))
    place = {name: len(names) - 1 - k for k, name in enumerate(names)}
    for ax, scores in zip(axes, (("crps",), _coverages(table), ("width_80",)), strict=True):
        for k, score in enumerate(scores):
            lines = table[table["score"] == score]
            _dots(ax, lines, [place[name] for name in lines["forecast"]], k, score, len(scores) > 1)
        ax.grid(axis="y", color=NEUTRAL, alpha=0.2)
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].set_yticks(list(place.values()), [f"{n}\n{notes[n]}" if n in notes else n for n in names])
    axes[0].set_ylim(-0.6, len(names) - 0.4)
    axes[0].set_xlabel(with_units("CRPS: lower is better", units))
    axes[1].set_xlabel("targets inside the interval; dotted: the share promised")
    axes[2].set_xlabel(with_units("mean width of the 80 % interval", units))
    percent_axis(axes[1].xaxis)
    axes[1].legend(frameon=False, fontsize="small", loc="lower left", ncols=3, bbox_to_anchor=(0, 1.0))
    for ax, title in zip(axes, ("Accuracy of the whole law", "", "Sharpness"), strict=True):
        ax.set_title(title, loc="left", fontweight="bold")
    return figure


def _fans(ax: "Axes", test: Backtest, times: Any, centered: bool) -> None:
    middle = test.predictive.quantile(0.5)
    for level, opacity in _LEVELS:
        low, high = test.predictive.interval(level)
        for row in range(len(test)):
            base = middle[row] if centered else 0.0
            label = f"{level:.0%} interval" if row == 0 else None
            place = times[test.positions()[row]]
            ax.fill_between(
                place, low[row] - base, high[row] - base, color=BLUE, alpha=opacity, linewidth=0, label=label
            )
    if not centered:
        for row in range(len(test)):
            label = "median" if row == 0 else None
            ax.plot(times[test.positions()[row]], middle[row], color=BLUE, linewidth=1.2, label=label)


def _dots(ax: "Axes", lines: Any, rows: list[int], k: int, score: str, many: bool) -> None:
    color = CYCLE[k]
    shift = 0.0 if not many else 0.16 * (1 - k)
    value = lines["value"].to_numpy()
    spread = [(value - lines["low"]).clip(lower=0), (lines["high"] - value).clip(lower=0)]
    label = f"{score.rsplit('_', 1)[1]} % interval" if many else None
    place = [row + shift for row in rows]
    ax.errorbar(value, place, xerr=spread, fmt=MARKERS[k], color=color, capsize=3, markersize=6, label=label)
    if many:
        ax.axvline(float(score.rsplit("_", 1)[1]) / 100, color=color, linestyle=":", linewidth=1.2)
        return
    for x, y in zip(value, place, strict=True):
        ax.annotate(f"{x:.3g}", (x, y), (0, 7), textcoords="offset points", ha="center", fontsize="small")


def _coverages(table: Any) -> tuple[str, ...]:
    return tuple(score for score in dict.fromkeys(table["score"]) if score.startswith("coverage"))


def _trim(*axes: "Axes") -> None:
    for ax in axes:
        ax.margins(x=0.01)
        ax.spines[["top", "right"]].set_visible(False)
