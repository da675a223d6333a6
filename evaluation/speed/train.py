"""A training step of every scheme on every path, against torch.nn without masks and an autograd loop with masks.

All candidates of a size take turns in one run, so a ratio compares like with like. Gradients flow to the weights and
to the input, as they do above an embedding.
"""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

import bayesrnn as br
from bayesrnn.masks import Binding, Fresh, stream
from bayesrnn.nn.kernels import dispatch as paths
from bayesrnn.nn.kernels.reference import reference
from evaluation import records
from evaluation.options import named
from evaluation.speed.timing import Timing, interleaved, runnable

__all__ = ["Size", "markdown", "run", "step"]


@dataclass(frozen=True)
class Size:
    """A network and a batch."""

    layers: int
    units: int
    rows: int
    steps: int

    @property
    def rounds(self) -> int:
        """How often everything is timed."""
        return 11 if self.units < 1000 else 5

    def __str__(self) -> str:
        return f"{self.layers}x{self.units}, batch {self.rows}x{self.steps}"


SIZES = (Size(2, 650, 20, 35), Size(2, 1500, 20, 35), Size(1, 128, 128, 200))
QUICK = (Size(2, 200, 20, 20), Size(1, 64, 32, 40))
BASELINE = "torch.nn, no masks"
TARGETS = {"gal tied, scan": 1.05, "gal tied, scan, bfloat16": 0.65, "gal tied, fold": 1.10}
UNTIED_TO_TIED = 1.25
MASKS_TO_FORWARD = 0.05
P = 0.25


def schemes(kind: str) -> dict[str, br.schemes.Scheme]:
    """The schemes that fit a cell, each at one rate."""
    s = br.schemes
    common = {
        "gal tied": s.gal(P, gates="tied"),
        "gal untied": s.gal(P),
        "zaremba": s.zaremba(P),
        "naive": s.naive(P),
        "semeniuta": s.semeniuta(P),
        "zoneout": s.zoneout(hidden=P) if kind == "GRU" else s.zoneout(P, P),
        "weight_drop": s.weight_drop(P),
    }
    return common if kind == "GRU" else common | {"moon": s.moon(P)}


def run(*, quick: bool = False, only: list[str] | None = None, plain: bool = False) -> str:
    """Time everything (or some sizes, such as 2x650), save it as JSON and return the name of the result."""
    torch.manual_seed(0)
    rows = []
    sizes = named(only, {str(size).split(",")[0]: size for size in (QUICK if quick else SIZES)})
    for size in sizes:
        for kind in ("LSTM", "GRU"):
            rows += _measure(kind, size, 3 if quick else size.rounds)
    name = "_".join(filter(None, ("speed_train", "plain" if plain else "", "quick" if quick else "", *(only or []))))
    return records.save(name, {"compiled": not plain, "rows": rows, "summary": _summary(rows)}, seed=0).stem


def markdown(result: dict[str, Any]) -> str:
    """Return the tables of a result: one for each cell and size, and what was to be reached."""
    parts: dict[str, list[dict[str, Any]]] = {}
    for row in result["rows"]:
        parts.setdefault(f"{row['cell']} {row['size']}", []).append(row)
    return "\n\n".join([*(_table(title, rows) for title, rows in parts.items()), _verdict(result["summary"])])


def _measure(kind: str, size: Size, rounds: int) -> list[dict[str, Any]]:
    x = torch.randn(size.steps, size.rows, size.units, device=_device(), requires_grad=True)
    candidates: dict[str, Callable[[], object]] = {}
    plain = getattr(nn, kind)(size.units, size.units, size.layers, device=_device())
    candidates[BASELINE] = step(plain, x)
    candidates[f"{BASELINE}, bfloat16"] = step(plain, x, low=True)
    for name, scheme in schemes(kind).items():
        layer = getattr(br.nn, kind)(size.units, size.units, size.layers, dropout=scheme, device=_device())
        path = "fold" if name == "weight_drop" else "scan"
        candidates[f"{name}, {path}"] = step(layer, x)
        candidates[f"{name}, {'scan' if path == 'fold' else path}, bfloat16"] = step(layer, x, low=True)
        if name.startswith("gal"):
            candidates[f"{name}, fold"] = step(layer, x, masks=_shared(layer))
            candidates[f"{name}, autograd loop"] = _loop(step(layer, x))
    ours = getattr(br.nn, kind)(size.units, size.units, size.layers, device=_device())
    candidates["none, torch's kernel"] = step(ours, x)
    candidates |= _mask_making(kind, size, x)
    candidates, left_out = runnable(candidates, rivals=[f"{BASELINE}, bfloat16"])
    times = interleaved(candidates, rounds=rounds, warmup=1)
    absent = [{"cell": kind, "size": str(size), "candidate": n, "left_out": why} for n, why in left_out.items()]
    return [*(_row(kind, size, name, time, times) for name, time in times.items()), *absent]


