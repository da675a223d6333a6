"""The picture of which class is taken for which."""

from typing import Any, Unpack

import numpy as np

from bayesrnn.metrics.confusion import confusion_matrix as count
from bayesrnn.metrics.score import Options
from bayesrnn.plots.style import Axes, canvas, finish, name_ticks
from bayesrnn.predictive import Predictive

_MOST_NUMBERED = 15  # with more classes the cells are too small for numbers
_MOST_NAMED = 25
_LONGEST = 22


def confusion_matrix(
    predictive: Predictive,
    target: Any,
    *,
    title: str | None = "Confusion matrix",
    ax: Axes | None = None,
    **options: Unpack[Options],
) -> Axes:
    """Draw which class is predicted for the targets of each class: shades are shares of a row, numbers are targets.

    Args:
        predictive: Of classes.
        target: Class numbers, or names where the predictive has them.
        title: Title; None leaves out title, note and legend.
        ax: Where to draw.
        **options: mask, lengths and nan of `metrics.Options`.
    """
    import seaborn as sns
    from matplotlib.ticker import PercentFormatter

    matrix = count(predictive, target, **options)
    names = [name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…" for name in matrix.class_names]
    classes = len(names)
    side = min(max(2.6, 0.5 * classes), 6.0)
    longest = max(map(len, names))
    upright = 0.085 * longest > side / classes or classes > _MOST_NUMBERED
    ax = canvas(ax, (side + 2.2 + 0.08 * longest, side + 1.3 + 0.08 * longest * upright))
    numbered = classes <= _MOST_NUMBERED
    sns.heatmap(
        matrix.shares, cmap="Blues", vmin=0, vmax=1, square=True, annot=matrix.counts if numbered else False,
        fmt="d", annot_kws={"fontsize": "small" if classes <= 8 else "x-small"}, xticklabels=False, yticklabels=False,
        cbar_kws={"label": "share of the observed class", "shrink": 0.8, "format": PercentFormatter(1.0)}, ax=ax,
        linewidths=0.6 if numbered else 0.0, linecolor=ax.get_facecolor(),
    )  # fmt: skip
    shown = np.arange(0, classes, -(-classes // _MOST_NAMED))
    for axis in (ax.xaxis, ax.yaxis):
        name_ticks(axis, shown + 0.5, [names[k] for k in shown])
    ax.tick_params(axis="x", rotation=90 if upright else 0, length=2)
    ax.tick_params(axis="y", rotation=0, length=2)
    if classes > _MOST_NUMBERED:
        ax.tick_params(labelsize="x-small")
    ax.set(xlabel="predicted", ylabel="observed")
    total = matrix.counts.sum()
    return finish(ax, title, f"{matrix.counts.trace() / total:.1%} right")
