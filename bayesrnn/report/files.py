"""What reports write: pictures in two formats, and JSON that any reader takes."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesrnn._files import atomic_write

from .page import picture_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plain", "write_pictures"]


def write_pictures(folder: Path, drawers: "Mapping[str, Callable[[Any], Axes]]") -> dict[str, bytes]:
    """Draw each picture once, write name.png and name.svg, and return the PNG bytes by name."""
    images = {}
    for name, draw in drawers.items():
        axes = draw(None)
        images[name] = picture_bytes(axes)
        atomic_write(folder / f"{name}.png", images[name])
        atomic_write(folder / f"{name}.svg", picture_bytes(axes, "svg"))
    return images


def plain(value: Any) -> Any:
    """Return nested values as JSON values: NaN as null, infinite numbers as text, numpy numbers as numbers."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value