def _row(kind: str, size: Size, name: str, time: Timing, times: dict[str, Timing]) -> dict[str, Any]:
    row = {"cell": kind, "size": str(size), "candidate": name, "median_ms": time.median, "best_ms": time.best}
    if name.startswith("masks: "):
        forward = times[name.replace("masks: ", "forward: ")]
        return row | {"ratio_to_forward": time.ratio(forward)}
    if name.startswith("forward: "):
        return row
    row["ratio"] = time.ratio(times[BASELINE])
    tied = times.get(name.replace("untied", "tied"))
    return row | ({"ratio_to_tied": time.ratio(tied)} if "untied" in name and tied is not None else {})


def step(layer: nn.Module, x: Tensor, *, low: bool = False, **options: Any) -> Callable[[], object]:
    """One forward and backward pass."""
    parameters = [x, *layer.parameters()]

    def once() -> None:
        with torch.autocast(x.device.type, torch.bfloat16) if low else nullcontext():
            out, _ = layer(x, **options)
        torch.autograd.grad(out.float().sum(), parameters)

    return once


def _loop(plain: Callable[[], object]) -> Callable[[], object]:
    """The same step with the reference loop in the place of the scan: what autograd makes of a plain cell loop."""

    def slow() -> None:
        with mock.patch.object(paths, "scan", reference):
            plain()

    return slow


def _shared(layer: Any) -> dict[str, Tensor]:
    return {key: mask.to(_device()) for key, mask in layer.sample_masks(1, seed=0).items()}


def _mask_making(kind: str, size: Size, x: Tensor) -> dict[str, Callable[[], object]]:
    """Making masks, alone, beside the forward pass that uses them: in training, and for 16 draws of a prediction."""
    layer = getattr(br.nn, kind)(
        size.units, size.units, size.layers, dropout=schemes(kind)["gal tied"], device=_device()
    )
    draws, sequences = torch.arange(16, device=_device()), torch.arange(size.rows, device=_device())
    binding = Binding(stream("stratified", 0), draws, sequences)
    many = x.detach().repeat(1, 16, 1)
    fresh = layer.masks_of(Fresh(), size.rows, size.steps)
    bound = layer.masks_of(binding, binding.rows, size.steps)

    def predict() -> None:
        with torch.no_grad():
            layer(many, masks=bound)

    return {
        "masks: fresh": lambda: layer.masks_of(Fresh(), size.rows, size.steps),
        "forward: fresh": lambda: layer(x, masks=fresh),
        "masks: stratified, 16 draws": lambda: layer.masks_of(binding, binding.rows, size.steps),
        "forward: stratified, 16 draws": predict,
    }


def _summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What was to be reached, and what was, at the first size."""
    first = rows[0]["size"]
    goals = []
    for row in (r for r in rows if r["size"] == first):
        checks = [("ratio", TARGETS.get(row["candidate"]))]
        checks.append(("ratio_to_tied", UNTIED_TO_TIED if row["candidate"] == "gal untied, scan" else None))
        checks.append(("ratio_to_forward", MASKS_TO_FORWARD))
        goals += [
            {"cell": row["cell"], "candidate": row["candidate"], "what": what, "reached": row[what], "target": target}
            for what, target in checks
            if target is not None and what in row
        ]
    return goals


def _table(title: str, rows: list[dict[str, Any]]) -> str:
    lines = [f"### {title}", "", "| candidate | median ms | best ms | x torch.nn | x tied | x forward |"]
    lines.append("|---|---:|---:|---:|---:|---:|")
    for row in rows:
        if "left_out" in row:
            lines.append(f"| {row['candidate']} | left out: {row['left_out']} | | | | |")
            continue
        ratios = [f"{row[k]:.3f}" if k in row else "" for k in ("ratio", "ratio_to_tied", "ratio_to_forward")]
        cells = [row["candidate"], f"{row['median_ms']:.2f}", f"{row['best_ms']:.2f}", *ratios]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _verdict(summary: list[dict[str, Any]]) -> str:
    lines = [f"### Targets, meant for {SIZES[0]}, at the first size of the run", ""]
    lines += ["| cell | candidate | what | reached | target | |", "|---|---|---|---:|---:|---|"]
    for row in summary:
        met = "met" if row["reached"] <= row["target"] else "missed"
        what = row["what"].replace("_", " ")
        lines.append(
            f"| {row['cell']} | {row['candidate']} | {what} | {row['reached']:.3f} | {row['target']:.2f} | {met} |"
        )
    return "\n".join(lines)


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
