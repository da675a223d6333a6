"""What checking costs: a model of 100 MB loaded with its digest against reading the same bytes; a training."""

import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

import bayesrnn as br
from bayesrnn.training import fit
from evaluation.faults.trials import scratch


def cost(rounds: int = 9) -> dict[str, Any]:
    """Return milliseconds of reading and of loading, and the median of their ratio per round."""
    with scratch() as folder, torch.random.fork_rng(devices=[]):
        path = Path(folder) / "model"
        br.save(br.models.LanguageModel(17_000, 600, 600, 2, dropout=0.2), path)
        (weights,) = path.glob("weights-*")
        times = [(_seconds(weights.read_bytes), _seconds(lambda: br.load(path))) for _ in range(rounds)]
        reads, loads = zip(*times)
        return {
            "megabytes": round(weights.stat().st_size / 1e6), "reading_ms": round(1e3 * statistics.median(reads), 1),
            "loading_ms": round(1e3 * statistics.median(loads), 1),
            "ratio": round(statistics.median(load / read for read, load in times), 2),
        }  # fmt: skip


def _seconds(work: Any) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def training(rounds: int = 25) -> dict[str, Any]:
    """Return milliseconds of processor time of `fit` with its checks and without, and the median ratio per round.

    Without: values and losses are not looked at for NaN and infinities, the data has no fingerprint, and requests to
    stop are not caught.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = br.models.SequenceRegressor(8, 64, dropout=0.2)
        x = torch.randn(640, 50, 8)
        data = x, x.sum((1, 2)) / 20
    times = []
    for turn in range(rounds + 1):
        pair = {}
        for checked in (True, False) if turn % 2 else (False, True):
            with nullcontext() if checked else _unchecked():
                start = time.process_time()
                fit(model, data, epochs=1, batch_size=32, progress=False)
                pair[checked] = time.process_time() - start
        times.append((pair[True], pair[False]))
    checked, unchecked = zip(*times[1:])
    return {
        "checked_ms": round(1e3 * statistics.median(checked), 1),
        "unchecked_ms": round(1e3 * statistics.median(unchecked), 1),
        "ratio": round(statistics.median(a / b for a, b in times[1:]), 3),
    }


@contextmanager
def _unchecked() -> Iterator[None]:
    """Take the checks of a training away."""
    with ExitStack() as stack:
        for place, value in (
            ("bayesrnn.training.batches.check_finite", lambda tensor, name: tensor),
            ("bayesrnn.models.encoder.check_finite", lambda tensor, name: tensor),
            ("bayesrnn.training.loop.check_loss", lambda *values: None),
            ("bayesrnn.training.batches.TensorBatches.fingerprint", lambda self: "x"),
        ):
            stack.enter_context(patch(place, value))
        yield
