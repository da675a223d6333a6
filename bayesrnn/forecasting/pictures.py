"""The pictures of a backtest: the fan over the held-out span, calibration, comparison."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from bayesrnn import plots
from bayesrnn.data.series import Series
from bayesrnn.forecasting._backtest import Backtest
from bayesrnn.plots.style import (
    BLUE,
    CYCLE,
    MARKERS,
    NEUTRAL,
    ORANGE,
    blended,
    headline,
    ink,
    percent_axis,
    with_units,
)
from bayesrnn.predictive import ContinuousPredictive

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["calibration_picture", "comparison_picture", "forecast_picture", "future_picture"]

_LEVELS = ((0.95, 0.18), (0.8, 0.43), (0.5, 0.68))  # and how dark each is drawn, opaque


def forecast_picture(test: Backtest, before: int, held: float) -> "Figure":
    """Draw forecasts launched one after the other over the held-out span, and how far the truth lay from them.

    Args:
        test: Held-out forecasts; those of `Backtest.chained` are drawn.
        before: Steps of history to show.
        held: Share of all held-out targets inside the 80 % intervals.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.6, 6.8), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    rows, steps = test.chained()
    shown = test[rows]
    cuts = [slice(0, int(count)) for count in steps]
    series = shown.series
    start = int(shown.origins[0])
    first = max(start + 1 - before, 0)
    last = int(shown.positions().max()) + 1
    times = series.times.to_numpy()
    seen = series.observed[first:last]
    values = torch.where(seen, series.values[first:last], torch.nan)
    for axes, centered in ((top, False), (bottom, True)):
        _fans(axes, shown, times, centered, cuts)
    top.plot(times[first:last], values, color=ink(), linewidth=0.9, marker="o", markersize=2, label="observed")
    for row in range(len(shown)):
        positions = shown.positions()[row, cuts[row]]
        away = (shown.target[row] - shown.predictive.quantile(0.5)[row])[cuts[row]]
        label = "observed" if row == 0 else None
        bottom.plot(times[positions], away, color=ink(), linewidth=0.9, marker="o", markersize=2, label=label)
        for axes in (top, bottom):
            axes.axvline(times[shown.origins[row]], color=NEUTRAL, linewidth=0.7, linestyle=":")
    headline(
        top, f"{series.name}: {shown.horizon}-step forecasts, each launched at a dotted line, knowing nothing after it"
    )
    headline(
        bottom,
        "The same, as the distance from the forecast's median",
        f"80 % intervals hold {100 * held:.0f} %, over all origins",
    )
    top.set_ylabel(with_units(series.name, series.units))
    bottom.set_ylabel(with_units("observed − median", series.units))
    bottom.set_xlabel("time")
    bottom.axhline(0, color=BLUE, linewidth=1)
    top.legend(frameon=False, fontsize="small", loc="upper left", ncols=5)
    _trim(top, bottom)
    return figure


def future_picture(series: Series, distribution: ContinuousPredictive) -> "Figure":
    """Draw the steps after the end of the series, with three horizons of history."""
    steps = int(distribution.shape[1])
    past = series[len(series) - min(len(series), 3 * steps) :]
    values = torch.where(past.observed, past.values, torch.nan)
    axes = plots.fan_chart(
        distribution,
        history=values,
        times=series.future(steps).to_numpy(),
        history_times=past.times.to_numpy(),
        units=series.units,
        ylabel=series.name,
        xlabel="time",
        title=f"{series.name}: the next {steps} steps",
    )
    axes.figure.set_size_inches(9.6, 4.4)  # type: ignore[union-attr]
    return axes.figure  # type: ignore[return-value]


