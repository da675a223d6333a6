"""Groups of rows: labels to break results down by, in the order in which people read them."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor


def rows_by_group(groups: Sequence[Any] | Tensor, rows: int) -> dict[str, Tensor]:
    """Return which rows each group holds, (rows,) bool by the group's label as text, in natural order.

    Numbers are sorted by value, texts by their letters, with numbers inside them by value ("week 2" before
    "week 10"), ordered categories of pandas by their own order.

    Raises:
        ValueError: If there is not one label per row.
    """
    labels = groups.tolist() if isinstance(groups, Tensor | np.ndarray) else list(groups)
    if len(labels) != rows:
        raise ValueError(f"groups has {len(labels)} labels for {rows} rows: give one per row.")
    dtype = getattr(groups, "dtype", None)
    ranks = {label: k for k, label in enumerate(getattr(dtype, "categories", ()))} if _ordered(dtype) else {}
    texts = np.array([str(label) for label in labels], dtype=object)
    keys = {text: (ranks.get(label, -1), _natural(label)) for text, label in zip(texts, labels, strict=True)}
    return {text: torch.from_numpy(texts == text) for text in sorted(keys, key=lambda text: keys[text])}


def _ordered(dtype: Any) -> bool:
    return bool(getattr(dtype, "ordered", False))


def _natural(label: Any) -> tuple[Any, ...]:
    """Return a key that sorts numbers before texts, and numbers inside texts as numbers."""
    if isinstance(label, int | float | np.number) and not isinstance(label, bool):
        return (0, float(label)) if label == label else (2,)
    parts = re.split(r"(\d+)", str(label))
    return (1, *((int(part), "") if k % 2 else (-1, part) for k, part in enumerate(parts)))
