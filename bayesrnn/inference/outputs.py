"""What a model returns, draw by draw: distributions of the target with batch shape (S draws, B rows, ...)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from bayesrnn.inference.nested import leaves, map_leaves
from bayesrnn.likelihoods import families
from bayesrnn.likelihoods.validation import validate


@dataclass(frozen=True, eq=False)
class Point:
    """A prediction without a distribution of the target: the draws tell the epistemic part and nothing of the noise."""

    value: Tensor
    bare: bool = False  # whether the model returned a tensor and nobody said that a point is meant


def point(output: Tensor) -> Point:
    """Say that a tensor is the prediction itself: as `likelihood=` it asks for the epistemic part only.

    Raises:
        TypeError: If the model's output is no tensor.

    Example:
        >>> point(torch.zeros(3)).value.shape
        torch.Size([3])
    """
    if not isinstance(output, Tensor):
        raise TypeError(f"point takes a tensor, but the model returned a {type(output).__name__}.")
    return Point(output if output.is_floating_point() else output.float())


OutputDistribution = Distribution | Point


def map_distribution(distribution: OutputDistribution, function: Callable[[Tensor], Tensor]) -> OutputDistribution:
    """Apply `function` to each parameter tensor."""
    return (
        Point(function(distribution.value))
        if isinstance(distribution, Point)
        else families.map_parameters(distribution, function)
    )


def parameters(distribution: OutputDistribution) -> list[Tensor]:
    """Return the parameter tensors, in the order in which `map_distribution` visits them."""
    tensors: list[Tensor] = []

    def visit(tensor: Tensor) -> Tensor:
        tensors.append(tensor)
        return tensor

    map_distribution(distribution, visit)
    return tensors


def join(distributions: Sequence[OutputDistribution], dim: int) -> OutputDistribution:
    """Concatenate distributions along the draws (dim 0) or the rows (dim 1)."""
    if len(distributions) == 1:
        return distributions[0]
    columns = iter(
        [
            torch.cat(values, dim)
            for values in zip(*(parameters(distribution) for distribution in distributions), strict=True)
        ]
    )
    return map_distribution(distributions[0], lambda _: next(columns))


def side_by_side(members: Sequence[list[OutputDistribution]]) -> list[OutputDistribution]:
    """Join the outputs (S, B, ...) of M networks to (S * M, B, ...), the networks of a draw together.

    Raises:
        ValueError: If the networks have different outputs.
    """
    if len(members) == 1:
        return members[0]
    described = [[_output(distribution) for distribution in outputs] for outputs in members]
    for place, description in enumerate(described):
        if description != described[0]:
            raise ValueError(
                f"the networks of this ensemble have different outputs, which cannot be averaged: network 0 gives "
                f"{', '.join(described[0])}, network {place} {', '.join(description)}. Give networks of one task "
                "with the same likelihood and the same shape of the output, or predict with each by itself."
            )

    def beside(outputs: tuple[OutputDistribution, ...]) -> OutputDistribution:
        columns = iter([torch.stack(v, 1).flatten(0, 1) for v in zip(*map(parameters, outputs), strict=True)])
        return map_distribution(outputs[0], lambda _: next(columns))

    return [beside(outputs) for outputs in zip(*members)]


def _output(distribution: OutputDistribution) -> str:
    """Say what an output is: its distribution and the shapes of its parameters for each row."""
    kind = distribution if isinstance(distribution, Point) else families.peel(distribution)
    return f"{type(kind).__name__} of {[tuple(p.shape[2:]) for p in parameters(distribution)]} a row"


def bad_rows(distribution: OutputDistribution) -> Tensor:
    """Return which rows (B,) hold NaN or infinite parameters in some draw."""
    bad = [~torch.isfinite(p) if isinstance(distribution, Point) else torch.isnan(p) for p in parameters(distribution)]
    return torch.stack([b.transpose(0, 1).flatten(1).any(1) for b in bad]).any(0)


def as_distributions(output: Any, likelihood: Callable[[Any], Any] | None) -> Any:
    """Return the model's output as a structure of distributions."""
    structure = output if likelihood is None else _called(likelihood, output)

    def distribution(leaf: Any) -> OutputDistribution | None:
        if leaf is None and structure is not None:
            return None
        if isinstance(leaf, Distribution | Point):
            validate(leaf)
            return leaf
        if isinstance(leaf, Tensor) and likelihood is None:
            return replace(point(leaf), bare=True)
        what = "the model" if likelihood is None else "the likelihood"
        raise ValueError(
            f"{what} must return a torch Distribution, but it returned {_describe(leaf)}. Let the model return a "
            "Distribution, or pass likelihood= a function from the model's output to one (see bayesrnn.likelihoods)."
        )

    return map_leaves(distribution, structure)


