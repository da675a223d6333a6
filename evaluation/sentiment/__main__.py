"""`python -m evaluation.sentiment`: train, score and report the sentiment networks.

python -m evaluation.sentiment --quick                        # minutes: small networks on a part of the data
python -m evaluation.sentiment --split sound --seeds 0 1 2    # the main rows; resumes where it was stopped
python -m evaluation.sentiment --split paper --seeds 0 1 2
python -m evaluation.sentiment --split paper --study grid     # p_E x p_U
python -m evaluation.sentiment vader                          # aleatoric variance against raters
python -m evaluation.sentiment report                         # tables and figures from the JSON files
"""

import argparse
import math
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from bayesrnn.nn.precision import multiplies_bfloat16
from evaluation.options import OneLineParser, add_device, device_of, run
from evaluation.records import RESULTS
from evaluation.sentiment import report, vader
from evaluation.sentiment.corpus import Split, load_split, synthetic_split
from evaluation.sentiment.scoring import score
from evaluation.sentiment.training import Run, Settings, train
from evaluation.sentiment.variants import grid_variants, main_variants

CHECKPOINTS = Path("runs/sentiment")


def main(arguments: Sequence[str] | None = None) -> int:
    return run(_parser(), _work, arguments)


def _work(given: argparse.Namespace) -> None:
    results = given.results or (Path("runs/sentiment-quick/results") if given.quick else RESULTS / "sentiment")
    if given.job == "report":
        report.write(results)
    elif given.job == "vader":
        vader.run(results, quick=given.quick)
    else:
        _train(given, results)
    if given.quick and given.job == "train":
        if os.environ.get("BAYESRNN_DATA") and not given.synthetic:
            vader.run(results, quick=True)
        report.write(results)


def _train(given: argparse.Namespace, results: Path) -> None:
    checkpoints = given.checkpoints or (Path("runs/sentiment-quick/state") if given.quick else CHECKPOINTS)
    device = device_of(given)
    settings = _settings(given, device)
    chosen = grid_variants(given.rate) if given.study == "grid" else main_variants(given.rate)
    for name in given.variants or ():
        if name not in chosen:
            raise ValueError(f"--variants must be of {list(chosen)}, but {name!r} was given.")
    split = _split(given)
    for seed in given.seeds:
        for cell in given.cells:
            for name in given.variants or list(chosen):
                one = Run(cell, chosen[name], split, seed, settings, results, checkpoints, device)
                record = train(one)
                if "scores" not in record or given.rescore:
                    score(one)


def _settings(given: argparse.Namespace, device: torch.device) -> Settings:
    if not 0.0 <= given.penalty < math.inf or (given.epochs is not None and given.epochs < 1):
        raise ValueError(f"--epochs must be at least 1 and --penalty at least 0, not {given.epochs}, {given.penalty}.")
    if not 0.0 <= given.rate < 1.0:
        raise ValueError(f"--rate must be at least 0 and below 1, not {given.rate}.")
    if min(given.seeds) < 0:
        raise ValueError(f"--seeds must be at least 0, not {given.seeds}.")
    settings = Settings(penalty=given.penalty, bfloat16=multiplies_bfloat16(device) and not given.float32)
    if given.quick:
        quick = {"epochs": 2, "draws": 4, "draws_every": 2, "draws_final": 16, "measured": 100, "units": 32}
        settings = replace(settings, **quick)
    return settings if given.epochs is None else replace(settings, epochs=given.epochs)


def _split(given: argparse.Namespace) -> Split:
    if not given.quick:
        return load_split(given.split)
    if os.environ.get("BAYESRNN_DATA") and not given.synthetic:
        return load_split(given.split, limit=150)
    return synthetic_split(given.split)


def _parser() -> argparse.ArgumentParser:
    parser = OneLineParser(prog="python -m evaluation.sentiment", description=__doc__.split("\n")[0])
    parser.add_argument("job", nargs="?", choices=("train", "vader", "report"), default="train")
    parser.add_argument("--quick", action="store_true", help="small networks, few epochs, a part of the data")
    parser.add_argument("--synthetic", action="store_true", help="with --quick: invented reviews")
    parser.add_argument("--split", choices=("paper", "sound"), default="sound")
    parser.add_argument("--study", choices=("main", "grid"), default="main")
    parser.add_argument("--cells", nargs="+", choices=("lstm", "gru"), default=["lstm", "gru"])
    parser.add_argument("--variants", nargs="+", help="names of the study; all if not given")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--epochs", type=int, help="60 if not given")
    parser.add_argument("--rate", type=float, default=0.5, help="of every site in the main study")
    parser.add_argument("--penalty", type=float, default=1e-6, help="the published weight decay")
    parser.add_argument(
        "--float32", action="store_true", help="no bfloat16 products, even where the processor has units for them"
    )
    add_device(parser)
    parser.add_argument("--rescore", action="store_true")
    parser.add_argument("--results", type=Path)
    parser.add_argument("--checkpoints", type=Path)
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
