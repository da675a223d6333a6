"""Pictures of where coverage is lost: by horizon and by group."""

from collections.abc import Sequence
from typing import Any, Unpack

import numpy as np
import torch

from bayesrnn._checks import check_level
from bayesrnn.metrics.bootstrap import FEWEST_SEQUENCES
from bayesrnn.metrics.groups import rows_by_group
from bayesrnn.metrics.pairs import numbered, pair
from bayesrnn.metrics.score import Options
from bayesrnn.plots.bands import binomial_band, effective_size, few_interval, ratio_band, whiskers
from bayesrnn.plots.intervals import inside_and_width
from bayesrnn.plots.style import BLUE, NEUTRAL, VERMILLION, Axes, canvas, finish, name_ticks, percent_axis
from bayesrnn.predictive import Predictive


def score_by_part(
    parts: Sequence[str],
    values: Sequence[float],
    lows: Sequence[float] | None = None,
    highs: Sequence[float] | None = None,
    *,
    ideal: float | None = None,
    off: Sequence[bool | None] | None = None,
    title: str | None = "",
    xlabel: str = "",
    ylabel: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw a number for each part of the data, in their order, with intervals; parts that are off stand out.

    Args:
        parts: Names of the parts.
        values: The number of each.
        lows: Lower ends.
        highs: Upper ends.
        ideal: What a calibrated model gives.
        off: Which parts to mark.
        title: Title; None leaves out title, note and legend.
        xlabel: What the parts are.
        ylabel: What the number is, with units.
        ax: Where to draw.

    Raises:
        ValueError: If there is not one value per part.
    """
    if len(parts) != len(values) or not len(parts):
        raise ValueError(f"{len(values)} values were given for {len(parts)} parts: give one per part.")
    ax = canvas(ax)
    place, center = np.arange(len(parts)), np.asarray(values, float)
    marked = np.array([bool(o) for o in off]) if off is not None else np.zeros(len(parts), bool)
    if ideal is not None:
        ax.axhline(ideal, color=NEUTRAL, linewidth=1, linestyle="--")
    ax.plot(place, center, color=BLUE, linewidth=1, alpha=0.4)
    for chosen, color, marker, label in ((~marked, BLUE, "o", ""), (marked, VERMILLION, "s", "off, beyond chance")):
        if chosen.any():
            bars = None
            if lows is not None and highs is not None:
                bars = whiskers(center[chosen], np.asarray(lows, float)[chosen], np.asarray(highs, float)[chosen])
            ax.errorbar(
                place[chosen], center[chosen], yerr=bars, fmt=marker, color=color, capsize=3, markersize=5, label=label
            )
    few = place[:: max(1, len(parts) // 12)]
    name_ticks(ax.xaxis, few, [parts[k] for k in few])
    if max(len(p) for p in parts) * len(few) > 60:
        ax.tick_params(axis="x", rotation=30)
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    return finish(ax, title, loc="best")


def coverage_by_horizon(
    predictive: Predictive,
    target: Any,
    *,
    level: float = 0.9,
    label: str = "observed",
    title: str | None = "Coverage by horizon",
    ax: Axes | None = None,
    **options: Unpack[Options],
) -> Axes:
    """Draw the share of targets inside the central intervals for each step ahead.

    Args:
        predictive: Of a continuous target, (rows, steps, ...).
        target: Same shape.
        level: Level of the intervals.
        label: What the legend calls the observed share.
        title: Title; None leaves out title, note and legend.
        ax: Where to draw.
        **options: mask, lengths, nan, sequences and seed of `metrics.Options`.

    Raises:
        ValueError: If the predictive has no steps.
    """
    shape = tuple(predictive.shape)
    if len(shape) < 2:
        raise ValueError(f"coverage by horizon needs a predictive of shape (rows, steps), not {shape}.")
    level = check_level(level)
    ax = canvas(ax)
    pairs = pair(predictive, target, options)
    held, _ = inside_and_width(pairs, level)
    step = pairs.take(torch.arange(shape[1]).reshape(1, -1, *(1 for _ in shape[2:])).expand(shape)).astype(int)
    member = np.eye(shape[1])[step]
    seen = member.sum(0) > 0
    low, high = (
        e[seen] for e in ratio_band(member * held[:, None], member, pairs.sequences, seed=options.get("seed", 0))
    )
    share = (member * held[:, None]).sum(0)[seen] / member.sum(0)[seen]
    size = effective_size(held[:, None], pairs.sequences) / seen.sum()
    ideal = float(pairs.take(pairs.predictive.attainable_coverage(level)).mean())  # counts hold more than their level
    null = binomial_band(np.array([ideal]), max(size, float(pairs.sequences.max() + 1)))
    horizon = np.arange(1, shape[1] + 1)[seen]
    ax.axhspan(null[0][0], null[1][0], color=NEUTRAL, alpha=0.2, linewidth=0, label="calibrated, this sample size")
    ax.axhline(ideal, color=NEUTRAL, linewidth=1, linestyle="--")
    ax.fill_between(horizon, low, high, color=BLUE, alpha=0.25, linewidth=0, label="95 % bootstrap band")
    ax.plot(horizon, share, color=BLUE, marker="o", markersize=4, label=label)
    percent_axis(ax.yaxis)
    ax.set_ylim(min(float(low.min()), null[0][0], ideal) - 0.12, min(1.02, max(float(high.max()), null[1][0]) + 0.08))
    ax.set_xlabel("steps ahead")
    ax.set_ylabel(f"targets inside the {level * 100:g} % interval")
    worst = int(np.abs(share - ideal).argmax())
    return finish(ax, title, f"furthest off: {share[worst]:.0%} at step {horizon[worst]}", loc="lower left", ncols=3)


def coverage_by_group(
    predictive: Predictive,
    target: Any,
    groups: Sequence[Any],
    *,
    level: float = 0.9,
    title: str | None = "Coverage by group",
    ax: Axes | None = None,
    **options: Unpack[Options],
) -> Axes:
    """Draw the share of targets inside the central intervals for each group of rows.

    Args:
        predictive: Of a continuous target, (rows, ...).
        target: Same shape.
        groups: A label for each row.
        level: Level of the intervals.
        title: Title; None leaves out title, note and legend.
        ax: Where to draw.
        **options: See `coverage_by_horizon`.

    Raises:
        ValueError: If there is not one label per row.
    """
    level = check_level(level)
    members = rows_by_group(groups, len(predictive))
    pairs = pair(predictive, target, options)
    held, _ = inside_and_width(pairs, level)
    expected = pairs.take(pairs.predictive.attainable_coverage(level))
    shape = tuple(predictive.shape)
    ax = canvas(ax, (6.4, 1.4 + 0.36 * len(members)))
    small = False
    for place, rows in enumerate(reversed(members.values())):
        chosen = pairs.take(rows.reshape(-1, *(1 for _ in shape[1:])).expand(shape)).astype(bool)
        if not chosen.any():
            continue
        inside, share = held[chosen][:, None], held[chosen].mean(keepdims=True)
        sequences = numbered(pairs.sequences[chosen])
        look: dict[str, Any] = {"color": BLUE, "marker": "o"}
        if int(sequences.max()) + 1 < FEWEST_SEQUENCES:
            small, look = True, {"color": NEUTRAL, "marker": "o", "markerfacecolor": "none"}
            low, high = (np.array([end]) for end in few_interval(float(share[0]), int(sequences.max()) + 1))
        else:
            low, high = ratio_band(inside, np.ones_like(inside), sequences, seed=options.get("seed", 0))
            several = ratio_band(inside, np.ones_like(inside), sequences, level=1 - 0.05 / len(members))
            if not several[0][0] <= expected[chosen].mean() <= several[1][0]:
                look = {"color": VERMILLION, "marker": "s"}
        ax.errorbar(share, [place], xerr=whiskers(share, low, high), capsize=3, **look)
    ax.axvline(expected.mean(), color=NEUTRAL, linewidth=1, linestyle="--")
    names = [f"{name} ({int(rows.sum())} rows)" for name, rows in members.items()]
    name_ticks(ax.yaxis, range(len(names)), names[::-1])
    ax.set_ylim(-0.7, len(names) - 0.3)
    percent_axis(ax.xaxis)
    ax.set_xlabel(f"targets inside the {level * 100:g} % interval (bars: 95 % intervals)")
    ax.margins(x=0.1)
    return finish(ax, title, f"hollow: fewer than {FEWEST_SEQUENCES} sequences, too few to judge" if small else "")
