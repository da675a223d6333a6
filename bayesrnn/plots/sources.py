"""A picture of where epistemic variance comes from."""

from typing import Any

import numpy as np

from bayesrnn._checks import check_whole
from bayesrnn.plots.style import BLUE, NEUTRAL, Axes, canvas, finish, name_ticks, percent_axis


def uncertainty_sources(
    linear: Any,
    by: str = "site",
    *,
    row: int | None = None,
    most: int = 12,
    title: str | None = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw the shares of the first-order epistemic variance: by site, layer, direction, feature or word.

    Args:
        linear: What `bayesrnn.linearize` returned.
        by: What to add up over, as in its `sources`.
        row: Which row; all rows together if not given. Words are shown for a single row.
        most: Bars to draw; smaller ones are one bar, `others`.
        title: Title; says the row by default; None leaves it out.
        ax: Where to draw.

    Raises:
        ValueError: If there is no such row or group, or no variance at all.

    Example:
        >>> import torch, bayesrnn as br
        >>> layer = br.nn.LSTM(3, 8, dropout=0.25, batch_first=True)
        >>> head = lambda out: br.inference.point(out[0][:, -1].sum(1))
        >>> ax = uncertainty_sources(br.linearize(layer, torch.zeros(2, 5, 3), likelihood=head))
        >>> [label.get_text() for label in ax.get_yticklabels()]
        ['hidden', 'input']
    """
    frame = linear.sources(by)
    if row is not None:
        frame = frame[frame["row"] == row]
    if not len(frame):
        raise ValueError(f"there is no row {row!r}: the rows are numbered 0 to {len(linear) - 1}.")
    parts = frame.groupby(by)["variance"].sum().sort_values(ascending=False)
    total = float(parts.sum())
    if not total > 0:
        raise ValueError("the first-order variance is zero: no output moves with its masks.")
    shares = {str(name): value / total for name, value in parts.items()}
    names = list(shares)[: check_whole(most, "most")]
    values = [shares[name] for name in names]
    if len(shares) > len(names):
        names, values = [*names, "others"], [*values, 1.0 - sum(values)]
    ax = canvas(ax, (6.4, 1.2 + 0.3 * len(names)))
    place = np.arange(len(names))
    ax.barh(place, values, color=[NEUTRAL if name in ("others", "elsewhere") else BLUE for name in names], height=0.7)
    name_ticks(ax.yaxis, place, names)
    ax.invert_yaxis()
    percent_axis(ax.xaxis)
    ax.set_xlabel("share of the first-order epistemic variance")
    of = "all rows" if row is None else f"row {row}"
    return finish(ax, f"Where the uncertainty of {of} comes from, by {by}" if title == "" else title)
