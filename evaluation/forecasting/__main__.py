"""`python -m evaluation.forecasting`: our forecaster and its peers side by side on four real series.

python -m evaluation.forecasting                       # all: about an hour on one core; stopped, it goes on
python -m evaluation.forecasting co2 --seed 1          # one of them
python -m evaluation.forecasting report                # the tables from the JSON files
python -m evaluation.forecasting --smoke               # seconds, small networks, to see that it runs

The data are read from the folder that BAYESRNN_DATA names. DeepAR and darts take part where they are installed.
"""

import argparse
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evaluation import records
from evaluation.forecasting import report
from evaluation.forecasting.libraries import installed
from evaluation.forecasting.peers import FORECASTS, Problem
from evaluation.forecasting.scores import scores
from evaluation.forecasting.tasks import TASKS
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
    chosen = {name: (name, task) for name, task in TASKS.items()}
    forecasts = {name: (name, make) for name, make in (FORECASTS | installed(print)).items()}
    for name, task in named(given.tasks, chosen, "a task"):
        file = Path(data) / task.file
        problem = Problem(task, task.read(file), given.seed, given.smoke)
        for forecast, make in named(given.only, forecasts):
            suffix = f"_seed{given.seed}" if given.seed else ""
            cell = f"{name}-{_slug(forecast)}{suffix}"
            if (results / f"{cell}.json").is_file() and not given.again:
                continue
            print(f"{name}: {forecast}", flush=True)
            result = _cell(problem, forecast, make)
            print(records.save(cell, result, seed=given.seed, folder=results, data=[file]), flush=True)
    report.write(results)


def _cell(problem: Problem, forecast: str, make: Any) -> dict[str, Any]:
    since = time.process_time()
    predictive, facts = make(problem), {}
    seconds = time.process_time() - since
    if isinstance(predictive, tuple):
        predictive, facts = predictive
    task, series = problem.task, problem.series
    return {
        "series": task.title,
        "forecast": forecast,
        "horizon": task.horizon,
        "origins": len(problem.origins),
        "every": int(problem.origins[1] - problem.origins[0]),
        "held_out_from": str(series.times[problem.learned]),
        "cpu_seconds": round(seconds, 1),
        **facts,
        **scores(predictive, problem.target, task.scale(series)),
    }


def _slug(name: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in name.lower()).replace("--", "-").strip("-")


def _parser() -> OneLineParser:
    parser = OneLineParser(prog="python -m evaluation.forecasting", description=__doc__.splitlines()[0])
    parser.add_argument("tasks", nargs="*", help=f"of {', '.join(TASKS)}; or report")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", help="forecasts to run")
    parser.add_argument("--again", action="store_true", help="run what has a result already")
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--results", type=Path)
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
