"""Several processes share a prediction (torchrun): each predicts some of the rows, and all get the whole result."""

import atexit
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from bayesrnn.inference.outputs import map_distribution, parameters
from bayesrnn.inference.packing import packed, unpacked
from bayesrnn.inference.passes import Part

_solitary: ContextVar[bool] = ContextVar("_solitary", default=False)
_carrier: Any = None
_calls = 0


@contextmanager
def alone() -> Iterator[None]:
    """Within the block, predictions are not shared among ranks: each process predicts what it is given.

    Needed where the ranks of a distributed job hold different data, as in distributed training.
    """
    token = _solitary.set(True)
    try:
        yield
    finally:
        _solitary.reset(token)


@dataclass(frozen=True)
class Ranks:
    """The processes that share one prediction.

    Attributes:
        rank: Number of this process.
        size: How many there are.
        call: Number of the prediction, the same in all processes as long as none failed.
    """

    rank: int
    size: int
    call: int = 0

    def rows(self, count: int) -> Tensor:
        """Return the rows of this rank. Where ranks are left over, they do the work of another again."""
        across = min(count, self.size)
        column = self.rank % across
        return torch.arange(round(column * count / across), round((column + 1) * count / across))

    def agree(self, *facts: Any) -> None:
        """Make sure that all ranks were given the same.

        Raises:
            ValueError: If they were not, with the ranks that differ from rank 0.
        """
        texts = self._gather("facts", repr(facts).encode())
        different = [rank for rank, text in enumerate(texts) if text != texts[0]]
        if different:
            raise ValueError(
                f"the ranks of this job were given different inputs or options: ranks {different} differ from rank 0. "
                "Ranks share one prediction, so each must call predict with the same model, inputs and options; where "
                "each has data of its own, predict inside `with bayesrnn.inference.alone():`."
            )

    def share(self, parts: Sequence[Part]) -> list[Part]:
        """Return the parts of all ranks, each row once."""
        unique = {
            int(part.rows[0]): part for data in self._gather("parts", _pack(parts)) for part in _unpack(data, parts[0])
        }
        return list(unique.values())

    def _gather(self, what: str, value: bytes) -> list[bytes]:
        """Return the bytes of every rank.

        Raises:
            RuntimeError: If a rank died, failed in this prediction or did not come in half an hour.
        """
        label = f"{self.call} {what}\n".encode()
        try:
            sizes = [torch.zeros(1, dtype=torch.long) for _ in range(self.size)]
            dist.all_gather(sizes, torch.tensor([len(label) + len(value)]), group=_group())
            own = torch.zeros(int(torch.cat(sizes).max()), dtype=torch.uint8)
            own[: len(label) + len(value)] = torch.frombuffer(bytearray(label + value), dtype=torch.uint8)
            gathered = [torch.empty_like(own) for _ in sizes]
            dist.all_gather(gathered, own, group=_group())
        except RuntimeError as error:
            raise RuntimeError(
                f"rank {self.rank} of {self.size} waited for the others in vain: one of them failed, died or never "
                "predicted. Look at its own output (often it ran out of memory), and start the job again."
            ) from error
        texts = [t[: int(n)].numpy().tobytes() for t, n in zip(gathered, sizes, strict=True)]
        lost = [rank for rank, text in enumerate(texts) if not text.startswith(label)]
        if lost:
            raise RuntimeError(
                f"ranks {lost} failed in a prediction and went on to another, so this one has no result. Look at their "
                "own output, and start the job again."
            )
        return [text[len(label) :] for text in texts]


def all_ranks() -> Ranks | None:
    """Return the ranks of this job, or None where a prediction is for this process only."""
    global _calls
    if _solitary.get() or not _joined():
        return None
    _calls += 1
    return Ranks(dist.get_rank(), dist.get_world_size(), _calls)


def _joined() -> bool:
    """Whether this process is one of several; joins them if torchrun started it and nobody has joined yet."""
    if not dist.is_available():
        return False
    if not dist.is_initialized():
        if int(os.environ.get("WORLD_SIZE", "1")) < 2 or "RANK" not in os.environ or "MASTER_ADDR" not in os.environ:
            return False
        dist.init_process_group("gloo")
        atexit.register(lambda: dist.destroy_process_group() if dist.is_initialized() else None)
    return dist.get_world_size() > 1


def _group() -> Any:
    """The group that carries results: gloo, whatever the job itself uses."""
    global _carrier
    if _carrier is None:
        _carrier = dist.new_group(backend="gloo")
    return _carrier


def _pack(parts: Sequence[Part]) -> bytes:
    """Return the parts as the bytes of a safetensors file: reading them can run no code."""
    from safetensors.torch import save

    def plain(part: Part) -> list[Any]:
        return [part.rows, part.draws, [[parameters(d) for d in c] for c in part.distributions], part.statistics]

    return save(packed([plain(part) for part in parts]))


def _unpack(data: bytes, like: Part) -> Iterator[Part]:
    """Yield the parts in `data`; `like`, a part of this process, shows which distributions they hold."""
    from safetensors.torch import load

    for rows, draws, chunks, statistics in unpacked(load(data), like.statistics[0].replicates.mean.device):
        distributions = []
        for chunk in chunks:
            values = iter([tensor for tensors in chunk for tensor in tensors])
            distributions.append([map_distribution(d, lambda _, v=values: next(v)) for d in like.distributions[0]])  # type: ignore[misc]
        yield Part(rows.cpu(), draws, tuple(distributions), statistics)
