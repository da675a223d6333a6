"""Networks of the sizes that people use, on one CPU: a prediction with 100 draws, and a training step.

A prediction is timed against what a user would write: 100 passes of `nn.LSTM` with `nn.Dropout` left on (its masks
change at every step and miss the recurrence, so they are cheaper than ours). A training step with tied masks is timed
against `torch.nn` without any. All candidates of a row take turns, round after round; ratios are medians over rounds.
The bound is what the matrix products would take at the fastest product that torch has here, plus one pass of
exponentials.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

import bayesrnn as br
from evaluation import records
from evaluation.options import named
from evaluation.speed.timing import interleaved

__all__ = ["HELD", "Network", "held_to", "markdown", "run"]

HELD = {
    "avx2": {
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "BAYESRNN_COMPILED": "avx2",
    }
}
"""Variables under which torch, its libraries and our kernels use no wider vectors; they are read when these load."""

P, DRAWS, PASSES = 0.25, 100, 10  # of the usual loop, 10 passes are timed and counted ten times
GATES = {"LSTM": 4, "GRU": 3}
EXPONENTIALS = {"LSTM": 5, "GRU": 3}


@dataclass(frozen=True)
class Network:
    """A network, its batch, and the ratios that are to be reached."""

    layers: int
    units: int
    rows: int
    steps: int
    reach: float | None = None
    features: int | None = None

    @property
    def width(self) -> int:
        """Features of the input: as many as units if nothing else is said."""
        return self.features or self.units

    def __str__(self) -> str:
        inputs = f", {self.features} features" if self.features else ""
        return f"{self.layers} x {self.units}, {self.rows} x {self.steps}{inputs}"

    def bound(self, kind: str, rows: int, passes: int, speed: "Speed") -> float:
        """Return the milliseconds of the products and exponentials, for so many rows."""
        numbers, gates = rows * self.steps * self.units, GATES[kind]
        widths = self.width + self.units + (self.layers - 1) * 2 * self.units
        seconds = passes * 2 * numbers * gates * widths / speed.products
        return 1e3 * (seconds + numbers * self.layers * EXPONENTIALS[kind] * speed.exponential)


@dataclass(frozen=True)
class Speed:
    """What this machine does: operations per second in products, seconds per exponential."""

    products: float
    exponential: float


QUICK = ("1 x 32, 256 x 24", "LSTM 1 x 32, 32 x 24")
_PREDICT = (
    Network(1, 32, 256, 24, 3.0),
    Network(1, 32, 256, 24, None, 8),
    Network(2, 64, 64, 168, 2.2),
    Network(2, 128, 32, 100, 2.0),
    Network(2, 650, 20, 35, 1.4),
    Network(2, 650, 1, 35, 3.5),
)
_TRAIN = (
    Network(1, 32, 32, 24, 1.2),
    Network(2, 64, 32, 50, 1.2),
    Network(1, 128, 128, 200, 1.0),
    Network(2, 256, 64, 100, 1.0),
    Network(2, 650, 20, 35, 1.0),
)
PREDICT = {str(size): (None, size) for size in _PREDICT}
TRAIN = {f"LSTM {size}": ("LSTM", size) for size in _TRAIN} | {
    f"GRU {size}": ("GRU", replace(size, reach=0.75)) for size in _TRAIN
}


class Forecaster(nn.Module):
    """A recurrent layer and a readout of its last output; with `usual`, `nn.Dropout` around `nn.LSTM`."""

    def __init__(self, size: Network, usual: bool) -> None:
        super().__init__()
        options: dict[str, Any] = {"batch_first": True, "num_layers": size.layers}
        self.drop = nn.Dropout(P) if usual else nn.Identity()
        if usual:
            self.recurrent: nn.Module = nn.LSTM(size.width, size.units, dropout=P * (size.layers > 1), **options)
        else:
            scheme = br.schemes.gal(input=P, hidden=P, gates="tied")
            self.recurrent = br.nn.LSTM(size.width, size.units, dropout=scheme, **options)
        self.readout = nn.Linear(size.units, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.readout(self.drop(self.recurrent(self.drop(x))[0][:, -1]))


def run(*, quick: bool = False, only: list[str] | None = None, plain: bool = False) -> str:
    """Time everything (or networks by name, such as "2 x 64"), save it as JSON and return the name of the result."""
    torch.manual_seed(0)
    speed = _speed()
    chosen = named(only, {title: (title, *work) for title, work in (PREDICT | TRAIN).items()})
    if quick:
        chosen = [work for work in chosen if work[0] in QUICK]
    predict = [_predict(size, speed, 3 if quick else 7) for _, kind, size in chosen if kind is None]
    train = [_train(kind, size, speed, 3 if quick else 11) for _, kind, size in chosen if kind is not None]
    held = next((isa for isa, variables in HELD.items() if _set(variables)), None)
    result = {"compiled": not plain, "isa": held, "speed": asdict(speed), "predict": predict, "train": train}
    name = "_".join(filter(None, ("speed_people", held, "plain" if plain else "", "quick" if quick else "")))
    return records.save(name, result, seed=0).stem


def held_to(isa: str, module: str, arguments: Sequence[str]) -> int | None:
    """Run a module again in a process held to this instruction set and return its code; None if this process is."""
    if _set(HELD[isa]):
        return None
    return subprocess.run(
        [sys.executable, "-m", module, *arguments], env=os.environ | HELD[isa], check=False
    ).returncode


def _set(variables: dict[str, str]) -> bool:
    return variables.items() <= os.environ.items()


def markdown(result: dict[str, Any]) -> str:
    """Return both tables of a result."""
    speed = result["speed"]
    lines = [
        "### 100 draws, float32: times faster than 100 passes of `nn.LSTM` with `nn.Dropout` on",
        "",
        "| layers x units, rows x steps | the usual loop, ms | `predict`, ms | times faster | to reach | x the bound |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for row in result["predict"]:
        reach = "" if row["reach"] is None else f"{row['reach']:.1f}"
        lines.append(
            f"| {row['network']} | {row['usual_ms']:.0f} | {row['ours_ms']:.0f} | {row['times_faster']:.2f} | {reach} "
            f"| {row['ours_ms'] / row['bound_ms']:.2f} |"
        )
    lines += [
        "",
        "### A training step with tied masks over `torch.nn` without masks",
        "",
        "| cell, layers x units, rows x steps | `torch.nn`, ms | ours, ms | x `torch.nn` | to reach | x the bound |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for row in result["train"]:
        lines.append(
            f"| {row['network']} | {row['torch_ms']:.2f} | {row['ours_ms']:.2f} | {row['ratio']:.2f} "
            f"| {row['reach']:.2f} | {row['ours_ms'] / row['bound_ms']:.2f} |"
        )
    rate, exponential = speed["products"] / 1e9, speed["exponential"] * 1e9
    lines += ["", f"The bound: products at {rate:.0f} GFLOP/s and {exponential:.2f} ns per exponential, measured here."]
    if result.get("isa"):
        lines[-1] += f" torch, its libraries and our kernels were held to {result['isa'].upper()}."
    return "\n".join(lines)


def _predict(size: Network, speed: Speed, rounds: int) -> dict[str, Any]:
    x = torch.randn(size.rows, size.steps, size.width)
    usual, ours = Forecaster(size, True).train(), Forecaster(size, False).eval()
    options = {"draws": DRAWS, "likelihood": br.inference.point, "keep_draws": False}

    def loop() -> Tensor:
        with torch.no_grad():
            return torch.stack([usual(x) for _ in range(PASSES)]).var(0)

    times = interleaved({"usual": loop, "ours": lambda: br.predict(ours, x, **options)}, rounds=rounds, warmup=1)
    scale = DRAWS / PASSES
    return {
        "network": str(size),
        "usual_ms": times["usual"].median * scale,
        "ours_ms": times["ours"].median,
        "times_faster": times["usual"].ratio(times["ours"]) * scale,
        "reach": size.reach,
        "bound_ms": size.bound("LSTM", size.rows * DRAWS, 1, speed),
    }


def _train(kind: str, size: Network, speed: Speed, rounds: int) -> dict[str, Any]:
    x = torch.randn(size.steps, size.rows, size.width, requires_grad=True)
    plain = getattr(nn, kind)(size.width, size.units, size.layers)
    ours = getattr(br.nn, kind)(size.width, size.units, size.layers, dropout=br.schemes.gal(P, gates="tied"))

    repeats = max(1, 1_000_000 // (size.rows * size.steps * size.units))  # short steps are timed by the dozen

    def step(layer: nn.Module) -> Callable[[], object]:
        parameters = [x, *layer.parameters()]

        def run() -> None:
            for _ in range(repeats):
                torch.autograd.grad(layer(x)[0].sum(), parameters)

        return run

    times = interleaved({"torch": step(plain), "ours": step(ours)}, rounds=rounds, warmup=2)
    return {
        "network": f"{kind} {size}",
        "torch_ms": times["torch"].median / repeats,
        "ours_ms": times["ours"].median / repeats,
        "ratio": times["ours"].ratio(times["torch"]),
        "reach": size.reach,
        "bound_ms": size.bound(kind, size.rows, 3, speed),
    }


def _speed() -> Speed:
    """Measure the fastest float32 product that torch has here, and an exponential within a sigmoid."""
    a, b, values = torch.randn(1024, 1024), torch.randn(1024, 1024), torch.randn(1 << 16)
    products: list[Callable[[], object]] = [lambda: torch.mm(a, b)]
    if torch.backends.mkldnn.is_available():
        products.append(lambda: torch.ops.mkldnn._linear_pointwise(a, b, None, "none", [], ""))
    fastest = min(_best(product) for product in products)
    return Speed(2 * 1024**3 / fastest, _best(lambda: torch.sigmoid(values)) / values.numel())


def _best(call: Callable[[], object]) -> float:
    """Return the seconds of the fastest of 30 calls."""
    times = []
    for _ in range(30):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)
