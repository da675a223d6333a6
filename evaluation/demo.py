"""`python -m evaluation.demo`: the demo for several seeds, its scores as JSON, its pictures for the README.

python -m evaluation.demo --seeds 0 1 2     # seed 0 draws the pictures; some minutes on two cores
python -m evaluation.demo report            # only the table, from the JSON file
"""

import argparse
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from bayesrnn.cli.studies import HELD_OUT, VALIDATION, settings
from bayesrnn.data import mauna_loa_co2
from bayesrnn.forecasting import Study, study
from evaluation import records
from evaluation.options import OneLineParser, at_least, run

IMAGES = Path(__file__).parent.parent / "docs" / "images"
WORK = Path("runs/demo")
"""Finished seeds, and trainings under way."""
PICTURES = {"forecast.png": "held_out.png", "calibration.png": "calibration.png", "comparison.png": "comparison.png"}
SCORES = ("rmse", "crps", "nll", "coverage_50", "coverage_80", "coverage_95", "width_80")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = OneLineParser(
        prog="python -m evaluation.demo", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", nargs="?", choices=["run", "report"], default="run")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    return run(parser, _work, arguments)


def _work(given: argparse.Namespace) -> None:
    at_least(0, seeds=min(given.seeds))
    if given.what == "run":
        runs = [
            records.kept(WORK, f"seed{seed}", asdict(replace(settings(), seed=seed)), lambda seed=seed: _run(seed))
            for seed in given.seeds
        ]
        records.save("demo", {"validation": VALIDATION, "held_out": HELD_OUT, "runs": runs})
    path = records.RESULTS / "demo.md"
    path.write_text(table(records.load("demo")), encoding="utf-8")
    print(path.read_text(encoding="utf-8"))


def table(result: dict[str, Any]) -> str:
    """Return the scores as Markdown: a line a forecast, the range over seeds where they differ."""
    header = "| forecast | RMSE | CRPS | NLL | in 50 % | in 80 % | in 95 % | width of 80 % |"
    lines = [header, "|---|---|---|---|---|---|---|---|"]
    for name in result["runs"][0]["scores"]:
        cells = [_cell([run["scores"][name][score] for run in result["runs"]], score) for score in SCORES]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    seeds = ", ".join(str(run["settings"]["seed"]) for run in result["runs"])
    start = f"Mauna Loa CO2 (ppm), held out from {result['held_out']}; seeds {seeds}: lowest to highest.\n\n"
    return start + "\n".join(lines) + "\n"


def _run(seed: int) -> dict[str, Any]:
    chosen = replace(settings(), seed=seed)
    co2_study = study(mauna_loa_co2(), chosen, validation=VALIDATION, held_out=HELD_OUT, say=print,
                      checkpoint=WORK / f"training{seed}")  # fmt: skip
    if seed == 0:
        _keep_pictures(co2_study)
    scores = {name: {key: by_key[key].value for key in SCORES} for name, by_key in co2_study.comparison.scores.items()}
    intervals = {
        name: {key: by_key[key].interval for key in SCORES} for name, by_key in co2_study.comparison.scores.items()
    }
    return {"settings": asdict(chosen), "seconds": dict(co2_study.seconds), "scores": scores, "intervals": intervals}


def _keep_pictures(co2_study: Study) -> None:
    IMAGES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        co2_study.save(folder)
        for name, kept in PICTURES.items():
            shutil.copyfile(Path(folder) / name, IMAGES / kept)


def _cell(values: list[float], score: str) -> str:
    shown = [f"{100 * v:.0f} %" if score.startswith("coverage") else f"{v:.2f}" for v in (min(values), max(values))]
    return shown[0] if shown[0] == shown[1] else f"{shown[0]} to {shown[1]}"


if __name__ == "__main__":
    raise SystemExit(main())
