"""What checking costs: a model of 100 MB loaded with its digest, against reading the same bytes."""

import statistics
import time
from pathlib import Path
from typing import Any

import torch

import bayesrnn as br
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
