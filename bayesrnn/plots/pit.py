"""Pictures of the probability integral transform: flat where the predictive distribution is right."""

from typing import Any, Unpack

import numpy as np

from bayesrnn._checks import check_level, check_whole
from bayesrnn.metrics._pit import check_ordered, pit_ends
from bayesrnn.metrics.pairs import Pairs, pair
from bayesrnn.metrics.score import Array, Options
from bayesrnn.plots.bands import binomial_band, ecdf_band, effective_size, ratio_band, whiskers
from bayesrnn.plots.style import BLUE, NEUTRAL, Axes, canvas, finish, ink
from bayesrnn.predictive import Predictive


def pit_histogram(
    predictive: Predictive,
    target: Any,
    *,
    bins: int = 10,
    label: str = "observed",
    title: str | None = "PIT histogram",
    ax: Axes | None = None,
    **options: Unpack[Options],
) -> Axes:
    r"""Draw the histogram of $F(y)$: flat if calibrated, U-shaped if too narrow, a hump if too wide, sloped if biased.

    The gray band holds each bar of a calibrated model of this size with probability 95 %; whiskers are 95 % bootstrap
    intervals over sequences. Where the distribution has jumps, a target spreads its mass over them (not randomized).

    Args:
        predictive: Of an ordered target, (rows, ...).
        target: Same shape.
        bins: Number of bars.
        label: What the legend calls the observed share.
        title: Title; None leaves out title, note and legend.
        ax: Where to draw.
        **options: mask, lengths, nan, sequences and seed of `metrics.Options`.

    Source: Dawid 1984; Czado, Gneiting & Held 2009 for the distributions with jumps.
    """
    import seaborn as sns

    check_whole(bins, "bins", 2)
    check_ordered(predictive, "the PIT histogram")
    ax = canvas(ax)
    edges = np.linspace(0, 1, bins + 1)
    pairs = pair(predictive, target, options)
    mass = np.diff(_below(pairs, edges), axis=1)
    share = mass.mean(0) * bins
    low, high = (
        e * bins for e in ratio_band(mass, np.ones((len(mass), 1)), pairs.sequences, seed=options.get("seed", 0))
    )
    null = [float(e[0]) * bins for e in binomial_band(np.array([1 / bins]), effective_size(mass, pairs.sequences))]
    ax.axhspan(null[0], null[1], color=NEUTRAL, alpha=0.25, linewidth=0, label="calibrated, this sample size")
    middle = (edges[:-1] + edges[1:]) / 2
    sns.histplot(
        x=middle,
        weights=share,
        bins=edges.tolist(),
        color=BLUE,
        alpha=0.75,
        edgecolor=ax.get_facecolor(),
        label=label,
        ax=ax,
    )
    ax.errorbar(
        middle, share, yerr=whiskers(share, low, high), fmt="none", ecolor=ink(), elinewidth=1,
        capsize=2, label="95 % bootstrap interval",
    )  # fmt: skip
    ax.axhline(1, color=NEUTRAL, linewidth=1, linestyle="--")
    ax.set(xlim=(0, 1), xlabel="probability integral transform F(y)", ylabel="density (1 if calibrated)")
    ax.set_ylim(0, 1.35 * max(float(high.max()), null[1]))
    return finish(ax, title, _moments(pairs), loc="upper right")


def pit_ecdf(
    predictive: Predictive,
    target: Any,
    *,
    level: float = 0.95,
    title: str | None = "PIT, cumulative",
    ax: Axes | None = None,
    **options: Unpack[Options],
) -> Axes:
    r"""Draw the empirical cdf of $F(y)$ minus the uniform cdf, with a simultaneous band.

    The whole curve of a calibrated model stays inside the band with probability `level`. Arguments as in
    `pit_histogram`.

    Source: Säilynoja, Bürkner & Vehtari 2022 (arXiv:2103.10522).
    """
    check_level(level)
    check_ordered(predictive, "the PIT curve")
    ax = canvas(ax)
    grid = np.linspace(0.01, 0.99, 99)
    pairs = pair(predictive, target, options)
    below = _below(pairs, grid)
    size = effective_size(below, pairs.sequences)
    low, high = ecdf_band(grid, size, level=level, seed=options.get("seed", 0))
    curve = below.mean(0)
    outside = float(((curve < low) | (curve > high)).mean())
    name = f"{level * 100:g} % simultaneous band"
    ax.fill_between(grid, low - grid, high - grid, color=NEUTRAL, alpha=0.25, linewidth=0, label=name)
    ax.axhline(0, color=NEUTRAL, linewidth=1, linestyle="--")
    ax.plot(grid, curve - grid, color=BLUE, linewidth=2, label="observed")
    ax.set(xlim=(0, 1), xlabel="probability integral transform F(y)", ylabel="cumulative share − expected")
    top = 1.6 * max(float(np.abs(curve - grid).max()), float((high - grid).max()))
    ax.set_ylim(-top, top)
    verdict = "inside the band everywhere" if outside == 0 else f"outside the band over {outside:.0%} of the range"
    return finish(ax, title, f"{verdict}\nband for {size:.0f} independent targets", loc="lower right")


def _below(pairs: Pairs, grid: Array) -> Array:
    """Return for each target how much of its transform lies at or below each grid point, (n, grid)."""
    lower, upper = (pairs.take(end)[:, None] for end in pit_ends(pairs.predictive, pairs.target))
    jump = upper - lower
    sloped = np.clip((grid - lower) / np.where(jump > 1e-12, jump, 1.0), 0, 1)
    step = np.where(grid >= 1, 1.0, (upper <= grid) & (grid > 0))
    return np.where(jump > 1e-12, sloped, step)


def _moments(pairs: Pairs) -> str:
    lower, upper = (pairs.take(end) for end in pit_ends(pairs.predictive, pairs.target))
    mean = 0.5 * (lower + upper).mean()
    variance = ((lower**2 + lower * upper + upper**2) / 3).mean() - mean**2
    return f"mean {mean:.2f} (calibrated 0.50)\nvariance × 12: {12 * variance:.2f} (calibrated 1.00)"
