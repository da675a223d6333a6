"""What a model returns, draw by draw: laws of the target with batch shape (S draws, B rows, ...)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from bayesrnn import likelihoods
from bayesrnn.inference.nested import leaves, map_leaves

__all__ = ["Law", "Point", "as_laws", "bad_rows", "join", "laws_of", "map_law", "parameters", "point"]


@dataclass(frozen=True, eq=False)
class Point:
    """A prediction without a law of the target: the draws tell the epistemic part and nothing of the noise."""

    value: Tensor


def point(output: Tensor) -> Point:
    """Say that a tensor is the prediction itself: as `likelihood=` it asks for the epistemic part alone.

    Raises:
        TypeError: If the model's output is no tensor.

    Example:
        >>> point(torch.zeros(3)).value.shape
        torch.Size([3])
    """
    if not isinstance(output, Tensor):
        raise TypeError(f"point takes a tensor, but the model returned a {type(output).__name__}.")
    return Point(output if output.is_floating_point() else output.float())


Law = Distribution | Point


def map_law(law: Law, function: Callable[[Tensor], Tensor]) -> Law:
    """Apply `function` to each parameter tensor."""
    return Point(function(law.value)) if isinstance(law, Point) else likelihoods.map_parameters(law, function)


def parameters(law: Law) -> list[Tensor]:
    """Return the parameter tensors, in the order in which `map_law` visits them."""
    found: list[Tensor] = []

    def visit(tensor: Tensor) -> Tensor:
        found.append(tensor)
        return tensor

    map_law(law, visit)
    return found


def join(laws: Sequence[Law], dim: int) -> Law:
    """Concatenate laws along the draws (dim 0) or the rows (dim 1)."""
    if len(laws) == 1:
        return laws[0]
    columns = iter([torch.cat(values, dim) for values in zip(*(parameters(law) for law in laws), strict=True)])
    return map_law(laws[0], lambda _: next(columns))


def bad_rows(law: Law) -> Tensor:
    """Return which rows (B,) hold NaN or infinite parameters in some draw."""
    bad = [~torch.isfinite(p) if isinstance(law, Point) else torch.isnan(p) for p in parameters(law)]
    return torch.stack([b.transpose(0, 1).flatten(1).any(1) for b in bad]).any(0)


def as_laws(output: Any, likelihood: Callable[[Any], Any] | None) -> Any:
    """Return the model's output as a structure of laws."""
    made = output if likelihood is None else likelihood(output)

    def law(leaf: Any) -> Law:
        if isinstance(leaf, Distribution | Point):
            return leaf
        if isinstance(leaf, Tensor) and likelihood is None:
            return point(leaf)
        what = "the model" if likelihood is None else "the likelihood"
        raise ValueError(
            f"{what} must return a torch Distribution, but it returned {_describe(leaf)}. Let the model return a "
            "Distribution, or pass likelihood= a function from the model's output to one (see bayesrnn.likelihoods)."
        )

    return map_leaves(law, made)


def laws_of(structure: Any, draws: int, rows: int, batch_dim: int) -> list[Law]:
    """Return every law of a structure with its draws x rows taken apart: batch shape (draws, rows, ...)."""
    return [_apart(law, draws, rows, batch_dim, path) for path, law in leaves(structure)]


def _apart(law: Law, draws: int, rows: int, batch_dim: int, path: str) -> Law:
    if isinstance(law, Distribution):
        likelihoods.family(law)  # says what is wrong with a law over several targets at once
        shape = tuple(likelihoods.peel(law).batch_shape)
    else:
        shape = tuple(law.value.shape)
    dim = _row_dim(shape, draws * rows, batch_dim)
    if dim is None:
        raise ValueError(
            f"the output{path} has batch shape {shape}, but none of its leading dimensions is the {draws * rows} rows "
            f"({draws} draws of {rows} sequences) that the model was given. A model must keep one row per row of its "
            "input: it may not average over rows or drop any, and the likelihood must leave the row dimension alone."
        )

    def split(tensor: Tensor) -> Tensor:
        first = tensor.movedim(dim, 0) if dim else tensor
        return first.unflatten(0, (draws, rows))

    return map_law(law, split)


def _row_dim(shape: tuple[int, ...], total: int, batch_dim: int) -> int | None:
    """The dimension that holds the rows: batch_dim if it fits, else the first, else the second."""
    for dim in dict.fromkeys((batch_dim, 0, 1)):
        if dim < len(shape) and shape[dim] == total:
            return dim
    return None


def _describe(value: Any) -> str:
    return f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
