"""Pictures of interval coverage: against the level, and against the width."""

from collections.abc import Mapping, Sequence
from typing import Any, Unpack

import numpy as np

from bayesrnn import metrics
from bayesrnn._checks import check_level, check_levels
from bayesrnn.metrics._pit import pit_ends
from bayesrnn.metrics.bootstrap import unwarned
from bayesrnn.metrics.pairs import Pairs, pair
from bayesrnn.metrics.score import Array, Options
from bayesrnn.plots.bands import binomial_band, effective_size, ratio_band, whiskers
from bayesrnn.plots.style import BLUE, CYCLE, MARKERS, NEUTRAL, Axes, canvas, finish, percent_axis, with_units
from bayesrnn.predictive import ContinuousPredictive, Predictive

_GRID = np.linspace(0.02, 0.98, 49)


_LEVELS = (0.5, 0.8, 0.95)


def interval_reliability(
    predictive: Predictive,
    target: Any,
    *,
    level: float = 0.9,
    label: str = "observed",
    title: str | None = "Interval reliability",
    ax: Axes | None = None,
    **options: Unpack[Options],
) -> Axes:
    """Draw which share of the targets the central intervals hold, against the share they promise.

    Blue: the observed share with its 95 % bootstrap band over sequences. Gray: where a calibrated model of this size
    would lie (95 %). Below the diagonal the intervals are too narrow.

    Args:
        predictive: Of a continuous or count target, (rows, ...).
        target: Same shape.
        level: Which level the note names.
        label: What the legend calls the observed share.
        title: Title; None leaves out title, note and legend.
        ax: Where to draw; a new Figure by default.
        **options: mask, lengths, nan, sequences and seed of `metrics.Options`.

    Example:
        >>> import torch
        >>> ax = interval_reliability(Predictive.from_gaussian(torch.zeros(99), torch.ones(99)), torch.randn(99))
        >>> ax.get_xlabel()
        'nominal level of the interval'
    """
    ax = canvas(ax, (5.0, 4.8))
    pairs = pair(predictive, target, options)
    held = share_inside(pairs, _GRID)
    low, high = ratio_band(held, np.ones((len(held), 1)), pairs.sequences, seed=options.get("seed", 0))
    null = binomial_band(_GRID, effective_size(held, pairs.sequences))
    errors = Options(**options)
    errors["interval"] = 0.95 if int(pairs.sequences.max()) > 0 else None  # one sequence tells nothing about others
    with unwarned():
        score = metrics.coverage(predictive, target, level=check_level(level), **errors)
    ax.fill_between(_GRID, *null, color=NEUTRAL, alpha=0.25, linewidth=0, label="calibrated, this sample size")
    ax.plot([0, 1], [0, 1], color=NEUTRAL, linewidth=1, linestyle="--")
    ax.fill_between(_GRID, low, high, color=BLUE, alpha=0.25, linewidth=0, label="95 % bootstrap band")
    ax.plot(_GRID, held.mean(0), color=BLUE, linewidth=2, label=label)
    ax.plot([level], [score.value], "o", color=BLUE, markersize=6)
    for axis in (ax.xaxis, ax.yaxis):
        percent_axis(axis)
    ax.set(xlim=(0, 1), ylim=(0, 1), xlabel="nominal level of the interval", ylabel="targets inside")
    ax.set_aspect("equal")
    note = f"{level * 100:g} % intervals hold {score.value:.1%}"
    if score.interval is not None:
        note += f"\n95 % interval [{score.interval[0]:.1%}, {score.interval[1]:.1%}]"
    return finish(ax, title, note, loc="lower right")


def coverage_width(
    predictives: "Predictive | Mapping[str, Predictive]",
    target: Any,
    *,
    levels: Sequence[float] | None = None,
    units: str = "",
    title: str | None = "Coverage against width",
    ax: Axes | None = None,
    **options: Unpack[Options],
) -> Axes:
    """Draw coverage against mean width for several levels: narrow is good only where the coverage is kept.

    Args:
        predictives: One, or several by name, on the same rows.
        target: Shape of the predictives.
        levels: Levels of the intervals; a dotted line marks the share each promises. By default .5, .8 and .95, as
            far as samples can resolve them.
        units: Units of the target.
        title: Title; None leaves out title, note and legend.
        ax: Where to draw.
        **options: See `interval_reliability`.
    """
    ax = canvas(ax)
    named = by_name(predictives)
    asked = [p for p in _LEVELS if all(_resolves(one, p) for one in named.values())] if levels is None else levels
    ordered = check_levels(asked)
    for level in ordered:
        ax.axhline(level, color=NEUTRAL, linewidth=0.8, linestyle=":")
    for k, (name, predictive) in enumerate(named.items()):
        pairs = pair(predictive, target, options)
        inside, widths = zip(*(inside_and_width(pairs, level) for level in ordered))
        held = np.stack(inside, 1)
        share, spread = held.mean(0), np.array([w.mean() for w in widths])
        low, high = ratio_band(held, np.ones((len(held), 1)), pairs.sequences, seed=options.get("seed", 0))
        ax.errorbar(
            spread, share, yerr=whiskers(share, low, high), capsize=3, label=name,
            color=CYCLE[k % len(CYCLE)], marker=MARKERS[k % len(MARKERS)],
        )  # fmt: skip
        if k == 0:
            for x, top, level in zip(spread, np.maximum(high, share), ordered):
                ax.annotate(
                    f"{level * 100:g} %", (x, top), (0, 5), textcoords="offset points", ha="center", fontsize="small"
                )
    percent_axis(ax.yaxis)
    ax.margins(0.12)
    ax.set_xlabel(with_units("mean width of the interval", units))
    ax.set_ylabel("targets inside")
    return finish(ax, title, "bars: 95 % bootstrap over sequences\ndotted: promised share", loc="lower right")


def _resolves(predictive: Any, level: float) -> bool:
    """Return whether the ends of an interval can be known: few samples do not resolve a high level."""
    try:
        predictive[:1].interval(level)
    except ValueError:
        return False
    return True


def share_inside(pairs: Pairs, levels: Array) -> Array:
    r"""Return whether each target lies in the central interval of each level, (n, levels), without inverting the cdf.

    $y$ lies inside where $|2 F(y) - 1| \le p$; where the distribution jumps at y (counts), the share of the jump
    inside.
    """
    lower, upper = (pairs.take(end)[:, None] for end in pit_ends(pairs.predictive, pairs.target))
    low, high = (1 - levels) / 2, (1 + levels) / 2
    jump = upper - lower
    inside = np.clip(np.minimum(upper, high) - np.maximum(lower, low), 0, None) / np.where(jump > 1e-12, jump, 1.0)
    return np.where(jump > 1e-12, inside, (lower >= low) & (upper <= high))


def inside_and_width(pairs: Pairs, level: float) -> tuple[Array, Array]:
    """Return whether each target lies in the central interval (ends included), and the interval's width, (n,) each."""
    low, high = pairs.predictive.interval(level)
    target = pairs.target.double()  # type: ignore[union-attr]
    return pairs.take((low <= target) & (target <= high)), pairs.take(high - low)


def by_name(predictives: "Predictive | Mapping[str, Predictive]") -> dict[str, Predictive]:
    """Return predictives by name; a single one has no name."""
    named = dict(predictives) if isinstance(predictives, Mapping) else {"": predictives}
    if not named:
        raise ValueError("no predictive was given: pass one, or a mapping from names to predictives.")
    return named


def is_continuous(predictive: Predictive) -> bool:
    """Return whether the target is a number rather than a class or a token."""
    return isinstance(predictive, ContinuousPredictive)
