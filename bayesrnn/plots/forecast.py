"""Pictures of one prediction along its steps: the fan chart, and what its uncertainty is made of."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bayesrnn._checks import check_levels
from bayesrnn.plots.bands import flat
from bayesrnn.plots.style import (
    BLUE,
    ORANGE,
    SKY,
    VERMILLION,
    Axes,
    blended,
    canvas,
    finish,
    ink,
    short_dates,
    squared,
    with_units,
)
from bayesrnn.predictive import ClassPredictive, ContinuousPredictive, Predictive, TokenPredictive


def fan_chart(
    predictive: ContinuousPredictive,
    target: Tensor | None = None,
    *,
    row: int = 0,
    history: Tensor | None = None,
    times: Sequence[Any] | None = None,
    history_times: Sequence[Any] | None = None,
    levels: Sequence[float] = (0.5, 0.8, 0.95),
    units: str = "",
    title: str | None = "Forecast",
    xlabel: str = "step",
    ylabel: str = "target",
    ax: Axes | None = None,
) -> Axes:
    """Draw nested central intervals around the median, with what came before and what happened.

    Args:
        predictive: Shape (rows, steps): `row` is drawn along its steps; shape (rows,): the rows are the steps.
        target: What happened, same shape; NaN where unknown. Values outside the widest interval are marked.
        row: Which row of a (rows, steps) predictive.
        history: What was known before, shape (steps before,).
        times: One position or date a step; 0, 1, ... by default.
        history_times: The same for the history; needed with `times`.
        levels: Levels of the intervals.
        units: Units of the target.
        title: Title; None leaves out title, note and legend.
        xlabel: Label of the horizontal axis.
        ylabel: Label of the vertical axis; the units are added.
        ax: Where to draw; a new Figure by default.

    Raises:
        ValueError: If the predictive is neither (rows,) nor (rows, steps), or times do not fit.
    """
    ax = canvas(ax, (7.2, 3.8))
    predictive = _one_row(predictive, row)
    if target is not None and target.dim() == 2:
        target = target[row]
    positions = _positions(times, predictive.mean.numel(), "times")
    ordered = check_levels(levels)[::-1]
    bounds = {level: tuple(flat(b) for b in predictive.interval(level)) for level in ordered}
    if history is not None:
        before = flat(torch.as_tensor(history))
        if times is not None and history_times is None:
            raise ValueError("times were given for the forecast but not for the history: give history_times too.")
        default = np.arange(-len(before), 0)
        ax.plot(
            default if history_times is None else _positions(history_times, len(before), "history_times"),
            before,
            color=ink(),
            linewidth=1,
            label="history",
        )
    covered = 0.0
    for depth, (level, (low, high)) in enumerate(bounds.items()):
        covered += (1.0 - covered) * (0.18 + 0.27 * depth / max(len(ordered) - 1, 1))
        color = blended(BLUE, covered, ax)  # opaque: the legend shows what is drawn where bands lie on each other
        ax.fill_between(positions, low, high, color=color, linewidth=0, label=f"{level * 100:g} % interval")
    ax.plot(positions, flat(predictive.quantile(0.5)), color=BLUE, linewidth=1.6, label="median")
    note = f"{predictive.draws_used} draws" if predictive.draws_used > 1 else ""
    if target is not None:
        widest = ordered[0]
        note = _mark_target(ax, positions, flat(target), bounds[widest], widest, note)
    ax.set_xlabel(xlabel)
    ax.set_ylabel(with_units(ylabel, units))
    ax.margins(x=0.01)
    short_dates(ax, times)
    return finish(ax, title, note, loc="center left", bbox_to_anchor=(1.0, 0.5))


def decomposition(
    predictive: Predictive,
    *,
    row: int = 0,
    times: Sequence[Any] | None = None,
    units: str = "",
    title: str | None = "What the uncertainty is made of",
    xlabel: str = "step",
    ax: Axes | None = None,
) -> Axes:
    """Draw the aleatoric and the epistemic part along a sequence, stacked: they add up to the total.

    Variance for continuous targets (units squared), entropy for classes and tokens (nats). Arguments as in
    `fan_chart`.

    Raises:
        ValueError: If the predictive does not know its parts, or its shape is neither (rows,) nor (rows, steps).
    """
    if isinstance(predictive, TokenPredictive) and (predictive.aleatoric is None or predictive.epistemic is None):
        raise ValueError("this token predictive kept no entropies: ask for the uncertainty when computing it.")
    ax = canvas(ax, (7.2, 3.2))
    chosen = _one_row(predictive, row)
    aleatoric, epistemic = flat(chosen.aleatoric), flat(chosen.epistemic)
    positions = _positions(times, len(aleatoric), "times")
    ax.stackplot(
        positions,
        aleatoric,
        epistemic,
        labels=["aleatoric (noise in the data)", "epistemic (the model is unsure)"],
        colors=[SKY, ORANGE],
        alpha=0.9,
        linewidth=0,
    )
    total = float(aleatoric.sum() + epistemic.sum())
    share = float(epistemic.sum()) / total if total > 0 else 0.0
    nats = isinstance(predictive, ClassPredictive | TokenPredictive)
    ax.set_ylabel("entropy [nats]" if nats else with_units("variance", squared(units)))
    ax.set_xlabel(xlabel)
    ax.margins(x=0.01)
    ax.set_ylim(0, 1.25 * float((aleatoric + epistemic).max()) or 1.0)
    return finish(ax, title, f"epistemic share {share:.0%}", loc="upper right")


def _one_row(predictive: Any, row: int) -> Any:
    shape = tuple(predictive.shape)
    if len(shape) == 1:
        return predictive
    if len(shape) == 2:
        if not -shape[0] <= row < shape[0]:
            raise ValueError(f"row {row} does not exist: the predictive has {shape[0]} rows.")
        return predictive[row]
    raise ValueError(
        f"a predictive of shape (rows,) or (rows, steps) can be drawn along its steps, not one of shape {shape}. "
        "Choose one variable of the target first."
    )


def _mark_target(ax: Axes, positions: Any, values: Any, bounds: Any, level: float, note: str) -> str:
    if len(values) != len(positions):
        raise ValueError(f"target has {len(values)} steps, but the forecast has {len(positions)}.")
    outside = (values < bounds[0]) | (values > bounds[1])
    known = np.isfinite(values)
    place = np.asarray(positions)
    ax.plot(place, values, "o", color=ink(), markersize=3, label="what happened")
    if outside.any():
        ax.plot(
            place[outside], values[outside], "o", markersize=7, markerfacecolor="none", markeredgecolor=VERMILLION,
            label=f"outside {level * 100:g} %",
        )  # fmt: skip
    held = f"{level * 100:g} % interval holds {int((known & ~outside).sum())} of {int(known.sum())}"
    return f"{held} · {note}" if note else held


def _positions(times: Sequence[Any] | None, steps: int, name: str) -> Any:
    if times is None:
        return np.arange(steps)
    if len(times) != steps:
        raise ValueError(f"{name} has {len(times)} entries for {steps} steps: give one per step.")
    return times