def calibration_picture(raw: Backtest, recalibrated: Backtest, blocks: Tensor, level: float = 0.8) -> "Figure":
    """Draw interval reliability, PIT histogram and coverage by horizon: recalibrated in blue, raw in orange."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13.6, 5.6), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    distribution, target = recalibrated.predictive, recalibrated.target
    plots.interval_reliability(distribution, target, level=level, sequences=blocks, ax=left)
    plots.pit_histogram(distribution, target, sequences=blocks, ax=middle)
    plots.coverage_by_horizon(distribution, target, level=level, sequences=blocks, ax=right)
    left.set_aspect("auto")
    middle.containers[0].set_label("recalibrated")
    cdf = raw.predictive.cdf(raw.target)
    levels = torch.linspace(0.02, 0.98, 49, dtype=torch.float64)
    inside = ((2 * cdf - 1).abs().reshape(-1, 1) <= levels).double().mean(0)
    left.plot(levels, inside, color=ORANGE, linewidth=2, linestyle="--", label="raw")
    share = torch.histc(cdf, 10, 0, 1) / cdf.numel() * 10
    middle.stairs(share.numpy(), torch.linspace(0, 1, 11).numpy(), color=ORANGE, linewidth=2, label="raw")
    middle.set_ylim(0, max(1.15 * float(share.max()), middle.get_ylim()[1] / 1.25))
    steps = torch.arange(1, raw.horizon + 1)
    by_step = ((2 * cdf - 1).abs() <= level).double().mean(0)
    right.plot(steps, by_step, color=ORANGE, linewidth=2, linestyle="--", label="raw")
    right.set_ylim(top=1.02)
    values = {name: float(((2 * test.predictive.cdf(test.target) - 1).abs() <= level).double().mean())
              for name, test in (("raw", raw), ("recalibrated", recalibrated))}  # fmt: skip
    note = f"{100 * level:g} % intervals hold {100 * values['recalibrated']:.0f} % (raw: {100 * values['raw']:.0f} %)"
    titles = ("Interval reliability", "PIT histogram", f"Coverage by horizon, {100 * level:g} % intervals")
    for ax, title, text in zip((left, middle, right), titles, (note, "", ""), strict=True):
        _relabel(ax)
        headline(ax, title, text)
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
    axes[0].set_xlabel(f"{with_units('CRPS', units)}, lower is better")
    axes[1].set_xlabel("targets inside the interval (dotted: what it promises)")
    axes[2].set_xlabel(with_units("mean width of the 80 % interval", units))
    percent_axis(axes[1].xaxis)
    axes[1].legend(frameon=False, fontsize="small", loc="upper center", ncols=3, bbox_to_anchor=(0.5, -0.09))
    for ax in (axes[0], axes[2]):
        _logarithmic(ax)
    for ax, title in zip(axes, ("Score of the whole distribution", "Calibration", "Sharpness"), strict=True):
        ax.set_title(title, loc="left", fontweight="bold")
    return figure


def _fans(ax: "Axes", test: Backtest, times: Any, centered: bool, cuts: list[slice]) -> None:
    middle = test.predictive.quantile(0.5)
    for level, share in _LEVELS:
        low, high = test.predictive.interval(level)
        for row in range(len(test)):
            base = middle[row] if centered else torch.zeros_like(middle[row])
            label = f"{100 * level:g} % interval" if row == 0 else None
            place, cut = times[test.positions()[row, cuts[row]]], cuts[row]
            color = blended(BLUE, share, ax)
            below, above = ((end[row] - base)[cut] for end in (low, high))
            ax.fill_between(place, below, above, color=color, linewidth=0, label=label)
    if not centered:
        for row in range(len(test)):
            label = "median" if row == 0 else None
            ax.plot(
                times[test.positions()[row, cuts[row]]], middle[row, cuts[row]], color=BLUE, linewidth=1.2, label=label
            )


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
        ax.annotate(f"{x:#.3g}", (x, y), (0, 7), textcoords="offset points", ha="center", fontsize="small")


def _logarithmic(ax: "Axes") -> None:
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    ax.set_xscale("log")
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())
    low, high = ax.get_xlim()
    ax.set_xlim(low / 1.1, high * 1.1)


def _coverages(table: Any) -> tuple[str, ...]:
    return tuple(score for score in dict.fromkeys(table["score"]) if score.startswith("coverage"))


def _relabel(ax: "Axes") -> None:
    """Take the notes off and put the legend below the picture, where it covers nothing."""
    for text in list(ax.texts):
        text.remove()
    ax.set_title("", loc="right")
    handles, labels = ax.get_legend_handles_labels()
    labels = ["recalibrated" if label == "observed" else label for label in labels]
    ax.legend(
        handles, labels, frameon=False, fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=2
    )


def _trim(*axes: "Axes") -> None:
    for ax in axes:
        ax.margins(x=0.01)
        ax.spines[["top", "right"]].set_visible(False)
