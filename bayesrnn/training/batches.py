"""Rows in batches, from tensors, a Dataset or a DataLoader, in an order that a seed and an epoch fix."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from bayesrnn._checks import as_values, check_finite
from bayesrnn.inference.nested import leaves
from bayesrnn.storage.weights import Packed

Data = Sequence[Any] | Mapping[str, Any] | Dataset[Any] | DataLoader[Any]
"""(input, ..., target), or a mapping of keyword arguments and `target`, or a Dataset or DataLoader of such.

The parts are tensors, arrays, lists or pandas Series and DataFrames.
"""


def epoch_seed(seed: int, epoch: int, purpose: str = "training") -> int:
    """Return the seed of one epoch: a function of its arguments only, so a resumed epoch repeats the lost one."""
    digest = hashlib.blake2b(f"{purpose}/{seed}/{epoch}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


class Batches:
    """An iterable of batches whose order is a function of the seed and the epoch that `at` was told.

    Iterating reseeds torch's global state, from which training masks are drawn; `fit` restores that state at its end.
    """

    def __init__(self, source: "TensorBatches | DataLoader[Any]", seed: int, shuffle: bool, name: str) -> None:
        self.source, self.seed, self.shuffle, self.epoch, self.name = source, seed, shuffle, 0, name
        self.shared = False  # whether the processes of a job share every batch

    def at(self, epoch: int) -> None:
        """Say which epoch comes next."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.source)

    def __iter__(self) -> Iterator[Any]:
        rank, size = world() if self.shared else (0, 1)
        for batch in self._whole(rank):
            yield batch if size == 1 else _share(batch, rank, size)

    def _whole(self, rank: int) -> Iterator[Any]:
        if not self.shuffle:
            yield from self._loaded()
            return
        order = epoch_seed(self.seed, self.epoch, "order")
        torch.manual_seed(epoch_seed(self.seed, self.epoch, f"rank {rank}" if rank else "training"))
        if isinstance(self.source, TensorBatches):
            yield from self.source.shuffled(order)
            return
        if self.source.generator is not None:  # a state of its own would not survive a kill
            self.source.generator.manual_seed(order)
        yield from self._loaded()

    def _loaded(self) -> Iterator[Any]:
        """Yield the batches; those of a loader are looked at here, rows in tensors were when they were given."""
        for number, batch in enumerate(self.source):
            if not isinstance(self.source, TensorBatches):
                for path, part in leaves(batch):
                    _check_part(part, f"batch {number} of {self.name}, part {path},")
            yield batch

    def fingerprint(self) -> str:
        """Return a hash of the rows where they are tensors, else the numbers of rows and batches."""
        if isinstance(self.source, TensorBatches):
            return self.source.fingerprint()
        dataset: Any = self.source.dataset
        if isinstance(dataset, TensorDataset):
            return f"{TensorBatches(dataset.tensors, 1).fingerprint()} in {len(self)} batches"
        return f"{len(dataset) if hasattr(dataset, '__len__') else 'some'} rows in {len(self)} batches"


