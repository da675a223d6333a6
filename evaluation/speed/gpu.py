"""On a CUDA device: predictions as they are, and played back; small layers in one kernel beside cuDNN and FlashRNN.

A prediction is repeated, as in serving. cuDNN and FlashRNN run without masks, for which they have no place inside the
recurrence; FlashRNN takes part where it can be imported. Beside each row stands the largest difference between the
results compared, so that no speed is reported of wrong numbers.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

import bayesrnn as br
from bayesrnn.nn.kernels.scan import fused_loop
from evaluation import records
from evaluation.options import named
from evaluation.speed.people import Network
from evaluation.speed.rivals import Setting
from evaluation.speed.timing import interleaved

ABSENT = "gpu: left out, there is no CUDA device here"
TARGETS = {"1000x20": 300.0}
"""Milliseconds that a prediction of 2 x 650 units and 35 steps is to take."""
PREDICT = {f"{draws}x{rows}": Setting(draws, rows) for draws, rows in ((1000, 20), (100, 20), (100, 1))}
SMALL = {
    f"{kind} {size}": (kind, size)
    for kind in ("LSTM", "GRU")
    for size in (
        Network(1, 32, 256, 24),
        Network(1, 32, 25_600, 24),
        Network(1, 64, 6_400, 168),
        Network(1, 128, 3_200, 100),
    )
}
QUICK = {"predict": {"3x2": Setting(3, 2, 4, 16)}, "small": {"LSTM quick": ("LSTM", Network(1, 8, 5, 3))}}


def run(*, quick: bool = False, only: list[str] | None = None, plain: bool = False) -> str:
    """Time everything (or rows by name, such as "1000x20"), save it as JSON and return the name of the result."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    predict, small = (QUICK["predict"], QUICK["small"]) if quick else (PREDICT, SMALL)
    chosen: list[Any] = named(only, {**predict, **small})
    rounds = 2 if quick else 15
    rows = [_predict(s, device, rounds) for s in chosen if isinstance(s, Setting)]
    layers = [row for s in chosen if not isinstance(s, Setting) for row in _layer(*s, device, rounds)]
    return records.save("speed_gpu_quick" if quick else "speed_gpu", {"predict": rows, "layers": layers}, seed=0).stem


def markdown(result: dict[str, Any]) -> str:
    """Return both tables of a result."""
    lines = ["### A prediction of 2 x 650 units and 35 steps, milliseconds", ""]
    names = [name for name in result["predict"][0] if name not in ("what", "difference")] if result["predict"] else []
    lines += [f"| draws x rows | {' | '.join(names)} | to reach | difference |", "|---|" + "---:|" * (len(names) + 2)]
    for row in result["predict"]:
        times = " | ".join(f"{row[name]:.1f}" for name in names)
        lines.append(f"| {row['what']} | {times} | {TARGETS.get(row['what'], '')} | {row['difference']:.1e} |")
    for title in ("forward", "training step"):
        lines += ["", f"### One layer, {title}, milliseconds", ""]
        rows = [row for row in result["layers"] if row["what"] == title]
        names = list(dict.fromkeys(name for row in rows for name in row["times"]))
        lines += [f"| layer | {' | '.join(names)} | difference |", "|---|" + "---:|" * (len(names) + 1)]
        for row in rows:
            times = " | ".join(f"{row['times'][name]:.3f}" if name in row["times"] else "" for name in names)
            lines.append(f"| {row['layer']} | {times} | {row['difference']:.1e} |")
    return "\n".join(lines)


@contextmanager
def _products(precision: str) -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _predict(s: Setting, device: torch.device, rounds: int) -> dict[str, Any]:
    layer, x = s.layer().to(device), s.inputs().to(device)
    last = _Last()

    def predict(precision: str | None = None, products: str = "highest") -> Callable[[], Any]:
        options = {"draws": s.draws, "batch_dim": 1, "likelihood": last, "keep_draws": False, "precision": precision}

        def call() -> Any:
            with _products(products):
                return br.predict(layer, x, **options)

        return call

    kinds = {"float32": predict(), "TF32": predict(products="high"), "bf16": predict("bf16")}
    times = interleaved(kinds, rounds=rounds, warmup=1, seconds=40.0)
    with br.inference.recorded_passes():
        played = interleaved(kinds, rounds=rounds, warmup=5, seconds=40.0)
        again = kinds["float32"]().epistemic
    want = kinds["float32"]().epistemic
    row: dict[str, Any] = {"what": f"{s.draws}x{s.rows}"} | {name: time.median for name, time in times.items()}
    row |= {f"{name}, played back": time.median for name, time in played.items()}
    return row | {"difference": float((again - want).abs().max() / want.abs().max())}


