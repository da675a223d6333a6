"""`python -m evaluation.interop [NAME ...]`: a forecast of each library that is installed, judged by our report."""

import argparse
import importlib
import logging
import time
import warnings
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import bayesrnn as br
from evaluation.interop import forecasters
from evaluation.interop.data import task
from evaluation.options import OneLineParser
from evaluation.options import run as run_script

THEIRS = ("statsmodels", "statsforecast", "sktime", "darts", "neuralforecast", "gluonts", "skpro", "mapie")
OURS = ("darts", "neuralforecast", "sktime", "skpro", "mapie")
INSTALL = "pip install -r evaluation/interop/requirements.txt"


def examples() -> dict[str, Callable[[Any], tuple[Any, Any]]]:
    """Return every example by name: forecasts of a library, and our layers inside of one."""

    def inside(name: str) -> Callable[[Any], tuple[Any, Any]]:
        return lambda data: importlib.import_module(f"evaluation.interop.with_{name}").forecast(data)

    return {name: getattr(forecasters, name) for name in THEIRS} | {f"ours in {name}": inside(name) for name in OURS}


def installed(name: str) -> str | None:
    """Return the version of the library of an example, or None."""
    try:
        return version(name.removeprefix("ours in "))
    except PackageNotFoundError:
        return None


def main(arguments: Sequence[str] | None = None) -> int:
    parser = OneLineParser(prog="python -m evaluation.interop", description=__doc__)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(examples())}; all if none is given")
    return run_script(parser, _work, arguments)


def _work(given: argparse.Namespace) -> None:
    unknown = [name for name in given.names if name not in examples()]
    if unknown:
        raise ValueError(f"there are no examples {unknown}; there are {', '.join(examples())}.")
    for name in ("pytorch_lightning", "lightning.pytorch", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    data = task()
    for name, forecast in examples().items():
        if given.names and name not in given.names:
            continue
        installed_version = installed(name)
        if installed_version is None:
            print(f"{name}: not installed ({INSTALL})")
            continue
        print(f"{name} {installed_version}: {sentence(forecast, data)}", flush=True)


def sentence(forecast: Callable[[Any], tuple[Any, Any]], data: Any) -> str:
    """Return what the report says of one forecast."""
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        predictive, target = forecast(data)
        report = br.calibration_report(predictive, target, levels=(0.5, 0.8, 0.9), resamples=200)
    crps = float(br.metrics.crps(predictive, target))
    covered = float(br.metrics.coverage(predictive, target, level=0.8))
    took = time.perf_counter() - start
    return f"{report.sentence} (crps {crps:.3f}, coverage of 80 % {covered:.2f}, {took:.1f} s)"


if __name__ == "__main__":
    raise SystemExit(main())