def _called(likelihood: Any, output: Any) -> Any:
    """Return what the likelihood makes of an output.

    Raises:
        TypeError: If it is no function of the output.
    """
    wanted = (
        "likelihood must be a function from the model's output to a Distribution, but {} was given. Pass one of "
        "bayesrnn.likelihoods, such as likelihood=bayesrnn.likelihoods.gaussian, or one of your own: "
        "lambda mean: Normal(mean, 0.1)."
    )
    if not callable(likelihood):
        raise TypeError(wanted.format(repr(likelihood)))
    try:
        return likelihood(output)
    except TypeError as error:
        if isinstance(likelihood, type):  # Poisson takes one tensor, Normal two
            raise TypeError(wanted.format(f"{likelihood.__name__}, a class that wants more than one,")) from error
        if any(isinstance(leaf, Distribution) for _, leaf in leaves(output)):
            raise TypeError(f"{error} The model returns a distribution already: leave out likelihood=.") from error
        raise


def distributions_of(
    structure: Any, draws: int, rows: int, batch_dim: int, smaller: Callable[[], tuple[Any, int]] | None = None
) -> list[OutputDistribution]:
    """Return every distribution of a structure with its draws x rows taken apart: batch shape (draws, rows, ...).

    Args:
        structure: What the model returned for draws x rows.
        draws: How many draws.
        rows: How many rows.
        batch_dim: Dimension of the rows in the input.
        smaller: Returns the output of fewer draws x rows, and how many: it is asked for where two dimensions could hold
            the rows.

    Raises:
        ValueError: If no dimension holds the rows, or two do.
    """
    outputs = [(path, leaf) for path, leaf in leaves(structure) if leaf is not None]
    if not outputs:
        raise ValueError("the model returned nothing to predict: only None, or an empty structure.")
    total = draws * rows
    dims = [_row_dims(_batch_shape(leaf), total, path, draws) for path, leaf in outputs]
    if any(len(some) > 1 for some in dims) and smaller is not None and total > 1:
        other, count = smaller()
        shapes = [_batch_shape(leaf) for _, leaf in leaves(other) if leaf is not None]
        dims = [[d for d in some if shape[d] == count] or some for some, shape in zip(dims, shapes, strict=True)]
    unclear = [item for item, some in zip(outputs, dims) if len(some) > 1 and total > 1 and batch_dim]
    if unclear:
        path, leaf = unclear[0]
        raise ValueError(
            f"the output{path} has batch shape {tuple(_batch_shape(leaf))}: two of its dimensions could hold the "
            f"{total} rows ({draws} draws of {rows} sequences), and batch_dim=1 does not say which. Take another "
            "number of draws, or put the rows first in the output and in the inputs, with batch_dim=0."
        )
    return [_apart(leaf, draws, rows, some[0]) for (_, leaf), some in zip(outputs, dims)]


def _batch_shape(distribution: OutputDistribution) -> tuple[int, ...]:
    if isinstance(distribution, Point):
        return tuple(distribution.value.shape)
    families.family(distribution)  # says what is wrong with a distribution over several targets at once
    return tuple(families.peel(distribution).batch_shape)


def _row_dims(shape: tuple[int, ...], total: int, path: str, draws: int) -> list[int]:
    """Return the leading dimensions that could hold the rows."""
    fits = [dim for dim in (0, 1) if dim < len(shape) and shape[dim] == total]
    if not fits:
        raise ValueError(
            f"the output{path} has batch shape {shape}, but none of its leading dimensions is the {total} rows "
            f"({draws} draws of {total // draws} sequences) that the model was given. A model must keep one row per "
            "row of its input: it may not average over rows or drop any, and the likelihood must leave the row "
            "dimension only. If the tensors are time-first, (steps, rows, ...), pass batch_dim=1."
        )
    return fits


def _apart(distribution: OutputDistribution, draws: int, rows: int, dim: int) -> OutputDistribution:
    def split(tensor: Tensor) -> Tensor:
        first = tensor.movedim(dim, 0) if dim else tensor
        return first.unflatten(0, (draws, rows))

    return map_distribution(distribution, split)


def _describe(value: Any) -> str:
    return f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
