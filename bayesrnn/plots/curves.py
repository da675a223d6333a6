"""Pictures of curves: losses per epoch, and a score against the number of draws."""

from collections.abc import Mapping, Sequence

import numpy as np

from bayesrnn.plots.style import BLUE, CYCLE, MARKERS, NEUTRAL, VERMILLION, Axes, canvas, finish


def learning_curves(
    curves: Mapping[str, Sequence[float] | Sequence[Sequence[float]]],
    *,
    best: str | None = None,
    ylabel: str = "loss [nats]",
    xlabel: str = "epoch",
    title: str | None = "Learning curves",
    ax: Axes | None = None,
) -> Axes:
    """Draw numbers per epoch, and mark where one of them was best (smallest).

    Args:
        curves: Name → one value per epoch, NaN where it was not measured; or (seeds, epochs), drawn as the mean over
            the seeds in a band from the smallest to the largest.
        best: Which curve chose the model, e.g. "validation".
        ylabel: What the numbers are, with units.
        xlabel: What is counted.
        title: Title; None leaves out title, note and legend.
        ax: Where to draw.

    Raises:
        ValueError: If there is no curve, or `best` names none.
    """
    import seaborn as sns

    if not curves:
        raise ValueError("curves is empty: give at least one, e.g. {'training': losses}.")
    if best is not None and best not in curves:
        raise ValueError(f"best={best!r} names no curve: legal are {', '.join(map(repr, curves))}.")
    ax = canvas(ax)
    for k, (name, values) in enumerate(curves.items()):
        seeds = np.atleast_2d(np.asarray(values, dtype=float))
        seeds = np.where(np.isfinite(seeds), seeds, np.nan)
        few = np.isfinite(seeds).any(0).sum() <= 30
        sns.lineplot(
            x=np.tile(np.arange(1, seeds.shape[1] + 1), len(seeds)), y=seeds.reshape(-1), ax=ax, label=name,
            color=CYCLE[k % len(CYCLE)], linewidth=1.8, markersize=4, markeredgewidth=0, legend=False,
            marker=MARKERS[k % len(MARKERS)] if few else "", errorbar=("pi", 100) if len(seeds) > 1 else None,
        )  # fmt: skip
    note = ""
    if best is not None:
        seeds = np.atleast_2d(np.asarray(curves[best], dtype=float))
        known = np.isfinite(seeds)
        mean = np.where(known, seeds, 0).sum(0) / np.maximum(known.sum(0), 1)
        epoch = int(np.where(known.any(0), mean, np.inf).argmin())
        ax.axvline(epoch + 1, color=NEUTRAL, linewidth=1, linestyle=":")
        note = f"best {best}: {mean[epoch]:.4g} at {xlabel} {epoch + 1}"
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    return finish(ax, title, note, loc="center right")


def convergence(
    draws: Sequence[int],
    values: Sequence[float],
    standard_errors: Sequence[float] | None = None,
    *,
    reference: float | None = None,
    reference_name: str = "deterministic pass",
    ylabel: str = "score",
    title: str | None = "What more draws buy",
    ax: Axes | None = None,
) -> Axes:
    """Draw a number against how many draws it was computed from, and what the deterministic pass gives.

    Args:
        draws: Numbers of draws.
        values: The number at each.
        standard_errors: Monte Carlo standard error at each; bars are ± 2 of them.
        reference: A level to compare with.
        reference_name: What that is.
        ylabel: Name and units of the number.
        title: Title; None leaves out title, note and legend.
        ax: Where to draw.

    Raises:
        ValueError: If the lengths differ.
    """
    if len(draws) != len(values) or not len(draws):
        raise ValueError(f"{len(values)} values were given for {len(draws)} numbers of draws: give one each.")
    if standard_errors is not None and len(standard_errors) != len(draws):
        raise ValueError(f"{len(standard_errors)} standard errors were given for {len(draws)} values: give one each.")
    ax = canvas(ax)
    bars = None if standard_errors is None else 2 * np.nan_to_num(np.asarray(standard_errors, float), posinf=0.0)
    label = f"Monte Carlo: {values[-1]:.4g} at {draws[-1]} draws" + ("" if bars is None else " (± 2 standard errors)")
    ax.errorbar(draws, values, yerr=bars, color=BLUE, marker="o", markersize=5, capsize=3, label=label)
    if reference is not None:
        ax.axhline(
            reference, color=VERMILLION, linewidth=1.4, linestyle="--", label=f"{reference_name}: {reference:.4g}"
        )
    ax.set_xscale("log")
    ax.set_xticks(list(draws), [str(d) for d in draws])
    ax.minorticks_off()
    ax.set_xlabel("draws")
    ax.set_ylabel(ylabel)
    return finish(ax, title, loc="best")
