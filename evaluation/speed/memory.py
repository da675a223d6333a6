"""The memory that a prediction or a training step adds at its peak, with and without the compiled kernels.

Each in a process of its own: predictions with 10, 100 and 1000 draws of a large network and of a small one, training
steps beside `nn.LSTM` without masks.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import torch

from evaluation import records
from evaluation.options import named
from evaluation.speed.predict import ours
from evaluation.speed.rivals import Setting, rivals
from evaluation.speed.train import step

__all__ = ["candidate", "markdown", "run"]

PLAIN = ", plain scan"
PREDICT = (
    "predict", f"predict{PLAIN}", "predict, bf16", "e: the batch repeated, one cell loop",
    "c: deterministic nn.LSTM passes",
)  # fmt: skip
TRAIN = ("training step", f"training step{PLAIN}", "training step, nn.LSTM without masks")
SETTINGS = (
    *(Setting(s, 20) for s in (10, 100, 1000)),
    Setting(100, 256, 24, 32),
    Setting(1, 20),
    Setting(1, 128, 200, 128),
)
SCRIPT = """
import torch
from pathlib import Path
from evaluation.speed.memory import candidate
from evaluation.speed.rivals import Setting
torch.set_num_threads({threads})
def now(name):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(name))
candidate({name!r}, Setting(2, 1, 2, {units}))()  # what libraries set up once is none of the working memory
full = candidate({name!r}, Setting({draws}, {rows}, {steps}, {units}))
Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
before = now("VmRSS")
full()
print((now("VmHWM") - before) / 1024)
"""


def run(*, quick: bool = False, only: list[str] | None = None, plain: bool = False) -> str:
    """Measure everything (or some settings, such as 100x20), save it as JSON and return the name of the result."""
    settings = [Setting(s, 20, 10, 128) for s in (1, 4, 40)] if quick else SETTINGS
    rows: list[dict[str, Any]] = [
        {"candidate": name, "draws": s.draws, "rows": s.rows, "steps": s.steps, "units": s.units, "mebibytes": peak}
        for s in named(only, {f"{s.draws}x{s.rows}": s for s in settings})
        for name in (PREDICT if s.draws > 1 else TRAIN)
        for peak in [_peak(name, s, plain or name.endswith(PLAIN))]
    ]
    name = "_".join(filter(None, ("speed_memory", "plain" if plain else "", "quick" if quick else "")))
    return records.save(name, {"rows": rows}, seed=0).stem


def candidate(name: str, s: Setting) -> Callable[[], object]:
    """Return what runs: a training step, a prediction, or a rival of it."""
    if name in TRAIN:
        layer = s.stock() if "nn.LSTM" in name else s.layer()
        return step(layer.train(), s.inputs().requires_grad_())
    call = (ours(s) | rivals(s, s.draws if "repeated" in name else 2))[name.removesuffix(PLAIN)]
    return torch.no_grad()(call)


def markdown(result: dict[str, Any]) -> str:
    """Return the table of a result."""
    lines = ["| candidate | units, rows x steps | draws | peak MiB |", "|---|---|---:|---:|"]
    for r in result["rows"]:
        size = f"2 x {r['units']}, {r['rows']} x {r['steps']}"
        lines.append(f"| {r['candidate']} | {size} | {r['draws'] if r['draws'] > 1 else ''} | {r['mebibytes']:.0f} |")
    return "\n".join(lines)


def _peak(name: str, s: Setting, plain: bool) -> float:
    """Return the mebibytes that a candidate adds to a fresh process at its peak."""
    facts = {"draws": s.draws, "rows": s.rows, "steps": s.steps, "units": s.units}
    script = SCRIPT.format(name=name, threads=torch.get_num_threads(), **facts)
    own = os.environ | {"BAYESRNN_COMPILED": "0" if plain else "1"}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=own)
    return round(float(done.stdout), 1)
