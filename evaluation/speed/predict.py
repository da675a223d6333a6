"""A prediction with many draws, timed in one run against what a user would do otherwise.

Two layers of 650 units, 35 steps, rate .5 on inputs and hidden states, masks of their own for each sequence (the
rivals b and the line "one mask a pass" share masks among rows). Loops over draws are timed over some of the draws and
scaled; every candidate is timed in turn, round after round. Then the memory they take, and how many independent draws
a stratified one is worth: the time to equal standard error.
"""

from collections.abc import Callable
from typing import Any

import torch

import bayesrnn as br
from evaluation import records
from evaluation.options import named
from evaluation.speed.rivals import Setting, keras_loop, products, rivals
from evaluation.speed.timing import interleaved

__all__ = ["markdown", "ours", "run"]

FIRST = "a: a cell loop per draw"


def run(*, quick: bool = False, only: list[str] | None = None, plain: bool = False) -> str:
    """Time everything (or some settings, such as 100x20), save it as JSON and return the name of the result."""
    if quick:
        settings = [Setting(20, 1, 10, 128), Setting(20, 8, 10, 128)]
    else:
        settings = [Setting(100, 1), Setting(100, 20), Setting(1000, 20)]
    settings = named(only, {f"{s.draws}x{s.rows}": s for s in settings})
    result: dict[str, Any] = {"compiled": not plain, "quick": quick, "tables": [_measure(s, quick) for s in settings]}
    name = "_".join(filter(None, ("speed_predict", "plain" if plain else "", "quick" if quick else "", *(only or []))))
    return records.save(name, result, seed=0).stem


def markdown(result: dict[str, Any]) -> str:
    """Return the tables of a result, one for each setting."""
    return "\n\n".join(_markdown(table) for table in result["tables"])


def ours(s: Setting) -> dict[str, Callable[[], object]]:
    x, tied, untied = s.inputs(), s.layer(), s.layer("untied")

    def predict(layer: torch.nn.Module, **options: Any) -> Callable[[], object]:
        def last(output: Any) -> br.inference.Point:
            return br.inference.point(output[0][-1])

        settings = {"draws": s.draws, "batch_dim": 1, "likelihood": last, "keep_draws": False} | options
        return lambda: br.predict(layer, x, **settings)

    return {
        "predict": predict(tied),
        "predict, bf16": predict(tied, precision="bf16"),
        "predict, untied gates": predict(untied),
        "predict, untied gates, bf16": predict(untied, precision="bf16"),
        "predict, one mask a pass": predict(tied, sharing="pass"),
        "predict, one mask a pass, untied gates": predict(untied, sharing="pass"),
    }


def _measure(s: Setting, quick: bool) -> dict[str, Any]:
    part = max(min(s.draws, 200 // s.rows if not quick else 4), 2)
    loops = rivals(s, part)
    keras = keras_loop(s, 2)
    bounds = {
        "bound: products alone, float32": products(s, torch.float32),
        "bound: products alone, bf16": products(s, torch.bfloat16),
    }
    our_calls = ours(s)
    if s.draws * s.rows > 10_000:
        our_calls = {name: call for name, call in our_calls.items() if "untied" not in name}
    candidates = loops | ({} if keras is None else {"d: Keras 3, training=True": keras}) | our_calls | bounds
    scales = dict.fromkeys(loops, s.draws / part) | {"d: Keras 3, training=True": s.draws / 2}
    with torch.no_grad():
        large = s.draws * s.rows > 10_000
        rounds, limit = (3, 20.0) if quick else (7, 600.0)
        times = interleaved(candidates, rounds=2 if large else rounds, warmup=0 if large else 1, seconds=limit)
    rows = []
    for name, timing in times.items():
        scale = scales.get(name, 1.0)
        rows.append(
            {
                "candidate": name,
                "milliseconds": timing.median * scale,
                "best_milliseconds": timing.best * scale,
                "times_faster_than_a": times[FIRST].ratio(timing) * scales[FIRST] / scale,
                "draws_timed": round(s.draws / scale),
            }
        )
    return {"draws": s.draws, "rows": s.rows, "steps": s.steps, "units": s.units, "candidates": rows}


def _markdown(table: dict[str, Any]) -> str:
    sizes = "{draws} draws x {rows} sequences, {steps} steps, 2 x {units} units".format(**table)
    lines = [f"### {sizes}", "", "| candidate | ms | times faster than (a) |", "|---|---:|---:|"]
    for row in table["candidates"]:
        lines.append(f"| {row['candidate']} | {row['milliseconds']:.1f} | {row['times_faster_than_a']:.2f} |")
    return "\n".join(lines)
