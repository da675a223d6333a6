"""Pictures of a backtest in several panels: forecasts over time, calibration of several predictives, their scores."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from bayesrnn._checks import check_level
from bayesrnn.plots.style import (
    BLUE,
    CYCLE,
    MARKERS,
    NEUTRAL,
    ORANGE,
    Axes,
    blended,
    headline,
    ink,
    legend,
    name_ticks,
    percent_axis,
    short,
    short_dates,
    with_units,
)
from bayesrnn.predictive import ContinuousPredictive

_LEVELS = ((0.95, 0.18), (0.8, 0.43), (0.5, 0.68))  # and how dark each is drawn, opaque
_STYLES = ((BLUE, "-"), (ORANGE, "--"))


def rolling_forecasts(
    predictive: ContinuousPredictive,
    target: Tensor,
    times: Any,
    *,
    steps: Tensor,
    history: tuple[Any, Tensor],
    name: str = "target",
    units: str = "",
    note: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw forecasts launched one after the other, with what happened; below, both as distances from the median.

    Args:
        predictive: Forecasts, (O, H).
        target: What happened, (O, H).
        times: Times of the targets, (O, H) numpy.
        steps: Until which step each forecast is drawn, (O,).
        history: Times and values of the whole span with what lies before it, (T,); NaN where nothing was observed.
        name: What is forecast.
        units: Its units.
        note: Written into the lower panel.
        ax: Where to draw; its place is divided.
    """
    top, bottom = _panels(ax, (2, 1), (9.6, 6.8), sharex=True, height_ratios=(3, 2))
    median = predictive.quantile(0.5)
    rows = [slice(0, int(count)) for count in steps]
    for level, share in _LEVELS:
        ends = predictive.interval(level)
        for panel, base in ((top, torch.zeros_like(median)), (bottom, median)):
            color = blended(BLUE, share, panel)
            for row, cut in enumerate(rows):
                low, high = (end[row, cut] - base[row, cut] for end in ends)
                label = f"{100 * level:g} % interval" if row == 0 else None
                panel.fill_between(times[row, cut], low, high, color=color, linewidth=0, label=label)
    dots: dict[str, Any] = {"color": ink(), "linewidth": 0.9, "marker": "o", "markersize": 2}
    for row, cut in enumerate(rows):
        top.plot(times[row, cut], median[row, cut], color=BLUE, linewidth=1.2, label="" if row else "median")
        bottom.plot(times[row, cut], (target - median)[row, cut], **dots)
        for panel in (top, bottom):
            panel.axvline(times[row, 0], color=NEUTRAL, linewidth=0.7, linestyle=":")
    top.plot(*history, **dots, label="observed")
    bottom.axhline(0, color=BLUE, linewidth=1)
    headline(top, f"{name}: forecasts of {target.shape[1]} steps, launched at the dotted lines")
    headline(bottom, "The same, as the distance from the forecast's median", note)
    top.set_ylabel(with_units(name, units))
    bottom.set_ylabel(with_units("observed − median", units))
    bottom.set_xlabel("time")
    legend(top, loc="upper left", ncols=5)
    short_dates(bottom, times)
    for panel in (top, bottom):
        panel.margins(x=0.01)
    return top


def calibration_panels(
    predictives: Mapping[str, ContinuousPredictive], target: Tensor, *, level: float = 0.8, ax: Axes | None = None
) -> Axes:
    """Draw interval reliability, PIT histogram and coverage by horizon of one or two predictives of one target.

    Args:
        predictives: Name → predictive, (O, H).
        target: What happened, (O, H).
        level: Of the intervals whose coverage is drawn by horizon.
        ax: Where to draw; its place is divided.
    """
    check_level(level)
    left, middle, right = _panels(ax, (1, 3), (13.6, 5.2))
    levels = torch.linspace(0.02, 0.98, 49, dtype=torch.float64)
    steps = torch.arange(1, target.shape[1] + 1)
    left.plot([0, 1], [0, 1], color=NEUTRAL, linewidth=1)
    middle.axhline(1, color=NEUTRAL, linewidth=1)
    right.axhline(level, color=NEUTRAL, linewidth=1)
    for (name, predictive), (color, line) in zip(predictives.items(), _STYLES, strict=False):
        style: dict[str, Any] = {"color": color, "linewidth": 2, "linestyle": line, "label": name}
        cdf = predictive.cdf(target).double()
        reach = (2 * cdf - 1).abs()
        left.plot(levels, (reach.reshape(-1, 1) <= levels).double().mean(0), **style)
        share = torch.histc(cdf, 10, 0, 1) / cdf.numel() * 10
        middle.stairs(share.numpy(), torch.linspace(0, 1, 11).numpy(), **style)
        right.plot(steps, (reach <= level).double().mean(0), marker="o", markersize=3, **style)
    headline(left, "Interval reliability")
    headline(middle, "PIT histogram")
    headline(right, f"Coverage by horizon, {100 * level:g} % intervals")
    left.set(xlim=(0, 1), ylim=(0, 1), xlabel="level of the interval", ylabel="targets inside")
    middle.set(xlim=(0, 1), xlabel="probability integral transform F(y)", ylabel="density (1 if calibrated)")
    middle.set_ylim(bottom=0)
    right.set(ylim=(0, 1.02), xlabel="steps ahead", ylabel="targets inside")
    right.xaxis.get_major_locator().set_params(integer=True)  # type: ignore[call-arg]
    for axis in (left.xaxis, left.yaxis, right.yaxis):
        percent_axis(axis)
    legend(left, loc="upper left")
    return left


