"""Table and figure of `posterior.json`, and nothing that is not in it."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from evaluation.posterior.comparison import table
from evaluation.posterior.problem import Problem, truth
from evaluation.records import load

DIGITS = 5


def curves(problem: Problem, function_draws: dict[str, Tensor]) -> dict[str, Any]:
    """Return what the figure shows: mean and spread of every method along u, the truth, the training targets.

    Args:
        problem: The problem, which knows the points.
        function_draws: Function draws (S, points) of every method.
    """
    order = problem.points.argsort()
    u = problem.points[order]
    shown = {}
    for name, values in function_draws.items():
        mean, spread = values.mean(0), values.std(0) if len(values) > 1 else torch.zeros_like(values[0])
        shown[name] = {"mean": _numbers(mean[order]), "spread": _numbers(spread[order])}
    training = {"u": _numbers(problem.x[:, -1, 0]), "y": _numbers(problem.y)}
    return {"u": _numbers(u), "truth": _numbers(truth(u)), "training": training, "methods": shown}


def write(folder: Path) -> str:
    """Write `posterior.md` and `posterior.png` from `posterior.json`; return the table.

    Raises:
        ValueError: If there is no result, or one without curves.
    """
    if not (folder / "posterior.json").is_file():
        raise ValueError(f"there is no posterior.json in {folder}: run `python -m evaluation.posterior` first.")
    result = load("posterior", folder)
    if "curves" not in result:
        raise ValueError(f"posterior.json in {folder} holds no curves: run `python -m evaluation.posterior` again.")
    markdown = table(result["methods"])
    _replace(folder / "posterior.md", ("\n".join([markdown, "", *_bullets(result)]) + "\n").encode())
    draw(result["curves"], folder / "posterior.png")
    return markdown


def draw(shown: dict[str, Any], path: Path) -> None:
    """A panel a method: mean and two standard deviations of the function, over those of NUTS in gray."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    u, methods = shown["u"], shown["methods"]
    figure, axes = plt.subplots(2, 5, figsize=(16, 6), sharex=True, sharey=True)
    for axis, (name, values) in zip(axes.flat, methods.items(), strict=True):
        for curve, color, whose in ((methods["NUTS"], "gray", "NUTS"), (values, "tab:blue", "the method")):
            mean, spread = torch.tensor(curve["mean"]), torch.tensor(curve["spread"])
            axis.plot(u, mean, color=color, lw=1, label=f"{whose}: mean")
            band = mean - 2 * spread, mean + 2 * spread
            axis.fill_between(u, *band, color=color, alpha=0.25, lw=0, label=f"{whose}: ± 2 standard deviations")
        axis.plot(shown["training"]["u"], shown["training"]["y"], "k.", ms=3, label="training targets")
        axis.plot(u, shown["truth"], "k:", lw=0.7, label="truth")
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
    nuts_line = ", ".join(f"{k} {round(v, 3) if isinstance(v, float) else v}" for k, v in result["nuts"].items())
    rates = ", ".join(f"{key} {rate:.3f}" for key, rate in result["learned_rates"].items())
    return [f"NUTS: {nuts_line}.", "", f"Learned rates: {rates}.", "", *(f"- {line}" for line in result["verdicts"])]


def _numbers(values: Tensor) -> list[float]:
    return [round(float(v), DIGITS) for v in values]


def _replace(path: Path, content: bytes) -> None:
    temporary = path.with_suffix(".part")
    temporary.write_bytes(content)
    temporary.replace(path)
