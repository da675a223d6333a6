"""What every picture shares: an Axes to draw on, colors that color-blind readers tell apart, the headline."""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes as Axes
else:
    Axes = Any  # matplotlib is imported where something is drawn

BLUE, ORANGE, GREEN, VERMILLION, PURPLE, SKY, YELLOW = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442",
)  # fmt: skip
"""Okabe and Ito's palette (Wong 2011, Nature Methods 8, 441): distinct under every common color blindness."""

CYCLE = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY)
MARKERS = ("o", "s", "^", "D", "v", "P")
_LINE = 13.0
"""Points that a line of small text takes."""
NEUTRAL = "0.5"
"""Mid gray: visible on a light and on a dark background."""


def canvas(ax: Axes | None, size: tuple[float, float] = (6.4, 4.2)) -> Axes:
    """Return `ax`, or the Axes of a new Figure that pyplot knows nothing about."""
    if ax is not None:
        return ax
    from matplotlib.figure import Figure

    axes = Figure(figsize=size, layout="constrained").add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return axes


def ink() -> str:
    """Return the text color of the style in force: near black on light paper, near white on dark."""
    from matplotlib import rcParams

    return str(rcParams["text.color"])


def blended(color: str, share: float, ax: Axes) -> tuple[float, ...]:
    """Return the color that `color` at an opacity of `share` has on the paper of `ax`."""
    from matplotlib.colors import to_rgb

    paper = to_rgb(ax.get_facecolor()) if ax.get_facecolor()[3] > 0 else to_rgb(ax.figure.get_facecolor())
    return tuple(share * c + (1.0 - share) * p for c, p in zip(to_rgb(color), paper, strict=True))


def short(value: float) -> str:
    """Return a number for a label: three digits, and no exponent below a million."""
    return f"{value:.0f}" if 100 <= abs(value) < 1e6 else f"{value:#.3g}".rstrip(".")


def finish(ax: Axes, title: str | None, note: str = "", *, pad: float | None = None, **key: Any) -> Axes:
    """Write title, note and legend, and return the Axes; names are shown as they are, a "$" is no mathematics.

    Args:
        ax: Where to write.
        title: The title; None leaves out title, note and legend (a panel of a larger picture has its own).
        note: The numbers that matter, a line below the title: nothing that is drawn lies under it.
        pad: Points between title and picture.
        **key: Options of the legend, which is left out where there are none; `loc` among them.
    """
    if title is None:
        _plain_labels(ax)
    else:
        headline(ax, title, note, pad=pad)
        if key:
            legend(ax, **key)
    return ax


def short_dates(ax: Axes, times: Any) -> None:
    """Label an axis of dates so that labels do not meet: the year and month once, days between."""
    kind = getattr(getattr(times, "dtype", None), "kind", "")
    if kind != "M" and not (kind == "O" and isinstance(times.flat[0], datetime)):  # dates with a zone are objects
        return
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    locator = AutoDateLocator(minticks=3, maxticks=10)
    ax.xaxis.set_major_locator(locator)
    ax.xaxis.set_major_formatter(ConciseDateFormatter(locator))


def headline(ax: Axes, title: str, note: str = "", *, pad: float | None = None) -> None:
    """Write the title above the picture, and the main numbers on lines of their own below the title."""
    from matplotlib import rcParams

    _plain_labels(ax)
    pad = float(rcParams["axes.titlepad"]) if pad is None else pad
    room = _LINE * (note.count("\n") + 1) if note else 0.0
    ax.set_title(title, loc="left", fontweight="bold", pad=pad + room, parse_math=False)
    if note:
        place: dict[str, Any] = {"xycoords": "axes fraction", "xytext": (0, pad), "textcoords": "offset points"}
        ax.annotate(note, (0, 1), **place, fontsize="small", va="bottom", annotation_clip=False, parse_math=False)


def legend(ax: Axes, **options: Any) -> None:
    """Add a small frameless legend if anything is labelled."""
    handles: list[Any] = [*ax.lines, *ax.containers, *ax.collections]
    for handle in handles:
        name = str(handle.get_label())
        if name.startswith("_") and not name.startswith(("_child", "_nolegend_", "_container")):
            handle.set_label(f" {name}")  # matplotlib leaves out names that begin with "_"
    if ax.get_legend_handles_labels()[0]:
        for text in ax.legend(frameon=False, fontsize="small", **options).get_texts():
            text.set_parse_math(False)


def _plain_labels(ax: Axes) -> None:
    for axis in (ax.xaxis, ax.yaxis):
        axis.label.set_parse_math(False)


def name_ticks(axis: Any, places: Any, names: Sequence[str]) -> None:
    """Put ticks with names on an axis; a "$" in a name is no mathematics."""
    axis.set_ticks(places, list(names), parse_math=False)


def with_units(name: str, units: str) -> str:
    """Return an axis label: "width [MW]", or only the name where there are no units."""
    return f"{name} [{units}]" if units else name


def squared(units: str) -> str:
    """Return the units of a variance: "MW²", "(km/h)²", or nothing."""
    return units if not units else f"{units}²" if units.isalpha() else f"({units})²"


def percent_axis(axis: Any) -> None:
    """Write the ticks of an axis of shares as percent."""
    from matplotlib.ticker import PercentFormatter

    axis.set_major_formatter(PercentFormatter(1.0, decimals=None))
