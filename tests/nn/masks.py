"""Masks of a layer as its recurrence reads them, for tests of the kernels."""

from typing import Any

from torch import Tensor

from bayesrnn.masks import SiteMasks


def site_masks(
    layer: Any, masks: dict[str, Tensor] | None, rows: int, steps: int = 1, place: tuple[int, str] = (0, "")
) -> SiteMasks:
    """Return the masks of one layer and direction from those of a user."""
    return dict(layer._site_masks(rows, steps, masks))[place]
