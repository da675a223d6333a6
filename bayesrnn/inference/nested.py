"""Structures of tensors: the rows of anything that a model takes or returns."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence


def map_leaves(function: Callable[[Any], Any], structure: Any, whole: Callable[[Any], bool] = lambda _: False) -> Any:
    """Apply `function` to every leaf of nested tuples, lists and mappings; all else, and what is `whole`, is a leaf."""
    if isinstance(structure, PackedSequence) or whole(structure):
        return function(structure)
    if isinstance(structure, tuple) and hasattr(structure, "_fields"):
        return type(structure)(*(map_leaves(function, value, whole) for value in structure))
    if isinstance(structure, tuple | list):
        return type(structure)(map_leaves(function, value, whole) for value in structure)
    if isinstance(structure, Mapping):
        return {key: map_leaves(function, value, whole) for key, value in structure.items()}
    return function(structure)


def leaves(structure: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every leaf with a name that says where it stands, such as `[0]['x']`."""
    if isinstance(structure, tuple | list) and not isinstance(structure, PackedSequence):
        for index, value in enumerate(structure):
            yield from leaves(value, f"{path}[{index}]")
    elif isinstance(structure, Mapping):
        for key, value in structure.items():
            yield from leaves(value, f"{path}[{key!r}]")
    else:
        yield path, structure


@dataclass(frozen=True, eq=False)
class Rows:
    """An input that holds rows: a tensor, an array, a packed sequence, or a list of one value per row.

    Attributes:
        value: What the model takes.
        dim: Dimension of the rows.
        other: Another dimension that fits as well, as of a state (1, 1, H).
    """

    value: Any
    dim: int = 0
    other: int | None = None

    @property
    def count(self) -> int:
        """How many rows it holds."""
        return len(self.value) if isinstance(self.value, list) else _size(self.value, self.dim) or 0

    @property
    def steps(self) -> int:
        """Size of the dimension of steps, beside the rows; 1 where there is none."""
        if isinstance(self.value, PackedSequence):
            return self.value.batch_sizes.numel()
        shape = getattr(self.value, "shape", ())
        return int(shape[0 if self.dim else 1]) if len(shape) > 1 else 1

    def take(self, rows: Tensor) -> "Rows":
        """Return some of the rows; itself where these are all rows in order."""
        value, dim = self.value, self.dim
        if rows.numel() == self.count and torch.equal(rows, torch.arange(self.count)):
            return self
        if isinstance(value, PackedSequence):
            padded, lengths = pad_packed_sequence(value)
            return Rows(_pack(padded.index_select(1, rows.to(padded.device)), lengths[rows]), dim)
        if isinstance(value, list):
            return Rows([value[row] for row in rows.tolist()], dim)
        if isinstance(value, np.ndarray):
            return Rows(value.take(rows.numpy(), dim), dim)
        return Rows(value.index_select(dim, rows.to(value.device)), dim)

    def repeat(self, times: int) -> "Rows":
        """Return the rows repeated, copy after copy: row s * B + b is row b."""
        value, dim = self.value, self.dim
        if isinstance(value, PackedSequence):
            padded, lengths = pad_packed_sequence(value)
            return Rows(_pack(padded.repeat(1, times, 1), lengths.repeat(times)), dim)
        if isinstance(value, list):
            return Rows(value * times, dim)
        if isinstance(value, np.ndarray):
            return Rows(np.concatenate([value] * times, dim), dim)
        return Rows(value.repeat(*(times if d == dim else 1 for d in range(value.dim()))), dim)


