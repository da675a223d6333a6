"""Structures of tensors: the rows of anything that a model takes or returns."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

__all__ = ["check_rows", "leaves", "map_leaves", "replicate", "row_count", "take_rows"]


def map_leaves(function: Callable[[Any], Any], structure: Any) -> Any:
    """Apply `function` to every leaf of nested tuples, lists and mappings; all else is a leaf."""
    if isinstance(structure, PackedSequence):
        return function(structure)
    if isinstance(structure, tuple) and hasattr(structure, "_fields"):
        return type(structure)(*(map_leaves(function, value) for value in structure))
    if isinstance(structure, tuple | list):
        return type(structure)(map_leaves(function, value) for value in structure)
    if isinstance(structure, Mapping):
        return {key: map_leaves(function, value) for key, value in structure.items()}
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


def row_count(leaf: Any, batch_dim: int) -> int | None:
    """Return how many rows a leaf holds; None for what has no rows (numbers, None, scalars)."""
    if isinstance(leaf, PackedSequence):
        return int(leaf.batch_sizes[0])
    if isinstance(leaf, Tensor) and leaf.dim() > 0:
        return leaf.shape[batch_dim if leaf.dim() > batch_dim else 0]
    return None


def check_rows(inputs: tuple[Any, ...], batch_dim: int) -> int:
    """Return the number of rows that all inputs share.

    Raises:
        ValueError: If the inputs hold no tensor, no rows, or different numbers of rows.
    """
    found = {f"inputs{path}": row_count(leaf, batch_dim) for path, leaf in leaves(inputs)}
    counts = {name: count for name, count in found.items() if count is not None}
    if not counts:
        raise ValueError("the inputs hold no tensor, so there are no rows to predict: pass what the model takes.")
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{name}: {count}" for name, count in counts.items())
        raise ValueError(
            f"the inputs must all have the same number of rows in dimension batch_dim={batch_dim}, but they have "
            f"{listed}. For time-first tensors pass batch_dim=1; one-dimensional tensors hold one value a row."
        )
    rows = next(iter(counts.values()))
    if rows == 0:
        raise ValueError("the inputs hold no rows: give at least one sequence.")
    return rows


def take_rows(inputs: tuple[Any, ...], rows: Tensor, batch_dim: int) -> tuple[Any, ...]:
    """Return the inputs of some rows; the inputs themselves where these are all rows in order."""

    def take(leaf: Any) -> Any:
        count = row_count(leaf, batch_dim)
        if count is None or (rows.numel() == count and torch.equal(rows, torch.arange(count))):
            return leaf
        if isinstance(leaf, PackedSequence):
            padded, lengths = pad_packed_sequence(leaf)
            return _pack(padded.index_select(1, rows.to(padded.device)), lengths[rows])
        return leaf.index_select(batch_dim if leaf.dim() > batch_dim else 0, rows.to(leaf.device))

    return map_leaves(take, inputs)


def replicate(inputs: tuple[Any, ...], times: int, batch_dim: int) -> tuple[Any, ...]:
    """Return the inputs with their rows repeated, copy after copy: row s * B + b is row b."""
    if times == 1:
        return inputs

    def repeat(leaf: Any) -> Any:
        if isinstance(leaf, PackedSequence):
            padded, lengths = pad_packed_sequence(leaf)
            return _pack(padded.repeat(1, times, 1), lengths.repeat(times))
        if row_count(leaf, batch_dim) is None:
            return leaf
        dim = batch_dim if leaf.dim() > batch_dim else 0
        copies = leaf.unsqueeze(dim).expand(*leaf.shape[:dim], times, *leaf.shape[dim:])
        return copies.flatten(dim, dim + 1)

    return map_leaves(repeat, inputs)


def _pack(padded: Tensor, lengths: Tensor) -> PackedSequence:
    return pack_padded_sequence(padded[: int(lengths.max())], lengths, enforce_sorted=False)
