"""The picture of a number over parts of the data: positions, frequencies, groups."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ._bands import whiskers
from ._canvas import BLUE, NEUTRAL, VERMILLION, canvas, headline, legend

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def score_by_part(
    parts: Sequence[str],
    values: Sequence[float],
    lows: Sequence[float] | None = None,
    highs: Sequence[float] | None = None,
    *,
    ideal: float | None = None,
    off: Sequence[bool | None] | None = None,
    title: str = "",
    xlabel: str = "",
    ylabel: str = "",
    ax: "Axes | None" = None,
) -> "Axes":
    """Draw a number for each part of the data, in their order, with intervals; parts that are off stand out.

    Args:
        parts: Names of the parts.
        values: The number of each.
        lows: Lower ends.
        highs: Upper ends.
        ideal: What a calibrated model gives.
        off: Which parts to mark.
        title: Title.
        xlabel: What the parts are.
        ylabel: What the number is, with units.
        ax: Where to draw.

    Raises:
        ValueError: If there is not one value a part.
    """
    if len(parts) != len(values) or not len(parts):
        raise ValueError(f"{len(values)} values were given for {len(parts)} parts: give one a part.")
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
    ax.set_xticks(few, [parts[k] for k in few])
    if max(len(p) for p in parts) * len(few) > 60:
        ax.tick_params(axis="x", rotation=30)
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    headline(ax, title)
    legend(ax, loc="best")
    return ax
