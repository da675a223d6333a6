"""`python -m evaluation.forecasting`: our forecaster, raw and recalibrated, against its peers on three real series.

python -m evaluation.forecasting                       # CO2, taxi, ETTh1: about half an hour on two cores
python -m evaluation.forecasting co2 --seed 1          # one of them
python -m evaluation.forecasting report                # tables from the JSON files
python -m evaluation.forecasting --smoke               # seconds, small networks, to see that it runs

The data are read from the folder that BAYESRNN_DATA names. DeepAR takes part where neuralforecast is installed.
"""

import argparse
import os
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from bayesrnn.forecasting import Study, compare_forecasts, study
from evaluation import records
from evaluation.forecasting import deepar, report
from evaluation.forecasting.anomalies import anomalies
from evaluation.forecasting.tasks import TASKS, Task
from evaluation.options import OneLineParser, at_least, named
from evaluation.options import run as run_script

RESULTS = records.RESULTS / "forecasting"


def main(arguments: Sequence[str] | None = None) -> int:
    return run_script(_parser(), _work, arguments)


def _work(given: argparse.Namespace) -> None:
    at_least(0, seed=given.seed)
    results = given.results or (Path("runs/forecasting-smoke") if given.smoke else RESULTS)
    if given.tasks == ["report"]:
        report.write(results)
        return
    data = os.environ.get("BAYESRNN_DATA")
    if not data:
        raise ValueError("the data are not here: set BAYESRNN_DATA to the folder that holds co2_noaa/, nyc_taxi/, ett/")
    for name, task in named(given.tasks, {name: (name, task) for name, task in TASKS.items()}, "a task"):
        result = run(task, Path(data), seed=given.seed, smoke=given.smoke, per_step=not given.skip_naive)
        suffix = f"_seed{given.seed}" if given.seed else ""
        print(records.save(name + suffix, result, seed=given.seed, folder=results))
    report.write(results)


def run(task: Task, data: Path, *, seed: int, smoke: bool, per_step: bool = True) -> dict[str, Any]:
    """Return the scores of one task."""
    settings = replace(task.settings, seed=seed)
    if smoke:
        settings = replace(settings, hidden_size=4, epochs=1, draws=8, every=10 * task.settings.every)
    found = study(
        task.read(data),
        settings,
        validation=task.validation,
        held_out=task.held_out,
        per_step=per_step and not smoke,
        say=print,
    )
    seconds = dict(found.seconds)
    if deepar.available() and not smoke:
        found, seconds["DeepAR"] = _with_deepar(found)
    table = found.table
    result = {
        "title": task.title,
        "settings": asdict(settings),
        "spans": {
            name: str(found.series.times[getattr(found.split, name)].date()) for name in ("validation", "held_out")
        },
        "held_out_forecasts": found.raw.target.numel(),
        "origins": len(found.raw),
        "units": found.series.units,
        "mean_factor_80": float(found.factors[1].mean()),
        "scores": table.astype(object).where(table.notna(), None).to_dict("records"),
        "seconds": seconds,
    }
    if task is TASKS["taxi"]:
        result["anomalies"] = anomalies(found)
    return result


def _with_deepar(found: Study) -> tuple[Study, float]:
    """The study with DeepAR among its forecasts: without a density (known by quantiles), so without NLL."""
    predictive, seconds = deepar.deepar(found)
    forecasts = found.forecasts | {"DeepAR": predictive}
    reference, units = found.comparison.reference, found.series.units
    target, origins = found.raw.target, found.raw.origins
    comparison = compare_forecasts(forecasts, target, origins, reference=reference, units=units)
    return replace(found, comparison=comparison), seconds


def _parser() -> OneLineParser:
    parser = OneLineParser(prog="python -m evaluation.forecasting", description=__doc__.splitlines()[0])
    parser.add_argument("tasks", nargs="*", help=f"of {', '.join(TASKS)}; or report")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--skip-naive", action="store_true", help="leave out the network with per-step masks")
    parser.add_argument("--results", type=Path)
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