def score_panels(
    scores: Mapping[str, Mapping[str, tuple[float, float, float]]],
    *,
    score: str = "CRPS",
    units: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw score, coverage and width of several forecasts, one per line.

    Args:
        scores: Name → for the score, each level ("80 %") and "width": value and both ends of its interval, NaN for
            none.
        score: Which score ranks.
        units: Units of the target.
        ax: Where to draw; its place is divided.
    """
    names = list(scores)
    left, middle, right = _panels(ax, (1, 3), (13.2, 1.6 + 0.62 * len(names)), sharey=True, width_ratios=(3, 4, 3))
    rows = list(range(len(names)))[::-1]
    levels = [key for key in scores[names[0]] if key.endswith("%")]
    for k, key in enumerate(levels):
        shift = 0.16 * (1 - k)
        label = f"{key} interval"
        _dots(middle, [scores[n][key] for n in names], [row + shift for row in rows], k, label)
        middle.axvline(float(key.split()[0]) / 100, color=CYCLE[k], linestyle=":", linewidth=1.2)
    for panel, key in ((left, score), (right, "width")):
        values = [scores[n][key] for n in names]
        _dots(panel, values, rows, 0, None)
        for (value, *_), row in zip(values, rows, strict=True):
            panel.annotate(
                short(value), (value, row), (0, 7), textcoords="offset points", ha="center", fontsize="small"
            )
        _logarithmic(panel)
    name_ticks(left.yaxis, rows, names)
    left.set_ylim(-0.6, len(names) - 0.4)
    left.set_xlabel(f"{with_units(score, units)}, lower is better")
    middle.set_xlabel("targets inside the interval (dotted: its level)")
    right.set_xlabel(with_units("mean width of the 80 % interval", units))
    percent_axis(middle.xaxis)
    legend(middle, loc="upper center", ncols=3, bbox_to_anchor=(0.5, -0.36 / (0.5 + 0.6 * len(names))))
    for panel, title in ((left, "Score of the whole distribution"), (middle, "Calibration"), (right, "Sharpness")):
        panel.grid(axis="y", color=NEUTRAL, alpha=0.2)
        headline(panel, title)
    return left


def _panels(ax: Axes | None, shape: tuple[int, int], size: tuple[float, float], **options: Any) -> Sequence[Axes]:
    """Return the panels of a new Figure, or of the place that `ax` has."""
    if ax is None:
        from matplotlib.figure import Figure

        figure: Any = Figure(figsize=size, layout="constrained")
    else:
        place: Any = ax.get_subplotspec()
        figure = ax.figure.add_subfigure(place)
        ax.remove()
    ratios = {k: options.pop(k) for k in ("height_ratios", "width_ratios") if k in options}
    panels = list(figure.subplots(*shape, gridspec_kw=ratios, **options).flat)
    for panel in panels:
        panel.spines[["top", "right"]].set_visible(False)
    return panels


def _dots(ax: Axes, values: Sequence[tuple[float, float, float]], rows: Sequence[float], k: int, label: Any) -> None:
    middle, low, high = torch.tensor(values, dtype=torch.float64).T
    spread = torch.stack([(middle - low).clamp(min=0), (high - middle).clamp(min=0)]).nan_to_num(0.0)
    ax.errorbar(middle, rows, xerr=spread, fmt=MARKERS[k], color=CYCLE[k], capsize=3, markersize=6, label=label)


def _logarithmic(ax: Axes) -> None:
    from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter

    ax.set_xscale("log")
    low, high = ax.get_xlim()
    ax.set_xlim(low / 1.1, high * 1.1)
    wide = high > 5 * low  # a short axis may hold none of 1, 2, 5 times a power of ten
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)) if wide else MaxNLocator(4))
    ax.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())
