"""Pictures of whether class probabilities keep their word."""

from typing import Any, Unpack

import numpy as np

from bayesrnn._checks import check_whole
from bayesrnn.metrics._reliability import bin_index, check_classes, edge_digits, top_label_items
from bayesrnn.metrics.pairs import Pairs, pair
from bayesrnn.metrics.score import Array, Options
from bayesrnn.plots.bands import ratio_band, whiskers
from bayesrnn.plots.style import BLUE, NEUTRAL, SKY, VERMILLION, Axes, canvas, finish, ink, percent_axis
from bayesrnn.predictive import Predictive, TokenPredictive


def reliability_diagram(
    predictive: Predictive,
    target: Any = None,
    *,
    bins: int = 15,
    title: str | None = "Reliability",
    ax: Axes | None = None,
    **options: Unpack[Options],
) -> Axes:
    r"""Draw the accuracy against the confidence (largest probability) in bins of equal width, with their counts.

    Points carry 95 % bootstrap intervals over sequences, where there are several. The gray bars show where a calibrated
    model would lie: its targets drawn from its own confidences (consistency resampling). Bars at the foot: how many
    targets a bin has.

    Args:
        predictive: Of classes, or of tokens that kept `confidence` and `correct`.
        target: Class indices, (rows, ...); a token predictive knows its own.
        bins: Number of bins, [k/bins, (k+1)/bins), the last closed.
        title: Title; None leaves out title, note and legend.
        ax: Where to draw.
        **options: mask, lengths, sequences and seed of `metrics.Options`.

    Source: Guo et al. 2017 (arXiv:1706.04599); the gray bars: Bröcker & Smith 2007.
    """
    check_whole(bins, "bins", 1)
    ax = canvas(ax, (5.2, 5.0))
    pairs, confidence, correct = _confidence_and_correct(predictive, target, options)
    index = bin_index(confidence, bins, digits=edge_digits(predictive))
    member = np.eye(bins)[index]
    count = member.sum(0)
    filled = count > 0
    center, accuracy = ((member * v[:, None]).sum(0)[filled] / count[filled] for v in (confidence, correct))
    seed = options.get("seed", 0)
    low, high = (e[filled] for e in ratio_band(member * correct[:, None], member, pairs.sequences, seed=seed))
    null_low, null_high = (e[filled] for e in _consistency(confidence, index, bins, seed))
    ax.plot([0, 1], [0, 1], color=NEUTRAL, linewidth=1, linestyle="--")
    ax.bar(
        center, null_high - null_low, 0.5 / bins, bottom=null_low, color=NEUTRAL, alpha=0.35, linewidth=0,
        label="calibrated, this size",
    )  # fmt: skip
    bars = whiskers(accuracy, low, high)
    several = bool((high > low).any())  # one sequence tells nothing of what another would give
    observed = "observed, 95 %" if several else "observed"
    for many, face, label in ((True, BLUE, observed), (False, "none", "fewer than 10")):
        shown = (count[filled] >= 10) == many
        if shown.any():
            ax.errorbar(
                center[shown], accuracy[shown], yerr=[b[shown] for b in bars], color=BLUE, marker="o", markersize=5,
                capsize=2, linestyle="-" if many else "none", markerfacecolor=face, label=label, clip_on=False,
            )  # fmt: skip
    _count_bars(ax, count, bins)
    for axis in (ax.xaxis, ax.yaxis):
        percent_axis(axis)
    ax.set(xlim=(0, 1), ylim=(-0.18, 1), xlabel="confidence (largest probability; bars: targets)", ylabel="accuracy")
    ax.set_aspect("equal")
    gap = float(confidence.mean() - correct.mean())
    note = f"mean confidence {confidence.mean():.1%}\naccuracy {correct.mean():.1%} (gap {100 * gap:+.1f} points)"
    return finish(
        ax,
        title,
        note,
        pad=22,
        loc="lower right",
        bbox_to_anchor=(1.0, 1.0),
        ncols=3,
        borderaxespad=0.2,
        columnspacing=1.0,
    )  # the legend stands between picture and note: no corner is out of reach of the bars


def confidence_histogram(
    predictive: Predictive,
    target: Any = None,
    *,
    bins: int = 15,
    title: str | None = "Confidence histogram",
    ax: Axes | None = None,
    **options: Unpack[Options],
) -> Axes:
    """Draw how many targets have which confidence, right and wrong stacked. Arguments as in `reliability_diagram`."""
    import seaborn as sns

    check_whole(bins, "bins", 1)
    ax = canvas(ax)
    _, confidence, correct = _confidence_and_correct(predictive, target, options)
    outcome = np.where(correct > 0.5, "right", "wrong")
    colors = {name: color for name, color in (("wrong", VERMILLION), ("right", SKY)) if name in outcome}
    sns.histplot(
        x=confidence, hue=outcome, hue_order=list(colors), palette=colors, bins=np.linspace(0, 1, bins + 1).tolist(),
        multiple="stack", alpha=1, edgecolor=ax.get_facecolor(), legend=False, ax=ax,
    )  # fmt: skip
    for bars, name in zip(ax.containers[-len(colors) :], reversed(colors)):  # seaborn draws from the bottom up
        bars.set_label(name)
    for value, name, style in ((confidence.mean(), "mean confidence", "-"), (correct.mean(), "accuracy", "--")):
        ax.axvline(float(value), color=NEUTRAL, linewidth=1.6, linestyle=style, label=f"{name} {value:.1%}")
    percent_axis(ax.xaxis)
    ax.set(xlim=(0, 1), xlabel="confidence (largest probability)", ylabel="targets")
    return finish(ax, title, loc="best")


def _confidence_and_correct(predictive: Predictive, target: Any, options: Options) -> tuple[Pairs, Array, Array]:
    check_classes(predictive, "a picture of confidence")
    pairs = pair(predictive, target, options, need_target=not isinstance(predictive, TokenPredictive))
    both = pairs.take(top_label_items(pairs.predictive, pairs.target))
    return pairs, both[:, 0], both[:, 1]


def _consistency(confidence: Array, index: Any, bins: int, seed: int) -> tuple[Array, Array]:
    generator = np.random.default_rng(seed)
    count = np.maximum(np.bincount(index, minlength=bins), 1)
    shares = [np.bincount(index, generator.random(len(index)) < confidence, bins) / count for _ in range(300)]
    low, high = np.quantile(np.stack(shares), [0.025, 0.975], axis=0)
    return low, high


def _count_bars(ax: Axes, count: Array, bins: int) -> None:
    """Draw the counts below the picture's zero, where they hide nothing."""
    top = 0.11 / count.max()
    ax.bar((np.arange(bins) + 0.5) / bins, count * top, 0.9 / bins, bottom=-0.17, color=SKY, alpha=0.8)
    for k in np.argsort(-count)[:3]:
        if count[k]:
            ax.annotate(
                f"{count[k]:.0f}",
                ((k + 0.5) / bins, count[k] * top - 0.17),
                ha="center",
                va="bottom",
                fontsize="x-small",
            )
    ax.axhline(0, color=ink(), linewidth=0.8)
    ax.set_yticks(np.linspace(0, 1, 6))
