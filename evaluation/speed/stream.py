"""What one step of a stream costs, by size and draws, when it has read little and when it has read much."""

import statistics
import time
from typing import Any

import torch

import bayesrnn as br
from evaluation import records

__all__ = ["markdown", "run"]

_SIZES = {"1x32": (1, 32), "1x128": (1, 128), "2x650": (2, 650)}


def run(*, quick: bool = False, only: list[str] | None = None, plain: bool = False) -> str:
    """Measure every size (or those named), save it as JSON and return the name of the result."""
    name = "_".join(filter(None, ("speed_stream", "plain" if plain else "", "quick" if quick else "")))
    rows = [_measured(size, draws, quick) for size in only or _SIZES for draws in (16, 100)]
    return records.save(name, {"rows": rows}, seed=0).stem


def markdown(result: dict[str, Any]) -> str:
    """Return the table of a result."""
    lines = [
        "### One step of a stream, microseconds (median)",
        "",
        "| LSTM | draws | steps 10-59 | after as many more again | state, kB |",
        "|---|---:|---:|---:|---:|",
    ]
    for row in result["rows"]:
        early, late = (f"{row[name]:,.0f}" for name in ("early", "late"))
        lines.append(f"| {row['size']} | {row['draws']} | {early} | {late} | {row['state'] / 1e3:,.0f} |")
    return "\n".join(lines)


def _measured(size: str, draws: int, quick: bool) -> dict[str, Any]:
    layers, hidden = _SIZES[size]
    torch.manual_seed(0)
    model = br.models.SequenceRegressor(8, hidden, num_layers=layers, dropout=0.25)
    stream, x, count = br.Stream(model, 1, draws=draws), torch.randn(1, 8), 5 if quick else 50

    def median() -> float:
        times = []
        for _ in range(count):
            start = time.perf_counter()
            stream.step(x)
            times.append(time.perf_counter() - start)
        return 1e6 * statistics.median(times)

    for _ in range(10):
        stream.step(x)
    early = median()
    for _ in range(count):
        stream.step(x)
    state = sum(tensor.nbytes for tensor in stream.state_dict().values())
    return {"size": size, "draws": draws, "early": early, "late": median(), "state": state}
