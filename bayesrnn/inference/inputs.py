"""Where a prediction's inputs come from: arguments of one call, or the batches of a loader."""

import inspect
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence
from torch.utils.data import DataLoader, RandomSampler

from bayesrnn._checks import check_whole
from bayesrnn.inference.nested import Rows, leaves, with_rows
from bayesrnn.nn.masked import MaskedModule

_SHARE = 0.25  # of the memory that is free: the rest is the user's, and estimates are rough
_LEAST, _MOST = 384, 8192  # rows of a pass on a CPU: fewer share too few weights, more save no more calls
_OF_THREAD = 24  # rows for each thread at least
_LARGEST = 16 << 20  # bytes of the largest output of a layer: the C library keeps a few of this size at hand
_USUAL = 1024  # rows of a pass on a GPU, and at least where a weight has more than 2^20 numbers


def rows_at_once(model: nn.Module, inputs: tuple[Any, ...], max_memory: int | None) -> int:
    """Return how many draws x rows may go through the model together.

    Args:
        model: The module.
        inputs: Its inputs, marked by `with_rows`.
        max_memory: Bytes that one pass may use; a share of what is free if not given.

    Raises:
        ValueError: If `max_memory` is below one byte.
    """
    budget = free_memory(model) * _SHARE if max_memory is None else check_whole(max_memory, "max_memory")
    size, largest = bytes_per_row(model, inputs)
    weights = list(model.parameters())
    most = _USUAL
    if not any(w.is_cuda for w in weights):
        least = _USUAL if any(w.numel() > 1 << 20 for w in weights) else _LEAST
        most = max(least, _OF_THREAD * torch.get_num_threads(), min(_MOST, _LARGEST // largest))
    return int(max(1, min(most, budget // size)))


def bytes_per_row(model: nn.Module, inputs: tuple[Any, ...]) -> tuple[int, int]:
    """Estimate the bytes of one row on its way through the model: of everything, and of the largest output."""
    size, steps = 0, 1
    for _, leaf in leaves(inputs):
        if isinstance(leaf, Rows):
            data = leaf.value.data if isinstance(leaf.value, PackedSequence) else leaf.value
            size += getattr(data, "nbytes", 0) // leaf.count
            steps = max(steps, leaf.steps)
    largest = max(size, 1)
    for module in model.modules():
        if isinstance(module, MaskedModule | nn.RNNBase):
            widest = max((p.shape[0] for p in module.parameters()), default=0)
            layers = sum(p.dim() == 2 for p in module.parameters())
            size += 4 * widest * (3 * steps + 2 * max(layers, 1))
            largest = max(largest, 4 * steps * getattr(module, "hidden_size", 0))
        elif isinstance(module, nn.Linear):
            size += 4 * module.out_features * steps
            largest = max(largest, 4 * module.out_features * steps)
    return max(2 * size, 1), largest


def free_memory(model: nn.Module) -> int:
    """Return the bytes that are free on the device of the model."""
    first: Tensor | None = next(model.parameters(), None)
    if first is not None and first.is_cuda:
        return int(torch.cuda.mem_get_info(first.device)[0])
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return 2**31


@dataclass(frozen=True)
class Batch:
    """Inputs of one batch, and its place in the whole.

    Attributes:
        inputs: Positional inputs of the model, marked by `with_rows`.
        options: Keyword inputs, marked too.
        ids: Sequence ids, (rows,).
        offset: Rows that came before.
    """

    inputs: tuple[Any, ...]
    options: dict[str, Any]
    ids: Tensor
    offset: int


def batches(
    inputs: tuple[Any, ...],
    model: nn.Module,
    *,
    batch_dim: int = 0,
    batch_dims: Sequence[int | None] | None = None,
    sequence_ids: Iterable[int] | Tensor | None = None,
    lengths: Iterable[int] | Tensor | None = None,
) -> Iterator[Batch]:
    """Yield the batches of a DataLoader, or the inputs as one batch; sequence ids run on from batch to batch.

    A loader's tuple is what `predict(model, *tuple)` would be given: it holds inputs only, no targets.

    Raises:
        ValueError: If there are no inputs, ids or lengths are not one per row, or a loader shuffles or yields targets.
    """
    if not inputs:
        raise ValueError("there is nothing to predict: pass the model's inputs, predict(model, x).")
    ids = None if sequence_ids is None else whole_numbers(sequence_ids, "sequence_ids")
    sizes = None if lengths is None else whole_numbers(lengths, "lengths")
    from_loader = len(inputs) == 1 and isinstance(inputs[0], DataLoader)
    if lengths is not None:
        _check_takes_lengths(model)
    offset = 0
    if from_loader:
        _check_order(inputs[0])
    for given in map(_arguments, inputs[0]) if from_loader else [inputs]:
        if from_loader:
            _check_tuple(model, given)
        marked, rows = with_rows(given, batch_dim, batch_dims)
        here = slice(offset, offset + rows)
        options = {} if sizes is None else {"lengths": Rows(sizes[here])}
        yield Batch(marked, options, torch.arange(offset, offset + rows) if ids is None else ids[here], offset)
        offset += rows
        _check_total("sequence_ids", ids, offset, more=from_loader)
        _check_total("lengths", sizes, offset, more=from_loader)
    if offset == 0:
        raise ValueError("the loader yielded no batch: its dataset is empty, or drop_last=True dropped the only one.")
    _check_total("sequence_ids", ids, offset, more=False)
    _check_total("lengths", sizes, offset, more=False)


def _check_takes_lengths(model: nn.Module) -> None:
    """Refuse lengths for a model that has no such argument."""
    parameters = inspect.signature(model.forward).parameters
    if "lengths" not in parameters and all(p.kind is not inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
        raise TypeError(
            f"lengths= is handed to the model, but {type(model).__name__}.forward takes {list(parameters)} and no "
            "lengths. Let it take lengths= and hand them to its recurrent layer, layer(x, lengths=lengths), or give "
            "packed sequences."
        )


def _check_order(loader: Any) -> None:
    """Refuse a loader that shuffles."""
    if isinstance(loader.sampler, RandomSampler):
        raise ValueError(
            "the loader shuffles: rows would come back in another order than the data's, under masks of other rows. "
            "Give predict a DataLoader with shuffle=False."
        )


def _check_tuple(model: nn.Module, given: tuple[Any, ...]) -> None:
    """Refuse targets that a loader yields behind the inputs: they would be read as lengths, or not at all.

    Raises:
        ValueError: If the tuple has more parts than `forward` has inputs, or a later part would be read as `lengths`.
    """
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = list(inspect.signature(model.forward).parameters.values())
    if any(p.kind is inspect.Parameter.VAR_POSITIONAL for p in parameters):
        return
    names = [p.name for p in parameters if p.kind in kinds]
    taken = names[: len(given)]
    if len(given) <= len(names) and "lengths" not in taken[1:]:
        return
    many = len(given) > len(names)
    what = f"takes only {names}" if many else f"would read part {taken.index('lengths') + 1} as lengths"
    raise ValueError(
        f"the loader yields {len(given)} parts a batch, but {type(model).__name__} {what}. predict takes inputs only: "
        "leave the targets out of the loader, and give lengths of all rows as lengths=."
    )


def _arguments(batch: Any) -> tuple[Any, ...]:
    return tuple(batch) if isinstance(batch, tuple | list) else (batch,)


def whole_numbers(values: Iterable[int] | Tensor, name: str) -> Tensor:
    """Return whole numbers, one per row, as int64 on the CPU."""
    try:
        numbers = torch.as_tensor(values if isinstance(values, Tensor) else list(values)).cpu()
    except (TypeError, ValueError, RuntimeError):
        fix = " Number the names: pandas.factorize(names)[0]." if name == "sequence_ids" else ""
        raise TypeError(f"{name} must be one whole number per row, but {values!r:.60} was given.{fix}") from None
    if numbers.dim() != 1 or numbers.is_floating_point() or numbers.dtype == torch.bool:
        raise ValueError(
            f"{name} must be one whole number per row, but {numbers.dtype} of shape {tuple(numbers.shape)} was given."
        )
    return numbers.long()


def _check_total(name: str, values: Tensor | None, rows: int, *, more: bool) -> None:
    if values is not None and (values.numel() < rows or (values.numel() > rows and not more)):
        raise ValueError(f"{name} holds {values.numel()} entries, but the inputs hold {rows} rows: give one per row.")
