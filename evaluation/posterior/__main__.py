"""`python -m evaluation.posterior [--quick | --report]`: dropout posteriors against NUTS; JSON, table, figure."""

import argparse
import json
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from evaluation.options import OneLineParser, at_least
from evaluation.options import run as run_script
from evaluation.posterior.comparison import compare, convergence, verdicts
from evaluation.posterior.methods import METHODS, concrete, learned
from evaluation.posterior.problem import Problem, make
from evaluation.posterior.reference import ACCEPT, mean_field, nuts
from evaluation.posterior.report import curves, write
from evaluation.records import RESULTS, save


def main(arguments: Sequence[str] | None = None) -> int:
    return run_script(_parser(), _work, arguments)


def _parser() -> OneLineParser:
    parser = OneLineParser(prog="python -m evaluation.posterior", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few samples and steps: only that everything runs")
    parser.add_argument("--report", action="store_true", help="table and figure from the JSON; nothing is run")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--chains", type=int, default=4)
    parser.add_argument("--depth", type=int, default=8, help="of the trees: 2 ** depth steps at most")
    parser.add_argument("--samples", type=int, default=400, help="of each chain, after as many to warm up")
    parser.add_argument("--steps", type=int, default=2000, help="of every training but NUTS")
    parser.add_argument("--results", type=Path)
    return parser


def _work(given: argparse.Namespace) -> None:
    at_least(2, chains=given.chains)  # R-hat compares chains
    at_least(4, samples=given.samples)
    at_least(1, depth=given.depth, steps=given.steps)
    at_least(0, seed=given.seed)
    folder = given.results or (Path("runs/posterior-quick") if given.quick else RESULTS)
    if given.report:
        print(write(folder))
        return
    chains = {"chains": 2, "warmup": 10, "samples": 10, "depth": 3} if given.quick else {}
    settings = {
        "depth": given.depth,
        "chains": given.chains,
        "warmup": given.samples,
        "samples": given.samples,
    } | chains
    steps, draws = (20, 16) if given.quick else (given.steps, 400)
    result = run(settings, steps, draws, given.seed, folder, keep=not given.quick)
    print(result["table"], *result["verdicts"], sep="\n")


def run(
    chains: dict[str, int], steps: int, draws: int, seed: int, folder: Path, *, keep: bool = False
) -> dict[str, Any]:
    """Run every method, compare, write `posterior.json`, `.md` and `.png` into `folder`.

    Args:
        chains: Of NUTS: how many, warmup, samples, depth.
        steps: Of every training.
        draws: Of every method but NUTS.
        seed: Of everything.
        folder: For the results.
        keep: Keep the chains of NUTS below `runs/posterior`, or read them there; compile its density if possible.
    """
    problem, seconds = make(seed=seed), {}
    start = time.perf_counter()
    reference, diagnostics = _reference(problem, chains, seed, keep=keep)
    seconds["NUTS"] = diagnostics.pop("seconds", time.perf_counter() - start)
    print(f"NUTS {seconds['NUTS']:.0f} s, {diagnostics}", flush=True)
    function_draws: dict[str, Tensor] = {"NUTS": reference}
    for name, method in (METHODS | {"mean field": mean_field}).items():
        start = time.perf_counter()
        function_draws[name] = method(problem, steps, draws, seed).detach()
        seconds[name] = time.perf_counter() - start
        print(f"{name} {seconds[name]:.0f} s", flush=True)
    start, wrapped = time.perf_counter(), learned(problem, steps, seed)
    function_draws["concrete dropout"] = concrete(wrapped, problem, draws, seed).detach()
    seconds["concrete dropout"] = time.perf_counter() - start
    methods = {name: compare(values, reference, problem) for name, values in function_draws.items()}
    rates = {key: rate.item() for key, rate in wrapped.rates().items()}
    result = {
        "nuts": diagnostics,
        "settings": {"steps": steps, "draws": draws, "rows": problem.size},
        "learned_rates": rates,
        "seconds": {name: round(value, 1) for name, value in seconds.items()},
        "methods": methods,
        "verdicts": [
            convergence(diagnostics),
            *verdicts({name: value for name, value in methods.items() if name != "NUTS"}),
        ],
        "curves": curves(problem, function_draws),
    }
    save("posterior", result, seed=seed, folder=folder)
    return result | {"table": write(folder)}


def _reference(problem: Problem, chains: dict[str, int], seed: int, *, keep: bool) -> tuple[Tensor, dict[str, Any]]:
    """Sample the reference, or read it if these chains have been sampled before: it is most of the work."""
    name = "-".join(str(v) for v in (*chains.values(), ACCEPT, seed))
    kept = Path("runs/posterior") / f"nuts-{name}.safetensors"
    if keep and kept.is_file():
        with safe_open(kept, "pt") as file:
            return file.get_tensor("draws"), json.loads(file.metadata()["diagnostics"])
    start = time.perf_counter()
    draws, diagnostics = nuts(problem, **chains, seed=seed, compiled=keep and shutil.which("g++") is not None)
    diagnostics["seconds"] = time.perf_counter() - start
    if keep:
        kept.parent.mkdir(parents=True, exist_ok=True)
        part = kept.with_suffix(".part")
        save_file({"draws": draws.contiguous()}, part, metadata={"diagnostics": json.dumps(diagnostics)})
        part.replace(kept)
    return draws, diagnostics


if __name__ == "__main__":
    torch.set_num_threads(1)
    raise SystemExit(main())
