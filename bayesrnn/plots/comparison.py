"""The picture of paired differences: which is better, and how sure that is."""

from collections.abc import Sequence

import numpy as np

from bayesrnn.plots.bands import whiskers
from bayesrnn.plots.style import BLUE, NEUTRAL, VERMILLION, Axes, canvas, finish, name_ticks


def forest(
    names: Sequence[str],
    differences: Sequence[float],
    lows: Sequence[float],
    highs: Sequence[float],
    *,
    notes: Sequence[str] | None = None,
    title: str | None = "Paired differences",
    xlabel: str = "difference in % of the reference (left: better)",
    ax: Axes | None = None,
) -> Axes:
    """Draw differences with their intervals, one per line; an interval that holds 0 tells no difference.

    Args:
        names: What was compared.
        differences: Where smaller is better.
        lows: Lower ends.
        highs: Upper ends.
        notes: A number or two to write beside each line.
        title: Title; None leaves out title, note and legend.
        xlabel: What is drawn, with units.
        ax: Where to draw.

    Raises:
        ValueError: If the lengths differ or nothing is given.
    """
    size = len(names)
    if not size or not len(differences) == len(lows) == len(highs) == size:
        raise ValueError(
            f"{size} names need as many differences and ends, but {len(differences)}, {len(lows)} and {len(highs)} "
            "were given."
        )
    ax = canvas(ax, (7.2, 1.5 + 0.36 * size))
    center, low, high = (np.asarray(v, float) for v in (differences, lows, highs))
    kinds = [
        ("better", high < 0, BLUE, "o"),
        ("worse", low > 0, VERMILLION, "s"),
        ("no difference", (low <= 0) & (high >= 0), NEUTRAL, "D"),
    ]
    place = np.arange(size)[::-1]
    for name, chosen, color, marker in kinds:
        if chosen.any():
            bars = whiskers(center[chosen], low[chosen], high[chosen])
            ax.errorbar(
                center[chosen], place[chosen], xerr=bars, fmt=marker, color=color, capsize=3, markersize=5, label=name
            )
    ax.axvline(0, color=NEUTRAL, linewidth=1, linestyle="--")
    name_ticks(ax.yaxis, place, names)
    ax.set_ylim(-0.7, size - 0.3)
    ax.set_xlabel(xlabel)
    if notes is not None:
        for y, note in zip(place, notes):
            ax.annotate(
                note,
                (1.01, y),
                xycoords=("axes fraction", "data"),
                va="center",
                fontsize="small",
                annotation_clip=False,
                parse_math=False,
            )
    return finish(
        ax, title, pad=24, loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=3, borderaxespad=0.2
    )  # the legend stands between title and picture
