"""Two versions of the package side by side: the same workloads in turn, one process per version.

`python -m evaluation.speed versions --other FOLDER`, where FOLDER is a checkout of another commit. Each round runs a
workload in both processes, so a busy machine slows both alike; the figure is the median of the ratios per round.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from evaluation import records

__all__ = ["markdown", "run", "serve", "workloads"]

_TRAIN = {
    "1x32, 32x24": (1, 32, 32, 24),
    "2x64, 32x50": (2, 64, 32, 50),
    "1x128, 128x200": (1, 128, 128, 200),
    "2x256, 64x100": (2, 256, 64, 100),
    "2x650, 20x35": (2, 650, 20, 35),
}
"""Layers, units, rows and steps of a training step."""
_PREDICT = {
    "1x32, 256x24": (1, 32, 256, 24),
    "2x64, 64x168": (2, 64, 64, 168),
    "2x128, 32x100": (2, 128, 32, 100),
    "2x650, 20x35": (2, 650, 20, 35),
    "2x650, 1x35": (2, 650, 1, 35),
}
"""The same of a prediction with 100 draws."""


def workloads() -> dict[str, Callable[[], object]]:
    """Return what is timed; only public names that every version has."""
    calls: dict[str, Callable[[], object]] = {}
    for size, numbers in _TRAIN.items():
        for kind in ("LSTM", "GRU"):
            calls[f"train {kind} {size}"] = _train(kind, *numbers)
    for size, numbers in _PREDICT.items():
        calls[f"predict LSTM {size}"] = _predict(*numbers)
    return calls


def _train(kind: str, layers: int, units: int, rows: int, steps: int) -> Callable[[], object]:
    import torch

    import bayesrnn as br

    layer = getattr(br.nn, kind)(units, units, layers, dropout=br.schemes.gal(input=0.25, hidden=0.25, gates="tied"))
    x = torch.randn(steps, rows, units, requires_grad=True)
    parameters = [x, *layer.parameters()]
    return lambda: torch.autograd.grad(layer(x)[0].sum(), parameters)


def _predict(layers: int, units: int, rows: int, steps: int) -> Callable[[], object]:
    import torch

    import bayesrnn as br

    scheme = br.schemes.gal(input=0.25, hidden=0.25, gates="tied")
    model = br.nn.LSTM(units, units, layers, batch_first=True, dropout=scheme).eval()
    x = torch.randn(rows, steps, units)
    likelihood = _last_output
    return lambda: br.predict(model, x, draws=100, likelihood=likelihood, keep_draws=False)


def _last_output(output: Any) -> Any:
    import bayesrnn as br

    return br.inference.point(output[0][:, -1])


def serve() -> None:
    """Time the workloads that are named on standard input, one per line; answer in milliseconds per call.

    A short call is repeated for a tenth of a second, so that what the other process left in the caches is not timed.
    """
    calls = workloads()
    for line in sys.stdin:
        call, count, start = calls[line.strip()], 0, time.perf_counter()
        while count == 0 or time.perf_counter() - start < 0.1:
            call()
            count += 1
        print((time.perf_counter() - start) / count * 1e3, flush=True)


def run(*, quick: bool = False, only: list[str] | None = None, other: Path) -> str:
    """Measure both versions and save the result; returns its name."""
    names = [n for n in _names() if only is None or any(part in n for part in only)]
    rounds = 3 if quick else 11
    here = Path(__file__).parent.parent.parent
    processes = {"this": _start(here, here), "other": _start(other.resolve(), here)}
    rows = []
    for name in names:
        times: dict[str, list[float]] = {"this": [], "other": []}
        for turn in range(rounds + 1):
            for version in list(times) if turn % 2 else list(times)[::-1]:
                times[version].append(_ask(processes[version], name))
        ratio = statistics.median(a / b for a, b in zip(times["this"][1:], times["other"][1:], strict=True))
        medians = {version: statistics.median(values[1:]) for version, values in times.items()}
        rows.append({"workload": name, "ratio": ratio, **medians})
        print(f"{name}: {medians['this']:.1f} ms, other {medians['other']:.1f} ms, ratio {ratio:.3f}", flush=True)
    for process in processes.values():
        process.communicate()
    commit = subprocess.run(
        ["git", "-C", str(other), "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True
    )
    records.save("speed_versions", {"other_commit": commit.stdout.strip(), "rounds": rounds, "rows": rows}, seed=0)
    return "speed_versions"


def markdown(result: dict[str, Any]) -> str:
    """Return the table of a result."""
    lines = [f"| workload | ms | at {result['other_commit']} | ratio |", "|---|---:|---:|---:|"]
    for row in result["rows"]:
        lines.append(f"| {row['workload']} | {row['this']:.1f} | {row['other']:.1f} | {row['ratio']:.3f} |")
    return "\n".join(lines)


def _names() -> list[str]:
    trained = [f"train {kind} {size}" for size in _TRAIN for kind in ("LSTM", "GRU")]
    return trained + [f"predict LSTM {size}" for size in _PREDICT]


def _start(package: Path, here: Path) -> "subprocess.Popen[str]":
    """Start a process that has the package of one folder and the workloads of this one."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import bayesrnn; sys.path[0] = sys.argv[2]; "
        "from evaluation.speed.versions import serve; serve()"
    )
    arguments = [sys.executable, "-c", code, str(package), str(here)]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    return subprocess.Popen(
        arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd="/"
    )


def _ask(process: "subprocess.Popen[str]", name: str) -> float:
    if process.stdin is None or process.stdout is None:
        raise RuntimeError("the process has no pipes.")
    process.stdin.write(name + "\n")
    process.stdin.flush()
    answer = process.stdout.readline()
    if not answer:
        raise RuntimeError(f"a version ended while it ran {name!r}; its error stands above.")
    return float(json.loads(answer))
