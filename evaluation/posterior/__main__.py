"""`python -m evaluation.posterior [--quick]`: dropout posteriors against NUTS; table, figure and JSON."""

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
from evaluation.posterior.comparison import compare, convergence, table, verdicts
from evaluation.posterior.methods import METHODS, concrete, learned
from evaluation.posterior.problem import Problem, make, truth
from evaluation.posterior.reference import mean_field, nuts
from evaluation.records import RESULTS, save


def main(arguments: Sequence[str] | None = None) -> int:
    return run_script(_parser(), _work, arguments)


def _parser() -> OneLineParser:
    parser = OneLineParser(prog="python -m evaluation.posterior", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few samples and steps: only that everything runs")
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
    chains = {"chains": 2, "warmup": 10, "samples": 10, "depth": 3} if given.quick else {}
    settings = {
        "depth": given.depth,
        "chains": given.chains,
        "warmup": given.samples,
        "samples": given.samples,
    } | chains
    steps, draws = (20, 16) if given.quick else (given.steps, 400)
    result = run(settings, steps, draws, given.seed, folder)
    print(result["table"], *result["verdicts"], sep="\n")


def run(chains: dict[str, int], steps: int, draws: int, seed: int, folder: Path) -> dict[str, Any]:
    """Run every method, compare, write `posterior.json`, `.md` and `.png` into `folder`."""
    problem, seconds = make(seed=seed), {}
    start = time.perf_counter()
    reference, diagnostics = _reference(problem, chains, seed, folder)
    seconds["NUTS"] = diagnostics.pop("seconds", time.perf_counter() - start)
    print(f"NUTS {seconds['NUTS']:.0f} s, {diagnostics}", flush=True)
    found: dict[str, Tensor] = {"NUTS": reference}
    for name, method in (METHODS | {"mean field": mean_field}).items():
        start = time.perf_counter()
        found[name] = method(problem, steps, draws, seed).detach()
        seconds[name] = time.perf_counter() - start
        print(f"{name} {seconds[name]:.0f} s", flush=True)
    start, wrapped = time.perf_counter(), learned(problem, steps, seed)
    found["concrete dropout"] = concrete(wrapped, problem, draws, seed).detach()
    seconds["concrete dropout"] = time.perf_counter() - start
    methods = {name: compare(values, reference, problem) for name, values in found.items()}
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
    }
    save("posterior", result, seed=seed, folder=folder)
    result["table"] = table(methods)
    (folder / "posterior.md").write_text("\n".join([result["table"], "", *_bullets(result)]) + "\n", encoding="utf-8")
    draw(problem, found, folder / "posterior.png")
    return result


def _reference(problem: Problem, chains: dict[str, int], seed: int, folder: Path) -> tuple[Tensor, dict[str, Any]]:
    """Sample the reference, or read it if these chains have been sampled before: it is most of the work."""
    name = "-".join(str(v) for v in (*chains.values(), seed))
    kept = Path("runs/posterior") / f"nuts-{name}.safetensors"
    if folder == RESULTS and kept.is_file():
        with safe_open(kept, "pt") as file:
            return file.get_tensor("draws"), json.loads(file.metadata()["diagnostics"])
    start = time.perf_counter()
    draws, diagnostics = nuts(
        problem, **chains, seed=seed, compiled=folder == RESULTS and shutil.which("g++") is not None
    )
    diagnostics["seconds"] = time.perf_counter() - start
    if folder == RESULTS:
        kept.parent.mkdir(parents=True, exist_ok=True)
        save_file({"draws": draws.contiguous()}, kept, metadata={"diagnostics": json.dumps(diagnostics)})
    return draws, diagnostics


def draw(problem: Problem, found: dict[str, Tensor], path: Path) -> None:
    """A panel a method: mean and two standard deviations of the function, over those of NUTS in gray."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    order = problem.points.argsort()
    u = problem.points[order]
    figure, axes = plt.subplots(2, 5, figsize=(16, 6), sharex=True, sharey=True)
    for axis, (name, values) in zip(axes.flat, found.items(), strict=True):
        for draws, color, told in ((found["NUTS"], "gray", "NUTS"), (values, "tab:blue", "the method")):
            mean = draws.mean(0)[order]
            spread = draws.std(0)[order] if len(draws) > 1 else torch.zeros_like(mean)
            axis.plot(u, mean, color=color, lw=1, label=f"{told}: mean")
            band = mean - 2 * spread, mean + 2 * spread
            axis.fill_between(u, *band, color=color, alpha=0.25, lw=0, label=f"{told}: ± 2 standard deviations")
        axis.plot(problem.x[:, -1, 0], problem.y, "k.", ms=3, label="training targets")
        axis.plot(u, truth(u), "k:", lw=0.7, label="truth")
        axis.set_title(name)
    for axis in axes[-1]:
        axis.set_xlabel("last input u")
    for axis in axes[:, 0]:
        axis.set_ylabel("f(u)")
    handles, labels = axes[0, 1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=len(labels), bbox_to_anchor=(0.5, -0.04))
    figure.tight_layout()
    figure.savefig(path, dpi=110, bbox_inches="tight")
    plt.close(figure)


def _bullets(result: dict[str, Any]) -> list[str]:
    nuts_line = {k: round(v, 3) if isinstance(v, float) else v for k, v in result["nuts"].items()}
    lines = [f"NUTS: {nuts_line}.", f"Learned rates: {result['learned_rates']}."]
    return [*lines, "", *(f"- {line}" for line in result["verdicts"])]


if __name__ == "__main__":
    torch.set_num_threads(1)
    raise SystemExit(main())
