"""The memory that a prediction adds at its peak, each in a process of its own, for 10, 100 and 1000 draws."""

import os
import subprocess
import sys
from typing import Any

import torch

from evaluation import records
from evaluation.options import named
from evaluation.speed.rivals import Setting

__all__ = ["markdown", "run"]

CANDIDATES = ("predict", "predict, bf16", "e: the batch repeated, one cell loop", "c: deterministic nn.LSTM passes")
SCRIPT = """
import torch
from pathlib import Path
from evaluation.speed.predict import ours
from evaluation.speed.rivals import Setting, rivals
torch.set_num_threads({threads})
torch.set_grad_enabled(False)
def call(s):
    return (ours(s) | rivals(s, s.draws if "repeated" in {name!r} else 2))[{name!r}]
def now(name):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(name))
call(Setting(2, 1, 2, {units}))()  # what libraries set up once is none of the working memory
full = call(Setting({draws}, {rows}, {steps}, {units}))
Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
before = now("VmRSS")
full()
print((now("VmHWM") - before) / 1024)
"""


def run(*, quick: bool = False, only: list[str] | None = None, plain: bool = False) -> str:
    """Measure everything (or some settings, such as 100x20), save it as JSON and return the name of the result."""
    settings = [Setting(s, 20, 10, 128) for s in (4, 40)] if quick else [Setting(s, 20) for s in (10, 100, 1000)]
    settings = named(only, {f"{s.draws}x{s.rows}": s for s in settings})
    rows: list[dict[str, Any]] = [
        {"candidate": name, "draws": s.draws, "rows": s.rows, "steps": s.steps, "units": s.units, "mebibytes": peak}
        for name in CANDIDATES
        for s in settings
        for peak in [_peak(name, s, plain)]
    ]
    name = "_".join(filter(None, ("speed_memory", "plain" if plain else "", "quick" if quick else "")))
    return records.save(name, {"rows": rows}, seed=0).stem


def markdown(result: dict[str, Any]) -> str:
    """Return the table of a result."""
    lines = ["| candidate | draws | sequences | peak MiB |", "|---|---:|---:|---:|"]
    lines += [f"| {r['candidate']} | {r['draws']} | {r['rows']} | {r['mebibytes']:.0f} |" for r in result["rows"]]
    return "\n".join(lines)


def _peak(name: str, s: Setting, plain: bool) -> float:
    """Return the mebibytes that a candidate adds to a fresh process at its peak."""
    facts = {"draws": s.draws, "rows": s.rows, "steps": s.steps, "units": s.units}
    script = SCRIPT.format(name=name, threads=torch.get_num_threads(), **facts)
    own = os.environ | {"BAYESRNN_COMPILED": "0" if plain else "1"}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=own)
    return round(float(done.stdout), 1)
