"""Where a prediction's inputs come from: arguments of one call, or the batches of a loader."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from bayesrnn.inference.structure import check_rows

__all__ = ["Batch", "batches"]


@dataclass(frozen=True)
class Batch:
    """Inputs of one batch, and its place in the whole.

    Attributes:
        inputs: Positional inputs of the model.
        options: Keyword inputs with rows in dimension 0.
        ids: Sequence ids, (rows,).
        offset: Rows that came before.
    """

    inputs: tuple[Any, ...]
    options: dict[str, Any]
    ids: Tensor
    offset: int


def batches(
    inputs: tuple[Any, ...],
    batch_dim: int,
    sequence_ids: Iterable[int] | Tensor | None,
    lengths: Iterable[int] | Tensor | None,
) -> Iterator[Batch]:
    """Yield the batches of a DataLoader, or the inputs as one batch; sequence ids run on from batch to batch.

    A loader's tuple is what `predict(model, *tuple)` would be given: it holds inputs only, no targets.

    Raises:
        ValueError: If there are no inputs, or ids or lengths are not one a row.
    """
    if not inputs:
        raise ValueError("there is nothing to predict: pass the model's inputs, predict(model, x).")
    ids = None if sequence_ids is None else _whole_numbers(sequence_ids, "sequence_ids")
    sizes = None if lengths is None else _whole_numbers(lengths, "lengths")
    from_loader = len(inputs) == 1 and isinstance(inputs[0], DataLoader)
    offset = 0
    for given in map(_arguments, inputs[0]) if from_loader else [inputs]:
        rows = check_rows(given, batch_dim)
        here = slice(offset, offset + rows)
        options = {} if sizes is None else {"lengths": sizes[here]}
        yield Batch(given, options, torch.arange(offset, offset + rows) if ids is None else ids[here], offset)
        offset += rows
        _check_total("sequence_ids", ids, offset, more=from_loader)
        _check_total("lengths", sizes, offset, more=from_loader)
    if offset == 0:
        raise ValueError("the loader yielded no batch: its dataset is empty, or drop_last=True dropped the only one.")
    _check_total("sequence_ids", ids, offset, more=False)
    _check_total("lengths", sizes, offset, more=False)


def _arguments(batch: Any) -> tuple[Any, ...]:
    return tuple(batch) if isinstance(batch, tuple | list) else (batch,)


def _whole_numbers(values: Iterable[int] | Tensor, name: str) -> Tensor:
    found = torch.as_tensor(values if isinstance(values, Tensor) else list(values)).cpu()
    if found.dim() != 1 or found.is_floating_point() or found.dtype == torch.bool:
        raise ValueError(
            f"{name} must be one whole number a row, but {found.dtype} of shape {tuple(found.shape)} was given."
        )
    return found.long()


def _check_total(name: str, values: Tensor | None, rows: int, *, more: bool) -> None:
    if values is not None and (values.numel() < rows or (values.numel() > rows and not more)):
        raise ValueError(f"{name} holds {values.numel()} entries, but the inputs hold {rows} rows: give one a row.")
