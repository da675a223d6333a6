"""The picture of what is gained by refusing the least certain predictions."""

from collections.abc import Mapping
from typing import Any, Unpack

import numpy as np

from bayesrnn import metrics
from bayesrnn.metrics.score import Options
from bayesrnn.plots.intervals import by_name, is_continuous
from bayesrnn.plots.style import CYCLE, NEUTRAL, Axes, canvas, finish, percent_axis, short
from bayesrnn.predictive import Predictive


def risk_coverage(
    predictives: "Predictive | Mapping[str, Predictive]",
    target: Any = None,
    *,
    units: str = "",
    title: str | None = "Risk against coverage",
    ax: Axes | None = None,
    **options: Unpack[Options],
) -> Axes:
    """Draw the error of the targets that are kept when the least certain are refused first.

    Error: share of wrong classes, or root mean squared error. Ties of the uncertainty are kept or refused in
    proportion, so the order of the rows does not matter. Dashed: refusing at random.

    Args:
        predictives: One, or several by name, on the same rows; classes and tokens (ranked by confidence) or continuous
            (ranked by variance).
        target: Shape of the predictives.
        units: Units of a continuous target.
        title: Title; None leaves out title, note and legend.
        ax: Where to draw.
        **options: mask, lengths and nan of `metrics.Options`.
    """
    import seaborn as sns

    ax = canvas(ax)
    named = by_name(predictives)
    squared = is_continuous(next(iter(named.values())))
    notes = []
    for k, (name, predictive) in enumerate(named.items()):
        curve = metrics.risk_coverage(predictive, target, **options)
        kept, shown = curve.coverage, np.sqrt(curve.risk) if squared else curve.risk
        color = CYCLE[k % len(CYCLE)]
        label = name or "most certain first"
        sns.lineplot(
            x=kept, y=shown, estimator=None, sort=False, color=color, linewidth=2, label=label, legend=False, ax=ax
        )
        ax.axhline(shown[-1], color=color if name else NEUTRAL, linewidth=1, linestyle="--", alpha=0.7)
        half = float(np.interp(0.5, kept, shown))
        number = (short(shown[-1]), short(half)) if squared else (f"{shown[-1]:.1%}", f"{half:.1%}")
        notes.append(f"{name + ': ' if name else ''}all {number[0]}, surest half {number[1]}")
    percent_axis(ax.xaxis)
    ax.set_xlim(0, 1)
    ax.set_ylim(0, 1.3 * ax.get_ylim()[1])
    if not squared:
        _share_axis(ax, lines=len(notes))
    ax.set_xlabel("targets kept (the least certain are refused first)")
    unit = f" [{units}]" if units else ""
    ax.set_ylabel(f"root mean squared error of those kept{unit}" if squared else "wrong among those kept")
    return finish(ax, title, "\n".join(notes), loc="lower right")


def _share_axis(ax: Axes, lines: int) -> None:
    """Label shares of wrong targets up to 100 %; above is room for the note."""
    from matplotlib.ticker import PercentFormatter

    top = min(ax.get_ylim()[1], 1.05 + 0.07 * lines)
    top = top if top > 1e-9 else 0.1  # without a single wrong target the limits are rounding noise
    ax.set_ylim(0, top)
    ax.set_yticks([tick for tick in ax.get_yticks() if 0.0 <= tick <= min(top, 1.0)])
    ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0 if top > 0.1 else None))  # 0.2 % is not 0 %
