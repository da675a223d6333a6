"""The picture of whether a large predicted spread means a large error."""

from typing import Any, Unpack

import numpy as np
import torch

from bayesrnn._checks import check_whole
from bayesrnn.metrics._reliability import equal_mass_bins
from bayesrnn.metrics.pairs import pair
from bayesrnn.metrics.regression import check_continuous
from bayesrnn.metrics.score import Options
from bayesrnn.plots.bands import ratio_replicates, whiskers
from bayesrnn.plots.style import BLUE, NEUTRAL, Axes, canvas, finish, with_units
from bayesrnn.predictive import Predictive


def error_against_spread(
    predictive: Predictive,
    target: Any,
    *,
    bins: int = 10,
    units: str = "",
    title: str | None = "Error against predicted spread",
    ax: Axes | None = None,
    **options: Unpack[Options],
) -> Axes:
    r"""Draw the root mean squared error against the root mean predicted variance in bins of equal count.

    Calibrated: on the diagonal. Above it the model is too sure of itself; a flat line says that the spread does not
    tell easy from hard targets.

    Args:
        predictive: Of a continuous target, (rows, ...).
        target: Same shape.
        bins: Number of bins; fewer where the sample is small (at least 10 targets a bin).
        units: Units of the target.
        title: Title; None leaves out title, note and legend.
        ax: Where to draw.
        **options: mask, lengths, nan, sequences and seed of `metrics.Options`.

    Source: Levi et al. 2022 (arXiv:1905.11659), section 4.
    """
    check_whole(bins, "bins", 1)
    check_continuous(predictive, "error_against_spread")
    ax = canvas(ax, (5.0, 4.8))
    pairs = pair(predictive, target, options)
    stacked = torch.stack([(pairs.target - pairs.predictive.mean) ** 2, pairs.predictive.variance], -1)
    squared, variance = pairs.take(stacked).T
    which = equal_mass_bins(variance, max(1, min(bins, len(variance) // 10)))
    member = np.eye(int(which.max()) + 1)[which]
    count = member.sum(0)
    spread, observed = (np.sqrt((member * v[:, None]).sum(0) / count) for v in (variance, squared))
    replicates = np.sqrt(
        ratio_replicates(member * squared[:, None], member, pairs.sequences, seed=options.get("seed", 0))
    )
    low, high = np.nanquantile(replicates, [0.025, 0.975], axis=0)
    top = 1.08 * max(float(high.max()), float(spread.max()))
    ax.plot([0, top], [0, top], color=NEUTRAL, linewidth=1, linestyle="--", label="calibrated")
    ax.errorbar(
        spread, observed, yerr=whiskers(observed, low, high), color=BLUE, marker="o", markersize=5, capsize=3,
        label="bins of equal count, 95 % bootstrap",
    )  # fmt: skip
    ax.set(xlim=(0, top), ylim=(0, top))
    ax.set_aspect("equal")
    ax.set_xlabel(with_units("predicted: root mean variance", units))
    ax.set_ylabel(with_units("observed: root mean squared error", units))
    ratio = float(np.sqrt(squared.mean() / variance.mean())) if variance.mean() > 0 else float("inf")
    return finish(ax, title, f"overall error / spread = {ratio:.2f}", loc="lower right")
