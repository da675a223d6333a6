"""Interleaved timing: every candidate in turn, round after round, so that a busy machine slows all of them alike."""

import math
import statistics
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import torch

__all__ = ["Timing", "interleaved", "runnable"]


@dataclass(frozen=True)
class Timing:
    """Milliseconds of one candidate, one value a round.

    Example:
        >>> Timing((2.0, 4.0, 3.0)).median
        3.0
    """

    milliseconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """The median over the rounds."""
        return statistics.median(self.milliseconds)

    @property
    def best(self) -> float:
        """The fastest round."""
        return min(self.milliseconds)

    def ratio(self, other: "Timing") -> float:
        """The median over the rounds of this candidate's time divided by the other's in the same round."""
        return statistics.median(a / b for a, b in zip(self.milliseconds, other.milliseconds, strict=True))


def runnable(
    candidates: Mapping[str, Callable[[], object]], rivals: Collection[str]
) -> tuple[dict[str, Callable[[], object]], dict[str, str]]:
    """Return the candidates that run here, and why each of the `rivals` that cannot was left out.

    Torch's kernels lack bfloat16 on some processors, and say so by a RuntimeError. Only rivals may be left out: an
    error of ours is an error.

    Example:
        >>> runnable({"a": int, "b": lambda: torch.zeros(2) @ torch.zeros(3)}, rivals=["b"])[1].keys()
        dict_keys(['b'])
    """
    kept, left_out = dict(candidates), {}
    for name in rivals:
        try:
            candidates[name]()
        except RuntimeError as error:
            left_out[name] = str(error).strip().splitlines()[0]
            del kept[name]
    return kept, left_out


def interleaved(
    candidates: Mapping[str, Callable[[], object]], *, rounds: int = 10, warmup: int = 2, seconds: float = math.inf
) -> dict[str, Timing]:
    """Time every candidate once a round; stop early (after 3 rounds at least) when `seconds` are spent."""
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(warmup):
        for call in candidates.values():
            call()
    start = time.perf_counter()
    for done in range(rounds):
        if done >= 3 and time.perf_counter() - start > seconds:
            break
        for name, call in candidates.items():
            times[name].append(_once(call))
    return {name: Timing(tuple(values)) for name, values in times.items()}


def _once(call: Callable[[], object]) -> float:
    _wait()
    start = time.perf_counter()
    call()
    _wait()
    return (time.perf_counter() - start) * 1e3


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
