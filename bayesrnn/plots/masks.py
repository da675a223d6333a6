"""Pictures of masks: which units are dropped when, after Figure 1 of Gal & Ghahramani (2016)."""

from collections.abc import Mapping

import numpy as np
from torch import Tensor

from bayesrnn._checks import check_whole
from bayesrnn.metrics.score import Array
from bayesrnn.plots.style import CYCLE, NEUTRAL, Axes, canvas, finish, ink, name_ticks

_DROPPED = (0.5, 0.5, 0.5, 0.25)
"""A shade that is pale on a light and on a dark background."""


def mask_picture(
    masks: Mapping[str, Tensor],
    *,
    steps: int = 12,
    units: int = 16,
    row: int = 0,
    gate: int = 0,
    per_step: bool = False,
    title: str | None = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw which units of which site are dropped at which step: stripes where one mask holds for all steps.

    Args:
        masks: Site → mask as a layer's `sample_masks` returns them: (rows, features) or (gates, rows, features), with
            steps in front when the span is a step.
        steps: How many steps to draw.
        units: How many units of each site to draw.
        row: Which row.
        gate: Which gate, where gates have their own masks.
        per_step: Whether the masks have steps in front.
        title: Title; says the span by default; None leaves it out.
        ax: Where to draw.

    Raises:
        ValueError: If a mask has another shape, or too few steps.
    """
    import seaborn as sns
    from matplotlib.colors import ListedColormap

    patterns = {name: _pattern(name, mask, steps, row, gate, per_step) for name, mask in masks.items()}
    _check_some(patterns)
    ax = canvas(ax, (6.0, 0.9 + 0.13 * sum(min(units, p.shape[1]) + 2 for p in patterns.values())))
    blocks: list[Array] = []
    ticks, shares = [], []
    for k, pattern in enumerate(patterns.values()):
        shown = pattern[:, : check_whole(units, "units")].T  # a line for each unit
        shares.append((shown == 0).mean())
        ticks.append(sum(len(block) for block in blocks) + len(shown) / 2)
        blocks += [np.where(shown == 0, 0.0, 1.0 + k % len(CYCLE)), np.full((1, steps), np.nan)]
    cells = np.concatenate(blocks[:-1])
    sns.heatmap(
        cells, mask=np.isnan(cells), cmap=ListedColormap([_DROPPED, *CYCLE]), vmin=-0.5, vmax=len(CYCLE) + 0.5,
        cbar=False, linewidths=1.2, linecolor=ax.get_facecolor(), xticklabels=False, yticklabels=False, ax=ax,
    )  # fmt: skip
    ax.set_xticks(np.arange(steps) + 0.5, [str(s + 1) for s in range(steps)])
    name_ticks(ax.yaxis, ticks, list(patterns))
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    ax.set_xlabel(f"step (pale: dropped; {np.mean(shares):.0%} of the units shown)")
    return finish(
        ax, title if title != "" else ("a new mask at every step" if per_step else "one mask for the whole sequence")
    )


def mask_diagram(
    masks: Mapping[str, Tensor],
    *,
    steps: int = 5,
    row: int = 0,
    per_step: bool = False,
    title: str | None = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw the unrolled network; arrows of one color carry the same mask, dashed gray ones carry none.

    Colors come from the masks themselves: two arrows share one exactly if the bits are the same. Vertical arrows are
    the sites `input_l0`, `input_l1`, ..., horizontal ones `hidden_l0`, .... Arguments as in `mask_picture`.

    Source: the layout of Gal & Ghahramani 2016 (arXiv:1512.05287), Figure 1.
    """
    from matplotlib.patches import FancyBboxPatch

    patterns = {name: _all_gates(name, mask, steps, row, per_step) for name, mask in masks.items()}
    _check_some(patterns)
    layers = 1 + max((int(n.rsplit("_l", 1)[1]) for n in patterns if n.rsplit("_l", 1)[-1].isdigit()), default=0)
    ax = canvas(ax, (1.15 * steps + 0.8, 1.0 + 1.1 * (layers + 1)))
    colors: dict[bytes, str] = {}

    def arrow(site: str, step: int, start: tuple[float, float], end: tuple[float, float]) -> None:
        pattern = patterns.get(site)
        masked = pattern is not None and bool((pattern[step] != 1).any())
        color = NEUTRAL
        if masked and pattern is not None:
            color = _color(colors, pattern[step].tobytes())
        style = {"color": color, "linewidth": 2.4 if masked else 1.2, "linestyle": "-" if masked else "--"}
        ax.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "shrinkA": 0, "shrinkB": 0, **style})

    for step in range(steps):
        for layer in range(layers):
            box = FancyBboxPatch(
                (step - 0.17, layer - 0.17), 0.34, 0.34, boxstyle="round,pad=0.02", facecolor="none", edgecolor=ink()
            )
            ax.add_patch(box)
            arrow(f"input_l{layer}", step, (step, layer - 0.78), (step, layer - 0.22))
            arrow(f"hidden_l{layer}", step, (step - 0.78, layer), (step - 0.22, layer))
        arrow("output", step, (step, layers - 0.78), (step, layers - 0.25))
        ax.text(step, -0.95, f"$x_{{{step + 1}}}$", ha="center", va="center")
        ax.text(step, layers - 0.12, f"$y_{{{step + 1}}}$", ha="center", va="center")
    ax.set(xlim=(-0.95, steps - 0.65), ylim=(-1.15, layers + 0.05))
    ax.set_aspect("equal")
    ax.set_axis_off()
    return finish(
        ax,
        title if title != "" else ("a new mask at every step" if per_step else "tied: one mask for the whole sequence"),
    )


def _color(colors: dict[bytes, str], bits: bytes) -> str:
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    if bits not in colors:
        k = len(colors)
        colors[bits] = CYCLE[k] if k < len(CYCLE) else to_hex(colormaps["turbo"]((k * 0.618) % 1.0))
    return colors[bits]


def _pattern(name: str, mask: Tensor, steps: int, row: int, gate: int, per_step: bool) -> Array:
    values = _all_gates(name, mask, steps, row, per_step)
    if not -len(values[0]) <= gate < len(values[0]):
        raise ValueError(f"gate {gate} does not exist: {name} has {len(values[0])}.")
    return values[:, gate]


def _all_gates(name: str, mask: Tensor, steps: int, row: int, per_step: bool) -> Array:
    """Return the masks of one row as (steps, gates, features)."""
    check_whole(steps, "steps")
    values = mask.detach().cpu().double().numpy()
    if values.ndim not in ((3, 4) if per_step else (2, 3)):
        legal = "(steps, [gates,] rows, features)" if per_step else "([gates,] rows, features)"
        raise ValueError(f"mask {name!r} has shape {values.shape}, but {legal} is needed with per_step={per_step}.")
    if not per_step:
        values = np.broadcast_to(values, (steps, *values.shape))
    if len(values) < steps:
        raise ValueError(f"mask {name!r} has {len(values)} steps, but {steps} are to be drawn: lower steps=.")
    if values.ndim == 3:
        values = values[:, None]
    if not -values.shape[2] <= row < values.shape[2]:
        raise ValueError(f"row {row} does not exist: mask {name!r} has {values.shape[2]} rows.")
    return np.ascontiguousarray(values[:steps, :, row])


def _check_some(patterns: Mapping[str, Array]) -> None:
    if not patterns:
        raise ValueError("masks is empty: give what a layer's sample_masks returned.")
