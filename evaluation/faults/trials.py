"""A trial: work with harmless but broken input, and what became of it."""

import os
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch

FINE, REFUSED, SILENT, RAW, SLOW = "fine", "refused", "silent", "raw error", "over 5 s"
BAD = (SILENT, RAW, SLOW)
_SLOW, _SHORTEST, _LONGEST = 5.0, 20, 1200  # seconds; characters of a message


def scratch() -> tempfile.TemporaryDirectory[str]:
    """Return a folder that vanishes, in memory where the system has such a place."""
    memory = "/dev/shm"
    return tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None)


@dataclass(frozen=True)
class Trial:
    """One attempt.

    Attributes:
        name: What is tried.
        work: Does it; returns what came out.
        accepts: Whether what came out may leave.
    """

    name: str
    work: Callable[[], Any]
    accepts: Callable[[Any], bool] = lambda value: True


def outcome(trial: Trial) -> tuple[str, str]:
    """Return what became of a trial, and the words that go with it."""
    start = time.perf_counter()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = trial.work()
        verdict, words = (FINE, "") if trial.accepts(value) else (SILENT, f"{value!r:.200}")
    except (ValueError, TypeError) as error:
        plain = "\n" not in str(error) and _SHORTEST <= len(str(error)) <= _LONGEST
        verdict, words = (REFUSED if plain else RAW), f"{type(error).__name__}: {error}"
    except (Exception, SystemExit) as error:
        verdict, words = RAW, f"{type(error).__name__}: {error}"
    return (SLOW if time.perf_counter() - start > _SLOW else verdict), words[:400]


def tally(trials: Iterable[Trial]) -> dict[str, Any]:
    """Run trials and return how many came out how, with the worst ones."""
    counts: Counter[str] = Counter()
    worst: dict[str, str] = {}
    for trial in trials:
        verdict, words = outcome(trial)
        counts[verdict] += 1
        if verdict in BAD and len(worst) < 40:
            worst[trial.name] = f"{verdict}: {words}"
    return {"trials": counts.total(), "outcomes": dict(counts), "worst": worst}


def finite(value: Any) -> bool:
    """Whether every number of nested values is finite; None is the number that does not exist."""
    if isinstance(value, torch.Tensor):
        return bool(torch.isfinite(value).all()) if value.is_floating_point() else True
    if isinstance(value, dict):
        return all(map(finite, value.values()))
    if isinstance(value, list | tuple):
        return all(map(finite, value))
    return not isinstance(value, float) or abs(value) < float("inf")
