"""A method against the reference: means, spreads, distance, and what its intervals are worth."""

from typing import Any

import torch
from torch import Tensor

from bayesrnn import Predictive, metrics
from evaluation.posterior.problem import NOISE, Problem

CONVERGED = 1.05
TOO_SURE, TOO_UNSURE = 0.5, 2.0
"""Ratios of spread below and above which a method is called too sure and too unsure."""


def compare(draws: Tensor, reference: Tensor, problem: Problem) -> dict[str, dict[str, float]]:
    """Return, for each region, agreement with the reference draws and scores on noisy targets.

    Args:
        draws: Function values of the method, (S, points).
        reference: Those of the reference, (R, points).
        problem: The problem, which knows the regions.
    """
    by_region, start = {}, 0
    for name, (points, target) in problem.regions.items():
        part = slice(start, start + len(points))
        start += len(points)
        by_region[name] = agreement(draws[:, part], reference[:, part]) | scores(draws[:, part], target)
    return by_region


def agreement(draws: Tensor, reference: Tensor) -> dict[str, float]:
    """RMSE of the mean, spread (SD of the function) and its ratio to the reference, mean 1-Wasserstein distance."""
    spread, true_spread = _spread(draws), _spread(reference)
    levels = (torch.arange(200, dtype=torch.float64) + 0.5) / 200
    apart = torch.quantile(draws.double(), levels, 0) - torch.quantile(reference.double(), levels, 0)
    return {
        "mean_error": float((draws.mean(0) - reference.mean(0)).square().mean().sqrt()),
        "spread": float(spread.square().mean().sqrt()),
        "reference_spread": float(true_spread.square().mean().sqrt()),
        "spread_ratio": float((spread / true_spread).median()),
        "wasserstein": float(apart.abs().mean()),
    }


def scores(draws: Tensor, target: Tensor) -> dict[str, float]:
    """NLL, CRPS, RMSE and coverage of the mixture over draws with the known noise."""
    distribution = torch.distributions.Normal(draws, torch.full_like(draws, NOISE))
    sampling = "deterministic" if len(draws) == 1 else "independent"
    judged = Predictive.from_draws(distribution, sampling=sampling)
    return {name: float(getattr(metrics, name)(judged, target)) for name in ("nll", "crps", "rmse")} | {
        f"coverage_{level:g}": float(metrics.coverage(judged, target, level=level)) for level in (0.5, 0.95)
    }


def convergence(diagnostics: dict[str, Any]) -> str:
    """Say whether the reference deserves its name: R-hat of every function value below 1.05."""
    worst, size = diagnostics["function_rhat_max"], diagnostics["function_ess_min"]
    numbers = f"R-hat of the function values at most {worst:.2f}, effective sample size at least {size:.0f}"
    if worst <= CONVERGED:
        return f"The chains of NUTS agree: {numbers}."
    return f"The chains of NUTS do NOT agree ({numbers}): what follows is preliminary. Sample longer."


def verdicts(methods: dict[str, Any]) -> list[str]:
    """Say in words where a method is too sure or too unsure, by the median ratio of spreads."""
    lines = []
    for name, regions in methods.items():
        for region, numbers in regions.items():
            ratio, coverage = numbers["spread_ratio"], numbers["coverage_0.95"]
            if ratio < TOO_SURE:
                what = "too sure"
            elif ratio > TOO_UNSURE:
                what = "too unsure"
            else:
                continue
            share = f"{100 * coverage:.0f} % of the targets in its 95 % interval"
            lines.append(f"{name} is {what} {_place(region)}: {ratio:.2f} of the reference's spread, {share}.")
    return lines


def table(methods: dict[str, Any]) -> str:
    """Return a markdown table, a line a method and region."""
    head = [
        "method",
        "region",
        "mean error",
        "spread",
        "ratio to NUTS",
        "W1",
        "NLL",
        "CRPS",
        "RMSE",
        "cov. 50",
        "cov. 95",
    ]
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    keys = (
        "mean_error",
        "spread",
        "spread_ratio",
        "wasserstein",
        "nll",
        "crps",
        "rmse",
        "coverage_0.5",
        "coverage_0.95",
    )
    for name, regions in methods.items():
        for region, numbers in regions.items():
            lines.append("| " + " | ".join([name, region, *(f"{numbers[k]:.3f}" for k in keys)]) + " |")
    return "\n".join(lines)


def _spread(draws: Tensor) -> Tensor:
    return draws.std(0) if len(draws) > 1 else torch.zeros_like(draws[0])


def _place(region: str) -> str:
    return {"inside": "where the data are", "gap": "in the gap between the data"}.get(region, "beyond the data")
