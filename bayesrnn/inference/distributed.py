"""Several processes share a prediction: rows and draws are split, parts are gathered, and a dead rank is noticed."""

import atexit
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

__all__ = ["Ranks", "all_ranks", "alone"]

PATIENCE = 40.0
"""Seconds without a sign of life after which a rank is taken for dead."""
START = 300.0
"""Seconds that a rank may take to come to its first prediction."""
_BEAT = 2.0
_solitary: ContextVar[bool] = ContextVar("_solitary", default=False)
_pulse: "_Pulse | None" = None
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


class _Pulse:
    """A thread that shows, from the first shared prediction until the process ends, that this rank is alive."""

    def __init__(self, store: Any, rank: int) -> None:
        self.store, self.rank = store, rank
        self._stop = threading.Event()
        self._sign(0)
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self._thread.start()
        atexit.register(self.stop)

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()
        self._thread.join()

    def _beat(self) -> None:
        count = 0
        while not self._stop.wait(_BEAT):
            count += 1
            self._sign(count)

    def _sign(self, count: int) -> None:
        try:
            self.store.set(f"alive/{self.rank}", str(count))
        except (RuntimeError, ValueError):
            self._stop.set()  # rank 0, which keeps the store, is gone: whoever waits for a value says so


@dataclass
class Ranks:
    """The processes that share one prediction.

    Args:
        rank: Number of this process.
        size: How many there are.
        store: The key-value store of the job.
        call: Number of the prediction.
    """

    rank: int
    size: int
    store: Any
    call: int
    _seen: dict[int, tuple[bytes, float]] = field(default_factory=dict)
    _looked: float = field(default_factory=time.monotonic)

    def look(self) -> None:
        """Between two chunks of work, now and then: end this rank's work too if another has failed or died."""
        if time.monotonic() - self._looked < _BEAT:
            return
        for rank in range(self.size):
            if rank != self.rank:
                self._check(rank)
        self._looked = time.monotonic()

    def tile(self, rows: int, draws: int, block: int, *, split_draws: bool) -> tuple[Tensor, range]:
        """Return the rows and draws of this rank: rows are split first, then draws at the ends of blocks.

        Ranks that are left over do the work of another again; `merged` drops it.
        """
        across = min(rows, self.size)
        if split_draws:
            across = max(d for d in range(1, across + 1) if self.size % d == 0)
        blocks = -(-draws // block)
        down = min(self.size // across, blocks) if split_draws else 1
        column, row = self.rank % across, self.rank // across % down
        cuts = [round(k * rows / across) for k in range(across + 1)]
        edges = [min(round(k * blocks / down) * block, draws) for k in range(down + 1)]
        return torch.arange(cuts[column], cuts[column + 1]), range(edges[row], edges[row + 1])

    def agree(self, what: str, value: str) -> None:
        """Make sure that all ranks have the same value.

        Raises:
            ValueError: If they differ.
        """
        values = [v.decode() for v in self.gather(what, value.encode())]
        if len(set(values)) > 1:
            different = [rank for rank, v in enumerate(values) if v != values[0]]
            raise ValueError(
                f"the ranks of this job were given different {what}: ranks {different} differ from rank 0. Ranks share "
                "one prediction, so each must call predict with the same model, inputs and options; where each has "
                "data of its own, predict inside `with bayesrnn.inference.alone():`."
            )

    def gather(self, key: str, value: bytes) -> list[bytes]:
        """Return the small value of every rank.

        Raises:
            RuntimeError: If a rank failed, or gave no sign of life for `PATIENCE` seconds.
        """
        self._guarded(self.store.set, f"{self.call}/{key}/{self.rank}", value)
        return [self._wait(f"{self.call}/{key}/{rank}", rank) for rank in range(self.size)]

    def gather_large(self, value: bytes) -> list[bytes]:
        """Return the large value of every rank; all must have come this far, or it is an error as in `gather`."""
        sizes = [int(v) for v in self.gather("size", str(len(value)).encode())]
        own = torch.zeros(max(sizes), dtype=torch.uint8)
        own[: len(value)] = torch.frombuffer(bytearray(value), dtype=torch.uint8)
        found = [torch.empty_like(own) for _ in sizes]
        dist.all_gather(found, own, group=_group())
        return [t[:n].numpy().tobytes() for t, n in zip(found, sizes, strict=True)]

    def fail(self, error: BaseException) -> None:
        """Tell the others that this rank cannot go on."""
        with suppress(RuntimeError, ValueError):
            self.store.set(f"{self.call}/failed/{self.rank}", f"{type(error).__name__}: {error}"[:500])

    def _wait(self, key: str, rank: int) -> bytes:
        while not self._guarded(self.store.check, [key]):
            self._check(rank)
            time.sleep(0.02)
        return bytes(self._guarded(self.store.get, key))

    def _check(self, rank: int) -> None:
        failed = f"{self.call}/failed/{rank}"
        if self._guarded(self.store.check, [failed]):
            reason = bytes(self._guarded(self.store.get, failed)).decode(errors="replace")
            raise RuntimeError(f"rank {rank} of {self.size} failed, so the prediction has no result: {reason}")
        key, now = f"alive/{rank}", time.monotonic()
        sign = bytes(self._guarded(self.store.get, key)) if self._guarded(self.store.check, [key]) else b""
        last = self._seen.get(rank)
        if last is None or last[0] != sign:
            self._seen[rank] = (sign, now)
        elif now - last[1] > (PATIENCE if sign else START):
            raise RuntimeError(
                f"rank {rank} of {self.size} has given no sign of life for {now - last[1]:.0f} s: it has died, or "
                "never came here. Look at its own output (often it ran out of memory), and start the job again."
            )

    def _guarded(self, call: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return call(*arguments)
        except RuntimeError as error:
            raise RuntimeError(
                f"rank {self.rank} lost the store that rank 0 keeps: rank 0 has died. Look at its own output, and "
                "start the job again."
            ) from error


@contextmanager
def all_ranks() -> Iterator[Ranks | None]:
    """Yield the ranks of this job, or None where a prediction is for this process alone."""
    global _pulse, _calls
    if _solitary.get() or not _joined():
        yield None
        return
    store = dist.distributed_c10d.PrefixStore("bayesrnn", dist.distributed_c10d._get_default_store())
    if _pulse is None:
        _pulse = _Pulse(store, dist.get_rank())
    _calls += 1
    ranks = Ranks(dist.get_rank(), dist.get_world_size(), store, _calls)
    try:
        yield ranks
    except BaseException as error:
        ranks.fail(error)
        raise


def _joined() -> bool:
    """Whether this process is one of several; joins them if torchrun started it and nobody has joined yet."""
    if not dist.is_available():
        return False
    if not dist.is_initialized():
        if int(os.environ.get("WORLD_SIZE", "1")) < 2 or "RANK" not in os.environ or "MASTER_ADDR" not in os.environ:
            return False
        dist.init_process_group("gloo")
        atexit.register(_leave)
    return dist.get_world_size() > 1


def _leave() -> None:
    if _pulse is not None:
        _pulse.stop()
    if dist.is_initialized():
        dist.destroy_process_group()


def _group() -> Any:
    """The group that carries results: gloo whatever the job itself uses, and never waiting longer than a minute."""
    global _carrier
    if _carrier is None:
        _carrier = dist.new_group(backend="gloo", timeout=timedelta(seconds=60))
    return _carrier