class _Last:
    """The last output as a point: one object, so that its recordings are found again."""

    def __call__(self, output: Any) -> Any:
        return br.inference.point(output[0][-1])


def _layer(kind: str, size: Network, device: torch.device, rounds: int) -> list[dict[str, Any]]:
    """Time a layer with tied masks, forward and a training step: in one kernel, in kernels per step, and rivals."""
    x = torch.randn(size.steps, size.rows, size.width, device=device)
    ours = getattr(br.nn, kind)(size.width, size.units, dropout=br.schemes.gal(0.25, gates="tied"), device=device)
    masks = {key: mask.to(device) for key, mask in ours.sample_masks(size.rows, seed=0).items()}
    stock = getattr(nn, kind)(size.width, size.units, device=device)
    x.requires_grad_()

    def forward(layer: nn.Module, **options: Any) -> Callable[[], Tensor]:
        def call() -> Tensor:
            with torch.no_grad():
                return layer(x, **options)[0]

        return call

    def step(layer: nn.Module, **options: Any) -> Callable[[], list[Tensor]]:
        parameters = [x, *layer.parameters()]
        return lambda: list(torch.autograd.grad(layer(x, **options)[0].square().sum(), parameters))

    def per_step(call: Callable[[], Any]) -> Callable[[], Any]:
        def plain() -> Any:
            with mock.patch.object(fused_loop, "_SMALL", 0):
                return call()

        return plain

    def low(call: Callable[[], Any]) -> Callable[[], Any]:
        def lower() -> Any:
            with torch.autocast(device.type, torch.bfloat16):
                return call()

        return lower

    rows = []
    for what, make in (("forward", forward), ("training step", step)):
        one = make(ours, masks=masks)
        candidates = {
            "one kernel": one,
            "one kernel, bf16": low(one),
            "a kernel per step": per_step(one),
            "torch.nn without masks": make(stock),
        }
        candidates |= _flashrnn(kind, size, x, what) if device.type == "cuda" else {}
        times = interleaved(candidates, rounds=rounds, warmup=2, seconds=15.0)
        got, want = ([value] if isinstance(value, Tensor) else value for value in (one(), per_step(one)()))
        gap = max(float((a - b).abs().max() / b.abs().max()) for a, b in zip(got, want, strict=True))
        milliseconds = {name: time.median for name, time in times.items()}
        rows.append({"layer": f"{kind} {size}", "what": what, "times": milliseconds, "difference": gap})
    return rows


def _flashrnn(kind: str, size: Network, x: Tensor, what: str) -> dict[str, Callable[[], object]]:
    """Return FlashRNN's fused LSTM in bfloat16 where it is here and runs, one head of all units."""
    try:
        from flashrnn import flashrnn
    except ImportError:
        return {}
    if kind != "LSTM":
        return {}
    make = {"device": x.device, "dtype": torch.bfloat16, "requires_grad": True}
    inward = torch.randn(4 * size.units, size.width, **make)
    recurrent = torch.randn(4, 1, size.units, size.units, **make)
    bias, state = torch.randn(4, 1, size.units, **make), torch.zeros(2, size.rows, 1, 1, size.units, **make)

    def forward(backend: str) -> Tensor:
        gates = (x.transpose(0, 1).to(torch.bfloat16) @ inward.t()).unflatten(-1, (4, 1, size.units))
        return flashrnn(gates.contiguous(), recurrent, bias, states=state, function="lstm", backend=backend)[0][0]

    def call(backend: str) -> Callable[[], object]:
        def run() -> object:
            if what == "training step":
                return torch.autograd.grad(forward(backend).square().sum(), [x, inward, recurrent, bias])
            with torch.no_grad():
                return forward(backend)

        return run

    candidates = {f"FlashRNN {backend}, bf16": call(backend) for backend in ("cuda_fused", "triton")}
    for name, one in list(candidates.items()):
        try:
            one()
        except Exception as error:  # no compiler, a size that it does not serve
            print(f"{name} is left out: {type(error).__name__}: {str(error).strip()[:100]}")
            del candidates[name]
    return candidates
