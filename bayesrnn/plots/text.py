"""The picture of a text whose tokens are shaded by a number: surprise, entropy, epistemic part."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bayesrnn._checks import as_number, check_whole
from bayesrnn.plots.bands import flat
from bayesrnn.plots.style import Axes, canvas, finish

_ADVANCE = 0.602  # width of a glyph of DejaVu Sans Mono, in units of the font size
_HEIGHT = 2.1  # of a line, in glyph widths


def token_strip(
    tokens: Sequence[str],
    values: Tensor,
    *,
    label: str = "surprise [nats]",
    title: str | None = "Token by token",
    width: int = 72,
    largest: float | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Write a text, each token on a background shaded by its value.

    Args:
        tokens: The text, cut into tokens; a line feed starts a new line.
        values: One number per token, shape (steps,), or a list: -log_prob, entropy, epistemic, ...
        label: What the numbers are, with units.
        title: Title; None leaves out title, note and legend.
        width: Characters per line.
        largest: Value of the darkest shade; the 98th percentile by default.
        ax: Where to draw.

    Raises:
        ValueError: If there is not one finite value per token, or `largest` is not positive.
        TypeError: If the tokens are no texts or the values no numbers.
    """
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.font_manager import FontProperties
    from matplotlib.patches import PathPatch, Rectangle
    from matplotlib.textpath import TextPath

    check_whole(width, "width", 8)
    tokens = _as_texts(tokens)
    numbers = flat(_as_numbers(values))
    if largest is not None and not 0.0 < (as_number(largest) or 0.0) < float("inf"):
        raise ValueError(f"largest is the value of the darkest shade and must be positive, but {largest!r} was given.")
    if len(numbers) != len(tokens) or not len(tokens):
        raise ValueError(f"{len(numbers)} values were given for {len(tokens)} tokens: give one per token.")
    if not np.isfinite(numbers).all():
        raise ValueError("values must be finite: leave out the padding.")
    places, lines = _layout(tokens, width)
    ax = canvas(ax, (8.4, 0.9 + 0.26 * lines))
    norm = Normalize(min(0.0, float(numbers.min())), float(largest or np.quantile(numbers, 0.98)) or 1.0, clip=True)
    shades = colormaps["cividis_r"]
    font = FontProperties(family="DejaVu Sans Mono")
    for token, value, (x, y) in zip(tokens, numbers, places):
        shown = token.replace("\n", "⏎")
        color = shades(norm(value))
        ax.add_patch(Rectangle((x, y), len(shown), _HEIGHT * 0.92, facecolor=color, linewidth=0))
        dark = 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2] < 0.5
        if shown.strip():
            path = TextPath((x, y + 0.3 * _HEIGHT), shown.replace("$", r"\$"), size=1 / _ADVANCE, prop=font)
            ax.add_patch(PathPatch(path, facecolor="white" if dark else "black", linewidth=0))
    ax.set(xlim=(0, width), ylim=(_HEIGHT * (1 - lines) - 0.1, _HEIGHT))
    ax.set_aspect("equal")
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[:].set_visible(False)
    bar = ax.figure.colorbar(ScalarMappable(norm, shades), ax=ax, fraction=0.03, pad=0.01, shrink=0.95)
    bar.set_label(label, parse_math=False)
    return finish(ax, title)


def _as_texts(tokens: Any) -> list[str]:
    texts = list(tokens) if isinstance(tokens, Sequence) and not isinstance(tokens, str) else None
    if texts is None or not all(isinstance(token, str) for token in texts):
        raise TypeError(
            f"tokens must be a list of texts, but {tokens!r:.60} was given. Numbers become texts by "
            "vocabulary.decode(numbers), one text by tokenize(text)."
        )
    return texts


def _as_numbers(values: Any) -> Tensor:
    try:
        return torch.as_tensor(values)
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(f"values must be numbers, one per token, but {values!r:.60} was given.") from None


def _layout(tokens: Sequence[str], width: int) -> tuple[list[tuple[float, float]], int]:
    places, column, line = [], 0, 0
    for token in tokens:
        size = len(token)
        if column and column + size > width:
            column, line = 0, line + 1
        places.append((float(column), -_HEIGHT * line))
        column += size + 1
        if "\n" in token:
            column, line = 0, line + 1
    return places, line + (1 if column else 0)
