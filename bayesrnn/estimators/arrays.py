"""Arrays of the user, checked before float32 makes of them what it can hold."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

_STEPS = 1e3
"""How many float32 numbers must lie within a standard deviation."""
_EXTREME = 1e15
"""Beyond this size, or below its inverse, squares leave what float32 holds."""


def check_regular(X: ArrayLike) -> None:
    """Refuse rows of unequal length, as lists have them, in words of what to do.

    Raises:
        ValueError: If the rows make no array.
    """
    if getattr(X, "requires_grad", False):
        raise ValueError("X is a tensor that requires a gradient. Pass X.detach().")
    if isinstance(X, list | tuple) or (isinstance(X, np.ndarray) and X.dtype == object):
        sizes = {len(row) if hasattr(row, "__len__") and not isinstance(row, str) else -1 for row in X}
        if len(sizes) > 1:
            raise ValueError(
                f"the rows of X have unequal lengths ({min(sizes)} to {max(sizes)}). Pad them to one array, "
                "with any number behind the end of each row, and pass lengths=[steps of each row]."
            )


def inside(sizes: NDArray[Any] | None, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return (rows, steps): whether a step lies before the end of its row."""
    if sizes is None:
        return np.ones(shape[:2], bool)
    return np.arange(shape[1]) < np.asarray(sizes)[:, None]


def without_nan_ends(X: Any, lengths: NDArray[Any] | None) -> tuple[Any, NDArray[Any] | None]:
    """Return X with zeros in the place of NaN behind the end of each row, and the lengths.

    Without lengths a row ends before the steps that are NaN up to the last one. NaN elsewhere stays, to be refused.
    """
    values = np.asarray(X)
    if values.ndim not in (2, 3) or values.dtype.kind != "f" or not np.isnan(values).any():
        return X, lengths
    missing = np.isnan(values) if values.ndim == 2 else np.isnan(values).all(2)
    sizes = _ends(missing) if lengths is None else lengths
    if lengths is None and (sizes.min() < 1 or (sizes == values.shape[1]).all()):
        return X, lengths
    behind = ~inside(sizes, values.shape)
    filled = values.copy()
    filled[behind] = np.where(np.isnan(values[behind]), 0.0, values[behind])
    return filled, sizes


def learned_padding(array: NDArray[Any], sizes: NDArray[Any]) -> NDArray[Any] | None:
    """Return the constant step (features,) behind the ends of rows (rows, steps, features), or None.

    None where the padding is not constant, or a row's own last step looks like it: then no row tells where it ends.
    """
    padded = array[~inside(sizes, array.shape)]
    if not len(padded) or not (padded == padded[0]).all():
        return None
    last = array[np.arange(len(array)), sizes - 1]
    step: NDArray[Any] = padded[0]
    return None if (last == step).all(1).any() else step


def unpadded(array: NDArray[Any], padding: NDArray[Any]) -> NDArray[Any]:
    """Return the steps of each row (rows, steps, features) before its trailing steps of padding, at least 1."""
    return np.maximum(_ends((array == padding).all(2)), 1)


def _ends(padded: NDArray[np.bool_]) -> NDArray[Any]:
    """Return the number of steps before the trailing run of True in each row."""
    return padded.shape[1] - np.logical_and.accumulate(padded[:, ::-1], 1).sum(1)


def whole(values: NDArray[Any]) -> NDArray[Any]:
    """Return tokens as whole numbers.

    Raises:
        ValueError: If one has a fraction.
    """
    if not np.issubdtype(values.dtype, np.integer) and not bool((values == np.floor(values)).all()):
        raise ValueError("X must hold whole numbers, the tokens, because vocabulary is set; but some have fractions.")
    return values.astype(np.int64)


def check_resolved(columns: NDArray[Any], name: str) -> None:
    """Refuse columns (n, d) that float32 cannot hold.

    Raises:
        ValueError: If a column varies by so little, for its size, that float32 would merge its values, or is of a size
            whose square float32 does not hold.
    """
    largest, std = np.abs(columns).max(0), columns.std(0)
    fine = std >= largest * np.finfo(np.float32).eps * _STEPS
    held = (std > 1 / _EXTREME) & (largest < _EXTREME)
    bad = (std > largest * 1e-13) & ~(fine & held)  # what varies less than that is constant
    if bad.any():
        k = int(np.flatnonzero(bad)[0])
        column = f"column {k} of {name}" if len(std) > 1 else name
        raise ValueError(
            f"{column} varies by {std[k]:.3g} in values of size {largest[k]:.3g}, which float32 does not resolve. "
            "Subtract its mean and divide by its standard deviation first."
        )


def to_numpy(tensor: Tensor) -> NDArray[Any]:
    """Return the values of a tensor, wherever it lies, as float64."""
    return tensor.detach().cpu().double().numpy()