def world() -> tuple[int, int]:
    """Return the number of this process in a distributed job, and how many there are."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1


def _share(batch: Any, rank: int, size: int) -> Any:
    """Return the rows rank, rank + size, ... of a batch; of fewer rows than processes, one that another has too."""
    if isinstance(batch, Mapping):
        return {name: _share(part, rank, size) for name, part in batch.items()}
    if isinstance(batch, list | tuple):
        return tuple(_share(part, rank, size) for part in batch)
    if not isinstance(batch, Tensor):
        raise TypeError(f"a batch that processes share must hold tensors, but it holds a {type(batch).__name__}.")
    return batch[rank % min(size, len(batch)) :: size]


def moved(part: Any, device: torch.device) -> Any:
    """Return a batch, or a part of it, with its tensors on a device."""
    if isinstance(part, Mapping):
        return {name: moved(value, device) for name, value in part.items()}
    if hasattr(part, "to"):
        return part.to(device)
    return tuple(moved(value, device) for value in part) if isinstance(part, list | tuple) else part


class TensorBatches:
    """Rows of tensors of equal length, by index: no worker, no collating."""

    def __init__(self, tensors: Mapping[str, Tensor] | Sequence[Tensor], size: int) -> None:
        self.names = tuple(tensors) if isinstance(tensors, Mapping) else None
        self.tensors = tuple(tensors.values()) if isinstance(tensors, Mapping) else tuple(tensors)
        self.size = size
        self.rows = _common_rows(self.tensors)

    def __len__(self) -> int:
        return -(-self.rows // self.size)

    def __iter__(self) -> Iterator[Any]:
        return self._batches(torch.arange(self.rows))

    def shuffled(self, seed: int) -> Iterator[Any]:
        """Iterate in the order of that seed."""
        return self._batches(torch.randperm(self.rows, generator=torch.Generator().manual_seed(seed)))

    def _batches(self, order: Tensor) -> Iterator[Any]:
        for index in order.split(self.size):
            parts = tuple(tensor[index.to(tensor.device)] for tensor in self.tensors)
            yield parts if self.names is None else dict(zip(self.names, parts, strict=True))

    def fingerprint(self) -> str:
        """Return a hash of all values."""
        return Packed({f"{i}": tensor.detach().cpu() for i, tensor in enumerate(self.tensors)}, {}).digest


def as_batches(data: Data, batch_size: int, seed: int, *, shuffle: bool, name: str) -> Batches:
    """Return the rows of `data` in batches; a DataLoader keeps its own batches and order.

    Raises:
        TypeError: If it is none of the kinds that `Data` names.
        ValueError: If there are no rows, their numbers differ, a mapping has no target, or a value is not finite.
    """
    if isinstance(data, IterableDataset) or isinstance(getattr(data, "dataset", None), IterableDataset):
        raise ValueError(
            f"{name} is an IterableDataset, whose rows fit can neither count nor shuffle by its seed. Give fit the "
            "rows of an epoch as tensors, or a Dataset with __len__ and __getitem__."
        )
    if isinstance(data, DataLoader):
        if len(data) == 0:
            raise ValueError(f"{name} is a DataLoader without batches: check its dataset, and drop_last.")
        return Batches(data, seed, shuffle, name)
    if isinstance(data, TensorDataset):
        data = data.tensors
    if isinstance(data, Dataset):
        return Batches(DataLoader(data, batch_size, shuffle=shuffle), seed, shuffle, name)
    if isinstance(data, Tensor) or not isinstance(data, Mapping | Sequence):
        raise TypeError(
            f"{name} must be (inputs, ..., target) tensors, a mapping with a 'target', a Dataset or a DataLoader, but "
            f"a {type(data).__name__} was given. For a tensor of inputs x and targets y pass (x, y)."
        )
    named = isinstance(data, Mapping)
    parts = {str(key): value for key, value in (data.items() if isinstance(data, Mapping) else enumerate(data))}
    _check(parts, named, name)
    tensors = {key: _as_tensor(value, f"{name}[{key}]") for key, value in parts.items()}
    return Batches(TensorBatches(tensors if named else tuple(tensors.values()), batch_size), seed, shuffle, name)


def split(batch: Any) -> tuple[tuple[Any, ...], dict[str, Any], Tensor]:
    """Return a batch's positional inputs, keyword inputs and target."""
    if isinstance(batch, Mapping):
        keywords = dict(batch)
        if "target" not in keywords:
            raise ValueError(f"a batch with the keys {sorted(keywords)} has no 'target'. Name it so.")
        target = as_values(keywords.pop("target"), "target")
        return (), keywords, target
    if not isinstance(batch, list | tuple) or len(batch) < 2:
        raise TypeError(
            f"a batch must be (inputs, ..., target) or a mapping with a 'target', but a {type(batch).__name__} was "
            "given. Let the dataset return the input and the target of a row."
        )
    return tuple(batch[:-1]), {}, as_values(batch[-1], "target")


def _check(parts: Mapping[str, Any], named: bool, name: str) -> None:
    if named and "target" not in parts:
        raise ValueError(f"{name} has the keys {sorted(parts)} but no 'target'. Name the targets so.")
    if len(parts) < 2:
        raise ValueError(f"{name} must hold inputs and a target, but it holds {len(parts)} parts.")


def _as_tensor(value: Any, name: str) -> Tensor:
    """Return a tensor as it is, and other numbers as one; float64 of arrays and lists becomes torch's default type."""
    tensor = as_values(value, name)
    if not isinstance(value, Tensor) and tensor.dtype == torch.float64:
        tensor = tensor.to(torch.get_default_dtype())
    return check_finite(tensor, name)


def _check_part(part: Any, name: str) -> None:
    """Refuse NaN and infinite values in a part of a batch, whatever holds its numbers."""
    part = part.data if isinstance(part, PackedSequence) else part
    if isinstance(part, Tensor) or np.asarray(part).dtype.kind == "f":
        check_finite(part if isinstance(part, Tensor) else torch.as_tensor(part), name)


def _common_rows(tensors: Iterable[Tensor]) -> int:
    counts = [tensor.shape[0] if tensor.dim() else 0 for tensor in tensors]
    if len(set(counts)) != 1:
        raise ValueError(
            f"the inputs and the target hold different numbers of rows: {counts}. Rows are dimension 0 of each."
        )
    if counts[0] == 0:
        raise ValueError("there are no rows to train on: the tensors are empty. Check the split of the data.")
    return counts[0]