def with_rows(
    inputs: tuple[Any, ...], batch_dim: int, batch_dims: Sequence[int | None] | None = None
) -> tuple[tuple[Any, ...], int]:
    """Return the inputs with a `Rows` in the place of everything that holds rows, and how many rows there are.

    The first input with rows has them in `batch_dim`. Any other may have them in dimension 0 or 1, whichever fits, as
    the state of a recurrent layer does, (layers, rows, H); `batch_dim` goes first if both fit. A list of plain values
    with one per row, such as lengths, holds rows too.

    Args:
        inputs: What the model takes.
        batch_dim: Dimension of the rows.
        batch_dims: Of each input; None for an input that holds no rows and goes to the model as it is.

    Raises:
        ValueError: If the inputs hold no tensor, no rows, or different numbers of rows.
    """
    dims = _per_input(inputs, batch_dim, batch_dims)
    sizes = {
        f"inputs[{place}]{path}": size
        for place, (value, dim) in enumerate(zip(inputs, dims))
        for path, leaf in leaves(value)
        if (size := _size(leaf, dim)) is not None
    }
    if not sizes:
        raise ValueError("the inputs hold no tensor, so there are no rows to predict: pass what the model takes.")
    rows = next(iter(sizes.values()))
    if rows == 0:
        raise ValueError("the inputs hold no rows: give at least one sequence.")

    first = next(leaf for value, dim in zip(inputs, dims) for _, leaf in leaves(value) if _size(leaf, dim) is not None)

    def marked(value: Any, dim: int | None) -> Any:
        def leaf(x: Any) -> Any:
            if _size(x, dim) is None and not (dim is not None and one_per_row(x)):
                return x
            if isinstance(x, list | PackedSequence) and (isinstance(x, list) or _size(x, 0) == rows):
                return Rows(x)
            tried = dict.fromkeys(min(d or 0, x.ndim - 1) for d in ((dim, 0, 1) if batch_dims is None else (dim,)))
            fits = [d for d in tried if _size(x, d) == rows]
            if not fits:
                raise ValueError(_uneven(sizes, batch_dim))
            return Rows(x, fits[0], fits[1] if len(fits) > 1 and x.ndim > 2 and x is not first else None)

        def one_per_row(x: Any) -> bool:
            return isinstance(x, list) and len(x) == rows and all(map(_is_plain, x))

        return map_leaves(leaf, value, one_per_row)

    return tuple(marked(value, dim) for value, dim in zip(inputs, dims)), rows


def take_rows(inputs: Any, rows: Tensor) -> Any:
    """Return the inputs of some rows."""
    return map_leaves(lambda leaf: leaf.take(rows) if isinstance(leaf, Rows) else leaf, inputs)


def turned(inputs: Any) -> Any:
    """Return the inputs with rows in the other dimension, where one fits; None if there is no such input."""
    if not any(isinstance(leaf, Rows) and leaf.other is not None for _, leaf in leaves(inputs)):
        return None

    def turn(leaf: Any) -> Any:
        is_either = isinstance(leaf, Rows) and leaf.other is not None
        return Rows(leaf.value, leaf.other) if is_either else leaf

    return map_leaves(turn, inputs)


def replicate(inputs: Any, times: int) -> Any:
    """Return the inputs with their rows repeated, copy after copy: row s * B + b is row b."""
    return map_leaves(lambda x: x.repeat(times) if isinstance(x, Rows) else x, inputs)


def values(inputs: Any) -> Any:
    """Return the inputs as the model takes them."""
    return map_leaves(lambda leaf: leaf.value if isinstance(leaf, Rows) else leaf, inputs)


def sums(structure: Any) -> list[float]:
    """Return the sum of every tensor in a structure; tensors that differ almost surely have other sums."""
    tensors = [x.data if isinstance(x, PackedSequence) else x for _, x in leaves(structure)]
    return [float(x.detach().double().sum()) for x in tensors if isinstance(x, Tensor)]


def _per_input(
    inputs: tuple[Any, ...], batch_dim: int, batch_dims: Sequence[int | None] | None
) -> Sequence[int | None]:
    if batch_dims is None:
        return [batch_dim] * len(inputs)
    dims = list(batch_dims)
    legal = all(dim is None or (isinstance(dim, int) and not isinstance(dim, bool) and dim >= 0) for dim in dims)
    if len(dims) != len(inputs) or not legal:
        raise ValueError(
            f"batch_dims must be one dimension (0, 1, ...) for each of the {len(inputs)} inputs, or None for one "
            f"without rows, but {batch_dims!r} was given."
        )
    return dims


def _size(leaf: Any, dim: int | None) -> int | None:
    """Return how many rows a leaf holds in a dimension; None for what has no rows (numbers, None, scalars)."""
    if dim is None:
        return None
    if isinstance(leaf, PackedSequence):
        return int(leaf.batch_sizes[0])
    if isinstance(leaf, Tensor | np.ndarray) and leaf.ndim > 0:
        return int(leaf.shape[dim if leaf.ndim > dim else 0])
    return None


def _is_plain(value: Any) -> bool:
    """Whether a value is a number, a text or a list of these."""
    return isinstance(value, int | float | str) or (isinstance(value, list) and all(map(_is_plain, value)))


def _uneven(sizes: dict[str, int], batch_dim: int) -> str:
    listed = ", ".join(f"{name}: {size}" for name, size in sizes.items())
    return (
        f"the inputs must all have the same number of rows in dimension batch_dim={batch_dim}, but they have {listed}. "
        "For time-first tensors pass batch_dim=1; where the dimension differs from input to input pass batch_dims= "
        "with one for each, and None for an input without rows. One-dimensional tensors hold one value per row."
    )


def _pack(padded: Tensor, lengths: Tensor) -> PackedSequence:
    return pack_padded_sequence(padded[: int(lengths.max())], lengths, enforce_sorted=False)
